/* SPDX-License-Identifier: MIT */
/*
 * Random instructions of 16-, 32- and 64-bit code, run by this machine's CPU and by mmu/emulate:
 * registers, flags, memory, where it goes on, and which exception with which error code. All kinds
 * but those that another privilege level, a device or a vector table has to do with, which
 * test_emulate.c looks at.
 *
 * 300,000 cases, and 10 million where WEIR_FUZZ is "full"; the seed is WEIR_SEED.
 */
/* unit-sources: @emulate tests/unit/mmu/native.c */
#include <cpuid.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/base/error.h"
#include "mmu/emulate.h"
#include "tests/hosted/random.h"
#include "tests/unit/mmu/native.h"

#define SHORT_CASES 300000u
#define FULL_CASES  10000000u
#define BYTES	    20
#define MIDDLE	    0x8000u
/* Of memory, what is looked at after each case; data that is aimed at lies there. */
#define WINDOW	     (MIDDLE - 0x800)
#define WINDOW_SIZE  0x2000
#define LIMIT_WINDOW (NATIVE_DATA_LIMIT - 0x1ff)
#define LIMIT_SIZE   0x400
#define FLAG_CF	     BIT(0)
#define FLAG_PF	     BIT(2)
#define FLAG_AF	     BIT(4)
#define FLAG_ZF	     BIT(6)
#define FLAG_SF	     BIT(7)
#define FLAG_DF	     BIT(10)
#define FLAG_OF	     BIT(11)
#define FLAG_NT	     BIT(14)
#define FLAG_AC	     BIT(18)
#define STATUS	     (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)
#define COMPARED     (STATUS | FLAG_DF | FLAG_NT | FLAG_AC)
#define LDT_BASE     0x12340000u
#define VECTOR_PF    14
#define SKIPPED	     0xfe	 /* in place of a vector */
#define GDT_BASE     0x56780000u /* whatever is there is Linux's */
#define ACCESS_USER  0xf3u
#define ACCESS_BIG   0x4000u

struct test_case {
	u8 bytes[BYTES];
	enum decode_mode mode;
	struct insn insn;
	u64 gpr[GPR_COUNT], rflags;
	bool moffs;
};

static u8 emulated[NATIVE_MEMORY];
static u64 seed;
static bool intel;

/* --- which instructions --- */

static bool loads_segment(const struct insn *i)
{
	return i->kind == INSN_POP_SEG || i->kind == INSN_LOAD_SEG || i->kind == INSN_LOAD_FAR;
}

static bool is_far(const struct insn *i)
{
	return i->kind >= INSN_JMP_FAR && i->kind <= INSN_IRET;
}

static bool uses_stack(const struct insn *i)
{
	switch (i->kind) {
	case INSN_PUSH:
	case INSN_POP:
	case INSN_CALL:
	case INSN_RET:
	case INSN_CALL_FAR:
	case INSN_RET_FAR:
	case INSN_IRET:
		return true;
	default:
		return i->kind >= INSN_PUSHA && i->kind <= INSN_POP_SEG;
	}
}

static bool is_string(const struct insn *i)
{
	return i->kind >= INSN_MOVS && i->kind <= INSN_OUTS;
}

static bool usable_in_64(const struct insn *i)
{
	bool bit = i->kind >= INSN_BT && i->kind <= INSN_BTC;

	/* A segment register or RSP changed there would be the process's own. */
	if (loads_segment(i) || is_far(i) || i->kind == INSN_STORE_SEG || i->kind == INSN_PUSH_SEG)
		return false;
	if (i->mem.present && i->mem.base == RSP)
		return false;
	/* test_emulate_native.c aims bit numbers. */
	return !(bit && i->dst.kind == OPERAND_MEM && i->src.kind == OPERAND_REG);
}

