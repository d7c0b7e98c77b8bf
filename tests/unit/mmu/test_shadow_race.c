/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/after_lookup.c */
/* unit-libs: -Wl,--wrap=gmem_lookup -Wl,--wrap=gmem_lookup_to_map -Wl,--wrap=gmem_entry -Wl,--wrap=shadow_link_ahead */
/*
 * What others do in the moment between a shadow fault's look at the page and its linking, as
 * test_fault_race does it with EPT; and between those looks at its neighbours, which go by gmem_entry.
 */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/after_lookup.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 1024
#define TABLE	  4u   /* the last of them; 1 to 3 lead to it */
#define PAGE	  40u  /* the one under test */
#define NEIGHBOUR 600u /* that of the next address */

/* Done once, on another CPU: after the look at the neighbour's entry, after that at the table. */
static void (*after_neighbour)(void), (*after_table)(void);
static u64 neighbour_frame; /* as it was then */
static pthread_t taker;

static void take_neighbour(void)
{
	take_page(ram, NEIGHBOUR);
}

static void *take_on_another_cpu(void *arg)
{
	(void)arg;
	hosted_cpu_set(9);
	take_neighbour();
	return NULL;
}

/* It has announced what it takes, and its sweep waits for mmu_lock, which the fault holds. */
static void take_up_to_the_lock(void)
{
	u32 before = __atomic_load_n(&vm.mmu_lock.next, __ATOMIC_SEQ_CST);

	pthread_create(&taker, NULL, take_on_another_cpu, NULL);
	while (__atomic_load_n(&vm.mmu_lock.next, __ATOMIC_SEQ_CST) == before)
		cpu_relax();
}

u64 __real_gmem_entry(const struct gmem *g, u64 index);
u64 __wrap_gmem_entry(const struct gmem *g, u64 index);
void __real_shadow_link_ahead(struct mmu_vm *m, struct rmap_cache *rmaps, struct shadow_page *sp,
			      u32 i, u32 count);
void __wrap_shadow_link_ahead(struct mmu_vm *m, struct rmap_cache *rmaps, struct shadow_page *sp,
			      u32 i, u32 count);

u64 __wrap_gmem_entry(const struct gmem *g, u64 index)
{
	u64 e = __real_gmem_entry(g, index);
	void (*what)(void) = after_neighbour;

	if (index != NEIGHBOUR || !what)
		return e;
	after_neighbour = NULL;
	neighbour_frame = gmem_entry_pfn(e).v;
	if (what == take_neighbour)
		take_up_to_the_lock();
	else
		run_on_another_cpu(what);
	return e;
}

void __wrap_shadow_link_ahead(struct mmu_vm *m, struct rmap_cache *rmaps, struct shadow_page *sp,
			      u32 i, u32 count)
{
	if (after_table) {
		after_index = TABLE;
		after_lookup = after_table;
		after_table = NULL;
	}
	__real_shadow_link_ahead(m, rmaps, sp, i, count);
}

static int setup(void **state)
{
	(void)state;
	shadow_guest_start(MIB(16), RAM_PAGES);
	entry(TABLE, 0, PAGE, MARKED);
	entry(PAGE, 0, 0, 0); /* resident */
	load();
	after_index = PAGE;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_true(!after_lookup && !after_neighbour && !after_table); /* they were reached */
	return shadow_guest_end(state);
}

static int fault_at(u64 gva)
{
	struct shadow_answer answer;

	return mmu_shadow_fault(&vcpu, &paging, GVA(gva), MMU_WRITE, &answer);
}

static void take(void)
{
	take_page(ram, PAGE);
}

/* R08: the sequence is read before the page is looked up, and again under the lock of the link. */
static void a_page_that_was_taken_is_not_linked(void **state)
{
	u64 retries = STAT(faults_retry), at;

	(void)state;
	after_lookup = take;
	assert_int_equal(fault_at(0), 0);
	assert_int_equal(STAT(faults_retry), retries + 1);
	assert_false(shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at));
	assert_int_equal(fault_at(0), 0);
	assert_true(shadow_cpu(&vcpu, &paging, 0, MMU_WRITE, &at));
	assert_int_equal(at >> 12, frame_of_page(PAGE));
	assert_int_not_equal(at >> 12, after_frame);
}

static void begin(void)
{
	gmem_invalidate_begin(ram, PAGE, 1);
}

