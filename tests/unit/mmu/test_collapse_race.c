/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-libs: -Wl,--wrap=gmem_large */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * vCPUs whose faults find that a region of 4 KiB mappings could be a large one collapse it at once,
 * each by an invalidation that makes the others' links fail. R11: they do not do so for ever.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mmu/peek.h"

#define BASE	  0x400
#define VCPUS	  3
#define RUNS	  300
#define TRIES_MAX 4 /* of a fault: the others are through after one each */

static struct gmem *ram;
static struct mmu_vcpu vcpus[VCPUS];
static u32 most, lost; /* tries of one fault; faults that took more than one */

static bool never_large;

bool __real_gmem_large(struct gmem *g, u64 index, pfn_t *out);
bool __wrap_gmem_large(struct gmem *g, u64 index, pfn_t *out);

bool __wrap_gmem_large(struct gmem *g, u64 index, pfn_t *out)
{
	return !never_large && __real_gmem_large(g, index, out);
}

static int setup(void **state)
{
	fixture_start(MIB(32));
	for (u32 i = 0; i < VCPUS; i++) {
		mmu_vcpu_init(&vcpus[i], &vm);
		assert_int_equal(mmu_vcpu_topup(&vcpus[i]), 0);
	}
	ram = object_lucky();
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), 512, ram, 0, 0), 0);
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	for (u32 i = 0; i < VCPUS; i++)
		mmu_vcpu_destroy(&vcpus[i]);
	gmem_unref(ram);
	fixture_end();
	return 0;
}

/* In one piece, and one page of it mapped, by 4 KiB. */
static void make_small(void)
{
	mmu_unmap(&vm, GFN(BASE), 512);
	never_large = true;
	assert_int_equal(touch(&vcpu, PAGE(BASE + 9), MMU_READ), 0);
	never_large = false;
	assert_false(is_large(BASE));
}

/* The slow half each time, which is the one that collapses, as long as the page is not mapped. */
static void vcpu_job(void *arg)
{
	struct mmu_vcpu *v = arg;
	gpa_t page = PAGE(BASE + 20 * (u64)(v - vcpus) + 40);
	u32 tries = 0;

	do {
		assert_int_equal(mmu_fault_slow(v, page, MMU_READ), 0);
		tries++;
	} while (!ept_walk(&vm, page) && tries <= TRIES_MAX);
	__atomic_fetch_add(&lost, tries > 1, __ATOMIC_RELAXED);
	most = max(most, tries);
}

static void who_collapses_at_once_ends(void **state)
{
	struct hosted_job jobs[VCPUS];
	struct mmu_stats stats;

	for (u32 i = 0; i < VCPUS; i++)
		jobs[i] = (struct hosted_job){"vCPU", vcpu_job, &vcpus[i]};
	for (u32 n = 0; n < RUNS; n++) {
		struct hosted_way way = {.serial = true, .seed = n, .period = 1 + n % 40};

		make_small();
		hosted_run(jobs, VCPUS, &way);
		assert_in_range(most, 1, TRIES_MAX);
	}
	mmu_stats_get(&vm, &stats);
	assert_true(lost > RUNS / 4);
	assert_true(stats.collapsed > RUNS / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_collapses_at_once_ends, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
