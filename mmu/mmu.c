/* SPDX-License-Identifier: MIT */
/* The life of a VM's second-level translation and of its vCPUs' caches. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "mmu/ept.h"
#include "mmu/mmu_private.h"

/* Tables that one fault may need: all levels but the root. */
#define TABLES_PER_FAULT (PAGE_TABLE_LEVELS_MAX - 1)

static_assert(TABLES_PER_FAULT <= MMU_CACHE_MAX, "a full cache serves any fault");

struct mmu_hw mmu_hw;

void mmu_init(const struct mmu_hw *hw)
{
	mmu_hw = *hw;
}

u64 mmu_gfn_end(void)
{
	return BIT(min(mmu_hw.maxphyaddr, (u32)EPT_ADDRESS_BITS) - PAGE_SHIFT);
}

static bool ept_usable(void)
{
	return mmu_hw.ept && (mmu_hw.invept_single || mmu_hw.invept_all);
}

int mmu_vm_create(struct mmu_vm *vm, enum mmu_kind kind)
{
	if (kind == MMU_SHADOW || !ept_usable())
		return ERR_NOTSUP;
	memset(vm, 0, sizeof(*vm));
	vm->kind = MMU_EPT;
	vm->format = &ept_format;
	vm->flush_generation = 1; /* ahead of every CPU: each flushes at its first entry (R16) */
	vm->root = frame_alloc_page(FRAME_ZERO);
	vm->slots = kmalloc(sizeof(*vm->slots));
	if (!vm->root || !vm->slots) {
		if (vm->root)
			frame_free_page(vm->root);
		kfree(vm->slots);
		return ERR_NOMEM;
	}
	vm->stats.table_pages = 1;
	mutex_init(&vm->slots_lock, "slots", LOCK_SLOTS);
	rwsem_init(&vm->mem_sem, "mem_sem", LOCK_MEM_SEM);
	spin_init(&vm->mmu_lock, "mmu", LOCK_MMU);
	wait_queue_init(&vm->slots_wait);
	list_init(&vm->slot_watchers);
	srcu_init(&vm->srcu);
	return 0;
}

void mmu_vm_destroy(struct mmu_vm *vm)
{
	/* Writing: no fault is on its way. */
	memslots_destroy(vm);
	rwsem_write_lock(&vm->mem_sem);
	BUG_ON(vm->stats.table_pages != 1);
	frame_free_page(vm->root);
	vm->root = NULL;
	kfree(vm->slots);
	vm->slots = NULL;
	rwsem_write_unlock(&vm->mem_sem);
}

void mmu_vcpu_init(struct mmu_vcpu *v, struct mmu_vm *vm)
{
	*v = (struct mmu_vcpu){.vm = vm};
}

void mmu_vcpu_destroy(struct mmu_vcpu *v)
{
	while (v->cache_count)
		frame_free_page(v->cache[--v->cache_count]);
}

int mmu_vcpu_topup(struct mmu_vcpu *v)
{
	if (likely(v->cache_count >= TABLES_PER_FAULT))
		return 0;
	while (v->cache_count < MMU_CACHE_MAX) {
		void *page = frame_alloc_page(FRAME_ZERO);

		if (!page)
			break;
		v->cache[v->cache_count++] = page;
	}
	return v->cache_count >= TABLES_PER_FAULT ? 0 : ERR_NOMEM;
}

u64 mmu_eptp(const struct mmu_vm *vm)
{
	return ept_pointer(virt_to_phys(vm->root), mmu_hw.ept_ad);
}

/* Several slots may show one object: it counts once. */
static bool counted_before(const struct memslots *slots, u32 index)
{
	for (u32 i = 0; i < index; i++) {
		if (slots->slots[i].object == slots->slots[index].object &&
		    !(slots->slots[i].flags & MEMSLOT_PRIVATE))
			return true;
	}
	return false;
}

u64 mmu_resident_pages(struct mmu_vm *vm)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslots *slots = memslots_get(vm);
	u64 resident = 0;

	for (u32 i = 0; i < slots->count; i++) {
		const struct memslot *s = &slots->slots[i];

		if (!(s->flags & MEMSLOT_PRIVATE) && !counted_before(slots, i))
			resident += __atomic_load_n(&s->object->resident, __ATOMIC_RELAXED);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return resident;
}
