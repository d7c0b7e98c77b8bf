/* SPDX-License-Identifier: MIT */
/* Weir's own C library functions beside libc's, and what libc has not. */
#include "kernel/base/error.h"
#include "kernel/base/size_text.h"
#include "kernel/base/string.h"

#include <cmocka.h>
#include <limits.h>
#include <stdlib.h>

#define SIZE  80
#define GUARD 0xa5

static u8 ours[SIZE], theirs[SIZE];

static void fill_both(unsigned int seed)
{
	srand(seed);
	for (u32 i = 0; i < SIZE; i++)
		ours[i] = theirs[i] = (u8)rand();
}

static void test_copies_and_fills(void **state)
{
	u8 source[SIZE];

	memset(source, GUARD, sizeof(source));
	for (u32 i = 0; i < SIZE; i++)
		source[i] = (u8)(i * 7);
	for (u32 n = 0; n < 40; n++) {
		for (u32 to = 0; to < 17; to++) {
			fill_both(n);
			assert_ptr_equal(weir_memcpy(ours + to, source + n % 9, n), ours + to);
			memcpy(theirs + to, source + n % 9, n);
			assert_memory_equal(ours, theirs, SIZE);
			assert_ptr_equal(weir_memset(ours + to, (int)(n + 0x100), n), ours + to);
			memset(theirs + to, (int)n, n);
			assert_memory_equal(ours, theirs, SIZE);
		}
	}
}

static void test_moves_that_overlap(void **state)
{
	for (u32 n = 0; n <= 40; n++) {
		for (u32 from = 0; from <= 40; from++) {
			for (u32 to = 0; to <= 40; to++) {
				fill_both(n + from);
				assert_ptr_equal(weir_memmove(ours + to, ours + from, n),
						 ours + to);
				memmove(theirs + to, theirs + from, n);
				assert_memory_equal(ours, theirs, SIZE);
			}
		}
	}
}

static int sign(int v)
{
	return (v > 0) - (v < 0);
}

static void test_comparisons(void **state)
{
	static const char *const texts[] = {"",	 "a",	 "ab",	      "abc", "abd",
					    "b", "\xff", "abcabcabd", "bc",  "cabd"};

	for (u32 i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *a = texts[i];

		assert_int_equal(weir_strlen(a), strlen(a));
		for (size_t n = 0; n < 5; n++)
			assert_int_equal(weir_strnlen(a, n), strnlen(a, n));
		for (int c = 0; c < 256; c++) {
			assert_ptr_equal(weir_strchr(a, c), strchr(a, c));
			assert_ptr_equal(weir_memchr(a, c, strlen(a)), memchr(a, c, strlen(a)));
		}
		for (u32 j = 0; j < ARRAY_SIZE(texts); j++) {
			const char *b = texts[j];
			size_t both = min(strlen(a), strlen(b));

			assert_int_equal(sign(weir_strcmp(a, b)), sign(strcmp(a, b)));
			for (size_t n = 0; n < 5; n++)
				assert_int_equal(sign(weir_strncmp(a, b, n)),
						 sign(strncmp(a, b, n)));
			assert_int_equal(sign(weir_memcmp(a, b, both)), sign(memcmp(a, b, both)));
			assert_ptr_equal(weir_strstr(a, b), strstr(a, b));
		}
	}
}

static void test_strlcpy(void **state)
{
	char buf[8];

	memset(buf, 'x', sizeof(buf));
	assert_int_equal(strlcpy(buf, "abc", 4), 3);
	assert_string_equal(buf, "abc");
	assert_int_equal(buf[4], 'x');
	assert_int_equal(strlcpy(buf, "abcdef", 4), 6);
	assert_string_equal(buf, "abc");
	assert_int_equal(strlcpy(buf, "abcdef", 1), 6);
	assert_string_equal(buf, "");
}

struct number {
	const char *text;
	int err;
	u64 value;
};

static void check_numbers(int (*parse)(const char *, const char *, u64 *),
			  const struct number *numbers, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		const struct number *n = &numbers[i];
		u64 value = 12345;

		print_message("'%s'\n", n->text);
		assert_int_equal(parse(n->text, n->text + strlen(n->text), &value), n->err);
		assert_int_equal(value, n->err ? 12345 : n->value);
	}
}

