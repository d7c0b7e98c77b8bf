/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c mmu/walk.c */
/*
 * What a guest is refused of its own memory, or has to wait for: pages that are not its own, rights,
 * the bound on pins, pages of 2 MiB in part, and memory that is short.
 */
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define BASE  0x180 /* gfn of the slot; its first region is not whole, nor is its last */
#define PAGES 1024
#define ROM   0x1000 /* gfn of a read-only window onto pages 8 to 15 */
#define OWN   0x2000 /* gfn of a slot of Weir's own */
#define BIG   0x4000 /* gfn of an object of 2 MiB pages, two of them */
#define PINS  600

static struct gmem *ram, *big;
static struct gmem_account account;

static int setup(void **state)
{
	fixture_start(MIB(32));
	account = (struct gmem_account){.pins_max = PINS};
	ram = object_new(PAGES);
	assert_int_equal(gmem_create_order(1024, GMEM_LARGE_ORDER, &big), 0);
	gmem_set_account(ram, &account);
	gmem_set_account(big, &account);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(ROM), 8, ram, 8, MEMSLOT_READONLY), 0);
	assert_int_equal(memslot_create(&vm, 3, GFN(OWN), 8, ram, 16, MEMSLOT_PRIVATE), 0);
	assert_int_equal(memslot_create(&vm, 4, GFN(BIG), 1024, big, 0, 0), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_null(mmu_audit(&vm));
	memslot_delete(&vm, 1);
	memslot_delete(&vm, 4);
	assert_int_equal(ram->pins + big->pins + account.pins, 0);
	grace();
	gmem_unref(ram);
	gmem_unref(big);
	fixture_end();
	return 0;
}

/* --- Calls, and how many pages they say they finished --- */

static u64 done;

static int get(u64 gfn, u64 pages, bool write, bool pin)
{
	done = ~0ull;
	return mmu_range_get(&vcpu, GFN(gfn), pages, write, pin, &done);
}

static int unpin(u64 gfn, u64 pages)
{
	done = ~0ull;
	return mmu_range_unpin(&vm, GFN(gfn), pages, &done);
}

static int drop(u64 gfn, u64 pages)
{
	done = ~0ull;
	return mmu_range_drop(&vm, GFN(gfn), pages, &done);
}

static int protect(u64 gfn, u64 pages, bool on)
{
	done = ~0ull;
	return mmu_range_protect(&vm, GFN(gfn), pages, on, &done);
}

/* err, with so many pages done. */
#define EXPECT(call, err, count)                      \
	do {                                          \
		assert_int_equal(call, err);          \
		assert_int_equal(done, (u64)(count)); \
	} while (0)

static struct mmu_page_state state_of(u64 gfn)
{
	struct mmu_page_state s;

	assert_int_equal(mmu_page_state(&vm, GFN(gfn), &s), 0);
	return s;
}

static gpa_t at(u64 gfn)
{
	return GPA(gfn << PAGE_SHIFT);
}

static u64 rights(u64 gfn)
{
	return ept_walk(&vm, at(gfn)) & EPT_RWX;
}

static void write_byte(u64 gfn, u8 value)
{
	assert_int_equal(gpa_write(&vm, at(gfn), &value, 1), 0);
}

static u8 read_byte(u64 gfn)
{
	u8 value;

	assert_int_equal(gpa_read(&vm, at(gfn), &value, 1), 0);
	return value;
}

/* --- Where there is no memory of the guest's --- */

static void what_is_weir_s(void **state)
{
	static const u64 gfns[] = {OWN, OWN + 7};
	struct mmu_page_state s;

	for (u32 i = 0; i < ARRAY_SIZE(gfns); i++) {
		EXPECT(get(gfns[i], 1, false, false), ERR_NOSLOT, 0);
		EXPECT(get(gfns[i], 1, true, true), ERR_NOSLOT, 0);
		EXPECT(unpin(gfns[i], 1), ERR_NOSLOT, 0);
		EXPECT(drop(gfns[i], 1), ERR_NOSLOT, 0);
		EXPECT(protect(gfns[i], 1, true), ERR_NOSLOT, 0);
		assert_int_equal(mmu_page_state(&vm, GFN(gfns[i]), &s), ERR_NOSLOT);
	}
	assert_int_equal(ram->resident, 0);
}

/* --- Get and pin --- */

/* Read-only windows are for reading. */
static void getting_for_writing_what_is_not(void **state)
{
	EXPECT(get(ROM, 3, false, true), 0, 3);
	assert_int_equal(rights(ROM), EPT_R | EPT_X);
	EXPECT(get(ROM, 3, true, true), ERR_PERM, 0);
	EXPECT(drop(ROM + 4, 1), ERR_PERM, 0);
	assert_true(state_of(ROM).readonly);
	EXPECT(unpin(ROM, 3), 0, 3);

	EXPECT(protect(BASE + 12, 1, true), 0, 1);
	EXPECT(get(BASE + 10, 5, true, true), ERR_PERM, 2);
	assert_true(state_of(BASE + 11).pinned);
	assert_false(state_of(BASE + 12).pinned);
	EXPECT(get(BASE + 10, 5, false, true), 0, 5);
	assert_int_equal(rights(BASE + 12), EPT_R | EPT_X);
	EXPECT(protect(BASE + 12, 1, false), 0, 1);
	/* Mapped, but not as asked: that is not enough. */
	EXPECT(get(BASE + 12, 1, true, false), 0, 1);
	assert_int_equal(rights(BASE + 12), EPT_RWX);
	EXPECT(unpin(BASE + 10, 5), 0, 5);
}

static void *writer(void *arg)
{
	u64 count;

	hosted_cpu_set(7);
	*(int *)arg = mmu_range_get(&vcpu, GFN(BASE), 1, true, false, &count);
	return NULL;
}

