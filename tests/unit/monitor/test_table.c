/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/table.c kernel/monitor/command.c kernel/monitor/edit.c */
/* The table of commands itself: what help makes of it fits a terminal, and each can be called. */
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/console.h"
#include "kernel/monitor/command.h"

#include <cmocka.h>
#include <string.h>

#define COLUMNS 79 /* a terminal of 80 may wrap after the last */

static u32 printed;
static char help[4096];
static const char *ran;

void monitor_print(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	printed++;
	if (n > COLUMNS)
		fail_msg("%d columns: %s", n, line);
	strlcpy(help + strlen(help), line, sizeof(help) - strlen(help));
}

const char *console_vm_name(u32 i)
{
	return NULL;
}

#define COMMAND(name)                              \
	void command_##name(u32 argc, char **argv) \
	{                                          \
		ran = #name;                       \
	}
COMMAND(vm_list)
COMMAND(vm_show)
COMMAND(vm_start)
COMMAND(vm_pause)
COMMAND(vm_resume)
COMMAND(vm_reset)
COMMAND(vm_off)
COMMAND(vm_kill)
COMMAND(vm_nmi)
COMMAND(vm_dump)
COMMAND(vm_console)
COMMAND(slot)
COMMAND(rmap)
COMMAND(mem)
COMMAND(stat)
COMMAND(metrics)
COMMAND(log)
COMMAND(trace_on)
COMMAND(trace_off)
COMMAND(trace_show)
COMMAND(top)
COMMAND(pager_on)
COMMAND(pager_off)
COMMAND(exit)
COMMAND(reboot)
COMMAND(poweroff)

static void name_of(const struct command *c, char out[64], char between)
{
	snprintf(out, 64, "%s%c%s", c->word, c->second ? between : 0, c->second ? c->second : "");
}

static void test_help_fits(void **state)
{
	char line[80];

	strcpy(line, "help");
	command_run(line);
	assert_true(printed >= command_count);
	for (u32 i = 0; i < command_count; i++) {
		char name[64];

		name_of(&commands[i], name, ' ');
		snprintf(line, sizeof(line), "help %s", name);
		printed = 0;
		command_run(line);
		assert_true(printed >= 2);
	}
}

/* What heads a column, or stands before a value, is explained. */
static void test_columns_are_explained(void **state)
{
	static const struct {
		const char *command, *words[11];
	} tables[] = {
		{"vm list",
		 {"STATE", "RESIDENT", "OF MEM", "CPU s", "UP s", "no-mem", "starts", "ending"}},
		{"mem",
		 {"RESIDENT", "ZERO", "SAME", "SHARED", "PACKED", "RATIO", "SWAPPED", "WORKING",
		  "committed", "promised"}},
		{"top", {"STATE", "VCPUS", "CPU %", "EXITS/s", "FAULTS/s", "RESIDENT", "OF"}},
		{"slot",
		 {"generation", "gfn", "page", "chunk", "pinned", "protected", "readonly",
		  "invalid", "private", "log_dirty", "no_large"}},
		{"stat", {"name", "value", "unit"}},
	};

	for (u32 i = 0; i < ARRAY_SIZE(tables); i++) {
		char line[80];

		snprintf(line, sizeof(line), "help %s", tables[i].command);
		help[0] = 0;
		command_run(line);
		for (u32 k = 0; k < ARRAY_SIZE(tables[i].words) && tables[i].words[k]; k++) {
			if (!strstr(help, tables[i].words[k]))
				fail_msg("help %s: no '%s'", tables[i].command, tables[i].words[k]);
		}
	}
}

/* With as many arguments as it takes at most, and at least. */
static void test_each_is_called(void **state)
{
	for (u32 i = 0; i < command_count; i++) {
		char name[64], function[64], line[128];
		const char *kinds = commands[i].kinds;

		name_of(&commands[i], name, ' ');
		name_of(&commands[i], function, '_');
		if (commands[i].run == command_help)
			continue;
		strlcpy(line, name, sizeof(line));
		for (; *kinds && *kinds != '|'; kinds++)
			strcat(line, " x");
		ran = "nothing";
		printed = 0;
		command_run(line);
		assert_string_equal(ran, function);
		strlcpy(line, name, sizeof(line));
		for (kinds = commands[i].kinds; *kinds; kinds++)
			strcat(line, *kinds == '|' ? "" : " x");
		ran = "nothing";
		command_run(line);
		assert_string_equal(ran, function);
		assert_int_equal(printed, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_help_fits),
		cmocka_unit_test(test_columns_are_explained),
		cmocka_unit_test(test_each_is_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
