/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-libs: -Wl,--wrap=memslots_get */
/* Slots that come and move after an audit has taken the array: no complaint of what is right. */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x143
#define PAGES 64

static struct gmem *ram;
static struct mmu_vcpu second;
static void (*after_get)(void); /* once, by the thread that set it */

const struct memslots *__real_memslots_get(struct mmu_vm *m);
const struct memslots *__wrap_memslots_get(struct mmu_vm *m);

const struct memslots *__wrap_memslots_get(struct mmu_vm *m)
{
	const struct memslots *slots = __real_memslots_get(m);
	void (*fn)(void) = cpu_id() == 0 ? after_get : NULL;

	if (fn) {
		after_get = NULL;
		fn();
	}
	return slots;
}

static int setup(void **state)
{
	fixture_start(MIB(16));
	mmu_vcpu_init(&second, &vm);
	assert_int_equal(mmu_vcpu_topup(&second), 0);
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	for (u64 i = 0; i < 5; i++)
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_WRITE), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_null(after_get);
	check_audit();
	mmu_vcpu_destroy(&second);
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static void *create(void *arg)
{
	hosted_cpu_set(9);
	assert_int_equal(memslot_create(&vm, 2, GFN(0x3000), PAGES, ram, 0, 0), 0);
	assert_int_equal(touch(&second, PAGE(0x3000 + 9), MMU_WRITE), 0);
	return NULL;
}

static void create_elsewhere(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, create, NULL);
	pthread_join(thread, NULL);
}

static void a_slot_comes(void **state)
{
	after_get = create_elsewhere;
	assert_null(mmu_audit(&vm));
	assert_true(is_mapped(0x3000 + 9));
}

/* --- a slot that was INVALID when the array was taken, and is elsewhere when it is compared --- */

static u32 reader; /* that holds the mover off */
static bool moved; /* atomic */

static void *move(void *arg)
{
	hosted_cpu_set(9);
	assert_int_equal(memslot_move(&vm, 1, GFN(0x3001)), 0);
	assert_int_equal(touch(&second, PAGE(0x3001 + 2), MMU_WRITE), 0);
	__atomic_store_n(&moved, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* The audit is a reader that came after the grace period began: it need not be waited for. */
static void let_it_move(void)
{
	srcu_read_unlock(&vm.srcu, reader);
	for (u32 i = 0; i < 2000 && !__atomic_load_n(&moved, __ATOMIC_SEQ_CST); i++)
		usleep(1000);
}

static void a_slot_moves(void **state)
{
	const struct memslots *before = vm.slots;
	pthread_t mover;

	moved = false;
	reader = srcu_read_lock(&vm.srcu);
	pthread_create(&mover, NULL, move, NULL);
	while (__atomic_load_n(&vm.slots, __ATOMIC_ACQUIRE) == before)
		usleep(1000);
	usleep(30000); /* it waits for us by now */
	after_get = let_it_move;
	assert_null(mmu_audit(&vm));
	pthread_join(mover, NULL);
	assert_true(is_mapped(0x3001 + 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_slot_comes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slot_moves, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
