/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/steal_time.c */
/* unit-cflags: -include tests/hosted/points.h */
/* What counts as stolen, and what the guest finds in its memory, and when. */
#include "kernel/base/error.h"
#include "kernel/vcpu.h"
#include "tests/hosted/schedule.h"

#include <cmocka.h>
#include <string.h>

#define ENABLE	 1
#define RAM_SIZE 4096u

struct record {
	u64 steal;
	u32 version, flags;
	u8 preempted, pad[47];
};

static u8 ram[RAM_SIZE];
static int pin_error;
static u64 now_ns;
static struct vm machine;
static struct vcpu cpu;
static struct thread thread;

static struct gpa_pin pin[2];
static u32 pins, flushes;

/* As mmu/gpa_pin.h says; its own tests are mmu/test_gpa_pin. */
int gpa_pin(struct mmu_vm *vm, gpa_t gpa, struct gpa_pin **out)
{
	struct gpa_pin *p = &pin[pin[0].last != NULL];

	if (pin_error)
		return pin_error;
	if (gpa.v >= RAM_SIZE)
		return ERR_NOSLOT;
	pins++;
	p->at = p->last = ram + gpa.v;
	*out = p;
	return 0;
}

void gpa_unpin(struct gpa_pin *p)
{
	if (!p)
		return;
	assert_ptr_not_equal(cpu.steal.preempted, p);
	pins--;
	*p = (struct gpa_pin){0};
}

/* What mmu/ does when the slot goes. */
static void its_slot_goes(struct gpa_pin *p)
{
	p->copy = *p->last;
	p->last = &p->copy;
	p->at = NULL;
}

void vmx_flush_guest_tlb(struct vmx_vcpu *v)
{
	flushes++;
}

u64 clock_ns(void)
{
	return now_ns;
}

static int setup(void **state)
{
	memset(ram, 0xa5, sizeof(ram));
	cpu = (struct vcpu){.vm = &machine};
	thread.state = THREAD_RUNNABLE;
	pin_error = 0;
	now_ns = 1000;
	pins = flushes = 0;
	return 0;
}

static int teardown(void **state)
{
	steal_time_forget(&cpu);
	assert_int_equal(pins, 0);
	return 0;
}

static struct record record(void)
{
	struct record r;

	memcpy(&r, ram + 64, sizeof(r));
	return r;
}

/* As switches are made: interrupts are off. */
static void go(enum thread_state how, bool clean)
{
	bool on = irq_save();

	thread.state = how;
	steal_time_out(&cpu, &thread, clean);
	irq_restore(on);
}

static void come(void)
{
	bool on = irq_save();

	thread.state = THREAD_RUNNING;
	steal_time_in(&cpu);
	irq_restore(on);
}

static void away(enum thread_state how, u64 ns)
{
	go(how, true);
	now_ns += ns;
	come();
}

static void what_others_took(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	assert_int_equal(record().steal | record().version | record().flags, 0);
	away(THREAD_RUNNABLE, 300);
	/* Nothing but the byte is written by a switch. */
	assert_int_equal(record().steal | record().version, 0);
	steal_time_tell(&cpu);
	assert_int_equal(record().steal, 300);
	assert_int_equal(record().preempted, 0);
	away(THREAD_BLOCKED, 5000); /* it slept */
	away(THREAD_RUNNABLE, 7);
	away(THREAD_RUNNABLE, 5);
	steal_time_tell(&cpu);
	assert_int_equal(record().steal, 312);
	assert_int_equal(record().version, 4);
	/* Nothing new: nothing is written. */
	steal_time_tell(&cpu);
	assert_int_equal(record().version, 4);
	/* Each MSR write begins anew. */
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	assert_int_equal(record().steal | record().version, 0);
	assert_int_equal(ram[63], 0xa5);
	assert_int_equal(ram[128], 0xa5);
}

/* It comes back on a CPU whose clock is behind that of the one where it left. */
static void clocks_of_two_cpus(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	go(THREAD_RUNNABLE, true);
	now_ns -= 100;
	come();
	steal_time_tell(&cpu);
	assert_int_equal(record().steal, 0);
	away(THREAD_RUNNABLE, 7);
	steal_time_tell(&cpu);
	assert_int_equal(record().steal, 7);
}

static u32 odd, even;

/* A guest's CPU, at any moment: what it reads beside an even version belongs to that version. */
static void reads(void)
{
	struct record r = record();

	odd += r.version & 1;
	even += !(r.version & 1);
	if (!(r.version & 1))
		assert_int_equal(r.steal, r.version / 2);
}

static void version_is_odd_while_it_changes(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	odd = even = 0;
	for (u32 i = 1; i <= 3; i++) {
		away(THREAD_RUNNABLE, 1);
		hosted_on_point = reads;
		steal_time_tell(&cpu);
		hosted_on_point = NULL;
		assert_int_equal(record().version, 2 * i);
		assert_int_equal(record().steal, i);
	}
	/* Before the steal time and before the version that is even again. */
	assert_int_equal(odd, 2 * 3);
	assert_true(even);
}

/* The MSR is written again when there is some. */
static void for_want_of_memory_later(void **state)
{
	pin_error = ERR_NOMEM;
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), ERR_NOMEM);
	assert_int_equal(cpu.steal.msr, 0);
	pin_error = 0;
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	away(THREAD_RUNNABLE, 9);
	steal_time_tell(&cpu);
	assert_int_equal(record().steal, 9);
}

