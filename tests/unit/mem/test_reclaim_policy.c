/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/reclaim_policy.c */
/* The formula by which VMs give, in tables: who pays less for a page, and what a working set is. */
#include <cmocka.h>
#include "mem/reclaim_policy.h"

#define M 256u /* pages of a MiB */

static void who_gives_first(void **state)
{
	static const struct {
		struct reclaim_claim a, b;
		u32 tax;
		bool a_first, b_first;
	} cases[] = {
		/* All used: shares for each page alone. */
		{{64 * M, 64 * M, 64}, {64 * M, 64 * M, 64}, 75, false, false},
		{{65 * M, 65 * M, 64}, {64 * M, 64 * M, 64}, 75, true, false},
		{{64 * M, 64 * M, 100}, {64 * M, 64 * M, 300}, 75, true, false},
		{{96 * M, 96 * M, 300}, {64 * M, 64 * M, 100}, 75, false, true},
		/* 75 %: an idle page costs four used ones. */
		{{32 * M, 0, 64}, {127 * M, 127 * M, 64}, 75, true, false},
		{{32 * M, 0, 64}, {128 * M, 128 * M, 64}, 75, false, false},
		{{32 * M, 0, 64}, {129 * M, 129 * M, 64}, 75, false, true},
		/* Half idle: 16 + 4 * 16 = 80. */
		{{32 * M, 16 * M, 64}, {79 * M, 79 * M, 64}, 75, true, false},
		{{32 * M, 16 * M, 64}, {81 * M, 81 * M, 64}, 75, false, true},
		/* A rich VM's idle memory goes before a poor one's that works: 4 * 1024 / 4 > 600. */
		{{1024 * M, 0, 4000}, {600 * M, 600 * M, 1000}, 75, true, false},
		/* 50 %: two for one. No tax: idleness is no matter. */
		{{32 * M, 0, 64}, {63 * M, 63 * M, 64}, 50, true, false},
		{{32 * M, 0, 64}, {65 * M, 65 * M, 64}, 50, false, true},
		{{32 * M, 0, 64}, {33 * M, 33 * M, 64}, 0, false, true},
		/* 99 %: a hundred. */
		{{1 * M, 0, 64}, {99 * M, 99 * M, 64}, 99, true, false},
		{{1 * M, 0, 64}, {101 * M, 101 * M, 64}, 99, false, true},
		/* More used than there is: all of it. */
		{{32 * M, 64 * M, 64}, {32 * M, 32 * M, 64}, 75, false, false},
		/* Nothing to give, and the largest there are. */
		{{0, 0, 1}, {1, 1, RECLAIM_SHARES_MAX}, 75, false, true},
		{{1ull << 36, 0, 1}, {1ull << 36, 0, RECLAIM_SHARES_MAX}, 99, true, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(reclaim_pays_less(&cases[i].a, &cases[i].b, cases[i].tax),
				 cases[i].a_first);
		assert_int_equal(reclaim_pays_less(&cases[i].b, &cases[i].a, cases[i].tax),
				 cases[i].b_first);
	}
}

/* Taken page by page from who pays less, memory comes to be divided as the formula says. */
static void equilibrium(void **state)
{
	static const struct {
		struct reclaim_claim a, b;
		u32 tax;
		u64 end_a; /* MiB left to a of 64 that are left to both */
	} cases[] = {
		{{64 * M, 64 * M, 1}, {64 * M, 64 * M, 1}, 75, 32},
		{{64 * M, 64 * M, 1}, {64 * M, 64 * M, 3}, 75, 16},
		{{64 * M, 4 * M, 1}, {64 * M, 64 * M, 1}, 75, 15}, /* 4 + 4 * 11.2 = 48.8 */
		{{64 * M, 4 * M, 1}, {64 * M, 64 * M, 1}, 0, 32},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct reclaim_claim a = cases[i].a, b = cases[i].b;

		while (a.pages + b.pages > 64 * M) {
			if (reclaim_pays_less(&a, &b, cases[i].tax))
				a.pages--;
			else
				b.pages--;
		}
		assert_in_range(a.pages, cases[i].end_a * M - M / 2, cases[i].end_a * M + M / 2);
	}
}

static void working_set(void **state)
{
	u64 ws = 0;

	ws = reclaim_working_set(ws, 1000, 1000000);
	assert_int_equal(ws, 1000); /* at once */
	ws = reclaim_working_set(ws, 0, RECLAIM_MEMORY_NS);
	assert_int_equal(ws, 500);
	/* In 100 rounds of 20 ms as in one of 2 s, nearly. */
	ws = 1000;
	for (u32 i = 0; i < 100; i++)
		ws = reclaim_working_set(ws, 0, 20000000);
	assert_in_range(ws, 550, 650);
	/* And to nothing in the end, however short the rounds. */
	for (u32 i = 0; i < 5000; i++)
		ws = reclaim_working_set(ws, 0, 1000000);
	assert_int_equal(ws, 0);
	assert_int_equal(reclaim_working_set(10, 20, ~0ull), 20);
	assert_int_equal(reclaim_working_set(20, 10, ~0ull), 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_gives_first),
		cmocka_unit_test(equilibrium),
		cmocka_unit_test(working_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
