/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* Faults, one thread: what is mapped, what it costs, what is refused, and what gives way. */
#include <cmocka.h>
#include <stdlib.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define BASE  0x100 /* gfn of the slot */
#define PAGES 2048

static struct gmem *ram;

static int setup(void **state)
{
	fixture_start(MIB(32));
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

static void first_touch(void **state)
{
	static const u32 access[] = {MMU_READ, MMU_WRITE, MMU_EXEC};
	u64 leaves, tables, free;

	for (u32 i = 0; i < 3; i++) {
		u64 e;

		assert_int_equal(fault(&vcpu, page(i), access[i]), ERR_TOO_HARD);
		assert_int_equal(ept_walk(&vm, page(i)), 0);
		assert_int_equal(mmu_fault_slow(&vcpu, page(i), access[i]), 0);
		e = ept_walk(&vm, page(i));
		assert_int_equal(e & EPT_RWX, EPT_RWX);
		assert_int_equal(EPT_PFN(e), gmem_entry_pfn(gmem_entry(ram, i)).v);
		/* Writable now, so dirty must be said of it. */
		assert_true(gmem_entry(ram, i) & GMEM_DIRTY);
		/* Again, as another vCPU that lost the race: nothing changes. */
		assert_int_equal(fault(&vcpu, page(i), access[i]), 0);
		assert_int_equal(ept_walk(&vm, page(i)), e);
	}
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 3);
	assert_int_equal(tables, 4);
	assert_int_equal(STAT(tables), 4);
	assert_int_equal(STAT(mapped), 3);
	assert_int_equal(STAT(faults), 6);
	assert_int_equal(STAT(faults_slow), 3);
	assert_int_equal(STAT(flushes), 0);
	assert_int_equal(mmu_resident_pages(&vm), 3);

	/* From here each page costs itself and no more, its table being there. */
	assert_int_equal(mmu_vcpu_topup(&vcpu), 0);
	free = frames_free();
	for (u32 i = 3; i < 203; i++)
		assert_int_equal(touch(&vcpu, page(i), MMU_WRITE), 0);
	assert_int_equal(frames_free(), free - 200);
	assert_int_equal(mmu_resident_pages(&vm), 203);
}

static void the_page_is_the_object_s(void **state)
{
	struct memslot_case {
		u64 base, pages, first;
	} cases[] = {{0x5000, 8, 0}, {0x6000, 8, 4}, {0x7ff0, 32, 100}};

	for (u32 c = 0; c < ARRAY_SIZE(cases); c++) {
		assert_int_equal(memslot_create(&vm, 10 + c, GFN(cases[c].base), cases[c].pages,
						ram, cases[c].first, 0),
				 0);
		for (u64 i = 0; i < cases[c].pages; i++) {
			gpa_t gpa = GPA((cases[c].base + i) << 12 | 0x777);

			assert_int_equal(touch(&vcpu, gpa, MMU_READ), 0);
			assert_int_equal(EPT_PFN(ept_walk(&vm, gpa)),
					 gmem_entry_pfn(gmem_entry(ram, cases[c].first + i)).v);
		}
		assert_int_equal(
			touch(&vcpu, GPA((cases[c].base + cases[c].pages) << 12), MMU_READ),
			ERR_NOSLOT);
		assert_int_equal(touch(&vcpu, GPA((cases[c].base << 12) - 1), MMU_READ),
				 ERR_NOSLOT);
	}
	/* Windows that overlap on the object count its pages once. */
	assert_int_equal(mmu_resident_pages(&vm), 12 + 32);
}

static void no_slot_no_entry(void **state)
{
	static const u64 gpas[] = {0, 0xfee00000, 0xffffffff000, 1ull << 47, 1ull << 51, ~0ull};
	u64 leaves, tables, free = frames_free();

	for (u32 i = 0; i < ARRAY_SIZE(gpas); i++) {
		for (u32 access = 1; access < 8; access++) {
			assert_int_equal(fault(&vcpu, GPA(gpas[i]), access), ERR_NOSLOT);
			assert_int_equal(mmu_fault_slow(&vcpu, GPA(gpas[i]), access), ERR_NOSLOT);
		}
	}
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 0);
	assert_int_equal(tables, 1);
	assert_int_equal(frames_free(), free);
	assert_int_equal(STAT(faults_mmio), 2 * 7 * ARRAY_SIZE(gpas));
}

