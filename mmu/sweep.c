/* SPDX-License-Identifier: MIT */
/*
 * What is done to the sptes of many gfns at once, found by their reverse maps: unmapping, taking
 * the right to write, aging. Words are locked in batches; the first is waited for and the rest are
 * tried, so that two sweeps never wait for each other (R35). What was changed is flushed before
 * any lock of the batch is released (R13), once for all of it.
 */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/shadow_private.h"

#define SWEEP_BATCH 64

struct sweeper {
	struct mmu_vm *vm;
	const struct memslot *slot;
	enum sweep what;
	const struct page_table_level *level;
	u64 pages;	   /* that one spte maps */
	const u64 *marked; /* bits by the gfn's place in the slot: only these; NULL: all */
	u64 *young;	   /* AGE: gets a bit for each young page, by its index; NULL: not wanted */
	u64 young_first;   /* the index of bit 0 */
	/* a run of words, and whose the first is */
	u64 *words;
	gfn_t gfn;
	bool settled; /* mmu_lock was held since a large word was last looked at without it */
	/* of the batch */
	bool flush; /* only ever set (R14) */
	u32 count;
	u32 unmapped; /* sptes */
	struct {
		u64 *word;
		u64 flags; /* to set when the chain is dropped */
	} batch[SWEEP_BATCH];
	u64 done;
};

/* --- One spte, its word locked --- */

/*
 * Takes rights or marks of use from a spte. The CPU may set A and D in it meanwhile: an exchange
 * that fails is done again with what it found, so nothing is lost (R18, R19). Whether it had any.
 */
static bool take_bits(const struct page_table_level *l, u64 *spte, u32 bits)
{
	u64 e = page_table_read(spte);

	do {
		if (!(l->access(e) & bits))
			return false;
	} while (!page_table_change(spte, &e, l->with_access(e, l->access(e) & ~bits)));
	return true;
}

/*
 * Returns what it had: the CPU's marks are read with the exchange that takes it away (R17). The
 * flush comes after, and no mark between: a CPU caches a translation only once A is set in the
 * entry (SDM 3A 4.10.2.3), and sets D in the entry at the first write by one that was cached
 * without (3A 4.8, 3C 29.3.5), by a locked access that finds it gone and faults. The manual does
 * not spell that last part out; Linux lives by it where it unmaps pages and flushes later.
 */
static u32 unmap_spte(struct sweeper *w, u64 *spte)
{
	u64 e = __atomic_exchange_n(spte, 0, __ATOMIC_SEQ_CST);

	BUG_ON(!w->level->present(e));
	w->flush = true;
	w->unmapped++;
	if (w->vm->shadow)
		shadow_leaf_gone(spte);
	return w->level->access(e);
}

/* --- One word, locked --- */

static bool was_young(u64 *word, bool forget)
{
	bool young = __atomic_load_n(word, __ATOMIC_RELAXED) & RMAP_YOUNG;

	if (young && forget)
		rmap_flag(word, 0, RMAP_YOUNG);
	return young;
}

/*
 * A CPU that logs what is written (PML) may not have told yet of a page that is marked dirty; when it
 * does, the slot may have moved away from the gfn that it tells.
 */
static void unmap_word(struct sweeper *w, u64 *word, u64 *flags)
{
	struct rmap_cursor at;
	u32 had = 0;
	u64 *spte;

	rmap_for_each (spte, word, &at)
		had |= unmap_spte(w, spte);
	*flags = had & PAGE_TABLE_ACCESSED ? RMAP_YOUNG : 0;
	if ((had & PAGE_TABLE_DIRTY) && w->slot->dirty && mmu_uses_pml(w->vm))
		mmu_dirty_note(w->vm, w->slot, GFN(w->gfn.v + (word - w->words)));
}

/* Returns the pages of the sptes that had the right. */
static u64 protect_word(struct sweeper *w, u64 *word)
{
	struct rmap_cursor at;
	u64 *spte, pages = 0;

	rmap_for_each (spte, word, &at)
		pages += take_bits(w->level, spte, MMU_WRITE) ? w->pages : 0;
	if (pages) {
		w->flush = true;
		mmu_count(&w->vm->stats.write_protected, pages);
	}
	return pages;
}

