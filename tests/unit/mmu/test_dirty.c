/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/*
 * The log of written pages (R21): a page is in it, or cannot be written without getting there. The CPU
 * does not help; test_pml.c is about where it does.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x143
#define PAGES 200
#define WORDS 4
#define ID    7

static struct gmem *ram;
static u64 page_log[WORDS];

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, ID, GFN(BASE), PAGES, ram, 0, MEMSLOT_LOG_DIRTY), 0);
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static bool writable(u64 i)
{
	return ept_walk(&vm, PAGE(BASE + i)) & EPT_W;
}

static bool in_log(u64 i)
{
	return page_log[i / 64] & BIT(i % 64);
}

/* Reads the page_log; how many pages are in it. */
static u32 read_log(void)
{
	u32 n = 0;

	memset(page_log, 0xff, sizeof(page_log));
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID, page_log, WORDS), 0);
	for (u32 i = 0; i < WORDS; i++)
		n += (u32)__builtin_popcountll(page_log[i]);
	return n;
}

static void write_page(u64 i)
{
	assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_WRITE), 0);
	assert_true(writable(i));
}

static void the_first_write_is_noticed(void **state)
{
	u64 flushes = STAT(flushes);

	assert_int_equal(read_log(), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 3), MMU_READ), 0);
	assert_int_equal(ept_walk(&vm, PAGE(BASE + 3)) & EPT_RWX, EPT_R | EPT_X);
	assert_int_equal(read_log(), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 3), MMU_EXEC), 0);
	assert_false(writable(3));
	/* The page is there already, so the write is a fast fault. */
	assert_int_equal(fault(&vcpu, PAGE(BASE + 3), MMU_WRITE), 0);
	assert_true(writable(3));
	assert_int_equal(STAT(dirty_logged), 1);
	write_page(3); /* once is enough */
	assert_int_equal(STAT(dirty_logged), 1);
	assert_int_equal(read_log(), 1);
	assert_true(in_log(3));
	/* From here on it is noticed anew. */
	assert_false(writable(3));
	assert_int_equal(STAT(flushes), flushes + 1);
	assert_int_equal(read_log(), 0);
	assert_int_equal(STAT(flushes), flushes + 1);
	write_page(3);
	assert_int_equal(read_log(), 1);
}

/* All the ways in which the pages of a word can be grouped. */
static void exactly_the_written_pages(void **state)
{
	static const u64 patterns[] = {0,
				       1,
				       ~0ull,
				       BIT(63),
				       0x8000000000000001,
				       0x5555555555555555,
				       0x00ffff00f0f00001,
				       ~1ull,
				       ~BIT(63)};

	for (u32 p = 0; p < ARRAY_SIZE(patterns); p++) {
		u64 want[WORDS] = {patterns[p], ~patterns[p], patterns[p] & 0xff, patterns[p] & 1};

		for (u64 i = 0; i < PAGES; i++) {
			assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_READ), 0);
			assert_false(writable(i));
			if (want[i / 64] & BIT(i % 64))
				write_page(i);
		}
		want[3] &= BIT(PAGES % 64) - 1;
		(void)read_log();
		assert_memory_equal(page_log, want, sizeof(want));
		for (u64 i = 0; i < PAGES; i++)
			assert_false(writable(i));
	}
}

/* Pages far between are flushed together, and those between them keep the right to write. */
static void one_flush_for_many(void **state)
{
	u64 flushes;

	for (u64 i = 0; i < PAGES; i++)
		write_page(i);
	assert_int_equal(read_log(), PAGES);
	for (u64 i = 0; i < PAGES; i += 4)
		write_page(i);
	flushes = STAT(flushes);
	assert_int_equal(read_log(), PAGES / 4);
	assert_int_equal(STAT(flushes), flushes + 2); /* they lie in two regions of 2 MiB */
	write_page(0);
	write_page(1);
	memset(vm.slots->slots[0].dirty, 0, WORDS * sizeof(u64));
	write_page(2);
	assert_int_equal(read_log(), 1);
	assert_false(writable(2));
	assert_true(writable(0) && writable(1));
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID, page_log, WORDS), 0);
}

static void what_weir_writes_counts(void **state)
{
	u64 old = 0, word = 5;

	/* Over the edge of two pages that hold nothing yet. */
	assert_int_equal(gpa_write(&vm, GPA(((BASE + 11) << 12) - 4), &word, 8), 0);
	assert_int_equal(read_log(), 2);
	assert_true(in_log(10) && in_log(11));
	assert_int_equal(gpa_cmpxchg(&vm, PAGE(BASE + 64), 8, &old, 1), 0);
	assert_int_equal(gpa_cmpxchg(&vm, PAGE(BASE + 65), 8, &word, 1), ERR_AGAIN);
	assert_int_equal(gpa_read(&vm, PAGE(BASE + 66), &word, 8), 0);
	assert_int_equal(gpa_zero(&vm, PAGE(BASE + 64), 8), 0);
	assert_int_equal(gpa_zero(&vm, PAGE(BASE + 70), PAGE_SIZE),
			 0); /* holds nothing: as it was */
	assert_int_equal(read_log(), 1);
	assert_true(in_log(64));
	mmu_dirty_mark(&vm, GFN(BASE + PAGES - 1));
	mmu_dirty_mark(&vm, GFN(BASE + PAGES));
	mmu_dirty_mark(&vm, GFN(BASE - 1));
	assert_int_equal(read_log(), 1);
	assert_true(in_log(PAGES - 1));
}

