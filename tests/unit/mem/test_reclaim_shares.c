/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * Whose pages go: several objects with shares, promises and bounds of their own. No guest maps
 * anything: what is said to be used is used.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/reclaim_private.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define VMS   3
#define PAGES 2048u
#define ANY   ~0ull

static struct vm {
	struct gmem *g;
	struct gmem_notifier n;
	struct reclaim_target target;
	u64 used; /* the first so many are used all the time */
} vms[VMS];
static u64 now_ns, before;
static u32 splits;

static u64 notify(struct gmem_notifier *n, struct gmem *g, enum gmem_event event, u64 first,
		  u64 pages, u64 *young)
{
	const struct vm *vm = container_of(n, struct vm, n);

	splits += event == GMEM_EVENT_SPLIT;
	for (u64 i = 0; event == GMEM_EVENT_AGE && young && i < pages; i++) {
		if (first + i < vm->used)
			young[i / 64] |= BIT(i % 64);
	}
	return 0;
}

static void touch(const struct vm *vm, u64 index, bool packs)
{
	u64 random = index + 7;
	pfn_t pfn;
	u64 *p;

	assert_int_equal(gmem_get_page(vm->g, index, true, &pfn), 0);
	p = pfn_to_virt(pfn);
	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = packs ? index + 1 + i % 8 : random_next(&random);
}

static void make_vm(u32 i, u64 pages, const struct reclaim_terms *terms)
{
	struct vm *vm = &vms[i];

	memset(vm, 0, sizeof(*vm));
	assert_int_equal(gmem_create(PAGES, &vm->g), 0);
	vm->n.notify = notify;
	gmem_notifier_add(vm->g, &vm->n);
	reclaim_add(&vm->target, vm->g, terms);
	for (u64 p = 0; p < pages; p++)
		touch(vm, p, true);
}

static int setup(void **state)
{
	const struct reclaim_options options = {.tax = 75};

	before = start(MIB(48));
	memset(vms, 0, sizeof(vms));
	assert_int_equal(reclaim_init(&options), 0);
	before = free_now();
	watermarks.low = watermarks.high = 1u << 20; /* memory is short for whoever asks */
	watermarks.min = 1;
	return 0;
}

static int teardown(void **state)
{
	for (u32 i = 0; i < VMS; i++) {
		if (!vms[i].g)
			continue;
		reclaim_remove(&vms[i].target);
		gmem_notifier_remove(vms[i].g, &vms[i].n);
		gmem_unref(vms[i].g);
	}
	assert_int_equal(free_now(), before);
	memset(&watermarks, 0, sizeof(watermarks));
	hosted_clock_free();
	return 0;
}

static bool help(struct reclaim_target *t)
{
	hosted_clock_set(now_ns += 50000000);
	return reclaim_help(t, 0);
}

static u64 resident(u32 i)
{
	return __atomic_load_n(&vms[i].g->resident, __ATOMIC_RELAXED);
}

static void help_until_left(u64 pages)
{
	for (u32 i = 0; resident(0) + resident(1) > pages; i++) {
		assert_true(help(NULL));
		assert_true(i < 1000);
	}
}

/* Rounds in which nobody needs memory. */
static void pass_time(u32 rounds)
{
	for (u32 i = 0; i < rounds; i++) {
		struct reclaim_effort e = {.ages = 1000};

		hosted_clock_set(now_ns += 1000000000);
		(void)reclaim_age(&e);
	}
}

static void nobody(void)
{
}

static void by_shares(void **state)
{
	make_vm(0, 1500, &(struct reclaim_terms){.max = ANY, .shares = 100});
	make_vm(1, 1500, &(struct reclaim_terms){.max = ANY, .shares = 300});
	vms[0].used = vms[1].used = PAGES;
	help_until_left(1200);
	/* 1 to 3, of frames and of what the packed ones take: 64 bytes or so each. */
	assert_in_range(resident(0), 200, 400);
	assert_in_range(resident(1), 800, 1000);
}

