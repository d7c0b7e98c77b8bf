/* SPDX-License-Identifier: MIT */
/* unit-libs: -Wl,--wrap=spin_unlock */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/peek.c */
/*
 * The hash of shadow pages is as large as their pool: it grows with the slots, while pages are in it
 * and vCPUs look for them.
 */
#include <cmocka.h>
#include <pthread.h>
#include "kernel/base/error.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 2048u
#define FAR	  0x100000ull
#define TABLES	  1400u /* of the last level: more than one to a chain */
#define OF_ONE	  500u	/* of them below one of these */
#define FIRST	  400u
#define DATA	  100u
#define ODD \
	0x2545f4914f6cdd1dull /* else another each time, and one in a hundred makes a longer chain */

static struct gmem *more[8];
static u32 mores;

/* A slot of so many pages more: a pool for them, and what is in it already. */
static void grow_by(u64 pages)
{
	struct gmem *g = object_new(pages);

	assert_int_equal(
		memslot_create(&vm, 10 + mores, GFN(FAR + mores * 0x200000ull), pages, g, 0, 0), 0);
	more[mores++] = g;
}

static int start(void **state)
{
	(void)state;
	mores = 0;
	shadow_guest_start(MIB(64), RAM_PAGES);
	vm.shadow->odd = ODD;
	load();
	return 0;
}

static u64 gva_of(u32 i)
{
	return (u64)(i / OF_ONE) << 30 | (u64)(i % OF_ONE) << 21;
}

static void reach_all(void)
{
	for (u32 i = 0; i < TABLES; i++)
		assert_int_equal(shadow_access(gva_of(i), MMU_WRITE, NULL), 0);
}

/* Its pool has room for all of its tables, which have a page each. */
static int start_full(void **state)
{
	static const u32 above[] = {3, 5, 6};

	start(state);
	grow_by(100000);
	for (u32 i = 0; i < TABLES; i++) {
		entry(2, i / OF_ONE, above[i / OF_ONE], MARKED);
		entry(above[i / OF_ONE], i % OF_ONE, FIRST + i, MARKED);
		entry(FIRST + i, 0, DATA, MARKED);
	}
	reach_all();
	return 0;
}

static int end(void **state)
{
	int err;

	while (mores)
		gmem_unref(more[--mores]);
	err = shadow_guest_end(state);
	return err;
}

static u32 longest_chain(void)
{
	const struct shadow_hash *h = &vm.shadow->hash;
	u32 longest = 0;

	for (u64 i = 0; i < BIT(h->bits); i++) {
		u32 n = 0;

		for (struct shadow_page *sp = h->bucket[i]; sp; sp = sp->next)
			n++;
		longest = max(longest, n);
	}
	return longest;
}

/* 20 pages for a thousand, and a chain for one or two of them. */
static void as_many_chains_as_pages(void **state)
{
	(void)state;
	assert_int_equal(STAT(shadow_chains), 512);
	grow_by(30000); /* 640 pages */
	assert_int_equal(STAT(shadow_chains), 512);
	grow_by(200000); /* 4640 */
	assert_int_equal(STAT(shadow_chains), 4096);
	grow_by(200000); /* 8640 */
	assert_int_equal(STAT(shadow_chains), 8192);
	assert_int_equal(memslot_delete(&vm, 12), 0);
	assert_int_equal(STAT(shadow_chains), 8192);
}

/* --- While it grows --- */

static bool looks;
static u32 pauses;

static u32 pages_in_chain(u64 gfn)
{
	u32 n = 0;

	for (struct shadow_page *sp = *shadow_bucket(vm.shadow, GFN(gfn)); sp; sp = sp->next)
		n += sp->gfn.v == gfn;
	return n;
}

void __real_spin_unlock(struct spinlock *l);
void __wrap_spin_unlock(struct spinlock *l);

/* Whoever comes between two steps finds each page, and puts new ones where they are found. */
void __wrap_spin_unlock(struct spinlock *l)
{
	__real_spin_unlock(l);
	if (!looks || l != &vm.mmu_lock || !vm.shadow->old.bucket)
		return;
	looks = false;
	for (u32 i = 0; i < TABLES; i++) {
		assert_int_equal(pages_in_chain(FIRST + i), 1);
		if (i % 7 != pauses % 7)
			continue;
		shadow_forget(&vm, GFN(FIRST + i));
		assert_int_equal(pages_in_chain(FIRST + i), 0);
		assert_int_equal(shadow_access(gva_of(i), MMU_WRITE, NULL), 0);
	}
	pauses++;
	looks = true;
}

