/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-libs: -Wl,--wrap=gmem_lookup_to_map -Wl,--wrap=slot_maps_free */
/* Flags that change under live mappings; and what comes to slots on their way out. */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x100
#define PAGES 64

static struct gmem *ram;
static void (*after_lookup)(void);    /* once, after a lookup that finds a page */
static void (*after_maps_free)(void); /* once */

int __real_gmem_lookup_to_map(struct gmem *g, u64 index, bool write, bool may_write, pfn_t *out);
int __wrap_gmem_lookup_to_map(struct gmem *g, u64 index, bool write, bool may_write, pfn_t *out);
void __real_slot_maps_free(struct slot_maps *m);
void __wrap_slot_maps_free(struct slot_maps *m);

int __wrap_gmem_lookup_to_map(struct gmem *g, u64 index, bool write, bool may_write, pfn_t *out)
{
	int found = __real_gmem_lookup_to_map(g, index, write, may_write, out);
	void (*fn)(void) = after_lookup;

	if (found >= 0 && fn) {
		after_lookup = NULL;
		fn();
	}
	return found;
}

void __wrap_slot_maps_free(struct slot_maps *m)
{
	void (*fn)(void) = after_maps_free;

	__real_slot_maps_free(m);
	after_maps_free = NULL;
	if (fn)
		fn();
}

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	for (u64 i = 0; i < 8; i++)
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_WRITE), 0);
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	gmem_unref(ram);
	fixture_end();
	assert_false(after_lookup || after_maps_free);
	return 0;
}

static u64 rights(u64 gfn)
{
	return ept_walk(&vm, PAGE(gfn)) & EPT_RWX;
}

static void refusals(void **state)
{
	static const u32 flags[] = {MEMSLOT_INVALID, MEMSLOT_PRIVATE, BIT(5), ~0u,
				    MEMSLOT_READONLY | MEMSLOT_PRIVATE};
	const struct memslots *before = vm.slots;
	u64 generation = before->generation;

	for (u32 i = 0; i < ARRAY_SIZE(flags); i++)
		assert_int_equal(memslot_set_flags(&vm, 1, flags[i]), ERR_INVAL);
	assert_int_equal(memslot_set_flags(&vm, 2, 0), ERR_NOENT);
	assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_READONLY), ERR_NOENT);
	/* What is so already changes nothing. */
	assert_int_equal(memslot_set_flags(&vm, 1, 0), 0);
	assert_ptr_equal(vm.slots, before);
	assert_int_equal(vm.slots->generation, generation);
	assert_int_equal(STAT(flushes), 0);
	assert_int_equal(rights(BASE), EPT_RWX);
}

static void read_only_comes_and_goes(void **state)
{
	u64 generation = vm.slots->generation;
	u8 byte = 1;

	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_READONLY), 0);
	assert_int_equal(vm.slots->generation, generation + 2);
	for (u64 i = 0; i < 8; i++)
		assert_int_equal(rights(BASE + i), EPT_R | EPT_X);
	assert_int_equal(STAT(write_protected), 8);
	assert_int_equal(STAT(flushes), 1);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), ERR_NOSLOT);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 9), MMU_WRITE), ERR_NOSLOT);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 9), MMU_READ), 0);
	assert_int_equal(rights(BASE + 9), EPT_R | EPT_X);
	assert_int_equal(gpa_write(&vm, PAGE(BASE), &byte, 1), ERR_NOSLOT);
	assert_int_equal(gpa_read(&vm, PAGE(BASE), &byte, 1), 0);

	assert_int_equal(memslot_set_flags(&vm, 1, 0), 0);
	/* The right comes back with the next fault, without a flush. */
	assert_int_equal(rights(BASE), EPT_R | EPT_X);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	assert_int_equal(rights(BASE), EPT_RWX);
	assert_int_equal(gpa_write(&vm, PAGE(BASE), &byte, 1), 0);
	assert_int_equal(STAT(flushes), 1);
	assert_int_equal(STAT(slot_changes), 3);
}

/* The flags that are not to be changed stay, and so do other slots. */
static void other_flags_stay(void **state)
{
	u64 bitmap;

	assert_int_equal(memslot_create(&vm, 2, GFN(0x200), 4, ram, 0, MEMSLOT_PRIVATE), 0);
	assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_READONLY | MEMSLOT_LOG_DIRTY), 0);
	assert_int_equal(slot_of(0x200)->flags,
			 MEMSLOT_PRIVATE | MEMSLOT_READONLY | MEMSLOT_LOG_DIRTY);
	assert_int_equal(slot_of(BASE)->flags, 0);
	assert_int_equal(rights(BASE), EPT_RWX);
	assert_int_equal(mmu_dirty_get_and_clear(&vm, 2, &bitmap, 1), 0);
	assert_int_equal(memslot_set_flags(&vm, 2, MEMSLOT_NO_LARGE), 0);
	assert_int_equal(slot_of(0x200)->flags, MEMSLOT_PRIVATE | MEMSLOT_NO_LARGE);
	assert_null(slot_of(0x200)->dirty);
	assert_int_equal(vm.logged_slots, 0);
}

/* --- a fault that began under the old flags --- */

static pthread_t changer;

static void *make_read_only(void *arg)
{
	hosted_cpu_set(9);
	assert_int_equal(memslot_set_flags(&vm, 1, MEMSLOT_READONLY), 0);
	return NULL;
}

static void begin_read_only(void)
{
	const struct memslots *before = vm.slots;

	pthread_create(&changer, NULL, make_read_only, NULL);
	while (__atomic_load_n(&vm.slots, __ATOMIC_ACQUIRE) == before)
		usleep(1000);
	usleep(20000); /* it gets on as far as it can */
}

static void a_fault_under_the_old_flags_leaves_no_right(void **state)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(ram, 20, true, &pfn), 0);
	after_lookup = begin_read_only;
	assert_int_equal(fault(&vcpu, PAGE(BASE + 20), MMU_WRITE), 0);
	pthread_join(changer, NULL);
	assert_int_equal(rights(BASE + 20), EPT_R | EPT_X);
}

/* --- on their way out --- */

static struct mmu_vm other_vm;

static void age_it(void)
{
	(void)gmem_age(ram, 0, PAGES);
	(void)gmem_test_young(ram, 0, PAGES);
}

/* R33: mem/ may ask at any time until the VM has nothing of the object any more. */
static void an_announcement_while_the_vm_ends(void **state)
{
	struct mmu_vcpu v;

	assert_int_equal(mmu_vm_create(&other_vm, MMU_EPT), 0);
	mmu_vcpu_init(&v, &other_vm);
	for (u32 i = 0; i < 3; i++) {
		assert_int_equal(memslot_create(&other_vm, i, GFN(i * 100), PAGES, ram, 0, 0), 0);
		assert_int_equal(touch(&v, PAGE(i * 100 + 3), MMU_READ), 0);
	}
	mmu_vcpu_destroy(&v);
	after_maps_free = age_it;
	mmu_vm_destroy(&other_vm);
	assert_int_equal(ram->refs, 2);
	assert_true(is_mapped(BASE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only_comes_and_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(other_flags_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(a_fault_under_the_old_flags_leaves_no_right, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_announcement_while_the_vm_ends, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