static void idle_memory_is_taxed(void **state)
{
	make_vm(0, 1500, &(struct reclaim_terms){.max = ANY, .shares = 100});
	make_vm(1, 1500, &(struct reclaim_terms){.max = ANY, .shares = 100});
	vms[0].used = 10;
	vms[1].used = 1000;
	pass_time(60);
	assert_int_equal(vms[0].target.working_set, 10);
	assert_int_equal(vms[1].target.working_set, 1000);
	help_until_left(1600);
	/* U + 4 (P - U) of one is as much as of the other: 428 and 1172. */
	assert_in_range(resident(0), 380, 480);
	for (u64 i = 0; i < 10; i++) /* and of its pages the used ones are the last */
		assert_int_equal(gmem_entry_state(gmem_entry(vms[0].g, i)), GMEM_GOT_PAGE);
	for (u64 i = 0; i < 1000; i++)
		assert_int_equal(gmem_entry_state(gmem_entry(vms[1].g, i)), GMEM_GOT_PAGE);
}

static void promises_are_kept(void **state)
{
	make_vm(0, 500, &(struct reclaim_terms){.min = 321, .max = ANY, .shares = 1});
	make_vm(1, 500, &(struct reclaim_terms){.max = ANY, .shares = 1000000});
	for (u32 i = 0; i < 200 && help(NULL); i++)
		assert_true(resident(0) >= 321);
	assert_int_equal(resident(0), 321);
	assert_int_equal(resident(1), 0);
	assert_false(help(NULL));
}

/* A VM that has all it may have makes room itself, though memory is there; no other gives for it. */
static void bound_to(u64 min)
{
	pfn_t pfn;

	watermarks.low = watermarks.high = 1; /* enough for all */
	make_vm(0, 100, &(struct reclaim_terms){.min = min, .max = 100, .shares = 1});
	make_vm(1, 500, &(struct reclaim_terms){.max = ANY, .shares = 1});
	assert_int_equal(gmem_get_page(vms[0].g, 100, true, &pfn), ERR_NOMEM);
	assert_true(help(&vms[0].target));
	assert_in_range(resident(0), 36, 99);
	assert_int_equal(resident(1), 500);
	assert_int_equal(gmem_get_page(vms[0].g, 100, true, &pfn), 0);
	/* Where nothing of its own goes it waits. */
	for (u64 i = 0; resident(0) < 100; i++)
		touch(&vms[0], 1000 + i, false);
	while (help(&vms[0].target)) {
		for (u64 i = 0; resident(0) < 100; i++)
			touch(&vms[0], 1200 + i, false);
	}
	assert_int_equal(resident(1), 500);
}

static void bound_to_max(void **state)
{
	bound_to(0);
}

/* What it was promised is what others leave to it. */
static void bound_to_what_is_promised(void **state)
{
	bound_to(100);
}

/* R38: below min guests get nothing, but the pool grows: memory is made. */
static void the_pool_grows_below_min(void **state)
{
	struct pool_stats pool;
	pfn_t pfn;

	make_vm(0, 600, &(struct reclaim_terms){.max = ANY, .shares = 1});
	watermarks.min = 1u << 20;
	assert_int_equal(gmem_get_page(vms[0].g, 700, true, &pfn), ERR_NOMEM);
	assert_true(help(&vms[0].target));
	pool_get_stats(&pool);
	assert_int_equal(pool.objects, 64);
	assert_true(pool.frames > 0);
	assert_int_equal(gmem_get_page(vms[0].g, 700, true, &pfn), ERR_NOMEM);
	watermarks.min = 1;
	assert_int_equal(vms[0].g->in_state[GMEM_PACKED], 64);
	assert_in_range(vms[0].g->packed_bytes, 64, 64 * 200);
	for (u64 i = 0; i < 600; i++)
		assert_int_equal(gmem_get_page(vms[0].g, i, true, &pfn), 0);
	assert_int_equal(vms[0].g->in_state[GMEM_PACKED], 0);
	assert_int_equal(vms[0].g->packed_bytes, 0);
}

