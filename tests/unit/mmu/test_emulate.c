/* SPDX-License-Identifier: MIT */
/*
 * mmu/emulate: what test_emulate_native.c cannot try on the host's CPU from a 64-bit process:
 * segments, other modes, faults, ports, iterations one by one, and what each step tells the caller.
 */
/* unit-sources: @emulate */
#include <string.h>

#include <cmocka.h>

#include "mmu/emulate.h"

#define BYTES(literal) (const u8 *)(literal), sizeof(literal) - 1

#define FLAGS_FIXED 0x2ull
#define FLAG_ZF	    0x40ull
#define FLAG_DF	    0x400ull
#define FLAG_RF	    0x10000ull

/* Access rights: present, DPL 0, granularity left out as the limit is in bytes. */
#define DATA_WRITABLE 0xc093u
#define DATA_READONLY 0xc091u
#define DATA_DOWN     0xc097u /* expand-down, big */
#define DATA_SMALL    0x0093u
#define CODE_READABLE 0xc09bu
#define CODE_EXECUTE  0xc099u
#define UNUSABLE      0x10000u

struct machine {
	struct emulate_cpu cpu;
	struct guest_regs regs;
	struct insn insn;
	struct emulate e;
};

/* Every segment flat and writable, every register its number times 0x1000. */
static void reset(struct machine *m)
{
	memset(m, 0, sizeof(*m));
	m->cpu.protected_mode = true;
	m->cpu.linear_bits = 48;
	for (int i = 0; i < SEGMENT_COUNT; i++)
		m->cpu.segment[i] = (struct emulate_segment){0, 0xffffffff, DATA_WRITABLE, 0};
	for (u64 i = 0; i < GPR_COUNT; i++)
		m->regs.gpr[i] = i * 0x1000;
	m->regs.rip = 0x8000;
	m->regs.rflags = FLAGS_FIXED;
}

static enum emulate_step start(struct machine *m, enum decode_mode mode, const u8 *bytes, size_t n)
{
	assert_int_equal(decode_insn(&m->insn, bytes, n, mode), 0);
	assert_int_equal(m->insn.length, n);
	emulate_start(&m->e, &m->insn, &m->regs, &m->cpu);
	return emulate_next(&m->e);
}

static enum emulate_step give(struct machine *m, u64 value)
{
	m->e.value = value;
	return emulate_next(&m->e);
}

static void assert_request(const struct machine *m, u64 gva, unsigned int size)
{
	assert_true(m->e.gva == gva);
	assert_int_equal(m->e.size, size);
}

static void assert_fault(const struct machine *m, enum emulate_step step, unsigned int vector)
{
	assert_int_equal(step, EMULATE_FAULT);
	assert_int_equal(m->e.vector, vector);
	assert_true(m->regs.rip == 0x8000);
}

/* ---- addresses ---- */

static void test_bases_in_64_bit_mode(void **state)
{
	struct machine m;

	reset(&m);
	for (int i = 0; i < SEGMENT_COUNT; i++)
		m.cpu.segment[i] = (struct emulate_segment){0x10000000ull * (i + 1), 0, UNUSABLE,
							    0};
	m.cpu.segment[SEGMENT_GS].base = 0xffff800000000000ull;
	assert_int_equal(start(&m, DECODE_64, BYTES("\x8b\x01")), EMULATE_READ); /* [rcx] */
	assert_request(&m, 0x1000, 4);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x64\x8b\x01")), EMULATE_READ);
	assert_request(&m, 0x50001000, 4);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x65\x8b\x01")), EMULATE_READ);
	assert_request(&m, 0xffff800000001000ull, 4);
	assert_int_equal(start(&m, DECODE_64, BYTES("\xaa")), EMULATE_WRITE); /* ES has no base */
	assert_request(&m, 0x7000, 1);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x64\xac")), EMULATE_READ); /* lods fs: */
	assert_request(&m, 0x50006000, 1);
}

