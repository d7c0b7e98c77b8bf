/* SPDX-License-Identifier: MIT */
#include "mmu/gpa_pin.h"
#include "kernel/base/error.h"
#include "mmu/mmu_private.h"

/* One try, in a reader. *invalid: the slot is on its way out, in an array of this generation. */
static int try_pin(struct mmu_vm *vm, gfn_t gfn, struct gpa_pin *p, bool *invalid, u64 *generation)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s;
	int err = memslot_look_up(vm, gfn, true, NULL, &s, generation);

	*invalid = err == ERR_AGAIN;
	if (!err && (s->flags & MEMSLOT_PRIVATE))
		err = ERR_NOSLOT;
	if (!err) {
		p->index = memslot_index(s, gfn);
		err = gmem_pin(s->object, p->index, true, &p->pfn);
	}
	if (!err) {
		p->object = s->object;
		gmem_ref(p->object);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

int gpa_pin(struct mmu_vm *vm, gpa_t gpa, struct gpa_pin *p)
{
	u64 generation;
	bool invalid;
	int err;

	if (mmu_is_protected(vm, gpa))
		return ERR_PERM;
	for (;;) {
		err = try_pin(vm, gpa_to_gfn(gpa), p, &invalid, &generation);
		if (!invalid)
			break;
		memslots_wait_change(vm, generation);
	}
	if (!err)
		p->at = (u8 *)pfn_to_virt(p->pfn) + (gpa.v & (PAGE_SIZE - 1));
	return err;
}

void gpa_unpin(struct gpa_pin *p)
{
	if (!p->object)
		return;
	gmem_unpin(p->object, p->index, p->pfn, true);
	gmem_unref(p->object);
	*p = (struct gpa_pin){0};
}
