/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c */
/*
 * Where memory is short a VM's shadow pages take none of what is left: neither of what makes more
 * of it, nor of what is kept for others.
 */
#include <cmocka.h>
#include <string.h>
#include "mem/watermark.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 2048u
#define LEAST	  mmu_shadow_least(1)
#define TABLES	  500u
#define TABLE(n)  (100u + (n))
#define DATA	  1000u /* pages of the guest's that are no tables: from here on */
#define UPPER(n)  (1600u + (n))
#define AT(n)	  ((u64)(n) << 21)

static void nobody(void)
{
}

static void memory_is_short(bool is)
{
	memset(&watermarks, 0, sizeof(watermarks));
	if (is)
		watermarks = (struct watermarks){.min = BIT(20), .low = BIT(20), .wake = nobody};
}

/* So many tables, and more shadow pages than those may be. */
static int start(void **state)
{
	(void)state;
	shadow_guest_start(MIB(64), RAM_PAGES);
	load();
	for (u32 i = 0; i < TABLES; i++) {
		entry(3, i, TABLE(i), MARKED);
		entry(TABLE(i), 0, DATA, MARKED);
	}
	assert_int_equal(shadow_access(0, MMU_READ, NULL), 0);
	vm.shadow->limit = 1000;
	vm.shadow->limit_generation = vm.slots_generation;
	return 0;
}

static int end(void **state)
{
	memory_is_short(false);
	return shadow_guest_end(state);
}

static void go_to(u32 from, u32 to)
{
	for (u32 i = from; i < to; i++)
		assert_int_equal(shadow_access(AT(i), MMU_READ, NULL), 0);
}

/* Frames that are taken meanwhile. */
static s64 taken(u64 before)
{
	return (s64)(before - frames_free());
}

/* Whoever needs a page gives one for it, and gets on. */
static void its_own_pages_give(void **state)
{
	u64 before;

	(void)state;
	go_to(0, 300);
	assert_in_range(vm.shadow->pages, 300, 310);
	memory_is_short(true);
	before = frames_free();
	go_to(300, TABLES);
	go_to(0, TABLES);
	assert_in_range(vm.shadow->pages, 280, 310);
	assert_true(taken(before) <= 8);
	memory_is_short(false);
	go_to(0, TABLES);
	assert_in_range(vm.shadow->pages, 480, 600);
}

/* What leads to tables has a frame, what is one of 4 KiB pages has two. */
static void frames_count(void **state)
{
	u64 before;

	(void)state;
	for (u32 i = 0; i < 400; i++) {
		entry(2, 1 + i, UPPER(i), MARKED);
		entry(UPPER(i), 0, TABLE(0), MARKED);
		assert_int_equal(shadow_access((u64)(1 + i) << 30, MMU_READ, NULL), 0);
	}
	assert_in_range(vm.shadow->pages, 400, 410);
	memory_is_short(true);
	before = frames_free();
	go_to(0, 100);
	assert_true(taken(before) <= 8);
	assert_in_range(vm.shadow->pages, 280, 310);
}

/* Nor may the descriptors of reverse maps grow without an end, in pages that are there. */
static void descriptors_count(void **state)
{
	u64 before;

	(void)state;
	for (u32 i = 0; i < 200; i++) {
		for (u32 n = 1; n < 512; n++)
			entry(TABLE(i), n, DATA + n, MARKED & ~A);
	}
	for (u32 n = 1; n < 512; n++)
		assert_int_equal(gpa_read(&vm, GPA((u64)(DATA + n) << 12), &before, 1), 0);
	go_to(0, 300);
	memory_is_short(true);
	before = frames_free();
	for (u32 i = 0; i < 200; i++) {
		for (u32 n = 1; n < 512; n++)
			assert_int_equal(shadow_access(AT(i) + n * PAGE_SIZE, MMU_READ, NULL), 0);
	}
	assert_true(taken(before) <= 40);
	assert_in_range(vm.shadow->pages, LEAST, 310);
}

/* Every VM has so many as it takes to run, whatever there is. */
static void the_least(void **state)
{
	u64 before = frames_free();
	u32 pages;

	(void)state;
	memory_is_short(true);
	go_to(0, 100);
	assert_in_range(vm.shadow->pages, 100, 110);
	go_to(100, TABLES);
	assert_in_range(vm.shadow->pages, LEAST, LEAST + 8);
	assert_true(taken(before) <= 2 * (s64)(LEAST + 8));
	/* Half of min is there: the pages come back, as the guest's own do. */
	watermarks.min = frames_free();
	watermarks.owed = frames_free() / 4;
	go_to(0, 300);
	assert_in_range(vm.shadow->pages, 300, 450);
	/* What it had below that many it does not give back later. */
	pages = vm.shadow->pages;
	memory_is_short(true);
	go_to(0, TABLES);
	assert_in_range(vm.shadow->pages, pages - 20, pages + 8);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(its_own_pages_give),
		TEST(frames_count),
		TEST(descriptors_count),
		TEST(the_least),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
