/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c
 *	tests/unit/mmu/after_pin.c
 */
/* unit-libs: -Wl,--wrap=gmem_pin -Wl,--wrap=mmu_fault_slow */
/* Pages that the guest protects from writers; and what a guest's calls meet on their way. */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "smp/thread.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/after_pin.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x143
#define PAGES 600

static struct gmem *ram;
static u64 done;
static u32 lost_faults; /* so many calls of mmu_fault_slow do nothing, as if they lost a race */

int __real_mmu_fault_slow(struct mmu_vcpu *v, gpa_t gpa, u32 access);
int __wrap_mmu_fault_slow(struct mmu_vcpu *v, gpa_t gpa, u32 access);

int __wrap_mmu_fault_slow(struct mmu_vcpu *v, gpa_t gpa, u32 access)
{
	if (lost_faults) {
		lost_faults--;
		return 0;
	}
	return __real_mmu_fault_slow(v, gpa, access);
}

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	lost_faults = 0;
	return 0;
}

static int teardown(void **state)
{
	assert_null(after_pin);
	check_audit();
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static void protect(u64 i, u64 pages, bool on)
{
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + i), pages, on, &done), 0);
	assert_int_equal(done, pages);
}

static u64 rights(u64 i)
{
	return ept_walk(&vm, PAGE(BASE + i)) & EPT_RWX;
}

static void writes_are_refused(void **state)
{
	pfn_t pfn;

	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0); /* mapped */
	assert_int_equal(gmem_get_page(ram, 1, true, &pfn), 0); /* resident; and one that is not */
	protect(0, 3, true);
	for (u64 i = 0; i < 3; i++) {
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_WRITE), ERR_PERM);
		assert_int_equal(rights(i), i ? 0 : EPT_R | EPT_X);
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_READ), 0);
		assert_int_equal(rights(i), EPT_R | EPT_X);
		assert_int_equal(fault(&vcpu, PAGE(BASE + i), MMU_WRITE), ERR_PERM);
		assert_int_equal(mmu_fault_slow(&vcpu, PAGE(BASE + i), MMU_WRITE), ERR_PERM);
	}
	assert_int_equal(STAT(faults_protected), 9);
	assert_int_equal(STAT(write_protected), 1);
	assert_int_equal(STAT(flushes), 1);
	protect(0, 3, false);
	assert_int_equal(rights(1), EPT_R | EPT_X);
	assert_int_equal(fault(&vcpu, PAGE(BASE + 1), MMU_WRITE), 0);
	assert_int_equal(rights(1), EPT_RWX);
	assert_int_equal(STAT(flushes), 1);
}

/* Weir's own accesses are writers, too. */
static void weir_is_refused(void **state)
{
	u64 value = 7, old = 0;

	assert_int_equal(gpa_write(&vm, PAGE(BASE + 1), &value, 8), 0);
	protect(1, 1, true);
	value = 8;
	assert_int_equal(gpa_write(&vm, PAGE(BASE + 1), &value, 8), ERR_PERM);
	assert_int_equal(gpa_cmpxchg(&vm, PAGE(BASE + 1), 8, &old, 9), ERR_PERM);
	assert_int_equal(gpa_zero(&vm, PAGE(BASE + 1), 8), ERR_PERM);
	assert_int_equal(gpa_zero(&vm, PAGE(BASE), 2 * PAGE_SIZE), ERR_PERM);
	assert_int_equal(gpa_write(&vm, GPA(((BASE + 1) << 12) - 4), &value, 8), ERR_PERM);
	assert_int_equal(gpa_read(&vm, PAGE(BASE + 1), &value, 8), 0);
	assert_int_equal(value, 7);
	assert_int_equal(ram->pins, 0);
}

static void only_through_this_slot(void **state)
{
	assert_int_equal(memslot_create(&vm, 2, GFN(0x3000), PAGES, ram, 0, 0), 0);
	protect(4, 1, true);
	assert_int_equal(touch(&vcpu, PAGE(0x3000 + 4), MMU_WRITE), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 4), MMU_WRITE), ERR_PERM);
	/* A new slot knows nothing of the marks of one that was there before. */
	assert_int_equal(memslot_delete(&vm, 1), 0);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 4), MMU_WRITE), 0);
}

/* Nothing that was asked for in vain is left over. */
static void a_refused_get_pins_nothing(void **state)
{
	protect(2, 1, true);
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 5, true, true, &done), ERR_PERM);
	assert_int_equal(done, 2);
	assert_int_equal(ram->pins, 2);
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE + 2), 1, true, false, &done), ERR_PERM);
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE + 2), 1, false, true, &done), 0);
	assert_int_equal(ram->pins, 3);
}

