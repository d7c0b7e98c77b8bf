/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/vm.c kernel/vm_end.c kernel/vm_make.c kernel/vm_life.c kernel/vm_list.c
 *	kernel/vm_memory.c kernel/restart.c kernel/admission.c tests/unit/kernel/vm_parts.c
 */
/* unit-libs: -Wl,--wrap=thread_create_with,--wrap=thread_create,--wrap=vm_any_plan,--wrap=vm_list_take_stopped,--wrap=clock_ns */
/* The manager: VMs from their start to their end, and those that do not come so far. */
#include "kernel/admission.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/restart.h"
#include "kernel/vm_private.h"
#include "mmu/shadow.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/kernel/vm_parts.h"

/* Between a reset and the next start a VM waits for up to a second. */
#define TIMES_FASTER 10

static u64 loads_ns; /* atomic: how long loads took beside that */

u64 __real_clock_ns(void);
u64 __wrap_clock_ns(void);

u64 __wrap_clock_ns(void)
{
	return TIMES_FASTER * __real_clock_ns() + __atomic_load_n(&loads_ns, __ATOMIC_SEQ_CST);
}

static void reset_twice(struct vcpu *v)
{
	vm_request_end(v->vm, starts <= 2 ? VM_END_RESET : VM_END_POWEROFF, 0);
}

static void all_run_and_end(void **state)
{
	guest = power_off;
	run_all();
	assert_int_equal(ran, VCPUS);
	assert_int_equal(starts, 1);
}

/* Those that have a thread never run, and everything goes back. */
static void one_has_no_thread(void **state)
{
	guest = power_off;
	for (u32 i = 0; i < VCPUS; i++) {
		threads_made = 0;
		fail_at = i;
		run_all();
		assert_int_equal(threads_made, i);
		assert_int_equal(ran, 0);
		assert_int_equal(parts, 0);
	}
}

static void reset_starts_again(void **state)
{
	guest = reset_twice;
	run_all();
	assert_int_equal(starts, 3);
	assert_int_equal(ran, 3 * VCPUS);
}

static void check_spent(void)
{
	assert_int_equal(starts, 1);
	assert_int_equal(released, 1);
	assert_true(vm_is_spent("alpha"));
	assert_int_equal(vm_start("alpha"), ERR_PERM);
	assert_false(vm_may_start("alpha"));
}

/* However it ends; the guest that wanted to go on is told of. */
static void starts_once_without_modules(void **state)
{
	void (*const ends[])(struct vcpu * v) = {reset_always, crash, power_off};

	for (u32 i = 0; i < ARRAY_SIZE(ends); i++) {
		starts = released = 0;
		hosted_log_reset();
		config.vms[0].release_modules = true;
		guest = ends[i];
		run_all();
		check_spent();
		assert_int_equal(hosted_log_count(LOG_WARN), i == 0);
	}
}

/* Not before: one that could not be started may be, later. */
static void modules_stay_until_it_starts(void **state)
{
	config.vms[0].release_modules = true;
	guest = power_off;
	fail_at = 0;
	run_all();
	assert_int_equal(starts + released, 0);
	assert_false(vm_is_spent("alpha"));
	fail_at = NOWHERE;
	unwanted_while_it_loads = true;
	run_all();
	unwanted_while_it_loads = false;
	assert_int_equal(starts + released, 0);
	assert_false(vm_is_spent("alpha"));
	run_all();
	check_spent();
}

static void modules_stay_without_the_word(void **state)
{
	guest = reset_twice;
	run_all();
	assert_int_equal(starts, 3);
	assert_int_equal(released, 0);
	assert_false(vm_is_spent("alpha") || vm_is_spent("nobody"));
}

static void crash_stays_down(void **state)
{
	guest = crash;
	run_all();
	assert_int_equal(starts, 1);
}

static void crash_starts_again_so_often(void **state)
{
	config.vms[0].restart_on_crash = true;
	guest = crash;
	run_all();
	assert_int_equal(starts, RESTART_CRASHES_MAX + 1);
}

