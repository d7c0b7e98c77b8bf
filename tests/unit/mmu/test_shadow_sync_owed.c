/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/shadow_live.c */
/*
 * Tables that the guest writes itself: what one vCPU's flush leaves to the CPUs of others and when
 * that ends, and how much is looked at under one hold of the lock.
 */
#include <cmocka.h>
#include <pthread.h>
#include "kernel/base/error.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"
#include "tests/unit/mmu/shadow_live.h"

/* --- What other CPUs may go on with --- */

static bool leads_to(u64 gva, u32 access, u64 page)
{
	u64 at;

	return shadow_cpu(&vcpu, &paging, gva, access, &at) && at >> 12 == frame_of_page(page);
}

static void take_page(u64 page)
{
	gmem_invalidate_begin(ram, page, 1);
	gmem_unmap(ram, page, 1);
	gmem_invalidate_end(ram, page, 1);
}

/*
 * What a flush of one vCPU takes out another's CPU may go on with: nobody is made to leave the
 * guest. Of a page that is taken no CPU has anything, though no entry shows it any more (R13).
 */
static void what_goes_is_flushed_before_its_page(void **state)
{
	static struct mmu_vcpu other;
	u64 flushes;

	(void)state;
	mmu_vcpu_init(&other, &vm);
	assert_int_equal(mmu_shadow_load(&other, &paging), 0);
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	assert_true(write_live(TABLE, 1, DATA + 51, MARKED));
	/* Nobody can write the table: there is no right to be taken, and flushed. */
	take_page(TABLE);
	assert_int_equal(led_to(0), DATA);
	assert_int_equal(led_to(gva_of(1)), DATA + 1);
	flushes = STAT(flushes);
	assert_int_equal(mmu_shadow_load(&other, &paging), 0);
	assert_true(leads_to(0, MMU_READ, DATA));
	assert_true(leads_to(gva_of(1), MMU_READ, DATA + 1));
	assert_int_equal(STAT(flushes), flushes);
	/* Its own INVLPG is told so, though there is nothing left to be changed. */
	assert_true(mmu_shadow_invlpg(&vcpu, GVA(0)));
	take_page(DATA);
	assert_false(leads_to(0, MMU_READ, DATA));
	assert_false(leads_to(gva_of(1), MMU_READ, DATA + 1));
	assert_false(mmu_shadow_invlpg(&vcpu, GVA(0)));
	mmu_vcpu_destroy(&other);
}

/* Nor is it the guest's to write any more when it becomes a table. */
static void what_goes_is_flushed_before_a_table(void **state)
{
	struct mmu_vcpu other;

	(void)state;
	mmu_vcpu_init(&other, &vm);
	assert_int_equal(mmu_shadow_load(&other, &paging), 0);
	assert_int_equal(shadow_access(gva_of(1), MMU_WRITE, NULL), 0);
	let_go(TABLE);
	assert_true(write_live(TABLE, 1, DATA + 50, MARKED));
	assert_true(leads_to(gva_of(1), MMU_WRITE, DATA + 1));
	assert_true(mmu_shadow_invlpg(&other, GVA(gva_of(1))));
	assert_true(leads_to(gva_of(1), MMU_WRITE, DATA + 1));
	entry(DATA + 1, 0, DATA, MARKED);
	entry(3, 2, DATA + 1, MARKED);
	assert_int_equal(led_to(2ull << 21), DATA);
	assert_false(leads_to(gva_of(1), MMU_WRITE, DATA + 1));
	mmu_vcpu_destroy(&other);
}

/*
 * The log of a page that was written has all of it: who takes it takes the right from all CPUs
 * (R21).
 */
