/* SPDX-License-Identifier: MIT */
/*
 * Runs random instructions both on this machine's CPU and through mmu/emulate, and compares
 * registers, flags and memory. The instruction sits in a page of its own between code that loads
 * every register from memory and code that stores them, so that all sixteen may be used.
 *
 * Flags that the manual leaves undefined are not compared: AF after logic; OF, SF, AF and PF after
 * BT and its like.
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
#include <unistd.h>
#include <cpuid.h>

#include <cmocka.h>

#include "kernel/base/error.h"
#include "mmu/emulate.h"
#include "tests/hosted/random.h"

#define CASES	     500000u
#define MEMORY_SIZE  8192u
#define STATUS_FLAGS 0x8d5ull /* CF PF AF ZF SF OF */
#define FLAG_AF	     0x10ull
#define FLAGS_BIT    0x41ull /* what BT leaves defined: CF, and ZF unchanged */
#define FLAG_DF	     0x400ull

/* In one page with the code that uses it, which addresses it relative to RIP. */
struct native_state {
	u64 gpr[GPR_COUNT];
	u64 rflags;
	u64 stack;
};

struct native_page {
	u8 code[1024];
	struct native_state in, out;
};

static struct native_page *page;
static u8 *memory;		 /* the host CPU's */
static u8 emulated[MEMORY_SIZE]; /* the emulator's, of the same contents */
static size_t slot_end;		 /* page->code[slot_end - length]: the instruction */

static u64 seed = 0x1234;

/* ---- the native half ---- */

static size_t put(size_t at, const void *bytes, size_t n)
{
	memcpy(page->code + at, bytes, n);
	return at + n;
}

/* An instruction that ends in a 32-bit displacement from RIP, which is to reach `target`. */
static size_t put_relative(size_t at, const void *bytes, size_t n, const void *target)
{
	s32 disp;

	at = put(at, bytes, n);
	disp = (s32)((const u8 *)target - (page->code + at + 4));
	return put(at, &disp, 4);
}

/* MOV between a register and memory: 8B loads, 89 stores. */
static size_t put_mov(size_t at, u8 opcode, unsigned int reg, const void *target)
{
	u8 bytes[3] = {(u8)(0x48 | (reg >> 3) << 2), opcode, (u8)((reg & 7) << 3 | 5)};

	return put_relative(at, bytes, 3, target);
}

static void build_page(void)
{
	static const u8 save[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x9c};
	static const u8 restore[] = {0x9d, 0x41, 0x5f, 0x41, 0x5e, 0x41,
				     0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3};
	static const u8 push[] = {0xff, 0x35}, popf[] = {0x9d}, pushf[] = {0x9c},
			pop[] = {0x8f, 0x05};
	size_t at = put(0, save, sizeof(save));

	at = put_mov(at, 0x89, RSP, &page->in.stack);
	at = put_relative(at, push, 2, &page->in.rflags);
	at = put(at, popf, 1);
	for (unsigned int reg = 0; reg < GPR_COUNT; reg++)
		at = put_mov(at, 0x8b, reg, &page->in.gpr[reg]);
	at += INSN_MAX_LENGTH;
	slot_end = at;
	for (unsigned int reg = 0; reg < GPR_COUNT; reg++)
		at = put_mov(at, 0x89, reg, &page->out.gpr[reg]);
	at = put_mov(at, 0x8b, RSP, &page->in.stack);
	at = put(at, pushf, 1);
	at = put_relative(at, pop, 2, &page->out.rflags);
	at = put(at, restore, sizeof(restore));
	assert_true(at <= sizeof(page->code));
}

static void run_native(const u8 *bytes, size_t length, const struct guest_regs *regs)
{
	u8 *slot = page->code + slot_end - INSN_MAX_LENGTH;
	void (*run)(void);

	memset(slot, 0x90, INSN_MAX_LENGTH - length);
	memcpy(page->code + slot_end - length, bytes, length);
	memcpy(page->in.gpr, regs->gpr, sizeof(regs->gpr));
	page->in.rflags = regs->rflags;
	memcpy(&run, &(void *){page->code}, sizeof(run));
	run();
}

