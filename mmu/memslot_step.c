/* SPDX-License-Identifier: MIT */
/* The steps of a change of memslots. See memslot_change.h. */
#include "mmu/memslot_change.h"
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/slab.h"

struct memslots *slots_current(struct mmu_vm *vm)
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

void slots_insert(struct memslots *slots, const struct memslot *s)
{
	u32 at = memslots_up_to(slots, s->base);

	memmove(&slots->slots[at + 1], &slots->slots[at],
		(slots->count - at) * sizeof(slots->slots[0]));
	slots->slots[at] = *s;
	slots->count++;
}

void slots_remove(struct memslots *slots, u32 at)
{
	slots->count--;
	memmove(&slots->slots[at], &slots->slots[at + 1],
		(slots->count - at) * sizeof(slots->slots[0]));
}

struct memslot *slots_find_id(struct memslots *slots, u32 id)
{
	for (u32 i = 0; i < slots->count; i++) {
		if (slots->slots[i].id == id)
			return &slots->slots[i];
	}
	return NULL;
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

void slots_tell_gone(struct mmu_vm *vm, const struct memslot *s)
{
	struct memslot_watcher *w;

	list_for_each_entry (w, &vm->slot_watchers, link)
		w->gone(w, s->base, s->pages);
}

/* --- The steps --- */

void change_end(struct change *c)
{
	kfree(c->invalid);
	kfree(c->final);
	kfree(c->remains);
}

int change_begin(struct mmu_vm *vm, struct change *c, bool two_step)
{
	struct memslots *old = slots_current(vm);

	c->final = copy_array(old);
	c->invalid = two_step ? copy_array(old) : NULL;
	c->remains = kmalloc(sizeof(*c->remains));
	if (c->final && c->remains && (c->invalid || !two_step))
		return 0;
	change_end(c);
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

void change_finish(struct mmu_vm *vm, struct change *c)
{
	c->remains->old = c->invalid ? c->remains->old : slots_current(vm);
	c->remains->invalid = c->invalid;
	publish(vm, c->final, next_even(slots_current(vm)));
	mmu_count(&vm->stats.slot_changes, 1);
	srcu_call(&vm->srcu, &c->remains->rcu, bury);
}

void change_retire(struct mmu_vm *vm, struct change *c, u32 index)
{
	struct memslots *old = slots_current(vm);
	struct memslot *s = &c->invalid->slots[index];

	c->remains->old = old;
	s->flags |= MEMSLOT_INVALID;
	publish(vm, c->invalid, old->generation + 1);
	srcu_synchronize(&vm->srcu);
	mmu_sweep(vm, s, s->base, s->pages, SWEEP_UNMAP);
	mmu_prune(vm, s);
	slots_tell_gone(vm, s);
}
