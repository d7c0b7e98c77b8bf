/* SPDX-License-Identifier: MIT */
/*
 * What was posted to a local APIC goes into its IRR and TMR: by its own thread, while no CPU runs
 * the guest with them.
 */
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

void lapic_gather_posted(struct lapic *l)
{
	u32 words = __atomic_exchange_n(&l->posted.words, 0, __ATOMIC_SEQ_CST);

	if (unlikely(l->posts))
		gather_descriptor(l, words);
	else
		gather_set(l, &l->posted, words);
	lapic_timer_taken(l);
}
