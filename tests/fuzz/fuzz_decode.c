/* SPDX-License-Identifier: MIT */
/*
 * Compares mmu/decode with Zydis over generated instructions: fuzz_decode [count] [seed] [shown]
 * Without arguments: 14 million, or 1 million when WEIR_FUZZ is "short"; the seed is WEIR_SEED.
 *
 * Every other case is random, the rest walk through all opcodes with all ModRM bytes; a full run
 * visits each of those under each mode and each of eight prefixes.
 *
 * Every case is decoded by both. They must agree on whether it is an instruction and, if so, on
 * length, address size, prefixes that act, memory operand, immediate and, for the kinds that
 * decode.h names, on kind, operands and operand size. Each accepted instruction is also decoded
 * again cut short at every length, which must ask for more bytes.
 *
 * Left out, each with its reason beside the function that names it: instructions of other makers
 * (is_foreign; that decode_insn() refuses them is checked), the source size of MOVSXD with 66
 * (is_short_movsxd), base and displacement of one form that Zydis 4.0 gets wrong (is_false_r13),
 * XCHG by opcode 90 (expected_kind), the segment of LEA and the address size of instructions that
 * address nothing. MPX and CET are switched off in Zydis (init_decoders). Of refused input only
 * the refusal is compared, not its reason; tests/unit/mmu/test_decode.c has the reasons.
 */
/* fuzz-sources: mmu/decode.c mmu/decode_tables.c mmu/decode_tables_sse.c mmu/decode_xmm.c */
/* fuzz-libs: -lZydis */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "kernel/base/error.h"
#include "mmu/decode.h"
#include "tests/fuzz/decode_kinds.h"
#include "tests/hosted/random.h"

#define FULL_COUNT  14000000ull
#define SHORT_COUNT 1000000ull
#define BYTES	    20 /* more than any instruction has */

struct reference {
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

static ZydisDecoder decoders[3];
static const char *const mode_names[3] = {"16", "32", "64"};

/* ---- generation ---- */

static u64 random_state;

static size_t put_map(u8 *bytes, size_t at, unsigned int map)
{
	if (map > 0)
		bytes[at++] = 0x0f;
	if (map > 1)
		bytes[at++] = map == 2 ? 0x38 : 0x3a;
	return at;
}

/*
 * One of all combinations of mode, map, opcode, mandatory prefix or REX, and ModRM; the bytes after
 * it random. The stride has no factor in common with their number, so that SWEEP_CASES in a row
 * are all of them, and any part of that is spread over the whole.
 */
#define SWEEP_CASES  (3u * 4 * 256 * 8 * 256)
#define SWEEP_STRIDE 3888349u

static_assert(SWEEP_STRIDE % 2 && SWEEP_STRIDE % 3, "the stride must visit every case");
static_assert(FULL_COUNT / 2 >= SWEEP_CASES, "the full run must visit every case");

static enum decode_mode generate_swept(u8 *bytes, u64 n)
{
	static const u8 prefixes[8][2] = {{0},	  {0x66}, {0xf3},	{0xf2},
					  {0x48}, {0xf0}, {0x66, 0xf3}, {0x67, 0x66}};
	u64 index = n % SWEEP_CASES * SWEEP_STRIDE % SWEEP_CASES;
	const u8 *prefix = prefixes[index % 8];
	size_t at = 0;

