/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-libs: -Wl,--wrap=rmap_word -Wl,--wrap=frame_alloc_page -Wl,--wrap=rmap_unlock_tried
 *	      -Wl,--wrap=mmu_sweep */
/*
 * What others do while a region is split, or made ready to be mapped large: the linker and the table
 * of the format's functions put the test there.
 */
#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mmu/ept.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"

#define BASE 0x400

static struct gmem *ram;
static struct mmu_vcpu second;
static struct page_table_format format; /* the VM's, with a function of the test's */
/* Each is called once. */
static void (*in_frame_alloc)(void);
static void (*in_make_table)(void);
static void (*after_sweep)(void);

void *__real_frame_alloc_page(u32 flags);
void *__wrap_frame_alloc_page(u32 flags);
u64 __real_mmu_sweep(struct mmu_vm *m, const struct memslot *s, gfn_t gfn, u64 pages,
		     enum sweep what);
u64 __wrap_mmu_sweep(struct mmu_vm *m, const struct memslot *s, gfn_t gfn, u64 pages,
		     enum sweep what);

static void call_once(void (**hook)(void))
{
	void (*fn)(void) = *hook;

	*hook = NULL;
	if (fn)
		fn();
}

void *__wrap_frame_alloc_page(u32 flags)
{
	call_once(&in_frame_alloc);
	return __real_frame_alloc_page(flags);
}

u64 __wrap_mmu_sweep(struct mmu_vm *m, const struct memslot *s, gfn_t gfn, u64 pages,
		     enum sweep what)
{
	u64 done = __real_mmu_sweep(m, s, gfn, pages, what);

	call_once(&after_sweep);
	return done;
}

static u64 make_table(hpa_t table)
{
	call_once(&in_make_table);
	return ept_format.level[2].make_table(table);
}

static int setup(void **state)
{
	fixture_start(MIB(32));
	mmu_vcpu_init(&second, &vm);
	assert_int_equal(mmu_vcpu_topup(&second), 0);
	ram = object_lucky();
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), 512, ram, 0, 0), 0);
	assert_int_equal(rmap_prepare(slot_of(BASE), GFN(BASE)), 0);
	format = ept_format;
	format.level[2].make_table = make_table;
	vm.format = &format;
	return 0;
}

