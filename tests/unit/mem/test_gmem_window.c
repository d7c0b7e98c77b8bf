/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/*
 * unit-libs: -Wl,--wrap=frame_alloc,--wrap=frame_alloc_page,--wrap=gmem_get_page
 *   -Wl,--wrap=gmem_count_in,--wrap=gmem_count_out
 */
/*
 * What others do between two steps of a function. Threads meet such a moment too seldom, so the
 * linker puts this test there: a function that is wrapped runs a hook before or after the real one.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/fixture.h"

int __real_frame_alloc(u32 order, u32 flags, pfn_t *out);
int __wrap_frame_alloc(u32 order, u32 flags, pfn_t *out);
void *__real_frame_alloc_page(u32 flags);
void *__wrap_frame_alloc_page(u32 flags);
int __real_gmem_get_page(struct gmem *g, u64 index, bool write, pfn_t *out);
int __wrap_gmem_get_page(struct gmem *g, u64 index, bool write, pfn_t *out);
void __real_gmem_count_in(struct gmem *g, u64 index);
void __wrap_gmem_count_in(struct gmem *g, u64 index);
void __real_gmem_count_out(struct gmem *g, u64 index);
void __wrap_gmem_count_out(struct gmem *g, u64 index);

static struct gmem *g;
static void (*at_frame)(void);
static void (*at_page)(void);
static void (*after_get)(void);
static void (*before_count)(void);

static void once(void (**hook)(void))
{
	void (*run)(void) = *hook;

	*hook = NULL;
	if (run)
		run();
}

int __wrap_frame_alloc(u32 order, u32 flags, pfn_t *out)
{
	once(&at_frame);
	return __real_frame_alloc(order, flags, out);
}

void *__wrap_frame_alloc_page(u32 flags)
{
	once(&at_page);
	return __real_frame_alloc_page(flags);
}

int __wrap_gmem_get_page(struct gmem *object, u64 index, bool write, pfn_t *out)
{
	int err = __real_gmem_get_page(object, index, write, out);

	once(&after_get);
	return err;
}

void __wrap_gmem_count_in(struct gmem *object, u64 index)
{
	once(&before_count);
	__real_gmem_count_in(object, index);
}

void __wrap_gmem_count_out(struct gmem *object, u64 index)
{
	once(&before_count);
	__real_gmem_count_out(object, index);
}

#define INDEX 77

static pfn_t winner;

static void get_it(void)
{
	assert_int_equal(__real_gmem_get_page(g, INDEX, true, &winner), 0);
	memset(pfn_to_virt(winner), 0x33, 8);
}

/* R34: the page is there when the frame for it has been got: the frame goes back. */
static void r34_the_loser_gives_its_frame_back(void **state)
{
	u64 before = start(MIB(16)), left;
	pfn_t pfn;

	assert_int_equal(gmem_create(100, &g), 0);
	assert_int_equal(gmem_get_page(g, 0, false, &pfn), 0);
	left = free_now();
	at_frame = get_it;
	assert_int_equal(gmem_get_page(g, INDEX, false, &pfn), 0);
	assert_int_equal(pfn.v, winner.v);
	assert_int_equal(*(u8 *)pfn_to_virt(pfn), 0x33);
	assert_true(gmem_entry(g, INDEX) & GMEM_DIRTY);
	assert_int_equal(left - free_now(), 1);
	assert_int_equal(g->resident, 2);
	assert_int_equal(gmem_resident_peak(g), 2);
	assert_int_equal(gmem_drop(g, INDEX), 0);
	assert_int_equal(g->resident, 1);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* The same with the chunk of entries. */
static void r34_the_loser_gives_its_chunk_back(void **state)
{
	u64 before = start(MIB(16)), left;
	pfn_t pfn;

	assert_int_equal(gmem_create(100, &g), 0);
	left = free_now();
	at_page = get_it;
	assert_int_equal(gmem_get_page(g, INDEX, false, &pfn), 0);
	assert_int_equal(pfn.v, winner.v);
	assert_int_equal(left - free_now(), 2);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* The last frame went to whoever got the same page: that is no lack of memory. */
static void get_it_and_fail(void)
{
	get_it();
	hosted_fail_after(1);
}

static void no_memory_is_needed_any_more(void **state)
{
	u64 before = start(MIB(16));
	pfn_t pfn;

	assert_int_equal(gmem_create(100, &g), 0);
	at_page = get_it_and_fail;
	assert_int_equal(gmem_get_page(g, INDEX, false, &pfn), 0);
	assert_true(hosted_fail_happened());
	assert_int_equal(pfn.v, winner.v);
	assert_int_equal(gmem_drop(g, INDEX), 0);
	at_frame = get_it_and_fail;
	assert_int_equal(gmem_get_page(g, INDEX, false, &pfn), 0);
	assert_true(hosted_fail_happened());
	assert_int_equal(pfn.v, winner.v);
	hosted_fail_after(0);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void drop_it(void)
{
	assert_int_equal(gmem_drop(g, INDEX), 0);
}

/* A page that can be taken away is counted already: else its going would be counted first. */
static void counted_before_it_can_go(void **state)
{
	u64 before = start(MIB(16));
	pfn_t pfn;

	assert_int_equal(gmem_create(100, &g), 0);
	before_count = drop_it;
	assert_int_equal(gmem_get_page(g, INDEX, true, &pfn), 0);
	assert_null(before_count);
	assert_int_equal(g->resident, 1);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* R37: a page that was got and taken away again before it was pinned is got once more. */
static void r37_gone_before_it_was_pinned(void **state)
{
	u64 before = start(MIB(16));
	pfn_t pfn;

	soil_free_memory();
	assert_int_equal(gmem_create(100, &g), 0);
	after_get = drop_it;
	assert_int_equal(gmem_pin(g, INDEX, true, &pfn), 0);
	assert_null(after_get);
	assert_int_equal(gmem_entry_pfn(gmem_entry(g, INDEX)).v, pfn.v);
	assert_int_equal(frame_of(pfn)->pins, 1);
	assert_int_equal(g->pins, 1);
	assert_int_equal(g->own.pins, 1);
	assert_true(all_zero(pfn, 0));
	gmem_unpin(g, INDEX, pfn, true);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* R08: a page that goes after it was looked up is not the sample's any more, if that came first. */
static void replace_it(void)
{
	pfn_t pfn;

	assert_int_equal(gmem_drop(g, INDEX), 0);
	assert_int_equal(__real_gmem_get_page(g, INDEX, true, &pfn), 0);
}

static void r08_sample_before_the_page(void **state)
{
	u64 before = start(MIB(16)), seq;
	pfn_t pfn;

	assert_int_equal(gmem_create(100, &g), 0);
	assert_int_equal(gmem_get_page(g, INDEX, true, &pfn), 0);
	seq = gmem_seq_sample(g, INDEX);
	/* Replaced before the lookup: refused without need, which costs a retry. */
	replace_it();
	assert_int_equal(gmem_lookup(g, INDEX, true, &pfn), 0);
	assert_false(gmem_seq_unchanged(g, INDEX, seq));
	/* After it: the frame may be anyone's by now. */
	seq = gmem_seq_sample(g, INDEX);
	assert_int_equal(gmem_lookup(g, INDEX, true, &pfn), 0);
	replace_it();
	assert_false(gmem_seq_unchanged(g, INDEX, seq));
	/* A sample that was taken after the lookup would have let it pass. */
	assert_true(gmem_seq_unchanged(g, INDEX, gmem_seq_sample(g, INDEX)));
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* A page of 2 MiB that is being made is nobody's yet, and is not made twice. */
static u64 frames_left;

static void look_at_large(void)
{
	pfn_t pfn, own;

	assert_int_equal(gmem_entry_state(gmem_entry(g, INDEX)), GMEM_BUSY);
	assert_int_equal(gmem_lookup(g, INDEX, false, &pfn), ERR_TOO_HARD);
	assert_int_equal(frame_alloc(9, 0, &own), 0);
	assert_int_equal(gmem_fill(g, 0, own, GMEM_LARGE_PAGES), ERR_EXIST);
	frame_free(own, 9);
	frames_left = free_now();
}

static void a_large_page_is_made_once(void **state)
{
	u64 before = start(MIB(16));
	pfn_t pfn;

	assert_int_equal(gmem_create_order(GMEM_LARGE_PAGES, 9, &g), 0);
	at_frame = look_at_large;
	assert_int_equal(gmem_get_page(g, INDEX, true, &pfn), 0);
	assert_null(at_frame);
	assert_int_equal(frames_left - free_now(), GMEM_LARGE_PAGES);
	assert_int_equal(g->resident, GMEM_LARGE_PAGES);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* Claimed, and not yet counted out: no large page, and nothing is remembered against it. */
static void look_for_large(void)
{
	pfn_t pfn;

	assert_int_equal(g->slot_phys[0].resident, GMEM_LARGE_PAGES);
	assert_false(gmem_large(g, 0, &pfn));
	assert_false(g->slot_phys[0].scattered);
}

static void no_large_page_with_a_claimed_one(void **state)
{
	u64 before = start(MIB(16)), entry;
	pfn_t block, pfn;

	assert_int_equal(gmem_create(GMEM_LARGE_PAGES, &g), 0);
	assert_int_equal(frame_alloc(9, 0, &block), 0);
	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	assert_int_equal(gmem_fill(g, 1, PFN(block.v + 1), GMEM_LARGE_PAGES - 1), 0);
	before_count = look_for_large;
	assert_int_equal(gmem_claim(g, 0, &entry), 0);
	assert_null(before_count);
	gmem_settle(g, 0, entry);
	gmem_unref(g);
	frame_free(block, 9);
	assert_int_equal(free_now(), before);
}

/* --- Who meets a page in the midst of a change sleeps, and is woken when it is done ----------- */

static pthread_t sleeper;
static pfn_t awoken;

static void *get_last(void *arg)
{
	hosted_cpu_set(1);
	assert_int_equal(__real_gmem_get_page(g, INDEX, true, &awoken), 0);
	return NULL;
}

static void let_one_sleep(void)
{
	struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	assert_int_equal(gmem_entry_state(gmem_entry(g, INDEX)), GMEM_BUSY);
	assert_int_equal(pthread_create(&sleeper, NULL, get_last, NULL), 0);
	nanosleep(&pause, NULL);
}

static void let_one_sleep_in_call(struct recorder *r, struct gmem *object)
{
	let_one_sleep();
}

static void a_drop_wakes(void **state)
{
	u64 before = start(MIB(16));
	struct recorder r;
	pfn_t pfn;

	assert_int_equal(gmem_create(100, &g), 0);
	assert_int_equal(gmem_get_page(g, INDEX, true, &pfn), 0);
	recorder_init(&r, 0);
	r.in_call = let_one_sleep_in_call;
	gmem_notifier_add(g, &r.n);
	assert_int_equal(gmem_drop_range(g, 0, 100, NULL), 0);
	pthread_join(sleeper, NULL);
	assert_int_equal(gmem_entry_pfn(gmem_entry(g, INDEX)).v, awoken.v);
	assert_true(all_zero(awoken, 0));
	gmem_notifier_remove(g, &r.n);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void a_fill_wakes(void **state)
{
	u64 before = start(MIB(16));
	pfn_t block;

	assert_int_equal(gmem_create(100, &g), 0);
	assert_int_equal(frame_alloc(2, 0, &block), 0);
	before_count = let_one_sleep;
	assert_int_equal(gmem_fill(g, INDEX - 3, block, 4), 0);
	pthread_join(sleeper, NULL);
	assert_int_equal(awoken.v, block.v + 3);
	gmem_unref(g);
	frame_free(block, 2);
	assert_int_equal(free_now(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r34_the_loser_gives_its_frame_back),
		cmocka_unit_test(r34_the_loser_gives_its_chunk_back),
		cmocka_unit_test(no_memory_is_needed_any_more),
		cmocka_unit_test(counted_before_it_can_go),
		cmocka_unit_test(r37_gone_before_it_was_pinned),
		cmocka_unit_test(r08_sample_before_the_page),
		cmocka_unit_test(a_large_page_is_made_once),
		cmocka_unit_test(no_large_page_with_a_claimed_one),
		cmocka_unit_test(a_drop_wakes),
		cmocka_unit_test(a_fill_wakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
