/* SPDX-License-Identifier: MIT */
/* The life of a VM's second-level translation and of its vCPUs' caches. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "mmu/ept.h"
#include "mmu/shadow_private.h"

/* As many as share a cache line of sptes twice over: enough to help, cheap to look at. */
#define FAULT_AROUND 16
/* One has to be looked at in more places, and fewer are used before their table goes. */
#define SHADOW_FAULT_AROUND 8
static_assert(!(FAULT_AROUND & (FAULT_AROUND - 1)) &&
		      !(SHADOW_FAULT_AROUND & (SHADOW_FAULT_AROUND - 1)),
	      "what is around a page is aligned to its size");

struct mmu_hw mmu_hw;

const struct stat_desc mmu_stat_descs[] = {MMU_STATS(STAT_DESC)};
STAT_CHECK(mmu_stats, mmu_stat_descs);

void mmu_init(const struct mmu_hw *hw)
{
	mmu_hw = *hw;
}

u64 mmu_gfn_end(void)
{
	return BIT(min(mmu_hw.maxphyaddr, (u32)EPT_ADDRESS_BITS) - PAGE_SHIFT);
}

bool mmu_has_ept(void)
{
	return mmu_hw.ept && (mmu_hw.invept_single || mmu_hw.invept_all);
}

static int create_ept(struct mmu_vm *vm)
{
	vm->kind = MMU_EPT;
	vm->format = &ept_format;
	vm->root = frame_alloc_page(FRAME_ZERO | FRAME_FOR(TABLES));
	if (!vm->root)
		return ERR_NOMEM;
	vm->stats.tables = 1;
	return 0;
}

static int create_shadow(struct mmu_vm *vm)
{
	vm->kind = MMU_SHADOW;
	vm->format = &shadow_format;
	return shadow_create(vm);
}

static void destroy_tables(struct mmu_vm *vm)
{
	struct mmu_stats stats;

	/* What stands for a gigabyte, without a leaf, is no slot's. */
	if (vm->shadow) {
		shadow_check_no_slot(vm);
		shadow_zap_all(vm);
	}
	mmu_stats_get(vm, &stats);
	if (vm->shadow) {
		BUG_ON(stats.tables);
		shadow_destroy(vm);
		return;
	}
	BUG_ON(stats.tables != 1);
	frame_free_page(vm->root);
	vm->root = NULL;
}

bool mmu_age_unmaps(const struct mmu_vm *vm)
{
	return !mmu_marks_accessed(vm);
}

int mmu_vm_create(struct mmu_vm *vm, enum mmu_kind kind)
{
	int err;

	if (kind == MMU_EPT && !mmu_has_ept())
		return ERR_NOTSUP;
	if (kind == MMU_AUTO)
		kind = mmu_has_ept() ? MMU_EPT : MMU_SHADOW;
	memset(vm, 0, sizeof(*vm));
	vm->flush_generation = 1; /* ahead of every CPU: each flushes at its first entry (R16) */
	vm->slots = kmalloc(sizeof(*vm->slots));
	if (!vm->slots)
		return ERR_NOMEM;
	err = kind == MMU_EPT ? create_ept(vm) : create_shadow(vm);
	if (err) {
		kfree(vm->slots);
		return err;
	}
	vm->fault_around = vm->shadow ? SHADOW_FAULT_AROUND : FAULT_AROUND;
	mutex_init(&vm->slots_lock, "slots", LOCK_SLOTS);
	rwsem_init(&vm->mem_sem, "mem_sem", LOCK_MEM_SEM);
	spin_init(&vm->mmu_lock, "mmu", LOCK_MMU);
	spin_init(&vm->vcpus_lock, "mmu vcpus", LOCK_MMU_VCPUS);
	list_init(&vm->vcpus);
	list_init(&vm->objects);
	wait_queue_init(&vm->slots_wait);
	list_init(&vm->slot_watchers);
	srcu_init(&vm->srcu);
	mmu_pins_init(vm);
	return 0;
}

