/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/command_trace.c kernel/monitor/command.c kernel/base/trace.c vmx/exit_stats.c */
/* What `trace` says, from real rings: with records and without, as many as are asked for. */
#include "kernel/base/trace.h"
#include "kernel/base/error.h"
#include "kernel/console.h"
#include "kernel/monitor/command.h"
#include "mem/frame.h"
#include "mmu/mmu.h"
#include "smp/cpu.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/monitor/said.h"

#include <cmocka.h>

static u64 now = 1000000000ull;

u32 log_cpu_id(void);
u64 log_clock_ns(void);

ANSWER(u32, log_cpu_id, 0, void)
ANSWER(u64, log_clock_ns, now += 1000, void)
ANSWER(u32, cpu_count, 2, void)
ANSWER(bool, monitor_stopped, false, void)
ANSWER(const char *, console_vm_name, NULL, u32 i)
NOTHING(edit_offer, struct edit_completion *c, const char *candidate)

const struct command commands[] = {{"help", NULL, "", "", NULL, "Explain.", NULL, command_help}};
const u32 command_count = ARRAY_SIZE(commands);

static u32 memory; /* rings that there is memory for */

int frame_alloc(u32 order, u32 flags, pfn_t *out)
{
	if (!memory)
		return ERR_NOMEM;
	memory--;
	*out = PFN((u64)(memory + 1) << order);
	return 0;
}

static const char *say(void (*command)(u32 argc, char **argv), const char *word)
{
	char text[32], *argv[] = {text};

	strlcpy(text, word, sizeof(text));
	said[0] = 0;
	command(word[0] != 0, argv);
	return said;
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

static void with_records(void **state)
{
	memory = 1;
	assert_string_equal(say(command_trace_on, ""),
			    "the trace is on: the last 1365 records of each CPU are kept\n");
	TRACE(TRACE_SWITCH, 0, 0, 0, "a.exits");
	TRACE(TRACE_EXIT, 12, 0x1000, 0, "a.exits");
	TRACE(TRACE_FAULT, MMU_READ | MMU_WRITE, 0x2000, (u64)ERR_NOMEM, "a.exits");
	assert_string_equal(say(command_trace_show, "2"),
			    "[   1.000002] cpu0 a.exits: exit hlt at rip 0x1000, 0\n"
			    "[   1.000003] cpu0 a.exits: fault at gpa 0x2000 read write: "
			    "out of memory\n");
	assert_string_equal(say(command_trace_show, "0"), "");
	assert_string_equal(say(command_trace_off, ""),
			    "the trace is off; trace show shows what there is\n");
	assert_false(trace_is_on);
	say(command_trace_show, "");
	assert_non_null(strstr(said, "[   1.000001] cpu0 a.exits: runs\n"));
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
		cmocka_unit_test(with_records),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
