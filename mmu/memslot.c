/* SPDX-License-Identifier: MIT */
/* Memslots: lookup for readers, new arrays by writers. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/slab.h"
#include "mmu/mmu_private.h"

#define CREATE_FLAGS (MEMSLOT_READONLY | MEMSLOT_PRIVATE)

/* --- readers --- */

static bool covers(const struct memslot *s, gfn_t gfn)
{
	return gfn.v - s->base.v < s->pages; /* wraps to something large when gfn is below */
}

/* The number of slots whose base is at or below gfn. */
static u32 count_up_to(const struct memslots *slots, gfn_t gfn)
{
	u32 low = 0, high = slots->count;

	while (low < high) {
		u32 mid = (low + high) / 2;

		if (slots->slots[mid].base.v <= gfn.v)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct memslot *memslot_find(const struct memslots *slots, gfn_t gfn)
{
	u32 n = count_up_to(slots, gfn);

	return n && covers(&slots->slots[n - 1], gfn) ? &slots->slots[n - 1] : NULL;
}

const struct memslot *memslot_find_cached(const struct memslots *slots, gfn_t gfn, u32 *last)
{
	const struct memslot *s;

	if (*last < slots->count && covers(&slots->slots[*last], gfn))
		return &slots->slots[*last];
	s = memslot_find(slots, gfn);
	if (s)
		*last = s - slots->slots;
	return s;
}

const struct memslots *memslots_get(struct mmu_vm *vm)
{
	ASSERT(srcu_read_held(&vm->srcu) || mutex_held(&vm->slots_lock));
	return rcu_dereference(vm->slots);
}

void memslots_wait_change(struct mmu_vm *vm, u64 generation)
{
	wait_event(&vm->slots_wait,
		   __atomic_load_n(&vm->slots_generation, __ATOMIC_ACQUIRE) != generation);
}

/* --- writers: slots_lock is held --- */

static struct memslots *current_slots(struct mmu_vm *vm)
{
	ASSERT(mutex_held(&vm->slots_lock));
	return vm->slots;
}

/* An array with room for one slot more than the current one, and nothing in it. */
static struct memslots *make_array(struct mmu_vm *vm)
{
	u32 room = current_slots(vm)->count + 1;

	return kmalloc(sizeof(struct memslots) + room * sizeof(struct memslot));
}

static void copy_array(struct memslots *to, const struct memslots *from)
{
	to->generation = from->generation;
	to->count = from->count;
	memcpy(to->slots, from->slots, from->count * sizeof(from->slots[0]));
}

static void insert(struct memslots *slots, const struct memslot *s)
{
	u32 at = count_up_to(slots, s->base);

	memmove(&slots->slots[at + 1], &slots->slots[at],
		(slots->count - at) * sizeof(slots->slots[0]));
	slots->slots[at] = *s;
	slots->count++;
}

static void remove(struct memslots *slots, u32 at)
{
	slots->count--;
	memmove(&slots->slots[at], &slots->slots[at + 1],
		(slots->count - at) * sizeof(slots->slots[0]));
}

static struct memslot *find_id(struct memslots *slots, u32 id)
{
	for (u32 i = 0; i < slots->count; i++) {
		if (slots->slots[i].id == id)
			return &slots->slots[i];
	}
	return NULL;
}

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

/* The object's own pages are not divided between places in a page of the guest's. */
static bool congruent(const struct gmem *object, gfn_t base, u64 first)
{
	return is_aligned(base.v - first, 1ull << object->order);
}

static bool gfns_ok(gfn_t base, u64 pages)
{
	return pages && base.v < mmu_gfn_end() && pages <= mmu_gfn_end() - base.v;
}

/*
 * The generation counts up by two for each change. It is odd from the moment a slot is INVALID
 * until the change is complete (R30); 64 bits do not wrap.
 */
static void publish(struct mmu_vm *vm, struct memslots *slots, u64 generation)
{
	slots->generation = generation;
	rcu_assign_pointer(vm->slots, slots);
	__atomic_store_n(&vm->slots_generation, generation, __ATOMIC_RELEASE);
	wait_wake_all(&vm->slots_wait);
}

static u64 next_even(const struct memslots *slots)
{
	return (slots->generation | 1) + 1;
}

static int create_locked(struct mmu_vm *vm, const struct memslot *s)
{
	struct memslots *old = current_slots(vm), *slots;

	if (find_id(old, s->id) || overlaps(old, s->base, s->pages, NULL))
		return ERR_EXIST;
	if (old->count == MEMSLOTS_MAX)
		return ERR_NOSPC;
	slots = make_array(vm);
	if (!slots)
		return ERR_NOMEM;
	gmem_ref(s->object);
	copy_array(slots, old);
	insert(slots, s);
	publish(vm, slots, next_even(old));
	srcu_synchronize(&vm->srcu);
	kfree(old);
	return 0;
}

int memslot_create(struct mmu_vm *vm, u32 id, gfn_t base, u64 pages, struct gmem *object, u64 first,
		   u32 flags)
{
	struct memslot s = {base, pages, first, object, id, flags};
	int err;

	if (flags & ~CREATE_FLAGS)
		return ERR_INVAL;
	if (!gfns_ok(base, pages) || first >= object->pages || pages > object->pages - first)
		return ERR_RANGE;
	if (!congruent(object, base, first))
		return ERR_ALIGN;
	mutex_lock(&vm->slots_lock);
	err = create_locked(vm, &s);
	mutex_unlock(&vm->slots_lock);
	return err;
}

void memslot_watch(struct mmu_vm *vm, struct memslot_watcher *w)
{
	mutex_lock(&vm->slots_lock);
	list_add_tail(&w->link, &vm->slot_watchers);
	mutex_unlock(&vm->slots_lock);
}

void memslot_unwatch(struct mmu_vm *vm, struct memslot_watcher *w)
{
	mutex_lock(&vm->slots_lock);
	list_del(&w->link);
	mutex_unlock(&vm->slots_lock);
}

static void tell_gone(struct mmu_vm *vm, const struct memslot *s)
{
	struct memslot_watcher *w;

	list_for_each_entry (w, &vm->slot_watchers, link)
		w->gone(w, s->base, s->pages);
}

/*
 * From `old` by way of `invalid`, where the slot at `index` is INVALID, to `final`. After the first
 * grace period nobody links through the slot any more; what it had mapped goes, under the gfns that
 * it had (R26). After the second nobody uses the arrays or the tables that were taken out.
 */
static void replace_two_step(struct mmu_vm *vm, struct memslots *invalid, struct memslots *final,
			     u32 index)
{
	struct memslots *old = current_slots(vm);
	struct memslot *s = &invalid->slots[index];
	struct list tables = LIST_INIT(tables);

	s->flags |= MEMSLOT_INVALID;
	publish(vm, invalid, old->generation + 1);
	srcu_synchronize(&vm->srcu);
	mmu_unmap_slot(vm, s->base, s->pages, &tables);
	tell_gone(vm, s);
	publish(vm, final, next_even(invalid));
	srcu_synchronize(&vm->srcu);
	mmu_free_tables(&tables);
	kfree(invalid);
	kfree(old);
}

/* Two copies of the current array. ERR_NOMEM: none. */
static int copy_twice(struct mmu_vm *vm, struct memslots **invalid, struct memslots **final)
{
	*invalid = make_array(vm);
	*final = make_array(vm);
	if (!*invalid || !*final) {
		kfree(*invalid);
		kfree(*final);
		return ERR_NOMEM;
	}
	copy_array(*invalid, current_slots(vm));
	copy_array(*final, current_slots(vm));
	return 0;
}

static int delete_locked(struct mmu_vm *vm, u32 id)
{
	struct memslot *s = find_id(current_slots(vm), id);
	struct memslots *invalid, *final;
	struct gmem *object;
	u32 index;
	int err;

	if (!s)
		return ERR_NOENT;
	err = copy_twice(vm, &invalid, &final);
	if (err)
		return err;
	index = s - current_slots(vm)->slots;
	object = s->object;
	remove(final, index);
	replace_two_step(vm, invalid, final, index);
	gmem_unref(object);
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

static int move_locked(struct mmu_vm *vm, u32 id, gfn_t new_base)
{
	struct memslot *s = find_id(current_slots(vm), id), moved;
	struct memslots *invalid, *final;
	u32 index;
	int err;

	if (!s)
		return ERR_NOENT;
	if (!gfns_ok(new_base, s->pages))
		return ERR_RANGE;
	if (!congruent(s->object, new_base, s->first))
		return ERR_ALIGN;
	if (overlaps(current_slots(vm), new_base, s->pages, s))
		return ERR_EXIST;
	err = copy_twice(vm, &invalid, &final);
	if (err)
		return err;
	index = s - current_slots(vm)->slots;
	moved = *s;
	moved.base = new_base;
	remove(final, index);
	insert(final, &moved);
	replace_two_step(vm, invalid, final, index);
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

void memslots_destroy(struct mmu_vm *vm)
{
	struct list tables = LIST_INIT(tables);
	struct memslots *slots;

	mutex_lock(&vm->slots_lock);
	slots = current_slots(vm);
	for (u32 i = 0; i < slots->count; i++)
		mmu_unmap_slot(vm, slots->slots[i].base, slots->slots[i].pages, &tables);
	/* No reader is left to wait for, and no memory is needed: the array is emptied in place. */
	mmu_free_tables(&tables);
	while (slots->count) {
		const struct memslot *s = &slots->slots[--slots->count];

		tell_gone(vm, s);
		gmem_unref(s->object);
	}
	mutex_unlock(&vm->slots_lock);
}
