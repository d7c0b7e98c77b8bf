/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem kernel/rma.c mmu/rma_setup.c mmu/real_mode.c mem/rma.c tests/unit/mmu/fixture.c */
/* What a person is told about real-mode areas: each failure is one line with sizes and a remedy. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/rma.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"
#include "vmx/vmx.h"

static bool unrestricted;

bool vmx_unrestricted_guest(void)
{
	return unrestricted;
}

static struct vm machine;
static struct vcpu cpu;
static char message[CONFIG_MESSAGE_MAX];

static void pool_start(u64 bytes)
{
	machine_start(MIB(64));
	stat_unregister(&rma_stat_group);
	rma_start(0);
	rma_pool_init(0); /* none is left from the test before */
	hosted_log_reset();
	rma_start(bytes);
	unrestricted = true;
}

static void vm_start(u64 mem, u64 rma, u32 order)
{
	memset(&machine, 0, sizeof(machine));
	memset(&cpu, 0, sizeof(cpu));
	message[0] = '\0';
	strcpy(machine.name, "alpha");
	mutex_init(&machine.lock, "vm", LOCK_VM);
	machine.config.mem = mem;
	machine.config.rma = rma;
	assert_int_equal(gmem_create_order(mem >> PAGE_SHIFT, order, &machine.ram), 0);
	machine.pins.pins_max = GMEM_PINS_MAX;
	gmem_set_account(machine.ram, &machine.pins);
}

static void map_start(void)
{
	assert_int_equal(mmu_vm_create(&machine.mmu, MMU_AUTO), 0);
	vm_rma_watch(&machine);
	cpu.vm = &machine;
	mmu_vcpu_init(&cpu.mmu, &machine.mmu);
	hosted_log_reset();
}

static void vm_end(void)
{
	if (machine.mmu.root) {
		mmu_vcpu_destroy(&cpu.mmu);
		vm_rma_unwatch(&machine);
		mmu_vm_destroy(&machine.mmu);
	}
	gmem_unref(machine.ram);
	vm_rma_destroy(&machine);
	assert_int_equal(machine.pins.pins, 0);
}

static void pool_lines(void **state)
{
	pool_start(0);
	assert_int_equal(hosted_log_count(LOG_INFO) + hosted_log_count(LOG_ERROR), 0);
	pool_start(MIB(8));
	assert_string_equal(hosted_log_last(), "rma_pool: 8M are set aside for VMs with rma=");
	pool_start(MIB(128));
	assert_int_equal(hosted_log_count(LOG_ERROR), 1);
	assert_non_null(strstr(hosted_log_last(), "rma_pool=128M: nothing is set aside: of "));
	assert_non_null(strstr(hosted_log_last(), " that are free no 128M are in one piece: give "
						  "less"));
}

static void exhausted(void **state)
{
	static const struct {
		u64 pool, taken, rma;
		const char *message;
	} cases[] = {
		{0, 0, MIB(8),
		 "rma=8M: there is no pool to take it from: add rma_pool=8M to Weir's own command "
		 "line"},
		{0, 0, KIB(64),
		 "rma=64K: there is no pool to take it from: add rma_pool=2M to Weir's own command "
		 "line"},
		{MIB(8), 0, MIB(12),
		 "rma=12M: the pool of 8M has 8M free, of that 8M in one piece: give rma_pool=12M, "
		 "or end a VM that has rma="},
		{MIB(8), MIB(6), MIB(4),
		 "rma=4M: the pool of 8M has 2M free, of that 2M in one piece: give rma_pool=10M, "
		 "or end a VM that has rma="},
		{MIB(8), MIB(6) + KIB(64), MIB(2),
		 "rma=2M: the pool of 8M has 1984K free, of that 0 in one piece: give "
		 "rma_pool=10M, "
		 "or end a VM that has rma="},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rma_piece *taken = NULL;

		pool_start(cases[i].pool);
		if (cases[i].taken)
			assert_int_equal(rma_alloc(cases[i].taken >> PAGE_SHIFT, &taken), 0);
		vm_start(MIB(32), cases[i].rma, 0);
		assert_int_equal(vm_rma_create(&machine, message, sizeof(message)), ERR_NOSPC);
		assert_string_equal(message, cases[i].message);
		assert_int_equal(machine.ram->resident, 0);
		vm_end();
		if (taken)
			rma_put(taken);
	}
}

