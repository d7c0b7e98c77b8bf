/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem @reclaim tests/unit/mmu/fixture.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * A VM ends while others take its pages: cells of the table of states and events in docs/memory.md. Who
 * takes is stopped at each of its points in turn, for all that the end does, and the end at some of its own.
 * Of its vCPUs none runs any more. All that it had comes back, and what another VM has of it, too, stays.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/reclaim_private.h"
#include "mem/share.h"
#include "mem/swap.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mmu/fixture.h"

#define BASE   0x140u /* gfn of the slot */
#define PAGES  64u
#define WORDS  (PAGE_SIZE / sizeof(u64))
#define BLOCKS 64u

#define STOPS 150u /* of each of the two, at most: it has up to some thousand points */

enum {
	TAKES, /* pages of any VM */
	ENDS,  /* the VM */
	DISK,  /* does what it is asked for, until both have ended */
	JOBS
};

struct cell {
	u64 (*word)(u32 page, u32 i); /* what the pages hold */
	u32 pages;
	bool others; /* has the first of them, too */
	void (*prepare)(void);
	enum gmem_state from; /* theirs, before */
	void (*take)(void);
};

static const struct reclaim_terms terms = {.max = ~0ull, .shares = 100};
static struct gmem *ram, *other;
static struct reclaim_target target;
static const struct cell *cell;
static u32 stopped; /* which of the two */
/* atomic */
static bool begun; /* what that does */
static u32 ended;  /* of the two */

static u64 packs(u32 page, u32 i)
{
	return page + 1 + i % 7;
}

/* To half a page: a few to a span. */
static u64 packs_to_half(u32 page, u32 i)
{
	static u64 random;

	if (i == 0)
		random = page + 1;
	return i % 2 ? 0x1111 : random_next(&random);
}

static u64 does_not_pack(u32 page, u32 i)
{
	static u64 random;

	if (i == 0)
		random = 4711 + page;
	return random_next(&random);
}

static void fill(struct gmem *g, u32 page)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, page, true, &pfn), 0);
	for (u32 i = 0; i < WORDS; i++)
		((u64 *)pfn_to_virt(pfn))[i] = cell->word(page, i);
}

static void take_of(struct gmem *g, u64 pages)
{
	u64 marked = pages == 64 ? ~0ull : BIT(pages) - 1;
	struct gmem_taken t = {0};

	gmem_take(g, 0, pages, &marked, &t);
}

static void do_requests(void)
{
	while (fake_disk_do(NULL))
		;
}

/* --- What the cells begin with --- */

static void nothing(void)
{
}

static void put_away(void)
{
	take_of(ram, cell->pages);
	do_requests();
}

/* Put away, and read again. */
static void show_all(void)
{
	put_away();
	for (u64 page = 0; page < cell->pages; page++)
		assert_int_equal(touch(&vcpu, GPA((BASE + page) << 12), MMU_READ), 0);
}

/* One in four is left, in spans of which others have room for it. */
static void thin_out(void)
{
	put_away();
	for (u64 page = 0; page < PAGES; page++) {
		if (page % 4)
			assert_int_equal(gmem_drop(ram, page), 0);
	}
}

/* --- What is done to them --- */

static void take_some(void)
{
	(void)reclaim_help(NULL, 0);
}

static void send_packed(void)
{
	const struct reclaim_effort e = {.want = 8};

	for (u32 i = 0; i < 8; i++)
		reclaim_write_packed(&e);
}

static void compact(void)
{
	(void)pool_compact(~0u);
}

static u64 counted(const struct stat_group *group, const char *name)
{
	for (u32 i = 0; i < group->count; i++) {
		if (!strcmp(group->descs[i].name, name))
			return group->read(group->owner, i);
	}
	fail_msg("no counter %s", name);
	return 0;
}

/* Pages, or what they packed to, that went somewhere so far. */
static u64 gone(void)
{
	struct pool_stats pool;
	struct swap_stats s;

	pool_get_stats(&pool);
	swap_get_stats(&s);
	return counted(&reclaim_stat_group, "packed") + s.put_back + s.writes + s.packed +
	       pool.moved;
}

static void end_it(void)
{
	reclaim_remove(&target);
	mmu_vcpu_destroy(&vcpu);
	mmu_vm_destroy(&vm);
	gmem_unref(ram);
}

/* --- A run --- */

static void count_points(void (*what)(void))
{
	__atomic_store_n(&begun, true, __ATOMIC_RELEASE);
	hosted_count_points();
	what();
	hosted_count_no_more();
	__atomic_fetch_add(&ended, 1, __ATOMIC_RELEASE);
}

/* Who is to be stopped is first. */
static void run_job(u32 job, void (*what)(void))
{
	while (stopped != job && !__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
		hosted_stand(1);
	count_points(what);
}

static void takes(void *arg)
{
	run_job(TAKES, cell->take);
}

static void ends(void *arg)
{
	run_job(ENDS, end_it);
}

static void disk(void *arg)
{
	while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < DISK) {
		if (!fake_disk_do(NULL))
			hosted_stand(1);
	}
}