static void test_address_size_wraps(void **state)
{
	struct machine m;

	reset(&m);
	m.regs.gpr[RBX] = 0xdead0000ffffull;
	m.regs.gpr[RSI] = 0xbeef00000003ull;
	assert_int_equal(start(&m, DECODE_16, BYTES("\x8a\x00")), EMULATE_READ); /* [bx+si] */
	assert_request(&m, 2, 1);
	m.regs.gpr[RCX] = 0x7ffffffffull;
	assert_int_equal(start(&m, DECODE_64, BYTES("\x67\x8b\x41\x02")), EMULATE_READ);
	assert_request(&m, 1, 4);
	/* The base comes on top of the wrapped offset. */
	m.cpu.segment[SEGMENT_FS].base = 0x100000000ull;
	assert_int_equal(start(&m, DECODE_64, BYTES("\x67\x64\x8b\x41\x02")), EMULATE_READ);
	assert_request(&m, 0x100000001ull, 4);
	/* Outside 64-bit mode the sum is cut to 32 bits. */
	m.cpu.segment[SEGMENT_DS].base = 0xfffff000;
	assert_int_equal(start(&m, DECODE_32, BYTES("\x8b\x42\x04")), EMULATE_READ);
	assert_request(&m, 0x1004, 4);
	/* RIP-relative counts from the next instruction. */
	assert_int_equal(start(&m, DECODE_64, BYTES("\x8b\x05\xf0\xff\xff\xff")), EMULATE_READ);
	assert_request(&m, 0x8006 - 16, 4);
}

static void test_bit_number_selects_the_word(void **state)
{
	struct machine m;

	reset(&m);
	m.regs.gpr[RBX] = 0;
	m.regs.gpr[RAX] = 0xffff;						     /* bit -1 */
	assert_int_equal(start(&m, DECODE_16, BYTES("\x0f\xab\x07")), EMULATE_READ); /* bts [bx] */
	assert_request(&m, 0xfffe, 2);
	assert_int_equal(give(&m, 0x0001), EMULATE_WRITE);
	assert_true(m.e.value == 0x8001);
	m.regs.gpr[RAX] = 32 * 5 + 3;
	assert_int_equal(start(&m, DECODE_32, BYTES("\x0f\xb3\x03")), EMULATE_READ); /* btr [ebx] */
	assert_request(&m, 20, 4);
	assert_int_equal(give(&m, 0xff), EMULATE_WRITE);
	assert_true(m.e.value == 0xf7);
	/* An immediate does not. */
	assert_int_equal(start(&m, DECODE_32, BYTES("\x0f\xba\x2b\x25")), EMULATE_READ);
	assert_request(&m, 0, 4);
	assert_int_equal(give(&m, 0), EMULATE_WRITE);
	assert_true(m.e.value == 0x20);
}

/* ---- faults ---- */

static void test_canonical_addresses(void **state)
{
	struct machine m;

	reset(&m);
	m.regs.gpr[RCX] = 0x7ffffffffffcull;
	assert_int_equal(start(&m, DECODE_64, BYTES("\x8b\x01")), EMULATE_READ);
	m.regs.gpr[RCX]++; /* the last byte is beyond */
	assert_fault(&m, start(&m, DECODE_64, BYTES("\x8b\x01")), EMULATE_VECTOR_GP);
	m.cpu.linear_bits = 57;
	assert_int_equal(start(&m, DECODE_64, BYTES("\x8b\x01")), EMULATE_READ);
	m.cpu.linear_bits = 48;
	m.regs.gpr[RCX] = 0xffff800000000000ull;
	assert_int_equal(start(&m, DECODE_64, BYTES("\x8b\x01")), EMULATE_READ);
	m.regs.gpr[RBP] = 1ull << 47;
	assert_fault(&m, start(&m, DECODE_64, BYTES("\x89\x45\x00")), EMULATE_VECTOR_SS);
	m.cpu.segment[SEGMENT_FS].base = 1ull << 47;
	m.regs.gpr[RCX] = 0;
	assert_fault(&m, start(&m, DECODE_64, BYTES("\x64\x8b\x01")), EMULATE_VECTOR_GP);
}

static void set_ds(struct machine *m, u32 limit, u32 access)
{
	m->cpu.segment[SEGMENT_DS] = (struct emulate_segment){0, limit, access, 0};
}