/* What the CPU answers otherwise than the emulator has to, or what would end the test. */
static bool usable(const struct test_case *c)
{
	const struct insn *i = &c->insn;

	switch (i->kind) {
	case INSN_OTHER:
	case INSN_INS:
	case INSN_OUTS:
	case INSN_IN:
	case INSN_OUT:
	case INSN_INT:
	case INSN_INT3:
	case INSN_INTO:
	case INSN_INT1:
	case INSN_CPUID:
	case INSN_RDTSC:
	case INSN_RDTSCP:
	case INSN_INVPCID:
	case INSN_SYSENTER:
	case INSN_MOVBE:
		return false;
	case INSN_BSWAP:
		if (i->op_size == 2)
			return false;
		break;
	case INSN_SMSW:
	case INSN_SGDT:
	case INSN_SIDT:
	case INSN_SLDT:
	case INSN_STR:
		return false; /* UMIP */
	case INSN_CMPXCHG:
		/* A 32-bit destination that fails: does its upper half go? Not documented. */
		if (!i->mem.present && i->op_size == 4)
			return false;
		break;
	case INSN_CMPXCHG8B: /* test_emulate_vector.c */
		if (i->op_size == 8)
			return false;
		break;
	case INSN_MOV_XMM:
	case INSN_FNINIT:
	case INSN_FNSTSW:
	case INSN_FNSTCW:
	case INSN_FLDCW:
		return false;
	case INSN_MOVSX:
		if (i->src_size == i->op_size)
			return false;
		break;
	}
	if (loads_segment(i) && i->reg != SEGMENT_ES && i->reg != SEGMENT_DS)
		return false;
	if (i->kind == INSN_PUSH_SEG || i->kind == INSN_STORE_SEG)
		if (i->reg >= SEGMENT_FS || !intel)
			return false;
	/* FS and GS are the process's, CS has the code that runs the test. */
	if (i->mem.segment >= SEGMENT_FS || i->mem.segment == SEGMENT_CS)
		return false;
	/* What REP with a count of 0 leaves of wider registers is Intel's way. */
	if (is_string(i) && c->mode == DECODE_64 && i->addr_size == 4)
		return false;
	return c->mode != DECODE_64 || usable_in_64(i);
}

static void generate_bytes(struct test_case *c)
{
	size_t at = 0;
	u8 opcode = (u8)random_next(&seed);

	for (size_t i = 0; i < BYTES; i++)
		c->bytes[i] = (u8)random_next(&seed);
	c->mode = (enum decode_mode)random_below(&seed, 3);
	if (!random_below(&seed, 3))
		c->bytes[at++] = 0x66;
	if (!random_below(&seed, 4))
		c->bytes[at++] = 0x67;
	if (!random_below(&seed, 16))
		c->bytes[at++] = 0xf0;
	if (!random_below(&seed, 8))
		c->bytes[at++] = random_below(&seed, 2) ? 0xf2 : 0xf3;
	if (!random_below(&seed, 12))
		c->bytes[at++] = (u8)(0x26 | random_below(&seed, 4) << 3);
	if (c->mode == DECODE_64 && random_below(&seed, 2))
		c->bytes[at++] = 0x40 | (u8)random_below(&seed, 16);
	if (!random_below(&seed, 3))
		c->bytes[at++] = 0x0f;
	c->moffs = (opcode & 0xfc) == 0xa0 && !(at && c->bytes[at - 1] == 0x0f);
	c->bytes[at] = opcode;
}

/* --- values --- */

static u64 random_value(void)
{
	switch (random_below(&seed, 4)) {
	case 0:
		return random_below(&seed, 0x100);
	case 1:
		return (u64)(s64)(s8)random_next(&seed);
	case 2:
		return MIDDLE + random_below(&seed, 0x100);
	default:
		return random_next(&seed);
	}
}

/* Where data is: for 64-bit code an address, else an offset; near the limit now and then. */
static u64 random_target(enum decode_mode mode)
{
	u64 base = mode == DECODE_64 ? (u64)(uintptr_t)native_memory : 0;

	if (mode != DECODE_64 && !random_below(&seed, 16))
		return NATIVE_DATA_LIMIT - random_below(&seed, 12);
	return base + MIDDLE + random_below(&seed, 0x1000);
}

/* Put `value` where the instruction has its displacement or its immediate: at its end. */
static void patch(struct test_case *c, size_t from_end, size_t size, u64 value)
{
	memcpy(c->bytes + c->insn.length - from_end, &value, size);
}

static size_t disp_size(const struct test_case *c)
{
	if (c->moffs)
		return c->insn.addr_size;
	return c->insn.addr_size == 2 ? 2 : 4;
}

