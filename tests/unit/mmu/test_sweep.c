/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-libs: -Wl,--wrap=rmap_clear -Wl,--wrap=mmu_flush -Wl,--wrap=rmap_unlock_tried */
/*
 * In what order a sweep does things (R13, R22, R35): the linker puts a look at the words and their
 * sptes into its flushes, and where it gives a chain up.
 */
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE  0x140
#define PAGES 200

static struct gmem *ram;
/* What the hooks look at: pages [first, first + pages) of the slot; 0 pages: nothing. */
static u64 first, pages;
static u64 taken; /* bits that a spte must have lost before the flush */
static bool flushed;
static u32 flushes, clears;

void __real_rmap_clear(u64 *word, u64 set);
void __wrap_rmap_clear(u64 *word, u64 set);
void __real_mmu_flush(struct mmu_vm *m);
void __wrap_mmu_flush(struct mmu_vm *m);
void __real_rmap_unlock_tried(u64 *word);
void __wrap_rmap_unlock_tried(u64 *word);

/* All are held, and their sptes still in their chains, when the CPUs are told to forget. */
void __wrap_mmu_flush(struct mmu_vm *m)
{
	for (u64 i = first; i < first + pages; i++) {
		const u64 *word = word_of(BASE + i);

		assert_true(*word & RMAP_LOCKED);
		assert_int_equal(chain_length(word), 1);
		assert_int_equal(*rmap_spte(word, 0) & taken, 0);
	}
	__real_mmu_flush(m);
	flushed = true;
	flushes++;
}

void __wrap_rmap_clear(u64 *word, u64 set)
{
	u64 *spte;

	for (u32 i = 0; (spte = rmap_spte(word, i)); i++)
		assert_int_equal(*spte, 0);
	assert_true(flushed && (*word & RMAP_LOCKED));
	clears++;
	__real_rmap_clear(word, set);
}

/* Nobody else gets at a word that was changed before the flush. */
void __wrap_rmap_unlock_tried(u64 *word)
{
	assert_true(!pages || flushed);
	__real_rmap_unlock_tried(word);
}

static int setup(void **state)
{
	first = pages = 0;
	fixture_start(MIB(16));
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	for (u64 i = 0; i < PAGES; i++)
		assert_int_equal(touch(&vcpu, PAGE(BASE + i), MMU_WRITE), 0);
	flushed = false;
	flushes = clears = 0;
	return 0;
}

static int teardown(void **state)
{
	pages = 0;
	check_audit();
	flushed = true; /* the VM's end sweeps, too */
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static void watch(u64 from, u64 count, u64 bits)
{
	first = from;
	pages = count;
	taken = bits;
}

static void taking_mappings_away(void **state)
{
	watch(5, 60, ~0ull);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE + 5), 60), 60);
	assert_int_equal(flushes, 1);
	assert_int_equal(clears, 60);
}

/* R20: it follows every rule of unmapping. */
static void aging_that_takes_mappings_away(void **state)
{
	mmu_hw.ept_ad = false;
	watch(0, 64, ~0ull);
	assert_int_equal(mmu_age(&vm, GFN(BASE), 64), 64);
	assert_int_equal(flushes, 1);
	assert_int_equal(clears, 64);
}

static void taking_the_right_to_write(void **state)
{
	u64 done;

	watch(3, 40, MMU_WRITE);
	assert_int_equal(mmu_range_protect(&vm, GFN(BASE + 3), 40, true, &done), 0);
	assert_int_equal(flushes, 1);
	assert_int_equal(clears, 0);
	assert_int_equal(ept_walk(&vm, PAGE(BASE + 3)) & EPT_RWX, EPT_R | EPT_X);
}

/* R14: that the last of them was clean takes nothing from what the others need. */
static void forgetting_what_was_written(void **state)
{
	*spte_of(BASE + 127) &= ~PAGE_TABLE_DIRTY;
	watch(64, 64, PAGE_TABLE_DIRTY);
	assert_int_equal(mmu_sweep(&vm, slot_of(BASE), GFN(BASE + 64), 64, SWEEP_CLEAN), 0);
	assert_int_equal(flushes, 1);
}

/* One flush for a batch; none where nothing was taken. */
static void batches(void **state)
{
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 130), 130);
	assert_int_equal(flushes, 3);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 130), 0);
	assert_int_equal(flushes, 3);
	/* Words that hold nothing take no room in a batch. */
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), PAGES), 70);
	assert_int_equal(flushes, 5);
}

/* --- R35 --- */

static void *unmap_ten(void *arg)
{
	hosted_cpu_set(9);
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 10), 10);
	return NULL;
}

/* Tries for the lock long enough that only a deadlock is longer. */
static bool lock_in_time(u64 *word)
{
	for (u32 i = 0; i < 10000; i++) {
		if (rmap_trylock(word))
			return true;
		usleep(1000);
	}
	return false;
}

/*
 * Another has word 5 and wants word 0, which the sweep has by then: a batch that waited for the
 * rest of its words would wait for ever.
 */
static void a_batch_waits_for_its_first_word_alone(void **state)
{
	pthread_t sweeper;
	bool on = irq_save();

	rmap_lock(word_of(BASE + 5));
	pthread_create(&sweeper, NULL, unmap_ten, NULL);
	while (__atomic_load_n(spte_of(BASE + 4), __ATOMIC_ACQUIRE))
		usleep(1000);
	assert_true(lock_in_time(word_of(BASE)));
	assert_true(rmap_empty(word_of(BASE)));
	assert_true(is_mapped(BASE + 5) && is_mapped(BASE + 6));
	rmap_unlock_tried(word_of(BASE));
	rmap_unlock(word_of(BASE + 5));
	irq_restore(on);
	pthread_join(sweeper, NULL);
	for (u64 i = 0; i < 11; i++)
		assert_int_equal(is_mapped(BASE + i), i == 10);
}

/* Several at once over the same words: each mapping is taken once. */
static u64 unmapped; /* atomic */

static void *unmap_all(void *arg)
{
	hosted_cpu_set((u32)(u64)arg);
	for (u64 i = 0; i < PAGES; i += 20)
		__atomic_fetch_add(&unmapped, mmu_unmap(&vm, GFN(BASE + i), PAGES - i),
				   __ATOMIC_SEQ_CST);
	return NULL;
}

static void sweeps_that_meet(void **state)
{
	pthread_t threads[4];

	unmapped = 0;
	flushed = true;
	for (u64 i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, unmap_all, (void *)(i + 5));
	for (u32 i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(unmapped, PAGES);
	assert_int_equal(STAT(unmapped), PAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(taking_mappings_away, setup, teardown),
		cmocka_unit_test_setup_teardown(aging_that_takes_mappings_away, setup, teardown),
		cmocka_unit_test_setup_teardown(taking_the_right_to_write, setup, teardown),
		cmocka_unit_test_setup_teardown(forgetting_what_was_written, setup, teardown),
		cmocka_unit_test_setup_teardown(batches, setup, teardown),
		cmocka_unit_test_setup_teardown(a_batch_waits_for_its_first_word_alone, setup,
						teardown),
		cmocka_unit_test_setup_teardown(sweeps_that_meet, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
