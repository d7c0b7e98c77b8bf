/* SPDX-License-Identifier: MIT */
/*
 * The log of written pages: a bitmap for each slot with MEMSLOT_LOG_DIRTY. A page is in it, or may
 * not be written without a fault, or the CPU will log that it is (R21). Where a fault gives the
 * right to write the bit is set first, both under the rmap word's lock; the reader of the log takes
 * the bit first and the right second, so a write that it does not report comes after.
 */
#include "kernel/base/error.h"
#include "mmu/mmu_private.h"

void mmu_dirty_note(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn)
{
	u64 index = gfn.v - s->base.v, bit = BIT(index % 64);

	if (!s->dirty)
		return;
	if (!(__atomic_fetch_or(&s->dirty[index / 64], bit, __ATOMIC_SEQ_CST) & bit))
		mmu_count(&vm->stats.dirty_logged, 1);
}

void mmu_dirty_mark(struct mmu_vm *vm, gfn_t gfn)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s = memslot_find(memslots_get(vm), gfn);

	if (s)
		mmu_dirty_note(vm, s, gfn);
	srcu_read_unlock(&vm->srcu, reader);
}

bool mmu_uses_pml(const struct mmu_vm *vm)
{
	return mmu_hw.pml && vm->kind == MMU_EPT && mmu_hw.ept_ad && vm->drain_dirty &&
	       __atomic_load_n(&vm->logged_slots, __ATOMIC_SEQ_CST);
}

static int get_and_clear(struct mmu_vm *vm, u32 id, u64 *bitmap, u64 words)
{
	const struct memslots *slots = memslots_get(vm);
	const struct memslot *s = NULL;
	u64 count;

	for (u32 i = 0; i < slots->count && !s; i++) {
		if (slots->slots[i].id == id)
			s = &slots->slots[i];
	}
	if (!s)
		return ERR_NOENT;
	if (!s->dirty)
		return ERR_INVAL;
	count = (s->pages + 63) / 64;
	if (words < count)
		return ERR_RANGE;
	for (u64 i = 0; i < count; i++)
		bitmap[i] = __atomic_exchange_n(&s->dirty[i], 0, __ATOMIC_SEQ_CST);
	/* A write through a pin is not noticed: its page counts as written in each round. */
	mmu_pins_mark(vm, s, bitmap);
	/* The next write to any other of them is noticed again. */
	mmu_sweep_marked(vm, s, bitmap, mmu_uses_pml(vm) ? SWEEP_CLEAN : SWEEP_PROTECT);
	return 0;
}

int mmu_dirty_get_and_clear(struct mmu_vm *vm, u32 id, u64 *bitmap, u64 words)
{
	int err;

	/* Before the lock, which a vCPU that is waited for may want. */
	if (mmu_uses_pml(vm))
		vm->drain_dirty(vm);
	mutex_lock(&vm->slots_lock);
	err = get_and_clear(vm, id, bitmap, words);
	mutex_unlock(&vm->slots_lock);
	return err;
}
