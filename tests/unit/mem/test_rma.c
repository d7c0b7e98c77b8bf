/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem mem/rma.c */
/* The pool of real-mode areas: what it sets aside, whom it gives what, and that it comes back. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/rma.h"
#include "mem/slab.h"
#include "tests/hosted/hosted.h"

#define PAGES_2M 512

static void start_with(const struct mem_range *free, u32 count)
{
	static struct memmap map;

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_arena_init(free[count - 1].end);
	memset(&map, 0, sizeof(map));
	map.count = count;
	memcpy(map.ranges, free, count * sizeof(*free));
	map.highest_ram = free[count - 1].end;
	assert_int_equal(frame_init(&map), 0);
	slab_init();
}

static void start(u64 memory)
{
	struct mem_range r = {MIB(1), memory};

	start_with(&r, 1);
}

static u64 free_now(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.free;
}

static struct rma_stats stats(void)
{
	struct rma_stats s;

	rma_pool_stats(&s);
	return s;
}

static u8 *bytes_of(const struct rma_piece *p)
{
	return pfn_to_virt(p->pfn);
}

static bool all_zero(const struct rma_piece *p)
{
	const u8 *b = bytes_of(p);

	return b[0] == 0 && memcmp(b, b + 1, (p->pages << PAGE_SHIFT) - 1) == 0;
}

static void no_pool(void **state)
{
	struct rma_piece *p;

	start(MIB(16));
	assert_int_equal(rma_pool_init(0), 0);
	assert_int_equal(rma_alloc(16, &p), ERR_NOSPC);
	assert_int_equal(rma_alloc(0, &p), ERR_RANGE);
	assert_int_equal(stats().pages, 0);
	assert_int_equal(stats().longest_free, 0);
	assert_int_equal(stats().refused, 1);
}

/* What cannot be set aside whole leaves every frame where it was. */
static void init_is_all_or_nothing(void **state)
{
	u64 before;

	start(MIB(64));
	before = free_now();
	assert_int_equal(rma_pool_init(MIB(3)), ERR_ALIGN);
	assert_int_equal(rma_pool_init(MIB(64)), ERR_NOMEM);
	assert_int_equal(rma_pool_init(GIB(5)), ERR_NOMEM);
	assert_int_equal(free_now(), before);
	hosted_fail_after(1);
	assert_int_equal(rma_pool_init(MIB(46)), ERR_NOMEM);
	assert_int_equal(free_now(), before);
	assert_int_equal(stats().pages, 0);
	assert_int_equal(rma_pool_init(MIB(46)), 0);
	assert_int_equal(free_now(), before - (MIB(46) >> PAGE_SHIFT));
	assert_int_equal(stats().pages, MIB(46) >> PAGE_SHIFT);
}

/* Memory with a hole: only what is in one piece can be the pool. */
static void one_run(void **state)
{
	const struct mem_range holes[] = {{MIB(1), MIB(31)}, {MIB(32), MIB(72)}};
	struct rma_piece *p;

	start_with(holes, 2);
	assert_int_equal(rma_pool_init(MIB(42)), ERR_NOMEM);
	/* No block is that large, for 32 MiB is where two meet. */
	assert_int_equal(rma_pool_init(MIB(40)), 0);
	assert_int_equal(rma_alloc(MIB(40) >> PAGE_SHIFT, &p), 0);
	assert_int_equal(p->pfn.v, MIB(32) >> PAGE_SHIFT);
	assert_int_equal(stats().longest_free, 0);
	rma_put(p);
}

/* A piece goes where it leaves the most room for longer ones. */
static void shortest_gap(void **state)
{
	struct rma_piece *p[5];

	start(MIB(32));
	assert_int_equal(rma_pool_init(MIB(16)), 0);
	for (u32 i = 0; i < 5; i++)
		assert_int_equal(rma_alloc(i == 1 ? 2 * PAGES_2M : PAGES_2M, &p[i]), 0);
	/* Free: 4 MiB, 2 MiB, and 4 MiB at the end. */
	rma_put(p[1]);
	rma_put(p[3]);
	assert_int_equal(rma_alloc(PAGES_2M, &p[1]), 0);
	assert_int_equal(p[1]->pfn.v, p[4]->pfn.v - PAGES_2M);
	assert_int_equal(rma_alloc(2 * PAGES_2M, &p[3]), 0);
	for (u32 i = 0; i < 5; i++)
		rma_put(p[i]);
	assert_int_equal(stats().longest_free, 8 * PAGES_2M);
}