static void load_slowly(void)
{
	__atomic_fetch_add(&loads_ns, RESTART_STABLE_NS + 1, __ATOMIC_SEQ_CST);
}

/* Or it does so for ever. */
static void crash_so_often(struct vcpu *v)
{
	vm_request_end(v->vm, starts > RESTART_CRASHES_MAX + 1 ? VM_END_POWEROFF : VM_END_CRASH, 0);
}

/* A guest that crashes at once crashes in a row, however long it takes to load. */
static void a_load_is_no_run(void **state)
{
	config.vms[0].restart_on_crash = true;
	guest = crash_so_often;
	while_it_loads = load_slowly;
	run_all();
	assert_int_equal(starts, RESTART_CRASHES_MAX + 1);
}

static void wait_for_starts(u32 n)
{
	while (__atomic_load_n(&starts, __ATOMIC_SEQ_CST) < n)
		usleep(100);
}

/* It waits most of the time, and runs for moments: wherever it is met it does not come back. */
static void stay_off_later(void *arg)
{
	wait_for_starts(2);
	usleep(random() % 30000);
	assert_int_not_equal(vm_stay_off("alpha"), ERR_NOENT);
	assert_false(vm_may_start("alpha"));
}

static void who_waits_can_be_told_to_stay_off(void **state)
{
	struct thread *t;

	assert_int_equal(vm_stay_off("nobody"), ERR_NOENT);
	guest = reset_always;
	for (u32 i = 0; i < 3; i++) {
		starts = 0;
		assert_int_equal(thread_create(&t, "operator", stay_off_later, NULL, 0), 0);
		run_all();
		thread_join(t);
	}
	assert_int_equal(vm_stay_off("alpha"), ERR_NOENT);
}

static void end_all_later(void *arg)
{
	wait_for_starts(3);
	usleep(random() % 30000);
	vm_end_all();
}

/* Whatever each of them does at that moment. */
static void none_comes_back_after_the_end_of_all(void **state)
{
	struct thread *t;

	add_beta();
	for (u32 i = 0; i < 3; i++) {
		starts = 0;
		guest = reset_always;
		assert_int_equal(thread_create(&t, "operator", end_all_later, NULL, 0), 0);
		run_all();
		thread_join(t);
	}
}

static bool at_once(void)
{
	return true;
}

static void idle(struct vcpu *v)
{
}

/* Who is told to stay off while it is made never runs, nor is said to have been started. */
static void who_loads_can_be_told_to_stay_off(void **state)
{
	guest = idle;
	unwanted_while_it_loads = true;
	run_all();
	unwanted_while_it_loads = false;
	assert_int_equal(ran, 0);
	assert_int_equal(parts, 0);
	/* That it stays off, and that all have ended. */
	assert_int_equal(hosted_log_count(LOG_INFO), 2);
	assert_int_equal(vm_stay_off("alpha"), ERR_NOENT);
	/* Asked for again it runs. */
	guest = power_off;
	assert_int_equal(vm_start("alpha"), 0);
	vm_run_asked(&config, at_once);
	assert_int_equal(ran, VCPUS);
}

static u32 loads;

static void count_load(void)
{
	loads++;
}

/* Nor is memory looked for any more, or said to be missing. */
static void who_finds_no_memory_can_be_told_to_stay_off(void **state)
{
	guest = idle;
	while_it_loads = count_load;
	unwanted_while_it_loads = true;
	threads_made = loads = 0;
	fail_at = 0;
	helps = 3;
	run_all();
	unwanted_while_it_loads = false;
	while_it_loads = NULL;
	assert_int_equal(loads, 1);
	assert_int_equal(helps, 3);
	helps = 0;
	assert_int_equal(parts, 0);
	assert_int_equal(hosted_log_count(LOG_INFO), 2);
	assert_int_equal(hosted_log_count(LOG_ERROR) + hosted_log_count(LOG_WARN), 0);
}

/* Who is asked for while it is made again has been started by that: it stays off after its end. */
static void who_loads_is_started_once(void **state)
{
	guest = reset_once;
	asked_while_it_loads = true;
	run_all();
	asked_while_it_loads = false;
	assert_int_equal(starts, 2);
}

