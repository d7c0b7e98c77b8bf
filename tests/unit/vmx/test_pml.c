/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: vmx/pml.c vmx/capability.c vmx/inject.c vmx/event.c vmx/regs.c mem/frame.c
 *   mem/frame_array.c mem/frame_use.c mem/frame_zone.c
 */
/* unit-sanitizer: thread */
/*
 * R21, the CPU's part of the dirty log: what it noted in a vCPU's buffer is in the MMU's log when
 * the log is read. The test plays the CPU, which fills the buffer, and the MMU, which asks.
 */
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "tests/hosted/hosted.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define PAGES	    4096u
#define BUFFER	    512u
#define VCPUS	    3
#define ROUNDS	    300
#define RECENT	    400u /* of the writes that each round looks for */
#define PLAIN_PROC2 0x80000082u

static struct mmu_vm vm, other_vm;
static struct vmx_vcpu vcpus[VCPUS];
static u8 logged[PAGES]; /* atomic; the MMU's log */
static bool wanted;	 /* atomic */

bool mmu_uses_pml(const struct mmu_vm *m)
{
	return __atomic_load_n(&wanted, __ATOMIC_SEQ_CST);
}

void mmu_dirty_mark(struct mmu_vm *m, gfn_t gfn)
{
	assert_ptr_equal(m, &vm);
	assert_true(gfn.v < PAGES);
	__atomic_store_n(&logged[gfn.v], 1, __ATOMIC_SEQ_CST);
}

void vmcs_set_proc_controls(struct vmx_vcpu *v, u32 value)
{
}

static u32 logged_count(void)
{
	u32 n = 0;

	for (u32 i = 0; i < PAGES; i++)
		n += logged[i];
	return n;
}

static u64 frames_free(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.free;
}

static u64 free_at_start;

static int setup(void **state)
{
	static struct memmap map;

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_arena_init(MIB(8));
	memset(&map, 0, sizeof(map));
	map.count = map.ram_count = 1;
	map.ranges[0] = map.ram[0] = (struct mem_range){MIB(1), MIB(8)};
	map.highest_ram = MIB(8);
	assert_int_equal(frame_init(&map), 0);
	free_at_start = frames_free();
	pml_init();
	memset(vcpus, 0, sizeof(vcpus));
	memset(&vm, 0, sizeof(vm));
	memset(&other_vm, 0, sizeof(other_vm));
	memset(logged, 0, sizeof(logged));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	wanted = false;
	vmx_boot_capability.proc2 = (u64)PROC2_PML << 32;
	vmx_boot_capability.ept_vpid = EPT_CAP_AD;
	vmx_boot_controls.proc2 = PLAIN_PROC2;
	for (u32 i = 0; i < VCPUS; i++) {
		vcpus[i].config.mmu = &vm;
		vcpus[i].cpu = i + 1;
		vcpus[i].proc2_controls = PLAIN_PROC2;
	}
	return 0;
}

static int teardown(void **state)
{
	for (u32 i = 0; i < VCPUS; i++)
		pml_destroy(&vcpus[i]);
	assert_int_equal(frames_free(), free_at_start);
	return 0;
}

/* --- The CPU's part --- */

/* A page's dirty bit is set. false: the log is full, and the write does not happen. */
static bool cpu_writes(struct vmx_vcpu *v, u64 page)
{
	u16 index = (u16)vmcs_read(GUEST_PML_INDEX);

	if (!(vmcs_read(CTRL_PROC_SECONDARY) & PROC2_PML))
		return true;
	assert_int_equal(vmcs_read(CTRL_PML_ADDRESS), virt_to_phys(v->pml.buffer).v);
	if (index >= BUFFER)
		return false;
	v->pml.buffer[index] = page << PAGE_SHIFT;
	vmcs_write(GUEST_PML_INDEX, (u16)(index - 1));
	return true;
}

/* As run.c does it. */
static void goes_in(struct vmx_vcpu *v)
{
	__atomic_store_n(&v->in_guest, true, __ATOMIC_SEQ_CST);
	pml_before_entry(v);
}

static void comes_out(struct vmx_vcpu *v)
{
	if (v->pml.on)
		pml_empty(v);
	__atomic_store_n(&v->in_guest, false, __ATOMIC_SEQ_CST);
	if (v->pml.on)
		pml_left(v);
}

