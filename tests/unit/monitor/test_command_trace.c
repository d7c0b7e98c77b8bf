/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/command_trace.c kernel/monitor/command.c kernel/monitor/msr_name.c kernel/base/trace.c vmx/exit_stats.c */
/* What `trace` says, from real rings: with records and without, as many as are asked for. */
#include "kernel/base/trace.h"
#include "kernel/base/error.h"
#include "kernel/console.h"
#include "kernel/monitor/command.h"
#include "mem/watermark.h"
#include "mmu/mmu.h"
#include "smp/cpu.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/monitor/say.h"

#include <cmocka.h>

static u64 now = 1000000000ull;
u32 frame_node_count = 1;
struct frame_node_free frame_node_frees[FRAME_NODES_MAX] = {{100}};
#define free_frames frame_node_frees[0].frames

u32 log_cpu_id(void);
u64 log_clock_ns(void);

ANSWER(u32, log_cpu_id, 0, void)
ANSWER(u64, log_clock_ns, now += 1000, void)
ANSWER(u32, cpu_count, 2, void)
ANSWER(const char *, console_vm_name, NULL, u32 i)
NOTHING(edit_offer, struct edit_completion *c, const char *candidate)

const struct command commands[] = {{"help", NULL, "", "", NULL, "Explain.", NULL, command_help}};
const u32 command_count = ARRAY_SIZE(commands);

static u32 memory;    /* rings that there is memory for */
static u32 meanwhile; /* records that there would be while a line is printed */
struct watermarks watermarks;

int frame_alloc(u32 order, u32 flags, pfn_t *out)
{
	if (!memory)
		return ERR_NOMEM;
	memory--;
	*out = PFN((u64)(memory + 1) << order);
	return 0;
}

bool monitor_stopped(void)
{
	for (u32 i = 0; i < meanwhile; i++)
		TRACE(TRACE_SWITCH, 0, 0, 0, "busy", 0);
	return false;
}

static void nobody(void)
{
}

static void without_records(void **state)
{
	assert_string_equal(say(command_trace_show, ""), "there are no records: trace on begins\n");
	assert_string_equal(say(command_trace_show, "5"),
			    "there are no records: trace on begins\n");
	assert_string_equal(say(command_trace_show, "0"), "");
	assert_string_equal(
		say(command_trace_show, "99999999999999999999"),
		"RECORDS '99999999999999999999' is too large: it has more than 64 bits\n");
	memory = 1;
	assert_string_equal(say(command_trace_on, ""),
			    "no memory for the trace of CPU 1, 64 KiB\n");
	assert_false(trace_is_on);
}

/* A ring is not what a guest would not get: 16 frames, of which the last is below min. */
static void without_memory_to_spare(void **state)
{
	memory = 1;
	watermarks = (struct watermarks){.min = 10, .low = 20, .wake = nobody};
	free_frames = 24;
	assert_string_equal(say(command_trace_on, ""),
			    "no memory for the trace of CPU 1, 64 KiB\n");
	assert_false(trace_is_on);
	assert_int_equal(memory, 1);
	free_frames = 25;
	assert_string_equal(say(command_trace_on, ""),
			    "the trace is on: the last 1023 records of each CPU are kept\n");
	assert_string_equal(say(command_trace_show, ""), "there are no records yet\n");
	say(command_trace_off, "");
}

static void with_records(void **state)
{
	say(command_trace_on, "");
	TRACE(TRACE_SWITCH, 0, 0, 0, "a.exits", 32);
	TRACE(TRACE_EXIT, 12, 0x1000, 0, "a.exits", 1);
	TRACE(TRACE_FAULT, MMU_READ | MMU_WRITE, 0x2000, (u64)ERR_NOMEM, "a.exits", 0);
	assert_string_equal(say(command_trace_show, "2"),
			    "[   1.000002] cpu0 a.exits/0: exit hlt at rip 0x1000, 0\n"
			    "[   1.000003] cpu0 a.exits: fault at gpa 0x2000 read write: "
			    "out of memory\n");
	assert_string_equal(say(command_trace_show, "0"), "");
	assert_string_equal(say(command_trace_off, ""),
			    "the trace is off; trace show shows what there is\n");
	assert_false(trace_is_on);
	say(command_trace_show, "");
	assert_non_null(strstr(said, "[   1.000001] cpu0 a.exits/31: runs\n"));
	assert_false(trace_is_on);
}

