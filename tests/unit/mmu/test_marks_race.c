/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * A sweep is stopped at each of its points in turn, and there the CPU writes the page. The CPU
 * keeps to itself what it has written (PML) until after, so the marks that it left in the entry are
 * all there is to know it by: R17 where the entry goes, R18 and R19 where it stays. Or it has the
 * page in its TLB, and writes by that until it is flushed.
 */
#include <cmocka.h>
#include "tests/hosted/schedule.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x140
#define PAGES 4
#define MARKS (PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY)

enum {
	SWEEPER,
	CPU,
	JOBS
};

static struct gmem *ram;
static u64 *spte;
static bool begun;   /* atomic */
static bool written; /* the CPU came in time */
static u32 in_time, late;
/* The CPU's TLB has the page as one that is dirty: it writes without a look at the entry. */
static bool cached;
static u64 cached_at;	/* flush_generation: until the next it may */
static u32 after_entry; /* it wrote when the entry was gone already */

static void drain(struct mmu_vm *m)
{
}

static int setup(void **state)
{
	fixture_start(MIB(16));
	mmu_hw.pml = true;
	vm.drain_dirty = drain;
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, MEMSLOT_LOG_DIRTY), 0);
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static void sweeper(void *arg)
{
	void (*sweep)(void) = (void (*)(void))arg;

	__atomic_store_n(&begun, true, __ATOMIC_RELEASE);
	hosted_count_points();
	sweep();
	hosted_count_no_more();
}

static void cpu(void *arg)
{
	u64 e;

	while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
		hosted_stand(1);
	e = __atomic_load_n(spte, __ATOMIC_ACQUIRE);
	if (cached) {
		written = __atomic_load_n(&vm.flush_generation, __ATOMIC_SEQ_CST) == cached_at;
		after_entry += written && !e;
		return;
	}
	do {
		written = e & EPT_W;
	} while (written && !__atomic_compare_exchange_n(spte, &e, e | MARKS, false,
							 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}

/* Mapped, not written since, and looked at only if `marks` says so. */
static void map_anew(u64 marks)
{
	mmu_unmap(&vm, GFN(BASE), 1);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_READ), 0);
	mmu_age(&vm, GFN(BASE), 1);
	slot_of(BASE)->dirty[0] = 0;
	spte = spte_of(BASE);
	assert_int_equal(*spte & (EPT_W | MARKS), EPT_W);
	assert_false(mmu_test_young(&vm, GFN(BASE), 1));
	*spte |= marks;
	cached_at = vm.flush_generation;
}

/* The CPU comes at each point of `sweep`, to an entry with `marks`; then `check` looks. */
static void at_each_point(void (*sweep)(void), u64 marks, void (*check)(void))
{
	const struct hosted_job jobs[JOBS] = {
		[SWEEPER] = {"sweep", sweeper, (void *)sweep},
		[CPU] = {"cpu", cpu, NULL},
	};

	in_time = late = 0;
	for (u32 point = 1;; point++) {
		struct hosted_way way = {.directed = true, .period = 1, .stop = {{SWEEPER, point}}};

		map_anew(marks);
		begun = written = false;
		hosted_run(jobs, JOBS, &way);
		if (hosted_points_counted(SWEEPER) < point)
			break;
		in_time += written;
		late += !written;
		check();
	}
	assert_true(in_time > 1);
}

/* --- the entry goes --- */

static void unmap(void)
{
	mmu_unmap(&vm, GFN(BASE), 1);
}

static void is_told(void)
{
	assert_int_equal(*spte, 0);
	assert_int_equal(slot_of(BASE)->dirty[0], written);
	assert_int_equal(mmu_test_young(&vm, GFN(BASE), 1), written);
}

static void what_is_unmapped_tells_what_it_was_used_for(void **state)
{
	at_each_point(unmap, 0, is_told);
	assert_true(late);
}

static void is_told_and_flushed(void)
{
	assert_int_equal(*spte, 0);
	assert_int_equal(slot_of(BASE)->dirty[0], 1);
	assert_true(mmu_test_young(&vm, GFN(BASE), 1));
	assert_true(vm.flush_generation > cached_at);
}

static void what_is_written_until_the_flush_was_told(void **state)
{
	after_entry = 0;
	cached = true;
	at_each_point(unmap, MARKS, is_told_and_flushed);
	cached = false;
	assert_true(late && after_entry);
}

/* --- it loses bits --- */

static void age(void)
{
	mmu_age(&vm, GFN(BASE), 1);
}

static void protect(void)
{
	u64 done;

	mmu_range_protect(&vm, GFN(BASE), 1, true, &done);
}

static void is_dirty(void)
{
	assert_int_equal(!!(*spte & PAGE_TABLE_DIRTY), written);
	assert_true(*spte & EPT_W);
}

static void is_dirty_and_protected(void)
{
	u64 done;

	assert_int_equal(!!(*spte & PAGE_TABLE_DIRTY), written);
	assert_false(*spte & EPT_W);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE), 1, false, &done), 0);
}

static void aging_loses_no_dirty_bit(void **state)
{
	at_each_point(age, PAGE_TABLE_ACCESSED, is_dirty);
}

static void protecting_loses_no_dirty_bit(void **state)
{
	at_each_point(protect, 0, is_dirty_and_protected);
	assert_true(late);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_unmapped_tells_what_it_was_used_for, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_is_written_until_the_flush_was_told, setup,
						teardown),
		cmocka_unit_test_setup_teardown(aging_loses_no_dirty_bit, setup, teardown),
		cmocka_unit_test_setup_teardown(protecting_loses_no_dirty_bit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
