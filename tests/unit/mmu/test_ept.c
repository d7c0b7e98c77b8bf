/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* The walker over page tables, with the EPT format, and flushing. */
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mmu/ept.h"
#include "mmu/invept.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define RWX (MMU_READ | MMU_WRITE | MMU_EXEC)
#define RX  (MMU_READ | MMU_EXEC)

static int setup(void **state)
{
	fixture_start(MIB(32));
	return 0;
}

static int teardown(void **state)
{
	fixture_end();
	return 0;
}

/* --- page_table.c by itself --- */

static u32 tables_linked;

/* Nobody takes tables out meanwhile, or not for real: the entry is good after the reader, too. */
static u64 *find(u64 gpa, u32 *level, u64 *e)
{
	bool on = irq_save();
	u64 *entry;

	rcu_read_lock();
	entry = page_table_find(&ept_format, vm.root, gpa, level, e);
	rcu_read_unlock();
	irq_restore(on);
	return entry;
}

static int reach(u64 gpa, u32 level, struct page_table_cache *cache, u64 **entry)
{
	bool on = irq_save();
	int err;

	rcu_read_lock();
	err = page_table_reach(&ept_format, vm.root, gpa, level, cache, entry);
	rcu_read_unlock();
	irq_restore(on);
	return err;
}

/* Links a leaf as h_enter does. ERR_EXIST: something is there. */
static int map(u64 gpa, u32 level, u64 hpa, u32 access)
{
	struct page_table_cache cache = {vcpu.cache, &vcpu.cache_count};
	u64 *entry, nothing = 0;
	int err;

	assert_int_equal(mmu_vcpu_topup(&vcpu), 0);
	tables_linked += vcpu.cache_count;
	err = reach(gpa, level, &cache, &entry);
	tables_linked -= vcpu.cache_count;
	if (err)
		return err;
	return page_table_change(entry, &nothing,
				 ept_format.level[level].make_leaf(HPA(hpa), access))
		       ? 0
		       : ERR_EXIST;
}

static void clear(void *arg, u64 addr, u32 level, u64 *entry)
{
	*entry = 0;
}

static u32 prune(u64 from, u64 end)
{
	struct list out = LIST_INIT(out);
	u32 n = page_table_prune(&ept_format, vm.root, from, end, &out), freed = 0;

	while (!list_empty(&out)) {
		struct frame *f = list_first(&out, struct frame, link);
		const u64 *table = pfn_to_virt(frame_pfn(f));

		/* Whoever is still on the way to it links nothing in it (R32). */
		for (u32 i = 0; i < 512; i++)
			assert_int_equal(table[i], ept_format.frozen);
		list_del(&f->link);
		frame_free(frame_pfn(f), 0);
		freed++;
	}
	assert_int_equal(freed, n);
	tables_linked -= n;
	return n;
}

/* What was mapped by hand goes by hand. */
static void clear_all(void)
{
	u32 linked = tables_linked;
	u64 addr = 0;

	while (page_table_for_each_leaf(&ept_format, vm.root, &addr, 100, clear, NULL))
		;
	assert_int_equal(prune(0, BIT(48)), linked);
	assert_int_equal(tables_linked, 0);
}

static void maps_what_it_is_told(void **state)
{
	/* The corners of each level's index, and some in between. */
	static const u64 gpas[] = {
		0x0,	       0x1000,	      0x1ff000,	      0x200000,	      0x3fffffff000,
		0x40000000000, 0x7fffffff000, 0x123456789000, 0xfffffffff000, 0x800000000000,
	};
	u64 leaves, tables;

	for (u32 i = 0; i < ARRAY_SIZE(gpas); i++) {
		u32 access = i & 1 ? RWX : RX;

		assert_int_equal(map(gpas[i], 3, 0x5000 + i * 0x1000, access), 0);
		for (u32 j = 0; j <= i; j++) {
			u64 e = ept_walk(&vm, GPA(gpas[j] | 0x123));

			assert_int_equal(EPT_PFN(e), 5 + j);
			assert_int_equal(e & EPT_RWX, j & 1 ? EPT_RWX : EPT_R | EPT_X);
		}
	}
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, ARRAY_SIZE(gpas));
	assert_int_equal(tables, 1 + tables_linked);
	clear_all();
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 0);
	assert_int_equal(tables, 1);
}

