/* SPDX-License-Identifier: MIT */
/*
 * The local APIC's timer (SDM 3A 11.5.4). Its clock runs at 1 GHz, so a count is a nanosecond
 * times the divider. The host's timer is armed only while an interrupt could come of it; what
 * happened meanwhile is worked out when somebody looks.
 */
#include "kernel/dev/lapic.h"

#include "kernel/dev/chipset.h"

/* A deadline further off is looked at again by then: no sum of times can wrap. */
#define DEADLINE_STEP_TSC (1ull << 50)

/* Bits 0, 1 and 3 encode 2, 4, ... 128, 1. */
static u32 divider(const struct lapic *l)
{
	u32 code = (l->divide_register & 3) | ((l->divide_register & 8) >> 1);

	return 1u << ((code + 1) & 7);
}

static u64 period(const struct lapic *l)
{
	return max((u64)l->initial_count * divider(l), DEVICE_PERIOD_MIN_NS);
}

static bool audible(const struct lapic *l)
{
	return lapic_enabled(l) && !(l->lvt[LVT_TIMER] & LVT_MASKED);
}

static void stop(struct lapic *l)
{
	l->counting = false;
	l->tsc_deadline = 0;
}

/* Of short periods not so much that one's interrupt comes in another's time. */
static u64 __noinline ahead_asleep(const struct lapic *l)
{
	if (lapic_timer_mode(l->lvt[LVT_TIMER]) == LAPIC_TIMER_PERIODIC)
		return min(l->ahead_ns, l->period_ns / 2);
	return l->ahead_ns;
}

static inline u64 ahead(const struct lapic *l)
{
	return unlikely(READ_ONCE(l->asleep)) ? ahead_asleep(l) : 0;
}

/* Has the moment come? For a deadline the guest's TSC is the judge, not our clock. */
static bool is_due(struct lapic *l, u64 now)
{
	u64 tsc;

	if (!l->counting)
		return false;
	if (lapic_timer_mode(l->lvt[LVT_TIMER]) != LAPIC_TIMER_DEADLINE)
		return now + ahead(l) >= l->target_ns;
	tsc = vcpu_guest_tsc(l->v);
	if (unlikely(READ_ONCE(l->asleep)))
		tsc += clock_ns_to_tsc(ahead(l));
	return tsc >= l->tsc_deadline;
}

static void note_time(struct lapic *l, u64 now)
{
	l->early_tsc = l->tsc_deadline;
	if (lapic_timer_mode(l->lvt[LVT_TIMER]) != LAPIC_TIMER_DEADLINE)
		l->early_tsc = vcpu_guest_tsc(l->v) +
			       clock_ns_to_tsc(l->target_ns - min(l->target_ns, now));
	WRITE_ONCE(l->early, true);
}

/* Does what the timer did until now. Several periods gone by are one interrupt. */
static void catch_up(struct lapic *l, u64 now)
{
	if (!is_due(l, now))
		return;
	if (READ_ONCE(l->asleep))
		note_time(l, now);
	now = max(now, l->target_ns);
	if (lapic_timer_mode(l->lvt[LVT_TIMER]) == LAPIC_TIMER_PERIODIC)
		l->target_ns += ((now - l->target_ns) / l->period_ns + 1) * l->period_ns;
	else
		stop(l);
	lapic_local_interrupt(l, LVT_TIMER);
}

static u64 deadline_target(struct lapic *l)
{
	u64 tsc = vcpu_guest_tsc(l->v);
	u64 left = l->tsc_deadline > tsc ? l->tsc_deadline - tsc : 0;

	return vcpu_guest_tsc_to_ns(l->v, tsc + min(left, DEADLINE_STEP_TSC));
}

/*
 * A period's interrupt that is untaken: the next one would be none besides. So the timers of vCPUs
 * that do not run rest. The flag comes before the look here, the look after the taking there
 * (lapic_taken).
 */
