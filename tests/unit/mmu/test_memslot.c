/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* Memslots: every refusal leaves all as it was; lookups against an oracle; changes in two steps. */
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mmu/memslot_change.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define GFN_END (1ull << (39 - 12))

static int setup(void **state)
{
	fixture_start(MIB(16));
	return 0;
}

static int teardown(void **state)
{
	fixture_end();
	return 0;
}

/* --- refusals --- */

static void refusals(void **state)
{
	static const struct {
		u32 id;
		u64 base, pages, first;
		u32 flags;
		int err;
	} cases[] = {
		{2, 200, 0, 0, 0, ERR_RANGE},		    /* empty */
		{2, ~0ull, 1, 0, 0, ERR_RANGE},		    /* base too large */
		{2, ~0ull - 5, 16, 0, 0, ERR_RANGE},	    /* wraps */
		{2, 200, ~0ull, 0, 0, ERR_RANGE},	    /* pages wrap */
		{2, 200, ~0ull - 199, 0, 0, ERR_RANGE},	    /* base + pages == 0 */
		{2, GFN_END, 1, 0, 0, ERR_RANGE},	    /* MAXPHYADDR */
		{2, GFN_END - 1, 2, 0, 0, ERR_RANGE},	    /* over its edge */
		{2, 200, 65, 0, 0, ERR_RANGE},		    /* beyond the object */
		{2, 200, 1, 64, 0, ERR_RANGE},		    /* begins at its end */
		{2, 200, 2, 63, 0, ERR_RANGE},		    /* over its end */
		{2, 200, 2, ~0ull, 0, ERR_RANGE},	    /* first + pages wraps */
		{2, 200, 1, 0, MEMSLOT_INVALID, ERR_INVAL}, /* not for callers */
		{2, 200, 1, 0, 1 << 7, ERR_INVAL},	    /* unknown flag */
		{1, 200, 1, 0, 0, ERR_EXIST},		    /* id is taken */
		{2, 100, 10, 0, 0, ERR_EXIST},		    /* the same */
		{2, 109, 1, 0, 0, ERR_EXIST},		    /* its last page */
		{2, 95, 6, 0, 0, ERR_EXIST},		    /* over its start */
		{2, 90, 30, 0, 0, ERR_EXIST},		    /* around it */
		{2, 103, 2, 0, 0, ERR_EXIST},		    /* within it */
	};
	struct gmem *g = object_new(64);
	u64 free;

	assert_int_equal(memslot_create(&vm, 1, GFN(100), 10, g, 0, 0), 0);
	free = frames_free();
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct memslots *before = vm.slots;

		assert_int_equal(memslot_create(&vm, cases[i].id, GFN(cases[i].base),
						cases[i].pages, g, cases[i].first, cases[i].flags),
				 cases[i].err);
		assert_ptr_equal(vm.slots, before);
		assert_int_equal(vm.slots->count, 1);
		assert_int_equal(frames_free(), free);
	}
	assert_int_equal(memslot_delete(&vm, 2), ERR_NOENT);
	assert_int_equal(memslot_move(&vm, 2, GFN(5)), ERR_NOENT);
	assert_int_equal(memslot_move(&vm, 1, GFN(GFN_END - 9)), ERR_RANGE);
	assert_int_equal(memslot_move(&vm, 1, GFN(~0ull)), ERR_RANGE);
	assert_int_equal(memslot_create(&vm, 2, GFN(110), 5, g, 0, 0), 0);
	assert_int_equal(memslot_move(&vm, 2, GFN(96)), ERR_EXIST);
	assert_int_equal(memslot_move(&vm, 2, GFN(GFN_END - 5)), 0);
	assert_int_equal(memslot_move(&vm, 1, GFN(105)), 0); /* over its own old place */
	assert_int_equal(g->refs, 3);
	gmem_unref(g);
}

/* --- against an oracle --- */

#define SPACE 4096 /* gfns that the random slots share */
#define IDS   64

