/* SPDX-License-Identifier: MIT */
/*
 * How interrupts reach a local APIC, are ranked by it and go into service (SDM 3A 11.6, 11.8).
 * Accepting needs no lock: a bit of IRR is set atomically and the vCPU told to look.
 */
#include "kernel/dev/lapic.h"

#include "kernel/base/msr.h"
#include "kernel/dev/chipset.h"

#define VECTOR_MIN	16 /* lower ones are illegal in an APIC message */
#define PRIORITY_CLASS	0xf0u
#define BROADCAST	0xffu
#define BROADCAST_WIDE	0xffffffffu
#define DFR_FLAT	0xfu
#define DFR_CLUSTER	0x0u
#define DFR_MODEL_SHIFT 28

static void set_bit(u32 *words, u8 vector)
{
	__atomic_or_fetch(&words[vector / 32], 1u << (vector % 32), __ATOMIC_SEQ_CST);
}

static void clear_bit(u32 *words, u8 vector)
{
	__atomic_and_fetch(&words[vector / 32], ~(1u << (vector % 32)), __ATOMIC_SEQ_CST);
}

static bool test_bit(const u32 *words, u8 vector)
{
	return __atomic_load_n(&words[vector / 32], __ATOMIC_SEQ_CST) & (1u << (vector % 32));
}

static void set_vector(struct lapic_vectors *set, u8 vector)
{
	set_bit(set->word, vector);
	__atomic_or_fetch(&set->words, 1u << (vector / 32), __ATOMIC_SEQ_CST);
}

/*
 * Own thread. Another CPU may set a vector of the same word meanwhile: its bit of the summary comes
 * after the word's, so if it came before ours was cleared, the word shows it now.
 */
static void clear_vector(struct lapic_vectors *set, u8 vector)
{
	u32 bit = 1u << (vector / 32);

	clear_bit(set->word, vector);
	if (__atomic_load_n(&set->word[vector / 32], __ATOMIC_SEQ_CST))
		return;
	__atomic_and_fetch(&set->words, ~bit, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&set->word[vector / 32], __ATOMIC_SEQ_CST))
		__atomic_or_fetch(&set->words, bit, __ATOMIC_SEQ_CST);
}