/* The page is mapped for reading, and something else is done to it while it is got for writing. */
static void mapped_is_not_yet_writable(void **state)
{
	pthread_t thread;
	int err = 1;

	EXPECT(protect(BASE, 1, true), 0, 1);
	EXPECT(get(BASE, 1, false, false), 0, 1);
	EXPECT(protect(BASE, 1, false), 0, 1);
	assert_int_equal(rights(BASE), EPT_R | EPT_X);
	gmem_invalidate_begin(ram, 0, 1);
	pthread_create(&thread, NULL, writer, &err);
	usleep(30000);
	gmem_invalidate_end(ram, 0, 1);
	pthread_join(thread, NULL);
	assert_int_equal(err, 0);
	assert_int_equal(rights(BASE), EPT_RWX);
}

static void pins_are_bounded(void **state)
{
	EXPECT(get(BASE, 300, true, true), 0, 300);
	EXPECT(get(BASE + 100, 300, false, true), 0, 300);
	assert_int_equal(account.pins, 400);
	assert_int_equal(ram->pins, 400);
	assert_true(state_of(BASE + 399).pinned && state_of(BASE + 399).stays);
	assert_false(state_of(BASE + 400).pinned || state_of(BASE + 400).stays);
	/* Another window has its own pins, on the same frames. */
	EXPECT(get(ROM, 8, false, true), 0, 8);
	assert_int_equal(account.pins, 408);
	EXPECT(get(BASE + 400, 512, true, true), ERR_NOSPC, PINS - 408);
	assert_int_equal(account.pins, PINS);
	/* What was refused is mapped all the same, and Weir's own copies go on. */
	assert_int_equal(rights(BASE + 400 + PINS - 408), EPT_RWX);
	write_byte(BASE + 900, 1);
	EXPECT(unpin(BASE, 512), 0, 512);
	EXPECT(unpin(BASE, 512), 0, 512); /* no error, and no pin of another's */
	assert_int_equal(account.pins, PINS - 512);
	assert_true(state_of(BASE + 8).stays && !state_of(BASE + 8).pinned);
	assert_int_equal(frame_of(gmem_entry_pfn(gmem_entry(ram, 8)))->pins, 1);
	EXPECT(unpin(ROM, 8), 0, 8);
	assert_false(state_of(BASE + 8).stays);
	EXPECT(get(BASE, 512, true, true), 0, 512);
	/* Those that are left go with the slot (teardown looks). */
}

/* --- Drop --- */

/* Pages of 2 MiB go as a whole or not at all. */
static void large_objects(void **state)
{
	struct mmu_page_state s;

	EXPECT(get(BIG + 3, 1, true, false), 0, 1);
	s = state_of(BIG + 511);
	assert_true(s.mapped && s.large && s.writable && s.order == GMEM_LARGE_ORDER);
	write_byte(BIG + 300, 7);
	EXPECT(drop(BIG, 511), ERR_ALIGN, 0);
	EXPECT(drop(BIG + 1, 511), ERR_ALIGN, 0);
	EXPECT(drop(BIG + 256, 512), ERR_ALIGN, 0);
	EXPECT(protect(BIG + 300, 1, true), 0, 1);
	s = state_of(BIG + 300);
	assert_true(s.mapped && !s.large && !s.writable && s.protected);
	s = state_of(BIG + 301);
	assert_true(s.mapped && !s.large && s.writable && !s.protected);
	/* One that is protected in part is protected, wherever the range begins. */
	EXPECT(drop(BIG, 512), ERR_PERM, 0);
	EXPECT(drop(BIG + 5, 507), ERR_PERM, 0);
	EXPECT(drop(BIG + 299, 10), ERR_PERM, 0);
	assert_int_equal(read_byte(BIG + 300), 7);
	EXPECT(protect(BIG + 300, 1, false), 0, 1);
	EXPECT(get(BIG + 300, 1, true, true), 0, 1);
	assert_true(state_of(BIG).stays && !state_of(BIG).pinned);
	EXPECT(drop(BIG, 512), ERR_BUSY, 0);
	EXPECT(unpin(BIG, 512), 0, 512);
	EXPECT(drop(BIG, 512), 0, 512);
	assert_int_equal(big->resident, 0);
	assert_int_equal(read_byte(BIG + 300), 0);
}

/* --- No memory: nothing is lost, and the same call does it when there is some --- */

static void without_memory(void **state)
{
	u32 n, failed = 0;

	for (n = 1;; n++) {
		int err;

		hosted_fail_after(n);
		err = get(BASE + n * 3, 3, true, true);
		if (!hosted_fail_happened())
			break;
		failed += err != 0;
		assert_true(err == ERR_NOMEM || (err == 0 && done == 3));
		for (u64 i = done; i < 3; i++)
			assert_false(state_of(BASE + n * 3 + i).pinned);
		hosted_fail_after(0);
		EXPECT(get(BASE + n * 3, 3, true, true), 0, 3);
	}
	hosted_fail_after(0);
	assert_true(failed > 0);
	for (n = 1;; n++) {
		int err;

		hosted_fail_after(n);
		err = protect(BIG + n, 2, true);
		if (!hosted_fail_happened())
			break;
		hosted_fail_after(0);
		assert_true(err == 0 || (err == ERR_NOMEM && done == 0));
		EXPECT(protect(BIG + n, 2, true), 0, 2);
	}
	hosted_fail_after(0);
	EXPECT(protect(BIG, 512, false), 0, 512);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_weir_s),
		TEST(getting_for_writing_what_is_not),
		TEST(mapped_is_not_yet_writable),
		TEST(pins_are_bounded),
		TEST(large_objects),
		TEST(without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
