/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* unit-libs: -Wl,--wrap=frame_alloc_page */
/* The words of a slot: where each gfn's is, wherever the slot lies, and what goes with a move. */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mmu/memslot.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

static u64 free_at_start;
static const struct memslot *meanwhile; /* its gfn 0 is prepared within the next page's making */

void *__real_frame_alloc_page(u32 flags);
void *__wrap_frame_alloc_page(u32 flags);

void *__wrap_frame_alloc_page(u32 flags)
{
	const struct memslot *s = meanwhile;

	meanwhile = NULL;
	if (s)
		assert_int_equal(rmap_prepare(s, s->base), 0);
	return __real_frame_alloc_page(flags);
}

static int setup(void **state)
{
	machine_start(MIB(16));
	free_at_start = frames_free();
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(frames_free(), free_at_start);
	return 0;
}

static struct memslot slot(u64 base, u64 pages)
{
	struct memslot s = {.base = GFN(base), .pages = pages};

	assert_int_equal(slot_maps_create(pages, &s.maps), 0);
	return s;
}

static const u64 bases[] = {0, 1, 511, 512, 513, 0x1234567, BIT(36) - 5000};

/* Each gfn has a word, each region has one, and they are the slot's own. */
static void check_places(const struct memslot *s)
{
	u64 last_region = ~0ull, regions = 0;

	for (u64 i = 0; i < s->pages; i++) {
		gfn_t gfn = GFN(s->base.v + i);
		u64 *large = rmap_large_word(s, gfn), place = large - s->maps->large;

		assert_int_equal(rmap_small_count(s, gfn) - s->maps->small, place);
		if (gfn.v / LARGE_PAGES != last_region) {
			assert_int_equal(place, regions++);
			last_region = gfn.v / LARGE_PAGES;
			*large = gfn.v;
		}
		assert_true(place < s->maps->large_count);
		assert_int_equal(*large / LARGE_PAGES, last_region);
		assert_int_equal(rmap_prepare(s, gfn), 0);
		*rmap_word(s, gfn) = i + 1;
	}
	for (u64 i = 0; i < s->pages; i++)
		assert_int_equal(*rmap_word(s, GFN(s->base.v + i)), i + 1);
	assert_int_equal(s->maps->chunk_count, (s->pages + 511) / 512);
}

static void every_gfn_has_a_place(void **state)
{
	static const u64 sizes[] = {1, 2, 511, 512, 513, 1024, 1025, 3000};

	for (u32 b = 0; b < ARRAY_SIZE(bases); b++) {
		for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
			struct memslot s = slot(bases[b], sizes[i]);

			check_places(&s);
			slot_maps_free(s.maps);
		}
	}
}

/* Chunks are counted from the slot's first page, whatever its gfn. */
static void words_come_a_page_at_a_time(void **state)
{
	struct memslot s = slot(300, 1100);
	u64 free = frames_free();

	for (u64 i = 0; i < 1100; i++)
		assert_null(rmap_word(&s, GFN(300 + i)));
	assert_int_equal(rmap_prepare(&s, GFN(300 + 700)), 0);
	assert_int_equal(frames_free(), free - 1);
	for (u64 i = 0; i < 1100; i++) {
		const u64 *word = rmap_word(&s, GFN(300 + i));

		assert_int_equal(word != NULL, i >= 512 && i < 1024);
		if (word)
			assert_int_equal(*word, 0);
	}
	/* Again takes nothing. */
	assert_int_equal(rmap_prepare(&s, GFN(300 + 512)), 0);
	assert_int_equal(rmap_prepare(&s, GFN(300 + 1023)), 0);
	assert_int_equal(frames_free(), free - 1);

	hosted_fail_after(1);
	assert_int_equal(rmap_prepare(&s, GFN(300)), ERR_NOMEM);
	assert_true(hosted_fail_happened());
	hosted_fail_after(0);
	assert_null(rmap_word(&s, GFN(300)));
	assert_int_equal(frames_free(), free - 1);
	slot_maps_free(s.maps);
}

