/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/memslot_cell.c */
/* unit-cflags: -include tests/hosted/points.h */
/* A slot is deleted in the middle of what a page of it is on its way to: to the swap disk and back. */
#include <cmocka.h>
#include "mem/swap.h"
#include "tests/unit/mmu/memslot_cell.h"

/* It goes back to its block without being written. */
static void kept_taken(void **state)
{
	struct swap_stats s;

	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_GOT_PAGE, keep_all, take_it,
					   GMEM_SWAPPED});
	swap_get_stats(&s);
	assert_true(s.put_back > 50);
}

static void got_page_taken_to_the_disk(void **state)
{
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_GOT_PAGE, write_all,
					   take_it_to_the_disk, GMEM_SWAPPED});
}

/* The slot goes while it is written, too: given back, or there. */
static void being_written(void **state)
{
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_BUSY, send_all, read_it,
					   GMEM_GOT_PAGE});
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_BUSY, send_all, write_it,
					   GMEM_GOT_PAGE});
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_BUSY, send_all, do_requests,
					   GMEM_SWAPPED});
}

static void packed_being_written(void **state)
{
	at_each_point(
		&(const struct cell){packs, 1, GMEM_BUSY, send_packed, read_it, GMEM_GOT_PAGE});
	at_each_point(
		&(const struct cell){packs, 1, GMEM_BUSY, send_packed, write_it, GMEM_GOT_PAGE});
	at_each_point(
		&(const struct cell){packs, 1, GMEM_BUSY, send_packed, do_requests, GMEM_SWAPPED});
}

/* And while it is read. */
static void swapped_touched(void **state)
{
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_SWAPPED, hold_reads, read_it,
					   GMEM_GOT_PAGE});
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_SWAPPED, hold_reads, write_it,
					   GMEM_GOT_PAGE});
}

/* The owner is told, whoever waits for the touch to end. */
static void lost_touched(void **state)
{
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_SWAPPED, fail_reads, read_it,
					   GMEM_SWAPPED});
	at_each_point(&(const struct cell){does_not_pack, 1, GMEM_SWAPPED, lose_it, write_it,
					   GMEM_SWAPPED});
}

static void packed_to_the_disk(void **state)
{
	at_each_point(&(const struct cell){packs, 1, GMEM_PACKED, nothing, send_it_to_the_disk,
					   GMEM_SWAPPED});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kept_taken, setup_disk, teardown_disk),
		cmocka_unit_test_setup_teardown(got_page_taken_to_the_disk, setup_disk,
						teardown_disk),
		cmocka_unit_test_setup_teardown(being_written, setup_disk, teardown_disk),
		cmocka_unit_test_setup_teardown(packed_being_written, setup_disk, teardown_disk),
		cmocka_unit_test_setup_teardown(swapped_touched, setup_disk, teardown_disk),
		cmocka_unit_test_setup_teardown(lost_touched, setup_disk, teardown_disk),
		cmocka_unit_test_setup_teardown(packed_to_the_disk, setup_disk, teardown_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
