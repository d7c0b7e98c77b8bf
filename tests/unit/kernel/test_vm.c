/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/vm.c kernel/vm_end.c kernel/vm_make.c kernel/vm_life.c kernel/vm_list.c
 *	kernel/restart.c kernel/admission.c
 */
/* unit-libs: -Wl,--wrap=thread_create_with -Wl,--wrap=thread_create */
/*
 * The manager: VMs from their start to their end, and those that do not come so far. Their parts
 * are counted, not made; the vCPUs are real threads that do what the test says.
 */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/admission.h"
#include "kernel/apic_page.h"
#include "kernel/config_cpus.h"
#include "kernel/console.h"
#include "kernel/dev/platform.h"
#include "kernel/guest/loader.h"
#include "kernel/rma.h"
#include "kernel/vcpu.h"
#include "kernel/vm_memory.h"
#include "kernel/vm_private.h"
#include "mem/frame.h"
#include "mem/reclaim.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VCPUS	4
#define NOWHERE (~0u)

static struct weir_config config;
/* atomic */
static u32 ran, starts;
static s32 parts; /* made and not yet taken apart */
static u32 threads_made, fail_at, no_memory;
static void (*guest)(struct vcpu *v); /* what vCPU 0 does, once for each start */
/* atomic; "alpha" */
static u32 alphas_gone;	   /* how often nothing of it was left */
static bool alpha_has_all; /* no thread of another can be made while it is there */
static bool alpha_has_ram; /* nor is one loaded; */
static bool alpha_is_owed; /* or admitted */
static bool alpha_has_ended, beta_is_asked, beta_loads, beta_has_failed;
static void (*while_it_ends)(void); /* before its devices go */

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

static void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_SEQ_CST);
}

static bool alpha_is_gone(void)
{
	return __atomic_load_n(&alphas_gone, __ATOMIC_SEQ_CST) != 0;
}

/* Of what does not come for long the test fails. */
#define WAIT_US 30000000u
#define WAIT_FOR(condition)                                   \
	do {                                                  \
		for (u32 us_ = 0; !(condition); us_ += 100) { \
			assert_true(us_ < WAIT_US);           \
			usleep(100);                          \
		}                                             \
	} while (0)

static void made(void)
{
	__atomic_fetch_add(&parts, 1, __ATOMIC_SEQ_CST);
}

static void unmade(void)
{
	__atomic_fetch_sub(&parts, 1, __ATOMIC_SEQ_CST);
}

int __real_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options);
int __wrap_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options);

int __wrap_thread_create_with(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			      const struct thread_options *options)
{
	if (threads_made == fail_at)
		return ERR_NOMEM;
	if (is_set(&alpha_has_all) && strcmp(name, "alpha") && !alpha_is_gone()) {
		set(&beta_has_failed);
		return ERR_NOMEM;
	}
	if (no_memory) {
		no_memory--;
		return ERR_NOMEM;
	}
	threads_made++;
	return __real_thread_create_with(out, name, fn, arg, options);
}

int __real_thread_create(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			 u32 cpu);

static bool no_thread_for_ends;

int __wrap_thread_create(struct thread **out, const char *name, void (*fn)(void *), void *arg,
			 u32 cpu)
{
	return no_thread_for_ends ? ERR_NOMEM : __real_thread_create(out, name, fn, arg, cpu);
}

/* --- vCPUs --- */

void vcpu_main(struct vcpu *v, const struct vmx_start *start)
{
	__atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
	assert_int_equal(start != NULL, v->id == 0);
	if (v->id == 0) {
		starts++;
		guest(v);
	}
	while (__atomic_load_n(&v->vm->end, __ATOMIC_SEQ_CST) == VM_END_NONE)
		usleep(100);
	vm_vcpu_stopped(v);
}

void vcpu_request(struct vcpu *v, u64 bits)
{
}

/* --- parts --- */

static struct gmem ram;

int gmem_create_order(u64 pages, u32 order, struct gmem **out)
{
	made();
	*out = &ram;
	return 0;
}

void gmem_unref(struct gmem *g)
{
	unmade();
}

int mmu_vm_create(struct mmu_vm *vm, enum mmu_kind kind)
{
	vm->kind = kind;
	made();
	return 0;
}

void mmu_vm_destroy(struct mmu_vm *vm)
{
	unmade();
}

static u32 helps; /* times that there is something to be taken */

bool reclaim_help(struct reclaim_target *t, u32 order)
{
	assert_null(t);
	assert_int_equal(order, GMEM_LARGE_ORDER);
	return helps && helps--;
}

static struct reclaim_room room = {.total = GIB(1) / PAGE_SIZE};

