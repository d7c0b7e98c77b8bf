/* SPDX-License-Identifier: MIT */
/*
 * Who uses the machine, refreshed: two samples of all VMs' counters, and what rose between them. Who
 * has most of what it is sorted by comes first.
 */
#include "kernel/monitor/top.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/cut_name.h"
#include "kernel/version.h"
#include "kernel/vm.h"
#include "smp/cpu.h"
#include "smp/timer.h"

#define COLUMNS	      80
#define ROWS	      24
#define REFRESH_NS    2000000000ull
#define NS_PER_S      1000000000ull
#define REASONS_SHOWN 4

#define VM_ROWS	    (ROWS - 3) /* two of the heading are above, that of the keys is below */
#define DETAIL_ROWS 2
static_assert(CONFIG_VMS_MAX <= VM_ROWS, "each VM has a row");

#define NAME_COLUMNS 25

/* Two of them, in turn. The console's thread. */
static struct samples samples[2];

static const struct order {
	char key;
	const char *name;
} orders[] = {
	{'c', "CPU %"}, {'e', "exits"}, {'f', "faults"}, {'m', "memory"}, {'n', "name"},
};

struct reasons {
	u32 reason[REASONS_SHOWN];
	u64 rise[REASONS_SHOWN];
	u32 count;
	u64 all;
};

/* What a VM did between two samples. */
struct row {
	const struct sample *now;
	u64 cpu_tenths;		     /* of a percent of one CPU */
	u64 exits, faults, refaults; /* a second */
	struct reasons reasons;
};

static void note_value(const struct stat_value *v, void *arg)
{
	*(u64 *)arg = v->value;
}

/* --- what rose --- */

/* Per second, of a rise within that many ns. A VM that was reset starts at 0 again. */
static u64 rate(u64 now, u64 before, u64 ns)
{
	return ns && now > before ? (now - before) * NS_PER_S / ns : 0;
}

/* Keeps the most frequent ones, in order. */
static void insert_reason(struct reasons *r, u32 reason, u64 rise)
{
	u32 at = min(r->count, (u32)REASONS_SHOWN - 1);

	if (r->count == REASONS_SHOWN && rise <= r->rise[at])
		return;
	r->count = at + 1;
	for (; at && rise > r->rise[at - 1]; at--) {
		r->rise[at] = r->rise[at - 1];
		r->reason[at] = r->reason[at - 1];
	}
	r->rise[at] = rise;
	r->reason[at] = reason;
}

static void find_reasons(const struct sample *now, const struct sample *before, struct reasons *r)
{
	*r = (struct reasons){.count = 0};
	for (u32 i = 0; i < VMX_EXIT_REASONS; i++) {
		u64 old = before ? before->exits[i] : 0;
		u64 rise = now->exits[i] > old ? now->exits[i] - old : 0;

		r->all += rise;
		if (rise)
			insert_reason(r, i, rise);
	}
}

static void compare(struct row *row, const struct sample *now, const struct sample *before, u64 ns)
{
	row->now = now;
	row->cpu_tenths = ns && before && now->run_ns > before->run_ns
				  ? (now->run_ns - before->run_ns) * 1000 / ns
				  : 0;
	find_reasons(now, before, &row->reasons);
	row->exits = rate(row->reasons.all, 0, ns);
	row->faults = rate(now->faults, before ? before->faults : 0, ns);
	row->refaults = rate(now->refaults, before ? before->refaults : 0, ns);
}

/* --- order --- */

static bool goes_before(const struct row *a, const struct row *b, char order)
{
	switch (order) {
	case 'e':
		return a->exits > b->exits;
	case 'f':
		return a->faults > b->faults;
	case 'm':
		return a->now->resident > b->now->resident;
	case 'n':
		return strcmp(a->now->scope, b->now->scope) < 0;
	default:
		return a->cpu_tenths > b->cpu_tenths;
	}
}

/* Those that are alike stay as they were: in the order in which they started. */
static void insert_row(struct row *rows, u32 count, const struct row *row, char order)
{
	u32 at = count;

	for (; at && goes_before(row, &rows[at - 1], order); at--)
		rows[at] = rows[at - 1];
	rows[at] = *row;
}

/* --- drawing --- */

/* One row, cut at the last column but one, which a terminal would wrap after. */
static void draw_row(const char *text)
{
	char row[COLUMNS + 8];

	snprintf(row, sizeof(row), "%.*s\x1b[K\r\n", COLUMNS - 1, text);
	monitor_draw(row, strlen(row));
}

static const char *state_text(u64 paused)
{
	if (paused == VM_PAUSED_FOR_MEMORY)
		return "no-mem";
	return paused ? "paused" : "runs";
}

static void draw_vm(const struct row *r)
{
	const struct sample *now = r->now;
	u64 pages = now->resident + now->absent + now->filled + now->packed + now->shared +
		    now->swapped;
	char row[160];

	snprintf(row, sizeof(row), "%-*s %-6s %5llu %4llu.%llu %8llu %8llu %8s %6s", NAME_COLUMNS,
		 cut_name(now->scope + strlen("vm."), NAME_COLUMNS).text, state_text(now->paused),
		 (unsigned long long)now->vcpus, (unsigned long long)(r->cpu_tenths / 10),
		 (unsigned long long)(r->cpu_tenths % 10), (unsigned long long)r->exits,
		 (unsigned long long)r->faults, size_text(now->resident << PAGE_SHIFT).text,
		 size_text(pages << PAGE_SHIFT).text);
	draw_row(row);
}

