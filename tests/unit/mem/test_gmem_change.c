/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* Guest memory objects: claims, dropped contents and foreign frames, on one thread. */
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/fixture.h"

static void get_range(struct gmem *g, u64 first, u64 pages)
{
	pfn_t pfn;

	for (u64 i = first; i < first + pages; i++) {
		assert_int_equal(gmem_get_page(g, i, true, &pfn), 0);
		memset(pfn_to_virt(pfn), (u8)i | 1, PAGE_SIZE);
	}
}

static void assert_states(struct gmem *g, u64 first, u64 pages, enum gmem_state wanted)
{
	for (u64 i = first; i < first + pages; i++)
		assert_int_equal(gmem_entry_state(gmem_entry(g, i)), wanted);
}

static void claim_and_settle(void **state)
{
	u64 before = start(MIB(16)), entry, other;
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create(1000, &g), 0);
	assert_int_equal(gmem_claim(g, 1000, &entry), ERR_RANGE);
	assert_int_equal(gmem_claim(g, 5, &entry), ERR_NOENT);
	assert_int_equal(gmem_get_page(g, 4, true, &pfn), 0);
	assert_int_equal(gmem_claim(g, 5, &entry), ERR_NOENT);
	/* R38: to take a page away, or to put it back, takes no memory. */
	hosted_fail_after(1);
	assert_int_equal(gmem_claim(g, 4, &entry), 0);
	assert_int_equal(gmem_entry_pfn(entry).v, pfn.v);
	assert_true(entry & GMEM_DIRTY);
	assert_int_equal(g->resident, 0);
	assert_int_equal(gmem_claim(g, 4, &other), ERR_BUSY);
	assert_int_equal(gmem_lookup(g, 4, false, &pfn), ERR_TOO_HARD);
	gmem_settle(g, 4, entry);
	assert_int_equal(gmem_entry(g, 4), entry);
	assert_int_equal(g->resident, 1);
	assert_int_equal(gmem_claim(g, 4, &other), 0);
	assert_int_equal(other, entry);
	/* The page goes: its next touch is a first touch. */
	frame_free(gmem_entry_pfn(entry), 0);
	gmem_settle(g, 4, GMEM_ABSENT);
	assert_false(hosted_fail_happened());
	hosted_fail_after(0);
	assert_int_equal(gmem_get_page(g, 4, false, &pfn), 0);
	assert_int_equal(*(u8 *)pfn_to_virt(pfn), 0);
	assert_int_equal(g->resident, 1);
	assert_int_equal(gmem_resident_peak(g), 1);
	/* A shared page is fit for reading. */
	assert_int_equal(gmem_claim(g, 4, &entry), 0);
	gmem_settle(g, 4, (entry & ~GMEM_STATE_MASK) | GMEM_SHARED);
	assert_int_equal(g->resident, 1);
	assert_int_equal(gmem_lookup(g, 4, false, &pfn), 0);
	assert_int_equal(gmem_lookup(g, 4, true, &pfn), ERR_TOO_HARD);
	assert_int_equal(gmem_claim(g, 4, &other), 0);
	/* Without a disk there is no way out. */
	gmem_settle(g, 4, GMEM_SWAPPED);
	assert_int_equal(gmem_get_page(g, 4, true, &pfn), ERR_NOTSUP);
	assert_int_equal(gmem_pin(g, 4, true, &pfn), ERR_NOTSUP);
	assert_int_equal(gmem_entry_state(gmem_entry(g, 4)), GMEM_SWAPPED);
	assert_int_equal(gmem_claim(g, 4, &other), 0);
	/* A page in a tier is not resident, and may be claimed to bring it back. */
	gmem_settle(g, 4, 77ull << GMEM_PFN_SHIFT | GMEM_PACKED);
	assert_int_equal(g->resident, 0);
	assert_int_equal(gmem_claim(g, 4, &other), 0);
	assert_int_equal(other, 77ull << GMEM_PFN_SHIFT | GMEM_PACKED);
	gmem_settle(g, 4, entry);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

struct settle {
	struct gmem *g;
	u64 index, entry;
};

static void do_settle(void *arg)
{
	struct settle *s = arg;

	gmem_settle(s->g, s->index, s->entry);
}