static void large_pages(void **state)
{
	u32 level;
	u64 e;

	assert_int_equal(map(MIB(4), 2, MIB(6), RWX), 0);
	assert_int_equal(map(GIB(2), 1, GIB(3), RX), 0);
	assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(MIB(4) + 0x5123))), MIB(6) >> 12);
	assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(GIB(2) + MIB(700)))), GIB(3) >> 12);
	assert_int_equal(ept_walk(&vm, GPA(MIB(6))), 0);
	/* A small page cannot go below a large one, nor a large one over small ones. */
	assert_int_equal(map(MIB(4) + 0x3000, 3, 0x7000, RWX), ERR_EXIST);
	assert_int_equal(map(MIB(8), 3, 0x7000, RWX), 0);
	assert_int_equal(map(MIB(8), 2, MIB(2), RWX), ERR_EXIST);
	find(MIB(5), &level, &e);
	assert_int_equal(level, 2);
	assert_int_equal(e & ~0x1fffffull, MIB(6));
	clear_all();
}

/* R18: rights change and the CPU's A and D bits stay, and the other way round. */
static void rights_and_marks(void **state)
{
	const struct page_table_level *l = &ept_format.level[3];
	u64 e = l->make_leaf(HPA(0x9000), RX) | BIT(8) | BIT(9);

	assert_int_equal(l->access(e), RX | PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY);
	e = l->with_access(e, l->access(e) | MMU_WRITE);
	assert_int_equal(e, 0x9000 | EPT_RWX | 6 << 3 | BIT(6) | BIT(8) | BIT(9));
	e = l->with_access(e, l->access(e) & ~PAGE_TABLE_ACCESSED);
	assert_int_equal(e, 0x9000 | EPT_RWX | 6 << 3 | BIT(6) | BIT(9));
	assert_int_equal(ept_format.frozen & EPT_RWX, 0);
}

static void an_empty_cache_is_no_harm(void **state)
{
	struct page_table_cache cache = {vcpu.cache, &vcpu.cache_count};
	u32 kept;
	u64 *entry;

	assert_int_equal(mmu_vcpu_topup(&vcpu), 0);
	assert_int_equal(vcpu.cache_count, TABLES_PER_FAULT);
	kept = vcpu.cache_count = 2; /* one too few */
	for (u32 i = kept; i < TABLES_PER_FAULT; i++)
		frame_free_page(vcpu.cache[i]);
	assert_int_equal(reach(0x1000, 3, &cache, &entry), ERR_TOO_HARD);
	assert_int_equal(vcpu.cache_count, 0);
	assert_int_equal(ept_walk(&vm, GPA(0x1000)), 0);
	tables_linked = 2;
	assert_int_equal(map(0x1000, 3, 0x5000, RWX), 0);
	assert_int_equal(tables_linked, 3);
	clear_all();
}

/* R32: a table that is being taken out takes nothing more, and one in use is left as it was. */
static void frozen_tables_take_nothing(void **state)
{
	struct page_table_cache cache = {vcpu.cache, &vcpu.cache_count};
	u64 *entry, *pd, nothing = 0;
	u32 level;
	u64 e;

	assert_int_equal(map(0x3000, 3, 0x5000, RWX), 0);
	assert_int_equal(map(MIB(2), 3, 0x6000, RWX), 0);
	assert_int_equal(prune(0, BIT(48)), 0);
	assert_int_not_equal(ept_walk(&vm, GPA(0x3000)), 0);
	entry = find(0x3000, &level, &e);
	*entry = 0;
	assert_int_equal(prune(0, BIT(48)), 1);
	/* By hand: the way leads to what is frozen at a higher level. */
	assert_int_equal(reach(MIB(4), 2, &cache, &pd), 0);
	*pd = ept_format.frozen;
	assert_int_equal(reach(MIB(4), 3, &cache, &entry), ERR_AGAIN);
	assert_false(page_table_change(pd, &nothing, 5));
	assert_int_equal(nothing, ept_format.frozen);
	*pd = 0;
	clear_all();
}

static void walk_to_an_entry(void *arg)
{
	u32 level;
	u64 e;

	page_table_find(&ept_format, vm.root, 0, &level, &e);
}

static void walk_and_make(void *arg)
{
	struct page_table_cache cache = {vcpu.cache, &vcpu.cache_count};
	u64 *entry;

	page_table_reach(&ept_format, vm.root, 0, 0, &cache, &entry);
}

