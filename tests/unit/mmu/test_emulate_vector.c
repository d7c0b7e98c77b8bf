/* SPDX-License-Identifier: MIT */
/*
 * Random moves between memory and XMM registers, CMPXCHG16B and MOVNTI, run by this machine's CPU and
 * by mmu/emulate: registers, flags, memory, and whether the operand's place is refused. And what of
 * CR0 and CR4 refuses them.
 *
 * 30,000 cases, and a million where WEIR_FUZZ is "full"; the seed is WEIR_SEED.
 */
/* unit-sources: @emulate */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "mmu/emulate.h"
#include "tests/hosted/random.h"

#define SHORT_CASES 30000u
#define FULL_CASES  1000000u
#define MEMORY_SIZE 256u
#define FLAG_ZF	    0x40u
#define PAGE_BYTES  4096u

struct machine {
	u64 xmm[16][2];
	u64 gpr[GPR_COUNT], flags;
};

static u8 *code;
static u8 native_memory[MEMORY_SIZE] __attribute__((aligned(64)));
static u8 emulated_memory[MEMORY_SIZE] __attribute__((aligned(64)));
static u64 seed;
static sigjmp_buf refused;

/* --- this machine's CPU --- */

/* RDI has the machine; RSI, the operand's base, is loaded last and RAX, RBX, RCX, RDX before it. */
static const u8 prologue[] = {
	0x53,				 /* push rbx */
	0x57,				 /* push rdi */
	0x48, 0x8b, 0x87, 0x00, 1, 0, 0, /* mov rax, [rdi + 0x100] */
	0x48, 0x8b, 0x9f, 0x08, 1, 0, 0, /* rbx */
	0x48, 0x8b, 0x8f, 0x10, 1, 0, 0, /* rcx */
	0x48, 0x8b, 0x97, 0x18, 1, 0, 0, /* rdx */
};
static const u8 epilogue[] = {
	0x5f,				 /* pop rdi */
	0x48, 0x89, 0x87, 0x00, 1, 0, 0, /* mov [rdi + 0x100], rax */
	0x48, 0x89, 0x9f, 0x08, 1, 0, 0, /* rbx */
	0x48, 0x89, 0x8f, 0x10, 1, 0, 0, /* rcx */
	0x48, 0x89, 0x97, 0x18, 1, 0, 0, /* rdx */
	0x9c,				 /* pushfq */
	0x58,				 /* pop rax */
};
static const u8 end[] = {0x48, 0x89, 0x87, 0x20, 1, 0, 0, /* mov [rdi + 0x120], rax */
			 0x5b,				  /* pop rbx */
			 0xc3};

static u8 *put(u8 *at, const void *bytes, size_t n)
{
	memcpy(at, bytes, n);
	return at + n;
}

/* MOVUPS between each register and the machine. */
static u8 *put_moves(u8 *at, u8 opcode)
{
	for (u32 n = 0; n < 16; n++) {
		u8 rex = 0x40 | (n >= 8 ? 4 : 0);
		u8 bytes[] = {rex, 0x0f, opcode, (u8)(0x87 | (n & 7) << 3)};
		u32 disp = 16 * n;

		at = put(put(at, bytes, sizeof(bytes)), &disp, 4);
	}
	return at;
}

struct native {
	u64 xmm[16][2];
	u64 rax, rbx, rcx, rdx, flags;
};

static bool run_native(struct machine *m, const u8 *insn, size_t length)
{
	struct native n;
	void (*run)(struct native *, u8 *);
	u8 *at = put_moves(code, 0x10);

	memcpy(n.xmm, m->xmm, sizeof(n.xmm));
	n.rax = m->gpr[RAX];
	n.rbx = m->gpr[RBX];
	n.rcx = m->gpr[RCX];
	n.rdx = m->gpr[RDX];
	n.flags = 0;
	at = put(at, prologue, sizeof(prologue));
	at = put(at, insn, length);
	at = put(put(at, epilogue, sizeof(epilogue)), end, sizeof(end) - 2);
	at = put_moves(at, 0x11);
	(void)put(at, end + sizeof(end) - 2, 2);
	memcpy(&run, &code, sizeof(run));
	if (sigsetjmp(refused, 1))
		return false;
	run(&n, native_memory);
	memcpy(m->xmm, n.xmm, sizeof(n.xmm));
	m->gpr[RAX] = n.rax;
	m->gpr[RBX] = n.rbx;
	m->gpr[RCX] = n.rcx;
	m->gpr[RDX] = n.rdx;
	m->flags = n.flags & FLAG_ZF;
	return true;
}