static void test_limits(void **state)
{
	struct machine m;

	reset(&m);
	set_ds(&m, 0x1003, DATA_WRITABLE);
	assert_int_equal(start(&m, DECODE_32, BYTES("\x8b\x01")), EMULATE_READ);
	set_ds(&m, 0x1002, DATA_WRITABLE);
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x8b\x01")), EMULATE_VECTOR_GP);
	assert_int_equal(start(&m, DECODE_32, BYTES("\x66\x8b\x01")), EMULATE_READ);
	set_ds(&m, 0xfff, DATA_DOWN); /* valid is what lies above */
	assert_int_equal(start(&m, DECODE_32, BYTES("\x8b\x01")), EMULATE_READ);
	set_ds(&m, 0x1000, DATA_DOWN);
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x8b\x01")), EMULATE_VECTOR_GP);
	set_ds(&m, 0xfff, DATA_DOWN & 0xff); /* not big: ends at 64 KiB */
	m.regs.gpr[RCX] = 0xfffd;
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x8b\x01")), EMULATE_VECTOR_GP);
	m.cpu.segment[SEGMENT_SS].limit = 0x4fff;
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x8b\x45\x00")), EMULATE_VECTOR_SS);
	/* 64-bit mode has no limits. */
	assert_int_equal(start(&m, DECODE_64, BYTES("\x8b\x01")), EMULATE_READ);
}

static void test_segment_types(void **state)
{
	struct machine m;

	reset(&m);
	set_ds(&m, 0xffffffff, DATA_READONLY);
	assert_int_equal(start(&m, DECODE_32, BYTES("\x8b\x01")), EMULATE_READ);
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x89\x01")), EMULATE_VECTOR_GP);
	/* A read that a write follows faults before anything is read. */
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x01\x01")), EMULATE_VECTOR_GP);
	assert_int_equal(start(&m, DECODE_32, BYTES("\x39\x01")), EMULATE_READ); /* cmp */
	set_ds(&m, 0xffffffff, CODE_READABLE);
	assert_int_equal(start(&m, DECODE_32, BYTES("\x8b\x01")), EMULATE_READ);
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x89\x01")), EMULATE_VECTOR_GP);
	/* Real mode writes through CS as well. */
	m.cpu.protected_mode = false;
	assert_int_equal(start(&m, DECODE_16, BYTES("\x66\x67\x89\x01")), EMULATE_WRITE);
	m.cpu.protected_mode = true;
	set_ds(&m, 0xffffffff, CODE_EXECUTE);
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x8b\x01")), EMULATE_VECTOR_GP);
	set_ds(&m, 0xffffffff, DATA_WRITABLE | UNUSABLE);
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x8b\x01")), EMULATE_VECTOR_GP);
	m.cpu.segment[SEGMENT_ES].access = DATA_READONLY;
	assert_fault(&m, start(&m, DECODE_32, BYTES("\xab")), EMULATE_VECTOR_GP);
}

/* ---- what the steps say ---- */

static void test_nothing_changes_before_the_end(void **state)
{
	struct machine m;
	struct guest_regs before;

	reset(&m);
	m.regs.rflags |= FLAG_RF;
	before = m.regs;
	assert_int_equal(start(&m, DECODE_64, BYTES("\xf0\x0f\xc1\x0b")), EMULATE_READ); /* xadd */
	assert_request(&m, 0x3000, 4);
	assert_true(m.e.for_write && m.e.atomic);
	assert_int_equal(give(&m, 0xfffffffffffff000ull), EMULATE_WRITE);
	assert_request(&m, 0x3000, 4);
	assert_true(m.e.value == 0);
	assert_true(m.e.expected == 0xfffff000);
	assert_memory_equal(&m.regs, &before, sizeof(before));
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
	assert_true(m.regs.gpr[RCX] == 0xfffff000);
	assert_true(m.regs.rflags == (FLAGS_FIXED | FLAG_ZF | 0x5));
	assert_true(m.regs.rip == 0x8004);
}

static void test_write_and_atomic_intent(void **state)
{
	struct machine m;

	reset(&m);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x87\x0b")), EMULATE_READ); /* xchg */
	assert_true(m.e.for_write && m.e.atomic);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x01\x0b")), EMULATE_READ); /* add */
	assert_true(m.e.for_write && !m.e.atomic);
	assert_int_equal(start(&m, DECODE_64, BYTES("\xf0\x01\x0b")), EMULATE_READ);
	assert_true(m.e.for_write && m.e.atomic);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x85\x0b")), EMULATE_READ); /* test */
	assert_true(!m.e.for_write && !m.e.atomic);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x0f\xa3\x0b")), EMULATE_READ); /* bt */
	assert_true(!m.e.for_write && !m.e.atomic);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x03\x0b")), EMULATE_READ); /* add ecx, [] */
	assert_true(!m.e.for_write && !m.e.atomic);
}