	for (size_t i = 0; i < 2 && prefix[i]; i++)
		bytes[at++] = prefix[i];
	index /= 8;
	at = put_map(bytes, at, index % 4);
	index /= 4;
	bytes[at++] = (u8)index;
	index /= 256;
	bytes[at] = (u8)index;
	return (enum decode_mode)(index / 256);
}

static enum decode_mode generate_random(u8 *bytes)
{
	static const u8 prefixes[] = {0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0,
				      0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
	static const u8 maps[] = {0, 0, 0, 0, 1, 1, 1, 2, 3};
	enum decode_mode mode = (enum decode_mode)random_below(&random_state, 3);
	size_t at = 0;

	if (!random_below(&random_state, 16))
		return mode; /* noise */
	while (at < 14 && random_below(&random_state, 5) < 2)
		bytes[at++] = prefixes[random_below(&random_state, sizeof(prefixes))];
	if (!random_below(&random_state, 200))
		while (at < 13)
			bytes[at++] = prefixes[random_below(&random_state, sizeof(prefixes))];
	if (mode == DECODE_64 && at < 15 && random_below(&random_state, 2))
		bytes[at++] = 0x40 | (u8)random_below(&random_state, 16);
	if (mode == DECODE_64 && at < 15 && !random_below(&random_state, 40))
		bytes[at++] = prefixes[random_below(&random_state, sizeof(prefixes))];
	if (at < 15)
		put_map(bytes, at, maps[random_below(&random_state, sizeof(maps))]);
	return mode;
}

static enum decode_mode generate(u8 *bytes, u64 n)
{
	for (size_t i = 0; i < BYTES; i += 4) {
		u32 word = (u32)random_next(&random_state);

		memcpy(bytes + i, &word, sizeof(word));
	}
	return n & 1 ? generate_random(bytes) : generate_swept(bytes, n >> 1);
}

/* ---- what is left out ---- */

/*
 * Instructions of other makers' CPUs: Zydis knows them, the SDM does not, and the CPUs that Weir
 * runs on raise #UD. decode_insn() must refuse them, which is checked.
 */
static bool is_foreign(const ZydisDecodedInstruction *z)
{
	switch (z->meta.isa_set) {
	case ZYDIS_ISA_SET_AMD:
	case ZYDIS_ISA_SET_AMD3DNOW:
	case ZYDIS_ISA_SET_AMD_INVLPGB:
	case ZYDIS_ISA_SET_CLZERO:
	case ZYDIS_ISA_SET_MCOMMIT:
	case ZYDIS_ISA_SET_MONITORX:
	case ZYDIS_ISA_SET_PADLOCK_ACE:
	case ZYDIS_ISA_SET_PADLOCK_PHE:
	case ZYDIS_ISA_SET_PADLOCK_PMM:
	case ZYDIS_ISA_SET_PADLOCK_RNG:
	case ZYDIS_ISA_SET_RDPRU:
	case ZYDIS_ISA_SET_SNP:
	case ZYDIS_ISA_SET_SSE4A:
	case ZYDIS_ISA_SET_SVM:
		return true;
	default:
		return false;
	}
}

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

/* ---- comparison: each returns the name of what differs, or NULL ---- */

/* Segment, control and debug registers have no place in struct insn_operand. */
static bool is_special_reg(const ZydisDecodedOperand *op)
{
	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	switch (ZydisRegisterGetClass(op->reg.value)) {
	case ZYDIS_REGCLASS_SEGMENT:
	case ZYDIS_REGCLASS_CONTROL:
	case ZYDIS_REGCLASS_DEBUG:
		return true;
	default:
		return false;
	}
}

static bool is_string_kind(enum insn_kind kind)
{
	return kind >= INSN_MOVS && kind <= INSN_OUTS;
}

static ZydisRegisterClass reg_class(const ZydisDecodedOperand *op)
{
	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return ZYDIS_REGCLASS_INVALID;
	return ZydisRegisterGetClass(op->reg.value);
}

/* MOV, PUSH and POP of a segment, control or debug register. */
static enum insn_kind special_kind(enum insn_kind kind, const struct reference *r)
{
	bool load = is_special_reg(&r->op[0]);
	const ZydisDecodedOperand *op = &r->op[load ? 0 : 1];

	if (kind == INSN_PUSH)
		return INSN_PUSH_SEG;
	if (kind == INSN_POP)
		return INSN_POP_SEG;
	switch (reg_class(op)) {
	case ZYDIS_REGCLASS_SEGMENT:
		return load ? INSN_LOAD_SEG : INSN_STORE_SEG;
	case ZYDIS_REGCLASS_CONTROL:
		return load ? INSN_LOAD_CR : INSN_STORE_CR;
	default:
		return load ? INSN_LOAD_DR : INSN_STORE_DR;
	}
}

static enum insn_kind far_kind(enum insn_kind kind)
{
	if (kind == INSN_JMP)
		return INSN_JMP_FAR;
	return kind == INSN_CALL ? INSN_CALL_FAR : INSN_RET_FAR;
}

/* What Zydis gives one name and decode.h two. */
static enum insn_kind other_form(enum insn_kind kind, const ZydisDecodedInstruction *z)
{
	bool group = z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;

