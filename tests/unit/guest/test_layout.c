/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/guest/layout.c */
#include "kernel/base/error.h"
#include "kernel/guest/layout.h"
#include "kernel/guest/memory.h"

#include <cmocka.h>
#include <stdlib.h>

static void test_reserve(void **state)
{
	struct layout l;

	layout_init(&l, MIB(16));
	assert_int_equal(layout_reserve(&l, 0, 1), ERR_EXIST);
	assert_int_equal(layout_reserve(&l, 0xfff, 2), ERR_EXIST);
	assert_int_equal(layout_reserve(&l, 0x9e000, 0x1001), ERR_EXIST);
	assert_int_equal(layout_reserve(&l, MIB(1), MIB(2)), 0);
	assert_int_equal(layout_reserve(&l, MIB(3) - 1, 1), ERR_EXIST);
	assert_int_equal(layout_reserve(&l, MIB(3), MIB(13)), 0);
	assert_int_equal(layout_reserve(&l, MIB(16), 1), ERR_RANGE);
	assert_int_equal(layout_reserve(&l, MIB(15), MIB(2)), ERR_RANGE);
	assert_int_equal(layout_reserve(&l, ~0ull - 10, 100), ERR_RANGE);
	assert_int_equal(layout_reserve(&l, 0x1000, ~0ull), ERR_RANGE);
}

static void test_alloc(void **state)
{
	struct layout l;
	u64 at;

	layout_init(&l, MIB(16));
	assert_int_equal(layout_alloc_low(&l, 0x2000, 0x1000, 0x1000, &at), 0);
	assert_int_equal(at, 0x1000);
	assert_int_equal(layout_alloc_low(&l, MIB(1), 0x1000, 0x1000, &at), 0);
	assert_int_equal(at, MIB(1));
	assert_int_equal(layout_alloc_high(&l, 0x1800, 0x1000, GIB(4), &at), 0);
	assert_int_equal(at, MIB(16) - 0x2000);
	assert_int_equal(layout_alloc_high(&l, 0x1000, 0x1000, MIB(4), &at), 0);
	assert_int_equal(at, MIB(4) - 0x1000);
	assert_int_equal(layout_alloc_high(&l, MIB(20), 0x1000, GIB(4), &at), ERR_NOMEM);
	assert_int_equal(layout_alloc_low(&l, MIB(20), 0x1000, 0, &at), ERR_NOMEM);
}

/* An error, also where what is tried first is taken. */
static void test_alloc_nothing(void **state)
{
	struct layout l;
	u64 at = 1;

	layout_init(&l, MIB(16));
	assert_int_equal(layout_alloc_high(&l, 0, PAGE_SIZE, GUEST_LOW_USABLE_TOP, &at), ERR_INVAL);
	assert_int_equal(layout_alloc_high(&l, 0, PAGE_SIZE, MIB(8), &at), ERR_INVAL);
	assert_int_equal(at, 1);
	assert_int_equal(layout_reserve(&l, MIB(8) - 1, 2), 0);
}

/* Whatever is handed out is RAM, aligned, and overlaps nothing handed out before. */
static void test_alloc_random(void **state)
{
	unsigned seed = 7;

	for (int round = 0; round < 2000; round++) {
		struct layout l;

		layout_init(&l, MIB(1 + rand_r(&seed) % 64));
		for (int i = 0; i < 60; i++) {
			u64 size = 1 + rand_r(&seed) % MIB(4);
			u64 align = 1ull << (rand_r(&seed) % 22), at = 0;
			u64 bound = rand_r(&seed) % l.low_top;
			bool high = rand_r(&seed) & 1;
			u32 before = l.count;
			int err = high ? layout_alloc_high(&l, size, align, bound, &at)
				       : layout_alloc_low(&l, size, align, bound, &at);

			if (err) {
				assert_int_equal(l.count, before);
				continue;
			}
			assert_true(is_aligned(at, align));
			assert_true(at + size <= l.low_top);
			assert_true(high ? at + size <= bound : at >= bound);
			for (u32 n = 0; n < before; n++)
				assert_true(at + size <= l.used[n].start || at >= l.used[n].end);
		}
	}
}

static void test_table_full(void **state)
{
	struct layout l;
	u64 at;
	int err = 0;

	layout_init(&l, MIB(64));
	for (u32 i = 0; i <= LAYOUT_USED_MAX && !err; i++)
		err = layout_alloc_low(&l, PAGE_SIZE, PAGE_SIZE, MIB(1), &at);
	assert_int_equal(err, ERR_NOSPC);
}

static void test_e820(void **state)
{
	struct e820_entry map[E820_MAP_MAX];
	struct layout l;
	u64 ram = 0;
	u32 n;

	layout_init(&l, MIB(256));
	n = layout_e820(&l, map);
	for (u32 i = 0; i < n; i++) {
		assert_true(i == 0 || map[i].addr >= map[i - 1].addr + map[i - 1].size);
		ram += map[i].type == E820_RAM ? map[i].size : 0;
	}
	assert_int_equal(ram, MIB(255) + GUEST_LOW_USABLE_TOP);

	layout_init(&l, GIB(5));
	n = layout_e820(&l, map);
	assert_int_equal(map[n - 1].addr, GIB(4));
	assert_int_equal(map[n - 1].size, GIB(2));
	assert_int_equal(map[n - 1].type, E820_RAM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reserve),	      cmocka_unit_test(test_alloc),
		cmocka_unit_test(test_alloc_nothing), cmocka_unit_test(test_alloc_random),
		cmocka_unit_test(test_table_full),    cmocka_unit_test(test_e820),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
