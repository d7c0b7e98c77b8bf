/* SPDX-License-Identifier: MIT */
/*
 * The hash of a VM's shadow pages: from a gfn to the pages that stand for it. It has a chain for each
 * one or two pages that the VM may have, so that however much memory it has a fault looks at few of
 * them. It grows when slots come, a few chains at a time, for mmu_lock is held: until all have been moved,
 * those of the old table that have not are used where they are (shadow_bucket). It never shrinks.
 */
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mmu/shadow_private.h"

/* A page full. */
#define HASH_BITS_MIN 9u
#define HASH_BITS_MAX (HASH_BITS_MIN + FRAME_ORDER_MAX)
/* So many chains and pages, but for one chain's, are moved before mmu_lock gets a pause. */
#define MOVE_STEP 256u

static int alloc(struct shadow_hash *h, u32 bits)
{
	pfn_t pfn;
	int err = frame_alloc(bits - HASH_BITS_MIN, FRAME_ZERO | FRAME_FOR(TABLES), &pfn);

	if (!err)
		*h = (struct shadow_hash){.bits = bits, .bucket = pfn_to_virt(pfn)};
	return err;
}

static void release(const struct shadow_hash *h)
{
	frame_free(virt_to_pfn(h->bucket), h->bits - HASH_BITS_MIN);
}

int shadow_hash_create(struct mmu_vm *vm)
{
	int err = alloc(&vm->shadow->hash, HASH_BITS_MIN);

	if (!err)
		vm->stats.shadow_chains = BIT(HASH_BITS_MIN);
	return err;
}

void shadow_hash_destroy(struct mmu_vm *vm)
{
	release(&vm->shadow->hash);
}

/* Those of one chain of the old table. How many. */
static u32 move_chain(struct shadow *sh)
{
	struct shadow_page *sp = sh->old.bucket[sh->moved++], *next;
	u32 n = 0;

	for (; sp; sp = next, n++) {
		struct shadow_page **to = shadow_bucket(sh, sp->gfn);

		next = sp->next;
		sp->next = *to;
		*to = sp;
	}
	return n;
}

/* Some chains; whether there are more. */
static bool move_some(struct mmu_vm *vm)
{
	struct shadow *sh = vm->shadow;
	bool more;

	spin_lock(&vm->mmu_lock);
	for (u32 done = 0; sh->moved < BIT(sh->old.bits) && done < MOVE_STEP; done++)
		done += move_chain(sh);
	more = sh->moved < BIT(sh->old.bits);
	spin_unlock(&vm->mmu_lock);
	return more;
}

static void replace(struct mmu_vm *vm, const struct shadow_hash *by)
{
	struct shadow *sh = vm->shadow;
	struct shadow_hash old;

	spin_lock(&vm->mmu_lock);
	sh->old = sh->hash;
	sh->moved = 0;
	sh->hash = *by;
	spin_unlock(&vm->mmu_lock);
	while (move_some(vm))
		cpu_relax();
	spin_lock(&vm->mmu_lock);
	old = sh->old;
	sh->old = (struct shadow_hash){0};
	spin_unlock(&vm->mmu_lock);
	release(&old);
	__atomic_store_n(&vm->stats.shadow_chains, BIT(by->bits), __ATOMIC_RELAXED);
}

void shadow_hash_grow(struct mmu_vm *vm, u32 pages)
{
	u32 bits = 31u - (u32)__builtin_clz(max(pages, 1u));
	struct shadow_hash grown;

	/* Where memory for so many chains is short, or in pieces, half of them is better than none. */
	for (bits = min(bits, HASH_BITS_MAX); bits > vm->shadow->hash.bits; bits--) {
		if (alloc(&grown, bits) == 0) {
			replace(vm, &grown);
			return;
		}
	}
}