static void guard_word(struct sweeper *w, u64 *word, bool on)
{
	bool is_on = __atomic_load_n(word, __ATOMIC_RELAXED) & RMAP_PROTECTED;

	if (on != is_on) {
		w->done += w->pages;
		rmap_flag(word, on ? RMAP_PROTECTED : 0, on ? 0 : RMAP_PROTECTED);
	}
}

static void clean_word(struct sweeper *w, u64 *word)
{
	struct rmap_cursor at;
	u64 *spte;

	rmap_for_each (spte, word, &at)
		w->flush |= take_bits(w->level, spte, PAGE_TABLE_DIRTY);
}

static void mark_young(struct sweeper *w, gfn_t gfn, u64 pages)
{
	u64 bit = memslot_index(w->slot, gfn) - w->young_first;

	for (; w->young && pages; pages--, bit++)
		w->young[bit / 64] |= BIT(bit % 64);
}

/*
 * Clearing an accessed bit needs no flush: a CPU that goes on with what it cached makes the page
 * look idle for one round at most. Without such bits the mapping goes (R20), and what was said at
 * its making, or at its last refault, is whether it was used.
 */
static void age_word(struct sweeper *w, u64 *word, u64 *flags)
{
	struct rmap_cursor at;
	gfn_t gfn = GFN(w->gfn.v + (u64)(word - w->words));
	bool young = was_young(word, true);
	u64 *spte;

	rmap_for_each (spte, word, &at)
		young |= mmu_marks_accessed(w->vm) ? take_bits(w->level, spte, PAGE_TABLE_ACCESSED)
						   : unmap_spte(w, spte) & PAGE_TABLE_ACCESSED;
	*flags = 0;
	if (!young)
		return;
	w->done += w->pages;
	if (w->pages == 1)
		mark_young(w, gfn, 1);
	mmu_count(&w->vm->stats.aged_young, w->pages);
}

static void test_word(struct sweeper *w, u64 *word)
{
	struct rmap_cursor at;
	bool young = was_young(word, false);
	u64 *spte;

	rmap_for_each (spte, word, &at)
		young |= w->level->access(page_table_read(spte)) & PAGE_TABLE_ACCESSED;
	w->done += young ? w->pages : 0;
}

static void sweep_word(struct sweeper *w, u64 *word, u64 *flags)
{
	switch (w->what) {
	case SWEEP_UNMAP:
		unmap_word(w, word, flags);
		break;
	case SWEEP_PROTECT:
		w->done += protect_word(w, word);
		break;
	case SWEEP_GUARD:
		(void)protect_word(w, word); /* what counts is whose mark changes */
		guard_word(w, word, true);
		break;
	case SWEEP_UNGUARD:
		guard_word(w, word, false);
		break;
	case SWEEP_CLEAN:
		clean_word(w, word);
		break;
	case SWEEP_AGE:
		age_word(w, word, flags);
		break;
	case SWEEP_TEST_YOUNG:
		test_word(w, word);
		break;
	case SWEEP_SPLIT:
		break;
	}
}

static bool unmaps(const struct sweeper *w)
{
	return w->what == SWEEP_UNMAP || (w->what == SWEEP_AGE && !mmu_marks_accessed(w->vm));
}

/* --- Batches --- */

/* Something may have to be done to the word. */
static bool concerns(const struct sweeper *w, const u64 *word)
{
	switch (w->what) {
	case SWEEP_GUARD:
	case SWEEP_UNGUARD:
		return true;
	case SWEEP_AGE:
	case SWEEP_TEST_YOUNG:
		return rmap_in_use(word, RMAP_YOUNG);
	default:
		return rmap_in_use(word, 0);
	}
}

static void add_to_batch(struct sweeper *w, u64 *word)
{
	w->batch[w->count].word = word;
	w->batch[w->count].flags = 0;
	w->count++;
}