static void read_only(void **state)
{
	gpa_t gpa = GPA(0x40000ull << 12);

	assert_int_equal(memslot_create(&vm, 2, GFN(0x40000), 4, ram, 8, MEMSLOT_READONLY), 0);
	assert_int_equal(touch(&vcpu, gpa, MMU_WRITE), ERR_NOSLOT);
	assert_int_equal(ept_walk(&vm, gpa), 0);
	assert_int_equal(touch(&vcpu, gpa, MMU_READ), 0);
	assert_int_equal(ept_walk(&vm, gpa) & EPT_RWX, EPT_R | EPT_X);
	assert_false(gmem_entry(ram, 8) & GMEM_DIRTY);
	assert_int_equal(fault(&vcpu, gpa, MMU_WRITE), ERR_NOSLOT);
	assert_int_equal(ept_walk(&vm, gpa) & EPT_RWX, EPT_R | EPT_X);
	assert_int_equal(STAT(faults_readonly), 2);
	/* The same page through a slot that may write. */
	assert_int_equal(touch(&vcpu, page(8), MMU_WRITE), 0);
	assert_int_equal(ept_walk(&vm, page(8)) & EPT_RWX, EPT_RWX);
	assert_int_equal(EPT_PFN(ept_walk(&vm, page(8))), EPT_PFN(ept_walk(&vm, gpa)));
}

/* A page that others share is shown without the right to write, until a write gets it alone. */
static void shared_page(void **state)
{
	u64 entry;

	assert_int_equal(touch(&vcpu, page(0), MMU_READ), 0);
	gmem_invalidate_begin(ram, 0, 1);
	assert_int_equal(gmem_unmap(ram, 0, 1), 1);
	assert_int_equal(gmem_claim(ram, 0, &entry), 0);
	gmem_settle(ram, 0, (entry & PAGE_MASK) | GMEM_SHARED);
	gmem_invalidate_end(ram, 0, 1);

	assert_int_equal(fault(&vcpu, page(0), MMU_READ), 0);
	assert_int_equal(ept_walk(&vm, page(0)) & EPT_RWX, EPT_R | EPT_X);
	assert_int_equal(fault(&vcpu, page(0), MMU_WRITE), ERR_TOO_HARD);
	/* Back to a page of its own: the right to write comes without a flush. */
	gmem_claim(ram, 0, &entry);
	gmem_settle(ram, 0, (entry & PAGE_MASK) | GMEM_GOT_PAGE);
	assert_int_equal(fault(&vcpu, page(0), MMU_WRITE), 0);
	assert_int_equal(ept_walk(&vm, page(0)) & EPT_RWX, EPT_RWX);
	assert_int_equal(STAT(flushes), 1); /* of the unmap */
	assert_int_equal(STAT(mapped), 2);
}

/* R08, R10: nothing is linked while an invalidation is on its way, whoever else ends one. */
static void invalidation_wins(void **state)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(ram, 0, true, &pfn), 0);
	assert_int_equal(gmem_get_page(ram, 600, true, &pfn), 0);
	assert_int_equal(touch(&vcpu, page(1), MMU_READ),
			 0); /* tables and reverse maps are there */
	assert_int_equal(touch(&vcpu, page(601), MMU_READ), 0);
	gmem_invalidate_begin(ram, 0, 1);
	assert_int_equal(fault(&vcpu, page(0), MMU_READ), ERR_TOO_HARD);
	gmem_invalidate_begin(ram, 1, 1);
	gmem_invalidate_end(ram, 1, 1);
	assert_int_equal(fault(&vcpu, page(0), MMU_READ), ERR_TOO_HARD);
	assert_int_equal(ept_walk(&vm, page(0)), 0);
	/* Elsewhere it disturbs nobody. */
	assert_int_equal(fault(&vcpu, page(600), MMU_READ), 0);
	/* R11: what has no slot is not retried, invalidation or not. */
	assert_int_equal(fault(&vcpu, GPA(0), MMU_READ), ERR_NOSLOT);
	gmem_invalidate_end(ram, 0, 1);
	assert_int_equal(fault(&vcpu, page(0), MMU_READ), 0);
	assert_int_not_equal(ept_walk(&vm, page(0)), 0);
}

static void an_empty_cache_is_too_hard(void **state)
{
	pfn_t pfn;

	mmu_vcpu_destroy(&vcpu);
	assert_int_equal(gmem_get_page(ram, 0, true, &pfn), 0);
	assert_int_equal(fault(&vcpu, page(0), MMU_READ), ERR_TOO_HARD);
	assert_int_equal(ept_walk(&vm, page(0)), 0);
	assert_int_equal(mmu_fault_slow(&vcpu, page(0), MMU_READ), 0);
	assert_int_not_equal(ept_walk(&vm, page(0)), 0);
}

