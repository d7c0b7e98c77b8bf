/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include <string.h>
#include "mem/frame.h"
#include "tests/unit/mmu/peek.h"

const struct memslot *slot_of(u64 gfn)
{
	const struct memslot *s = memslot_find(vm.slots, GFN(gfn));

	assert_non_null(s);
	return s;
}

u64 *spte_of(u64 gfn)
{
	bool on = irq_save();
	u64 value, *spte;
	u32 level;

	rcu_read_lock();
	spte = page_table_find(vm.format, vm.root, gfn << 12, &level, &value);
	rcu_read_unlock();
	irq_restore(on);
	return spte;
}

u64 *word_of(u64 gfn)
{
	return rmap_word(slot_of(gfn), GFN(gfn));
}

u64 *large_word_of(u64 gfn)
{
	return rmap_large_word(slot_of(gfn), GFN(gfn));
}

u32 chain_length(const u64 *word)
{
	u32 n = 0;

	while (word && rmap_spte(word, n))
		n++;
	return n;
}

u32 small_count(u64 gfn)
{
	return *rmap_small_count(slot_of(gfn), GFN(gfn));
}

bool is_large(u64 gfn)
{
	return ept_walk(&vm, PAGE(gfn)) & BIT(7);
}

bool is_mapped(u64 gfn)
{
	return ept_walk(&vm, PAGE(gfn));
}

static void check_small_counts(const struct memslot *s)
{
	for (u64 i = 0; i < s->pages;) {
		u64 gfn = s->base.v + i, region = gfn / LARGE_PAGES;
		u32 reasons = 0;

		for (; i < s->pages && (s->base.v + i) / LARGE_PAGES == region; i++) {
			const u64 *word = rmap_word(s, GFN(s->base.v + i));

			reasons += word && (*word & RMAP_PROTECTED);
			reasons += word && (*word & RMAP_TABLE);
		}
		assert_int_equal(*rmap_small_count(s, GFN(gfn)), reasons);
	}
}

void check_audit(void)
{
	assert_null(mmu_audit(&vm));
	for (u32 i = 0; i < vm.slots->count; i++)
		check_small_counts(&vm.slots->slots[i]);
}

void audit_says(const char *what)
{
	const char *said = mmu_audit(&vm);

	assert_non_null(said);
	if (!strstr(said, what))
		fail_msg("\"%s\" is not said: %s", what, said);
}

static void give_back(void *pfn)
{
	frame_free(PFN((u64)pfn), frame_of(PFN((u64)pfn))->order);
}

struct gmem *object_filled(u64 pages)
{
	struct gmem *g = object_new(pages);
	u32 order = GMEM_LARGE_ORDER;
	pfn_t pfn;

	while (BIT(order) < pages)
		order++;
	assert_int_equal(frame_alloc(order, FRAME_ZERO, &pfn), 0);
	assert_int_equal(gmem_fill(g, 0, pfn, pages), 0);
	assert_int_equal(gmem_on_free(g, give_back, (void *)pfn.v), 0);
	return g;
}

/* Takes frames until 512 of them are such a piece, and gives the others back. */
static u64 aligned_frames(void)
{
	static bool mine[BIT(14)];
	u64 first = 0, count = 0;

	memset(mine, 0, sizeof(mine));
	for (;;) {
		pfn_t pfn;

		assert_int_equal(frame_alloc(0, 0, &pfn), 0);
		assert_true(pfn.v < ARRAY_SIZE(mine));
		mine[pfn.v] = true;
		first = align_down(pfn.v, LARGE_PAGES);
		for (count = 0; count < LARGE_PAGES && mine[first + count]; count++)
			;
		if (count == LARGE_PAGES)
			break;
	}
	for (u64 i = 0; i < ARRAY_SIZE(mine); i++) {
		if (mine[i] && align_down(i, LARGE_PAGES) != first)
			frame_free(PFN(i), 0);
	}
	return first;
}

struct gmem *object_lucky(void)
{
	struct gmem *g = object_new(LARGE_PAGES);
	u64 first = aligned_frames();

	for (u64 i = 0; i < LARGE_PAGES; i++) {
		u64 entry;
		pfn_t pfn;

		assert_int_equal(gmem_get_page(g, i, false, &pfn), 0);
		assert_int_equal(gmem_claim(g, i, &entry), 0);
		frame_free(pfn, 0);
		gmem_settle(g, i, (first + i) << GMEM_PFN_SHIFT | GMEM_GOT_PAGE);
	}
	return g;
}
