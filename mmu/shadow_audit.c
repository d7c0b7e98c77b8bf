/* SPDX-License-Identifier: MIT */
/*
 * Compares shadow pages with the reverse maps, both ways, and with what their keys say. Under
 * mmu_lock, where all of it agrees at any time: for one page, or one region's words, at a time, since
 * a guest decides how many there are, and how long their chains.
 */
#include "kernel/base/printf.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mmu/shadow_private.h"

static char complaint[128]; /* the last one wins among VMs */

static const char *complain(const char *what, u64 gfn, u64 value)
{
	snprintf(complaint, sizeof(complaint), "gfn %#llx: %s (%#llx)", (unsigned long long)gfn,
		 what, (unsigned long long)value);
	return complaint;
}

static bool in_chain(const u64 *word, const u64 *spte)
{
	struct rmap_cursor at;
	u64 *other;

	rmap_for_each (other, word, &at) {
		if (other == spte)
			return true;
	}
	return false;
}

static const char *check_entry(struct shadow_page *sp, u32 i)
{
	u64 e = page_table_read(&sp->table[i]);
	bool leaf = sp->role.level == 1 || (e & SPTE_PAGE);
	const u64 *chain;

	if (sp->words && sp->words[i] && !(e && leaf))
		return complain("a shadow page keeps the word of a leaf that it has not", sp->gfn.v,
				i);
	if (!e)
		return NULL;
	if ((e & SPTE_PAGE) && sp->role.level != 2)
		return complain("a shadow entry maps 2 MiB at another level", sp->gfn.v, e);
	if (leaf)
		chain = sp->words ? sp->words[i] : NULL;
	else
		chain = &shadow_page_of(e)->parents;
	if (!chain || !in_chain(chain, &sp->table[i]))
		return complain("a shadow entry is in no reverse map", sp->gfn.v, e);
	if (!leaf && shadow_page_of(e)->role.level + 1u != sp->role.level)
		return complain("a shadow entry leads to another level", sp->gfn.v, e);
	return NULL;
}

static const char *check_step(const struct shadow_page *sp)
{
	if (sp->unsync && (sp->role.level != 1 || sp->role.direct))
		return complain("a page is out of step that must not be", sp->gfn.v, sp->role.word);
	if (sp->word && sp->unsync != !!(__atomic_load_n(sp->word, __ATOMIC_RELAXED) & RMAP_UNSYNC))
		return complain("a word does not say whether its pages are in step", sp->gfn.v,
				*sp->word);
	return NULL;
}

/*
 * What stands for a table of the guest's knows the slot that the table is in. One that is gone took its
 * pages with it before it was out of the array; that may be another since the audit began.
 */
static const char *check_slot_of(struct mmu_vm *vm, const struct shadow_page *sp)
{
	const struct memslot *s = memslot_find(memslots_get(vm), sp->gfn);

	if (sp->role.direct)
		return NULL;
	if (!s || sp->word != rmap_word(s, sp->gfn) || sp->small != rmap_small_count(s, sp->gfn))
		return complain("a shadow page is of a slot that is gone", sp->gfn.v,
				sp->role.word);
	return NULL;
}

static const char *check_hash(struct shadow *sh, const struct shadow_page *sp)
{
	for (const struct shadow_page *at = *shadow_bucket(sh, sp->gfn); at; at = at->next) {
		if (at == sp)
			return NULL;
	}
	return complain("a shadow page is not found by its gfn", sp->gfn.v, sp->role.word);
}

static const char *check_page(struct mmu_vm *vm, struct shadow_page *sp)
{
	const char *fault = check_step(sp);

	if (!fault)
		fault = check_slot_of(vm, sp);
	if (!fault)
		fault = check_hash(vm->shadow, sp);
	for (u32 i = 0; i < SPTE_ENTRIES && !fault; i++)
		fault = check_entry(sp, i);
	return fault;
}

/* The one to look at after sp, which may have gone meanwhile: then it is begun again. mmu_lock. */
static struct shadow_page *page_after(const struct shadow *sh, const struct shadow_page *sp)
{
	const struct list *at = sp && !sp->invalid ? &sp->link : &sh->active;

