/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * What a round of aging counted is not there any more when pages are taken: that keeps neither the
 * next round nor the pages of other VMs, however large the object is. It has more chunks with a page
 * than an effort looks at.
 */
#include <pthread.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/reclaim_private.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define CHUNKS	   600u
#define OLD	   100u /* pages of the first chunk that nobody uses */
#define COLD	   300u /* pages of the other VM */
#define PAGES_MANY 1500u
#define EFFORTS	   60u
#define OLDEST	   (RECLAIM_AGES - 2u)
#define RACE_RUN   64u

#define STAY 1000u /* pages, in chunks that have these alone but for the first */

static struct vm {
	struct gmem *g;
	struct gmem_notifier n;
	struct reclaim_target target;
} wide, other;
static u64 now_ns, before;
static bool racing; /* who looks at the second run of chunk 1 is overtaken */

static void *take_one_batch(void *arg)
{
	struct reclaim_effort e = {.want = RACE_RUN, .tries = 512, .looks = BIT(18)};

	(void)arg;
	reclaim_take(&e, 1);
	assert_int_equal(e.freed, RACE_RUN);
	return NULL;
}

/* The first page of each chunk is used all the time. */
static u64 notify(struct gmem_notifier *n, struct gmem *g, enum gmem_event event, u64 first,
		  u64 pages, u64 *young)
{
	pthread_t thread;

	for (u64 i = 0; event == GMEM_EVENT_AGE && young && i < pages; i++) {
		if ((first + i) % GMEM_LARGE_PAGES == 0)
			young[i / 64] |= BIT(i % 64);
	}
	if (event == GMEM_EVENT_AGE && racing && first == GMEM_LARGE_PAGES + 2 * RACE_RUN) {
		racing = false;
		assert_int_equal(pthread_create(&thread, NULL, take_one_batch, NULL), 0);
		pthread_join(thread, NULL);
	}
	return 0;
}

static u64 *page(const struct vm *vm, u64 index, bool write)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(vm->g, index, write, &pfn), 0);
	return pfn_to_virt(pfn);
}

static void fill(const struct vm *vm, u64 index, u64 seed, bool packs)
{
	u64 *p = page(vm, index, true), random = seed + 7;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = packs ? seed + 1 + i % 8 : random_next(&random);
}

static void make(struct vm *vm, u64 pages, u32 shares)
{
	const struct reclaim_terms terms = {.max = ~0ull, .shares = shares};

	memset(vm, 0, sizeof(*vm));
	assert_int_equal(gmem_create(pages, &vm->g), 0);
	reclaim_add(&vm->target, vm->g, &terms);
}

static int setup(void **state)
{
	const struct reclaim_options options = {.tax = 75};

	before = start(MIB(48));
	assert_int_equal(reclaim_init(&options), 0);
	before = free_now();
	watermarks.low = watermarks.high = 1u << 20; /* memory is short for whoever asks */
	watermarks.min = 1;
	make(&wide, CHUNKS * GMEM_LARGE_PAGES, 1);
	wide.n.notify = notify;
	gmem_notifier_add(wide.g, &wide.n);
	other.g = NULL;
	for (u64 c = 0; c < CHUNKS; c++)
		fill(&wide, c * GMEM_LARGE_PAGES, c, true);
	return 0;
}

static int teardown(void **state)
{
	reclaim_remove(&wide.target);
	gmem_notifier_remove(wide.g, &wide.n);
	gmem_unref(wide.g);
	if (other.g) {
		reclaim_remove(&other.target);
		gmem_unref(other.g);
	}
	swap_detach();
	assert_int_equal(free_now(), before);
	memset(&watermarks, 0, sizeof(watermarks));
	hosted_clock_free();
	return 0;
}

/* Rounds in which nobody needs memory. */
static void pass_time(u32 rounds)
{
	for (u32 i = 0; i < rounds; i++) {
		struct reclaim_effort e = {.ages = 2 * CHUNKS};

		hosted_clock_set(now_ns += 1000000000);
		assert_true(reclaim_age(&e));
	}
}

