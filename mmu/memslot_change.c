/* SPDX-License-Identifier: MIT */
/*
 * Memslots as their writers change them: new arrays, published one after the other, under
 * slots_lock. All memory is taken before anything is published. What a change leaves over is
 * buried after a grace period, many to one (R29).
 */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/slab.h"
#include "mmu/mmu_private.h"

#define CREATE_FLAGS (MEMSLOT_READONLY | MEMSLOT_PRIVATE | MEMSLOT_LOG_DIRTY | MEMSLOT_NO_LARGE)
#define CHANGE_FLAGS (MEMSLOT_READONLY | MEMSLOT_LOG_DIRTY | MEMSLOT_NO_LARGE)

/* What one change leaves over. Any of it may be NULL. */
struct remains {
	struct rcu_head rcu;
	struct memslots *old, *invalid;
	struct slot_maps *maps;
	bool maps_shared; /* a moved slot goes on with their chunks */
	u64 *dirty;
	struct gmem *object;
};

/* A change: what it needs, taken before it begins. */
struct change {
	struct memslots *invalid, *final; /* copies of the current array, with room for one more */
	struct remains *remains;
};

static struct memslots *current_slots(struct mmu_vm *vm)
{
	ASSERT(mutex_held(&vm->slots_lock));
	return vm->slots;
}

/* --- Arrays --- */

static struct memslots *copy_array(const struct memslots *from)
{
	struct memslots *to = kmalloc(sizeof(struct memslots) +
				      (from->count + 1) * sizeof(struct memslot));

	if (!to)
		return NULL;
	to->generation = from->generation;
	to->count = from->count;
	memcpy(to->slots, from->slots, from->count * sizeof(from->slots[0]));
	return to;
}

