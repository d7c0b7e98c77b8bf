/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/peek.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * R13: a CPU enters the guest while another unmaps the page that it has cached. One of the two is
 * stopped at each of its points in turn, for all of the other. The page is nobody's once the unmap
 * has returned: then the CPU has forgotten it, or it is not in the guest.
 */
#include <cmocka.h>
#include "kernel/base/x86.h"
#include "mmu/invept.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mmu/peek.h"

#define BASE 0x140
#define STAY 20 /* looks around in the guest, unless it is kicked */

enum {
	CPU,
	UNMAPPER,
	JOBS
};

static struct gmem *ram;
static bool cached;   /* atomic: in the CPU's TLB */
static bool unmapped; /* atomic */
static bool begun;    /* atomic */
static u32 stopped;   /* which job */
static u32 stale, kicked, forgot;

static bool on_invept(enum invept_type type, u64 eptp)
{
	forgot += __atomic_exchange_n(&cached, false, __ATOMIC_SEQ_CST);
	return true;
}

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(1);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), 1, ram, 0, 0), 0);
	hosted_invept_hook = on_invept;
	stale = kicked = forgot = 0;
	return 0;
}

static int teardown(void **state)
{
	hosted_invept_hook = NULL;
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static void look(void)
{
	if (__atomic_load_n(&unmapped, __ATOMIC_SEQ_CST))
		stale += __atomic_load_n(&cached, __ATOMIC_SEQ_CST);
}

/* The one that is stopped comes first. */
static void begin(u32 me)
{
	if (me == stopped)
		__atomic_store_n(&begun, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&begun, __ATOMIC_SEQ_CST))
		hosted_stand(1);
	hosted_count_points();
}

static void cpu(void *arg)
{
	begin(CPU);
	irq_disable();
	mmu_enter(&vm);
	for (u32 i = 0; i < STAY && !hosted_kick_pending(cpu_id()); i++) {
		look();
		hosted_relax();
	}
	kicked += hosted_kick_pending(cpu_id());
	mmu_exit(&vm);
	hosted_count_no_more();
	hosted_kick_take(cpu_id());
	irq_enable();
}

static void unmapper(void *arg)
{
	begin(UNMAPPER);
	mmu_unmap(&vm, GFN(BASE), 1);
	__atomic_store_n(&unmapped, true, __ATOMIC_SEQ_CST);
	hosted_count_no_more();
}

/* The CPU, which this thread is too, has been in the guest before, and has cached the page there. */
static void map_and_cache(void)
{
	assert_int_equal(touch(&vcpu, PAGE(BASE), MMU_WRITE), 0);
	irq_disable();
	mmu_enter(&vm);
	mmu_exit(&vm);
	irq_enable();
	cached = true;
}

static void stopped_at_each_point(u32 who)
{
	const struct hosted_job jobs[JOBS] = {
		[CPU] = {"cpu", cpu, NULL},
		[UNMAPPER] = {"unmapper", unmapper, NULL},
	};

	for (u32 point = 1;; point++) {
		struct hosted_way way = {.directed = true, .period = 1, .stop = {{who, point}}};

		map_and_cache();
		unmapped = begun = false;
		stopped = who;
		hosted_run(jobs, JOBS, &way);
		assert_false(is_mapped(BASE));
		assert_int_equal(stale, 0);
		if (hosted_points_counted(who) < point)
			break;
	}
}

static void the_cpu_is_stopped(void **state)
{
	stopped_at_each_point(CPU);
	assert_true(forgot > 1);
}

static void the_unmap_is_stopped(void **state)
{
	stopped_at_each_point(UNMAPPER);
	assert_true(kicked && forgot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_cpu_is_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(the_unmap_is_stopped, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