/* Each failure gives the piece back. */
static void piece_of_a_vm(void **state)
{
	struct rma_stats s;
	pfn_t pfn;

	pool_start(MIB(8));
	vm_start(MIB(32), 0, 0);
	assert_int_equal(vm_rma_create(&machine, message, sizeof(message)), 0);
	assert_null(machine.rma_piece);
	vm_end();

	for (u32 n = 1;; n++) {
		int err;

		vm_start(MIB(32), MIB(6), 0);
		hosted_fail_after(n);
		err = vm_rma_create(&machine, message, sizeof(message));
		if (!hosted_fail_happened())
			break;
		assert_int_equal(err, ERR_NOMEM);
		assert_string_equal(message, "");
		vm_end();
		rma_pool_stats(&s);
		assert_int_equal(s.pieces, 0);
	}
	hosted_fail_after(0);
	assert_int_equal(gmem_lookup(machine.ram, 1535, true, &pfn), 0);
	assert_int_equal(pfn.v, machine.rma_piece->pfn.v + 1535);
	assert_int_equal(gmem_lookup(machine.ram, 1536, true, &pfn), ERR_TOO_HARD);
	vm_end();
	rma_pool_stats(&s);
	assert_int_equal(s.pieces, 0);
	assert_int_equal(s.used_peak, 1536);

	vm_start(MIB(32), MIB(6), 9);
	assert_int_equal(vm_rma_create(&machine, message, sizeof(message)), 0);
	vm_end();
}

static void add_slot(u32 id, u64 gfn, u64 pages, u32 flags)
{
	assert_int_equal(memslot_create(&machine.mmu, id, GFN(gfn), pages, machine.ram, gfn, flags),
			 0);
}

/* The line is told once for each try, and the next try may succeed. */
static void run_lines(void **state)
{
	pool_start(0);
	vm_start(MIB(32), 0, 0);
	map_start();
	assert_int_equal(vcpu_rma_set_up(&cpu), ERR_NOSLOT);
	assert_string_equal(hosted_log_last(),
			    "vm alpha: vCPU 0 does not run: its real-mode area meets at guest "
			    "address 0x0 no memslot: give the VM one there");
	add_slot(1, 0, 256, MEMSLOT_READONLY);
	assert_int_equal(vcpu_rma_set_up(&cpu), ERR_PERM);
	assert_string_equal(hosted_log_last(),
			    "vm alpha: vCPU 0 does not run: its real-mode area meets at guest "
			    "address 0x0 a read-only memslot: make it writable");
	assert_int_equal(memslot_delete(&machine.mmu, 1), 0);
	add_slot(1, 0, 256, 0);
	machine.pins.pins_max = 5;
	assert_int_equal(vcpu_rma_set_up(&cpu), ERR_NOSPC);
	assert_string_equal(hosted_log_last(),
			    "vm alpha: vCPU 0 does not run: its real-mode area meets at guest "
			    "address 0x5000 memory that cannot be pinned: the VM has as many pins "
			    "as it may");
	machine.pins.pins_max = GMEM_PINS_MAX;
	hosted_fail_after(1);
	assert_int_equal(vcpu_rma_set_up(&cpu), ERR_NOMEM);
	hosted_fail_after(0);
	assert_int_equal(hosted_log_count(LOG_ERROR), 3);
	assert_int_equal(vcpu_rma_set_up(&cpu), 0);
	assert_int_equal(hosted_log_count(LOG_ERROR), 3);
	assert_int_equal(machine.pins.pins, RMA_PAGES);
	vm_end();
}

/* Where the CPU lacks unrestricted guest the tables are in the BIOS area, beside ACPI and GDT. */
static void tables_by_the_flag(void **state)
{
	u8 last;

	pool_start(0);
	unrestricted = false;
	vm_start(MIB(32), 0, 0);
	map_start();
	add_slot(1, 0, 256, 0);
	assert_int_equal(vcpu_rma_set_up(&cpu), 0);
	assert_int_equal(machine.pins.pins, RMA_PINS_MAX);
	assert_int_equal(gpa_read(&machine.mmu, GPA(0xf0000 + REAL_MODE_TSS_LIMIT), &last, 1), 0);
	assert_int_equal(last, 0xff);
	assert_int_equal(gpa_read(&machine.mmu, GPA(0xf3000), &last, 1), 0);
	assert_int_equal(last, 0xe7);
	vm_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pool_lines),	      cmocka_unit_test(exhausted),
		cmocka_unit_test(piece_of_a_vm),      cmocka_unit_test(run_lines),
		cmocka_unit_test(tables_by_the_flag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
