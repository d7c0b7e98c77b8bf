/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* What a guest asks for ranges of its pages: get, pin, give back, look; test_protect.c the rest. */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x143
#define PAGES 700
#define ROM   0x2000 /* a read-only slot of 8 pages, that are the first of ram */
#define END   (1ull << (39 - 12))

static struct gmem *ram;
static struct gmem_account account;
static u64 done;

static int setup(void **state)
{
	fixture_start(MIB(32));
	ram = object_new(PAGES);
	account = (struct gmem_account){.pins_max = 40};
	gmem_set_account(ram, &account);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(ROM), 8, ram, 0, MEMSLOT_READONLY), 0);
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	gmem_unref(ram);
	fixture_end();
	assert_int_equal(account.pins, 0);
	return 0;
}

static u32 pins_of(u64 index)
{
	u64 e = gmem_entry(ram, index);

	return gmem_entry_state(e) == GMEM_ABSENT ? 0 : frame_of(gmem_entry_pfn(e))->pins;
}

/* --- what no range may be --- */

static int get_it(gfn_t gfn, u64 pages)
{
	return mmu_range_get(&vcpu, gfn, pages, true, false, &done);
}

static int unpin_it(gfn_t gfn, u64 pages)
{
	return mmu_range_unpin(&vm, gfn, pages, &done);
}

static int drop_it(gfn_t gfn, u64 pages)
{
	return mmu_range_drop(&vm, gfn, pages, &done);
}

static int protect_it(gfn_t gfn, u64 pages)
{
	return mmu_range_protect(&vm, gfn, pages, true, &done);
}

static int unprotect_it(gfn_t gfn, u64 pages)
{
	return mmu_range_protect(&vm, gfn, pages, false, &done);
}

static int (*const calls[])(gfn_t gfn, u64 pages) = {get_it, unpin_it, drop_it, protect_it,
						     unprotect_it};

static void no_such_range(void **state)
{
	static const u64 ranges[][2] = {
		{BASE, 0},     {BASE, MMU_RANGE_MAX + 1},
		{BASE, ~0ull}, {END, 1},
		{~0ull, 1},    {~0ull, 2},
		{END - 1, 2},  {END - 511, 512},
		{END, 1024},
	};
	u64 free = frames_free();

	for (u32 c = 0; c < ARRAY_SIZE(calls); c++) {
		for (u32 i = 0; i < ARRAY_SIZE(ranges); i++) {
			done = 99;
			assert_int_equal(calls[c](GFN(ranges[i][0]), ranges[i][1]), ERR_RANGE);
			assert_int_equal(done, 0);
		}
		assert_int_equal(calls[c](GFN(END - 1), 1), ERR_NOSLOT);
	}
	assert_int_equal(frames_free(), free);
}

/* What comes before the end of the slot is done. */
static void over_the_edge_of_a_slot(void **state)
{
	for (u32 c = 0; c < ARRAY_SIZE(calls); c++) {
		assert_int_equal(calls[c](GFN(BASE - 1), 4), ERR_NOSLOT);
		assert_int_equal(done, 0);
		assert_int_equal(calls[c](GFN(BASE + PAGES - 3), 4), ERR_NOSLOT);
		assert_int_equal(done, 3);
	}
	/* Side by side two slots are one range. */
	assert_int_equal(memslot_create(&vm, 3, GFN(BASE + PAGES), 8, ram, 0, 0), 0);
	for (u32 c = 0; c < ARRAY_SIZE(calls); c++) {
		assert_int_equal(calls[c](GFN(BASE + PAGES - 3), 8), 0);
		assert_int_equal(done, 8);
	}
}

/* --- get --- */

static void getting_maps(void **state)
{
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE + 2), 512, false, false, &done), 0);
	assert_int_equal(done, 512);
	for (u64 i = 0; i < PAGES; i++)
		assert_int_equal(is_mapped(BASE + i), i >= 2 && i < 514);
	assert_int_equal(ram->pins, 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE + 2), 512, true, false, &done), 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(ROM), 8, true, false, &done), ERR_PERM);
	assert_int_equal(done, 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(ROM), 8, false, false, &done), 0);
	assert_int_equal(done, 8);
	assert_int_equal(ept_walk(&vm, PAGE(ROM)) & EPT_RWX, EPT_R | EPT_X);
}

