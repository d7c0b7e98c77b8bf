/* SPDX-License-Identifier: MIT */
#include "mmu/rma_setup.h"
#include "kernel/base/error.h"
#include "mmu/mmu_private.h"

/* --- one pin --- */

static int pin(struct rma_pin *p, const struct memslots *slots, gfn_t gfn)
{
	const struct memslot *s = memslot_find(slots, gfn);
	int err;

	if (!s)
		return ERR_NOSLOT;
	if (s->flags & MEMSLOT_INVALID)
		return ERR_AGAIN;
	if (s->flags & MEMSLOT_READONLY)
		return ERR_PERM;
	p->index = s->first + (gfn.v - s->base.v);
	err = gmem_pin(s->object, p->index, true, &p->pfn);
	if (err)
		return err;
	gmem_ref(s->object);
	__atomic_store_n(&p->object, s->object, __ATOMIC_RELEASE);
	return 0;
}

/* Whoever takes the object out undoes the pin. What the CPU did through it no dirty bit tells. */
static void unpin(struct rma_pin *p)
{
	struct gmem *g = __atomic_exchange_n(&p->object, NULL, __ATOMIC_ACQ_REL);

	if (!g)
		return;
	gmem_unpin(g, p->index, p->pfn, true);
	gmem_unref(g);
}

static void unpin_all(struct rma_area *a)
{
	for (u32 i = 0; i < RMA_PINS_MAX; i++)
		unpin(&a->pins[i]);
}

/* --- the area --- */

static u32 page_count(const struct rma_area *a)
{
	return a->has_tables ? RMA_PINS_MAX : RMA_PAGES;
}

static gfn_t page_of(const struct rma_area *a, u32 i)
{
	if (i < RMA_PAGES)
		return GFN(i);
	i -= RMA_PAGES;
	return i < REAL_MODE_TSS_PAGES ? GFN(a->tables.tss.v + i) : a->tables.identity_map;
}

static void *table_page(struct rma_area *a, u32 i)
{
	return pfn_to_virt(a->pins[RMA_PAGES + i].pfn);
}

/* Weir's own writes are in the dirty log like any (R21). */
static void build_tables(struct rma_area *a, const struct memslots *slots)
{
	u8 *tss[REAL_MODE_TSS_PAGES];

	for (u32 i = 0; i < REAL_MODE_TSS_PAGES; i++)
		tss[i] = table_page(a, i);
	real_mode_build_tss(tss);
	real_mode_build_identity_map(table_page(a, REAL_MODE_TSS_PAGES));
	for (u32 i = RMA_PAGES; i < RMA_PINS_MAX; i++)
		mmu_dirty_note(a->vm, memslot_find(slots, page_of(a, i)), page_of(a, i));
}

/*
 * All of it in one reader: a slot that goes away afterwards finds every pin that was made through
 * it. ERR_AGAIN: *generation is that of the array whose successor is to be waited for.
 */
static int pin_and_build(struct rma_area *a, u64 *generation, gpa_t *where)
{
	u32 reader = srcu_read_lock(&a->vm->srcu);
	const struct memslots *slots = memslots_get(a->vm);
	int err = 0;

	*generation = slots->generation;
	for (u32 i = 0; i < page_count(a) && !err; i++) {
		gfn_t gfn = page_of(a, i);

		*where = gfn_to_gpa(gfn);
		err = pin(&a->pins[i], slots, gfn);
	}
	if (err)
		unpin_all(a);
	else if (a->has_tables)
		build_tables(a, slots);
	srcu_read_unlock(&a->vm->srcu, reader);
	return err;
}

/* The pages are there: this spares the guest its first faults, and none of it can go wrong. */
static void map_pages(struct mmu_vcpu *v)
{
	for (u64 i = 0; i < RMA_PAGES; i++) {
		if (mmu_fault_slow(v, gfn_to_gpa(GFN(i)), MMU_WRITE))
			return;
	}
}

int rma_set_up(struct rma_area *a, struct mmu_vcpu *v, gpa_t *where)
{
	u64 generation = 0;
	int err = 0;
	bool mine;

	if (rma_is_set_up(a))
		return 0;
	mutex_lock(a->lock);
	mine = !rma_is_set_up(a);
	if (mine)
		err = pin_and_build(a, &generation, where);
	if (mine && !err)
		__atomic_store_n(&a->done, true, __ATOMIC_RELEASE);
	mutex_unlock(a->lock);
	/* Outside the reader, which who changes the slots waits for (R24), and the VM's lock. */
	if (err == ERR_AGAIN)
		memslots_wait_change(a->vm, generation);
	else if (mine && !err)
		map_pages(v);
	return err;
}

/* slots_lock is held; nobody finds the slot any more. */
static void slot_gone(struct memslot_watcher *w, gfn_t base, u64 pages)
{
	struct rma_area *a = container_of(w, struct rma_area, watcher);

	for (u32 i = 0; i < page_count(a); i++) {
		if (page_of(a, i).v - base.v < pages)
			unpin(&a->pins[i]);
	}
}

void rma_area_init(struct rma_area *a, struct mmu_vm *vm, struct mutex *lock,
		   const struct rma_tables *tables)
{
	*a = (struct rma_area){.vm = vm, .lock = lock, .watcher.gone = slot_gone};
	a->has_tables = tables;
	if (tables)
		a->tables = *tables;
	memslot_watch(vm, &a->watcher);
}

void rma_area_destroy(struct rma_area *a)
{
	memslot_unwatch(a->vm, &a->watcher);
	unpin_all(a);
}
