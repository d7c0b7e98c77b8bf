/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/metrics.c */
/*
 * Counters as OpenMetrics text. Besides what is compared here, the whole text goes through
 * tests/tools/openmetrics.py, which knows the format and nothing of Weir.
 */
#include "kernel/monitor/metrics.h"
#include "kernel/base/string.h"

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POND_STATS(X)                                                    \
	X(leaps, "count", "Frogs that jumped in.")                       \
	X(depth, "pages", "Pages that hold water now.", STAT_LEVEL)      \
	X(drunk, "pages", "Pages of water that were drunk.")             \
	X(asleep, "ns", "Time that frogs slept, \"deep\" or \\not.")     \
	X(pages, "pages", "Pages that the pond could hold.", STAT_LEVEL) \
	X(rain_drops, "drops", "Drops that fell into it.")               \
	X(raindrops, "drops", "Drops that fell beside it.")

struct pond_stats {
	POND_STATS(STAT_FIELD)
};
static const struct stat_desc pond_descs[] = {POND_STATS(STAT_DESC)};
STAT_CHECK(pond_stats, pond_descs);

static struct pond_stats own = {1, 2, 3, 4000000005ull, 6, 7, 8},
			 of_a = {~0ull, 7, 8, 9, 10, 11, 12}, of_b = {11, 12, 13, 14, 15, 16, 17};
static struct stat_group groups[4] = {
	{.scope = "vm.a-1.x_", .owner = &of_a},
	{.scope = "", .owner = &own},
	{.scope = "node.0", .owner = &own},
	{.scope = "vm.b", .owner = &of_b},
};

static char text[8192];
static u32 lines, lines_wanted;

static bool emit(const char *line, void *arg)
{
	assert_ptr_equal(arg, text);
	strcat(text, line);
	strcat(text, "\n");
	return ++lines < lines_wanted;
}

static void make_text(u32 wanted)
{
	text[0] = 0;
	lines = 0;
	lines_wanted = wanted;
	metrics_each_line(emit, text);
}

static int add_groups(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(groups); i++) {
		groups[i].name = "pond";
		groups[i].descs = pond_descs;
		groups[i].count = ARRAY_SIZE(pond_descs);
		groups[i].read = stat_read_field;
		stat_register(&groups[i]);
	}
	return 0;
}

static int remove_groups(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(groups); i++)
		stat_unregister(&groups[i]);
	return 0;
}

static void test_families(void **state)
{
	static const char vms[] = "# TYPE weir_vm_pond_leaps counter\n"
				  "# HELP weir_vm_pond_leaps Frogs that jumped in.\n"
				  "weir_vm_pond_leaps_total{vm=\"a-1.x_\"} 18446744073709551615\n"
				  "weir_vm_pond_leaps_total{vm=\"b\"} 11\n"
				  "# TYPE weir_vm_pond_depth_pages gauge\n"
				  "# UNIT weir_vm_pond_depth_pages pages\n"
				  "# HELP weir_vm_pond_depth_pages Pages that hold water now.\n"
				  "weir_vm_pond_depth_pages{vm=\"a-1.x_\"} 7\n"
				  "weir_vm_pond_depth_pages{vm=\"b\"} 12\n";

	make_text(~0u);
	assert_memory_equal(text, vms, sizeof(vms) - 1);
	assert_non_null(strstr(text, "\nweir_node_pond_leaps_total{node=\"0\"} 1\n"));
	assert_non_null(strstr(text, "# UNIT weir_pond_asleep_seconds seconds\n"));
	assert_non_null(strstr(text, "\nweir_pond_asleep_seconds_total 4.000000005\n"));
	assert_non_null(strstr(text, "\nweir_pond_drunk_pages_total 3\n"));
	assert_non_null(strstr(text, "\nweir_pond_pages 6\n"));
	assert_non_null(strstr(text, "\nweir_pond_rain_drops_total 7\n"));
	assert_non_null(strstr(text, "\nweir_pond_raindrops_drops_total 8\n"));
	assert_non_null(strstr(text, "slept, \\\"deep\\\" or \\\\not.\n"));
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
}

static void test_ends_when_told(void **state)
{
	make_text(3);
	assert_int_equal(lines, 3);
	assert_null(strstr(text, "# EOF"));
}

static void test_an_independent_reader_accepts_it(void **state)
{
	FILE *pipe = popen("/usr/bin/python3 tests/tools/openmetrics.py", "w");

	make_text(~0u);
	assert_non_null(pipe);
	fputs(text, pipe);
	assert_int_equal(pclose(pipe), 0);
}

static void test_nothing_is_counted(void **state)
{
	remove_groups(state);
	make_text(~0u);
	assert_string_equal(text, "# EOF\n");
	add_groups(state);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_ends_when_told),
		cmocka_unit_test(test_an_independent_reader_accepts_it),
		cmocka_unit_test(test_nothing_is_counted),
	};

	return cmocka_run_group_tests(tests, add_groups, remove_groups);
}
