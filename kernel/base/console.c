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

static u32 lock_owner; /* CPU + 1; 0: free */
static bool locks_broken;

/* lock_owner */
static bool serial_present;
static struct screen screen;

struct console_hold console_lock(void)
{
	struct console_hold hold = {.irqs_on = irq_save()};
	u32 me = log_cpu_id() + 1, spins = 0;

	if (__atomic_load_n(&lock_owner, __ATOMIC_RELAXED) == me) {
		hold.nested = true;
		return hold;
	}
	for (;;) {
		u32 nobody = 0;

		if (__atomic_compare_exchange_n(&lock_owner, &nobody, me, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return hold;
		cpu_relax();
		if (READ_ONCE(locks_broken) && ++spins > CONSOLE_BREAK_SPINS) {
			__atomic_store_n(&lock_owner, me, __ATOMIC_SEQ_CST);
			return hold;
		}
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
}

void console_write(const void *bytes, size_t n)
{
	const u8 *p = bytes;

	while (n) {
		size_t chunk = min(n, (size_t)CHUNK);
		struct console_hold hold = console_lock();

		serial_write(p, chunk);
		screen_write(&screen, p, chunk);
		screen_flush(&screen);
		console_unlock(hold);
		p += chunk;
		n -= chunk;
	}
}

int console_getc_poll(void)
{
	struct console_hold hold = console_lock();
	int c = serial_rx_ready() ? serial_read() : -1;

	console_unlock(hold);
	return c;
}

bool console_emit_line(const char *text, size_t len)
{
	if (!serial_present && !screen.columns)
		return false;
	serial_write(text, len);
	serial_write("\r\n", 2);
	screen_write(&screen, (const u8 *)text, len);
	screen_write(&screen, (const u8 *)"\n", 1);
	return true;
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
