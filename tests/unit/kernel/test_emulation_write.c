/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/emulation.c kernel/emulation_access.c kernel/emulation_machine.c @emulate */
/* unit-cflags: -ftrivial-auto-var-init=pattern */
/*
 * An instruction in software of which a page fault has translated one write: that one goes where the
 * fault found, and of all others the guest's tables are asked. Where the fault found it is not where the
 * tables say by now, so that each shows by whom it was translated.
 */
#include "tests/unit/kernel/emulation_run.h"

#define FOUND	 0x2000ull /* the page */
#define AT	 (DATA + 0x48)
#define FOUND_AT (FOUND + 0x48)
/* of 16 bytes */
#define WIDE	   (DATA + 0x50)
#define FOUND_WIDE (FOUND + 0x50)

#define WRITE(gva, ...) run_write(gva, (const u8[]){__VA_ARGS__}, sizeof((u8[]){__VA_ARGS__}))

/* The fault was at gva. */
static int run_write(u64 gva, const u8 *code, size_t length)
{
	struct vmx_table_write w = {GVA(gva), GPA(FOUND + (gva & (PAGE_SIZE - 1))), {0}};

	vmx_get_paging(cpu.vmx, &w.paging);
	cpl = 0; /* it counts what it was at the fault */
	memcpy(memory + regs.rip, code, length);
	walks = 0;
	return vcpu_emulate_write(&cpu, &w);
}

static void the_write_itself(void **state)
{
	u64 before = load(AT, 8), found = load(FOUND_AT, 8);

	regs.gpr[RBX] = AT;
	regs.gpr[RAX] = 0x1122334455667788;
	assert_int_equal(WRITE(AT, 0x48, 0x89, 0x03), 0); /* mov %rax, (%rbx) */
	check_done(CODE + 3);
	assert_true(load(FOUND_AT, 8) == 0x1122334455667788 && load(AT, 8) == before);
	assert_int_equal(walks, 0);
	/* What is modified is read there, too. */
	start(NULL);
	regs.gpr[RBX] = AT;
	regs.gpr[RAX] = 5;
	assert_int_equal(WRITE(AT, 0xf0, 0x48, 0x0f, 0xc1, 0x03), 0); /* lock xadd %rax, (%rbx) */
	check_done(CODE + 5);
	assert_true(regs.gpr[RAX] == found && load(FOUND_AT, 8) == found + 5);
	assert_true(load(AT, 8) == before && walks == 0);
	/* At another of its bytes the CPU may tell. */
	start(NULL);
	regs.gpr[RBX] = AT;
	regs.gpr[RAX] = 7;
	assert_int_equal(WRITE(AT + 3, 0x89, 0x03), 0); /* mov %eax, (%rbx) */
	check_done(CODE + 2);
	assert_true(load(FOUND_AT, 4) == 7 && walks == 0);
}

static void others_by_the_tables(void **state)
{
	static const s64 off[] = {-8, 8, PAGE_SIZE, -(s64)PAGE_SIZE + 0x800};
	u8 found[PAGE_SIZE];

	for (u32 i = 0; i < ARRAY_SIZE(off); i++) {
		start(NULL);
		memcpy(found, memory + FOUND, PAGE_SIZE);
		regs.gpr[RBX] = AT;
		regs.gpr[RAX] = ~0ull;
		assert_int_equal(WRITE(AT + (u64)off[i], 0x48, 0x89, 0x03), 0);
		check_done(CODE + 3);
		assert_true(load(AT, 8) == ~0ull && walks == 1);
		assert_memory_equal(memory + FOUND, found, PAGE_SIZE);
	}
	/* A read, though it is at the same address. */
	start(NULL);
	regs.gpr[RBX] = AT;
	assert_int_equal(WRITE(AT, 0x48, 0x8b, 0x03), 0); /* mov (%rbx), %rax */
	check_done(CODE + 3);
	assert_true(regs.gpr[RAX] == load(AT, 8) && walks == 1);
	/* The rights are those that the tables give. */
	start(NULL);
	regs.gpr[RBX] = READ_ONLY + 0x48;
	assert_int_equal(WRITE(AT, 0x48, 0x89, 0x03), 0);
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, READ_ONLY + 0x48);
}