/* ---- the emulated half ---- */

static struct emulate_cpu flat = {.protected_mode = true, .linear_bits = 48};

static void check_atomic(const struct emulate *e)
{
	const struct insn *insn = e->insn;
	bool exchange = insn->kind == INSN_XCHG && insn->mem.present;

	assert_int_equal(e->atomic, insn->lock || exchange);
}

/* One instruction, or one iteration of it. */
static void run_emulated(const struct insn *insn, struct guest_regs *regs)
{
	struct guest_regs before = *regs;
	struct emulate e;

	emulate_start(&e, insn, regs, &flat);
	for (unsigned int steps = 0; steps < 4; steps++) {
		enum emulate_step step = emulate_next(&e);
		u64 at = e.gva - (u64)memory;

		if (step == EMULATE_DONE)
			return;
		assert_memory_equal(regs, &before, sizeof(before));
		assert_true(step == EMULATE_READ || step == EMULATE_WRITE);
		assert_true(at < MEMORY_SIZE && at + e.size <= MEMORY_SIZE);
		if (step == EMULATE_READ) {
			e.value = random_next(&seed); /* bytes beyond `size` must not count */
			memcpy(&e.value, emulated + at, e.size);
		} else {
			memcpy(emulated + at, &e.value, e.size);
		}
		check_atomic(&e);
	}
	fail_msg("no end after four steps");
}

/* ---- cases ---- */

struct form {
	u8 map; /* 0: one byte, 1: 0F, 2: 0F38 */
	u8 opcode;
	s8 extension;	 /* ModRM.reg, or ANY_REG */
	u8 alternatives; /* so many opcodes from this one on */
};

#define ANY_REG (-1)

static const struct form forms[] = {
	{0, 0x00, ANY_REG, 6},	{0, 0x08, ANY_REG, 6}, {0, 0x10, ANY_REG, 6},
	{0, 0x18, ANY_REG, 6},	{0, 0x20, ANY_REG, 6}, {0, 0x28, ANY_REG, 6},
	{0, 0x30, ANY_REG, 6},	{0, 0x38, ANY_REG, 6}, {0, 0x50, ANY_REG, 16},
	{0, 0x63, ANY_REG, 1},	{0, 0x68, ANY_REG, 1}, {0, 0x6a, ANY_REG, 1},
	{0, 0x80, ANY_REG, 2},	{0, 0x83, ANY_REG, 1}, {0, 0x84, ANY_REG, 8},
	{0, 0x8f, 0, 1},	{0, 0x91, ANY_REG, 7}, {0, 0xa0, ANY_REG, 16},
	{0, 0xb0, ANY_REG, 16}, {0, 0xc6, 0, 2},       {0, 0xf6, 0, 2},
	{0, 0xf6, 2, 2},	{0, 0xf6, 3, 2},       {0, 0xfe, 0, 2},
	{0, 0xfe, 1, 2},	{0, 0xff, 6, 1},       {1, 0xa3, ANY_REG, 1},
	{1, 0xab, ANY_REG, 1},	{1, 0xb0, ANY_REG, 2}, {1, 0xb3, ANY_REG, 1},
	{1, 0xb6, ANY_REG, 2},	{1, 0xba, 4, 1},       {1, 0xba, 5, 1},
	{1, 0xba, 6, 1},	{1, 0xba, 7, 1},       {1, 0xbb, ANY_REG, 1},
	{1, 0xbe, ANY_REG, 2},	{1, 0xc0, ANY_REG, 2}, {1, 0xc7, 1, 1},
	{2, 0xf0, ANY_REG, 2},	{1, 0xa0, ANY_REG, 1}, {1, 0xa8, ANY_REG, 1},
};

struct test_case {
	u8 bytes[24];
	struct insn insn;
	struct guest_regs regs;
	bool moffs;
};

