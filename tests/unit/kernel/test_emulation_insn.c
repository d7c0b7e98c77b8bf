/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/emulation.c kernel/emulation_access.c kernel/emulation_machine.c @emulate */
/* unit-cflags: -ftrivial-auto-var-init=pattern */
/*
 * Instructions in software, with fakes of what is around the vCPU: how they are fetched, which are known,
 * how those go that are more than a load or a store, and what an instruction that another vCPU rewrote
 * may do.
 */
#include "tests/unit/kernel/emulation_run.h"

static void fetch_across_pages(void **state)
{
	/* The instruction ends with the last mapped page: what is behind it is not looked at. */
	regs.rip = UNMAPPED - 2;
	regs.gpr[RBX] = DEVICE;
	assert_int_equal(RUN(0, 0x8b, 0x03), 0);
	check_done(UNMAPPED);

	start(NULL);
	regs.rip = UNMAPPED - 2;
	assert_int_equal(RUN(0, 0x48, 0x8b), 0); /* goes on beyond */
	assert_int_equal(injected.vector, EXCEPTION_PF);
	assert_int_equal(injected.cr2, UNMAPPED);
	assert_int_equal(call_count, 0);

	start(NULL);
	regs.rip = DEVICE;
	assert_int_equal(RUN(0, 0x90), 0);
	assert_int_equal(ended, 1);
}

/* A program that goes where no code is ends itself, not the VM. */
static void a_program_in_a_device_is_refused(void **state)
{
	cpl = 3;
	cpu.mmio_gfn = GFN(DEVICE >> PAGE_SHIFT);
	hosted_log_reset();
	regs.rip = DEVICE;
	assert_int_equal(RUN(0, 0x90), 0);
	assert_true(injected.count == 1 && injected.vector == EXCEPTION_UD);
	assert_true(ended == 0 && completed == 0 && call_count == 0 && regs.rip == DEVICE);
	assert_non_null(strstr(hosted_log_last(), "at 0x8000 (bytes none) is fetched"));
	assert_non_null(strstr(hosted_log_last(), "gpa 0x8000: #UD"));
	/* It begins in RAM, and its last bytes are not there. */
	regs.rip = DEVICE - 2;
	assert_int_equal(RUN(0, 0x48, 0x8b), 0);
	assert_true(injected.count == 2 && injected.vector == EXCEPTION_UD && ended == 0);
	assert_non_null(strstr(hosted_log_last(), "at 0x7ffe (bytes 48 8b ) is fetched"));
	/* A kernel's is the VM's end, as ever. */
	cpl = 0;
	assert_int_equal(vcpu_emulate(&cpu, 0), 0);
	assert_true(injected.count == 2 && ended == 1);
}

static void non_canonical_fetch_is_gp(void **state)
{
	walk_error = ERR_RANGE;
	assert_int_equal(RUN(0, 0x8b, 0x03), 0);
	check_fault(EXCEPTION_GP, 0, 0);
}

static void unknown_instruction_ends_the_vm(void **state)
{
	regs.gpr[RBX] = DEVICE;
	assert_int_equal(RUN(0, 0x0f, 0x58, 0x03), 0); /* addps (%rbx), %xmm0 */
	assert_int_equal(ended, 1);

	start(NULL);
	assert_int_equal(RUN(0, 0xc5, 0xf8, 0x28, 0x03), 0); /* vmovaps */
	assert_int_equal(ended, 1);
	assert_int_equal(completed + injected.count + call_count, 0);

	/* A user's program that reaches a device ends itself, not the VM. */
	start(NULL);
	cpl = 3;
	regs.gpr[RBX] = DEVICE;
	assert_int_equal(RUN(0, 0x0f, 0x58, 0x03), 0);
	check_fault(EXCEPTION_UD, 0, 0);
	start(NULL);
	cpl = 3;
	assert_int_equal(RUN(0, 0xc5, 0xf8, 0x28, 0x03), 0);
	check_fault(EXCEPTION_UD, 0, 0);
}

