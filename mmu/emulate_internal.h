/* SPDX-License-Identifier: MIT */
/*
 * What the files of mmu/emulate share and nobody else uses. Pure: any context, no locks.
 */
#ifndef MMU_EMULATE_INTERNAL_H
#define MMU_EMULATE_INTERNAL_H

#include "mmu/emulate.h"

#define RFLAGS_CF BIT(0)
#define RFLAGS_PF BIT(2)
#define RFLAGS_AF BIT(4)
#define RFLAGS_ZF BIT(6)
#define RFLAGS_SF BIT(7)
#define RFLAGS_DF BIT(10)
#define RFLAGS_OF BIT(11)
#define RFLAGS_RF BIT(16)

/* struct emulate_segment.access: 32-bit stack pointer, or limit of an expand-down segment. */
#define ACCESS_BIG BIT(14)

static inline u64 size_mask(unsigned int size)
{
	return ~0ull >> (64 - 8 * size);
}

static inline s64 size_sign_extend(u64 value, unsigned int size)
{
	return (s64)(value << (64 - 8 * size)) >> (64 - 8 * size);
}

/*
 * emulate_alu.c: operands need no masking, results are cut to size, *rflags is updated. Of the flags
 * that the manual leaves undefined, AF is clear after logic, and BT and its like change CF only.
 */
u64 alu_binary(enum insn_kind kind, u64 a, u64 b, unsigned int size, u64 *rflags);
u64 alu_unary(enum insn_kind kind, u64 a, unsigned int size, u64 *rflags);
u64 alu_bit(enum insn_kind kind, u64 a, unsigned int bit, u64 *rflags);

/* emulate_operand.c: registers are read from and written to e->next. */
u64 emulate_get_reg(const struct emulate *e, struct insn_operand operand, unsigned int size);
void emulate_set_reg(struct emulate *e, struct insn_operand operand, unsigned int size, u64 value);
u64 emulate_offset(const struct emulate *e);

/*
 * Ask for `size` bytes at segment:offset: sets gva and size and returns `step`, EMULATE_READ or
 * EMULATE_WRITE, or EMULATE_FAULT if the segment or the form of the address forbids it.
 * EMULATE_IN is checked as a write.
 */
enum emulate_step emulate_access(struct emulate *e, enum insn_segment segment, u64 offset,
				 unsigned int size, enum emulate_step step);

/* Make e->next the guest's registers; `leave` says whether RIP goes on to the next instruction. */
enum emulate_step emulate_commit(struct emulate *e, bool leave);

/* emulate_string.c: MOVS to OUTS. emulate_stack.c: PUSH, POP, IN, OUT. */
enum emulate_step emulate_next_string(struct emulate *e);
enum emulate_step emulate_next_stack(struct emulate *e);
enum emulate_step emulate_next_port(struct emulate *e);

#endif
