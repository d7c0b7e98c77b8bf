/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem kernel/apic_page.c mmu/fetch.c tests/unit/mmu/fixture.c */
/*
 * The APIC-access page's slot over the real MMU: mapped for the CPU's sake, memory for nobody, and
 * gone for all when one vCPU's APIC leaves its place.
 */
#include "kernel/apic_page.h"
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/dev/platform.h"
#include "mmu/fetch.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"
#include "vmx/apicv.h"

#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define SLOT  7
#define LAPIC GPA(PLATFORM_LAPIC_BASE)
#define HOME  (PLATFORM_LAPIC_BASE | APIC_BASE_ENABLE)

static struct vm machine;
static struct vcpu cpu;
static struct mmu_vcpu walker;
static enum vmx_apicv apicv;
static u64 base;

enum vmx_apicv vmx_apicv(void)
{
	return apicv;
}

u64 platform_apic_base(struct vcpu *v)
{
	return base;
}

static int setup(void **state)
{
	machine_start(MIB(16));
	memset(&machine, 0, sizeof(machine));
	cpu = (struct vcpu){.vm = &machine};
	apicv = VMX_APICV_ACCESS;
	base = HOME | APIC_BASE_BSP;
	assert_int_equal(mmu_vm_create(&machine.mmu, MMU_EPT), 0);
	mmu_vcpu_init(&walker, &machine.mmu);
	return 0;
}

static int teardown(void **state)
{
	mmu_vcpu_destroy(&walker);
	mmu_vm_destroy(&machine.mmu);
	apic_page_destroy(&machine);
	assert_int_equal(hosted_locks_held(), 0);
	return 0;
}

static void the_cpu_finds_it_and_nobody_else(void **state)
{
	struct fetch_code code = {.mode = DECODE_32, .linear = LAPIC.v};
	u64 words[FETCH_WORDS];
	u32 value = 1;

	assert_int_equal(apic_page_create(&machine, SLOT), 0);
	assert_true(apic_page_is_there(&machine));
	assert_int_equal(machine.mmu.private_slots, 1);
	assert_int_equal(touch(&walker, LAPIC, MMU_READ), 0);
	assert_int_equal(EPT_PFN(ept_walk(&machine.mmu, LAPIC)), machine.apic_page.pfn.v);
	/* It is a device's for all that Weir does by address. */
	assert_int_equal(gpa_read(&machine.mmu, LAPIC, &value, 4), ERR_NOSLOT);
	assert_int_equal(gpa_write(&machine.mmu, LAPIC, &value, 4), ERR_NOSLOT);
	assert_null(fetch_instruction(&walker, &code, words));
	assert_int_equal(mmu_resident_pages(&machine.mmu), 0);
}

static void who_moves_takes_it_away(void **state)
{
	u32 value;

	assert_int_equal(apic_page_create(&machine, SLOT), 0);
	assert_int_equal(touch(&walker, LAPIC, MMU_WRITE), 0);
	assert_false(apic_base_moves(&cpu, MSR_IA32_APIC_BASE, HOME));
	assert_false(apic_base_moves(&cpu, MSR_IA32_TSC_DEADLINE, 0));
	assert_true(apic_base_moves(&cpu, MSR_IA32_APIC_BASE, HOME + PAGE_SIZE));
	assert_true(apic_base_moves(&cpu, MSR_IA32_APIC_BASE, HOME | APIC_BASE_X2APIC));
	assert_true(apic_base_moves(&cpu, MSR_IA32_APIC_BASE, PLATFORM_LAPIC_BASE));
	assert_int_equal(apic_page_retire(&machine), 0);
	assert_int_equal(ept_walk(&machine.mmu, LAPIC), 0);
	assert_int_equal(machine.mmu.private_slots, 0);
	assert_int_equal(touch(&walker, LAPIC, MMU_READ), ERR_NOSLOT);
	assert_int_equal(gpa_read(&machine.mmu, LAPIC, &value, 4), ERR_NOSLOT);
	/* The second comes too late. */
	assert_int_equal(apic_page_retire(&machine), 0);
	assert_false(apic_page_is_there(&machine));
}

static void no_memory(void **state)
{
	for (u32 i = 1;; i++) {
		int err;

		hosted_fail_after(i);
		err = apic_page_create(&machine, SLOT);
		hosted_fail_after(0);
		if (!err)
			break;
		assert_int_equal(err, ERR_NOMEM);
		assert_false(apic_page_is_there(&machine));
		apic_page_destroy(&machine);
	}
	for (u32 i = 1; apic_page_is_there(&machine); i++) {
		hosted_fail_after(i);
		(void)apic_page_retire(&machine);
		hosted_fail_after(0);
	}
}

static u32 made; /* atomic: 1 it begins, 2 it has returned */

static void *make(void *arg)
{
	__atomic_store_n(&made, 1, __ATOMIC_SEQ_CST);
	assert_int_equal(apic_page_create(&machine, SLOT), 0);
	__atomic_store_n(&made, 2, __ATOMIC_SEQ_CST);
	return NULL;
}

static u32 slots_seen(void)
{
	u32 reader = srcu_read_lock(&machine.mmu.srcu), count = memslots_get(&machine.mmu)->count;

	srcu_read_unlock(&machine.mmu.srcu, reader);
	return count;
}

/* A walker holds mem_sem: under it no page of Weir's own appears where it found none. */
static void no_walker_is_under_way(void **state)
{
	pthread_t thread;

	rwsem_read_lock(&machine.mmu.mem_sem);
	assert_int_equal(pthread_create(&thread, NULL, make, NULL), 0);
	while (!__atomic_load_n(&made, __ATOMIC_SEQ_CST))
		usleep(1000);
	for (u32 i = 0; i < 100; i++) {
		usleep(1000);
		assert_int_equal(slots_seen(), 0);
	}
	assert_int_equal(__atomic_load_n(&made, __ATOMIC_SEQ_CST), 1);
	rwsem_read_unlock(&machine.mmu.mem_sem);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(slots_seen(), 1);
	assert_true(apic_page_is_there(&machine));
}

static void without_the_control_there_is_none(void **state)
{
	apicv = VMX_APICV_TPR;
	assert_int_equal(apic_page_create(&machine, SLOT), 0);
	assert_false(apic_page_is_there(&machine));
	assert_int_equal(touch(&walker, LAPIC, MMU_READ), ERR_NOSLOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_cpu_finds_it_and_nobody_else, setup, teardown),
		cmocka_unit_test_setup_teardown(who_moves_takes_it_away, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(no_walker_is_under_way, setup, teardown),
		cmocka_unit_test_setup_teardown(without_the_control_there_is_none, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
