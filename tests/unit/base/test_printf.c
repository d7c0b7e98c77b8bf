/* SPDX-License-Identifier: MIT */
/*
 * Formatting beside libc's: every conversion with every flag, width, precision and length, on
 * values at the edges, and the cut at the buffer's end.
 */
#include "kernel/base/printf.h"

#include <cmocka.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"

static char ours[256], theirs[256];

#define check(...)                                                      \
	do {                                                            \
		int a = weir_snprintf(ours, sizeof(ours), __VA_ARGS__); \
		int b = snprintf(theirs, sizeof(theirs), __VA_ARGS__);  \
                                                                        \
		assert_string_equal(ours, theirs);                      \
		assert_int_equal(a, b);                                 \
	} while (0)

static const char *const widths[] = {"", "1", "5", "12", "30"};
static const char *const precisions[] = {"", ".", ".0", ".3", ".15"};

static void check_number(const char *format, const char *length, u64 v)
{
	if (!strcmp(length, "ll") || !strcmp(length, "l") || !strcmp(length, "z"))
		check(format, v);
	else
		check(format, (u32)v);
}

static void check_lengths(const char *flags, const char *width, const char *precision, char type)
{
	static const char *const lengths[] = {"", "l", "ll", "z", "h", "hh"};
	static const u64 values[] = {
		0,	    1,		 9,	    10,		0x7f,	    0x80,
		0xff,	    0x7fff,	 0x8000,    0x12345678, 0x7fffffff, 0x80000000,
		0xffffffff, 0x100000000, INT64_MAX, INT64_MIN,	~0ull,	    1000000007ull};
	char format[64];

	for (u32 l = 0; l < ARRAY_SIZE(lengths); l++) {
		snprintf(format, sizeof(format), "<%%%s%s%s%s%c>", flags, width, precision,
			 lengths[l], type);
		for (u32 v = 0; v < ARRAY_SIZE(values); v++)
			check_number(format, lengths[l], values[v]);
	}
}

static void test_numbers(void **state)
{
	static const char *const flags[] = {"",	  "-",	"0",  "#",  "+", " ",
					    "-0", "#0", "-#", "+0", "0 "};

	for (const char *type = "dixXu"; *type; type++)
		for (u32 f = 0; f < ARRAY_SIZE(flags); f++)
			for (u32 w = 0; w < ARRAY_SIZE(widths); w++)
				for (u32 p = 0; p < ARRAY_SIZE(precisions); p++)
					check_lengths(flags[f], widths[w], precisions[p], *type);
}

static void test_text(void **state)
{
	static const char *const texts[] = {"", "a", "hello", "a somewhat longer piece of text"};
	char format[64];

	for (u32 minus = 0; minus < 2; minus++) {
		for (u32 w = 0; w < ARRAY_SIZE(widths); w++) {
			const char *flag = minus ? "-" : "";

			for (u32 p = 0; p < ARRAY_SIZE(precisions); p++) {
				snprintf(format, sizeof(format), "<%%%s%s%ss>", flag, widths[w],
					 precisions[p]);
				for (u32 t = 0; t < ARRAY_SIZE(texts); t++)
					check(format, texts[t]);
			}
			snprintf(format, sizeof(format), "<%%%s%sc>", flag, widths[w]);
			check(format, 'x');
		}
	}
	check("%%|%s|%c|%d", "text", 'c', -5);
	check("%*d|%-*d|%*d", 6, 42, 6, 42, -6, 42);
	check("%.*s|%.*s|%.*s", 2, "abcdef", 0, "abc", -1, "abc");
	check("%*.*s", 8, 3, "abcdef");
}

/* With a precision the text need not end. */
static void test_text_without_end(void **state)
{
	const char letters[3] = {'a', 'b', 'c'};

	check("%.3s", letters);
}

static void test_pointers_and_null(void **state)
{
	weir_snprintf(ours, sizeof(ours), "%p %p", (void *)0xffff800000001000ull, NULL);
	assert_string_equal(ours, "0xffff800000001000 0x0");
	const char *volatile nothing = NULL;

	weir_snprintf(ours, sizeof(ours), "%s", nothing);
	assert_string_equal(ours, "(null)");
}

static void test_cut(void **state)
{
	for (size_t size = 0; size < 16; size++) {
		memset(ours, 'z', sizeof(ours));
		memset(theirs, 'z', sizeof(theirs));
		assert_int_equal(weir_snprintf(ours, size, "%s-%05d", "hello", 42), 11);
		snprintf(theirs, size, "%s-%05d", "hello", 42);
		assert_memory_equal(ours, theirs, 32);
	}
}

/* A format string that is wrong is printed, not obeyed. */
static void test_unknown(void **state)
{
	static const char *const formats[] = {"%k", "a%", "%5", "%ll", "%y%d"};
	static const char *const expected[] = {"%k", "a%", "%", "%", "%y7"};

	for (u32 i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *volatile format = formats[i];

		weir_snprintf(ours, sizeof(ours), format, 7);
		assert_string_equal(ours, expected[i]);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_without_end),
		cmocka_unit_test(test_pointers_and_null),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
