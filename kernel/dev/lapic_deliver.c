/* SPDX-License-Identifier: MIT */
/*
 * How interrupts reach a local APIC, are ranked by it and go into service (SDM 3A 11.6, 11.8).
 * Accepting needs no lock: an interrupt is posted and the vCPU told to look.
 */
#include "kernel/dev/lapic_page.h"

#include "kernel/base/msr.h"
#include "kernel/dev/chipset.h"

#define ALL_WORDS	0xffu
#define PRIORITY_CLASS	0xf0u
#define BROADCAST	0xffu
#define BROADCAST_WIDE	0xffffffffu
#define DFR_FLAT	0xfu
#define DFR_CLUSTER	0x0u
#define DFR_MODEL_SHIFT 28

/* --- sets of vectors in the page; own thread, but for highest --- */

static u32 bit_of(u8 vector)
{
	return 1u << (vector % 32);
}

static bool has_vector(const struct lapic *l, enum lapic_register set, u8 vector)
{
	return lapic_get(l, set + vector / 32) & bit_of(vector);
}

static void add_vector(struct lapic *l, enum lapic_register set, u8 *words, u8 vector)
{
	u32 reg = set + vector / 32;

	lapic_put(l, reg, lapic_get(l, reg) | bit_of(vector));
	*words |= (u8)(1u << (vector / 32));
}

static void remove_vector(struct lapic *l, enum lapic_register set, u8 *words, u8 vector)
{
	u32 reg = set + vector / 32, left = lapic_get(l, reg) & ~bit_of(vector);

	lapic_put(l, reg, left);
	if (!left)
		*words &= (u8) ~(1u << (vector / 32));
}

static int highest(const struct lapic *l, enum lapic_register set, u32 words)
{
	while (words) {
		u32 i = 31 - (u32)__builtin_clz(words);
		u32 word = lapic_get(l, set + i);

		if (word)
			return (int)(i * 32 + 31 - (u32)__builtin_clz(word));
		words &= ~(1u << i);
	}
	return -1;
}

/* The CPU keeps no summary: it may have changed any word. */
static int highest_requested(const struct lapic *l)
{
	return highest(l, REG_IRR, l->by_cpu ? ALL_WORDS : l->irr_words);
}

static inline __attribute__((always_inline)) int highest_in_service(const struct lapic *l)
{
	return highest(l, REG_ISR, l->by_cpu ? ALL_WORDS : READ_ONCE(l->isr_words));
}

int lapic_in_service(const struct lapic *l)
{
	return highest_in_service(l);
}

bool lapic_is_level(const struct lapic *l, u8 vector)
{
	return has_vector(l, REG_TMR, vector);
}

bool lapic_load(struct lapic *l, u8 *requested, u8 *in_service, u32 level[LAPIC_VECTOR_WORDS])
{
	lapic_gather(l);
	if (likely(!l->stale))
		return false;
	l->stale = false;
	*requested = (u8)max(highest_requested(l), 0);
	*in_service = (u8)max(highest_in_service(l), 0);
	for (u32 i = 0; i < LAPIC_VECTOR_WORDS; i++)
		level[i] = lapic_get(l, REG_TMR + i);
	return true;
}

bool lapic_enabled(const struct lapic *l)
{
	return READ_ONCE(l->apic_base) & APIC_BASE_ENABLE;
}

bool lapic_is_x2apic(const struct lapic *l)
{
	u64 both = APIC_BASE_ENABLE | APIC_BASE_X2APIC;

	return (READ_ONCE(l->apic_base) & both) == both;
}

/* SDM 3A 11.12.10.2. */
u32 lapic_x2apic_ldr(const struct lapic *l)
{
	return ((l->v->id >> 4) << 16) | (1u << (l->v->id & 0xf));
}

/* --- priorities --- */

static u32 class_of(int vector)
{
	return vector < 0 ? 0 : (u32)vector & PRIORITY_CLASS;
}

u32 lapic_ppr(const struct lapic *l)
{
	u32 tpr = lapic_get(l, REG_TPR), class = class_of(highest_in_service(l));

	return (tpr & PRIORITY_CLASS) >= class ? tpr : class;
}

u32 lapic_apr(struct lapic *l)
{
	u32 tpr = lapic_get(l, REG_TPR), irr, isr;

	lapic_gather(l);
	irr = class_of(highest_requested(l));
	isr = class_of(highest_in_service(l));
	if ((tpr & PRIORITY_CLASS) >= irr && (tpr & PRIORITY_CLASS) > isr)
		return tpr;
	return max(tpr & PRIORITY_CLASS & isr, irr);
}

