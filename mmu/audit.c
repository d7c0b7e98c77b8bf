/* SPDX-License-Identifier: MIT */
/*
 * Compares the tables with the reverse maps, both ways. Each comparison is made under the lock of
 * the gfn's word, where the two agree at any time, so guests may run on.
 */
#include "kernel/base/printf.h"
#include "kernel/base/x86.h"
#include "mmu/shadow_private.h"

struct audit {
	struct mmu_vm *vm;
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
		if (mmu_page_is_away(s->object, index) && gmem_seq_unchanged(s->object, index, seq))
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
	struct rmap_cursor at;
	u64 *spte;

	if (!l->present(e) || !l->leaf(e))
		return;
	rmap_for_each (spte, word, &at) {
		if (spte == entry)
			break;
	}
	if (!spte)
		complain(a, "a spte is in no reverse map", gfn.v, e);
	check_page(a, s, gfn, level, e);
}

/*
 * One present leaf of the tables, under mmu_lock. Slots may have come since the audit began, so the
 * array is looked at anew. None goes meanwhile: its tables are pruned first.
 */
static void check_leaf(void *arg, u64 addr, u32 level, u64 *entry)
{
	struct audit *a = arg;
	gfn_t gfn = gpa_to_gfn(GPA(addr));
	const struct memslot *s = memslot_find(memslots_get(a->vm), gfn);
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

/* Every spte in the chain is the one that the tables have for this gfn. The word is locked. */
static void check_word(struct audit *a, gfn_t gfn, u32 level, const u64 *word)
{
	struct rmap_cursor cursor;
	const u64 *entry;
	u64 e, *spte;
	u32 at;

	rcu_read_lock();
	entry = page_table_find(a->vm->format, a->vm->root, gfn_to_gpa(gfn).v, &at, &e);
	rmap_for_each (spte, word, &cursor) {
		if (spte != entry || at != level || !a->vm->format->level[at].present(e))
			complain(a, "a reverse map has a spte that is not in the tables", gfn.v, e);
	}
	rcu_read_unlock();
}

static void check_small(struct audit *a, const struct memslot *s, gfn_t gfn, u64 pages)
{
	for (u64 i = 0; i < pages; i++) {
		u64 *word = rmap_word(s, GFN(gfn.v + i));

		if (!word) /* on to the next chunk */
			i += RMAP_CHUNK_WORDS - 1 - (gfn.v + i - s->base.v) % RMAP_CHUNK_WORDS;
		if (!word || rmap_empty(word))
			continue;
		while (!rmap_trylock(word))
			cpu_relax();
		check_word(a, GFN(gfn.v + i), small_level(a->vm), word);
		rmap_unlock_tried(word);
	}
}

/* Pages of one region. Its large word holds off a split, whose table is not yet to be found. */
static void check_region(struct audit *a, const struct memslot *s, gfn_t gfn, u64 pages)
{
	u64 *large = rmap_large_word(s, gfn);

	rmap_lock(large);
	check_word(a, region_base(gfn), large_level(a->vm), large);
	check_small(a, s, gfn, pages);
	rmap_unlock(large);
}

/* So much is looked at before interrupts, and mmu_lock, get a pause. */
#define AUDIT_ENTRIES 512

static void check_slot(struct audit *a, const struct memslot *s)
{
	u64 end = s->base.v + s->pages;

	for (u64 gfn = s->base.v; gfn < end;) {
		u64 next = min(end, region_base(GFN(gfn)).v + LARGE_PAGES);
		bool on = spin_lock_irqsave(&a->vm->mmu_lock);

		check_region(a, s, GFN(gfn), next - gfn);
		spin_unlock_irqrestore(&a->vm->mmu_lock, on);
		gfn = next;
	}
}

const char *mmu_audit(struct mmu_vm *vm)
{
	const struct memslots *slots;
	struct audit a = {.vm = vm};
	bool more = true;
	u64 addr = 0;
	u32 reader;

	if (vm->shadow)
		return shadow_audit(vm);
	reader = srcu_read_lock(&vm->srcu);
	slots = memslots_get(vm);
	while (more) {
		bool on = spin_lock_irqsave(&vm->mmu_lock);

		more = page_table_for_each_leaf(vm->format, vm->root, &addr, AUDIT_ENTRIES,
						check_leaf, &a);
		spin_unlock_irqrestore(&vm->mmu_lock, on);
	}
	for (u32 i = 0; i < slots->count; i++) {
		/* The words of one that moves may be in use at its new place. */
		if (!(slots->slots[i].flags & MEMSLOT_INVALID))
			check_slot(&a, &slots->slots[i]);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return a.text;
}
