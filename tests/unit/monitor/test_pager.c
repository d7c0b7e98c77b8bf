/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/pager.c kernel/monitor/cut_name.c */
/* Lines broken at the terminal's width, pages, and what is kept while a command runs. */
#include "kernel/monitor/pager.h"
#include "kernel/base/console.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/console_input.h"
#include "kernel/monitor/output.h"
#include "mem/watermark.h"
#include "tests/hosted/random.h"

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST (PAGER_ROWS - 1)

/* --- the console --- */

static char shown[4 << 20], footer[128];
static size_t shown_length;
static u32 shown_count, asked;
static const char
	*typed; /* one a question: s space, e Enter, d down, C-c as c, C-d as D, C-] as l, x */
static bool waits, stopped; /* there is input; it has Ctrl-C */

void monitor_emit(const char *line, size_t n)
{
	assert_true(shown_length + n + 2 <= sizeof(shown));
	memcpy(shown + shown_length, line, n);
	shown_length += n;
	shown[shown_length++] = '\n';
	shown[shown_length] = 0;
	shown_count++;
}

void monitor_draw(const char *bytes, size_t n)
{
	assert_true(n == 4 && memcmp(bytes, "\r\x1b[K", 4) == 0);
	assert_string_equal(footer, "");
}

void console_set_footer(const void *bytes, size_t n)
{
	memcpy(footer, bytes ? bytes : "", n);
	footer[n] = 0;
	assert_true(n < PAGER_COLUMNS + 4);
}

bool console_input_waits(void)
{
	return waits;
}

bool monitor_stopped(void)
{
	bool was = stopped;

	stopped = false;
	if (was)
		pager_drop();
	return was;
}

enum key monitor_key(u64 deadline_ns, char *c)
{
	assert_true(deadline_ns == ~0ull);
	asked++;
	assert_true(strncmp(footer, "\r--more-- ", 10) == 0);
	switch (*typed++) {
	case 's':
		*c = ' ';
		return KEY_CHAR;
	case 'e':
		return KEY_ENTER;
	case 'd':
		return KEY_DOWN;
	case 'c':
		return KEY_INTERRUPT;
	case 'D':
		return KEY_EOF;
	case 'l':
		return KEY_LEAVE;
	case 'x':
		*c = 'x';
		return KEY_CHAR;
	case 'u':
		return KEY_UP;
	case 'q':
		*c = 'q';
		return KEY_CHAR;
	default:
		fail_msg("it asks once more");
		return KEY_NONE;
	}
}

/* --- memory --- */

struct watermarks watermarks;
u32 frame_node_count = 1;
struct frame_node_free frame_node_frees[FRAME_NODES_MAX];
#define frames_left frame_node_frees[0].frames
static u32 frames;

static void nobody(void)
{
}

void *frame_alloc_page(u32 flags)
{
	if (!frames_left)
		return NULL;
	frames_left--;
	frames++;
	return malloc(PAGE_SIZE);
}

void frame_free_page(void *page)
{
	free(page);
	frames--;
	frames_left++;
}

/* --- tests --- */

static void forget(void)
{
	shown_length = shown_count = 0;
	shown[0] = 0;
}

static int begin(void **state)
{
	forget();
	footer[0] = 0;
	asked = frames = 0;
	frames_left = 10000;
	watermarks = (struct watermarks){.min = 10, .low = 20, .wake = nobody};
	waits = stopped = false;
	typed = "";
	pager_switch(true);
	return 0;
}

static int end(void **state)
{
	assert_int_equal(frames, 0);
	return 0;
}

static void put(const char *line)
{
	pager_put(line, strlen(line));
}

static void put_numbers(u32 n)
{
	char line[16];

	for (u32 i = 1; i <= n; i++) {
		snprintf(line, sizeof(line), "%u", i);
		put(line);
	}
}

/* Shown so far: 1 to n, in order, each once. */
static void assert_numbers(u32 n)
{
	const char *at = shown;
	char *after;

	for (u32 i = 1; i <= n; i++) {
		assert_int_equal(strtoul(at, &after, 10), i);
		assert_int_equal(*after, '\n');
		at = after + 1;
	}
	assert_string_equal(at, "");
	assert_int_equal(shown_count, n);
}