int lapic_pending_vector(struct lapic *l)
{
	int vector;

	lapic_gather(l);
	if ((!l->by_cpu && !l->irr_words) || !lapic_enabled(l))
		return -1;
	vector = highest_requested(l);
	return class_of(vector) > (lapic_ppr(l) & PRIORITY_CLASS) ? vector : -1;
}

u32 lapic_tpr_threshold(struct lapic *l)
{
	u32 class;

	if (l->by_cpu)
		return 0;
	lapic_gather(l);
	class = class_of(highest_requested(l));
	return (lapic_get(l, REG_TPR) & PRIORITY_CLASS) >= class ? class >> 4 : 0;
}

int lapic_ack(struct lapic *l)
{
	int vector = l->by_cpu ? -1 : lapic_pending_vector(l);

	if (vector < 0)
		return -1;
	add_vector(l, REG_ISR, &l->isr_words, (u8)vector);
	remove_vector(l, REG_IRR, &l->irr_words, (u8)vector);
	return vector;
}

/* A level that is still there comes again, unless software ends it at the IOAPIC itself. */
void lapic_ended(struct lapic *l, u8 vector)
{
	struct platform *p = l->v->vm->platform;
	bool on;

	if (!has_vector(l, REG_TMR, vector) || (l->svr & SVR_QUIET_EOI))
		return;
	on = spin_lock_irqsave(&p->lock);
	ioapic_eoi(&p->ioapic, vector);
	spin_unlock_irqrestore(&p->lock, on);
}

/* Apart from lapic_eoi so that it has nothing to save and restore. */
static void __noinline settle_and_end(struct lapic *l)
{
	lapic_pv_eoi_take_back(l);
	lapic_eoi(l);
}

void lapic_eoi(struct lapic *l)
{
	int vector;

	if (unlikely(l->pv_eoi_offered)) {
		settle_and_end(l);
		return;
	}
	vector = highest_in_service(l);
	if (vector < 0)
		return;
	remove_vector(l, REG_ISR, &l->isr_words, (u8)vector);
	l->stale = true;
	lapic_ended(l, (u8)vector);
}

bool lapic_nmi_take(struct lapic *l)
{
	bool came;

	if (likely(!__atomic_load_n(&l->nmi_pending, __ATOMIC_SEQ_CST)))
		return false;
	lapic_before_taking(l);
	came = __atomic_exchange_n(&l->nmi_pending, false, __ATOMIC_SEQ_CST);
	lapic_taken(l);
	return came;
}

/* --- accepting --- */

/* How it goes on from there: by the CPU, if that has posted interrupts, or by the vCPU's thread. */
enum acceptance {
	ACCEPT_EDGE,
	ACCEPT_LEVEL,
	ACCEPT_HELD_EDGE, /* by the thread */
};

static inline __attribute__((always_inline)) void add_to(struct lapic *l, struct lapic_vectors *set,
							 u8 vector, bool level)
{
	u32 i = vector / 32, bit = bit_of(vector);

	if (level)
		__atomic_or_fetch(&l->posted_level[i], bit, __ATOMIC_SEQ_CST);
	else
		__atomic_and_fetch(&l->posted_level[i], ~bit, __ATOMIC_SEQ_CST);
	__atomic_or_fetch(&set->word[i], bit, __ATOMIC_SEQ_CST);
	__atomic_or_fetch(&set->words, 1u << i, __ATOMIC_SEQ_CST);
}

/* The own thread alone puts it into IRR. */
static void hold(struct lapic *l, u8 vector, bool level)
{
	__atomic_fetch_add(&l->held_count, 1, __ATOMIC_RELAXED);
	add_to(l, &l->held, vector, level);
	__atomic_or_fetch(&l->posted.words, LAPIC_HELD, __ATOMIC_SEQ_CST);
	vcpu_request(l->v, VCPU_REQ_KICK);
}

/*
 * For the CPU to take. The order is that of vmx/posted.h; each step is a full barrier. Of a vector
 * that was a level last TMR and the EOI exits are to be changed first.
 */
static void __noinline post(struct lapic *l, u8 vector, enum acceptance how)
{
	u32 i = vector / 32, bit = bit_of(vector);
	bool on;

	if (how != ACCEPT_EDGE ||
	    (__atomic_load_n(lapic_word(l, REG_TMR + i), __ATOMIC_RELAXED) & bit)) {
		hold(l, vector, how == ACCEPT_LEVEL);
		return;
	}
	__atomic_fetch_add(&l->posted_count, 1, __ATOMIC_RELAXED);
	__atomic_or_fetch(&l->posted.word[i], bit, __ATOMIC_SEQ_CST);
	/*
	 * Who found it clear sees to it that somebody looks: at once, for all others leave it to
	 * this thread, and would wait with it if it lost the CPU here.
	 */
	on = irq_save();
	if (!(__atomic_fetch_or(&l->posted.words, LAPIC_ON, __ATOMIC_SEQ_CST) & LAPIC_ON) &&
	    vcpu_notify(l->v))
		__atomic_fetch_add(&l->notified_count, 1, __ATOMIC_RELAXED);
	irq_restore(on);
}

