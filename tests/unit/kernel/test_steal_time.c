/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/steal_time.c */
/* What counts as stolen, and what the guest finds in its memory, and when. */
#include "kernel/base/error.h"
#include "kernel/vcpu.h"

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
static u32 writes, versions[8];
static int write_error;
static u64 now_ns;
static struct vm machine;
static struct vcpu cpu;
static struct thread thread;

int gpa_write(struct mmu_vm *vm, gpa_t gpa, const void *bytes, u64 size)
{
	if (write_error)
		return write_error;
	if (gpa.v > RAM_SIZE || size > RAM_SIZE - gpa.v)
		return ERR_NOSLOT;
	memcpy(ram + gpa.v, bytes, size);
	memcpy(&versions[writes++ % ARRAY_SIZE(versions)], ram + 64 + 8, sizeof(u32));
	return 0;
}

static u32 pins, flushes;

/* As mmu/gpa_pin.h says; its own tests are mmu/test_gpa_pin. */
int gpa_pin(struct mmu_vm *vm, gpa_t gpa, struct gpa_pin *out)
{
	static struct gmem object;

	if (write_error)
		return write_error;
	if (gpa.v >= RAM_SIZE)
		return ERR_NOSLOT;
	pins++;
	*out = (struct gpa_pin){.object = &object, .at = ram + gpa.v};
	return 0;
}

void gpa_unpin(struct gpa_pin *p)
{
	pins -= p->object != NULL;
	*p = (struct gpa_pin){0};
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
	writes = 0;
	write_error = 0;
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

static void away(enum thread_state how, u64 ns)
{
	thread.state = how;
	steal_time_out(&cpu, &thread, true);
	now_ns += ns;
	thread.state = THREAD_RUNNING;
	steal_time_in(&cpu);
}

static void what_others_took(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	assert_int_equal(record().steal | record().version | record().flags, 0);
	away(THREAD_RUNNABLE, 300);
	/* Nothing is written where interrupts are off. */
	assert_int_equal(writes, 1);
	steal_time_tell(&cpu);
	assert_int_equal(record().steal, 300);
	assert_int_equal(record().preempted, 0);
	away(THREAD_BLOCKED, 5000); /* it slept */
	away(THREAD_RUNNABLE, 7);
	away(THREAD_RUNNABLE, 5);
	steal_time_tell(&cpu);
	assert_int_equal(record().steal, 312);
	/* Nothing new: nothing is written. */
	writes = 0;
	steal_time_tell(&cpu);
	assert_int_equal(writes, 0);
	/* Each MSR write begins anew. */
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	assert_int_equal(record().steal, 0);
	assert_int_equal(ram[63], 0xa5);
	assert_int_equal(ram[128], 0xa5);
}

static void version_is_odd_while_it_changes(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	for (u32 i = 0; i < 3; i++) {
		writes = 0;
		away(THREAD_RUNNABLE, 1);
		steal_time_tell(&cpu);
		assert_int_equal(writes, 3);
		assert_int_equal(versions[0], 2 * i + 1);
		assert_int_equal(versions[1], 2 * i + 1);
		assert_int_equal(versions[2], 2 * i + 2);
	}
}

static void for_want_of_memory_later(void **state)
{
	write_error = ERR_NOMEM;
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), ERR_NOMEM);
	assert_int_equal(cpu.steal.msr, 0);
	write_error = 0;
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	away(THREAD_RUNNABLE, 9);
	write_error = ERR_NOMEM;
	steal_time_tell(&cpu);
	write_error = 0;
	steal_time_tell(&cpu);
	assert_int_equal(record().steal, 9);
	assert_int_equal(record().version & 1, 0);
	/* The RAM has gone since: it is told to nobody, and tried once. */
	away(THREAD_RUNNABLE, 9);
	write_error = ERR_NOSLOT;
	steal_time_tell(&cpu);
	assert_false(cpu.steal.news);
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
	assert_int_equal(writes, 0);
}

static u8 *preempted(void)
{
	return &ram[64 + 16];
}

static void go(enum thread_state how, bool clean)
{
	thread.state = how;
	steal_time_out(&cpu, &thread, clean);
}

static void come(void)
{
	thread.state = THREAD_RUNNING;
	steal_time_in(&cpu);
}

static void who_is_preempted(void **state)
{
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), 0);
	writes = 0;
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
	/* Not by the way that may fault, and sleep. */
	assert_int_equal(writes, 0);
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
	write_error = ERR_NOSPC;
	assert_int_equal(steal_time_wrmsr(&cpu, 64 | ENABLE), ERR_FAULT);
	assert_int_equal(cpu.steal.msr, 128 | ENABLE);
	write_error = 0;
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
	writes = 0;
	steal_time_forget(&cpu);
	assert_int_equal(pins, 0);
	away(THREAD_RUNNABLE, 9);
	steal_time_tell(&cpu);
	assert_int_equal(writes, 0);
	assert_int_equal(cpu.steal.msr, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_others_took, setup, teardown),
		cmocka_unit_test_setup_teardown(version_is_odd_while_it_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(for_want_of_memory_later, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_msr_takes, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_preempted, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flush_that_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(its_page_is_pinned, setup, teardown),
		cmocka_unit_test_setup_teardown(init_ends_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
