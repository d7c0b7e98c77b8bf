/* SPDX-License-Identifier: MIT */
/*
 * Who uses the machine, refreshed: two samples of all VMs' counters, and what rose between them.
 * Counters alone are read, so a VM that ends meanwhile is simply not there any more.
 */
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "kernel/config.h"
#include "kernel/monitor/command.h"
#include "kernel/vm.h"
#include "kernel/version.h"
#include "smp/cpu.h"
#include "smp/timer.h"
#include "vmx/vmx.h"

#define COLUMNS	      80
#define ROWS	      24
#define REFRESH_NS    2000000000ull
#define NS_PER_S      1000000000ull
#define REASONS_SHOWN 4
#define VM_ROWS_MAX   ((ROWS - 4) / 3)

struct sample {
	char scope[sizeof("vm.") + CONFIG_NAME_MAX];
	u64 run_ns, vcpus, paused, faults, resident, absent;
	u64 filled, packed, shared, swapped, packed_bytes, working_set, refaults;
	u64 exits[VMX_EXIT_REASONS];
};

struct samples {
	u64 ns;
	u32 count;
	struct sample of[CONFIG_VMS_MAX];
};

/* Two of them, in turn. The console's thread. */
static struct samples samples[2];

/* --- sampling --- */

static struct sample *find(struct samples *s, const char *scope)
{
	for (u32 i = 0; i < s->count; i++) {
		if (strcmp(s->of[i].scope, scope) == 0)
			return &s->of[i];
	}
	return NULL;
}

static struct sample *find_or_make(struct samples *s, const char *scope)
{
	struct sample *of = find(s, scope);

	if (of || s->count == CONFIG_VMS_MAX)
		return of;
	of = &s->of[s->count++];
	memset(of, 0, sizeof(*of));
	strlcpy(of->scope, scope, sizeof(of->scope));
	return of;
}

static void note_exit(const struct stat_value *v, void *arg)
{
	struct sample *of = find_or_make(arg, v->scope);

	if (of)
		of->exits[v->desc - vmx_exit_stat_descs] = v->value;
}

static void note_other(const struct stat_value *v, void *arg)
{
	static const struct {
		const char *name;
		size_t offset;
	} wanted[] = {
		{"run", offsetof(struct sample, run_ns)},
		{"vcpus", offsetof(struct sample, vcpus)},
		{"paused", offsetof(struct sample, paused)},
		{"faults", offsetof(struct sample, faults)},
		{"got_page", offsetof(struct sample, resident)},
		{"absent", offsetof(struct sample, absent)},
		{"filled", offsetof(struct sample, filled)},
		{"packed", offsetof(struct sample, packed)},
		{"shared", offsetof(struct sample, shared)},
		{"swapped", offsetof(struct sample, swapped)},
		{"packed_bytes", offsetof(struct sample, packed_bytes)},
		{"working_set", offsetof(struct sample, working_set)},
		{"refaults", offsetof(struct sample, refaults)},
	};
	struct sample *of = find_or_make(arg, v->scope);

	for (u32 i = 0; of && i < ARRAY_SIZE(wanted); i++) {
		if (strcmp(v->desc->name, wanted[i].name) == 0)
			*(u64 *)((u8 *)of + wanted[i].offset) = v->value;
	}
}

static void take_sample(struct samples *s)
{
	s->count = 0;
	s->ns = clock_ns();
	stat_for_each("vm.*.cpu.*", note_other, s);
	stat_for_each("vm.*.mmu.faults", note_other, s);
	stat_for_each("vm.*.memory.*", note_other, s);
	stat_for_each("vm.*.reclaim.*", note_other, s);
	stat_for_each("vm.*.exits.*", note_exit, s);
}

static void note_value(const struct stat_value *v, void *arg)
{
	*(u64 *)arg = v->value;
}

/* --- drawing --- */

/* One row, cut at the last column but one, which a terminal would wrap after. */
static void draw_row(const char *text)
{
	char row[COLUMNS + 8];

	snprintf(row, sizeof(row), "%.*s\x1b[K\r\n", COLUMNS - 1, text);
	monitor_draw(row, strlen(row));
}

/* Per second, of a rise within that many ns. A VM that was reset starts at 0 again. */
static u64 rate(u64 now, u64 before, u64 ns)
{
	return ns && now > before ? (now - before) * NS_PER_S / ns : 0;
}