static void what_loses_a_right_is_flushed_before_the_log(void **state)
{
	u64 dirty[RAM_PAGES / 64];
	struct mmu_vcpu other;

	(void)state;
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_LOG_DIRTY), 0);
	mmu_vcpu_init(&other, &vm);
	assert_int_equal(mmu_shadow_load(&other, &paging), 0);
	let_go(TABLE);
	assert_int_equal(shadow_access(0, MMU_WRITE, NULL), 0);
	assert_true(write_live(TABLE, 0, DATA, MARKED & ~W));
	assert_true(leads_to(0, MMU_WRITE, DATA));
	assert_true(mmu_shadow_invlpg(&other, GVA(0)));
	assert_true(leads_to(0, MMU_WRITE, DATA));
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 1, dirty, RAM_PAGES / 64), 0);
	assert_true(dirty[DATA / 64] & BIT(DATA % 64));
	assert_false(leads_to(0, MMU_WRITE, DATA));
	mmu_vcpu_destroy(&other);
}

/*
 * A fault finds that the entry leads elsewhere by now. What it showed is in no reverse map from then
 * on, so who takes that page would not know that another CPU may have it (R13).
 */
static void what_gives_way_is_flushed(void **state)
{
	u64 flushes, at;

	(void)state;
	entry(TABLE, 2, DATA + 2, MARKED & ~D);
	let_go(TABLE);
	assert_true(write_live(TABLE, 2, DATA + 52, MARKED));
	assert_true(leads_to(gva_of(2), MMU_READ, DATA + 2));
	flushes = STAT(flushes);
	assert_int_equal(shadow_access(gva_of(2), MMU_WRITE, &at), 0);
	assert_int_equal(at >> 12, frame_of_page(DATA + 52));
	assert_true(is_let_go(TABLE));
	assert_true(STAT(flushes) > flushes || mmu_flush_is_owed(&vm));
}

/* A CPU that is in the guest until `leave` is set. */
static bool entered, leave; /* atomic */

static void *in_the_guest(void *unused)
{
	bool on;

	(void)unused;
	hosted_cpu_set(1);
	on = irq_save();
	mmu_enter(&vm);
	__atomic_store_n(&entered, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&leave, __ATOMIC_SEQ_CST))
		cpu_relax();
	mmu_exit(&vm);
	irq_restore(on);
	return NULL;
}

static void *pay(void *unused)
{
	(void)unused;
	hosted_cpu_set(2);
	spin_lock(&vm.mmu_lock);
	mmu_pay_flush(&vm);
	spin_unlock(&vm.mmu_lock);
	return NULL;
}

/*
 * Who looks at what is owed without the lock takes a page where nothing is: so it is owed until all
 * CPUs have left the guest, not until somebody has begun to wait for them (R13).
 */
static void it_is_owed_until_no_cpu_has_it(void **state)
{
	pthread_t guest, payer;
	bool owed;

	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	assert_true(mmu_shadow_invlpg(&vcpu, GVA(0)));
	assert_true(mmu_flush_is_owed(&vm));
	hosted_kick_take(1);
	entered = leave = false;
	assert_int_equal(pthread_create(&guest, NULL, in_the_guest, NULL), 0);
	while (!__atomic_load_n(&entered, __ATOMIC_SEQ_CST))
		cpu_relax();
	assert_int_equal(pthread_create(&payer, NULL, pay, NULL), 0);
	while (!hosted_kick_pending(1))
		cpu_relax();
	owed = mmu_flush_is_owed(&vm);
	__atomic_store_n(&leave, true, __ATOMIC_SEQ_CST);
	pthread_join(payer, NULL);
	pthread_join(guest, NULL);
	assert_true(owed);
	assert_false(mmu_flush_is_owed(&vm));
	hosted_kick_take(1);
}

/* --- Bounds --- */

/* Tables from 200 on, each at an address of its own, and at the window. */
static void many_tables(u32 count)
{
	for (u32 i = 0; i < count; i++) {
		entry(WINDOWS, 200 + i, 200 + i, MARKED);
		entry(3, 100 + i, 200 + i, MARKED);
		entry(200 + i, 0, DATA, MARKED);
		assert_int_equal(led_to((100ull + i) << 21), DATA);
		for (u32 n = 0; n < 3; n++)
			(void)write_live(200 + i, 1, DATA + 1, MARKED);
	}
}

