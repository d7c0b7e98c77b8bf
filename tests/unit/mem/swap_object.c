/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "mem/reclaim.h"
#include "mem/watermark.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/swap_object.h"

struct gmem *g;
u64 before;
struct lost lost;

static void note_lost(void *arg, u64 index, u64 block, int err)
{
	assert_ptr_equal(arg, &lost);
	lost.calls++;
	lost.index = index;
	lost.block = block;
	lost.err = err;
}

int setup(void **state)
{
	const struct reclaim_options options = {.tax = 0};

	before = start(MIB(16));
	assert_int_equal(reclaim_init(&options), 0);
	before = free_now();
	memset(&watermarks, 0, sizeof(watermarks));
	fake_disk_init(BLOCKS);
	assert_int_equal(swap_attach(&fake_disk, BLOCKS, 4711), 0);
	/* Whatever became of the last one. */
	assert_true(swap_is_sound());
	assert_int_equal(gmem_create(PAGES, &g), 0);
	memset(&lost, 0, sizeof(lost));
	gmem_on_lost(g, note_lost, &lost);
	return 0;
}

struct swap_stats stats_now(void)
{
	struct swap_stats s;

	swap_get_stats(&s);
	return s;
}

int teardown(void **state)
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

u8 *page(u64 index)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, true, &pfn), 0);
	return pfn_to_virt(pfn);
}

void fill(u64 index)
{
	u64 *p = (u64 *)(void *)page(index), random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = random_next(&random);
}

void verify(u64 index)
{
	const u64 *p = (const u64 *)(void *)page(index);
	u64 random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		assert_int_equal(p[i], random_next(&random));
}

u64 state_of(u64 index)
{
	return gmem_entry_state(gmem_entry(g, index));
}

struct gmem_taken take(u64 first, u64 pages)
{
	return take_range(g, first, pages);
}

void put_on_disk(u64 n)
{
	for (u64 i = 0; i < n; i++)
		fill(i);
	assert_int_equal(take(0, n).writing, n);
	for (u64 i = 0; i < n; i++)
		assert_int_equal(state_of(i), GMEM_SWAPPED);
}

void do_all(void)
{
	while (fake_disk_do(NULL))
		;
}

static void *other_main(void *arg)
{
	struct other *o = arg;
	pfn_t pfn;

	if (o->what == TOUCH || o->what == READ)
		o->err = gmem_get_page(g, o->index, o->what == TOUCH, &pfn);
	else if (o->what == DROP)
		o->err = gmem_drop(g, o->index);
	else
		gmem_unref(g);
	__atomic_store_n(&o->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

void other_start(struct other *o, int what, u64 index)
{
	memset(o, 0, sizeof(*o));
	o->what = what;
	o->index = index;
	assert_int_equal(pthread_create(&o->thread, NULL, other_main, o), 0);
}

bool has_ended(struct other *o)
{
	return __atomic_load_n(&o->ended, __ATOMIC_ACQUIRE);
}

void wait_wanted(u64 index)
{
	hosted_wait_until(gmem_entry_load(gmem_entry_find(g, index)) & GMEM_WANTED);
}

static bool sleeps_in(struct wait_queue *q)
{
	bool on = wait_lock(q), asleep = !list_empty(&q->waiters);

	wait_unlock(q, on);
	return asleep;
}

void wait_asleep(struct wait_queue *q)
{
	hosted_wait_until(sleeps_in(q));
}

void wait_requests(u32 n)
{
	hosted_wait_until(fake_disk_waiting() >= n);
}