/* Single frames in use everywhere leave no block of 2 MiB. */
static void fragmented(void **state)
{
	pfn_t pfn;

	start(MIB(32));
	while (frame_alloc(0, 0, &pfn) == 0)
		;
	for (u64 i = MIB(2) >> PAGE_SHIFT; i < MIB(32) >> PAGE_SHIFT; i += 2)
		if (frame_of(PFN(i))->refs)
			frame_free(PFN(i), 0);
	assert_true(free_now() > 3000);
	assert_int_equal(rma_pool_init(MIB(2)), ERR_NOMEM);
}

static void zeroed_between_users(void **state)
{
	struct rma_piece *p;
	pfn_t pfn;

	start(MIB(16));
	while (frame_alloc(0, 0, &pfn) == 0)
		memset(pfn_to_virt(pfn), 0xee, PAGE_SIZE);
	for (u64 i = MIB(1) >> PAGE_SHIFT; i < MIB(16) >> PAGE_SHIFT; i++)
		if (frame_of(PFN(i))->refs)
			frame_free(PFN(i), 0);
	assert_int_equal(rma_pool_init(MIB(4)), 0);
	for (u32 round = 0; round < 3; round++) {
		assert_int_equal(rma_alloc(PAGES_2M * 2, &p), 0);
		assert_true(all_zero(p));
		memset(bytes_of(p), 0xa5 + round, p->pages << PAGE_SHIFT);
		rma_ref(p);
		rma_put(p);
		/* One user is left. */
		assert_int_equal(bytes_of(p)[12345], 0xa5 + round);
		assert_int_equal(stats().used, PAGES_2M * 2);
		rma_put(p);
		assert_int_equal(stats().used, 0);
	}
	assert_int_equal(stats().used_peak, PAGES_2M * 2);
	assert_int_equal(stats().handed_out, 3);
}

/* The object that a piece fills is a user of it, beside whoever asked for it. */
static void object_keeps_its_piece(void **state)
{
	struct rma_piece *p, *other;
	struct gmem *g, *half;
	pfn_t pfn;

	start(MIB(32));
	assert_int_equal(rma_pool_init(MIB(8)), 0);
	assert_int_equal(rma_alloc(PAGES_2M, &p), 0);
	assert_int_equal(rma_alloc(PAGES_2M, &other), 0);
	assert_int_equal(gmem_create(PAGES_2M * 2, &g), 0);
	assert_int_equal(rma_fill(p, g, 3), 0);
	assert_int_equal(rma_fill(other, g, PAGES_2M + 3), ERR_EXIST); /* it has one */
	rma_put(p);
	assert_int_equal(stats().pieces, 2);
	assert_int_equal(gmem_lookup(g, 3 + 77, true, &pfn), 0);
	assert_int_equal(pfn.v, p->pfn.v + 77);
	memset(pfn_to_virt(pfn), 0xaa, PAGE_SIZE);
	gmem_unref(g);
	assert_int_equal(stats().pieces, 1);
	rma_put(other);

	/* The next one gets it, and as if it were new. */
	assert_int_equal(rma_alloc(PAGES_2M * 4, &p), 0);
	assert_true(all_zero(p));
	/* What is refused changes nothing. */
	assert_int_equal(gmem_create(PAGES_2M * 2, &half), 0);
	assert_int_equal(rma_fill(p, half, 0), ERR_RANGE);
	rma_put(p);
	assert_int_equal(rma_alloc(16, &p), 0);
	assert_int_equal(gmem_get_page(half, 15, true, &pfn), 0);
	assert_int_equal(rma_fill(p, half, 0), ERR_EXIST);
	assert_int_equal(gmem_entry(half, 14), 0);
	for (u32 n = 1;; n++) {
		int err;

		hosted_fail_after(n);
		err = rma_fill(p, half, PAGES_2M - 8);
		if (!hosted_fail_happened()) {
			assert_int_equal(err, 0);
			break;
		}
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(p->refs, 1);
		assert_null(half->on_free);
		assert_int_equal(half->resident, 1);
	}
	hosted_fail_after(0);
	rma_put(p);
	gmem_unref(half);
	/* An object of 2 MiB pages takes whole ones only. */
	assert_int_equal(rma_alloc(16, &p), 0);
	assert_int_equal(gmem_create_order(PAGES_2M, 9, &g), 0);
	assert_int_equal(rma_fill(p, g, 0), ERR_ALIGN);
	rma_put(p);
	assert_int_equal(rma_alloc(PAGES_2M, &p), 0);
	assert_int_equal(rma_fill(p, g, 0), 0);
	rma_put(p);
	gmem_unref(g);
	assert_int_equal(stats().pieces, 0);
}