static int teardown(void **state)
{
	assert_false(in_frame_alloc || in_make_table || after_sweep);
	check_audit();
	mmu_vcpu_destroy(&second);
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static u64 *large;

/* R18: the CPU walks through the entry until it is gone. */
static void use_it(void)
{
	__atomic_fetch_or(large, PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY, __ATOMIC_SEQ_CST);
}

static void what_the_cpu_notes_meanwhile_is_kept(void **state)
{
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	large = spte_of(BASE);
	*large = ept_format.level[2].with_access(*large, MMU_READ | MMU_WRITE);
	in_make_table = use_it;
	mmu_split(&vm, slot_of(BASE), GFN(BASE));
	for (u64 i = 0; i < 512; i++)
		assert_int_equal(ept_format.level[3].access(ept_walk(&vm, PAGE(BASE + i))),
				 MMU_READ | MMU_WRITE | PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY);
}

static void split_it(void)
{
	mmu_split(&vm, slot_of(BASE), GFN(BASE));
}

static void two_split_at_once(void **state)
{
	u64 free;

	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	free = frames_free();
	in_frame_alloc = split_it;
	split_it();
	assert_int_equal(frames_free(), free - 1);
	assert_int_equal(STAT(split), 1);
	assert_true(is_mapped(BASE) && !is_large(BASE));
}

static void *split_there(void *arg)
{
	hosted_cpu_set(9);
	split_it();
	return NULL;
}

/* It waits for whoever has a small word; the large one is in its place until then. */
static void a_small_word_is_held(void **state)
{
	pthread_t splitter;
	u64 *word = word_of(BASE + 200);

	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_true(rmap_trylock(word));
	pthread_create(&splitter, NULL, split_there, NULL);
	while (rmap_empty(word_of(BASE + 199)))
		usleep(1000);
	usleep(30000);
	assert_true(is_large(BASE));
	assert_int_equal(*word, RMAP_LOCKED);
	rmap_unlock_tried(word);
	pthread_join(splitter, NULL);
	assert_false(is_large(BASE));
}

/*
 * A sweep that found nothing large, before it was made large: it comes to the small words just when
 * a split has filled them, and takes what the CPUs do not see yet.
 */
static sem_t sweep_waits, sweep_goes_on, sweep_done;
static _Thread_local bool stop_at_words;

u64 *__real_rmap_word(const struct memslot *s, gfn_t gfn);
u64 *__wrap_rmap_word(const struct memslot *s, gfn_t gfn);

u64 *__wrap_rmap_word(const struct memslot *s, gfn_t gfn)
{
	if (stop_at_words) {
		stop_at_words = false;
		sem_post(&sweep_waits);
		sem_wait(&sweep_goes_on);
	}
	return __real_rmap_word(s, gfn);
}

static void *late_sweep(void *arg)
{
	hosted_cpu_set(9);
	stop_at_words = true;
	assert_int_equal(mmu_unmap(&vm, GFN(BASE), 512), 512);
	sem_post(&sweep_done);
	return NULL;
}

static void let_it_sweep(void)
{
	sem_post(&sweep_goes_on);
	sem_wait(&sweep_done);
	use_it(); /* and the split has to begin again */
}

static void a_sweep_in_the_middle_of_a_split(void **state)
{
	pthread_t thread;

	sem_init(&sweep_waits, 0, 0);
	sem_init(&sweep_goes_on, 0, 0);
	sem_init(&sweep_done, 0, 0);
	pthread_create(&thread, NULL, late_sweep, NULL);
	sem_wait(&sweep_waits);
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	large = spte_of(BASE);
	*large = ept_format.level[2].with_access(*large, MMU_READ);
	in_make_table = let_it_sweep;
	split_it();
	pthread_join(thread, NULL);
	check_audit();
	for (u64 i = 0; i < 512; i++)
		assert_false(is_mapped(BASE + i));
}

/* --- an audit beside a split --- */

static u32 until_audit; /* words that a split unlocks until then */
static pthread_t auditor;
static const char *complaint; /* auditor; then whoever joined it */
static sem_t audited;

void __real_rmap_unlock_tried(u64 *word);
void __wrap_rmap_unlock_tried(u64 *word);

static void *audit(void *arg)
{
	hosted_cpu_set(9);
	complaint = mmu_audit(&vm);
	sem_post(&audited);
	return NULL;
}

/* If the audit does not wait for the split it is done soon. */
void __wrap_rmap_unlock_tried(u64 *word)
{
	struct timespec until;

	__real_rmap_unlock_tried(word);
	if (!until_audit || --until_audit)
		return;
	pthread_create(&auditor, NULL, audit, NULL);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	sem_timedwait(&audited, &until);
}

static void an_audit_in_the_middle_of_a_split(void **state)
{
	sem_init(&audited, 0, 0);
	complaint = "none";
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	until_audit = 300;
	split_it();
	assert_int_equal(until_audit, 0);
	pthread_join(auditor, NULL);
	assert_null(complaint);
}

/* --- on the way to a large mapping --- */

static void fault_meanwhile(void)
{
	/* R08. Whatever the page: no small one is linked before the table is out. */
	assert_int_equal(fault(&second, PAGE(BASE + 9), MMU_READ), ERR_TOO_HARD);
}

static void nobody_links_while_the_way_is_cleared(void **state)
{
	assert_int_equal(fault(&vcpu, PAGE(BASE), MMU_READ), 0);
	split_it();
	after_sweep = fault_meanwhile;
	assert_int_equal(mmu_fault_slow(&vcpu, PAGE(BASE), MMU_READ), 0);
	assert_true(is_large(BASE));
	assert_int_equal(STAT(collapsed), 1);
	assert_int_equal(fault(&second, PAGE(BASE + 9), MMU_READ), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_the_cpu_notes_meanwhile_is_kept, setup,
						teardown),
		cmocka_unit_test_setup_teardown(two_split_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_small_word_is_held, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sweep_in_the_middle_of_a_split, setup, teardown),
		cmocka_unit_test_setup_teardown(an_audit_in_the_middle_of_a_split, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_links_while_the_way_is_cleared, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