/* Of an operand in two pages one had the fault. */
static void a_page_of_two(void **state)
{
	u64 edge = DATA + PAGE_SIZE, after = load(FOUND, 2);

	regs.gpr[RBX] = DATA + 2 * PAGE_SIZE - 2;
	regs.gpr[RAX] = 0xaabbccdd;
	assert_int_equal(WRITE(DATA + 2 * PAGE_SIZE, 0x89, 0x03), 0); /* mov %eax, (%rbx) */
	check_done(CODE + 2);
	assert_int_equal(load(DATA + 2 * PAGE_SIZE - 2, 2), 0xccdd);
	assert_int_equal(load(FOUND, 2), 0xaabb);
	assert_int_equal(walks, 1);

	start(NULL);
	after = load(edge, 2);
	regs.gpr[RBX] = edge - 2;
	regs.gpr[RAX] = 0xaabbccdd;
	assert_int_equal(WRITE(edge - 2, 0x89, 0x03), 0);
	check_done(CODE + 2);
	assert_int_equal(load(FOUND + PAGE_SIZE - 2, 2), 0xccdd);
	assert_int_equal(load(edge, 2), 0xaabb);
	assert_true(after != 0xaabb && walks == 1);
}

/* An access of 16 bytes, which is done in pieces: a page's are where that page was looked up to be, once. */
static void sixteen_bytes(void **state)
{
	static const u8 stores[][4] = {
		{0x0f, 0x11, 0x03},	  /* movups %xmm0, (%rbx) */
		{0xf3, 0x0f, 0x7f, 0x03}, /* movdqu */
		{0x0f, 0x29, 0x03},	  /* movaps */
		{0x0f, 0x2b, 0x03},	  /* movntps */
	};
	static const u32 told[] = {0, 3, 8, 15};
	u8 page[PAGE_SIZE];

	for (u32 i = 0; i < ARRAY_SIZE(stores) * ARRAY_SIZE(told); i++) {
		const u8 *code = stores[i / ARRAY_SIZE(told)];
		u32 length = code[0] == 0xf3 ? 4 : 3;

		start(NULL);
		memcpy(page, memory + DATA, PAGE_SIZE);
		memcpy(xmm[0], "0123456789abcdef", 16);
		regs.gpr[RBX] = WIDE;
		assert_int_equal(run_write(WIDE + told[i % ARRAY_SIZE(told)], code, length), 0);
		check_done(CODE + length);
		assert_memory_equal(memory + FOUND_WIDE, xmm[0], 16);
		assert_memory_equal(memory + DATA, page, PAGE_SIZE);
		assert_int_equal(walks, 0);
	}
	/* Not aligned, the fault in the piece that is second, and next to it. */
	start(NULL);
	regs.gpr[RBX] = WIDE + 4;
	assert_int_equal(WRITE(WIDE + 4 + 15, 0x0f, 0x11, 0x03), 0);
	check_done(CODE + 3);
	assert_memory_equal(memory + FOUND_WIDE + 4, xmm[0], 16);
	assert_int_equal(walks, 0);
	for (u32 i = 0; i < 2; i++) {
		start(NULL);
		regs.gpr[RBX] = WIDE;
		assert_int_equal(WRITE(i ? WIDE + 16 : WIDE - 1, 0x0f, 0x11, 0x03), 0);
		check_done(CODE + 3);
		assert_memory_equal(memory + WIDE, xmm[0], 16);
		assert_int_equal(walks, 1);
	}
	/* A read is not what was refused: the tables are asked, once. */
	start(NULL);
	regs.gpr[RBX] = WIDE;
	assert_int_equal(WRITE(WIDE + 8, 0x0f, 0x10, 0x03), 0); /* movups (%rbx), %xmm0 */
	check_done(CODE + 3);
	assert_memory_equal(xmm[0], memory + WIDE, 16);
	assert_int_equal(walks, 1);
}

