/* SPDX-License-Identifier: MIT */
/*
 * One instruction of a 64-bit guest in software, and what came of it. Linear pages 0 to 3 are RAM, page
 * 8 and 9 a device that has bytes of its own; page 15 is not mapped, page 14 read-only. Linear addresses
 * are guest physical ones.
 */
#ifndef TESTS_UNIT_KERNEL_EMULATION_RUN_H
#define TESTS_UNIT_KERNEL_EMULATION_RUN_H

#include "tests/unit/kernel/emulation_machine.h"

#define RUN(port_size, ...) run(port_size, (const u8[]){__VA_ARGS__}, sizeof((u8[]){__VA_ARGS__}))

static inline int run(u32 port_size, const u8 *code, size_t length)
{
	memcpy(memory + regs.rip, code, length);
	return vcpu_emulate(&cpu, port_size);
}

static inline u64 load(u64 at, u32 size)
{
	u64 value = 0;

	memcpy(&value, memory + at, size);
	return value;
}

static inline void check_done(u64 rip)
{
	assert_int_equal(completed, 1);
	assert_int_equal(injected.count + ended, 0);
	assert_int_equal(regs.rip, rip);
}

static inline void check_nothing_happened(void)
{
	assert_int_equal(completed + injected.count + ended + call_count, 0);
	assert_int_equal(regs.rip, CODE);
}

static inline void check_fault(u32 vector, u32 error, u64 cr2)
{
	assert_int_equal(injected.count, 1);
	assert_int_equal(injected.vector, vector);
	assert_int_equal(injected.error, error);
	assert_int_equal(injected.cr2, cr2);
	assert_int_equal(completed + ended + call_count, 0);
	assert_int_equal(regs.rip, CODE);
}

#endif