static void run(u32 n, const char *keys)
{
	begin(NULL);
	typed = keys;
	pager_begin();
	put_numbers(n);
	assert_false(pager_end());
	assert_string_equal(typed, "");
	assert_int_equal(frames, 0);
	assert_string_equal(footer, "");
}

static void test_pages(void **state)
{
	run(0, "");
	run(FIRST, "");
	assert_numbers(FIRST);
	run(FIRST + 1, "q");
	assert_numbers(FIRST);
	run(FIRST + 1, "s");
	assert_numbers(FIRST + 1);
	run(FIRST + 3, "edxuq");
	assert_numbers(FIRST + 2);
	run(2 * FIRST, "s");
	assert_numbers(2 * FIRST);
	run(2 * FIRST + 1, "sc");
	assert_numbers(2 * FIRST);
	run(5000, "ssesD");
	assert_numbers(4 * FIRST + 1);
}

static void test_says_how_many_lines_are_left(void **state)
{
	typed = "q";
	pager_begin();
	put_numbers(FIRST + 2);
	assert_int_equal(asked, 0); /* never while the command runs */
	assert_int_equal(shown_count, FIRST);
	stopped = false;
	pager_end();
	assert_int_equal(asked, 1);
}

static void test_leaves(void **state)
{
	typed = "sl";
	pager_begin();
	put_numbers(100);
	assert_true(pager_end());
	assert_numbers(2 * FIRST);
	/* The next command begins anew. */
	forget();
	pager_begin();
	put_numbers(FIRST);
	assert_false(pager_end());
	assert_numbers(FIRST);
}

static void test_what_was_typed_ahead_is_not_kept_waiting(void **state)
{
	pager_begin();
	put_numbers(1000);
	waits = true;
	assert_false(pager_end());
	assert_numbers(1000);
}

static void test_ctrl_c_drops_the_rest(void **state)
{
	pager_begin();
	put_numbers(100);
	stopped = true;
	assert_true(monitor_stopped());
	assert_int_equal(frames, 0);
	put_numbers(3);
	assert_false(pager_end());
	assert_numbers(FIRST);
	/* Of a command that does not look. */
	begin(NULL);
	pager_begin();
	put_numbers(100);
	stopped = waits = true;
	assert_false(pager_end());
	assert_numbers(FIRST);
	/* On the first screen. */
	begin(NULL);
	pager_begin();
	put_numbers(3);
	stopped = true;
	monitor_stopped();
	put("4");
	pager_end();
	assert_numbers(3);
}

static void test_off_and_outside_a_command(void **state)
{
	char line[300];

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = 0;
	pager_switch(false);
	pager_begin();
	put(line);
	assert_int_equal(strlen(shown), sizeof(line));
	assert_string_equal(pager_name("debian-testing", 13).text, "debian-testing");
	pager_switch(true);
	assert_string_equal(pager_name("debian-testing", 13).text, "debian~esting");
	assert_string_equal(pager_name("debian-testin", 13).text, "debian-testin");
	pager_switch(false);
	forget();
	put_numbers(100);
	assert_false(pager_end());
	assert_numbers(100);
	/* Of a program's: whole, though it is on. */
	begin(NULL);
	pager_begin();
	pager_pass();
	put_numbers(100);
	assert_false(pager_end());
	assert_numbers(100);
	/* What the monitor says by itself. */
	begin(NULL);
	put_numbers(100);
	assert_numbers(100);
}

/* Where memory is short nothing is kept, and all comes in its order. */
static void test_no_memory(void **state)
{
	for (u32 left = 9; left < 14; left++) {
		begin(NULL);
		frames_left = left;
		pager_begin();
		put_numbers(5000);
		assert_int_equal(frames, 0);
		assert_numbers(5000);
		assert_false(pager_end());
	}
	/* Nor more than there is a bound for. */
	begin(NULL);
	frames_left = 1000000;
	pager_begin();
	for (u32 i = 0; i < 100000 && shown_count <= FIRST; i++) {
		put("It is as long a line as there is on a terminal of eighty columns, or nearly.");
		assert_true(frames <= 512);
	}
	assert_true(shown_count > FIRST);
	assert_int_equal(frames, 0);
	pager_end();
	/* Ctrl-C amid what spills. */
	begin(NULL);
	frames_left = 11;
	pager_begin();
	stopped = true;
	put_numbers(5000);
	assert_int_equal(shown_count, FIRST);
	pager_end();
}

