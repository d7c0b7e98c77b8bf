/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* Pages that Weir keeps at hand: where one may be, what it shows and costs, how long it stays. */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mmu/gpa_pin.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define PAGES 64u
#define BASE  0x100000ull
#define ROM   0x400000ull
#define APIC  0xfee00000ull

static struct gmem *ram, *apic;
static struct gmem_account account;

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(PAGES);
	apic = object_new(1);
	account = (struct gmem_account){.pins_max = 4};
	gmem_set_account(ram, &account);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE >> 12), PAGES, ram, 0, 0), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(ROM >> 12), 4, ram, 8, MEMSLOT_READONLY), 0);
	assert_int_equal(memslot_create(&vm, 3, GFN(APIC >> 12), 1, apic, 0, MEMSLOT_PRIVATE), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(account.pins, 0);
	memslots_destroy(&vm);
	gmem_unref(ram);
	gmem_unref(apic);
	fixture_end();
	return 0;
}

/* By the pin, as with interrupts off. */
static bool put(struct gpa_pin *p, u8 value)
{
	bool on = irq_save(), is = gpa_pin_put(p, value);

	irq_restore(on);
	return is;
}

static u8 take(struct gpa_pin *p)
{
	bool on = irq_save();
	u8 value = gpa_pin_take(p);

	irq_restore(on);
	return value;
}

static u8 seen(u64 gpa)
{
	u8 byte;

	assert_int_equal(gpa_read(&vm, GPA(gpa), &byte, 1), 0);
	return byte;
}

static void what_it_shows(void **state)
{
	struct gpa_pin *p;
	u32 word = 0x12345678;

	assert_int_equal(gpa_write(&vm, GPA(BASE + 0x5ff0), &word, 4), 0);
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x5ff1), &p), 0);
	assert_int_equal(*p->at, 0x56);
	assert_true(put(p, 0x9a));
	assert_int_equal(seen(BASE + 0x5ff1), 0x9a);
	assert_int_equal(take(p), 0x9a);
	assert_int_equal(seen(BASE + 0x5ff1), 0);
	assert_int_equal(seen(BASE + 0x5ff0), 0x78);
	/* The guest's own access finds the same frame. */
	assert_int_equal(touch(&vcpu, GPA(BASE + 0x5000), MMU_WRITE), 0);
	assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(BASE + 0x5000))), p->pfn.v);
	/* It stays. */
	assert_int_equal(gmem_drop(ram, 5), ERR_BUSY);
	assert_true(gmem_stays(ram, 5));
	gpa_unpin(p);
	gpa_unpin(NULL);
	assert_int_equal(gmem_drop(ram, 5), 0);
}

static void where_none_may_be(void **state)
{
	static const u64 nowhere[] = {0,    BASE - 1, BASE + PAGES * PAGE_SIZE, ROM, ROM + 0xfff,
				      APIC, ~0ull};
	struct gpa_pin *p[5] = {NULL};
	u64 done;

	for (u32 i = 0; i < ARRAY_SIZE(nowhere); i++)
		assert_int_equal(gpa_pin(&vm, GPA(nowhere[i]), &p[0]), ERR_NOSLOT);
	assert_int_equal(mmu_range_protect(&vm, GFN((BASE >> 12) + 1), 1, true, &done), 0);
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x1000), &p[0]), ERR_PERM);
	assert_null(p[0]);
	assert_int_equal(mmu_range_protect(&vm, GFN((BASE >> 12) + 1), 1, false, &done), 0);
	/* The VM's bound, and nothing is left of what failed. */
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(gpa_pin(&vm, GPA(BASE + i * 0x1000), &p[i]), 0);
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x4000), &p[4]), ERR_NOSPC);
	assert_null(p[4]);
	gpa_unpin(p[2]);
	/* Twice the same page: two pins. */
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x1234), &p[2]), 0);
	for (u32 i = 0; i < 4; i++)
		gpa_unpin(p[i]);
}

static void without_memory(void **state)
{
	struct gpa_pin *p;
	int err;

	for (u32 n = 1;; n++) {
		hosted_fail_after(n);
		err = gpa_pin(&vm, GPA(BASE + 0x7000), &p);
		hosted_fail_after(0);
		if (!err)
			break;
		assert_int_equal(err, ERR_NOMEM);
		assert_null(p);
		assert_int_equal(account.pins, 0);
	}
	gpa_unpin(p);
}

