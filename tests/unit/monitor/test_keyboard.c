/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/keyboard.c */
/* Scan codes of a PC's keyboard, and what a terminal would have sent. */
#include "kernel/monitor/keyboard.h"
#include "tests/hosted/random.h"

#include <cmocka.h>
#include <string.h>

static struct keyboard keyboard;

static int begin(void **state)
{
	memset(&keyboard, 0, sizeof(keyboard));
	return 0;
}

static const char *text_of(const char *codes, size_t n)
{
	static char text[256];
	u32 at = 0;

	for (size_t i = 0; i < n; i++)
		at += keyboard_decode(&keyboard, (u8)codes[i], text + at);
	text[at] = 0;
	return text;
}

#define assert_typed(codes, text) assert_string_equal(text_of(codes, sizeof(codes) - 1), text)

static void test_every_plain_key(void **state)
{
	static const char codes[] =
		"\x29\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x10\x11\x12\x13\x14\x15\x16"
		"\x17\x18\x19\x1a\x1b\x2b\x1e\x1f\x20\x21\x22\x23\x24\x25\x26\x27\x28\x2c\x2d\x2e"
		"\x2f\x30\x31\x32\x33\x34\x35\x39";

	assert_typed(codes, "`1234567890-=qwertyuiop[]\\asdfghjkl;'zxcvbnm,./ ");
	assert_typed("\x2a", "");
	assert_typed(codes, "~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:\"ZXCVBNM<>? ");
	assert_typed("\xaa\x36\x1e\xb6\x1e", "Aa");
	assert_typed("\x1c\x0f\x01\x0e", "\r\t\033\177");
}

static void test_breaks_are_silent(void **state)
{
	assert_typed("\x1e\x9e\x30\xb0", "ab");
	assert_typed("\xe0\xc8\x1e", "a");
}

static void test_caps_is_for_letters(void **state)
{
	assert_typed("\x3a\xba\x1e\x02\x2a\x1e\x02\xaa\x3a\xba\x1e", "A1a!a");
}

static void test_control(void **state)
{
	assert_typed("\x1d\x1e\x2e\x1b\x9d\x1e", "\1\3\035a");
	assert_typed("\xe0\x1d\x26\x16\xe0\x9d\x26", "\014\025l");
	assert_typed("\x1d\x02\x35\x9d", "");
	assert_typed("\x1d\x2a\x1e\x9d\x1e\xaa", "\1A");
	assert_typed("\x38\x30\xb8\xe0\x38\x21\xe0\xb8", "\033b\033f");
}

static void test_arrows(void **state)
{
	assert_typed("\xe0\x48\xe0\x50\xe0\x4d\xe0\x4b", "\033[A\033[B\033[C\033[D");
	assert_typed("\xe0\x47\xe0\x4f\xe0\x53\xe0\x49\xe0\x51",
		     "\033[H\033[F\033[3~\033[5~\033[6~");
	assert_typed("\x48\x4b\x47\x53\x4a\x4e\x37\x4c", "\033[A\033[D\033[H\033[3~-+*");
	assert_typed("\x1d\xe0\x4d\xe0\x4b\x9d", "\033[1;5C\033[1;5D");
	/* With Num Lock's lamp on a keyboard puts a shift before an arrow that is no key. */
	assert_typed("\xe0\x2a\xe0\x4b\xe0\xcb\xe0\xaa\x1e", "\033[Da");
	assert_typed("\xe0\x1c\xe0\x35\x2a\xe0\x35\xaa", "\r//");
}

static void test_keys_that_are_none(void **state)
{
	assert_typed("\xe1\x1d\x45\xe1\x9d\xc5\x1e", "a"); /* Pause */
	assert_typed("\xe0\x37\xe0\xb7\x3b\x3c\x44\x57\x58\x46\x45\xe0\x5b\xe0\x1e\x1e", "a");
	assert_typed("\x54\x7f\x59\xff\xfa\xaa\xfe\x1e", "a");
}

/* A line that is out of step gives nonsense, and no more than fits. */
static void test_any_codes(void **state)
{
	char out[KEYBOARD_BYTES_MAX + 1];
	u64 r = 1;

	for (u32 i = 0; i < 300000; i++) {
		out[KEYBOARD_BYTES_MAX] = '#';
		assert_true(keyboard_decode(&keyboard, (u8)random_next(&r), out) <
			    KEYBOARD_BYTES_MAX);
		assert_int_equal(out[KEYBOARD_BYTES_MAX], '#');
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_every_plain_key, begin),
		cmocka_unit_test_setup(test_breaks_are_silent, begin),
		cmocka_unit_test_setup(test_caps_is_for_letters, begin),
		cmocka_unit_test_setup(test_control, begin),
		cmocka_unit_test_setup(test_arrows, begin),
		cmocka_unit_test_setup(test_keys_that_are_none, begin),
		cmocka_unit_test_setup(test_any_codes, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