static void test_unhandled(void **state)
{
	struct machine m;

	reset(&m);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x0f\x58\x01")), EMULATE_UNHANDLED);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x0f\xc7\x09")), EMULATE_READ);
	assert_true(m.regs.rip == 0x8000);
}

static void test_rip_wraps(void **state)
{
	struct machine m;

	reset(&m);
	m.regs.rip = 0xfffe;
	assert_int_equal(start(&m, DECODE_16, BYTES("\xb8\x34\x12")), EMULATE_DONE);
	/* 16-bit code runs on into its segment's limit. */
	assert_true(m.regs.rip == 0x10001);
	m.regs.rip = 0xffffffff;
	assert_int_equal(start(&m, DECODE_32, BYTES("\x40")), EMULATE_DONE);
	assert_true(m.regs.rip == 0);
	m.regs.rip = 0xffffffff;
	assert_int_equal(start(&m, DECODE_64, BYTES("\xff\xc0")), EMULATE_DONE);
	assert_true(m.regs.rip == 0x100000001ull);
}

/* ---- the stack ---- */

static void test_stack_width(void **state)
{
	struct machine m;

	reset(&m);
	/* 32-bit code on a 16-bit stack: SP alone counts and wraps. */
	m.cpu.segment[SEGMENT_SS].access = DATA_SMALL;
	m.regs.gpr[RSP] = 0x50002;
	assert_int_equal(start(&m, DECODE_32, BYTES("\x50")), EMULATE_WRITE);
	assert_request(&m, 0xfffe, 4);
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
	assert_true(m.regs.gpr[RSP] == 0x5fffe);
	m.cpu.segment[SEGMENT_SS].access = DATA_WRITABLE;
	m.regs.gpr[RSP] = 0x50002;
	assert_int_equal(start(&m, DECODE_16, BYTES("\x50")), EMULATE_WRITE);
	assert_request(&m, 0x50000, 2);
}

static void test_push_and_pop_memory(void **state)
{
	struct machine m;

	reset(&m);
	m.cpu.segment[SEGMENT_DS].base = 0x100000;
	assert_int_equal(start(&m, DECODE_32, BYTES("\xff\x31")), EMULATE_READ); /* push [ecx] */
	assert_request(&m, 0x101000, 4);
	assert_int_equal(give(&m, ~0ull), EMULATE_WRITE);
	assert_request(&m, 0x3ffc, 4);
	assert_true(m.e.value == 0xffffffff);
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
	assert_true(m.regs.gpr[RSP] == 0x3ffc);

	/* pop [esp+4]: the address is made with the new ESP */
	assert_int_equal(start(&m, DECODE_32, BYTES("\x8f\x44\x24\x04")), EMULATE_READ);
	assert_request(&m, 0x3ffc, 4);
	assert_int_equal(give(&m, 7), EMULATE_WRITE);
	assert_request(&m, 0x4004, 4);
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
	assert_true(m.regs.gpr[RSP] == 0x4000);

	m.cpu.segment[SEGMENT_SS].limit = 0xfff;
	m.regs.rip = 0x8000;
	assert_fault(&m, start(&m, DECODE_32, BYTES("\x50")), EMULATE_VECTOR_SS);
	assert_true(m.regs.gpr[RSP] == 0x4000);
}

/* A slot of 64 bits is written whole, of one of 32 the lower half. */
static void test_push_segment(void **state)
{
	static const struct {
		enum decode_mode mode;
		const char *code;
		unsigned int length, slot, written;
	} cases[] = {
		{DECODE_64, "\x0f\xa0", 2, 8, 8},     {DECODE_64, "\x0f\xa8", 2, 8, 8},
		{DECODE_64, "\x66\x0f\xa0", 3, 2, 2}, {DECODE_32, "\x0f\xa0", 2, 4, 2},
		{DECODE_32, "\x66\x06", 2, 2, 2},     {DECODE_16, "\x0f\xa8", 2, 2, 2},
	};
	struct machine m;

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		const u8 *code = (const u8 *)cases[i].code;

		reset(&m);
		for (int s = 0; s < SEGMENT_COUNT; s++)
			m.cpu.segment[s].selector = 0xfedc;
		assert_int_equal(start(&m, cases[i].mode, code, cases[i].length), EMULATE_WRITE);
		assert_request(&m, 0x4000 - cases[i].slot, cases[i].written);
		assert_true(m.e.value == 0xfedc);
		assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
		assert_true(m.regs.gpr[RSP] == 0x4000 - cases[i].slot);
	}
}