/* Makes the operand's address `target`, if it can; false: it cannot, and it must in 64-bit code. */
static bool aim(struct test_case *c, u64 target)
{
	const struct insn_memory *m = &c->insn.mem;
	size_t size = disp_size(c);
	u64 index;

	if (m->base == INSN_REG_RIP) {
		target -= native_rip(c->mode, c->insn.length) + c->insn.length;
		patch(c, c->insn.imm_size + size, size, target);
		return true;
	}
	index = m->index == INSN_REG_NONE ? 0 : c->gpr[m->index] * m->scale;
	if (m->base == INSN_REG_NONE) {
		if (m->index != INSN_REG_NONE) {
			c->gpr[m->index] = random_below(&seed, 512);
			index = c->gpr[m->index] * m->scale;
		}
		patch(c, c->insn.imm_size + size, size, target - index);
		return true;
	}
	if (m->base == m->index || m->base == RSP)
		return false;
	c->gpr[m->base] = target - (u64)m->disp - index;
	return true;
}

static u16 random_selector(void)
{
	static const u16 others[] = {0, 3, 0xffff, 0x1004, FLAG_AC & 0xffff};

	if (!random_below(&seed, 6))
		return others[random_below(&seed, ARRAY_SIZE(others))];
	return NATIVE_SELECTOR(random_below(&seed, NATIVE_SEGMENTS)) &
	       ~(u16)(random_below(&seed, 8) ? 0 : 3);
}

static u16 code_selector(const struct test_case *c)
{
	if (!random_below(&seed, 6))
		return random_selector();
	return NATIVE_SELECTOR(c->mode == DECODE_16 ? NATIVE_CODE16 : NATIVE_CODE32);
}

static u64 landing(const struct test_case *c)
{
	u64 base = native_rip(c->mode, 0) - NATIVE_SLOT_END;

	if (random_below(&seed, 8))
		return base + (random_below(&seed, 2) ? NATIVE_LANDING : NATIVE_SLOT_END);
	/* Outside the segment, or not canonical. */
	return c->mode == DECODE_64 ? 1ull << 60 : 0x2000 + random_below(&seed, 0xc000);
}

/* A relative branch's displacement; its target is in the segment, or beyond its limit. */
static bool aim_branch(struct test_case *c)
{
	struct insn *i = &c->insn;
	u64 next = native_rip(c->mode, 0), target = landing(c);

	if (i->src.kind != OPERAND_IMM || i->kind < INSN_JCC || i->kind > INSN_JCXZ ||
	    i->kind == INSN_RET)
		return true;
	if (i->imm_size == 1 || c->mode == DECODE_64)
		target = next + (random_below(&seed, 2) ? NATIVE_LANDING - NATIVE_SLOT_END : 0);
	patch(c, i->imm_size, i->imm_size, target - next);
	return true;
}

static void put_word(u64 address, u64 value, size_t size)
{
	u64 offset = address;

	if (offset >= (u64)(uintptr_t)native_memory)
		offset -= (u64)(uintptr_t)native_memory;
	if (offset + size <= NATIVE_MEMORY)
		memcpy(native_memory + offset, &value, size);
	if (offset + size <= NATIVE_MEMORY)
		memcpy(emulated + offset, &value, size);
}

/* Around the index, or just beside it. */
static void put_bounds(struct test_case *c, u64 target)
{
	u64 index = c->gpr[c->insn.dst.reg], size = c->insn.op_size;

	put_word(target, index + random_below(&seed, 4) - 2, size);
	put_word(target + size, index + random_below(&seed, 4) - 1, size);
}

