/* SPDX-License-Identifier: MIT */
/*
 * Runs one instruction on this machine's CPU, in 16-, 32- or 64-bit code, and tells what it did to
 * registers, flags and memory, or which exception it raised. Code of 16 and 32 bits runs in
 * segments of a local descriptor table. One thread.
 */
#ifndef TESTS_UNIT_MMU_NATIVE_H
#define TESTS_UNIT_MMU_NATIVE_H

#include "mmu/decode.h"
#include "mmu/regs.h"

#define NATIVE_MEMORY	  0x20000u
#define NATIVE_OWN	  0x18000u /* of memory: from here on it is native.c's */
#define NATIVE_DATA_LIMIT 0xffffu  /* of DS and ES; SS goes to the end of memory */
#define NATIVE_CODE_LIMIT 0xfffu
#define NATIVE_SLOT_END	  0x400u /* where the instruction ends, and goes on */
#define NATIVE_LANDING	  0x440u /* where it may branch to */
#define NATIVE_NO_VECTOR  0xff

/* Entries of the local descriptor table; a selector is the number * 8 + 7. */
enum native_segment {
	NATIVE_CODE16,
	NATIVE_CODE32,
	NATIVE_DATA,
	NATIVE_STACK16,
	NATIVE_STACK32,
	NATIVE_DATA_SMALL,
	NATIVE_DATA_READONLY,
	NATIVE_NOT_PRESENT,
	NATIVE_EXECUTE_ONLY, /* as NATIVE_CODE32 */
	NATIVE_SEGMENTS
};
#define NATIVE_SELECTOR(n) ((u16)((n)*8 + 7))

struct native_result {
	u64 gpr[GPR_COUNT];
	u64 rflags;
	u64 rip; /* offset in its segment; with an exception the instruction's own */
	u16 es;
	u8 vector; /* or NATIVE_NO_VECTOR */
	u16 error_code;
};

extern u8 *native_memory;		/* below 4 GiB: DS, ES and SS of 16- and 32-bit code */
extern u64 native_ldt[NATIVE_SEGMENTS]; /* as the CPU has it */

/* 0, or -1: this machine's kernel has no local descriptor tables. */
int native_init(void);
/* enum emulate_feature: what this machine's CPUID shows. */
bool native_has(u32 feature);
/* Of the code segment; in 64-bit code 0. */
u64 native_code_base(enum decode_mode mode);
/* rip of an instruction of that length. */
u64 native_rip(enum decode_mode mode, size_t length);
void native_run(enum decode_mode mode, const u8 *bytes, size_t length, const u64 gpr[GPR_COUNT],
		u64 rflags, struct native_result *out);

#endif
