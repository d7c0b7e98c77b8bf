/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: @mmu @mem mmu/rma_setup.c mmu/real_mode.c mem/rma.c tests/unit/mmu/fixture.c
 *	tests/unit/mmu/after_pin.c
 */
/* unit-libs: -Wl,--wrap=gmem_pin */
/* Setting up the real-mode area: both kinds, and every failure, which leaves nothing half done. */
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/rma.h"
#include "mmu/rma_setup.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/after_pin.h"
#include "tests/unit/mmu/fixture.h"

#define PAGES 256 /* 1 MiB */

static const struct rma_tables tables = {.tss = {0xf0}, .identity_map = {0xf3}};

static struct mutex lock;
static struct rma_area area;
static struct gmem_account account;
static gpa_t where;

static void area_start(const struct rma_tables *t)
{
	fixture_start(MIB(32));
	mutex_init(&lock, "vm", LOCK_VM);
	rma_area_init(&area, &vm, &lock, t);
	account = (struct gmem_account){.pins_max = 64};
	where = GPA(~0ull);
}

static void area_end(void)
{
	rma_area_destroy(&area);
	assert_int_equal(account.pins, 0);
	fixture_end();
}

static struct gmem *ram_new(u64 pages, u32 order)
{
	struct gmem *g;

	assert_int_equal(gmem_create_order(pages, order, &g), 0);
	gmem_set_account(g, &account);
	return g;
}

/* An object with a slot at 0 that shows all of it; the slot has the only reference. */
static struct gmem *slot_at_0(u64 pages, u32 flags)
{
	struct gmem *g = ram_new(pages, 0);

	assert_int_equal(memslot_create(&vm, 1, GFN(0), pages, g, 0, flags), 0);
	gmem_unref(g);
	return g;
}

static int set_up(void)
{
	int err = rma_set_up(&area, &vcpu, &where);

	assert_int_equal(hosted_locks_held(), 0);
	return err;
}

static void assert_nothing_done(void)
{
	assert_false(rma_is_set_up(&area));
	assert_int_equal(account.pins, 0);
	for (u32 i = 0; i < RMA_PINS_MAX; i++)
		assert_null(area.pins[i].object);
}

static void one_by_one(void **state)
{
	struct gmem *g;
	u64 entry;

	area_start(NULL);
	g = slot_at_0(PAGES, 0);
	assert_int_equal(set_up(), 0);
	assert_true(rma_is_set_up(&area));
	assert_int_equal(account.pins, RMA_PAGES);
	assert_int_equal(g->resident, RMA_PAGES);
	for (u64 i = 0; i < RMA_PAGES; i++) {
		assert_int_equal(ept_walk(&vm, GPA(i << 12)) & EPT_RWX, EPT_RWX);
		assert_int_equal(gmem_claim(g, i, &entry), ERR_BUSY);
	}
	assert_int_equal(ept_walk(&vm, GPA(RMA_PAGES << 12)), 0);
	/* Once is enough. */
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(set_up(), 0);
	assert_int_equal(account.pins, RMA_PAGES);
	area_end();
}

static pthread_t goer;

static void *delete_amid(void *arg)
{
	hosted_cpu_set(9);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	return NULL;
}

static void begin_to_delete(void)
{
	u64 before = vm.slots_generation;

	pthread_create(&goer, NULL, delete_amid, NULL);
	while (__atomic_load_n(&vm.slots_generation, __ATOMIC_SEQ_CST) == before)
		usleep(100);
}

/* R26: it is told that its slot has gone when it can find it no more, and has no pin there left. */
static void the_slot_goes_amid_it(void **state)
{
	area_start(NULL);
	slot_at_0(PAGES, 0);
	after_pin = begin_to_delete;
	assert_int_equal(set_up(), 0);
	assert_null(after_pin);
	pthread_join(goer, NULL);
	assert_int_equal(account.pins, 0);
	area_end();
}

/* The end gives back the pins and says that the pages were written. */
static void end_marks_dirty(void **state)
{
	struct gmem *g;

	area_start(NULL);
	g = slot_at_0(PAGES, 0);
	assert_int_equal(set_up(), 0);
	for (u64 i = 0; i < RMA_PAGES; i++) {
		u64 *e = &g->slot_phys[0].entries[i];

		*e &= ~GMEM_DIRTY; /* as if it had been cleaned */
	}
	rma_area_destroy(&area);
	assert_int_equal(g->pins, 0);
	for (u64 i = 0; i < RMA_PAGES; i++)
		assert_true(gmem_entry(g, i) & GMEM_DIRTY);
	fixture_end();
}

