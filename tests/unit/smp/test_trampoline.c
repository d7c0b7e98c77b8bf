/* SPDX-License-Identifier: MIT */
/* The choice of the page that CPUs begin in, on memory maps as firmware writes them. */
/* unit-sources: smp/trampoline.c */
#include <cmocka.h>
#include <string.h>
#include "smp/trampoline.h"
#include "tests/hosted/hosted.h"

#define RAM  BOOT_MEM_AVAILABLE
#define HOLE BOOT_MEM_RESERVED

#define CHOOSE(...)                                                               \
	trampoline_choose((const struct boot_mmap_entry[]){__VA_ARGS__},          \
			  sizeof((const struct boot_mmap_entry[]){__VA_ARGS__}) / \
				  sizeof(struct boot_mmap_entry),                 \
			  keep, keep_count)

struct boot_info boot_info;
static struct trampoline_keep keep[4];
static u32 keep_count;

static int setup(void **state)
{
	(void)state;
	keep_count = 0;
	return 0;
}

static void test_plain(void **state)
{
	assert_int_equal(CHOOSE({0, 0x9fc00, RAM}, {0x9fc00, 0x400, HOLE}), 0x10000);
}

static void test_not_page_zero(void **state)
{
	assert_int_equal(CHOOSE({0, 0x1000, RAM}), TRAMPOLINE_NONE);
	assert_int_equal(CHOOSE({0, 0x1fff, RAM}), TRAMPOLINE_NONE);
	assert_int_equal(CHOOSE({0, 0x2000, RAM}), 0x1000);
}

static void test_whole_page(void **state)
{
	assert_int_equal(CHOOSE({0x8800, 0x1700, RAM}), TRAMPOLINE_NONE);
	assert_int_equal(CHOOSE({0x8800, 0x1800, RAM}), 0x9000);
}

static void test_below_640k(void **state)
{
	assert_int_equal(CHOOSE({0x9f000, 0x10000, RAM}), 0x9f000);
	assert_int_equal(CHOOSE({0xa0000, 0x60000, RAM}), TRAMPOLINE_NONE);
	assert_int_equal(CHOOSE({0x100000, 0x10000000, RAM}), TRAMPOLINE_NONE);
}

/* What firmware may write to is the last to be taken. */
static void test_lowest_64k_last(void **state)
{
	assert_int_equal(CHOOSE({0, 0x11000, RAM}), 0x10000);
	assert_int_equal(CHOOSE({0, 0x10fff, RAM}), 0x1000);
	assert_int_equal(CHOOSE({0, 0xa0000, RAM}, {0x10000, 0x90000, HOLE}), 0x1000);
	assert_int_equal(CHOOSE({0x8000, 0x2000, RAM}, {0x9e000, 0x1000, RAM}), 0x9e000);
	keep[0] = (struct trampoline_keep){0x10000, 0xa0000};
	keep_count = 1;
	assert_int_equal(CHOOSE({0, 0xa0000, RAM}), 0x1000);
}

/* Where entries overlap, anything but available wins, however small it is. */
static void test_overlap(void **state)
{
	assert_int_equal(CHOOSE({0, 0xa0000, RAM}, {0x10fff, 1, HOLE}), 0x11000);
	assert_int_equal(CHOOSE({0, 0xa0000, RAM}, {0, 0x8f001, BOOT_MEM_ACPI_NVS}), 0x90000);
	assert_int_equal(CHOOSE({0, 0xa0000, RAM}, {0, ~0ull, HOLE}), TRAMPOLINE_NONE);
	assert_int_equal(CHOOSE({0, 0xa0000, RAM}, {0x10800, 0, HOLE}), 0x10000);
}

static void test_wrapping(void **state)
{
	assert_int_equal(CHOOSE({0x15000, ~0ull, RAM}), 0x15000);
	assert_int_equal(CHOOSE({0, 0xa0000, RAM}, {0x3000, ~0ull, HOLE}), 0x1000);
	assert_int_equal(CHOOSE({~0ull, 5, RAM}), TRAMPOLINE_NONE);
}

static void test_keep(void **state)
{
	keep[0] = (struct trampoline_keep){0x10000, 0x13001};
	keep[1] = (struct trampoline_keep){0x15000, 0x15000};
	keep_count = 2;
	assert_int_equal(CHOOSE({0, 0xa0000, RAM}), 0x14000);
}

/* Under UEFI GRUB may have filled all of low memory with small modules. */
static void test_on_a_module(void **state)
{
	u8 *low, first[PAGE_SIZE];
	u64 page;

	(void)state;
	hosted_arena_init(MIB(1));
	low = phys_to_virt(HPA(0));
	memset(&boot_info, 0, sizeof(boot_info));
	boot_info.mmap[boot_info.mmap_count++] = (struct boot_mmap_entry){0, 0xa0000, RAM};
	boot_info.image_start = HPA(0x10000);
	boot_info.image_end = HPA(0x12345);
	for (u64 at = 0x1000; at < 0xa0000; at += 0x3000) {
		struct boot_module *m = &boot_info.modules[boot_info.module_count++];

		m->start = HPA(at);
		m->size = 0x2801;
		memset(low + at, (int)boot_info.module_count, m->size);
	}
	page = trampoline_page_take();
	assert_int_equal(page, 0x13000);
	memcpy(first, low + page, PAGE_SIZE);
	memset(low + page, 0xee, PAGE_SIZE);
	trampoline_page_give_back(page);
	assert_memory_equal(first, low + page, PAGE_SIZE);

	/* A page of nobody's is left empty, and preferred. */
	boot_info.modules[40].size = 0x2000;
	page = trampoline_page_take();
	assert_int_equal(page, boot_info.modules[40].start.v + 0x2000);
	memset(low + page, 0xee, PAGE_SIZE);
	trampoline_page_give_back(page);
	assert_int_equal(low[page] | low[page + PAGE_SIZE - 1], 0);

	boot_info.mmap_count = 0;
	assert_int_equal(trampoline_page_take(), TRAMPOLINE_NONE);
}

static void test_empty(void **state)
{
	assert_int_equal(trampoline_choose(NULL, 0, NULL, 0), TRAMPOLINE_NONE);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_plain),	TEST(test_not_page_zero), TEST(test_whole_page),
		TEST(test_below_640k),	TEST(test_overlap),	  TEST(test_wrapping),
		TEST(test_keep),	TEST(test_empty),	  TEST(test_lowest_64k_last),
		TEST(test_on_a_module),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
