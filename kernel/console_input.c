/* SPDX-License-Identifier: MIT */
#include "kernel/console_input.h"
#include "kernel/console.h"
#include "kernel/monitor/keyboard.h"
#include "kernel/monitor/keys.h"
#include "kernel/monitor/monitor.h"
#include "kernel/serial_irq.h"

#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/serial.h"
#include "kernel/base/string.h"
#include "smp/irq.h"
#include "smp/lift.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define INPUT_RING  1024 /* typed and not yet taken by the thread; a power of two */
#define INPUT_BATCH 64
#define COLLECT_MAX (2 * (SERIAL_RX_RING + SERIAL_FIFO))
#define POLL_NS	    10000000ull
#define PATIENCE    50 /* polls that a guest has to take what was typed before Ctrl-] */
#define NEVER	    (~0ull)

/*
 * A UART holds 16 bytes, which is a millisecond and a half at full speed: the interrupt empties it
 * into this ring, and the thread may take its time.
 */
static struct spinlock ring_lock = SPINLOCK_INIT("console input", LOCK_INPUT);
static u8 ring[INPUT_RING]; /* ring_lock */
static u32 ring_head;	    /* ring_lock; next to take */
static u32 ring_tail;	    /* ring_lock; next to fill. Both may be read without */
static bool called;	    /* atomic: Ctrl-] that found no room, or console_call_monitor */

static struct wait_queue input_wait = WAIT_QUEUE_INIT(input_wait);
static bool polled; /* the UART's interrupt was not seen yet; console thread */

/* Somebody types, or waits for what a command says: the thread does not go by its small weight then. */
static struct lift input_lift;

bool console_input_waits(void)
{
	return READ_ONCE(ring_head) != READ_ONCE(ring_tail);
}

static bool was_called(void)
{
	return __atomic_load_n(&called, __ATOMIC_ACQUIRE);
}

/*
 * What finds no room is lost, as on a UART; leaving it there would end the interrupts. But Ctrl-]
 * is heard even so: it is how one leaves a guest that takes nothing.
 */
static void put_locked(u8 byte)
{
	if (ring_tail - ring_head < INPUT_RING)
		ring[ring_tail++ % INPUT_RING] = byte;
	else if (byte == KEY_LEAVE_BYTE)
		__atomic_store_n(&called, true, __ATOMIC_RELEASE);
}

static void wake(void)
{
	lift_begin(&input_lift);
	wait_wake_all(&input_wait);
}

void console_input_put(u8 byte)
{
	bool on = spin_lock_irqsave(&ring_lock);

	put_locked(byte);
	spin_unlock_irqrestore(&ring_lock, on);
	wake();
}

/*
 * Bounded, for a broken UART may have a byte ready for ever. But what a sound one has is read to the
 * end, or its line stays as it is, and no further interrupt comes: what it and its driver hold, and as
 * much again, for a byte takes longer to come in than to be read.
 */
static void collect(void)
{
	bool on = spin_lock_irqsave(&ring_lock);
	int c;

	for (u32 n = 0; n < COLLECT_MAX && (c = console_getc_poll()) >= 0; n++)
		put_locked((u8)c);
	spin_unlock_irqrestore(&ring_lock, on);
}

static void input_interrupt(void *arg)
{
	(void)arg;
	collect();
	wake();
}

void console_call_monitor(void)
{
	__atomic_store_n(&called, true, __ATOMIC_RELEASE);
	wake();
}

static void poll(void)
{
	if (!polled)
		return;
	polled = !serial_irq_comes();
	if (!polled)
		log_info("console: the UART's interrupt comes: it is polled no longer");
	/* Once more: what came in before the last one was seen. */
	collect();
}

static bool is_wanted(void)
{
	return console_input_waits() || was_called();
}

/*
 * False: nothing came by the deadline. Where there is one, a command goes on then, and whoever gave it
 * waits for that.
 */
static bool wait_for_input(u64 deadline_ns)
{
	u64 next;

	for (;;) {
		poll();
		if (is_wanted()) {
			/* The one who typed it lifted the thread; but that may have been just before this. */
			lift_begin(&input_lift);
			return true;
		}
		if (clock_ns() >= deadline_ns)
			return false;
		if (deadline_ns == NEVER)
			lift_end(&input_lift);
		next = polled ? min(deadline_ns, clock_ns() + POLL_NS) : deadline_ns;
		if (next == NEVER)
			wait_event(&input_wait, is_wanted());
		else
			(void)wait_event_until(&input_wait, is_wanted(), next);
	}
}

