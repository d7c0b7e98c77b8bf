/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/vcpu.c kernel/restart.c kernel/vm_life.c kernel/vm_list.c
 *	tests/unit/kernel/vcpu_idle.c
 */
/*
 * Pausing, resuming, ending and looking at a VM from other threads, its vCPUs being real threads in
 * the real loop. Instead of a guest each vCPU has something that it does again and again.
 */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "kernel/apic_page.h"
#include "kernel/dev/lapic.h"
#include "kernel/dev/platform.h"
#include "kernel/hypercall.h"
#include "kernel/rma.h"
#include "kernel/vcpu.h"
#include "kernel/vm_memory.h"
#include "kernel/vm_private.h"
#include "mem/frame.h"
#include "mem/reclaim.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#define VCPUS  4
#define ROUNDS 300

/* What a vCPU meets, one each in turn: halted for good, waiting for memory, emulating, running. */
enum habit {
	HALTS,
	NO_MEMORY,
	EMULATES,
	RUNS,
};

struct vmx_vcpu {
	u32 id;
};

static struct lapic no_interrupts;
static struct vm machine;
static struct vcpu cpus[VCPUS];
static struct vmx_vcpu guests[VCPUS];
/* atomic */
static u32 runs[VCPUS]; /* entries into the guest, and emulations */
static u32 dumps[VCPUS], dumps_under_way, nmis, resumes;
static bool dumps_mixed;

static u32 look(const u32 *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void count(u32 *p)
{
	__atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST);
}

/* --- vmx/ --- */

/* atomic; memory is found again and again, and is gone again before an instruction has it */
static bool in_vain;

bool reclaim_help(struct reclaim_target *t, u32 order)
{
	usleep(100);
	return __atomic_load_n(&in_vain, __ATOMIC_SEQ_CST);
}

int vmx_vcpu_create(const struct vmx_config *config, struct vmx_vcpu **out)
{
	guests[config->vcpu_id].id = config->vcpu_id;
	*out = &guests[config->vcpu_id];
	return 0;
}

void vmx_vcpu_run(struct vmx_vcpu *v, struct vmx_exit *e)
{
	count(&runs[v->id]);
	*e = (struct vmx_exit){.kind = VMX_EXIT_NONE};
	switch ((enum habit)v->id) {
	case HALTS:
		e->kind = VMX_EXIT_HLT;
		break;
	case NO_MEMORY:
		e->kind = VMX_EXIT_NOMEM;
		break;
	case EMULATES:
		e->kind = VMX_EXIT_MMIO;
		break;
	case RUNS:
		usleep(50);
		break;
	}
}

int vcpu_emulate(struct vcpu *v, u32 port_size)
{
	usleep(500);
	count(&runs[v->id]);
	while (__atomic_load_n(&in_vain, __ATOMIC_SEQ_CST))
		vcpu_wait_for_memory(v);
	return 0;
}

int vcpu_emulate_write(struct vcpu *v, const struct vmx_table_write *w)
{
	return vcpu_emulate(v, 0);
}

void vmx_vcpu_dump(struct vmx_vcpu *v)
{
	if (__atomic_fetch_add(&dumps_under_way, 1, __ATOMIC_SEQ_CST))
		dumps_mixed = true;
	usleep(100);
	count(&dumps[v->id]);
	__atomic_fetch_sub(&dumps_under_way, 1, __ATOMIC_SEQ_CST);
}

/* atomic: how often each was asked for something */
static u32 kicks[VCPUS];

void vmx_vcpu_kick(struct vmx_vcpu *v)
{
	count(&kicks[v->id]);
}

NOTHING(vmx_inject_nmi, struct vmx_vcpu *v)
NOTHING(vmx_inject_interrupt, struct vmx_vcpu *v, u8 vector)
ANSWER(bool, vmx_interrupt_allowed, true, struct vmx_vcpu *v)
ANSWER(int, hypercall_quick, ERR_TOO_HARD, u64 *rax, u32 ss_access)

