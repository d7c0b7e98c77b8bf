/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem mmu/inspect.c tests/unit/mmu/fixture.c */
/*
 * What the monitor's `slot` and `rmap` find inside a VM's MMU. R27: they look at the slot array in
 * a reader of its own, and leave it; at a word of the reverse map under its lock alone.
 */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mmu/inspect.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define BASE  0x400ull
#define PAGES 1024u
#define OTHER 0x2000ull

static struct gmem *ram;
static u64 done;

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 7, GFN(BASE), PAGES, ram, 0, MEMSLOT_NO_LARGE), 0);
	assert_int_equal(memslot_create(&vm, 3, GFN(OTHER), 16, ram, 8, MEMSLOT_READONLY), 0);
	return 0;
}

static int teardown(void **state)
{
	memslots_destroy(&vm);
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static void slots(void **state)
{
	struct mmu_slot_look out[3];
	u64 generation;

	out[1].id = 99;
	assert_int_equal(mmu_look_at_slots(&vm, out, 1, &generation), 2);
	assert_int_equal(out[1].id, 99); /* not more than there is room for */
	assert_int_equal(generation, vm.slots_generation);
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE + 3), 2, true, true, &done), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 9), 3, true, &done), 0);
	assert_int_equal(mmu_look_at_slots(&vm, out, 3, &generation), 2);
	assert_int_equal(out[0].id, 7);
	assert_int_equal(out[0].base.v, BASE);
	assert_int_equal(out[0].pages, PAGES);
	assert_int_equal(out[0].chunks, 2);
	assert_int_equal(out[0].chunks_there, 1);
	assert_int_equal(out[0].pinned, 2);
	assert_int_equal(out[0].protected, 3);
	assert_int_equal(out[1].id, 3);
	assert_int_equal(out[1].flags, MEMSLOT_READONLY);
	assert_int_equal(out[1].first, 8);
	assert_int_equal(out[1].chunks_there, 0);
	assert_false(srcu_read_held(&vm.srcu));
}

static void gfns(void **state)
{
	struct memslot *s = &vm.slots->slots[0];
	struct mmu_gfn_look look;

	assert_int_equal(mmu_look_at_gfn(&vm, GFN(0), &look), ERR_NOSLOT);
	assert_int_equal(mmu_look_at_gfn(&vm, GFN(BASE + 5), &look), 0);
	assert_false(look.small.there);
	assert_true(look.large.there);
	assert_int_equal(touch(&vcpu, GPA((BASE + 5) << PAGE_SHIFT), MMU_WRITE), 0);
	assert_int_equal(mmu_look_at_gfn(&vm, GFN(BASE + 5), &look), 0);
	assert_int_equal(look.slot, 7);
	assert_int_equal(look.index, 5);
	assert_int_equal(look.entry, gmem_entry(ram, 5));
	assert_int_equal(look.small.count, 1);
	assert_int_equal(look.small.value[0], ept_walk(&vm, GPA((BASE + 5) << PAGE_SHIFT)));
	assert_int_equal(look.small.word & RMAP_ADDRESS, look.small.at[0].v);
	assert_int_equal(look.small.word & RMAP_LOCKED, 0);
	assert_int_equal(look.large.count, 0);
	s->flags |= MEMSLOT_INVALID;
	assert_int_equal(mmu_look_at_gfn(&vm, GFN(BASE + 5), &look), ERR_AGAIN);
	s->flags &= ~(u32)MEMSLOT_INVALID;
	assert_false(srcu_read_held(&vm.srcu));
	assert_int_equal(hosted_locks_held(), 0);
}

/* --- Who looks keeps a slot, and waits for a word --- */

static bool looked; /* atomic */

static void *look_at_it(void *arg)
{
	struct mmu_gfn_look look;

	hosted_cpu_set(6);
	assert_int_equal(mmu_look_at_gfn(&vm, GFN(BASE + 5), &look), 0);
	assert_int_equal(look.small.count, 1);
	__atomic_store_n(&looked, true, __ATOMIC_RELEASE);
	return NULL;
}

static void *delete_it(void *arg)
{
	hosted_cpu_set(7);
	assert_int_equal(memslot_delete(&vm, 7), 0);
	return NULL;
}

/*
 * The word is locked by one who is changing it. Who looks waits; and whoever deletes the slot waits
 * for who looks, so that the word is still there.
 */
static void waits_and_is_waited_for(void **state)
{
	u64 *word, generation = vm.slots_generation;
	pthread_t looker, deleter;
	bool on;

	assert_int_equal(touch(&vcpu, GPA((BASE + 5) << PAGE_SHIFT), MMU_WRITE), 0);
	word = rmap_word(&vm.slots->slots[0], GFN(BASE + 5));
	__atomic_store_n(&looked, false, __ATOMIC_RELEASE);
	on = irq_save();
	rmap_lock(word);
	pthread_create(&looker, NULL, look_at_it, NULL);
	usleep(20000);
	assert_false(__atomic_load_n(&looked, __ATOMIC_ACQUIRE));
	pthread_create(&deleter, NULL, delete_it, NULL);
	while (__atomic_load_n(&vm.slots_generation, __ATOMIC_ACQUIRE) == generation)
		usleep(100);
	usleep(20000);
	/* INVALID still. */
	assert_int_equal(__atomic_load_n(&vm.slots_generation, __ATOMIC_ACQUIRE), generation + 1);
	assert_false(__atomic_load_n(&looked, __ATOMIC_ACQUIRE));
	rmap_unlock(word);
	irq_restore(on);
	pthread_join(looker, NULL);
	pthread_join(deleter, NULL);
	assert_int_equal(__atomic_load_n(&vm.slots_generation, __ATOMIC_ACQUIRE), generation + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(slots, setup, teardown),
		cmocka_unit_test_setup_teardown(gfns, setup, teardown),
		cmocka_unit_test_setup_teardown(waits_and_is_waited_for, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
