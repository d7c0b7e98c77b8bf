/* SPDX-License-Identifier: MIT */
#include "kernel/dev/rtc.h"

#include "kernel/base/string.h"
#include "kernel/dev/chipset.h"
#include "kernel/guest/memory.h"

#define RTC_PORT    0x70
#define OFFSET_DATA 1
#define IRQ	    8
#define INDEX_MASK  0x7f /* bit 7 masks NMI on a PC; there is no source to mask */

enum {
	RTC_SECOND = 0,
	RTC_SECOND_ALARM = 1,
	RTC_MINUTE = 2,
	RTC_MINUTE_ALARM = 3,
	RTC_HOUR = 4,
	RTC_HOUR_ALARM = 5,
	RTC_WEEKDAY = 6,
	RTC_DAY = 7,
	RTC_MONTH = 8,
	RTC_YEAR = 9,
	RTC_A = 10,
	RTC_B = 11,
	RTC_C = 12,
	RTC_D = 13,
	/* CMOS memory as PC firmware uses it */
	CMOS_EQUIPMENT = 0x14,
	CMOS_BASE_KIB = 0x15,
	CMOS_EXTENDED_KIB = 0x17,
	CMOS_EXTENDED_KIB_2 = 0x30,
	RTC_CENTURY = 0x32,
	CMOS_ABOVE_16M = 0x34, /* in units of 64 KiB */
	CMOS_ABOVE_4G = 0x5b,  /* likewise, three bytes */
	CMOS_CPUS = 0x5f,      /* less one */
};

#define A_UPDATING	0x80
#define A_RATE		0x0f
#define A_DIVIDER_RESET 0x60 /* both bits: the divider chain is held */
#define A_POWER_ON	0x26 /* 32.768 kHz, 1024 Hz */
#define B_SET		0x80
#define B_UPDATE	0x10
#define B_INTERRUPTS	0x70 /* PIE, AIE, UIE: the places of their flags in C */
#define C_IRQF		0x80
#define C_PERIODIC	0x40
#define C_ALARM		0x20
#define C_UPDATE	0x10
#define D_VALID		0x80
#define EQUIPMENT_FPU	0x02
#define DIVIDER_HZ	32768ull
#define FIRST_UPDATE_NS 500000000ull /* after the divider was released */
#define UPDATING_NS	2228000ull   /* warning and cycle, at the end of a second */