/* --- who is hurried: the scheduler's, here it is only told --- */

/* atomic */
static u32 hurries[2]; /* by how */
static u32 hurries_of[VCPUS];
static bool before_asked; /* more often than one was asked for something */

static u32 vcpu_of(const struct thread *t)
{
	u32 i = 0;

	while (cpus[i].thread != t)
		i++;
	return i;
}

void thread_hurry(struct thread *t, enum hurry how)
{
	u32 i = vcpu_of(t);

	__atomic_fetch_add(&t->hurried, 1, __ATOMIC_SEQ_CST);
	count(&hurries[how]);
	if (__atomic_add_fetch(&hurries_of[i], 1, __ATOMIC_SEQ_CST) > look(&kicks[i]))
		__atomic_store_n(&before_asked, true, __ATOMIC_SEQ_CST);
}

static u32 too_soon; /* how often it was taken back before they had done what they are asked for */

/* The lock of machine.life is held. */
void thread_hurry_no_more(struct thread *t)
{
	const struct vcpu *v = &cpus[vcpu_of(t)];

	__atomic_fetch_sub(&t->hurried, 1, __ATOMIC_SEQ_CST);
	if (v->dump_asked || (vm_is_paused(&machine) && !v->parked))
		count(&too_soon);
}

static bool all_hurried(s32 times)
{
	for (u32 i = 0; i < VCPUS; i++) {
		if (__atomic_load_n(&cpus[i].thread->hurried, __ATOMIC_SEQ_CST) != times)
			return false;
	}
	return true;
}

/* --- kernel/, mmu/, mem/ --- */

/* atomic; of each vCPU: how often its guest was told of a pause, and whether there is no memory for it */
static u32 told[VCPUS];
static bool cannot_tell;

int paravirt_was_paused(struct vcpu *v)
{
	if (__atomic_load_n(&cannot_tell, __ATOMIC_SEQ_CST))
		return ERR_NOMEM;
	count(&told[v->id]);
	return v->id == RUNS ? ERR_FAULT : 0; /* the page is gone: the guest's error */
}

NOTHING(mmu_vcpu_init, struct mmu_vcpu *v, struct mmu_vm *vm)
NOTHING(mmu_vcpu_destroy, struct mmu_vcpu *v)
ANSWER(bool, platform_interrupt_pending, false, struct vcpu *v)
ANSWER(bool, platform_injection_pending, false, struct vcpu *v)
ANSWER(int, platform_interrupt_ack, -1, struct vcpu *v)
ANSWER(bool, hypercall_take_kick, false, struct vcpu *v)
ANSWER(bool, hypercall_take_prod, false, struct vcpu *v)
ANSWER(enum hypercall_next, hypercall, HYPERCALL_GO_ON, struct vcpu *v, u64 rax)
void frame_get_stats(struct frame_stats *s)
{
	*s = (struct frame_stats){0};
}

void platform_resume(struct platform *p)
{
	count(&resumes);
}

void platform_nmi(struct platform *p)
{
	count(&nmis);
}

/* RAM up to 8 KiB. */
int gpa_read(struct mmu_vm *vm, gpa_t gpa, void *buf, u64 size)
{
	if (gpa.v + size > 8192)
		return ERR_NOSLOT;
	memset(buf, 'x', size);
	return 0;
}

/* --- Running one --- */

static struct weir_config config = {
	.vm_count = 3,
	.vms = {{.name = "alpha"}, {.name = "beta"}, {.name = "bad", .refused = true}},
};
static struct restart restart;

static void run_vcpu(void *arg)
{
	static const struct vmx_start start;

	vcpu_main(arg, &start);
}

