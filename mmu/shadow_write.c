/* SPDX-License-Identifier: MIT */
/*
 * What Weir writes to guest memory, for itself or for an instruction of the guest's that it runs, may
 * be an entry of a table that has shadow pages.
 */
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mmu/shadow_private.h"

/* So often in a row an instruction is left to the guest before it counts as in vain. */
#define LET_WRITE_MAX 64u

bool shadow_entries_of(const struct shadow_page *sp, u64 offset, u64 size, u32 *from, u32 *to)
{
	u32 width = sp->role.entry_4 ? 4 : 8;
	u64 first = offset / width, end = (offset + size + width - 1) / width, base = 0;
	u32 each = 1; /* entries of ours to one of the guest's */

	if (sp->role.entry_4) {
		each = sp->role.level == 1 ? 1 : 2;
		base = sp->role.quadrant * (SPTE_ENTRIES / each);
	}
	first = max(first, base);
	end = min(end, base + SPTE_ENTRIES / each);
	if (first >= end)
		return false;
	*from = (u32)(first - base) * each;
	*to = (u32)(end - base) * each;
	return true;
}

/* Part of one entry, but no less than half of it; or its low byte, as where a right is taken. */
static bool is_entry_write(const struct shadow_page *sp, u64 offset, u64 size)
{
	u64 width = sp->role.entry_4 ? 4 : 8;

	if (size == 1)
		return is_aligned(offset, width);
	return size >= 4 && is_aligned(offset, 4ull) &&
	       offset / width == (offset + size - 1) / width;
}

/* So many writes, or of such a kind, that the page is a table no more, or is being made. */
static bool is_flooded(struct shadow_page *sp, u64 offset, u64 size)
{
	/* Of those that the guest does itself nothing is known. */
	sp->writes += !sp->unsync;
	if (sp->roots)
		return false;
	return sp->writes >= SHADOW_WRITES_MAX || !is_entry_write(sp, offset, size);
}

/* Whether the page is gone. */
static bool written(struct mmu_vm *vm, struct shadow_page *sp, u64 offset, u64 size,
		    struct shadow_gone *gone)
{
	u32 from, to;

	if (is_flooded(sp, offset, size)) {
		mmu_count(&vm->stats.shadow_flooded, 1);
		shadow_zap(vm, sp, gone);
		return true;
	}
	if (!shadow_entries_of(sp, offset, size, &from, &to))
		return false;
	/* What it is now is read under this lock, here or by the next walk: never an older one (R02). */
	for (u32 i = from; i < to; i++)
		gone->flush |= shadow_zap_entry(sp, i);
	if (sp->role.level == 1 && to - from == 1)
		shadow_link_ahead(vm, NULL, sp, from, 1);
	return false;
}

/* A table has as many pages as it is used in ways: true, so many have gone that a look at the rest can wait. */
static bool look_at_some(struct mmu_vm *vm, gpa_t gpa, u64 size, bool wide_only)
{
	struct shadow_gone gone = SHADOW_GONE(gone);
	gfn_t gfn = gpa_to_gfn(gpa);
	struct shadow_page *sp, *next;
	u32 left = SHADOW_ZAP_STEP;

	spin_lock(&vm->mmu_lock);
	for (sp = *shadow_bucket(vm->shadow, gfn); sp && left; sp = next) {
		next = sp->next;
		if (sp->gfn.v == gfn.v && !sp->role.direct && !(wide_only && sp->role.entry_4))
			left -= written(vm, sp, gpa.v & (PAGE_SIZE - 1), size, &gone);
	}
	shadow_finish(vm, &gone);
	spin_unlock(&vm->mmu_lock);
	return !left;
}

/*
 * The bytes have been written before the flag is looked at here; who sets it reads the entries
 * after. Either this sees the flag, or the other reads what was written.
 */
static void look_at_pages(struct mmu_vm *vm, const struct memslot *s, gpa_t gpa, u64 size,
			  bool wide_only)
{
	u64 *word = rmap_word(s, gpa_to_gfn(gpa));

	/* An exchange, for its barrier. */
	if (!word || !(__atomic_fetch_or(word, 0, __ATOMIC_SEQ_CST) & RMAP_TABLE))
		return;
	mmu_count(&vm->stats.shadow_writes, 1);
	while (look_at_some(vm, gpa, size, wide_only))
		cpu_relax();
}

void shadow_written(struct mmu_vm *vm, const struct memslot *s, gpa_t gpa, u64 size)
{
	look_at_pages(vm, s, gpa, size, false);
}

/* In the low half of an entry of 8 bytes they are the same marks. */
void shadow_marked(struct mmu_vm *vm, const struct memslot *s, gpa_t gpa)
{
	if (gpa.v & 4)
		look_at_pages(vm, s, gpa, 4, true);
}

int mmu_shadow_let_write(struct mmu_vcpu *v, gfn_t gfn, u64 digest)
{
	u32 reader = srcu_read_lock(&v->vm->srcu);
	const struct memslot *slot = memslot_find(memslots_get(v->vm), gfn);
	bool is_ram = slot && !(slot->flags & MEMSLOT_PRIVATE);
	struct shadow_vcpu *s = &v->shadow;

	if (is_ram)
		shadow_forget(v->vm, gfn);
	srcu_read_unlock(&v->vm->srcu, reader);
	if (!is_ram)
		return ERR_NOSLOT;
	/* Pages that are tables on the way to each other would take turns: the page does not count. */
	s->let_write = (s->let_write_digest == digest ? s->let_write : 0) + 1;
	s->let_write_digest = digest;
	return s->let_write > LET_WRITE_MAX ? ERR_NOTSUP : 0;
}

bool mmu_shadow_is_table(struct mmu_vm *vm, gfn_t gfn)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s = memslot_find(memslots_get(vm), gfn);
	bool is = s && rmap_has_flag(s, gfn, RMAP_TABLE);

	srcu_read_unlock(&vm->srcu, reader);
	return is;
}