/* With the bytes and the address, unless the VM has ended already or has told enough. */
static void an_instruction_that_ends_the_vm_is_told(void **state)
{
	for (u32 told = 0; told < 2; told++) {
		start(NULL);
		hosted_log_reset();
		end_is_told = told;
		regs.gpr[RBX] = DEVICE;
		assert_int_equal(RUN(0, 0xc5, 0xf8, 0x28, 0x03), 0); /* vmovaps */
		end_is_told = true;
		assert_int_equal(ended, 1);
		assert_int_equal(hosted_log_count(LOG_ERROR), told);
	}
	assert_non_null(strstr(hosted_log_last(), "at 0x100 (bytes c5 f8 28 03 "));
}

/* With the bytes and the address, and not as often as the program likes. */
static void a_program_at_a_device_is_told_of(void **state)
{
	u32 lines;

	cpl = 3;
	regs.gpr[RBX] = DEVICE;
	cpu.mmio_gfn = GFN(DEVICE >> PAGE_SHIFT);
	hosted_log_reset();
	assert_int_equal(RUN(0, 0x0f, 0x58, 0x03), 0);
	check_fault(EXCEPTION_UD, 0, 0);
	assert_non_null(strstr(hosted_log_last(), "at 0x100 (bytes 0f 58 03 "));
	assert_non_null(strstr(hosted_log_last(), "gpa 0x8000: #UD"));
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	for (u32 i = 0; i < 100; i++)
		assert_int_equal(RUN(0, 0x0f, 0x58, 0x03), 0);
	lines = hosted_log_count(LOG_WARN);
	assert_true(lines > 1 && lines < 10);
	assert_int_equal(injected.count, 101);
	assert_int_equal(cpu.refused, 101);
	/* Over resets, too, but for those that are told (test_restart.c). */
	machine = (struct vm){.name = "again", .restart = &configured};
	assert_int_equal(RUN(0, 0x0f, 0x58, 0x03), 0);
	assert_int_equal(hosted_log_count(LOG_WARN), lines);
}

/* What writes to one of the guest's tables is done by the guest itself, when that is a table no more. */
static void unknown_instruction_on_a_table(void **state)
{
	struct shadow *any = (struct shadow *)&shadowed;

	machine.mmu.shadow = any;
	cpu.mmio_gfn = GFN(3);
	shadowed = 3 * PAGE_SIZE;
	regs.gpr[RBX] = 3 * PAGE_SIZE;
	assert_int_equal(RUN(0, 0x0f, 0x13, 0x03), 0); /* movlps %xmm0, (%rbx) */
	check_nothing_happened();
	assert_int_equal(shadowed, 0);

	/* It was none: then it is as without shadow paging. */
	assert_int_equal(RUN(0, 0x0f, 0x13, 0x03), 0);
	assert_int_equal(ended, 1);

	/* It is one again each time: that ends, with whatever rights it is tried. */
	start(NULL);
	machine.mmu.shadow = any;
	let_write_tired = true;
	cpl = 3;
	assert_int_equal(RUN(0, 0x0f, 0x13, 0x03), 0);
	assert_int_equal(ended, 1);
	assert_int_equal(injected.count, 0);
}

static void illegal_and_overlong(void **state)
{
	assert_int_equal(RUN(0, 0xf0, 0x8b, 0x03), 0); /* lock mov */
	check_fault(EXCEPTION_UD, 0, 0);

	start(NULL);
	memset(memory + CODE, 0x66, 16);
	assert_int_equal(vcpu_emulate(&cpu, 0), 0);
	check_fault(EXCEPTION_GP, 0, 0);
}