/* --- R21: what is written through a pin is in each round of the log --- */

static u64 logged(void)
{
	u64 bits[PAGES / 64];

	assert_int_equal(mmu_dirty_get_and_clear(&vm, 1, bits, ARRAY_SIZE(bits)), 0);
	return bits[0];
}

static void in_each_round_of_the_log(void **state)
{
	struct gpa_pin *p, *q;

	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x3001), &p), 0);
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_LOG_DIRTY), 0);
	(void)logged();
	assert_true(put(p, 1));
	assert_int_equal(logged(), BIT(3));
	/*
	 * What a copier reads now may be written in the same moment: it is told of the page again.
	 */
	assert_int_equal(logged(), BIT(3));
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x9000), &q), 0);
	assert_int_equal(logged(), BIT(3) | BIT(9));
	assert_true(put(p, 2));
	gpa_unpin(p);
	assert_int_equal(logged(), BIT(3) | BIT(9));
	assert_int_equal(logged(), BIT(9));
	gpa_unpin(q);
	assert_int_equal(logged(), BIT(9));
	assert_int_equal(logged(), 0);
}

/* --- Protection --- */

static void is_not_protected(void **state)
{
	const u64 first = BASE >> PAGE_SHIFT;
	struct gpa_pin *p, *q;
	u64 done;

	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x8123), &p), 0);
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x5000), &q), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(first + 8), 1, true, &done), ERR_BUSY);
	assert_int_equal(done, 0);
	/* Those before the first of them are. */
	assert_int_equal(mmu_range_protect(&vm, GFN(first), 16, true, &done), ERR_BUSY);
	assert_int_equal(done, 5);
	assert_true(mmu_is_protected(&vm, GPA(BASE + 0x4000)));
	assert_false(mmu_is_protected(&vm, GPA(BASE + 0x5000)));
	assert_int_equal(mmu_range_protect(&vm, GFN(first + 6), 2, true, &done), 0);
	assert_true(put(p, 1));
	/* The other slot that shows it has nothing to do with that. */
	assert_int_equal(mmu_range_protect(&vm, GFN(ROM >> PAGE_SHIFT), 1, true, &done), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(ROM >> PAGE_SHIFT), 1, false, &done), 0);
	gpa_unpin(q);
	assert_int_equal(mmu_range_protect(&vm, GFN(first), 16, true, &done), ERR_BUSY);
	assert_int_equal(done, 8);
	gpa_unpin(p);
	assert_int_equal(mmu_range_protect(&vm, GFN(first), 16, true, &done), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(first), 16, false, &done), 0);
	assert_int_equal(done, 16);
}

static bool end; /* atomic */

static void *protects(void *arg)
{
	u64 done, *times = arg;

	hosted_cpu_set(5);
	while (!__atomic_load_n(&end, __ATOMIC_ACQUIRE)) {
		if (!mmu_range_protect(&vm, GFN((BASE >> 12) + 2), 1, true, &done))
			__atomic_fetch_add(times, 1, __ATOMIC_RELAXED);
		(void)mmu_range_protect(&vm, GFN((BASE >> 12) + 2), 1, false, &done);
		usleep(50);
	}
	return NULL;
}

