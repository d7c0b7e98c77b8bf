/* SPDX-License-Identifier: MIT */
/*
 * The 8254 interval timer (Intel 8254 data sheet, order 231164) with a PC's wiring: channel 0 to
 * IRQ 0, channel 2's gate and output at port 0x61. Nothing ticks: counts and outputs follow from
 * the time when they are asked for, and a host timer is armed for IRQ 0's next edge only while
 * somebody would take it. Functions want the platform's lock; any context.
 */
#ifndef KERNEL_DEV_PIT_H
#define KERNEL_DEV_PIT_H

#include "kernel/dev/device.h"
#include "smp/timer.h"

#define PIT_HZ	     1193182ull
#define PIT_CHANNELS 3

#define PIT_ACCESS_BOTH 3

struct platform;

struct pit_channel {
	union {
		struct {
			u8 mode; /* 0-5 */
			bool bcd;
			u8 access;	 /* 1 low, 2 high, 3 low then high byte */
			bool loaded;	 /* a count was transferred to the counting element */
			bool running;	 /* elapsed = now - start; else held */
			bool next_valid; /* written and not yet transferred: null count */
			bool latched, status_latched;
		};
		u64 state; /* all of it, to be compared at once */
	};
	bool gate;
	bool write_high, read_high; /* the second byte is due */
	u8 written_low;
	u32 count; /* 1 .. 65536 (10000 in BCD) */
	u64 start; /* tick at which the counting element got its count */
	u64 held;  /* elapsed ticks when the gate stopped it */
	u32 next;
	u16 latch;
	u8 status;
	u64 written; /* when, in a mode where it has to wait */
};
static_assert(offsetof(struct pit_channel, gate) == sizeof(u64), "struct pit_channel");

struct pit {
	struct device dev;
	struct platform *p;
	/* platform's lock */
	struct pit_channel channel[PIT_CHANNELS];
	u64 synced;   /* tick up to which IRQ 0 is right */
	bool line;    /* IRQ 0's level */
	u64 fired_ns; /* when the timer went off last */
	u8 port61;
	struct timer timer;
};

int pit_init(struct pit *pit, struct platform *p);

/* Brings IRQ 0 to what it is now, with the edge that came meanwhile. */
void pit_sync(struct pit *pit);

/* Arms the timer for the next edge, where the PIC or IOAPIC would take it. */
void pit_rearm(struct pit *pit);

/* --- pit_channel.c: the counter itself; t is in ticks of PIT_HZ --- */

void pit_channel_set_mode(struct pit_channel *c, u8 control, u64 t);
void pit_channel_write(struct pit_channel *c, u8 value, u64 t);
u8 pit_channel_read_any(struct pit_channel *c, u64 t);
void pit_channel_latch(struct pit_channel *c, bool count, bool status, u64 t);
void pit_channel_set_gate(struct pit_channel *c, bool gate, u64 t);
bool pit_channel_output(struct pit_channel *c, u64 t);
bool pit_channel_is_periodic(const struct pit_channel *c);

/* What clocks read in a loop: mode 2 in binary as it runs, byte after byte, nothing latched. */
static inline bool pit_channel_runs_plainly(const struct pit_channel *c)
{
	static const struct pit_channel plain = {
		.mode = 2, .access = PIT_ACCESS_BOTH, .loaded = true, .running = true};

	return c->state == plain.state;
}

static inline u8 pit_channel_read(struct pit_channel *c, u64 t)
{
	u32 value;
	bool high = c->read_high;

	if (unlikely(!pit_channel_runs_plainly(c)))
		return pit_channel_read_any(c, t);
	c->read_high = !high;
	value = c->count - (u32)((likely(t > c->start) ? t - c->start : 0) % c->count);
	return (u8)(high ? value >> 8 : value);
}

#define PIT_NEVER (~0ull)
/* The tick of the first rising edge of the output after t, or PIT_NEVER. */
u64 pit_channel_next_edge(struct pit_channel *c, u64 t);

#endif
