/* SPDX-License-Identifier: MIT */
/*
 * mmu/decode: the answers that tests/fuzz/fuzz_decode.c cannot ask Zydis for (which error, no read
 * beyond the end), and one readable example of each rule.
 */
/* unit-sources: mmu/decode.c mmu/decode_classify.c mmu/decode_tables.c mmu/decode_tables_sse.c
   mmu/decode_xmm.c */
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/base/error.h"
#include "mmu/decode.h"

#define M16 DECODE_16
#define M32 DECODE_32
#define M64 DECODE_64

/* Bytes are given as a string literal: its length without the final 0 is their number. */
#define BYTES(literal) (const u8 *)(literal), sizeof(literal) - 1

/* In a block of exactly the right size, so that a read beyond it is caught. */
static int decode(struct insn *insn, enum decode_mode mode, const u8 *bytes, size_t n)
{
	u8 *copy = malloc(n ? n : 1);
	int err;

	assert_non_null(copy);
	memcpy(copy, bytes, n);
	err = decode_insn(insn, copy, n, mode);
	free(copy);
	return err;
}

static struct insn accept(enum decode_mode mode, const u8 *bytes, size_t n)
{
	struct insn insn;

	assert_int_equal(decode(&insn, mode, bytes, n), 0);
	assert_int_equal(insn.length, n);
	assert_int_equal(insn.mode, mode);
	return insn;
}

struct refusal {
	enum decode_mode mode;
	int err;
	const char *why;
	const u8 *bytes;
	size_t n;
};

static const struct refusal refusals[] = {
	{M64, ERR_AGAIN, "nothing", BYTES("")},
	{M64, ERR_AGAIN, "only prefixes", BYTES("\x66\xf0\x48")},
	{M64, ERR_AGAIN, "no second opcode byte", BYTES("\x0f")},
	{M64, ERR_AGAIN, "no third opcode byte", BYTES("\x0f\x38")},
	{M64, ERR_AGAIN, "no ModRM", BYTES("\x89")},
	{M64, ERR_AGAIN, "no SIB", BYTES("\x89\x04")},
	{M64, ERR_AGAIN, "half a displacement", BYTES("\x89\x05\x01\x02")},
	{M64, ERR_AGAIN, "half an immediate", BYTES("\xc7\x00\x01\x02\x03")},
	{M64, ERR_AGAIN, "seven eighths of a moffs", BYTES("\xa1\x01\x02\x03\x04\x05\x06\x07")},
	{M32, ERR_AGAIN, "LES or VEX is not yet clear", BYTES("\xc4")},
	{M64, ERR_AGAIN, "POP or XOP is not yet clear", BYTES("\x8f")},
	{M64, ERR_INVAL, "PUSH ES", BYTES("\x06")},
	{M64, ERR_INVAL, "opcode 82", BYTES("\x82\xc0\x00")},
	{M64, ERR_INVAL, "0F 0A", BYTES("\x0f\x0a")},
	{M32, ERR_INVAL, "SYSCALL outside 64-bit mode", BYTES("\x0f\x05")},
	{M64, ERR_INVAL, "group 5 /7", BYTES("\xff\xf8")},
	{M64, ERR_INVAL, "LEA of a register", BYTES("\x8d\xc0")},
	{M64, ERR_INVAL, "MOV to CS", BYTES("\x8e\xc8")},
	{M64, ERR_INVAL, "segment register 6", BYTES("\x8c\xf0")},
	{M64, ERR_INVAL, "CR1", BYTES("\x0f\x20\xc8")},
	{M64, ERR_INVAL, "CR9", BYTES("\x44\x0f\x20\xc8")},
	{M64, ERR_INVAL, "DR8", BYTES("\x44\x0f\x21\xc0")},
	{M64, ERR_INVAL, "LOCK with a register", BYTES("\xf0\x01\xc0")},
	{M64, ERR_INVAL, "LOCK with MOV", BYTES("\xf0\x89\x00")},
	{M64, ERR_INVAL, "LOCK with CMP", BYTES("\xf0\x39\x00")},
	{M64, ERR_INVAL, "LOCK with the memory as source", BYTES("\xf0\x03\x00")},
	{M64, ERR_INVAL, "PSHUFB with F2", BYTES("\xf2\x0f\x38\x00\xc0")},
	{M64, ERR_INVAL, "3DNow!", BYTES("\x0f\x0f\xc0\x9e")},
	{M64, ERR_INVAL, "VMRUN", BYTES("\x0f\x01\xd8")},
	{M64, ERR_INVAL, "POP with a reserved ModRM.reg", BYTES("\x8f\x20")},
	{M64, ERR_NOTSUP, "VEX, three bytes", BYTES("\xc4\xe2\x79\x18\x00")},
	{M64, ERR_NOTSUP, "VEX, two bytes", BYTES("\xc5\xf8\x77")},
	{M32, ERR_NOTSUP, "VEX where LDS would be", BYTES("\xc5\xf8\x77")},
	{M64, ERR_NOTSUP, "EVEX", BYTES("\x62\xf1\x7c\x48\x28\x00")},
	{M32, ERR_NOTSUP, "EVEX where BOUND would be", BYTES("\x62\xf1\x7c\x48\x28\x00")},
	{M64, ERR_NOTSUP, "XOP, first map", BYTES("\x8f\xe8\x78\xa2\xc0\x00")},
	{M64, ERR_NOTSUP, "XOP", BYTES("\x8f\xe9\x78\x01\xc8")},
	{M64, ERR_RANGE, "fifteen prefixes",
	 BYTES("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90")},
	{M64, ERR_RANGE, "a displacement beyond byte 15",
	 BYTES("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x8b\x05\x01\x02\x03\x04")},
	{M32, ERR_RANGE, "an immediate beyond byte 15",
	 BYTES("\x2e\x2e\x2e\x2e\x2e\x2e\xc7\x84\x00\x01\x02\x03\x04\x05\x06\x07\x08")},
};