/* --- the emulator --- */

static void answer(struct emulate *e, enum emulate_step step, struct machine *m)
{
	u8 *place = (u8 *)(uintptr_t)e->gva;

	if (step == EMULATE_READ_XMM) {
		e->value = m->xmm[e->index][0];
		e->high = m->xmm[e->index][1];
	} else if (step == EMULATE_WRITE_XMM) {
		m->xmm[e->index][0] = e->value;
		m->xmm[e->index][1] = e->high;
	} else {
		u64 value[2] = {e->value, e->high};

		assert_true(step == EMULATE_READ || step == EMULATE_WRITE);
		assert_true(place >= emulated_memory &&
			    place + e->size <= emulated_memory + MEMORY_SIZE);
		if (step == EMULATE_WRITE) {
			memcpy(place, value, e->size);
			return;
		}
		value[0] = value[1] = random_next(&seed);
		memcpy(value, place, e->size);
		e->value = value[0];
		e->high = value[1];
	}
}

static u32 run_emulated(struct machine *m, const struct insn *insn, const struct emulate_cpu *cpu)
{
	struct guest_regs regs = {.rip = 0x1000, .rflags = 2};
	enum emulate_step step;
	struct emulate e;

	memcpy(regs.gpr, m->gpr, sizeof(regs.gpr));
	regs.gpr[RSI] = (u64)(uintptr_t)emulated_memory;
	emulate_start(&e, insn, &regs, cpu);
	for (u32 i = 0; i < 8; i++) {
		step = emulate_next(&e);
		if (step == EMULATE_FAULT)
			return e.vector;
		if (step == EMULATE_DONE) {
			assert_int_equal(regs.rip, 0x1000 + insn->length);
			memcpy(m->gpr, regs.gpr, sizeof(regs.gpr));
			m->flags = regs.rflags & FLAG_ZF;
			return 0;
		}
		answer(&e, step, m);
	}
	fail_msg("no end");
	return 0;
}

/* --- cases --- */

static const struct {
	u8 prefix, opcode;
	bool wide; /* REX.W has a say */
	s8 extension;
} forms[] = {
	{0, 0x10, false, -1},	 {0x66, 0x10, false, -1}, {0xf3, 0x10, false, -1},
	{0xf2, 0x10, false, -1}, {0, 0x11, false, -1},	  {0x66, 0x11, false, -1},
	{0xf3, 0x11, false, -1}, {0xf2, 0x11, false, -1}, {0, 0x28, false, -1},
	{0x66, 0x28, false, -1}, {0, 0x29, false, -1},	  {0x66, 0x29, false, -1},
	{0, 0x2b, false, -1},	 {0x66, 0x2b, false, -1}, {0x66, 0x6e, true, -1},
	{0x66, 0x6f, false, -1}, {0xf3, 0x6f, false, -1}, {0x66, 0x7e, true, -1},
	{0xf3, 0x7e, false, -1}, {0x66, 0x7f, false, -1}, {0xf3, 0x7f, false, -1},
	{0x66, 0xd6, false, -1}, {0x66, 0xe7, false, -1}, {0xf2, 0xf0, false, -1},
	{0, 0xc3, true, 0},	 {0, 0xc7, true, 1},
};

/* [rsi + disp32] */
static size_t generate(u8 bytes[16], u32 form, u32 offset)
{
	size_t at = 0;
	u8 rex = 0x40 | (u8)(random_below(&seed, 2) << 2);
	u8 reg = (u8)random_below(&seed, 8);

	if (forms[form].extension >= 0) {
		rex = 0x40;
		reg = (u8)forms[form].extension;
	}
	if (forms[form].wide && random_below(&seed, 2))
		rex |= 8;
	/* CMPXCHG16B; CMPXCHG8B is test_emulate_native.c's. */
	if (forms[form].opcode == 0xc7)
		rex |= 8;
	if (forms[form].opcode == 0xc7 && random_below(&seed, 2))
		bytes[at++] = 0xf0;
	if (forms[form].prefix)
		bytes[at++] = forms[form].prefix;
	bytes[at++] = rex;
	bytes[at++] = 0x0f;
	bytes[at++] = forms[form].opcode;
	bytes[at++] = 0x86 | (u8)(reg << 3);
	memcpy(bytes + at, &offset, 4);
	return at + 4;
}