static int highest(const struct lapic_vectors *set)
{
	u32 words = __atomic_load_n(&set->words, __ATOMIC_SEQ_CST);

	while (words) {
		u32 i = 31 - (u32)__builtin_clz(words);
		u32 word = __atomic_load_n(&set->word[i], __ATOMIC_SEQ_CST);

		if (word)
			return (int)(i * 32 + 31 - (u32)__builtin_clz(word));
		words &= ~(1u << i);
	}
	return -1;
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

/* --- priorities --- */

u32 lapic_ppr(const struct lapic *l)
{
	u32 tpr = READ_ONCE(l->tpr);
	int in_service = highest(&l->isr);
	u32 class = in_service < 0 ? 0 : (u32)in_service & PRIORITY_CLASS;

	return (tpr & PRIORITY_CLASS) >= class ? tpr : class;
}

u32 lapic_apr(const struct lapic *l)
{
	int requested = highest(&l->irr), in_service = highest(&l->isr);
	u32 irr = requested < 0 ? 0 : (u32)requested & PRIORITY_CLASS;
	u32 isr = in_service < 0 ? 0 : (u32)in_service & PRIORITY_CLASS;
	u32 tpr = l->tpr & PRIORITY_CLASS;

	if (tpr >= irr && tpr > isr)
		return l->tpr;
	return max(tpr & isr, irr);
}

int lapic_pending_vector(const struct lapic *l)
{
	int vector;

	if (!lapic_enabled(l))
		return -1;
	vector = highest(&l->irr);
	if (vector < 0 || ((u32)vector & PRIORITY_CLASS) <= (lapic_ppr(l) & PRIORITY_CLASS))
		return -1;
	return vector;
}

int lapic_ack(struct lapic *l)
{
	int vector = lapic_pending_vector(l);

	if (vector < 0)
		return -1;
	set_vector(&l->isr, (u8)vector);
	clear_vector(&l->irr, (u8)vector);
	return vector;
}

void lapic_eoi(struct lapic *l)
{
	struct platform *p = l->v->vm->platform;
	int vector = highest(&l->isr);
	bool on;

	if (vector < 0)
		return;
	clear_vector(&l->isr, (u8)vector);
	if (!test_bit(l->tmr, (u8)vector) || (l->svr & SVR_QUIET_EOI))
		return;
	on = spin_lock_irqsave(&p->lock);
	ioapic_eoi(&p->ioapic, (u8)vector);
	spin_unlock_irqrestore(&p->lock, on);
}

bool lapic_nmi_take(struct lapic *l)
{
	return unlikely(__atomic_load_n(&l->nmi_pending, __ATOMIC_SEQ_CST)) &&
	       __atomic_exchange_n(&l->nmi_pending, false, __ATOMIC_SEQ_CST);
}

/* --- accepting --- */

static void accept_vector(struct lapic *l, u8 vector, bool level)
{
	if (level)
		set_bit(l->tmr, vector);
	else
		clear_bit(l->tmr, vector);
	set_vector(&l->irr, vector);
	vcpu_request(l->v, VCPU_REQ_KICK);
}

/*
 * An error may have an error's LVT entry to report it, which may itself name an illegal vector:
 * that is one more error and no more interrupts.
 */
void lapic_error(struct lapic *l, u32 esr_bit)
{
	u32 lvt = READ_ONCE(l->lvt[LVT_ERROR]);

	__atomic_or_fetch(&l->esr_pending, esr_bit, __ATOMIC_SEQ_CST);
	if (lvt & LVT_MASKED)
		return;
	if ((lvt & LVT_VECTOR) >= VECTOR_MIN)
		accept_vector(l, (u8)(lvt & LVT_VECTOR), false);
	else
		__atomic_or_fetch(&l->esr_pending, ESR_RECEIVE_ILLEGAL, __ATOMIC_SEQ_CST);
}

static bool accept_fixed(struct lapic *l, u8 vector, bool level)
{
	if (!(READ_ONCE(l->svr) & SVR_ENABLED))
		return false;
	if (vector < VECTOR_MIN)
		lapic_error(l, ESR_RECEIVE_ILLEGAL);
	else
		accept_vector(l, vector, level);
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
	if (likely(!__atomic_load_n(&l->start_up, __ATOMIC_SEQ_CST)))
		return 0;
	return __atomic_exchange_n(&l->start_up, 0, __ATOMIC_SEQ_CST);
}

static bool accept(struct lapic *l, const struct lapic_message *m)
{
	switch (m->mode) {
	case LAPIC_FIXED:
	case LAPIC_LOWEST:
		return accept_fixed(l, m->vector, m->level);
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
	u32 ldr = READ_ONCE(l->ldr);

	if (lapic_is_x2apic(l))
		return (ldr >> 16) == (dest >> 16) && (ldr & dest & 0xffff);
	ldr >>= 24;
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
	u32 id;

	if (!lapic_enabled(l))
		return false;
	if (m->dest == (m->wide ? BROADCAST_WIDE : BROADCAST))
		return true;
	if (m->logical)
		return matches_logical(l, m->dest);
	id = READ_ONCE(l->id);
	return (lapic_is_x2apic(l) ? id : id >> 24) == m->dest;
}

static bool is_named(const struct lapic *l, const struct lapic_message *m,
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

static struct lapic *lapic_of(struct vm *vm, u32 i)
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

		if (!l || !is_named(l, m, sender) || !(READ_ONCE(l->svr) & SVR_ENABLED))
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
		if (l && is_named(l, m, sender))
			taken |= accept(l, m);
	}
	return taken;
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
		accept_fixed(l, (u8)(lvt & LVT_VECTOR), false);
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
