/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem @reclaim tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/*
 * Mappings of 2 MiB and reclaim: where memory is short one that is used is split, and then the pages
 * of it that are not used go; where it is not, those that are all used are one again.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/reclaim_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE 0x400

static struct gmem *ram;
static struct reclaim_target target;
static u64 now_ns;

static int setup(void **state)
{
	const struct reclaim_terms terms = {.max = ~0ull, .shares = 1};

	fixture_start(MIB(32));
	/* All of reclaim_init that this needs: the rest takes memory that stays. */
	memset(&reclaim, 0, sizeof(reclaim));
	spin_init(&reclaim.lock, "reclaim", LOCK_GENERATION);
	wait_queue_init(&reclaim.unused);
	list_init(&reclaim.targets);
	ram = object_new(512);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), 512, ram, 0, 0), 0);
	reclaim_add(&target, ram, &terms);
	for (u64 i = 0; i < 512; i++)
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_WRITE), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_true(is_large(BASE));
	return 0;
}

static int teardown(void **state)
{
	reclaim_remove(&target);
	check_audit();
	gmem_unref(ram);
	fixture_end();
	hosted_clock_free();
	return 0;
}

/* The guest uses some page of a mapping. */
static void use(u64 page)
{
	u64 *spte = spte_of(BASE + page);
	const struct page_table_level *l = &vm.format->level[is_large(BASE + page) ? 2 : 1];

	*spte = l->with_access(*spte, l->access(*spte) | PAGE_TABLE_ACCESSED);
}

static void look(u64 splits, bool rest)
{
	struct reclaim_effort e = {.ages = 100, .splits = splits, .rest = rest};

	hosted_clock_set(now_ns += 1000000000);
	assert_true(reclaim_age(&e));
}

static void split_where_memory_is_short(void **state)
{
	struct reclaim_effort e = {.want = 400, .tries = 1000, .looks = 10000};

	use(7);
	look(0, false);
	assert_true(is_large(BASE)); /* not as long as nobody wants memory */
	use(7);
	look(4, false);
	assert_false(is_large(BASE));
	assert_int_equal(STAT(split), 1);
	for (u32 i = 0; i < 3; i++) {
		use(7);
		look(4, false);
	}
	assert_int_equal(gmem_entry_age(ram, gmem_entry(ram, 7)), 0);
	assert_true(gmem_entry_age(ram, gmem_entry(ram, 8)) >= 3);
	reclaim_take(&e, 1);
	assert_int_equal(e.freed, 400);
	assert_int_equal(ram->resident, 112);
	assert_int_equal(gmem_entry_state(gmem_entry(ram, 7)), GMEM_GOT_PAGE);
}

/* One that is not used at all goes as it is, and is split by that. */
static void not_where_it_is_old(void **state)
{
	look(0, false); /* has seen the first touches */
	look(4, false);
	look(4, false);
	assert_true(is_large(BASE));
	assert_int_equal(STAT(split), 0);
}

static void joined_at_rest(void **state)
{
	u64 collapsed = STAT(collapsed);

	use(0);
	look(4, false);
	assert_false(is_large(BASE));
	for (u64 i = 0; i < 512; i++)
		use(i);
	look(0, false);
	assert_false(is_large(BASE));
	for (u64 i = 0; i < 511; i++)
		use(i);
	look(0, true); /* one was not used */
	assert_int_equal(STAT(collapsed), collapsed);
	for (u64 i = 0; i < 512; i++)
		use(i);
	look(0, true);
	assert_int_equal(STAT(collapsed), collapsed + 1);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 9), MMU_READ), 0);
	assert_true(is_large(BASE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(split_where_memory_is_short, setup, teardown),
		cmocka_unit_test_setup_teardown(not_where_it_is_old, setup, teardown),
		cmocka_unit_test_setup_teardown(joined_at_rest, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
