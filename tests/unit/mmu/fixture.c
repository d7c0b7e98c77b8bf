/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include <stdlib.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mem/pool.h"
#include "mem/slab.h"
#include "mmu/ept.h"
#include "tests/hosted/frames.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

struct mmu_vm vm;
struct mmu_vcpu vcpu;

static u64 free_at_start;
static bool is_on;

void machine_start(u64 memory)
{
	const struct mmu_hw hw = {
		.ept = true,
		.ept_ad = true,
		.ept_2m = true,
		.invept_single = true,
		.invept_all = true,
		.maxphyaddr = 39,
	};

	frames_start(memory);
	slab_init();
	pool_init();
	mmu_init(&hw);
}

void fixture_start(u64 memory)
{
	fixture_start_kind(memory, MMU_AUTO);
}

void fixture_start_kind(u64 memory, enum mmu_kind kind)
{
	/* RCU and SRCU know of a VM that is about to be overwritten: they would look for ever. */
	if (is_on) {
		print_error("the test before left the machine on: no more tests\n");
		exit(1);
	}
	is_on = true;
	machine_start(memory);
	free_at_start = frames_free();
	assert_int_equal(mmu_vm_create(&vm, kind), 0);
	vm.fault_around = 1; /* the tests that want it turn it on */
	mmu_vcpu_init(&vcpu, &vm);
	assert_int_equal(mmu_vcpu_topup(&vcpu), 0);
}

void fixture_end(void)
{
	mmu_vcpu_destroy(&vcpu);
	mmu_vm_destroy(&vm);
	is_on = false;
	assert_int_equal(hosted_locks_held(), 0);
	assert_int_equal(frames_free(), free_at_start);
}

void grace(void)
{
	srcu_barrier(&vm.srcu);
	rcu_barrier();
}

struct gmem *object_new(u64 pages)
{
	struct gmem *g;

	assert_int_equal(gmem_create(pages, &g), 0);
	return g;
}

int fault(struct mmu_vcpu *v, gpa_t gpa, u32 access)
{
	bool on = irq_save();
	int err = mmu_fault(v, gpa, access);

	irq_restore(on);
	return err;
}

int touch(struct mmu_vcpu *v, gpa_t gpa, u32 access)
{
	int err = fault(v, gpa, access);

	return err == ERR_TOO_HARD || err == ERR_STORED ? mmu_fault_slow(v, gpa, access) : err;
}

static const u64 *table_at(u64 hpa)
{
	assert_int_equal(hpa & 0xfff, 0);
	assert_true(hpa + 4096 <= hosted_arena_size);
	return (const u64 *)(hosted_arena + hpa);
}

static u64 load(const u64 *e)
{
	return __atomic_load_n(e, __ATOMIC_ACQUIRE);
}

/* level 3 is the root's. True: a leaf. */
static bool check_entry(u64 e, u32 level)
{
	bool leaf = level == 0 || ((e >> 7) & 1);

	assert_true(e & EPT_R); /* never write-only; execute-only is not used */
	assert_int_equal(e >> 52, 0);
	if (!leaf) {
		assert_int_equal(e & 0x78, 0);
		return false;
	}
	assert_true(level < 3);
	assert_int_equal(EPT_TYPE(e), EPT_MEMTYPE_WB);
	assert_int_equal(e & 0x40, 0x40); /* the guest's PAT does not count */
	if (level)
		assert_int_equal(e & ((1ull << (12 + 9 * level)) - 1) & ~0xfffull, 0);
	return true;
}

u64 ept_walk(const struct mmu_vm *m, gpa_t gpa)
{
	u64 eptp = mmu_eptp(m);
	u64 table = eptp & ~0xfffull;

	assert_int_equal(eptp & 0x3f, 6 | 3 << 3);
	if (gpa.v >> 48)
		return 0;
	for (u32 level = 3;; level--) {
		u64 e = load(&table_at(table)[(gpa.v >> (12 + 9 * level)) & 511]);

		if (!(e & EPT_RWX)) {
			/* Threads meet tables that are being taken out. */
			assert_true(e == 0 || e == ept_format.frozen);
			return 0;
		}
		if (check_entry(e, level))
			return e;
		table = e & 0x000ffffffffff000ull;
	}
}

static void census(u64 table, u32 level, u64 *leaves, u64 *tables)
{
	(*tables)++;
	for (u32 i = 0; i < 512; i++) {
		u64 e = load(&table_at(table)[i]);

		if (!e)
			continue;
		if (check_entry(e, level))
			(*leaves)++;
		else
			census(e & 0x000ffffffffff000ull, level - 1, leaves, tables);
	}
}

void ept_census(const struct mmu_vm *m, u64 *leaves, u64 *tables)
{
	*leaves = *tables = 0;
	census(mmu_eptp(m) & ~0xfffull, 3, leaves, tables);
}
