/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/peek.c tests/unit/mmu/before_flush.c */
/* unit-libs: -Wl,--wrap=gmem_large -Wl,--wrap=mmu_flush */
/*
 * What others do while a shadow fault has found that 2 MiB may be mapped at once, and has not
 * linked them: they have passed by the region's large word, which nothing was in, and wait for
 * mmu_lock to look at the small ones. R07, R08.
 */
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/before_flush.h"
#include "tests/unit/mmu/peek.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 600u
#define BIG	  0x1000ull
#define GVA_OF(i) ((BIG + (i)) << PAGE_SHIFT)

static struct gmem *big;
static void (*meanwhile)(void); /* done once, under the fault's mmu_lock */
static pthread_t other;

bool __real_gmem_large(struct gmem *g, u64 index, pfn_t *out);
bool __wrap_gmem_large(struct gmem *g, u64 index, pfn_t *out);

static void *on_another_cpu(void *what)
{
	hosted_cpu_set(9);
	((void (*)(void))what)();
	return NULL;
}

/* Until the other has come to the lock. */
bool __wrap_gmem_large(struct gmem *g, u64 index, pfn_t *out)
{
	bool large = __real_gmem_large(g, index, out);
	u32 before = __atomic_load_n(&vm.mmu_lock.next, __ATOMIC_SEQ_CST);
	void (*what)(void) = meanwhile;

	if (!what || g != big)
		return large;
	meanwhile = NULL;
	pthread_create(&other, NULL, on_another_cpu, (void *)what);
	while (__atomic_load_n(&vm.mmu_lock.next, __ATOMIC_SEQ_CST) == before)
		cpu_relax();
	return large;
}

/* --- What was taken out and is not flushed yet --- */

static u64 table_to_be; /* a gfn: had it a shadow page yet at the first flush? */
static bool flushed_before;

static void look_for_table(void)
{
	if (!flushed && table_to_be)
		flushed_before = !shadow_pages_of(table_to_be);
}

static int start(void **state)
{
	(void)state;
	shadow_guest_start(MIB(64), RAM_PAGES);
	assert_int_equal(gmem_create_order(LARGE_PAGES, GMEM_LARGE_ORDER, &big), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(BIG), LARGE_PAGES, big, 0, 0), 0);
	put(GVA_OF(5), 1, 8); /* resident */
	paging.cr0 = CR0_PE;
	paging.efer = 0;
	load();
	assert_int_equal(rmap_prepare(slot_of(BIG), GFN(BIG)), 0);
	return 0;
}

static int finish(void **state)
{
	assert_null(meanwhile); /* it was reached */
	check_audit();
	gmem_unref(big);
	return shadow_guest_end(state);
}

/* One small page is mapped, so that who looks for all of them comes to the lock. */
static void map_small(void)
{
	entry(4, 6, BIG + 6, MARKED);
	paging.cr0 = CR0_PE | CR0_PG | CR0_WP;
	paging.efer = EFER_LME | EFER_LMA | EFER_NXE;
	load();
	assert_int_equal(shadow_access(6ull << PAGE_SHIFT, MMU_READ, NULL), 0);
	paging.cr0 = CR0_PE;
	paging.efer = 0;
	load();
}

static int fault_once(void)
{
	struct shadow_answer answer;

	return mmu_shadow_fault(&vcpu, &paging, GVA(GVA_OF(5)), MMU_WRITE, &answer);
}

static void drop(void)
{
	assert_int_equal(gmem_drop(big, 0), 0);
}

static void what_was_taken_is_not_linked(void **state)
{
	pfn_t pfn;
	u64 at;

	(void)state;
	map_small();
	meanwhile = drop;
	assert_int_equal(fault_once(), 0);
	pthread_join(other, NULL);
	assert_true(rmap_empty(large_word_of(BIG)));
	assert_int_equal(shadow_access(GVA_OF(5), MMU_WRITE, &at), 0);
	assert_int_equal(gmem_lookup(big, 5, true, &pfn), 0);
	assert_int_equal(at, pfn_to_hpa(pfn).v);
	assert_false(rmap_empty(large_word_of(BIG)));
}

static void protect(void)
{
	u64 done;

	assert_int_equal(mmu_range_protect(&vm, GFN(BIG + 7), 1, true, &done), 0);
}

static void what_is_protected_is_not_among_it(void **state)
{
	(void)state;
	meanwhile = protect;
	assert_int_equal(fault_once(), 0);
	pthread_join(other, NULL);
	assert_true(rmap_empty(large_word_of(BIG)));
	assert_int_equal(shadow_access(GVA_OF(7), MMU_WRITE, NULL), ERR_PERM);
}