/* From its first byte to the edge, and beyond it; told is the distance of the fault from the first. */
static void sixteen_in_two_pages(void **state)
{
	static const u32 befores[] = {1, 4, 8, 12, 15};
	static const char text[] = "0123456789abcdef";

	for (u32 i = 0; i < 16 * ARRAY_SIZE(befores); i++) {
		u32 told = i % 16, before = befores[i / 16], after = 16 - before;
		bool first = told < before;
		/* The page that has the fault is not FOUND, whose bytes would be the same by the tables. */
		u64 edge = first ? DATA + PAGE_SIZE : DATA + 2 * PAGE_SIZE, at = edge - before;
		u64 where = first ? FOUND + PAGE_SIZE - before : FOUND;
		u8 was[16];

		start(NULL);
		memcpy(was, memory + at, 16);
		memcpy(xmm[0], text, 16);
		regs.gpr[RBX] = at;
		assert_int_equal(WRITE(at + told, 0x0f, 0x11, 0x03), 0); /* movups %xmm0, (%rbx) */
		check_done(CODE + 3);
		assert_memory_equal(memory + where, first ? text : text + before,
				    first ? before : after);
		assert_memory_equal(first ? memory + edge : memory + at,
				    first ? text + before : text, first ? after : before);
		assert_memory_equal(first ? memory + at : memory + edge, first ? was : was + before,
				    first ? before : after);
		assert_int_equal(walks, 1);
		/* The same read. */
		start(NULL);
		regs.gpr[RBX] = at;
		assert_int_equal(WRITE(at + told, 0x0f, 0x10, 0x03), 0);
		check_done(CODE + 3);
		assert_memory_equal(xmm[0], was, 16);
		assert_int_equal(walks, 2);
	}
}

/* CMPXCHG16B reads in pieces and writes in one. */
static void an_exchange_of_sixteen(void **state)
{
	static const u32 told[] = {0, 8};
	u8 page[PAGE_SIZE];

	for (u32 i = 0; i < ARRAY_SIZE(told); i++) {
		start(NULL);
		memcpy(page, memory + DATA, PAGE_SIZE);
		regs.gpr[RSI] = WIDE;
		regs.gpr[RAX] = load(FOUND_WIDE, 8);
		regs.gpr[RDX] = load(FOUND_WIDE + 8, 8);
		regs.gpr[RBX] = 0x1111;
		regs.gpr[RCX] = 0x2222;
		assert_int_equal(WRITE(WIDE + told[i], 0xf0, 0x48, 0x0f, 0xc7, 0x0e), 0);
		check_done(CODE + 5);
		assert_true(load(FOUND_WIDE, 8) == 0x1111 && load(FOUND_WIDE + 8, 8) == 0x2222);
		assert_memory_equal(memory + DATA, page, PAGE_SIZE);
		assert_int_equal(walks, 0);
	}
}

