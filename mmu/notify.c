/* SPDX-License-Identifier: MIT */
/*
 * mem/ announces what it does to the pages of an object, and the VM answers for every slot that
 * shows them. Begin and end of an invalidation are not announced: they are counted in the object,
 * where faults look (R10), so it does not matter which slots come and go between them.
 */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/slab.h"
#include "mmu/mmu_private.h"

struct mmu_object {
	struct list link;
	struct gmem_notifier notifier;
	struct mmu_vm *vm;
	struct gmem *object;
	u32 slots; /* that show it */
};

static enum sweep sweep_of(enum gmem_event event)
{
	switch (event) {
	case GMEM_EVENT_AGE:
		return SWEEP_AGE;
	case GMEM_EVENT_TEST_YOUNG:
		return SWEEP_TEST_YOUNG;
	case GMEM_EVENT_SPLIT:
		return SWEEP_SPLIT;
	default:
		return SWEEP_UNMAP;
	}
}

/* Regions that the pages are all of; a slot on its way out stays as it is. */
static u64 join(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 pages)
{
	u64 joined = 0;

	if (s->flags & MEMSLOT_INVALID)
		return 0;
	for (gfn_t end = GFN(gfn.v + pages); gfn.v < end.v;
	     gfn.v = region_base(gfn).v + LARGE_PAGES)
		joined += memslot_has_region(s, gfn) && mmu_collapse(vm, s, gfn);
	return joined;
}

/* An INVALID slot counts: what it mapped is there until its deleter has taken it away. */
static u64 sweep_slot(struct mmu_vm *vm, const struct memslot *s, enum gmem_event event, u64 first,
		      u64 end, u64 *young)
{
	u64 from = first;
	gfn_t gfn;

	first = max(first, s->first);
	end = min(end, s->first + s->pages);
	if (first >= end)
		return 0;
	gfn = GFN(s->base.v + (first - s->first));
	if (event == GMEM_EVENT_JOIN)
		return join(vm, s, gfn, end - first);
	if (young)
		return mmu_sweep_age(vm, s, gfn, end - first, young, from);
	return mmu_sweep(vm, s, gfn, end - first, sweep_of(event));
}

static u64 notify(struct gmem_notifier *n, struct gmem *g, enum gmem_event event, u64 first,
		  u64 pages, u64 *young)
{
	struct mmu_vm *vm = container_of(n, struct mmu_object, notifier)->vm;
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslots *slots = memslots_get(vm);
	u64 done = 0;

	for (u32 i = 0; i < slots->count; i++) {
		if (slots->slots[i].object == g)
			done += sweep_slot(vm, &slots->slots[i], event, first, first + pages,
					   young);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return done;
}

static struct mmu_object *find(struct mmu_vm *vm, const struct gmem *object)
{
	struct mmu_object *o;

	ASSERT(mutex_held(&vm->slots_lock));
	list_for_each_entry (o, &vm->objects, link) {
		if (o->object == object)
			return o;
	}
	return NULL;
}

int mmu_object_get(struct mmu_vm *vm, struct gmem *object)
{
	struct mmu_object *o = find(vm, object);

	if (o) {
		o->slots++;
		return 0;
	}
	o = kmalloc(sizeof(*o));
	if (!o)
		return ERR_NOMEM;
	o->vm = vm;
	o->object = object;
	o->slots = 1;
	o->notifier.notify = notify;
	list_add(&o->link, &vm->objects);
	gmem_notifier_add(object, &o->notifier);
	return 0;
}

void mmu_object_put(struct mmu_vm *vm, struct gmem *object)
{
	struct mmu_object *o = find(vm, object);

	BUG_ON(!o);
	if (--o->slots)
		return;
	gmem_notifier_remove(object, &o->notifier);
	list_del(&o->link);
	kfree(o);
}