static int setup(void **state)
{
	memset(&machine, 0, sizeof(machine));
	memset(cpus, 0, sizeof(cpus));
	memset(runs, 0, sizeof(runs));
	memset(dumps, 0, sizeof(dumps));
	memset(told, 0, sizeof(told));
	memset(kicks, 0, sizeof(kicks));
	memset(hurries, 0, sizeof(hurries));
	memset(hurries_of, 0, sizeof(hurries_of));
	before_asked = false;
	too_soon = 0;
	dumps_under_way = nmis = resumes = 0;
	dumps_mixed = false;
	vm_list_init(&config);
	strlcpy(machine.name, "alpha", sizeof(machine.name));
	machine.vcpu_count = VCPUS;
	machine.restart = &restart;
	vm_life_init_vm(&machine);
	for (u32 i = 0; i < VCPUS; i++) {
		cpus[i].vm = &machine;
		cpus[i].lapic = &no_interrupts;
		cpus[i].id = i;
		machine.vcpus[i] = &cpus[i];
	}
	assert_true(vm_list_add(&machine));
	for (u32 i = 0; i < VCPUS; i++)
		assert_int_equal(thread_create(&cpus[i].thread, "vcpu", run_vcpu, &cpus[i], 1 + i),
				 0);
	return 0;
}

void vm_ends_wake(void)
{
	wait_wake_all(&vm_wait);
}

NOTHING(vm_ends_hurry, void)
NOTHING(vm_ends_hurry_no_more, void)

static struct vm *take_stopped(void)
{
	struct vm *vm = NULL;
	u32 index;

	wait_event(&vm_wait, (vm = vm_list_take_stopped(&index)) != NULL);
	assert_int_equal(index, 0);
	return vm;
}

/* As the manager does. */
static int teardown(void **state)
{
	bool on;

	vm_kill(&machine);
	assert_ptr_equal(take_stopped(), &machine);
	on = wait_lock(&vm_wait);
	for (u32 i = 0; i < VCPUS; i++)
		cpus[i].released = true;
	wait_unlock(&vm_wait, on);
	wait_wake_all(&vm_wait);
	for (u32 i = 0; i < VCPUS; i++)
		thread_join(cpus[i].thread);
	return 0;
}

static void wait_all_run(void)
{
	for (u32 i = 0; i < VCPUS; i++) {
		u32 from = i == HALTS ? 0 : look(&runs[i]);

		while (look(&runs[i]) == from)
			usleep(100);
	}
}

static bool moved(u32 for_us)
{
	u32 before[VCPUS];

	for (u32 i = 0; i < VCPUS; i++)
		before[i] = look(&runs[i]);
	usleep(for_us);
	for (u32 i = 0; i < VCPUS; i++) {
		if (look(&runs[i]) != before[i])
			return true;
	}
	return false;
}

/* --- The tests --- */

static void paused_stands_still(void **state)
{
	wait_all_run();
	assert_int_equal(vm_pause(&machine), 0);
	assert_true(vm_is_paused(&machine));
	assert_false(moved(30000));
	assert_int_equal(vm_pause(&machine), 0);
	/* What wakes a vCPU does not make a paused one run. */
	for (u32 i = 0; i < VCPUS; i++)
		vcpu_request(&cpus[i], VCPU_REQ_KICK | VCPU_REQ_TIMER);
	assert_false(moved(30000));
	assert_int_equal(vm_resume(&machine), 0);
	assert_int_equal(resumes, 1);
	wait_all_run();
}

/* Each once, before it runs again; who halted, when something wakes it. */
static void guests_are_told_of_a_pause(void **state)
{
	u32 before[VCPUS];

	wait_all_run();
	for (u32 i = 0; i < VCPUS; i++)
		assert_int_equal(look(&told[i]), 0);
	for (u32 round = 1; round <= 3; round++) {
		if (round == 3) /* waiting for memory */
			vm_set_paused(&machine, VM_PAUSED_FOR_MEMORY, 0);
		assert_int_equal(vm_pause(&machine), 0);
		__atomic_store_n(&cannot_tell, true, __ATOMIC_SEQ_CST);
		for (u32 i = 0; i < VCPUS; i++)
			before[i] = look(&runs[i]);
		vm_set_paused(&machine, 0, VM_PAUSED_BY_OPERATOR | VM_PAUSED_FOR_MEMORY);
		usleep(20000);
		/* Mid-emulation it is later: the instruction is done first. */
		assert_int_equal(look(&runs[NO_MEMORY]), before[NO_MEMORY]);
		assert_int_equal(look(&runs[RUNS]), before[RUNS]);
		__atomic_store_n(&cannot_tell, false, __ATOMIC_SEQ_CST);
		for (u32 i = 0; i < VCPUS; i++) {
			if (i == HALTS)
				continue;
			hosted_wait_until(look(&told[i]) >= round);
		}
		wait_all_run();
		for (u32 i = 0; i < VCPUS; i++)
			assert_int_equal(look(&told[i]), i == HALTS ? 0 : round);
	}
}

