/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-libs: -Wl,--wrap=gmem_entry */
/* A fault that is served at once maps its neighbours along, those that are resident. */
#include <cmocka.h>
#include <pthread.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE   0x143
#define PAGES  760
#define AROUND 16

static struct gmem *ram;
static void (*after_entry)(void); /* once, after the look at the entry of page 14 */

u64 __real_gmem_entry(const struct gmem *g, u64 index);
u64 __wrap_gmem_entry(const struct gmem *g, u64 index);

u64 __wrap_gmem_entry(const struct gmem *g, u64 index)
{
	u64 e = __real_gmem_entry(g, index);
	void (*fn)(void) = after_entry;

	if (fn && index == 14) {
		after_entry = NULL;
		fn();
	}
	return e;
}

static int setup(void **state)
{
	fixture_start(MIB(32));
	vm.fault_around = AROUND;
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_null(after_entry);
	check_audit();
	gmem_unref(ram);
	fixture_end();
	return 0;
}

/* Resident, and not mapped: index i of the object. */
static void get(u64 i, bool write)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(ram, i, write, &pfn), 0);
	assert_int_equal(rmap_prepare(slot_of(BASE), GFN(BASE + i)), 0);
}

static u64 bits(u64 gfn)
{
	return ept_walk(&vm, PAGE(gfn)) & (EPT_RWX | PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY);
}

/* Of the 16 that are aligned: 0x150 to 0x15f are pages 13 to 28. */
static void neighbours_that_are_resident(void **state)
{
	for (u64 i = 10; i < 32; i++) {
		if (i != 20)
			get(i, i & 1);
	}
	assert_int_equal(fault(&vcpu, PAGE(BASE + 16), MMU_READ), 0);
	for (u64 i = 10; i < 32; i++) {
		bool in = i >= 13 && i < 29 && i != 20;

		if (i == 16)
			assert_int_equal(bits(BASE + i), EPT_RWX | PAGE_TABLE_ACCESSED);
		else if (in) /* not used; writable if it has been that before */
			assert_int_equal(bits(BASE + i), EPT_R | EPT_X | (i & 1 ? EPT_W : 0));
		else
			assert_int_equal(bits(BASE + i), 0);
		if (is_mapped(BASE + i))
			assert_int_equal(EPT_PFN(ept_walk(&vm, PAGE(BASE + i))),
					 gmem_entry_pfn(gmem_entry(ram, i)).v);
		/* That it is mapped makes no page dirty. */
		if (i != 16)
			assert_int_equal(!!(gmem_entry(ram, i) & GMEM_DIRTY), (i & 1) && i != 20);
	}
	assert_int_equal(STAT(mapped_around), 14);
	assert_int_equal(STAT(mapped), 15);
	assert_int_equal(gmem_entry_state(gmem_entry(ram, 20)), GMEM_ABSENT);
	/* What is mapped stays as it is when another fault comes by. */
	assert_int_equal(fault(&vcpu, PAGE(BASE + 14), MMU_WRITE), 0);
	assert_int_equal(bits(BASE + 16), EPT_RWX | PAGE_TABLE_ACCESSED);
	assert_int_equal(STAT(mapped_around), 14);
}

/* Wherever it is among those that are mapped. */
static void the_only_neighbour_that_is_not_mapped(void **state)
{
	for (u64 i = 13; i < 29; i++)
		get(i, true);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 13), MMU_WRITE), 0);
	for (u64 i = 13; i < 29; i++) {
		u64 other = i == 28 ? 13 : 28;

		assert_int_equal(mmu_unmap(&vm, GFN(BASE + i), 1), 1);
		assert_int_equal(mmu_unmap(&vm, GFN(BASE + other), 1), 1);
		assert_int_equal(fault(&vcpu, PAGE(BASE + other), MMU_WRITE), 0);
		assert_int_equal(bits(BASE + i), EPT_RWX);
	}
	assert_int_equal(STAT(mapped_around), 15 + 16);
}

static void a_first_touch_looks_at_none(void **state)
{
	get(13, true);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 14), MMU_WRITE), 0);
	assert_false(is_mapped(BASE + 13));
	vm.fault_around = 1;
	get(15, true);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 15), MMU_WRITE), 0);
	assert_false(is_mapped(BASE + 13));
}

