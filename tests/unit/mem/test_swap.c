/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/*
 * Pages on a disk: each state of a page that is there, or on its way, against each thing that can
 * happen to it (docs/memory.md); errors of the disk; memory that is short. The disk does requests
 * when the test says so.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/reclaim.h"
#include "mem/swap.h"
#include "mem/watermark.h"
#include "smp/timer.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define PAGES	600u
#define BLOCKS	400u
#define WAIT_NS 5000000000ull

static struct gmem *g;
static u64 before;
static struct {
	u32 calls;
	u64 index, block;
	int err;
} lost;

static void note_lost(void *arg, u64 index, u64 block, int err)
{
	assert_ptr_equal(arg, &lost);
	lost.calls++;
	lost.index = index;
	lost.block = block;
	lost.err = err;
}

static int setup(void **state)
{
	const struct reclaim_options options = {.tax = 0};

	before = start(MIB(16));
	assert_int_equal(reclaim_init(&options), 0);
	before = free_now();
	memset(&watermarks, 0, sizeof(watermarks));
	fake_disk_init(BLOCKS);
	assert_int_equal(swap_attach(&fake_disk, BLOCKS, 4711), 0);
	assert_int_equal(gmem_create(PAGES, &g), 0);
	memset(&lost, 0, sizeof(lost));
	gmem_on_lost(g, note_lost, &lost);
	return 0;
}

static struct swap_stats stats_now(void)
{
	struct swap_stats s;

	swap_get_stats(&s);
	return s;
}

static int teardown(void **state)
{
	if (g)
		gmem_unref(g);
	g = NULL;
	assert_int_equal(stats_now().used, 0);
	assert_int_equal(stats_now().writing, 0);
	swap_detach();
	assert_int_equal(free_now(), before);
	return 0;
}

static u8 *page(u64 index)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, true, &pfn), 0);
	return pfn_to_virt(pfn);
}

static void fill(u64 index)
{
	u64 *p = (u64 *)(void *)page(index), random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = random_next(&random);
}

static void verify(u64 index)
{
	const u64 *p = (const u64 *)(void *)page(index);
	u64 random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		assert_int_equal(p[i], random_next(&random));
}

static u64 state_of(u64 index)
{
	return gmem_entry_state(gmem_entry(g, index));
}

static struct gmem_taken take(u64 first, u64 pages)
{
	return take_range(g, first, pages);
}

/* n pages, from 0 on, that are on the disk. */
static void put_on_disk(u64 n)
{
	for (u64 i = 0; i < n; i++)
		fill(i);
	assert_int_equal(take(0, n).writing, n);
	for (u64 i = 0; i < n; i++)
		assert_int_equal(state_of(i), GMEM_SWAPPED);
}

static void do_all(void)
{
	while (fake_disk_do(NULL))
		;
}

/* A thread that touches or drops a page while it is on its way; or lets go of the object. */
struct other {
	pthread_t thread;
	u64 index;
	enum {
		TOUCH,
		DROP,
		UNREF
	} what;
	int err;
	bool ended; /* atomic */
};

