/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/after_lookup.c */
/* unit-libs: -Wl,--wrap=gmem_lookup -Wl,--wrap=gmem_lookup_to_map */
/*
 * R23, R24: what meets a slot that is INVALID, for it moves, with its page still in it. Weir's own
 * accesses and faults sleep until the move is complete, outside the reader that it waits for, and
 * then find the page; what a guest asks for is refused, to be asked for again. Nobody takes the page
 * for a device's.
 */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mmu/fetch.h"
#include "mmu/gpa_pin.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/after_lookup.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define SLOT	 2
#define BASE	 0x800ull
#define PAGES	 16u
#define PAGE	 (BASE + 5) /* in the slot before its move and after it */
#define AT	 GPA(PAGE << PAGE_SHIFT)
#define GUEST_VA (9ull << PAGE_SHIFT)
#define LONG	 100000u /* times 100 us: nobody sleeps */

static struct gmem *moved;
static bool done; /* atomic */
static int result;

static int start_kind(enum mmu_kind kind)
{
	if (kind == MMU_SHADOW)
		shadow_guest_start(MIB(16), 64);
	else
		fixture_start(MIB(16));
	moved = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, SLOT, GFN(BASE), PAGES, moved, 0, 0), 0);
	return 0;
}

static int start(void **state)
{
	return start_kind(MMU_EPT);
}

static int start_shadow(void **state)
{
	return start_kind(MMU_SHADOW);
}

static int finish(void **state)
{
	gmem_unref(moved);
	if (vm.shadow)
		return shadow_guest_end(state);
	assert_null(mmu_audit(&vm));
	fixture_end();
	return 0;
}

static void *move(void *arg)
{
	hosted_cpu_set(7);
	assert_int_equal(memslot_move(&vm, SLOT, GFN(BASE + 1)), 0);
	return NULL;
}

static void *delete (void *arg)
{
	hosted_cpu_set(7);
	assert_int_equal(memslot_delete(&vm, SLOT), 0);
	return NULL;
}

/* A change that waits for this thread's reader, which it returns. */
static u32 begin(pthread_t *changer, void *(*change)(void *))
{
	u32 reader = srcu_read_lock(&vm.srcu);
	u64 before = memslots_get(&vm)->generation;

	pthread_create(changer, NULL, change, NULL);
	while (memslots_get(&vm)->generation == before)
		usleep(100);
	return reader;
}

static u32 begin_move(pthread_t *mover)
{
	return begin(mover, move);
}

static void end(pthread_t mover, u32 reader)
{
	srcu_read_unlock(&vm.srcu, reader);
	pthread_join(mover, NULL);
}

