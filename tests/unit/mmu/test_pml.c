/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* The log of written pages (R21) where the CPU notes them (PML): writes cost no fault. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x143
#define PAGES 200
#define WORDS 4
#define ID    7

static struct gmem *ram;
static u64 page_log[WORDS];

static u32 drained;
static u64 cpu_log[8]; /* gfns that a CPU has written and keeps to itself */
static u32 cpu_logged;

static void drain(struct mmu_vm *m)
{
	assert_ptr_equal(m, &vm);
	drained++;
	while (cpu_logged)
		mmu_dirty_mark(&vm, GFN(cpu_log[--cpu_logged]));
}

/* As the CPU writes: D is set in the entry, and if it was clear the gfn is logged. */
static void cpu_writes(u64 gfn)
{
	u64 *spte = spte_of(gfn);

	assert_true(*spte & EPT_W);
	if (!(*spte & PAGE_TABLE_DIRTY))
		cpu_log[cpu_logged++] = gfn;
	*spte |= PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY;
}

static int setup(void **state)
{
	fixture_start(MIB(16));
	mmu_hw.pml = true;
	vm.drain_dirty = drain;
	drained = cpu_logged = 0;
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, ID, GFN(BASE), PAGES, ram, 0, MEMSLOT_LOG_DIRTY), 0);
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static bool writable(u64 i)
{
	return ept_walk(&vm, PAGE(BASE + i)) & EPT_W;
}

static bool marked_dirty(u64 i)
{
	return ept_walk(&vm, PAGE(BASE + i)) & PAGE_TABLE_DIRTY;
}

static bool in_log(u64 i)
{
	return page_log[i / 64] & BIT(i % 64);
}

/* Reads the page_log; how many pages are in it. */
static u32 read_log(void)
{
	u32 n = 0;

	memset(page_log, 0xff, sizeof(page_log));
	assert_int_equal(mmu_dirty_get_and_clear(&vm, ID, page_log, WORDS), 0);
	for (u32 i = 0; i < WORDS; i++)
		n += (u32)__builtin_popcountll(page_log[i]);
	return n;
}

static void write_page(u64 i)
{
	assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_WRITE), 0);
	assert_true(writable(i));
}

static void who_uses_it(void **state)
{
	assert_true(mmu_uses_pml(&vm));
	mmu_hw.pml = false;
	assert_false(mmu_uses_pml(&vm));
	mmu_hw.pml = true;
	mmu_hw.ept_ad = false;
	assert_false(mmu_uses_pml(&vm));
	mmu_hw.ept_ad = true;
	vm.drain_dirty = NULL;
	assert_false(mmu_uses_pml(&vm));
	vm.drain_dirty = drain;
	/* Each change makes every CPU look again. */
	assert_int_equal(STAT(flushes), 1);
	assert_int_equal(memslot_create(&vm, 2, GFN(0), 9, ram, 0, MEMSLOT_LOG_DIRTY), 0);
	assert_int_equal(vm.logged_slots, 2);
	assert_int_equal(memslot_set_flags(&vm, ID, 0), 0);
	assert_int_equal(STAT(flushes), 3);
	assert_true(mmu_uses_pml(&vm));
	assert_int_equal(memslot_delete(&vm, 2), 0);
	assert_false(mmu_uses_pml(&vm));
	assert_int_equal(STAT(flushes), 4);
}

static void the_cpu_notices(void **state)
{
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1), MMU_READ), 0);
	assert_true(writable(1) && !marked_dirty(1));
	write_page(2); /* the fault notes it, so that the CPU need not */
	assert_true(marked_dirty(2));
	assert_int_equal(read_log(), 1);
	assert_true(in_log(2));
	assert_int_equal(drained, 1);
	assert_true(writable(2) && !marked_dirty(2));
	assert_int_equal(STAT(write_protected), 0);

	cpu_writes(BASE + 1);
	cpu_writes(BASE + 1);
	assert_int_equal(cpu_logged, 1);
	assert_int_equal(read_log(), 1);
	assert_true(in_log(1));
	assert_false(marked_dirty(1));
	assert_int_equal(read_log(), 0);
	cpu_writes(BASE + 1);
	assert_int_equal(read_log(), 1);
	assert_int_equal(drained, 4);
}

static void its_log_begins_under_live_mappings(void **state)
{
	assert_int_equal(memslot_set_flags(&vm, ID, 0), 0);
	for (u64 i = 0; i < 5; i++)
		write_page(i);
	assert_int_equal(memslot_set_flags(&vm, ID, MEMSLOT_LOG_DIRTY), 0);
	for (u64 i = 0; i < 5; i++)
		assert_true(writable(i) && !marked_dirty(i));
	cpu_writes(BASE + 4);
	assert_int_equal(read_log(), 1);
	assert_true(in_log(4));
}

/* Of 2 MiB the CPU would tell the first write alone. */
static void a_large_mapping_is_split_for_it(void **state)
{
	struct gmem *g = object_filled(512);

	assert_int_equal(memslot_create(&vm, 2, GFN(0x2000), 512, g, 0, 0), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x2000), MMU_WRITE), 0);
	assert_true(is_large(0x2000));
	assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_LOG_DIRTY), 0);
	for (u64 i = 0; i < 512; i++) {
		u64 e = ept_walk(&vm, PAGE(0x2000 + i));

		assert_false(is_large(0x2000 + i));
		assert_int_equal(e & (EPT_W | PAGE_TABLE_DIRTY), EPT_W);
	}
	gmem_unref(g);
}

/* What a CPU has not told yet is known by gfns that mean nothing once the slot is elsewhere. */
static void it_is_complete_when_the_slot_moves(void **state)
{
	for (u64 i = 0; i < 3; i++)
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_READ), 0);
	cpu_writes(BASE + 1);
	assert_int_equal(memslot_move(&vm, ID, GFN(0x4000)), 0);
	assert_int_equal(read_log(), 1);
	assert_true(in_log(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_uses_it, setup, teardown),
		cmocka_unit_test_setup_teardown(the_cpu_notices, setup, teardown),
		cmocka_unit_test_setup_teardown(its_log_begins_under_live_mappings, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_large_mapping_is_split_for_it, setup, teardown),
		cmocka_unit_test_setup_teardown(it_is_complete_when_the_slot_moves, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
