/* SPDX-License-Identifier: MIT */
/*
 * Random instructions that this machine's CPU can run through native.h and that it and mmu/emulate
 * have to agree on, with registers and memory that have them do something. One thread.
 */
#ifndef TESTS_UNIT_MMU_NATIVE_CASE_H
#define TESTS_UNIT_MMU_NATIVE_CASE_H

#include "tests/unit/mmu/native.h"

#define NATIVE_CASE_BYTES 20	  /* more than any instruction has */
#define NATIVE_MIDDLE	  0x8000u /* of memory: most operands lie above it */

#define FLAG_CF	       BIT(0)
#define FLAG_PF	       BIT(2)
#define FLAG_AF	       BIT(4)
#define FLAG_ZF	       BIT(6)
#define FLAG_SF	       BIT(7)
#define FLAG_DF	       BIT(10)
#define FLAG_OF	       BIT(11)
#define FLAG_NT	       BIT(14)
#define FLAG_AC	       BIT(18)
#define FLAGS_STATUS   (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)
#define FLAGS_COMPARED (FLAGS_STATUS | FLAG_DF | FLAG_NT | FLAG_AC)

struct native_case {
	u8 bytes[NATIVE_CASE_BYTES];
	enum decode_mode mode;
	struct insn insn;
	u64 gpr[GPR_COUNT], rflags;
	bool moffs;
};

extern u64 native_seed; /* of all random numbers here, native_memory's too */
extern u8 emulated_memory
	[NATIVE_MEMORY]; /* the emulator's; operands are put here and in native_memory */

/* The next case; a seed gives the same ones again, of the same memory. */
void native_case_next(struct native_case *c);

/*
 * Registers, flags and memory for the decoded instruction, whose bytes may change. false: it cannot
 * be made to use the memory that it may.
 */
bool native_case_prepare(struct native_case *c);

bool native_is_string(const struct insn *i);
bool native_uses_stack(const struct insn *i);

#endif