/* A page that was taken comes back where a first touch is refused, down to half of min. */
static void comes_back_below_min(void **state)
{
	pfn_t pfn;

	make_vm(0, 600, &(struct reclaim_terms){.max = ANY, .shares = 1});
	assert_true(help(&vms[0].target));
	assert_int_equal(vms[0].g->in_state[GMEM_PACKED], 64);
	watermarks.min = frame_free_estimate() + 100;
	assert_int_equal(gmem_get_page(vms[0].g, 700, true, &pfn), ERR_NOMEM);
	for (u64 i = 0; i < 600; i++)
		assert_int_equal(gmem_get_page(vms[0].g, i, true, &pfn), 0);
	assert_true(help(&vms[0].target));
	watermarks.min = 2 * frame_free_estimate() + 2;
	for (u64 i = 0; i < 600; i++) {
		if (gmem_entry_state(gmem_entry(vms[0].g, i)) == GMEM_PACKED)
			assert_int_equal(gmem_get_page(vms[0].g, i, true, &pfn), ERR_NOMEM);
	}
	watermarks.min = 1;
}

/* Who has less than was promised to him gets it where others get nothing. */
static void promises_come_from_the_reserve(void **state)
{
	pfn_t pfn;

	make_vm(0, 10, &(struct reclaim_terms){.min = 12, .max = ANY, .shares = 1});
	watermarks.min = frame_free_estimate() + 100;
	assert_int_equal(gmem_get_page(vms[0].g, 10, true, &pfn), 0);
	assert_int_equal(gmem_get_page(vms[0].g, 11, true, &pfn), 0);
	assert_int_equal(gmem_get_page(vms[0].g, 12, true, &pfn), ERR_NOMEM);
	watermarks.min = 1;
}

/* What was promised and not touched yet is kept, also from those whose pages do not go again. */
static void promises_are_kept_free(void **state)
{
	u64 i = 0, j = 0;
	pfn_t pfn;

	make_vm(0, 0, &(struct reclaim_terms){.min = 1500, .max = ANY, .shares = 100});
	make_vm(1, 0, &(struct reclaim_terms){.max = ANY, .shares = 100});
	watermarks.min = free_now() - 2500;
	watermarks.low = watermarks.high = watermarks.min + 1;
	watermarks.wake = nobody;
	while (i < PAGES && gmem_get_page(vms[1].g, i, true, &pfn) == 0)
		touch(&vms[1], i++, false);
	assert_in_range(i, 900, 1000);
	for (u32 n = 0; n < 100; n++)
		(void)help(NULL);
	for (; j < 1500; j++)
		assert_int_equal(gmem_get_page(vms[0].g, j, true, &pfn), 0);
	/* It has what it was promised, and is one like others. */
	(void)help(NULL);
	assert_int_equal(watermarks.owed, 0);
	for (; j < PAGES && gmem_get_page(vms[0].g, j, true, &pfn) == 0; j++)
		;
	assert_in_range(j, 1500, 1600);
	assert_int_equal(gmem_drop_range(vms[0].g, 0, 1000, NULL), 0);
	(void)help(NULL);
	assert_in_range(watermarks.owed, 900, 1000);
}

static pfn_t ballast[MIB(48) / PAGE_SIZE];
static u32 ballast_count;

/* So many frames are left. */
static void leave_free(u64 frames)
{
	while (frame_free_estimate() > frames)
		assert_int_equal(frame_alloc(0, 0, &ballast[ballast_count++]), 0);
}

static void give_ballast_back(void)
{
	while (ballast_count)
		frame_free(ballast[--ballast_count], 0);
}

/*
 * From the moment on that it is given back, too: others that come before anybody counts get none of
 * it.
 */
