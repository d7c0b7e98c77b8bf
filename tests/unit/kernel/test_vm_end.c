/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/vm.c kernel/vm_end.c kernel/vm_make.c kernel/vm_life.c kernel/vm_list.c
 *	kernel/vm_memory.c kernel/restart.c kernel/admission.c tests/unit/kernel/vm_parts.c
 */
/* unit-libs: -Wl,--wrap=thread_create_with,--wrap=thread_create,--wrap=vm_any_plan,--wrap=vm_list_take_stopped */
/*
 * VMs that end: what others wait for meanwhile, and what is asked of one while it is taken apart.
 */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/vm_memory.h"
#include "kernel/vm_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/kernel/vm_parts.h"

#include <string.h>

/* While somebody has a reference nothing is taken apart. */
static struct vm *held;

static void hold_and_power_off(struct vcpu *v)
{
	held = vm_find("alpha");
	vm_request_end(v->vm, VM_END_POWEROFF, 0);
}

static bool all_stopped(const struct vm *vm)
{
	bool on = wait_lock(&vm_wait), all = true;

	for (u32 i = 0; i < VCPUS; i++)
		all = all && vm->vcpus[i]->stopped;
	wait_unlock(&vm_wait, on);
	return all;
}

/*
 * All parts: RAM, its place in reclaim, MMU, platform, console, the APIC-access page, and a local APIC
 * for each vCPU.
 */
static bool all_is_there(void)
{
	return __atomic_load_n(&parts, __ATOMIC_SEQ_CST) == 6 + VCPUS;
}

static bool was_there; /* when nothing but the reference delayed its end */

static void put_later(void *arg)
{
	WAIT_FOR(__atomic_load_n(&held, __ATOMIC_SEQ_CST));
	WAIT_FOR(!all_is_there() || all_stopped(held));
	wait_for_ends();
	was_there = all_is_there();
	if (was_there)
		vm_put(held);
}

static void a_reference_delays_the_end(void **state)
{
	struct thread *t;

	held = NULL;
	guest = hold_and_power_off;
	assert_int_equal(thread_create(&t, "holder", put_later, NULL, 0), 0);
	run_all();
	thread_join(t);
	assert_true(was_there);
}

static void end_while_beta_loads(struct vcpu *v)
{
	if (!strcmp(v->vm->name, "alpha"))
		WAIT_FOR(is_set(&beta_loads));
	power_off(v);
}

/* What a load waits for may be what another VM has that has ended. */
static void an_end_waits_for_no_load(void **state)
{
	add_beta();
	guest = end_while_beta_loads;
	loads_when_alpha_is_gone = true;
	run_all();
	assert_int_equal(ran, VCPUS + 1);
}

static s32 lifted(void)
{
	return __atomic_load_n(&ends_lifted, __ATOMIC_SEQ_CST);
}

/* Who starts beta says that it waits, perhaps long before alpha is taken apart: that is not forgotten. */
static void wait_for_failure(void)
{
	WAIT_FOR(is_set(&beta_has_failed));
	WAIT_FOR(lifted() == WEIGHT_LIFT);
}

static void power_off_and_tell(struct vcpu *v)
{
	power_off(v);
	if (!strcmp(v->vm->name, "alpha"))
		set(&alpha_has_ended);
}

/* Nor does who finds no memory give up while one that has it ends. */
static void a_start_waits_for_an_end(void **state)
{
	add_beta();
	guest = power_off_and_tell;
	alpha_has_all = true;
	while_it_ends = wait_for_failure;
	run_all();
	assert_int_equal(ran, VCPUS + 1);
	assert_true(beta_has_failed);
	wait_for_ends();
	assert_int_equal(lifted(), 0);
}

static s32 lifted_then; /* at the first end */
static u32 ends_seen;

static void look_how_lifted(void)
{
	if (ends_seen++ == 0)
		lifted_then = lifted();
}