static void what_is_there_is_found(void **state)
{
	(void)state;
	assert_int_equal(STAT(shadow_chains), 1024);
	for (u32 i = 0; i < 3; i++) {
		pauses = 0;
		looks = true;
		grow_by(100000ull << i);
		looks = false;
		assert_in_range(pauses, 4, 100);
	}
	for (u32 i = 0; i < TABLES; i++)
		assert_int_equal(pages_in_chain(FIRST + i), 1);
	reach_all();
	assert_in_range(longest_chain(), 1, 4);
}

/* The lock is not held for all of them at once. */
static void step_by_step(void **state)
{
	u32 held;

	(void)state;
	grow_by(400000);
	assert_int_equal(STAT(shadow_chains), 4096);
	held = vm.mmu_lock.next;
	grow_by(400000);
	assert_true(vm.mmu_lock.next - held >= 4096 / 256);
}

/* Half as many chains, or a quarter, where memory is short; or those that there were. */
static void without_memory(void **state)
{
	(void)state;
	for (u32 n = 1; n < 40; n++) {
		struct gmem *g = object_new(200000);
		bool happened;
		int err;

		hosted_fail_after(n);
		err = memslot_create(&vm, 5, GFN(FAR), 200000, g, 0, 0);
		happened = hosted_fail_happened();
		hosted_fail_after(0);
		assert_true(err == 0 || err == ERR_NOMEM);
		assert_true(!err || STAT(shadow_chains) == 512);
		gmem_unref(g);
		check_audit();
		if (!err)
			assert_int_equal(memslot_delete(&vm, 5), 0);
		if (!err && happened) {
			/* It was the chains' memory. */
			assert_int_equal(STAT(shadow_chains), 1024);
			return;
		}
	}
	fail_msg("no slot came without the chains that are its due");
}

static void no_memory_at_all(void **state)
{
	static struct mmu_vm other;
	u32 refused = 0;
	u64 free;

	(void)state;
	grace();
	free = frames_free();
	for (u32 n = 1; n < 20; n++) {
		int err;

		hosted_fail_after(n);
		err = mmu_vm_create(&other, MMU_SHADOW);
		hosted_fail_after(0);
		if (!err) {
			mmu_vm_destroy(&other);
			break;
		}
		assert_int_equal(err, ERR_NOMEM);
		refused++;
	}
	assert_in_range(refused, 3, 6); /* the slab's pages among them */
	assert_int_equal(frames_free(), free);
}

/* --- Beside vCPUs --- */

static bool growing; /* atomic */

static void *fault_on(void *arg)
{
	struct mmu_vcpu *v = arg;
	struct shadow_answer answer;
	u32 i = 0, reader;

	hosted_cpu_set(1);
	assert_int_equal(mmu_shadow_load(v, &paging), 0);
	while (__atomic_load_n(&growing, __ATOMIC_SEQ_CST) || i < TABLES) {
		u64 table = FIRST + ++i % TABLES, e = DATA << 12 | MARKED;

		assert_int_equal(
			mmu_shadow_fault(v, &paging, GVA(gva_of(i % TABLES)), MMU_WRITE, &answer),
			0);
		/* Its page is looked for by its gfn. */
		if (i % 3 == 0) {
			reader = srcu_read_lock(&vm.srcu);
			shadow_forget(&vm, GFN(table));
			srcu_read_unlock(&vm.srcu, reader);
		}
		assert_int_equal(gpa_write(&vm, GPA(table << 12), &e, 8), 0);
	}
	return arg;
}

static void while_vcpus_look(void **state)
{
	struct mmu_vcpu other;
	pthread_t thread;

	(void)state;
	mmu_vcpu_init(&other, &vm);
	growing = true;
	assert_int_equal(pthread_create(&thread, NULL, fault_on, &other), 0);
	for (u32 i = 0; i < 3; i++)
		grow_by(100000ull << i);
	__atomic_store_n(&growing, false, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	check_audit();
	reach_all();
	mmu_vcpu_destroy(&other);
}

static void audit_of_chains(void **state)
{
	struct shadow_page **chain, *sp;

	(void)state;
	chain = shadow_bucket(vm.shadow, GFN(FIRST));
	sp = *chain;
	*chain = NULL;
	audit_says("not found by its gfn");
	*chain = sp;
}

#define TEST(f)	     cmocka_unit_test_setup_teardown(f, start, end)
#define TEST_FULL(f) cmocka_unit_test_setup_teardown(f, start_full, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(as_many_chains_as_pages),
		TEST(step_by_step),
		TEST(without_memory),
		TEST(no_memory_at_all),
		TEST_FULL(what_is_there_is_found),
		TEST_FULL(while_vcpus_look),
		TEST_FULL(audit_of_chains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