/* As two words, or less, or more if it lies so: no device and no table entry has 16 bytes. */
static void vector_registers_to_and_from_devices(void **state)
{
	memcpy(xmm[3], "0123456789abcdef", 16);
	regs.gpr[RBX] = DEVICE + 0x40;
	assert_int_equal(RUN(0, 0x0f, 0x29, 0x1b), 0); /* movaps %xmm3, (%rbx) */
	check_done(CODE + 3);
	assert_int_equal(call_count, 2);
	assert_true(calls[0].addr == DEVICE + 0x40 && calls[0].size == 8 && calls[0].write);
	assert_true(calls[1].addr == DEVICE + 0x48 && calls[1].value == xmm[3][1]);
	regs.rip = CODE;
	completed = 0;
	assert_int_equal(RUN(0, 0x0f, 0x10, 0x2b), 0); /* movups (%rbx), %xmm5 */
	check_done(CODE + 3);
	assert_memory_equal(xmm[5], memory + DEVICE + 0x40, 16);
	regs.rip = CODE;
	regs.gpr[RBX] = DEVICE + 8;
	assert_int_equal(RUN(0, 0x0f, 0x29, 0x1b), 0);
	assert_true(injected.count == 1 && injected.vector == EXCEPTION_GP && call_count == 4);
}

static void vector_store_over_a_page(void **state)
{
	u64 words[2] = {0x1122334455667788, 0x99aabbccddeeff00};

	memcpy(xmm[0], words, 16);
	regs.gpr[RBX] = DATA + PAGE_SIZE - 5;
	assert_int_equal(RUN(0, 0x0f, 0x11, 0x03), 0); /* movups */
	check_done(CODE + 3);
	assert_memory_equal(memory + DATA + PAGE_SIZE - 5, words, 16);
	/* Nothing of it where the second page may not be written. */
	regs.rip = CODE;
	completed = 0;
	regs.gpr[RBX] = READ_ONLY - 5;
	memset(memory + READ_ONLY - 5, 0, 16);
	assert_int_equal(RUN(0, 0x0f, 0x11, 0x03), 0);
	assert_int_equal(injected.cr2, READ_ONLY);
	assert_true(load(READ_ONLY - 5, 5) == 0 && completed == 0);
}

static void exchange_of_16_bytes(void **state)
{
	regs.gpr[RSI] = DATA;
	memcpy(&regs.gpr[RAX], memory + DATA, 8);
	memcpy(&regs.gpr[RDX], memory + DATA + 8, 8);
	regs.gpr[RBX] = 0x1111;
	regs.gpr[RCX] = 0x2222;
	memory_changes = true; /* by another vCPU, in between */
	assert_int_equal(RUN(0, 0xf0, 0x48, 0x0f, 0xc7, 0x0e), 0);
	check_nothing_happened();
	memory_changes = false;
	memcpy(&regs.gpr[RDX], memory + DATA + 8, 8);
	assert_int_equal(RUN(0, 0xf0, 0x48, 0x0f, 0xc7, 0x0e), 0);
	check_done(CODE + 5);
	assert_true(load(DATA, 8) == 0x1111 && load(DATA + 8, 8) == 0x2222);
}

static void x87_is_found(void **state)
{
	x87_control = 0x37f;
	x87_status = 0x4000;
	x87_inits = 0;
	regs.gpr[RBX] = DATA;
	assert_int_equal(RUN(0, 0xdb, 0xe3, 0xcc), 0); /* fninit */
	assert_int_equal(x87_inits, 1);
	assert_int_equal(RUN(0, 0xd9, 0x3b), 0); /* fnstcw */
	assert_int_equal(load(DATA, 2), 0x37f);
	assert_int_equal(RUN(0, 0xdf, 0xe0), 0); /* fnstsw %ax */
	assert_int_equal(regs.gpr[RAX] & 0xffff, 0x4000);
	memory[DATA] = 0x72;
	assert_int_equal(RUN(0, 0xd9, 0x2b), 0); /* fldcw */
	assert_int_equal(x87_control, 0x372);
	assert_true(completed == 4 && ended == 0 && injected.count == 0);
	/* It would raise an exception, in Weir. */
	x87_status = 0x80;
	x87_control = 0;
	assert_int_equal(RUN(0, 0xd9, 0x2b), 0);
	assert_true(x87_control == 0 && completed == 4);
}

