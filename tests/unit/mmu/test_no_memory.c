/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/*
 * Each allocation fails once, in every change there is: either the change is complete or nothing of
 * it is there, and all frames come back.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/slab.h"
#include "mem/watermark.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x400
#define PAGES 1024

static struct gmem *ram, *more;

/* A slot with a large mapping and small ones, and one that is logged. */
static int setup(void **state)
{
	u64 done;

	fixture_start(MIB(32));
	ram = object_filled(PAGES);
	more = object_new(100);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(0x10), 100, more, 0, MEMSLOT_LOG_DIRTY), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 600), 1, true, &done), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE + 512), MMU_WRITE), 0);
	assert_int_equal(touch(&vcpu, PAGE(0x10), MMU_WRITE), 0);
	assert_true(is_large(BASE) && !is_large(BASE + 512));
	return 0;
}

static int teardown(void **state)
{
	check_audit();
	gmem_unref(ram);
	gmem_unref(more);
	fixture_end();
	return 0;
}

/* --- the slots, all of which can be compared --- */

static int create(void)
{
	return memslot_create(&vm, 3, GFN(0x2000), 100, more, 0, MEMSLOT_LOG_DIRTY);
}

static int create_of_new_object(void)
{
	struct gmem *g;
	int err = gmem_create(40000, &g);

	/* So many pages that each of its pieces is whole frames: none can be lost unseen. */
	if (err)
		return err;
	err = memslot_create(&vm, 4, GFN(0x100000), 40000, g, 0, MEMSLOT_LOG_DIRTY);
	gmem_unref(g);
	return err;
}

static int move(void)
{
	return memslot_move(&vm, 1, GFN(0x5001));
}

static int move_back(void)
{
	return memslot_move(&vm, 1, GFN(BASE));
}

static int delete (void)
{
	return memslot_delete(&vm, 2);
}

static int begin_log(void)
{
	return memslot_set_flags(&vm, 1, MEMSLOT_LOG_DIRTY);
}

static int end_log(void)
{
	return memslot_set_flags(&vm, 1, MEMSLOT_READONLY);
}

static int (*const changes[])(void) = {
	create, create_of_new_object, begin_log, end_log, move, move_back, delete};

struct picture {
	u64 frames, generation, flushes, changes;
	u32 objects, logged;
	struct memslots *slots;
	struct memslot slot[8];
};

static struct picture look(void)
{
	struct picture p;
	struct list *l;

	grace();
	memset(&p, 0, sizeof(p));
	p.frames = frames_free();
	p.slots = vm.slots;
	p.generation = vm.slots->generation;
	p.flushes = STAT(flushes);
	p.changes = STAT(slot_changes);
	p.logged = vm.logged_slots;
	for (l = vm.objects.next; l != &vm.objects; l = l->next)
		p.objects++;
	memcpy(p.slot, vm.slots->slots, vm.slots->count * sizeof(p.slot[0]));
	return p;
}

static void changes_of_slots(void **state)
{
	for (u32 c = 0; c < ARRAY_SIZE(changes); c++) {
		u32 n;

		for (n = 1;; n++) {
			struct picture before = look(), after;
			bool failed;
			int err;

			hosted_fail_after(n);
			err = changes[c]();
			failed = hosted_fail_happened();
			hosted_fail_after(0);
			if (!failed) {
				assert_int_equal(err, 0);
				break;
			}
			if (err == 0) /* it could do without */
				break;
			assert_int_equal(err, ERR_NOMEM);
			after = look();
			assert_memory_equal(&before, &after, sizeof(before));
			check_audit();
		}
		assert_true(n > 2);
		check_audit();
	}
	assert_int_equal(vm.slots->count, 3);
	assert_int_equal(vm.logged_slots, 2);
}

/* --- splits within changes never fail them --- */

