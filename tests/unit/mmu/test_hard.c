/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/*
 * Pages that do not pack: as long as the guest only reads one it is mapped without the right to
 * write, so that reclaim need not try it again; the write is one more fault.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mmu/fixture.h"

#define BASE  0x200 /* gfn of the slot */
#define PAGES GMEM_LARGE_PAGES

static struct gmem *ram;

static int setup(void **state)
{
	fixture_start(MIB(32));
	pool_init();
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	return 0;
}

static int teardown(void **state)
{
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static gpa_t page(u64 i)
{
	return GPA((BASE + i) << 12);
}

/* Touched, filled with what does not pack, and tried. */
static void make_hard(u64 first, u64 pages)
{
	u64 marked[GMEM_LARGE_PAGES / 64] = {0}, random = 4711;
	struct gmem_taken t = {0};

	for (u64 i = first; i < first + pages; i++) {
		u64 *p;

		assert_int_equal(touch(&vcpu, page(i), MMU_WRITE), 0);
		p = pfn_to_virt(gmem_entry_pfn(gmem_entry(ram, i)));
		for (u32 k = 0; k < PAGE_SIZE / 8; k++)
			p[k] = random_next(&random);
		marked[(i - first) / 64] |= BIT((i - first) % 64);
	}
	gmem_take(ram, first, pages, marked, &t);
	assert_int_equal(t.hard, pages);
}

static bool is_hard(u64 i)
{
	return gmem_entry_hard(gmem_entry(ram, i));
}

static void reads_keep_it(void **state)
{
	make_hard(3, 1);
	assert_int_equal(ept_walk(&vm, page(3)), 0);
	assert_int_equal(touch(&vcpu, page(3), MMU_READ), 0);
	assert_int_equal(ept_walk(&vm, page(3)) & EPT_RWX, EPT_R | EPT_X);
	assert_true(is_hard(3));
	assert_int_equal(touch(&vcpu, page(3), MMU_EXEC), 0);
	assert_true(is_hard(3));
	assert_int_equal(touch(&vcpu, page(3), MMU_WRITE), 0);
	assert_int_equal(ept_walk(&vm, page(3)) & EPT_RWX, EPT_RWX);
	assert_false(is_hard(3));
	assert_true(gmem_entry(ram, 3) & GMEM_DIRTY);
}

/* Nor does a mapping of 2 MiB, which could be written, come about by a read. */
static void reads_of_many_keep_them(void **state)
{
	pfn_t pfn;
	u64 large;

	make_hard(0, PAGES);
	large = STAT(mapped_large);
	for (u64 i = 0; i < PAGES; i++)
		assert_int_equal(touch(&vcpu, page(i), MMU_READ), 0);
	assert_false(gmem_large(ram, 0, &pfn)); /* which makes all of them dirty */
	for (u64 i = 0; i < PAGES; i++)
		assert_true(is_hard(i));
	assert_int_equal(STAT(mapped_large), large);
	/* Once all were written they may be one again. */
	for (u64 i = 0; i < PAGES; i++)
		assert_int_equal(touch(&vcpu, page(i), MMU_WRITE), 0);
	for (u64 i = 0; i < PAGES; i++)
		assert_false(is_hard(i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_keep_it, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_of_many_keep_them, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
