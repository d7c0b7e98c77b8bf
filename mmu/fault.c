/* SPDX-License-Identifier: MIT */
/*
 * Faults at the second level. The fast half runs in exit context: it links pages that are resident,
 * from the vCPU's own cache (h_enter.c). The slow half gets the page first, in thread context.
 */
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mmu/mmu_private.h"

static void count_result(struct mmu_vcpu *v, int err, const struct memslot *s)
{
	mmu_count_own(&v->stats.faults, 1);
	if (likely(!err))
		return;
	if (err == ERR_AGAIN)
		mmu_count_own(&v->stats.faults_retry, 1);
	else if (err == ERR_PERM)
		mmu_count_own(&v->stats.faults_protected, 1);
	else if (err == ERR_NOSLOT)
		mmu_count_own(s ? &v->stats.faults_readonly : &v->stats.faults_mmio, 1);
}

int mmu_fault(struct mmu_vcpu *v, gpa_t gpa, u32 access)
{
	struct mmu_vm *vm = v->vm;
	gfn_t gfn = gpa_to_gfn(gpa);
	const struct memslot *s;
	u64 generation;
	u32 reader;
	int err;

	reader = srcu_read_lock(&vm->srcu);
	/* No slot: no table is made and nothing is retried (R11). */
	err = memslot_look_up_cached(vm, gfn, access & MMU_WRITE, &v->last_slot, &s, &generation);
	if (!err)
		err = h_enter(v, s, gfn, access, H_ENTER_LARGE | H_ENTER_AROUND);
	else if (err == ERR_AGAIN)
		err = ERR_TOO_HARD; /* INVALID: wait in thread context, outside the reader (R24) */
	count_result(v, err, s);
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

/*
 * The fast half again, from thread context, in the reader that got the page. Around a first touch
 * there is mostly nothing to be had: the look at it would cost more than it saves.
 */
static int enter_again(struct mmu_vcpu *v, const struct memslot *s, gfn_t gfn, u32 access)
{
	/* Asked at each first touch, of which one in 512 gets further. */
	bool large = unlikely(gmem_looks_large(s->object, memslot_index(s, gfn))) &&
		     mmu_collapse(v->vm, s, gfn);
	bool on;
	int err;

	on = irq_save();
	err = h_enter(v, s, gfn, access, H_ENTER_GOT | (large ? H_ENTER_LARGE : 0));
	irq_restore(on);
	return err;
}

/*
 * Makes the page resident, and whatever else the fast half wants, and links it: *entered is as
 * h_enter's. Returns as memslot_look_up, and ERR_NOMEM.
 */
static int get_and_enter(struct mmu_vcpu *v, gfn_t gfn, u32 access, u64 *generation, int *entered)
{
	u32 reader = srcu_read_lock(&v->vm->srcu);
	const struct memslot *s;
	pfn_t pfn;
	int err;

	err = memslot_look_up_cached(v->vm, gfn, access & MMU_WRITE, &v->last_slot, &s, generation);
	/* The page first: who is refused one, memory being short, gets no words for it either. */
	if (!err)
		err = gmem_get_page(s->object, memslot_index(s, gfn), access & MMU_WRITE, &pfn);
	if (!err)
		err = rmap_prepare(s, gfn);
	/* By gfn alone there is nothing to link in shadow tables. */
	if (!err)
		*entered = v->vm->shadow ? 0 : enter_again(v, s, gfn, access);
	else if (err == ERR_NOSLOT)
		mmu_count_own(s ? &v->stats.faults_readonly : &v->stats.faults_mmio, 1);
	srcu_read_unlock(&v->vm->srcu, reader);
	return err;
}

/* Sleeps while somebody changes the page, outside the reader: it may take long. */
static void wait_for_page(struct mmu_vcpu *v, gfn_t gfn)
{
	u32 reader = srcu_read_lock(&v->vm->srcu);
	struct gmem *object = NULL;
	const struct memslot *s;
	u64 generation, index = 0;

	if (memslot_look_up_cached(v->vm, gfn, false, &v->last_slot, &s, &generation) == 0) {
		object = s->object;
		index = memslot_index(s, gfn);
		gmem_ref(object);
	}
	srcu_read_unlock(&v->vm->srcu, reader);
	if (!object)
		return;
	gmem_wait_idle(object, index);
	gmem_unref(object);
}

int mmu_fault_slow(struct mmu_vcpu *v, gpa_t gpa, u32 access)
{
	gfn_t gfn = gpa_to_gfn(gpa);
	u64 generation;
	int err, entered = 0;

	mmu_count_own(&v->stats.faults_slow, 1);
	err = mmu_vcpu_topup(v);
	if (err)
		return err;
	rwsem_read_lock(&v->vm->mem_sem);
	err = get_and_enter(v, gfn, access, &generation, &entered);
	rwsem_read_unlock(&v->vm->mem_sem);
	if (likely(!err && !entered))
		return 0;
	if (err == ERR_AGAIN) {
		mmu_count_own(&v->stats.faults_invalid, 1);
		memslots_wait_change(v->vm, generation);
		return 0;
	}
	if (entered == ERR_TOO_HARD || entered == ERR_AGAIN || entered == ERR_STORED) {
		mmu_count_own(&v->stats.faults_retry, 1);
		wait_for_page(v, gfn);
		return 0;
	}
	if (entered == ERR_PERM)
		mmu_count_own(&v->stats.faults_protected, 1);
	return err ? err : entered;
}