static void locked_exchange_in_ram(void **state)
{
	u64 old = load(DATA, 4);

	regs.gpr[RBX] = DATA;
	regs.gpr[RAX] = (u32)old;
	regs.gpr[RCX] = 0xfeedf00d;
	assert_int_equal(RUN(0, 0xf0, 0x0f, 0xb1, 0x0b), 0); /* lock cmpxchg %ecx, (%rbx) */
	check_done(CODE + 4);
	assert_int_equal(load(DATA, 4), 0xfeedf00d);

	/* Another vCPU was faster: nothing is lost, and the guest runs it again. */
	start(NULL);
	memory_changes = true;
	regs.gpr[RBX] = DATA;
	regs.gpr[RAX] = 5;
	assert_int_equal(RUN(0, 0xf0, 0x01, 0x03), 0); /* lock add %eax, (%rbx) */
	check_nothing_happened();
	assert_int_equal(load(DATA, 4), old ^ 0x80);

	/* So it is where the word is not aligned. */
	start(NULL);
	memory_changes = true;
	old = load(DATA + 0x3d, 8);
	regs.gpr[RBX] = DATA + 0x3d;
	regs.gpr[RAX] = 5;
	assert_int_equal(RUN(0, 0xf0, 0x48, 0x01, 0x03), 0);
	check_nothing_happened();
	assert_true(load(DATA + 0x3d, 8) == (old ^ 0x80));
	memory_changes = false;
	old ^= 0x80;
	assert_int_equal(RUN(0, 0xf0, 0x48, 0x01, 0x03), 0);
	check_done(CODE + 4);
	assert_true(load(DATA + 0x3d, 8) == old + 5);
}

static void string_output(void **state)
{
	regs.gpr[RSI] = DATA;
	regs.gpr[RDX] = 0x3f8;
	regs.gpr[RCX] = 2;
	regs.rflags |= RFLAGS_TF;
	assert_int_equal(RUN(1, 0xf3, 0x6e), 0); /* rep outsb */
	check_done(CODE);			 /* one iteration, one trap */
	assert_int_equal(regs.gpr[RCX], 1);
	assert_int_equal(vcpu_emulate(&cpu, 1), 0);
	assert_int_equal(completed, 2);
	assert_int_equal(regs.rip, CODE + 2);
	assert_int_equal(call_count, 2);
	assert_int_equal(calls[1].addr, 0x3f8);
	assert_int_equal(calls[1].value, memory[DATA + 1]);
}

/* The port must not be read, which may have effects, when what was read has no place to go. */
static void string_input_looks_at_its_destination_first(void **state)
{
	regs.gpr[RDI] = READ_ONLY;
	regs.gpr[RDX] = 0x60;
	assert_int_equal(RUN(1, 0x6c), 0); /* insb */
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, READ_ONLY);

	start(NULL);
	regs.gpr[RDI] = DATA;
	regs.gpr[RDX] = 0x60;
	assert_int_equal(RUN(2, 0x66, 0x6d), 0); /* insw */
	check_done(CODE + 2);
	assert_int_equal(load(DATA, 2), 0x2211);
	assert_int_equal(regs.gpr[RDI], DATA + 2);

	/* No frame for the page: the port is left alone, and the instruction runs again. */
	start(NULL);
	read_error = ERR_NOMEM;
	regs.gpr[RDI] = DATA;
	regs.gpr[RDX] = 0x60;
	assert_int_equal(RUN(1, 0x6c), ERR_NOMEM);
	assert_int_equal(call_count, 0);
	assert_int_equal(regs.rip, CODE);
}

/* What touches no memory is not why the guest is here: the CPU runs it, and checks what it may. */
static void rewritten_code_is_run_by_the_cpu(void **state)
{
	assert_int_equal(RUN(0, 0xf4), 0); /* hlt */
	check_nothing_happened();
	assert_int_equal(RUN(0, 0x0f, 0x22, 0xd8), 0); /* mov %rax, %cr3 */
	check_nothing_happened();
	assert_int_equal(RUN(0, 0x0f, 0x30), 0); /* wrmsr */
	check_nothing_happened();
	assert_int_equal(RUN(0, 0x0f, 0x31), 0); /* rdtsc */
	check_nothing_happened();
	assert_int_equal(RUN(0, 0x0f, 0x01, 0x3b), 0); /* invlpg (%rbx) */
	check_nothing_happened();
}