struct oracle {
	bool there;
	u64 base, pages, first;
};

static struct oracle oracle[IDS];

static bool oracle_free(u64 base, u64 pages, u32 except)
{
	for (u32 i = 0; i < IDS; i++) {
		for (u64 gfn = base; oracle[i].there && i != except && gfn < base + pages; gfn++) {
			if (gfn >= oracle[i].base && gfn < oracle[i].base + oracle[i].pages)
				return false;
		}
	}
	return true;
}

static const struct memslot *look_up(gfn_t gfn, u32 *last)
{
	const struct memslot *s, *cached;
	u64 generation, same;
	int err;

	hosted_no_speculation = 0;
	err = memslot_look_up(&vm, gfn, true, &s, &generation);
	assert_int_equal(memslot_look_up_cached(&vm, gfn, true, last, &cached, &same), err);
	assert_int_equal(err, s ? 0 : ERR_NOSLOT);
	/* What is found leads on by the gfn, and not before it is sure. */
	assert_int_equal(hosted_no_speculation, s ? 2 : 0);
	assert_ptr_equal(cached, s);
	assert_ptr_equal(memslot_find(vm.slots, gfn), s);
	assert_int_equal(generation, vm.slots->generation);
	assert_int_equal(same, generation);
	if (s)
		assert_int_equal(*last, s - vm.slots->slots);
	return s;
}

static void compare(void)
{
	u32 reader = srcu_read_lock(&vm.srcu), last = 7, n = 0;

	for (u64 gfn = 0; gfn < SPACE + 70; gfn++) {
		const struct memslot *s = look_up(GFN(gfn), &last);
		u32 id;

		for (id = 0; id < IDS; id++) {
			if (oracle[id].there && gfn >= oracle[id].base &&
			    gfn < oracle[id].base + oracle[id].pages)
				break;
		}
		if (id == IDS) {
			assert_null(s);
			continue;
		}
		assert_non_null(s);
		assert_int_equal(s->id, id);
		assert_int_equal(s->first, oracle[id].first);
		assert_int_equal(s->flags, 0);
	}
	for (u32 i = 0; i < IDS; i++)
		n += oracle[i].there;
	assert_int_equal(vm.slots->count, n);
	assert_null(look_up(GFN(~0ull), &last));
	srcu_read_unlock(&vm.srcu, reader);
}

static void random_changes(void **state)
{
	struct gmem *g = object_new(128);
	u64 generation = 0;

	memset(oracle, 0, sizeof(oracle));
	srand(1);
	for (u32 i = 0; i < 3000; i++) {
		u32 id = rand() % IDS;
		struct oracle *o = &oracle[id];
		u64 base = rand() % SPACE, pages = 1 + rand() % 64, first = rand() % 64;
		int want = 0, got;

		if (!o->there) {
			want = oracle_free(base, pages, IDS) ? 0 : ERR_EXIST;
			got = memslot_create(&vm, id, GFN(base), pages, g, first, 0);
			if (!want)
				*o = (struct oracle){true, base, pages, first};
		} else if (rand() % 3) {
			want = oracle_free(base, o->pages, id) ? 0 : ERR_EXIST;
			got = memslot_move(&vm, id, GFN(base));
			if (!want)
				o->base = base;
		} else {
			got = memslot_delete(&vm, id);
			o->there = false;
		}
		assert_int_equal(got, want);
		assert_int_equal(vm.slots->generation & 1, 0);
		assert_int_equal(vm.slots->generation, generation + (got ? 0 : 2));
		generation = vm.slots->generation;
		if (i % 16 == 0)
			compare();
	}
	gmem_unref(g);
}

