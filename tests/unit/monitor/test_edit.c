/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/keys.c kernel/monitor/edit.c kernel/base/screen.c
 * kernel/base/screen_sequence.c */
/* A line under edit, and what a terminal shows of it: Weir's own screen stands in for one. */
#include "kernel/monitor/edit.h"
#include "kernel/base/screen.h"
#include "kernel/base/string.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"

#include <cmocka.h>
#include <string.h>

const u8 font_8x16[256][GLYPH_HEIGHT];

static struct editor e;
static struct key_decoder decoder;
static struct screen screen;
static char listed[256];

static void candidates(void *arg, const char *line, u32 cursor, struct edit_completion *c)
{
	edit_offer(c, "start");
	edit_offer(c, "stat");
	edit_offer(c, "status");
	edit_offer(c, "vm");
}

static void show_one(void *arg, const char *text)
{
	strcat(listed, text);
	strcat(listed, ",");
}

static int begin(void **state)
{
	memset(&e, 0, sizeof(e));
	memset(&decoder, 0, sizeof(decoder));
	e.prompt = "weir> ";
	e.columns = 80;
	e.complete = candidates;
	edit_init(&e);
	listed[0] = 0;
	return 0;
}

/* What the last byte gave. An entered line is followed by an empty one. */
static enum edit_result type_bytes(const char *bytes, size_t n)
{
	enum edit_result result = EDIT_GO_ON;

	for (size_t i = 0; i < n; i++) {
		enum key key = key_decode(&decoder, (u8)bytes[i]);

		if (key == KEY_NONE)
			continue;
		result = edit_key(&e, key, decoder.character);
		if (result == EDIT_ENTERED)
			edit_init(&e);
		if (result == EDIT_LIST)
			edit_list(&e, show_one, NULL);
	}
	return result;
}

#define type(bytes) type_bytes(bytes, sizeof(bytes) - 1)

/* The line, with the cursor as |. */
static void assert_line(const char *text)
{
	char line[EDIT_LINE_MAX + 1];

	assert_int_equal(strlen(e.line), e.length);
	memcpy(line, e.line, e.cursor);
	line[e.cursor] = '|';
	strcpy(line + e.cursor + 1, e.line + e.cursor);
	assert_string_equal(line, text);
}

static void test_insert_and_move(void **state)
{
	type("hello");
	assert_line("hello|");
	type("\2\2X\33[D\33[DY\33[C\33[C\33[CZ");
	assert_line("heYlXlZ|o");
	type("\1a\5b");
	assert_line("aheYlXlZob|");
	type("\33[Hc\33[Fd\6");
	assert_line("caheYlXlZobd|");
	assert_int_equal(type("\6"), EDIT_BELL);
	assert_int_equal(type("\1\2"), EDIT_BELL);
	type("\4\33[3~");
	assert_line("|heYlXlZobd");
	type("\5\10\177");
	assert_line("heYlXlZo|");
	assert_int_equal(type("\303\244"), EDIT_BELL);
	assert_int_equal(type("\4"), EDIT_BELL);
	assert_line("heYlXlZo|");
}

static void test_words(void **state)
{
	type("vm show al-pha  0x12");
	type("\33b");
	assert_line("vm show al-pha  |0x12");
	type("\33b\33b");
	assert_line("vm show |al-pha  0x12");
	type("\33f");
	assert_line("vm show al|-pha  0x12");
	type("\33[1;5C\33[1;5C");
	assert_line("vm show al-pha  0x12|");
	type("\33[1;5D\33[1;5D\33[1;5D\33[1;5D\33[1;5D\33[1;5D");
	assert_line("|vm show al-pha  0x12");
	assert_int_equal(type("\33b"), EDIT_BELL);
	type("\33d");
	assert_line("| show al-pha  0x12");
}

static void test_kill_and_yank(void **state)
{
	type("one two three");
	type("\27\27");
	assert_line("one |");
	type("\31");
	assert_line("one two three|");
	type("\25");
	assert_line("|");
	type("\31\31");
	assert_line("one two threeone two three|");
	type("\1\33f\13");
	assert_line("one|");
	type("\31");
	assert_line("one two threeone two three|");
	/* Kills on both sides of the cursor join. */
	type("\25abc def\2\2\2\27\13x\25\25");
	assert_int_equal(type("\25"), EDIT_BELL);
	type("ab\2\25\13\31");
	assert_line("ab|");
	assert_int_equal(type("\33d"), EDIT_BELL);
}

static void test_history(void **state)
{
	assert_int_equal(type("\33[A"), EDIT_BELL);
	type("first\rsecond\rsecond\r   \r\rthird\r");
	type("new\33[A");
	assert_line("third|");
	type("\20\20");
	assert_line("first|");
	assert_int_equal(type("\20"), EDIT_BELL);
	type("X\33[B");
	assert_line("second|");
	type("\16\16");
	assert_line("new|");
	assert_int_equal(type("\16"), EDIT_BELL);
	/* More than it keeps. */
	for (u32 i = 0; i < 100; i++) {
		char line[3] = {(char)('0' + i / 10), (char)('0' + i % 10), '\r'};

		type("\25");
		type_bytes(line, 3);
	}
	for (u32 i = 0; i < EDIT_HISTORY_MAX; i++)
		assert_int_equal(type("\33[A"), EDIT_GO_ON);
	assert_line("68|");
	assert_int_equal(type("\33[A"), EDIT_BELL);
}