static u64 rounds(void)
{
	return __atomic_load_n(&reclaim.stats.rounds, __ATOMIC_RELAXED);
}

/* Of a VM that pays more for its pages, which go only where the wide one has none. */
static void others_go(void)
{
	u64 rounds_before = rounds();

	make(&other, COLD, 1000000);
	for (u64 i = 0; i < COLD; i++)
		fill(&other, i, i, true);
	for (u32 i = 0; i < EFFORTS && other.g->resident; i++) {
		hosted_clock_set(now_ns += 50000000);
		assert_true(reclaim_help(NULL, 0));
	}
	assert_int_equal(other.g->resident, 0);
	assert_true(rounds() > rounds_before);
}

static void old_pages(bool packs)
{
	for (u64 i = 1; i <= OLD; i++)
		fill(&wide, i, i, packs);
	pass_time(20);
	assert_int_equal(wide.target.in[0].by_age[OLDEST], OLD);
}

static void dropped(void **state)
{
	u64 done;

	old_pages(true);
	assert_int_equal(gmem_drop_range(wide.g, 1, OLD, &done), 0);
	others_go();
}

/* Most are there. */
static void one_dropped(void **state)
{
	u64 done;

	old_pages(true);
	assert_int_equal(gmem_drop_range(wide.g, 1, 1, &done), 0);
	others_go();
}

/* Several have one frame until they are written. */
static void shared_and_written(void **state)
{
	struct gmem_taken t = {0};
	u64 marked[2] = {~1ull, BIT(OLD + 1 - 64) - 1};

	gmem_set_share_group(wide.g, 1);
	for (u64 i = 1; i <= OLD; i++)
		fill(&wide, i, 4711, true);
	gmem_take(wide.g, 0, OLD + 1, marked, &t);
	assert_int_equal(t.packed, OLD);
	for (u64 i = 1; i <= OLD; i++)
		(void)page(&wide, i, false);
	pass_time(20);
	assert_int_equal(wide.target.in[0].by_age[OLDEST], OLD);
	for (u64 i = 1; i <= OLD; i++)
		fill(&wide, i, i, true);
	others_go();
}

static void attach_disk(u64 blocks)
{
	fake_disk_init(blocks);
	assert_int_equal(swap_attach(&fake_disk, blocks, 4711), 0);
}

/* What does not pack goes as long as there is a disk that takes it. */
static void disk_is_full(void **state)
{
	attach_disk(OLD / 2);
	old_pages(false);
	others_go();
}

static void disk_is_given_up(void **state)
{
	attach_disk(4 * OLD);
	old_pages(false);
	fake_disk_fail(0, 1);
	others_go();
	assert_int_equal(wide.g->in_state[GMEM_SWAPPED], 0);
}

/* It takes none for long: others' pages need it not. */
static void disk_hangs(void **state)
{
	attach_disk(4 * OLD);
	old_pages(false);
	fake_disk_hold(true);
	others_go();
	while (fake_disk_do(NULL))
		;
}

/* A page is taken after it was looked at, and before that was counted. */
static void taken_before_it_is_counted(void **state)
{
	const u64 first = GMEM_LARGE_PAGES;

	for (u64 i = 1; i <= 10; i++)
		fill(&wide, i, i, true);
	for (u64 i = 0; i < RACE_RUN; i++) {
		fill(&wide, first + i + 1, i, true);
		fill(&wide, first + 2 * RACE_RUN + i, i, true);
	}
	pass_time(6);
	assert_int_equal(wide.target.in[0].by_age[OLDEST], 10 + 2 * RACE_RUN);
	wide.target.in[0].take_next = 1;
	racing = true;
	pass_time(1);
	assert_false(racing);
	assert_int_equal(wide.target.in[0].by_age[OLDEST], 10 + RACE_RUN);
	others_go();
}

