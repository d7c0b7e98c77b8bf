/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: vmx/pml.c vmx/capability.c vmx/inject.c vmx/event.c vmx/regs.c mem/frame.c
 *   mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c tests/unit/vmx/pml_cpu.c
 */
/* unit-sanitizer: thread */
/*
 * R21, the CPU's part of the dirty log: what it noted in a vCPU's buffer is in the MMU's log when
 * the log is read. test_pml_order.c stops one of the two at each of its steps.
 */
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/vmx/pml_cpu.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 300

static u32 logged_count(void)
{
	u32 n = 0;

	for (u32 i = 0; i < PAGES; i++)
		n += marks[i] != 0;
	return n;
}

static u32 marks_in_all(void)
{
	u32 n = 0;

	for (u32 i = 0; i < PAGES; i++)
		n += marks[i];
	return n;
}

static void a_cpu_without_it_keeps_no_log(void **state)
{
	vmx_boot_capability.ept_vpid = 0; /* no dirty bits */
	assert_int_equal(pml_create(&vcpus[0]), 0);
	assert_null(vcpus[0].pml.buffer);
	assert_null(vm.drain_dirty);
	pml_destroy(&vcpus[0]);
	vmx_boot_capability.ept_vpid = EPT_CAP_AD;
	vmx_boot_capability.proc2 = 0;
	assert_int_equal(pml_create(&vcpus[0]), 0);
	assert_null(vcpus[0].pml.buffer);
}

static void no_memory(void **state)
{
	hosted_fail_after(1);
	assert_int_equal(pml_create(&vcpus[0]), ERR_NOMEM);
	assert_null(vm.drain_dirty);
	pml_destroy(&vcpus[0]);
}

static void on_while_it_is_wanted(void **state)
{
	struct vmx_vcpu *v = &vcpus[0];

	assert_int_equal(pml_create(v), 0);
	assert_non_null(vm.drain_dirty);
	vmcs_write(CTRL_PROC_SECONDARY, PLAIN_PROC2);
	goes_in(v);
	assert_int_equal(vmcs_read(CTRL_PROC_SECONDARY), PLAIN_PROC2);
	cpu_writes(v, 1);
	comes_out(v);
	assert_int_equal(logged_count(), 0);
	wanted = true;
	goes_in(v);
	assert_int_equal(vmcs_read(CTRL_PROC_SECONDARY), PLAIN_PROC2 | PROC2_PML);
	cpu_writes(v, 2);
	wanted = false; /* the MMU makes it leave before it counts on that */
	cpu_writes(v, 3);
	comes_out(v);
	assert_true(marks[2] && marks[3]);
	goes_in(v);
	assert_int_equal(vmcs_read(CTRL_PROC_SECONDARY), PLAIN_PROC2);
	cpu_writes(v, 4);
	comes_out(v);
	assert_int_equal(logged_count(), 2);
}

/* The controls of its local APIC are the vCPU's own, and change while the log is on. */
static void the_other_controls_stay(void **state)
{
	u32 own = PLAIN_PROC2 | (u32)(PROC2_APIC_ACCESS | PROC2_APIC_REGISTERS);
	struct vmx_vcpu *v = &vcpus[0];

	assert_int_equal(pml_create(v), 0);
	v->proc2_controls = own;
	wanted = true;
	goes_in(v);
	comes_out(v);
	assert_int_equal(vmcs_read(CTRL_PROC_SECONDARY), own | PROC2_PML);
	/* Whoever writes the field next goes by this. */
	assert_int_equal(v->proc2_controls, own | PROC2_PML);
	v->proc2_controls &= ~(u32)PROC2_APIC_ACCESS;
	wanted = false;
	goes_in(v);
	comes_out(v);
	assert_int_equal(vmcs_read(CTRL_PROC_SECONDARY), own & ~(u32)PROC2_APIC_ACCESS);
	assert_int_equal(v->proc2_controls, own & ~(u32)PROC2_APIC_ACCESS);
}

static void any_number_of_entries(void **state)
{
	struct vmx_vcpu *v = &vcpus[0];
	struct vmx_exit e;

	assert_int_equal(pml_create(v), 0);
	wanted = true;
	for (u32 n = 0; n <= BUFFER; n++) {
		memset(marks, 0, sizeof(marks));
		goes_in(v);
		for (u32 i = 0; i < n; i++)
			assert_true(cpu_writes(v, 3 * i + n % 7));
		assert_int_equal(cpu_writes(v, 0), n < BUFFER);
		comes_out(v);
		for (u32 i = 0; i < n; i++)
			assert_true(marks[3 * i + n % 7]);
		assert_int_equal(marks_in_all(), n < BUFFER ? n + 1 : n);
		assert_int_equal(vmcs_read(GUEST_PML_INDEX), BUFFER - 1);
	}
	/* The last was full: the guest goes on, and an IRET that it was finds NMIs blocked. */
	vmcs_write(EXIT_QUALIFICATION, BIT(12));
	assert_int_equal(handle_pml_full(v, &e), EXIT_RESUME);
	assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), BLOCKED_BY_NMI);
}