static void test_refusals(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		const struct refusal *r = &refusals[i];
		struct insn insn;
		int err = decode(&insn, r->mode, r->bytes, r->n);

		if (err != r->err)
			fail_msg("%s: %d in place of %d", r->why, err, r->err);
	}
}

static void test_fifteen_bytes(void **state)
{
	accept(M64, BYTES("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90"));
	accept(M64, BYTES("\x2e\x2e\x2e\x2e\xc7\x84\x00\x01\x02\x03\x04\x05\x06\x07\x08"));
}

static void test_move_forms(void **state)
{
	struct insn i = accept(M64, BYTES("\x44\x88\x20")); /* mov [rax], r12b */

	assert_int_equal(i.kind, INSN_MOV);
	assert_int_equal(i.op_size, 1);
	assert_int_equal(i.dst.kind, OPERAND_MEM);
	assert_int_equal(i.src.kind, OPERAND_REG);
	assert_int_equal(i.src.reg, R12);

	i = accept(M64, BYTES("\x48\xc7\x43\x10\xff\xff\xff\xff")); /* mov qword [rbx+16], -1 */
	assert_int_equal(i.op_size, 8);
	assert_int_equal(i.imm_size, 4);
	assert_true(i.imm == ~0ull);
	assert_int_equal(i.mem.base, RBX);
	assert_int_equal(i.mem.disp, 16);

	i = accept(M64, BYTES("\x48\xa3\x88\x77\x66\x55\x44\x33\x22\x11")); /* mov [moffs64], rax */
	assert_int_equal(i.dst.kind, OPERAND_MEM);
	assert_int_equal(i.mem.base, INSN_REG_NONE);
	assert_true(i.mem.disp == 0x1122334455667788);

	i = accept(M16, BYTES("\xa0\x34\x12")); /* mov al, [0x1234] */
	assert_int_equal(i.addr_size, 2);
	assert_int_equal(i.mem.disp, 0x1234);

	i = accept(M64, BYTES("\x67\xa1\x44\x33\x22\x11")); /* mov eax, [moffs32] */
	assert_int_equal(i.addr_size, 4);
	assert_int_equal(i.op_size, 4);

	i = accept(M64, BYTES("\x0f\xb6\x08")); /* movzx ecx, byte [rax] */
	assert_int_equal(i.kind, INSN_MOVZX);
	assert_int_equal(i.op_size, 4);
	assert_int_equal(i.src_size, 1);

	i = accept(M64, BYTES("\x48\x63\x08")); /* movsxd rcx, dword [rax] */
	assert_int_equal(i.kind, INSN_MOVSX);
	assert_int_equal(i.op_size, 8);
	assert_int_equal(i.src_size, 4);
	assert_int_equal(accept(M32, BYTES("\x63\x08")).kind, INSN_ARPL);
}

/* Without REX 4 to 7 are AH to BH, with any REX they are SPL to DIL. */
static void test_byte_registers(void **state)
{
	struct insn i = accept(M64, BYTES("\x88\x20"));

	assert_int_equal(i.src.kind, OPERAND_REG_HIGH);
	assert_int_equal(i.src.reg, RAX);
	i = accept(M64, BYTES("\x40\x88\x20"));
	assert_int_equal(i.src.kind, OPERAND_REG);
	assert_int_equal(i.src.reg, RSP);
}