/* --- Tests --- */

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
	assert_true(logged[2] && logged[3]);
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
		memset(logged, 0, sizeof(logged));
		goes_in(v);
		for (u32 i = 0; i < n; i++)
			assert_true(cpu_writes(v, 3 * i + n % 7));
		assert_int_equal(cpu_writes(v, 0), n < BUFFER);
		comes_out(v);
		for (u32 i = 0; i < n; i++)
			assert_true(logged[3 * i + n % 7]);
		assert_in_range(logged_count(), n, n + 1);
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
	u32 kicks = hosted_ipi_kicks();

	vcpus[1].config.mmu = &other_vm;
	for (u32 i = 0; i < VCPUS; i++)
		assert_int_equal(pml_create(&vcpus[i]), 0);
	/* Of another VM, and in its guest for good. */
	vcpus[1].in_guest = true;
	vm.drain_dirty(&vm);
	assert_int_equal(hosted_ipi_kicks(), kicks);
}

/*
 * One that is about to count as out is still in the stay that it is asked to end: were it counted
 * before, the next stay would be waited for, and nobody would make the vCPU leave that.
 */
static void a_stay_is_over_when_it_is_out(void **state)
{
	struct vmx_vcpu *v = &vcpus[0];
	u64 left;

	assert_int_equal(pml_create(v), 0);
	wanted = true;
	goes_in(v);
	assert_true(cpu_writes(v, 1));
	left = v->pml.left;
	pml_empty(v);
	assert_true(logged[1]);
	assert_int_equal(v->pml.left, left);
	v->in_guest = false;
	pml_left(v);
	assert_int_equal(v->pml.left, left + 1);
}

/* What one vCPU has written, in order; the reader of the log knows it by the count. */
static struct writer {
	pthread_t thread;
	u32 index;
	u32 pages[1 << 16];
	u32 count;     /* atomic */
	bool stop;     /* atomic */
	bool finished; /* atomic */
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

			if (count == ARRAY_SIZE(w->pages) || rand_r(&seed) % 64 == 0) {
				sched_yield();
				continue;
			}
			if (rand_r(&seed) % 600 == 0 || !cpu_writes(v, page))
				break; /* another exit */
			w->pages[count++] = page;
			__atomic_store_n(&w->count, count, __ATOMIC_SEQ_CST);
		}
		comes_out(v);
	}
	__atomic_store_n(&w->finished, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Waits until somebody has written since, or all have written all that they may. */
static u32 written_by_now(u32 before, u32 n[VCPUS])
{
	u32 sum;

	do {
		sum = 0;
		for (u32 i = 0; i < VCPUS; i++) {
			n[i] = __atomic_load_n(&writers[i].count, __ATOMIC_SEQ_CST);
			sum += n[i];
		}
		if (sum == before)
			sched_yield();
	} while (sum == before && sum != VCPUS * ARRAY_SIZE(writers[0].pages));
	return sum;
}

static void what_was_written_before_is_in_the_log(void **state)
{
	u32 written = 0, n[VCPUS];

	wanted = true;
	for (u32 i = 0; i < VCPUS; i++) {
		assert_int_equal(pml_create(&vcpus[i]), 0);
		writers[i].index = i;
		writers[i].count = 0;
		writers[i].stop = writers[i].finished = false;
		assert_int_equal(pthread_create(&writers[i].thread, NULL, run_vcpu, &writers[i]),
				 0);
	}
	for (u32 round = 0; round < ROUNDS; round++) {
		written = written_by_now(written, n);
		vm.drain_dirty(&vm);
		for (u32 i = 0; i < VCPUS; i++) {
			for (u32 k = n[i] < RECENT ? 0 : n[i] - RECENT; k < n[i]; k++)
				assert_true(__atomic_load_n(&logged[writers[i].pages[k]],
							    __ATOMIC_SEQ_CST));
		}
	}
	for (u32 i = 0; i < VCPUS; i++)
		__atomic_store_n(&writers[i].stop, true, __ATOMIC_SEQ_CST);
	vm.drain_dirty(&vm);
	for (u32 i = 0; i < VCPUS; i++) {
		/* It may have been about to go in when it was told to stop. */
		while (!__atomic_load_n(&writers[i].finished, __ATOMIC_SEQ_CST)) {
			ipi_kick(vcpus[i].cpu);
			sched_yield();
		}
		pthread_join(writers[i].thread, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_cpu_without_it_keeps_no_log, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(on_while_it_is_wanted, setup, teardown),
		cmocka_unit_test_setup_teardown(the_other_controls_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(any_number_of_entries, setup, teardown),
		cmocka_unit_test_setup_teardown(draining_disturbs_nobody_else, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stay_is_over_when_it_is_out, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_written_before_is_in_the_log, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