/* Memory that others do not use is taken for a VM that starts, whatever part of it finds none. */
static void starts_on_what_others_give(void **state)
{
	guest = power_off;
	no_memory = 5;
	helps = 7;
	run_all();
	assert_int_equal(ran, VCPUS);
	assert_int_equal(helps, 2);
}

static void not_on_what_is_not_there(void **state)
{
	guest = power_off;
	no_memory = 1000;
	helps = 3;
	run_all();
	assert_int_equal(ran, 0);
	assert_int_equal(no_memory, 1000 - 4);
	helps = 1000; /* nor does it try for ever */
	run_all();
	assert_int_equal(no_memory, 1000 - 4 - VM_START_TRIES);
}

/* Not before each of three has run, or was refused: an end makes room. */
static void power_off_last(struct vcpu *v)
{
	WAIT_FOR(__atomic_load_n(&ran, __ATOMIC_SEQ_CST) + hosted_log_count(LOG_ERROR) == 3);
	power_off(v);
}

/* VMs are promised no more than there is; who is too late says so, and the others run. */
static void promises_must_fit(void **state)
{
	static const struct {
		u64 mem[3], min[3];
		u32 order, ran;
	} cases[] = {
		{{GIB(4), GIB(4), GIB(4)}, {0}, 0, 3},
		{{GIB(1), GIB(1), GIB(1)}, {MIB(500), MIB(500), 0}, 0, 3},
		{{GIB(1), GIB(1), GIB(1)}, {MIB(500), MIB(600), MIB(500)}, 0, 2},
		{{GIB(2), MIB(512), MIB(510)}, {0}, 9, 1},
	};

	char message[256];
	struct vm_config big = {.mem = GIB(1), .min = MIB(600), .vcpus = 1};

	room.promised = 1000;
	assert_int_equal(vm_admit(&big, message, sizeof(message)), 0);
	big.min = GIB(1);
	assert_int_equal(vm_admit(&big, message, sizeof(message)), ERR_NOSPC);
	assert_string_equal(message,
			    "min=1G and what the VM costs besides are 1055072K, others were "
			    "promised 4000K of the 1048576K that there are: give less min=, start "
			    "fewer VMs, or give the machine more");
	room.promised = 0;
	guest = power_off_last;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		config.vm_count = 3;
		ran = 0;
		hosted_log_reset();
		for (u32 k = 0; k < 3; k++)
			config.vms[k] = (struct vm_config){
				.name = {(char)('a' + k)},
				.mem = cases[i].mem[k],
				.min = cases[i].min[k],
				.page_order = cases[i].order,
				.vcpus = 1,
			};
		run_all();
		assert_int_equal(ran, cases[i].ran);
		assert_int_equal(room.promised, 0);
	}
}

/*
 * With shadow paging a VM costs what it may have of it however little there is, whoever chose that.
 */
static void shadow_pages_cost(void **state)
{
	struct vm_config c = {.mem = GIB(1), .min = MIB(600), .vcpus = 4, .mmu = CONFIG_MMU_EPT};
	u64 costs = vm_terms(&c).costs, shadow = 2 * mmu_shadow_least(4);

	c.mmu = CONFIG_MMU_AUTO;
	assert_int_equal(vm_terms(&c).costs, costs);
	c.mmu = CONFIG_MMU_SHADOW;
	assert_int_equal(vm_terms(&c).costs, costs + shadow);
	c.mmu = CONFIG_MMU_AUTO;
	cpus_have_ept = false;
	assert_int_equal(vm_terms(&c).costs, costs + shadow);
	c.vcpus = 1;
	assert_true(vm_terms(&c).costs < costs + shadow - 2 * 3 * SHADOW_LEAST_VCPU);
	cpus_have_ept = true;
}

static bool nothing_is_planned(void)
{
	return !vm_any_plan();
}

