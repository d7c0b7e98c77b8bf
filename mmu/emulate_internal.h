/* SPDX-License-Identifier: MIT */
/*
 * What the files of mmu/emulate share and nobody else uses. Pure: any context, no locks.
 */
#ifndef MMU_EMULATE_INTERNAL_H
#define MMU_EMULATE_INTERNAL_H

#include "mmu/emulate.h"

#define RFLAGS_CF	  BIT(0)
#define RFLAGS_PF	  BIT(2)
#define RFLAGS_AF	  BIT(4)
#define RFLAGS_ZF	  BIT(6)
#define RFLAGS_SF	  BIT(7)
#define RFLAGS_TF	  BIT(8)
#define RFLAGS_IF	  BIT(9)
#define RFLAGS_DF	  BIT(10)
#define RFLAGS_OF	  BIT(11)
#define RFLAGS_IOPL_SHIFT 12
#define RFLAGS_NT	  BIT(14)
#define RFLAGS_RF	  BIT(16)
#define RFLAGS_VM	  BIT(17)
#define RFLAGS_AC	  BIT(18)
#define RFLAGS_ID	  BIT(21)

#define RFLAGS_STATUS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* struct emulate_segment.access: SDM 3C table 25-2, type bits as in SDM 3A 3.4.5.1. */
#define ACCESS_ACCESSED	   BIT(0)
#define ACCESS_WRITABLE	   BIT(1) /* data */
#define ACCESS_READABLE	   BIT(1) /* code */
#define ACCESS_CONFORMING  BIT(2) /* code */
#define ACCESS_EXPAND_DOWN BIT(2) /* data */
#define ACCESS_CODE	   BIT(3)
#define ACCESS_S	   BIT(4) /* code or data */
#define ACCESS_DPL(a)	   (((a) >> 5) & 3u)
#define ACCESS_PRESENT	   BIT(7)
#define ACCESS_LONG	   BIT(13)
#define ACCESS_BIG	   BIT(14) /* 32-bit stack pointer, or limit of an expand-down segment */
#define ACCESS_UNUSABLE	   BIT(16)

#define SELECTOR_TI 4u /* the descriptor is in the LDT */

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
/* PF, ZF and SF of a result. */
u64 alu_result_flags(u64 result, unsigned int size);

/* emulate_operand.c: registers are read from and written to e->next. */
u64 emulate_get_reg(const struct emulate *e, struct insn_operand operand, unsigned int size);
void emulate_set_reg(struct emulate *e, struct insn_operand operand, unsigned int size, u64 value);
u64 emulate_offset(const struct emulate *e);
bool emulate_canonical(const struct emulate *e, u64 address);
u64 emulate_next_rip(const struct emulate *e);

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

/* emulate_replay.c: all kinds from INSN_ROL on. */
enum emulate_step emulate_next_replay(struct emulate *e);

/*
 * What a replayed instruction is made of. Each returns whether it may go on; if not, it returns
 * false itself at once: the step is asked for, or it has faulted.
 */
bool replay_read(struct emulate *e, unsigned int segment, u64 offset, unsigned int size,
		 u64 *value);
bool replay_write(struct emulate *e, unsigned int segment, u64 offset, unsigned int size,
		  u64 value);
/* 16 bytes. */
bool replay_read_wide(struct emulate *e, unsigned int segment, u64 offset, u64 value[2]);
bool replay_write_wide(struct emulate *e, unsigned int segment, u64 offset, const u64 value[2]);
bool replay_read_xmm(struct emulate *e, u32 n, u64 value[2]);
bool replay_write_xmm(struct emulate *e, u32 n, const u64 value[2]);
/* Goes on if a write there would. */
bool replay_probe(struct emulate *e, unsigned int segment, u64 offset, unsigned int size);
/* Goes on if a read of the byte there would; code that cannot be read counts as data that can. */
bool replay_touch(struct emulate *e, unsigned int segment, u64 offset);
/* The guest's CPU has it; without it the instruction is #UD. */
bool replay_need_feature(struct emulate *e, enum emulate_feature feature);
/* At a linear address, as the CPU reads its tables. */
bool replay_read_table(struct emulate *e, u64 linear, unsigned int size, u64 *value);
/* Instead of what replay_read_table gave, which must still be there. */
bool replay_exchange_table(struct emulate *e, u64 linear, unsigned int size, u64 expected,
			   u64 value);