/* In tenths of a percent of one CPU. */
static u64 cpu_share(const struct sample *now, const struct sample *before, u64 ns)
{
	return ns && before && now->run_ns > before->run_ns
		       ? (now->run_ns - before->run_ns) * 1000 / ns
		       : 0;
}

struct reasons {
	u32 reason[REASONS_SHOWN];
	u64 rise[REASONS_SHOWN];
	u32 count;
	u64 all;
};

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

static const char *state_text(u64 paused)
{
	if (paused == VM_PAUSED_FOR_MEMORY)
		return "no-mem";
	return paused ? "paused" : "runs";
}

static void draw_vm(const struct sample *now, const struct sample *before, u64 ns)
{
	u64 share = cpu_share(now, before, ns);
	u64 pages = now->resident + now->absent + now->filled + now->packed + now->shared +
		    now->swapped;
	struct reasons r;
	char row[160];
	int n;

	find_reasons(now, before, &r);
	snprintf(row, sizeof(row), "%-20s %-6s %5llu %4llu.%llu %10llu %9llu %10s %6s",
		 now->scope + 3, state_text(now->paused), (unsigned long long)now->vcpus,
		 (unsigned long long)(share / 10), (unsigned long long)(share % 10),
		 (unsigned long long)rate(r.all, 0, ns),
		 (unsigned long long)rate(now->faults, before ? before->faults : 0, ns),
		 size_text(now->resident << PAGE_SHIFT).text, size_text(pages << PAGE_SHIFT).text);
	draw_row(row);
	n = snprintf(row, sizeof(row), "   exits:");
	for (u32 i = 0; i < r.count; i++)
		n += snprintf(row + n, sizeof(row) - (size_t)n, " %s %llu%%",
			      vmx_exit_name(r.reason[i]),
			      (unsigned long long)(r.rise[i] * 100 / r.all));
	if (!r.count)
		snprintf(row + n, sizeof(row) - (size_t)n, " none");
	draw_row(row);
	snprintf(row, sizeof(row),
		 "   memory: working set %s, packed %s to %s, swapped %s, %llu refaults/s",
		 size_text(now->working_set << PAGE_SHIFT).text,
		 size_text(now->packed << PAGE_SHIFT).text, size_text(now->packed_bytes).text,
		 size_text(now->swapped << PAGE_SHIFT).text,
		 (unsigned long long)rate(now->refaults, before ? before->refaults : 0, ns));
	draw_row(row);
}

static void draw_heading(struct samples *now, struct samples *before)
{
	u64 ns = now->ns - before->ns, busy = 0, total = 0, free = 0;
	char row[160];

	for (u32 i = 0; i < now->count; i++)
		busy += cpu_share(&now->of[i], find(before, now->of[i].scope), ns);
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
	snprintf(row, sizeof(row), "%-20s %-6s %5s %6s %10s %9s %10s %6s", "VM", "STATE", "VCPUS",
		 "CPU %", "EXITS/s", "FAULTS/s", "RESIDENT", "OF");
	draw_row(row);
}

static void draw(struct samples *now, struct samples *before)
{
	char row[COLUMNS];

	monitor_draw("\x1b[H", 3);
	draw_heading(now, before);
	for (u32 i = 0; i < min(now->count, (u32)VM_ROWS_MAX); i++)
		draw_vm(&now->of[i], find(before, now->of[i].scope), now->ns - before->ns);
	if (now->count > VM_ROWS_MAX) {
		snprintf(row, sizeof(row), "and %u more", now->count - VM_ROWS_MAX);
		draw_row(row);
	}
	monitor_draw("q ends\x1b[K\x1b[J", 12);
}

/* --- the command --- */

/* Until it is time to refresh; any other key than these is time. False: the operator has enough. */
static bool wait_for_key(u64 deadline)
{
	char c = 0;

	switch (monitor_key(deadline, &c)) {
	case KEY_INTERRUPT:
	case KEY_LEAVE:
	case KEY_EOF:
		return false;
	case KEY_CHAR:
		return c != 'q' && c != 'Q';
	default:
		return true;
	}
}

void command_top(u32 argc, char **argv)
{
	u32 turn = 0;

	(void)argc;
	(void)argv;
	take_sample(&samples[0]);
	samples[1] = samples[0];
	monitor_draw("\x1b[H\x1b[J", 6);
	do {
		draw(&samples[turn], &samples[!turn]);
		turn = !turn;
		if (!wait_for_key(clock_ns() + REFRESH_NS))
			break;
		take_sample(&samples[turn]);
	} while (true);
	monitor_draw("\r\n", 2);
}
