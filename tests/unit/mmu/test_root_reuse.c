/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/*
 * R16: VMs that come and go get each other's root frames, so their EPT pointers are equal. Beside
 * them stands a TLB for each CPU that remembers which VM's translations it holds under which
 * pointer, and forgets them on INVEPT alone.
 */
#include <cmocka.h>
#include <stdlib.h>
#include "kernel/base/x86.h"
#include "mmu/invept.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define CPUS	4
#define ENTRIES 64 /* of a TLB */
#define VMS	3  /* at a time */
#define STEPS	4000

static struct {
	u64 eptp;
	u32 vm; /* number of the VM, counted from 1 over the whole test; 0: nothing */
} tlb[CPUS][ENTRIES];

static struct {
	struct mmu_vm mmu;
	u32 number; /* 0: not there */
} vms[VMS];

static u32 last_number, roots_reused, stale_met;

static bool forget(enum invept_type type, u64 eptp)
{
	u32 cpu = cpu_id();

	if (type == INVEPT_SINGLE && !mmu_hw.invept_single)
		return false;
	for (u32 i = 0; i < ENTRIES; i++) {
		if (type == INVEPT_ALL || tlb[cpu][i].eptp == eptp)
			tlb[cpu][i].vm = 0;
	}
	return true;
}

/* A VM whose root some CPU still has translations of: that is what the test is about. */
static void note_reuse(u64 eptp)
{
	for (u32 cpu = 0; cpu < CPUS; cpu++) {
		for (u32 i = 0; i < ENTRIES; i++) {
			if (tlb[cpu][i].vm && tlb[cpu][i].eptp == eptp) {
				roots_reused++;
				return;
			}
		}
	}
}

static void create(u32 i)
{
	assert_int_equal(mmu_vm_create(&vms[i].mmu, MMU_EPT), 0);
	vms[i].number = ++last_number;
	note_reuse(mmu_eptp(&vms[i].mmu));
}

static void destroy(u32 i)
{
	mmu_vm_destroy(&vms[i].mmu);
	vms[i].number = 0;
}

static void enter(u32 i, u32 cpu)
{
	u64 eptp = mmu_eptp(&vms[i].mmu);
	u32 slot = (u32)rand() % ENTRIES;

	hosted_cpu_set(cpu);
	irq_disable();
	mmu_enter(&vms[i].mmu);
	for (u32 k = 0; k < ENTRIES; k++) {
		if (tlb[cpu][k].vm && tlb[cpu][k].eptp == eptp && tlb[cpu][k].vm != vms[i].number)
			stale_met++;
	}
	tlb[cpu][slot].eptp = eptp;
	tlb[cpu][slot].vm = vms[i].number;
	mmu_exit(&vms[i].mmu);
	irq_enable();
}

static void come_and_go(bool single)
{
	struct mmu_hw hw;

	fixture_start(MIB(32));
	hw = mmu_hw;
	hw.invept_single = single;
	mmu_init(&hw);
	for (u32 step = 0; step < STEPS; step++) {
		u32 i = (u32)rand() % VMS;

		hosted_cpu_set(0);
		if (!vms[i].number)
			create(i);
		else if (rand() % 16 == 0)
			destroy(i);
		else
			enter(i, (u32)rand() % CPUS);
	}
	hosted_cpu_set(0);
	for (u32 i = 0; i < VMS; i++) {
		if (vms[i].number)
			destroy(i);
	}
	fixture_end();
	assert_true(roots_reused > 20);
	assert_int_equal(stale_met, 0);
}

static int setup(void **state)
{
	const char *given = getenv("WEIR_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : 1;

	print_message("seed %u\n", seed);
	srand(seed);
	hosted_invept_hook = forget;
	roots_reused = stale_met = 0;
	return 0;
}

static void a_root_that_comes_back_is_flushed(void **state)
{
	come_and_go(true);
}

static void likewise_where_only_all_can_be_flushed(void **state)
{
	come_and_go(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_root_that_comes_back_is_flushed, setup),
		cmocka_unit_test_setup(likewise_where_only_all_can_be_flushed, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
