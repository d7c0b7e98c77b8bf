/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c tests/unit/mem/swap_object.c */
/* unit-libs: -Wl,--wrap=frame_alloc */
/*
 * Pages on a disk: each state of a page that is there, or on its way, against each thing that can
 * happen to it (docs/memory.md).
 */
#include <string.h>
#include "kernel/base/error.h"
#include "smp/timer.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/swap_object.h"

#define WAIT_NS 30000000000ull

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

/* Who reads to write has it alone: the block is free, and the page goes elsewhere the next time. */
static void swapped_written(void **state)
{
	put_on_disk(1);
	page(0)[9] ^= 0x40;
	assert_int_equal(stats_now().kept, 0);
	assert_int_equal(stats_now().used, 0);
	page(0)[9] ^= 0x40;
	verify(0);
	assert_int_equal(take(0, 1).writing, 1);
	verify(0);
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

static void (*at_alloc)(void);

int __real_frame_alloc(u32 order, u32 flags, pfn_t *out);
int __wrap_frame_alloc(u32 order, u32 flags, pfn_t *out);

int __wrap_frame_alloc(u32 order, u32 flags, pfn_t *out)
{
	void (*fn)(void) = at_alloc;

	at_alloc = NULL;
	if (fn)
		fn();
	return __real_frame_alloc(order, flags, out);
}

static void swapped_written_whole(void **state)
{
	static u64 words[PAGE_SIZE / 8];
	u64 random = 8;

	put_on_disk(2);
	for (u32 i = 0; i < PAGE_SIZE / 8; i++) /* what page 7 would hold */
		words[i] = random_next(&random);
	/* All of it or nothing: without a frame it stays what it is. */
	hosted_fail_after(1);
	assert_false(gmem_write_stored(g, 0, words));
	hosted_fail_after(0);
	g->resident_max = 0;
	assert_false(gmem_write_stored(g, 0, words));
	g->resident_max = ~0ull;
	assert_int_equal(state_of(0), GMEM_SWAPPED);
	assert_true(gmem_write_stored(g, 0, words));
	/* As any page that comes back soon. */
	assert_int_equal(gmem_entry_age(g, gmem_entry(g, 0)), 0);
	assert_false(gmem_entry(g, 0) & GMEM_COLD);
	assert_memory_equal(page(0), words, PAGE_SIZE);
	assert_int_equal(stats_now().reads, 0);
	assert_int_equal(stats_now().used, 1);
	assert_int_equal(g->resident, 1);
	assert_false(gmem_write_stored(g, 0, words)); /* resident */
	assert_false(gmem_write_stored(g, 5, words)); /* not there */
	assert_false(gmem_write_stored(g, PAGES, words));
	verify(1);
	assert_int_equal(take(0, 1).writing, 1);
	assert_memory_equal(page(0), words, PAGE_SIZE);
}

/* One word all over: neither read nor in a frame. */
static void swapped_filled(void **state)
{
	put_on_disk(2);
	assert_true(gmem_fill_stored(g, 0, 0x4242));
	assert_int_equal(state_of(0), GMEM_FILLED);
	assert_true(gmem_fill_stored(g, 0, 0));
	assert_int_equal(state_of(0), GMEM_ABSENT);
	assert_false(gmem_fill_stored(g, 0, 0x4242));
	assert_false(gmem_fill_stored(g, PAGES, 0));
	assert_true(gmem_fill_stored(g, 1, 0x4242));
	assert_int_equal(stats_now().used, 0);
	assert_int_equal(stats_now().reads, 0);
	assert_int_equal(g->resident, 0);
	assert_memory_equal(page(1), "BB\0\0\0\0\0\0BB", 10);
	assert_false(gmem_fill_stored(g, 1, 0)); /* resident */
}

static void drop_first(void)
{
	assert_true(gmem_drop_stored(g, 0));
}

/* While its frame is looked for another drops it: it is not written, and the frame goes back. */
static void swapped_gone_not_written_whole(void **state)
{
	static u64 words[PAGE_SIZE / 8];
	u64 free_before;

	put_on_disk(1);
	free_before = free_now();
	at_alloc = drop_first;
	assert_false(gmem_write_stored(g, 0, words));
	assert_int_equal(state_of(0), GMEM_ABSENT);
	assert_int_equal(free_now(), free_before);
}

/* On its way there it is BUSY: that is for who waits for it. */
static void on_its_way_not_written_whole(void **state)
{
	static u64 words[PAGE_SIZE / 8];

	fill(0);
	fake_disk_hold(true);
	assert_int_equal(take(0, 1).writing, 1);
	assert_false(gmem_write_stored(g, 0, words));
	do_all();
	assert_true(gmem_write_stored(g, 0, words));
	assert_int_equal(page(0)[99], 0);
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
	bool came_through;

	fill(0);
	fake_disk_hold(true);
	assert_int_equal(gmem_claim(g, 0, &entry), 0);
	other_start(&o, TOUCH, 0);
	wait_asleep(&g->busy);
	gmem_settle_entry(g, 0, gmem_entry_find(g, 0), entry);
	assert_int_equal(take(0, 1).writing, 1);
	wait_wake_all(&g->busy);
	while (!has_ended(&o) && clock_ns() < deadline)
		sched_yield();
	came_through = has_ended(&o); /* the disk has done nothing */
	fake_disk_hold(false);
	do_all();
	pthread_join(o.thread, NULL);
	assert_true(came_through);
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

static void touched_while_read(int how)
{
	struct other first, second;

	put_on_disk(1);
	fake_disk_hold(true);
	other_start(&first, READ, 0);
	wait_requests(1);
	other_start(&second, how, 0);
	wait_wanted(0);
	assert_int_equal(fake_disk_waiting(), 1);
	assert_false(has_ended(&second));
	do_all();
	pthread_join(first.thread, NULL);
	pthread_join(second.thread, NULL);
	assert_int_equal(first.err, 0);
	assert_int_equal(second.err, 0);
	fake_disk_hold(false);
	verify(0);
	assert_int_equal(gmem_drop(g, 0), 0);
}

static void read_touched(void **state)
{
	touched_while_read(TOUCH);
	touched_while_read(READ);
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

/* --- Statistics ----------------------------------------------------------------------------- */

/* The name has no unit: `metrics` puts it there, and that is seconds. A maximum is no sum. */
static void times_are_named_without_a_unit(void **state)
{
	u32 times = 0, levels = 0;

	for (u32 i = 0; i < swap_stat_group.count; i++) {
		const struct stat_desc *d = &swap_stat_group.descs[i];

		if (strcmp(d->unit, "ns"))
			continue;
		assert_null(strstr(d->name, "_ns"));
		times++;
		if (d->level) {
			assert_string_equal(d->name, "read_most");
			levels++;
		}
	}
	assert_int_equal(times, 3);
	assert_int_equal(levels, 1);
}

#define CELL(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CELL(swapped_touched),
		CELL(swapped_written),
		CELL(swapped_taken),
		CELL(swapped_dropped),
		CELL(swapped_zeroed),
		CELL(swapped_written_whole),
		CELL(swapped_filled),
		CELL(swapped_gone_not_written_whole),
		CELL(on_its_way_not_written_whole),
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
		cmocka_unit_test(times_are_named_without_a_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