static void test_parse_u64(void **state)
{
	static const struct number numbers[] = {
		{"0", 0, 0},
		{"7", 0, 7},
		{"0123", 0, 123},
		{"18446744073709551615", 0, ~0ull},
		{"18446744073709551616", ERR_RANGE, 0},
		{"99999999999999999999999", ERR_RANGE, 0},
		{"99999999999999999999999z", ERR_INVAL, 0},
		{"0x0", 0, 0},
		{"0xfFfF", 0, 0xffff},
		{"0Xa", 0, 10},
		{"0xffffffffffffffff", 0, ~0ull},
		{"0x10000000000000000", ERR_RANGE, 0},
		{"", ERR_INVAL, 0},
		{"0x", ERR_INVAL, 0},
		{"-1", ERR_INVAL, 0},
		{"+1", ERR_INVAL, 0},
		{" 1", ERR_INVAL, 0},
		{"1 ", ERR_INVAL, 0},
		{"12a", ERR_INVAL, 0},
		{"0xg", ERR_INVAL, 0},
		{"1K", ERR_INVAL, 0},
	};
	u64 value;

	check_numbers(parse_u64, numbers, ARRAY_SIZE(numbers));
	/* Only up to end. */
	assert_int_equal(parse_u64("1234", &"1234"[0], &value), ERR_INVAL);
	const char *text = "1234";

	assert_int_equal(parse_u64(text, text + 2, &value), 0);
	assert_int_equal(value, 12);
}

static void test_parse_size(void **state)
{
	static const struct number numbers[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"1K", 0, KIB(1)},
		{"3k", 0, KIB(3)},
		{"256M", 0, MIB(256)},
		{"2m", 0, MIB(2)},
		{"1G", 0, GIB(1)},
		{"0x10g", 0, GIB(16)},
		{"2T", 0, GIB(2048)},
		{"0K", 0, 0},
		{"16777215T", 0, 16777215ull << 40},
		{"16777216T", ERR_RANGE, 0},
		{"18014398509481983K", 0, 18014398509481983ull << 10},
		{"18014398509481984K", ERR_RANGE, 0},
		{"", ERR_INVAL, 0},
		{"K", ERR_INVAL, 0},
		{"1KK", ERR_INVAL, 0},
		{"1KB", ERR_INVAL, 0},
		{"1.5G", ERR_INVAL, 0},
		{"-1M", ERR_INVAL, 0},
	};

	check_numbers(parse_size, numbers, ARRAY_SIZE(numbers));
}

static void test_error_names(void **state)
{
	for (int err = ERR_STORED; err <= 0; err++) {
		assert_non_null(error_name(err));
		assert_string_not_equal(error_name(err), "unknown error");
		for (int other = err + 1; other <= 0; other++)
			assert_string_not_equal(error_name(err), error_name(other));
	}
	assert_string_equal(error_name(1), "unknown error");
	assert_string_equal(error_name(ERR_STORED - 1), "unknown error");
	assert_string_equal(error_name(INT_MIN), "unknown error");
}

static void test_sizes(void **state)
{
	static const struct {
		u64 bytes;
		const char *text;
	} cases[] = {
		{0, "0"},
		{5, "5"},
		{1023, "1023"},
		{1024, "1K"},
		{1025, "1025"},
		{1536, "1536"},
		{2116 * 1024, "2116K"},
		{96ull << 20, "96M"},
		{3ull << 30, "3G"},
		{1ull << 40, "1T"},
		{1ull << 50, "1024T"},
		{~0ull, "18446744073709551615"},
		{~0ull << 40, "16777215T"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		u64 back;
		const char *text = size_text(cases[i].bytes).text;

		assert_string_equal(text, cases[i].text);
		assert_int_equal(parse_size(text, text + strlen(text), &back), 0);
		assert_int_equal(back, cases[i].bytes);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copies_and_fills), cmocka_unit_test(test_moves_that_overlap),
		cmocka_unit_test(test_comparisons),	 cmocka_unit_test(test_strlcpy),
		cmocka_unit_test(test_parse_u64),	 cmocka_unit_test(test_parse_size),
		cmocka_unit_test(test_error_names),	 cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
