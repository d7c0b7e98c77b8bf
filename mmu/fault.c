/* SPDX-License-Identifier: MIT */
/*
 * Faults at the second level. The fast half runs in exit context: it links pages that are resident,
 * from the vCPU's own cache of tables. The slow half gets the page first, in thread context.
 */
#include "kernel/base/error.h"
#include "mmu/mmu_private.h"

/*
 * The page and the access to map it with. A page that may be written is mapped so at once, whatever
 * the guest wanted of it first: the write that mostly follows then costs no second fault.
 */
static int lookup_page(const struct memslot *s, gfn_t gfn, u32 access, pfn_t *pfn, u32 *mapped)
{
	u64 index = s->first + (gfn.v - s->base.v);

	*mapped = MMU_READ | MMU_EXEC;
	if (!(s->flags & MEMSLOT_READONLY) && gmem_lookup(s->object, index, true, pfn) == 0) {
		*mapped |= MMU_WRITE;
		return 0;
	}
	if (access & MMU_WRITE)
		return ERR_TOO_HARD;
	return gmem_lookup(s->object, index, false, pfn);
}

/* 0, ERR_NOSLOT, or ERR_AGAIN: the slot is on its way out, *generation is its array's. */
static int find_slot(struct mmu_vcpu *v, gfn_t gfn, u32 access, const struct memslot **out,
		     u64 *generation)
{
	const struct memslots *slots = memslots_get(v->vm);
	const struct memslot *s = memslot_find_cached(slots, gfn, &v->last_slot);

	*out = s;
	*generation = slots->generation;
	if (!s)
		return ERR_NOSLOT;
	if (s->flags & MEMSLOT_INVALID)
		return ERR_AGAIN;
	if ((access & MMU_WRITE) && (s->flags & MEMSLOT_READONLY))
		return ERR_NOSLOT;
	return 0;
}

static void count_result(struct mmu_vm *vm, int err, const struct memslot *s)
{
	mmu_count(&vm->stats.faults, 1);
	if (err == ERR_AGAIN)
		mmu_count(&vm->stats.faults_retry, 1);
	else if (err == ERR_NOSLOT)
		mmu_count(s ? &vm->stats.faults_readonly : &vm->stats.faults_mmio, 1);
}

int mmu_fault(struct mmu_vcpu *v, gpa_t gpa, u32 access)
{
	struct mmu_vm *vm = v->vm;
	gfn_t gfn = gpa_to_gfn(gpa);
	const struct memslot *s;
	u64 seq, generation;
	u32 reader, mapped;
	pfn_t pfn;
	int err;

	seq = mmu_invalidate_seq(vm);
	reader = srcu_read_lock(&vm->srcu);
	err = find_slot(v, gfn, access, &s, &generation);
	if (!err)
		err = lookup_page(s, gfn, access, &pfn, &mapped);
	if (!err)
		err = mmu_map(v, gfn, pfn, mapped, seq);
	count_result(vm, err, s);
	/* A retry happens outside the reader (R24): the guest does it, by faulting again. */
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

/* Makes the page resident. As find_slot, and ERR_NOMEM. */
static int get_page(struct mmu_vcpu *v, gfn_t gfn, u32 access, u64 *generation)
{
	u32 reader = srcu_read_lock(&v->vm->srcu);
	const struct memslot *s;
	pfn_t pfn;
	int err = find_slot(v, gfn, access, &s, generation);

	if (!err)
		err = gmem_get_page(s->object, s->first + (gfn.v - s->base.v), access & MMU_WRITE,
				    &pfn);
	srcu_read_unlock(&v->vm->srcu, reader);
	return err;
}

int mmu_fault_slow(struct mmu_vcpu *v, gpa_t gpa, u32 access)
{
	u64 generation;
	int err;

	mmu_count(&v->vm->stats.faults_slow, 1);
	err = mmu_vcpu_topup(v);
	if (err)
		return err;
	rwsem_read_lock(&v->vm->mem_sem);
	err = get_page(v, gpa_to_gfn(gpa), access, &generation);
	if (!err)
		err = mmu_fault(v, gpa, access);
	rwsem_read_unlock(&v->vm->mem_sem);
	/* mmu_fault may have met what get_page did not: then the guest comes back by itself. */
	if (err == ERR_AGAIN && (generation & 1))
		memslots_wait_change(v->vm, generation);
	return err == ERR_AGAIN || err == ERR_TOO_HARD ? 0 : err;
}
