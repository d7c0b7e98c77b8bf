/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* the registers of a signal */
#include "tests/unit/mmu/native.h"

#include "mmu/emulate.h"

#include <asm/ldt.h>
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE	      4096u
#define FLAT_CODE32   0x23 /* Linux's own selectors */
#define FLAT_DATA     0x2b
#define FLAT_CODE64   0x33
#define STORE	      0x480u /* in a page: what stores the registers */
#define STORE_LANDED  0x600u
#define BACK	      0x780u
#define SAVE	      NATIVE_OWN /* in memory: registers, then where they went, ES, flags */
#define SAVE_WHERE    (SAVE + 8 * GPR_COUNT)
#define SAVE_ES	      (SAVE_WHERE + 8)
#define SAVE_FLAGS    (SAVE_ES + 8)
#define WHERE_NEXT    1
#define WHERE_LANDED  2
#define RFLAGS_QUIET  0x202u
#define CPUID_CLFLUSH BIT(19) /* which cpuid.h has not */
#define SCRATCH	      0x800u  /* in a page: values to load, and a stack */
#define SCRATCH_FLAGS (SCRATCH + 8 * GPR_COUNT)
#define SCRATCH_OUT   (SCRATCH_FLAGS + 8)
#define SCRATCH_STACK 0xff0u

u8 *native_memory;
u64 native_ldt[NATIVE_SEGMENTS];

static u8 *pages[3]; /* by mode */
static u8 *page;     /* that is being built */
static size_t at;
static struct native_result *result;

u64 native_saved_rsp;
struct {
	u32 offset;
	u16 selector;
} __attribute__((packed)) native_far;
void native_enter(void);
void native_enter_64(void *code);
extern u8 native_back[];