static void each_is_paused_anywhere(void **state)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		assert_int_equal(vm_pause(&machine), 0);
		if (i % 16 == 0)
			assert_false(moved(2000));
		assert_int_equal(vm_resume(&machine), 0);
		usleep(i % 7 * 100);
	}
}

/* atomic; whether vCPU 0, asked while the VM is paused for memory, finds some */
static bool memory_is_back;
static u32 looks;

NOTHING(vm_wants_memory, struct vm *vm, struct memory_wait *w)
NOTHING(vm_wanted_memory, struct vm *vm, struct memory_wait *w, bool found)

u64 vm_waits_in_vain(struct vm *vm, struct memory_wait *w)
{
	return 10000000;
}

void vm_look_for_memory(struct vm *vm)
{
	count(&looks);
	if (__atomic_load_n(&memory_is_back, __ATOMIC_SEQ_CST))
		vm_set_paused(vm, 0, VM_PAUSED_FOR_MEMORY);
}

/* Two reasons: it goes on when none is left, and for memory by itself. */
static void paused_for_memory(void **state)
{
	memory_is_back = false;
	looks = 0;
	wait_all_run();
	vm_set_paused(&machine, VM_PAUSED_FOR_MEMORY, 0);
	assert_int_equal(vm_pause(&machine), 0); /* all are parked */
	assert_false(moved(30000));
	assert_int_equal(vm_resume(&machine), 0);
	assert_int_equal(resumes, 0);
	assert_true(vm_is_paused(&machine));
	assert_false(moved(30000));
	while (look(&looks) < 2)
		usleep(1000);
	assert_int_equal(vm_pause(&machine), 0);
	__atomic_store_n(&memory_is_back, true, __ATOMIC_SEQ_CST);
	while (vm_paused_why(&machine) & VM_PAUSED_FOR_MEMORY)
		usleep(1000);
	assert_false(moved(30000)); /* not without the operator */
	assert_int_equal(vm_resume(&machine), 0);
	assert_int_equal(resumes, 1);
	wait_all_run();
	/* And it ends as any other: teardown kills it. */
	__atomic_store_n(&memory_is_back, false, __ATOMIC_SEQ_CST);
	vm_set_paused(&machine, VM_PAUSED_FOR_MEMORY, 0);
}

/* Who is promised memory without an end, in the middle of an instruction, is paused all the same. */
static void paused_while_memory_is_sought(void **state)
{
	wait_all_run();
	__atomic_store_n(&in_vain, true, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < 20; i++) {
		usleep(1000);
		assert_int_equal(vm_pause(&machine), 0);
		assert_int_equal(vm_resume(&machine), 0);
	}
	__atomic_store_n(&in_vain, false, __ATOMIC_SEQ_CST);
	wait_all_run();
}

static void ends_while_paused(void **state)
{
	assert_int_equal(vm_pause(&machine), 0);
	assert_int_equal(vm_power_off(&machine), 0);
	/* The first cause wins. */
	assert_int_equal(vm_kill(&machine), ERR_NOENT);
	assert_int_equal(vm_reset(&machine), ERR_NOENT);
	assert_int_equal(machine.end, VM_END_SWITCHED_OFF);
	assert_int_equal(vm_pause(&machine), ERR_NOENT);
	assert_int_equal(vm_resume(&machine), ERR_NOENT);
	assert_int_equal(vm_nmi(&machine), ERR_NOENT);
	assert_int_equal(vm_dump(&machine), ERR_NOENT);
}