static void settling_what_is_not_claimed(void **state)
{
	struct settle s = {.index = 3};
	u64 entry;
	pfn_t pfn;

	start(MIB(16));
	assert_int_equal(gmem_create(1000, &s.g), 0);
	assert_true(hosted_catch_panic(do_settle, &s));
	assert_int_equal(gmem_get_page(s.g, 4, true, &pfn), 0);
	assert_true(hosted_catch_panic(do_settle, &s));
	s.index = 4;
	assert_true(hosted_catch_panic(do_settle, &s));
	assert_int_equal(gmem_claim(s.g, 4, &entry), 0);
	s.entry = GMEM_BUSY;
	assert_true(hosted_catch_panic(do_settle, &s));
}

/* --- Dropping ------------------------------------------------------------------------------- */

static struct recorder unmaps;
static u64 busy_seen; /* pages that were BUSY while the notifier was asked to unmap them */

/* In the midst of a drop: an invalidation is under way, and nobody gets at what it unmaps. */
static void look_while_unmapping(struct recorder *r, struct gmem *g)
{
	pfn_t pfn;

	assert_false(gmem_seq_idle(gmem_seq_sample(g, r->first)));
	assert_int_equal(r->event, GMEM_EVENT_UNMAP);
	for (u64 i = r->first; i < r->first + r->pages; i++) {
		assert_int_equal(gmem_lookup(g, i, false, &pfn), ERR_TOO_HARD);
		busy_seen += gmem_entry_state(gmem_entry(g, i)) == GMEM_BUSY;
	}
}

static void watch_unmaps(struct gmem *g)
{
	recorder_init(&unmaps, 1);
	unmaps.in_call = look_while_unmapping;
	gmem_notifier_add(g, &unmaps.n);
	busy_seen = 0;
}