/* Who looks whether one ends, and none does, or one has already, has nobody hurry for the next. */
static void nothing_to_wait_for(void **state)
{
	u32 seen = vm_list_ends();

	(void)state;
	guest = power_off;
	assert_false(vm_list_wait_end(&seen));
	seen--;
	assert_true(vm_list_wait_end(&seen));
	while_it_ends = look_how_lifted;
	ends_seen = 0;
	run_all();
	assert_int_equal(lifted_then, 0);
	wait_for_ends();
}

/* Nobody waits for one that powers itself off, unless memory is short; one that starts again is waited for. */
static void who_is_in_a_hurry(void **state)
{
	for (u32 i = 0; i < 3; i++) {
		(void)setup(state);
		starts = ends_seen = 0;
		guest = i == 1 ? reset_once : power_off;
		memory_is_short = i == 2;
		while_it_ends = look_how_lifted;
		run_all();
		assert_int_equal(lifted_then, i ? (s32)WEIGHT_LIFT : 0);
		memory_is_short = false;
		wait_for_ends();
		assert_int_equal(lifted(), 0);
	}
}

static struct gmem of_who_waits;
static struct vm who_waits = {.ram = &of_who_waits};
static struct memory_wait how_it_waits;

static void want_memory(void)
{
	if (ends_seen++)
		return;
	assert_int_equal(lifted(), 0);
	vm_wants_memory(&who_waits, &how_it_waits);
	lifted_then = lifted();
}

/*
 * Nobody waited as it began to be taken apart; but then somebody does, unless what he has is all that he
 * may. Where none ends nothing is hurried.
 */
static void who_waits_meanwhile(void **state)
{
	for (u32 i = 0; i < 2; i++) {
		(void)setup(state);
		ends_seen = 0;
		guest = power_off;
		of_who_waits.resident_max = i;
		while_it_ends = want_memory;
		run_all();
		assert_int_equal(lifted_then, i ? (s32)WEIGHT_LIFT : 0);
		wait_for_ends();
		assert_int_equal(lifted(), 0);
		vm_wants_memory(&who_waits, &how_it_waits);
		assert_int_equal(lifted(), 0);
	}
}

/* Nor a load that says what it found none for, nor who is not promised what was promised to that one. */
static void a_refusal_waits_for_an_end(void **state)
{
	bool *const ways[] = {&alpha_has_ram, &alpha_is_owed};

	for (u32 i = 0; i < ARRAY_SIZE(ways); i++) {
		(void)setup(state);
		add_beta();
		config.vms[0].min = config.vms[1].min = MIB(600);
		config.vms[0].min *= i;
		*ways[i] = true;
		guest = power_off_and_tell;
		while_it_ends = wait_for_failure;
		run_all();
		assert_int_equal(ran, VCPUS + 1);
		assert_true(beta_has_failed && hosted_log_count(LOG_ERROR) == 0);
	}
}

static void start_alpha(void)
{
	if (!alpha_is_gone()) {
		assert_int_equal(vm_start("alpha"), 0);
		lifted_then = lifted();
	}
	wait_for_manager();
	assert_null(vm_find("alpha"));
}

/* Asked for while it is taken apart it starts when that is done. */
static void starts_after_its_end(void **state)
{
	guest = power_off;
	while_it_ends = start_alpha;
	lifted_then = 0;
	run_all();
	assert_int_equal(starts, 2);
	assert_int_equal(lifted_then, WEIGHT_LIFT);
}

/* At its console, if it is shown: but not of one that starts again. */
static void is_said_to_be_off_once(void **state)
{
	guest = reset_once;
	offs_told = 0;
	ends_told[0] = 0;
	run_all();
	assert_int_equal(starts, 2);
	assert_int_equal(offs_told, 1);
	assert_string_equal(ends_told, "reset. powered off. ");
}

static void kill_itself(struct vcpu *v)
{
	assert_int_equal(vm_kill(v->vm), 0);
}

static u32 looks_at_its_end;

