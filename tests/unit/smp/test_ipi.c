/* SPDX-License-Identifier: MIT */
/* Whom a panic's NMI has stopped, and who does not answer. Each test is a process that ends. */
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

void apic_send_ipi(u32 apic_id, u8 vector)
{
	fail();
}

void irq_set_handler(u8 vector, irq_handler_t fn, void *arg)
{
	fail();
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_stop),
		cmocka_unit_test(test_one_is_deaf),
		cmocka_unit_test(test_no_apic_yet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