static void insert(struct memslots *slots, const struct memslot *s)
{
	u32 at = memslots_up_to(slots, s->base);

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

static bool gfns_ok(gfn_t base, u64 pages)
{
	return pages && base.v < mmu_gfn_end() && pages <= mmu_gfn_end() - base.v;
}

/* Pages of 2 MiB are whole in guest memory, too. */
static bool aligned(const struct gmem *object, gfn_t base, u64 first)
{
	return base.v % BIT(object->order) == first % BIT(object->order);
}

/* --- Who wants to know --- */

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

/* --- The steps --- */

static void end_change(struct change *c)
{
	kfree(c->invalid);
	kfree(c->final);
	kfree(c->remains);
}

static int begin_change(struct mmu_vm *vm, struct change *c, bool two_step)
{
	struct memslots *old = current_slots(vm);

	c->final = copy_array(old);
	c->invalid = two_step ? copy_array(old) : NULL;
	c->remains = kmalloc(sizeof(*c->remains));
	if (c->final && c->remains && (c->invalid || !two_step))
		return 0;
	end_change(c);
	return ERR_NOMEM;
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

static void bury(struct rcu_head *head)
{
	struct remains *r = container_of(head, struct remains, rcu);

	kfree(r->old);
	kfree(r->invalid);
	if (r->maps_shared)
		slot_maps_part(r->maps);
	if (r->maps)
		slot_maps_free(r->maps);
	kfree(r->dirty);
	if (r->object)
		gmem_unref(r->object);
	kfree(r);
}

/* Publishes what the change comes to. Nobody waits for the grace period that follows. */
static void finish_change(struct mmu_vm *vm, struct change *c)
{
	c->remains->old = c->invalid ? c->remains->old : current_slots(vm);
	c->remains->invalid = c->invalid;
	publish(vm, c->final, next_even(current_slots(vm)));
	mmu_count(&vm->stats.slot_changes, 1);
	srcu_call(&vm->srcu, &c->remains->rcu, bury);
}

/*
 * The slot becomes INVALID. After the grace period nobody links through it any more, and what it
 * has mapped goes, under the gfns that it has (R26). Faults wait meanwhile, outside the reader.
 */
static void retire(struct mmu_vm *vm, struct change *c, u32 index)
{
	struct memslots *old = current_slots(vm);
	struct memslot *s = &c->invalid->slots[index];

	c->remains->old = old;
	s->flags |= MEMSLOT_INVALID;
	publish(vm, c->invalid, old->generation + 1);
	srcu_synchronize(&vm->srcu);
	mmu_sweep(vm, s, s->base, s->pages, SWEEP_UNMAP);
	mmu_prune(vm, s->base, s->pages);
	tell_gone(vm, s);
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
		finish_change(vm, c);
		return;
	}
	rwsem_write_lock(&vm->mem_sem);
	finish_change(vm, c);
	__atomic_store_n(&vm->private_slots, vm->private_slots + 1, __ATOMIC_SEQ_CST);
	rwsem_write_unlock(&vm->mem_sem);
}

static int create_locked(struct mmu_vm *vm, struct memslot *s)
{
	struct memslots *old = current_slots(vm);
	struct change c;
	int err;

	if (find_id(old, s->id) || overlaps(old, s->base, s->pages, NULL))
		return ERR_EXIST;
	if (old->count == MEMSLOTS_MAX)
		return ERR_NOSPC;
	err = begin_change(vm, &c, false);
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
	insert(c.final, s);
	publish_created(vm, &c, s->flags);
	return 0;

no_object:
	kfree(s->dirty);
no_log:
	slot_maps_free(s->maps);
no_maps:
	end_change(&c);
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
	struct memslot *s = find_id(current_slots(vm), id);
	struct change c;
	u32 index;
	int err;

	if (!s)
		return ERR_NOENT;
	err = begin_change(vm, &c, true);
	if (err)
		return err;
	index = s - current_slots(vm)->slots;
	retire(vm, &c, index);
	s = &c.invalid->slots[index];
	mmu_unpin_slot(vm, s);
	count_logged(vm, s->flags & MEMSLOT_LOG_DIRTY, false);
	if (s->flags & MEMSLOT_PRIVATE)
		__atomic_store_n(&vm->private_slots, vm->private_slots - 1, __ATOMIC_SEQ_CST);
	mmu_object_put(vm, s->object);
	c.remains->maps = s->maps;
	c.remains->dirty = s->dirty;
	c.remains->object = s->object;
	remove(c.final, index);
	finish_change(vm, &c);
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
	struct memslot *s = find_id(current_slots(vm), id), moved;
	struct change c;
	u32 index;
	int err;

	if (!s)
		return ERR_NOENT;
	if (!gfns_ok(new_base, s->pages))
		return ERR_RANGE;
	if (!aligned(s->object, new_base, s->first))
		return ERR_ALIGN;
	if (overlaps(current_slots(vm), new_base, s->pages, s))
		return ERR_EXIST;
	err = begin_change(vm, &c, true);
	if (err)
		return err;
	moved = *s;
	moved.base = new_base;
	err = slot_maps_share(s->maps, &moved.maps);
	if (err) {
		end_change(&c);
		return err;
	}
	index = s - current_slots(vm)->slots;
	retire(vm, &c, index);
	slot_maps_recount(&moved);
	c.remains->maps = c.invalid->slots[index].maps;
	c.remains->maps_shared = true;
	remove(c.final, index);
	insert(c.final, &moved);
	finish_change(vm, &c);
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
			mmu_split(vm, s, GFN(s->base.v + i));
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
	struct memslot *s = find_id(current_slots(vm), id);
	u32 was = s ? s->flags : 0, index;
	bool logged = flags & MEMSLOT_LOG_DIRTY, was_logged = was & MEMSLOT_LOG_DIRTY;
	struct change c;
	int err;

	if (!s)
		return ERR_NOENT;
	if ((was & CHANGE_FLAGS) == flags)
		return 0;
	err = begin_change(vm, &c, false);
	if (err)
		return err;
	index = s - current_slots(vm)->slots;
	s = &c.final->slots[index];
	s->flags = (was & ~(u32)CHANGE_FLAGS) | flags;
	if (logged && !was_logged) {
		s->dirty = make_log(s->pages);
		if (!s->dirty) {
			end_change(&c);
			return ERR_NOMEM;
		}
	} else if (was_logged && !logged) {
		c.remains->dirty = s->dirty;
		s->dirty = NULL;
	}
	/* CPUs log before anyone counts on it, and as long as anyone does. */
	if (logged)
		count_logged(vm, was_logged, true);
	finish_change(vm, &c);
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
	slots = current_slots(vm);
	for (u32 i = 0; i < slots->count; i++) {
		struct memslot *s = &slots->slots[i];

		mmu_sweep(vm, s, s->base, s->pages, SWEEP_UNMAP);
		mmu_prune(vm, s->base, s->pages);
		tell_gone(vm, s);
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