static void make_machine(struct machine *m)
{
	u64 *x = &m->xmm[0][0];

	for (u32 i = 0; i < 32; i++)
		x[i] = random_next(&seed);
	for (u32 i = 0; i < GPR_COUNT; i++)
		m->gpr[i] = random_next(&seed);
	m->flags = 0;
	for (u32 i = 0; i < MEMORY_SIZE; i++)
		native_memory[i] = (u8)random_next(&seed);
}

static const struct emulate_cpu cpu64 = {
	.protected_mode = true, .long_mode = true, .sse = true, .linear_bits = 48};

static void check(u32 form)
{
	u32 offset = random_below(&seed, 2) ? 16 * random_below(&seed, 15)
					    : random_below(&seed, MEMORY_SIZE - 16);
	struct machine native, emulated;
	u8 bytes[16];
	size_t length = generate(bytes, form, offset);
	struct insn insn;
	u32 vector;

	make_machine(&native);
	/* CMPXCHG16B's comparison comes out equal, or that of a half does. */
	if (random_below(&seed, 4))
		memcpy(&native.gpr[RAX], native_memory + offset, 8);
	if (random_below(&seed, 4))
		memcpy(&native.gpr[RDX], native_memory + offset + 8, 8);
	emulated = native;
	memcpy(emulated_memory, native_memory, MEMORY_SIZE);
	assert_int_equal(decode_insn(&insn, bytes, length, DECODE_64), 0);
	vector = run_emulated(&emulated, &insn, &cpu64);
	if (!run_native(&native, bytes, length)) {
		assert_int_equal(vector, EMULATE_VECTOR_GP);
		return;
	}
	assert_int_equal(vector, 0);
	assert_memory_equal(native.xmm, emulated.xmm, sizeof(native.xmm));
	assert_memory_equal(native_memory, emulated_memory, MEMORY_SIZE);
	for (u32 i = 0; i <= RBX; i++)
		assert_true(native.gpr[i] == emulated.gpr[i]);
	if (insn.kind == INSN_CMPXCHG8B)
		assert_int_equal(native.flags, emulated.flags);
}

static void on_refusal(int signal_number)
{
	(void)signal_number;
	siglongjmp(refused, 1);
}

static void against_host_cpu(void **state)
{
	struct sigaction action = {.sa_handler = on_refusal};
	const char *extent = getenv("WEIR_FUZZ");
	u32 count = extent && !strcmp(extent, "full") ? FULL_CASES : SHORT_CASES;

	(void)state;
	assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
	for (u32 n = 0; n < count; n++)
		check(n % ARRAY_SIZE(forms));
}

static void registers_may_be_refused(void **state)
{
	struct emulate_cpu cpu = cpu64;
	struct machine m = {0};
	struct insn insn;

	(void)state;
	assert_int_equal(decode_insn(&insn, (const u8 *)"\x0f\x28\x06", 3, DECODE_64), 0);
	assert_int_equal(run_emulated(&m, &insn, &cpu), 0);
	cpu.task_switched = true;
	assert_int_equal(run_emulated(&m, &insn, &cpu), EMULATE_VECTOR_NM);
	cpu.sse = false; /* CR0.EM, or CR4.OSFXSR */
	assert_int_equal(run_emulated(&m, &insn, &cpu), EMULATE_VECTOR_UD);
	assert_int_equal(decode_insn(&insn, (const u8 *)"\xdb\xe3", 2, DECODE_64), 0);
	assert_int_equal(run_emulated(&m, &insn, &cpu), EMULATE_VECTOR_NM);
	cpu.task_switched = false;
	cpu.x87_absent = true;
	assert_int_equal(run_emulated(&m, &insn, &cpu), EMULATE_VECTOR_NM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_host_cpu),
		cmocka_unit_test(registers_may_be_refused),
	};
	const char *given = getenv("WEIR_SEED");

	seed = given ? strtoull(given, NULL, 0) : 1;
	code = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
