/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/console_text.c */
/* What is left of a guest's output where it may not steer the terminal. */
#include "kernel/console_text.h"
#include "tests/hosted/random.h"

#include <cmocka.h>
#include <string.h>

static struct console_text filter;

static int begin(void **state)
{
	memset(&filter, 0, sizeof(filter));
	return 0;
}

static const char *text_of(const char *bytes, size_t n)
{
	static u8 out[4096];
	u32 at = 0;

	for (size_t i = 0; i < n; i++)
		at += console_text(&filter, (u8)bytes[i], out + at);
	out[at] = 0;
	return (const char *)out;
}

#define assert_text(bytes, text) assert_string_equal(text_of(bytes, sizeof(bytes) - 1), text)

static void test_text_passes(void **state)
{
	assert_text("a line ~\r\n\tand\b one", "a line ~\r\n\tand\b one");
	assert_text("\303\244 \342\202\254 \360\237\230\200 \355\237\277 \364\217\277\277",
		    "\303\244 \342\202\254 \360\237\230\200 \355\237\277 \364\217\277\277");
}

static void test_sequences_vanish(void **state)
{
	assert_text("a\33[31mb\33[0;1mc\33[2J\33[Hd\33[?25le\33[6nf", "abcdef");
	assert_text("a\33]0;title\7b\33]2;x\33\\c\33P1$r\33\\d\33_x\33\\e\33^x\33\\f\33Xx\33\\g",
		    "abcdefg");
	assert_text("a\33(0b\33)Bc\33=d\33>e\0337f\0338g\33ch", "abcdefgh");
}

static void test_control_characters_are_marked(void **state)
{
	assert_text("\1\5\7\16\17\177x", "??????x");
	assert_text("\233"
		    "2J\237x",
		    "?2J?x");
	assert_text("\302\233"
		    "2J",
		    "??2J");
}

static void test_broken_characters_are_marked(void **state)
{
	assert_text("\303x\342\202x\360\237\230x", "?x?x?x");
	assert_text("\300\200\340\200\200\355\240\200\364\220\200\200\365\377x", "???????"
										 "???????"
										 "x");
	assert_text("\303\33[31mx\303\r\n", "?x?\r\n");
}

/* None of them holds back what follows for ever. */
static void test_sequences_without_end(void **state)
{
	assert_text("\33[1;2\nx", "\nx");
	assert_text("\33]2;title\nx", "\nx");
	assert_text("\33\nx\33", "\nx");
	assert_text("[0mx", "x");
	filter = (struct console_text){0};
	assert_text("\33]", "");
	for (u32 i = 0; i < 2000; i++)
		text_of("y", 1);
	assert_text("x", "x");
}

/* Nothing that comes out is a control character of any kind. */
static void test_any_bytes(void **state)
{
	static const u8 favourites[] = "\33\33[]P\\0;m\302\233\237\303\244\360\237\7\30";
	u64 r = 1;
	u8 out[CONSOLE_TEXT_MAX + 1];

	for (u32 i = 0; i < 500000; i++) {
		u8 byte = random_below(&r, 3) ? favourites[random_below(&r, sizeof(favourites) - 1)]
					      : (u8)random_next(&r);
		u32 n = console_text(&filter, byte, out);

		assert_true(n <= CONSOLE_TEXT_MAX);
		for (u32 k = 0; k < n; k++) {
			assert_int_not_equal(out[k], 0x7f);
			assert_true(out[k] >= ' ' || strchr("\b\t\r\n", out[k]));
			if (k && out[k - 1] == 0xc2)
				assert_true(out[k] >= 0xa0);
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_text_passes, begin),
		cmocka_unit_test_setup(test_sequences_vanish, begin),
		cmocka_unit_test_setup(test_control_characters_are_marked, begin),
		cmocka_unit_test_setup(test_broken_characters_are_marked, begin),
		cmocka_unit_test_setup(test_sequences_without_end, begin),
		cmocka_unit_test_setup(test_any_bytes, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