static void promises_are_kept_when_given_back(void **state)
{
	u64 i = 0;
	pfn_t pfn;

	make_vm(0, 0, &(struct reclaim_terms){.min = 1500, .max = ANY, .shares = 100});
	make_vm(1, 0, &(struct reclaim_terms){.max = ANY, .shares = 100});
	for (u64 j = 0; j < 1600; j++)
		touch(&vms[0], j, false);
	leave_free(500);
	watermarks = (struct watermarks){.min = 10, .low = 20, .high = 30, .wake = nobody};
	(void)help(NULL);
	assert_int_equal(watermarks.owed, 0);
	/* What it has beyond it is free for all. */
	assert_int_equal(gmem_drop_range(vms[0].g, 0, 50, NULL), 0);
	assert_int_equal(watermarks.owed, 0);
	assert_int_equal(gmem_drop_range(vms[0].g, 50, 1050, NULL), 0);
	assert_int_equal(watermarks.owed, 1000);
	assert_int_equal(gmem_drop_range(vms[0].g, 0, 1100, NULL), 0);
	assert_int_equal(watermarks.owed, 1000);
	/* What it gets again and gives back again is not kept for it once more each time. */
	for (u32 round = 0; round < 5; round++) {
		for (u64 j = 0; j < 100; j++)
			touch(&vms[0], j, false);
		assert_int_equal(gmem_drop_range(vms[0].g, 0, 100, NULL), 0);
		assert_int_equal(watermarks.owed, 1000);
	}
	while (i < PAGES && gmem_get_page(vms[1].g, i, true, &pfn) == 0)
		touch(&vms[1], i++, false);
	assert_in_range(i, 400, 700);
	for (u64 j = 0; j < 1000; j++)
		assert_int_equal(gmem_get_page(vms[0].g, j, true, &pfn), 0);
	(void)help(NULL);
	assert_int_equal(watermarks.owed, 0);
	/* Nothing is promised to what is nobody's any more. */
	reclaim_remove(&vms[0].target);
	assert_int_equal(gmem_drop_range(vms[0].g, 0, PAGES, NULL), 0);
	assert_int_equal(watermarks.owed, 0);
	give_ballast_back();
}

/* A few frames that nobody can have are no help: who waits for more is told that there is nothing. */
static void a_trickle_is_no_help(void **state)
{
	make_vm(0, 7, &(struct reclaim_terms){.max = ANY, .shares = 1});
	watermarks.min = free_now() + 100;
	assert_false(help(NULL));
	assert_int_equal(resident(0), 0);
	for (u64 i = 0; i < 7; i++)
		touch(&vms[0], i, true);
	watermarks.min = frame_free_estimate() - 20;
	assert_true(help(NULL));
	for (u64 i = 0; i < 7; i++)
		touch(&vms[0], i, true);
	watermarks.min = 1;
}

#define CPUS 6u

/* What CPUs have at hand is fetched before it is said that there is nothing. */
static void what_cpus_keep(void **state)
{
	u64 estimate;
	pfn_t pfn;

	make_vm(0, 2, &(struct reclaim_terms){.min = 2, .max = ANY, .shares = 1});
	leave_free(2000);
	for (u32 cpu = 0; cpu < CPUS; cpu++) {
		hosted_cpu_set(cpu);
		for (u32 i = 0; i < 64; i++)
			frame_free(ballast[--ballast_count], 0);
	}
	hosted_cpu_set(0);
	estimate = frame_free_estimate();
	watermarks.wake = nobody;
	watermarks.min = estimate + 200;
	assert_int_equal(gmem_get_page(vms[0].g, 2, true, &pfn), ERR_NOMEM);
	assert_true(help(NULL));
	assert_true(frame_free_estimate() > estimate + 200);
	assert_int_equal(gmem_get_page(vms[0].g, 2, true, &pfn), 0);
	assert_int_equal(gmem_drop(vms[0].g, 2), 0);
	/* Not what does not help: it would be found again and again. */
	for (u32 i = 0; i < 32; i++)
		frame_free(ballast[--ballast_count], 0);
	watermarks.min = free_now() + 1;
	assert_false(help(NULL));
	watermarks.min = 1;
	give_ballast_back();
}

/* What there is to promise does not change with what is in use. */
static void room(void **state)
{
	struct reclaim_room r;

	reclaim_get_room(&r);
	assert_int_equal(r.total, before - watermarks.min);
	assert_int_equal(r.promised, 0);
	make_vm(0, 700, &(struct reclaim_terms){.max = ANY, .shares = 1, .costs = 300});
	make_vm(1, 200, &(struct reclaim_terms){.max = ANY, .shares = 1, .costs = 11});
	reclaim_get_room(&r);
	assert_int_equal(r.total, before - watermarks.min);
	assert_int_equal(r.promised, 311);
	reclaim_remove(&vms[0].target);
	reclaim_get_room(&r);
	assert_int_equal(r.promised, 11);
}