	return at->next == &sh->active ? NULL : container_of(at->next, struct shadow_page, link);
}

static const char *check_unsync(struct mmu_vm *vm)
{
	const char *fault = NULL;
	struct shadow_page *sp;
	u32 n = 0;

	spin_lock(&vm->mmu_lock);
	list_for_each_entry (sp, &vm->shadow->unsync, unsync_link) {
		if (!sp->unsync)
			fault = complain("a page in step is listed as out of it", sp->gfn.v, n);
		n++;
	}
	if (n != vm->shadow->unsync_count)
		fault = complain("pages out of step are miscounted", n, vm->shadow->unsync_count);
	spin_unlock(&vm->mmu_lock);
	return fault;
}

/* On from sp, which had a root more so that it stays, and has it no more; *out gets that. */
static const char *check_next(struct mmu_vm *vm, struct shadow_page *sp, struct shadow_page **out)
{
	struct shadow_gone gone = SHADOW_GONE(gone);
	struct shadow_page *next;
	const char *fault;

	spin_lock(&vm->mmu_lock);
	next = page_after(vm->shadow, sp);
	fault = next ? check_page(vm, next) : NULL;
	if (next)
		next->roots++;
	if (sp)
		shadow_put_root(vm, sp, &gone);
	shadow_finish(vm, &gone);
	spin_unlock(&vm->mmu_lock);
	*out = next;
	return fault;
}

/* Beside guests that make and drop pages it ends, too. */
static const char *check_pages(struct mmu_vm *vm)
{
	struct shadow_gone gone = SHADOW_GONE(gone);
	u32 most = READ_ONCE(vm->shadow->pages);
	struct shadow_page *sp = NULL;
	const char *fault = NULL;

	for (u32 n = 0; n < most && !fault; n++) {
		fault = check_next(vm, sp, &sp);
		if (!sp)
			return fault;
	}
	spin_lock(&vm->mmu_lock);
	if (sp)
		shadow_put_root(vm, sp, &gone);
	shadow_finish(vm, &gone);
	spin_unlock(&vm->mmu_lock);
	return fault;
}

/* What the slot's object has there now is what the spte shows. The word is locked. */
static const char *check_shown(const struct memslot *s, gfn_t gfn, u64 e)
{
	u64 index = memslot_index(s, gfn), seq = gmem_seq_sample(s->object, index);
	pfn_t pfn;

	if (gmem_lookup(s->object, index, false, &pfn)) {
		/* On its way out: whoever takes it will come for this spte. */
		if (mmu_page_is_away(s->object, index) && gmem_seq_unchanged(s->object, index, seq))
			return complain("a spte shows a page that is not resident", gfn.v, e);
		return NULL;
	}
	if ((e & SPTE_ADDRESS) != pfn_to_hpa(pfn).v && gmem_seq_unchanged(s->object, index, seq))
		return complain("a spte shows another page than its object", gfn.v, e);
	return NULL;
}

/* Whether the spte is one of that level's that stands for the word. */
static bool is_in_tables(const u64 *spte, u64 e, u32 level, const u64 *word)
{
	struct shadow_page *sp = shadow_page_of(virt_to_phys(spte).v);

	return e && sp->role.level == level && !!(e & SPTE_PAGE) == (level == 2) && sp->words &&
	       sp->words[spte - sp->table] == word;
}

static const char *check_word(const struct memslot *s, gfn_t gfn, const u64 *word)
{
	const char *fault = NULL;
	struct rmap_cursor at;
	u64 *spte;

	rmap_for_each (spte, word, &at) {
		u64 e = page_table_read(spte);

		if (!is_in_tables(spte, e, 1, word))
			return complain("a reverse map has a spte that is not in the tables", gfn.v,
					e);
		if ((*word & (RMAP_TABLE | RMAP_UNSYNC)) == RMAP_TABLE && (e & SPTE_W))
			return complain("a table of the guest's is mapped for writing", gfn.v, e);
		fault = check_shown(s, gfn, e);
		if (fault)
			break;
	}
	return fault;
}