static void look_whether_it_is_off(void)
{
	looks_at_its_end++;
	assert_false(vm_may_start("alpha"));
	assert_int_equal(vm_stay_off("alpha"), ERR_NOENT);
}

/* While it is taken apart, as afterwards, where nothing and nobody starts it again. */
static void is_off_while_it_is_taken_apart(void **state)
{
	void (*const guests[])(struct vcpu * v) = {power_off, crash, kill_itself};

	looks_at_its_end = 0;
	for (u32 i = 0; i < ARRAY_SIZE(guests); i++) {
		(void)setup(state);
		starts = 0;
		guest = guests[i];
		while_it_ends = look_whether_it_is_off;
		run_all();
		assert_int_equal(starts, 1);
		assert_int_equal(looks_at_its_end, i + 1);
		while_it_ends = NULL;
	}
}

/* Once. None of its vCPUs has stopped. */
static void kill_and_start(struct vcpu *v)
{
	bool on;

	if (starts > 1) {
		power_off(v);
		return;
	}
	assert_int_equal(vm_start("alpha"), ERR_EXIST);
	assert_int_equal(vm_stay_off("alpha"), ERR_EXIST);
	assert_int_equal(vm_kill(v->vm), 0);
	assert_int_equal(vm_start("alpha"), 0);
	assert_int_equal(lifted(), WEIGHT_LIFT);
	on = wait_lock(&vm_wait);
	assert_false(vm_any_plan()); /* or the manager goes round until it has ended */
	wait_unlock(&vm_wait, on);
	assert_int_equal(vm_start("alpha"), ERR_EXIST);
}

static void look_whether_it_starts(void)
{
	looks_at_its_end += vm_may_start("alpha");
}

/* As an operator does who types `vm kill`, and `vm start` at once. */
static void starts_though_it_just_ends(void **state)
{
	starts = looks_at_its_end = 0;
	guest = kill_and_start;
	while_it_ends = look_whether_it_starts;
	run_all();
	assert_int_equal(starts, 2);
	assert_int_equal(looks_at_its_end, 1); /* not at the second end */
	wait_for_ends();
	assert_int_equal(lifted(), 0);
}

static void keep_alpha_off(void)
{
	assert_true(vm_may_start("alpha"));
	assert_int_equal(vm_stay_off("alpha"), 0);
	wait_for_manager();
}

static void end_all(void)
{
	vm_end_all();
	wait_for_manager();
}

/* A VM that is to start again, and is told not to while it is taken apart. */
static void stays_off_after_its_end(void **state)
{
	void (*const ways[])(void) = {keep_alpha_off, end_all};

	for (u32 i = 0; i < ARRAY_SIZE(ways); i++) {
		starts = 0;
		guest = i ? crash : reset_always;
		config.vms[0].restart_on_crash = true;
		while_it_ends = ways[i];
		run_all();
		assert_int_equal(starts, 1);
	}
}

static void ask_for_beta(void)
{
	if (alpha_is_gone())
		return;
	set(&beta_is_asked);
	assert_int_equal(vm_start("beta"), 0);
	WAIT_FOR(is_set(&beta_loads));
}

/* It starts again though its end was over when nothing else was left to be done. */
static void an_end_beside_the_last_look(void **state)
{
	add_beta();
	guest = reset_once;
	beta_fails = true;
	while_it_ends = ask_for_beta;
	run_all();
	assert_int_equal(starts, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_end_waits_for_no_load, setup, teardown),
		cmocka_unit_test_setup_teardown(a_start_waits_for_an_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refusal_waits_for_an_end, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_to_wait_for, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_in_a_hurry, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waits_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(is_off_while_it_is_taken_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_after_its_end, setup, teardown),
		cmocka_unit_test_setup_teardown(is_said_to_be_off_once, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_though_it_just_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(an_end_beside_the_last_look, setup, teardown),
		cmocka_unit_test_setup_teardown(stays_off_after_its_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reference_delays_the_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