static void draw_details(const struct row *r)
{
	const struct sample *now = r->now;
	char row[160];
	int n = snprintf(row, sizeof(row), "   exits:");

	for (u32 i = 0; i < r->reasons.count; i++)
		n += snprintf(row + n, sizeof(row) - (size_t)n, " %s %llu%%",
			      vmx_exit_name(r->reasons.reason[i]),
			      (unsigned long long)(r->reasons.rise[i] * 100 / r->reasons.all));
	if (!r->reasons.count)
		snprintf(row + n, sizeof(row) - (size_t)n, " none");
	draw_row(row);
	snprintf(row, sizeof(row),
		 "   memory: working set %s, packed %s to %s, swapped %s, %llu refaults/s",
		 size_text(now->working_set << PAGE_SHIFT).text,
		 size_text(now->packed << PAGE_SHIFT).text,
		 size_text(align_up(now->packed_bytes, KIB(1))).text,
		 size_text(now->swapped << PAGE_SHIFT).text, (unsigned long long)r->refaults);
	draw_row(row);
}

static void draw_heading(const struct samples *now, const struct row *rows)
{
	u64 busy = 0, total = 0, free = 0;
	char row[160];

	for (u32 i = 0; i < now->count; i++)
		busy += rows[i].cpu_tenths;
	busy /= cpu_count();
	stat_for_each("frames.total", note_value, &total);
	stat_for_each("frames.free", note_value, &free);
	snprintf(row, sizeof(row),
		 "Weir %s, up %llu s, %u CPU%s %llu.%llu%% in VMs, %u VM%s, %lluM of %lluM free",
		 WEIR_VERSION, (unsigned long long)(now->ns / NS_PER_S), cpu_count(),
		 cpu_count() == 1 ? "" : "s", (unsigned long long)(busy / 10),
		 (unsigned long long)(busy % 10), now->count, now->count == 1 ? "" : "s",
		 (unsigned long long)(free >> (20 - PAGE_SHIFT)),
		 (unsigned long long)(total >> (20 - PAGE_SHIFT)));
	draw_row(row);
	snprintf(row, sizeof(row), "%-*s %-6s %5s %6s %8s %8s %8s %6s", NAME_COLUMNS, "VM", "STATE",
		 "VCPUS", "CPU %", "EXITS/s", "FAULTS/s", "RESIDENT", "OF");
	draw_row(row);
}

/* The last row, without an end of line: the screen would scroll. */
static void draw_keys(char order, u32 without_details)
{
	char left_out[32] = "", row[COLUMNS + 16];
	const char *name = "";

	for (u32 i = 0; i < ARRAY_SIZE(orders); i++) {
		if (orders[i].key == order)
			name = orders[i].name;
	}
	if (without_details)
		snprintf(left_out, sizeof(left_out), "%u rows left out; ",
			 DETAIL_ROWS * without_details);
	snprintf(row, sizeof(row), "%sby %s; c CPU, e exits, f faults, m memory, n name; q ends",
		 left_out, name);
	monitor_draw(row, strlen(row));
	monitor_draw("\x1b[K\x1b[J", 6);
}

/* Each VM has its row; how many have details below it is what there is room for. */
static void draw(struct samples *now, struct samples *before, char order)
{
	static struct row rows[CONFIG_VMS_MAX]; /* the console's thread */
	u32 detailed = min(now->count, (VM_ROWS - now->count) / DETAIL_ROWS);

	for (u32 i = 0; i < now->count; i++) {
		struct row row;

		compare(&row, &now->of[i], top_find(before, now->of[i].scope),
			now->ns - before->ns);
		insert_row(rows, i, &row, order);
	}
	monitor_draw("\x1b[H", 3);
	draw_heading(now, rows);
	for (u32 i = 0; i < now->count; i++) {
		draw_vm(&rows[i]);
		if (i < detailed)
			draw_details(&rows[i]);
	}
	draw_keys(order, now->count - detailed);
}

/* --- the command --- */

enum answer {
	END,
	REFRESH,
	SORT,
};

/* Until it is time to refresh; any other key than these is time. */
static enum answer wait_for_key(u64 deadline, char *order)
{
	char c = 0;

	switch (monitor_key(deadline, &c)) {
	case KEY_INTERRUPT:
	case KEY_LEAVE:
	case KEY_EOF:
		return END;
	case KEY_CHAR:
		break;
	default:
		return REFRESH;
	}
	if (c >= 'A' && c <= 'Z')
		c = (char)(c - 'A' + 'a');
	for (u32 i = 0; i < ARRAY_SIZE(orders); i++) {
		if (orders[i].key == c) {
			*order = c;
			return SORT;
		}
	}
	return c == 'q' ? END : REFRESH;
}

/* Shown anew, of the same time, for each order that is asked for. False: the operator has enough. */
static bool show(struct samples *now, struct samples *before, char *order)
{
	u64 deadline = clock_ns() + REFRESH_NS;
	enum answer answer;

	do {
		draw(now, before, *order);
		answer = wait_for_key(deadline, order);
	} while (answer == SORT);
	return answer == REFRESH;
}

void command_top(u32 argc, char **argv)
{
	char order = orders[0].key;
	u32 turn = 0;

	(void)argc;
	(void)argv;
	top_take_sample(&samples[0]);
	samples[1] = samples[0];
	monitor_draw("\x1b[H\x1b[J", 6);
	while (show(&samples[turn], &samples[!turn], &order)) {
		turn = !turn;
		top_take_sample(&samples[turn]);
	}
	monitor_draw("\r\n", 2);
}
