/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/keys.c */
/* Bytes of terminals, whole and broken, and the keys that they are. */
#include "kernel/monitor/keys.h"
#include "kernel/base/string.h"
#include "tests/hosted/random.h"

#include <cmocka.h>
#include <string.h>

static struct key_decoder decoder;

/* The keys of all bytes, KEY_NONE left out; characters as they are, the rest as a letter. */
static const char *keys_of(const char *bytes, size_t n)
{
	static const char letters[] = {
		[KEY_REFUSED] = '?',	[KEY_ENTER] = 'E',    [KEY_TAB] = 'T',
		[KEY_BACKSPACE] = 'B',	[KEY_DELETE] = 'X',   [KEY_LEFT] = 'L',
		[KEY_RIGHT] = 'R',	[KEY_UP] = 'U',	      [KEY_DOWN] = 'D',
		[KEY_HOME] = 'H',	[KEY_END] = 'N',      [KEY_WORD_LEFT] = '<',
		[KEY_WORD_RIGHT] = '>', [KEY_KILL_END] = 'K', [KEY_KILL_START] = 'S',
		[KEY_KILL_WORD] = 'W',	[KEY_YANK] = 'Y',     [KEY_KILL_WORD_RIGHT] = 'M',
		[KEY_REDRAW] = 'F',	[KEY_EOF] = 'O',      [KEY_INTERRUPT] = 'C',
		[KEY_LEAVE] = 'Q',
	};
	static char out[256];
	u32 at = 0;

	for (size_t i = 0; i < n; i++) {
		enum key key = key_decode(&decoder, (u8)bytes[i]);

		if (key == KEY_CHAR)
			out[at++] = decoder.character;
		else if (key != KEY_NONE)
			out[at++] = letters[key];
	}
	out[at] = 0;
	return out;
}

#define assert_keys(bytes, keys) assert_string_equal(keys_of(bytes, sizeof(bytes) - 1), keys)

static void test_control_keys(void **state)
{
	assert_keys("a ~", "a ~");
	assert_keys("\1\2\3\4\5\6\10\11\13\14\16\20\25\27\31\35\177", "HLCONRBTKFDUSWYQB");
	assert_keys("\0\7\17\21\22\23\24\26\30\32\34\36\37", "?????????????");
}

/* CR, LF and CR LF are one Enter each; twice the same are two. */
static void test_enter(void **state)
{
	assert_keys("\r", "E");
	assert_keys("a", "a");
	assert_keys("\n", "E");
	assert_keys("b\r\n\r\nc\r\rd\n\n", "bEEcEEdEE");
}

static void test_sequences(void **state)
{
	assert_keys("\33[A\33[B\33[C\33[D\33[H\33[F", "UDRLHN");
	assert_keys("\33OA\33OB\33OC\33OD\33OH\33OF", "UDRLHN");
	assert_keys("\33[1~\33[3~\33[4~\33[7~\33[8~", "HXNHN");
	assert_keys("\33[1;5C\33[1;5D\33[1;3C\33[1;3D\33[1;2C", "><><R");
	assert_keys("\33Oc\33Od\33b\33f\33d\33\177", "><<>MW");
	assert_keys("\33[2~\33[5~\33[15~\33[Z\33OP\33[[A\33[[Ex", "???????x");
}

/* What a terminal answers to a question that a guest made it answer. */
static void test_answers(void **state)
{
	assert_keys("\33[24;80R", "?");
	assert_keys("\33[?62;1;6c", "?");
	assert_keys("\33]lreboot\33\\x", "?x");
	assert_keys("\33]2;vm kill alpha\7y", "?y");
	assert_keys("\33P1$rreboot now\33\\", "?");
	assert_keys("\33_reboot\33\\\33^reboot\33\\\33Xreboot\33\\z", "???z");
	/* The line is not lost if the end never comes. */
	assert_keys("\33]2;reboot\rls", "Els");
	assert_keys("\33]2;reboot\3ls", "Cls");
}

static void test_broken_sequences(void **state)
{
	assert_keys("\33\33[A", "U");
	assert_keys("\33[12\33[B", "D");
	assert_keys("\33[\rx", "Ex");
	assert_keys("\33[1;\3x", "Cx");
	assert_keys("\33O\rx", "Ex");
	assert_keys("\33[99999999999999999999~x", "?x");
	assert_keys("\33[3;;;;;;;;;;;;~", "X");
	assert_keys("\33[ A\33[?1A\33[<A\33[?[x", "????x");
	assert_keys("\33x", "?");
	assert_keys("\33[\377x", "?x");
}

/* One character is refused once, however it is broken. */
static void test_utf8(void **state)
{
	assert_keys("a\303\244b", "a?b");
	assert_keys("\342\202\254x\360\237\230\200y", "?x?y");
	assert_keys("\303x", "x");
	assert_keys("\303\303\244x", "?x");
	assert_keys("\342\202\r", "E");
	assert_keys("x\360\237\33[A", "xU");
	assert_keys("\200\300\301\365\377x", "?????x");
	assert_keys("\2339A", "?9A"); /* C1's CSI is no sequence in UTF-8 */
}

/* Whatever came before, Ctrl-C and Enter are what they are. */
static void test_random(void **state)
{
	u64 r = 1;

	for (u32 i = 0; i < 200000; i++) {
		u32 n = random_below(&r, 40);

		for (u32 k = 0; k < n; k++) {
			static const u8 favourites[] = "\33\33[[]OP;0129~\\\7\303\240mA";
			u8 byte = random_below(&r, 2) ? favourites[random_below(&r, 20)]
						      : (u8)random_below(&r, 256);
			enum key key = key_decode(&decoder, byte);

			if (key == KEY_CHAR)
				assert_in_range(decoder.character, ' ', '~');
		}
		assert_int_equal(key_decode(&decoder, 3), KEY_INTERRUPT);
		assert_int_equal(key_decode(&decoder, '\r'), KEY_ENTER);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_control_keys),	 cmocka_unit_test(test_enter),
		cmocka_unit_test(test_sequences),	 cmocka_unit_test(test_answers),
		cmocka_unit_test(test_broken_sequences), cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
