/* SPDX-License-Identifier: MIT */
/* Whom a panic's NMI has stopped, and who does not answer it, or a call. Each test is a process that ends. */
/* unit-sources: smp/ipi.c */
/* unit-cflags: -DSTOP_POLLS=1000 */
#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>
#include "kernel/base/panic.h"
#include "smp/apic.h"
#include "smp/ipi.h"
#include "smp/ipi_private.h"
#include "smp/irq.h"
#include "smp/thread.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"

#define CPUS 4

static u32 nmis[CPUS];
static u32 deaf = CPUS; /* a CPU that no NMI reaches */
static bool ready = true;

/* The CPU that it is for takes it at once. */
void apic_send_nmi(u32 apic_id)
{
	u32 sender = cpu_id();

	nmis[apic_id]++;
	if (apic_id == deaf)
		return;
	hosted_cpu_set(apic_id);
	assert_true(ipi_stopping());
	hosted_cpu_set(sender);
}

struct cpu *cpu_get(u32 id)
{
	static struct cpu cpu;

	cpu.apic_id = id;
	return &cpu;
}

bool apic_ready(void)
{
	return ready;
}

static u32 called = CPUS; /* whom a call's interrupt has been sent to */
static irq_handler_t call_handler;

void apic_send_ipi(u32 apic_id, u8 vector)
{
	assert_int_equal(vector, VECTOR_IPI_CALL);
	called = apic_id;
}

void irq_set_handler(u8 vector, irq_handler_t fn, void *arg)
{
	if (vector == VECTOR_IPI_CALL)
		call_handler = fn;
}

void thread_kicked(void)
{
	fail();
}

static void all_stop(void)
{
	struct panic_others others;

	assert_false(ipi_stopping());
	ipi_stop_others(&others);
	assert_int_equal(others.count, CPUS - 1);
	assert_int_equal(others.halted, CPUS - 1);
	for (u32 id = 0; id < CPUS; id++)
		assert_int_equal(nmis[id], id != 1);
	assert_false(ipi_stopping()); /* not who panics */
	/* Once more, from within the end: nobody is told again. */
	ipi_stop_others(&others);
	assert_int_equal(others.halted, CPUS - 1);
	assert_int_equal(nmis[0], 1);
}

static void one_is_deaf(void)
{
	struct panic_others others;

	deaf = 2;
	ipi_stop_others(&others);
	assert_int_equal(others.count, CPUS - 1);
	assert_int_equal(others.halted, CPUS - 2);
	assert_int_equal(others.silent, 2);
}

static void no_apic_yet(void)
{
	struct panic_others others;

	ready = false;
	ipi_stop_others(&others);
	assert_int_equal(others.count, CPUS - 1);
	assert_int_equal(others.halted, 0);
	assert_int_equal(others.silent, 0);
	assert_int_equal(nmis[0], 0);
}

#define SECOND 1000000000ull

static u64 now;
static u32 looks, runs;
static u64 step; /* between two looks at whether it has answered */
static u32 answers_at;

static void run_there(void *arg)
{
	assert_ptr_equal(arg, &runs);
	assert_int_equal(cpu_id(), 2);
	runs++;
}

static void pass(void)
{
	hosted_clock_set(now += step);
	if (++looks != answers_at)
		return;
	hosted_cpu_set(called);
	call_handler(NULL);
	hosted_cpu_set(1);
}

static void call(void *arg)
{
	struct cpu_set cpus = {{0}};

	cpu_set_add(&cpus, 2);
	ipi_init();
	hosted_clock_set(now = 1000 * SECOND);
	hosted_on_relax = pass;
	ipi_call(&cpus, run_there, &runs);
}

/* The hypervisor was stopped for an hour just then. */
static void answers_after_all(void)
{
	step = 3600 * SECOND;
	answers_at = 3;
	call(NULL);
	assert_int_equal(runs, 1);
	assert_int_equal(looks, 3);
}

static void never_answers(void)
{
	step = SECOND / 2;
	assert_true(hosted_catch_panic(call, NULL));
	assert_string_equal(hosted_panic_text(), "CPU 2 does not answer a call from CPU 1");
	assert_in_range(looks, 119, 122);
}

/* Who has been stopped stays so, hence a process for each. CPU 1 panics. */
static void in_a_process(void (*test)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		hosted_cpu_set(CPUS - 1);
		hosted_cpu_set(1);
		test();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_all_stop(void **state)
{
	in_a_process(all_stop);
}

static void test_one_is_deaf(void **state)
{
	in_a_process(one_is_deaf);
}

static void test_no_apic_yet(void **state)
{
	in_a_process(no_apic_yet);
}

static void test_answers_after_all(void **state)
{
	in_a_process(answers_after_all);
}

static void test_never_answers(void **state)
{
	in_a_process(never_answers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_stop),      cmocka_unit_test(test_one_is_deaf),
		cmocka_unit_test(test_no_apic_yet),   cmocka_unit_test(test_answers_after_all),
		cmocka_unit_test(test_never_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