static void finish_batch(struct sweeper *w)
{
	if (w->flush)
		mmu_flush(w->vm);
	if (w->unmapped)
		mmu_count(&w->vm->stats.unmapped, w->unmapped * w->pages);
	if (w->unmapped && w->pages > 1)
		mmu_count(&w->vm->stats.unmapped_large, w->unmapped);
	/* The chain goes after its sptes (R22), and after the flush: until then the lock hides them. */
	for (u32 i = w->count; i-- > 0;) {
		u64 *word = w->batch[i].word;

		if (unmaps(w) && !rmap_empty(word)) {
			rmap_clear(word, w->batch[i].flags);
			w->done += w->what == SWEEP_UNMAP ? w->pages : 0;
		}
		if (i)
			rmap_unlock_tried(word);
		else
			rmap_unlock(word);
	}
}

/* Is the page of this small word one of those that are meant? */
static bool is_marked(const struct sweeper *w, const u64 *word)
{
	u64 place;

	if (!w->marked || w->pages > 1)
		return true;
	place = w->gfn.v - w->slot->base.v + (u64)(word - w->words);
	return w->marked[place / 64] & BIT(place % 64);
}

/* Returns how many of the words were dealt with: those up to the first that another has locked. */
static u64 sweep_batch(struct sweeper *w, u64 *words, u64 n)
{
	struct mmu_vm *vm = w->vm;
	bool on = false;
	u64 i;

	/* What a shadow page gives up is flushed under this lock, after its word has been unlocked. */
	if (vm->shadow)
		spin_lock(&vm->mmu_lock);
	else
		on = irq_save();
	w->settled = true;
	w->count = 0;
	w->unmapped = 0;
	w->flush = false;
	for (i = 0; i < n && w->count < SWEEP_BATCH; i++) {
		if (!is_marked(w, &words[i]) || !concerns(w, &words[i]))
			continue;
		if (w->count == 0)
			rmap_lock(&words[i]);
		else if (!rmap_trylock(&words[i]))
			break;
		add_to_batch(w, &words[i]);
		sweep_word(w, &words[i], &w->batch[w->count - 1].flags);
	}
	if (w->count)
		finish_batch(w);
	if (vm->shadow)
		spin_unlock(&vm->mmu_lock);
	else
		irq_restore(on);
	return i;
}

static void sweep_words(struct sweeper *w, gfn_t gfn, u64 *words, u64 n)
{
	w->gfn = gfn;
	w->words = words;
	while (n) {
		u64 dealt = sweep_batch(w, words, n);

		words += dealt;
		n -= dealt;
	}
}

/* --- Regions --- */

bool mmu_drop_large(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn)
{
	struct sweeper w = {
		.vm = vm,
		.slot = s,
		.what = SWEEP_UNMAP,
		.level = &vm->format->level[large_level(vm)],
		.pages = LARGE_PAGES,
	};

	sweep_words(&w, gfn, rmap_large_word(s, gfn), 1);
	return w.done;
}

/* Does a large mapping have to go before this can be done to some or all of its pages? */
static bool needs_split(const struct sweeper *w, bool whole)
{
	switch (w->what) {
	case SWEEP_UNMAP:
		return !whole;
	case SWEEP_PROTECT:
		return !whole || (w->slot->flags & MEMSLOT_LOG_DIRTY);
	case SWEEP_GUARD:
	case SWEEP_CLEAN:
	case SWEEP_SPLIT:
		return true;
	case SWEEP_AGE:
		/* Without accessed bits a part cannot be taken away alone. */
		return !whole && !mmu_marks_accessed(w->vm);
	default:
		return false;
	}
}

/* Pages of one region. Young pages of a large mapping count as those of the range. */
static void sweep_region_large(struct sweeper *w, gfn_t gfn, u64 pages)
{
	u64 *word = rmap_large_word(w->slot, gfn);
	bool used = rmap_in_use(word, 0);
	u64 before = w->done;

	w->settled = false;
	/* The guest's marks are on small words; a large mapping only gives way to them. */
	if (w->what == SWEEP_UNGUARD || (w->what == SWEEP_GUARD && !used) || !concerns(w, word))
		return;
	if (used && needs_split(w, pages == LARGE_PAGES)) {
		/* Where all of it went the range's part did, too. */
		if (mmu_split(w->vm, w->slot, gfn) && w->what == SWEEP_UNMAP)
			w->done += pages;
		return;
	}
	w->level = &w->vm->format->level[large_level(w->vm)];
	w->pages = LARGE_PAGES;
	sweep_words(w, gfn, word, 1);
	if (w->done == before)
		return;
	w->done = before + pages;
	if (w->what == SWEEP_AGE)
		mark_young(w, gfn, pages);
}

