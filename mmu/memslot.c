/* SPDX-License-Identifier: MIT */
/* Memslots as their readers see them. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/mmu_private.h"

/* Callers go on by the gfn's place in the slot, and it is the guest that has chosen the gfn. */
static bool covers(const struct memslot *s, gfn_t gfn)
{
	if (gfn.v - s->base.v >= s->pages) /* wraps to something large when gfn is below */
		return false;
	no_speculation();
	return true;
}

u32 memslots_up_to(const struct memslots *slots, gfn_t gfn)
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
	u32 n = memslots_up_to(slots, gfn);

	return n && covers(&slots->slots[n - 1], gfn) ? &slots->slots[n - 1] : NULL;
}

const struct memslots *memslots_get(struct mmu_vm *vm)
{
	ASSERT(srcu_read_held(&vm->srcu) || mutex_held(&vm->slots_lock));
	return rcu_dereference(vm->slots);
}

void memslots_wait_change(struct mmu_vm *vm, u64 generation)
{
	/* The reader that it would be in is what the change waits for (R24). */
	ASSERT(!srcu_read_held(&vm->srcu));
	/* An array is there before its generation is: who met it in between waits for more. */
	wait_event(&vm->slots_wait,
		   __atomic_load_n(&vm->slots_generation, __ATOMIC_ACQUIRE) > generation);
}

/* What the array says of it. */
static inline int say(const struct memslots *slots, const struct memslot *s, bool write,
		      const struct memslot **out, u64 *generation)
{
	*out = s;
	*generation = slots->generation;
	if (unlikely(!s))
		return ERR_NOSLOT;
	if (unlikely(s->flags & MEMSLOT_INVALID))
		return ERR_AGAIN;
	return write && (s->flags & MEMSLOT_READONLY) ? ERR_NOSLOT : 0;
}

int memslot_look_up(struct mmu_vm *vm, gfn_t gfn, bool write, const struct memslot **out,
		    u64 *generation)
{
	const struct memslots *slots = memslots_get(vm);

	return say(slots, memslot_find(slots, gfn), write, out, generation);
}

/* Apart from its caller so that this has nothing to save and restore where the last hit serves. */
static int __noinline search(const struct memslots *slots, gfn_t gfn, bool write, u32 *last,
			     const struct memslot **out, u64 *generation)
{
	const struct memslot *s = memslot_find(slots, gfn);

	if (s)
		*last = s - slots->slots;
	return say(slots, s, write, out, generation);
}

int memslot_look_up_cached(struct mmu_vm *vm, gfn_t gfn, bool write, u32 *last,
			   const struct memslot **out, u64 *generation)
{
	const struct memslots *slots = memslots_get(vm);

	if (*last < slots->count && covers(&slots->slots[*last], gfn))
		return say(slots, &slots->slots[*last], write, out, generation);
	return search(slots, gfn, write, last, out, generation);
}