static void generate_bytes(struct test_case *c)
{
	const struct form *form = &forms[random_below(&seed, ARRAY_SIZE(forms))];
	size_t at = 0;
	u8 modrm;

	for (size_t i = 0; i < sizeof(c->bytes); i++)
		c->bytes[i] = (u8)random_next(&seed);
	if (!random_below(&seed, 4))
		c->bytes[at++] = 0x66;
	if (!random_below(&seed, 8))
		c->bytes[at++] = 0x67;
	if (!random_below(&seed, 8))
		c->bytes[at++] = 0xf0;
	if (!random_below(&seed, 4) && form->map == 0)
		c->bytes[at++] = random_below(&seed, 2) ? 0xf2 : 0xf3;
	if (random_below(&seed, 2))
		c->bytes[at++] = 0x40 | (u8)random_below(&seed, 16);
	if (form->map > 0)
		c->bytes[at++] = 0x0f;
	if (form->map > 1)
		c->bytes[at++] = 0x38;
	c->bytes[at] = form->opcode + (u8)random_below(&seed, form->alternatives);
	c->moffs = form->map == 0 && (c->bytes[at] & 0xfc) == 0xa0;
	at++;
	modrm = (u8)random_next(&seed);
	if (form->extension != ANY_REG)
		modrm = (u8)((modrm & 0xc7) | form->extension << 3);
	c->bytes[at] = modrm;
}

static bool is_string(const struct insn *insn)
{
	return insn->kind >= INSN_MOVS && insn->kind <= INSN_OUTS;
}

static bool is_stack(const struct insn *insn)
{
	return insn->kind == INSN_PUSH || insn->kind == INSN_POP || insn->kind == INSN_PUSH_SEG;
}

static bool is_bit(const struct insn *insn)
{
	return insn->kind >= INSN_BT && insn->kind <= INSN_BTC;
}

/* Somewhere in memory with room on both sides. */
static u64 random_target(void)
{
	return (u64)memory + MEMORY_SIZE / 2 - 64 + random_below(&seed, 128);
}

/* With a 32-bit address size the upper half must not count. */
static void set_address(const struct insn *insn, u64 *reg, u64 value)
{
	*reg = insn->addr_size == 4 ? (u32)value | random_next(&seed) << 32 : value;
}

/* Put `value` where the instruction has its displacement, right before the immediate. */
static void patch_disp(struct test_case *c, unsigned int size, u64 value)
{
	memcpy(c->bytes + c->insn.length - c->insn.imm_size - size, &value, size);
	c->insn.mem.disp = (s64)value;
}

/* Make the memory operand's address `target`; false if this form does not let it be chosen. */
static bool aim(struct test_case *c, u64 target)
{
	struct insn *insn = &c->insn;
	struct insn_memory *mem = &insn->mem;
	u64 *gpr = c->regs.gpr;
	u64 index;

	if (insn->dst.kind == OPERAND_MEM && insn->src.kind == OPERAND_REG && is_bit(insn)) {
		/* The bit number reaches up to a quarter of the memory away. */
		s64 bit = (s64)random_below(&seed, MEMORY_SIZE * 4) - MEMORY_SIZE * 2;

		if (insn->src.reg == mem->base || insn->src.reg == mem->index)
			return false;
		gpr[insn->src.reg] = insn->op_size == 8 ? (u64)bit
							: (random_next(&seed) << 32 | (u32)bit);
	}
	if (c->moffs) {
		patch_disp(c, insn->addr_size, target);
		return true;
	}
	if (mem->base == INSN_REG_RIP) {
		patch_disp(c, 4, target - c->regs.rip - insn->length);
		return true;
	}
	if (mem->base == INSN_REG_NONE) {
		index = random_below(&seed, 1024);
		if (mem->index != INSN_REG_NONE)
			set_address(insn, &gpr[mem->index], index);
		patch_disp(c, 4, target - index * mem->scale);
		return true;
	}
	if (mem->base == mem->index)
		return false;
	index = mem->index == INSN_REG_NONE ? 0 : gpr[mem->index] * mem->scale;
	set_address(insn, &gpr[mem->base], target - (u64)mem->disp - index);
	return true;
}

