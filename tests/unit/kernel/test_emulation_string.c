/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/emulation.c kernel/emulation_access.c kernel/emulation_machine.c @emulate */
/* unit-cflags: -ftrivial-auto-var-init=pattern */
/*
 * The iterations of a string instruction, many for one decode: what ends them, and that what comes
 * amid them finds the registers as the iterations before have left them. The machine is that of
 * test_emulation.c; nobody wants the vCPU unless a test says so.
 */
#include "tests/unit/kernel/emulation_run.h"

#define REP_MOVSB 0xf3, 0xa4
#define REP_STOSW 0xf3, 0x66, 0xab
#define REP_INSB  0xf3, 0x6c
#define REP_OUTSB 0xf3, 0x6e
#define NEXT_PAGE (DATA + PAGE_SIZE)

static void from_to(u64 source, u64 destination, u64 count)
{
	regs.gpr[RSI] = source;
	regs.gpr[RDI] = destination;
	regs.gpr[RCX] = count;
}

/* n iterations are done, `left` are to come, and the instruction with them. */
static void check_amid(u64 n, u64 left)
{
	assert_int_equal(completed, n);
	assert_int_equal(regs.gpr[RCX], left);
	assert_int_equal(regs.rip, CODE);
}

static void check_page_fault(u64 cr2)
{
	assert_int_equal(injected.count, 1);
	assert_int_equal(injected.vector, EXCEPTION_PF);
	assert_int_equal(injected.error, PAGE_FAULT_P | PAGE_FAULT_WR);
	assert_int_equal(injected.cr2, cr2);
}

/*
 * What the CPU can do by itself is left to it: a table that is none any more while it is cleared.
 */
static void repeated_while_the_guest_would_leave(void **state)
{
	regs.gpr[RDI] = DATA;
	regs.gpr[RCX] = 100;
	iterations_until_wanted = 1000;
	written_as_table = 3;
	assert_int_equal(RUN(0, 0xf3, 0xaa), 0); /* rep stosb */
	assert_true(regs.rip == CODE && regs.gpr[RCX] == 96);
	assert_int_equal(RUN(0, 0xf3, 0xaa), 0);
	assert_int_equal(regs.gpr[RCX], 95);
	/* A device's memory, from which it comes to RAM. */
	regs.gpr[RDI] = DEVICE_END - 5;
	regs.gpr[RCX] = 100;
	assert_int_equal(RUN(0, 0xf3, 0xaa), 0);
	assert_int_equal(regs.gpr[RCX], 94);
}

/* As many iterations as come before somebody wants the vCPU, for one decode; a fault ends them too. */
static void repeated_until_something_comes(void **state)
{
	regs.gpr[RSI] = DATA;
	regs.gpr[RDI] = DATA + 0x800;
	regs.gpr[RCX] = 5;
	iterations_until_wanted = 100;
	assert_int_equal(RUN(0, 0xf3, 0xa4), 0); /* rep movsb */
	assert_true(regs.rip == CODE + 2 && regs.gpr[RCX] == 0 && completed == 5);
	assert_memory_equal(memory + DATA, memory + DATA + 0x800, 5);

	regs.rip = CODE;
	regs.gpr[RCX] = 1000;
	completed = 0;
	iterations_until_wanted = 7;
	assert_int_equal(RUN(0, 0xf3, 0xa4), 0);
	assert_true(regs.rip == CODE && regs.gpr[RCX] == 993 && completed == 7);
	iterations_until_wanted = 1000;
	event_waits = true;
	assert_int_equal(RUN(0, 0xf3, 0xa4), 0);
	assert_int_equal(regs.gpr[RCX], 992);
	event_waits = false;
	regs.rflags |= RFLAGS_TF;
	assert_int_equal(RUN(0, 0xf3, 0xa4), 0);
	assert_int_equal(regs.gpr[RCX], 991);
	regs.rflags &= ~RFLAGS_TF;
	/* A bound, if nobody wants anything. */
	assert_int_equal(RUN(0, 0xf3, 0xa4), 0);
	assert_int_equal(regs.gpr[RCX], 927);

	regs.gpr[RDI] = READ_ONLY - 3;
	assert_int_equal(RUN(0, 0xf3, 0xa4), 0);
	assert_true(injected.count == 1 && injected.cr2 == READ_ONLY);
	assert_true(regs.rip == CODE && regs.gpr[RCX] == 924);
	/* The bytes count as they were. */
	regs.gpr[RSI] = DATA;
	regs.gpr[RDI] = CODE;
	regs.gpr[RCX] = 3;
	assert_int_equal(RUN(0, 0xf3, 0xa4), 0);
	assert_true(regs.gpr[RCX] == 0 && ended == 0);
}

