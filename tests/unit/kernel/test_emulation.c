/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/emulation.c kernel/emulation_access.c kernel/emulation_machine.c @emulate */
/* unit-cflags: -ftrivial-auto-var-init=pattern */
/*
 * What an instruction in software reads and writes where, with fakes of guest memory, of its page tables
 * and of the devices around it; which page fault goes in; and what becomes of it where memory runs out.
 */
#include "tests/unit/kernel/emulation_run.h"

static void device_read_and_write(void **state)
{
	regs.gpr[RBX] = DEVICE + 0x40;
	assert_int_equal(RUN(0, 0x8b, 0x03), 0); /* mov (%rbx), %eax */
	check_done(CODE + 2);
	assert_int_equal(regs.gpr[RAX], load(DEVICE + 0x40, 4));
	assert_int_equal(call_count, 1);
	assert_int_equal(calls[0].size, 4);

	start(NULL);
	regs.gpr[RBX] = DEVICE + 0x40;
	regs.gpr[RAX] = 0x1122334455667788;
	assert_int_equal(RUN(0, 0x48, 0x89, 0x03), 0); /* mov %rax, (%rbx) */
	check_done(CODE + 3);
	assert_int_equal(call_count, 1);
	assert_true(calls[0].write);
	assert_int_equal(calls[0].value, 0x1122334455667788);
}

static void read_split_between_device_and_ram(void **state)
{
	regs.gpr[RBX] = DEVICE - 3;
	assert_int_equal(RUN(0, 0x48, 0x8b, 0x03), 0); /* mov (%rbx), %rax */
	check_done(CODE + 3);
	assert_int_equal(regs.gpr[RAX], load(DEVICE - 3, 8));
	/* Five bytes are no access that a device knows. */
	assert_int_equal(call_count, 5);
	assert_int_equal(calls[4].addr, DEVICE + 4);
}

static void write_split_between_device_and_ram(void **state)
{
	u64 at = DEVICE_END - 2, beyond;

	beyond = load(DEVICE_END + 2, 8);
	regs.gpr[RBX] = at;
	regs.gpr[RAX] = 0xaabbccdd;
	assert_int_equal(RUN(0, 0x89, 0x03), 0); /* mov %eax, (%rbx) */
	check_done(CODE + 2);
	assert_int_equal(call_count, 1);
	assert_int_equal(calls[0].addr, at);
	assert_int_equal(calls[0].size, 2);
	assert_int_equal(calls[0].value, 0xccdd);
	assert_int_equal(load(DEVICE_END, 2), 0xaabb);
	assert_int_equal(load(DEVICE_END + 2, 8), beyond);
}

/* The second page's fault comes before the first page's device is touched. */
static void page_fault_in_the_second_page(void **state)
{
	cpl = 3;
	regs.gpr[RBX] = UNMAPPED - 2;
	assert_int_equal(RUN(0, 0x8b, 0x03), 0);
	check_fault(EXCEPTION_PF, 0, UNMAPPED);
	assert_int_equal(dropped_page, UNMAPPED); /* the CPU has nothing cached of it any more */

	start(NULL);
	regs.gpr[RBX] = READ_ONLY - 1;
	regs.gpr[RAX] = ~0ull;
	u64 before = load(READ_ONLY - 1, 8);

	assert_int_equal(RUN(0, 0x89, 0x03), 0);
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, READ_ONLY);
	assert_int_equal(load(READ_ONLY - 1, 8), before);
}

/* add %eax, (%rbx) reads first, yet the fault is a write's, and no device sees the read. */
static void modifying_faults_as_a_write(void **state)
{
	second_device = READ_ONLY;
	regs.gpr[RBX] = READ_ONLY;
	assert_int_equal(RUN(0, 0x01, 0x03), 0);
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, READ_ONLY);
}

static void tables_that_change_are_walked_again_later(void **state)
{
	walk_error = ERR_AGAIN;
	assert_int_equal(RUN(0, 0x8b, 0x03), 0);
	check_nothing_happened();
	walk_error = ERR_NOMEM;
	assert_int_equal(RUN(0, 0x8b, 0x03), ERR_NOMEM);
	check_nothing_happened();
}

static void no_memory_leaves_the_registers(void **state)
{
	write_error = ERR_NOMEM;
	regs.gpr[RSI] = DATA + 8;
	regs.gpr[RDI] = DATA;
	assert_int_equal(RUN(0, 0xa4), ERR_NOMEM); /* movsb */
	assert_int_equal(completed + injected.count + ended, 0);
	assert_int_equal(regs.gpr[RSI], DATA + 8);
	assert_int_equal(regs.rip, CODE);
}