/*
 * What was taken since the beginning is not there for VMs, but guests' pages, which count for
 * themselves.
 */
static void room_beside_the_swap_disk(void **state)
{
	struct reclaim_room r;

	for (; ballast_count < 150; ballast_count++)
		assert_int_equal(
			frame_alloc(0, ballast_count < 100 ? FRAME_FOR(SWAP) : FRAME_FOR(GUEST),
				    &ballast[ballast_count]),
			0);
	reclaim_memory_is_known();
	reclaim_get_room(&r);
	assert_int_equal(r.total, before - 100 - watermarks.min);
	give_ballast_back();
}

static u64 pages_aged(void)
{
	return __atomic_load_n(&reclaim.stats.aged, __ATOMIC_RELAXED);
}

/* One that has much to look at does not keep others from being looked at, effort by effort. */
static void efforts_are_bounded(void **state)
{
	struct gmem *wide;
	static struct reclaim_target target;
	struct reclaim_terms terms = {.max = ANY, .shares = 1};
	u32 efforts = 0;

	assert_int_equal(gmem_create(1000 * GMEM_LARGE_PAGES, &wide), 0);
	reclaim_add(&target, wide, &terms);
	for (u64 i = 0; i < 1000; i++) {
		pfn_t pfn;

		assert_int_equal(gmem_get_page(wide, i * GMEM_LARGE_PAGES, true, &pfn), 0);
	}
	make_vm(0, 200, &(struct reclaim_terms){.max = ANY, .shares = 1});
	while (resident(0) == 200) {
		u64 aged = pages_aged();

		assert_true(help(NULL));
		aged = pages_aged() - aged;
		assert_in_range(aged, 0, 63 + 200); /* a page in each 2 MiB but one */
		assert_true(++efforts < 100);
	}
	reclaim_remove(&target);
	gmem_unref(wide);
}

/* Nothing goes: it is said, however much there is to look at, and whoever takes part. */
static void says_that_nothing_goes(void **state)
{
	struct gmem *wide;
	static struct reclaim_target target;
	struct reclaim_terms terms = {.max = ANY, .shares = 1};
	u32 efforts = 0;

	assert_int_equal(gmem_create(1000 * GMEM_LARGE_PAGES, &wide), 0);
	reclaim_add(&target, wide, &terms);
	vms[0].g = wide;
	for (u64 i = 0; i < 1000; i++)
		touch(&vms[0], i * GMEM_LARGE_PAGES, false);
	vms[0].g = NULL;
	while (help(NULL))
		assert_true(++efforts < 200);
	assert_false(help(NULL));
	/* What can be taken is found all the same, and then it is said again. */
	make_vm(0, 200, &(struct reclaim_terms){.max = ANY, .shares = 1});
	for (efforts = 0; resident(0); efforts++) {
		(void)help(NULL);
		assert_true(efforts < 100);
	}
	for (efforts = 0; help(NULL); efforts++)
		assert_true(efforts < 200);
	/* So it is of what has a bound of its own. */
	__atomic_store_n(&wide->resident_max, wide->resident, __ATOMIC_RELAXED);
	for (efforts = 0; help(&target); efforts++)
		assert_true(efforts < 200);
	reclaim_remove(&target);
	gmem_unref(wide);
}

static u32 splits_of_a_round(void)
{
	struct reclaim_effort e = {.ages = 1000, .splits = 4};

	splits = 0;
	hosted_clock_set(now_ns += 1000000000);
	(void)reclaim_age(&e);
	return splits;
}

/* A split takes frames: not the last, which are there for making memory. */
static void no_split_out_of_the_reserve(void **state)
{
	make_vm(0, GMEM_LARGE_PAGES, &(struct reclaim_terms){.max = ANY, .shares = 1});
	vms[0].used = PAGES;
	watermarks.min = 2 * frame_free_estimate() + 2;
	assert_int_equal(splits_of_a_round(), 0);
	watermarks.min = 1;
	assert_int_equal(splits_of_a_round(), 1);
}

static u64 take_old(void)
{
	struct reclaim_effort e = {.want = RECLAIM_BATCH, .tries = 512, .looks = BIT(18)};

	reclaim_take(&e, 1);
	return e.freed;
}