/* Whoever comes first keeps the other away. */
static void pin_or_protection(void **state)
{
	u64 protections = 0, pins = 0;
	pthread_t t;

	__atomic_store_n(&end, false, __ATOMIC_RELEASE);
	pthread_create(&t, NULL, protects, &protections);
	while (pins < 500 || __atomic_load_n(&protections, __ATOMIC_RELAXED) < 50) {
		struct gpa_pin *p;
		int err = gpa_pin(&vm, GPA(BASE + 0x2000), &p);

		if (err) {
			assert_int_equal(err, ERR_PERM);
			continue;
		}
		pins++;
		assert_false(mmu_is_protected(&vm, GPA(BASE + 0x2000)));
		gpa_unpin(p);
	}
	__atomic_store_n(&end, true, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
}

/* --- R37: the pin goes with the slot that it was made through --- */

static bool is_dirty(u64 index)
{
	return gmem_entry(ram, index) & GMEM_DIRTY;
}

static void its_slot_goes(void **state)
{
	struct gpa_pin *p, *q;

	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x1fff), &p), 0);
	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x2000), &q), 0);
	assert_true(put(p, 7));
	__atomic_fetch_and(gmem_entry_find(ram, 1), ~(u64)GMEM_DIRTY, __ATOMIC_RELAXED);
	assert_int_equal(memslot_delete(&vm, 2), 0); /* another's */
	assert_int_equal(account.pins, 2);
	assert_false(is_dirty(1));
	assert_int_equal(memslot_delete(&vm, 1), 0);
	assert_int_equal(account.pins, 0);
	assert_true(is_dirty(1));
	/* Nothing is written any more, and the end is remembered. */
	assert_false(put(p, 9));
	assert_int_equal(take(p), 7);
	assert_int_equal(gmem_drop(ram, 1), 0);
	assert_int_equal(take(p), 7);
	assert_int_equal(take(q), 0);
	/* It comes back: that is another. */
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE >> 12), PAGES, ram, 0, 0), 0);
	assert_false(put(p, 9));
	assert_int_equal(seen(BASE + 0x1fff), 0);
	gpa_unpin(p);
	gpa_unpin(q);
}

static void its_slot_moves(void **state)
{
	struct gpa_pin *p;

	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x4010), &p), 0);
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_LOG_DIRTY), 0);
	(void)logged();
	assert_true(put(p, 7));
	assert_int_equal(memslot_move(&vm, 1, GFN((BASE >> 12) + 1)), 0);
	assert_int_equal(account.pins, 0);
	/* The log goes with the slot, and has what was written. */
	assert_int_equal(logged(), BIT(4));
	assert_int_equal(logged(), 0);
	assert_false(put(p, 9));
	assert_int_equal(seen(BASE + 0x5010), 7);
	assert_int_equal(seen(BASE + 0x4010), 0);
	gpa_unpin(p);
}

static void *move(void *arg)
{
	hosted_cpu_set(5);
	assert_int_equal(memslot_move(&vm, 1, GFN((BASE >> 12) + 1)), 0);
	__atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
	return NULL;
}

/* The page stays for who has just looked where it is, and for who asks for its end. */
static void who_looks_has_it(void **state)
{
	bool on, done = false;
	struct gpa_pin *p;
	pthread_t t;
	u8 *at;

	assert_int_equal(gpa_pin(&vm, GPA(BASE + 0x4010), &p), 0);
	on = irq_save();
	rcu_read_lock();
	at = gpa_pin_at(p);
	pthread_create(&t, NULL, move, &done);
	while (gpa_pin_at(p))
		usleep(100);
	usleep(20000);
	*at = 5;
	assert_int_equal(__atomic_load_n(&account.pins, __ATOMIC_ACQUIRE), 1);
	rcu_read_unlock();
	/* Who comes now finds the byte, or its end: 5 in any case. */
	do {
		rcu_read_lock();
		at = __atomic_load_n(&p->last, __ATOMIC_ACQUIRE);
		assert_true(at == &p->copy ||
			    __atomic_load_n(&account.pins, __ATOMIC_ACQUIRE) == 1);
		usleep(1000);
		assert_true(at == &p->copy ||
			    __atomic_load_n(&account.pins, __ATOMIC_ACQUIRE) == 1);
		rcu_read_unlock();
		assert_int_equal(gpa_pin_take(p), 5);
	} while (at != &p->copy && !__atomic_load_n(&done, __ATOMIC_ACQUIRE));
	irq_restore(on);
	pthread_join(t, NULL);
	assert_int_equal(account.pins, 0);
	assert_int_equal(take(p), 5);
	gpa_unpin(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_it_shows, setup, teardown),
		cmocka_unit_test_setup_teardown(where_none_may_be, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(in_each_round_of_the_log, setup, teardown),
		cmocka_unit_test_setup_teardown(is_not_protected, setup, teardown),
		cmocka_unit_test_setup_teardown(pin_or_protection, setup, teardown),
		cmocka_unit_test_setup_teardown(its_slot_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(its_slot_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(who_looks_has_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