void reclaim_get_room(struct reclaim_room *out)
{
	*out = room;
	if (alpha_is_owed && out->promised) {
		WAIT_FOR(is_set(&alpha_has_ended));
		set(&beta_has_failed);
	}
}

void reclaim_add(struct reclaim_target *t, struct gmem *object, const struct reclaim_terms *terms)
{
	assert_ptr_equal(object, &ram);
	t->terms = *terms;
	__atomic_fetch_add(&room.promised, terms->costs, __ATOMIC_SEQ_CST);
	made();
}

void reclaim_remove(struct reclaim_target *t)
{
	__atomic_fetch_sub(&room.promised, t->terms.costs, __ATOMIC_SEQ_CST);
	unmade();
}

int apic_page_create(struct vm *vm, u32 slot)
{
	made();
	vm->apic_page.pinned = true;
	return 0;
}

void apic_page_destroy(struct vm *vm)
{
	if (vm->apic_page.pinned)
		unmade();
}

int platform_create(struct vm *vm, struct platform **out)
{
	made();
	*out = (struct platform *)vm;
	return 0;
}

void platform_destroy(struct platform *p)
{
	if (while_it_ends && !strcmp(((struct vm *)p)->name, "alpha"))
		while_it_ends();
	unmade();
}

int platform_vcpu_create(struct vcpu *v)
{
	made();
	v->lapic = (struct lapic *)v;
	return 0;
}

void platform_vcpu_destroy(struct vcpu *v)
{
	if (v->lapic)
		unmade();
	v->lapic = NULL;
}

int console_vm_add(struct vm *vm)
{
	/* Of one that had its name nothing is left. */
	if (config.vm_count == 1)
		assert_int_equal(__atomic_load_n(&parts, __ATOMIC_SEQ_CST), 0);
	made();
	vm->console = (struct vm_console *)vm;
	return 0;
}

void console_vm_remove(struct vm *vm)
{
	if (vm->console)
		unmade();
	vm->console = NULL;
}

#define NOTHING(name, ...)      \
	void name(__VA_ARGS__); \
	void name(__VA_ARGS__)  \
	{                       \
	}
#define ANSWER(type, name, value, ...) \
	type name(__VA_ARGS__);        \
	type name(__VA_ARGS__)         \
	{                              \
		return value;          \
	}

NOTHING(vm_look_for_memory, struct vm *vm)
NOTHING(gmem_set_account, struct gmem *g, struct gmem_account *a)
NOTHING(gmem_set_share_group, struct gmem *g, u32 group)
NOTHING(swap_audit, void)
NOTHING(gmem_on_lost, struct gmem *g, void (*fn)(void *arg, u64 index, u64 block, int err),
	void *arg)
NOTHING(vm_rma_watch, struct vm *vm)
NOTHING(vm_rma_unwatch, struct vm *vm)
NOTHING(platform_console_flush, struct platform *p)
NOTHING(platform_resume, struct platform *p)
NOTHING(platform_nmi, struct platform *p)
NOTHING(stats_vm_add, struct vm *vm)
NOTHING(stats_vm_remove, struct vm *vm)
NOTHING(stats_log_vm, struct vm *vm)
NOTHING(stats_log_weir, void)
NOTHING(mmu_stats_get, struct mmu_vm *vm, struct mmu_stats *out)
NOTHING(frame_get_stats, struct frame_stats *s)
NOTHING(vmx_vcpu_dump, struct vmx_vcpu *v)
NOTHING(config_cpus_text, u64 cpus, char *text, size_t size)
NOTHING(sched_group_init, struct sched_group *g, u32 weight, u32 cap)
NOTHING(sched_group_destroy, struct sched_group *g)
ANSWER(int, vm_rma_create, 0, struct vm *vm, char *message, size_t size)
ANSWER(int, memslot_create, 0, struct mmu_vm *vm, u32 id, gfn_t base, u64 pages, struct gmem *g,
       u64 offset, u32 flags)
NOTHING(images_start, const struct weir_config *c)
NOTHING(images_bring_back, void (*all_are_back)(void))
ANSWER(u64, gmem_touched_peak, 0, const struct gmem *g)
ANSWER(bool, vmx_cpu_ready, true, u32 cpu)
ANSWER(int, gpa_read, ERR_NOSLOT, struct mmu_vm *vm, gpa_t gpa, void *buf, u64 size)

void vm_rma_destroy(struct vm *vm)
{
	if (!strcmp(vm->name, "alpha"))
		__atomic_fetch_add(&alphas_gone, 1, __ATOMIC_SEQ_CST);
}

static bool loads_when_alpha_is_gone, beta_fails;
static bool unwanted_while_it_loads, asked_while_it_loads;