/* ---- strings ---- */

static void test_one_iteration_at_a_time(void **state)
{
	struct machine m;

	reset(&m);
	m.regs.gpr[RCX] = 0xffff00000002ull;
	m.regs.gpr[RDI] = 0x1234fffffffeull;
	m.regs.gpr[RAX] = 0xabcd;
	assert_int_equal(start(&m, DECODE_64, BYTES("\x67\xf3\x66\xab")), EMULATE_WRITE);
	assert_request(&m, 0xfffffffe, 2);
	assert_true(m.e.value == 0xabcd);
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
	assert_true(m.regs.rip == 0x8000);
	assert_true(m.regs.gpr[RCX] == 1); /* 32 bits count, and clear the rest */
	assert_true(m.regs.gpr[RDI] == 0);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x67\xf3\x66\xab")), EMULATE_WRITE);
	assert_request(&m, 0, 2);
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
	assert_true(m.regs.rip == 0x8004);
	assert_true(m.regs.gpr[RCX] == 0);
	/* With a count of 0 nothing is touched. */
	assert_int_equal(start(&m, DECODE_64, BYTES("\x67\xf3\x66\xab")), EMULATE_DONE);
	assert_true(m.regs.rip == 0x8008);
	assert_true(m.regs.gpr[RDI] == 2);
}

static void test_string_directions(void **state)
{
	struct machine m;

	reset(&m);
	m.regs.rflags |= FLAG_DF;
	m.regs.gpr[RCX] = 0x10000; /* CX is 0 */
	m.regs.gpr[RSI] = 0x7770000;
	m.regs.gpr[RDI] = 0x8880001;
	m.cpu.segment[SEGMENT_ES].base = 0x100000;
	m.cpu.segment[SEGMENT_FS].base = 0x200000;
	assert_int_equal(start(&m, DECODE_16, BYTES("\x64\xa5")),
			 EMULATE_READ); /* movsw es:, fs: */
	assert_request(&m, 0x200000, 2);
	assert_int_equal(give(&m, 0x55555), EMULATE_WRITE);
	assert_request(&m, 0x100001, 2);
	assert_true(m.e.value == 0x5555);
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
	assert_true(m.regs.gpr[RSI] == 0x777fffe);
	assert_true(m.regs.gpr[RDI] == 0x888ffff);
	assert_true(m.regs.gpr[RCX] == 0x10000); /* no REP, no count */
	assert_int_equal(start(&m, DECODE_16, BYTES("\xf3\xa5")), EMULATE_DONE);
}

static void compare_once(struct machine *m, const u8 *bytes, size_t n, u64 left, u64 right,
			 bool leaves)
{
	u64 rip = m->regs.rip;

	assert_int_equal(start(m, DECODE_64, bytes, n), EMULATE_READ);
	assert_request(m, m->regs.gpr[RSI], 1);
	assert_int_equal(give(m, left), EMULATE_READ);
	assert_request(m, m->regs.gpr[RDI], 1);
	assert_int_equal(give(m, right), EMULATE_DONE);
	assert_int_equal(m->regs.rip != rip, leaves);
	assert_int_equal(!!(m->regs.rflags & FLAG_ZF), left == right);
}

/* As measured on Intel's CPUs: the count is written back, and the pointers of MOVS and STOS. */
static void test_no_iteration(void **state)
{
	struct machine m;

	reset(&m);
	m.regs.gpr[RCX] = 0x1100000000;
	m.regs.gpr[RSI] = 0x2200000010;
	m.regs.gpr[RDI] = 0x3300000020;
	assert_int_equal(start(&m, DECODE_64, BYTES("\x67\xf3\xac")), EMULATE_DONE); /* lodsb */
	assert_true(m.regs.gpr[RCX] == 0 && m.regs.gpr[RSI] == 0x2200000010);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x67\xf3\xaa")), EMULATE_DONE); /* stosb */
	assert_true(m.regs.gpr[RSI] == 0x2200000010 && m.regs.gpr[RDI] == 0x20);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x67\xf3\xa4")), EMULATE_DONE); /* movsb */
	assert_true(m.regs.gpr[RSI] == 0x10);
}