static void splits_within_changes(void **state)
{
	for (u32 n = 1; n < 8; n++) {
		bool failed;
		int err;

		hosted_fail_after(n);
		err = memslot_set_flags(&vm, 1, MEMSLOT_NO_LARGE);
		hosted_fail_after(0);
		if (err == 0) {
			for (u64 i = 0; i < PAGES; i++)
				assert_false(is_large(BASE + i));
			assert_int_equal(memslot_set_flags(&vm, 1, 0), 0);
		}
		check_audit();
		assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
		assert_true(is_large(BASE));
		hosted_fail_after(n);
		assert_int_equal(mmu_unmap(&vm, GFN(BASE + 3), 1), 1);
		failed = hosted_fail_happened();
		hosted_fail_after(0);
		/* Without a table it is all gone. */
		assert_false(is_mapped(BASE + 3));
		assert_int_equal(is_mapped(BASE + 4), !failed);
		assert_int_equal(mmu_unmap(&vm, GFN(BASE), 512), failed ? 0 : 511);
		mmu_prune(&vm, slot_of(BASE));
		assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	}
}

/* --- what a guest asks for --- */

static void getting_pages(void **state)
{
	struct mmu_vcpu v;
	struct gmem *g = object_new(1100);
	u64 done, free;
	u32 n;

	assert_int_equal(memslot_create(&vm, 5, GFN(0x8100), 1100, g, 0, 0), 0);
	for (n = 1;; n++) {
		int err;

		grace();
		free = frames_free();
		mmu_vcpu_init(&v, &vm);
		hosted_fail_after(n);
		err = mmu_range_get(&v, GFN(0x8100 + 0x80), 300, true, true, &done);
		if (!hosted_fail_happened())
			break;
		hosted_fail_after(0);
		/* Half a cache may do. */
		assert_true(err == ERR_NOMEM || err == 0);
		assert_true(err == 0 ? done == 300 : done < 300);
		for (u64 i = 0; i < 300; i++)
			assert_true(i >= done || is_mapped(0x8100 + 0x80 + i));
		assert_true(g->pins >= done && g->pins <= done + 1);
		check_audit();
		assert_int_equal(mmu_range_unpin(&vm, GFN(0x8100 + 0x80), 300, &done), 0);
		assert_int_equal(g->pins, 0);
		assert_int_equal(mmu_range_drop(&vm, GFN(0x8100 + 0x80), 300, &done), 0);
		mmu_prune(&vm, slot_of(0x8100));
		mmu_vcpu_destroy(&v);
		grace();
		/* What stays: chunks of words and of entries, as long as slot and object do. */
		assert_true(free - frames_free() <= 2);
	}
	hosted_fail_after(0);
	assert_true(n > 300);
	mmu_vcpu_destroy(&v);
	assert_int_equal(memslot_delete(&vm, 5), 0);
	grace();
	gmem_unref(g);
}

/* What the first try did not get the next one does. */
static void topping_up(void **state)
{
	u32 n;

	for (n = 1;; n++) {
		struct mmu_vcpu v;
		bool failed;

		mmu_vcpu_init(&v, &vm);
		hosted_fail_after(n);
		(void)!mmu_vcpu_topup(&v);
		failed = hosted_fail_happened();
		hosted_fail_after(0);
		assert_int_equal(mmu_vcpu_topup(&v), 0);
		assert_true(v.cache_count >= TABLES_PER_FAULT);
		assert_true(v.rmaps.count); /* enough for one fault, of both */
		mmu_vcpu_destroy(&v);
		if (!failed)
			break;
	}
	assert_true(n > TABLES_PER_FAULT + RMAP_CACHE_MAX);
}

static void nothing(void)
{
}

/* Below the min watermark a guest that goes where it never was gets no words for it either. */
static void no_words_below_min(void **state)
{
	struct gmem *g = object_new(PAGES);
	u64 free, done;

	assert_int_equal(memslot_create(&vm, 6, GFN(0x9000), PAGES, g, 0, 0), 0);
	assert_int_equal(mmu_vcpu_topup(&vcpu), 0);
	free = frames_free();
	watermarks = (struct watermarks){.min = 1u << 20, .low = 1u << 20, .wake = nothing};
	assert_int_equal(mmu_fault_slow(&vcpu, PAGE(0x9000), MMU_WRITE), ERR_NOMEM);
	assert_int_equal(frames_free(), free);
	assert_int_equal(mmu_range_protect(&vm, GFN(0x9200), 9, true, &done), ERR_NOMEM);
	assert_int_equal(done, 0);
	assert_int_equal(mmu_range_get(&vcpu, GFN(0x9200), 9, true, true, &done), ERR_NOMEM);
	assert_int_equal(done, 0);
	assert_int_equal(frames_free(), free);
	/* What is there goes on being mapped. */
	assert_int_equal(touch(&vcpu, PAGE(BASE + 1), MMU_WRITE), 0);
	memset(&watermarks, 0, sizeof(watermarks));
	assert_int_equal(mmu_range_protect(&vm, GFN(0x9200), 9, true, &done), 0);
	assert_int_equal(memslot_delete(&vm, 6), 0);
	grace();
	gmem_unref(g);
}

