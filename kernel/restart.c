/* SPDX-License-Identifier: MIT */
#include "kernel/restart.h"

/* However it spaces them, a guest fills no log with its resets. */
static void choose_silence(struct restart *r, u64 now_ns)
{
	u64 more = (now_ns - r->told_ns) / RESTART_LOUD_NS;

	r->told -= (u32)min((u64)r->told, more);
	r->told_ns = r->told ? r->told_ns + more * RESTART_LOUD_NS : now_ns;
	r->silent = r->told >= RESTART_LOUD && (r->count & (r->count - 1)) != 0;
	if (r->told < RESTART_LOUD)
		r->told++;
}

static void tell_of_programs_again(struct restart *r)
{
	__atomic_store_n(&r->programs_told, 0, __ATOMIC_RELAXED);
}

void restart_ask(struct restart *r, u64 now_ns, u64 ran_ns)
{
	u64 delay = 0;

	r->count++;
	choose_silence(r, now_ns);
	if (!r->silent)
		tell_of_programs_again(r);
	if (ran_ns < RESTART_QUICK_NS) {
		u32 doublings = min(r->quick, 7u); /* the first that passes the longest delay */

		delay = min(RESTART_DELAY_NS << doublings, RESTART_DELAY_MAX_NS);
		r->quick++;
	} else {
		r->quick = 0;
	}
	r->pending = true;
	r->due_ns = now_ns + delay;
}

bool restart_ask_after_crash(struct restart *r, u64 now_ns, u64 ran_ns)
{
	if (ran_ns >= RESTART_STABLE_NS)
		r->crashes = 0;
	if (r->crashes == RESTART_CRASHES_MAX) {
		r->crashes = 0; /* who starts it by hand gives it as many again */
		return false;
	}
	r->crashes++;
	restart_ask(r, now_ns, ran_ns);
	return true;
}

void restart_by_hand(struct restart *r)
{
	r->quick = 0;
	r->crashes = 0;
	r->silent = false;
	tell_of_programs_again(r);
}

bool restart_is_loud(const struct restart *r)
{
	return !r->silent;
}

bool restart_tells_crash(const struct restart *r)
{
	return restart_is_loud(r) || r->crashes == RESTART_CRASHES_MAX;
}

bool restart_is_due(const struct restart *r, u64 now_ns)
{
	return r->pending && now_ns >= r->due_ns;
}

bool restart_put_off(struct restart *r, u64 now_ns)
{
	r->due_ns = now_ns + RESTART_MEMORY_NS;
	return ++r->put_off == (r->silent ? RESTART_MEMORY_TRIES : 1);
}

void restart_done(struct restart *r)
{
	r->pending = false;
	r->put_off = 0;
}