/* What the stack's top, or the operand, has to hold for the instruction to be of interest. */
static void put_operands(struct test_case *c, u64 target)
{
	const struct insn *i = &c->insn;
	u64 stack = c->gpr[RSP], size = i->op_size;

	if (c->mode == DECODE_16)
		stack = (u16)stack;
	put_word(target, random_below(&seed, 3) ? random_next(&seed) : c->gpr[RAX], 8);
	switch (i->kind) {
	case INSN_RET:
		put_word(stack, landing(c), size);
		break;
	case INSN_JMP:
	case INSN_CALL:
		put_word(target, landing(c), size);
		break;
	case INSN_JMP_FAR:
	case INSN_CALL_FAR:
		put_word(target, landing(c), size);
		put_word(target + size, code_selector(c), 2);
		break;
	case INSN_RET_FAR:
	case INSN_IRET:
		put_word(stack, landing(c), size);
		put_word(stack + size, code_selector(c), 2);
		put_word(stack + 2 * size, random_next(&seed) & (COMPARED | 0x202), size);
		break;
	case INSN_POPF:
		put_word(stack, random_next(&seed) & ~0x100ull & ~BIT(17), size);
		break;
	case INSN_POP_SEG:
		put_word(stack, random_selector(), 2);
		break;
	case INSN_LOAD_SEG:
		put_word(target, random_selector(), 2);
		break;
	case INSN_LOAD_FAR:
		put_word(target + size, random_selector(), 2);
		break;
	case INSN_BOUND:
		put_bounds(c, target);
		break;
	case INSN_ARPL:
	case INSN_LAR:
	case INSN_LSL:
	case INSN_VERR:
	case INSN_VERW:
		put_word(target, random_selector(), 2);
		break;
	}
}

static void patch_far(struct test_case *c)
{
	const struct insn *i = &c->insn;

	if ((i->kind != INSN_JMP_FAR && i->kind != INSN_CALL_FAR) || !i->imm_size)
		return;
	patch(c, i->imm_size, i->op_size, landing(c));
	patch(c, 2, 2, code_selector(c));
}

static void prepare_division(struct test_case *c)
{
	/* Else nearly all overflow. */
	if ((c->insn.kind == INSN_DIV || c->insn.kind == INSN_IDIV) && random_below(&seed, 4)) {
		c->gpr[RDX] = random_below(&seed, 2) ? random_below(&seed, 64)
						     : (u64) - (s64)random_below(&seed, 3);
		c->gpr[RAX] = c->insn.op_size == 1 ? random_below(&seed, 0x800) : c->gpr[RAX];
	}
}

/* One that a host may punish for crossing a cache line. */
static bool locks(const struct insn *i)
{
	return i->mem.present && (i->lock || i->kind == INSN_XCHG);
}

/* What branches to what it reads there. */
static bool must_aim(const struct insn *i)
{
	return locks(i) || (i->kind >= INSN_JCC && i->kind <= INSN_IRET);
}

static bool prepare(struct test_case *c)
{
	struct insn *i = &c->insn;
	u64 target = random_target(c->mode);

	if (locks(i))
		target &= ~7ull;
	for (u32 r = 0; r < GPR_COUNT; r++)
		c->gpr[r] = random_value();
	if (uses_stack(i) || c->mode != DECODE_64)
		c->gpr[RSP] = random_target(c->mode) & ~1ull;
	/* Flags that wrapped round to elsewhere might set TF. */
	if (i->kind == INSN_IRET || i->kind == INSN_POPF)
		c->gpr[RSP] = (c->mode == DECODE_64 ? (u64)(uintptr_t)native_memory : 0) + MIDDLE +
			      random_below(&seed, 0x800) * 2;
	if (i->kind == INSN_LEAVE || i->kind == INSN_ENTER)
		c->gpr[RBP] = random_target(c->mode);
	c->rflags = 0x202 | (random_next(&seed) & (STATUS | FLAG_DF));
	prepare_division(c);
	if (is_string(i)) {
		c->gpr[RSI] = random_target(c->mode);
		c->gpr[RDI] = random_target(c->mode);
		c->gpr[RCX] = random_below(&seed, 8);
	} else if (i->kind == INSN_XLAT) {
		c->gpr[RBX] = random_target(c->mode);
		if (c->mode == DECODE_64 && i->addr_size == 4)
			c->gpr[RBX] = (u32)c->gpr[RBX];
	} else if (i->mem.present && i->kind != INSN_NOP && i->kind != INSN_LEA &&
		   !aim(c, target) && (c->mode == DECODE_64 || must_aim(i))) {
		return false;
	}
	if ((i->kind == INSN_JMP || i->kind == INSN_CALL) && i->src.kind == OPERAND_REG) {
		if (i->src.reg == RSP)
			return false;
		c->gpr[i->src.reg] = landing(c);
	}
	if ((i->kind == INSN_LOAD_SEG || (i->kind >= INSN_LAR && i->kind <= INSN_VERW)) &&
	    i->src.kind == OPERAND_REG)
		c->gpr[i->src.reg] = random_selector();
	aim_branch(c);
	patch_far(c);
	put_operands(c, target);
	return decode_insn(i, c->bytes, BYTES, c->mode) == 0;
}