/* Nobody is in the guest: nothing to wait for, and nobody to kick. */
static void draining_disturbs_nobody_else(void **state)
{
	static struct mmu_vm other_vm;
	u32 kicks = hosted_ipi_kicks();

	vcpus[1].config.mmu = &other_vm;
	for (u32 i = 0; i < VCPUS; i++)
		assert_int_equal(pml_create(&vcpus[i]), 0);
	/* Of another VM, and in its guest for good. */
	vcpus[1].in_guest = true;
	vm.drain_dirty(&vm);
	assert_int_equal(hosted_ipi_kicks(), kicks);
}

/* What one vCPU has written, in order: a ring, of which the reader of the log has seen `read`. */
static struct writer {
	pthread_t thread;
	u32 index;
	u32 pages[1 << 14];
	u32 count, read; /* atomic */
	bool stop;	 /* atomic */
	bool finished;	 /* atomic */
} writers[VCPUS];

static void *run_vcpu(void *arg)
{
	struct writer *w = arg;
	struct vmx_vcpu *v = &vcpus[w->index];
	unsigned int seed = w->index + 1;
	u32 count = 0, kicks;

	hosted_cpu_set(v->cpu);
	vmcs_write(CTRL_PROC_SECONDARY, PLAIN_PROC2);
	while (!__atomic_load_n(&w->stop, __ATOMIC_SEQ_CST)) {
		kicks = hosted_ipi_kicks();
		goes_in(v);
		while (hosted_ipi_kicks() == kicks) {
			u32 page = (u32)rand_r(&seed) % PAGES;

			if (count - __atomic_load_n(&w->read, __ATOMIC_SEQ_CST) ==
				    ARRAY_SIZE(w->pages) ||
			    rand_r(&seed) % 64 == 0) {
				sched_yield();
				continue;
			}
			if (rand_r(&seed) % 600 == 0 || !cpu_writes(v, page))
				break; /* another exit */
			w->pages[count++ % ARRAY_SIZE(w->pages)] = page;
			__atomic_store_n(&w->count, count, __ATOMIC_SEQ_CST);
		}
		comes_out(v);
	}
	__atomic_store_n(&w->finished, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static u32 written[PAGES]; /* how often, of what the rings gave */

static void read_ring(struct writer *w, u32 count)
{
	u32 i;

	for (i = __atomic_load_n(&w->read, __ATOMIC_SEQ_CST); i != count; i++)
		written[w->pages[i % ARRAY_SIZE(w->pages)]]++;
	__atomic_store_n(&w->read, i, __ATOMIC_SEQ_CST);
}

/* Waits until somebody has written since. */
static void read_rings(void)
{
	u32 count[VCPUS];
	bool more = false;

	while (!more) {
		for (u32 i = 0; i < VCPUS; i++) {
			count[i] = __atomic_load_n(&writers[i].count, __ATOMIC_SEQ_CST);
			more |= count[i] != writers[i].read;
		}
		if (!more)
			sched_yield();
	}
	for (u32 i = 0; i < VCPUS; i++)
		read_ring(&writers[i], count[i]);
}

static void stop_writers(void)
{
	for (u32 i = 0; i < VCPUS; i++)
		__atomic_store_n(&writers[i].stop, true, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < VCPUS; i++) {
		while (!__atomic_load_n(&writers[i].finished, __ATOMIC_SEQ_CST)) {
			ipi_kick(vcpus[i].cpu);
			sched_yield();
		}
		pthread_join(writers[i].thread, NULL);
		read_ring(&writers[i], writers[i].count);
	}
}

/* Each write is noted once: as many marks as writes, and no more when all have left. */
static void what_was_written_before_is_in_the_log(void **state)
{
	memset(written, 0, sizeof(written));
	wanted = true;
	for (u32 i = 0; i < VCPUS; i++) {
		assert_int_equal(pml_create(&vcpus[i]), 0);
		writers[i] = (struct writer){.index = i};
		assert_int_equal(pthread_create(&writers[i].thread, NULL, run_vcpu, &writers[i]),
				 0);
	}
	for (u32 round = 0; round < ROUNDS; round++) {
		read_rings();
		vm.drain_dirty(&vm);
		for (u32 i = 0; i < PAGES; i++)
			assert_true(__atomic_load_n(&marks[i], __ATOMIC_SEQ_CST) >= written[i]);
	}
	stop_writers();
	for (u32 i = 0; i < PAGES; i++)
		assert_int_equal(marks[i], written[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_cpu_without_it_keeps_no_log, pml_setup,
						pml_teardown),
		cmocka_unit_test_setup_teardown(no_memory, pml_setup, pml_teardown),
		cmocka_unit_test_setup_teardown(on_while_it_is_wanted, pml_setup, pml_teardown),
		cmocka_unit_test_setup_teardown(the_other_controls_stay, pml_setup, pml_teardown),
		cmocka_unit_test_setup_teardown(any_number_of_entries, pml_setup, pml_teardown),
		cmocka_unit_test_setup_teardown(draining_disturbs_nobody_else, pml_setup,
						pml_teardown),
		cmocka_unit_test_setup_teardown(what_was_written_before_is_in_the_log, pml_setup,
						pml_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
