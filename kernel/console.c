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

#define DELETE	    0x7f
#define TEXT_MAX    240
#define INPUT_RING  1024 /* typed and not yet taken by the thread; a power of two */
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
		if (bytes[i] == '\n' || bytes[i] == '\r')
			continue;
		/* An escape sequence could move the cursor into another VM's line. */
		c->line[c->length++] = bytes[i] >= ' ' && bytes[i] != DELETE ? (char)bytes[i] : '?';
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

/*
 * A UART holds 16 bytes, which is a millisecond and a half at full speed: the interrupt empties it
 * into this ring, and the thread may take its time.
 */
static u8 ring[INPUT_RING];
static u32 ring_head; /* the thread's: next to take */
static u32 ring_tail; /* interrupt's, or the thread's where it polls: next to fill */

static bool ring_empty(void)
{
	return ring_head == __atomic_load_n(&ring_tail, __ATOMIC_ACQUIRE);
}

/*
 * What finds no room is lost, as on a UART; leaving it there would end the interrupts. Bounded, for
 * a broken UART may have a byte ready for ever.
 */
static void collect(void)
{
	u32 tail = ring_tail;
	int c;

	for (u32 n = 0; n < INPUT_RING && (c = console_getc_poll()) >= 0; n++) {
		if (tail - __atomic_load_n(&ring_head, __ATOMIC_ACQUIRE) < INPUT_RING)
			ring[tail++ % INPUT_RING] = (u8)c;
	}
	__atomic_store_n(&ring_tail, tail, __ATOMIC_RELEASE);
}

static void input_interrupt(void *arg)
{
	(void)arg;
	collect();
	wait_wake_all(&input_wait);
}

static u32 take(u8 *bytes, u32 max)
{
	u32 n = 0;

	while (n < max && !ring_empty()) {
		bytes[n++] = ring[ring_head % INPUT_RING];
		__atomic_store_n(&ring_head, ring_head + 1, __ATOMIC_RELEASE);
	}
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

/* backlog: the guest had no room; nothing tells when it has. */
static void wait_for_input(bool backlog)
{
	u64 deadline = clock_ns() + POLL_NS;

	if (backlog)
		thread_sleep_until(deadline);
	else if (input_by_interrupt)
		wait_event(&input_wait, !ring_empty());
	else if (!wait_event_until(&input_wait, !ring_empty(), deadline))
		collect();
}

static void input_thread(void *arg)
{
	static u8 pending[INPUT_BATCH];
	u32 count = 0, taken;

	(void)arg;
	for (;;) {
		wait_for_input(count > 0);
		do {
			count += take(pending + count, INPUT_BATCH - count);
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