/* --- the emulated half --- */

static struct emulate_segment from_descriptor(u64 raw)
{
	u32 limit = (u32)(raw & 0xffff) | (u32)(raw >> 32 & 0xf0000);

	return (struct emulate_segment){
		.base = (raw >> 16 & 0xffffff) | (raw >> 56) << 24,
		.limit = limit,
		.access = ((u32)(raw >> 40) & 0xf0ff) | 1,
	};
}

static void set_cpu(const struct test_case *c, struct emulate_cpu *cpu)
{
	static const u8 stack[3] = {NATIVE_STACK16, NATIVE_STACK32, NATIVE_STACK32};
	static const u8 code[3] = {NATIVE_CODE16, NATIVE_CODE32, NATIVE_CODE32};
	u8 by_segment[4] = {NATIVE_DATA, code[c->mode], stack[c->mode], NATIVE_DATA};

	*cpu = (struct emulate_cpu){
		.protected_mode = true, .linear_bits = 48, .cpl = 3, .long_mode = true};
	for (u32 i = 0; i < 4; i++) {
		cpu->segment[i] = from_descriptor(native_ldt[by_segment[i]]);
		cpu->segment[i].selector = NATIVE_SELECTOR(by_segment[i]);
	}
	cpu->gdt = (struct emulate_table){GDT_BASE, 0xffff};
	cpu->segment[EMULATE_LDTR] = (struct emulate_segment){LDT_BASE, sizeof(native_ldt) - 1,
							      0x82, 0};
	/* IRET in IA-32e mode is refused; the CPU's in compatibility mode does as it always did. */
	if (c->insn.kind == INSN_IRET)
		cpu->long_mode = false;
}

static bool in_memory(const struct emulate *e, u64 *offset)
{
	*offset = e->gva - (u64)(uintptr_t)native_memory;
	return *offset < NATIVE_MEMORY && *offset + e->size <= NATIVE_MEMORY;
}

static void read_ldt(struct emulate *e)
{
	u64 at = e->gva - LDT_BASE;

	assert_true(at + e->size <= sizeof(native_ldt));
	memcpy(&e->value, (u8 *)native_ldt + at, e->size);
}

/* false: it ended in an exception, which is in *out. */
static bool run_steps(struct emulate *e, struct native_result *out)
{
	for (u32 n = 0; n < EMULATE_LOG_MAX; n++) {
		enum emulate_step step = emulate_next(e);
		u64 offset;

		if (step == EMULATE_DONE)
			return true;
		if (step == EMULATE_FAULT) {
			out->vector = e->vector;
			out->error_code = emulate_has_error_code(e->vector) ? e->error_code : 0;
			return false;
		}
		if (step == EMULATE_UNHANDLED) {
			out->vector = SKIPPED;
			return false;
		}
		assert_true(step == EMULATE_READ || step == EMULATE_WRITE);
		if (e->implicit && e->gva >= GDT_BASE) {
			out->vector = SKIPPED;
			return false;
		} else if (e->implicit) {
			read_ldt(e);
		} else if (in_memory(e, &offset) && offset + e->size > NATIVE_OWN) {
			out->vector = SKIPPED;
			return false;
		} else if (!in_memory(e, &offset)) {
			out->vector = VECTOR_PF;
			return false;
		} else if (step == EMULATE_READ) {
			e->value = random_next(&seed);
			memcpy(&e->value, emulated + offset, e->size);
		} else {
			memcpy(emulated + offset, &e->value, e->size);
		}
	}
	fail_msg("no end");
	return false;
}