	if (kind == INSN_SHL && z->raw.modrm.reg == 6)
		return INSN_SAL;
	if (kind == INSN_IMUL && group && (z->opcode & 0xfe) == 0xf6)
		return INSN_IMUL_WIDE;
	return kind;
}

/* Between memory and an XMM register; two registers, or an MMX one, are none of decode.h's kinds. */
static bool moves_xmm(const struct reference *r)
{
	bool memory = r->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY ||
		      r->op[1].type == ZYDIS_OPERAND_TYPE_MEMORY;

	return memory && (reg_class(&r->op[0]) == ZYDIS_REGCLASS_XMM ||
			  reg_class(&r->op[1]) == ZYDIS_REGCLASS_XMM);
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

static enum insn_kind expected_kind(const struct reference *r)
{
	const ZydisDecodedInstruction *z = &r->insn;
	enum insn_kind kind = INSN_OTHER;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].mnemonic == z->mnemonic)
			kind = kinds[i].kind;
	/* MOVSD and CMPSD are names of SSE2 instructions too. */
	if (z->mnemonic == ZYDIS_MNEMONIC_MOVSD && z->meta.category != ZYDIS_CATEGORY_STRINGOP)
		kind = INSN_MOV_XMM;
	if (kind == INSN_MOV_XMM)
		return moves_xmm(r) ? kind : INSN_OTHER;
	if ((kind == INSN_MOVS || kind == INSN_CMPS) && z->meta.category != ZYDIS_CATEGORY_STRINGOP)
		return INSN_OTHER;
	if ((kind == INSN_MOV || kind == INSN_PUSH || kind == INSN_POP) &&
	    (is_special_reg(&r->op[0]) || (kind == INSN_MOV && is_special_reg(&r->op[1]))))
		return special_kind(kind, r);
	if ((kind == INSN_JMP || kind == INSN_CALL || kind == INSN_RET) &&
	    z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return far_kind(kind);
	kind = other_form(kind, z);
	/* XCHG rAX, r8: not told apart from NOP, as it touches no memory. */
	if (kind == INSN_XCHG && z->opcode == 0x90)
		return INSN_OTHER;
	return kind;
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
		bool seg = reg_class(op) == ZYDIS_REGCLASS_SEGMENT;

		if (!is_special_reg(op) || op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
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
		    op->type != ZYDIS_OPERAND_TYPE_REGISTER || is_special_reg(op))
			continue;
		if (mine.kind != OPERAND_REG ||
		    gpr_number(r->insn.machine_mode, op->reg.value) != mine.reg)
			return "register";
	}
	return NULL;
}

static const char *compare_loose(const struct insn *i, const struct reference *r)
{
	const ZydisDecodedInstruction *z = &r->insn;

	if (i->kind == INSN_LEA || i->kind == INSN_LOAD_FAR)
		return compare_operand(i, &i->dst, i->op_size, r, &r->op[0]);
	if (i->kind == INSN_ENTER &&
	    (i->imm != z->raw.imm[0].value.u || i->imm2 != z->raw.imm[1].value.u))
		return "ENTER's immediates";
	if (i->kind == INSN_MOV_XMM)
		return compare_xmm(i, r);
	if (i->kind >= INSN_HLT)
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
		what = compare_operand(
			i, &i->src, size, r,
			i->dst.kind == OPERAND_NONE && !is_special_reg(first) ? first : second);
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

static const char *compare_accepted(const struct insn *i, const struct reference *r)
{
	const ZydisDecodedInstruction *z = &r->insn;
	const char *what;

	if (i->length != z->length)
		return "length";
	if (i->kind != expected_kind(r))
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

static const char *compare_truncated(const u8 *bytes, enum decode_mode mode, size_t length)
{
	struct insn i;

	for (size_t n = 0; n < length; n++) {
		/* On the heap and of the exact size, so that a read beyond the end is seen. */
		u8 *copy = malloc(n ? n : 1);
		int err;

		if (!copy)
			abort();
		memcpy(copy, bytes, n);
		err = decode_insn(&i, copy, n, mode);
		free(copy);
		if (err != ERR_AGAIN)
			return "error for truncated input";
	}
	return NULL;
}

static u64 accepted, kind_accepted;

static const char *compare(const u8 *bytes, enum decode_mode mode, struct insn *i,
			   struct reference *r)
{
	int err = decode_insn(i, bytes, BYTES, mode);
	ZyanStatus status = ZydisDecoderDecodeFull(&decoders[mode], bytes, BYTES, &r->insn, r->op);
	const char *what;

	if (err == ERR_AGAIN)
		return "more bytes asked for than an instruction has";
	if (!ZYAN_SUCCESS(status)) {
		if (!err)
			return "accepted";
		if (err == ERR_RANGE && status != ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
			return "error for a long instruction";
		return NULL;
	}
	if (r->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW || is_foreign(&r->insn))
		return err ? NULL : "accepted, though foreign";
	if (r->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return err == ERR_NOTSUP ? NULL : "error for a vector encoding";
	if (err)
		return "refused";
	accepted++;
	kind_accepted += i->kind != INSN_OTHER;
	what = compare_accepted(i, r);
	if (!what)
		what = compare_truncated(bytes, mode, i->length);
	return what;
}

/* ---- the run ---- */

static void print_mismatch(const char *what, const u8 *bytes, enum decode_mode mode, struct insn *i,
			   struct reference *r)
{
	ZydisFormatter formatter;
	char text[128] = "refused";
	int err = decode_insn(i, bytes, BYTES, mode);

	printf("mismatch: %s; %s-bit:", what, mode_names[mode]);
	for (size_t n = 0; n < BYTES; n++)
		printf(" %02x", bytes[n]);
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoders[mode], bytes, BYTES, &r->insn, r->op)))
		ZydisFormatterFormatInstruction(&formatter, &r->insn, r->op,
						r->insn.operand_count_visible, text, sizeof(text),
						0, NULL);
	printf("\n  Zydis: %s, length %u\n", text, r->insn.length);
	printf("  Weir: error %d, length %u, kind %u, sizes %u %u %u, dst %u:%u, src %u:%u, imm "
	       "%" PRIx64 " (%u)\n",
	       err, i->length, i->kind, i->op_size, i->src_size, i->addr_size, i->dst.kind,
	       i->dst.reg, i->src.kind, i->src.reg, i->imm, i->imm_size);
	printf("  memory %d: segment %u base %u index %u scale %u disp %" PRId64 "\n",
	       i->mem.present, i->mem.segment, i->mem.base, i->mem.index, i->mem.scale,
	       i->mem.disp);
}

static void init_decoders(void)
{
	static const ZydisMachineMode modes[3] = {ZYDIS_MACHINE_MODE_LEGACY_16,
						  ZYDIS_MACHINE_MODE_LEGACY_32,
						  ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth widths[3] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
						  ZYDIS_STACK_WIDTH_64};

	for (size_t m = 0; m < 3; m++) {
		ZydisDecoderInit(&decoders[m], modes[m], widths[m]);
		/* Hidden from guests: 0F 1A and 0F 1B are reserved NOPs, 3E is no NOTRACK. */
		ZydisDecoderEnableMode(&decoders[m], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[m], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	}
}

static u64 default_count(void)
{
	const char *extent = getenv("WEIR_FUZZ");

	return extent && !strcmp(extent, "short") ? SHORT_COUNT : FULL_COUNT;
}

static u64 default_seed(void)
{
	const char *seed = getenv("WEIR_SEED");

	return seed ? strtoull(seed, NULL, 0) : 1;
}

int main(int argc, char **argv)
{
	u64 count = argc > 1 ? strtoull(argv[1], NULL, 0) : default_count();
	u64 seed = argc > 2 ? strtoull(argv[2], NULL, 0) : default_seed();
	u64 shown = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
	u64 mismatches = 0;

	init_decoders();
	random_state = seed;
	for (u64 n = 0; n < count && mismatches < shown; n++) {
		struct reference r = {0};
		u8 bytes[BYTES];
		struct insn i;
		enum decode_mode mode = generate(bytes, n);
		const char *what = compare(bytes, mode, &i, &r);

		if (!what)
			continue;
		mismatches++;
		printf("case %" PRIu64 " of seed %" PRIu64 ": ", n, seed);
		print_mismatch(what, bytes, mode, &i, &r);
	}
	printf("fuzz_decode: %" PRIu64 " compared (%" PRIu64 " instructions, %" PRIu64
	       " of a named kind), seed %" PRIu64 ", %" PRIu64 " mismatches\n",
	       count, accepted, kind_accepted, seed, mismatches);
	return mismatches ? 1 : 0;
}
