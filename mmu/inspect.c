/* SPDX-License-Identifier: MIT */
#include "mmu/inspect.h"
#include "kernel/base/error.h"
#include "mmu/mmu_private.h"

#define CHAIN_MAX 4096 /* looked at, with interrupts off */

static void look_at_words(const struct memslot *s, struct mmu_slot_look *out)
{
	out->chunks = s->maps->chunk_count;
	for (u64 i = 0; i < s->maps->chunk_count; i++) {
		const u64 *words = __atomic_load_n(&s->maps->chunk[i], __ATOMIC_ACQUIRE);

		if (!words)
			continue;
		out->chunks_there++;
		for (u32 k = 0; k < RMAP_CHUNK_WORDS; k++) {
			u64 word = __atomic_load_n(&words[k], __ATOMIC_RELAXED);

			out->pinned += (word & RMAP_PINNED) != 0;
			out->protected += (word & RMAP_PROTECTED) != 0;
		}
	}
}

u32 mmu_look_at_slots(struct mmu_vm *vm, struct mmu_slot_look *out, u32 max, u64 *generation)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslots *slots = memslots_get(vm);
	u32 count = slots->count;

	*generation = slots->generation;
	for (u32 i = 0; i < min(count, max); i++) {
		const struct memslot *s = &slots->slots[i];

		out[i] = (struct mmu_slot_look){.id = s->id,
						.flags = s->flags,
						.base = s->base,
						.pages = s->pages,
						.first = s->first};
		look_at_words(s, &out[i]);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return count;
}

/* The lock bit keeps the chain, and the tables that its sptes are in. */
static void look_at_word(u64 *word, struct mmu_word_look *out)
{
	bool on;
	u64 *spte;

	if (!word)
		return;
	on = irq_save();
	rmap_lock(word);
	out->there = true;
	out->word = __atomic_load_n(word, __ATOMIC_RELAXED) & ~RMAP_LOCKED;
	while (out->count < CHAIN_MAX && (spte = rmap_spte(word, out->count))) {
		if (out->count < MMU_LOOK_SPTES) {
			out->at[out->count] = virt_to_phys(spte);
			out->value[out->count] = page_table_read(spte);
		}
		out->count++;
	}
	rmap_unlock(word);
	irq_restore(on);
}

int mmu_look_at_gfn(struct mmu_vm *vm, gfn_t gfn, struct mmu_gfn_look *out)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s = memslot_find(memslots_get(vm), gfn);
	int err = 0;

	*out = (struct mmu_gfn_look){.slot = 0};
	if (!s) {
		err = ERR_NOSLOT;
	} else if (s->flags & MEMSLOT_INVALID) {
		err = ERR_AGAIN;
	} else {
		out->slot = s->id;
		out->index = memslot_index(s, gfn);
		out->entry = gmem_entry(s->object, out->index);
		/* One after the other: who holds one word waits for no second one. */
		look_at_word(rmap_word(s, gfn), &out->small);
		look_at_word(rmap_large_word(s, gfn), &out->large);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}