/*
 * R37: byte and record are in one page, or nobody is told; nothing lands where other memory is by
 * now.
 */
static void its_memory_goes(void **state)
{
	u8 before[RAM_SIZE];

	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	away(THREAD_RUNNABLE, 9);
	memcpy(before, ram, sizeof(ram));
	its_slot_goes(cpu.steal.preempted);
	steal_time_tell(&cpu);
	assert_false(cpu.steal.news);
	away(THREAD_RUNNABLE, 9);
	steal_time_tell(&cpu);
	assert_memory_equal(ram, before, sizeof(ram));
	assert_int_equal(flushes, 0);
	/* The byte told another vCPU that this one is preempted: what that asked for is done. */
	assert_int_equal(steal_time_wrmsr(&cpu, 128 | ENABLE), 0);
	go(THREAD_RUNNABLE, true);
	ram[128 + 16] |= 2;
	its_slot_goes(cpu.steal.preempted);
	come();
	assert_int_equal(flushes, 1);
	away(THREAD_RUNNABLE, 9);
	assert_int_equal(flushes, 1);
}

static void what_the_msr_takes(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE | 2), ERR_FAULT);
	assert_int_equal(steal_time_wrmsr(&cpu, RAM_SIZE | ENABLE), ERR_FAULT);
	assert_int_equal(cpu.steal.msr, 0);
	assert_int_equal(steal_time_wrmsr(&cpu, RAM_SIZE), 0);
	assert_int_equal(cpu.steal.msr, RAM_SIZE);
	/* Off: nothing is counted. */
	away(THREAD_RUNNABLE, 9);
	steal_time_tell(&cpu);
	assert_int_equal(cpu.steal.stolen_ns, 0);
	assert_int_equal(ram[64], 0xa5);
}

static u8 *preempted(void)
{
	return &ram[64 + 16];
}

static void who_is_preempted(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	go(THREAD_RUNNABLE, true);
	assert_int_equal(*preempted(), 1);
	come();
	assert_int_equal(*preempted(), 0);
	/* Amid an instruction, asleep, or at its end it is not. */
	go(THREAD_RUNNABLE, false);
	assert_int_equal(*preempted(), 0);
	*preempted() = 2; /* the guest's own idea: nobody listens */
	come();
	assert_int_equal(*preempted(), 2);
	*preempted() = 0;
	go(THREAD_BLOCKED, true);
	assert_int_equal(*preempted(), 0);
	come();
	go(THREAD_DEAD, true);
	assert_int_equal(*preempted(), 0);
	come();
	assert_int_equal(flushes, 0);
	/* It waits for the next period of its cap; or is on its way to another CPU already. */
	go(THREAD_PARKED, true);
	assert_int_equal(*preempted(), 1);
	come();
	go(THREAD_MOVING, true);
	assert_int_equal(*preempted(), 1);
	come();
	assert_int_equal(*preempted(), 0);
	assert_int_equal(ram[64 + 15] | ram[64 + 17], 0);
}

static void a_flush_that_waits(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	go(THREAD_RUNNABLE, true);
	*preempted() |= 2;
	come();
	assert_int_equal(*preempted(), 0);
	assert_int_equal(flushes, 1);
	assert_int_equal(cpu.paravirt.tlb_flushes, 1);
	/* Once. */
	go(THREAD_RUNNABLE, true);
	come();
	assert_int_equal(flushes, 1);
}

/* At most one page for each vCPU, and the old one is let go. */
static void its_page_is_pinned(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	assert_int_equal(pins, 1);
	assert_int_equal(steal_time_wrmsr(&cpu, 128 | ENABLE), 0);
	assert_int_equal(pins, 1);
	assert_int_equal(steal_time_wrmsr(&cpu, RAM_SIZE | ENABLE), ERR_FAULT);
	assert_int_equal(pins, 1);
	go(THREAD_RUNNABLE, true);
	assert_int_equal(ram[128 + 16], 1);
	come();
	pin_error = ERR_NOSPC;
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), ERR_FAULT);
	assert_int_equal(cpu.steal.msr, 128 | ENABLE);
	pin_error = 0;
	assert_int_equal(steal_time_wrmsr(&cpu, 0), 0);
	assert_int_equal(pins, 0);
	go(THREAD_RUNNABLE, true);
	assert_int_equal(ram[128 + 16], 0);
	come();
}

static void init_ends_it(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	away(THREAD_RUNNABLE, 9);
	steal_time_forget(&cpu);
	assert_int_equal(pins, 0);
	away(THREAD_RUNNABLE, 9);
	steal_time_tell(&cpu);
	assert_int_equal(record().version, 0);
	assert_int_equal(cpu.steal.msr, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_others_took, setup, teardown),
		cmocka_unit_test_setup_teardown(clocks_of_two_cpus, setup, teardown),
		cmocka_unit_test_setup_teardown(version_is_odd_while_it_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(for_want_of_memory_later, setup, teardown),
		cmocka_unit_test_setup_teardown(its_memory_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_msr_takes, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_preempted, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flush_that_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(its_page_is_pinned, setup, teardown),
		cmocka_unit_test_setup_teardown(init_ends_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