static void run_emulated(const struct test_case *c, struct native_result *out)
{
	struct guest_regs regs = {.rip = native_rip(c->mode, c->insn.length), .rflags = c->rflags};
	u64 start = regs.rip;
	struct emulate_cpu cpu;
	struct emulate e;

	memcpy(regs.gpr, c->gpr, sizeof(regs.gpr));
	set_cpu(c, &cpu);
	out->vector = NATIVE_NO_VECTOR;
	out->es = cpu.segment[SEGMENT_ES].selector;
	do {
		emulate_start(&e, &c->insn, &regs, &cpu);
		if (!run_steps(&e, out))
			break;
		if (e.changed & BIT(SEGMENT_ES))
			out->es = e.sys.segment[SEGMENT_ES].selector;
	} while (is_string(&c->insn) && regs.rip == start);
	memcpy(out->gpr, regs.gpr, sizeof(out->gpr));
	out->rflags = regs.rflags;
	out->rip = regs.rip;
}

/* --- comparison --- */

static u64 defined_flags(const struct test_case *c)
{
	const struct insn *i = &c->insn;
	u64 count = i->imm_size ? i->imm : c->gpr[RCX];
	u32 bits = 8u * i->op_size;

	count &= i->op_size == 8 ? 63 : 31;
	switch (i->kind) {
	case INSN_AND:
	case INSN_OR:
	case INSN_XOR:
	case INSN_TEST:
		return COMPARED & ~FLAG_AF;
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return COMPARED & ~(FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF);
	case INSN_MUL:
	case INSN_IMUL_WIDE:
	case INSN_IMUL:
		return COMPARED & ~(FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF);
	case INSN_DIV:
	case INSN_IDIV:
		return COMPARED & ~STATUS;
	case INSN_BSF:
	case INSN_BSR:
		return (COMPARED & ~STATUS) | FLAG_ZF;
	case INSN_AAA:
	case INSN_AAS:
		return COMPARED & ~(FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_PF);
	case INSN_DAA:
	case INSN_DAS:
		return COMPARED & ~FLAG_OF;
	case INSN_AAM:
	case INSN_AAD:
		return COMPARED & ~(FLAG_OF | FLAG_AF | FLAG_CF);
	}
	if (i->kind < INSN_ROL || i->kind > INSN_SHRD)
		return COMPARED;
	if (i->src.kind == OPERAND_NONE)
		count = 1;
	if (!count)
		return COMPARED;
	if (i->kind <= INSN_RCR)
		return count == 1 ? COMPARED : COMPARED & ~FLAG_OF;
	if (i->kind >= INSN_SHLD && count > bits)
		return COMPARED & ~STATUS;
	if (count > bits || (count == bits && i->op_size < 4))
		return COMPARED & ~(FLAG_OF | FLAG_AF | FLAG_CF);
	return COMPARED & ~(FLAG_AF | (count == 1 ? 0 : FLAG_OF));
}

/* SHLD and SHRD of 16 bits by more; BSF and BSR of 0 with 32 bits. */
static bool undefined_result(const struct test_case *c)
{
	const struct insn *i = &c->insn;
	u64 count = (i->imm_size ? i->imm : c->gpr[RCX]) & 31;

	if (i->kind == INSN_SHLD || i->kind == INSN_SHRD)
		return i->op_size == 2 && count > 16;
	return i->kind == INSN_BSF || i->kind == INSN_BSR;
}

static void report(const struct test_case *c, const char *what, const struct native_result *n,
		   const struct native_result *e)
{
	print_error("%s differs, mode %u, kind %u:", what, c->mode, c->insn.kind);
	for (u32 i = 0; i < c->insn.length; i++)
		print_error(" %02x", c->bytes[i]);
	print_error("\nvector native %u (%x), emulated %u (%x); rip %llx, %llx; es %x, %x\n",
		    n->vector, n->error_code, e->vector, e->error_code, (unsigned long long)n->rip,
		    (unsigned long long)e->rip, n->es, e->es);
	print_error("flags before %llx, native %llx, emulated %llx\n",
		    (unsigned long long)c->rflags, (unsigned long long)n->rflags,
		    (unsigned long long)e->rflags);
	for (u32 i = 0; i < GPR_COUNT; i++)
		print_error("register %u: was %llx, native %llx, emulated %llx\n", i,
			    (unsigned long long)c->gpr[i], (unsigned long long)n->gpr[i],
			    (unsigned long long)e->gpr[i]);
	fail();
}

