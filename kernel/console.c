/* SPDX-License-Identifier: MIT */
#include "kernel/console.h"
#include "kernel/vm.h"

#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/serial.h"
#include "kernel/base/string.h"
#include "kernel/dev/platform.h"
#include "mem/slab.h"
#include "smp/irq.h"

#define TEXT_MAX    240
#define INPUT_MAX   256 /* typed and not yet read by the guest */
#define INPUT_BATCH 64
#define POLL_NS	    10000000ull
#define COM1_PORT   0x3f8
#define COM1_IRQ    4
#define COM2_PORT   0x2f8
#define COM2_IRQ    3

/* A VM's end of the console. */
struct vm_console {
	struct list link;
	struct vm *vm;
	/* the VM's UART's lock */
	u32 length;
	char line[TEXT_MAX];
};

static struct mutex consoles_lock;		   /* LOCK_VM_LIST */
static struct list consoles = LIST_INIT(consoles); /* consoles_lock; in order of starting */
static u32 console_count;			   /* consoles_lock; read without */

static struct wait_queue input_wait;
static bool input_by_interrupt;
static bool input_came; /* input_wait's lock */

/* --- output --- */

/* A whole line, with its VM's name, in one piece: lines of several VMs do not mix. */
static void flush_line(struct vm_console *c)
{
	char text[TEXT_MAX + CONFIG_NAME_MAX + 8];
	int n = snprintf(text, sizeof(text), "%s| %.*s\r\n", c->vm->name, (int)c->length, c->line);

	console_write(text, (size_t)n);
	c->length = 0;
}

static void write_lines(struct vm_console *c, const u8 *bytes, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		if (bytes[i] == '\n' || c->length == TEXT_MAX)
			flush_line(c);
		if (bytes[i] != '\n' && bytes[i] != '\r')
			c->line[c->length++] = (char)bytes[i];
	}
}

void vm_console_write(struct vm *vm, const u8 *bytes, u32 count)
{
	struct vm_console *c = vm->console;

	if (!c)
		return;
	if (READ_ONCE(console_count) > 1 || c->length)
		write_lines(c, bytes, count);
	else
		console_write(bytes, count);
}

int console_vm_add(struct vm *vm)
{
	struct vm_console *c = kmalloc(sizeof(*c));

	if (!c)
		return ERR_NOMEM;
	c->vm = vm;
	vm->console = c;
	mutex_lock(&consoles_lock);
	list_add_tail(&c->link, &consoles);
	WRITE_ONCE(console_count, console_count + 1);
	mutex_unlock(&consoles_lock);
	return 0;
}

void console_vm_remove(struct vm *vm)
{
	struct vm_console *c = vm->console;

	if (!c)
		return;
	mutex_lock(&consoles_lock);
	list_del(&c->link);
	WRITE_ONCE(console_count, console_count - 1);
	vm->console = NULL;
	mutex_unlock(&consoles_lock);
	if (c->length)
		flush_line(c);
	kfree(c);
}

/* --- input --- */

/* Interrupt context: the bytes stay in the UART until the thread takes them. */
static void input_interrupt(void *arg)
{
	bool on = wait_lock(&input_wait);

	(void)arg;
	input_came = true;
	wait_unlock(&input_wait, on);
	wait_wake_all(&input_wait);
}

static u32 collect(u8 *bytes, u32 max)
{
	u32 n = 0;
	int c;

	while (n < max && (c = console_getc_poll()) >= 0)
		bytes[n++] = (u8)c;
	return n;
}

/* Hands what was typed to the VM in focus; what its UART has no room for is offered again. */
static u32 deliver(const u8 *bytes, u32 count)
{
	struct vm_console *c;
	u32 taken = count; /* nobody there: typed into the void */

	mutex_lock(&consoles_lock);
	if (!list_empty(&consoles)) {
		c = list_first(&consoles, struct vm_console, link);
		if (c->vm->platform)
			taken = platform_console_input(c->vm->platform, bytes, count);
	}
	mutex_unlock(&consoles_lock);
	return taken;
}

static void wait_for_input(bool backlog)
{
	u64 deadline = clock_ns() + POLL_NS;

	if (input_by_interrupt && !backlog)
		wait_event(&input_wait, input_came);
	else
		wait_event_until(&input_wait, input_came, deadline);
	bool on = wait_lock(&input_wait);

	input_came = false;
	wait_unlock(&input_wait, on);
}

static void input_thread(void *arg)
{
	static u8 pending[INPUT_MAX];
	u32 count = 0, taken;

	(void)arg;
	for (;;) {
		wait_for_input(count > 0);
		do {
			u32 room = min((u32)INPUT_BATCH, (u32)INPUT_MAX - count);
			u32 n = collect(pending + count, room);

			count += n;
			taken = count ? deliver(pending, count) : 0;
			memmove(pending, pending + taken, count - taken);
			count -= taken;
		} while (taken);
	}
}

void console_init(const struct weir_config *config)
{
	struct thread *t;
	int err;

	mutex_init(&consoles_lock, "consoles", LOCK_VM_LIST);
	wait_queue_init(&input_wait);
	if (!config->console_port)
		return;
	err = serial_irq();
	if (err >= 0)
		err = irq_register_isa((u32)err, input_interrupt, NULL);
	input_by_interrupt = err == 0;
	if (thread_create(&t, "console-input", input_thread, NULL, 0)) {
		log_error("console: no memory for the input thread: what is typed goes nowhere");
		return;
	}
	thread_detach(t);
	if (input_by_interrupt)
		serial_enable_rx_interrupt();
	else
		log_info("console: the UART has no interrupt here: it is polled");
}