/* A device's answer is not asked for twice: it is kept until its destination has a frame. */
static void a_devices_answer_waits_for_memory(void **state)
{
	write_error = ERR_NOMEM;
	waits_until_memory = 3;
	regs.gpr[RSI] = DEVICE;
	regs.gpr[RDI] = DATA;
	memory[DEVICE] = 0x5a;
	assert_int_equal(RUN(0, 0xa4), 0); /* movsb */
	assert_int_equal(waits_until_memory, 0);
	assert_int_equal(completed, 1);
	assert_int_equal(call_count, 1);
	assert_int_equal(memory[DATA], 0x5a);

	/* A VM that ends waits for nothing. */
	start(NULL);
	write_error = ERR_NOMEM;
	waits_until_memory = 3;
	ends_while_waiting = true;
	regs.gpr[RSI] = DEVICE;
	regs.gpr[RDI] = DATA;
	assert_int_equal(RUN(0, 0xa4), ERR_NOMEM);
	assert_int_equal(completed, 0);
}

static void table_in_a_device_ends_the_vm(void **state)
{
	regs.gpr[RBX] = NO_TABLE;
	assert_int_equal(RUN(0, 0x8b, 0x03), 0);
	assert_int_equal(ended, 1);
	assert_int_equal(completed + injected.count, 0);
}

/* A write that the guest's own protection refuses is the page fault that the CPU's would be. */
static void write_to_a_protected_page(void **state)
{
	u64 before = load(DATA + PAGE_SIZE, 8);

	protected_page = DATA + PAGE_SIZE;
	regs.gpr[RSI] = DEVICE;
	regs.gpr[RDI] = DATA + PAGE_SIZE + 8;
	assert_int_equal(RUN(0, 0x48, 0xa5), 0); /* movsq */
	assert_int_equal(call_count, 1);
	call_count = 0;
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, DATA + PAGE_SIZE + 8);
	assert_int_equal(regs.gpr[RDI], DATA + PAGE_SIZE + 8);

	start(NULL);
	cpl = 3;
	protected_page = DATA + PAGE_SIZE;
	regs.gpr[RBX] = DATA + PAGE_SIZE;
	assert_int_equal(RUN(0, 0x89, 0x03), 0); /* mov %eax, (%rbx) */
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR | PAGE_FAULT_US, DATA + PAGE_SIZE);
	/* The second page of two: nothing is written to the first. */
	start(NULL);
	protected_page = DATA + PAGE_SIZE;
	regs.gpr[RBX] = DATA + PAGE_SIZE - 2;
	regs.gpr[RAX] = ~load(DATA + PAGE_SIZE - 2, 4);
	assert_int_equal(RUN(0, 0x89, 0x03), 0);
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, DATA + PAGE_SIZE);
	assert_int_not_equal(load(DATA + PAGE_SIZE - 2, 2), (u16)regs.gpr[RAX]);
	/* The lock prefix's compare-and-exchange, aligned. */
	start(NULL);
	protected_page = DATA + PAGE_SIZE;
	protected_late = true;
	regs.gpr[RBX] = DATA + PAGE_SIZE;
	assert_int_equal(RUN(0, 0xf0, 0x01, 0x03), 0); /* lock add %eax, (%rbx) */
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, DATA + PAGE_SIZE);
	assert_int_equal(load(DATA + PAGE_SIZE, 8), before);
}

/* And it comes before a device is touched, which cannot be undone. */
static void protection_is_looked_at_first(void **state)
{
	/* A device's last bytes and RAM's first: a write, and a read that a write follows. */
	protected_page = DEVICE_END;
	regs.gpr[RBX] = DEVICE_END - 2;
	assert_int_equal(RUN(0, 0x89, 0x03), 0);
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, DEVICE_END);
	start(NULL);
	protected_page = DEVICE_END;
	regs.gpr[RBX] = DEVICE_END - 2;
	assert_int_equal(RUN(0, 0x01, 0x03), 0); /* add %eax, (%rbx) */
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, DEVICE_END);
	/* A port. */
	start(NULL);
	protected_page = DATA + PAGE_SIZE;
	regs.gpr[RDI] = DATA + PAGE_SIZE + 1;
	regs.gpr[RDX] = 0x60;
	assert_int_equal(RUN(1, 0x6c), 0); /* insb */
	check_fault(EXCEPTION_PF, PAGE_FAULT_P | PAGE_FAULT_WR, DATA + PAGE_SIZE + 1);
	/* Who only reads may do so. */
	start(NULL);
	protected_page = DATA + PAGE_SIZE;
	regs.gpr[RSI] = DATA + PAGE_SIZE;
	regs.gpr[RDI] = DEVICE;
	assert_int_equal(RUN(0, 0xa4), 0); /* movsb */
	check_done(CODE + 1);
}

/* Half of it is written when the other half finds no frame: it does not begin again, and adds once. */
static void half_a_change_waits_for_memory(void **state)
{
	u64 at = DATA + PAGE_SIZE - 2;

	memset(memory + at, 0xff, 4);
	write_error = ERR_NOMEM;
	failing_page = DATA + PAGE_SIZE;
	waits_until_memory = 2;
	regs.gpr[RBX] = at;
	regs.gpr[RAX] = 1;
	assert_int_equal(RUN(0, 0x01, 0x03), 0); /* add %eax, (%rbx) */
	check_done(CODE + 2);
	assert_int_equal(waits_until_memory, 0);
	assert_int_equal(load(at, 4), 0);
}

