/* SPDX-License-Identifier: MIT */
/* Length, prefixes, operands and immediate. Each function returns the name of what differs, or NULL. */
#include "tests/fuzz/decode_reference.h"

/*
 * MOVSXD with 66 reads a word (SDM 2B: "MOVSXD r16, r/m16"); Zydis has it read a dword, as AMD's
 * CPUs do.
 */
static bool is_short_movsxd(const struct insn *i, const struct insn_operand *operand)
{
	return i->kind == INSN_MOVSX && i->op_size == 2 && i->src_size == 2 && operand == &i->src;
}

/*
 * SIB base 101 with mod 0 means no base, also with REX.B (SDM 2A table 2-5); Zydis 4.0 takes it
 * for R13 when the address size is 32. The CPU this was written on agrees with the SDM.
 */
static bool is_false_r13(const ZydisDecodedInstruction *z)
{
	return z->address_width == 32 && (z->attributes & ZYDIS_ATTRIB_HAS_SIB) &&
	       z->raw.modrm.mod == 0 && z->raw.sib.base == 5 && z->raw.rex.B;
}

static bool is_string_kind(enum insn_kind kind)
{
	return kind >= INSN_MOVS && kind <= INSN_OUTS;
}

static const char *compare_xmm(const struct insn *i, const struct reference *r)
{
	bool store = r->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
	const ZydisDecodedOperand *memory = &r->op[!store], *xmm = &r->op[store];
	const struct insn_operand *mine = store ? &i->src : &i->dst;

	if (mine->kind != OPERAND_XMM || mine->reg != ZydisRegisterGetId(xmm->reg.value))
		return "XMM register";
	if ((store ? i->dst.kind : i->src.kind) != OPERAND_MEM)
		return "direction";
	return memory->size != i->op_size * 8 ? "operand size" : NULL;
}

static u8 gpr_number(ZydisMachineMode mode, ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return INSN_REG_NONE;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP || reg == ZYDIS_REGISTER_IP)
		return INSN_REG_RIP;
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		return (u8)(reg - ZYDIS_REGISTER_AH);
	return (u8)ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(mode, reg));
}

static const char *compare_memory(const struct insn_memory *m, const struct reference *r,
				  const ZydisDecodedOperand *op)
{
	ZydisMachineMode mode = r->insn.machine_mode;
	u8 base = gpr_number(mode, op->mem.base);
	s64 disp = op->mem.disp.value;

	/* LEA uses no segment. */
	if (op->mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
	    m->segment != op->mem.segment - ZYDIS_REGISTER_ES)
		return "segment";
	if (is_false_r13(&r->insn)) {
		base = INSN_REG_NONE;
		disp = r->insn.raw.disp.value;
	}
	if (m->base != base)
		return "base";
	if (m->index != gpr_number(mode, op->mem.index))
		return "index";
	if (m->scale != op->mem.scale)
		return "scale";
	if (m->disp != disp)
		return "displacement";
	return NULL;
}

static const char *compare_operand(const struct insn *i, const struct insn_operand *mine, u8 size,
				   const struct reference *r, const ZydisDecodedOperand *op)
{
	bool high;

	if (mine->kind != OPERAND_IMM && !is_short_movsxd(i, mine) && op->size != size * 8)
		return "operand size";
	switch ((enum insn_operand_kind)mine->kind) {
	case OPERAND_REG:
	case OPERAND_REG_HIGH:
		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
			return "register operand's type";
		high = op->reg.value >= ZYDIS_REGISTER_AH && op->reg.value <= ZYDIS_REGISTER_BH;
		if (high != (mine->kind == OPERAND_REG_HIGH))
			return "high byte register";
		if (gpr_number(r->insn.machine_mode, op->reg.value) != mine->reg)
			return "register";
		return NULL;
	case OPERAND_MEM:
		if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || !i->mem.present)
			return "memory operand's type";
		return compare_memory(&i->mem, r, op);
	case OPERAND_IMM:
		if (op->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return "immediate operand's type";
		return (op->imm.value.u ^ i->imm) << (64 - 8 * size) ? "immediate" : NULL;
	case OPERAND_XMM: /* compare_xmm */
	case OPERAND_NONE:
		break;
	}
	return "operand";
}