/* One operand of two, and one iteration of many. */
static void one_of_several(void **state)
{
	u64 source = load(DATA + 0x800, 8), behind = load(AT + 8, 8);

	regs.gpr[RSI] = DATA + 0x800;
	regs.gpr[RDI] = AT;
	assert_int_equal(WRITE(AT, 0x48, 0xa5), 0); /* movsq */
	check_done(CODE + 2);
	assert_true(load(FOUND_AT, 8) == source && walks == 1);
	/* Also where it is read, and then written, at one address. */
	start(NULL);
	regs.gpr[RSI] = regs.gpr[RDI] = AT;
	source = load(AT, 8);
	assert_int_equal(WRITE(AT, 0x48, 0xa5), 0);
	check_done(CODE + 2);
	assert_true(load(FOUND_AT, 8) == source && walks == 1);

	start(NULL);
	regs.gpr[RDI] = AT;
	regs.gpr[RCX] = 3;
	regs.gpr[RAX] = ~behind;
	assert_int_equal(WRITE(AT, 0xf3, 0x48, 0xab), 0); /* rep stosq */
	assert_true(regs.rip == CODE + 3 && completed == 3 && walks == 2);
	assert_true(load(FOUND_AT, 8) == ~behind && load(AT + 8, 8) == ~behind);
	/* The CPU has been refused no write but the first. */
	start(NULL);
	regs.gpr[RDI] = AT;
	regs.gpr[RCX] = 3;
	assert_int_equal(WRITE(AT + 8, 0xf3, 0x48, 0xab), 0);
	assert_true(completed == 3 && walks == 3 && load(AT + 8, 8) == 0);
	/* Looked at before the port is read, and then written. */
	start(NULL);
	regs.gpr[RDI] = AT;
	behind = load(AT, 1);
	assert_int_equal(WRITE(AT, 0x6c), 0); /* insb */
	check_done(CODE + 1);
	assert_true(load(FOUND_AT, 1) == 0x11 && load(AT, 1) == behind && walks == 0);
	/* The next instruction is another. */
	start(NULL);
	regs.gpr[RBX] = AT;
	regs.gpr[RAX] = 9;
	assert_int_equal(RUN(0, 0x89, 0x03), 0);
	assert_int_equal(load(AT, 4), 9);
}

/* In the state that the fault was in. */
static void a_protected_page(void **state)
{
	static const u32 cpls[] = {0, 3};

	for (u32 i = 0; i < ARRAY_SIZE(cpls); i++) {
		start(NULL);
		cpl = cpls[i];
		protected_page = FOUND;
		regs.gpr[RBX] = AT;
		assert_int_equal(WRITE(AT, 0x89, 0x03), 0);
		check_fault(EXCEPTION_PF,
			    PAGE_FAULT_P | PAGE_FAULT_WR | (cpls[i] ? PAGE_FAULT_US : 0), AT);
		assert_int_equal(walks, 0);
	}
}

#define GDT	    0x3000ull
#define SEL_DATA    8
#define DESCRIPTOR  (GDT + SEL_DATA)
#define FLAT	    0x00cf92000000ffffull /* data, not accessed */
#define FLAT_CODE32 0xc09b
#define FLAT_DATA32 0xc093

/* The CPU's own write, to a descriptor, has other rights than the instruction's. */
static void a_write_of_its_own(void **state)
{
	static const u64 flat = FLAT;
	u8 found[PAGE_SIZE];

	real_mode = true;
	cr0 = CR0_PE | CR0_PG;
	for (u32 i = 0; i < 8; i++)
		segments[i] = (struct vmx_segment){.limit = ~0u, .access = FLAT_DATA32};
	segments[SEG_CS].access = FLAT_CODE32;
	tables[0] = (struct vmx_table){GDT, 0xf};
	memcpy(memory + DESCRIPTOR, &flat, 8);
	memcpy(found, memory + FOUND, PAGE_SIZE);
	regs.gpr[RAX] = SEL_DATA;
	assert_int_equal(WRITE(DESCRIPTOR + 5, 0x8e, 0xd8), 0); /* mov %eax, %ds */
	check_done(CODE + 2);
	real_mode = false;
	assert_true(load(DESCRIPTOR, 8) == (FLAT | BIT(40)));
	assert_memory_equal(memory + FOUND, found, PAGE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_write_itself, start),
		cmocka_unit_test_setup(others_by_the_tables, start),
		cmocka_unit_test_setup(a_page_of_two, start),
		cmocka_unit_test_setup(sixteen_bytes, start),
		cmocka_unit_test_setup(sixteen_in_two_pages, start),
		cmocka_unit_test_setup(an_exchange_of_sixteen, start),
		cmocka_unit_test_setup(one_of_several, start),
		cmocka_unit_test_setup(a_protected_page, start),
		cmocka_unit_test_setup(a_write_of_its_own, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
