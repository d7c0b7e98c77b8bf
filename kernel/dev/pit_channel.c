/* SPDX-License-Identifier: MIT */
/*
 * One counter of the 8254 as a function of time. The data sheet's modes:
 *   0  output low, high for good N ticks after the count was written; a low gate holds the count
 *   1  output low for N ticks after each rising gate
 *   2  high N-1 ticks, low one, and again; 3  high and low half of N each, and again
 *   4  low for one tick, N ticks after the count was written; 5  the same after a rising gate
 */
#include "kernel/dev/pit.h"

#define CONTROL_ACCESS_SHIFT 4
#define CONTROL_MODE_SHIFT   1
#define CONTROL_BCD	     1

#define ACCESS_LOW  1
#define ACCESS_HIGH 2
#define ACCESS_BOTH PIT_ACCESS_BOTH

#define STATUS_OUTPUT 0x80
#define STATUS_NULL   0x40

#define COUNTS	   0x10000u
#define COUNTS_BCD 10000u

bool pit_channel_is_periodic(const struct pit_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

static bool is_triggered(const struct pit_channel *c)
{
	return c->mode == 1 || c->mode == 5;
}

static inline u64 elapsed(const struct pit_channel *c, u64 t)
{
	if (!c->running)
		return c->held;
	return t > c->start ? t - c->start : 0;
}

static void load(struct pit_channel *c, u64 t)
{
	c->count = c->next;
	c->next_valid = false;
	c->loaded = true;
	c->running = true;
	c->start = t;
	c->held = 0;
}

static u32 high_half(u32 count)
{
	return (count + 1) / 2;
}

/*
 * When a count that was written while mode 2 or 3 ran gets loaded: at the end of the period, or
 * of the half in mode 3. *low: the new count then begins with its low half.
 */
static u64 load_time(const struct pit_channel *c, bool *low)
{
	u64 since = c->written > c->start ? c->written - c->start : 0;
	u64 cycle = c->start + since / c->count * c->count;
	u64 half = cycle + high_half(c->count);

	*low = c->mode == 3 && c->written < half;
	return *low ? half : cycle + c->count;
}

static bool waits_for_load(const struct pit_channel *c)
{
	return c->next_valid && c->running && pit_channel_is_periodic(c);
}

static void __noinline take_waiting(struct pit_channel *c, u64 t)
{
	bool low;
	u64 at;

	if (!waits_for_load(c))
		return;
	at = load_time(c, &low);
	if (t < at)
		return;
	load(c, at);
	/* As if it had been high before. */
	if (low)
		c->start = at - min(at, (u64)high_half(c->count));
}

static inline void take_next(struct pit_channel *c, u64 t)
{
	if (unlikely(c->next_valid))
		take_waiting(c, t);
}

static u32 decode_count(const struct pit_channel *c, u32 raw)
{
	if (!c->bcd)
		return raw ? raw : COUNTS;
	raw = (raw >> 12) * 1000 + ((raw >> 8) & 0xf) * 100 + ((raw >> 4) & 0xf) * 10 + (raw & 0xf);
	return raw ? raw : COUNTS_BCD;
}

static u16 encode_count(const struct pit_channel *c, u32 value)
{
	if (!c->bcd)
		return (u16)value;
	value %= COUNTS_BCD;
	return (u16)((value / 1000 << 12) | (value / 100 % 10 << 8) | (value / 10 % 10 << 4) |
		     value % 10);
}

/* What the counting element holds. After the end it counts on, down from all ones or 9999. */
static u32 current_count(const struct pit_channel *c, u64 t)
{
	u32 wrap = c->bcd ? COUNTS_BCD : COUNTS;
	u64 e = elapsed(c, t);
	u32 in, half;

	if (!c->loaded)
		return 0;
	if (c->mode == 2)
		return (u32)(c->count - e % c->count);
	if (c->mode != 3)
		return (u32)((c->count % wrap + wrap - e % wrap) % wrap);
	/* Mode 3 counts an even number down by twos, once for each half. */
	in = (u32)(e % c->count);
	half = high_half(c->count);
	return (c->count & ~1u) - 2 * (in < half ? in : in - half);
}

void pit_channel_set_mode(struct pit_channel *c, u8 control, u64 t)
{
	u8 mode = (control >> CONTROL_MODE_SHIFT) & 7;

	(void)t;
	c->mode = mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
	c->bcd = control & CONTROL_BCD;
	c->access = (control >> CONTROL_ACCESS_SHIFT) & 3;
	c->loaded = false;
	c->running = false;
	c->held = 0;
	c->next_valid = false;
	c->write_high = false;
	c->read_high = false;
	c->latched = false;
	c->status_latched = false;
}

/* A whole count was written. */
static void set_count(struct pit_channel *c, u32 raw, u64 t)
{
	take_next(c, t);
	c->next = decode_count(c, raw);
	c->next_valid = true;
	if (is_triggered(c))
		return;
	if (pit_channel_is_periodic(c) && c->running) {
		c->written = t;
		return;
	}
	load(c, t + 1); /* on the next clock */
	c->running = c->gate;
}

void pit_channel_write(struct pit_channel *c, u8 value, u64 t)
{
	if (c->access == ACCESS_LOW) {
		set_count(c, value, t);
	} else if (c->access == ACCESS_HIGH) {
		set_count(c, (u32)value << 8, t);
	} else if (!c->write_high) {
		c->write_high = true;
		c->written_low = value;
		/* Mode 0 stops counting at the first byte, its output low. */
		if (c->mode == 0) {
			c->loaded = false;
			c->running = false;
			c->held = 0;
		}
	} else {
		c->write_high = false;
		set_count(c, ((u32)value << 8) | c->written_low, t);
	}
}

static bool reads_high(const struct pit_channel *c)
{
	return c->access == ACCESS_BOTH ? c->read_high : c->access == ACCESS_HIGH;
}

u8 pit_channel_read_any(struct pit_channel *c, u64 t)
{
	bool high = reads_high(c);
	u16 value;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	take_next(c, t);
	value = c->latched ? c->latch : encode_count(c, current_count(c, t));
	c->read_high = !high;
	/* The low byte of two leaves the latch for the high one. */
	if (high || c->access != ACCESS_BOTH)
		c->latched = false;
	return (u8)(high ? value >> 8 : value);
}

/* What is latched stays so until it is read. */
void pit_channel_latch(struct pit_channel *c, bool count, bool status, u64 t)
{
	take_next(c, t);
	if (count && !c->latched) {
		c->latch = encode_count(c, current_count(c, t));
		c->latched = true;
	}
	if (status && !c->status_latched) {
		bool null = c->next_valid || !c->loaded || (c->running && t < c->start);

		c->status = (u8)((pit_channel_output(c, t) ? STATUS_OUTPUT : 0) |
				 (null ? STATUS_NULL : 0) | (c->access << CONTROL_ACCESS_SHIFT) |
				 (c->mode << CONTROL_MODE_SHIFT) | (c->bcd ? CONTROL_BCD : 0));
		c->status_latched = true;
	}
}

void pit_channel_set_gate(struct pit_channel *c, bool gate, u64 t)
{
	take_next(c, t);
	if (gate == c->gate)
		return;
	c->gate = gate;
	if (gate && (is_triggered(c) || pit_channel_is_periodic(c))) {
		if (!c->next_valid) {
			if (!c->loaded)
				return;
			c->next = c->count;
		}
		load(c, t + 1);
	} else if (gate && c->loaded && !c->running) {
		c->start = t - min(t, c->held);
		c->running = true;
	} else if (!gate && c->loaded && c->running && !is_triggered(c)) {
		c->held = elapsed(c, t);
		c->running = false;
	}
}

bool pit_channel_output(struct pit_channel *c, u64 t)
{
	u64 e;

	take_next(c, t);
	if (!c->loaded)
		return c->mode != 0;
	e = elapsed(c, t);
	switch (c->mode) {
	case 0:
		return e >= c->count;
	case 1:
		return e >= c->count || t < c->start;
	case 2:
		return !c->running || e % c->count != c->count - 1;
	case 3:
		return !c->running || e % c->count < high_half(c->count);
	default:
		return e != c->count;
	}
}

u64 pit_channel_next_edge(struct pit_channel *c, u64 t)
{
	u64 cycles, at;
	bool low;

	take_next(c, t);
	if (!c->loaded || !c->running)
		return PIT_NEVER;
	if (waits_for_load(c)) {
		at = load_time(c, &low);
		return low ? at + c->next / 2 : at;
	}
	switch (c->mode) {
	case 0:
	case 1:
		return c->start + c->count > t ? c->start + c->count : PIT_NEVER;
	case 2:
	case 3:
		if (t < c->start)
			return c->start + c->count;
		cycles = (t - c->start) / c->count + 1;
		return c->start + cycles * c->count;
	default:
		return c->start + c->count + 1 > t ? c->start + c->count + 1 : PIT_NEVER;
	}
}