/* Each of the region's pages is what the large spte shows there. */
static const char *check_large_spte(const struct memslot *s, gfn_t base, u64 e)
{
	const char *fault = NULL;

	if (e & SPTE_ADDRESS & (MIB(2) - 1))
		return complain("a spte of 2 MiB is not aligned", base.v, e);
	if (mmu_hw.large_nx && !(e & SPTE_NX))
		return complain("2 MiB may be executed, and must not", base.v, e);
	for (u32 i = 0; i < LARGE_PAGES && !fault; i++)
		fault = check_shown(s, GFN(base.v + i), e + i * PAGE_SIZE);
	return fault;
}

/* The large word is locked. */
static const char *check_large_word(const struct memslot *s, gfn_t base, const u64 *word)
{
	const char *fault = NULL;
	struct rmap_cursor at;
	u64 *spte;

	if (!rmap_empty(word) && !memslot_has_region(s, base))
		return complain("2 MiB are mapped beyond their slot", base.v, *word);
	if (!rmap_empty(word) && (*word & RMAP_SMALL))
		return complain("2 MiB are mapped that are to be small", base.v, *word);
	rmap_for_each (spte, word, &at) {
		u64 e = page_table_read(spte);

		if (!is_in_tables(spte, e, 2, word))
			return complain("a reverse map has a spte that is not in the tables",
					base.v, e);
		fault = check_large_spte(s, base, e);
		if (fault)
			break;
	}
	return fault;
}

static bool has_page(struct shadow *sh, gfn_t gfn)
{
	for (struct shadow_page *sp = *shadow_bucket(sh, gfn); sp; sp = sp->next) {
		if (sp->gfn.v == gfn.v && !sp->role.direct)
			return true;
	}
	return false;
}

/*
 * Words of one region; mmu_lock is held. *small counts those that keep it from being mapped large.
 */
static const char *check_words(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 end,
			       u32 *small)
{
	const char *fault = NULL;

	for (; gfn.v < end && !fault; gfn.v++) {
		u64 *word = rmap_word(s, gfn);

		if (!word)
			continue;
		rmap_lock(word);
		fault = check_word(s, gfn, word);
		if (!fault && !!(*word & RMAP_TABLE) != has_page(vm->shadow, gfn))
			fault = complain("a word does not say whether it is a table", gfn.v, *word);
		*small += !!(*word & RMAP_TABLE) + !!(*word & RMAP_PROTECTED);
		rmap_unlock(word);
	}
	return fault;
}

/* Who protects pages counts them before they have their marks, and after they have lost them. */
static const char *check_region(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 end)
{
	u32 small = 0, counted;
	const char *fault = check_words(vm, s, gfn, end, &small);
	u64 *word = rmap_large_word(s, gfn);

	if (fault)
		return fault;
	rmap_lock(word);
	fault = check_large_word(s, region_base(gfn), word);
	if (!fault && small && !rmap_empty(word))
		fault = complain("2 MiB are mapped with a table or a protected page among them",
				 gfn.v, *word);
	rmap_unlock(word);
	counted = __atomic_load_n(rmap_small_count(s, gfn), __ATOMIC_SEQ_CST);
	if (!fault && counted < small)
		fault = complain("a region does not count all that keeps it small", gfn.v, counted);
	return fault;
}

static const char *check_slot(struct mmu_vm *vm, const struct memslot *s)
{
	u64 end = s->base.v + s->pages;
	const char *fault = NULL;

	for (u64 gfn = s->base.v; gfn < end && !fault;) {
		u64 next = min(end, region_base(GFN(gfn)).v + LARGE_PAGES);

		spin_lock(&vm->mmu_lock);
		fault = check_region(vm, s, GFN(gfn), next);
		spin_unlock(&vm->mmu_lock);
		gfn = next;
	}
	return fault;
}

const char *shadow_audit(struct mmu_vm *vm)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslots *slots = memslots_get(vm);
	const char *fault = check_unsync(vm);

	if (!fault)
		fault = check_pages(vm);
	for (u32 i = 0; i < slots->count && !fault; i++) {
		if (!(slots->slots[i].flags & MEMSLOT_INVALID))
			fault = check_slot(vm, &slots->slots[i]);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return fault;
}