/* --- A slot that does not begin at a region: the words of one lie in two chunks --- */

#define ODD	  0xe0ull /* of the slot's beginning in its region */
#define ODD_PAGES (LARGE_PAGES + LARGE_PAGES - ODD)

/* The region after the slot's beginning is resident, and only the upper of its chunks is there. */
static int start_odd(void **state)
{
	pfn_t pfn;

	(void)state;
	before_flush_setup();
	shadow_guest_start(MIB(64), RAM_PAGES);
	assert_int_equal(gmem_create(2 * LARGE_PAGES, &big), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(BIG + ODD), ODD_PAGES, big, ODD, 0), 0);
	for (u64 i = LARGE_PAGES; i < 2 * LARGE_PAGES; i++)
		assert_int_equal(gmem_get_page(big, i, true, &pfn), 0);
	paging.cr0 = CR0_PE;
	paging.efer = 0;
	load();
	assert_int_equal(shadow_access(GVA_OF(2 * LARGE_PAGES - 1), MMU_WRITE, NULL), 0);
	assert_false(rmap_empty(large_word_of(BIG + LARGE_PAGES)));
	assert_null(rmap_word(slot_of(BIG + ODD), GFN(BIG + LARGE_PAGES)));
	return 0;
}

static int finish_odd(void **state)
{
	assert_null(before_flush);
	return finish(state);
}

static void drop_lower(void)
{
	assert_int_equal(gmem_drop(big, LARGE_PAGES + 1), 0);
}

static void forbid_large(void)
{
	assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_NO_LARGE), 0);
}

/* The large word is empty, and what was in it not flushed yet. */
static void taken_out_and_not_flushed(void (*what)(void))
{
	struct shadow_page *sp = vcpu.shadow.root[0];
	struct shadow_gone gone = SHADOW_GONE(gone);

	spin_lock(&vm.mmu_lock);
	while (sp->role.level > 2)
		sp = shadow_page_of(sp->table[0]);
	gone.flush = shadow_zap_entry(sp, GVA_OF(LARGE_PAGES) >> 21);
	assert_true(gone.flush);
	assert_true(rmap_empty(large_word_of(BIG + LARGE_PAGES)));
	before_flush = what;
	shadow_finish(&vm, &gone);
	spin_unlock(&vm.mmu_lock);
	before_flush_join();
}

static void no_frame_goes_before_the_flush(void **state)
{
	(void)state;
	taken_out_and_not_flushed(drop_lower);
}

static void no_slot_is_changed_before_the_flush(void **state)
{
	(void)state;
	taken_out_and_not_flushed(forbid_large);
}

/* --- A table in the 2 MiB that its entry mapped until now --- */

#define TABLE (BIG + 9)

/* The guest's store is done, and who emulates it has not come to mmu_lock yet. */
static void store(u64 table, u32 i, u64 value)
{
	((u64 *)pfn_to_virt(PFN(frame_of_page(table))))[i] = value;
}

static void no_entry_is_read_before_the_flush(void **state)
{
	(void)state;
	entry(3, 1, BIG, (MARKED & ~U) | PS);
	paging.cr0 = CR0_PE | CR0_PG | CR0_WP;
	paging.efer = EFER_LME | EFER_LMA | EFER_NXE;
	load();
	assert_int_equal(shadow_access(MIB(2) + 3 * PAGE_SIZE, MMU_WRITE, NULL), 0);
	assert_false(rmap_empty(large_word_of(BIG)));
	entry(TABLE, 5, 7, MARKED);
	store(3, 1, TABLE << PAGE_SHIFT | MARKED);
	before_flush_setup();
	look_before_flush = look_for_table;
	table_to_be = TABLE;
	paging.cpl = 3;
	assert_int_equal(shadow_access(MIB(2) + 5 * PAGE_SIZE, MMU_WRITE, NULL), 0);
	paging.cpl = 0;
	table_to_be = 0;
	assert_int_equal(shadow_pages_of(TABLE), 1);
	assert_true(flushed_before);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_taken_is_not_linked),
		TEST(what_is_protected_is_not_among_it),
		TEST(no_entry_is_read_before_the_flush),
		cmocka_unit_test_setup_teardown(no_frame_goes_before_the_flush, start_odd,
						finish_odd),
		cmocka_unit_test_setup_teardown(no_slot_is_changed_before_the_flush, start_odd,
						finish_odd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
