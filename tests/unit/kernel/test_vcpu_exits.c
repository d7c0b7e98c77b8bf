/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/vcpu.c kernel/restart.c kernel/hypercall.c kernel/kvm_hypercall.c
 *	tests/unit/kernel/vcpu_loop.c tests/unit/kernel/vcpu_idle.c @mmu @mem tests/unit/mmu/fixture.c mmu/walk.c
 */
/*
 * What a vCPU's loop does of exits: which page it says that an emulated instruction touched, and to whom
 * a loop of PAUSEs yields.
 */
#include "tests/hosted/hosted.h"
#include "tests/unit/kernel/vcpu_loop.h"

#include <cmocka.h>
#include <string.h>

static bool writes_a_table_then_a_port(u32 id, u32 step, struct vmx_exit *e)
{
	if (id == 1)
		return idle(id, e);
	if (step == 0) {
		e->kind = VMX_EXIT_MMIO;
		e->mmio.gpa = GPA(BASE);
	} else {
		e->kind = VMX_EXIT_IO;
		e->io.string = true;
		e->io.size = 1;
	}
	return step < 2;
}

/* An instruction of string I/O has touched no page that an exit told of: that of an older exit is left alone. */
static void string_io_blames_no_page(void **state)
{
	vcpus_start(writes_a_table_then_a_port);
	vcpus_end();
	assert_int_equal(emulated_at[0].v, BASE >> 12);
	assert_int_equal(emulated_at[1].v, ~0ull);
}

static bool writes_a_table(u32 id, u32 step, struct vmx_exit *e)
{
	if (id == 1)
		return idle(id, e);
	e->kind = VMX_EXIT_TABLE;
	e->table.gva = GVA(0xc0001238);
	e->table.gpa = GPA(BASE + 0x238);
	return step < 1;
}

/* The emulator is told what the page fault has found. */
static void a_write_to_a_table_is_translated(void **state)
{
	vcpus_start(writes_a_table);
	vcpus_end();
	assert_int_equal(emulated_at[0].v, BASE >> 12);
	assert_int_equal(emulated_write.gva.v, 0xc0001238);
	assert_int_equal(emulated_write.gpa.v, BASE + 0x238);
}

#define MORE 2 /* vCPUs that are not there but to be yielded to */

static struct vcpu more[MORE];
static struct thread more_threads[MORE];
/* Who waits as vCPU 0 leaves by its PAUSEs. */
static const struct {
	u32 here, elsewhere;
} who_waits[] = {
	{0, 0}, {BIT(2), BIT(1) | BIT(3)}, {BIT(2) | BIT(3), BIT(1)}, {BIT(0), 14}, {BIT(0), 14},
	{14, 0}};

static bool spinner(u32 id, u32 step, struct vmx_exit *e)
{
	if (id == 1)
		return idle(id, e);
	e->kind = VMX_EXIT_NONE;
	machine.vcpu_count = VCPUS;
	if (step == ARRAY_SIZE(who_waits))
		return false;
	waits_here = who_waits[step].here;
	waits_elsewhere = who_waits[step].elsewhere;
	machine.vcpu_count = VCPUS + MORE;
	e->kind = VMX_EXIT_PAUSE;
	return true;
}

/* Those that wait for this CPU come before those that wait for another, and each in its turn. */
static void who_spins_yields_in_turn(void **state)
{
	static const u32 want[] = {2, 3, 1, 2, 3};

	yields = 0;
	for (u32 i = 0; i < MORE; i++) {
		more[i].thread = &more_threads[i];
		more[i].id = VCPUS + i;
		machine.vcpus[VCPUS + i] = &more[i];
	}
	vcpus_start(spinner);
	vcpus_end();
	assert_int_equal(yields, ARRAY_SIZE(want));
	for (u32 i = 0; i < ARRAY_SIZE(want); i++)
		assert_int_equal(yielded_to[i], want[i]);
}

static u32 tries[VCPUS], told[VCPUS];

/* Each vCPU asks, as vmx/ does, before its run returns. */
static bool faults(u32 id, struct vmx_exit *e)
{
	tries[id]++;
	told[id] += ask_crash(&cpus[id]);
	e->kind = VMX_EXIT_SHUTDOWN;
	return true;
}

/* Past the loop's look at the VM's end. */
static void wait_until_both_run(u32 id, struct vmx_exit *e)
{
	static u32 there;

	__atomic_fetch_add(&there, 1, __ATOMIC_SEQ_CST);
	while (look(&there) % VCPUS)
		idle(id, e);
}

static bool both_fault(u32 id, u32 step, struct vmx_exit *e)
{
	wait_until_both_run(id, e);
	return faults(id, e);
}

static bool both_fault_after_a_reset(u32 id, u32 step, struct vmx_exit *e)
{
	wait_until_both_run(id, e);
	vm_request_end(&machine, VM_END_RESET, 0);
	return faults(id, e);
}

static u32 crash_by(guest_fn fn)
{
	memset(tries, 0, sizeof(tries));
	memset(told, 0, sizeof(told));
	vcpus_start(fn);
	vcpus_end();
	assert_int_equal(tries[0] + tries[1], VCPUS);
	assert_int_equal(dumps, told[0] + told[1]);
	return dumps;
}

static void of_crashes_at_once_one_is_told(void **state)
{
	assert_int_equal(crash_by(both_fault), 1);
	assert_int_equal(machine.end, VM_END_CRASH);
	assert_string_equal(dump_heading, told[1] ? "vm : vCPU 1" : "vm : vCPU 0");
}

/* So a guest's resets fill no log by what its other vCPUs do meanwhile. */
static void of_a_vm_that_ends_none_is_told(void **state)
{
	assert_int_equal(crash_by(both_fault_after_a_reset), 0);
	assert_int_equal(machine.end, VM_END_RESET);
}

/* One that starts again and again; the last, after which it does not, is told. */
static void of_silent_restarts_none_is_told(void **state)
{
	machine.config.restart_on_crash = true;
	machine.restart->silent = true;
	assert_int_equal(crash_by(both_fault), 0);
}

static void of_silent_restarts_the_last_is_told(void **state)
{
	machine.config.restart_on_crash = true;
	machine.restart->silent = true;
	machine.restart->crashes = RESTART_CRASHES_MAX;
	assert_int_equal(crash_by(both_fault), 1);
}

/* A reset's silence is none of a VM that stays down when it crashes. */
static void of_a_vm_that_stays_down_it_is_told(void **state)
{
	machine.restart->silent = true;
	assert_int_equal(crash_by(both_fault), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, vcpu_loop_setup, vcpu_loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(string_io_blames_no_page),
		TEST(a_write_to_a_table_is_translated),
		TEST(who_spins_yields_in_turn),
		TEST(of_crashes_at_once_one_is_told),
		TEST(of_a_vm_that_ends_none_is_told),
		TEST(of_silent_restarts_none_is_told),
		TEST(of_silent_restarts_the_last_is_told),
		TEST(of_a_vm_that_stays_down_it_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
