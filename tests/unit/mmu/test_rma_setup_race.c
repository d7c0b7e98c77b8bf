/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem mmu/rma_setup.c mmu/real_mode.c mem/rma.c tests/unit/mmu/fixture.c */
/* unit-sanitizer: thread */
/* vCPUs race for the set-up of the real-mode area, with each other and with changes of the slots. */
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mmu/rma_setup.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define VCPUS  2
#define ROUNDS 300
#define PAGES  256

/* What the changes of slots leave over is freed meanwhile. */
static void start_worker(void)
{
	static bool started;

	if (!started)
		assert_int_equal(rcu_start(), 0);
	started = true;
}

static const struct rma_tables tables = {.tss = {0xf0}, .identity_map = {0xf3}};

static struct mutex lock;
static struct rma_area area;
static struct gmem_account account;
static pthread_barrier_t barrier;
static bool stop;		  /* atomic */
static u32 ups, agains, no_slots; /* atomic */
static u32 complaints;		  /* atomic */

#define complain_if(what)                                                     \
	do {                                                                  \
		if (what) {                                                   \
			__atomic_fetch_add(&complaints, 1, __ATOMIC_SEQ_CST); \
			print_error("%s: line %d\n", #what, __LINE__);        \
		}                                                             \
	} while (0)

static struct gmem *ram_new(void)
{
	struct gmem *g = object_new(PAGES);

	gmem_set_account(g, &account);
	return g;
}

static void area_start(void)
{
	mutex_init(&lock, "vm", LOCK_VM);
	account = (struct gmem_account){.pins_max = RMA_PINS_MAX};
	rma_area_init(&area, &vm, &lock, &tables);
}

/* Whoever finds the area set up sees all that it stands for, without the lock: plain reads (R36). */
static void look_at_area(void)
{
	const u8 *last = pfn_to_virt(area.pins[RMA_PAGES + REAL_MODE_TSS_PAGES - 1].pfn);
	const u32 *directory = pfn_to_virt(area.pins[RMA_PINS_MAX - 1].pfn);

	complain_if(last[REAL_MODE_TSS_LIMIT % PAGE_SIZE] != 0xff);
	complain_if(directory[1023] >> 22 != 1023);
}

static void *first_run(void *arg)
{
	struct mmu_vcpu v;
	gpa_t where;

	hosted_cpu_set((u32)(uintptr_t)arg);
	mmu_vcpu_init(&v, &vm);
	for (u32 round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&barrier);
		complain_if(rma_set_up(&area, &v, &where) != 0);
		complain_if(!rma_is_set_up(&area));
		look_at_area();
		pthread_barrier_wait(&barrier);
	}
	mmu_vcpu_destroy(&v);
	return NULL;
}

/* Two at once: exactly one sets it up (the account has room for one only), and both go on. */
static void two_vcpus(void **state)
{
	pthread_t threads[VCPUS];
	struct gmem *g;

	fixture_start(MIB(16));
	start_worker();
	pthread_barrier_init(&barrier, NULL, VCPUS + 1);
	area_start();
	for (u64 i = 0; i < VCPUS; i++)
		pthread_create(&threads[i], NULL, first_run, (void *)(uintptr_t)(i + 1));
	for (u32 round = 0; round < ROUNDS; round++) {
		g = ram_new();
		assert_int_equal(memslot_create(&vm, 1, GFN(0), PAGES, g, 0, 0), 0);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		assert_int_equal(account.pins, RMA_PINS_MAX);
		assert_int_equal(g->pins, RMA_PINS_MAX);
		rma_area_destroy(&area);
		assert_int_equal(memslot_delete(&vm, 1), 0);
		gmem_unref(g);
		area_start();
	}
	for (u32 i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
	rma_area_destroy(&area);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(complaints, 0);
	fixture_end();
}

static void *try_until_stop(void *arg)
{
	u32 seed = (u32)(uintptr_t)arg;
	struct mmu_vcpu v;
	gpa_t where;

	hosted_cpu_set(seed);
	mmu_vcpu_init(&v, &vm);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		int err;

		for (u32 n = rand_r(&seed) % 16; n; n--)
			sched_yield();
		err = rma_set_up(&area, &v, &where);
		complain_if(err && err != ERR_AGAIN && err != ERR_NOSLOT);
		__atomic_fetch_add(err == 0	      ? &ups
				   : err == ERR_AGAIN ? &agains
						      : &no_slots,
				   1, __ATOMIC_RELAXED);
		if (err == 0)
			break;
	}
	mmu_vcpu_destroy(&v);
	return NULL;
}

/* Makes grace periods long, as vCPUs that fault do. */
static void *read_slots(void *arg)
{
	hosted_cpu_set(VCPUS + 1);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		u32 reader = srcu_read_lock(&vm.srcu);

		for (u32 n = 0; n < 20; n++)
			sched_yield();
		srcu_read_unlock(&vm.srcu, reader);
	}
	return NULL;
}

/* The slots under them come and go: no pin outlives the slot that it was made through (R37). */
static void against_slot_changes(void **state)
{
	u32 seed = 1;

	fixture_start(MIB(16));
	start_worker();
	for (u32 round = 0; round < ROUNDS; round++) {
		pthread_t threads[VCPUS], reader;
		struct gmem *g = ram_new();

		area_start();
		__atomic_store_n(&stop, false, __ATOMIC_RELEASE);
		for (u64 i = 0; i < VCPUS; i++)
			pthread_create(&threads[i], NULL, try_until_stop,
				       (void *)(uintptr_t)(i + 1));
		pthread_create(&reader, NULL, read_slots, NULL);
		for (u32 change = 0; change < 4; change++) {
			assert_int_equal(memslot_create(&vm, 1, GFN(0), PAGES, g, 0, 0), 0);
			for (u32 n = rand_r(&seed) % 8; n; n--)
				sched_yield();
			if (rand_r(&seed) % 2)
				assert_int_equal(memslot_move(&vm, 1, GFN(0x1000)), 0);
			assert_int_equal(memslot_delete(&vm, 1), 0);
			assert_int_equal(__atomic_load_n(&g->pins, __ATOMIC_RELAXED), 0);
		}
		__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
		for (u32 i = 0; i < VCPUS; i++)
			pthread_join(threads[i], NULL);
		pthread_join(reader, NULL);
		assert_int_equal(account.pins, 0);
		rma_area_destroy(&area);
		gmem_unref(g);
	}
	print_message("%u set up or found it so, %u met an INVALID slot, %u none\n", ups, agains,
		      no_slots);
	assert_int_equal(complaints, 0);
	assert_true(ups > 0 && agains > 0 && no_slots > 0);
	fixture_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_vcpus),
		cmocka_unit_test(against_slot_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