static void test_repeat_until(void **state)
{
	struct machine m;

	reset(&m);
	compare_once(&m, BYTES("\xf3\xa6"), 5, 5, false); /* repe */
	compare_once(&m, BYTES("\xf3\xa6"), 4, 5, true);
	assert_int_equal(m.regs.rflags & 1, 1);		  /* 4 - 5 borrows */
	compare_once(&m, BYTES("\xf2\xa6"), 5, 4, false); /* repne */
	assert_int_equal(m.regs.rflags & 1, 0);
	compare_once(&m, BYTES("\xf2\xa6"), 5, 5, true);
	m.regs.gpr[RCX] = 1;
	compare_once(&m, BYTES("\xf3\xa6"), 5, 5, true);
	assert_true(m.regs.gpr[RCX] == 0);
	assert_true(m.regs.gpr[RSI] == 0x6005);
	assert_true(m.regs.gpr[RDI] == 0x7005);
}

/* ---- ports ---- */

static void test_ports(void **state)
{
	struct machine m;

	reset(&m);
	m.regs.gpr[RDX] = 0x70cf8;
	m.regs.gpr[RAX] = 0x1122334455667788;
	assert_int_equal(start(&m, DECODE_64, BYTES("\xed")), EMULATE_IN); /* in eax, dx */
	assert_int_equal(m.e.port, 0xcf8);
	assert_int_equal(m.e.size, 4);
	assert_int_equal(give(&m, ~0ull), EMULATE_DONE);
	assert_true(m.regs.gpr[RAX] == 0xffffffff);
	m.regs.gpr[RAX] = 0x1122334455667788;
	assert_int_equal(start(&m, DECODE_64, BYTES("\xe4\xfe")), EMULATE_IN); /* in al, 0xfe */
	assert_int_equal(m.e.port, 0xfe);
	assert_int_equal(give(&m, 0x1ff), EMULATE_DONE);
	assert_true(m.regs.gpr[RAX] == 0x11223344556677ff);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x66\xef")), EMULATE_OUT); /* out dx, ax */
	assert_int_equal(m.e.size, 2);
	assert_true(m.e.value == 0x77ff);
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
}

static void test_string_ports(void **state)
{
	struct machine m;

	reset(&m);
	m.regs.gpr[RCX] = 2;
	assert_int_equal(start(&m, DECODE_64, BYTES("\xf3\x6d")), EMULATE_IN); /* rep insd */
	assert_int_equal(m.e.port, 0x2000);
	assert_request(&m, 0x7000, 4);
	assert_int_equal(give(&m, 0x123456789), EMULATE_WRITE);
	assert_request(&m, 0x7000, 4);
	assert_true(m.e.value == 0x23456789);
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
	assert_true(m.regs.rip == 0x8000 && m.regs.gpr[RDI] == 0x7004 && m.regs.gpr[RCX] == 1);
	assert_int_equal(start(&m, DECODE_64, BYTES("\xf3\x6e")), EMULATE_READ); /* rep outsb */
	assert_request(&m, 0x6000, 1);
	assert_int_equal(give(&m, 0x1ff), EMULATE_OUT);
	assert_true(m.e.value == 0xff);
	assert_int_equal(m.e.size, 1);
	assert_int_equal(emulate_next(&m.e), EMULATE_DONE);
	assert_true(m.regs.rip == 0x8002 && m.regs.gpr[RSI] == 0x6001 && m.regs.gpr[RCX] == 0);
	/* The port is not read if its value has nowhere to go. */
	m.regs.rip = 0x8000;
	m.regs.gpr[RDI] = 1ull << 47;
	assert_fault(&m, start(&m, DECODE_64, BYTES("\x6c")), EMULATE_VECTOR_GP);
}

/* ---- what an entry would refuse ---- */

#define LONG_CODE 0xa09bu