static bool registers_equal(const struct test_case *c, const struct native_result *n,
			    const struct native_result *e)
{
	u64 mask = c->mode == DECODE_64 ? ~0ull : 0xffffffff;
	u32 count = c->mode == DECODE_64 ? GPR_COUNT : 8;

	for (u32 i = 0; i < count; i++) {
		if ((n->gpr[i] ^ e->gpr[i]) & mask)
			return false;
	}
	return true;
}

static bool memories_equal(void)
{
	return !memcmp(native_memory + WINDOW, emulated + WINDOW, WINDOW_SIZE) &&
	       !memcmp(native_memory + LIMIT_WINDOW, emulated + LIMIT_WINDOW, LIMIT_SIZE);
}

static void compare(const struct test_case *c, const struct native_result *n,
		    const struct native_result *e)
{
	bool faulted = n->vector != NATIVE_NO_VECTOR;
	u64 mask = c->mode == DECODE_64 ? ~0ull : 0xffffffff;
	u16 es;

	if (n->vector != e->vector)
		report(c, "exception", n, e);
	if (faulted && n->vector != VECTOR_PF && n->error_code != e->error_code)
		report(c, "error code", n, e);
	if ((n->rip ^ e->rip) & mask)
		report(c, "rip", n, e);
	if (!faulted && undefined_result(c))
		return;
	if (!registers_equal(c, n, e))
		report(c, "register", n, e);
	/* An interrupt of the host's in between makes 0 of any null selector, as it returns (SDM 2A IRET). */
	es = n->es || e->es > 3 ? e->es : 0;
	if (!faulted && n->es != es && c->mode != DECODE_64)
		report(c, "ES", n, e);
	if ((n->rflags ^ e->rflags) & (faulted ? COMPARED & ~STATUS : defined_flags(c)))
		report(c, "flags", n, e);
	/* A CPU may look at all it writes before it writes the first. */
	if ((!faulted || is_string(&c->insn)) && !memories_equal())
		report(c, "memory", n, e);
}

static u32 case_count(void)
{
	const char *extent = getenv("WEIR_FUZZ");

	return extent && !strcmp(extent, "full") ? FULL_CASES : SHORT_CASES;
}

static void run_case(const struct test_case *c)
{
	struct native_result native = {0}, emulated_result = {0};

	memcpy(emulated + WINDOW, native_memory + WINDOW, WINDOW_SIZE);
	memcpy(emulated + LIMIT_WINDOW, native_memory + LIMIT_WINDOW, LIMIT_SIZE);
	run_emulated(c, &emulated_result);
	/* Gates and other levels, which are not the emulator's; native.c's own memory; the GDT. */
	if (emulated_result.vector == SKIPPED)
		return;
	native_run(c->mode, c->bytes, c->insn.length, c->gpr, c->rflags, &native);
	compare(c, &native, &emulated_result);
}

static void test_against_host_cpu(void **state)
{
	u32 done[3][INSN_KIND_COUNT] = {{0}}, count = case_count(), kinds = 0;
	struct test_case c;

	if (native_init()) {
		print_message("no local descriptor tables here\n");
		skip();
	}
	for (u32 n = 0; n < count;) {
		generate_bytes(&c);
		if (decode_insn(&c.insn, c.bytes, BYTES, c.mode) || !usable(&c) || !prepare(&c) ||
		    !usable(&c))
			continue;
		run_case(&c);
		done[c.mode][c.insn.kind]++;
		n++;
	}
	for (u32 mode = 0; mode < 3; mode++)
		for (u32 kind = 0; kind < INSN_KIND_COUNT; kind++)
			kinds += done[mode][kind] != 0;
	print_message("%u cases of %u kinds in three modes\n", count, kinds);
	assert_true(kinds > 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_host_cpu)};
	const char *given = getenv("WEIR_SEED");
	u32 a, b = 0, c, d;

	__get_cpuid(0, &a, &b, &c, &d);
	intel = b == signature_INTEL_ebx;
	seed = given ? strtoull(given, NULL, 0) : 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