/* While the operator waits for it to be parked, or shown, and no longer. */
static void hurried_until_parked_and_shown(void **state)
{
	wait_all_run();
	assert_int_equal(vm_dump(&machine), 0);
	assert_int_equal(hurries[HURRY_UNTIL_DONE], VCPUS);
	hosted_wait_until(all_hurried(0));
	assert_int_equal(vm_pause(&machine), 0);
	assert_int_equal(hurries[HURRY_UNTIL_DONE], 2 * VCPUS);
	assert_true(all_hurried(0));
	/* They are parked: nobody waits. */
	assert_int_equal(vm_pause(&machine), 0);
	assert_int_equal(hurries[HURRY_UNTIL_DONE], 2 * VCPUS);
	assert_int_equal(vm_dump(&machine), 0);
	assert_int_equal(hurries[HURRY_UNTIL_DONE], 3 * VCPUS);
	hosted_wait_until(all_hurried(0));
	assert_int_equal(vm_resume(&machine), 0);
	assert_int_equal(hurries[HURRY_A_WHILE], 0);
	assert_false(before_asked);
}

static void pause_it(void *arg)
{
	vm_pause(&machine);
}

static void dump_it(void *arg)
{
	vm_dump(&machine);
}

/*
 * Asked for something while it waits to say that it has done what it was asked for before: who asks was
 * there first.
 */
static void ask_meanwhile(void (*fn)(void *arg))
{
	struct thread *asker;
	bool on = wait_lock(&machine.life);

	assert_int_equal(thread_create(&asker, "asker", fn, NULL, 0), 0);
	usleep(2000);
	for (u32 i = 0; i < VCPUS; i++)
		vcpu_request(&cpus[i], VCPU_REQ_LIFE);
	usleep(2000);
	wait_unlock(&machine.life, on);
	thread_join(asker);
}

static void hurried_until_the_next_is_done(void **state)
{
	wait_all_run();
	for (u32 i = 0; i < 20; i++) {
		ask_meanwhile(pause_it);
		assert_true(vm_is_paused(&machine));
		assert_int_equal(vm_resume(&machine), 0);
		hosted_wait_until(all_hurried(0));
		ask_meanwhile(dump_it);
		hosted_wait_until(all_hurried(0));
		assert_int_equal(look(&too_soon), 0);
	}
}

/* Its guest brings that about: not for longer than is anybody's. */
static void hurried_for_a_while_for_memory(void **state)
{
	wait_all_run();
	vm_set_paused(&machine, VM_PAUSED_FOR_MEMORY, 0);
	assert_int_equal(hurries[HURRY_A_WHILE], VCPUS);
	hosted_wait_until(all_hurried(0));
	vm_set_paused(&machine, 0, VM_PAUSED_FOR_MEMORY);
	/* It goes on before it has seen that it was to pause. */
	for (u32 i = 0; i < ROUNDS; i++) {
		vm_set_paused(&machine, VM_PAUSED_FOR_MEMORY, 0);
		vm_set_paused(&machine, 0, VM_PAUSED_FOR_MEMORY);
	}
	hosted_wait_until(all_hurried(0));
	assert_int_equal(hurries[HURRY_UNTIL_DONE], 0);
}

/* To its last: for a while, whoever ended it, and until it is done where the operator waits. */
static void hurried_to_its_end(void **state)
{
	assert_true(vm_request_end(&machine, VM_END_RESET, 0));
	assert_true(all_hurried(1));
	assert_int_equal(hurries[HURRY_A_WHILE], VCPUS);
	assert_false(vm_request_end(&machine, VM_END_CRASH, 0));
	assert_true(all_hurried(1));
	assert_int_equal(vm_kill(&machine), ERR_NOENT);
	assert_int_equal(hurries[HURRY_UNTIL_DONE], VCPUS);
	for (u32 i = 0; i < VCPUS; i++)
		hosted_wait_until(__atomic_load_n(&cpus[i].stopped, __ATOMIC_SEQ_CST));
	assert_true(all_hurried(2));
}

