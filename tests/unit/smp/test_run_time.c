/* SPDX-License-Identifier: MIT */
/* What a thread has run, as it is looked at without its queue's lock. */
/* unit-sources: smp/runqueue.c smp/vtree.c smp/sched_group.c */
#include <cmocka.h>
#include "smp/sched.h"
#include "tests/hosted/hosted.h"

#define MS 1000000ull

static struct runqueue rq;
static struct thread idle, threads[2];
static u64 now = 1000 * MS;

/* Of groups with a cap: none is here. */
void sched_unpark(struct sched_group *g)
{
}

static void set_up(void)
{
	idle = (struct thread){.state = THREAD_RUNNING, .weight = WEIGHT_DEFAULT};
	runqueue_init(&rq, 0, &idle, now);
	for (u32 i = 0; i < 2; i++) {
		threads[i] = (struct thread){.state = THREAD_BLOCKED, .weight = WEIGHT_DEFAULT};
		runqueue_add(&rq, &threads[i], 0, now);
	}
	assert_ptr_equal(runqueue_next(&rq, &idle, WHY_PREEMPT, NULL, now), &threads[0]);
}

/* It goes on while it runs, charged or not, stands while it waits, and goes on from there. */
static void it_is_what_it_has_run(void **state)
{
	u64 ran[2] = {0, 0};
	u32 on = 0;

	set_up();
	for (u32 i = 0; i < 50; i++) {
		now += (i % 3 + 1) * MS;
		ran[on] += (i % 3 + 1) * MS;
		for (u32 k = 0; k < 2; k++)
			assert_int_equal(runqueue_run_ns(&threads[k], now), ran[k]);
		if (i % 4 == 1)
			runqueue_charge(&rq, now);
		if (i % 4 != 3)
			continue;
		on = 1 - on;
		assert_ptr_equal(runqueue_next(&rq, rq.current, WHY_YIELD, &threads[on], now),
				 &threads[on]);
	}
}

/* Another CPU charges it between two looks at what there is of it. */
static void a_charge_that_is_half_seen(void **state)
{
	u64 run, charged;

	set_up();
	now += 5 * MS;
	runqueue_charge(&rq, now);
	run = threads[0].run_ns;
	charged = threads[0].charged_ns;
	now += 10 * MS;
	runqueue_charge(&rq, now);
	now += MS;
	assert_int_equal(runqueue_run_ns(&threads[0], now), 16 * MS);
	threads[0].run_ns = run;
	assert_int_equal(runqueue_run_ns(&threads[0], now), 16 * MS);
	threads[0].run_ns += 10 * MS;
	threads[0].charged_ns = charged;
	assert_int_equal(runqueue_run_ns(&threads[0], now), 16 * MS);
}

/* By a CPU whose clock is ahead. */
static void it_does_not_go_back(void **state)
{
	set_up();
	runqueue_charge(&rq, now + 3);
	assert_int_equal(runqueue_run_ns(&threads[0], now + 1), 3);
	assert_int_equal(runqueue_run_ns(&threads[0], now + 5), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_what_it_has_run),
		cmocka_unit_test(a_charge_that_is_half_seen),
		cmocka_unit_test(it_does_not_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
