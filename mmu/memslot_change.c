/* SPDX-License-Identifier: MIT */
/* What writers do to memslots, in the steps of memslot_change.h, under slots_lock. */
#include "kernel/base/error.h"
#include "mem/slab.h"
#include "mmu/memslot_change.h"

#define CREATE_FLAGS (MEMSLOT_READONLY | MEMSLOT_PRIVATE | MEMSLOT_LOG_DIRTY | MEMSLOT_NO_LARGE)
#define CHANGE_FLAGS (MEMSLOT_READONLY | MEMSLOT_LOG_DIRTY | MEMSLOT_NO_LARGE)

/* --- What is asked for --- */

/* `except`: a slot that does not count, for it moves away; or NULL. */
static bool overlaps(const struct memslots *slots, gfn_t base, u64 pages,
		     const struct memslot *except)
{
	for (u32 i = 0; i < slots->count; i++) {
		const struct memslot *s = &slots->slots[i];

		if (s != except && base.v < s->base.v + s->pages && s->base.v < base.v + pages)
			return true;
	}
	return false;
}

static bool gfns_ok(gfn_t base, u64 pages)
{
	return pages && base.v < mmu_gfn_end() && pages <= mmu_gfn_end() - base.v;
}

/* Pages of 2 MiB are whole in guest memory, too. */
static bool aligned(const struct gmem *object, gfn_t base, u64 first)
{
	return base.v % BIT(object->order) == first % BIT(object->order);
}

/* --- Create --- */

static u64 *make_log(u64 pages)
{
	return kmalloc((pages + 63) / 64 * sizeof(u64));
}

/* How many slots are logged decides whether CPUs keep a log of their own (mmu_uses_pml). */
static void count_logged(struct mmu_vm *vm, bool was, bool is)
{
	if (was == is)
		return;
	__atomic_store_n(&vm->logged_slots, vm->logged_slots + (is ? 1u : -1u), __ATOMIC_SEQ_CST);
	/* Whoever is in the guest looks again before it enters. */
	mmu_flush(vm);
}

/* Faults that look for the page in thread context come before or after: it is there as a whole. */
static void publish_created(struct mmu_vm *vm, struct change *c, u32 flags)
{
	if (!(flags & MEMSLOT_PRIVATE)) {
		change_finish(vm, c);
		return;
	}
	rwsem_write_lock(&vm->mem_sem);
	change_finish(vm, c);
	__atomic_store_n(&vm->private_slots, vm->private_slots + 1, __ATOMIC_SEQ_CST);
	rwsem_write_unlock(&vm->mem_sem);
}

static int create_locked(struct mmu_vm *vm, struct memslot *s)
{
	struct memslots *old = slots_current(vm);
	struct change c;
	int err;

	if (slots_find_id(old, s->id) || overlaps(old, s->base, s->pages, NULL))
		return ERR_EXIST;
	if (old->count == MEMSLOTS_MAX)
		return ERR_NOSPC;
	err = change_begin(vm, &c, false);
	if (err)
		return err;
	err = slot_maps_create(s->pages, &s->maps);
	if (err)
		goto no_maps;
	err = ERR_NOMEM;
	if ((s->flags & MEMSLOT_LOG_DIRTY) && !(s->dirty = make_log(s->pages)))
		goto no_log;
	err = mmu_object_get(vm, s->object);
	if (err)
		goto no_object;
	gmem_ref(s->object);
	count_logged(vm, false, s->flags & MEMSLOT_LOG_DIRTY);
	slots_insert(c.final, s);
	publish_created(vm, &c, s->flags);
	mmu_slots_grew(vm);
	return 0;

no_object:
	kfree(s->dirty);
no_log:
	slot_maps_free(s->maps);
no_maps:
	change_end(&c);
	return err;
}

int memslot_create(struct mmu_vm *vm, u32 id, gfn_t base, u64 pages, struct gmem *object, u64 first,
		   u32 flags)
{
	struct memslot s = {base, pages, first, object, id, flags, NULL, NULL};
	int err;

	if (flags & ~(u32)CREATE_FLAGS)
		return ERR_INVAL;
	if (!gfns_ok(base, pages) || first >= object->pages || pages > object->pages - first)
		return ERR_RANGE;
	if (!aligned(object, base, first))
		return ERR_ALIGN;
	mutex_lock(&vm->slots_lock);
	err = create_locked(vm, &s);
	mutex_unlock(&vm->slots_lock);
	return err;
}

/* --- Delete --- */

static int delete_locked(struct mmu_vm *vm, u32 id)
{
	struct memslot *s = slots_find_id(slots_current(vm), id);
	struct change c;
	u32 index;
	int err;

	if (!s)
		return ERR_NOENT;
	err = change_begin(vm, &c, true);
	if (err)
		return err;
	index = s - slots_current(vm)->slots;
	change_retire(vm, &c, index);
	s = &c.invalid->slots[index];
	mmu_unpin_slot(vm, s);
	count_logged(vm, s->flags & MEMSLOT_LOG_DIRTY, false);
	if (s->flags & MEMSLOT_PRIVATE)
		__atomic_store_n(&vm->private_slots, vm->private_slots - 1, __ATOMIC_SEQ_CST);
	mmu_object_put(vm, s->object);
	c.remains->maps = s->maps;
	c.remains->dirty = s->dirty;
	c.remains->object = s->object;
	slots_remove(c.final, index);
	change_finish(vm, &c);
	return 0;
}