static void not_beyond_the_slot(void **state)
{
	/* Slots on both sides, with pages that are resident. */
	assert_int_equal(memslot_create(&vm, 2, GFN(BASE - 3), 3, ram, 300, 0), 0);
	assert_int_equal(memslot_create(&vm, 3, GFN(BASE + PAGES), 8, ram, 400, 0), 0);
	for (u64 i = 0; i < 8; i++) {
		get(i, true);
		get(300 + i, true);
		get(400 + i, true);
		get(PAGES - 1 - i, true);
	}
	assert_int_equal(rmap_prepare(slot_of(BASE - 1), GFN(BASE - 1)), 0);
	assert_int_equal(rmap_prepare(slot_of(BASE + PAGES), GFN(BASE + PAGES)), 0);
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	for (u64 gfn = BASE - 3; gfn < BASE + 13; gfn++)
		assert_int_equal(is_mapped(gfn), gfn >= BASE && gfn < BASE + 8);
	assert_int_equal(fault(&vcpu, PAGE(BASE + PAGES - 1), MMU_READ), 0); /* gfn 0x3fe */
	for (u64 gfn = BASE + PAGES - 8; gfn < BASE + PAGES + 8; gfn++)
		assert_int_equal(is_mapped(gfn), gfn < BASE + PAGES);
}

/* What the slot does not show is none of its neighbours, though the object has it. */
static void not_beyond_its_window(void **state)
{
	assert_int_equal(memslot_create(&vm, 2, GFN(0x2003), 9, ram, 100, 0), 0);
	for (u64 i = 90; i < 120; i++)
		get(i, true);
	assert_int_equal(rmap_prepare(slot_of(0x2003), GFN(0x2003)), 0);
	assert_int_equal(fault(&vcpu, PAGE(0x2005), MMU_READ), 0);
	for (u64 gfn = 0x2000; gfn < 0x2010; gfn++)
		assert_int_equal(is_mapped(gfn), gfn >= 0x2003 && gfn < 0x200c);
	assert_int_equal(STAT(mapped), 9);
}

/* A neighbour may be the first of its 512 that is looked at. */
static void a_neighbour_without_words(void **state)
{
	pfn_t pfn;

	for (u64 i = 509; i < 515; i++) /* gfns 0x340 to 0x345; words change at 0x343 */
		assert_int_equal(gmem_get_page(ram, i, true, &pfn), 0);
	assert_int_equal(rmap_prepare(slot_of(BASE), GFN(BASE + 510)), 0);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 510), MMU_READ), 0);
	for (u64 i = 509; i < 515; i++)
		assert_int_equal(is_mapped(BASE + i), i < 512);
}

/* However much it is told to look around, it stays in the table of the fault. */
static void not_beyond_the_table(void **state)
{
	vm.fault_around = 512;
	get(0x200 - BASE, true);
	get(0x1ff - BASE, true);
	get(0x200 - BASE + 511, true);
	assert_int_equal(fault(&vcpu, PAGE(0x200), MMU_READ), 0);
	assert_true(is_mapped(0x3ff));
	assert_false(is_mapped(0x1ff));
}

static void rights_are_its_own(void **state)
{
	u64 done;

	for (u64 i = 13; i < 18; i++)
		get(i, true);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 14), 1, true, &done), 0);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 13), MMU_WRITE), 0);
	assert_int_equal(bits(BASE + 13), EPT_RWX | PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY);
	assert_int_equal(bits(BASE + 14), EPT_R | EPT_X);
	assert_int_equal(bits(BASE + 15), EPT_RWX);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 14), MMU_WRITE), ERR_PERM);
	/* Of a read-only slot, and of one that is logged, no neighbour may be written. */
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_READONLY), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), PAGES), 5);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 13), MMU_READ), 0);
	assert_int_equal(bits(BASE + 15), EPT_R | EPT_X);
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_LOG_DIRTY), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), PAGES), 5);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 13), MMU_WRITE), 0);
	assert_int_equal(bits(BASE + 15), EPT_R | EPT_X);
	assert_int_equal(STAT(dirty_logged), 1);
}