/* Its iterations have read a device each: none of that is done again. */
static void memory_runs_out_amid(void **state)
{
	from_to(DATA, NEXT_PAGE - 3, 10);
	write_error = ERR_NOMEM;
	failing_page = NEXT_PAGE;
	assert_int_equal(RUN(0, REP_MOVSB), ERR_NOMEM);
	check_amid(3, 7);
	assert_true(regs.gpr[RSI] == DATA + 3 && regs.gpr[RDI] == NEXT_PAGE);
	write_error = 0;
	assert_int_equal(RUN(0, REP_MOVSB), 0);
	assert_true(regs.rip == CODE + 2 && completed == 10);
	assert_memory_equal(memory + NEXT_PAGE - 3, memory + DATA, 10);

	/* What an iteration before has read of a device keeps this one from nothing. */
	start(NULL);
	from_to(DEVICE_END - 2, DATA, 5);
	read_error = ERR_NOMEM;
	failing_page = DEVICE_END;
	assert_int_equal(RUN(0, REP_MOVSB), ERR_NOMEM);
	check_amid(2, 3);
	assert_int_equal(call_count, 2);
	read_error = 0;
	assert_int_equal(RUN(0, REP_MOVSB), 0);
	assert_true(regs.rip == CODE + 2 && call_count == 2);
	assert_memory_equal(memory + DATA, memory + DEVICE_END - 2, 5);
}

/* What a device, or a port, has given waits where it is; each is asked once. */
static void an_answer_waits_for_memory_amid(void **state)
{
	from_to(DEVICE, NEXT_PAGE - 3, 10);
	write_error = ERR_NOMEM;
	failing_page = NEXT_PAGE;
	waits_until_memory = 2;
	assert_int_equal(RUN(0, REP_MOVSB), 0);
	assert_true(regs.rip == CODE + 2 && completed == 10);
	assert_int_equal(waits_until_memory, 0);
	assert_int_equal(call_count, 10);
	assert_memory_equal(memory + NEXT_PAGE - 3, memory + DEVICE, 10);

	/* A VM that ends waits for nothing; the iterations before have been. */
	start(NULL);
	from_to(DEVICE, NEXT_PAGE - 3, 10);
	write_error = ERR_NOMEM;
	failing_page = NEXT_PAGE;
	waits_until_memory = 2;
	ends_while_waiting = true;
	assert_int_equal(RUN(0, REP_MOVSB), ERR_NOMEM);
	check_amid(3, 7);

	/* A port whose value has no place to go is not read. */
	start(NULL);
	from_to(0, NEXT_PAGE - 3, 10);
	read_error = ERR_NOMEM;
	failing_page = NEXT_PAGE;
	assert_int_equal(RUN(1, REP_INSB), ERR_NOMEM);
	check_amid(3, 7);
	assert_int_equal(call_count, 3);
}

static void a_device_begins_and_ends_amid(void **state)
{
	from_to(DATA, DEVICE - 2, 6);
	assert_int_equal(RUN(0, REP_MOVSB), 0);
	assert_true(regs.rip == CODE + 2 && completed == 6);
	assert_int_equal(call_count, 4);
	for (u32 i = 0; i < 4; i++) {
		assert_true(calls[i].write && calls[i].size == 1);
		assert_int_equal(calls[i].addr, DEVICE + i);
		assert_int_equal(calls[i].value, memory[DATA + 2 + i]);
	}
	assert_memory_equal(memory + DEVICE - 2, memory + DATA, 2);

	start(NULL);
	regs.rflags |= BIT(10); /* DF */
	from_to(DATA + 5, DEVICE_END + 1, 6);
	assert_int_equal(RUN(0, REP_MOVSB), 0);
	assert_true(regs.rip == CODE + 2 && call_count == 4);
	assert_int_equal(calls[0].addr, DEVICE_END - 1);
	assert_int_equal(calls[3].addr, DEVICE_END - 4);
	assert_memory_equal(memory + DEVICE_END, memory + DATA + 4, 2);
}

