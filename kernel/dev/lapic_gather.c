/* SPDX-License-Identifier: MIT */
/*
 * What was posted to a local APIC goes into its IRR and TMR: by its own thread, while no CPU runs
 * the guest with them. And who waits for that: sources of interrupts that would be none besides.
 */
#include "kernel/dev/chipset.h"
#include "kernel/dev/lapic_page.h"

/*
 * words: which may hold some; cleared before, so that a vector which is posted meanwhile sets it
 * anew, after its own bit. Whether it is a level was said before that bit.
 */
static inline __attribute__((always_inline)) void gather_set(struct lapic *l,
							     struct lapic_vectors *set, u32 words)
{
	for (; words; words &= words - 1) {
		u32 i = (u32)__builtin_ctz(words);
		u32 came = __atomic_exchange_n(&set->word[i], 0, __ATOMIC_SEQ_CST);
		u32 level = __atomic_load_n(&l->posted_level[i], __ATOMIC_SEQ_CST);
		u32 tmr = lapic_get(l, REG_TMR + i);

		if (!came)
			continue;
		/* post looks at it. */
		__atomic_store_n(lapic_word(l, REG_TMR + i), (tmr & ~came) | (came & level),
				 __ATOMIC_RELAXED);
		lapic_put(l, REG_IRR + i, lapic_get(l, REG_IRR + i) | came);
		l->irr_words |= (u8)(1u << i);
		l->stale = true;
	}
}

/*
 * What the CPU would do with the descriptor in the guest (SDM 3C 30.6), but for RVI, which
 * lapic_load tells; ON was cleared before. TMR stays as it is there, too: where it has a level
 * still, the IOAPIC hears of one EOI too many, and does not miss one. Then what was held.
 */
static void __noinline gather_descriptor(struct lapic *l, u32 words)
{
	for (u32 i = 0; i < LAPIC_VECTOR_WORDS; i++) {
		u32 came;

		if (!__atomic_load_n(&l->posted.word[i], __ATOMIC_SEQ_CST))
			continue;
		came = __atomic_exchange_n(&l->posted.word[i], 0, __ATOMIC_SEQ_CST);
		lapic_put(l, REG_IRR + i, lapic_get(l, REG_IRR + i) | came);
		l->stale = true;
	}
	if (words & LAPIC_HELD)
		gather_set(l, &l->held, __atomic_exchange_n(&l->held.words, 0, __ATOMIC_SEQ_CST));
}

/* --- who waits --- */

static bool illegal_is_known(const struct lapic *l)
{
	u32 lvt = __atomic_load_n(&l->lvt[LVT_ERROR], __ATOMIC_SEQ_CST);
	u32 bits = __atomic_load_n(&l->esr_pending, __ATOMIC_SEQ_CST);

	return (bits & ESR_RECEIVE_ILLEGAL) && ((lvt & LVT_MASKED) || (bits & ESR_RAISED));
}

bool lapic_vector_is_untaken(const struct lapic *l, u8 vector)
{
	const struct lapic_vectors *set = l->posts ? &l->held : &l->posted;

	if (vector < LAPIC_VECTOR_MIN)
		return illegal_is_known(l);
	if (__atomic_load_n(&set->word[vector / 32], __ATOMIC_SEQ_CST) & BIT(vector % 32))
		return true;
	/* A vCPU that is woken for it in vain has gathered it, and takes it from IRR when it runs. */
	return __atomic_load_n(&l->asleep, __ATOMIC_SEQ_CST) &&
	       (lapic_get(l, REG_IRR + vector / 32) & BIT(vector % 32));
}

/* By mode as accept: it would change nothing. */
static bool would_change_nothing(const struct lapic *l, const struct lapic_message *m)
{
	u32 start_up = __atomic_load_n(&l->start_up, __ATOMIC_SEQ_CST);

	switch (m->mode) {
	case LAPIC_FIXED:
	case LAPIC_LOWEST:
		return !(READ_ONCE(l->svr) & SVR_ENABLED) || lapic_vector_is_untaken(l, m->vector);
	case LAPIC_NMI:
		return __atomic_load_n(&l->nmi_pending, __ATOMIC_SEQ_CST);
	case LAPIC_INIT:
		return start_up == LAPIC_INIT_CAME;
	case LAPIC_STARTUP:
		return start_up & LAPIC_SIPI_CAME;
	default:
		return true;
	}
}

static void wait_no_more(struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		if (lapic_of(vm, i))
			__atomic_and_fetch(&lapic_of(vm, i)->waits, ~(u32)LAPIC_WAITS_EDGES,
					   __ATOMIC_SEQ_CST);
	}
}

/* Each flag comes before its look here, the look at it after the taking there (lapic_taken). */
bool lapic_send_is_idle(struct vm *vm, const struct lapic_message *m)
{
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct lapic *l = lapic_of(vm, i);

		if (!l || !lapic_is_named(l, m, NULL))
			continue;
		__atomic_or_fetch(&l->waits, LAPIC_WAITS_EDGES, __ATOMIC_SEQ_CST);
		if (!would_change_nothing(l, m)) {
			wait_no_more(vm);
			return false;
		}
	}
	return true;
}

void lapic_before_change(struct lapic *l)
{
	chipset_sync_edges(l->v->vm->platform);
}

void lapic_before_taking(struct lapic *l)
{
	if (unlikely(__atomic_load_n(&l->waits, __ATOMIC_SEQ_CST) & LAPIC_WAITS_EDGES))
		chipset_sync_edges(l->v->vm->platform);
}

void lapic_taken(struct lapic *l)
{
	u32 waits;

	if (likely(!__atomic_load_n(&l->waits, __ATOMIC_SEQ_CST)))
		return;
	waits = __atomic_exchange_n(&l->waits, 0, __ATOMIC_SEQ_CST);
	if (waits & LAPIC_WAITS_TIMER)
		lapic_timer_resume(l);
	if (waits & LAPIC_WAITS_EDGES)
		chipset_resume_edges(l->v->vm->platform);
}

/* --- taking --- */

void lapic_gather_posted(struct lapic *l)
{
	u32 words;

	lapic_before_taking(l);
	words = __atomic_exchange_n(&l->posted.words, 0, __ATOMIC_SEQ_CST);
	if (unlikely(l->posts))
		gather_descriptor(l, words);
	else
		gather_set(l, &l->posted, words);
	lapic_taken(l);
}