static const char *compare_string(const struct insn *i, const struct reference *r)
{
	bool has_source = i->kind != INSN_STOS && i->kind != INSN_SCAS && i->kind != INSN_INS;

	for (size_t n = 0; n < r->insn.operand_count; n++) {
		const ZydisDecodedOperand *op = &r->op[n];
		u8 base = gpr_number(r->insn.machine_mode, op->mem.base);

		if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		if (op->size != i->op_size * 8)
			return "string operand size";
		if (base == RSI && !has_source)
			return "string source";
		if (base == RSI && i->mem.segment != op->mem.segment - ZYDIS_REGISTER_ES)
			return "string segment";
	}
	return NULL;
}

/* Operands that have no size of their own, or one that Zydis tells otherwise. */
static bool is_loose(enum insn_kind kind)
{
	switch (kind) {
	case INSN_LEA:
	case INSN_NOP:
	case INSN_XLAT:
	case INSN_ENTER:
	case INSN_LEAVE:
	case INSN_RET:
	case INSN_RET_FAR:
	case INSN_JMP_FAR:
	case INSN_CALL_FAR:
	case INSN_LOAD_FAR:
	case INSN_BOUND:
	case INSN_LAR:
	case INSN_LSL:
	case INSN_VERR:
	case INSN_VERW:
	case INSN_ARPL:
		return true;
	default:
		return kind >= INSN_HLT;
	}
}

