/* SPDX-License-Identifier: MIT */
/*
 * A byte of guest memory that Weir keeps at hand: its page stays in its frame, where Weir may read
 * and write around the byte in any context, until it is unpinned. It counts to the VM's bound on
 * pins, as the guest's own do.
 *
 * For words that Weir and a running guest tell each other. Such a page is in each round of the
 * dirty log, written or not (R21): so a write through the pin costs no look at the log. No shadow
 * table follows it. The guest may not protect the page. When its slot goes away, or moves, so does
 * the pin (R37): writes go nowhere from then on, and the byte is what it was at the last.
 */
#ifndef MMU_GPA_PIN_H
#define MMU_GPA_PIN_H

#include "mmu/mmu.h"
#include "smp/rcu.h"

struct gpa_pin {
	/* set once */
	struct mmu_vm *vm;
	gfn_t gfn;
	u64 index;
	pfn_t pfn;
	/* pins_lock */
	struct list link;
	struct gmem *object; /* referenced; NULL: its slot has gone */
	/* RCU */
	u8 *at;	  /* the byte; NULL: its slot has gone */
	u8 *last; /* the byte, or a copy of what it held when nobody could change it any more */
	u8 copy;
};

/*
 * The byte at gpa. Thread context, may sleep; takes a reader of the VM's SRCU and pins_lock.
 * ERR_NOSLOT: no RAM that the VM may write is there; ERR_PERM: the guest protected the page;
 * ERR_NOSPC: the bound on pins; ERR_NOMEM; others of gmem_pin. Nothing is pinned on error.
 */
int gpa_pin(struct mmu_vm *vm, gpa_t gpa, struct gpa_pin **out);
/* Nobody uses it any more. Thread context, may sleep, as above. NULL: nothing. */
void gpa_unpin(struct gpa_pin *p);

/*
 * The byte, for as long as this reader of RCU lasts, and what lies around it in its page. NULL: its
 * slot has gone.
 */
static inline u8 *gpa_pin_at(const struct gpa_pin *p)
{
	ASSERT(rcu_read_held());
	return __atomic_load_n(&p->at, __ATOMIC_CONSUME);
}

/* Stores the byte, with release. Interrupts off. false: its slot has gone. */
static inline bool gpa_pin_put(const struct gpa_pin *p, u8 value)
{
	u8 *at;

	rcu_read_lock();
	at = gpa_pin_at(p);
	if (likely(at))
		__atomic_store_n(at, value, __ATOMIC_RELEASE);
	rcu_read_unlock();
	return at;
}

/*
 * Exchanges the byte with 0, a full barrier; once its slot has gone nothing changes any more, and
 * it is what the guest and Weir left there. Interrupts off.
 */
static inline u8 gpa_pin_take(const struct gpa_pin *p)
{
	u8 *at, value;

	rcu_read_lock();
	at = gpa_pin_at(p);
	value = likely(at) ? __atomic_exchange_n(at, 0, __ATOMIC_SEQ_CST)
			   : *__atomic_load_n(&p->last, __ATOMIC_ACQUIRE);
	rcu_read_unlock();
	return value;
}

#endif
