/* SPDX-License-Identifier: MIT */
/* The monitor's hold on the trace (kernel/base/trace.h). */
#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/base/trace.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/msr_name.h"
#include "mem/frame.h"
#include "mem/watermark.h"
#include "mmu/mmu.h"
#include "smp/cpu.h"
#include "vmx/vmx.h"

#define RING_ORDER	4
#define RECORDS_DEFAULT 40
#define NS_PER_US	1000
#define US_PER_S	1000000

static_assert(TRACE_RING_SIZE == PAGE_SIZE << RING_ORDER, "what frame_alloc gives");
static_assert(TRACE_CPUS_MAX >= CPU_MAX, "a ring for each CPU");

/* Rings stay once they are there: a CPU may be writing. */
static bool make_rings(void)
{
	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		pfn_t pfn;

		if (trace_has_ring(cpu))
			continue;
		/* Memory that a guest would not get is not for this either. */
		if (!watermark_admits(1u << RING_ORDER) ||
		    frame_alloc(RING_ORDER, FRAME_ZERO, &pfn)) {
			monitor_print("no memory for the trace of CPU %u, %u KiB", cpu,
				      TRACE_RING_SIZE / 1024);
			return false;
		}
		trace_set_ring(cpu, phys_to_virt(pfn_to_hpa(pfn)));
	}
	return true;
}

void command_trace_on(u32 argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (!make_rings())
		return;
	trace_switch(true);
	monitor_print("the trace is on: the last %llu records of each CPU are kept",
		      (unsigned long long)TRACE_KEPT);
}

void command_trace_off(u32 argc, char **argv)
{
	(void)argc;
	(void)argv;
	trace_switch(false);
	monitor_print("the trace is off; trace show shows what there is");
}

static void fault_text(const struct trace_record *r, char *out, size_t size)
{
	snprintf(out, size, "fault at gpa %#llx%s%s%s: %s", (unsigned long long)r->a,
		 r->what & MMU_READ ? " read" : "", r->what & MMU_WRITE ? " write" : "",
		 r->what & MMU_EXEC ? " fetch" : "", r->b ? error_name((int)(s64)r->b) : "mapped");
}

static void exit_text(const struct trace_record *r, char *out, size_t size)
{
	bool of_msr = r->what == VMX_REASON_RDMSR || r->what == VMX_REASON_WRMSR;
	const char *name = of_msr ? msr_name((u32)r->b) : NULL;

	snprintf(out, size, "exit %s at rip %#llx, %#llx%s%s", vmx_exit_name(r->what),
		 (unsigned long long)r->a, (unsigned long long)r->b, name ? " " : "",
		 name ? name : "");
}

/* Of all, or of one VM or other thread. */
struct showing {
	const char *name; /* NULL: of all */
	u64 skip;	  /* so many that are older than the last that were asked for */
	bool any;
};

static bool is_meant(const struct showing *s, const struct trace_record *r)
{
	return !s->name || strcmp(s->name, r->who) == 0;
}

static bool count_to_skip(u32 cpu, const struct trace_record *r, void *arg)
{
	struct showing *s = arg;

	(void)cpu;
	s->skip += is_meant(s, r);
	return true;
}

static bool print_record(u32 cpu, const struct trace_record *r, void *arg)
{
	u64 us = r->ns / NS_PER_US;
	char text[160] = "runs", vcpu[8] = "";
	struct showing *s = arg;

	if (!is_meant(s, r))
		return true;
	s->any = true;
	if (s->skip) {
		s->skip--;
		return true;
	}
	if (r->kind == TRACE_EXIT)
		exit_text(r, text, sizeof(text));
	else if (r->kind == TRACE_FAULT)
		fault_text(r, text, sizeof(text));
	if (r->number)
		snprintf(vcpu, sizeof(vcpu), "/%u", r->number - 1u);
	monitor_print("[%4llu.%06llu] cpu%u %s%s: %s", (unsigned long long)(us / US_PER_S),
		      (unsigned long long)(us % US_PER_S), cpu, r->who, vcpu, text);
	return !monitor_stopped();
}

static void tell_none(const char *name, bool was_on)
{
	if (name)
		monitor_print("there are no records of '%s'", name);
	else
		monitor_print("there are no records%s", was_on ? " yet" : ": trace on begins");
}

void command_trace_show(u32 argc, char **argv)
{
	struct showing s = {.name = argc > 1 ? argv[1] : NULL};
	bool was_on = READ_ONCE(trace_is_on);
	u64 count = RECORDS_DEFAULT;

	if (argc && !command_number("RECORDS", argv[0], &count))
		return;
	/* CPUs fill their rings in less time than a terminal takes for some lines. */
	trace_switch(false);
	if (s.name)
		trace_for_each(~0ull, count_to_skip, &s);
	s.skip -= min(s.skip, count);
	trace_for_each(s.name ? ~0ull : count, print_record, &s);
	trace_switch(was_on);
	if (!s.any && count)
		tell_none(s.name, was_on);
}