static void a_page_is_pinned_once(void **state)
{
	struct mmu_page_state s;

	for (u32 i = 0; i < 3; i++) {
		assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 4, true, true, &done), 0);
		assert_int_equal(done, 4);
		assert_int_equal(ram->pins, 4);
		assert_int_equal(pins_of(3), 1);
	}
	assert_int_equal(mmu_page_state(&vm, GFN(BASE + 3), &s), 0);
	assert_true(s.pinned && s.mapped);
	/* Through another slot it is another pin. */
	assert_int_equal(mmu_range_get(&vcpu, GFN(ROM + 3), 1, false, true, &done), 0);
	assert_int_equal(pins_of(3), 2);
	assert_int_equal(mmu_range_unpin(&vm, GFN(BASE + 2), 4, &done), 0);
	assert_int_equal(done, 4);
	assert_int_equal(pins_of(3), 1);
	assert_int_equal(pins_of(2), 0);
	assert_int_equal(pins_of(1), 1);
	assert_int_equal(mmu_page_state(&vm, GFN(BASE + 3), &s), 0);
	assert_false(s.pinned);
	assert_int_equal(mmu_range_unpin(&vm, GFN(BASE), 512, &done), 0);
	assert_int_equal(mmu_range_unpin(&vm, GFN(ROM), 8, &done), 0);
	assert_int_equal(ram->pins, 0);
}

static void pins_are_bounded(void **state)
{
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 50, true, true, &done), ERR_NOSPC);
	assert_int_equal(done, 40);
	assert_int_equal(account.pins, 40);
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 40, true, true, &done), 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 50, true, false, &done), 0);
	assert_int_equal(mmu_range_unpin(&vm, GFN(BASE + 7), 1, &done), 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE + 45), 2, true, true, &done), ERR_NOSPC);
	assert_int_equal(done, 1);
}

/* A guest that has pinned all it may must not lose what devices and instructions copy for it. */
static void the_bound_is_the_guest_s_alone(void **state)
{
	u32 word = 5;

	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 41, true, true, &done), ERR_NOSPC);
	assert_int_equal(gpa_write(&vm, PAGE(BASE + 100), &word, 4), 0);
	assert_int_equal(gpa_read(&vm, PAGE(BASE + 3), &word, 4), 0);
	assert_int_equal(account.pins, 40);
	assert_int_equal(ram->pins, 40);
}

/* R37. Dirty, for the guest may have written them at any time. */
static void pins_go_with_their_slot(void **state)
{
	u64 entry;

	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE + 500), 20, false, true, &done), 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(ROM + 1), 2, false, true, &done), 0);
	assert_int_equal(memslot_move(&vm, 1, GFN(0x5001)), 0);
	assert_int_equal(account.pins, 22);
	assert_int_equal(mmu_range_unpin(&vm, GFN(0x5001 + 500), 1, &done), 0);
	assert_int_equal(account.pins, 21);
	for (u64 i = 500; i < 520; i++)
		ram->slot_phys[i / 512].entries[i % 512] &= ~GMEM_DIRTY; /* as if written back */
	ram->slot_phys[0].entries[1] &= ~GMEM_DIRTY;
	assert_int_equal(gmem_claim(ram, 519, &entry), ERR_BUSY);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	assert_int_equal(account.pins, 2);
	for (u64 i = 501; i < 520; i++)
		assert_true(gmem_entry(ram, i) & GMEM_DIRTY);
	assert_false(gmem_entry(ram, 500) & GMEM_DIRTY);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	assert_false(gmem_entry(ram, 1) & GMEM_DIRTY);
	assert_int_equal(account.pins, 0);
	assert_int_equal(gmem_claim(ram, 519, &entry), 0);
	gmem_settle(ram, 519, entry);
	/* Where the marks of the pages before it have never been there. */
	assert_int_equal(memslot_create(&vm, 3, GFN(0x6000), PAGES, ram, 0, 0), 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(0x6000 + 512), 1, true, true, &done), 0);
	assert_int_equal(memslot_delete(&vm, 3), 0);
	assert_int_equal(account.pins, 0);
}

/* --- give back --- */

static void dropping(void **state)
{
	u32 word = 0x12345678;
	struct mmu_page_state s;
	u64 resident;

	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 512, true, false, &done), 0);
	assert_int_equal(gpa_write(&vm, PAGE(BASE + 10), &word, 4), 0);
	resident = ram->resident;
	assert_int_equal(mmu_range_drop(&vm, GFN(BASE + 10), 512, &done), 0);
	assert_int_equal(done, 512); /* what holds nothing is dropped too */
	assert_int_equal(ram->resident, resident - 502);
	for (u64 i = 0; i < 522; i++)
		assert_int_equal(is_mapped(BASE + i), i < 10);
	assert_int_equal(mmu_page_state(&vm, GFN(BASE + 10), &s), 0);
	assert_int_equal(s.state, GMEM_ABSENT);
	assert_int_equal(gpa_read(&vm, PAGE(BASE + 10), &word, 4), 0);
	assert_int_equal(word, 0);
}

