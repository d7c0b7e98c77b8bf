/* SPDX-License-Identifier: MIT */
/*
 * Compares the tables with the reverse maps, both ways. Each comparison is made under the lock of
 * the gfn's word, where the two agree at any time, so guests may run on.
 */
#include "kernel/base/printf.h"
#include "kernel/base/x86.h"
#include "mmu/mmu_private.h"

struct audit {
	struct mmu_vm *vm;
	const struct memslots *slots;
	char *text;
};

static char complaint[128]; /* under the VM's mmu_lock; the last one wins among VMs */

static void complain(struct audit *a, const char *what, u64 gfn, u64 value)
{
	if (a->text)
		return;
	a->text = complaint;
	snprintf(complaint, sizeof(complaint), "gfn %#llx: %s (%#llx)", (unsigned long long)gfn,
		 what, (unsigned long long)value);
}

/* What the slot's object has there now is what the spte shows. The word is locked. */
static void check_page(struct audit *a, const struct memslot *s, gfn_t gfn, u32 level, u64 e)
{
	const struct page_table_level *l = &a->vm->format->level[level];
	u64 index = memslot_index(s, gfn);
	u64 seq = gmem_seq_sample(s->object, index);
	pfn_t pfn;

	if (gmem_lookup(s->object, index, false, &pfn)) {
		/* On its way out: whoever takes it will come for this spte. */
		if (gmem_seq_idle(seq) && gmem_seq_unchanged(s->object, index, seq))
			complain(a, "a spte shows a page that is not resident", gfn.v, e);
		return;
	}
	if (l->address(e).v != pfn_to_hpa(pfn).v && gmem_seq_unchanged(s->object, index, seq))
		complain(a, "a spte shows another page than its object", gfn.v, e);
}

static void check_leaf_locked(struct audit *a, const struct memslot *s, gfn_t gfn, u32 level,
			      u64 *entry, u64 *word)
{
	const struct page_table_level *l = &a->vm->format->level[level];
	u64 e = page_table_read(entry);
	u64 *spte;

	if (!l->present(e) || !l->leaf(e))
		return;
	for (u32 i = 0; (spte = rmap_spte(word, i)) && spte != entry; i++)
		;
	if (!spte)
		complain(a, "a spte is in no reverse map", gfn.v, e);
	check_page(a, s, gfn, level, e);
}

/* One present leaf of the tables. */
static void check_leaf(void *arg, u64 addr, u32 level, u64 *entry)
{
	struct audit *a = arg;
	gfn_t gfn = gpa_to_gfn(GPA(addr));
	const struct memslot *s = memslot_find(a->slots, gfn);
	u64 *word;

	if (!s) {
		complain(a, "a spte lies in no slot", gfn.v, page_table_read(entry));
		return;
	}
	word = level == small_level(a->vm) ? rmap_word(s, gfn) : rmap_large_word(s, gfn);
	if (!word) {
		complain(a, "a spte has no reverse map", gfn.v, page_table_read(entry));
		return;
	}
	rmap_lock(word);
	check_leaf_locked(a, s, gfn, level, entry, word);
	rmap_unlock(word);
}

/* Every spte in the chain is the one that the tables have for this gfn. */
static void check_word(struct audit *a, gfn_t gfn, u32 level, u64 *word)
{
	u32 at;
	u64 e, *entry, *spte;

	if (rmap_empty(word))
		return;
	rmap_lock(word);
	entry = page_table_find(a->vm->format, a->vm->root, gfn_to_gpa(gfn).v, &at, &e);
	for (u32 i = 0; (spte = rmap_spte(word, i)); i++) {
		if (spte != entry || at != level || !a->vm->format->level[at].present(e))
			complain(a, "a reverse map has a spte that is not in the tables", gfn.v, e);
	}
	rmap_unlock(word);
}

static void check_slot(struct audit *a, const struct memslot *s)
{
	for (u64 i = 0; i < s->pages; i += LARGE_PAGES - (s->base.v + i) % LARGE_PAGES) {
		gfn_t gfn = GFN(s->base.v + i);

		check_word(a, region_base(gfn), large_level(a->vm), rmap_large_word(s, gfn));
	}
	for (u64 i = 0; i < s->pages; i++) {
		gfn_t gfn = GFN(s->base.v + i);

		if (rmap_word(s, gfn))
			check_word(a, gfn, small_level(a->vm), rmap_word(s, gfn));
		else
			i |= RMAP_CHUNK_WORDS - 1; /* on to the next chunk */
	}
}

const char *mmu_audit(struct mmu_vm *vm)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	struct audit a = {.vm = vm, .slots = memslots_get(vm)};
	bool on = spin_lock_irqsave(&vm->mmu_lock);

	page_table_for_each_leaf(vm->format, vm->root, check_leaf, &a);
	for (u32 i = 0; i < a.slots->count; i++)
		check_slot(&a, &a.slots->slots[i]);
	spin_unlock_irqrestore(&vm->mmu_lock, on);
	srcu_read_unlock(&vm->srcu, reader);
	return a.text;
}