int console_getc(u64 deadline_ns)
{
	int byte = -1;
	bool on;

	/* The monitor is called while it is there already: nothing to do. */
	do {
		__atomic_store_n(&called, false, __ATOMIC_RELEASE);
		if (!wait_for_input(deadline_ns))
			return -1;
	} while (!console_input_waits());
	on = spin_lock_irqsave(&ring_lock);
	byte = ring[ring_head++ % INPUT_RING];
	spin_unlock_irqrestore(&ring_lock, on);
	return byte;
}

/* Takes everything up to the first such byte, and that. False: there is none. */
static bool take_through(u8 byte)
{
	bool on = spin_lock_irqsave(&ring_lock), found = false;

	for (u32 at = ring_head; !found && at != ring_tail; at++) {
		found = ring[at % INPUT_RING] == byte;
		if (found)
			ring_head = at + 1;
	}
	spin_unlock_irqrestore(&ring_lock, on);
	return found;
}

bool console_interrupted(void)
{
	poll();
	return take_through(KEY_INTERRUPT_BYTE);
}

static void take_all(void)
{
	bool on = spin_lock_irqsave(&ring_lock);

	ring_head = ring_tail;
	spin_unlock_irqrestore(&ring_lock, on);
}

/* Up to max bytes that are before any Ctrl-]. */
static u32 take(u8 *bytes, u32 max)
{
	bool on = spin_lock_irqsave(&ring_lock);
	u32 n = 0;

	while (n < max && ring_head != ring_tail && ring[ring_head % INPUT_RING] != KEY_LEAVE_BYTE)
		bytes[n++] = ring[ring_head++ % INPUT_RING];
	spin_unlock_irqrestore(&ring_lock, on);
	return n;
}

/* What was typed for a VM, which has not taken it yet. */
struct typed {
	u8 bytes[INPUT_BATCH];
	u32 count;
	const struct vm_console *whom; /* who was offered them, NULL for nobody */
};

/* Returns how many bytes it took now. */
static u32 offer(struct typed *t)
{
	int taken;

	t->count += take(t->bytes + t->count, INPUT_BATCH - t->count);
	if (!t->count)
		return 0;
	taken = console_deliver(t->bytes, t->count, &t->whom);
	/* The VM that it was typed for has ended: so goes what is in the ring behind it. */
	while (taken < 0 && t->count)
		t->count = take(t->bytes, INPUT_BATCH);
	if (taken < 0)
		taken = 0;
	memmove(t->bytes, t->bytes + taken, t->count - (u32)taken);
	t->count -= (u32)taken;
	if (!t->count)
		t->whom = NULL;
	return (u32)taken;
}

/*
 * What is typed goes to the VM that has the console, until Ctrl-]. What its UART has no room for is
 * offered again, for a while also when Ctrl-] waits behind it.
 */
static void relay(void)
{
	struct typed typed = {.count = 0};
	u32 taken, refusals = 0;

	for (;;) {
		taken = offer(&typed);
		refusals = typed.count && !taken ? refusals + 1 : 0;
		if (__atomic_exchange_n(&called, false, __ATOMIC_ACQ_REL)) {
			take_all(); /* it was typed for a guest */
			return;
		}
		if ((!typed.count || refusals > PATIENCE) && take_through(KEY_LEAVE_BYTE))
			return;
		if (typed.count && !taken)
			thread_sleep_until(clock_ns() + POLL_NS); /* nothing tells of room */
		else if (!taken)
			(void)wait_for_input(NEVER);
	}
}

static void console_thread(void *arg)
{
	(void)arg;
	lift_init(&input_lift, thread_current());
	for (;;) {
		relay();
		console_show_monitor();
		monitor_run();
	}
}

void console_input_start(void)
{
	struct thread_options options = {.weight = WEIGHT_DAEMON};
	struct thread *t;

	cpu_set_add(&options.allowed, 0);
	if (serial_is_there()) {
		polled = !serial_irq_start(input_interrupt);
		if (polled)
			log_info("console: no interrupt of the UART's was seen: it is polled");
		collect(); /* what the log's writers have put by has interrupted nobody */
	}
	keyboard_start(console_input_put);
	if (thread_create_with(&t, "console", console_thread, NULL, &options)) {
		log_error("console: no memory for the input thread: what is typed goes nowhere");
		return;
	}
	thread_detach(t);
}