int loader_load(struct vm *vm, struct vmx_start *start, char *message, size_t size)
{
	if (unwanted_while_it_loads)
		assert_int_equal(vm_stay_off(vm->name), 0);
	if (asked_while_it_loads && starts == 1)
		assert_int_equal(vm_start(vm->name), 0);
	if (alpha_has_all && !strcmp(vm->name, "beta"))
		WAIT_FOR(is_set(&alpha_has_ended));
	if (alpha_has_ram && !strcmp(vm->name, "beta")) {
		WAIT_FOR(is_set(&alpha_has_ended));
		if (!alpha_is_gone()) {
			set(&beta_has_failed);
			snprintf(message, size, "no memory for what is loaded");
			return ERR_NOMEM;
		}
	}
	if (beta_fails && !strcmp(vm->name, "beta")) {
		if (is_set(&beta_is_asked)) {
			set(&beta_loads);
			WAIT_FOR(alpha_is_gone());
			usleep(20000);
		}
		return ERR_INVAL;
	}
	if (loads_when_alpha_is_gone && !strcmp(vm->name, "beta")) {
		set(&beta_loads);
		WAIT_FOR(alpha_is_gone());
	}
	return 0;
}

/* --- the tests --- */

static int setup(void **state)
{
	memset(&config, 0, sizeof(config));
	config.vm_count = 1;
	config.vms[0] = (struct vm_config){.name = "alpha", .mem = MIB(256), .vcpus = VCPUS};
	ran = starts = threads_made = 0;
	parts = 0;
	fail_at = NOWHERE;
	no_memory = helps = 0;
	alphas_gone = 0;
	alpha_has_all = alpha_has_ram = alpha_is_owed = false;
	alpha_has_ended = beta_is_asked = beta_loads = beta_fails = beta_has_failed =
		loads_when_alpha_is_gone = false;
	while_it_ends = NULL;
	hosted_log_reset();
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(parts, 0);
	assert_true(vm_list_empty());
	return 0;
}

static void power_off(struct vcpu *v)
{
	vm_request_end(v->vm, VM_END_POWEROFF, 0);
}

static void crash(struct vcpu *v)
{
	vm_request_end(v->vm, VM_END_CRASH, 0);
}

static void reset_twice(struct vcpu *v)
{
	vm_request_end(v->vm, starts <= 2 ? VM_END_RESET : VM_END_POWEROFF, 0);
}

static void all_run_and_end(void **state)
{
	guest = power_off;
	vm_run_all(&config);
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
		vm_run_all(&config);
		assert_int_equal(threads_made, i);
		assert_int_equal(ran, 0);
		assert_int_equal(parts, 0);
	}
}

static void reset_starts_again(void **state)
{
	guest = reset_twice;
	vm_run_all(&config);
	assert_int_equal(starts, 3);
	assert_int_equal(ran, 3 * VCPUS);
}

static void crash_stays_down(void **state)
{
	guest = crash;
	vm_run_all(&config);
	assert_int_equal(starts, 1);
}

static void crash_starts_again_so_often(void **state)
{
	config.vms[0].restart_on_crash = true;
	guest = crash;
	vm_run_all(&config);
	assert_int_equal(starts, RESTART_CRASHES_MAX + 1);
}

static void reset_always(struct vcpu *v)
{
	vm_request_end(v->vm, VM_END_RESET, 0);
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
		vm_run_all(&config);
		thread_join(t);
	}
	assert_int_equal(vm_stay_off("alpha"), ERR_NOENT);
}

static void add_beta(void)
{
	config.vm_count = 2;
	config.vms[1] = (struct vm_config){.name = "beta", .mem = MIB(1), .vcpus = 1};
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
		vm_run_all(&config);
		thread_join(t);
	}
}

static void idle(struct vcpu *v)
{
}

/* Who is told to stay off while it is made ends when it is. */
static void who_loads_can_be_told_to_stay_off(void **state)
{
	guest = idle;
	unwanted_while_it_loads = true;
	vm_run_all(&config);
	unwanted_while_it_loads = false;
	assert_int_equal(starts, 1);
}

static void reset_once(struct vcpu *v)
{
	vm_request_end(v->vm, starts == 1 ? VM_END_RESET : VM_END_POWEROFF, 0);
}

/* Who is asked for while it is made again has been started by that: it stays off after its end. */
static void who_loads_is_started_once(void **state)
{
	guest = reset_once;
	asked_while_it_loads = true;
	vm_run_all(&config);
	asked_while_it_loads = false;
	assert_int_equal(starts, 2);
}

/* While somebody has a reference nothing is taken apart. */
static struct vm *held;

static void hold_and_power_off(struct vcpu *v)
{
	held = vm_find("alpha");
	vm_request_end(v->vm, VM_END_POWEROFF, 0);
}

