/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/*
 * Pages that are not in a frame and are overwritten whole: what they held is not brought back, and a
 * fault tells who writes that it may be so.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define BASE   0x200 /* gfn of the slot */
#define PAGES  GMEM_LARGE_PAGES
#define ID     1
#define NO_ONE 0x123456789abcdef0ull /* no entry tells this word */

static struct gmem *ram;

static int setup(void **state)
{
	fixture_start(MIB(32));
	pool_init();
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, ID, GFN(BASE), PAGES, ram, 0, 0), 0);
	return 0;
}

static int teardown(void **state)
{
	struct pool_stats pool;

	gmem_unref(ram);
	fixture_end();
	pool_get_stats(&pool);
	assert_int_equal(pool.objects, 0);
	return 0;
}

static gpa_t page(u64 i)
{
	return GPA((BASE + i) << 12);
}

static enum gmem_state state_of(u64 i)
{
	return gmem_entry_state(gmem_entry(ram, i));
}

/* With contents that pack, or that are one word. */
static void put_away(u64 i, bool packs)
{
	struct gmem_taken t = {0};
	u64 marked = 1, *p;

	assert_int_equal(touch(&vcpu, page(i), MMU_WRITE), 0);
	p = pfn_to_virt(gmem_entry_pfn(gmem_entry(ram, i)));
	for (u32 k = 0; k < PAGE_SIZE / 8; k++)
		p[k] = packs ? k % 64 : 0x77;
	gmem_take(ram, i, 1, &marked, &t);
	assert_int_equal(state_of(i), packs ? GMEM_PACKED : GMEM_FILLED);
}

static void is_all(u64 i, u64 word)
{
	u64 words[PAGE_SIZE / 8];

	assert_int_equal(gpa_read(&vm, page(i), words, sizeof(words)), 0);
	for (u32 k = 0; k < PAGE_SIZE / 8; k++)
		assert_true(words[k] == word);
}

static void a_write_is_told(void **state)
{
	put_away(1, true);
	put_away(2, false);
	for (u64 i = 1; i <= 2; i++) {
		assert_int_equal(fault(&vcpu, page(i), MMU_WRITE), ERR_STORED);
		assert_int_equal(fault(&vcpu, page(i), MMU_READ), ERR_TOO_HARD);
		/* It reads, too, so it does not write over all of it. */
		assert_int_equal(fault(&vcpu, page(i), MMU_READ | MMU_WRITE), ERR_TOO_HARD);
	}
	/* A first touch is as ever, and so is the ordinary way. */
	assert_int_equal(fault(&vcpu, page(3), MMU_WRITE), ERR_TOO_HARD);
	assert_int_equal(mmu_fault_slow(&vcpu, page(1), MMU_WRITE), 0);
	assert_int_equal(state_of(1), GMEM_GOT_PAGE);
	assert_int_equal(fault(&vcpu, page(1), MMU_WRITE), 0);
}

static void each_word(void **state)
{
	static const struct {
		u64 word;
		enum gmem_state state;
	} cases[] = {
		{0, GMEM_ABSENT},
		{0x5a5a5a5a5a5a5a5aull, GMEM_FILLED},
		{~0ull, GMEM_FILLED},
		{NO_ONE, GMEM_GOT_PAGE},
	};

	for (u32 i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		put_away(i, i % 2);
		assert_int_equal(gpa_fill_stored(&vm, page(i), cases[i / 2].word), 0);
		assert_int_equal(state_of(i), cases[i / 2].state);
		assert_int_equal(ram->fetched, 0);
	}
	for (u32 i = 0; i < 2 * ARRAY_SIZE(cases); i++)
		is_all(i, cases[i / 2].word);
}