int memslot_delete(struct mmu_vm *vm, u32 id)
{
	int err;

	mutex_lock(&vm->slots_lock);
	err = delete_locked(vm, id);
	mutex_unlock(&vm->slots_lock);
	return err;
}

/* --- Move --- */

static int move_locked(struct mmu_vm *vm, u32 id, gfn_t new_base)
{
	struct memslot *s = slots_find_id(slots_current(vm), id), moved;
	struct change c;
	u32 index;
	int err;

	if (!s)
		return ERR_NOENT;
	if (!gfns_ok(new_base, s->pages))
		return ERR_RANGE;
	if (!aligned(s->object, new_base, s->first))
		return ERR_ALIGN;
	if (overlaps(slots_current(vm), new_base, s->pages, s))
		return ERR_EXIST;
	err = change_begin(vm, &c, true);
	if (err)
		return err;
	moved = *s;
	moved.base = new_base;
	err = slot_maps_share(s->maps, &moved.maps);
	if (err) {
		change_end(&c);
		return err;
	}
	index = s - slots_current(vm)->slots;
	change_retire(vm, &c, index);
	slot_maps_recount(&moved);
	c.remains->maps = c.invalid->slots[index].maps;
	c.remains->maps_shared = true;
	slots_remove(c.final, index);
	slots_insert(c.final, &moved);
	change_finish(vm, &c);
	return 0;
}

int memslot_move(struct mmu_vm *vm, u32 id, gfn_t new_base)
{
	int err;

	mutex_lock(&vm->slots_lock);
	err = move_locked(vm, id, new_base);
	mutex_unlock(&vm->slots_lock);
	return err;
}

/* --- Flags --- */

/* What faults no longer give is taken from the mappings that have it. */
static void narrow(struct mmu_vm *vm, const struct memslot *s, u32 was)
{
	u32 gone = s->flags & ~was;

	if (gone & MEMSLOT_READONLY)
		mmu_sweep(vm, s, s->base, s->pages, SWEEP_PROTECT);
	if (gone & MEMSLOT_LOG_DIRTY)
		mmu_sweep(vm, s, s->base, s->pages, mmu_uses_pml(vm) ? SWEEP_CLEAN : SWEEP_PROTECT);
	if (gone & MEMSLOT_NO_LARGE) {
		for (u64 i = 0; i < s->pages; i += LARGE_PAGES - (s->base.v + i) % LARGE_PAGES)
			(void)mmu_split(vm, s, GFN(s->base.v + i));
	}
}

/* Where nothing stands against large mappings any more they may come back. */
static void widen(struct mmu_vm *vm, const struct memslot *s, u32 was)
{
	if (!(was & ~s->flags & (MEMSLOT_LOG_DIRTY | MEMSLOT_NO_LARGE)))
		return;
	for (u64 i = 0; i < s->pages; i += LARGE_PAGES - (s->base.v + i) % LARGE_PAGES)
		mmu_collapse(vm, s, GFN(s->base.v + i));
}

static int set_flags_locked(struct mmu_vm *vm, u32 id, u32 flags)
{
	struct memslot *s = slots_find_id(slots_current(vm), id);
	u32 was = s ? s->flags : 0, index;
	bool logged = flags & MEMSLOT_LOG_DIRTY, was_logged = was & MEMSLOT_LOG_DIRTY;
	struct change c;
	int err;

	if (!s)
		return ERR_NOENT;
	if ((was & CHANGE_FLAGS) == flags)
		return 0;
	err = change_begin(vm, &c, false);
	if (err)
		return err;
	index = s - slots_current(vm)->slots;
	s = &c.final->slots[index];
	s->flags = (was & ~(u32)CHANGE_FLAGS) | flags;
	if (logged && !was_logged) {
		s->dirty = make_log(s->pages);
		if (!s->dirty) {
			change_end(&c);
			return ERR_NOMEM;
		}
	} else if (was_logged && !logged) {
		c.remains->dirty = s->dirty;
		s->dirty = NULL;
	}
	/* CPUs log before anyone counts on it, and as long as anyone does. */
	if (logged)
		count_logged(vm, was_logged, true);
	change_finish(vm, &c);
	srcu_synchronize(&vm->srcu);
	if (!logged)
		count_logged(vm, was_logged, false);
	narrow(vm, s, was);
	widen(vm, s, was);
	return 0;
}

int memslot_set_flags(struct mmu_vm *vm, u32 id, u32 flags)
{
	int err;

	if (flags & ~(u32)CHANGE_FLAGS)
		return ERR_INVAL;
	mutex_lock(&vm->slots_lock);
	err = set_flags_locked(vm, id, flags);
	mutex_unlock(&vm->slots_lock);
	return err;
}

/* --- The VM's end --- */

/*
 * No fault is on its way and no memory is needed: the array is emptied in place. mem/ may still
 * announce something until the last slot of an object has been put, so the slots stay until then.
 */
void memslots_destroy(struct mmu_vm *vm)
{
	struct memslots *slots;

	mutex_lock(&vm->slots_lock);
	slots = slots_current(vm);
	for (u32 i = 0; i < slots->count; i++) {
		struct memslot *s = &slots->slots[i];

		mmu_sweep(vm, s, s->base, s->pages, SWEEP_UNMAP);
		mmu_prune(vm, s);
		slots_tell_gone(vm, s);
		mmu_unpin_slot(vm, s);
		mmu_object_put(vm, s->object);
	}
	while (slots->count) {
		struct memslot *s = &slots->slots[--slots->count];

		slot_maps_free(s->maps);
		kfree(s->dirty);
		gmem_unref(s->object);
	}
	mutex_unlock(&vm->slots_lock);
}