#if WEIR_DEBUG
/* Nobody has the root as its own, and no CPU uses it (R33). */
static void check_unused(const struct mmu_vm *vm)
{
	ASSERT(list_empty(&vm->vcpus));
	ASSERT(list_empty(&vm->pins));
	for (u32 cpu = 0; cpu < CPU_MAX; cpu++)
		ASSERT(!__atomic_load_n(&vm->in_guest[cpu], __ATOMIC_ACQUIRE));
}
#endif

void mmu_vm_destroy(struct mmu_vm *vm)
{
#if WEIR_DEBUG
	const char *fault;

	check_unused(vm);
	fault = mmu_audit(vm);
	if (fault)
		panic("MMU audit: %s", fault);
#endif
	memslots_destroy(vm);
	/* What was to be freed after a grace period is. */
	srcu_barrier(&vm->srcu);
	srcu_destroy(&vm->srcu);
	rcu_barrier();
	/* Writing: no fault is on its way. */
	rwsem_write_lock(&vm->mem_sem);
	destroy_tables(vm);
	kfree(vm->slots);
	vm->slots = NULL;
	rwsem_write_unlock(&vm->mem_sem);
}

void mmu_slots_grew(struct mmu_vm *vm)
{
	if (vm->shadow)
		shadow_slots_grew(vm);
}

/* --- vCPUs --- */

void mmu_vcpu_init(struct mmu_vcpu *v, struct mmu_vm *vm)
{
	bool on;

	*v = (struct mmu_vcpu){.vm = vm};
	for (u32 i = 0; i < FETCH_PAGES; i++)
		v->fetched[i].gfn = FETCH_NO_PAGE;
	on = spin_lock_irqsave(&vm->vcpus_lock);
	list_add_tail(&v->link, &vm->vcpus);
	spin_unlock_irqrestore(&vm->vcpus_lock, on);
}

/* The counters of a and b added up, into a. */
static void add_stats(struct mmu_stats *a, const struct mmu_stats *b)
{
	for (u32 i = 0; i < MMU_STAT_COUNT; i++)
		mmu_count((u64 *)a + i, stat_read_field(b, i));
}

void mmu_vcpu_destroy(struct mmu_vcpu *v)
{
	bool on;

	if (v->vm->shadow)
		shadow_vcpu_destroy(v);
	on = spin_lock_irqsave(&v->vm->vcpus_lock);
	list_del(&v->link);
	add_stats(&v->vm->stats, &v->stats);
	spin_unlock_irqrestore(&v->vm->vcpus_lock, on);
	while (v->cache_count)
		frame_free_page(v->cache[--v->cache_count]);
	rmap_cache_free(&v->rmaps);
}

void mmu_stats_get(struct mmu_vm *vm, struct mmu_stats *out)
{
	bool on = spin_lock_irqsave(&vm->vcpus_lock);
	struct mmu_vcpu *v;

	*out = (struct mmu_stats){0};
	add_stats(out, &vm->stats);
	list_for_each_entry (v, &vm->vcpus, link)
		add_stats(out, &v->stats);
	spin_unlock_irqrestore(&vm->vcpus_lock, on);
}

u64 mmu_stat_read(const void *owner, u32 i)
{
	struct mmu_stats sum;

	mmu_stats_get((struct mmu_vm *)owner, &sum);
	return stat_read_field(&sum, i);
}

int mmu_vcpu_topup(struct mmu_vcpu *v)
{
	if (likely(v->cache_count >= TABLES_PER_FAULT && v->rmaps.count))
		return 0;
	while (v->cache_count < TABLES_PER_FAULT) {
		void *page = frame_alloc_page(FRAME_ZERO | FRAME_FOR(TABLES));

		if (!page)
			break;
		v->cache[v->cache_count++] = page;
	}
	return v->cache_count >= TABLES_PER_FAULT ? rmap_cache_fill(&v->rmaps) : ERR_NOMEM;
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