static bool stop; /* atomic */

static void pauser(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST) && vm_pause(&machine) == 0)
		;
}

static void resumer(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST) && vm_resume(&machine) == 0)
		usleep(200);
}

static void dumper(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST) && vm_dump(&machine) == 0)
		;
}

/* Everybody at once, until one of them kills it; none of them waits for ever. */
static void all_at_once(void **state)
{
	void (*fns[])(void *) = {pauser, pauser, resumer, dumper, dumper};
	struct thread *t[ARRAY_SIZE(fns)];

	stop = false;
	for (u32 i = 0; i < ARRAY_SIZE(fns); i++)
		assert_int_equal(thread_create(&t[i], "at once", fns[i], NULL, VCPUS + 1 + i), 0);
	for (u32 i = 0; i < VCPUS; i++) {
		while (look(&dumps[i]) < 10)
			usleep(1000);
	}
	assert_int_equal(vm_kill(&machine), 0);
	for (u32 i = 0; i < ARRAY_SIZE(fns); i++)
		thread_join(t[i]);
	assert_false(dumps_mixed);
}

static void dump_shows_each(void **state)
{
	wait_all_run();
	assert_int_equal(vm_dump(&machine), 0);
	for (u32 i = 0; i < VCPUS; i++)
		assert_int_equal(dumps[i], 1);
	assert_int_equal(vm_pause(&machine), 0);
	assert_int_equal(vm_dump(&machine), 0);
	for (u32 i = 0; i < VCPUS; i++)
		assert_int_equal(dumps[i], 2);
	assert_false(moved(10000));
}

#define LOG_BODY \
	51 /* columns that the log leaves a line of its 80, after three hours and on CPU 10 */

static void dump_memory_is_bounded(void **state)
{
	u32 lines;

	hosted_log_reset();
	assert_int_equal(vm_dump_memory(&machine, 4, 40), 0);
	lines = hosted_log_count(LOG_INFO);
	assert_int_equal(lines, 1 + 5);
	assert_string_equal(hosted_log_last(), "  000000000024  78 78 78 78 78 78 78 78  xxxxxxxx");
	assert_true(strlen(hosted_log_last()) <= LOG_BODY);
	assert_int_equal(vm_dump_memory(&machine, 0, 3), 0);
	assert_string_equal(hosted_log_last(), "  000000000000  78 78 78                 xxx");
	assert_int_equal(vm_dump_memory(&machine, 0, 0), ERR_RANGE);
	assert_int_equal(vm_dump_memory(&machine, 0, VM_DUMP_MAX + 1), ERR_RANGE);
	assert_int_equal(vm_dump_memory(&machine, ~0ull - 4, 16), ERR_RANGE);
	assert_int_equal(vm_dump_memory(&machine, 8192 - 32, 64), ERR_NOSLOT);
	lines = hosted_log_count(LOG_INFO);
	assert_int_equal(vm_dump_memory(&machine, 8192, 64), ERR_NOSLOT);
	assert_int_equal(hosted_log_count(LOG_INFO), lines);
	assert_int_equal(vm_nmi(&machine), 0);
	assert_int_equal(nmis, 1);
}

static void a_reference_keeps_it(void **state)
{
	struct vm *list[4], *vm = vm_find("alpha");
	u32 index;
	bool on;

	assert_ptr_equal(vm, &machine);
	assert_null(vm_find("alph"));
	assert_int_equal(vm_list(list, 4), 1);
	assert_ptr_equal(list[0], vm);
	assert_int_equal(vm_kill(vm), 0);
	for (u32 i = 0; i < VCPUS; i++) {
		while (!__atomic_load_n(&cpus[i].stopped, __ATOMIC_SEQ_CST))
			usleep(100);
	}
	vm_put(list[0]);
	on = wait_lock(&vm_wait);
	assert_null(vm_list_take_stopped(&index));
	wait_unlock(&vm_wait, on);
	assert_int_equal(vm_pause(vm), ERR_NOENT);
	vm_put(vm);
}