static void put_later(void *arg)
{
	while (!__atomic_load_n(&held, __ATOMIC_SEQ_CST) || held->end == VM_END_NONE)
		usleep(100);
	usleep(20000);
	/*
	 * All parts: RAM, its place in reclaim, MMU, platform, console, the APIC-access page, and a
	 * local APIC for each vCPU.
	 */
	assert_int_equal(__atomic_load_n(&parts, __ATOMIC_SEQ_CST), 6 + VCPUS);
	vm_put(held);
}

static void a_reference_delays_the_end(void **state)
{
	struct thread *t;

	held = NULL;
	guest = hold_and_power_off;
	assert_int_equal(thread_create(&t, "holder", put_later, NULL, 0), 0);
	vm_run_all(&config);
	thread_join(t);
}

/* Memory that others do not use is taken for a VM that starts, whatever part of it finds none. */
static void starts_on_what_others_give(void **state)
{
	guest = power_off;
	no_memory = 5;
	helps = 7;
	vm_run_all(&config);
	assert_int_equal(ran, VCPUS);
	assert_int_equal(helps, 2);
}

static void not_on_what_is_not_there(void **state)
{
	guest = power_off;
	no_memory = 1000;
	helps = 3;
	vm_run_all(&config);
	assert_int_equal(ran, 0);
	assert_int_equal(no_memory, 1000 - 4);
	helps = 1000; /* nor does it try for ever */
	vm_run_all(&config);
	assert_true(no_memory > 900);
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
	vm_run_all(&config);
	assert_int_equal(ran, VCPUS + 1);
}

static void wait_for_failure(void)
{
	WAIT_FOR(is_set(&beta_has_failed));
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
	vm_run_all(&config);
	assert_int_equal(ran, VCPUS + 1);
	assert_true(beta_has_failed);
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
		vm_run_all(&config);
		assert_int_equal(ran, VCPUS + 1);
		assert_true(beta_has_failed && hosted_log_count(LOG_ERROR) == 0);
	}
}

static void start_alpha(void)
{
	if (!alpha_is_gone())
		assert_int_equal(vm_start("alpha"), 0);
	usleep(20000);
	assert_null(vm_find("alpha"));
}

/* Asked for while it is taken apart it starts when that is done. */
static void starts_after_its_end(void **state)
{
	guest = power_off;
	while_it_ends = start_alpha;
	vm_run_all(&config);
	assert_int_equal(starts, 2);
}

static void keep_alpha_off(void)
{
	assert_true(vm_may_start("alpha"));
	assert_int_equal(vm_stay_off("alpha"), 0);
}

static void end_all(void)
{
	vm_end_all();
	usleep(20000);
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
		vm_run_all(&config);
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
	vm_run_all(&config);
	assert_int_equal(starts, 2);
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
		vm_run_all(&config);
		assert_int_equal(ran, cases[i].ran);
		assert_int_equal(room.promised, 0);
	}
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
	vm_run_all(&config);
	assert_int_equal(vm_start("alpha"), 0);
	vm_run_asked(&config, nothing_is_planned);
	assert_int_equal(hosted_log_count(LOG_ERROR), 2);
	no_thread_for_ends = false;
	assert_int_equal(vm_start("alpha"), 0);
	vm_run_asked(&config, nothing_is_planned);
	assert_int_equal(starts, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(none_runs_that_cannot_end, setup, teardown),
		cmocka_unit_test_setup_teardown(all_run_and_end, setup, teardown),
		cmocka_unit_test_setup_teardown(one_has_no_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_starts_again, setup, teardown),
		cmocka_unit_test_setup_teardown(crash_stays_down, setup, teardown),
		cmocka_unit_test_setup_teardown(crash_starts_again_so_often, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waits_can_be_told_to_stay_off, setup, teardown),
		cmocka_unit_test_setup_teardown(none_comes_back_after_the_end_of_all, setup,
						teardown),
		cmocka_unit_test_setup_teardown(who_loads_can_be_told_to_stay_off, setup, teardown),
		cmocka_unit_test_setup_teardown(who_loads_is_started_once, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_on_what_others_give, setup, teardown),
		cmocka_unit_test_setup_teardown(not_on_what_is_not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(promises_must_fit, setup, teardown),
		cmocka_unit_test_setup_teardown(an_end_waits_for_no_load, setup, teardown),
		cmocka_unit_test_setup_teardown(a_start_waits_for_an_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refusal_waits_for_an_end, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_after_its_end, setup, teardown),
		cmocka_unit_test_setup_teardown(an_end_beside_the_last_look, setup, teardown),
		cmocka_unit_test_setup_teardown(stays_off_after_its_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reference_delays_the_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
