/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-libs: -Wl,--wrap=rmap_add -Wl,--wrap=rmap_lock */
/*
 * What others do while a fault is on its way through the tables and links: the linker and the table
 * of the format's functions put the test there.
 */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mmu/ept.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x400
#define PAGES 512

static struct gmem *ram;
static struct mmu_vcpu second;
static struct page_table_format format;
static u64 *entry; /* that the next chain gets, told to in_add */
/* Each is called once. */
static void (*in_add)(void);	    /* the word locked, before the chain and the entry change */
static void (*before_lock)(void);   /* the way to the entry has been found */
static void (*in_make_table)(void); /* a table is about to be installed */
static void (*in_with_access)(void);

static void call_once(void (**hook)(void))
{
	void (*fn)(void) = *hook;

	*hook = NULL;
	if (fn)
		fn();
}

int __real_rmap_add(u64 *word, u64 *spte, struct rmap_cache *cache);
int __wrap_rmap_add(u64 *word, u64 *spte, struct rmap_cache *cache);
void __real_rmap_lock(u64 *word);
void __wrap_rmap_lock(u64 *word);

int __wrap_rmap_add(u64 *word, u64 *spte, struct rmap_cache *cache)
{
	if (in_add) {
		entry = spte;
		assert_int_equal(*spte, 0); /* R22: the chain comes before the entry */
	}
	call_once(&in_add);
	return __real_rmap_add(word, spte, cache);
}

void __wrap_rmap_lock(u64 *word)
{
	call_once(&before_lock);
	__real_rmap_lock(word);
}

static u64 make_table(hpa_t table)
{
	call_once(&in_make_table);
	return ept_format.level[2].make_table(table);
}

static u64 with_access(u64 e, u32 access)
{
	call_once(&in_with_access);
	return ept_format.level[3].with_access(e, access);
}

static int setup(void **state)
{
	fixture_start(MIB(32));
	mmu_vcpu_init(&second, &vm);
	assert_int_equal(mmu_vcpu_topup(&second), 0);
	ram = object_lucky();
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, MEMSLOT_NO_LARGE), 0);
	for (u64 i = 0; i < PAGES; i++)
		assert_int_equal(rmap_prepare(slot_of(BASE), GFN(BASE + i)), 0);
	format = ept_format;
	for (u32 i = 0; i < 3; i++)
		format.level[i].make_table = make_table;
	format.level[3].with_access = with_access;
	vm.format = &format;
	return 0;
}

static int teardown(void **state)
{
	assert_false(in_add || before_lock || in_make_table || in_with_access);
	check_audit();
	mmu_vcpu_destroy(&second);
	gmem_unref(ram);
	fixture_end();
	return 0;
}

/* --- the entry changes after it was read --- */

static void freeze_it(void)
{
	*entry = ept_format.frozen;
}

static void its_table_is_taken_out(void **state)
{
	in_add = freeze_it;
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_WRITE), ERR_AGAIN);
	assert_true(rmap_empty(word_of(BASE)));
	assert_int_equal(STAT(mapped), 0);
	*entry = 0;
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_WRITE), 0);
}

static void use_page(void)
{
	__atomic_fetch_or(spte_of(BASE), PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY, __ATOMIC_SEQ_CST);
}

static void clear_it(void)
{
	*spte_of(BASE) = 0;
}

/* R18, where rights are added: what the CPU sets meanwhile stays, what has gone does not come back. */
static void rights_are_added_to_what_is_there(void **state)
{
	u64 e;

	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	e = ept_format.level[3].with_access(*spte_of(BASE), MMU_READ);
	*spte_of(BASE) = e;
	in_with_access = use_page;
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_int_equal(ept_format.level[3].access(*spte_of(BASE)),
			 MMU_READ | MMU_WRITE | MMU_EXEC | PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY);
	*spte_of(BASE) = e;
	in_with_access = clear_it;
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), ERR_AGAIN);
	assert_int_equal(*spte_of(BASE), 0);
	*spte_of(BASE) = e;
}

/* --- tables --- */

static void fault_there(void)
{
	assert_int_equal(fault(&second, PAGE(BASE + 1), MMU_READ), 0);
}

/* R34 for tables: the loser keeps its page and goes on with the winner's. */
static void two_need_the_same_table(void **state)
{
	u64 leaves, tables;

	in_make_table = fault_there;
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_int_equal(vcpu.cache_count, TABLES_PER_FAULT);
	assert_int_equal(second.cache_count, TABLES_PER_FAULT - 3);
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 2);
	assert_int_equal(tables, 4);
	assert_int_equal(STAT(tables), 4);
}

static void prune_all(void)
{
	mmu_prune(&vm, slot_of(BASE));
}

/* R32: it finds the table frozen, and the table is there as long as it looks. */
static void the_tables_go_before_it_links(void **state)
{
	u64 free, flushes;

	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 1), 1);
	free = frames_free();
	flushes = STAT(flushes);
	before_lock = prune_all;
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), ERR_AGAIN);
	assert_int_equal(STAT(tables), 1);
	assert_int_equal(STAT(flushes), flushes + 1); /* R13: CPUs keep the way to them */
	assert_int_equal(frames_free(), free);
	assert_true(rmap_empty(word_of(BASE)));
	grace();
	assert_int_equal(frames_free(), free + 3);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_int_equal(STAT(tables), 4);
}