static void as_many_as_there_may_be(void **state)
{
	struct gmem *g = object_new(1);
	u32 reader, last = 0;

	/* From the top down and in twos, so that inserting happens in all places. */
	for (u32 i = 0; i < MEMSLOTS_MAX; i++)
		assert_int_equal(memslot_create(&vm, i, GFN(i & 1 ? 3000 - 2 * i : 3000 + 2 * i), 1,
						g, 0, 0),
				 0);
	assert_int_equal(memslot_create(&vm, 9999, GFN(9000), 1, g, 0, 0), ERR_NOSPC);
	assert_int_equal(g->refs, MEMSLOTS_MAX + 1);
	reader = srcu_read_lock(&vm.srcu);
	for (u32 i = 0; i < MEMSLOTS_MAX; i++) {
		gfn_t gfn = GFN(i & 1 ? 3000 - 2 * i : 3000 + 2 * i);

		assert_int_equal(look_up(gfn, &last)->id, i);
		assert_null(look_up(GFN(gfn.v + 1), &last));
	}
	srcu_read_unlock(&vm.srcu, reader);
	for (u32 i = 1; i < vm.slots->count; i++)
		assert_true(vm.slots->slots[i - 1].base.v < vm.slots->slots[i].base.v);
	gmem_unref(g);
}

/* --- two steps (R23, R24, R26, R30) --- */

static bool change_done; /* atomic */

static void *deleter(void *arg)
{
	hosted_cpu_set(7);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	__atomic_store_n(&change_done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *mover(void *arg)
{
	hosted_cpu_set(7);
	assert_int_equal(memslot_move(&vm, 1, GFN(200)), 0);
	__atomic_store_n(&change_done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static struct gmem *object_of_two_step;

static void *writer_to_invalid(void *arg)
{
	hosted_cpu_set(8);
	/* Waits for the change, then finds what the change left. */
	*(int *)arg = gpa_write(&vm, GPA(100 << 12), "x", 1);
	return NULL;
}

/* Looks at the VM while `change` waits for a reader. What gpa_write gives in the end. */
static int watch_change(void *(*change)(void *))
{
	pthread_t thread, writer;
	const struct memslots *old;
	int written = 1;
	u32 reader;

	change_done = false;
	object_of_two_step = object_new(10);
	assert_int_equal(memslot_create(&vm, 1, GFN(100), 10, object_of_two_step, 0, 0), 0);
	assert_int_equal(touch(&vcpu, GPA(100 << 12), MMU_WRITE), 0);
	assert_int_not_equal(ept_walk(&vm, GPA(100 << 12)), 0);

	reader = srcu_read_lock(&vm.srcu);
	old = memslots_get(&vm);
	pthread_create(&thread, NULL, change, NULL);
	while (memslots_get(&vm) == old)
		usleep(1000);
	assert_int_equal(memslots_get(&vm)->generation & 1, 1);
	assert_int_equal(memslot_find(memslots_get(&vm), GFN(100))->flags, MEMSLOT_INVALID);
	assert_int_equal(fault(&vcpu, GPA(101 << 12), MMU_READ), ERR_TOO_HARD);
	pthread_create(&writer, NULL, writer_to_invalid, &written);
	usleep(30000);
	/* The old array is as it was, what it mapped is mapped, and nobody has gone on. */
	assert_int_equal(old->slots[0].flags, 0);
	assert_int_not_equal(ept_walk(&vm, GPA(100 << 12)), 0);
	assert_false(__atomic_load_n(&change_done, __ATOMIC_SEQ_CST));
	srcu_read_unlock(&vm.srcu, reader);

	pthread_join(thread, NULL);
	pthread_join(writer, NULL);
	assert_int_equal(vm.slots->generation & 1, 0);
	assert_int_equal(ept_walk(&vm, GPA(100 << 12)), 0);
	return written;
}

static void deleting_takes_two_steps(void **state)
{
	assert_int_equal(watch_change(deleter), ERR_NOSLOT);
	assert_int_equal(touch(&vcpu, GPA(100 << 12), MMU_READ), ERR_NOSLOT);
	grace();
	assert_int_equal(object_of_two_step->refs, 1);
	assert_int_equal(STAT(tables), 1); /* empty tables are gone */
	gmem_unref(object_of_two_step);
}

static void moving_takes_two_steps(void **state)
{
	assert_int_equal(watch_change(mover), ERR_NOSLOT);
	assert_int_equal(touch(&vcpu, GPA(100 << 12), MMU_READ), ERR_NOSLOT);
	assert_int_equal(mmu_vcpu_topup(&vcpu), 0); /* as before each entry */
	assert_int_equal(fault(&vcpu, GPA(200 << 12), MMU_READ), 0);
	assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(200 << 12))),
			 gmem_entry_pfn(gmem_entry(object_of_two_step, 0)).v);
	gmem_unref(object_of_two_step);
}

/* --- what is left over (R29) --- */

#define CHANGES 20

/* A reader that stays until all are made, and no longer than makes a failure of it. */
static bool reader_in, all_made; /* atomic */
static bool in_vain;

static void *reader_that_stays(void *arg)
{
	u32 reader, waits = 0;

	hosted_cpu_set(8);
	reader = srcu_read_lock(&vm.srcu);
	__atomic_store_n(&reader_in, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&all_made, __ATOMIC_SEQ_CST) && waits++ < 20000)
		usleep(1000);
	in_vain = !__atomic_load_n(&all_made, __ATOMIC_SEQ_CST);
	srcu_read_unlock(&vm.srcu, reader);
	return NULL;
}