static void drop_one(void **state)
{
	u64 before = start(MIB(16)), seq;
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create(1000, &g), 0);
	watch_unmaps(g);
	assert_int_equal(gmem_drop(g, 1000), ERR_RANGE);
	assert_int_equal(gmem_drop(g, ~0ull), ERR_RANGE);
	get_range(g, 9, 1);
	seq = gmem_seq_sample(g, 9);
	/* Nothing there: nothing to invalidate, and faults there are not disturbed. */
	assert_int_equal(gmem_drop(g, 700), 0);
	assert_int_equal(gmem_drop(g, 8), 0);
	assert_int_equal(unmaps.calls, 0);
	assert_true(gmem_seq_unchanged(g, 9, seq));
	assert_int_equal(gmem_drop(g, 9), 0);
	assert_int_equal(unmaps.calls, 1);
	assert_int_equal(unmaps.first, 9);
	assert_int_equal(unmaps.pages, 1);
	assert_int_equal(busy_seen, 1);
	assert_false(gmem_seq_unchanged(g, 9, seq));
	assert_true(gmem_seq_idle(gmem_seq_sample(g, 9)));
	assert_int_equal(gmem_entry(g, 9), GMEM_GIVEN);
	assert_int_equal(g->resident, 0);
	assert_int_equal(gmem_resident_peak(g), 1);
	assert_int_equal(gmem_get_page(g, 9, false, &pfn), 0);
	assert_true(all_zero(pfn, 0));
	gmem_notifier_remove(g, &unmaps.n);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void drop_many(void **state)
{
	u64 before = start(MIB(32)), done = 99, seq;
	struct gmem *g;

	assert_int_equal(gmem_create(4000, &g), 0);
	watch_unmaps(g);
	assert_int_equal(gmem_drop_range(g, 4000, 1, &done), ERR_RANGE);
	assert_int_equal(done, 0);
	assert_int_equal(gmem_drop_range(g, 1, 4000, &done), ERR_RANGE);
	assert_int_equal(gmem_drop_range(g, 2, ~0ull, &done), ERR_RANGE);
	assert_int_equal(gmem_drop_range(g, 4000, 0, &done), 0);
	assert_int_equal(gmem_drop_range(g, 0, 4000, &done), 0);
	assert_int_equal(done, 4000);
	assert_int_equal(unmaps.calls, 0);
	/* Full to the edges, with holes, and two chunks with nothing in between. */
	get_range(g, 100, 3);
	get_range(g, 510, 4);
	get_range(g, 700, 1);
	get_range(g, 3999, 1);
	seq = gmem_seq_sample(g, 3 * 512);
	hosted_fail_after(1);
	assert_int_equal(gmem_drop_range(g, 101, 3999 - 101, &done), 0);
	assert_false(hosted_fail_happened());
	hosted_fail_after(0);
	assert_int_equal(done, 3999 - 101);
	assert_int_equal(unmaps.calls, 2);
	assert_int_equal(unmaps.first, 512);
	assert_int_equal(busy_seen, 2 + 4 + 1);
	assert_true(gmem_seq_unchanged(g, 3 * 512, seq));
	assert_int_equal(g->resident, 2);
	assert_states(g, 101, 3999 - 101, GMEM_ABSENT);
	assert_states(g, 100, 1, GMEM_GOT_PAGE);
	assert_states(g, 3999, 1, GMEM_GOT_PAGE);
	gmem_notifier_remove(g, &unmaps.n);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* What comes before the page that stays is dropped; it and the rest are as they were. */
static void drop_up_to_what_stays(void **state)
{
	u64 before = start(MIB(32)), done;
	struct gmem *g;
	pfn_t pfn, own;

	assert_int_equal(gmem_create(2000, &g), 0);
	watch_unmaps(g);
	get_range(g, 500, 100);
	assert_int_equal(gmem_pin(g, 550, false, &pfn), 0);
	assert_int_equal(gmem_drop_range(g, 490, 200, &done), ERR_BUSY);
	assert_int_equal(done, 60);
	assert_int_equal(busy_seen, 50);
	assert_states(g, 500, 50, GMEM_ABSENT);
	assert_states(g, 550, 50, GMEM_GOT_PAGE);
	assert_int_equal(gmem_drop_range(g, 550, 1, &done), ERR_BUSY);
	assert_int_equal(done, 0);
	assert_int_equal(busy_seen, 50);
	assert_true(gmem_seq_idle(gmem_seq_sample(g, 550)));
	gmem_unpin(g, 550, pfn, false);
	/* And with somebody else's frame. */
	assert_int_equal(frame_alloc(0, 0, &own), 0);
	assert_int_equal(gmem_fill(g, 600, own, 1), 0);
	assert_int_equal(gmem_drop_range(g, 500, 200, &done), ERR_BUSY);
	assert_int_equal(done, 100);
	assert_states(g, 560, 40, GMEM_ABSENT);
	assert_int_equal(g->resident, 1);
	gmem_notifier_remove(g, &unmaps.n);
	gmem_unref(g);
	frame_free(own, 0);
	assert_int_equal(free_now(), before);
}

/* A touch takes a page out of what is given back now; in all only what held something counts. */
static void given_back_is_counted(void **state)
{
	u64 before = start(MIB(16)), done;
	struct gmem *g;
	pfn_t pfn, own;

	assert_int_equal(gmem_create(2000, &g), 0);
	get_range(g, 508, 8);
	assert_int_equal(gmem_given_back(g), 0);
	assert_int_equal(gmem_drop_range(g, 500, 14, &done), 0);
	assert_int_equal(done, 14);
	assert_int_equal(gmem_given_back(g), 6);
	assert_int_equal(gmem_drop_range(g, 500, 14, NULL), 0);
	assert_int_equal(gmem_given_back(g), 6);
	assert_int_equal(g->removed, 6);
	/* Without a frame it stays so, and the vCPU waits. */
	hosted_fail_after(1);
	assert_int_equal(gmem_get_page(g, 508, true, &pfn), ERR_NOMEM);
	hosted_fail_after(0);
	assert_int_equal(gmem_given_back(g), 6);
	assert_int_equal(gmem_get_page(g, 508, true, &pfn), 0);
	assert_true(all_zero(pfn, 0));
	assert_int_equal(gmem_get_page(g, 513, false, &pfn), 0);
	assert_true(all_zero(pfn, 0));
	assert_int_equal(gmem_get_page(g, 500, false, &pfn), 0);
	assert_int_equal(gmem_given_back(g), 4);
	assert_int_equal(gmem_drop_range(g, 508, 1, NULL), 0);
	assert_int_equal(gmem_given_back(g), 5);
	assert_int_equal(g->removed, 7);
	/* Somebody's frames, in vain and then not: 514 is there. */
	assert_int_equal(frame_alloc(2, 0, &own), 0);
	assert_int_equal(gmem_fill(g, 511, own, 4), ERR_EXIST);
	assert_int_equal(gmem_given_back(g), 5);
	assert_int_equal(gmem_fill(g, 509, own, 2), 0);
	assert_int_equal(gmem_given_back(g), 3);
	assert_int_equal(g->removed, 7);
	/* One among many that hold nothing. */
	get_range(g, 100, 1);
	assert_int_equal(gmem_drop_range(g, 90, 20, NULL), 0);
	assert_int_equal(gmem_given_back(g), 4);
	assert_int_equal(g->removed, 8);
	gmem_unref(g);
	frame_free(own, 2);
	assert_int_equal(free_now(), before);
}

static struct gmem *second_object;

/* While a batch is on its way its pages are the dropper's; whoever is quick has the holes. */
static void touch_a_hole(struct recorder *r, struct gmem *g)
{
	pfn_t pfn;

	if (g == second_object)
		assert_int_equal(gmem_get_page(g, 1, true, &pfn), 0);
}

static void holes_filled_meanwhile_stay(void **state)
{
	u64 before = start(MIB(16)), done;
	struct gmem *g;

	assert_int_equal(gmem_create(100, &g), 0);
	watch_unmaps(g);
	unmaps.in_call = touch_a_hole;
	second_object = g;
	get_range(g, 0, 1);
	get_range(g, 2, 1);
	assert_int_equal(gmem_drop_range(g, 0, 3, &done), 0);
	assert_int_equal(done, 3);
	assert_states(g, 1, 1, GMEM_GOT_PAGE);
	assert_states(g, 2, 1, GMEM_ABSENT);
	assert_int_equal(g->resident, 1);
	gmem_notifier_remove(g, &unmaps.n);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* --- Foreign frames ------------------------------------------------------------------------- */

static void fill(void **state)
{
	u64 before = start(MIB(32)), entry;
	struct gmem *g;
	pfn_t block, pfn;

	assert_int_equal(frame_alloc(5, FRAME_ZERO, &block), 0);
	assert_int_equal(gmem_create(2000, &g), 0);
	assert_int_equal(gmem_fill(g, 2000, block, 1), ERR_RANGE);
	assert_int_equal(gmem_fill(g, 1990, block, 11), ERR_RANGE);
	assert_int_equal(gmem_fill(g, 1, block, ~0ull), ERR_RANGE);
	assert_int_equal(gmem_fill(g, 0, PFN(MIB(32) >> PAGE_SHIFT), 1), ERR_INVAL);
	assert_int_equal(gmem_fill(g, 0, PFN((MIB(32) >> PAGE_SHIFT) - 1), 2), ERR_INVAL);
	assert_int_equal(gmem_fill(g, 0, block, 0), 0);
	/* Across two chunks. */
	assert_int_equal(gmem_fill(g, 500, block, 32), 0);
	assert_int_equal(g->resident, 32);
	for (u64 i = 0; i < 32; i++) {
		assert_int_equal(gmem_entry(g, 500 + i),
				 entry_of(PFN(block.v + i), GMEM_GOT_PAGE | GMEM_FOREIGN));
		assert_int_equal(gmem_get_page(g, 500 + i, false, &pfn), 0);
		assert_int_equal(pfn.v, block.v + i);
	}
	/* They are used as others are, and pinned, but never taken. */
	assert_int_equal(gmem_lookup(g, 501, true, &pfn), 0);
	assert_true(gmem_entry(g, 501) & GMEM_DIRTY);
	assert_int_equal(gmem_claim(g, 501, &entry), ERR_BUSY);
	assert_int_equal(gmem_drop(g, 501), ERR_BUSY);
	assert_int_equal(gmem_pin(g, 502, true, &pfn), 0);
	gmem_unpin(g, 502, pfn, true);
	/* One that is taken: nothing changed. */
	assert_int_equal(gmem_fill(g, 490, block, 11), ERR_EXIST);
	assert_int_equal(gmem_fill(g, 531, block, 5), ERR_EXIST);
	assert_states(g, 490, 10, GMEM_ABSENT);
	assert_states(g, 532, 4, GMEM_ABSENT);
	assert_int_equal(g->resident, 32);
	get_range(g, 600, 1);
	assert_int_equal(gmem_claim(g, 600, &entry), 0);
	assert_int_equal(gmem_fill(g, 599, block, 2), ERR_EXIST);
	gmem_settle(g, 600, entry);
	/* R12: what was never counted is not put. */
	gmem_unref(g);
	assert_int_equal(free_now(), before - 32);
	frame_free(block, 5);
	assert_int_equal(free_now(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claim_and_settle),
		cmocka_unit_test(settling_what_is_not_claimed),
		cmocka_unit_test(drop_one),
		cmocka_unit_test(drop_many),
		cmocka_unit_test(drop_up_to_what_stays),
		cmocka_unit_test(given_back_is_counted),
		cmocka_unit_test(holes_filled_meanwhile_stay),
		cmocka_unit_test(fill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