/* RSP must point into memory, also where the operand's address is made with it. */
static bool prepare_stack(struct test_case *c)
{
	const struct insn_memory *mem = &c->insn.mem;

	if (!mem->present || mem->base != RSP)
		c->regs.gpr[RSP] = random_target();
	else if (mem->disp < -1024 || mem->disp > 1024 || c->insn.addr_size != 8)
		return false;
	return !mem->present || mem->base != RSP || mem->index == INSN_REG_NONE;
}

/* Registers, flags and memory for the instruction; false if it is not one to run. */
static bool prepare(struct test_case *c)
{
	struct insn *insn = &c->insn;
	u64 *gpr = c->regs.gpr;
	u64 target = random_target();
	u64 word;

	for (unsigned int i = 0; i < GPR_COUNT; i++)
		gpr[i] = random_below(&seed, 4) ? random_next(&seed)
						: (u64)(s64)(s8)random_next(&seed);
	c->regs.rip = (u64)page->code + slot_end - insn->length;
	c->regs.rflags = 0x202 | (random_next(&seed) & STATUS_FLAGS);
	if (is_string(insn)) {
		c->regs.rflags |= random_below(&seed, 2) ? FLAG_DF : 0;
		set_address(insn, &gpr[RSI], target);
		set_address(insn, &gpr[RDI], random_target());
		gpr[RCX] = random_below(&seed, 8);
	} else if (insn->mem.present && !aim(c, target)) {
		return false;
	}
	if (is_stack(insn) && !prepare_stack(c))
		return false;
	for (size_t i = 0; i < MEMORY_SIZE / 2; i += 1024 + random_below(&seed, 1024))
		memory[MEMORY_SIZE / 4 + i] = (u8)random_next(&seed);
	/* Let comparisons come out equal now and then. */
	word = random_below(&seed, 2) ? random_next(&seed) : gpr[RAX];
	if (insn->kind == INSN_CMPXCHG8B && random_below(&seed, 2))
		word = gpr[RDX] << 32 | (u32)gpr[RAX];
	memcpy((void *)target, &word, sizeof(word));
	memcpy(emulated, memory, MEMORY_SIZE);
	return true;
}

static u64 compared_flags(const struct insn *insn)
{
	switch (insn->kind) {
	case INSN_AND:
	case INSN_OR:
	case INSN_XOR:
	case INSN_TEST:
		return STATUS_FLAGS & ~FLAG_AF;
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return FLAGS_BIT;
	default:
		return STATUS_FLAGS;
	}
}

static void report(const struct test_case *c, const char *what)
{
	print_error("%s differs (kind %u):", what, c->insn.kind);
	for (size_t i = 0; i < c->insn.length; i++)
		print_error(" %02x", c->bytes[i]);
	print_error("\n");
}

static void compare_results(const struct test_case *c, const struct guest_regs *got)
{
	u64 flags = (got->rflags ^ page->out.rflags) & compared_flags(&c->insn);

	for (unsigned int i = 0; i < GPR_COUNT; i++) {
		if (got->gpr[i] == page->out.gpr[i])
			continue;
		report(c, "register");
		print_error("register %u: was %llx, native %llx, emulated %llx\n", i,
			    (unsigned long long)c->regs.gpr[i],
			    (unsigned long long)page->out.gpr[i], (unsigned long long)got->gpr[i]);
		fail();
	}
	if (flags) {
		report(c, "flags");
		print_error("native %llx, emulated %llx\n", (unsigned long long)page->out.rflags,
			    (unsigned long long)got->rflags);
		fail();
	}
	if (memcmp(memory, emulated, MEMORY_SIZE)) {
		report(c, "memory");
		fail();
	}
	assert_int_equal(got->rip, c->regs.rip + c->insn.length);
}