static bool is_held(const struct rtc *r)
{
	return (r->ram[RTC_B] & B_SET) || (r->ram[RTC_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

static s64 second_now(const struct rtc *r, u64 now)
{
	return r->base_seconds + (s64)((now + r->phase_ns) / NS_PER_SECOND);
}

/* --- the time registers --- */

/* The time as it is, into the bytes the guest sees. */
static void show_time(struct rtc *r, u64 now)
{
	u8 b = r->ram[RTC_B];
	struct rtc_date d;

	rtc_date_from_seconds(second_now(r, now), &d);
	r->ram[RTC_SECOND] = rtc_encode(d.second, b);
	r->ram[RTC_MINUTE] = rtc_encode(d.minute, b);
	r->ram[RTC_HOUR] = rtc_encode_hour(d.hour, b);
	r->ram[RTC_WEEKDAY] = rtc_encode((d.weekday + r->weekday_shift) % 7 + 1, b);
	r->ram[RTC_DAY] = rtc_encode(d.day, b);
	r->ram[RTC_MONTH] = rtc_encode(d.month, b);
	r->ram[RTC_YEAR] = rtc_encode((u32)(d.year % 100), b);
	r->ram[RTC_CENTURY] = rtc_encode((u32)(d.year / 100), b);
}

/* The bytes become the time. What is no date is brought into range. */
static void take_time(struct rtc *r, u64 now)
{
	u8 b = r->ram[RTC_B];
	u32 century = rtc_decode(r->ram[RTC_CENTURY], b) % 100;
	u32 weekday = rtc_decode(r->ram[RTC_WEEKDAY], b);
	struct rtc_date d = {
		.year = century * 100 + rtc_decode(r->ram[RTC_YEAR], b) % 100,
		.month = rtc_decode(r->ram[RTC_MONTH], b),
		.day = rtc_decode(r->ram[RTC_DAY], b),
		.hour = rtc_decode_hour(r->ram[RTC_HOUR], b),
		.minute = rtc_decode(r->ram[RTC_MINUTE], b),
		.second = rtc_decode(r->ram[RTC_SECOND], b),
	};
	s64 seconds = rtc_date_to_seconds(&d);

	r->base_seconds += seconds - second_now(r, now);
	r->seen_second = seconds;
	rtc_date_from_seconds(seconds, &d);
	r->weekday_shift = (weekday % 7 + 6 + 7 - d.weekday) % 7;
}

static bool is_time(u8 index)
{
	return index == RTC_SECOND || index == RTC_MINUTE || index == RTC_HOUR ||
	       (index >= RTC_WEEKDAY && index <= RTC_YEAR) || index == RTC_CENTURY;
}

/* --- flags and the interrupt --- */

/* Ticks of 32.768 kHz between two periodic flags; 0: off. Rates 1 and 2 repeat 8 and 9. */
static u64 period_ticks(const struct rtc *r)
{
	u32 rate = r->ram[RTC_A] & A_RATE;

	if (rate == 0)
		return 0;
	return 1ull << (rate <= 2 ? rate + 6 : rate - 1);
}

static u64 period_now(const struct rtc *r, u64 now)
{
	u64 t = now + r->phase_ns, period = period_ticks(r);
	u64 ticks = t / NS_PER_SECOND * DIVIDER_HZ + t % NS_PER_SECOND * DIVIDER_HZ / NS_PER_SECOND;

	return period ? ticks / period : 0;
}

static s64 next_alarm(const struct rtc *r)
{
	struct rtc_alarm a = {r->ram[RTC_SECOND_ALARM], r->ram[RTC_MINUTE_ALARM],
			      r->ram[RTC_HOUR_ALARM]};

	return rtc_next_alarm(&a, r->ram[RTC_B], r->seen_second);
}

static void set_line(struct rtc *r)
{
	r->line = r->flags & r->ram[RTC_B] & B_INTERRUPTS;
	chipset_irq(r->p, IRQ, r->line);
}

/* Raises the flags of all that happened since the last look. */
static void catch_up(struct rtc *r, u64 now)
{
	u64 period = period_now(r, now);
	s64 second;

	if (period != r->seen_period)
		r->flags |= C_PERIODIC;
	r->seen_period = period;
	if (!is_held(r)) {
		second = second_now(r, now);
		if (second > r->seen_second) {
			r->flags |= C_UPDATE;
			if (next_alarm(r) <= second)
				r->flags |= C_ALARM;
		}
		r->seen_second = second;
	}
	set_line(r);
}

/* clock_ns at which the guest's clock shows the second. */
static u64 ns_of_second(const struct rtc *r, s64 second)
{
	return (u64)(second - r->base_seconds) * NS_PER_SECOND - r->phase_ns;
}

static u64 ns_of_next_period(const struct rtc *r)
{
	u64 ticks = (r->seen_period + 1) * period_ticks(r);

	return ticks / DIVIDER_HZ * NS_PER_SECOND +
	       (ticks % DIVIDER_HZ * NS_PER_SECOND + DIVIDER_HZ - 1) / DIVIDER_HZ - r->phase_ns;
}

/* After catch_up. While the line is high no further flag can be heard. */
static void rearm(struct rtc *r, u64 now)
{
	u8 enabled = r->ram[RTC_B] & B_INTERRUPTS;
	u64 at = ~0ull;
	s64 alarm;

	if (r->line || !enabled || chipset_is_paused(r->p))
		return;
	if ((enabled & C_PERIODIC) && period_ticks(r))
		at = ns_of_next_period(r);
	if ((enabled & C_UPDATE) && !is_held(r))
		at = min(at, ns_of_second(r, r->seen_second + 1));
	if ((enabled & C_ALARM) && !is_held(r)) {
		alarm = next_alarm(r);
		if (alarm != RTC_NEVER)
			at = min(at, ns_of_second(r, alarm));
	}
	if (at != ~0ull)
		timer_arm(&r->timer, max(at, now + DEVICE_DELAY_MIN_NS));
}

void rtc_resume(struct rtc *r)
{
	u64 now = clock_ns();

	catch_up(r, now);
	rearm(r, now);
}

/* Interrupt context. */
static void fired(struct timer *t)
{
	struct rtc *r = container_of(t, struct rtc, timer);
	bool on = spin_lock_irqsave(&r->p->lock);

	rtc_resume(r);
	spin_unlock_irqrestore(&r->p->lock, on);
}

/* --- registers --- */

static u8 read_a(const struct rtc *r, u64 now)
{
	u64 into = (now + r->phase_ns) % NS_PER_SECOND;
	bool updating = !is_held(r) && into >= NS_PER_SECOND - UPDATING_NS;

	return r->ram[RTC_A] | (updating ? A_UPDATING : 0);
}

static u8 read_c(struct rtc *r)
{
	u8 value = r->flags | (r->line ? C_IRQF : 0);

	r->flags = 0;
	set_line(r);
	return value;
}

static u8 read_register(struct rtc *r, u8 index, u64 now)
{
	switch (index) {
	case RTC_A:
		return read_a(r, now);
	case RTC_C:
		return read_c(r);
	case RTC_D:
		return D_VALID;
	}
	if (is_time(index) && !is_held(r))
		show_time(r, now);
	return r->ram[index];
}

/* A or B change: the clock may stop with the bytes it shows, or go on from those written. */
static void write_control(struct rtc *r, u8 index, u8 value, u64 now)
{
	bool was_held = is_held(r);
	bool was_reset = (r->ram[RTC_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;

	if (!was_held)
		show_time(r, now);
	r->ram[index] = value;
	if (!was_held && !is_held(r))
		show_time(r, now); /* in the format that holds now */
	if (was_reset && (r->ram[RTC_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET)
		r->phase_ns = FIRST_UPDATE_NS + NS_PER_SECOND - now % NS_PER_SECOND;
	if (was_held && !is_held(r))
		take_time(r, now);
	/* Another rate counts from now on. */
	r->seen_period = period_now(r, now);
}

static void write_register(struct rtc *r, u8 index, u8 value, u64 now)
{
	switch (index) {
	case RTC_A:
		write_control(r, index, value & ~A_UPDATING, now);
		return;
	case RTC_B:
		if (value & B_SET)
			value &= ~B_UPDATE;
		write_control(r, index, value, now);
		return;
	case RTC_C:
	case RTC_D:
		return;
	}
	if (is_time(index) && !is_held(r)) {
		show_time(r, now);
		r->ram[index] = value;
		take_time(r, now);
	} else {
		r->ram[index] = value;
	}
}

static u64 rtc_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct rtc *r = container_of(d, struct rtc, dev);
	u64 now, value = ~0ull; /* the index is not read back */
	bool on = spin_lock_irqsave(&r->p->lock);

	(void)v;
	(void)size;
	if (offset == OFFSET_DATA) {
		now = clock_ns();
		catch_up(r, now);
		value = read_register(r, r->index, now);
		rearm(r, now);
	}
	spin_unlock_irqrestore(&r->p->lock, on);
	return value;
}

static void rtc_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct rtc *r = container_of(d, struct rtc, dev);
	bool on = spin_lock_irqsave(&r->p->lock);
	u64 now = clock_ns();

	(void)v;
	(void)size;
	if (offset == OFFSET_DATA) {
		catch_up(r, now);
		write_register(r, r->index, (u8)value, now);
		set_line(r);
		rearm(r, now);
	} else {
		r->index = value & INDEX_MASK;
	}
	spin_unlock_irqrestore(&r->p->lock, on);
}

/* --- power-on --- */

static void put(struct rtc *r, u32 index, u32 bytes, u64 value)
{
	value = min(value, BIT(bytes * 8) - 1);
	for (u32 i = 0; i < bytes; i++)
		r->ram[index + i] = (u8)(value >> (i * 8));
}

/* Memory sizes as a PC's firmware leaves them for those who ask CMOS. */
static void fill_memory_sizes(struct rtc *r)
{
	u64 mem = r->p->vm->config.mem;
	u64 low = min(mem, (u64)GUEST_LOWMEM_TOP);
	u64 extended = low > MIB(1) ? (low - MIB(1)) / KIB(1) : 0;

	put(r, CMOS_BASE_KIB, 2, min(mem, (u64)GUEST_LEGACY_HOLE) / KIB(1));
	put(r, CMOS_EXTENDED_KIB, 2, extended);
	put(r, CMOS_EXTENDED_KIB_2, 2, extended);
	put(r, CMOS_ABOVE_16M, 2, low > MIB(16) ? (low - MIB(16)) / KIB(64) : 0);
	put(r, CMOS_ABOVE_4G, 3, (mem - low) / KIB(64));
}

static void rtc_reset(struct device *d)
{
	struct rtc *r = container_of(d, struct rtc, dev);
	bool on = spin_lock_irqsave(&r->p->lock);
	u64 now = clock_ns();

	memset(r->ram, 0, sizeof(r->ram));
	r->ram[RTC_A] = A_POWER_ON;
	r->ram[RTC_B] = RTC_B_24H;
	r->ram[CMOS_EQUIPMENT] = EQUIPMENT_FPU;
	r->ram[CMOS_CPUS] = (u8)(r->p->vm->config.vcpus - 1);
	fill_memory_sizes(r);
	r->index = 0;
	r->flags = 0;
	r->base_seconds = (s64)clock_boot_wall_seconds();
	r->phase_ns = 0;
	r->weekday_shift = 0;
	r->seen_second = second_now(r, now);
	r->seen_period = period_now(r, now);
	set_line(r);
	spin_unlock_irqrestore(&r->p->lock, on);
}

static void rtc_destroy(struct device *d)
{
	timer_cancel(&container_of(d, struct rtc, dev)->timer);
}

static const struct device_ops rtc_ops = {
	.name = "rtc",
	.width = 1,
	.read = rtc_read,
	.write = rtc_write,
	.quick = DEVICE_QUICK_READ | DEVICE_QUICK_WRITE,
	.reset = rtc_reset,
	.destroy = rtc_destroy,
};

int rtc_init(struct rtc *r, struct platform *p)
{
	r->p = p;
	timer_init(&r->timer, fired);
	chipset_add(p, &r->dev, &rtc_ops);
	return bus_register(&p->vm->bus, SPACE_PIO, RTC_PORT, 2, &r->dev, 0);
}