static bool is_untaken(struct lapic *l)
{
	if (lapic_timer_mode(l->lvt[LVT_TIMER]) != LAPIC_TIMER_PERIODIC)
		return false;
	__atomic_or_fetch(&l->waits, LAPIC_WAITS_TIMER, __ATOMIC_SEQ_CST);
	if (lapic_vector_is_untaken(l, l->lvt[LVT_TIMER] & LVT_VECTOR))
		return true;
	__atomic_and_fetch(&l->waits, ~(u32)LAPIC_WAITS_TIMER, __ATOMIC_SEQ_CST);
	return false;
}

/* Arms the host's timer where it is wanted. One that is armed in vain finds nothing due. */
static void arm(struct lapic *l)
{
	u64 at = l->target_ns;

	if (!l->counting || !audible(l) || chipset_is_paused(l->v->vm->platform) || is_untaken(l))
		return;
	if (unlikely(READ_ONCE(l->asleep)))
		at -= min(at, ahead(l));
	timer_arm(&l->timer, at);
}

void lapic_timer_resume(struct lapic *l)
{
	bool on = spin_lock_irqsave(&l->lock);
	u64 now = clock_ns();

	catch_up(l, now);
	if (l->counting && lapic_timer_mode(l->lvt[LVT_TIMER]) == LAPIC_TIMER_DEADLINE)
		l->target_ns = max(deadline_target(l), now + DEVICE_DELAY_MIN_NS);
	arm(l);
	spin_unlock_irqrestore(&l->lock, on);
}

/* Interrupt context. */
static void fired(struct timer *t)
{
	lapic_timer_resume(container_of(t, struct lapic, timer));
}

void lapic_timer_init(struct lapic *l)
{
	spin_init(&l->lock, "lapic", LOCK_LAPIC);
	timer_init(&l->timer, fired);
}

void lapic_timer_reset(struct lapic *l)
{
	bool on = spin_lock_irqsave(&l->lock);

	stop(l);
	l->early = false;
	l->initial_count = 0;
	l->divide_register = 0;
	spin_unlock_irqrestore(&l->lock, on);
}

void lapic_timer_cancel(struct lapic *l)
{
	timer_cancel(&l->timer);
}

/* Going to or from TSC-deadline mode disarms; between the other two the count goes on. */
void lapic_timer_set_lvt(struct lapic *l, u32 lvt)
{
	bool on = spin_lock_irqsave(&l->lock);
	u32 old_mode = lapic_timer_mode(l->lvt[LVT_TIMER]), mode = lapic_timer_mode(lvt);

	catch_up(l, clock_ns());
	if (mode != old_mode && (mode >= LAPIC_TIMER_DEADLINE || old_mode >= LAPIC_TIMER_DEADLINE))
		stop(l);
	WRITE_ONCE(l->lvt[LVT_TIMER], lvt);
	arm(l);
	spin_unlock_irqrestore(&l->lock, on);
}

void lapic_timer_set_initial(struct lapic *l, u32 count)
{
	bool on = spin_lock_irqsave(&l->lock);
	u32 mode = lapic_timer_mode(l->lvt[LVT_TIMER]);
	u64 now = clock_ns();

	if (mode < LAPIC_TIMER_DEADLINE) {
		catch_up(l, now);
		l->initial_count = count;
		l->counting = count != 0;
		l->period_ns = period(l);
		l->target_ns = now + (mode == LAPIC_TIMER_PERIODIC ? l->period_ns
								   : (u64)count * divider(l));
		arm(l);
	}
	spin_unlock_irqrestore(&l->lock, on);
}

static u32 current_count(struct lapic *l, u64 now)
{
	u64 left;

	if (!l->counting || lapic_timer_mode(l->lvt[LVT_TIMER]) == LAPIC_TIMER_DEADLINE)
		return 0;
	left = (l->target_ns - now + divider(l) - 1) / divider(l);
	return (u32)min(left, (u64)l->initial_count);
}