static void *act(void *arg)
{
	hosted_cpu_set(8);
	result = ((int (*)(void))arg)();
	__atomic_store_n(&done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static bool somebody_waits(void)
{
	bool irqs = wait_lock(&vm.slots_wait), waits = !list_empty(&vm.slots_wait.waiters);

	wait_unlock(&vm.slots_wait, irqs);
	return waits;
}

static void waits_and_succeeds(int (*what)(void))
{
	pthread_t mover, actor;
	u32 reader = begin_move(&mover);
	bool waits = false;

	done = false;
	pthread_create(&actor, NULL, act, (void *)what);
	for (u32 n = 0; n < LONG && !waits && !__atomic_load_n(&done, __ATOMIC_SEQ_CST); n++) {
		usleep(100);
		waits = somebody_waits();
	}
	end(mover, reader);
	pthread_join(actor, NULL);
	assert_int_equal(result, 0);
	assert_true(waits);
	assert_int_equal(memslot_move(&vm, SLOT, GFN(BASE)), 0);
}

/* --- Weir's own accesses --- */

static int read_it(void)
{
	u64 word;

	return gpa_read(&vm, AT, &word, sizeof(word));
}

static int write_it(void)
{
	u64 word = 1;

	return gpa_write(&vm, AT, &word, sizeof(word));
}

static int zero_it(void)
{
	return gpa_zero(&vm, AT, sizeof(u64));
}

static int exchange_it(void)
{
	u64 old = 0;

	return gpa_cmpxchg(&vm, AT, sizeof(old), &old, 0);
}

static int pin_it(void)
{
	struct gpa_pin *p;
	int err = gpa_pin(&vm, AT, &p);

	gpa_unpin(p);
	return err;
}

static void accesses(void **state)
{
	waits_and_succeeds(read_it);
	waits_and_succeeds(write_it);
	waits_and_succeeds(zero_it);
	waits_and_succeeds(exchange_it);
	waits_and_succeeds(pin_it);
}

/* --- Faults --- */

static int fault_slow(void)
{
	return mmu_fault_slow(&vcpu, AT, MMU_WRITE);
}

static void a_fault(void **state)
{
	waits_and_succeeds(fault_slow);
	assert_int_equal(touch(&vcpu, AT, MMU_WRITE), 0);
}

static int fault_in_shadow(void)
{
	struct shadow_answer answer;

	return mmu_shadow_fault(&vcpu, &paging, GVA(GUEST_VA), MMU_WRITE, &answer);
}

static void a_fault_with_shadow_paging(void **state)
{
	entry(4, 9, PAGE, MARKED);
	load();
	waits_and_succeeds(fault_in_shadow);
	assert_int_equal(shadow_access(GUEST_VA, MMU_WRITE, NULL), 0);
}

static int load_root(void)
{
	int err = mmu_shadow_load(&vcpu, &paging);

	return err || vcpu.shadow.root[0]->word ? err : ERR_NOSLOT;
}

static void a_root_of_shadow_paging(void **state)
{
	entry(PAGE, 0, 2, MARKED);
	paging.cr3 = PAGE << PAGE_SHIFT;
	waits_and_succeeds(load_root);
}

/* --- What does not wait --- */

/* How many of them answer otherwise than they should. */
static int of_guest_calls(void)
{
	struct mmu_page_state s;
	u64 n;

	return (mmu_range_get(&vcpu, GFN(PAGE), 1, true, true, &n) != ERR_AGAIN) +
	       (mmu_range_unpin(&vm, GFN(PAGE), 1, &n) != ERR_AGAIN) +
	       (mmu_range_drop(&vm, GFN(PAGE), 1, &n) != ERR_AGAIN) +
	       (mmu_range_protect(&vm, GFN(PAGE), 1, true, &n) != ERR_AGAIN) +
	       (mmu_page_state(&vm, GFN(PAGE), &s) != ERR_AGAIN);
}

static int of_exits(void)
{
	struct fetch_code code = {.linear = AT.v};
	u64 words[FETCH_WORDS];

	return (fault(&vcpu, AT, MMU_WRITE) != ERR_TOO_HARD) +
	       (fetch_instruction(&vcpu, &code, words) != NULL) + mmu_is_protected(&vm, AT);
}

static void calls_and_exits(void **state)
{
	pthread_t mover, actor;
	u32 reader = begin_move(&mover);
	int wrong;

	pthread_create(&actor, NULL, act, (void *)of_guest_calls);
	pthread_join(actor, NULL);
	wrong = result;
	pthread_create(&actor, NULL, act, (void *)of_exits);
	pthread_join(actor, NULL);
	end(mover, reader);
	assert_int_equal(wrong + result, 0);
	assert_int_equal(touch(&vcpu, AT, MMU_WRITE), 0);
}

/* The slot of a table goes after the walk: the data's is there all the while. */
static pthread_t later_mover;
static u64 before_it;

static void begin_move_later(void)
{
	pthread_create(&later_mover, NULL, move, NULL);
	while (__atomic_load_n(&vm.slots_generation, __ATOMIC_SEQ_CST) == before_it)
		usleep(100);
}

static void a_table_of_shadow_paging(void **state)
{
	entry(3, 1, PAGE, MARKED);
	entry(PAGE, 9, 40, MARKED);
	entry(40, 0, 0, 0); /* resident */
	load();
	before_it = vm.slots_generation;
	after_index = 40;
	after_lookup = begin_move_later;
	result = mmu_shadow_fault(&vcpu, &paging, GVA(MIB(2) + GUEST_VA), MMU_WRITE,
				  &(struct shadow_answer){0});
	assert_null(after_lookup);
	pthread_join(later_mover, NULL);
	assert_int_equal(result, 0);
}

/* --- Who takes pages meanwhile --- */

static int drop_it(void)
{
	return gmem_drop(moved, PAGE - BASE);
}

/* What the slot maps is mapped until who changes it comes by: mem/ is answered until then. */
static void a_page_is_taken_before_its_slot(void *(*change)(void *))
{
	pthread_t changer, actor;
	bool gone;
	u32 reader;

	assert_int_equal(touch(&vcpu, AT, MMU_WRITE), 0);
	reader = begin(&changer, change);
	pthread_create(&actor, NULL, act, (void *)drop_it);
	pthread_join(actor, NULL);
	gone = !ept_walk(&vm, AT);
	end(changer, reader);
	assert_int_equal(result, 0);
	assert_true(gone);
}

static void a_page_of_a_slot_that_moves(void **state)
{
	a_page_is_taken_before_its_slot(move);
}

static void a_page_of_a_slot_that_goes(void **state)
{
	a_page_is_taken_before_its_slot(delete);
}

/* --- Readers that come late --- */

static bool is_in, may_leave; /* atomic */
static bool found;

static void *read_late(void *arg)
{
	u32 reader;

	hosted_cpu_set(9);
	reader = srcu_read_lock(&vm.srcu);
	found = memslot_find(memslots_get(&vm), GFN(PAGE)) != NULL;
	__atomic_store_n(&is_in, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&may_leave, __ATOMIC_SEQ_CST))
		usleep(100);
	srcu_read_unlock(&vm.srcu, reader);
	return NULL;
}

/*
 * R29, R33: for one grace period the change waits itself, to sweep. Who comes after it and finds the
 * INVALID slot may look at its object until another has passed.
 */
static void the_object_stays_for_who_comes_late(void **state)
{
	pthread_t changer, late;
	u32 reader, refs;

	is_in = may_leave = false;
	reader = begin(&changer, delete);
	/* Who reads from here on is of the other pair, and not waited for. */
	while (!__atomic_load_n(&vm.srcu.flipped, __ATOMIC_SEQ_CST))
		usleep(100);
	pthread_create(&late, NULL, read_late, NULL);
	while (!__atomic_load_n(&is_in, __ATOMIC_SEQ_CST))
		usleep(100);
	end(changer, reader);
	refs = moved->refs;
	__atomic_store_n(&may_leave, true, __ATOMIC_SEQ_CST);
	pthread_join(late, NULL);
	assert_true(found);
	assert_int_equal(refs, 2);
	grace();
	assert_int_equal(moved->refs, 1);
}

/* --- R24 --- */

static void wait_here(void *arg)
{
	memslots_wait_change(&vm, 0);
}

/* Who changes the slots would wait for it, and it for them. */
static void nobody_waits_in_a_reader(void **state)
{
	u32 reader;

	assert_false(hosted_catch_panic(wait_here, NULL));
	reader = srcu_read_lock(&vm.srcu);
	assert_true(hosted_catch_panic(wait_here, NULL));
	srcu_read_unlock(&vm.srcu, reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(accesses, start, finish),
		cmocka_unit_test_setup_teardown(a_fault, start, finish),
		cmocka_unit_test_setup_teardown(a_fault_with_shadow_paging, start_shadow, finish),
		cmocka_unit_test_setup_teardown(a_root_of_shadow_paging, start_shadow, finish),
		cmocka_unit_test_setup_teardown(a_table_of_shadow_paging, start_shadow, finish),
		cmocka_unit_test_setup_teardown(calls_and_exits, start, finish),
		cmocka_unit_test_setup_teardown(a_page_of_a_slot_that_moves, start, finish),
		cmocka_unit_test_setup_teardown(a_page_of_a_slot_that_goes, start, finish),
		cmocka_unit_test_setup_teardown(the_object_stays_for_who_comes_late, start, finish),
		cmocka_unit_test_setup_teardown(nobody_waits_in_a_reader, start, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
