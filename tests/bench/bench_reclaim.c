/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/* unit-cflags: -UWEIR_DEBUG -DWEIR_DEBUG=0 */
/* unit-sanitizer: none */
/*
 * How well mem/reclaim*.c chooses, beside what is known: the same traces of accesses go through it
 * and through LRU, FIFO and Belady's optimum (who takes the page that is wanted last of all), each
 * with memory for CAPACITY of PAGES. LRU and Belady see every access; Weir, as on a CPU, sees at its
 * rounds which pages were used since the last. An access takes ACCESS_NS of a clock of its own.
 *
 * For each trace and policy a line
 *
 *	reclaim: TRACE POLICY ACCESSES MISSES RECLAIMED REFAULTS
 */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/reclaim_private.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define PAGES	  8192u
#define CAPACITY  2048u
#define ACCESSES  400000u
#define ACCESS_NS 10000ull /* a page is worked on for so long */
#define NEVER	  ~0u

struct result {
	u64 misses, reclaimed, refaults;
};

static u32 trace[ACCESSES];

/* --- Traces ---------------------------------------------------------------------------------- */

static u64 random_state;
static u64 zipf_sum[PAGES]; /* of the first ranks, in a fixed point */

/* Rank k has 1 / k of the first; drawn by its place in the sum. */
static void zipf_init(void)
{
	u64 sum = 0;

	for (u32 k = 0; k < PAGES; k++)
		zipf_sum[k] = sum += (1ull << 32) / (k + 1);
}

