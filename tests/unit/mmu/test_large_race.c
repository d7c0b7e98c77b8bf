/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-libs: -Wl,--wrap=gmem_large -Wl,--wrap=mmu_drop_large */
/* What others do while a fault is about to map 2 MiB: the linker puts the test into that moment. */
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE 0x400

static struct gmem *ram;
static struct mmu_vcpu second;

/* Hooks: each is called once. */

static void (*after_gmem_large)(void);
static void (*after_drop)(void);
static bool never_large;

bool __real_gmem_large(struct gmem *g, u64 index, pfn_t *out);
bool __wrap_gmem_large(struct gmem *g, u64 index, pfn_t *out);
bool __real_mmu_drop_large(struct mmu_vm *m, const struct memslot *s, gfn_t gfn);
bool __wrap_mmu_drop_large(struct mmu_vm *m, const struct memslot *s, gfn_t gfn);

static void call_once(void (**hook)(void))
{
	void (*fn)(void) = *hook;

	*hook = NULL;
	if (fn)
		fn();
}

bool __wrap_gmem_large(struct gmem *g, u64 index, pfn_t *out)
{
	bool is = !never_large && __real_gmem_large(g, index, out);

	call_once(&after_gmem_large);
	return is;
}

bool __wrap_mmu_drop_large(struct mmu_vm *m, const struct memslot *s, gfn_t gfn)
{
	bool was = __real_mmu_drop_large(m, s, gfn);

	call_once(&after_drop);
	return was;
}

static int setup(void **state)
{
	fixture_start(MIB(32));
	mmu_vcpu_init(&second, &vm);
	assert_int_equal(mmu_vcpu_topup(&second), 0);
	ram = object_lucky();
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), 512, ram, 0, 0), 0);
	assert_int_equal(rmap_prepare(slot_of(BASE), GFN(BASE)), 0);
	never_large = false;
	return 0;
}

static int teardown(void **state)
{
	assert_false(after_gmem_large || after_drop);
	check_audit();
	mmu_vcpu_destroy(&second);
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static pthread_t protector;

static void *protect(void *arg)
{
	u64 done;

	hosted_cpu_set(9);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, true, &done), 0);
	return NULL;
}

/* On another CPU, for it returns only when the reader that this fault is in has left. */
static void protect_one(void)
{
	assert_int_equal(pthread_create(&protector, NULL, protect, NULL), 0);
	while ((__atomic_load_n(word_of(BASE + 3), __ATOMIC_SEQ_CST) &
		(RMAP_PROTECTED | RMAP_LOCKED)) != RMAP_PROTECTED)
		sched_yield();
}

static void a_page_is_protected_before_the_link(void **state)
{
	after_gmem_large = protect_one;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 3), MMU_READ), 0);
	pthread_join(protector, NULL);
	assert_false(is_large(BASE + 3));
	assert_int_equal(ept_walk(&vm, PAGE(BASE + 3)) & EPT_W, 0);
}

static void map_small(void)
{
	never_large = true;
	assert_int_equal(fault(&second, PAGE(BASE + 5), MMU_READ), 0);
	never_large = false;
}

static void a_table_comes_before_the_link(void **state)
{
	after_gmem_large = map_small;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 3), MMU_WRITE), 0);
	assert_false(is_large(BASE + 3));
	assert_true(is_mapped(BASE + 3) && is_mapped(BASE + 5));
	assert_true(rmap_empty(large_word_of(BASE)));
}

/* On another CPU, for on this one interrupts are off. */
static void *take(void *arg)
{
	hosted_cpu_set(9);
	assert_int_equal(gmem_drop(ram, 7), 0);
	return NULL;
}

static void take_a_page(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, take, NULL);
	pthread_join(thread, NULL);
}

/* R08 for 2 MiB. */
static void a_page_is_taken_before_the_link(void **state)
{
	after_gmem_large = take_a_page;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 3), MMU_READ), ERR_AGAIN);
	assert_false(is_mapped(BASE + 3));
	assert_true(rmap_empty(large_word_of(BASE)));
}

/* R07: what is mapped large without the right is in the way of the page that has it. */
static void map_large_read_only(void)
{
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_READONLY), 0);
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_int_equal(memslot_set_flags(&vm, 1, 0), 0);
	assert_true(is_large(BASE));
	assert_int_equal(ept_walk(&vm, PAGE(BASE)) & EPT_RWX, EPT_R | EPT_X);
}

static void a_large_mapping_gives_way_to_a_write(void **state)
{
	map_large_read_only();
	never_large = true;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 9), MMU_WRITE), 0);
	assert_false(is_large(BASE + 9));
	assert_int_equal(ept_walk(&vm, PAGE(BASE + 9)) & EPT_RWX, EPT_RWX);
	assert_int_equal(STAT(unmapped_large), 1);
	assert_int_equal(STAT(flushes), 1);
}

static void map_large_again(void)
{
	never_large = false;
	assert_int_equal(fault(&second, PAGE(BASE), MMU_READ), 0);
	assert_true(is_large(BASE));
}

/* Another brings it back at once: that is a race like any other. */
static void a_large_mapping_comes_back(void **state)
{
	map_large_read_only();
	never_large = true;
	after_drop = map_large_again;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 9), MMU_WRITE), ERR_AGAIN);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 9), MMU_WRITE), 0);
	assert_true(ept_walk(&vm, PAGE(BASE + 9)) & EPT_W);
}

/* R08: the page was looked up before, and has gone when the large mapping is out of its way. */
static void a_page_is_taken_while_its_large_mapping_goes(void **state)
{
	map_large_read_only();
	never_large = true;
	after_drop = take_a_page;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 7), MMU_WRITE), ERR_AGAIN);
	assert_false(is_mapped(BASE + 7));
	assert_true(rmap_empty(word_of(BASE + 7)));
}

/* R26: what the guest protected moves with the slot, and is part of no large mapping there either. */
static void a_protected_page_moves(void **state)
{
	u64 done;

	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, true, &done), 0);
	assert_int_equal(memslot_move(&vm, 1, GFN(2 * BASE)), 0);
	assert_int_equal(touch(&vcpu, PAGE(2 * BASE + 5), MMU_WRITE), 0);
	assert_false(is_large(2 * BASE + 5));
	assert_int_equal(touch(&vcpu, PAGE(2 * BASE + 3), MMU_WRITE), ERR_PERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_page_is_protected_before_the_link, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_table_comes_before_the_link, setup, teardown),
		cmocka_unit_test_setup_teardown(a_page_is_taken_before_the_link, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_mapping_gives_way_to_a_write, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_large_mapping_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_protected_page_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(a_page_is_taken_while_its_large_mapping_goes, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