/* Nobody waits for a grace period to free an array: one is enough for all of them. */
static void many_arrays_to_one_grace_period(void **state)
{
	struct gmem *g = object_new(1);
	u64 before = vm.srcu.grace_periods;
	pthread_t thread;

	reader_in = all_made = false;
	pthread_create(&thread, NULL, reader_that_stays, NULL);
	while (!__atomic_load_n(&reader_in, __ATOMIC_SEQ_CST))
		usleep(100);
	for (u32 i = 0; i < CHANGES; i++)
		assert_int_equal(memslot_create(&vm, i, GFN(i), 1, g, 0, 0), 0);
	assert_int_equal(vm.srcu.grace_periods, before);
	__atomic_store_n(&all_made, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	assert_false(in_vain);
	grace();
	assert_true(vm.srcu.grace_periods - before < CHANGES / 2);
	gmem_unref(g);
}

static u64 met;
static bool gone_on; /* atomic */

static void *waiter_for_change(void *arg)
{
	memslots_wait_change(&vm, met);
	__atomic_store_n(&gone_on, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static bool anybody_waits(void)
{
	bool irqs = wait_lock(&vm.slots_wait), waits = !list_empty(&vm.slots_wait.waiters);

	wait_unlock(&vm.slots_wait, irqs);
	return waits;
}

/*
 * A change publishes its array before its generation: who meets the INVALID slot in between does not
 * go round and round until the one who makes the change has its CPU again.
 */
static void waits_for_what_follows_an_array(void **state)
{
	struct gmem *g = object_new(1);
	pthread_t thread;

	gone_on = false;
	met = vm.slots_generation + 1;
	pthread_create(&thread, NULL, waiter_for_change, NULL);
	while (!anybody_waits() && !__atomic_load_n(&gone_on, __ATOMIC_SEQ_CST))
		usleep(100);
	assert_false(__atomic_load_n(&gone_on, __ATOMIC_SEQ_CST));
	assert_int_equal(memslot_create(&vm, 1, GFN(1), 1, g, 0, 0), 0);
	pthread_join(thread, NULL);
	assert_true(vm.slots_generation > met);
	gmem_unref(g);
}

/* --- no memory --- */

static void nothing_changes_without_memory(void **state)
{
	struct gmem *g = object_new(4);
	u64 free;

	/* Enough slots that arrays are large and come from the frames. */
	for (u32 i = 0; i < 100; i++)
		assert_int_equal(memslot_create(&vm, i, GFN(i * 10), 4, g, 0, 0), 0);
	assert_int_equal(touch(&vcpu, GPA(50 << 12), MMU_READ), 0);
	for (u32 what = 0; what < 3; what++) {
		u32 n;

		free = frames_free();
		for (n = 1;; n++) {
			const struct memslots *before = vm.slots;
			int err;

			hosted_fail_after(n);
			err = what == 0	  ? memslot_create(&vm, 500, GFN(5000), 4, g, 0, 0)
			      : what == 1 ? memslot_move(&vm, 500, GFN(6000))
					  : memslot_delete(&vm, 500);
			if (!hosted_fail_happened()) {
				assert_int_equal(err, 0);
				break;
			}
			assert_int_equal(err, ERR_NOMEM);
			assert_ptr_equal(vm.slots, before);
			assert_int_equal(frames_free(), free);
			assert_int_not_equal(ept_walk(&vm, GPA(50 << 12)), 0);
		}
		hosted_fail_after(0);
		assert_true(n > (what == 0 ? 1 : 2)); /* one array, or two */
	}
	gmem_unref(g);
}

/*
 * R31. What a vCPU remembers is the number of the slot that it used last; whether a slot is there it
 * looks up each time.
 */
static void a_gfn_that_was_a_devices(void **state)
{
	struct gmem *g = object_new(40);

	assert_int_equal(memslot_create(&vm, 1, GFN(100), 10, g, 0, 0), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(200), 10, g, 10, 0), 0);
	for (u32 i = 0; i < 3; i++) {
		assert_int_equal(touch(&vcpu, GPA(200 << 12), MMU_READ), 0);
		assert_int_equal(touch(&vcpu, GPA(50 << 12), MMU_WRITE), ERR_NOSLOT);
		assert_int_equal(touch(&vcpu, GPA(150 << 12), MMU_READ), ERR_NOSLOT);
		assert_int_equal(touch(&vcpu, GPA(150 << 12), MMU_READ), ERR_NOSLOT);
		/* Slots before and behind the one it used last. */
		assert_int_equal(memslot_create(&vm, 3, GFN(45), 10, g, 20, 0), 0);
		assert_int_equal(memslot_create(&vm, 4, GFN(150), 1, g, 30, 0), 0);
		assert_int_equal(touch(&vcpu, GPA(150 << 12), MMU_READ), 0);
		assert_int_equal(touch(&vcpu, GPA(50 << 12), MMU_WRITE), 0);
		assert_int_equal(EPT_PFN(ept_walk(&vm, GPA(50 << 12))),
				 gmem_entry_pfn(gmem_entry(g, 25)).v);
		/* And a device's again. */
		assert_int_equal(memslot_delete(&vm, 3), 0);
		assert_int_equal(memslot_delete(&vm, 4), 0);
	}
	gmem_unref(g);
}

static void read_array(void *arg)
{
	memslots_get(&vm);
}

static void change_array(void *arg)
{
	slots_current(&vm);
}

/* R27 */
static void array_is_for_readers(void **state)
{
	u32 reader = srcu_read_lock(&vm.srcu);

	assert_false(hosted_catch_panic(read_array, NULL));
	srcu_read_unlock(&vm.srcu, reader);
	assert_true(hosted_catch_panic(read_array, NULL));
	assert_true(hosted_catch_panic(change_array, NULL));
	mutex_lock(&vm.slots_lock);
	assert_false(hosted_catch_panic(read_array, NULL));
	assert_false(hosted_catch_panic(change_array, NULL));
	mutex_unlock(&vm.slots_lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(a_gfn_that_was_a_devices, setup, teardown),
		cmocka_unit_test_setup_teardown(random_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(as_many_as_there_may_be, setup, teardown),
		cmocka_unit_test_setup_teardown(deleting_takes_two_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(moving_takes_two_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(many_arrays_to_one_grace_period, setup, teardown),
		cmocka_unit_test_setup_teardown(waits_for_what_follows_an_array, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_changes_without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(array_is_for_readers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
