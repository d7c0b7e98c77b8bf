/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem tests/unit/mem/fixture.c */
/* Guest memory objects: pins, what they keep in place, and what bounds them. */
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/fixture.h"

static void unref(void *g)
{
	gmem_unref(g);
}

static void r37_pinned_pages_stay(void **state)
{
	u64 before = start(MIB(16)), entry;
	struct gmem *g;
	pfn_t pfn, other;

	assert_int_equal(gmem_create(100, &g), 0);
	assert_int_equal(gmem_pin(g, 100, false, &pfn), ERR_RANGE);
	assert_int_equal(gmem_pin(g, ~0ull, false, &pfn), ERR_RANGE);
	assert_int_equal(gmem_pin(g, 7, false, &pfn), 0);
	assert_int_equal(frame_of(pfn)->pins, 1);
	assert_int_equal(gmem_pin(g, 7, false, &other), 0);
	assert_int_equal(other.v, pfn.v);
	assert_int_equal(frame_of(pfn)->pins, 2);
	assert_false(gmem_entry(g, 7) & GMEM_DIRTY);
	/* A pinned page is not taken away (and is not freed: the object is still in use). */
	assert_int_equal(gmem_claim(g, 7, &entry), ERR_BUSY);
	assert_int_equal(gmem_drop(g, 7), ERR_BUSY);
	assert_int_equal(gmem_entry_state(gmem_entry(g, 7)), GMEM_GOT_PAGE);
	assert_true(hosted_catch_panic(unref, g));
	gmem_ref((g->refs = 1, g)); /* as before the panic, and one more */
	gmem_unref(g);
	gmem_unpin(g, 7, pfn, false);
	assert_int_equal(gmem_claim(g, 7, &entry), ERR_BUSY);
	assert_false(gmem_entry(g, 7) & GMEM_DIRTY);
	/* Whoever wrote says so with the unpin: it is dirty before it can be taken. */
	gmem_unpin(g, 7, pfn, true);
	assert_true(gmem_entry(g, 7) & GMEM_DIRTY);
	assert_int_equal(gmem_claim(g, 7, &entry), 0);
	assert_true(entry & GMEM_DIRTY);
	gmem_settle(g, 7, entry);
	assert_int_equal(gmem_drop(g, 7), 0);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

static void own_bound(void **state)
{
	u64 before = start(MIB(16));
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create(100, &g), 0);
	/* The bound holds for one page and for many, and what was refused left no pin. */
	for (u32 i = 0; i < GMEM_PINS_MAX; i++)
		assert_int_equal(gmem_pin(g, i % 10, true, &pfn), 0);
	assert_int_equal(gmem_pin(g, 5, true, &pfn), ERR_NOSPC);
	assert_int_equal(gmem_pin(g, 50, true, &pfn), ERR_NOSPC);
	assert_int_equal(gmem_pin(g, 100, true, &pfn), ERR_RANGE);
	assert_int_equal(gmem_entry(g, 50), GMEM_ABSENT);
	assert_int_equal(g->pins, GMEM_PINS_MAX);
	for (u32 i = 0; i < GMEM_PINS_MAX; i++)
		gmem_unpin(g, i % 10, gmem_entry_pfn(gmem_entry(g, i % 10)), true);
	assert_int_equal(g->pins, 0);
	assert_int_equal(gmem_pin(g, 50, true, &pfn), 0);
	gmem_unpin(g, 50, pfn, true);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

struct set_account {
	struct gmem *g;
	struct gmem_account *a;
};

static void set_account(void *arg)
{
	struct set_account *s = arg;

	gmem_set_account(s->g, s->a);
}

static void one_account_for_a_vm(void **state)
{
	u64 before = start(MIB(16));
	struct gmem_account a = {.pins_max = 3};
	struct set_account late = {.a = NULL};
	struct gmem *g, *h;
	pfn_t pfn[4];

	assert_int_equal(gmem_create(100, &g), 0);
	assert_int_equal(gmem_create(100, &h), 0);
	gmem_set_account(g, &a);
	gmem_set_account(h, &a);
	assert_int_equal(gmem_pin(g, 0, true, &pfn[0]), 0);
	assert_int_equal(gmem_pin(h, 0, true, &pfn[1]), 0);
	assert_int_equal(gmem_pin(g, 0, true, &pfn[2]), 0);
	assert_int_equal(a.pins, 3);
	assert_int_equal(gmem_pin(g, 1, true, &pfn[3]), ERR_NOSPC);
	assert_int_equal(gmem_pin(h, 0, true, &pfn[3]), ERR_NOSPC);
	assert_int_equal(a.pins, 3);
	gmem_unpin(h, 0, pfn[1], false);
	assert_int_equal(gmem_pin(g, 1, true, &pfn[3]), 0);
	assert_int_equal(a.pins, 3);
	/* Who changes the account while there are pins would give them back to the wrong one. */
	late.g = g;
	assert_true(hosted_catch_panic(set_account, &late));
	gmem_unpin(g, 1, pfn[3], false);
	gmem_unpin(g, 0, pfn[2], false);
	gmem_unpin(g, 0, pfn[0], false);
	assert_int_equal(a.pins, 0);
	/* Without an account its own bound is there again. */
	gmem_set_account(g, NULL);
	a.pins_max = 0;
	assert_int_equal(gmem_pin(h, 0, true, &pfn[0]), ERR_NOSPC);
	assert_int_equal(gmem_pin(g, 0, true, &pfn[0]), 0);
	gmem_unpin(g, 0, pfn[0], false);
	gmem_unref(g);
	gmem_unref(h);
	assert_int_equal(free_now(), before);
}

/* Weir's own short use of a page keeps it where it is, and is on nobody's account. */
static void holds_are_not_charged(void **state)
{
	u64 before = start(MIB(16)), entry;
	struct gmem_account a = {.pins_max = 1};
	struct gmem *g;
	pfn_t pfn, held;

	assert_int_equal(gmem_create(10, &g), 0);
	gmem_set_account(g, &a);
	assert_int_equal(gmem_hold(g, 10, false, &held), ERR_RANGE);
	assert_int_equal(gmem_pin(g, 1, true, &pfn), 0);
	assert_int_equal(gmem_hold(g, 1, true, &held), 0);
	assert_int_equal(held.v, pfn.v);
	assert_int_equal(gmem_hold(g, 2, true, &held), 0);
	assert_int_equal(a.pins, 1);
	assert_int_equal(g->pins, 3);
	gmem_unpin(g, 1, pfn, false);
	assert_int_equal(a.pins, 0);
	assert_true(gmem_stays(g, 1) && gmem_stays(g, 2));
	assert_false(gmem_stays(g, 3) || gmem_stays(g, 10));
	assert_int_equal(gmem_claim(g, 1, &entry), ERR_BUSY);
	assert_int_equal(gmem_drop(g, 2), ERR_BUSY);
	gmem_release(g, 1, pfn, false);
	gmem_release(g, 2, held, true);
	assert_false(gmem_stays(g, 1) || gmem_stays(g, 2));
	assert_int_equal(g->pins, 0);
	assert_int_equal(gmem_drop(g, 2), 0);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

/* However many a VM may have, a frame counts 65535. */
static void one_frame_counts_so_far(void **state)
{
	u64 before = start(MIB(16));
	struct gmem_account a = {.pins_max = ~0u};
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create(2, &g), 0);
	gmem_set_account(g, &a);
	for (u32 i = 0; i < UINT16_MAX; i++)
		assert_int_equal(gmem_pin(g, 0, false, &pfn), 0);
	assert_int_equal(gmem_pin(g, 0, false, &pfn), ERR_NOSPC);
	assert_int_equal(a.pins, UINT16_MAX);
	assert_int_equal(g->pins, UINT16_MAX);
	assert_int_equal(gmem_pin(g, 1, false, &pfn), 0);
	gmem_unpin(g, 1, pfn, false);
	pfn = gmem_entry_pfn(gmem_entry(g, 0));
	for (u32 i = 0; i < UINT16_MAX; i++)
		gmem_unpin(g, 0, pfn, false);
	gmem_unref(g);
	assert_int_equal(free_now(), before);
}

struct unpin {
	struct gmem *g;
	u64 index;
	pfn_t pfn;
};

static void do_unpin(void *arg)
{
	struct unpin *u = arg;

	gmem_unpin(u->g, u->index, u->pfn, false);
}

static bool unpin_panics(struct unpin u)
{
	bool caught = hosted_catch_panic(do_unpin, &u);

	/* The object's lock is left as the panic found it. */
	hosted_locks_forget();
	u.g->lock.owner = u.g->lock.next;
	return caught;
}

static void unpins_that_have_no_pin(void **state)
{
	struct gmem *g;
	pfn_t pfn, other;

	start(MIB(16));
	assert_int_equal(gmem_create(1000, &g), 0);
	assert_int_equal(gmem_pin(g, 3, false, &pfn), 0);
	assert_int_equal(gmem_get_page(g, 4, false, &other), 0);
	assert_true(unpin_panics((struct unpin){g, 3, other}));
	assert_true(unpin_panics((struct unpin){g, 4, other}));
	assert_true(unpin_panics((struct unpin){g, 1000, pfn}));
	assert_true(unpin_panics((struct unpin){g, 999, pfn}));
	assert_true(unpin_panics((struct unpin){g, 3, PFN(BIT(40))}));
	gmem_unpin(g, 3, pfn, false);
	assert_true(unpin_panics((struct unpin){g, 3, pfn}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r37_pinned_pages_stay),
		cmocka_unit_test(own_bound),
		cmocka_unit_test(one_account_for_a_vm),
		cmocka_unit_test(holds_are_not_charged),
		cmocka_unit_test(one_frame_counts_so_far),
		cmocka_unit_test(unpins_that_have_no_pin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