/* A page that is given back reads as zero from then on. */
static void what_is_dropped_counts(void **state)
{
	u64 done;

	for (u64 i = 20; i < 23; i++)
		write_page(i);
	assert_int_equal(read_log(), 3);
	assert_int_equal(mmu_range_drop(&vm, GFN(BASE + 21), 2, &done), 0);
	assert_int_equal(read_log(), 2);
	assert_true(in_log(21) && in_log(22));
	/* What was mapped and taken away is not: it has not changed. */
	write_page(30);
	assert_int_equal(read_log(), 1);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 30), 1), 1);
	assert_int_equal(read_log(), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 30), MMU_READ), 0);
	assert_false(writable(30));
}

static void a_log_begins_and_ends_under_live_mappings(void **state)
{
	assert_int_equal(memslot_set_flags(&vm, ID, 0), 0);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID, page_log, WORDS), ERR_INVAL);
	for (u64 i = 0; i < 9; i++)
		write_page(i);
	assert_int_equal(STAT(dirty_logged), 0);
	assert_int_equal(memslot_set_flags(&vm, ID, MEMSLOT_LOG_DIRTY), 0);
	for (u64 i = 0; i < 9; i++)
		assert_false(writable(i));
	assert_int_equal(read_log(), 0); /* a log that begins is empty */
	write_page(8);
	/* What one log had is not in the next. */
	assert_int_equal(memslot_set_flags(&vm, ID, 0), 0);
	assert_int_equal(memslot_set_flags(&vm, ID, MEMSLOT_LOG_DIRTY), 0);
	assert_int_equal(read_log(), 0);
	assert_false(writable(8));
	assert_int_equal(vm.logged_slots, 1);
}

/* The log is the slot's, by its pages: it goes along. */
static void a_log_moves_with_its_slot(void **state)
{
	write_page(5);
	assert_int_equal(memslot_move(&vm, ID, GFN(0x4001)), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x4001 + 6), MMU_WRITE), 0);
	assert_int_equal(read_log(), 2);
	assert_true(in_log(5) && in_log(6));
	assert_int_equal(vm.logged_slots, 1);
}

/* A large mapping from before is split: the log counts pages of 4 KiB. */
static void a_large_mapping_is_logged_page_by_page(void **state)
{
	struct gmem *g = object_filled(512);
	u64 bits[8];

	assert_int_equal(memslot_create(&vm, 2, GFN(0x2000), 512, g, 0, 0), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x2000), MMU_WRITE), 0);
	assert_true(is_large(0x2000));
	assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_LOG_DIRTY), 0);
	for (u64 i = 0; i < 512; i++)
		assert_int_equal(ept_walk(&vm, PAGE(0x2000 + i)) & EPT_RWX, EPT_R | EPT_X);
	assert_int_equal(fault(&vcpu, PAGE(0x2000 + 99), MMU_WRITE), 0);
	assert_false(is_large(0x2000 + 99));
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 2, bits, 8), 0);
	for (u32 i = 0; i < 8; i++)
		assert_int_equal(bits[i], i == 1 ? BIT(35) : 0);
	assert_int_equal(memslot_set_flags(&vm, 2, 0), 0);
	assert_int_equal(fault(&vcpu, PAGE(0x2000), MMU_WRITE), 0);
	assert_true(is_large(0x2000));
	gmem_unref(g);
}

static void errors(void **state)
{
	write_page(1);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID + 1, page_log, WORDS), ERR_NOENT);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID, page_log, WORDS - 1), ERR_RANGE);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID, page_log, 0), ERR_RANGE);
	assert_int_equal(memslot_create(&vm, 2, GFN(0x2000), 64, ram, 0, 0), 0);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 2, page_log, WORDS), ERR_INVAL);
	assert_true(writable(1));
	assert_int_equal(read_log(), 1); /* none of it took anything */
}

/* Whichever slot the guest names, what it dropped changed in all that show it. */
static void what_is_dropped_counts_in_every_slot(void **state)
{
	u64 done, other[WORDS];

	assert_int_equal(memslot_create(&vm, ID + 1, GFN(0x4000), 50, ram, 10, MEMSLOT_LOG_DIRTY),
			 0);
	write_page(12);
	read_log();
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID + 1, other, WORDS), 0);
	assert_int_equal(mmu_range_drop(&vm, GFN(BASE + 12), 1, &done), 0);
	assert_int_equal(read_log(), 1);
	assert_true(in_log(12));
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID + 1, other, WORDS), 0);
	assert_int_equal(other[0], BIT(2));
	assert_int_equal(memslot_delete(&vm, ID + 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_write_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(exactly_the_written_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(one_flush_for_many, setup, teardown),
		cmocka_unit_test_setup_teardown(what_weir_writes_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_dropped_counts_in_every_slot, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_is_dropped_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(a_log_begins_and_ends_under_live_mappings, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_log_moves_with_its_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_mapping_is_logged_page_by_page, setup,
						teardown),
		cmocka_unit_test_setup_teardown(errors, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
