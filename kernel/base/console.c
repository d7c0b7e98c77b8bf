/* SPDX-License-Identifier: MIT */
#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/screen.h"
#include "kernel/base/serial.h"
#include "kernel/base/x86.h"

#define CHUNK 64 /* bytes written with interrupts off */

/* A panic's patience: some tenths of a second. */
#ifndef CONSOLE_BREAK_SPINS
#define CONSOLE_BREAK_SPINS 50000000
#endif

#define HAND_OVER_SPINS 1000

static u32 lock_owner; /* CPU + 1; 0: free */
static u32 waiting;    /* atomic: who spins for it */
static bool locks_broken;

/* lock_owner */
static bool serial_present;
static struct screen screen;
static u8 footer[CONSOLE_FOOTER_MAX];
static size_t footer_length;
static u8 line[CONSOLE_LINE_MAX]; /* that is being put out, up to line_at */
static size_t line_at, line_length;

static struct console_hold take_lock(void)
{
	struct console_hold hold = {.irqs_on = irq_save()};
	u32 me = log_cpu_id() + 1, spins = 0;

	if (__atomic_load_n(&lock_owner, __ATOMIC_RELAXED) == me) {
		hold.nested = true;
		return hold;
	}
	__atomic_fetch_add(&waiting, 1, __ATOMIC_RELAXED);
	for (;;) {
		u32 nobody = 0;

		if (__atomic_compare_exchange_n(&lock_owner, &nobody, me, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			break;
		cpu_relax();
		if (READ_ONCE(locks_broken) && ++spins > CONSOLE_BREAK_SPINS) {
			__atomic_store_n(&lock_owner, me, __ATOMIC_SEQ_CST);
			break;
		}
	}
	__atomic_fetch_sub(&waiting, 1, __ATOMIC_RELAXED);
	return hold;
}

/*
 * Who writes much lets others in between its pieces: it would win the word back every time, for it
 * has it in its cache, and who loses has interrupts off.
 */
static void let_others_in(void)
{
	for (u32 i = 0; i < HAND_OVER_SPINS; i++) {
		if (!READ_ONCE(waiting) || READ_ONCE(lock_owner))
			break;
		cpu_relax();
	}
}

void console_unlock(struct console_hold hold)
{
	if (!hold.nested)
		__atomic_store_n(&lock_owner, 0, __ATOMIC_RELEASE);
	irq_restore(hold.irqs_on);
}

void console_break_locks(void)
{
	WRITE_ONCE(locks_broken, true);
	footer_length = 0; /* nobody edits a line any more */
}

bool console_locks_are_broken(void)
{
	return READ_ONCE(locks_broken);
}

/* The console lock is held. */
static void emit(const void *bytes, size_t n)
{
	serial_write(bytes, n);
	screen_write(&screen, bytes, n);
}

/* The console lock is held. */
static void put_chunk_of_line(void)
{
	size_t at = line_at, chunk = min(line_length - at, (size_t)CHUNK);

	line_at = at + chunk;
	emit(line + at, chunk);
	screen_flush(&screen);
}

/*
 * Who comes between two pieces of a line puts out the rest of it first. It waits for nobody: whose
 * line it is may be preempted, or stopped by a panic. Who comes back into the console does not know
 * how far the line really is.
 */
struct console_hold console_lock(void)
{
	for (;;) {
		struct console_hold hold = take_lock();

		if (hold.nested || line_at >= line_length)
			return hold;
		put_chunk_of_line();
		console_unlock(hold);
		let_others_in();
	}
}

void console_write(const void *bytes, size_t n)
{
	const u8 *p = bytes;

	while (n) {
		size_t chunk = min(n, (size_t)CHUNK);
		struct console_hold hold = console_lock();

		emit(p, chunk);
		screen_flush(&screen);
		console_unlock(hold);
		let_others_in();
		p += chunk;
		n -= chunk;
	}
}

void console_write_line(const void *bytes, size_t n)
{
	struct console_hold hold = console_lock();

	n = min(n, sizeof(line));
	/* A panic that stops this CPU here finds nothing of a line, or all of it. */
	WRITE_ONCE(line_length, 0);
	WRITE_ONCE(line_at, 0);
	barrier();
	__builtin_memcpy(line, bytes, n);
	barrier();
	WRITE_ONCE(line_length, n);
	console_unlock(hold);
	console_unlock(console_lock()); /* after the line */
	let_others_in();
}

int console_getc_poll(void)
{
	struct console_hold hold = take_lock();
	int c = serial_rx_ready() ? serial_read() : -1;

	console_unlock(hold);
	return c;
}

bool console_emit_line(const char *text, size_t len)
{
	static const char erase_line[] = "\r\x1b[K";

	if (!serial_present && !screen.columns)
		return false;
	if (footer_length)
		emit(erase_line, sizeof(erase_line) - 1);
	emit(text, len);
	emit("\r\n", 2);
	if (footer_length)
		emit(footer, footer_length);
	return true;
}

void console_set_footer(const void *bytes, size_t n)
{
	struct console_hold hold = console_lock();

	footer_length = min(n, sizeof(footer));
	if (footer_length)
		__builtin_memcpy(footer, bytes, footer_length);
	screen.cursor = footer_length != 0;
	emit(footer, footer_length);
	screen_flush(&screen);
	console_unlock(hold);
}

void console_flush(void)
{
	screen_flush(&screen);
}

int console_add_serial(u16 port, u32 baud)
{
	struct console_hold hold = console_lock();
	int err = serial_init(port, baud);

	serial_present = err == 0;
	console_unlock(hold);
	return err;
}

void console_add_vga(void *text)
{
	struct console_hold hold = console_lock();

	screen_init_vga(&screen, text);
	console_unlock(hold);
}

int console_add_framebuffer(const struct boot_framebuffer *fb, void *pixels)
{
	struct console_hold hold = console_lock();
	int err = screen_init_framebuffer(&screen, fb, pixels);

	console_unlock(hold);
	return err;
}

void console_detach_screen(void)
{
	struct console_hold hold = console_lock();

	screen_attach(&screen, NULL);
	console_unlock(hold);
}

void console_attach_screen(void *pixels)
{
	struct console_hold hold = console_lock();

	screen_attach(&screen, pixels);
	screen_flush(&screen);
	console_unlock(hold);
}