/* On the way down, at every level. */
static void a_frozen_table_on_the_way(void **state)
{
	u64 *table = vm.root;

	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 1), 1);
	for (u32 level = 0; level < 3; level++) {
		u64 *at = &table[PAGE(BASE).v >> format.level[level].shift & 511], e = *at;

		*at = ept_format.frozen;
		assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), ERR_AGAIN);
		assert_int_equal(*at, ept_format.frozen);
		*at = e;
		table = phys_to_virt(ept_format.level[level].address(e));
	}
	assert_int_equal(vcpu.cache_count, TABLES_PER_FAULT - 3);
}

/* A table that holds something is as it was after the attempt to take it out. */
static void what_holds_something_stays(void **state)
{
	u64 leaves, tables;

	assert_int_equal(fault(&vcpu, PAGE(BASE + 511), MMU_READ), 0);
	prune_all();
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, 1);
	assert_int_equal(tables, 4);
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
}

/* --- whoever takes away comes while the word is locked --- */

static pthread_t taker;

static void *drop(void *arg)
{
	hosted_cpu_set(9);
	assert_int_equal(gmem_drop(ram, 3), 0);
	return NULL;
}

static void begin_to_drop(void)
{
	pthread_create(&taker, NULL, drop, NULL);
	while (gmem_seq_idle(gmem_seq_sample(ram, 3)))
		usleep(1000);
	usleep(30000); /* it gets on as far as it can */
}

static void take_while_it_is_linked(bool large)
{
	in_add = begin_to_drop;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 3), MMU_WRITE), 0);
	pthread_join(taker, NULL);
	assert_int_equal(STAT(mapped_large), large);
	assert_false(is_mapped(BASE + 3));
	assert_int_equal(is_mapped(BASE + 4), large);
	assert_int_equal(gmem_entry_state(gmem_entry(ram, 3)), GMEM_ABSENT);
}

static void a_page_is_taken_while_it_is_linked(void **state)
{
	take_while_it_is_linked(false);
}

static void a_page_is_taken_while_its_region_is_linked(void **state)
{
	assert_int_equal(memslot_set_flags(&vm, 1, 0), 0);
	take_while_it_is_linked(true);
}

static bool ended; /* atomic */

static void *end_later(void *arg)
{
	hosted_cpu_set(9);
	usleep(50000);
	/* The fault waits in no reader (R24), or this does not return. */
	srcu_synchronize(&vm.srcu);
	__atomic_store_n(&ended, true, __ATOMIC_SEQ_CST);
	gmem_invalidate_end(ram, 3, 1);
	return NULL;
}

/* A fault that meets one under way sleeps until it is over: the guest would only fault again. */
static void a_page_that_is_being_changed_is_waited_for(void **state)
{
	ended = false;
	gmem_invalidate_begin(ram, 3, 1);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 3), MMU_WRITE), ERR_TOO_HARD);
	pthread_create(&taker, NULL, end_later, NULL);
	assert_int_equal(mmu_fault_slow(&vcpu, PAGE(BASE + 3), MMU_WRITE), 0);
	assert_true(__atomic_load_n(&ended, __ATOMIC_SEQ_CST));
	pthread_join(taker, NULL);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 3), MMU_WRITE), 0);
}

static void *protect(void *arg)
{
	u64 done;

	hosted_cpu_set(9);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 7), 1, true, &done), 0);
	return NULL;
}

static void begin_to_protect(void)
{
	pthread_create(&taker, NULL, protect, NULL);
	while (__atomic_load_n(rmap_small_count(slot_of(BASE), GFN(BASE)), __ATOMIC_ACQUIRE) == 0)
		usleep(1000);
	usleep(30000);
}

static void a_page_is_protected_while_it_is_linked(void **state)
{
	assert_int_equal(memslot_set_flags(&vm, 1, 0), 0);
	in_add = begin_to_protect;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 3), MMU_WRITE), 0);
	pthread_join(taker, NULL);
	assert_int_equal(STAT(mapped_large), 1);
	assert_int_equal(STAT(split), 1);
	assert_int_equal(ept_walk(&vm, PAGE(BASE + 7)) & EPT_RWX, EPT_R | EPT_X);
	assert_int_equal(ept_walk(&vm, PAGE(BASE + 8)) & EPT_RWX, EPT_RWX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(its_table_is_taken_out, setup, teardown),
		cmocka_unit_test_setup_teardown(rights_are_added_to_what_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(two_need_the_same_table, setup, teardown),
		cmocka_unit_test_setup_teardown(the_tables_go_before_it_links, setup, teardown),
		cmocka_unit_test_setup_teardown(a_frozen_table_on_the_way, setup, teardown),
		cmocka_unit_test_setup_teardown(what_holds_something_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_page_is_taken_while_it_is_linked, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_page_is_taken_while_its_region_is_linked, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_page_that_is_being_changed_is_waited_for, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_page_is_protected_while_it_is_linked, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
