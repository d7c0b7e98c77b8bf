/* SPDX-License-Identifier: MIT */
/* The registry of counters: names, order, patterns, sums, and the rules that a row must keep. */
#include "kernel/base/printf.h"
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define POND_STATS(X)                              \
	X(leaps, "count", "Frogs that jumped in.") \
	X(depth, "pages", "Pages that hold water now.", STAT_LEVEL)

struct pond_stats {
	POND_STATS(STAT_FIELD)
};
static const struct stat_desc pond_descs[] = {POND_STATS(STAT_DESC)};
STAT_CHECK(pond_stats, pond_descs);

static char seen[1024];
static u32 lock_depth, locks;

static void take(void)
{
	assert_int_equal(lock_depth++, 0);
	locks++;
}

static void release(void)
{
	assert_int_equal(--lock_depth, 0);
}

static void note(const struct stat_value *v, void *arg)
{
	size_t at = strlen(seen);

	assert_ptr_equal(arg, seen);
	weir_snprintf(seen + at, sizeof(seen) - at, "%s=%llu %s\n", v->name,
		      (unsigned long long)v->value, v->desc->unit);
}

static const char *list_all(const char *pattern, u32 fitted)
{
	seen[0] = 0;
	assert_int_equal(stat_for_each(pattern, note, seen), fitted);
	return seen;
}

static struct stat_group group(const char *scope, const char *name, const struct pond_stats *s)
{
	return (struct stat_group){
		.scope = scope,
		.name = name,
		.descs = pond_descs,
		.count = ARRAY_SIZE(pond_descs),
		.read = stat_read_field,
		.owner = s,
	};
}

static void test_lists_what_is_registered(void **state)
{
	struct pond_stats a = {.leaps = 7, .depth = 3}, b = {.leaps = 1};
	struct stat_group own = group("", "pond", &a), of_vm = group("vm.a.b", "pond", &b);

	assert_string_equal(list_all(NULL, 0), "");
	stat_register(&own);
	stat_register(&of_vm);
	b.depth = ~0ull;
	assert_string_equal(list_all(NULL, 4), "pond.leaps=7 count\npond.depth=3 pages\n"
					       "vm.a.b.pond.leaps=1 count\n"
					       "vm.a.b.pond.depth=18446744073709551615 pages\n");
	stat_unregister(&own);
	assert_string_equal(list_all("*.leaps", 1), "vm.a.b.pond.leaps=1 count\n");
	stat_unregister(&of_vm);
	assert_string_equal(list_all(NULL, 0), "");
}

static void test_patterns(void **state)
{
	static const struct {
		const char *pattern;
		u32 fitted;
	} cases[] = {
		{"vm.a.pond.leaps", 1},
		{"vm.a.pond.leap", 0},
		{"vm.a.pond.leapss", 0},
		{"vm.a.*", 2},
		{"*", 2},
		{"**", 2},
		{"", 0},
		{"vm.?.pond.*", 2},
		{"*.leaps", 1},
		{"*leaps*", 1},
		{"*p*d*p*", 2},
		{"?*?", 2},
		{"*.a.*.d*", 1},
		{"vm.a", 0},
		{"*x*", 0},
		{"*pond.depth?", 0},
		{"*pond.dept?", 1},
	};
	struct pond_stats s = {0};
	struct stat_group g = group("vm.a", "pond", &s);

	stat_register(&g);
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++)
		list_all(cases[i].pattern, cases[i].fitted);
	stat_unregister(&g);
}

/* A pattern that makes a naive matcher try 2^n ways. */
static void test_a_pattern_costs_little(void **state)
{
	static char pattern[200];
	struct pond_stats s = {0};
	struct stat_group g = group("vm.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "pond", &s);

	for (u32 i = 0; i < 90; i++)
		memcpy(pattern + 2 * i, "a*", 3);
	stat_register(&g);
	list_all(pattern, 0);
	memcpy(pattern, "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*z", 44);
	list_all(pattern, 0);
	stat_unregister(&g);
}

static void test_sums_over_cpus(void **state)
{
	struct padded {
		u64 before;
		struct pond_stats s;
		u64 after[3];
	} cpus[4] = {
		{1, {10, 5}, {1, 1, 1}},
		{1, {20, (u64)-4}, {1, 1, 1}}, /* gave back what others took */
		{1, {0, 1}, {1, 1, 1}},
		{1, {3, 0}, {1, 1, 1}},
	};

	assert_int_equal(stat_sum_field(&cpus[0].s, sizeof(cpus[0]), 4, 0), 33);
	assert_int_equal(stat_sum_field(&cpus[0].s, sizeof(cpus[0]), 4, 1), 2);
	assert_int_equal(stat_sum_field(&cpus[0].s, sizeof(cpus[0]), 0, 1), 0);
}

static void test_takes_the_lock(void **state)
{
	struct pond_stats s = {0};
	struct stat_group g = group("", "pond", &s), never = {0};

	stat_set_lock(take, release);
	locks = 0;
	stat_register(&g);
	list_all(NULL, 2);
	stat_unregister(&g);
	assert_int_equal(locks, 3);
	stat_unregister(&g); /* twice, and never at all: harmless */
	stat_unregister(&never);
	stat_set_lock(NULL, NULL);
}

static void do_register(void *g)
{
	stat_register(g);
}

static void expect_refused(const struct stat_desc *d, const char *scope, const char *name)
{
	static struct stat_group g; /* a panic leaves the stack behind */

	g = (struct stat_group){
		.scope = scope, .name = name, .descs = d, .count = 1, .read = stat_read_field};
	assert_true(hosted_catch_panic(do_register, &g));
}

static void test_refuses_what_breaks_the_rules(void **state)
{
	static const struct stat_desc sound = {"leaps", "count", "Frogs that jumped in.", false};
	static const struct stat_desc broken[] = {
		{NULL, NULL, NULL, false},
		{"leaps", "count", NULL, false},
		{"leaps", NULL, "Frogs that jumped in.", false},
		{"", "count", "Frogs that jumped in.", false},
		{"a.b", "count", "Frogs that jumped in.", false},
		{"Leaps", "count", "Frogs that jumped in.", false},
		{"leaps", "", "Frogs that jumped in.", false},
		{"leaps", "two words", "Frogs jumped in.", false},
		{"leaps", "count", "", false},
		{"leaps", "count", ".", false},
		{"leaps", "count", "No full stop", false},
		{"leaps", "count", "small letter.", false},
	};
	char long_scope[STAT_NAME_MAX];
	struct pond_stats s = {0};
	struct stat_group g = group("", "pond", &s);

	for (u32 i = 0; i < ARRAY_SIZE(broken); i++)
		expect_refused(&broken[i], "", "pond");
	expect_refused(&sound, "", "a.b");
	memset(long_scope, 'x', sizeof(long_scope));
	long_scope[STAT_NAME_MAX - 11] = 0; /* with .pond.leaps and its end: one too long */
	expect_refused(&sound, long_scope, "pond");
	stat_register(&g);
	expect_refused(&sound, "", "pond");
	stat_unregister(&g);
	assert_int_equal(stat_for_each(NULL, note, seen), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists_what_is_registered),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_a_pattern_costs_little),
		cmocka_unit_test(test_sums_over_cpus),
		cmocka_unit_test(test_takes_the_lock),
		cmocka_unit_test(test_refuses_what_breaks_the_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