/* Nor a table for each 2 MiB of which it protects a page. */
static void no_splits_below_min(void **state)
{
	u64 free, done;

	/* Its words are there, as where it was mapped by 4 KiB before. */
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, true, &done), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, false, &done), 0);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	grace();
	assert_true(is_large(BASE));
	free = frames_free();
	watermarks = (struct watermarks){.min = 1u << 20, .low = 1u << 20, .wake = nothing};
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, true, &done), ERR_NOMEM);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE), 512, true, &done), ERR_NOMEM);
	assert_int_equal(done, 0);
	assert_true(is_large(BASE));
	assert_int_equal(frames_free(), free);
	/* What is free because it was promised to the VM itself is for its tables, too. */
	watermarks = (struct watermarks){.min = 4, .low = 4, .owed = free, .wake = nothing};
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, true, &done), ERR_NOMEM);
	ram->resident_min = ram->resident + free;
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, true, &done), 0);
	ram->resident_min = 0;
	memset(&watermarks, 0, sizeof(watermarks));
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, false, &done), 0);
	(void)mmu_unmap(&vm, GFN(BASE), 512);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	grace();
	assert_true(is_large(BASE));
	free = frames_free();
	watermarks = (struct watermarks){.min = 1u << 20, .low = 1u << 20, .wake = nothing};
	/* What is mapped by 4 KiB takes nothing; nor does releasing it, in either. */
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 700), 1, true, &done), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 700), 1, false, &done), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, false, &done), 0);
	assert_int_equal(frames_free(), free);
	memset(&watermarks, 0, sizeof(watermarks));
	/* It counts as one that may be mapped large as before. */
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 512), 512);
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	assert_true(is_large(BASE));
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 1, true, &done), 0);
	assert_false(is_large(BASE));
}

static void a_vm_that_cannot_be_made(void **state)
{
	struct mmu_vm *other = kmalloc(sizeof(*other));
	u64 free = frames_free();

	for (u32 n = 1; n <= 2; n++) {
		hosted_fail_after(n);
		assert_int_equal(mmu_vm_create(other, MMU_AUTO), ERR_NOMEM);
		hosted_fail_after(0);
		assert_int_equal(frames_free(), free);
	}
	for (u32 n = 1; n <= 2; n++) {
		hosted_fail_after(n);
		assert_int_equal(mmu_vm_create(other, MMU_SHADOW), ERR_NOMEM);
		hosted_fail_after(0);
		assert_int_equal(frames_free(), free);
	}
	mmu_hw.ept = false;
	assert_int_equal(mmu_vm_create(other, MMU_EPT), ERR_NOTSUP);
	mmu_hw.ept = true;
	mmu_hw.invept_single = mmu_hw.invept_all = false;
	assert_int_equal(mmu_vm_create(other, MMU_EPT), ERR_NOTSUP);
	mmu_hw.invept_all = true;
	assert_int_equal(mmu_vm_create(other, MMU_EPT), 0);
	mmu_vm_destroy(other);
	kfree(other);
	assert_true(frames_free() >= free);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(changes_of_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(splits_within_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(getting_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(topping_up, setup, teardown),
		cmocka_unit_test_setup_teardown(no_words_below_min, setup, teardown),
		cmocka_unit_test_setup_teardown(no_splits_below_min, setup, teardown),
		cmocka_unit_test_setup_teardown(a_vm_that_cannot_be_made, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
