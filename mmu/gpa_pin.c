/* SPDX-License-Identifier: MIT */
#include "mmu/gpa_pin.h"
#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "mem/slab.h"
#include "mmu/mmu_private.h"

/* --- Pinning --- */

/*
 * pins_lock is held, so the guest does not protect the page between the look and the pin; in a
 * reader, so the slot goes after, and finds the pin.
 */
static int pin_in_slot(const struct memslot *s, struct gpa_pin *p)
{
	int err;

	if (s->flags & MEMSLOT_PRIVATE)
		return ERR_NOSLOT;
	if (rmap_has_flag(s, p->gfn, RMAP_PROTECTED))
		return ERR_PERM;
	p->index = memslot_index(s, p->gfn);
	err = gmem_pin(s->object, p->index, true, &p->pfn);
	if (err)
		return err;
	p->object = s->object;
	gmem_ref(p->object);
	return 0;
}

/* One try. *invalid: the slot is on its way out, in an array of this generation. */
static int try_pin(struct gpa_pin *p, u64 offset, bool *invalid, u64 *generation)
{
	struct mmu_vm *vm = p->vm;
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s;
	int err = memslot_look_up(vm, p->gfn, true, &s, generation);

	*invalid = err == ERR_AGAIN;
	if (!err) {
		mutex_lock(&vm->pins_lock);
		err = pin_in_slot(s, p);
		if (!err) {
			p->at = p->last = (u8 *)pfn_to_virt(p->pfn) + offset;
			list_add_tail(&p->link, &vm->pins);
		}
		mutex_unlock(&vm->pins_lock);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

int gpa_pin(struct mmu_vm *vm, gpa_t gpa, struct gpa_pin **out)
{
	struct gpa_pin *p = kmalloc(sizeof(*p));
	u64 generation;
	bool invalid;
	int err;

	*out = NULL;
	if (!p)
		return ERR_NOMEM;
	*p = (struct gpa_pin){.vm = vm, .gfn = gpa_to_gfn(gpa)};
	for (;;) {
		err = try_pin(p, gpa.v & (PAGE_SIZE - 1), &invalid, &generation);
		if (!invalid)
			break;
		memslots_wait_change(vm, generation);
	}
	if (err)
		kfree(p);
	else
		*out = p;
	return err;
}

/* --- Unpinning --- */

/*
 * pins_lock is held, and a reader or slots_lock: the gfn's slot is still there, perhaps INVALID.
 * From here on the page is in the log by its bit alone.
 */
static void let_go(struct gpa_pin *p)
{
	const struct memslot *s = memslot_find(memslots_get(p->vm), p->gfn);

	if (s)
		mmu_dirty_note(p->vm, s, p->gfn);
	gmem_unpin(p->object, p->index, p->pfn, true);
	gmem_unref(p->object);
	p->object = NULL;
	list_del(&p->link);
}

void gpa_unpin(struct gpa_pin *p)
{
	struct mmu_vm *vm;
	u32 reader;

	if (!p)
		return;
	vm = p->vm;
	reader = srcu_read_lock(&vm->srcu);
	mutex_lock(&vm->pins_lock);
	if (p->object)
		let_go(p);
	mutex_unlock(&vm->pins_lock);
	srcu_read_unlock(&vm->srcu, reader);
	kfree(p);
}

static bool is_in(const struct gpa_pin *p, gfn_t base, u64 pages)
{
	return p->gfn.v - base.v < pages;
}

/*
 * Nothing maps the slot any more: the guest changes the byte no longer, and after a grace period
 * Weir does not either. Whoever asks for it until then looks at the page, so that has to stay for
 * another one.
 */
static void part(struct mmu_vm *vm, gfn_t base, u64 pages)
{
	struct gpa_pin *p, *next;

	list_for_each_entry (p, &vm->pins, link) {
		if (is_in(p, base, pages))
			__atomic_store_n(&p->at, NULL, __ATOMIC_RELEASE);
	}
	rcu_synchronize();
	list_for_each_entry (p, &vm->pins, link) {
		if (!is_in(p, base, pages))
			continue;
		p->copy = *p->last;
		__atomic_store_n(&p->last, &p->copy, __ATOMIC_RELEASE);
	}
	rcu_synchronize();
	list_for_each_entry_safe (p, next, &vm->pins, link) {
		if (is_in(p, base, pages))
			let_go(p);
	}
}

/* slots_lock is held; nobody finds the slot any more. */
static void slot_gone(struct memslot_watcher *w, gfn_t base, u64 pages)
{
	struct mmu_vm *vm = container_of(w, struct mmu_vm, pins_watcher);

	mutex_lock(&vm->pins_lock);
	if (mmu_pins_before(vm, base, pages) < pages)
		part(vm, base, pages);
	mutex_unlock(&vm->pins_lock);
}

/* --- For all of a VM's --- */

void mmu_pins_init(struct mmu_vm *vm)
{
	mutex_init(&vm->pins_lock, "pins", LOCK_PINS);
	list_init(&vm->pins);
	vm->pins_watcher.gone = slot_gone;
	memslot_watch(vm, &vm->pins_watcher);
}

u64 mmu_pins_before(struct mmu_vm *vm, gfn_t gfn, u64 pages)
{
	const struct gpa_pin *p;

	ASSERT(mutex_held(&vm->pins_lock));
	list_for_each_entry (p, &vm->pins, link) {
		if (is_in(p, gfn, pages))
			pages = p->gfn.v - gfn.v;
	}
	return pages;
}

void mmu_pins_mark(struct mmu_vm *vm, const struct memslot *s, u64 *bitmap)
{
	const struct gpa_pin *p;

	mutex_lock(&vm->pins_lock);
	list_for_each_entry (p, &vm->pins, link) {
		u64 i = p->gfn.v - s->base.v;

		if (i < s->pages)
			bitmap[i / 64] |= BIT(i % 64);
	}
	mutex_unlock(&vm->pins_lock);
}