static void test_results(void **state)
{
	assert_int_equal(type("\4"), EDIT_END);
	assert_int_equal(type("x\3"), EDIT_CANCELED);
	assert_int_equal(type("\35"), EDIT_LEAVE);
	assert_int_equal(type("\14"), EDIT_REDRAW);
	assert_int_equal(type("\r"), EDIT_ENTERED);
	assert_int_equal(edit_key(&e, KEY_NONE, 0), EDIT_GO_ON);
}

static void test_completion(void **state)
{
	type("v\t");
	assert_line("vm |");
	assert_int_equal(type("\25x\t"), EDIT_BELL);
	type("\25s\t");
	assert_line("sta|");
	assert_int_equal(type("\t"), EDIT_BELL);
	assert_int_equal(type("\t"), EDIT_LIST);
	assert_string_equal(listed, "start,stat,status,");
	assert_line("sta|");
	listed[0] = 0;
	type("t\t\t");
	assert_string_equal(listed, "stat,status,");
	type("u\t");
	assert_line("status |");
	/* In the middle, and before a blank that is there already. */
	type("\25star x\2\2\t");
	assert_line("start| x");
	/* No room. */
	type("\25");
	for (u32 i = 0; i < EDIT_LINE_MAX - 2; i++)
		type(" ");
	type("\2v\t");
	assert_int_equal(e.length, EDIT_LINE_MAX - 1);
	assert_int_equal(type("v"), EDIT_BELL);
}

/* --- what the terminal shows --- */

static void show(void)
{
	char out[EDIT_SHOW_MAX];
	u32 n = edit_show(&e, out);

	assert_true(n < EDIT_SHOW_MAX);
	screen_write(&screen, (const u8 *)out, n);
}

static void init_screen(void)
{
	memset(&screen, 0, sizeof(screen));
	screen_init_vga(&screen, NULL);
}

static void assert_shows(const char *text, u32 column)
{
	for (u32 i = 0; i < 80; i++)
		assert_int_equal(screen.cells[0][i], i < strlen(text) ? text[i] : ' ');
	assert_int_equal(screen.row, 0);
	assert_int_equal(screen.column, column);
}

static void test_shows_short_lines(void **state)
{
	init_screen();
	show();
	assert_shows("weir> ", 6);
	type("help");
	show();
	assert_shows("weir> help", 10);
	type("\1");
	show();
	assert_shows("weir> help", 6);
	type("\13");
	show();
	assert_shows("weir> ", 6);
}

/* The cell under the cursor is the character at the cursor, wherever that is. */
static void assert_cursor_shown(void)
{
	u8 cell = screen.cells[0][screen.column];

	assert_int_equal(screen.row, 0);
	assert_true(screen.column < 80);
	assert_int_equal(cell, e.cursor < e.length ? e.line[e.cursor] : ' ');
	assert_int_equal(screen.cells[1][0], ' ');
	assert_int_equal(screen.cells[0][79], ' ');
}

static void test_scrolls_sideways(void **state)
{
	init_screen();
	for (u32 i = 0; i < EDIT_LINE_MAX + 10; i++) {
		char c = (char)('a' + i % 26);

		type_bytes(&c, 1);
		show();
		assert_cursor_shown();
	}
	assert_int_equal(e.length, EDIT_LINE_MAX - 1);
	assert_int_equal(screen.cells[0][6], '<');
	for (u32 i = 0; i < EDIT_LINE_MAX; i++) {
		type("\2");
		show();
		assert_cursor_shown();
	}
	assert_int_equal(screen.cells[0][78], '>');
	assert_int_equal(screen.cells[0][6], 'a');
	type("\5");
	show();
	type("\25");
	show();
	assert_shows("weir> ", 6);
}

static void test_random_keys(void **state)
{
	u64 r = 1;

	init_screen();
	for (u32 i = 0; i < 100000; i++) {
		static const char bytes[] = "\1\2\4\5\6\10\13\25\27\31\t\r\20\16\33bf[ACBD3~;5";
		char c = random_below(&r, 3) ? (char)('a' + random_below(&r, 26))
					     : bytes[random_below(&r, sizeof(bytes) - 1)];

		type_bytes(&c, 1);
		assert_int_equal(strlen(e.line), e.length);
		assert_true(e.cursor <= e.length && e.length < EDIT_LINE_MAX);
		e.columns = i % 1000 ? 80 : 20 + random_below(&r, 60);
		if (e.columns == 80) {
			show();
			assert_cursor_shown();
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_insert_and_move, begin),
		cmocka_unit_test_setup(test_words, begin),
		cmocka_unit_test_setup(test_kill_and_yank, begin),
		cmocka_unit_test_setup(test_history, begin),
		cmocka_unit_test_setup(test_results, begin),
		cmocka_unit_test_setup(test_completion, begin),
		cmocka_unit_test_setup(test_shows_short_lines, begin),
		cmocka_unit_test_setup(test_scrolls_sideways, begin),
		cmocka_unit_test_setup(test_random_keys, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