/* A frame is filled to its last byte, and no further. */
static void test_frames_are_full(void **state)
{
	const u32 room = PAGE_SIZE - sizeof(void *) - sizeof(u32) - 4;

	for (u32 beyond = 0; beyond < 2; beyond++) {
		u32 left = room;

		begin(NULL);
		pager_begin();
		put_numbers(FIRST);
		for (; left > 40; left -= 31)
			pager_put("123456789012345678901234567890", 30);
		assert_int_equal(frames, 1);
		pager_put("1234567890123456789012345678901234567890", left - 1 + beyond);
		assert_int_equal(frames, 1 + beyond);
		pager_drop();
		pager_end();
	}
}

static void test_lines_are_broken_between_words(void **state)
{
	static const struct {
		const char *line, *shown;
	} cases[] = {
		{"", "\n"},
		{"short", "short\n"},
		{"1234567890123456789012345678901234567890123456789012345678901234567890 12345678",
		 "1234567890123456789012345678901234567890123456789012345678901234567890 "
		 "12345678\n"},
		{"1234567890123456789012345678901234567890123456789012345678901234567890 123456789",
		 "1234567890123456789012345678901234567890123456789012345678901234567890\n"
		 "    123456789\n"},
		{"  1234567890123456789012345678901234567890123456789012345678901234567890   x "
		 "4567890",
		 "  1234567890123456789012345678901234567890123456789012345678901234567890   x\n"
		 "      4567890\n"},
		{"12345678901234567890123456789012345678901234567890123456789012345678901234567890"
		 "abc def",
		 "1234567890123456789012345678901234567890123456789012345678901234567890123456789\n"
		 "    0abc def\n"},
		{"a                                                                             "
		 "      b",
		 "a\n    b\n"},
		{"a                                                                             "
		 "       ",
		 "a\n"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(NULL);
		pager_begin();
		put(cases[i].line);
		pager_end();
		assert_string_equal(shown, cases[i].shown);
	}
}

/* Whatever it is: no piece is too wide, and no character but blanks is lost or moved. */
static void test_no_character_is_lost(void **state)
{
	u64 seed = 1;

	for (u32 i = 0; i < 2000; i++) {
		char line[480], was[481] = "", is[481] = "";
		size_t n = random_below(&seed, sizeof(line)), at = 0;
		u32 blanks = random_below(&seed, 40) + 1;

		begin(NULL);
		waits = true;
		for (size_t k = 0; k < n; k++) {
			line[k] = random_one_in(&seed, blanks) ? ' ' : (char)('a' + k % 26);
			if (line[k] != ' ')
				was[strlen(was)] = line[k];
		}
		pager_begin();
		pager_put(line, n);
		pager_end();
		for (const char *row = shown; *row; row = strchr(row, '\n') + 1) {
			assert_true(strcspn(row, "\n") < PAGER_COLUMNS);
			for (const char *c = row; *c != '\n'; c++) {
				if (*c != ' ')
					is[at++] = *c;
			}
		}
		assert_string_equal(is, was);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pages, begin, end),
		cmocka_unit_test_setup_teardown(test_says_how_many_lines_are_left, begin, end),
		cmocka_unit_test_setup_teardown(test_leaves, begin, end),
		cmocka_unit_test_setup_teardown(test_what_was_typed_ahead_is_not_kept_waiting,
						begin, end),
		cmocka_unit_test_setup_teardown(test_ctrl_c_drops_the_rest, begin, end),
		cmocka_unit_test_setup_teardown(test_off_and_outside_a_command, begin, end),
		cmocka_unit_test_setup_teardown(test_no_memory, begin, end),
		cmocka_unit_test_setup_teardown(test_frames_are_full, begin, end),
		cmocka_unit_test_setup_teardown(test_lines_are_broken_between_words, begin, end),
		cmocka_unit_test_setup_teardown(test_no_character_is_lost, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
