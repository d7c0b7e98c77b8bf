/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "mem/pool.h"
#include "mem/watermark.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/reclaim_object.h"

struct gmem *g;
struct reclaim_target target;
const struct reclaim_terms terms = {.max = ~0ull, .shares = 100};
struct guest guest;

static const struct reclaim_options options = {.tax = 75};
static u64 before;

static void *touch(void *arg)
{
	u64 index = (u64)arg;
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, false, &pfn), 0);
	return NULL;
}

static u64 notify(struct gmem_notifier *n, struct gmem *object, enum gmem_event event, u64 first,
		  u64 pages, u64 *young)
{
	u64 sum = 0;

	if (event == GMEM_EVENT_SPLIT || event == GMEM_EVENT_JOIN)
		return 0;
	guest.looked += event == GMEM_EVENT_AGE ? pages : 0;
	for (u64 i = 0; i < pages; i++) {
		bool *used = &guest.used[first + i];

		if (event == GMEM_EVENT_UNMAP)
			continue;
		sum += *used;
		if (*used && young)
			young[i / 64] |= BIT(i % 64);
		*used = false;
	}
	if (event != GMEM_EVENT_UNMAP)
		return sum;
	guest.unmapped += pages;
	if (guest.touch && guest.touch >= first && guest.touch < first + pages) {
		u64 *e = gmem_entry_find(g, guest.touch);

		assert_int_equal(
			pthread_create(&guest.waiter, NULL, touch, (void *)(u64)guest.touch), 0);
		while (!(gmem_entry_load(e) & GMEM_WANTED))
			sched_yield();
		guest.touch = 0;
	}
	return pages;
}

u8 *page(u64 index)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, true, &pfn), 0);
	return pfn_to_virt(pfn);
}

/* The i-th word of a page that packs. */
static u64 packing(u64 index, u32 i)
{
	return index + 1 + i % 4;
}

void fill_page(u64 index, bool packs)
{
	u64 *p = (u64 *)(void *)page(index), random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = packs ? packing(index, i) : random_next(&random);
}

void check_page(u64 index, bool packs)
{
	const u64 *p = (const u64 *)(void *)page(index);
	u64 random = index + 1;

	for (u32 i = 0; i < PAGE_SIZE / 8; i++)
		assert_int_equal(p[i], packs ? packing(index, i) : random_next(&random));
}

int setup(void **state)
{
	before = start(MIB(16));
	assert_int_equal(reclaim_init(&options), 0);
	before = free_now();
	watermarks.low = watermarks.high = 1u << 20; /* memory is short for whoever asks */
	watermarks.min = 1;
	frame_leave_to_reclaim(0);
	assert_int_equal(gmem_create(PAGES, &g), 0);
	memset(&guest, 0, sizeof(guest));
	guest.n.notify = notify;
	gmem_notifier_add(g, &guest.n);
	reclaim_add(&target, g, &terms);
	return 0;
}

int teardown(void **state)
{
	struct pool_stats pool;

	reclaim_remove(&target);
	gmem_notifier_remove(g, &guest.n);
	gmem_unref(g);
	pool_get_stats(&pool);
	assert_int_equal(pool.objects, 0);
	assert_int_equal(free_now(), before);
	memset(&watermarks, 0, sizeof(watermarks));
	hosted_clock_free();
	return 0;
}

u64 state_of(u64 index)
{
	return gmem_entry_state(gmem_entry(g, index));
}

u64 now_ns = 1000000000;

bool help_with(u32 order)
{
	hosted_clock_set(now_ns += 50000000);
	return reclaim_help(&target, order);
}

bool help(void)
{
	return help_with(0);
}

u64 read_stat(const char *name)
{
	for (u32 i = 0; i < reclaim_stat_group.count; i++) {
		if (!strcmp(reclaim_stat_group.descs[i].name, name))
			return reclaim_stat_group.read(reclaim_stat_group.owner, i);
	}
	fail_msg("no counter %s", name);
	return 0;
}