/* All of these go the ordinary way, and what is there stays. */
static void not_there(void **state)
{
	u64 done, word = 5;

	assert_int_equal(gpa_fill_stored(&vm, page(0), 1), ERR_STORED); /* ABSENT */
	assert_int_equal(state_of(0), GMEM_ABSENT);
	assert_int_equal(gpa_write(&vm, page(1), &word, 8), 0);
	assert_int_equal(gpa_fill_stored(&vm, page(1), 1), ERR_STORED);
	assert_int_equal(gpa_read(&vm, page(1), &word, 8), 0);
	assert_int_equal(word, 5);
	put_away(2, true);
	assert_int_equal(gpa_fill_stored(&vm, GPA(page(2).v + 8), 1), ERR_ALIGN);
	assert_int_equal(gpa_fill_stored(&vm, page(PAGES), 1), ERR_NOSLOT);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 2), 1, true, &done), 0);
	assert_int_equal(gpa_fill_stored(&vm, page(2), 1), ERR_PERM);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 2), 1, false, &done), 0);
	assert_int_equal(memslot_set_flags(&vm, ID, MEMSLOT_READONLY), 0);
	assert_int_equal(gpa_fill_stored(&vm, page(2), 1), ERR_NOSLOT);
	assert_int_equal(state_of(2), GMEM_PACKED);
}

/* No frame for a word that no entry tells: it stays what it is. */
static void no_memory(void **state)
{
	put_away(0, true);
	hosted_fail_after(1);
	assert_int_equal(gpa_fill_stored(&vm, page(0), NO_ONE), ERR_STORED);
	hosted_fail_after(0);
	ram->resident_max = 0;
	assert_int_equal(gpa_fill_stored(&vm, page(0), NO_ONE), ERR_STORED);
	ram->resident_max = ~0ull;
	assert_int_equal(state_of(0), GMEM_PACKED);
	ram->resident_max = 0;
	assert_int_equal(gpa_fill_stored(&vm, page(0), 3), 0); /* needs none */
	ram->resident_max = ~0ull;
	is_all(0, 3);
}

static void nobody(void)
{
}

/* What comes back may have a frame of those that a first touch is refused: it may also be written over. */
static void below_the_min_watermark(void **state)
{
	put_away(0, true);
	put_away(1, true);
	watermarks.wake = nobody;
	watermarks.min = frame_free_estimate() + 64;
	watermarks.low = watermarks.high = watermarks.min + 1;
	assert_int_equal(touch(&vcpu, page(2), MMU_WRITE), ERR_NOMEM);
	assert_int_equal(touch(&vcpu, page(0), MMU_WRITE), 0);
	assert_int_equal(gpa_fill_stored(&vm, page(1), 0), 0);
	assert_int_equal(touch(&vcpu, page(1), MMU_WRITE), 0);
	watermarks = (struct watermarks){.min = 0};
	is_all(1, 0);
}

static void it_is_in_the_log(void **state)
{
	u64 bits[PAGES / 64];

	put_away(9, true);
	assert_int_equal(memslot_set_flags(&vm, ID, MEMSLOT_LOG_DIRTY), 0);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID, bits, ARRAY_SIZE(bits)), 0);
	assert_int_equal(gpa_fill_stored(&vm, page(9), 0), 0);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID, bits, ARRAY_SIZE(bits)), 0);
	assert_int_equal(bits[0], BIT(9));
}

/* Its age is that of what was put away. */
static void the_stamp_stays(void **state)
{
	u64 stamp;

	ram->taken = 3 * PAGES;
	put_away(0, true);
	stamp = gmem_entry(ram, 0) & GMEM_STAMP_MASK;
	assert_int_not_equal(stamp, 0);
	ram->taken += PAGES / 2;
	assert_int_equal(gpa_fill_stored(&vm, page(0), 7), 0);
	assert_int_equal(gmem_entry(ram, 0) & GMEM_STAMP_MASK, stamp);
	/* An entry that is ABSENT is nothing else. */
	assert_int_equal(gpa_fill_stored(&vm, page(0), 0), 0);
	assert_int_equal(gmem_entry(ram, 0), GMEM_ABSENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_write_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(each_word, setup, teardown),
		cmocka_unit_test_setup_teardown(not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(below_the_min_watermark, setup, teardown),
		cmocka_unit_test_setup_teardown(it_is_in_the_log, setup, teardown),
		cmocka_unit_test_setup_teardown(the_stamp_stays, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