static void test_prefixes(void **state)
{
	struct insn i = accept(M64, BYTES("\x48\x66\x89\x00")); /* REX.W is lost: mov [rax], ax */

	assert_int_equal(i.op_size, 2);
	assert_int_equal(accept(M64, BYTES("\x66\x48\x89\x00")).op_size, 8);
	assert_int_equal(accept(M64, BYTES("\x41\x48\x89\x00")).mem.base, RAX);

	/* The last override counts, but in 64-bit mode CS does not cancel FS. */
	assert_int_equal(accept(M32, BYTES("\x64\x2e\x89\x00")).mem.segment, SEGMENT_CS);
	assert_int_equal(accept(M64, BYTES("\x64\x2e\x89\x00")).mem.segment, SEGMENT_FS);
	assert_int_equal(accept(M64, BYTES("\x64\x65\x89\x00")).mem.segment, SEGMENT_GS);

	i = accept(M64, BYTES("\xf2\xf3\xa6"));
	assert_int_equal(i.kind, INSN_CMPS);
	assert_int_equal(i.repeat, REPEAT_E);
	assert_int_equal(accept(M64, BYTES("\xf3\xf2\xa6")).repeat, REPEAT_NE);
	assert_true(accept(M64, BYTES("\xf0\x01\x00")).lock);
	assert_false(accept(M64, BYTES("\x01\x00")).lock);
}

static void test_sizes_by_mode(void **state)
{
	assert_int_equal(accept(M16, BYTES("\x89\x07")).op_size, 2);
	assert_int_equal(accept(M16, BYTES("\x66\x89\x07")).op_size, 4);
	assert_int_equal(accept(M32, BYTES("\x66\x89\x07")).op_size, 2);
	assert_int_equal(accept(M64, BYTES("\xff\x30")).op_size, 8); /* push [rax] */
	assert_int_equal(accept(M64, BYTES("\x66\xff\x30")).op_size, 2);
	assert_int_equal(accept(M16, BYTES("\x81\x07\x01\x02")).imm_size, 2);
	assert_int_equal(accept(M16, BYTES("\x66\x81\x07\x01\x02\x03\x04")).imm_size, 4);
	assert_int_equal(accept(M64, BYTES("\x66\xe8\x01\x02\x03\x04")).imm_size, 4);
	assert_int_equal(accept(M32, BYTES("\x66\xe8\x01\x02")).imm_size, 2);
	accept(M64, BYTES("\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08"));
	accept(M32, BYTES("\xea\x01\x02\x03\x04\x05\x06"));
	accept(M32, BYTES("\xc8\x01\x02\x03"));
	assert_int_equal(accept(M64, BYTES("\xf7\x00\x01\x02\x03\x04")).kind, INSN_TEST);
	assert_int_equal(accept(M64, BYTES("\xf7\x18")).kind, INSN_NEG);
}

static void test_addresses(void **state)
{
	/* mov [rax+r9*8-128], ecx */
	struct insn_memory m = accept(M64, BYTES("\x42\x89\x4c\xc8\x80")).mem;

	assert_int_equal(m.base, RAX);
	assert_int_equal(m.index, R9);
	assert_int_equal(m.scale, 8);
	assert_int_equal(m.disp, -128);
	assert_int_equal(m.segment, SEGMENT_DS);

	m = accept(M64, BYTES("\x89\x05\x04\x00\x00\x00")).mem; /* [rip+4] */
	assert_int_equal(m.base, INSN_REG_RIP);
	m = accept(M32, BYTES("\x89\x05\x04\x00\x00\x00")).mem; /* [4] */
	assert_int_equal(m.base, INSN_REG_NONE);
	m = accept(M64, BYTES("\x89\x04\x25\x04\x00\x00\x80")).mem; /* [disp32], sign-extended */
	assert_int_equal(m.base, INSN_REG_NONE);
	assert_int_equal(m.index, INSN_REG_NONE);
	assert_true(m.disp == -0x7ffffffcll);

	m = accept(M64, BYTES("\x89\x04\x24")).mem; /* [rsp]: no index, SS */
	assert_int_equal(m.base, RSP);
	assert_int_equal(m.index, INSN_REG_NONE);
	assert_int_equal(m.segment, SEGMENT_SS);
	m = accept(M64, BYTES("\x42\x89\x04\x24")).mem; /* [rsp+r12]: REX.X makes it an index */
	assert_int_equal(m.index, R12);
	m = accept(M64, BYTES("\x41\x89\x45\x00")).mem; /* [r13+0]: not RBP, so DS */
	assert_int_equal(m.base, R13);
	assert_int_equal(m.segment, SEGMENT_DS);

	m = accept(M16, BYTES("\x89\x42\xfe")).mem; /* [bp+si-2] */
	assert_int_equal(m.base, RBP);
	assert_int_equal(m.index, RSI);
	assert_int_equal(m.disp, -2);
	assert_int_equal(m.segment, SEGMENT_SS);
	m = accept(M16, BYTES("\x89\x06\x34\x12")).mem; /* [0x1234] */
	assert_int_equal(m.base, INSN_REG_NONE);
	assert_int_equal(m.disp, 0x1234);
	accept(M16, BYTES("\x67\x89\x04\x24")); /* 32-bit addressing has SIB */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),   cmocka_unit_test(test_fifteen_bytes),
		cmocka_unit_test(test_move_forms), cmocka_unit_test(test_byte_registers),
		cmocka_unit_test(test_prefixes),   cmocka_unit_test(test_sizes_by_mode),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
