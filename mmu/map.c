/* SPDX-License-Identifier: MIT */
/*
 * Linking and unlinking of second-level entries, under mmu_lock, and the count and sequence by
 * which an invalidation is known to those who looked a page up without a lock.
 */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mmu/mmu_private.h"
#include "mmu/page_table.h"

/* Leaves that are cleared before mmu_lock, and with it interrupts, get a pause. */
#define UNMAP_BATCH 512

u64 mmu_invalidate_seq(const struct mmu_vm *vm)
{
	/* Acquire: the page is looked up after this. */
	return __atomic_load_n(&vm->invalidate_seq, __ATOMIC_ACQUIRE);
}

void mmu_invalidate_begin(struct mmu_vm *vm)
{
	bool on = spin_lock_irqsave(&vm->mmu_lock);

	vm->invalidate_count++;
	BUG_ON(vm->invalidate_count == 0);
	spin_unlock_irqrestore(&vm->mmu_lock, on);
}

void mmu_invalidate_end(struct mmu_vm *vm)
{
	bool on = spin_lock_irqsave(&vm->mmu_lock);

	/*
	 * First the sequence goes up, then the count goes down: whoever sees no invalidation under
	 * way also sees the new sequence (R09). Readers that check do so under mmu_lock; only the
	 * sampling of the sequence is done without.
	 */
	__atomic_store_n(&vm->invalidate_seq, vm->invalidate_seq + 1, __ATOMIC_RELEASE);
	BUG_ON(vm->invalidate_count == 0);
	vm->invalidate_count--;
	spin_unlock_irqrestore(&vm->mmu_lock, on);
}

/* mmu_lock held. */
static int map_locked(struct mmu_vcpu *v, gfn_t gfn, pfn_t pfn, u32 access)
{
	struct mmu_vm *vm = v->vm;
	struct page_table_cache cache = {v->cache, &v->cache_count};
	enum page_table_change change;
	u32 tables = 0;
	int err;

	err = page_table_map(vm->format, vm->root, gfn_to_gpa(gfn).v, vm->format->levels - 1,
			     pfn_to_hpa(pfn), access, &cache, &change, &tables);
	mmu_count(&vm->stats.table_pages, tables);
	if (err)
		return err;
	if (change == PAGE_TABLE_MAPPED)
		mmu_count(&vm->stats.pages_mapped, 1);
	if (change == PAGE_TABLE_REPLACED)
		mmu_flush(vm);
	return 0;
}

int mmu_map(struct mmu_vcpu *v, gfn_t gfn, pfn_t pfn, u32 access, u64 seq)
{
	struct mmu_vm *vm = v->vm;
	bool on = spin_lock_irqsave(&vm->mmu_lock);
	int err;

	if (vm->invalidate_count || vm->invalidate_seq != seq)
		err = ERR_AGAIN;
	else
		err = map_locked(v, gfn, pfn, access);
	spin_unlock_irqrestore(&vm->mmu_lock, on);
	return err;
}

/* `tables`: where tables go that are empty then; NULL: they stay. */
static u64 unmap(struct mmu_vm *vm, gfn_t gfn, u64 pages, struct list *tables)
{
	u64 addr = gfn_to_gpa(gfn).v, end = addr + (pages << PAGE_SHIFT);
	u64 total = 0;

	while (addr < end) {
		bool on = spin_lock_irqsave(&vm->mmu_lock);
		u64 from = addr, cleared;
		bool flush;

		BUG_ON(vm->invalidate_count == 0);
		cleared = page_table_clear(vm->format, vm->root, &addr, end, UNMAP_BATCH);
		flush = cleared != 0;
		if (tables) {
			u32 n = page_table_prune(vm->format, vm->root, from, min(addr, end),
						 tables);

			mmu_count(&vm->stats.table_pages, -(u64)n);
			flush |= n != 0;
		}
		if (flush)
			mmu_flush(vm);
		spin_unlock_irqrestore(&vm->mmu_lock, on);
		mmu_count(&vm->stats.pages_unmapped, cleared);
		total += cleared;
	}
	return total;
}

u64 mmu_unmap(struct mmu_vm *vm, gfn_t gfn, u64 pages)
{
	if (gfn.v >= mmu_gfn_end())
		return 0;
	return unmap(vm, gfn, min(pages, mmu_gfn_end() - gfn.v), NULL);
}

void mmu_unmap_slot(struct mmu_vm *vm, gfn_t base, u64 pages, struct list *tables)
{
	mmu_invalidate_begin(vm);
	unmap(vm, base, pages, tables);
	mmu_invalidate_end(vm);
}

void mmu_free_tables(struct list *tables)
{
	struct frame *f, *next;

	list_for_each_entry_safe (f, next, tables, link) {
		list_del(&f->link);
		frame_free(frame_pfn(f), 0);
	}
}