static void no_more_than_a_flush_can_look_at(void **state)
{
	const u32 count = SHADOW_UNSYNC_MAX + 8;
	u32 before;

	(void)state;
	many_tables(count);
	assert_int_equal(vm.shadow->unsync_count, SHADOW_UNSYNC_MAX);
	assert_true(is_let_go(200));
	/* What finds no place is as it was without. */
	assert_int_equal(shadow_pages_of(200 + count - 1), 0);
	for (u32 i = 0; i < count; i++)
		(void)write_live(200 + i, 0, DATA + 50, MARKED);
	before = vm.mmu_lock.next;
	load();
	/* One at a time: nobody else gets the lock, nor a thread this CPU, meanwhile. */
	assert_true(vm.mmu_lock.next - before >= SHADOW_UNSYNC_MAX);
	assert_int_equal(vm.shadow->unsync_count, 0);
	for (u32 i = 0; i < count; i++)
		assert_int_equal(led_to((100ull + i) << 21), DATA + 50);
}

/* R04 for a tree of tables: one at a time before any of it is linked, by a fault or as a root. */
static void all_of_them_below_a_table(void **state)
{
	u32 before;

	(void)state;
	many_tables(SHADOW_UNSYNC_MAX);
	for (u32 i = 0; i < SHADOW_UNSYNC_MAX; i++)
		assert_true(write_live(200 + i, 0, DATA + 50, MARKED));
	entry(1, 1, 2, MARKED);
	before = vm.mmu_lock.next;
	assert_int_equal(led_to(BIT(39) | 100ull << 21), DATA + 50);
	assert_true(vm.mmu_lock.next - before >= SHADOW_UNSYNC_MAX);
	assert_int_equal(vm.shadow->unsync_count, 0);
	for (u32 i = 1; i < SHADOW_UNSYNC_MAX; i++)
		assert_int_equal(led_to(BIT(39) | (100ull + i) << 21), DATA + 50);
}

static bool unsync(u64 table)
{
	struct shadow_page *sp = *shadow_bucket(vm.shadow, GFN(table));
	bool done;

	spin_lock(&vm.mmu_lock);
	while (sp->gfn.v != table)
		sp = sp->next;
	done = shadow_unsync(&vm, sp);
	spin_unlock(&vm.mmu_lock);
	return done;
}

/* While a vCPU brings all of them back for what it is to link, others let none go. */
static void held_in_step(void **state)
{
	(void)state;
	let_go(TABLE);
	assert_true(write_live(TABLE, 0, DATA + 50, MARKED));
	shadow_hold_step(&vm);
	shadow_hold_step(&vm);
	assert_int_equal(vm.shadow->unsync_count, 0);
	assert_int_equal(led_to(0), DATA + 50);
	assert_false(unsync(TABLE));
	shadow_release_step(&vm);
	assert_false(unsync(TABLE));
	shadow_release_step(&vm);
	assert_true(unsync(TABLE));
}

/* A table that is in use in many ways has too many pages to come back at once. */
static void a_table_of_many_pages_stays_in_step(void **state)
{
	(void)state;
	for (u32 ways = 1; ways <= SHADOW_UNSYNC_OF_TABLE + 1; ways++) {
		static const u64 rights[] = {MARKED, MARKED & ~W, MARKED & ~U, MARKED | XD,
					     MARKED & ~(W | U)};

		entry(3, 2 + ways, TABLE, rights[ways - 1]);
		assert_int_equal(led_to((2ull + ways) << 21), DATA);
		assert_int_equal(shadow_pages_of(TABLE), ways);
		if (ways >= SHADOW_UNSYNC_OF_TABLE)
			assert_int_equal(unsync(TABLE), ways == SHADOW_UNSYNC_OF_TABLE);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, shadow_live_start, shadow_guest_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_goes_is_flushed_before_its_page),
		TEST(what_goes_is_flushed_before_a_table),
		TEST(what_loses_a_right_is_flushed_before_the_log),
		TEST(what_gives_way_is_flushed),
		TEST(it_is_owed_until_no_cpu_has_it),
		TEST(no_more_than_a_flush_can_look_at),
		TEST(all_of_them_below_a_table),
		TEST(held_in_step),
		TEST(a_table_of_many_pages_stays_in_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