static u32 zipf(u32 pages)
{
	u64 at = random_next(&random_state) % zipf_sum[pages - 1];
	u32 low = 0, high = pages - 1;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (zipf_sum[middle] > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Neighbours in rank are none in memory. */
static u32 scatter(u32 rank)
{
	return rank * 2654435761u % PAGES;
}

static u32 zipf_access(u32 i)
{
	(void)i;
	return scatter(zipf(PAGES));
}

/* Somewhat more than there is room for, over and over. */
static u32 loop_access(u32 i)
{
	return i % (CAPACITY * 5 / 4);
}

/* A working set that fits, and a long read beside it. */
static u32 scan_access(u32 i)
{
	static u32 next;

	if (i % 4)
		return zipf(CAPACITY * 3 / 4);
	return CAPACITY + next++ % (PAGES - CAPACITY);
}

/* Phases: the working set moves, is read past, and runs in a loop. */
static u32 mixed_access(u32 i)
{
	switch (i / (ACCESSES / 8) % 4) {
	case 0:
		return zipf(PAGES / 2);
	case 1:
		return scan_access(i);
	case 2:
		return PAGES / 2 + zipf(PAGES / 2);
	default:
		return PAGES / 4 + i % (CAPACITY * 9 / 8);
	}
}

/* --- Weir's own code ------------------------------------------------------------------------- */

static struct gmem *g;
static bool used[PAGES];

static u64 notify(struct gmem_notifier *n, struct gmem *object, enum gmem_event event, u64 first,
		  u64 pages, u64 *young)
{
	(void)n;
	(void)object;
	for (u64 i = 0; event == GMEM_EVENT_AGE && i < pages; i++) {
		if (used[first + i])
			young[i / 64] |= BIT(i % 64);
		used[first + i] = false;
	}
	return 0;
}

static void get(struct reclaim_target *t, u32 page)
{
	pfn_t pfn;
	u32 tries = 0;

	while (gmem_get_page(g, page, true, &pfn)) {
		if (++tries > 100000)
			exit(1);
		if (!reclaim_help(t, 0))
			hosted_clock_set(clock_ns() + ACCESS_NS);
	}
	memset(pfn_to_virt(pfn), (int)(page % 255 + 1), PAGE_SIZE);
}

static struct result weir(void)
{
	const struct reclaim_options options = {.tax = 75};
	const struct reclaim_terms terms = {.max = CAPACITY, .shares = 1};
	static struct reclaim_target target;
	struct gmem_notifier n = {.notify = notify};
	struct result r = {0};
	u64 now = 1000000000;

	start(MIB(64));
	if (reclaim_init(&options) || gmem_create(PAGES, &g))
		exit(1);
	gmem_notifier_add(g, &n);
	reclaim_add(&target, g, &terms);
	memset(used, 0, sizeof(used));
	for (u32 i = 0; i < ACCESSES; i++) {
		u64 e = gmem_entry(g, trace[i]);

		hosted_clock_set(now += ACCESS_NS);
		if (gmem_entry_state(e) != GMEM_GOT_PAGE) {
			r.misses++;
			get(&target, trace[i]);
		}
		used[trace[i]] = true;
	}
	r.reclaimed = g->taken;
	r.refaults = g->fetched;
	reclaim_remove(&target);
	gmem_notifier_remove(g, &n);
	gmem_unref(g);
	return r;
}

/* --- The others ------------------------------------------------------------------------------ */

static u32 next_use[ACCESSES]; /* of the page of an access: the access after it */

static void look_ahead(void)
{
	static u32 last[PAGES];

	for (u32 p = 0; p < PAGES; p++)
		last[p] = NEVER;
	for (u32 i = ACCESSES; i-- > 0;) {
		next_use[i] = last[trace[i]];
		last[trace[i]] = i;
	}
}

/* The page with the least key goes: of its last use, its coming, or how soon it is used again. */
enum policy {
	LRU,
	FIFO,
	BELADY
};

/* A heap by key; entries whose key is not their page's any more are passed over. */
static struct item {
	u32 key, page;
} heap[2 * ACCESSES];
static u32 heap_size;

static void push(u32 key, u32 page)
{
	u32 i = heap_size++;

	while (i && heap[(i - 1) / 2].key > key) {
		heap[i] = heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	heap[i] = (struct item){key, page};
}

static struct item pop(void)
{
	struct item least = heap[0], moved = heap[--heap_size];
	u32 i = 0;

	for (u32 child = 1; child < heap_size; child = 2 * i + 1) {
		if (child + 1 < heap_size && heap[child + 1].key < heap[child].key)
			child++;
		if (heap[child].key >= moved.key)
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = moved;
	return least;
}

static struct result simulate(enum policy policy)
{
	static u32 key_of[PAGES];
	static bool there[PAGES], was[PAGES];
	struct result r = {0};
	u32 count = 0;

	memset(there, 0, sizeof(there));
	memset(was, 0, sizeof(was));
	heap_size = 0;
	for (u32 i = 0; i < ACCESSES; i++) {
		u32 page = trace[i], key = policy == BELADY ? NEVER - next_use[i] : i;

		if (!there[page]) {
			r.misses++;
			r.refaults += was[page];
			while (count == CAPACITY) {
				struct item least = pop();

				if (!there[least.page] || key_of[least.page] != least.key)
					continue;
				there[least.page] = false;
				r.reclaimed++;
				count--;
			}
			there[page] = was[page] = true;
			count++;
		} else if (policy == FIFO) {
			continue;
		}
		key_of[page] = key;
		push(key, page);
	}
	return r;
}

static void tell(const char *name, const char *policy, struct result r)
{
	printf("reclaim: %s %s %u %llu %llu %llu\n", name, policy, ACCESSES,
	       (unsigned long long)r.misses, (unsigned long long)r.reclaimed,
	       (unsigned long long)r.refaults);
}

int main(void)
{
	static const struct {
		const char *name;
		u32 (*access)(u32 i);
	} traces[] = {
		{"zipf", zipf_access},
		{"scan", scan_access},
		{"loop", loop_access},
		{"mixed", mixed_access},
	};

	zipf_init();
	for (size_t t = 0; t < ARRAY_SIZE(traces); t++) {
		random_state = 20261126;
		for (u32 i = 0; i < ACCESSES; i++)
			trace[i] = traces[t].access(i);
		look_ahead();
		tell(traces[t].name, "weir", weir());
		tell(traces[t].name, "lru", simulate(LRU));
		tell(traces[t].name, "fifo", simulate(FIFO));
		tell(traces[t].name, "belady", simulate(BELADY));
	}
	return 0;
}
