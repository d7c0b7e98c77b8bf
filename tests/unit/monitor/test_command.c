/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/command.c kernel/monitor/edit.c kernel/monitor/keys.c */
/* Lines taken apart, commands found, wrong ones told, words completed. The table is the test's. */
#include "kernel/monitor/command.h"
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "kernel/console.h"
#include "tests/hosted/random.h"
#include "tests/unit/monitor/said.h"

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static char ran[512];

const char *console_vm_name(u32 i)
{
	static const char *const names[] = {"alpha", "alphabet", "beta", "beta.1", "beta.2"};

	return i < ARRAY_SIZE(names) ? names[i] : NULL;
}

static void run(u32 argc, char **argv)
{
	ran[0] = 0;
	for (u32 i = 0; i < argc; i++) {
		u64 n;

		strcat(ran, argv[i]);
		strcat(ran, ";");
		if (argv[i][0] == '#')
			strcat(ran, command_number("N", argv[i] + 1, &n) ? "number;" : "none;");
	}
	strcat(ran, ".");
}

const struct command commands[] = {
	{"help", NULL, "[COMMAND]", "|cc", NULL, "Explain.", NULL, command_help},
	{"vm", "list", "", "", NULL, "List.", NULL, run},
	{"vm", "show", "NAME", "v", NULL, "Show.", "More.\nAnd more.", run},
	{"vm", "dump", "NAME [AT BYTES]", "v|..", NULL, "Dump.", NULL, run},
	{"stat", NULL, "[-m|PATTERN]", "|s", "-m -x", "Count.", NULL, run},
	{"end", NULL, "[-f]", "|o", "-f", "End.", NULL, run},
};
const u32 command_count = ARRAY_SIZE(commands);

static const struct stat_desc descs[] = {
	{"leaps", "count", "Frogs that jumped in.", false},
	{"legs", "count", "Legs of frogs.", true},
};
static u64 counts[2];
static struct stat_group groups[] = {
	{.scope = "vm.alpha", .name = "pond", .descs = descs, .count = 2, .owner = counts},
	{.scope = "vm.beta.1", .name = "pond", .descs = descs, .count = 2, .owner = counts},
	{.scope = "vm.beta", .name = "pond", .descs = descs, .count = 2, .owner = counts},
	{.scope = "vm.beta.2", .name = "pond", .descs = descs, .count = 2, .owner = counts},
	{.scope = "", .name = "sea", .descs = descs, .count = 1, .owner = counts},
};

static const char *run_line(const char *text)
{
	char line[EDIT_LINE_MAX];

	said[0] = 0;
	strcpy(ran, "not run");
	strlcpy(line, text, sizeof(line));
	command_run(line);
	return said;
}

static void test_runs(void **state)
{
	static const struct {
		const char *line, *ran;
	} cases[] = {
		{"vm list", "."},
		{"  vm   list  ", "."},
		{"vm show alpha", "alpha;."},
		{"vm dump alpha", "alpha;."},
		{"vm dump alpha 1 2", "alpha;1;2;."},
		{"stat", "."},
		{"stat *", "*;."},
		{"stat #0x10", "#0x10;number;."},
		{"stat #12", "#12;number;."},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_string_equal(run_line(cases[i].line), "");
		assert_string_equal(ran, cases[i].ran);
	}
	run_line("");
	run_line("    ");
	assert_string_equal(ran, "not run");
	assert_string_equal(said, "");
}

