/* SPDX-License-Identifier: MIT */
/*
 * Far branches and returns in protected mode by descriptors of every kind and level: which fault, with
 * which error code, and what is left to a call gate, a task or another level, which the emulator has
 * not. The oracle is made of SDM 2A JMP, CALL, RET and IRET and SDM 3A table 3-2.
 */
/* unit-sources: @emulate */
#include <string.h>

#include <cmocka.h>

#include "mmu/emulate.h"

#define GDT    0x5000u
#define LDT    0x6000u
#define STACK  0x3000u
#define TARGET 0x1234u
#define ENTRY  0x18u /* the descriptor's place in its table */

#define VECTOR_OF(o) ((o) >> 16)
#define GP	     (13u << 16)
#define NP	     (11u << 16)
#define DONE	     1u
#define NOT_DONE     2u

/* How an instruction goes to code elsewhere. */
static const struct way {
	const char *name, *bytes;
	size_t length;
	bool returns;
} ways[] = {
	{"JMP", "\xea\x34\x12\x00\x00\x00\x00", 7, false},
	{"CALL", "\x9a\x34\x12\x00\x00\x00\x00", 7, false},
	{"RET", "\xcb", 1, true},
	{"IRET", "\xcf", 1, true},
};

struct state {
	const struct way *way;
	u32 type; /* the low five bits of the rights: S among them */
	u32 dpl, cpl, rpl;
	bool present, local, long_mode;
};

static u16 selector_of(const struct state *s)
{
	return (u16)(ENTRY | (s->local ? 4u : 0) | s->rpl);
}

/* --- the manual's word --- */

enum way_out {
	NO_WAY,
	CALL_GATE,
	TASK
};

/* SDM 3A table 3-2, and in IA-32e mode 3A 5.8.3.1, 8.2.1. */
static const enum way_out legacy[16] = {
	[1] = TASK, [4] = CALL_GATE, [5] = TASK, [9] = TASK, [12] = CALL_GATE};
static const enum way_out ia32e[16] = {[12] = CALL_GATE};

static u32 expect_system(const struct state *s, u32 error)
{
	enum way_out way = (s->long_mode ? ia32e : legacy)[s->type];
	bool tss = s->type == 1 || s->type == 9;

	if (s->way->returns || way == NO_WAY || (tss && s->local))
		return GP | error;
	if (s->dpl < s->cpl || s->dpl < s->rpl)
		return GP | error;
	return s->present ? NOT_DONE : NP | error;
}

static u32 expect(const struct state *s)
{
	u32 error = selector_of(s) & ~3u, level = s->way->returns ? s->rpl : s->cpl;
	bool code = s->type & 8, conforming = s->type & 4;

	if (s->way->returns && s->rpl < s->cpl)
		return GP | error;
	if (!(s->type & 16))
		return expect_system(s, error);
	if (!code)
		return GP | error;
	if (conforming ? s->dpl > level : s->dpl != level)
		return GP | error;
	if (!s->way->returns && !conforming && s->rpl > s->cpl)
		return GP | error;
	if (!s->present)
		return NP | error;
	return s->way->returns && s->rpl > s->cpl ? NOT_DONE : DONE;
}

/* --- the emulator's --- */

static u64 descriptor(const struct state *s)
{
	u64 rights = s->type | s->dpl << 5 | (s->present ? 0x80u : 0);

	return 0xffff | rights << 40 | 0x40ull << 48 | 0xfull << 48;
}

static u64 stack_word(const struct state *s, u64 at)
{
	return at == 0 ? TARGET : at == 4 ? selector_of(s) : 2;
}

static void set_cpu(const struct state *s, struct emulate_cpu *cpu)
{
	u32 access = 0xc093u | s->cpl << 5;

	*cpu = (struct emulate_cpu){
		.protected_mode = true,
		.linear_bits = 48,
		.long_mode = s->long_mode,
		.cpl = (u8)s->cpl,
		.gdt = {GDT, 0x1f},
	};
	for (u32 i = 0; i < SEGMENT_COUNT; i++)
		cpu->segment[i] = (struct emulate_segment){0, 0xffffffff, access, 0};
	cpu->segment[SEGMENT_CS].access |= 8;
	cpu->segment[EMULATE_LDTR] = (struct emulate_segment){LDT, 0x1f, 0x82, 0};
}