__asm__(".text\n"
	"native_enter:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, native_saved_rsp(%rip)\n"
	"	ljmpl *native_far(%rip)\n"
	"native_enter_64:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, native_saved_rsp(%rip)\n"
	"	jmp *%rdi\n"
	"native_back:\n"
	"	mov native_saved_rsp(%rip), %rsp\n"
	"	push $0x202; popf\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

/* --- code --- */

static void put(const void *bytes, size_t n)
{
	memcpy(page + at, bytes, n);
	at += n;
}

#define PUT(...)                           \
	do {                               \
		u8 put_[] = {__VA_ARGS__}; \
		put(put_, sizeof(put_));   \
	} while (0)

static void put32(u32 value)
{
	put(&value, sizeof(value));
}

static void put64(u64 value)
{
	put(&value, sizeof(value));
}

static u32 address(size_t offset)
{
	return (u32)(uintptr_t)(page + offset);
}

static void put_far_jump(u32 offset, u16 selector)
{
	PUT(0xea);
	put32(offset);
	put(&selector, 2);
}

/* Flat, 32 bits: flags, segments, registers, and into the code segment. */
static void build_load_32(enum decode_mode mode, u32 offset)
{
	u16 stack = NATIVE_SELECTOR(mode == DECODE_16 ? NATIVE_STACK16 : NATIVE_STACK32);

	at = 0;
	PUT(0xb8, FLAT_DATA, 0, 0, 0, 0x8e, 0xd0, 0x8e, 0xd8);
	PUT(0xbc);
	put32(address(SCRATCH_STACK));
	PUT(0xff, 0x35);
	put32(address(SCRATCH_FLAGS));
	PUT(0x9d, 0xb8);
	put32(NATIVE_SELECTOR(NATIVE_DATA));
	PUT(0x8e, 0xd8, 0x8e, 0xc0, 0xb8);
	put32(stack);
	PUT(0x8e, 0xd0);
	for (u8 reg = 0; reg < 8; reg++) {
		PUT(0x2e, 0x8b, (u8)(reg << 3 | 5));
		put32(address(SCRATCH + 8u * reg));
	}
	put_far_jump(offset, NATIVE_SELECTOR(mode == DECODE_16 ? NATIVE_CODE16 : NATIVE_CODE32));
}

/* At the end of the instruction, or where it branches to: to flat code that stores. */
static void build_pad_32(enum decode_mode mode, size_t where, size_t store)
{
	at = where;
	if (mode == DECODE_16)
		PUT(0x66);
	put_far_jump(address(store), FLAT_CODE32);
}

static void build_store_32(size_t where, u8 landed)
{
	at = where;
	PUT(0x36, 0xc7, 0x05);
	put32(SAVE_WHERE);
	put32(landed);
	for (u8 reg = 0; reg < 8; reg++) {
		PUT(0x36, 0x89, (u8)(reg << 3 | 5));
		put32(SAVE + 8u * reg);
	}
	PUT(0x8c, 0xc0, 0x36, 0xa3);
	put32(SAVE_ES);
	PUT(0xb8, FLAT_DATA, 0, 0, 0, 0x8e, 0xd0, 0x8e, 0xd8, 0x8e, 0xc0, 0xbc);
	put32(address(SCRATCH_STACK));
	PUT(0x9c, 0x8f, 0x05);
	put32((u32)(uintptr_t)native_memory + SAVE_FLAGS);
	put_far_jump(address(BACK), FLAT_CODE64);
}

static void build_back(void)
{
	at = BACK;
	PUT(0x48, 0xb8);
	put64((u64)(uintptr_t)native_back);
	PUT(0xff, 0xe0);
}

static void build_32(enum decode_mode mode)
{
	page = pages[mode];
	build_pad_32(mode, NATIVE_SLOT_END, STORE);
	build_pad_32(mode, NATIVE_LANDING, STORE_LANDED);
	build_store_32(STORE, WHERE_NEXT);
	build_store_32(STORE_LANDED, WHERE_LANDED);
	build_back();
}

/* 64 bits: addresses below 4 GiB, by a SIB byte without a base. */
static void put_mov_64(u8 opcode, u8 reg, u32 target)
{
	PUT((u8)(0x48 | (reg >> 3) << 2), opcode, (u8)((reg & 7) << 3 | 4), 0x25);
	put32(target);
}

static void build_store_64(size_t where, u8 landed)
{
	u32 save = (u32)(uintptr_t)native_memory;

	at = where;
	PUT(0xc7, 0x04, 0x25);
	put32(save + SAVE_WHERE);
	put32(landed);
	for (u8 reg = 0; reg < GPR_COUNT; reg++)
		put_mov_64(0x89, reg, save + SAVE + 8u * reg);
	PUT(0xbc);
	put32(address(SCRATCH_STACK));
	PUT(0x9c, 0x8f, 0x04, 0x25);
	put32((u32)(uintptr_t)native_memory + SAVE_FLAGS);
	PUT(0x48, 0xb8);
	put64((u64)(uintptr_t)native_back);
	PUT(0xff, 0xe0);
}

static void build_jump(size_t where, size_t target)
{
	at = where;
	PUT(0xe9);
	put32((u32)(target - where - 5));
}

static void build_load_64(void)
{
	at = 0;
	PUT(0xbc);
	put32(address(SCRATCH_STACK));
	PUT(0xff, 0x34, 0x25);
	put32(address(SCRATCH_FLAGS));
	PUT(0x9d);
	for (u8 reg = 0; reg < GPR_COUNT; reg++)
		put_mov_64(0x8b, reg, address(SCRATCH + 8u * reg));
}

static void build_64(void)
{
	page = pages[DECODE_64];
	build_jump(NATIVE_SLOT_END, STORE);
	build_jump(NATIVE_LANDING, STORE_LANDED);
	build_store_64(STORE, WHERE_NEXT);
	build_store_64(STORE_LANDED, WHERE_LANDED);
}

/* --- exceptions --- */

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *g = uc->uc_mcontext.gregs;
	static const u8 order[GPR_COUNT] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
					    REG_RSI, REG_RDI, REG_R8,  REG_R9,	REG_R10, REG_R11,
					    REG_R12, REG_R13, REG_R14, REG_R15};

	(void)info;
	if (!result) {
		(void)!write(2, "a fault outside the instruction\n", 32);
		_exit(128 + signal_number);
	}
	for (u32 i = 0; i < GPR_COUNT; i++)
		result->gpr[i] = (u64)g[order[i]];
	result->rflags = (u64)g[REG_EFL];
	result->rip = (u64)g[REG_RIP];
	result->vector = (u8)g[REG_TRAPNO];
	result->error_code = (u16)g[REG_ERR];
	result = NULL;
	g[REG_RIP] = (greg_t)(uintptr_t)native_back;
	g[REG_EFL] = RFLAGS_QUIET;
	g[REG_CSGSFS] = (g[REG_CSGSFS] & 0x0000ffffffff0000ll) | FLAT_CODE64 |
			(greg_t)((u64)FLAT_DATA << 48);
}

static int catch_faults(void)
{
	static u8 stack[64 * 1024];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_ONSTACK | SA_SIGINFO};

	return sigaltstack(&alternate, NULL) | sigaction(SIGSEGV, &action, NULL) |
	       sigaction(SIGILL, &action, NULL) | sigaction(SIGBUS, &action, NULL) |
	       sigaction(SIGFPE, &action, NULL) | sigaction(SIGTRAP, &action, NULL);
}

/* --- segments --- */

static int set_segment(enum native_segment n, void *base, u32 limit, bool wide, u32 contents,
		       bool readonly, bool absent)
{
	struct user_desc d = {
		.entry_number = n,
		.base_addr = (u32)(uintptr_t)base,
		.limit = limit,
		.seg_32bit = wide,
		.contents = contents,
		.read_exec_only = readonly,
		.seg_not_present = absent,
		.limit_in_pages = n == NATIVE_EXECUTE_ONLY,
		.useable = 1,
	};

	return (int)syscall(SYS_modify_ldt, 1, &d, sizeof(d));
}

