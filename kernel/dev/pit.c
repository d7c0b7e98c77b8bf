/* SPDX-License-Identifier: MIT */
#include "kernel/dev/pit.h"

#include "kernel/base/string.h"
#include "kernel/dev/chipset.h"

#define PIT_PORT       0x40
#define PORT_61	       0x61
#define OFFSET_CONTROL 3
#define OFFSET_61      4

#define CONTROL_CHANNEL_SHIFT 6
#define CONTROL_READ_BACK     3
#define CONTROL_ACCESS	      0x30
#define READ_BACK_NO_COUNT    0x20
#define READ_BACK_NO_STATUS   0x10

#define PORT61_GATE2   0x01
#define PORT61_KEPT    0x0f
#define PORT61_REFRESH 0x10
#define PORT61_OUT2    0x20
#define REFRESH_NS     15085ull /* between two toggles: a row each */

#define IRQ	0
#define SPEAKER 2

/* As a PC's firmware leaves them: 18.2 Hz, DRAM refresh, the speaker's tone. */
#define CONTROL_TICK	0x36
#define CONTROL_REFRESH 0x54
#define CONTROL_SPEAKER 0xb6
#define COUNT_REFRESH	18

/* Ticks in a nanosecond, 2^64 times, rounded up: a tick never comes later than ns_of says. */
#define TICKS_PER_NS \
	((u64)((((unsigned __int128)PIT_HZ << 64) + NS_PER_SECOND - 1) / NS_PER_SECOND))

static u64 ticks_of(u64 ns)
{
	return (u64)(((unsigned __int128)ns * TICKS_PER_NS) >> 64);
}

/* The first nanosecond that belongs to the tick. */
static u64 ns_of(u64 tick)
{
	return tick / PIT_HZ * NS_PER_SECOND +
	       (tick % PIT_HZ * NS_PER_SECOND + PIT_HZ - 1) / PIT_HZ;
}

static void set_irq(struct pit *pit, bool level)
{
	if (level == pit->line)
		return;
	pit->line = level;
	chipset_irq(pit->p, IRQ, level);
}

void pit_sync(struct pit *pit)
{
	u64 t = ticks_of(clock_ns());
	struct pit_channel *c = &pit->channel[0];
	bool edge = pit_channel_next_edge(c, pit->synced) <= t;

	pit->synced = t;
	if (edge) {
		set_irq(pit, false);
		set_irq(pit, true);
	}
	set_irq(pit, pit_channel_output(c, t));
}

void pit_rearm(struct pit *pit)
{
	u64 edge, least;

	if (chipset_is_paused(pit->p))
		return;
	if (!pic_wants_edge(&pit->p->pic, IRQ) &&
	    !ioapic_wants_edge(&pit->p->ioapic, CHIPSET_TIMER_PIN))
		return;
	edge = pit_channel_next_edge(&pit->channel[0], pit->synced);
	least = pit_channel_is_periodic(&pit->channel[0]) ? DEVICE_PERIOD_MIN_NS
							  : DEVICE_DELAY_MIN_NS;
	if (edge != PIT_NEVER)
		timer_arm(&pit->timer, max(ns_of(edge), pit->fired_ns + least));
}

/* Interrupt context. */
static void fired(struct timer *t)
{
	struct pit *pit = container_of(t, struct pit, timer);
	bool on = spin_lock_irqsave(&pit->p->lock);

	pit->fired_ns = clock_ns();
	pit_sync(pit);
	pit_rearm(pit);
	spin_unlock_irqrestore(&pit->p->lock, on);
}

static void read_back(struct pit *pit, u8 value, u64 t)
{
	for (u32 i = 0; i < PIT_CHANNELS; i++) {
		if (value & (2u << i))
			pit_channel_latch(&pit->channel[i], !(value & READ_BACK_NO_COUNT),
					  !(value & READ_BACK_NO_STATUS), t);
	}
}

static void write_control(struct pit *pit, u8 value, u64 t)
{
	u32 channel = value >> CONTROL_CHANNEL_SHIFT;

	if (channel == CONTROL_READ_BACK)
		read_back(pit, value, t);
	else if (!(value & CONTROL_ACCESS))
		pit_channel_latch(&pit->channel[channel], true, false, t);
	else
		pit_channel_set_mode(&pit->channel[channel], value, t);
}

