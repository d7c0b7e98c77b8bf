/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/symbols.c */
/* From an address to a function's name. */
#include "kernel/base/symbols.h"

#include <cmocka.h>

static const char names[] = "first\0second\0third";
static const struct symbol table[] = {{0x1000, 0}, {0x1010, 6}, {0x2000, 13}};

static void check(const struct symbols *s, u32 offset, const char *name, u32 within)
{
	u32 found = ~0u;
	const char *got = symbols_find(s, offset, &found);

	if (!name) {
		assert_null(got);
		return;
	}
	assert_string_equal(got, name);
	assert_int_equal(found, within);
}

static void test_find(void **state)
{
	const struct symbols all = {table, ARRAY_SIZE(table), names};

	check(&all, 0, NULL, 0);
	check(&all, 0xfff, NULL, 0);
	check(&all, 0x1000, "first", 0);
	check(&all, 0x100f, "first", 15);
	check(&all, 0x1010, "second", 0);
	check(&all, 0x1fff, "second", 0xfef);
	check(&all, 0x2000, "third", 0);
	check(&all, ~0u, "third", ~0u - 0x2000);
}

static void test_small_tables(void **state)
{
	for (u32 count = 0; count <= 2; count++) {
		const struct symbols some = {table, count, names};

		check(&some, 0x5000,
		      count == 0   ? NULL
		      : count == 1 ? "first"
				   : "second",
		      count == 1 ? 0x4000 : 0x3ff0);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_small_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
