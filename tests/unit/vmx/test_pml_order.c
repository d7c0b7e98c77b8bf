/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: vmx/pml.c vmx/capability.c vmx/inject.c vmx/event.c vmx/regs.c mem/frame.c
 *   mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c tests/unit/vmx/pml_cpu.c
 */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * R21: the dirty log is asked for while a vCPU leaves the guest and enters it again. One of the two is
 * stopped at each of its points in turn, for all of the other. What the vCPU wrote before is in the log
 * when that is there, and nobody waits for a stay of which nobody makes the vCPU leave.
 */
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/vmx/pml_cpu.h"
#include "vmx/instructions.h"

#include <cmocka.h>

#define STAYS	  3
#define LONG_STAY 200u /* waits, of a vCPU that nobody makes leave */

enum {
	CPU,
	READER,
	JOBS
};

static u32 first;    /* the job that begins */
static bool begun;   /* atomic */
static u32 written;  /* atomic: pages, from 0 up */
static bool is_read; /* atomic */
static u32 kicked, not_kicked, missing, overlong;

/* The one that is stopped comes first. */
static void begin(u32 me)
{
	if (me == first)
		__atomic_store_n(&begun, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&begun, __ATOMIC_SEQ_CST))
		hosted_stand(1);
	hosted_count_points();
}

/* Kicked, or the log is there; the first ends by itself. */
static void stay(struct vmx_vcpu *v, u32 n)
{
	u32 waits = 0;

	goes_in(v);
	assert_true(cpu_writes(v, n));
	__atomic_store_n(&written, n + 1, __ATOMIC_SEQ_CST);
	while (n && !hosted_kick_pending(cpu_id()) &&
	       !__atomic_load_n(&is_read, __ATOMIC_SEQ_CST) && waits < LONG_STAY) {
		hosted_relax();
		waits++;
	}
	overlong += waits == LONG_STAY;
	comes_out(v);
	/* Interrupts are on: whatever came until now is taken. */
	kicked += hosted_kick_pending(cpu_id());
	hosted_kick_take(cpu_id());
}

static void cpu(void *arg)
{
	struct vmx_vcpu *v = &vcpus[0];

	vmcs_write(CTRL_PROC_SECONDARY, PLAIN_PROC2);
	v->pml.on = false;
	begin(CPU);
	for (u32 n = 0; n < STAYS; n++)
		stay(v, n);
	hosted_count_no_more();
}

static void reader(void *arg)
{
	u32 kicks = hosted_ipi_kicks(), before;

	begin(READER);
	before = __atomic_load_n(&written, __ATOMIC_SEQ_CST);
	vm.drain_dirty(&vm);
	for (u32 i = 0; i < before; i++)
		missing += !__atomic_load_n(&marks[i], __ATOMIC_SEQ_CST);
	__atomic_store_n(&is_read, true, __ATOMIC_SEQ_CST);
	hosted_count_no_more();
	not_kicked += hosted_ipi_kicks() == kicks;
}

static void stopped_at_each_point(u32 who)
{
	const struct hosted_job jobs[JOBS] = {
		[CPU] = {"cpu", cpu, NULL},
		[READER] = {"reader", reader, NULL},
	};
	u32 point = 0;

	do {
		struct hosted_way way = {.directed = true, .period = 1, .stop = {{who, ++point}}};

		for (u32 i = 0; i < STAYS; i++)
			marks[i] = 0;
		written = 0;
		begun = is_read = false;
		first = who;
		hosted_run(jobs, JOBS, &way);
		assert_int_equal(missing, 0);
		assert_int_equal(overlong, 0);
		for (u32 i = 0; i < STAYS; i++)
			assert_int_equal(marks[i], 1);
	} while (hosted_points_counted(who) >= point);
	assert_true(point > 10);
	assert_true(kicked && not_kicked);
}

static int setup(void **state)
{
	pml_setup(state);
	kicked = not_kicked = missing = overlong = 0;
	vcpus[0].cpu = CPU;
	wanted = true;
	assert_int_equal(pml_create(&vcpus[0]), 0);
	return 0;
}

static void the_cpu_is_stopped(void **state)
{
	stopped_at_each_point(CPU);
}

static void the_reader_is_stopped(void **state)
{
	stopped_at_each_point(READER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_cpu_is_stopped, setup, pml_teardown),
		cmocka_unit_test_setup_teardown(the_reader_is_stopped, setup, pml_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
