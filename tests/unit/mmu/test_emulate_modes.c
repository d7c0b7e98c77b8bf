/* SPDX-License-Identifier: MIT */
/*
 * Random instructions of 16-, 32- and 64-bit code, run by this machine's CPU and by mmu/emulate:
 * registers, flags, memory, where it goes on, and which exception with which error code. All kinds
 * but those that another privilege level, a device or a vector table has to do with, which
 * test_emulate.c looks at.
 *
 * 300,000 cases, and 10 million where WEIR_FUZZ is "full"; the seed is WEIR_SEED.
 */
/* unit-sources: @emulate tests/unit/mmu/native.c tests/unit/mmu/native_case.c
   tests/unit/mmu/native_operands.c */
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
#include "tests/unit/mmu/native_case.h"

#define SHORT_CASES 300000u
#define FULL_CASES  10000000u
/* Of memory, what is looked at after each case; data that is aimed at lies there. */
#define WINDOW	     (NATIVE_MIDDLE - 0x800)
#define WINDOW_SIZE  0x2000
#define LIMIT_WINDOW (NATIVE_DATA_LIMIT - 0x1ff)
#define LIMIT_SIZE   0x400
#define LDT_BASE     0x12340000u
#define VECTOR_PF    14
#define DECLINED     0xfe	 /* in place of a vector: EMULATE_UNHANDLED */
#define NOT_OURS     0xfd	 /* it reaches what is native.c's or Linux's */
#define GDT_BASE     0x56780000u /* whatever is there is Linux's */

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

static void set_cpu(const struct native_case *c, struct emulate_cpu *cpu)
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
			out->vector = DECLINED;
			return false;
		}
		if (step == EMULATE_FEATURE) {
			e->value = native_has(e->index);
			continue;
		}
		if (step == EMULATE_TOUCH)
			assert_int_equal(e->insn->kind, INSN_CLFLUSH);
		else
			assert_true(step == EMULATE_READ || step == EMULATE_WRITE);
		if (e->implicit && e->gva >= GDT_BASE) {
			out->vector = NOT_OURS;
			return false;
		} else if (e->implicit) {
			read_ldt(e);
		} else if (in_memory(e, &offset) && offset + e->size > NATIVE_OWN) {
			out->vector = NOT_OURS;
			return false;
		} else if (!in_memory(e, &offset)) {
			out->vector = VECTOR_PF;
			return false;
		} else if (step == EMULATE_TOUCH) {
			e->value = random_next(&native_seed);
		} else if (step == EMULATE_READ) {
			e->value = random_next(&native_seed);
			memcpy(&e->value, emulated_memory + offset, e->size);
		} else {
			memcpy(emulated_memory + offset, &e->value, e->size);
		}
	}
	fail_msg("no end");
	return false;
}

/* What the emulator does not ask for it does not get. */
static void spoil_unused(const struct insn *insn, struct emulate_cpu *cpu)
{
	u32 uses = emulate_uses(insn);

	for (u32 i = 0; i < EMULATE_SEGMENTS; i++) {
		if (!(uses & BIT(i)))
			memset(&cpu->segment[i], 0xfe, sizeof(cpu->segment[i]));
	}
	if (!(uses & EMULATE_USES_TABLES)) {
		memset(&cpu->gdt, 0xfe, sizeof(cpu->gdt));
		memset(&cpu->idt, 0xfe, sizeof(cpu->idt));
	}
}

static void run_emulated(const struct native_case *c, struct native_result *out)
{
	struct guest_regs regs = {.rip = native_rip(c->mode, c->insn.length), .rflags = c->rflags};
	u64 start = regs.rip;
	struct emulate_cpu cpu;
	struct emulate e;

	memcpy(regs.gpr, c->gpr, sizeof(regs.gpr));
	set_cpu(c, &cpu);
	out->vector = NATIVE_NO_VECTOR;
	out->es = cpu.segment[SEGMENT_ES].selector;
	spoil_unused(&c->insn, &cpu);
	do {
		emulate_start(&e, &c->insn, &regs, &cpu);
		if (!run_steps(&e, out))
			break;
		if (e.changed & BIT(SEGMENT_ES))
			out->es = e.sys.segment[SEGMENT_ES].selector;
	} while (native_is_string(&c->insn) && regs.rip == start);
	memcpy(out->gpr, regs.gpr, sizeof(out->gpr));
	out->rflags = regs.rflags;
	out->rip = regs.rip;
}

/* --- comparison --- */

/* And is no scan, as on older CPUs. */
static bool counts_zeros(const struct insn *i)
{
	return native_has(i->kind == INSN_TZCNT ? FEATURE_BMI1 : FEATURE_LZCNT);
}