bool replay_ask(struct emulate *e, enum emulate_step step, u32 index, u64 *value);
bool replay_random(struct emulate *e, enum emulate_feature source, u64 value[2]);
bool replay_fault(struct emulate *e, u8 vector, u32 error_code);
bool replay_unhandled(struct emulate *e);
/* Operands: EMULATE_VECTOR_UD and its like come from the handlers, not from these. */
bool replay_get(struct emulate *e, struct insn_operand operand, unsigned int size, u64 *value);
bool replay_get_to_change(struct emulate *e, struct insn_operand operand, unsigned int size,
			  u64 *value);
bool replay_set(struct emulate *e, struct insn_operand operand, unsigned int size, u64 value);
bool replay_push(struct emulate *e, unsigned int size, u64 value);
bool replay_pop(struct emulate *e, unsigned int size, u64 *value);
/* Bytes of the stack pointer that count (SDM 1 6.2.3). */
unsigned int emulate_stack_size(const struct emulate *e);
bool replay_need_cpl0(struct emulate *e);

/* The handlers, by file: what they return is what the last of the above did, or true. */
bool replay_shift(struct emulate *e);		   /* emulate_shift.c: ROL to SHRD */
bool replay_multiply(struct emulate *e);	   /* emulate_multiply.c: MUL to IMUL */
bool replay_bits(struct emulate *e);		   /* emulate_misc.c: BSF to BOUND */
bool replay_decimal(struct emulate *e);		   /* emulate_decimal.c: DAA to AAD */
bool replay_flags(struct emulate *e);		   /* emulate_misc.c: CLC to NOP */
bool replay_branch(struct emulate *e);		   /* emulate_branch.c: JCC to JCXZ */
bool replay_far(struct emulate *e);		   /* emulate_far.c: JMP_FAR to IRET */
bool replay_interrupt(struct emulate *e);	   /* emulate_interrupt.c: INT to EVENT */
bool replay_frame(struct emulate *e);		   /* emulate_frame.c: PUSHA to LEAVE */
bool replay_segment(struct emulate *e);		   /* emulate_segment.c: PUSH_SEG to LOAD_FAR */
bool replay_verify(struct emulate *e);		   /* emulate_verify.c: LAR to ARPL */
bool replay_system(struct emulate *e);		   /* emulate_system.c: HLT to UD */
bool replay_vector(struct emulate *e);		   /* emulate_vector.c: MOV_XMM to FLDCW */
bool replay_exchange_16(struct emulate *e);	   /* emulate_vector.c: CMPXCHG16B */
bool replay_load_table_segment(struct emulate *e); /* emulate_segment.c: LLDT, LTR */

/* emulate_branch.c: does the condition hold; and RIP of a near branch. */
bool emulate_condition(u64 rflags, u8 condition);
bool replay_go_near(struct emulate *e, u64 target, unsigned int size);

/* emulate_descriptor.c */
struct descriptor {
	u64 linear, raw;
	struct emulate_segment segment;
};
/* *found: it is there; false: beyond the end of its table. */
bool replay_find_descriptor(struct emulate *e, u16 selector, struct descriptor *d, bool *found);
/* One that is not there is #GP(selector). */
bool replay_read_descriptor(struct emulate *e, u16 selector, struct descriptor *d);
/* Accessed, or busy: what the CPU writes back, if it is not there. */
bool replay_mark_descriptor(struct emulate *e, struct descriptor *d, u32 bits);

/* emulate_segment.c */
bool replay_load_segment(struct emulate *e, unsigned int segment, u16 selector);
/* CS for a far transfer that stays at this privilege level; and RIP in it. */
bool replay_go_far(struct emulate *e, u16 selector, u64 target);
/* The same by an interrupt or trap gate. `external` is EXT of the error codes. */
bool replay_go_to_handler(struct emulate *e, u16 selector, u64 target, u32 external);
/* A far return to an outer level: it faults, or is none that is done. Never true. */
bool replay_go_out(struct emulate *e, u16 selector);

/* emulate_frame.c: the value of RFLAGS that POPF and IRET leave. */
u64 emulate_popped_flags(const struct emulate *e, u64 value, unsigned int size);

#endif