static void accept_vector(struct lapic *l, u8 vector, enum acceptance how)
{
	if (unlikely(l->posts)) {
		post(l, vector, how);
		return;
	}
	add_to(l, &l->posted, vector, how == ACCEPT_LEVEL);
	vcpu_request(l->v, VCPU_REQ_KICK);
}

/*
 * The error's LVT entry may itself name an illegal vector: that is one more error and no more
 * interrupts.
 */
void lapic_error(struct lapic *l, u32 esr_bit)
{
	u32 lvt = __atomic_load_n(&l->lvt[LVT_ERROR], __ATOMIC_SEQ_CST);
	u32 bits = esr_bit | (lvt & LVT_MASKED ? 0 : ESR_RAISED), old;

	old = __atomic_fetch_or(&l->esr_pending, bits, __ATOMIC_SEQ_CST);
	if ((lvt & LVT_MASKED) || (old & ESR_RAISED))
		return;
	if ((lvt & LVT_VECTOR) >= LAPIC_VECTOR_MIN)
		accept_vector(l, (u8)(lvt & LVT_VECTOR), ACCEPT_EDGE);
	else
		__atomic_or_fetch(&l->esr_pending, ESR_RECEIVE_ILLEGAL, __ATOMIC_SEQ_CST);
}

static bool accept_fixed(struct lapic *l, u8 vector, enum acceptance how)
{
	if (!(READ_ONCE(l->svr) & SVR_ENABLED))
		return false;
	if (vector < LAPIC_VECTOR_MIN)
		lapic_error(l, ESR_RECEIVE_ILLEGAL);
	else
		accept_vector(l, vector, how);
	return true;
}

static void accept_nmi(struct lapic *l)
{
	__atomic_store_n(&l->nmi_pending, true, __ATOMIC_SEQ_CST);
	vcpu_request(l->v, VCPU_REQ_KICK);
}

/* The first one starts the CPU; those that follow, as one always does, find it running. */
static void accept_startup(struct lapic *l, u8 vector)
{
	u32 old = __atomic_load_n(&l->start_up, __ATOMIC_SEQ_CST);

	do {
		if (old & LAPIC_SIPI_CAME)
			return;
	} while (!__atomic_compare_exchange_n(&l->start_up, &old,
					      old | (u32)LAPIC_SIPI_CAME | vector, false,
					      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	vcpu_request(l->v, VCPU_REQ_KICK);
}

u32 lapic_start_up_take(struct lapic *l)
{
	u32 came;

	if (likely(!__atomic_load_n(&l->start_up, __ATOMIC_SEQ_CST)))
		return 0;
	lapic_before_taking(l);
	came = __atomic_exchange_n(&l->start_up, 0, __ATOMIC_SEQ_CST);
	lapic_taken(l);
	return came;
}

static enum acceptance acceptance_of(const struct lapic_message *m)
{
	if (m->level)
		return ACCEPT_LEVEL;
	return m->paced ? ACCEPT_HELD_EDGE : ACCEPT_EDGE;
}

static bool accept(struct lapic *l, const struct lapic_message *m)
{
	switch (m->mode) {
	case LAPIC_FIXED:
	case LAPIC_LOWEST:
		return accept_fixed(l, m->vector, acceptance_of(m));
	case LAPIC_NMI:
		accept_nmi(l);
		return true;
	case LAPIC_INIT:
		/* A start-up IPI that came before it is forgotten. */
		__atomic_store_n(&l->start_up, LAPIC_INIT_CAME, __ATOMIC_SEQ_CST);
		vcpu_request(l->v, VCPU_REQ_KICK);
		return true;
	case LAPIC_STARTUP:
		accept_startup(l, m->vector);
		return true;
	case LAPIC_SMI: /* there is no SMM */
		return true;
	default:
		return false;
	}
}

/* --- destinations --- */

static bool matches_logical(const struct lapic *l, u32 dest)
{
	u32 ldr;

	if (lapic_is_x2apic(l)) {
		ldr = lapic_x2apic_ldr(l);
		return (ldr >> 16) == (dest >> 16) && (ldr & dest & 0xffff);
	}
	ldr = READ_ONCE(l->ldr) >> 24;
	switch (READ_ONCE(l->dfr) >> DFR_MODEL_SHIFT) {
	case DFR_FLAT:
		return ldr & dest;
	case DFR_CLUSTER:
		return dest <= 0xff && (ldr >> 4) == (dest >> 4) && (ldr & dest & 0xf);
	}
	return false;
}

bool lapic_matches(const struct lapic *l, const struct lapic_message *m)
{
	if (!lapic_enabled(l))
		return false;
	if (m->dest == (m->wide ? BROADCAST_WIDE : BROADCAST))
		return true;
	if (m->logical)
		return matches_logical(l, m->dest);
	return (lapic_is_x2apic(l) ? l->v->id : READ_ONCE(l->id) >> 24) == m->dest;
}

bool lapic_is_named(const struct lapic *l, const struct lapic_message *m,
		    const struct lapic *sender)
{
	switch (m->shorthand) {
	case LAPIC_DEST_SELF:
		return l == sender;
	case LAPIC_DEST_ALL:
		return lapic_enabled(l);
	case LAPIC_DEST_OTHERS:
		return l != sender && lapic_enabled(l);
	}
	return lapic_matches(l, m);
}

struct lapic *lapic_of(struct vm *vm, u32 i)
{
	return vm->vcpus[i] ? vm->vcpus[i]->lapic : NULL;
}

/* Of those named, the one with the least to do; equals take turns. */
static struct lapic *lowest_priority(struct vm *vm, const struct lapic_message *m,
				     const struct lapic *sender)
{
	u32 *turn = &vm->platform->lowest_priority_turn;
	u32 first = __atomic_fetch_add(turn, 1, __ATOMIC_RELAXED) % vm->vcpu_count;
	struct lapic *best = NULL;

	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct lapic *l = lapic_of(vm, (first + i) % vm->vcpu_count);

		if (!l || !lapic_is_named(l, m, sender) || !(READ_ONCE(l->svr) & SVR_ENABLED))
			continue;
		if (!best || lapic_ppr(l) < lapic_ppr(best))
			best = l;
	}
	return best;
}

bool lapic_send(struct vm *vm, const struct lapic_message *m, struct lapic *sender)
{
	bool taken = false;
	struct lapic *l;

	if (m->mode == LAPIC_LOWEST) {
		l = lowest_priority(vm, m, sender);
		return l && accept(l, m);
	}
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		l = lapic_of(vm, i);
		if (l && lapic_is_named(l, m, sender))
			taken |= accept(l, m);
	}
	return taken;
}