static void from_the_pool(void **state)
{
	struct rma_piece *piece;
	struct rma_stats stats;
	struct gmem *g;
	u64 pool;

	area_start(NULL);
	assert_int_equal(rma_pool_init(MIB(4)), 0);
	g = ram_new(PAGES, 0);
	assert_int_equal(rma_alloc(64, &piece), 0);
	assert_int_equal(rma_fill(piece, g, 0), 0);
	assert_int_equal(memslot_create(&vm, 1, GFN(0), PAGES, g, 0, 0), 0);
	gmem_unref(g);
	assert_int_equal(set_up(), 0);
	assert_int_equal(account.pins, RMA_PAGES);
	assert_int_equal(g->resident, 64);
	for (u64 i = 0; i < RMA_PAGES; i++) {
		assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(i << 12))), piece->pfn.v + i);
		assert_int_equal(frame_of(PFN(piece->pfn.v + i))->pins, 1);
	}
	memset(pfn_to_virt(piece->pfn), 0xaa, 64 * PAGE_SIZE);
	rma_put(piece);
	rma_pool_stats(&stats);
	assert_int_equal(stats.used, 64);

	rma_area_destroy(&area);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	grace();
	rma_pool_stats(&stats);
	assert_int_equal(stats.used, 0);
	assert_int_equal(rma_alloc(MIB(4) >> PAGE_SHIFT, &piece), 0);
	for (u64 i = 0; i < MIB(4); i += 8)
		assert_int_equal(*(u64 *)((char *)pfn_to_virt(piece->pfn) + i), 0);
	pool = piece->pfn.v << PAGE_SHIFT;
	rma_put(piece);
	assert_int_equal(rma_pool_init(0), 0);
	frame_release_range(pool, pool + MIB(4));
	fixture_end();
}

/* --- what may be wrong with the slots --- */

static void no_slot(void **state)
{
	area_start(NULL);
	assert_int_equal(set_up(), ERR_NOSLOT);
	assert_int_equal(where.v, 0);
	assert_nothing_done();
	slot_at_0(PAGES, 0);
	assert_int_equal(set_up(), 0);
	area_end();
}

static void slot_too_short(void **state)
{
	struct gmem *g;

	area_start(NULL);
	g = slot_at_0(RMA_PAGES - 1, 0);
	assert_int_equal(set_up(), ERR_NOSLOT);
	assert_int_equal(where.v, (RMA_PAGES - 1) << 12);
	assert_nothing_done();
	assert_int_equal(g->pins, 0);
	/* Another slot may go on where it ends. */
	g = ram_new(1, 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(RMA_PAGES - 1), 1, g, 0, 0), 0);
	gmem_unref(g);
	assert_int_equal(set_up(), 0);
	assert_int_equal(g->pins, 1);
	area_end();
}

static void read_only_slot(void **state)
{
	area_start(NULL);
	slot_at_0(PAGES, MEMSLOT_READONLY);
	assert_int_equal(set_up(), ERR_PERM);
	assert_int_equal(where.v, 0);
	assert_nothing_done();
	area_end();
}

/*
 * Objects of 2 MiB pages: a slot must lie on them as they lie in memory (congruent modulo 2 MiB),
 * else it is refused; one that lies so may begin and end anywhere.
 */
static void page_size(void **state)
{
	static const struct {
		u64 base, pages, first;
		int err;
	} cases[] = {
		{0, 0xa0, 0, 0},	  {0xe0, 0x320, 0xe0, 0},   {512 * 7 + 5, 100, 5, 0},
		{1, 0xa0, 0, ERR_ALIGN},  {0, 0xa0, 1, ERR_ALIGN},  {512, 512, 256, ERR_ALIGN},
		{256, 512, 0, ERR_ALIGN}, {513, 1, 512, ERR_ALIGN},
	};
	struct gmem *g;

	area_start(NULL);
	g = ram_new(1024, 9);
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct memslots *before = vm.slots;

		assert_int_equal(memslot_create(&vm, 1, GFN(cases[i].base), cases[i].pages, g,
						cases[i].first, 0),
				 cases[i].err);
		if (cases[i].err)
			assert_ptr_equal(vm.slots, before);
		else
			assert_int_equal(memslot_delete(&vm, 1), 0);
		grace();
	}
	assert_int_equal(memslot_create(&vm, 1, GFN(0), 0xa0, g, 0, 0), 0);
	assert_int_equal(memslot_move(&vm, 1, GFN(0x100)), ERR_ALIGN);
	assert_int_equal(memslot_move(&vm, 1, GFN(0x1ff)), ERR_ALIGN);
	assert_int_equal(memslot_move(&vm, 1, GFN(0x400)), 0);
	assert_int_equal(memslot_move(&vm, 1, GFN(0)), 0);
	gmem_unref(g);

	assert_int_equal(set_up(), 0);
	assert_int_equal(g->pins, RMA_PAGES);
	assert_int_equal(g->resident, 512);
	assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(0))) % 512, 0);
	area_end();
}

