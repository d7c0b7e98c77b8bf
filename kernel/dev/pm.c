/* SPDX-License-Identifier: MIT */
#include "kernel/dev/pm.h"

#include "kernel/dev/chipset.h"

#define PM_SIZE 12 /* events, control, two bytes of nothing, timer */

#define OFFSET_STATUS  0
#define OFFSET_ENABLE  2
#define OFFSET_CONTROL (PLATFORM_PM_CONTROL - PLATFORM_PM_BASE)
#define OFFSET_TIMER   (PLATFORM_PM_TIMER - PLATFORM_PM_BASE)

static_assert(OFFSET_CONTROL == 4 && OFFSET_TIMER == 8, "registers are found by these offsets");

#define STATUS_TIMER 0x0001 /* bit 31 of the timer changed */
#define STATUS_KNOWN 0x8731 /* TMR, BM, GBL, PWRBTN, SLPBTN, RTC, WAK */
#define ENABLE_KNOWN 0x0721

#define CONTROL_SCI_EN	      0x0001
#define CONTROL_KEPT	      0x1c03 /* SLP_TYP, BM_RLD, SCI_EN */
#define CONTROL_SLP_TYP_SHIFT 10
#define CONTROL_SLP_EN	      0x2000

#define TIMER_HZ   3579545ull
#define TIMER_HALF 31

static u64 ticks_of(u64 ns)
{
	return ns / NS_PER_SECOND * TIMER_HZ + ns % NS_PER_SECOND * TIMER_HZ / NS_PER_SECOND;
}

static u64 ns_of(u64 ticks)
{
	return ticks / TIMER_HZ * NS_PER_SECOND +
	       (ticks % TIMER_HZ * NS_PER_SECOND + TIMER_HZ - 1) / TIMER_HZ;
}

/* Notes that the timer's top bit changed, and sets the SCI to what follows. */
static void catch_up(struct pm *pm, u64 now)
{
	u64 half = ticks_of(now) >> TIMER_HALF;
	bool sci;

	if (half != pm->seen_half)
		pm->status |= STATUS_TIMER;
	pm->seen_half = half;
	sci = pm->status & pm->enable;
	if (sci == pm->sci)
		return;
	pm->sci = sci;
	chipset_irq(pm->p, PLATFORM_SCI_IRQ, sci);
}

static void rearm(struct pm *pm)
{
	if ((pm->enable & STATUS_TIMER) && !pm->sci)
		timer_arm(&pm->timer, ns_of((pm->seen_half + 1) << TIMER_HALF));
}

/* Interrupt context. */
static void fired(struct timer *t)
{
	struct pm *pm = container_of(t, struct pm, timer);
	bool on = spin_lock_irqsave(&pm->p->lock);

	catch_up(pm, clock_ns());
	rearm(pm);
	spin_unlock_irqrestore(&pm->p->lock, on);
}

/* The whole block as bytes, for accesses of any width. */
static u8 read_byte(const struct pm *pm, u64 offset, u32 timer)
{
	u32 shift = (offset & 1) * 8;

	switch (offset & ~1ull) {
	case OFFSET_STATUS:
		return (u8)(pm->status >> shift);
	case OFFSET_ENABLE:
		return (u8)(pm->enable >> shift);
	case OFFSET_CONTROL:
		return (u8)((pm->control | CONTROL_SCI_EN) >> shift);
	case OFFSET_TIMER:
	case OFFSET_TIMER + 2:
		return (u8)(timer >> ((offset - OFFSET_TIMER) * 8));
	}
	return 0;
}

static u16 merge(u16 old, u32 shift, u8 value)
{
	return (u16)((old & ~(0xff << shift)) | (value << shift));
}

/* True: the guest goes to sleep by the type that means off. */
static bool write_byte(struct pm *pm, u64 offset, u8 value)
{
	u32 shift = (offset & 1) * 8;
	u16 control;

	switch (offset & ~1ull) {
	case OFFSET_STATUS: /* a one clears */
		pm->status &= ~(value << shift);
		break;
	case OFFSET_ENABLE:
		pm->enable = merge(pm->enable, shift, value) & ENABLE_KNOWN;
		break;
	case OFFSET_CONTROL:
		control = merge(pm->control, shift, value);
		pm->control = control & CONTROL_KEPT;
		return (control & CONTROL_SLP_EN) &&
		       ((control >> CONTROL_SLP_TYP_SHIFT) & 7) == PLATFORM_SLP_TYP_S5;
	}
	return false;
}

static u64 pm_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct pm *pm = container_of(d, struct pm, dev);
	bool on = spin_lock_irqsave(&pm->p->lock);
	u64 now = clock_ns(), value = 0;

	(void)v;
	catch_up(pm, now);
	for (u32 i = 0; i < size; i++)
		value |= (u64)read_byte(pm, offset + i, (u32)ticks_of(now)) << (i * 8);
	spin_unlock_irqrestore(&pm->p->lock, on);
	return value;
}

static void pm_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct pm *pm = container_of(d, struct pm, dev);
	bool on = spin_lock_irqsave(&pm->p->lock);
	u64 now = clock_ns();
	bool off = false;

	(void)v;
	catch_up(pm, now);
	for (u32 i = 0; i < size; i++)
		off |= write_byte(pm, offset + i, (u8)(value >> (i * 8)));
	catch_up(pm, now);
	rearm(pm);
	spin_unlock_irqrestore(&pm->p->lock, on);
	if (off)
		chipset_end(pm->p, VM_END_POWEROFF, 0);
}

static void pm_reset(struct device *d)
{
	struct pm *pm = container_of(d, struct pm, dev);
	bool on = spin_lock_irqsave(&pm->p->lock);
	u64 now = clock_ns();

	pm->status = 0;
	pm->enable = 0;
	pm->control = 0;
	pm->seen_half = ticks_of(now) >> TIMER_HALF;
	catch_up(pm, now);
	spin_unlock_irqrestore(&pm->p->lock, on);
}

static void pm_destroy(struct device *d)
{
	timer_cancel(&container_of(d, struct pm, dev)->timer);
}

static const struct device_ops pm_ops = {
	.name = "pm",
	.width = 4,
	.read = pm_read,
	.write = pm_write,
	.quick = DEVICE_QUICK_READ,
	.reset = pm_reset,
	.destroy = pm_destroy,
};

int pm_init(struct pm *pm, struct platform *p)
{
	pm->p = p;
	timer_init(&pm->timer, fired);
	chipset_add(p, &pm->dev, &pm_ops);
	return bus_register(&p->vm->bus, SPACE_PIO, PLATFORM_PM_BASE, PM_SIZE, &pm->dev, 0);
}
