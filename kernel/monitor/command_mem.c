/* SPDX-License-Identifier: MIT */
/* The command that shows who has memory, from the counters. */
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "kernel/config.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/pager.h"

#define NAME_COLUMNS 12 /* 79 with the others */

struct memory_row {
	char scope[sizeof("vm.") + CONFIG_NAME_MAX];
	u64 resident, absent, filled, shared, packed, packed_bytes, swapped, working_set;
};

struct memory_table {
	struct memory_row rows[CONFIG_VMS_MAX];
	u32 count;
};

static struct memory_row *row_of(struct memory_table *t, const char *scope)
{
	struct memory_row *row;

	for (u32 i = 0; i < t->count; i++) {
		if (strcmp(t->rows[i].scope, scope) == 0)
			return &t->rows[i];
	}
	if (t->count == CONFIG_VMS_MAX)
		return NULL;
	row = &t->rows[t->count++];
	memset(row, 0, sizeof(*row));
	strlcpy(row->scope, scope, sizeof(row->scope));
	return row;
}

/* A VM's name may have a group's name in it: its other counters fit the pattern, too. */
static void note_memory(const struct stat_value *v, void *arg)
{
	static const struct {
		const char *group, *name;
		size_t offset;
	} columns[] = {
		{"memory", "got_page", offsetof(struct memory_row, resident)},
		{"memory", "absent", offsetof(struct memory_row, absent)},
		{"memory", "filled", offsetof(struct memory_row, filled)},
		{"memory", "shared", offsetof(struct memory_row, shared)},
		{"memory", "packed", offsetof(struct memory_row, packed)},
		{"reclaim", "packed_bytes", offsetof(struct memory_row, packed_bytes)},
		{"memory", "swapped", offsetof(struct memory_row, swapped)},
		{"reclaim", "working_set", offsetof(struct memory_row, working_set)},
	};
	struct memory_row *row = row_of(arg, v->scope);

	for (u32 i = 0; row && i < ARRAY_SIZE(columns); i++) {
		if (strcmp(columns[i].group, v->group) == 0 &&
		    strcmp(columns[i].name, v->desc->name) == 0)
			*(u64 *)((u8 *)row + columns[i].offset) = v->value;
	}
}

static void note_value(const struct stat_value *v, void *arg)
{
	*(u64 *)arg = v->value;
}

static u64 counter(const char *name)
{
	u64 value = 0;

	stat_for_each(name, note_value, &value);
	return value;
}

static struct size_text pages_text(u64 pages)
{
	return size_text(pages << PAGE_SHIFT);
}

/* a to b with one digit after the point. */
struct ratio_text {
	char text[24];
};

static struct ratio_text ratio(u64 a, u64 b)
{
	struct ratio_text r = {"-"};
	u64 tenths = b ? (a * 10 + b / 2) / b : 0;

	if (b)
		snprintf(r.text, sizeof(r.text), "%llu.%llu", (unsigned long long)(tenths / 10),
			 (unsigned long long)(tenths % 10));
	return r;
}

/* A line of uses, as many as there is room for. */
struct uses_line {
	char text[96];
	u32 length;
};

static void print_uses(struct uses_line *l)
{
	if (l->length)
		monitor_print("in use for %s", l->text);
	l->length = 0;
}

static void note_use(const struct stat_value *v, void *arg)
{
	struct uses_line *l = arg;
	u32 left = sizeof(l->text) - l->length;
	int length;

	if (!v->value)
		return;
	length = snprintf(l->text + l->length, left, "%s%s %s", l->length ? ", " : "",
			  v->desc->name, pages_text(v->value).text);
	if (length >= 0 && (u32)length < left) {
		l->length += (u32)length;
		return;
	}
	l->text[l->length] = 0;
	print_uses(l);
	l->length = (u32)snprintf(l->text, sizeof(l->text), "%s %s", v->desc->name,
				  pages_text(v->value).text);
}

static void print_all_uses(void)
{
	struct uses_line l = {.length = 0};

	stat_for_each("used_for.*", note_use, &l);
	print_uses(&l);
}

static void print_machine(void)
{
	static const char *const states[] = {"enough is free", "low", "short"};
	u64 total = counter("frames.total"), free = counter("frames.free");
	u64 pool = counter("rma_pool.pages"), committed = counter("memory.committed");
	u64 state = min(counter("memory.state"), (u64)ARRAY_SIZE(states) - 1);

	monitor_print("RAM for Weir and VMs %10s, in use %s, free %s", pages_text(total).text,
		      pages_text(total - free).text, pages_text(free).text);
	print_all_uses();
	monitor_print("memory: %s; watermarks: min %s, low %s, high %s", states[state],
		      pages_text(counter("memory.min")).text,
		      pages_text(counter("memory.low")).text,
		      pages_text(counter("memory.high")).text);
	monitor_print("committed: %s, %s times RAM; promised %s of %s", pages_text(committed).text,
		      ratio(committed, total).text, pages_text(counter("memory.promised")).text,
		      pages_text(counter("memory.room")).text);
	if (pool)
		monitor_print("pool of real-mode areas %s, in use %s, longest free piece %s",
			      pages_text(pool).text, pages_text(counter("rma_pool.used")).text,
			      pages_text(counter("rma_pool.longest_free")).text);
}

static void note_node(const struct stat_value *v, void *arg)
{
	u64 *node = arg;

	node[0] = strcmp(v->desc->name, "total") == 0 ? v->value : node[0];
	node[1] = strcmp(v->desc->name, "free") == 0 ? v->value : node[1];
	node[2] = strcmp(v->desc->name, "low") == 0 ? v->value : node[2];
	if (strcmp(v->desc->name, "high"))
		return;
	monitor_print("%s: %s, free %s; its part of low %s, of high %s", v->scope,
		      pages_text(node[0]).text, pages_text(node[1]).text, pages_text(node[2]).text,
		      pages_text(v->value).text);
}

/* Where there is more than one. */
static void print_nodes(void)
{
	u64 node[3] = {0};

	stat_for_each("node.*", note_node, node);
}

void command_mem(u32 argc, char **argv)
{
	static struct memory_table t;

	(void)argc;
	(void)argv;
	print_machine();
	print_nodes();
	t.count = 0;
	stat_for_each("vm.*.memory.*", note_memory, &t);
	stat_for_each("vm.*.reclaim.*", note_memory, &t);
	if (!t.count) {
		monitor_print("no VM runs");
		return;
	}
	monitor_print("%-*s %8s %8s %7s %7s %8s %5s %8s %8s", NAME_COLUMNS, "VM", "RESIDENT",
		      "ZERO", "SAME", "SHARED", "PACKED", "RATIO", "SWAPPED", "WORKING");
	for (u32 i = 0; i < t.count; i++) {
		const struct memory_row *r = &t.rows[i];

		monitor_print("%-*s %8s %8s %7s %7s %8s %5s %8s %8s", NAME_COLUMNS,
			      pager_name(r->scope + 3, NAME_COLUMNS).text,
			      pages_text(r->resident).text, pages_text(r->absent).text,
			      pages_text(r->filled).text, pages_text(r->shared).text,
			      pages_text(r->packed).text,
			      ratio(r->packed << PAGE_SHIFT, r->packed_bytes).text,
			      pages_text(r->swapped).text, pages_text(r->working_set).text);
	}
}