/* It would be gone for good: who wants that says so. */
static void no_reset_without_modules(void **state)
{
	machine.config.release_modules = true;
	assert_int_equal(vm_reset(&machine), ERR_PERM);
	assert_int_equal(machine.end, VM_END_NONE);
	machine.config.release_modules = false;
	assert_int_equal(vm_reset(&machine), 0);
	assert_int_equal(machine.end, VM_END_RESET);
}

static void start_asks_the_manager(void **state)
{
	bool on;

	assert_int_equal(vm_start("gamma"), ERR_NOENT);
	assert_int_equal(vm_start("bad"), ERR_PERM);
	assert_true(vm_is_refused("bad"));
	assert_false(vm_is_refused("alpha") || vm_is_refused("gamma"));
	assert_int_equal(vm_start("alpha"), ERR_EXIST);
	assert_int_equal(vm_start("beta"), 0);
	assert_int_equal(vm_start("beta"), ERR_EXIST);
	on = wait_lock(&vm_wait);
	assert_true(vm_any_plan());
	wait_unlock(&vm_wait, on);
	assert_int_equal(vm_take_plan(0), VM_PLAN_LATER);
	assert_int_equal(vm_take_plan(1), VM_PLAN_START);
	assert_int_equal(vm_take_plan(1), VM_PLAN_NONE);
	/* The last word counts. */
	assert_int_equal(vm_start("beta"), 0);
	assert_int_equal(vm_stay_off("beta"), 0);
	assert_int_equal(vm_take_plan(1), VM_PLAN_STAY_OFF);
	assert_false(vm_may_start("beta")); /* at once */
	vm_is_off(1);
	assert_int_equal(vm_stay_off("beta"), ERR_NOENT);
	/* What is wanted of one that runs waits for its end. */
	assert_int_equal(vm_stay_off("alpha"), ERR_EXIST);
	assert_int_equal(vm_take_plan(0), VM_PLAN_LATER);
	vm_is_off(0);
	on = wait_lock(&vm_wait);
	assert_false(vm_any_plan());
	wait_unlock(&vm_wait, on);
}

/* Its code is there as soon as its end is. */
static void end_and_code_are_one(void **state)
{
	assert_true(vm_request_end(&machine, VM_END_DEBUG_EXIT, 0xfffffffe));
	assert_false(vm_request_end(&machine, VM_END_CRASH, 7));
	assert_int_equal(machine.end, VM_END_DEBUG_EXIT);
	assert_int_equal(machine.end_code, 0xfffffffe);
	assert_int_equal(machine.end_and_code, 0xfffffffeull << 32 | VM_END_DEBUG_EXIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(paused_stands_still, setup, teardown),
		cmocka_unit_test_setup_teardown(guests_are_told_of_a_pause, setup, teardown),
		cmocka_unit_test_setup_teardown(each_is_paused_anywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(paused_for_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(paused_while_memory_is_sought, setup, teardown),
		cmocka_unit_test_setup_teardown(ends_while_paused, setup, teardown),
		cmocka_unit_test_setup_teardown(hurried_until_parked_and_shown, setup, teardown),
		cmocka_unit_test_setup_teardown(hurried_until_the_next_is_done, setup, teardown),
		cmocka_unit_test_setup_teardown(hurried_for_a_while_for_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(hurried_to_its_end, setup, teardown),
		cmocka_unit_test_setup_teardown(all_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(dump_shows_each, setup, teardown),
		cmocka_unit_test_setup_teardown(dump_memory_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reference_keeps_it, setup, teardown),
		cmocka_unit_test_setup_teardown(no_reset_without_modules, setup, teardown),
		cmocka_unit_test_setup_teardown(start_asks_the_manager, setup, teardown),
		cmocka_unit_test_setup_teardown(end_and_code_are_one, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