static u64 defined_flags(const struct native_case *c)
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
		return FLAGS_COMPARED & ~FLAG_AF;
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return FLAGS_COMPARED & ~(FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF);
	case INSN_MUL:
	case INSN_IMUL_WIDE:
	case INSN_IMUL:
		return FLAGS_COMPARED & ~(FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF);
	case INSN_DIV:
	case INSN_IDIV:
		return FLAGS_COMPARED & ~FLAGS_STATUS;
	case INSN_BSF:
	case INSN_BSR:
		return (FLAGS_COMPARED & ~FLAGS_STATUS) | FLAG_ZF;
	case INSN_TZCNT:
	case INSN_LZCNT:
		return (FLAGS_COMPARED & ~FLAGS_STATUS) | FLAG_ZF | (counts_zeros(i) ? FLAG_CF : 0);
	case INSN_AAA:
	case INSN_AAS:
		return FLAGS_COMPARED & ~(FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_PF);
	case INSN_DAA:
	case INSN_DAS:
		return FLAGS_COMPARED & ~FLAG_OF;
	case INSN_AAM:
	case INSN_AAD:
		return FLAGS_COMPARED & ~(FLAG_OF | FLAG_AF | FLAG_CF);
	}
	if (i->kind < INSN_ROL || i->kind > INSN_SHRD)
		return FLAGS_COMPARED;
	if (i->src.kind == OPERAND_NONE)
		count = 1;
	if (!count)
		return FLAGS_COMPARED;
	if (i->kind <= INSN_RCR)
		return count == 1 ? FLAGS_COMPARED : FLAGS_COMPARED & ~FLAG_OF;
	if (i->kind >= INSN_SHLD && count > bits)
		return FLAGS_COMPARED & ~FLAGS_STATUS;
	if (count > bits || (count == bits && i->op_size < 4))
		return FLAGS_COMPARED & ~(FLAG_OF | FLAG_AF | FLAG_CF);
	return FLAGS_COMPARED & ~(FLAG_AF | (count == 1 ? 0 : FLAG_OF));
}

/* SHLD and SHRD of 16 bits by more; BSF and BSR of 0 with 32 bits. */
static bool undefined_result(const struct native_case *c)
{
	const struct insn *i = &c->insn;
	u64 count = (i->imm_size ? i->imm : c->gpr[RCX]) & 31;

	if (i->kind == INSN_SHLD || i->kind == INSN_SHRD)
		return i->op_size == 2 && count > 16;
	if (i->kind == INSN_TZCNT || i->kind == INSN_LZCNT)
		return !counts_zeros(i);
	return i->kind == INSN_BSF || i->kind == INSN_BSR;
}

static void report(const struct native_case *c, const char *what, const struct native_result *n,
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

static bool registers_equal(const struct native_case *c, const struct native_result *n,
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
	return !memcmp(native_memory + WINDOW, emulated_memory + WINDOW, WINDOW_SIZE) &&
	       !memcmp(native_memory + LIMIT_WINDOW, emulated_memory + LIMIT_WINDOW, LIMIT_SIZE);
}

static void compare(const struct native_case *c, const struct native_result *n,
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
	if ((n->rflags ^ e->rflags) & (faulted ? FLAGS_COMPARED & ~FLAGS_STATUS : defined_flags(c)))
		report(c, "flags", n, e);
	/* A CPU may look at all it writes before it writes the first. */
	if ((!faulted || native_is_string(&c->insn)) && !memories_equal())
		report(c, "memory", n, e);
}

static u32 case_count(void)
{
	const char *extent = getenv("WEIR_FUZZ");

	return extent && !strcmp(extent, "full") ? FULL_CASES : SHORT_CASES;
}

/*
 * Whether there was something to compare. No selector leads to a gate or to another level, so there is
 * nothing that the emulator may decline.
 */
static bool run_case(const struct native_case *c)
{
	struct native_result native = {0}, emulated_result = {0};

	memcpy(emulated_memory + WINDOW, native_memory + WINDOW, WINDOW_SIZE);
	memcpy(emulated_memory + LIMIT_WINDOW, native_memory + LIMIT_WINDOW, LIMIT_SIZE);
	run_emulated(c, &emulated_result);
	if (emulated_result.vector == NOT_OURS)
		return false;
	native_run(c->mode, c->bytes, c->insn.length, c->gpr, c->rflags, &native);
	compare(c, &native, &emulated_result);
	/* What a fault leaves half written is the CPU's own way, and a later case may read it. */
	if (native.vector != NATIVE_NO_VECTOR)
		memcpy(emulated_memory, native_memory, NATIVE_OWN);
	return true;
}

static const u8 rare_kinds[] = {INSN_POPCNT, INSN_TZCNT, INSN_LZCNT,  INSN_FENCE,
				INSN_CLAC,   INSN_STAC,	 INSN_CLFLUSH};

static void test_against_host_cpu(void **state)
{
	u32 done[3][INSN_KIND_COUNT] = {{0}}, count = case_count(), kinds = 0, left_out = 0;
	struct native_case c;

	if (native_init()) {
		print_message("no local descriptor tables here\n");
		skip();
	}
	for (u32 n = 0; n < count;) {
		native_case_next(&c);
		if (run_case(&c)) {
			done[c.mode][c.insn.kind]++;
			n++;
		} else {
			assert_true(++left_out <= count / 1000);
		}
	}
	for (u32 mode = 0; mode < 3; mode++)
		for (u32 i = 0; i < ARRAY_SIZE(rare_kinds); i++)
			assert_true(done[mode][rare_kinds[i]] > count / 5000);
	for (u32 mode = 0; mode < 3; mode++)
		for (u32 kind = 0; kind < INSN_KIND_COUNT; kind++)
			kinds += done[mode][kind] != 0;
	print_message("%u cases of %u kinds in three modes; %u more left out\n", count, kinds,
		      left_out);
	assert_true(kinds > 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_host_cpu)};
	const char *given = getenv("WEIR_SEED");

	native_seed = given ? strtoull(given, NULL, 0) : 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