/* R32 */
static void tables_are_for_readers(void **state)
{
	bool on = irq_save();

	rcu_read_lock();
	assert_false(hosted_catch_panic(walk_to_an_entry, NULL));
	assert_false(hosted_catch_panic(walk_and_make, NULL));
	rcu_read_unlock();
	assert_true(hosted_catch_panic(walk_to_an_entry, NULL));
	assert_true(hosted_catch_panic(walk_and_make, NULL));
	irq_restore(on);
}

/* Random maps and unmaps in a few tables, against an array. */
static void random_maps(void **state)
{
	enum {
		PAGES = 3 * 512
	};
	static u64 want[PAGES];
	u64 leaves, tables;

	srand(2);
	for (u32 i = 0; i < 4000; i++) {
		u64 page = rand() % PAGES, n = 1 + rand() % 300;
		u32 level;
		u64 e;

		if (rand() % 4) {
			u64 pfn = 0x100 + rand() % 64;

			assert_int_equal(map((page + 512) << 12, 3, pfn << 12, RWX),
					 want[page] ? ERR_EXIST : 0);
			want[page] = want[page] ? want[page] : pfn;
			continue;
		}
		n = min(n, PAGES - page);
		for (u64 p = page; p < page + n; p++) {
			u64 *entry = find((p + 512) << 12, &level, &e);

			assert_int_equal(EPT_PFN(e), want[p]);
			if (want[p])
				*entry = 0;
			want[p] = 0;
		}
		prune((page + 512) << 12, (page + 512 + n) << 12);
		ept_census(&vm, &leaves, &tables);
		assert_int_equal(tables, 1 + tables_linked);
		for (u64 p = 0; p < PAGES; p++) {
			assert_int_equal(EPT_PFN(ept_walk(&vm, GPA((p + 512) << 12))), want[p]);
			leaves -= want[p] != 0;
		}
		assert_int_equal(leaves, 0);
	}
	clear_all();
}

/* --- the EPT pointer --- */

static void pointer(void **state)
{
	struct mmu_hw hw = mmu_hw;

	assert_int_equal(mmu_eptp(&vm), virt_to_phys(vm.root).v | 0x5e);
	hw.ept_ad = false;
	mmu_init(&hw);
	assert_int_equal(mmu_eptp(&vm), virt_to_phys(vm.root).v | 0x1e);
}

static void kinds(void **state)
{
	struct mmu_hw hw = mmu_hw, none = hw;
	struct mmu_vm other;

	none.invept_single = none.invept_all = false;
	mmu_init(&none);
	assert_int_equal(mmu_vm_create(&other, MMU_EPT), ERR_NOTSUP);
	none = hw;
	none.ept = false;
	mmu_init(&none);
	assert_int_equal(mmu_vm_create(&other, MMU_EPT), ERR_NOTSUP);
	assert_int_equal(mmu_vm_create(&other, MMU_AUTO), 0);
	assert_int_equal(other.kind, MMU_SHADOW);
	mmu_vm_destroy(&other);
	mmu_init(&hw);
	assert_int_equal(mmu_vm_create(&other, MMU_SHADOW), 0);
	assert_int_equal(other.kind, MMU_SHADOW);
	mmu_vm_destroy(&other);
	assert_int_equal(mmu_vm_create(&other, MMU_EPT), 0);
	mmu_vm_destroy(&other);
}

/* --- flushes --- */

static void enter(void)
{
	irq_disable();
	mmu_enter(&vm);
}

static void leave(void)
{
	mmu_exit(&vm);
	irq_enable();
}

static enum invept_type type_seen;

static bool note_type(enum invept_type type, u64 eptp)
{
	assert_int_equal(eptp, mmu_eptp(&vm));
	type_seen = type;
	return true;
}

