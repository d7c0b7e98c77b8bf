/* SPDX-License-Identifier: MIT */
/*
 * Where the log and the guests' consoles come out: a 16550 UART, and a text screen, which is VGA's
 * or drawn on a framebuffer. Any context. One lock of its own (LOCK_LOG in the order of locks; a
 * plain word here, since the base uses no floor above), with interrupts off; a CPU that comes back
 * into it, by an NMI or a fault inside, goes on without it.
 */
#ifndef KERNEL_BASE_CONSOLE_H
#define KERNEL_BASE_CONSOLE_H

#include "kernel/base/boot_info.h"

struct console_hold {
	bool irqs_on;
	bool nested; /* this CPU held it already */
};

/* Between two lines of console_write_line's: the rest of one that is half out goes before. */
struct console_hold console_lock(void);
void console_unlock(struct console_hold hold);

/* A panic no longer waits for a lock whose holder may be stopped: it takes it after a while. */
void console_break_locks(void);
bool console_locks_are_broken(void);

/* Raw bytes to every sink, as they are. Screens take LF for a new line, and few escape sequences. */
void console_write(const void *bytes, size_t n);

/*
 * A line with its end, up to CONSOLE_LINE_MAX bytes: nothing comes between them, though the lock is let
 * go as often as above. Thread context.
 */
#define CONSOLE_LINE_MAX 320
void console_write_line(const void *bytes, size_t n);

/*
 * Bytes that draw an operator's line, from where the terminal's line begins. They are written now,
 * and again below each line of the log, which takes the place of what they drew. n 0: there is no
 * such line any more; what is shown of it stays.
 */
#define CONSOLE_FOOTER_MAX 320
void console_set_footer(const void *bytes, size_t n);

/* A byte that was received, or -1. Without interrupts: see serial.h for those. */
int console_getc_poll(void);

/*
 * For the log, under the lock. A line: CR LF follows. False: there is no sink yet. console_flush
 * brings a screen up to date.
 */
bool console_emit_line(const char *text, size_t len);
void console_flush(void);

/* Boot: each adds a sink. log_replay() then shows there what the log holds. */
int console_add_serial(u16 port, u32 baud); /* 0, ERR_NOENT: no UART answers, ERR_INVAL */
void console_add_vga(void *text);	    /* 80x25 cells, mapped */
int console_add_framebuffer(const struct boot_framebuffer *fb, void *pixels); /* ERR_NOTSUP */

/*
 * While page tables change: screens are drawn in memory only, until they are told where their
 * pixels or cells are now.
 */
void console_detach_screen(void);
void console_attach_screen(void *pixels);

#endif