/* A kernel's probe, or a debugger's of a program, on what touches a device. */
static void a_breakpoint_is_run_by_the_cpu(void **state)
{
	for (u32 level = 0; level <= 3; level += 3) {
		start(NULL);
		cpl = level;
		assert_int_equal(RUN(0, 0xcc), 0); /* int3 */
		check_nothing_happened();
		assert_int_equal(RUN(0, 0xcd, 0x80), 0); /* int */
		check_nothing_happened();
		assert_int_equal(RUN(0, 0xf1), 0); /* int1 */
		check_nothing_happened();
		assert_int_equal(RUN(0, 0x0f, 0x34), 0); /* sysenter */
		check_nothing_happened();
		assert_int_equal(RUN(0, 0x0f, 0x35), 0); /* sysexit */
		check_nothing_happened();
	}
}

static void check_port(u32 port_size, u32 iopl_bits, const u8 *code, size_t length, bool allowed)
{
	start(NULL);
	cpl = 3;
	regs.rflags |= iopl_bits;
	regs.gpr[RSI] = regs.gpr[RDI] = DATA;
	regs.gpr[RDX] = 0xcf9;
	assert_int_equal(run(port_size, code, length), 0);
	if (!allowed)
		check_nothing_happened();
	else
		assert_int_equal(completed, 1);
	assert_int_equal(call_count, allowed);
}

/*
 * User code whose access to a device's page exits, and whose second thread puts a port instruction
 * in its place before it is fetched.
 */
static void rewritten_code_reaches_no_port(void **state)
{
	static const u8 out_imm[] = {0xe6, 0x70}, in_dx[] = {0xec}, outsb[] = {0x6e};
	static const u8 outsl[] = {0x6f}, insb[] = {0x6c};

	check_port(0, 0, out_imm, sizeof(out_imm), false);
	check_port(0, 0, in_dx, sizeof(in_dx), false);
	check_port(0, 0, outsb, sizeof(outsb), false);
	/* The CPU has allowed one byte at the port in DX, and no more. */
	check_port(1, 0, outsl, sizeof(outsl), false);
	check_port(1, 0, out_imm, sizeof(out_imm), false);
	check_port(1, 0, in_dx, sizeof(in_dx), false);
	check_port(1, 0, outsb, sizeof(outsb), true);
	check_port(1, 0, insb, sizeof(insb), true);
	/* With IOPL 3 every port is the user's; not so in virtual-8086 mode. */
	check_port(0, IOPL_3, out_imm, sizeof(out_imm), true);
	check_port(0, IOPL_3 | (u32)BIT(17), out_imm, sizeof(out_imm), false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(fetch_across_pages, start),
		cmocka_unit_test_setup(a_program_in_a_device_is_refused, start),
		cmocka_unit_test_setup(non_canonical_fetch_is_gp, start),
		cmocka_unit_test_setup(unknown_instruction_ends_the_vm, start),
		cmocka_unit_test_setup(a_program_at_a_device_is_told_of, start),
		cmocka_unit_test_setup(an_instruction_that_ends_the_vm_is_told, start),
		cmocka_unit_test_setup(unknown_instruction_on_a_table, start),
		cmocka_unit_test_setup(illegal_and_overlong, start),
		cmocka_unit_test_setup(vector_registers_to_and_from_devices, start),
		cmocka_unit_test_setup(vector_store_over_a_page, start),
		cmocka_unit_test_setup(exchange_of_16_bytes, start),
		cmocka_unit_test_setup(x87_is_found, start),
		cmocka_unit_test_setup(locked_exchange_in_ram, start),
		cmocka_unit_test_setup(string_output, start),
		cmocka_unit_test_setup(string_input_looks_at_its_destination_first, start),
		cmocka_unit_test_setup(rewritten_code_is_run_by_the_cpu, start),
		cmocka_unit_test_setup(a_breakpoint_is_run_by_the_cpu, start),
		cmocka_unit_test_setup(rewritten_code_reaches_no_port, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