/* Not what somebody is just changing, nor whose word another has. */
static void neighbours_that_are_left_alone(void **state)
{
	u64 entry[2];

	for (u64 i = 13; i < 18; i++)
		get(i, true);
	for (u32 i = 0; i < 2; i++)
		assert_int_equal(gmem_claim(ram, 14 + i, &entry[i]), 0);
	gmem_settle(ram, 15, (entry[1] & ~GMEM_STATE_MASK) | GMEM_SHARED);
	assert_true(rmap_trylock(word_of(BASE + 16)));
	assert_int_equal(fault(&vcpu, PAGE(BASE + 13), MMU_WRITE), 0);
	assert_false(is_mapped(BASE + 14) || is_mapped(BASE + 16));
	assert_true(is_mapped(BASE + 17));
	/* What is shared only read-only, dirty or not. */
	assert_int_equal(bits(BASE + 15), EPT_R | EPT_X);
	rmap_unlock_tried(word_of(BASE + 16));
	gmem_settle(ram, 14, entry[0]);
	assert_int_equal(gmem_claim(ram, 15, &entry[1]), 0);
	gmem_settle(ram, 15, (entry[1] & ~GMEM_STATE_MASK) | GMEM_GOT_PAGE);
}

static void pages_of_2m_mapped_small(void **state)
{
	struct gmem *g;
	u64 done;

	assert_int_equal(gmem_create_order(512, GMEM_LARGE_ORDER, &g), 0);
	assert_int_equal(memslot_create(&vm, 4, GFN(0x2000), 512, g, 0, 0), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(0x2000 + 100), 1, true, &done), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x2000), MMU_READ), 0);
	assert_int_equal(fault(&vcpu, PAGE(0x2000 + 32), MMU_READ), 0);
	for (u64 i = 0; i < 16; i++)
		assert_int_equal(EPT_PFN(ept_walk(&vm, PAGE(0x2000 + 32 + i))),
				 gmem_entry_pfn(gmem_entry(g, 0)).v + 32 + i);
	gmem_unref(g);
}

/* --- R08 for neighbours --- */

static void *drop(void *arg)
{
	hosted_cpu_set(9);
	assert_int_equal(gmem_drop(ram, 14), 0);
	return NULL;
}

static void *share(void *arg)
{
	u64 entry;

	hosted_cpu_set(9);
	gmem_invalidate_begin(ram, 14, 1);
	assert_int_equal(gmem_claim(ram, 14, &entry), 0);
	gmem_unmap(ram, 14, 1);
	gmem_settle(ram, 14, (entry & PAGE_MASK) | GMEM_SHARED);
	gmem_invalidate_end(ram, 14, 1);
	return NULL;
}

static void *(*what)(void *arg);

static void elsewhere(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, what, NULL);
	pthread_join(thread, NULL);
}

static void a_neighbour_that_was_taken_is_not_linked(void **state)
{
	get(13, true);
	get(14, true);
	what = drop;
	after_entry = elsewhere;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 13), MMU_WRITE), 0);
	assert_true(is_mapped(BASE + 13));
	assert_false(is_mapped(BASE + 14));
}

/* It had been writable when its entry was looked at. */
static void a_neighbour_that_was_shared_is_not_writable(void **state)
{
	u64 entry;

	get(13, true);
	get(14, true);
	what = share;
	after_entry = elsewhere;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 13), MMU_WRITE), 0);
	assert_false(ept_walk(&vm, PAGE(BASE + 14)) & EPT_W);
	assert_int_equal(gmem_claim(ram, 14, &entry), 0);
	gmem_settle(ram, 14, (entry & ~GMEM_STATE_MASK) | GMEM_GOT_PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(neighbours_that_are_resident, setup, teardown),
		cmocka_unit_test_setup_teardown(the_only_neighbour_that_is_not_mapped, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_first_touch_looks_at_none, setup, teardown),
		cmocka_unit_test_setup_teardown(not_beyond_the_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(not_beyond_its_window, setup, teardown),
		cmocka_unit_test_setup_teardown(a_neighbour_without_words, setup, teardown),
		cmocka_unit_test_setup_teardown(not_beyond_the_table, setup, teardown),
		cmocka_unit_test_setup_teardown(rights_are_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(neighbours_that_are_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_of_2m_mapped_small, setup, teardown),
		cmocka_unit_test_setup_teardown(a_neighbour_that_was_taken_is_not_linked, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_neighbour_that_was_shared_is_not_writable, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
