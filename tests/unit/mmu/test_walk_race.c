/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c mmu/walk.c */
/* unit-libs: -Wl,--wrap=gpa_read */
/*
 * The guest changes an entry between the walker's reading it and its setting A and D (R02, R03).
 * The walker's gpa_read goes through this test.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"
#include "mmu/walk.h"

#define FLAGS 0x7ull
#define A     0x20ull
#define D     0x40ull
#define PTE   0x3000ull
#define OLD   (0x10000ull | FLAGS)

static struct gmem *ram;
static const struct guest_paging paging = {
	.cr0 = CR0_PE | CR0_PG | CR0_WP,
	.cr4 = CR4_PAE,
	.efer = EFER_LMA | EFER_LME | EFER_NXE,
	.cpl = 3,
	.maxphyaddr = 39,
};

static u32 changes; /* how often the entry still changes after it is read */
static u32 pte_reads;
static u64 next; /* what it changes to; another page each time */

int __real_gpa_read(struct mmu_vm *m, gpa_t gpa, void *buf, u64 size);
int __wrap_gpa_read(struct mmu_vm *m, gpa_t gpa, void *buf, u64 size);

static void put(u64 gpa, u64 value)
{
	assert_int_equal(gpa_write(&vm, GPA(gpa), &value, 8), 0);
}

static u64 get(u64 gpa)
{
	u64 value;

	assert_int_equal(__real_gpa_read(&vm, GPA(gpa), &value, 8), 0);
	return value;
}

int __wrap_gpa_read(struct mmu_vm *m, gpa_t gpa, void *buf, u64 size)
{
	int err = __real_gpa_read(m, gpa, buf, size);

	if (gpa.v != PTE)
		return err;
	pte_reads++;
	if (changes) {
		changes--;
		put(PTE, next);
		next ^= 0x1000;
	}
	return err;
}

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(64);
	assert_int_equal(memslot_create(&vm, 1, GFN(0), 64, ram, 0, 0), 0);
	put(0x0, 0x1000 | FLAGS);
	put(0x1000, 0x2000 | FLAGS);
	put(0x2000, PTE | FLAGS);
	put(PTE, OLD);
	changes = pte_reads = 0;
	next = 0x20000 | FLAGS;
	return 0;
}

static int teardown(void **state)
{
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static void the_newer_entry_stays(void **state)
{
	struct walk_result w;

	changes = 1;
	assert_int_equal(guest_walk(&vm, &paging, GVA(0x123), MMU_WRITE, &w), 0);
	assert_int_equal(w.gpa.v, 0x20123);
	assert_int_equal(get(PTE), 0x20000 | FLAGS | A | D);
	assert_int_equal(pte_reads, 2);
}

static void an_entry_taken_away_faults(void **state)
{
	struct walk_result w;

	changes = 1;
	next = 0;
	assert_int_equal(guest_walk(&vm, &paging, GVA(0x123), MMU_WRITE, &w), ERR_FAULT);
	assert_int_equal(w.error_code, PAGE_FAULT_WR | PAGE_FAULT_US);
	assert_int_equal(get(PTE), 0);
}

static void the_right_to_write_taken_away_faults(void **state)
{
	struct walk_result w;

	changes = 1;
	next = 0x10000 | (FLAGS & ~2ull);
	assert_int_equal(guest_walk(&vm, &paging, GVA(0x123), MMU_WRITE, &w), ERR_FAULT);
	assert_int_equal(w.error_code, PAGE_FAULT_P | PAGE_FAULT_WR | PAGE_FAULT_US);
	assert_int_equal(get(PTE), 0x10000 | (FLAGS & ~2ull));
}

/* A guest that never stops does not keep Weir walking. */
static void the_walk_gives_up(void **state)
{
	struct walk_result w;

	changes = ~0u;
	assert_int_equal(guest_walk(&vm, &paging, GVA(0x123), MMU_READ, &w), ERR_AGAIN);
	assert_in_range(pte_reads, 2, 1000);
	assert_int_equal(get(PTE) & (A | D), 0);
	changes = 0;
	assert_int_equal(guest_walk(&vm, &paging, GVA(0x123), MMU_READ, &w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_newer_entry_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(an_entry_taken_away_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(the_right_to_write_taken_away_faults, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_walk_gives_up, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