static int make_segments(void)
{
	u8 *m = native_memory;
	int err = set_segment(NATIVE_CODE16, pages[DECODE_16], NATIVE_CODE_LIMIT, false, 2, false,
			      false);

	err |= set_segment(NATIVE_CODE32, pages[DECODE_32], NATIVE_CODE_LIMIT, true, 2, false,
			   false);
	err |= set_segment(NATIVE_DATA, m, NATIVE_DATA_LIMIT, true, 0, false, false);
	err |= set_segment(NATIVE_STACK16, m, NATIVE_MEMORY - 1, false, 0, false, false);
	err |= set_segment(NATIVE_STACK32, m, NATIVE_MEMORY - 1, true, 0, false, false);
	err |= set_segment(NATIVE_DATA_SMALL, m, 0x7fff, true, 0, false, false);
	err |= set_segment(NATIVE_DATA_READONLY, m, NATIVE_DATA_LIMIT, true, 0, true, false);
	err |= set_segment(NATIVE_NOT_PRESENT, m, NATIVE_DATA_LIMIT, true, 0, false, true);
	err |= set_segment(NATIVE_EXECUTE_ONLY, pages[DECODE_32], NATIVE_CODE_LIMIT >> 12, true, 2,
			   true, false);
	return err;
}

/*
 * All of it at once: at the first touch of a page the host would begin the instruction again, and
 * ENTER may then read what it has just written.
 */
static void *map(size_t size, int more)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE | more,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

int native_init(void)
{
	native_memory = map(NATIVE_MEMORY, 0);
	for (u32 i = 0; i < 3; i++)
		pages[i] = map(PAGE, PROT_EXEC);
	if (make_segments() ||
	    syscall(SYS_modify_ldt, 0, native_ldt, sizeof(native_ldt)) != sizeof(native_ldt))
		return -1;
	build_32(DECODE_16);
	build_32(DECODE_32);
	build_64();
	return catch_faults();
}

bool native_has(u32 feature)
{
	u32 a, b1 = 0, c1 = 0, d1 = 0, b7 = 0, c81 = 0, unused;

	__get_cpuid(1, &a, &b1, &c1, &d1);
	__get_cpuid_count(7, 0, &a, &b7, &unused, &unused);
	__get_cpuid(0x80000001, &a, &unused, &c81, &unused);
	switch (feature) {
	case FEATURE_POPCNT:
		return c1 & bit_POPCNT;
	case FEATURE_LZCNT:
		return c81 & bit_LZCNT;
	case FEATURE_BMI1:
		return b7 & bit_BMI;
	case FEATURE_CLFLUSH:
		return d1 & CPUID_CLFLUSH;
	default:
		return false;
	}
}

u64 native_code_base(enum decode_mode mode)
{
	return mode == DECODE_64 ? 0 : (u64)(uintptr_t)pages[mode];
}

u64 native_rip(enum decode_mode mode, size_t length)
{
	return (u64)(uintptr_t)pages[mode] - native_code_base(mode) + NATIVE_SLOT_END - length;
}

static void collect(enum decode_mode mode, struct native_result *out)
{
	u32 where;
	u64 base = (u64)(uintptr_t)pages[mode] - native_code_base(mode);

	memcpy(out->gpr, native_memory + SAVE, sizeof(out->gpr));
	memcpy(&out->rflags, native_memory + SAVE_FLAGS, sizeof(out->rflags));
	memcpy(&where, native_memory + SAVE_WHERE, sizeof(where));
	memcpy(&out->es, native_memory + SAVE_ES, sizeof(out->es));
	out->rip = base + (where == WHERE_LANDED ? NATIVE_LANDING : NATIVE_SLOT_END);
	out->vector = NATIVE_NO_VECTOR;
}

/* The jump into the instruction ends the load code. */
static void aim_load(enum decode_mode mode, size_t length)
{
	u32 offset = (u32)(NATIVE_SLOT_END - length);

	page = pages[mode];
	if (mode == DECODE_64) {
		build_load_64();
		build_jump(at, offset);
	} else {
		build_load_32(mode, offset);
	}
}

void native_run(enum decode_mode mode, const u8 *bytes, size_t length, const u64 gpr[GPR_COUNT],
		u64 rflags, struct native_result *out)
{
	aim_load(mode, length);
	memcpy(page + NATIVE_SLOT_END - length, bytes, length);
	memcpy(page + SCRATCH, gpr, 8 * GPR_COUNT);
	memcpy(page + SCRATCH_FLAGS, &rflags, sizeof(rflags));
	out->vector = NATIVE_NO_VECTOR;
	result = out;
	if (mode == DECODE_64) {
		native_enter_64(page);
	} else {
		native_far.offset = address(0);
		native_far.selector = FLAT_CODE32;
		native_enter();
	}
	if (result)
		collect(mode, out);
	result = NULL;
}