/* An MSR has its name beside its number, where it is one that many know; of other exits the number is none. */
static void msrs_have_names(void **state)
{
	static const struct {
		u32 reason, msr;
		const char *said;
	} cases[] = {
		{31, 0x10, "exit rdmsr at rip 0x1000, 0x10 IA32_TSC\n"},
		{32, 0x6e0, "exit wrmsr at rip 0x1000, 0x6e0 IA32_TSC_DEADLINE\n"},
		{32, 0x80b, "exit wrmsr at rip 0x1000, 0x80b IA32_X2APIC_EOI\n"},
		{31, 0xc0000080, "exit rdmsr at rip 0x1000, 0xc0000080 EFER\n"},
		{32, 0x4b564d01, "exit wrmsr at rip 0x1000, 0x4b564d01 KVM_SYSTEM_TIME\n"},
		{31, 0x12345, "exit rdmsr at rip 0x1000, 0x12345\n"},
		{48, 0x10, "exit ept_violation at rip 0x1000, 0x10\n"},
	};

	say(command_trace_on, "");
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		TRACE(TRACE_EXIT, cases[i].reason, 0x1000, cases[i].msr, "a", 0);
		assert_non_null(strstr(say(command_trace_show, "1"), cases[i].said));
	}
	say(command_trace_off, "");
}

/* Of VMs whose names differ in the last of 31 letters. */
static void names_are_whole(void **state)
{
	say(command_trace_on, "");
	TRACE(TRACE_SWITCH, 0, 0, 0, "a-name-of-just-thirty-1-letters", 0);
	TRACE(TRACE_SWITCH, 0, 0, 0, "a-name-of-just-thirty-1-letter2", 0);
	say(command_trace_show, "2");
	assert_non_null(strstr(said, " a-name-of-just-thirty-1-letters: runs\n"));
	assert_non_null(strstr(said, " a-name-of-just-thirty-1-letter2: runs\n"));
	say(command_trace_off, "");
}

static const char *say_of(const char *count, const char *name)
{
	char words[2][32], *argv[] = {words[0], words[1]};

	strlcpy(words[0], count, sizeof(words[0]));
	strlcpy(words[1], name, sizeof(words[1]));
	said[0] = 0;
	command_trace_show(2, argv);
	return said;
}

/* The last of one VM are not those of it among the last of all. */
static void one_vm_alone(void **state)
{
	say(command_trace_on, "");
	TRACE(TRACE_EXIT, 12, 0x1000, 0, "one", 1);
	TRACE(TRACE_EXIT, 12, 0x2000, 0, "one", 2);
	TRACE(TRACE_SWITCH, 0, 0, 0, "one", 0);
	for (u32 i = 0; i < 50; i++)
		TRACE(TRACE_SWITCH, 0, 0, 0, "one.more", 0);
	say_of("2", "one");
	assert_null(strstr(said, "0x1000"));
	assert_non_null(strstr(said, " cpu0 one/1: exit hlt at rip 0x2000, 0\n"));
	assert_non_null(strstr(said, " cpu0 one: runs\n"));
	assert_null(strstr(said, "one.more"));
	assert_non_null(strstr(say_of("40", "one"), " cpu0 one/0: exit hlt at rip 0x1000, 0\n"));
	assert_string_equal(say_of("0", "one"), "");
	assert_string_equal(say_of("1", "on"), "there are no records of 'on'\n");
	assert_string_equal(say_of("0", "on"), "");
	say(command_trace_off, "");
}

/* CPUs write more in a line's time than a ring has: they do not, until all is shown. */
static void what_is_shown_is_not_pushed_out(void **state)
{
	u32 lines = 0;

	say(command_trace_on, "");
	for (u32 i = 0; i < 2000; i++)
		TRACE(TRACE_SWITCH, 0, 0, 0, "before", 0);
	meanwhile = 2000;
	say(command_trace_show, "");
	for (const char *c = said; (c = strstr(c, "cpu0 before: runs\n")); c++)
		lines++;
	assert_int_equal(lines, 40);
	meanwhile = 0;
	assert_true(trace_is_on);
	TRACE(TRACE_SWITCH, 0, 0, 0, "after", 0);
	say(command_trace_show, "1");
	assert_non_null(strstr(said, "cpu0 after: runs\n"));
}

static int start(void **state)
{
	hosted_arena_init(MIB(2));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_records),
		cmocka_unit_test(without_memory_to_spare),
		cmocka_unit_test(with_records),
		cmocka_unit_test(msrs_have_names),
		cmocka_unit_test(names_are_whole),
		cmocka_unit_test(one_vm_alone),
		cmocka_unit_test(what_is_shown_is_not_pushed_out),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