/* Without the thread that takes VMs apart none runs, by hand neither. The first test: it is made once. */
static void none_runs_that_cannot_end(void **state)
{
	no_thread_for_ends = true;
	guest = power_off;
	run_all();
	assert_int_equal(vm_start("alpha"), 0);
	vm_run_asked(&config, nothing_is_planned);
	assert_int_equal(hosted_log_count(LOG_ERROR), 2);
	no_thread_for_ends = false;
	assert_int_equal(vm_start("alpha"), 0);
	vm_run_asked(&config, nothing_is_planned);
	assert_int_equal(starts, 1);
}

/* The operator asks for it while the manager is about to end Weir, and leaves the monitor. */
static void a_start_that_was_promised(void **state)
{
	starts = 0;
	guest = power_off;
	run_all();
	assert_int_equal(starts, 1);
	assert_int_equal(vm_start("alpha"), 0);
	vm_run_asked(&config, at_once);
	assert_int_equal(starts, 2);
	/* Nor does one that was taken back keep Weir. */
	assert_int_equal(vm_start("alpha"), 0);
	vm_end_all();
	vm_run_asked(&config, at_once);
	assert_int_equal(starts, 2);
}

/* An operator is there from early on, and VMs start when Weir is ready for them. */
static void what_was_said_before(void **state)
{
	starts = 0;
	guest = power_off;
	add_beta();
	vm_list_init(&config);
	assert_int_equal(vm_stay_off("alpha"), 0);
	assert_int_equal(vm_start("beta"), 0);
	vm_run_all(&config, is_decided);
	assert_int_equal(starts, 1);
	assert_int_equal(ran, 1);
	assert_int_equal(vm_stay_off("alpha"), ERR_NOENT);
	vm_list_init(&config);
	vm_end_all();
	vm_run_all(&config, is_decided);
	assert_int_equal(starts, 1);
}

/* Nor does one that was asked for before. */
static void none_starts_where_none_can(void **state)
{
	starts = 0;
	guest = power_off;
	vm_list_init(&config);
	assert_int_equal(vm_start("alpha"), 0);
	vm_refuse_all();
	assert_int_equal(vm_start("alpha"), ERR_PERM);
	assert_false(vm_may_start("alpha"));
	assert_int_equal(vm_stay_off("alpha"), ERR_NOENT);
	vm_run_asked(&config, at_once);
	assert_int_equal(starts, 0);
}

static void end_weir(struct vcpu *v)
{
	set(&decided);
	power_off(v);
}

/* Nobody waits for modules of VMs that will not start. */
static void nothing_comes_back_for_the_end(void **state)
{
	guest = power_off;
	brought_back = 0;
	run_all();
	assert_int_equal(brought_back, 1);
	guest = end_weir;
	run_all();
	assert_int_equal(brought_back, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(none_runs_that_cannot_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_start_that_was_promised, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_said_before, setup, teardown),
		cmocka_unit_test_setup_teardown(none_starts_where_none_can, setup, teardown),
		cmocka_unit_test_setup_teardown(all_run_and_end, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_comes_back_for_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(one_has_no_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_starts_again, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_once_without_modules, setup, teardown),
		cmocka_unit_test_setup_teardown(modules_stay_until_it_starts, setup, teardown),
		cmocka_unit_test_setup_teardown(modules_stay_without_the_word, setup, teardown),
		cmocka_unit_test_setup_teardown(crash_stays_down, setup, teardown),
		cmocka_unit_test_setup_teardown(crash_starts_again_so_often, setup, teardown),
		cmocka_unit_test_setup_teardown(a_load_is_no_run, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waits_can_be_told_to_stay_off, setup, teardown),
		cmocka_unit_test_setup_teardown(none_comes_back_after_the_end_of_all, setup,
						teardown),
		cmocka_unit_test_setup_teardown(who_loads_can_be_told_to_stay_off, setup, teardown),
		cmocka_unit_test_setup_teardown(who_finds_no_memory_can_be_told_to_stay_off, setup,
						teardown),
		cmocka_unit_test_setup_teardown(who_loads_is_started_once, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_on_what_others_give, setup, teardown),
		cmocka_unit_test_setup_teardown(not_on_what_is_not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(promises_must_fit, setup, teardown),
		cmocka_unit_test_setup_teardown(shadow_pages_cost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
