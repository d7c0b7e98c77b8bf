/* SPDX-License-Identifier: MIT */
/* What is in the registers and the memory that an instruction uses. */
#include <string.h>
#include "tests/hosted/random.h"
#include "tests/unit/mmu/native_case.h"

u8 emulated_memory[NATIVE_MEMORY];

static u64 random_value(void)
{
	switch (random_below(&native_seed, 4)) {
	case 0:
		return random_below(&native_seed, 0x100);
	case 1:
		return (u64)(s64)(s8)random_next(&native_seed);
	case 2:
		return NATIVE_MIDDLE + random_below(&native_seed, 0x100);
	default:
		return random_next(&native_seed);
	}
}

/* Where data is: for 64-bit code an address, else an offset; near the limit now and then. */
static u64 random_target(enum decode_mode mode)
{
	u64 base = mode == DECODE_64 ? (u64)(uintptr_t)native_memory : 0;

	if (mode != DECODE_64 && !random_below(&native_seed, 16))
		return NATIVE_DATA_LIMIT - random_below(&native_seed, 12);
	return base + NATIVE_MIDDLE + random_below(&native_seed, 0x1000);
}

/* Put `value` where the instruction has its displacement or its immediate: at its end. */
static void patch(struct native_case *c, size_t from_end, size_t size, u64 value)
{
	memcpy(c->bytes + c->insn.length - from_end, &value, size);
}

static size_t disp_size(const struct native_case *c)
{
	if (c->moffs)
		return c->insn.addr_size;
	return c->insn.addr_size == 2 ? 2 : 4;
}

/* Makes the operand's address `target`, if it can; false: it cannot, and it must in 64-bit code. */
static bool aim(struct native_case *c, u64 target)
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
			c->gpr[m->index] = random_below(&native_seed, 512);
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

	if (!random_below(&native_seed, 6))
		return others[random_below(&native_seed, ARRAY_SIZE(others))];
	return NATIVE_SELECTOR(random_below(&native_seed, NATIVE_SEGMENTS)) &
	       ~(u16)(random_below(&native_seed, 8) ? 0 : 3);
}

static u16 code_selector(const struct native_case *c)
{
	if (!random_below(&native_seed, 6))
		return random_selector();
	return NATIVE_SELECTOR(c->mode == DECODE_16 ? NATIVE_CODE16 : NATIVE_CODE32);
}

static u64 landing(const struct native_case *c)
{
	u64 base = native_rip(c->mode, 0) - NATIVE_SLOT_END;

	if (random_below(&native_seed, 8))
		return base + (random_below(&native_seed, 2) ? NATIVE_LANDING : NATIVE_SLOT_END);
	/* Outside the segment, or not canonical. */
	return c->mode == DECODE_64 ? 1ull << 60 : 0x2000 + random_below(&native_seed, 0xc000);
}

/* A relative branch's displacement; its target is in the segment, or beyond its limit. */
static bool aim_branch(struct native_case *c)
{
	struct insn *i = &c->insn;
	u64 next = native_rip(c->mode, 0), target = landing(c);

	if (i->src.kind != OPERAND_IMM || i->kind < INSN_JCC || i->kind > INSN_JCXZ ||
	    i->kind == INSN_RET)
		return true;
	if (i->imm_size == 1 || c->mode == DECODE_64)
		target = next +
			 (random_below(&native_seed, 2) ? NATIVE_LANDING - NATIVE_SLOT_END : 0);
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
		memcpy(emulated_memory + offset, &value, size);
}

/* Around the index, or just beside it. */
static void put_bounds(struct native_case *c, u64 target)
{
	u64 index = c->gpr[c->insn.dst.reg], size = c->insn.op_size;

	put_word(target, index + random_below(&native_seed, 4) - 2, size);
	put_word(target + size, index + random_below(&native_seed, 4) - 1, size);
}

/* What the stack's top, or the operand, has to hold for the instruction to be of interest. */
static void put_operands(struct native_case *c, u64 target)
{
	const struct insn *i = &c->insn;
	u64 stack = c->gpr[RSP], size = i->op_size;

	if (c->mode == DECODE_16)
		stack = (u16)stack;
	put_word(target, random_below(&native_seed, 3) ? random_next(&native_seed) : c->gpr[RAX],
		 8);
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
		put_word(stack + 2 * size, random_next(&native_seed) & (FLAGS_COMPARED | 0x202),
			 size);
		break;
	case INSN_POPF:
		put_word(stack, random_next(&native_seed) & ~0x100ull & ~BIT(17), size);
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

static void patch_far(struct native_case *c)
{
	const struct insn *i = &c->insn;

	if ((i->kind != INSN_JMP_FAR && i->kind != INSN_CALL_FAR) || !i->imm_size)
		return;
	patch(c, i->imm_size, i->op_size, landing(c));
	patch(c, 2, 2, code_selector(c));
}

static void prepare_division(struct native_case *c)
{
	/* Else nearly all overflow. */
	if ((c->insn.kind == INSN_DIV || c->insn.kind == INSN_IDIV) &&
	    random_below(&native_seed, 4)) {
		c->gpr[RDX] = random_below(&native_seed, 2)
				      ? random_below(&native_seed, 64)
				      : (u64) - (s64)random_below(&native_seed, 3);
		c->gpr[RAX] = c->insn.op_size == 1 ? random_below(&native_seed, 0x800)
						   : c->gpr[RAX];
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

bool native_case_prepare(struct native_case *c)
{
	struct insn *i = &c->insn;
	u64 target = random_target(c->mode);

	if (locks(i))
		target &= ~7ull;
	for (u32 r = 0; r < GPR_COUNT; r++)
		c->gpr[r] = random_value();
	if (native_uses_stack(i) || c->mode != DECODE_64)
		c->gpr[RSP] = random_target(c->mode) & ~1ull;
	/* Flags that wrapped round to elsewhere might set TF. */
	if (i->kind == INSN_IRET || i->kind == INSN_POPF)
		c->gpr[RSP] = (c->mode == DECODE_64 ? (u64)(uintptr_t)native_memory : 0) +
			      NATIVE_MIDDLE + random_below(&native_seed, 0x800) * 2;
	if (i->kind == INSN_LEAVE || i->kind == INSN_ENTER)
		c->gpr[RBP] = random_target(c->mode);
	c->rflags = 0x202 | (random_next(&native_seed) & (FLAGS_STATUS | FLAG_DF));
	prepare_division(c);
	if (native_is_string(i)) {
		c->gpr[RSI] = random_target(c->mode);
		c->gpr[RDI] = random_target(c->mode);
		c->gpr[RCX] = random_below(&native_seed, 8);
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
	return decode_insn(i, c->bytes, NATIVE_CASE_BYTES, c->mode) == 0;
}
