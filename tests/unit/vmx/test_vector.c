/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/vector.c */
/* unit-cflags: -mgeneral-regs-only */
/* unit-sanitizer: none */
/*
 * Registers of this machine's CPU, one by one: each number is that register, and no other changes. Built
 * as Weir is, without code that uses them by itself.
 */
#include "vmx/vmx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define REGISTERS 16

#define LOAD(n)	 "movups 16*" #n "(%0), %%xmm" #n "\n\t"
#define STORE(n) "movups %%xmm" #n ", 16*" #n "(%0)\n\t"
#define ALL(of)                                                                                 \
	of(0) of(1) of(2) of(3) of(4) of(5) of(6) of(7) of(8) of(9) of(10) of(11) of(12) of(13) \
		of(14) of(15)

static u64 before[REGISTERS][2], after[REGISTERS][2];

static void load_all(void)
{
	for (u32 n = 0; n < REGISTERS; n++) {
		before[n][0] = 0x1111111111111111ull * n + 0x0807060504030201ull;
		before[n][1] = ~before[n][0];
	}
	__asm__ volatile(ALL(LOAD)::"r"(before) : "memory");
}

static void store_all(void)
{
	__asm__ volatile(ALL(STORE)::"r"(after) : "memory");
}

static void check_all(void)
{
	for (u32 n = 0; n < REGISTERS; n++)
		assert_true(after[n][0] == before[n][0] && after[n][1] == before[n][1]);
}

static void each_is_read(void **state)
{
	u64 got[REGISTERS][2];

	(void)state;
	load_all();
	for (u32 n = 0; n < REGISTERS; n++)
		vmx_read_xmm(NULL, n, got[n]);
	store_all();
	check_all();
	for (u32 n = 0; n < REGISTERS; n++)
		assert_true(got[n][0] == before[n][0] && got[n][1] == before[n][1]);
}

static void each_is_written(void **state)
{
	(void)state;
	for (u32 n = 0; n < REGISTERS; n++) {
		u64 half[2] = {0xabcdef0123456789ull, n};

		load_all();
		vmx_write_xmm(NULL, n, half);
		store_all();
		before[n][0] = half[0];
		before[n][1] = half[1];
		check_all();
	}
}

/* A guest's YMM registers keep what is beyond. */
static void upper_halves_stay(void **state)
{
	u64 wide[4] = {1, 2, 3, 4}, half[2] = {5, 6};

	(void)state;
	if (!__builtin_cpu_supports("avx"))
		skip();
	__asm__ volatile("vmovups %0, %%ymm9" ::"m"(wide));
	vmx_write_xmm(NULL, 9, half);
	__asm__ volatile("vmovups %%ymm9, %0\n\tvzeroupper" : "=m"(wide));
	assert_true(wide[0] == 5 && wide[1] == 6 && wide[2] == 3 && wide[3] == 4);
}

static void x87(void **state)
{
	(void)state;
	vmx_set_x87_control(NULL, 0x27f);
	assert_int_equal(vmx_x87_control(NULL), 0x27f);
	__asm__ volatile("fld1");
	assert_int_equal(vmx_x87_status(NULL) & 0x3800, 0x3800); /* the top is 7 */
	vmx_init_x87(NULL);
	assert_int_equal(vmx_x87_control(NULL), 0x37f);
	assert_int_equal(vmx_x87_status(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_read),
		cmocka_unit_test(each_is_written),
		cmocka_unit_test(upper_halves_stay),
		cmocka_unit_test(x87),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