/* A disk that takes no more at the moment: what is old stays known, for when it does again. */
static void old_while_the_disk_is_busy(void **state)
{
	fake_disk_init(PAGES);
	assert_int_equal(swap_attach(&fake_disk, PAGES, 4711), 0);
	fake_disk_hold(true);
	make_vm(0, 0, &(struct reclaim_terms){.max = ANY, .shares = 1});
	for (u64 i = 0; i < 3 * RECLAIM_BATCH; i++)
		touch(&vms[0], i, false);
	pass_time(1);
	for (u32 i = 0; i < 3; i++) {
		assert_int_equal(take_old(), RECLAIM_BATCH);
		assert_int_equal(take_old(), 0);
		while (fake_disk_do(NULL))
			;
	}
	assert_int_equal(resident(0), 0);
	assert_int_equal(gmem_drop_range(vms[0].g, 0, PAGES, NULL), 0);
	swap_detach();
}

static void *write_later(void *arg)
{
	usleep(50000);
	while (fake_disk_do(NULL))
		;
	return NULL;
}

/* Nor does a VM at its max wait in vain while the disk writes what it gave. */
static void at_max_while_the_disk_is_busy(void **state)
{
	pthread_t writer;

	fake_disk_init(PAGES);
	assert_int_equal(swap_attach(&fake_disk, PAGES, 4711), 0);
	fake_disk_hold(true);
	make_vm(0, 0, &(struct reclaim_terms){.max = 100, .shares = 1});
	for (u64 i = 0; i < 100; i++)
		touch(&vms[0], i, false);
	assert_true(help(&vms[0].target));
	for (u64 i = 100; resident(0) < 100; i++)
		touch(&vms[0], i, false);
	pthread_create(&writer, NULL, write_later, NULL);
	assert_true(help(&vms[0].target));
	pthread_join(writer, NULL);
	fake_disk_hold(false);
	assert_true(help(&vms[0].target));
	assert_int_equal(gmem_drop_range(vms[0].g, 0, PAGES, NULL), 0);
	swap_detach();
}

/* More than half of memory free at all times is nothing that guests could live with. */
static void watermarks_that_cannot_be(void **state)
{
	struct frame_stats frames;
	struct reclaim_options o = {.min = 1, .low = 1, .tax = 75};

	frame_get_stats(&frames);
	o.high = frames.total / 2;
	reclaim_set_watermarks(&o);
	assert_int_equal(watermarks.min, 1);
	assert_int_equal(watermarks.high, frames.total / 2);
	o.high++;
	reclaim_set_watermarks(&o);
	assert_true(watermarks.min > 1 && watermarks.min < watermarks.low);
	assert_true(watermarks.low < watermarks.high);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(watermarks_that_cannot_be, setup, teardown),
		cmocka_unit_test_setup_teardown(by_shares, setup, teardown),
		cmocka_unit_test_setup_teardown(idle_memory_is_taxed, setup, teardown),
		cmocka_unit_test_setup_teardown(promises_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(bound_to_max, setup, teardown),
		cmocka_unit_test_setup_teardown(bound_to_what_is_promised, setup, teardown),
		cmocka_unit_test_setup_teardown(the_pool_grows_below_min, setup, teardown),
		cmocka_unit_test_setup_teardown(comes_back_below_min, setup, teardown),
		cmocka_unit_test_setup_teardown(promises_come_from_the_reserve, setup, teardown),
		cmocka_unit_test_setup_teardown(promises_are_kept_free, setup, teardown),
		cmocka_unit_test_setup_teardown(promises_are_kept_when_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_trickle_is_no_help, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cpus_keep, setup, teardown),
		cmocka_unit_test_setup_teardown(room, setup, teardown),
		cmocka_unit_test_setup_teardown(room_beside_the_swap_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(efforts_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(says_that_nothing_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(no_split_out_of_the_reserve, setup, teardown),
		cmocka_unit_test_setup_teardown(old_while_the_disk_is_busy, setup, teardown),
		cmocka_unit_test_setup_teardown(at_max_while_the_disk_is_busy, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