static void take_stat(const struct stat_value *v, void *arg)
{
	u64 *out = arg;

	if (!strcmp(v->name, "rma_pool.pages"))
		out[0] = v->value;
	else if (!strcmp(v->name, "rma_pool.used"))
		out[1] = v->value;
	else if (!strcmp(v->name, "rma_pool.longest_free"))
		out[2] = v->value;
}

static void counters_by_name(void **state)
{
	struct rma_piece *p;
	u64 values[3];

	start(MIB(32));
	assert_int_equal(rma_pool_init(MIB(8)), 0);
	assert_int_equal(rma_alloc(PAGES_2M, &p), 0);
	stat_register(&rma_stat_group);
	assert_int_equal(stat_for_each("rma_pool.*", take_stat, values), 7);
	stat_unregister(&rma_stat_group);
	assert_int_equal(values[0], PAGES_2M * 4);
	assert_int_equal(values[1], PAGES_2M);
	assert_int_equal(values[2], PAGES_2M * 3);
	rma_put(p);
}

static void do_put(void *piece)
{
	rma_put(piece);
}

static void never_while_pinned(void **state)
{
	struct rma_piece *p;

	start(MIB(16));
	assert_int_equal(rma_pool_init(MIB(2)), 0);
	assert_int_equal(rma_alloc(16, &p), 0);
	frame_of(PFN(p->pfn.v + 15))->pins = 1;
	rma_ref(p);
	rma_put(p);
	assert_true(hosted_catch_panic(do_put, p));
	frame_of(PFN(p->pfn.v + 15))->pins = 0;
	p->refs = 1;
	rma_put(p);
}

/* --- Random pieces against an oracle ------------------------------------------------------- */

#define PIECES	   40
#define POOL	   MIB(38)
#define OPERATIONS 4000

static struct rma_piece *pieces[PIECES];

/* How long the longest run of free frames is, and whether a piece would find a place. */
static bool would_fit(const u8 *taken, u64 first, u64 end, u64 pages)
{
	for (u64 at = first; at + pages <= end; at++) {
		u64 n = 0;

		if (pages >= PAGES_2M && at % PAGES_2M)
			continue;
		while (n < pages && !taken[at + n])
			n++;
		if (n == pages)
			return true;
	}
	return false;
}

static void random_pieces(void **state)
{
	static u8 taken[MIB(64) / PAGE_SIZE];
	u64 first, used = 0, refused = 0;
	struct rma_piece *p;

	start(MIB(64));
	srandom(7);
	memset(taken, 0, sizeof(taken));
	memset(pieces, 0, sizeof(pieces));
	assert_int_equal(rma_pool_init(POOL), 0);
	assert_int_equal(rma_alloc(POOL >> PAGE_SHIFT, &p), 0);
	first = p->pfn.v;
	rma_put(p);
	for (u32 i = 0; i < OPERATIONS; i++) {
		u32 which = (u32)random() % PIECES;
		u64 pages = random() % 2 ? 1 + (u64)random() % 700 : 512 * (1 + (u64)random() % 8);
		int err;

		p = pieces[which];
		if (p) {
			memset(&taken[p->pfn.v], 0, p->pages);
			used -= p->pages;
			rma_put(p);
			pieces[which] = NULL;
		} else {
			err = rma_alloc(pages, &p);
			assert_int_equal(err == 0, would_fit(taken, first,
							     first + (POOL >> PAGE_SHIFT), pages));
			refused += err != 0;
			if (!err) {
				assert_true(pages < PAGES_2M || p->pfn.v % PAGES_2M == 0);
				assert_true(p->pfn.v >= first);
				for (u64 n = 0; n < pages; n++)
					assert_int_equal(taken[p->pfn.v + n]++, 0);
				used += pages;
				pieces[which] = p;
			}
		}
		assert_int_equal(stats().used, used);
	}
	assert_int_equal(stats().refused, refused);
	assert_true(refused > 10);
	for (u32 i = 0; i < PIECES; i++) {
		if (pieces[i])
			rma_put(pieces[i]);
	}
	assert_int_equal(stats().longest_free, POOL >> PAGE_SHIFT);
	hosted_fail_after(1);
	assert_int_equal(rma_alloc(1, &p), ERR_NOMEM);
	assert_int_equal(stats().pieces, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_pool),
		cmocka_unit_test(init_is_all_or_nothing),
		cmocka_unit_test(one_run),
		cmocka_unit_test(shortest_gap),
		cmocka_unit_test(fragmented),
		cmocka_unit_test(zeroed_between_users),
		cmocka_unit_test(object_keeps_its_piece),
		cmocka_unit_test(counters_by_name),
		cmocka_unit_test(never_while_pinned),
		cmocka_unit_test(random_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