static void sweep_region_small(struct sweeper *w, gfn_t gfn, u64 pages)
{
	w->level = &w->vm->format->level[small_level(w->vm)];
	w->pages = 1;
	while (pages) {
		u64 place = (gfn.v - w->slot->base.v) % RMAP_CHUNK_WORDS;
		u64 run = min(pages, RMAP_CHUNK_WORDS - place);
		u64 *words = rmap_word(w->slot, gfn);

		if (words)
			sweep_words(w, gfn, words, run);
		gfn.v += run;
		pages -= run;
	}
}

/*
 * In shadow tables a large word without sptes says only that they have been taken out: whoever did
 * so flushes before it lets go of mmu_lock. Words of small pages, on the way to which the lock is
 * taken, may not be there where all is mapped large; and what was in them, or had a right that is
 * looked for, may have gone without a flush.
 */
static void settle(struct sweeper *w)
{
	if (!w->vm->shadow || (w->settled && !mmu_flush_is_owed(w->vm)))
		return;
	spin_lock(&w->vm->mmu_lock);
	mmu_pay_flush(w->vm);
	spin_unlock(&w->vm->mmu_lock);
}

static u64 sweep(struct sweeper *w, gfn_t gfn, u64 pages)
{
	ASSERT(gfn.v >= w->slot->base.v && pages <= w->slot->pages &&
	       gfn.v - w->slot->base.v <= w->slot->pages - pages);
	while (pages) {
		u64 run = min(pages, LARGE_PAGES - gfn.v % LARGE_PAGES), before = w->done;

		sweep_region_large(w, gfn, run);
		if (w->what != SWEEP_SPLIT)
			sweep_region_small(w, gfn, run);
		/* In shadow tables a page may be mapped in both ways. */
		w->done = min(w->done, before + run);
		gfn.v += run;
		pages -= run;
	}
	settle(w);
	return w->done;
}

u64 mmu_sweep(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 pages, enum sweep what)
{
	struct sweeper w = {.vm = vm, .slot = s, .what = what, .settled = true};

	return sweep(&w, gfn, pages);
}

u64 mmu_sweep_age(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 pages, u64 *young,
		  u64 young_first)
{
	struct sweeper w = {
		.vm = vm,
		.slot = s,
		.what = SWEEP_AGE,
		.young = young,
		.young_first = young_first,
		.settled = true,
	};

	return sweep(&w, gfn, pages);
}

u64 mmu_sweep_marked(struct mmu_vm *vm, const struct memslot *s, const u64 *marked, enum sweep what)
{
	struct sweeper w = {.vm = vm, .slot = s, .what = what, .marked = marked, .settled = true};

	return sweep(&w, s->base, s->pages);
}

/* --- By gfn, over whatever slots there are --- */

static u64 sweep_gfns(struct mmu_vm *vm, gfn_t gfn, u64 pages, enum sweep what)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslots *slots = memslots_get(vm);
	u64 end = pages < mmu_gfn_end() - min(gfn.v, mmu_gfn_end()) ? gfn.v + pages : mmu_gfn_end();
	u64 done = 0;

	for (u32 i = 0; i < slots->count; i++) {
		const struct memslot *s = &slots->slots[i];
		u64 from = max(gfn.v, s->base.v), to = min(end, s->base.v + s->pages);

		if (from < to)
			done += mmu_sweep(vm, s, GFN(from), to - from, what);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return done;
}

u64 mmu_unmap(struct mmu_vm *vm, gfn_t gfn, u64 pages)
{
	return sweep_gfns(vm, gfn, pages, SWEEP_UNMAP);
}

u64 mmu_age(struct mmu_vm *vm, gfn_t gfn, u64 pages)
{
	return sweep_gfns(vm, gfn, pages, SWEEP_AGE);
}

bool mmu_test_young(struct mmu_vm *vm, gfn_t gfn, u64 pages)
{
	return sweep_gfns(vm, gfn, pages, SWEEP_TEST_YOUNG);
}
