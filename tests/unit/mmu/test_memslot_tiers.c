/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/memslot_cell.c */
/* unit-cflags: -include tests/hosted/points.h */
/* A slot is deleted in the middle of what a page of it is on its way to: what no disk is needed for. */
#include <cmocka.h>
#include "tests/unit/mmu/memslot_cell.h"

static void absent_touched(void **state)
{
	at_each_point(&(const struct cell){zero, 1, GMEM_ABSENT, nothing, read_it, GMEM_GOT_PAGE});
	at_each_point(&(const struct cell){zero, 1, GMEM_ABSENT, nothing, write_it, GMEM_GOT_PAGE});
}

/* To each tier that needs no disk. */
static void got_page_taken(void **state)
{
	at_each_point(&(const struct cell){zero, 1, GMEM_GOT_PAGE, show_all, take_it, GMEM_ABSENT});
	at_each_point(
		&(const struct cell){one_word, 1, GMEM_GOT_PAGE, write_all, take_it, GMEM_FILLED});
	at_each_point(
		&(const struct cell){packs, 1, GMEM_GOT_PAGE, write_all, take_it, GMEM_PACKED});
	at_each_point(
		&(const struct cell){packs, 2, GMEM_GOT_PAGE, write_all, take_it, GMEM_PACKED});
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_GOT_PAGE, write_all, take_it,
					   GMEM_SHARED});
}

static void filled_touched(void **state)
{
	at_each_point(
		&(const struct cell){one_word, 1, GMEM_FILLED, nothing, read_it, GMEM_GOT_PAGE});
	at_each_point(
		&(const struct cell){one_word, 1, GMEM_FILLED, nothing, write_it, GMEM_GOT_PAGE});
}

static void packed_touched(void **state)
{
	at_each_point(&(const struct cell){packs, 1, GMEM_PACKED, nothing, read_it, GMEM_GOT_PAGE});
	at_each_point(&(const struct cell){packs, 2, GMEM_PACKED, nothing, read_it, GMEM_SHARED});
	at_each_point(
		&(const struct cell){packs, 2, GMEM_PACKED, nothing, write_it, GMEM_GOT_PAGE});
}

static void shared_written(void **state)
{
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_SHARED, show_all, write_it,
					   GMEM_GOT_PAGE});
	at_each_point(&(const struct cell){does_not_pack, 2, GMEM_SHARED, show_all, write_it,
					   GMEM_GOT_PAGE});
	at_each_point(
		&(const struct cell){packs, 2, GMEM_SHARED, show_all, write_it, GMEM_GOT_PAGE});
}

static void shared_taken(void **state)
{
	at_each_point(&(const struct cell){packs, 2, GMEM_SHARED, show_all, take_it, GMEM_PACKED});
	at_each_point(&(const struct cell){does_not_pack, 2, GMEM_SHARED, show_all, take_it,
					   GMEM_SHARED});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(absent_touched, setup, teardown),
		cmocka_unit_test_setup_teardown(got_page_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(filled_touched, setup, teardown),
		cmocka_unit_test_setup_teardown(packed_touched, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_written, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_taken, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
