/* SPDX-License-Identifier: MIT */
/* The step machine, and the instructions that read and write at most one place in memory. */
#include "mmu/emulate_internal.h"

enum phase {
	PHASE_BEGIN,
	PHASE_OPERATE,
	PHASE_COMMIT
};

/* What an instruction does with its destination; its source is always read. */
#define DST_READ  BIT(0)
#define DST_WRITE BIT(1)
#define DST_BOTH  (DST_READ | DST_WRITE)

static const u8 destination[INSN_KIND_COUNT] = {
	[INSN_ADD... INSN_XOR] = DST_BOTH,
	[INSN_CMP... INSN_TEST] = DST_READ,
	[INSN_NOT... INSN_DEC] = DST_BOTH,
	[INSN_MOV... INSN_MOVBE] = DST_WRITE,
	[INSN_XCHG... INSN_CMPXCHG8B] = DST_BOTH,
	[INSN_XADD] = DST_BOTH,
	[INSN_BT] = DST_READ,
	[INSN_BTS... INSN_BTC] = DST_BOTH,
};

static const struct insn_operand reg_rax = {OPERAND_REG, RAX}, reg_rdx = {OPERAND_REG, RDX};

static u64 swap_bytes(u64 value, unsigned int size)
{
	return __builtin_bswap64(value) >> (64 - 8 * size);
}

static bool is_bit_kind(unsigned int kind)
{
	return kind >= INSN_BT && kind <= INSN_BTC;
}

static u64 operand_value(const struct emulate *e, struct insn_operand operand, unsigned int size)
{
	switch ((enum insn_operand_kind)operand.kind) {
	case OPERAND_REG:
	case OPERAND_REG_HIGH:
		return emulate_get_reg(e, operand, size);
	case OPERAND_IMM:
		return e->insn->imm & size_mask(size);
	case OPERAND_MEM:
		return e->first;
	case OPERAND_XMM:
	case OPERAND_NONE:
		break;
	}
	return 0;
}

/* SDM 2A, CMPXCHG: the destination is written back also when it differs. */
static u64 compare_exchange(struct emulate *e, u64 dst, u64 src)
{
	unsigned int size = e->insn->op_size;

	alu_binary(INSN_CMP, emulate_get_reg(e, reg_rax, size), dst, size, &e->next.rflags);
	if (e->next.rflags & RFLAGS_ZF)
		return src;
	emulate_set_reg(e, reg_rax, size, dst);
	return dst;
}

static u64 compare_exchange_8b(struct emulate *e, u64 dst)
{
	const u64 *gpr = e->next.gpr;

	if (dst == (gpr[RDX] << 32 | (u32)gpr[RAX])) {
		e->next.rflags |= RFLAGS_ZF;
		return gpr[RCX] << 32 | (u32)gpr[RBX];
	}
	e->next.rflags &= ~RFLAGS_ZF;
	emulate_set_reg(e, reg_rax, 4, dst);
	emulate_set_reg(e, reg_rdx, 4, dst >> 32);
	return dst;
}

/* Gives the destination's new value; flags and other registers go to e->next. */
static u64 operate(struct emulate *e, u64 dst, u64 src)
{
	const struct insn *insn = e->insn;
	enum insn_kind kind = (enum insn_kind)insn->kind;
	unsigned int size = insn->op_size;

	switch (kind) {
	case INSN_MOV:
	case INSN_MOVZX:
		return src;
	case INSN_MOVSX:
		return (u64)size_sign_extend(src, insn->src_size) & size_mask(size);
	case INSN_MOVBE:
		return swap_bytes(src, size);
	case INSN_NOT:
	case INSN_NEG:
	case INSN_INC:
	case INSN_DEC:
		return alu_unary(kind, dst, size, &e->next.rflags);
	case INSN_XCHG:
		emulate_set_reg(e, insn->src, size, dst);
		return src;
	case INSN_XADD:
		emulate_set_reg(e, insn->src, size, dst);
		return alu_binary(INSN_ADD, dst, src, size, &e->next.rflags);
	case INSN_CMPXCHG:
		return compare_exchange(e, dst, src);
	case INSN_CMPXCHG8B:
		return compare_exchange_8b(e, dst);
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return alu_bit(kind, dst, src & (8 * size - 1), &e->next.rflags);
	default: /* INSN_ADD to INSN_TEST */
		return alu_binary(kind, dst, src, size, &e->next.rflags);
	}
}

/*
 * A bit number in a register reaches beyond the operand: it selects the word too, up or down
 * (SDM 2A, BT).
 */