static void no_memory_for_the_marks(void **state)
{
	u64 free = frames_free();

	/* The pages are in two regions, and their marks in two pages of words: the first, then both. */
	for (u32 n = 1; n <= 2; n++) {
		hosted_fail_after(1);
		assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 100), 500, true, &done),
				 ERR_NOMEM);
		assert_true(hosted_fail_happened());
		hosted_fail_after(0);
		assert_int_equal(done, n == 1 ? 0 : 0x200 - (BASE + 100));
		assert_int_equal(touch(&vcpu, PAGE(BASE + 99), MMU_WRITE), 0);
		check_audit();
	}
	assert_true(frames_free() < free);
	protect(100, 500, true);
	assert_int_equal(small_count(BASE + 100), 0x200 - (BASE + 100));
	assert_int_equal(small_count(0x200), 500 - (0x200 - (BASE + 100)));
	protect(0, 512, false);
	protect(512, 88, false);
}

/* --- races --- */

static struct mmu_vcpu second;

static void pin_too(void)
{
	u64 n;

	assert_int_equal(mmu_range_get(&second, GFN(BASE), 1, true, true, &n), 0);
}

/* R34 for pins: one wins, and no second one is left over. */
static void two_pin_at_once(void **state)
{
	mmu_vcpu_init(&second, &vm);
	after_pin = pin_too;
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 1, true, true, &done), 0);
	assert_int_equal(ram->pins, 1);
	assert_int_equal(mmu_range_unpin(&vm, GFN(BASE), 1, &done), 0);
	assert_int_equal(ram->pins, 0);
	mmu_vcpu_destroy(&second);
}

static pthread_t deleter;

static void *delete (void *arg)
{
	hosted_cpu_set(9);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	return NULL;
}

static void begin_to_delete(void)
{
	u64 before = vm.slots_generation;

	pthread_create(&deleter, NULL, delete, NULL);
	while (__atomic_load_n(&vm.slots_generation, __ATOMIC_SEQ_CST) == before)
		usleep(100);
}

/* R26: pins go when nobody can make one any more. */
static void a_slot_goes_amid_a_pin(void **state)
{
	int err;

	after_pin = begin_to_delete;
	err = mmu_range_get(&vcpu, GFN(BASE), 1, true, true, &done);
	pthread_join(deleter, NULL);
	assert_true(err == 0 || err == ERR_NOSLOT);
	assert_int_equal(ram->pins, 0);
}

static void races_that_are_lost(void **state)
{
	lost_faults = 7;
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 1, true, false, &done), 0);
	assert_int_equal(lost_faults, 0);
	lost_faults = 1000;
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE + 1), 1, true, false, &done), ERR_AGAIN);
	assert_int_equal(lost_faults, 1000 - 8);
	assert_int_equal(done, 0);
}

/* R23: a slot on its way out is no device. */
static void a_slot_on_its_way_out(void **state)
{
	struct memslot *s = (struct memslot *)slot_of(BASE);
	struct mmu_page_state page;

	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	s->flags |= MEMSLOT_INVALID;
	assert_int_equal(mmu_range_get(&vcpu, GFN(BASE), 1, true, true, &done), ERR_AGAIN);
	assert_int_equal(mmu_range_unpin(&vm, GFN(BASE), 1, &done), ERR_AGAIN);
	assert_int_equal(mmu_range_drop(&vm, GFN(BASE), 1, &done), ERR_AGAIN);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE), 1, true, &done), ERR_AGAIN);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE), 1, false, &done), ERR_AGAIN);
	assert_int_equal(mmu_page_state(&vm, GFN(BASE), &page), ERR_AGAIN);
	assert_int_equal(done, 0);
	assert_int_equal(ram->pins, 0);
	s->flags &= ~(u32)MEMSLOT_INVALID;
	assert_int_equal(rights(0), EPT_RWX);
}

static u32 writer_in, writer_out; /* atomic */

/* One of Weir's own writes, which has looked at the protection already. */
static void slow_writer(void *arg)
{
	u32 reader = srcu_read_lock(&vm.srcu);

	__atomic_store_n(&writer_in, 1, __ATOMIC_SEQ_CST);
	usleep(30000);
	__atomic_store_n(&writer_out, 1, __ATOMIC_SEQ_CST);
	srcu_read_unlock(&vm.srcu, reader);
}

static void a_write_under_way_lands_before(void **state)
{
	struct thread *t;

	assert_int_equal(thread_create(&t, "writer", slow_writer, NULL, 1), 0);
	while (!__atomic_load_n(&writer_in, __ATOMIC_SEQ_CST))
		usleep(100);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE), 1, true, &done), 0);
	assert_int_equal(__atomic_load_n(&writer_out, __ATOMIC_SEQ_CST), 1);
	thread_join(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writes_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(weir_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_write_under_way_lands_before, setup, teardown),
		cmocka_unit_test_setup_teardown(only_through_this_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_get_pins_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory_for_the_marks, setup, teardown),
		cmocka_unit_test_setup_teardown(two_pin_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slot_goes_amid_a_pin, setup, teardown),
		cmocka_unit_test_setup_teardown(races_that_are_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slot_on_its_way_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