void lapic_timer_set_divide(struct lapic *l, u32 value)
{
	bool on = spin_lock_irqsave(&l->lock);
	u64 now = clock_ns();
	u32 count;

	catch_up(l, now);
	count = current_count(l, now);
	l->divide_register = value;
	l->period_ns = period(l);
	if (lapic_timer_mode(l->lvt[LVT_TIMER]) < LAPIC_TIMER_DEADLINE)
		l->target_ns = now + (u64)count * divider(l);
	arm(l);
	spin_unlock_irqrestore(&l->lock, on);
}

u32 lapic_timer_current(struct lapic *l)
{
	bool on = spin_lock_irqsave(&l->lock);
	u64 now = clock_ns();
	u32 count;

	catch_up(l, now);
	count = current_count(l, now);
	spin_unlock_irqrestore(&l->lock, on);
	return count;
}

u64 lapic_timer_deadline(struct lapic *l)
{
	bool on = spin_lock_irqsave(&l->lock);
	u64 deadline;

	catch_up(l, clock_ns());
	deadline = l->tsc_deadline;
	spin_unlock_irqrestore(&l->lock, on);
	return deadline;
}

/* A deadline that has passed fires at once; in another mode the MSR is not there to be written. */
void lapic_timer_set_deadline(struct lapic *l, u64 tsc)
{
	bool on = spin_lock_irqsave(&l->lock);
	u64 now = clock_ns();

	if (lapic_timer_mode(l->lvt[LVT_TIMER]) == LAPIC_TIMER_DEADLINE) {
		catch_up(l, now);
		l->tsc_deadline = tsc;
		l->counting = tsc != 0;
		l->target_ns = deadline_target(l);
		catch_up(l, now);
		arm(l);
	}
	spin_unlock_irqrestore(&l->lock, on);
}

void lapic_timer_sleep(struct lapic *l)
{
	bool on = spin_lock_irqsave(&l->lock);

	WRITE_ONCE(l->asleep, true);
	if (l->counting && l->ahead_ns) {
		catch_up(l, clock_ns());
		arm(l);
	}
	spin_unlock_irqrestore(&l->lock, on);
}

/* One that is armed for the earlier moment finds nothing due, and is armed anew. */
void lapic_timer_woken(struct lapic *l)
{
	bool on = spin_lock_irqsave(&l->lock);

	/* Who posted ahead of time on another CPU has noted that it did, or does so no more. */
	__atomic_store_n(&l->asleep, false, __ATOMIC_SEQ_CST);
	spin_unlock_irqrestore(&l->lock, on);
	/* The guest may take now what has waited in IRR. */
	lapic_taken(l);
}

/* What is still to be done for the entry: who has this much left is in time. */
#define MARGIN_TSC 400

/*
 * Late is worse than early, so half of the one is added and a sixteenth of the other taken away.
 * What took very long had to wait for others on its CPU, which says nothing of the next time.
 */
static void learn(struct lapic *l, s64 late_ns)
{
	if (late_ns < 0)
		l->ahead_ns -= min(l->ahead_ns, (u64)-late_ns / 16);
	else if (late_ns < (s64)LAPIC_AHEAD_MAX_NS)
		l->ahead_ns = min(l->ahead_ns + (u64)late_ns / 2, LAPIC_AHEAD_MAX_NS);
}

u64 lapic_timer_take_early(struct lapic *l)
{
	bool on = spin_lock_irqsave(&l->lock);
	u64 tsc = l->early_tsc, now = vcpu_guest_tsc(l->v) + MARGIN_TSC;

	l->early = false;
	learn(l, now < tsc ? -(s64)clock_tsc_to_ns(tsc - now) : (s64)clock_tsc_to_ns(now - tsc));
	spin_unlock_irqrestore(&l->lock, on);
	return tsc;
}
