/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * R03: a guest's page table, which Weir writes, reads and marks while the guest's CPU is at the
 * same entry. One of the two goes on at a time, in orders that a seed chooses.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mmu/fixture.h"

#define AT    0x2358ull /* of the entry */
#define TURNS 200
#define SEEDS 40

/* Two entries that differ in every half, quarter and byte. */
#define ONE   0x0102030405060708ull
#define OTHER 0x1112131415161718ull

static struct gmem *ram;
static u64 *entry; /* as the guest's CPU has it; atomic */
static pfn_t pfn;
static u64 torn, failed;

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(16);
	assert_int_equal(memslot_create(&vm, 1, GFN(0), 16, ram, 0, 0), 0);
	assert_int_equal(gmem_pin(ram, AT >> PAGE_SHIFT, true, &pfn), 0);
	entry = pfn_to_virt(pfn) + (AT & (PAGE_SIZE - 1));
	torn = failed = 0;
	return 0;
}

static int teardown(void **state)
{
	gmem_unpin(ram, AT >> PAGE_SHIFT, pfn, true);
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static u64 turn(u32 i)
{
	return i % 2 ? ONE : OTHER;
}

/* `after`: looks at each run's end. */
static void run(void (*weir)(void *arg), void (*cpu)(void *arg), void (*after)(void))
{
	const struct hosted_job jobs[] = {{"weir", weir, NULL}, {"cpu", cpu, NULL}};

	for (u32 seed = 1; seed <= SEEDS; seed++) {
		struct hosted_way way = {.serial = true, .seed = seed, .period = 1 + seed % 4};

		__atomic_store_n(entry, ONE, __ATOMIC_SEQ_CST);
		hosted_run(jobs, ARRAY_SIZE(jobs), &way);
		after();
	}
}

static void look(u64 value)
{
	torn += value != ONE && value != OTHER;
}

static void nothing_was_torn(void)
{
	assert_int_equal(torn, 0);
	assert_int_equal(failed, 0);
}

/* --- written --- */

static void weir_writes(void *arg)
{
	for (u32 i = 0; i < TURNS; i++) {
		u64 value = turn(i);

		failed += gpa_write(&vm, GPA(AT), &value, sizeof(value)) != 0;
	}
}

static void cpu_reads(void *arg)
{
	for (u32 i = 0; i < 10 * TURNS; i++)
		look(__atomic_load_n(entry, __ATOMIC_ACQUIRE));
}

static void the_cpu_finds_what_was_written_whole(void **state)
{
	run(weir_writes, cpu_reads, nothing_was_torn);
}

/* --- read --- */

static void weir_reads(void *arg)
{
	for (u32 i = 0; i < TURNS; i++) {
		u64 value = 0;

		failed += gpa_read(&vm, GPA(AT), &value, sizeof(value)) != 0;
		look(value);
	}
}

static void cpu_writes(void *arg)
{
	for (u32 i = 0; i < 10 * TURNS; i++)
		__atomic_store_n(entry, turn(i), __ATOMIC_RELEASE);
}

static void an_entry_is_read_whole(void **state)
{
	run(weir_reads, cpu_writes, nothing_was_torn);
}

/* --- changed: each counts in it, and no count gets lost --- */

static void weir_counts(void *arg)
{
	u64 old = 0;

	for (u32 i = 0; i < TURNS;)
		i += gpa_cmpxchg(&vm, GPA(AT), sizeof(old), &old, old + 1) == 0;
}

static void cpu_counts(void *arg)
{
	for (u32 i = 0; i < 10 * TURNS; i++)
		__atomic_fetch_add(entry, 1, __ATOMIC_SEQ_CST);
}

static void all_were_counted(void)
{
	assert_int_equal(*entry, ONE + TURNS + 10 * TURNS);
}

static void a_change_takes_nothing_back(void **state)
{
	run(weir_counts, cpu_counts, all_were_counted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_cpu_finds_what_was_written_whole, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_entry_is_read_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(a_change_takes_nothing_back, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