/* The segment, control or debug register; the condition. */
static const char *compare_special(const struct insn *i, const struct reference *r)
{
	for (size_t n = 0; n < 2; n++) {
		const ZydisDecodedOperand *op = &r->op[n];
		bool seg = reference_reg_class(op) == ZYDIS_REGCLASS_SEGMENT;

		if (!reference_is_special(op) || op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			continue;
		if (i->kind < INSN_PUSH_SEG)
			return "special register";
		if (ZydisRegisterGetId(op->reg.value) != i->reg && !seg)
			return "special register's number";
		if (seg && (u32)op->reg.value != (u32)ZYDIS_REGISTER_ES + i->reg)
			return "segment register's number";
	}
	if ((i->kind == INSN_JCC || i->kind == INSN_SETCC || i->kind == INSN_CMOVCC) &&
	    i->condition != (r->insn.opcode & 0xf))
		return "condition";
	return NULL;
}

static const char *compare_gpr(const struct insn *i, const struct reference *r)
{
	struct insn_operand mine = i->dst.kind ? i->dst : i->src;

	for (size_t n = 0; n < 2; n++) {
		const ZydisDecodedOperand *op = &r->op[n];

		if (op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM ||
		    op->type != ZYDIS_OPERAND_TYPE_REGISTER || reference_is_special(op))
			continue;
		if (mine.kind != OPERAND_REG ||
		    gpr_number(r->insn.machine_mode, op->reg.value) != mine.reg)
			return "register";
	}
	return NULL;
}

/* Register or memory, whatever size it has. */
static const char *compare_place(const struct insn *i, const struct insn_operand *mine,
				 const struct reference *r, const ZydisDecodedOperand *op)
{
	return compare_operand(i, mine, (u8)(op->size / 8), r, op);
}

/* The second operand is a selector, of which Zydis says how wide its register is, or two bounds. */
static const char *compare_checks(const struct insn *i, const struct reference *r)
{
	const char *what = NULL;

	if (i->kind == INSN_VERR || i->kind == INSN_VERW)
		return compare_place(i, &i->src, r, &r->op[0]);
	if (i->kind == INSN_ARPL)
		what = compare_place(i, &i->dst, r, &r->op[0]);
	else
		what = compare_operand(i, &i->dst, i->op_size, r, &r->op[0]);
	return what ? what : compare_place(i, &i->src, r, &r->op[1]);
}

static const char *compare_loose(const struct insn *i, const struct reference *r)
{
	const ZydisDecodedInstruction *z = &r->insn;

	if (i->kind == INSN_LEA || i->kind == INSN_LOAD_FAR)
		return compare_operand(i, &i->dst, i->op_size, r, &r->op[0]);
	if (i->kind == INSN_BOUND || (i->kind >= INSN_LAR && i->kind <= INSN_ARPL))
		return compare_checks(i, r);
	if (i->kind == INSN_ENTER &&
	    (i->imm != z->raw.imm[0].value.u || i->imm2 != z->raw.imm[1].value.u))
		return "ENTER's immediates";
	if (i->kind == INSN_MOV_XMM)
		return compare_xmm(i, r);
	if (i->kind == INSN_INVPCID)
		return compare_place(i, &i->dst, r, &r->op[0]);
	/* INSN_UD names none. */
	if (i->kind >= INSN_HLT && i->kind != INSN_UD)
		return compare_gpr(i, r);
	if (i->imm_size && i->kind >= INSN_JMP_FAR && i->kind <= INSN_CALL_FAR &&
	    (i->imm != r->op[0].ptr.offset || i->imm2 != r->op[0].ptr.segment))
		return "far pointer";
	return NULL;
}

static const char *compare_operands(const struct insn *i, const struct reference *r)
{
	const ZydisDecodedOperand *first = &r->op[0], *second = &r->op[1];
	const char *what = NULL;

	if (i->kind == INSN_OTHER)
		return NULL;
	what = compare_special(i, r);
	if (what)
		return what;
	if (is_loose((enum insn_kind)i->kind))
		return compare_loose(i, r);
	if (is_string_kind((enum insn_kind)i->kind))
		return compare_string(i, r);
	if (i->kind == INSN_CMPXCHG8B)
		return compare_operand(i, &i->dst, i->op_size * 2, r, first);
	/* XCHG is symmetric, and the two disagree on which register comes first. */
	if (i->kind == INSN_XCHG && first->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM) {
		first = &r->op[1];
		second = &r->op[0];
	}
	if (i->dst.kind != OPERAND_NONE) {
		u8 size = i->op_size;

		if (i->kind == INSN_OUT)
			size = i->dst.kind == OPERAND_IMM ? 1 : 2;
		what = compare_operand(i, &i->dst, size, r, first);
	}
	if (!what && i->src.kind != OPERAND_NONE) {
		u8 size = i->src_size;

		if (i->kind == INSN_IN)
			size = i->src.kind == OPERAND_IMM ? 1 : 2;
		what = compare_operand(i, &i->src, size, r,
				       i->dst.kind == OPERAND_NONE && !reference_is_special(first)
					       ? first
					       : second);
	}
	return what;
}

/* The memory operand and immediate of the instructions whose kind is not named. */
static const char *compare_parts(const struct insn *i, const struct reference *r)
{
	const ZydisDecodedInstruction *z = &r->insn;
	unsigned int imm_bits = z->raw.imm[0].size + z->raw.imm[1].size;

	for (size_t n = 0; n < z->operand_count; n++) {
		const char *what;

		if (r->op[n].type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    r->op[n].encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
			continue;
		if (!i->mem.present)
			return "memory operand";
		what = compare_memory(&i->mem, r, &r->op[n]);
		if (what)
			return what;
	}
	if (i->imm_size * 8u != imm_bits)
		return "immediate's size";
	if (imm_bits && imm_bits == z->raw.imm[0].size &&
	    (z->raw.imm[0].value.u ^ i->imm) << (64 - imm_bits))
		return "immediate";
	return NULL;
}

static const char *compare_repeat(const struct insn *i, const struct reference *r)
{
	ZydisInstructionAttributes a = r->insn.attributes;
	enum insn_repeat expected = REPEAT_NONE;

	if (!is_string_kind((enum insn_kind)i->kind))
		return NULL;
	if (a & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		expected = REPEAT_E;
	else if (a & ZYDIS_ATTRIB_HAS_REPNE)
		expected = REPEAT_NE;
	return i->repeat != expected ? "repeat prefix" : NULL;
}

const char *reference_differs(const struct insn *i, const struct reference *r)
{
	const ZydisDecodedInstruction *z = &r->insn;
	const char *what;

	if (i->length != z->length)
		return "length";
	if (i->kind != reference_kind(r))
		return "kind";
	/* Without a memory operand it is moot, and Zydis has its own idea of SGX's. */
	if ((i->mem.present || i->kind != INSN_OTHER) && i->addr_size * 8 != z->address_width)
		return "address size";
	if (i->lock != !!(z->attributes & ZYDIS_ATTRIB_HAS_LOCK))
		return "lock";
	what = compare_repeat(i, r);
	if (!what)
		what = compare_operands(i, r);
	if (!what)
		what = compare_parts(i, r);
	return what;
}