static void unmapping(void **state)
{
	u64 leaves, tables;

	for (u32 i = 0; i < PAGES; i += 2)
		assert_int_equal(touch(&vcpu, page(i), MMU_WRITE), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 10), 0), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 1), 1), 0);
	assert_int_equal(STAT(flushes), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 9), 4), 2);
	assert_int_equal(STAT(flushes), 1);
	assert_int_equal(ept_walk(&vm, page(10)), 0);
	assert_int_equal(ept_walk(&vm, page(12)), 0);
	assert_int_not_equal(ept_walk(&vm, page(8)), 0);
	assert_int_not_equal(ept_walk(&vm, page(14)), 0);
	/* Beyond all slots and beyond all addresses. */
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 1000), ~0ull), (PAGES - 1000) / 2);
	assert_int_equal(mmu_unmap(&vm, GFN(~0ull), 5), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(0), BIT(40)), 1000 / 2 - 2);
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 0);
	assert_int_equal(tables, STAT(tables));
	assert_int_equal(STAT(unmapped), STAT(mapped));
	/* The contents stay: the same frame comes back. */
	assert_int_equal(fault(&vcpu, page(10), MMU_READ), 0);
	assert_int_equal(EPT_PFN(ept_walk(&vm, page(10))), gmem_entry_pfn(gmem_entry(ram, 10)).v);
}

/* Two slots side by side in one table: the one that goes takes nothing of the other's. */
static void deleting_one_of_two(void **state)
{
	u64 leaves, tables, free;

	assert_int_equal(memslot_create(&vm, 2, GFN(0x80000), 3, ram, 0, 0), 0);
	assert_int_equal(memslot_create(&vm, 3, GFN(0x80003), 0x400, ram, 3, 0), 0);
	/* All but one, or 2 MiB of them would be mapped at once. */
	for (u64 i = 0; i < 0x403; i++) {
		if (i != 0x300)
			assert_int_equal(touch(&vcpu, GPA((0x80000 + i) << 12), MMU_READ), 0);
	}
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 0x402);
	assert_int_equal(tables, 1 + 1 + 1 + 3);
	free = frames_free();
	assert_int_equal(memslot_delete(&vm, 3), 0);
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 3);
	assert_int_equal(tables, 4);
	assert_int_equal(STAT(tables), 4);
	grace();
	assert_true(frames_free() >= free + 2);
	assert_int_not_equal(ept_walk(&vm, GPA(0x80002ull << 12)), 0);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 0);
	assert_int_equal(tables, 1);
}

/* Tables that an earlier unmap left empty go with the slot, and are flushed before (R13). */
static void empty_tables_are_flushed_too(void **state)
{
	assert_int_equal(touch(&vcpu, page(0), MMU_READ), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), PAGES), 1);
	assert_int_equal(STAT(flushes), 1);
	assert_int_equal(STAT(tables), 4);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	assert_int_equal(STAT(tables), 1);
	assert_int_equal(STAT(flushes), 2);
}

/* --- every allocation fails once --- */

static int scenario(u64 *touched)
{
	struct mmu_vm m;
	struct mmu_vcpu v;
	struct gmem *g;
	u8 byte;
	int err = gmem_create(600, &g);

	*touched = 0;
	if (err)
		return err;
	err = mmu_vm_create(&m, MMU_EPT);
	if (err)
		goto out_object;
	mmu_vcpu_init(&v, &m);
	err = memslot_create(&m, 1, GFN(0), 600, g, 0, 0);
	if (!err)
		err = mmu_vcpu_topup(&v);
	for (u64 i = 0; i < 600 && !err; i += 60) {
		err = touch(&v, GPA(i << 12), MMU_WRITE);
		*touched += !err;
	}
	if (!err)
		err = gpa_write(&m, GPA(0x3ffe), "four", 4);
	if (!err)
		err = gpa_read(&m, GPA(0x123456), &byte, 1);
	if (!err)
		err = memslot_move(&m, 1, GFN(0x1000));
	if (!err)
		err = touch(&v, GPA(0x1000 << 12), MMU_READ);
	if (!err)
		err = memslot_delete(&m, 1);
	mmu_vcpu_destroy(&v);
	mmu_vm_destroy(&m);
out_object:
	gmem_unref(g);
	return err;
}

static void every_allocation_fails_once(void **state)
{
	u64 free, touched;
	u32 n;

	grace(); /* what waits of the fixture's VM may otherwise come back within */
	free = frames_free();
	for (n = 1;; n++) {
		bool failed;
		int err;

		hosted_fail_after(n);
		err = scenario(&touched);
		failed = hosted_fail_happened();
		hosted_fail_after(0);
		assert_int_equal(frames_free(), free);
		if (!failed) {
			assert_int_equal(err, 0);
			break;
		}
		/* A cache that could be filled half serves as well. */
		assert_true(err == ERR_NOMEM || err == 0);
	}
	assert_int_equal(touched, 10);
	assert_true(n > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(first_touch, setup, teardown),
		cmocka_unit_test_setup_teardown(the_page_is_the_object_s, setup, teardown),
		cmocka_unit_test_setup_teardown(no_slot_no_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_page, setup, teardown),
		cmocka_unit_test_setup_teardown(invalidation_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_cache_is_too_hard, setup, teardown),
		cmocka_unit_test_setup_teardown(unmapping, setup, teardown),
		cmocka_unit_test_setup_teardown(deleting_one_of_two, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_tables_are_flushed_too, setup, teardown),
		cmocka_unit_test_setup_teardown(every_allocation_fails_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