/* Others' pages do not go for it, either, while the VM has younger ones that pay less. */
static void younger_ones_are_found(void **state)
{
	const u64 last = (CHUNKS - 1) * GMEM_LARGE_PAGES;
	u64 resident, done;

	old_pages(true);
	for (u64 i = 1; i <= COLD; i++)
		fill(&wide, last + i, i, true);
	make(&other, PAGES_MANY, 1000000);
	for (u64 i = 0; i < PAGES_MANY; i++)
		fill(&other, i, i, true);
	pass_time(2);
	assert_int_equal(gmem_drop_range(wide.g, 1, OLD, &done), 0);
	wide.target.in[0].take_next = 0;
	resident = wide.g->resident;
	for (u32 i = 0; i < EFFORTS && wide.g->resident == resident; i++) {
		hosted_clock_set(now_ns += 50000000);
		assert_true(reclaim_help(NULL, 0));
	}
	assert_true(other.g->resident > PAGES_MANY / 2);
}

/* A page that stays does not let those behind it be forgotten, where there is one chunk. */
static void one_of_a_batch_stays(void **state)
{
	const struct reclaim_terms terms = wide.target.terms;
	s64 left;
	pfn_t pfn;

	make(&other, GMEM_LARGE_PAGES, 1);
	for (u64 i = 0; i < GMEM_LARGE_PAGES; i++)
		fill(&other, i, i, true);
	pass_time(20);
	assert_int_equal(other.target.in[0].by_age[OLDEST], GMEM_LARGE_PAGES);
	assert_int_equal(gmem_pin(other.g, 5, false, &pfn), 0);
	reclaim_remove(&wide.target);
	(void)reclaim_help(NULL, 0);
	left = other.target.in[0].by_age[OLDEST];
	reclaim_add(&wide.target, wide.g, &terms);
	gmem_unpin(other.g, 5, pfn, false);
	assert_in_range(left, GMEM_LARGE_PAGES / 2, GMEM_LARGE_PAGES - 60);
}

/* Pages that are old and cannot go are not to keep those behind them. */
static void pinned_in_front(void **state)
{
	pfn_t pfns[OLD];

	old_pages(true);
	for (u64 i = 1; i < OLD; i++)
		assert_int_equal(gmem_pin(wide.g, i, false, &pfns[i]), 0);
	for (u32 i = 0; i < 3; i++) {
		hosted_clock_set(now_ns += 50000000);
		(void)reclaim_help(NULL, 0);
	}
	assert_int_equal(gmem_entry_state(gmem_entry(wide.g, OLD)), GMEM_PACKED);
	others_go();
	for (u64 i = 1; i < OLD; i++)
		gmem_unpin(wide.g, i, pfns[i], false);
}

static u64 stays(u64 i)
{
	return i / 500 * GMEM_LARGE_PAGES + 1 + i % 500;
}

/* And many of them none of another VM's, of which some go in each effort. */
static void many_that_stay(void **state)
{
	static pfn_t pfns[STAY];
	u64 resident[3];

	for (u64 i = 0; i < STAY; i++)
		fill(&wide, stays(i), i, true);
	make(&other, COLD, 1000000);
	for (u64 i = 0; i < COLD; i++)
		fill(&other, i, i, true);
	pass_time(20);
	for (u64 i = 0; i < STAY; i++)
		assert_int_equal(gmem_pin(wide.g, stays(i), false, &pfns[i]), 0);
	for (u32 i = 0; i < ARRAY_SIZE(resident); i++) {
		hosted_clock_set(now_ns += 50000000);
		(void)reclaim_help(NULL, 0);
		resident[i] = other.g->resident;
	}
	for (u64 i = 0; i < STAY; i++)
		gmem_unpin(wide.g, stays(i), pfns[i], false);
	assert_true(resident[0] < COLD);
	assert_true(resident[1] < resident[0]);
	assert_true(resident[2] < resident[1]);
}

#define STALE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STALE(dropped),
		STALE(one_dropped),
		STALE(shared_and_written),
		STALE(disk_is_full),
		STALE(disk_is_given_up),
		STALE(disk_hangs),
		STALE(taken_before_it_is_counted),
		STALE(younger_ones_are_found),
		STALE(one_of_a_batch_stays),
		STALE(pinned_in_front),
		STALE(many_that_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