/* What a device's register gave is not read again because its neighbour has no frame. */
static void half_a_read_waits_for_memory(void **state)
{
	read_error = ERR_NOMEM;
	failing_page = DEVICE_END;
	waits_until_memory = 1;
	regs.gpr[RBX] = DEVICE_END - 4;
	assert_int_equal(RUN(0, 0x48, 0x8b, 0x03), 0); /* mov (%rbx), %rax */
	check_done(CODE + 3);
	assert_int_equal(call_count, 1);
	assert_int_equal(regs.gpr[RAX], load(DEVICE_END - 4, 8));
}

static void insb_asks_once(void)
{
	waits_until_memory = 1;
	regs.gpr[RDI] = DATA;
	assert_int_equal(RUN(1, 0x6c), 0);
	check_done(CODE + 1);
	assert_int_equal(waits_until_memory, 0);
	assert_int_equal(call_count, 1);
	assert_int_equal(memory[DATA], 0x11);
}

/* The destination is there when the port is read, and gone when its value is written. */
static void a_ports_answer_waits_for_memory(void **state)
{
	write_error = ERR_NOMEM;
	insb_asks_once();
}

/*
 * Nor is a device asked again because a table on the way to where its answer goes has no frame: for MOVS
 * and PUSH that way is looked up after it was asked.
 */
static void a_devices_answer_waits_for_a_table(void **state)
{
	walk_error = ERR_NOMEM;
	tableless_page = DATA;
	waits_until_memory = 2;
	regs.gpr[RSI] = DEVICE;
	regs.gpr[RDI] = DATA;
	memory[DEVICE] = 0x5a;
	assert_int_equal(RUN(0, 0xa4), 0); /* movsb */
	check_done(CODE + 1);
	assert_int_equal(waits_until_memory, 0);
	assert_int_equal(call_count, 1);
	assert_int_equal(memory[DATA], 0x5a);

	start(NULL);
	walk_error = ERR_NOMEM;
	tableless_page = DATA;
	waits_until_memory = 1;
	regs.gpr[RBX] = DEVICE;
	regs.gpr[RSP] = DATA + 8;
	assert_int_equal(RUN(0, 0xff, 0x33), 0); /* push (%rbx) */
	check_done(CODE + 2);
	assert_int_equal(call_count, 1);
	assert_int_equal(load(DATA, 8), load(DEVICE, 8));

	/* A VM that ends waits for nothing. */
	start(NULL);
	walk_error = ERR_NOMEM;
	tableless_page = DATA;
	waits_until_memory = 3;
	ends_while_waiting = true;
	regs.gpr[RSI] = DEVICE;
	regs.gpr[RDI] = DATA;
	assert_int_equal(RUN(0, 0xa4), ERR_NOMEM);
	assert_int_equal(waits_until_memory, 2);
	assert_int_equal(completed, 0);
}

/* INS: its destination's tables are there when the port is read, and one is gone right after. */
static void a_ports_answer_waits_for_a_table(void **state)
{
	tables_go_by_port = true;
	insb_asks_once();
}

static void a_lost_page_ends_the_vm(void **state)
{
	read_error = ERR_IO;
	regs.gpr[RSI] = DATA;
	regs.gpr[RDI] = DEVICE;
	assert_int_equal(RUN(0, 0xa4), 0); /* movsb */
	assert_int_equal(ended, 1);
	assert_int_equal(completed + call_count, 0);

	/* A page of code, or of a table: the line that says which page is lost is enough. */
	for (u32 i = 0; i < 2; i++) {
		start(NULL);
		hosted_log_reset();
		walk_error = i ? ERR_IO : ERR_CORRUPT;
		tableless_page = i ? DATA : CODE & ~(PAGE_SIZE - 1ull);
		regs.gpr[RSI] = DATA;
		regs.gpr[RDI] = DEVICE;
		assert_int_equal(RUN(0, 0xa4), 0);
		assert_int_equal(ended, 1);
		assert_int_equal(hosted_log_count(LOG_ERROR), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(device_read_and_write, start),
		cmocka_unit_test_setup(read_split_between_device_and_ram, start),
		cmocka_unit_test_setup(write_split_between_device_and_ram, start),
		cmocka_unit_test_setup(page_fault_in_the_second_page, start),
		cmocka_unit_test_setup(modifying_faults_as_a_write, start),
		cmocka_unit_test_setup(tables_that_change_are_walked_again_later, start),
		cmocka_unit_test_setup(no_memory_leaves_the_registers, start),
		cmocka_unit_test_setup(a_devices_answer_waits_for_memory, start),
		cmocka_unit_test_setup(table_in_a_device_ends_the_vm, start),
		cmocka_unit_test_setup(write_to_a_protected_page, start),
		cmocka_unit_test_setup(protection_is_looked_at_first, start),
		cmocka_unit_test_setup(half_a_change_waits_for_memory, start),
		cmocka_unit_test_setup(half_a_read_waits_for_memory, start),
		cmocka_unit_test_setup(a_ports_answer_waits_for_memory, start),
		cmocka_unit_test_setup(a_devices_answer_waits_for_a_table, start),
		cmocka_unit_test_setup(a_ports_answer_waits_for_a_table, start),
		cmocka_unit_test_setup(a_lost_page_ends_the_vm, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