static void *other_main(void *arg)
{
	struct other *o = arg;
	pfn_t pfn;

	if (o->what == TOUCH)
		o->err = gmem_get_page(g, o->index, true, &pfn);
	else if (o->what == DROP)
		o->err = gmem_drop(g, o->index);
	else
		gmem_unref(g);
	__atomic_store_n(&o->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

static void other_start(struct other *o, int what, u64 index)
{
	memset(o, 0, sizeof(*o));
	o->what = what;
	o->index = index;
	assert_int_equal(pthread_create(&o->thread, NULL, other_main, o), 0);
}

static bool has_ended(struct other *o)
{
	return __atomic_load_n(&o->ended, __ATOMIC_ACQUIRE);
}

static void wait_wanted(u64 index)
{
	while (!(gmem_entry_load(gmem_entry_find(g, index)) & GMEM_WANTED))
		sched_yield();
}

/* Somebody who waits for a page is so far that only a wake makes him look again. */
static void wait_asleep(void)
{
	bool asleep = false;

	while (!asleep) {
		bool on = wait_lock(&g->busy);

		asleep = !list_empty(&g->busy.waiters);
		wait_unlock(&g->busy, on);
		sched_yield();
	}
}

static void wait_requests(u32 n)
{
	while (fake_disk_waiting() < n)
		sched_yield();
}

/* --- SWAPPED -------------------------------------------------------------------------------- */

static void swapped_touched(void **state)
{
	put_on_disk(3);
	assert_int_equal(g->resident, 0);
	assert_int_equal(stats_now().used, 3);
	for (u64 i = 0; i < 3; i++)
		verify(i);
	/* The two that came ahead might have been read only. */
	assert_int_equal(stats_now().kept, 2);
	assert_int_equal(stats_now().used, 2);
	assert_int_equal(g->fetched, 3);
}

static void swapped_taken(void **state)
{
	put_on_disk(1);
	assert_int_equal(take(0, 1).kept, 1);
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	verify(0);
}

static void swapped_dropped(void **state)
{
	put_on_disk(2);
	assert_int_equal(gmem_drop(g, 0), 0);
	assert_int_equal(state_of(0), GMEM_ABSENT);
	assert_int_equal(stats_now().used, 1);
	assert_int_equal(page(0)[5], 0);
	/* The other goes with the object. */
}

/* It is to be all zero: nothing is read for that. */
static void swapped_zeroed(void **state)
{
	put_on_disk(2);
	assert_true(gmem_drop_stored(g, 0));
	assert_int_equal(state_of(0), GMEM_ABSENT);
	assert_int_equal(stats_now().used, 1);
	assert_false(gmem_drop_stored(g, 0));
	verify(1);
	assert_false(gmem_drop_stored(g, 1)); /* resident */
	assert_false(gmem_drop_stored(g, PAGES));
	assert_int_equal(stats_now().reads, 1);
}

/* --- Being written -------------------------------------------------------------------------- */

static void written_touched(void **state)
{
	struct other o;

	fill(0);
	fake_disk_hold(true);
	assert_int_equal(take(0, 1).writing, 1);
	assert_int_equal(state_of(0), GMEM_BUSY);
	other_start(&o, TOUCH, 0);
	pthread_join(o.thread, NULL); /* at once: the disk has done nothing */
	assert_int_equal(o.err, 0);
	assert_int_equal(fake_disk_waiting(), 1);
	assert_int_equal(stats_now().given_back, 1);
	page(0)[9] ^= 1;
	do_all();
	assert_int_equal(stats_now().used, 0);
	assert_int_equal(state_of(0), GMEM_GOT_PAGE);
	page(0)[9] ^= 1;
	verify(0);
}

/* Who marks it before it is to be found among those that are written gets it back, too. */
static pthread_t early;

static void *touch_first(void *arg)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	return NULL;
}

static u64 want_while_unmapped(struct gmem_notifier *n, struct gmem *object, enum gmem_event event,
			       u64 first, u64 pages, u64 *young)
{
	if (event == GMEM_EVENT_UNMAP) {
		assert_int_equal(pthread_create(&early, NULL, touch_first, NULL), 0);
		wait_wanted(0);
	}
	return 0;
}

static void wanted_first(void **state)
{
	struct gmem_notifier n = {.notify = want_while_unmapped};

	fill(0);
	fake_disk_hold(true);
	gmem_notifier_add(g, &n);
	assert_int_equal(take(0, 1).wanted, 1);
	gmem_notifier_remove(g, &n);
	pthread_join(early, NULL);
	assert_int_equal(fake_disk_waiting(), 0);
	verify(0);
}

/* Taken again before who waits has run: it is as wanted as it was. */
static void wanted_and_taken_again(void **state)
{
	u64 entry, deadline = clock_ns() + WAIT_NS;
	struct other o;
	u32 waiting;

	fill(0);
	fake_disk_hold(true);
	assert_int_equal(gmem_claim(g, 0, &entry), 0);
	other_start(&o, TOUCH, 0);
	wait_asleep();
	gmem_settle_entry(g, 0, gmem_entry_find(g, 0), entry);
	assert_int_equal(take(0, 1).writing, 1);
	wait_wake_all(&g->busy);
	while (!has_ended(&o) && clock_ns() < deadline)
		sched_yield();
	waiting = fake_disk_waiting();
	fake_disk_hold(false);
	do_all();
	pthread_join(o.thread, NULL);
	assert_int_equal(waiting, 1);
	assert_int_equal(stats_now().given_back, 1);
	assert_int_equal(o.err, 0);
	verify(0);
}

static void written_taken(void **state)
{
	fill(0);
	fake_disk_hold(true);
	assert_int_equal(take(0, 1).writing, 1);
	assert_int_equal(take(0, 1).kept, 1);
	do_all();
	assert_int_equal(state_of(0), GMEM_SWAPPED);
}

static void written_dropped(void **state)
{
	fill(0);
	fake_disk_hold(true);
	assert_int_equal(take(0, 1).writing, 1);
	assert_int_equal(gmem_drop(g, 0), 0);
	assert_int_equal(state_of(0), GMEM_ABSENT);
	assert_int_equal(fake_disk_waiting(), 1);
	do_all();
	assert_int_equal(stats_now().used, 0);
}

static void written_object_goes(void **state)
{
	struct other o;

	fill(0);
	fill(1);
	fake_disk_hold(true);
	assert_int_equal(take(0, 2).writing, 2);
	other_start(&o, UNREF, 0);
	assert_true(fake_disk_do(NULL));
	for (u32 i = 0; i < 1000; i++)
		sched_yield();
	assert_false(has_ended(&o));
	do_all();
	pthread_join(o.thread, NULL);
	g = NULL;
}

/* --- Being read ----------------------------------------------------------------------------- */

static void read_touched(void **state)
{
	struct other first, second;

	put_on_disk(1);
	fake_disk_hold(true);
	other_start(&first, TOUCH, 0);
	wait_requests(1);
	other_start(&second, TOUCH, 0);
	wait_wanted(0);
	assert_int_equal(fake_disk_waiting(), 1);
	assert_false(has_ended(&second));
	do_all();
	pthread_join(first.thread, NULL);
	pthread_join(second.thread, NULL);
	assert_int_equal(first.err, 0);
	assert_int_equal(second.err, 0);
	verify(0);
}

static void read_taken(void **state)
{
	struct other o;

	put_on_disk(1);
	fake_disk_hold(true);
	other_start(&o, TOUCH, 0);
	wait_requests(1);
	assert_int_equal(take(0, 1).kept, 1);
	do_all();
	pthread_join(o.thread, NULL);
	verify(0);
}

static void read_dropped(void **state)
{
	struct other reader, dropper;

	put_on_disk(2);
	fake_disk_hold(true);
	/* Page 1 comes ahead: nobody touches it again after it was dropped. */
	other_start(&reader, TOUCH, 0);
	wait_requests(2);
	other_start(&dropper, DROP, 1);
	wait_wanted(1);
	assert_false(has_ended(&dropper));
	do_all();
	pthread_join(reader.thread, NULL);
	pthread_join(dropper.thread, NULL);
	assert_int_equal(dropper.err, 0);
	assert_int_equal(state_of(1), GMEM_ABSENT);
	verify(0);
}

static void read_object_goes(void **state)
{
	struct other reader, o;

	put_on_disk(2);
	fake_disk_hold(true);
	other_start(&reader, TOUCH, 0);
	wait_requests(2);
	assert_true(fake_disk_do(NULL)); /* page 0; page 1 is still on its way */
	pthread_join(reader.thread, NULL);
	other_start(&o, UNREF, 0);
	for (u32 i = 0; i < 1000; i++)
		sched_yield();
	assert_false(has_ended(&o));
	do_all();
	pthread_join(o.thread, NULL);
	g = NULL;
}

/* --- What comes with it --------------------------------------------------------------------- */

static void neighbours_come_ahead(void **state)
{
	put_on_disk(20);
	(void)page(0);
	assert_int_equal(stats_now().reads, 1);
	assert_int_equal(stats_now().read_ahead, SWAP_READ_AHEAD - 1);
	for (u64 i = 0; i < 20; i++)
		verify(i);
	assert_int_equal(stats_now().reads, 3);
}

/* Not where memory is short, nor further than the neighbours go. */
static void not_ahead_of_memory(void **state)
{
	put_on_disk(20);
	watermarks.low = free_now();
	watermarks.wake = reclaim_wake;
	(void)page(0);
	assert_int_equal(stats_now().read_ahead, 0);
	memset(&watermarks, 0, sizeof(watermarks));
	(void)page(2);
	assert_int_equal(gmem_drop(g, 9), 0);
	assert_int_equal(stats_now().read_ahead, SWAP_READ_AHEAD - 1);
	(void)page(19);
	assert_int_equal(stats_now().read_ahead, SWAP_READ_AHEAD - 1);
}

/* Nor beyond what the object may have. */
static void not_ahead_of_max(void **state)
{
	put_on_disk(20);
	g->resident_max = 3;
	(void)page(0);
	assert_int_equal(g->resident, 3);
	assert_int_equal(stats_now().read_ahead, 2);
	g->resident_max = ~0ull;
}

/* As many as may be under way are; the others stay, and go later without being packed again. */
static void only_so_many_at_a_time(void **state)
{
	const u32 n = 100;
	struct gmem_taken t;

	for (u64 i = 0; i < n; i++)
		fill(i);
	fake_disk_hold(true);
	t = take(0, n);
	assert_int_equal(t.writing, SWAP_WRITES_MAX);
	assert_int_equal(t.hard, n - SWAP_WRITES_MAX);
	assert_false(swap_takes());
	assert_true(swap_wait_written(1)); /* until the deadline, which has passed */
	do_all();
	assert_true(swap_takes());
	assert_false(swap_wait_written(~0ull));
	t = take(0, n);
	assert_int_equal(t.writing, n - SWAP_WRITES_MAX);
	do_all();
	fake_disk_hold(false);
	for (u64 i = 0; i < n; i++)
		verify(i);
}

static void *audit_main(void *arg)
{
	swap_audit();
	return NULL;
}

/* Who waits for all that is under way does not keep the next from its turn. */
static void one_waits_for_all(void **state)
{
	static struct other readers[SWAP_REQUESTS + 1];
	pthread_t audit;

	put_on_disk(64);
	for (u64 i = 0; i <= SWAP_REQUESTS; i++)
		fill(128 + i);
	assert_int_equal(take(128, 64).writing, 64);
	assert_int_equal(take(192, SWAP_REQUESTS + 1 - 64).writing, SWAP_REQUESTS + 1 - 64);
	watermarks.low = 1u << 20; /* nothing comes ahead */
	watermarks.wake = reclaim_wake;
	fake_disk_hold(true);
	for (u32 i = 0; i < SWAP_REQUESTS; i++)
		other_start(&readers[i], TOUCH, 128 + i);
	wait_requests(SWAP_REQUESTS);
	assert_int_equal(pthread_create(&audit, NULL, audit_main, NULL), 0);
	usleep(20000);
	other_start(&readers[SWAP_REQUESTS], TOUCH, 128 + SWAP_REQUESTS);
	usleep(20000);
	assert_true(fake_disk_do(NULL));
	wait_requests(SWAP_REQUESTS);
	for (u64 i = 0; i < 64; i++)
		assert_int_equal(gmem_drop(g, i), 0);
	do_all();
	for (u32 i = 0; i <= SWAP_REQUESTS; i++)
		pthread_join(readers[i].thread, NULL);
	pthread_join(audit, NULL);
	memset(&watermarks, 0, sizeof(watermarks));
}

static void a_full_disk(void **state)
{
	u64 writing = 0;

	for (u64 i = 0; i < 512; i++)
		fill(i);
	for (u32 i = 0; i < 8; i++)
		writing += take(i * 64, 64).writing;
	assert_int_equal(writing, BLOCKS - 1);
	assert_int_equal(stats_now().used, BLOCKS - 1);
	assert_false(swap_takes());
	verify(0);
	assert_true(swap_takes());
	for (u64 i = 0; i < 512; i++)
		verify(i);
}

/* What packs does not go to the disk, unless the pool has no memory. */
static void what_packs_is_packed(void **state)
{
	for (u32 i = 0; i < PAGE_SIZE; i++)
		page(0)[i] = (u8)(i % 32);
	assert_int_equal(take(0, 1).packed, 1);
	assert_int_equal(state_of(0), GMEM_PACKED);
	(void)page(0);
	hosted_fail_after(1);
	assert_int_equal(take(0, 1).writing, 1);
	hosted_fail_after(0);
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	assert_int_equal(page(0)[100], 100 % 32);
}

static void no_frame_to_read_it_to(void **state)
{
	pfn_t pfn;

	put_on_disk(1);
	hosted_fail_after(1);
	assert_int_equal(gmem_get_page(g, 0, false, &pfn), ERR_NOMEM);
	hosted_fail_after(0);
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	watermarks.min = watermarks.low = 1u << 20;
	watermarks.wake = reclaim_wake;
	assert_int_equal(gmem_get_page(g, 0, false, &pfn), ERR_NOMEM);
	memset(&watermarks, 0, sizeof(watermarks));
	verify(0);
}

/* Of neighbours that come ahead one finds no memory: the page itself does. */
static void no_frame_for_those_ahead(void **state)
{
	put_on_disk(4);
	hosted_fail_after(3);
	verify(0);
	hosted_fail_after(0);
	assert_int_equal(stats_now().read_ahead, 1);
	for (u64 i = 0; i < 4; i++)
		verify(i);
}

static void no_memory_to_attach(void **state)
{
	gmem_unref(g);
	g = NULL;
	swap_detach();
	for (u32 n = 1;; n++) {
		hosted_fail_after(n);
		if (swap_attach(&fake_disk, 5000, 1) == 0)
			break;
		assert_int_equal(free_now(), before);
	}
	hosted_fail_after(0);
	assert_int_equal(swap_attach(&fake_disk, 5000, 1), ERR_EXIST);
	swap_detach();
	assert_int_equal(swap_attach(&fake_disk, 1, 1), ERR_RANGE);
	assert_int_equal(swap_attach(&fake_disk, BLOCKS, 1), 0);
}

/* --- Errors --------------------------------------------------------------------------------- */

static void write_error(void **state)
{
	for (u64 i = 0; i < 4; i++)
		fill(i);
	fake_disk_fail(0, 2);
	assert_int_equal(take(0, 4).writing, 4);
	fake_disk_fail(0, 0);
	assert_int_equal(stats_now().bad, 2);
	assert_int_equal(stats_now().used, 2);
	assert_int_equal(stats_now().write_errors, 2);
	for (u64 i = 0; i < 4; i++) {
		assert_int_equal(state_of(i), i % 2 ? GMEM_GOT_PAGE : GMEM_SWAPPED);
		verify(i);
	}
	assert_int_equal(lost.calls, 0);
}

static void write_error_of_one_given_back(void **state)
{
	fill(0);
	fake_disk_hold(true);
	fake_disk_fail(0, 1);
	assert_int_equal(take(0, 1).writing, 1);
	verify(0);
	do_all();
	assert_int_equal(stats_now().bad, 1);
	assert_int_equal(stats_now().used, 0);
}

static void too_many_write_errors(void **state)
{
	put_on_disk(1);
	for (u64 i = 1; i <= 40; i++)
		fill(i);
	fake_disk_fail(0, 1);
	for (u64 i = 1; i < SWAP_WRITE_ERRORS; i++)
		assert_int_equal(take(i, 1).writing, 1);
	assert_true(swap_takes());
	assert_int_equal(take(SWAP_WRITE_ERRORS, 1).writing, 1);
	assert_false(swap_takes());
	fake_disk_fail(0, 0);
	assert_int_equal(take(30, 1).hard, 1);
	for (u64 i = 0; i <= 40; i++)
		verify(i);
}

static void read_error(void **state)
{
	u64 block, used;
	pfn_t pfn;

	put_on_disk(2);
	block = gmem_entry(g, 1) >> GMEM_PFN_SHIFT;
	fake_disk_fail(1, 0);
	assert_int_equal(gmem_get_page(g, 1, false, &pfn), ERR_IO);
	fake_disk_fail(0, 0);
	assert_int_equal(lost.calls, 1);
	assert_int_equal(lost.index, 1);
	assert_int_equal(lost.block, block);
	assert_int_equal(lost.err, ERR_IO);
	/* It stays lost, without another try. */
	assert_int_equal(gmem_get_page(g, 1, false, &pfn), ERR_IO);
	assert_int_equal(gmem_hold(g, 1, false, &pfn), ERR_IO);
	assert_int_equal(stats_now().reads, 1);
	assert_int_equal(take(1, 1).kept, 1);
	used = stats_now().used;
	assert_int_equal(gmem_drop(g, 1), 0); /* until the guest gives it up */
	assert_int_equal(stats_now().used, used - 1);
	assert_int_equal(stats_now().bad, 1);
	assert_int_equal(page(1)[0], 0);
	verify(0);
}

static void lost_object_goes(void **state)
{
	pfn_t pfn;

	put_on_disk(1);
	fake_disk_fail(1, 0);
	assert_int_equal(gmem_get_page(g, 0, false, &pfn), ERR_IO);
}

/* Nobody asked for a page that comes ahead: it is tried again by who does. */
static void read_error_ahead(void **state)
{
	put_on_disk(2);
	fake_disk_fail(2, 0);
	verify(0);
	assert_int_equal(state_of(1), GMEM_SWAPPED);
	assert_int_equal(stats_now().read_errors, 1);
	verify(1); /* the third read */
	assert_int_equal(lost.calls, 0);
}

static void damaged_block(void **state)
{
	pfn_t pfn;

	put_on_disk(2);
	fake_disk_block(gmem_entry(g, 1) >> GMEM_PFN_SHIFT)[4095] ^= 0x80;
	assert_int_equal(gmem_get_page(g, 1, false, &pfn), ERR_CORRUPT);
	assert_int_equal(lost.err, ERR_CORRUPT);
	assert_int_equal(stats_now().damaged, 1);
	verify(0);
}

/* What the disk has there is from another page, or from before. */
static void stale_block(void **state)
{
	u64 a, b;
	pfn_t pfn;

	put_on_disk(2);
	a = gmem_entry(g, 0) >> GMEM_PFN_SHIFT;
	b = gmem_entry(g, 1) >> GMEM_PFN_SHIFT;
	memcpy(fake_disk_block(b), fake_disk_block(a), PAGE_SIZE);
	assert_int_equal(gmem_get_page(g, 1, false, &pfn), ERR_CORRUPT);
	verify(0);
}

#define CELL(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CELL(swapped_touched),
		CELL(swapped_taken),
		CELL(swapped_dropped),
		CELL(swapped_zeroed),
		CELL(written_touched),
		CELL(wanted_first),
		CELL(wanted_and_taken_again),
		CELL(written_taken),
		CELL(written_dropped),
		CELL(written_object_goes),
		CELL(read_touched),
		CELL(read_taken),
		CELL(read_dropped),
		CELL(read_object_goes),
		CELL(neighbours_come_ahead),
		CELL(not_ahead_of_memory),
		CELL(not_ahead_of_max),
		CELL(only_so_many_at_a_time),
		CELL(one_waits_for_all),
		CELL(a_full_disk),
		CELL(what_packs_is_packed),
		CELL(no_frame_to_read_it_to),
		CELL(no_frame_for_those_ahead),
		CELL(no_memory_to_attach),
		CELL(write_error),
		CELL(write_error_of_one_given_back),
		CELL(too_many_write_errors),
		CELL(read_error),
		CELL(lost_object_goes),
		CELL(read_error_ahead),
		CELL(damaged_block),
		CELL(stale_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