/* --- a slot on its way out --- */

static bool entered, left; /* atomic */
static int result;

static void *delete_slot(void *arg)
{
	hosted_cpu_set(1);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	grace();
	return NULL;
}

static void *set_up_thread(void *arg)
{
	hosted_cpu_set(2);
	__atomic_store_n(&entered, true, __ATOMIC_SEQ_CST);
	result = set_up();
	__atomic_store_n(&left, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void wait_for_invalid(void)
{
	u32 reader;
	bool invalid;

	do {
		usleep(1000);
		reader = srcu_read_lock(&vm.srcu);
		invalid = memslots_get(&vm)->slots[0].flags & MEMSLOT_INVALID;
		srcu_read_unlock(&vm.srcu, reader);
	} while (!invalid);
}

/*
 * R23. The slot at 0 is INVALID: set-up waits for what becomes of it, outside the reader (R24; else
 * the deletion never ends, nor does this test) and without the VM's lock.
 */
static void invalid_slot(void **state)
{
	pthread_t deleter, vcpu_thread;
	u32 reader, tries = 0;

	area_start(NULL);
	slot_at_0(PAGES, 0);
	entered = left = false;
	reader = srcu_read_lock(&vm.srcu);
	pthread_create(&deleter, NULL, delete_slot, NULL);
	wait_for_invalid();
	pthread_create(&vcpu_thread, NULL, set_up_thread, NULL);
	while (!__atomic_load_n(&entered, __ATOMIC_SEQ_CST))
		usleep(1000);
	usleep(50000);
	assert_false(__atomic_load_n(&left, __ATOMIC_SEQ_CST));
	while (!mutex_trylock(&lock)) {
		assert_true(++tries < 2000);
		usleep(1000);
	}
	mutex_unlock(&lock);
	srcu_read_unlock(&vm.srcu, reader);
	pthread_join(deleter, NULL);
	pthread_join(vcpu_thread, NULL);
	assert_int_equal(result, ERR_AGAIN);
	assert_nothing_done();

	/* It is gone; then there is another. */
	assert_int_equal(set_up(), ERR_NOSLOT);
	assert_nothing_done();
	slot_at_0(PAGES, 0);
	assert_int_equal(set_up(), 0);
	area_end();
}

/* R37: pins go with the slot that they were made through, and only those. */
static void slot_goes_away(void **state)
{
	struct gmem *low, *high;

	area_start(&tables);
	low = slot_at_0(0x80, 0);
	high = ram_new(0x80, 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(0x80), 0x80, high, 0, 0), 0);
	gmem_ref(low);
	assert_int_equal(set_up(), 0);
	assert_int_equal(low->pins, RMA_PAGES);
	assert_int_equal(high->pins, RMA_TABLE_PAGES);
	low->slot_phys[0].entries[3] &= ~GMEM_DIRTY;
	assert_int_equal(memslot_delete(&vm, 1), 0);
	grace();
	assert_int_equal(low->pins, 0);
	assert_true(gmem_entry(low, 3) & GMEM_DIRTY);
	assert_int_equal(high->pins, RMA_TABLE_PAGES);
	assert_int_equal(low->refs, 1);
	assert_int_equal(memslot_move(&vm, 2, GFN(0x1000)), 0);
	assert_int_equal(high->pins, 0);
	/* Once means once. */
	assert_int_equal(memslot_create(&vm, 1, GFN(0), 0x80, low, 0, 0), 0);
	assert_int_equal(set_up(), 0);
	assert_int_equal(account.pins, 0);
	gmem_unref(low);
	gmem_unref(high);
	area_end();
}

/* mmu_vm_destroy takes the slots away itself; an area that is not destroyed before still ends. */
static void last_slots_go(void **state)
{
	struct gmem *g;

	area_start(NULL);
	g = slot_at_0(PAGES, 0);
	gmem_ref(g);
	assert_int_equal(set_up(), 0);
	memslots_destroy(&vm);
	assert_int_equal(g->pins, 0);
	gmem_unref(g);
	area_end();
}

/* --- what may be short --- */

static void bound_on_pins(void **state)
{
	struct gmem *g;
	pfn_t pfn;

	area_start(NULL);
	g = slot_at_0(PAGES, 0);
	account.pins_max = RMA_PAGES;
	assert_int_equal(gmem_pin(g, 200, true, &pfn), 0);
	assert_int_equal(set_up(), ERR_NOSPC);
	assert_int_equal(where.v, (RMA_PAGES - 1) << 12);
	assert_false(rma_is_set_up(&area));
	assert_int_equal(account.pins, 1);
	gmem_unpin(g, 200, pfn, false);
	assert_nothing_done();
	assert_int_equal(set_up(), 0);
	area_end();
}

/* Each allocation fails in turn; each time nothing is half done, and the next try succeeds. */
static void no_memory(void **state)
{
	u32 n, failures = 0;

	for (n = 1;; n++) {
		int err;

		area_start(&tables);
		slot_at_0(PAGES, 0);
		hosted_fail_after(n);
		err = set_up();
		if (err) {
			assert_int_equal(err, ERR_NOMEM);
			assert_true(hosted_fail_happened());
			assert_nothing_done();
			failures++;
		} else {
			/* If memory was short then, it was for a mapping, which can wait. */
			assert_true(rma_is_set_up(&area));
		}
		if (!hosted_fail_happened())
			break;
		hosted_fail_after(0);
		assert_int_equal(set_up(), 0);
		assert_int_equal(account.pins, RMA_PINS_MAX);
		area_end();
	}
	hosted_fail_after(0);
	assert_int_equal(failures, RMA_PINS_MAX + 1); /* frames, and the object's chunk */
	area_end();
}

/* --- CPUs without unrestricted guest --- */

static void tables_in_place(void **state)
{
	static u8 want[REAL_MODE_TSS_PAGES + 1][PAGE_SIZE], have[PAGE_SIZE];
	u8 *const tss[] = {want[0], want[1], want[2]};

	area_start(&tables);
	slot_at_0(0xf2, 0);
	/* No place for all of them. */
	assert_int_equal(set_up(), ERR_NOSLOT);
	assert_int_equal(where.v, 0xf2000);
	assert_nothing_done();
	assert_int_equal(memslot_delete(&vm, 1), 0);
	grace();
	slot_at_0(PAGES, 0);
	assert_int_equal(set_up(), 0);
	assert_int_equal(account.pins, RMA_PINS_MAX);
	real_mode_build_tss(tss);
	real_mode_build_identity_map((u32 *)want[3]);
	for (u32 i = 0; i < RMA_TABLE_PAGES; i++) {
		assert_int_equal(gpa_read(&vm, GPA(0xf0000 + i * PAGE_SIZE), have, PAGE_SIZE), 0);
		assert_memory_equal(have, want[i], PAGE_SIZE);
	}
	area_end();
}

/* R21: what Weir writes is in the dirty log. */
static void tables_in_the_log(void **state)
{
	u64 log[PAGES / 64];

	area_start(&tables);
	slot_at_0(PAGES, MEMSLOT_LOG_DIRTY);
	assert_int_equal(set_up(), 0);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 1, log, ARRAY_SIZE(log)), 0);
	assert_int_equal(log[0xf0 / 64] & 0xfull << (0xf0 % 64), 0xfull << (0xf0 % 64));
	area_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_by_one),	     cmocka_unit_test(the_slot_goes_amid_it),
		cmocka_unit_test(end_marks_dirty),   cmocka_unit_test(from_the_pool),
		cmocka_unit_test(no_slot),	     cmocka_unit_test(slot_too_short),
		cmocka_unit_test(read_only_slot),    cmocka_unit_test(page_size),
		cmocka_unit_test(invalid_slot),	     cmocka_unit_test(slot_goes_away),
		cmocka_unit_test(last_slots_go),     cmocka_unit_test(bound_on_pins),
		cmocka_unit_test(no_memory),	     cmocka_unit_test(tables_in_place),
		cmocka_unit_test(tables_in_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
