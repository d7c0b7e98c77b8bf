/* SPDX-License-Identifier: MIT */
/* Commands that show what is counted, and the log. */
#include "kernel/base/log_ring.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "kernel/config.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/metrics.h"

#define LOG_LINES_DEFAULT 40
#define LOG_LINES_MOST	  100000

/* --- stat, metrics --- */

struct stat_listing {
	bool stopped;
};

static void print_counter(const struct stat_value *v, void *arg)
{
	struct stat_listing *l = arg;

	l->stopped = l->stopped || monitor_stopped();
	if (!l->stopped)
		monitor_print("%s %llu %s: %s", v->name, (unsigned long long)v->value,
			      v->desc->unit, v->desc->sentence);
}

static bool print_metric(const char *line, void *arg)
{
	(void)arg;
	monitor_print("%s", line);
	return !monitor_stopped();
}

void command_metrics(u32 argc, char **argv)
{
	(void)argc;
	(void)argv;
	metrics_each_line(print_metric, NULL);
}

void command_stat(u32 argc, char **argv)
{
	char pattern[EDIT_LINE_MAX + 2] = "*";
	struct stat_listing l = {.stopped = false};

	if (argc && strcmp(argv[0], "-m") == 0) {
		command_metrics(0, NULL);
		return;
	}
	if (argc) {
		bool whole = strchr(argv[0], '*') || strchr(argv[0], '?');

		snprintf(pattern, sizeof(pattern), whole ? "%s" : "*%s*", argv[0]);
	}
	if (!stat_for_each(pattern, print_counter, &l))
		monitor_print("no counter's name fits '%s'", argv[0]);
}

/* --- mem --- */

struct memory_row {
	char scope[sizeof("vm.") + CONFIG_NAME_MAX];
	u64 resident, shared, packed, swapped, absent, peak, pins;
};

struct memory_table {
	struct memory_row rows[CONFIG_VMS_MAX];
	u32 count;
};

static void note_memory(const struct stat_value *v, void *arg)
{
	static const struct {
		const char *name;
		size_t offset;
	} columns[] = {
		{"got_page", offsetof(struct memory_row, resident)},
		{"shared", offsetof(struct memory_row, shared)},
		{"packed", offsetof(struct memory_row, packed)},
		{"swapped", offsetof(struct memory_row, swapped)},
		{"absent", offsetof(struct memory_row, absent)},
		{"peak", offsetof(struct memory_row, peak)},
		{"pins", offsetof(struct memory_row, pins)},
	};
	struct memory_table *t = arg;
	struct memory_row *row = t->count ? &t->rows[t->count - 1] : NULL;

	if (!row || strcmp(row->scope, v->scope)) {
		if (t->count == CONFIG_VMS_MAX)
			return;
		row = &t->rows[t->count++];
		*row = (struct memory_row){.pins = 0};
		strlcpy(row->scope, v->scope, sizeof(row->scope));
	}
	for (u32 i = 0; i < ARRAY_SIZE(columns); i++) {
		if (strcmp(columns[i].name, v->desc->name) == 0)
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

void command_mem(u32 argc, char **argv)
{
	static struct memory_table t;
	u64 total = counter("frames.total"), free = counter("frames.free");
	u64 pool = counter("rma_pool.pages");

	(void)argc;
	(void)argv;
	monitor_print("RAM for Weir and VMs %10s, in use %s, free %s", pages_text(total).text,
		      pages_text(total - free).text, pages_text(free).text);
	if (pool)
		monitor_print("pool of real-mode areas %s, in use %s, longest free piece %s",
			      pages_text(pool).text, pages_text(counter("rma_pool.used")).text,
			      pages_text(counter("rma_pool.longest_free")).text);
	t.count = 0;
	stat_for_each("vm.*.memory.*", note_memory, &t);
	if (!t.count) {
		monitor_print("no VM runs");
		return;
	}
	monitor_print("%-20s %9s %9s %9s %9s %9s %9s %5s", "VM", "RESIDENT", "SHARED", "PACKED",
		      "SWAPPED", "UNTOUCHED", "PEAK", "PINS");
	for (u32 i = 0; i < t.count; i++) {
		struct memory_row *r = &t.rows[i];

		monitor_print("%-20s %9s %9s %9s %9s %9s %9s %5llu", r->scope + 3,
			      pages_text(r->resident).text, pages_text(r->shared).text,
			      pages_text(r->packed).text, pages_text(r->swapped).text,
			      pages_text(r->absent).text, pages_text(r->peak).text,
			      (unsigned long long)r->pins);
	}
}

/* --- log --- */

void command_log(u32 argc, char **argv)
{
	static char line[LOG_PREFIX_MAX + LOG_LINE_MAX];
	u64 lines = LOG_LINES_DEFAULT, at;
	u64 end = log_mark();

	if (argc && !command_number("LINES", argv[0], &lines))
		return;
	at = log_tail((u32)min(lines, (u64)LOG_LINES_MOST));
	/* What is logged meanwhile is shown as it comes. */
	while (at < end && log_next(&at, line) && !monitor_stopped())
		monitor_print("%s", line);
}