static bool has_movbe(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_MOVBE);
}

static bool is_intel(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx;
}

/* REP with a count of 0 and 32-bit addresses: what becomes of the upper halves is Intel's way. */
static bool is_vendors(const struct test_case *c)
{
	return is_string(&c->insn) && c->insn.repeat != REPEAT_NONE && c->insn.addr_size == 4 &&
	       (u32)c->regs.gpr[RCX] == 0;
}

static bool usable(const struct insn *insn, bool movbe)
{
	if (insn->kind == INSN_OTHER || insn->kind == INSN_OUTS || insn->kind == INSN_INS)
		return false;
	if (insn->kind == INSN_CMPXCHG8B && insn->op_size == 8)
		return false;
	if (insn->kind == INSN_MOVBE && !movbe)
		return false;
	/* Does a failing CMPXCHG r32, r32 clear its destination's upper half? Not documented. */
	if (insn->kind == INSN_CMPXCHG && !insn->mem.present && insn->op_size == 4)
		return false;
	/* MOVSXD r16: AMD's CPUs read a dword where Intel's read a word. */
	return insn->kind != INSN_MOVSX || insn->src_size != insn->op_size;
}

static const struct test_case *running;

/* The instruction faulted, most likely with RSP in use as anything but a stack pointer. */
static void on_fault(int signal_number)
{
	report(running, "the host CPU faulted: no result");
	_exit(128 + signal_number);
}

static int catch_faults(void)
{
	static u8 stack[64 * 1024];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};

	return sigaltstack(&alternate, NULL) | sigaction(SIGSEGV, &action, NULL) |
	       sigaction(SIGILL, &action, NULL) | sigaction(SIGBUS, &action, NULL);
}

static void run_case(struct test_case *c)
{
	struct guest_regs regs = c->regs;

	running = c;
	run_native(c->bytes, c->insn.length, &c->regs);
	for (unsigned int i = 0; i < 10 && regs.rip == c->regs.rip; i++)
		run_emulated(&c->insn, &regs);
	compare_results(c, &regs);
}

static void test_against_host_cpu(void **state)
{
	bool movbe = has_movbe(), intel = is_intel();
	unsigned int done[INSN_KIND_COUNT] = {0};
	struct test_case c;

	(void)state;
	assert_int_equal(catch_faults(), 0); /* here: cmocka sets its own before each test */
	for (unsigned int n = 0; n < CASES;) {
		generate_bytes(&c);
		if (decode_insn(&c.insn, c.bytes, sizeof(c.bytes), DECODE_64) ||
		    !usable(&c.insn, movbe) || !prepare(&c) || (!intel && is_vendors(&c)))
			continue;
		run_case(&c);
		done[c.insn.kind]++;
		n++;
	}
	for (unsigned int kind = INSN_ADD; kind <= INSN_SCAS; kind++)
		if (kind != INSN_MOVBE || movbe)
			assert_true(done[kind] > CASES / 1000);
	assert_true(done[INSN_PUSH_SEG] > CASES / 1000);
}

static int map_pages(void **state)
{
	u16 *fs = &flat.segment[SEGMENT_FS].selector, *gs = &flat.segment[SEGMENT_GS].selector;
	int prot = PROT_READ | PROT_WRITE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;

	(void)state;
	page = mmap(NULL, sizeof(*page), prot | PROT_EXEC, flags, -1, 0);
	memory = mmap(NULL, MEMORY_SIZE, prot, flags, -1, 0);
	if (page == MAP_FAILED || memory == MAP_FAILED)
		return -1;
	build_page();
	__asm__("mov %%fs, %0\n\tmov %%gs, %1" : "=m"(*fs), "=m"(*gs));
	return 0;
}

static int unmap_pages(void **state)
{
	(void)state;
	return munmap(page, sizeof(*page)) | munmap(memory, MEMORY_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_host_cpu),
	};

	return cmocka_run_group_tests(tests, map_pages, unmap_pages);
}