bool lapic_send_to(struct lapic *l, const struct lapic_message *m)
{
	return lapic_enabled(l) && accept(l, m);
}

void lapic_kick_all(struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		if (lapic_of(vm, i))
			vcpu_request(vm->vcpus[i], VCPU_REQ_KICK);
	}
}

void lapic_retry_ioapic(struct lapic *l)
{
	struct platform *p = l->v->vm->platform;
	bool on = spin_lock_irqsave(&p->lock);

	ioapic_retry(&p->ioapic);
	spin_unlock_irqrestore(&p->lock, on);
	chipset_resume_edges(p);
}

/* --- local sources --- */

void lapic_local_interrupt(struct lapic *l, enum lapic_lvt source)
{
	u32 lvt = READ_ONCE(l->lvt[source]);
	bool has_mode = source != LVT_TIMER && source != LVT_ERROR;

	if (!lapic_enabled(l) || (lvt & LVT_MASKED))
		return;
	if (has_mode && ((lvt >> LVT_MODE_SHIFT) & 7) == LAPIC_NMI)
		accept_nmi(l);
	else if (!has_mode || ((lvt >> LVT_MODE_SHIFT) & 7) == LAPIC_FIXED)
		accept_fixed(l, (u8)(lvt & LVT_VECTOR),
			     source == LVT_TIMER && lapic_timer_is_periodic(lvt) ? ACCEPT_HELD_EDGE
										 : ACCEPT_EDGE);
}

bool lapic_takes_lint0_extint(const struct lapic *l)
{
	u32 lvt = READ_ONCE(l->lvt[LVT_LINT0]);

	if (!lapic_enabled(l)) /* the pin is INTR; only the boot CPU's is wired */
		return l->v->id == 0;
	return !(lvt & LVT_MASKED) && ((lvt >> LVT_MODE_SHIFT) & 7) == LAPIC_EXTINT;
}

/* Without an APIC the pin is the CPU's NMI itself. */
void lapic_nmi_button(struct lapic *l)
{
	if (lapic_enabled(l))
		lapic_local_interrupt(l, LVT_LINT1);
	else
		accept_nmi(l);
}

void lapic_set_lint0(struct lapic *l, bool level)
{
	bool rising = level && !l->lint0;

	l->lint0 = level;
	if (!level)
		return;
	if (lapic_takes_lint0_extint(l))
		vcpu_request(l->v, VCPU_REQ_KICK);
	else if (rising)
		lapic_local_interrupt(l, LVT_LINT0);
}