static u8 read_port61(struct pit *pit, u64 t)
{
	u8 value = pit->port61;

	if (clock_ns() / REFRESH_NS & 1)
		value |= PORT61_REFRESH;
	if (pit_channel_output(&pit->channel[SPEAKER], t))
		value |= PORT61_OUT2;
	return value;
}

/* A read moves no output, but a count that waits may be taken over at it: edges come first. */
static inline u64 time_of_read(struct pit *pit)
{
	if (unlikely(pit->channel[0].next_valid))
		pit_sync(pit);
	return max(ticks_of(clock_ns()), pit->synced);
}

static u64 __noinline read_other(struct pit *pit, u64 offset)
{
	u64 value = ~0ull; /* the control word is not read back */
	bool on = spin_lock_irqsave(&pit->p->lock);

	if (offset == OFFSET_61)
		value = read_port61(pit, time_of_read(pit));
	spin_unlock_irqrestore(&pit->p->lock, on);
	return value;
}

static u64 pit_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct pit *pit = container_of(d, struct pit, dev);
	u64 value;
	bool on;

	(void)v;
	(void)size;
	if (unlikely(offset >= PIT_CHANNELS))
		return read_other(pit, offset);
	on = spin_lock_irqsave(&pit->p->lock);
	value = pit_channel_read(&pit->channel[offset], time_of_read(pit));
	spin_unlock_irqrestore(&pit->p->lock, on);
	return value;
}

static void pit_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct pit *pit = container_of(d, struct pit, dev);
	bool on = spin_lock_irqsave(&pit->p->lock);
	u64 t;

	(void)v;
	(void)size;
	pit_sync(pit);
	t = pit->synced;
	if (offset == OFFSET_61) {
		pit->port61 = value & PORT61_KEPT;
		pit_channel_set_gate(&pit->channel[SPEAKER], value & PORT61_GATE2, t);
	} else if (offset == OFFSET_CONTROL) {
		write_control(pit, (u8)value, t);
	} else {
		pit_channel_write(&pit->channel[offset], (u8)value, t);
	}
	/* A new mode may have moved the output. */
	set_irq(pit, pit_channel_output(&pit->channel[0], t));
	pit_rearm(pit);
	spin_unlock_irqrestore(&pit->p->lock, on);
}

static void pit_reset(struct device *d)
{
	struct pit *pit = container_of(d, struct pit, dev);
	bool on = spin_lock_irqsave(&pit->p->lock);
	u64 t = ticks_of(clock_ns());

	memset(pit->channel, 0, sizeof(pit->channel));
	pit->synced = t;
	pit->port61 = 0;
	pit->channel[0].gate = true;
	pit->channel[1].gate = true;
	write_control(pit, CONTROL_TICK, t);
	pit_channel_write(&pit->channel[0], 0, t);
	pit_channel_write(&pit->channel[0], 0, t);
	write_control(pit, CONTROL_REFRESH, t);
	pit_channel_write(&pit->channel[1], COUNT_REFRESH, t);
	write_control(pit, CONTROL_SPEAKER, t);
	/* The controllers may have forgotten the line's level. */
	pit->line = true;
	chipset_irq(pit->p, IRQ, true);
	spin_unlock_irqrestore(&pit->p->lock, on);
}

static void pit_destroy(struct device *d)
{
	timer_cancel(&container_of(d, struct pit, dev)->timer);
}

static const struct device_ops pit_ops = {
	.name = "pit",
	.width = 1,
	.read = pit_read,
	.write = pit_write,
	.quick = DEVICE_QUICK_READ | DEVICE_QUICK_WRITE,
	.reset = pit_reset,
	.destroy = pit_destroy,
};

int pit_init(struct pit *pit, struct platform *p)
{
	int err;

	pit->p = p;
	timer_init(&pit->timer, fired);
	chipset_add(p, &pit->dev, &pit_ops);
	err = bus_register(&p->vm->bus, SPACE_PIO, PIT_PORT, 4, &pit->dev, 0);
	if (!err)
		err = bus_register(&p->vm->bus, SPACE_PIO, PORT_61, 1, &pit->dev, OFFSET_61);
	return err;
}