static u64 memory_offset(const struct emulate *e)
{
	const struct insn *insn = e->insn;
	unsigned int size = insn->op_size;
	u64 offset = emulate_offset(e);

	if (is_bit_kind(insn->kind) && insn->src.kind == OPERAND_REG) {
		s64 bit = size_sign_extend(emulate_get_reg(e, insn->src, size), size);
		s64 word = bit >> (__builtin_ctz(size) + 3);

		offset = (offset + (u64)word * size) & size_mask(insn->addr_size);
	}
	return offset;
}

static enum emulate_step access_memory(struct emulate *e, enum emulate_step step)
{
	const struct insn *insn = e->insn;
	unsigned int size = insn->src.kind == OPERAND_MEM ? insn->src_size : insn->op_size;

	if (insn->kind == INSN_CMPXCHG8B)
		size *= 2;
	return emulate_access(e, (enum insn_segment)insn->mem.segment, memory_offset(e), size,
			      step);
}

static enum emulate_step finish(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 dst = operand_value(e, insn->dst, insn->op_size);
	u64 src = operand_value(e, insn->src, insn->src_size);
	u64 result = operate(e, dst, src);

	if (!(destination[insn->kind] & DST_WRITE))
		return emulate_commit(e, true);
	if (insn->dst.kind != OPERAND_MEM) {
		emulate_set_reg(e, insn->dst, insn->op_size, result);
		return emulate_commit(e, true);
	}
	e->value = result;
	e->expected = e->first;
	e->phase = PHASE_COMMIT;
	/* After a read the address stands: registers in it may have been exchanged since. */
	if (destination[insn->kind] & DST_READ)
		return EMULATE_WRITE;
	return access_memory(e, EMULATE_WRITE);
}

static enum emulate_step next_plain(struct emulate *e)
{
	const struct insn *insn = e->insn;
	bool modifies = insn->dst.kind == OPERAND_MEM && (destination[insn->kind] & DST_READ);
	bool writes = insn->dst.kind == OPERAND_MEM && (destination[insn->kind] & DST_WRITE);

	switch ((enum phase)e->phase) {
	case PHASE_BEGIN:
		e->for_write = writes;
		e->atomic = modifies && writes && (insn->lock || insn->kind == INSN_XCHG);
		if (modifies || insn->src.kind == OPERAND_MEM) {
			e->phase = PHASE_OPERATE;
			return access_memory(e, EMULATE_READ);
		}
		return finish(e);
	case PHASE_OPERATE:
		e->first = e->value & size_mask(e->size);
		return finish(e);
	case PHASE_COMMIT:
		break;
	}
	return emulate_commit(e, true);
}

/*
 * No segment but its operand's is asked, and of the others nothing is known (emulate_uses): a kind put in
 * between must be one that next_plain does, and a line of destination[].
 */
static_assert(INSN_BTC - INSN_ADD == 24, "a kind was put between ADD and BTC, or taken away");

static bool is_plain(const struct insn *insn)
{
	return insn->kind >= INSN_ADD && insn->kind <= INSN_BTC &&
	       (insn->kind != INSN_CMPXCHG8B || insn->op_size != 8);
}

u32 emulate_uses(const struct insn *insn)
{
	if (!is_plain(insn))
		return (u32)(BIT(EMULATE_SEGMENTS) - 1 + EMULATE_USES_TABLES);
	return insn->mem.present ? (u32)BIT(insn->mem.segment) : 0;
}

void emulate_start(struct emulate *e, const struct insn *insn, struct guest_regs *regs,
		   const struct emulate_cpu *cpu)
{
	/* Not sys and log: what is not used need not be cleared. */
	e->insn = insn;
	e->regs = regs;
	e->cpu = cpu;
	e->next = *regs;
	e->phase = e->logged = 0;
	e->for_write = e->atomic = e->implicit = false;
	e->changed = 0;
	e->effects = 0;
}

enum emulate_step emulate_next(struct emulate *e)
{
	unsigned int kind = e->insn->kind;

	if (is_plain(e->insn))
		return next_plain(e);
	if (kind == INSN_OTHER)
		return EMULATE_UNHANDLED;
	if (kind >= INSN_MOVS && kind <= INSN_OUTS)
		return emulate_next_string(e);
	if (kind == INSN_PUSH || kind == INSN_POP)
		return emulate_next_stack(e);
	if (kind == INSN_IN || kind == INSN_OUT)
		return emulate_next_port(e);
	return emulate_next_replay(e);
}