static void flushes_once_for_each_cpu(void **state)
{
	struct mmu_hw hw = mmu_hw;
	u32 before[3];

	for (u32 cpu = 0; cpu < 3; cpu++) {
		hosted_cpu_set(cpu);
		before[cpu] = hosted_invepts(cpu);
		/* R15, R16: the first entry on a CPU flushes, whatever it may hold of old. */
		enter();
		leave();
		enter();
		leave();
		assert_int_equal(hosted_invepts(cpu), before[cpu] + 1);
	}
	hosted_cpu_set(0);
	hosted_invept_hook = note_type;
	assert_int_equal(mmu_unmap(&vm, GFN(0), 100), 0);
	assert_int_equal(STAT(flushes), 0); /* nothing was there */
	mmu_flush(&vm);
	mmu_flush(&vm);
	for (u32 cpu = 0; cpu < 3; cpu++) {
		hosted_cpu_set(cpu);
		enter();
		leave();
		enter();
		leave();
		assert_int_equal(hosted_invepts(cpu), before[cpu] + 2);
	}
	hosted_cpu_set(0);
	assert_int_equal(type_seen, INVEPT_SINGLE);
	assert_int_equal(STAT(flushes), 2);
	assert_int_equal(STAT(invepts), 6);
	assert_int_equal(STAT(kicks), 0);
	hw.invept_single = false;
	mmu_init(&hw);
	mmu_flush(&vm);
	enter();
	leave();
	assert_int_equal(type_seen, INVEPT_ALL);
	hosted_invept_hook = NULL;
}

static u32 guest_phase; /* atomic: 1 in the guest, 2 has left */

/* A CPU in the guest that leaves some time after it is kicked. */
static void *guest(void *arg)
{
	u32 kicks = hosted_ipi_kicks();

	hosted_cpu_set(5);
	enter();
	__atomic_store_n(&guest_phase, 1, __ATOMIC_SEQ_CST);
	while (hosted_ipi_kicks() == kicks)
		usleep(100);
	usleep(50000);
	__atomic_store_n(&guest_phase, 2, __ATOMIC_SEQ_CST);
	leave();
	return NULL;
}

/* R13: nobody uses the old translation any more when unmap returns. */
static void unmap_waits_for_the_guest_to_leave(void **state)
{
	struct gmem *g = object_new(4);
	pthread_t thread;
	u32 invepts;

	assert_int_equal(memslot_create(&vm, 1, GFN(0), 4, g, 0, 0), 0);
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(touch(&vcpu, GPA(i << 12), MMU_READ), 0);
	guest_phase = 0;
	pthread_create(&thread, NULL, guest, NULL);
	while (__atomic_load_n(&guest_phase, __ATOMIC_SEQ_CST) == 0)
		usleep(100);
	assert_int_equal(mmu_unmap(&vm, GFN(1), 2), 2);
	assert_int_equal(__atomic_load_n(&guest_phase, __ATOMIC_SEQ_CST), 2);
	pthread_join(thread, NULL);
	assert_int_equal(STAT(kicks), 1);
	assert_int_equal(STAT(flushes), 1);
	assert_int_equal(STAT(unmapped), 2);
	invepts = hosted_invepts(5);
	hosted_cpu_set(5);
	enter();
	leave();
	hosted_cpu_set(0);
	assert_int_equal(hosted_invepts(5), invepts + 1);
	assert_int_not_equal(ept_walk(&vm, GPA(0)), 0);
	assert_int_equal(ept_walk(&vm, GPA(0x1000)), 0);
	assert_int_equal(ept_walk(&vm, GPA(0x2000)), 0);
	assert_int_not_equal(ept_walk(&vm, GPA(0x3000)), 0);
	gmem_unref(g);
}

static void destroy(void *arg)
{
	mmu_vm_destroy(arg);
}

/* R33: a root goes when no vCPU is left that has it, and no CPU is in the guest with it. */
static void a_root_that_is_used_does_not_go(void **state)
{
	static struct mmu_vm other;
	struct mmu_vcpu v;

	assert_int_equal(mmu_vm_create(&other, MMU_EPT), 0);
	mmu_vcpu_init(&v, &other);
	assert_true(hosted_catch_panic(destroy, &other));
	mmu_vcpu_destroy(&v);
	irq_disable();
	mmu_enter(&other);
	irq_enable();
	assert_true(hosted_catch_panic(destroy, &other));
	mmu_exit(&other);
	mmu_vm_destroy(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(maps_what_it_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(large_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(rights_and_marks, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_cache_is_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(tables_are_for_readers, setup, teardown),
		cmocka_unit_test_setup_teardown(frozen_tables_take_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(random_maps, setup, teardown),
		cmocka_unit_test_setup_teardown(pointer, setup, teardown),
		cmocka_unit_test_setup_teardown(kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(a_root_that_is_used_does_not_go, setup, teardown),
		cmocka_unit_test_setup_teardown(flushes_once_for_each_cpu, setup, teardown),
		cmocka_unit_test_setup_teardown(unmap_waits_for_the_guest_to_leave, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
