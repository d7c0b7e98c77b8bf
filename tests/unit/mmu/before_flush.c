/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include <pthread.h>
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/before_flush.h"
#include "tests/unit/mmu/fixture.h"

void (*before_flush)(void);
void (*look_before_flush)(void);
bool flushed;

static pthread_t other;
static bool ended; /* atomic */

void __real_mmu_flush(struct mmu_vm *v);
void __wrap_mmu_flush(struct mmu_vm *v);

static void *until_it_ends(void *what)
{
	hosted_cpu_set(9);
	((void (*)(void))what)();
	assert_true(__atomic_load_n(&flushed, __ATOMIC_SEQ_CST));
	__atomic_store_n(&ended, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Until the other has ended, which it may not, or come to the lock. */
void __wrap_mmu_flush(struct mmu_vm *v)
{
	u32 before = __atomic_load_n(&vm.mmu_lock.next, __ATOMIC_SEQ_CST);
	void (*what)(void) = before_flush;

	if (look_before_flush)
		look_before_flush();
	if (what) {
		before_flush = NULL;
		__atomic_store_n(&flushed, false, __ATOMIC_SEQ_CST);
		pthread_create(&other, NULL, until_it_ends, (void *)what);
		while (__atomic_load_n(&vm.mmu_lock.next, __ATOMIC_SEQ_CST) == before &&
		       !__atomic_load_n(&ended, __ATOMIC_SEQ_CST))
			cpu_relax();
		assert_false(__atomic_load_n(&ended, __ATOMIC_SEQ_CST));
	}
	__real_mmu_flush(v);
	__atomic_store_n(&flushed, true, __ATOMIC_SEQ_CST);
}

void before_flush_setup(void)
{
	before_flush = look_before_flush = NULL;
	ended = flushed = false;
}

void before_flush_join(void)
{
	assert_null(before_flush);
	pthread_join(other, NULL);
	assert_true(ended);
}