static void begin(void)
{
	assert_int_equal(mmu_vm_create(&vm, MMU_AUTO), 0);
	vm.fault_around = 1;
	mmu_vcpu_init(&vcpu, &vm);
	assert_int_equal(mmu_vcpu_topup(&vcpu), 0);
	ram = object_new(PAGES);
	other = object_new(1);
	gmem_set_share_group(ram, 1);
	gmem_set_share_group(other, 1);
	for (u32 page = 0; page < cell->pages; page++)
		fill(ram, page);
	if (cell->others) {
		fill(other, 0);
		take_of(other, 1);
		do_requests();
	}
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	cell->prepare();
	assert_int_equal(gmem_entry_state(gmem_entry(ram, 0)), cell->from);
	reclaim_add(&target, ram, &terms);
}

static void check_other(void)
{
	pfn_t pfn;

	if (!cell->others)
		return;
	fake_disk_hold_writes();
	assert_int_equal(gmem_get_page(other, 0, false, &pfn), 0);
	for (u32 i = 0; i < WORDS; i++)
		assert_int_equal(((const u64 *)pfn_to_virt(pfn))[i], cell->word(0, i));
}

static void check_all_came_back(u64 frames)
{
	struct pool_stats pool;
	struct share_stats shared;
	struct swap_stats s;

	rcu_barrier();
	pool_get_stats(&pool);
	share_get_stats(&shared);
	swap_get_stats(&s);
	assert_int_equal(pool.objects, 0);
	assert_int_equal(shared.frames, 0);
	assert_int_equal(s.used + s.kept + s.writing, 0);
	assert_int_equal(frames_free(), frames);
}

/* At the point the one is stopped. True: a page went somewhere. */
static bool run_to(u32 point)
{
	const struct hosted_job jobs[JOBS] = {
		[TAKES] = {"take", takes, NULL},
		[ENDS] = {"end", ends, NULL},
		[DISK] = {"disk", disk, NULL},
	};
	struct hosted_way way = {.directed = true, .period = 1, .stop = {{stopped, point}}};
	u64 frames = frames_free(), before;

	begin();
	before = gone();
	begun = false;
	ended = 0;
	hosted_run(jobs, JOBS, &way);
	check_other();
	gmem_unref(other);
	check_all_came_back(frames);
	return gone() != before;
}

static void stop_at_points(u32 who)
{
	u32 came[2] = {0}, step;

	stopped = who;
	came[run_to(~0u)]++;
	step = hosted_points_counted(who) / STOPS + 1;
	for (u32 point = 1;; point += step) {
		came[run_to(point)]++;
		if (hosted_points_counted(who) < point)
			break;
	}
	assert_true(came[true]);
	/* Who takes pages and is stopped before it has found any finds none. */
	if (who == TAKES && cell->take != compact)
		assert_true(came[false]);
}

static void at_each_point(const struct cell *c)
{
	cell = c;
	stop_at_points(TAKES);
	stop_at_points(ENDS);
}

static int setup(void **state)
{
	const struct reclaim_options options = {.tax = 75};

	machine_start(MIB(16));
	assert_int_equal(reclaim_init(&options), 0);
	/* Memory is short for whoever asks, and nothing comes ahead from the disk. */
	watermarks.low = watermarks.high = 1u << 20;
	watermarks.min = 1;
	fake_disk_init(BLOCKS);
	assert_int_equal(swap_attach(&fake_disk, BLOCKS, 4711), 0);
	fake_disk_hold_writes();
	return 0;
}

static int teardown(void **state)
{
	swap_detach();
	memset(&watermarks, 0, sizeof(watermarks));
	assert_int_equal(hosted_locks_held(), 0);
	hosted_clock_free();
	return 0;
}

static void got_page_taken(void **state)
{
	at_each_point(&(const struct cell){packs, 2, false, nothing, GMEM_GOT_PAGE, take_some});
	at_each_point(
		&(const struct cell){does_not_pack, 2, false, nothing, GMEM_GOT_PAGE, take_some});
}

static void kept_taken(void **state)
{
	at_each_point(
		&(const struct cell){does_not_pack, 2, false, show_all, GMEM_GOT_PAGE, take_some});
}

/* Packed, too, and another has the frame or reads later on. */
static void shared_taken(void **state)
{
	at_each_point(&(const struct cell){packs, 2, true, show_all, GMEM_SHARED, take_some});
}

static void packed_to_the_disk(void **state)
{
	at_each_point(&(const struct cell){packs, 2, false, put_away, GMEM_PACKED, send_packed});
}

/* What it packed to moves. */
static void packed_moves(void **state)
{
	at_each_point(
		&(const struct cell){packs_to_half, PAGES, false, thin_out, GMEM_PACKED, compact});
	at_each_point(
		&(const struct cell){packs_to_half, PAGES, true, thin_out, GMEM_PACKED, compact});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(got_page_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(kept_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(packed_to_the_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(packed_moves, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