/* lret, to a flat 64-bit segment: RIP comes off the stack, and need not be an address. */
static void test_far_return_to_no_address(void **state)
{
	u64 descriptor = 0x00209b0000000000ull, targets[] = {1ull << 47, 0x123456789abcdef0ull};
	struct machine m;

	for (u32 i = 0; i < ARRAY_SIZE(targets); i++) {
		reset(&m);
		m.cpu.long_mode = true;
		m.cpu.gdt = (struct emulate_table){0x5000, 0x1f};
		m.cpu.segment[SEGMENT_CS].access = LONG_CODE;
		assert_int_equal(start(&m, DECODE_64, BYTES("\x48\xcb")), EMULATE_READ);
		assert_int_equal(give(&m, targets[i]), EMULATE_READ);
		assert_int_equal(give(&m, 8), EMULATE_READ);
		assert_request(&m, 0x5008, 8);
		assert_fault(&m, give(&m, descriptor), EMULATE_VECTOR_GP);
	}
	reset(&m);
	m.cpu.long_mode = true;
	m.cpu.gdt = (struct emulate_table){0x5000, 0x1f};
	assert_int_equal(start(&m, DECODE_64, BYTES("\x48\xcb")), EMULATE_READ);
	assert_int_equal(give(&m, ~0ull << 47), EMULATE_READ);
	assert_int_equal(give(&m, 8), EMULATE_READ);
	assert_int_equal(give(&m, descriptor), EMULATE_DONE);
	assert_true(m.regs.rip == ~0ull << 47);
}

static void test_tables_at_no_address(void **state)
{
	struct machine m;

	reset(&m);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x0f\x01\x11")), EMULATE_READ); /* lgdt */
	assert_int_equal(give(&m, 0x7f), EMULATE_READ);
	assert_fault(&m, give(&m, 1ull << 47), EMULATE_VECTOR_GP);
	assert_int_equal(start(&m, DECODE_64, BYTES("\x0f\x01\x19")), EMULATE_READ); /* lidt */
	assert_int_equal(give(&m, 0x7f), EMULATE_READ);
	assert_int_equal(give(&m, ~0ull << 47), EMULATE_DONE);
	assert_true(m.e.sys.idt.base == ~0ull << 47);
}

/* With UMIP programs are told nothing of the machine. */
static void test_umip(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} stores[] = {
		{"\x0f\x01\x01", 3}, /* sgdt */ {"\x0f\x01\x09", 3}, /* sidt */
		{"\x0f\x00\x01", 3}, /* sldt */ {"\x0f\x00\x09", 3}, /* str */
		{"\x0f\x01\x21", 3},				     /* smsw */
	};
	struct machine m;

	for (u32 i = 0; i < ARRAY_SIZE(stores); i++) {
		const u8 *bytes = (const u8 *)stores[i].bytes;

		reset(&m);
		m.cpu.umip = true;
		assert_int_not_equal(start(&m, DECODE_32, bytes, stores[i].n), EMULATE_FAULT);
		m.cpu.cpl = 3;
		assert_fault(&m, start(&m, DECODE_32, bytes, stores[i].n), EMULATE_VECTOR_GP);
		m.cpu.umip = false;
		assert_int_not_equal(start(&m, DECODE_32, bytes, stores[i].n), EMULATE_FAULT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bases_in_64_bit_mode),
		cmocka_unit_test(test_address_size_wraps),
		cmocka_unit_test(test_bit_number_selects_the_word),
		cmocka_unit_test(test_canonical_addresses),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_segment_types),
		cmocka_unit_test(test_nothing_changes_before_the_end),
		cmocka_unit_test(test_write_and_atomic_intent),
		cmocka_unit_test(test_unhandled),
		cmocka_unit_test(test_rip_wraps),
		cmocka_unit_test(test_stack_width),
		cmocka_unit_test(test_push_and_pop_memory),
		cmocka_unit_test(test_push_segment),
		cmocka_unit_test(test_one_iteration_at_a_time),
		cmocka_unit_test(test_string_directions),
		cmocka_unit_test(test_no_iteration),
		cmocka_unit_test(test_repeat_until),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_string_ports),
		cmocka_unit_test(test_far_return_to_no_address),
		cmocka_unit_test(test_tables_at_no_address),
		cmocka_unit_test(test_umip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
