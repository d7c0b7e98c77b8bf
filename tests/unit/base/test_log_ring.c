/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/log_ring.c */
/* A log line's text, and the ring that keeps the last of them. */
#include "kernel/base/log_ring.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

#include <cmocka.h>

static char line[LOG_PREFIX_MAX + LOG_LINE_MAX];
static struct log_ring ring;

static size_t __printf_like(4, 5)
	format(enum log_level level, u64 ns, u32 cpu, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = log_format(line, level, ns, cpu, fmt, ap);
	va_end(ap);
	assert_int_equal(n, strlen(line));
	return n;
}

static void test_line(void **state)
{
	format(LOG_INFO, 1234567890, 3, "%s %d", "text", 5);
	assert_string_equal(line, "[   1.234567] cpu3 info: text 5");
	format(LOG_ERROR, 0, 0, "x");
	assert_string_equal(line, "[   0.000000] cpu0 error: x");
	format(LOG_WARN, 999999, 0, "x");
	assert_string_equal(line, "[   0.000999] cpu0 warn: x");
	format(LOG_DEBUG, ~0ull, ~0u, "x");
	assert_string_equal(line, "[18446744073.709551] cpu4294967295 debug: x");
}

/* Nobody who gets his words into the log forges a line or drives the terminal. */
static void test_control_characters(void **state)
{
	format(LOG_INFO, 0, 0, "vm '%s'", "a\nb\r\x1b[2J\t\x7f\xc3\xa4");
	assert_string_equal(line, "[   0.000000] cpu0 info: vm 'a?b??[2J??\xc3\xa4'");
}

static void test_long_line(void **state)
{
	char text[2 * LOG_LINE_MAX];
	const char *prefix = "[   0.000000] cpu0 info: ";

	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(format(LOG_INFO, 0, 0, "%s", text), strlen(prefix) + LOG_LINE_MAX - 1);
	assert_int_equal(line[strlen(prefix) + LOG_LINE_MAX - 2], 'a');
	assert_int_equal(format(LOG_INFO, ~0ull, ~0u, "%s", text) < sizeof(line), 1);
}

static void add(u32 i)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "line %u", i);

	log_ring_add(&ring, i % 4, i % 2, text, (size_t)n);
}

static void check_from(u64 at, u64 end, u32 first, u32 last)
{
	char expected[64];
	u64 mark_at;
	size_t n;

	for (u32 i = first; i <= last; i++) {
		assert_true(log_ring_next(&ring, &at, end, line, &n, &mark_at));
		snprintf(expected, sizeof(expected), "line %u", i);
		assert_string_equal(line, expected);
		assert_int_equal(n, strlen(expected));
		assert_int_equal(*log_ring_byte(&ring, mark_at),
				 (i % 2 ? LOG_MARK_SHOWN : LOG_MARK_HIDDEN) + (char)(i % 4));
	}
	assert_false(log_ring_next(&ring, &at, end, line, &n, &mark_at));
}

static void test_ring(void **state)
{
	u64 middle;

	memset(&ring, 0, sizeof(ring));
	check_from(0, ring.head, 1, 0);
	assert_int_equal(log_ring_last(&ring, 0, 5), 0);
	for (u32 i = 0; i < 5; i++)
		add(i);
	middle = ring.head;
	for (u32 i = 5; i < 10; i++)
		add(i);
	check_from(0, ring.head, 0, 9);
	check_from(0, middle, 0, 4);
	check_from(log_ring_last(&ring, ring.head, 3), ring.head, 7, 9);
	check_from(log_ring_last(&ring, ring.head, 99), ring.head, 0, 9);
	check_from(log_ring_last(&ring, ring.head, 0), ring.head, 1, 0);
	check_from(log_ring_last(&ring, middle, 2), middle, 3, 4);
}

/* After several times round, the oldest line is whole and the newest is the last. */
static void test_ring_goes_round(void **state)
{
	u64 at, mark_at;
	u32 first = 0;
	size_t n;

	memset(&ring, 0, sizeof(ring));
	for (u32 i = 0; i < 30000; i++) {
		add(i);
		if (i < 29900)
			continue;
		at = 0;
		assert_true(log_ring_next(&ring, &at, ring.head, line, &n, &mark_at));
		assert_int_equal(strncmp(line, "line ", 5), 0);
		assert_int_equal(parse_size(line + 5, line + n, &at), 0);
		first = (u32)at;
		/* Two bytes and the text for each; less than a line is wasted. */
		assert_true((i - first + 1) * 12 <= LOG_RING_SIZE);
		assert_true((i - first + 2) * 12 > LOG_RING_SIZE - 12);
		check_from(0, ring.head, first, i);
		check_from(log_ring_last(&ring, ring.head, 40), ring.head, i - 39, i);
		check_from(log_ring_last(&ring, ring.head, ~0u), ring.head, first, i);
	}
	/* A point that the ring has overtaken is as good as the oldest. */
	check_from(100, ring.head, first, 29999);
	assert_int_equal(log_ring_last(&ring, 100, 40), 100);
}

/* Lines of every length, so that each of their bytes lands on the ring's edge once. */
static void test_ring_edges(void **state)
{
	char text[LOG_LINE_MAX];
	u64 at, mark_at;
	size_t n, last;

	memset(&ring, 0, sizeof(ring));
	memset(text, 'b', sizeof(text));
	for (u32 i = 0; i < 5000; i++) {
		last = i * 37 % sizeof(text);
		log_ring_add(&ring, LOG_INFO, true, text, last);
		at = log_ring_last(&ring, ring.head, 1);
		assert_true(log_ring_next(&ring, &at, ring.head, line, &n, &mark_at));
		assert_int_equal(n, last);
		assert_int_equal(at, ring.head);
		for (at = 0; log_ring_next(&ring, &at, ring.head, line, &n, &mark_at);)
			assert_int_equal(*log_ring_byte(&ring, mark_at), LOG_MARK_SHOWN + LOG_INFO);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line),	   cmocka_unit_test(test_control_characters),
		cmocka_unit_test(test_long_line),  cmocka_unit_test(test_ring),
		cmocka_unit_test(test_ring_edges), cmocka_unit_test(test_ring_goes_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