static void test_tells_what_is_wrong(void **state)
{
	static const struct {
		const char *line, *said;
	} cases[] = {
		{"x", "'x' is no command: help lists them\n"},
		{"q", "'q' is no command: exit goes to the VMs' consoles, poweroff ends Weir, help "
		      "lists "
		      "all\n"},
		{"quit now",
		 "'quit' is no command: exit goes to the VMs' consoles, poweroff ends Weir, "
		 "help lists all\n"},
		{"? vm show", "vm show NAME\n  Show.\n  More.\n  And more.\n"},
		{"Vm list", "'Vm' is no command: help lists them\n"},
		{"vm", "'vm' alone is no command: after it comes list, show, dump\n"},
		{"vm lis", "'vm lis' is no command: after vm comes list, show, dump\n"},
		{"vm list x", "it is used so: vm list\n"},
		{"vm show", "it is used so: vm show NAME\n"},
		{"vm show a b", "it is used so: vm show NAME\n"},
		{"vm dump a 1 2 3", "it is used so: vm dump NAME [AT BYTES]\n"},
		{"a b c d e f g h i", "9 words are too many: no command has more than 8\n"},
		{"help x", "'x' is no command: help lists them\n"},
		{"help stat x", "'stat x' is no command: help lists them\n"},
		{"help x x", "'x' is no command: help lists them\n"},
		{"help vm x", "'vm x' is no command: after vm comes list, show, dump\n"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_string_equal(run_line(cases[i].line), cases[i].said);
		assert_string_equal(ran, "not run");
	}
	assert_string_equal(run_line("stat #x"), "N 'x' is no number: give digits, or 0x and "
						 "hexadecimal ones\n");
	assert_string_equal(ran, "#x;none;.");
}

static void test_numbers(void **state)
{
	assert_string_equal(run_line("stat #18446744073709551615"), "");
	assert_string_equal(ran, "#18446744073709551615;number;.");
	assert_string_equal(run_line("stat #0x10000000000000000"),
			    "N '0x10000000000000000' is too large: it has more than 64 bits\n");
	assert_string_equal(ran, "#0x10000000000000000;none;.");
}

static void test_help(void **state)
{
	assert_string_equal(run_line("help vm show"),
			    "vm show NAME\n  Show.\n  More.\n  And more.\n");
	assert_string_equal(run_line("help stat"), "stat [-m|PATTERN]\n  Count.\n");
	run_line("help vm");
	assert_non_null(strstr(said, "  vm list                      List.\n"));
	assert_null(strstr(said, "stat"));
	run_line("help");
	for (u32 i = 0; i < command_count; i++)
		assert_non_null(strstr(said, commands[i].summary));
}

static void note_candidate(void *arg, const char *text)
{
	strcat(said, text);
	strcat(said, " ");
}

/* The candidates for what stands before the cursor. */
static const char *candidates(const char *line)
{
	struct editor e = {.prompt = "> ", .columns = 80, .complete = command_complete};

	said[0] = 0;
	strlcpy(e.line, line, sizeof(e.line));
	e.length = e.cursor = (u32)strlen(line);
	edit_list(&e, note_candidate, NULL);
	return said;
}

static void test_completes(void **state)
{
	static const struct {
		const char *line, *candidates;
	} cases[] = {
		{"", "help vm stat end "},
		{"v", "vm "},
		{"x", ""},
		{"vm ", "list show dump "},
		{"vm s", "show "},
		{"vm show ", "alpha alphabet beta beta.1 beta.2 "},
		{"vm show al", "alpha alphabet "},
		{"vm show alpha ", ""},
		{"vm dump alpha ", ""},
		{"vm fly ", ""},
		{"help ", "help vm stat end "},
		{"help vm ", "list show dump "},
		{"help stat ", ""},
		{"help vm show ", ""},
		{"stat ", "-m -x vm. sea. "},
		{"stat v", "vm. "},
		{"stat vm.", "vm.alpha. vm.beta.1. vm.beta. vm.beta.2. "},
		{"stat vm.beta.", "vm.beta.1. vm.beta.pond. vm.beta.2. "},
		{"stat vm.beta.2", "vm.beta.2. "},
		{"stat vm.beta.2.", "vm.beta.2.pond. "},
		{"stat vm.alpha.pond.", "vm.alpha.pond.leaps vm.alpha.pond.legs "},
		{"end ", "-f "},
		{"a b c d e f g h i j", ""},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(candidates(cases[i].line), cases[i].candidates);
}

/* What has more after it gets no blank: one goes on with Tab. */
static void test_completes_counters_by_parts(void **state)
{
	struct editor e = {.prompt = "> ", .columns = 80, .complete = command_complete};

	edit_init(&e);
	for (const char *c = "stat s"; *c; c++)
		edit_key(&e, KEY_CHAR, *c);
	assert_int_equal(edit_key(&e, KEY_TAB, 0), EDIT_GO_ON);
	assert_string_equal(e.line, "stat sea.");
	assert_int_equal(edit_key(&e, KEY_TAB, 0), EDIT_GO_ON);
	assert_string_equal(e.line, "stat sea.leaps ");
}

/* The sanitizers watch; nothing is run that was not spelled out. */
static void test_any_line(void **state)
{
	static const char *const words[] = {"vm",    "list", "show", "help", "stat", "-m",
					    "alpha", "0x",   "",     "*",    "vm.a", "-f"};
	u64 r = 1;

	for (u32 i = 0; i < 20000; i++) {
		char line[EDIT_LINE_MAX] = "";
		u32 n = random_below(&r, 12);

		for (u32 k = 0; k < n; k++) {
			strcat(line, words[random_below(&r, ARRAY_SIZE(words))]);
			if (random_below(&r, 4))
				strcat(line, " ");
		}
		candidates(line);
		run_line(line);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_tells_what_is_wrong),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_completes),
		cmocka_unit_test(test_completes_counters_by_parts),
		cmocka_unit_test(test_any_line),
	};

	for (u32 i = 0; i < ARRAY_SIZE(groups); i++) {
		groups[i].read = stat_read_field;
		stat_register(&groups[i]);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
