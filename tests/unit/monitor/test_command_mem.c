/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/command_mem.c kernel/monitor/cut_name.c */
/* The table of mem, from counters of VMs whose names have dots and groups' names in them. */
#include "kernel/base/stat.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/pager.h"
#include "tests/unit/monitor/said.h"

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static const struct stat_desc memory_descs[] = {
	{"got_page", "pages", "Resident.", true},
	{"absent", "pages", "Never touched.", true},
	{"packed", "pages", "Packed.", true},
};
static const struct stat_desc reclaim_descs[] = {
	{"working_set", "pages", "Worked with.", true},
	{"packed_bytes", "bytes", "Packed to.", true},
};
/* Named as what mem looks for, in a group that it does not. */
static const struct stat_desc pond_descs[] = {
	{"got_page", "pages", "Leaves.", true},
	{"packed_bytes", "bytes", "Mud.", true},
};
static const u64 memory[] = {256, 512, 2}, reclaim[] = {128, 4096}, pond[] = {1 << 20, 1 << 20};
static const struct stat_group of_vm[] = {
	{.name = "memory", .descs = memory_descs, .count = 3, .owner = memory},
	{.name = "reclaim", .descs = reclaim_descs, .count = 2, .owner = reclaim},
	{.name = "pond", .descs = pond_descs, .count = 2, .owner = pond},
};

static struct stat_group groups[12];

struct cut_name pager_name(const char *name, u32 columns)
{
	return cut_name(name, columns);
}

static void add_vm(u32 i, const char *scope)
{
	for (u32 k = 0; k < ARRAY_SIZE(of_vm); k++) {
		struct stat_group *g = &groups[i * ARRAY_SIZE(of_vm) + k];

		*g = of_vm[k];
		g->scope = scope;
		g->read = stat_read_field;
		stat_register(g);
	}
}

static int end(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(groups); i++) {
		stat_unregister(&groups[i]);
		groups[i].link.next = NULL;
	}
	return 0;
}

static void names_with_dots(void **state)
{
	static const char *const names[] = {"a.memory", "a.reclaim", "b", "debian~sting"};
	static const char *const scopes[] = {"vm.a.memory", "vm.a.reclaim", "vm.b",
					     "vm.debian-or-so.testing"};

	for (u32 i = 0; i < ARRAY_SIZE(scopes); i++)
		add_vm(i, scopes[i]);
	said[0] = 0;
	command_mem(0, NULL);
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		char row[128];

		snprintf(row, sizeof(row), "\n%-12s %8s %8s %7s %7s %8s %5s %8s %8s\n", names[i],
			 "1M", "2M", "0", "0", "8K", "2.0", "0", "512K");
		assert_non_null(strstr(said, row));
		assert_true(strlen(row) - 2 < PAGER_COLUMNS);
	}
}

#define STAT(name)                                       \
	{                                                \
		name, "frames", "Of a node.", STAT_LEVEL \
	}

/* A line for each memory node, where there are such. */
static void with_nodes(void **state)
{
	static const struct stat_desc descs[] = {STAT("total"), STAT("free"), STAT("low"),
						 STAT("high"), STAT("taken")};
	static const u64 values[2][5] = {{512, 256, 1, 2, 9}, {1024, 0, 3, 4, 9}};
	static const char *const scopes[] = {"node.0", "node.1"};

	for (u32 i = 0; i < 2; i++) {
		groups[i] = (struct stat_group){.scope = scopes[i],
						.name = "memory",
						.descs = descs,
						.count = ARRAY_SIZE(descs),
						.read = stat_read_field,
						.owner = values[i]};
		stat_register(&groups[i]);
	}
	said[0] = 0;
	command_mem(0, NULL);
	assert_non_null(strstr(said, "\nnode.0: 2M, free 1M; its part of low 4K, of high 8K\n"
				     "node.1: 4M, free 0; its part of low 12K, of high 16K\n"));
}

static void without_vms(void **state)
{
	said[0] = 0;
	command_mem(0, NULL);
	assert_non_null(strstr(said, "\nno VM runs\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(names_with_dots, end),
		cmocka_unit_test_teardown(with_nodes, end),
		cmocka_unit_test_teardown(without_vms, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