/* A device keeps a vCPU for no longer than memory does. */
static void a_device_has_the_same_bound(void **state)
{
	regs.gpr[RDX] = 0x3f8;
	from_to(DATA, 0, 70);
	assert_int_equal(RUN(1, REP_OUTSB), 0);
	check_amid(64, 6);
	assert_int_equal(call_count, 64);
	assert_int_equal(RUN(1, REP_OUTSB), 0);
	assert_true(regs.rip == CODE + 2 && call_count == 70);
	for (u32 i = 0; i < 70; i++)
		assert_true(calls[i].port && calls[i].value == memory[DATA + i]);
}

/* By the guest's own protection: nothing of the iteration that meets it is done. */
static void a_protected_page_comes_amid(void **state)
{
	u16 before;

	protected_page = NEXT_PAGE;
	from_to(0, NEXT_PAGE - 4, 5);
	assert_int_equal(RUN(0, REP_STOSW), 0);
	check_page_fault(NEXT_PAGE);
	check_amid(2, 3);
	assert_int_equal(regs.gpr[RDI], NEXT_PAGE);

	start(NULL);
	protected_page = NEXT_PAGE;
	from_to(0, NEXT_PAGE - 3, 5);
	before = memory[NEXT_PAGE - 1];
	assert_int_not_equal(before, 0);
	assert_int_equal(RUN(0, REP_STOSW), 0);
	check_page_fault(NEXT_PAGE);
	check_amid(1, 4);
	assert_int_equal(memory[NEXT_PAGE - 1], before);

	/* A port is not read for it. */
	start(NULL);
	protected_page = NEXT_PAGE;
	from_to(0, NEXT_PAGE - 3, 5);
	assert_int_equal(RUN(1, REP_INSB), 0);
	check_page_fault(NEXT_PAGE);
	check_amid(3, 2);
	assert_int_equal(call_count, 3);
}

/* Each way in which the walk to the source's second page can fail. */
static void a_walk_fails_amid(void **state)
{
	static const struct {
		int error, returned;
		u32 injected, vector, ended;
	} ways[] = {
		{ERR_AGAIN, 0, 0, 0, 0},	    /* its tables are changing */
		{ERR_NOMEM, ERR_NOMEM, 0, 0, 0},    /* a table has no frame */
		{ERR_RANGE, 0, 1, EXCEPTION_GP, 0}, /* not canonical */
		{ERR_NOSLOT, 0, 0, 0, 1},	    /* a table is in a device, */
		{ERR_IO, 0, 0, 0, 1},		    /* or lost with its disk */
	};

	for (u32 i = 0; i < ARRAY_SIZE(ways); i++) {
		start(NULL);
		from_to(NEXT_PAGE - 3, DATA, 10);
		walk_error = ways[i].error;
		tableless_page = NEXT_PAGE;
		assert_int_equal(RUN(0, REP_MOVSB), ways[i].returned);
		check_amid(3, 7);
		assert_int_equal(injected.count, ways[i].injected);
		assert_true(!injected.count || injected.vector == ways[i].vector);
		assert_int_equal(ended, ways[i].ended);
		assert_true(regs.gpr[RSI] == NEXT_PAGE && regs.gpr[RDI] == DATA + 3);
	}
}

/* REPE ends with what differs, in whichever iteration, and its flags are that one's. */
static void a_comparison_ends_amid(void **state)
{
	from_to(DATA, NEXT_PAGE, 20);
	memcpy(memory + NEXT_PAGE, memory + DATA, 20);
	memory[NEXT_PAGE + 8] ^= 1;
	assert_int_equal(RUN(0, 0xf3, 0xa6), 0); /* repe cmpsb */
	assert_true(regs.rip == CODE + 2 && completed == 9 && regs.gpr[RCX] == 11);
	assert_false(regs.rflags & BIT(6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(repeated_while_the_guest_would_leave, start),
		cmocka_unit_test_setup(repeated_until_something_comes, start),
		cmocka_unit_test_setup(memory_runs_out_amid, start),
		cmocka_unit_test_setup(an_answer_waits_for_memory_amid, start),
		cmocka_unit_test_setup(a_device_begins_and_ends_amid, start),
		cmocka_unit_test_setup(a_device_has_the_same_bound, start),
		cmocka_unit_test_setup(a_protected_page_comes_amid, start),
		cmocka_unit_test_setup(a_walk_fails_amid, start),
		cmocka_unit_test_setup(a_comparison_ends_amid, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