/* Of two that make the same words at once one gives its page back. */
static void two_prepare_at_once(void **state)
{
	struct memslot s = slot(7, 10);
	u64 free = frames_free();

	meanwhile = &s;
	assert_int_equal(rmap_prepare(&s, GFN(7)), 0);
	assert_null(meanwhile);
	assert_int_equal(frames_free(), free - 1);
	assert_non_null(rmap_word(&s, GFN(16)));
	slot_maps_free(s.maps);
}

static void no_memory_for_a_slot(void **state)
{
	struct slot_maps *maps, *shared;
	u32 n;

	for (n = 1;; n++) {
		int err;

		hosted_fail_after(n);
		err = slot_maps_create(600000, &maps);
		if (!hosted_fail_happened())
			break;
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(frames_free(), free_at_start);
	}
	assert_true(n > 4);
	for (n = 1;; n++) {
		u64 free = frames_free();
		int err;

		hosted_fail_after(n);
		err = slot_maps_share(maps, &shared);
		if (!hosted_fail_happened())
			break;
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(frames_free(), free);
	}
	hosted_fail_after(0);
	assert_true(n > 3);
	slot_maps_part(maps);
	slot_maps_free(maps);
	slot_maps_free(shared);
}

/* The moved slot goes on with the words; its regions and their counts are its own. */
static void a_move_takes_the_words_along(void **state)
{
	static const u64 is_protected[] = {0, 1, 100, 511, 512, 1026, 1499};

	for (u32 b = 0; b < ARRAY_SIZE(bases); b++) {
		struct memslot old = slot(100, 1500), moved = old;
		u32 total = 0;

		moved.base = GFN(bases[b]);
		for (u32 i = 0; i < ARRAY_SIZE(is_protected); i++) {
			assert_int_equal(rmap_prepare(&old, GFN(100 + is_protected[i])), 0);
			*rmap_word(&old, GFN(100 + is_protected[i])) = RMAP_PROTECTED | RMAP_PINNED;
		}
		*rmap_word(&old, GFN(100 + 2)) = RMAP_PINNED | RMAP_YOUNG;
		assert_int_equal(slot_maps_share(old.maps, &moved.maps), 0);
		slot_maps_recount(&moved);
		slot_maps_part(old.maps);
		slot_maps_free(old.maps);

		for (u32 i = 0; i < ARRAY_SIZE(is_protected); i++) {
			u64 gfn = bases[b] + is_protected[i];
			u32 same_region = 0;

			assert_int_equal(*rmap_word(&moved, GFN(gfn)),
					 RMAP_PROTECTED | RMAP_PINNED);
			for (u32 j = 0; j < ARRAY_SIZE(is_protected); j++)
				same_region += (bases[b] + is_protected[j]) / 512 == gfn / 512;
			assert_int_equal(*rmap_small_count(&moved, GFN(gfn)), same_region);
		}
		for (u64 i = 0; i < moved.maps->large_count; i++) {
			total += moved.maps->small[i];
			assert_int_equal(moved.maps->large[i], 0);
		}
		assert_int_equal(total, ARRAY_SIZE(is_protected));
		slot_maps_free(moved.maps);
		assert_int_equal(frames_free(), free_at_start);
	}
}

/* What was never touched is passed over, not only once. */
static void a_recount_passes_over_holes(void **state)
{
	struct memslot s = slot(512 + 3, 512 * 9);
	gfn_t late = GFN(512 + 3 + 512 * 7 + 5);

	assert_int_equal(rmap_prepare(&s, late), 0);
	*rmap_word(&s, late) = RMAP_PROTECTED;
	slot_maps_recount(&s);
	for (u64 i = 0; i < s.pages; i++) {
		gfn_t gfn = GFN(s.base.v + i);

		assert_int_equal(*rmap_small_count(&s, gfn), gfn.v / 512 == late.v / 512);
	}
	slot_maps_free(s.maps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_gfn_has_a_place, setup, teardown),
		cmocka_unit_test_setup_teardown(words_come_a_page_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(two_prepare_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory_for_a_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(a_move_takes_the_words_along, setup, teardown),
		cmocka_unit_test_setup_teardown(a_recount_passes_over_holes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