static void what_may_not_be_dropped(void **state)
{
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 16, true, false, &done), 0);
	assert_int_equal(mmu_range_drop(&vm, GFN(ROM), 1, &done), ERR_PERM);
	assert_int_equal(done, 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE + 4), 1, true, true, &done), 0);
	assert_int_equal(mmu_range_drop(&vm, GFN(BASE + 1), 9, &done), ERR_BUSY);
	assert_int_equal(done, 3);
	assert_true(is_mapped(BASE + 4) && !is_mapped(BASE + 3));
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 8), 1, true, &done), 0);
	assert_int_equal(mmu_range_drop(&vm, GFN(BASE + 5), 9, &done), ERR_PERM);
	assert_int_equal(done, 3);
	assert_true(is_mapped(BASE + 8) && !is_mapped(BASE + 7));
	assert_int_equal(mmu_range_drop(&vm, GFN(BASE + 8), 1, &done), ERR_PERM);
	assert_int_equal(done, 0);
}

static void pages_of_2m_are_dropped_whole(void **state)
{
	struct mmu_page_state s;
	struct gmem *g;

	assert_int_equal(gmem_create_order(1024, GMEM_LARGE_ORDER, &g), 0);
	assert_int_equal(memslot_create(&vm, 5, GFN(0x8000), 1024, g, 0, 0), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x8000 + 700), MMU_WRITE), 0);
	assert_int_equal(mmu_page_state(&vm, GFN(0x8000 + 701), &s), 0);
	assert_true(s.mapped && s.large && s.dirty);
	assert_int_equal(mmu_range_drop(&vm, GFN(0x8000 + 512), 511, &done), ERR_ALIGN);
	assert_int_equal(mmu_range_drop(&vm, GFN(0x8000 + 513), 1, &done), ERR_ALIGN);
	assert_int_equal(mmu_range_drop(&vm, GFN(0x8000 + 256), 512, &done), ERR_ALIGN);
	assert_true(is_large(0x8000 + 512));
	assert_int_equal(mmu_range_drop(&vm, GFN(0x8000 + 512), 512, &done), 0);
	assert_int_equal(done, 512);
	assert_false(is_mapped(0x8000 + 512));
	assert_int_equal(STAT(split), 0);
	assert_int_equal(g->resident, 0);
	gmem_unref(g);
}

/* --- look --- */

static void looking(void **state)
{
	struct mmu_page_state s = {.state = GMEM_BUSY, .mapped = true};

	assert_int_equal(mmu_page_state(&vm, GFN(BASE - 1), &s), ERR_NOSLOT);
	assert_int_equal(s.state, GMEM_ABSENT);
	assert_false(s.mapped);
	assert_int_equal(mmu_page_state(&vm, GFN(~0ull), &s), ERR_NOSLOT);
	assert_int_equal(mmu_page_state(&vm, GFN(BASE), &s), 0);
	assert_true(s.state == GMEM_ABSENT && !s.mapped && !s.pinned && !s.protected);
	assert_false(s.readonly);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_int_equal(mmu_page_state(&vm, GFN(BASE), &s), 0);
	assert_true(s.state == GMEM_GOT_PAGE && s.mapped && s.writable && s.accessed);
	assert_false(s.dirty || s.large || s.readonly);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1), MMU_WRITE), 0);
	assert_int_equal(mmu_page_state(&vm, GFN(BASE + 1), &s), 0);
	assert_true(s.dirty);
	assert_int_equal(touch(&vcpu, PAGE(ROM), MMU_READ), 0);
	assert_int_equal(mmu_page_state(&vm, GFN(ROM), &s), 0);
	assert_true(s.mapped && s.readonly && !s.writable);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 1), 1, true, &done), 0);
	assert_int_equal(mmu_page_state(&vm, GFN(BASE + 1), &s), 0);
	assert_true(s.protected && s.mapped && !s.writable);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_such_range, setup, teardown),
		cmocka_unit_test_setup_teardown(over_the_edge_of_a_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(getting_maps, setup, teardown),
		cmocka_unit_test_setup_teardown(a_page_is_pinned_once, setup, teardown),
		cmocka_unit_test_setup_teardown(pins_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(the_bound_is_the_guest_s_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(pins_go_with_their_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(dropping, setup, teardown),
		cmocka_unit_test_setup_teardown(what_may_not_be_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_of_2m_are_dropped_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(looking, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