/* One that only began holds it off too. */
static void an_invalidation_that_began_holds_it_off(void **state)
{
	bool linked;
	u64 at;

	(void)state;
	after_lookup = begin;
	assert_int_equal(fault_at(0), 0);
	linked = shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at);
	gmem_invalidate_end(ram, PAGE, 1);
	assert_false(linked);
	assert_int_equal(fault_at(0), 0);
	assert_true(shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at));
}

static bool ended; /* atomic */

static void *end_later(void *arg)
{
	(void)arg;
	hosted_cpu_set(9);
	usleep(50000);
	/* The fault waits in no reader (R24), or this does not return. */
	srcu_synchronize(&vm.srcu);
	__atomic_store_n(&ended, true, __ATOMIC_SEQ_CST);
	gmem_invalidate_end(ram, PAGE, 1);
	return NULL;
}

/* A fault that meets one under way sleeps until it is over: the guest would only fault again. */
static void a_page_that_is_being_changed_is_waited_for(void **state)
{
	pthread_t other;
	bool waited;
	u64 at;

	(void)state;
	ended = false;
	begin();
	pthread_create(&other, NULL, end_later, NULL);
	assert_int_equal(fault_at(0), 0);
	waited = __atomic_load_n(&ended, __ATOMIC_SEQ_CST);
	pthread_join(other, NULL);
	assert_true(waited);
	assert_int_equal(fault_at(0), 0);
	assert_true(shadow_cpu(&vcpu, &paging, 0, MMU_WRITE, &at));
}

/* --- The neighbours of a fault, which are looked up and linked under mmu_lock --- */

static void make_neighbour(void)
{
	vm.fault_around = 8;
	entry(TABLE, 1, NEIGHBOUR, MARKED);
	entry(NEIGHBOUR, 0, 0, 0); /* resident, and written */
}

static void prepare_words(void)
{
	u32 reader = srcu_read_lock(&vm.srcu);

	assert_int_equal(rmap_prepare(memslot_find(vm.slots, GFN(NEIGHBOUR)), GFN(NEIGHBOUR)), 0);
	srcu_read_unlock(&vm.srcu, reader);
}

/* R08 */
static void a_neighbour_that_was_taken_is_not_linked(void **state)
{
	u64 at;

	(void)state;
	make_neighbour();
	prepare_words();
	after_neighbour = take_neighbour;
	assert_int_equal(fault_at(0), 0);
	pthread_join(taker, NULL);
	assert_true(shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at));
	assert_false(shadow_cpu(&vcpu, &paging, PAGE_SIZE, MMU_READ, &at));
	assert_int_equal(fault_at(PAGE_SIZE), 0);
	assert_true(shadow_cpu(&vcpu, &paging, PAGE_SIZE, MMU_READ, &at));
	assert_int_equal(at >> 12, frame_of_page(NEIGHBOUR));
	assert_int_not_equal(at >> 12, neighbour_frame);
}

static void begin_and_end_of_neighbour(void)
{
	gmem_invalidate_begin(ram, NEIGHBOUR, 1);
	gmem_invalidate_end(ram, NEIGHBOUR, 1);
}

static void begin_and_end_of_table(void)
{
	gmem_invalidate_begin(ram, TABLE, 1);
	gmem_invalidate_end(ram, TABLE, 1);
}

static bool is_linked_ahead(void)
{
	u64 at;

	make_neighbour();
	prepare_words();
	assert_int_equal(fault_at(0), 0);
	assert_true(shadow_cpu(&vcpu, &paging, 0, MMU_READ, &at));
	return shadow_cpu(&vcpu, &paging, PAGE_SIZE, MMU_READ, &at);
}

static void what_stays_is_linked_ahead(void **state)
{
	(void)state;
	assert_true(is_linked_ahead());
}

/*
 * The same where all of it lies between the look and the link: no link depends on who waits for a
 * lock.
 */
static void a_neighbour_that_changes_is_not_linked(void **state)
{
	(void)state;
	after_neighbour = begin_and_end_of_neighbour;
	assert_false(is_linked_ahead());
}

static void entries_of_a_table_that_changes_are_not_used(void **state)
{
	(void)state;
	after_table = begin_and_end_of_table;
	assert_false(is_linked_ahead());
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_page_that_was_taken_is_not_linked),
		TEST(an_invalidation_that_began_holds_it_off),
		TEST(a_page_that_is_being_changed_is_waited_for),
		TEST(a_neighbour_that_was_taken_is_not_linked),
		TEST(what_stays_is_linked_ahead),
		TEST(a_neighbour_that_changes_is_not_linked),
		TEST(entries_of_a_table_that_changes_are_not_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