static u32 go(const struct state *s)
{
	struct guest_regs regs = {.rip = 0x8000, .rflags = 2};
	u8 bytes[8] = {0};
	u16 selector = selector_of(s);
	struct emulate_cpu cpu;
	struct emulate e;
	struct insn insn;

	memcpy(bytes, s->way->bytes, s->way->length);
	if (!s->way->returns)
		memcpy(bytes + 5, &selector, sizeof(selector));
	assert_int_equal(decode_insn(&insn, bytes, s->way->length, DECODE_32), 0);
	set_cpu(s, &cpu);
	regs.gpr[RSP] = STACK;
	emulate_start(&e, &insn, &regs, &cpu);
	for (;;) {
		switch (emulate_next(&e)) {
		case EMULATE_READ:
			if (e.implicit) {
				assert_int_equal(e.gva, (s->local ? LDT : GDT) + ENTRY);
				e.value = descriptor(s);
			} else {
				e.value = stack_word(s, e.gva - STACK);
			}
			break;
		case EMULATE_WRITE: /* the accessed bit, or what CALL leaves */
			assert_true(e.implicit ? e.atomic : s->way == &ways[1]);
			break;
		case EMULATE_DONE:
			assert_int_equal(regs.rip, TARGET);
			assert_int_equal(e.sys.segment[SEGMENT_CS].selector,
					 (selector & ~3u) | s->cpl);
			return DONE;
		case EMULATE_FAULT:
			return (u32)e.vector << 16 | e.error_code;
		case EMULATE_UNHANDLED:
			return NOT_DONE;
		default:
			fail_msg("another step");
		}
	}
}

static void compare(const struct state *s, u32 outcomes[3])
{
	u32 want = expect(s), got = go(s);

	if (want != got)
		fail_msg(
			"%s, type %x, DPL %u, CPL %u, RPL %u, present %u, %s, %s: %x, and it is %x",
			s->way->name, s->type, s->dpl, s->cpl, s->rpl, s->present,
			s->local ? "LDT" : "GDT", s->long_mode ? "IA-32e" : "legacy", got, want);
	outcomes[want == DONE ? 0 : want == NOT_DONE ? 1 : 2]++;
}

static void every_descriptor(void **state)
{
	u32 outcomes[3] = {0};
	struct state s;

	for (u32 n = 0; n < ARRAY_SIZE(ways) * 32 * 4 * 4 * 4 * 8; n++) {
		s = (struct state){
			.way = &ways[n & 3],
			.type = n >> 2 & 31,
			.dpl = n >> 7 & 3,
			.cpl = n >> 9 & 3,
			.rpl = n >> 11 & 3,
			.present = n >> 13 & 1,
			.local = n >> 14 & 1,
			.long_mode = n >> 15 & 1,
		};
		/* IRET in IA-32e mode is not done at all. */
		if (s.long_mode && s.way == &ways[3])
			continue;
		compare(&s, outcomes);
	}
	print_message("%u went, %u were left to others, %u faulted\n", outcomes[0], outcomes[1],
		      outcomes[2]);
	assert_true(outcomes[0] > 1000 && outcomes[1] > 1000 && outcomes[2] > 10000);
}

/* A selector that names nothing: #GP(0). Of a return the RPL does not matter. */
static void null_selectors(void **state)
{
	for (u32 way = 0; way < ARRAY_SIZE(ways); way++) {
		for (u32 rpl = 0; rpl < 4; rpl++) {
			struct state s = {.way = &ways[way], .type = 0x1b, .present = true};
			struct guest_regs regs = {.rip = 0x8000, .rflags = 2};
			u8 bytes[8] = {0};
			struct emulate_cpu cpu;
			struct emulate e;
			struct insn insn;
			enum emulate_step step;

			memcpy(bytes, s.way->bytes, s.way->length);
			if (!s.way->returns)
				bytes[5] = (u8)rpl;
			assert_int_equal(decode_insn(&insn, bytes, s.way->length, DECODE_32), 0);
			set_cpu(&s, &cpu);
			regs.gpr[RSP] = STACK;
			emulate_start(&e, &insn, &regs, &cpu);
			while ((step = emulate_next(&e)) == EMULATE_READ) {
				assert_false(e.implicit);
				e.value = e.gva == STACK + 4 ? rpl : 2;
			}
			assert_int_equal(step, EMULATE_FAULT);
			assert_true(e.vector == VECTOR_OF(GP) && e.error_code == 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_descriptor),
		cmocka_unit_test(null_selectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
