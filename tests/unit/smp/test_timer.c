/* SPDX-License-Identifier: MIT */
/* Timers against a clock set by hand: order, early and late alarms, moves between CPUs. */
/* unit-sources: smp/timer.c smp/timer_queue.c smp/vtree.c */
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/cpu.h"
#include "smp/irq.h"
#include "smp/timer_queue.h"
#include "tests/hosted/hosted.h"

#define MANY 64

static irq_handler_t handler;
static u64 alarm_ns; /* what the LAPIC was told last */
static u64 now;

void irq_set_handler(u8 vector, irq_handler_t fn, void *arg)
{
	assert_int_equal(vector, VECTOR_TIMER);
	assert_null(arg);
	handler = fn;
}

void apic_timer_init_cpu(void)
{
}

void apic_timer_set(u64 deadline_ns)
{
	alarm_ns = deadline_ns;
}

static void set_clock(u64 ns)
{
	now = ns;
	hosted_clock_set(ns);
}

static struct probe {
	struct timer timer;
	u32 fired;
	u64 at;
	u64 rearm; /* not 0: again at this time */
} probes[MANY];

static u32 sequence[MANY * 4], fired_total;

static void fired(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);

	p->fired++;
	p->at = now;
	sequence[fired_total++] = (u32)(p - probes);
	if (p->rearm) {
		timer_arm(t, p->rearm);
		p->rearm = 0;
	}
}

static int setup(void **state)
{
	(void)state;
	memset(probes, 0, sizeof(probes));
	fired_total = 0;
	alarm_ns = TIMER_NEVER;
	handler = NULL;
	for (u32 id = 2; id-- > 0;) {
		hosted_cpu_set(id);
		timer_init_cpu();
	}
	set_clock(1000);
	for (u32 i = 0; i < MANY; i++)
		timer_init(&probes[i].timer, fired);
	return 0;
}

static void test_fires_in_order(void **state)
{
	timer_arm(&probes[0].timer, 3000);
	timer_arm(&probes[1].timer, 2000);
	assert_int_equal(alarm_ns, 2000);
	timer_arm(&probes[2].timer, 4000);
	assert_int_equal(alarm_ns, 2000);
	timer_arm(&probes[3].timer, 2000); /* after the one of the same time */
	set_clock(3000);
	handler(NULL);
	assert_int_equal(fired_total, 3);
	assert_int_equal(sequence[0], 1);
	assert_int_equal(sequence[1], 3);
	assert_int_equal(sequence[2], 0);
	assert_int_equal(alarm_ns, 4000);
}

static void test_alarm_too_early(void **state)
{
	timer_arm(&probes[0].timer, 5000);
	set_clock(4999);
	alarm_ns = 0;
	handler(NULL);
	assert_int_equal(fired_total, 0);
	assert_int_equal(alarm_ns, 5000);
	set_clock(5000);
	handler(NULL);
	assert_int_equal(fired_total, 1);
}

static void test_past_deadline(void **state)
{
	timer_arm(&probes[0].timer, 1);
	assert_int_equal(alarm_ns, 1);
	handler(NULL);
	assert_int_equal(probes[0].fired, 1);
}

static void test_never(void **state)
{
	timer_arm(&probes[0].timer, TIMER_NEVER);
	timer_arm(&probes[1].timer, 2000);
	set_clock(TIMER_NEVER - 1);
	handler(NULL);
	assert_int_equal(probes[0].fired, 0);
	assert_int_equal(probes[1].fired, 1);
	timer_cancel(&probes[0].timer);
}

static void test_rearm_moves(void **state)
{
	timer_arm(&probes[0].timer, 2000);
	timer_arm(&probes[0].timer, 9000);
	timer_arm(&probes[1].timer, 5000);
	set_clock(6000);
	handler(NULL);
	assert_int_equal(probes[0].fired, 0);
	assert_int_equal(probes[1].fired, 1);
	assert_int_equal(alarm_ns, 9000);
}

static void test_cancel(void **state)
{
	timer_arm(&probes[0].timer, 2000);
	timer_cancel(&probes[0].timer);
	timer_cancel(&probes[0].timer);
	set_clock(3000);
	handler(NULL);
	assert_int_equal(fired_total, 0);
	timer_arm(&probes[0].timer, 3000);
	handler(NULL);
	assert_int_equal(fired_total, 1);
}

static void test_rearm_from_function(void **state)
{
	probes[0].rearm = 4000;
	timer_arm(&probes[0].timer, 2000);
	set_clock(2000);
	handler(NULL);
	assert_int_equal(probes[0].fired, 1);
	assert_int_equal(alarm_ns, 4000);
	assert_false(probes[0].timer.running);
	set_clock(4000);
	handler(NULL);
	assert_int_equal(probes[0].fired, 2);
}

/* A timer fires where it was armed last. */
static void test_other_cpu(void **state)
{
	timer_arm(&probes[0].timer, 2000);
	timer_arm(&probes[1].timer, 2500);
	hosted_cpu_set(1);
	timer_arm(&probes[0].timer, 3000);
	assert_int_equal(alarm_ns, 3000);
	assert_int_equal(probes[0].timer.cpu, 1);
	set_clock(9000);
	hosted_cpu_set(0);
	handler(NULL);
	assert_int_equal(fired_total, 1);
	assert_int_equal(probes[0].fired, 0);
	hosted_cpu_set(1);
	handler(NULL);
	assert_int_equal(probes[0].fired, 1);
	hosted_cpu_set(0);
	timer_arm(&probes[2].timer, 9500);
	hosted_cpu_set(1);
	timer_cancel(&probes[2].timer);
	set_clock(10000);
	hosted_cpu_set(0);
	handler(NULL);
	assert_int_equal(probes[2].fired, 0);
}

/* Its function still runs elsewhere: it waits in the queue, and the alarm comes again soon. */
static void test_still_running(void **state)
{
	timer_arm(&probes[0].timer, 2000);
	timer_arm(&probes[1].timer, 7000000);
	probes[0].timer.running = true;
	set_clock(2000);
	handler(NULL);
	assert_int_equal(fired_total, 0);
	assert_true(probes[0].timer.pending);
	assert_in_range(alarm_ns, 2001, 1000000);
	probes[0].timer.running = false;
	set_clock(alarm_ns);
	handler(NULL);
	assert_int_equal(probes[0].fired, 1);
}

/* --- A timer that arms itself again while another CPU cancels it --- */

static struct timer stubborn;
static bool entered; /* atomic */
static u32 stubborn_fired;

static void arm_until_cancelled(struct timer *t)
{
	if (stubborn_fired++)
		return;
	__atomic_store_n(&entered, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&t->cancels, __ATOMIC_SEQ_CST))
		cpu_relax();
	timer_arm(t, 1);
}

static void *fire_on_cpu_0(void *arg)
{
	hosted_cpu_set(0);
	hosted_irq_on = false;
	handler(NULL);
	return arg;
}

static void test_cancel_of_one_that_rearms(void **state)
{
	pthread_t other;

	entered = false;
	stubborn_fired = 0;
	timer_init(&stubborn, arm_until_cancelled);
	timer_arm(&stubborn, 500);
	assert_int_equal(pthread_create(&other, NULL, fire_on_cpu_0, NULL), 0);
	while (!__atomic_load_n(&entered, __ATOMIC_SEQ_CST))
		cpu_relax();
	hosted_cpu_set(1);
	timer_cancel(&stubborn);
	assert_false(stubborn.pending || stubborn.running);
	pthread_join(other, NULL);
	assert_false(stubborn.pending);
	assert_int_equal(stubborn_fired, 1);
	hosted_cpu_set(0);
	timer_arm(&stubborn, 5000); /* it can be armed again */
	assert_true(stubborn.pending);
	timer_cancel(&stubborn);
}

/* Random arming, cancelling and passing of time, checked against a plain array. */
static void test_random(void **state)
{
	u64 deadline[MANY] = {0}, last = 0;
	bool armed[MANY] = {false};

	srand(42);
	for (u32 step = 0; step < 20000; step++) {
		u32 i = (u32)rand() % MANY;

		switch (rand() % 4) {
		case 0:
		case 1:
			deadline[i] = now + (u64)(rand() % 5000);
			timer_arm(&probes[i].timer, deadline[i]);
			armed[i] = true;
			break;
		case 2:
			timer_cancel(&probes[i].timer);
			armed[i] = false;
			break;
		default:
			set_clock(now + (u64)(rand() % 1000));
			fired_total = 0;
			handler(NULL);
			last = 0;
			for (u32 f = 0; f < fired_total; f++) {
				u32 who = sequence[f];

				assert_true(armed[who] && deadline[who] <= now);
				assert_true(deadline[who] >= last);
				last = deadline[who];
				armed[who] = false;
			}
			for (u32 j = 0; j < MANY; j++) {
				assert_true(!armed[j] || deadline[j] > now);
				assert_true(!armed[j] || alarm_ns <= deadline[j]);
			}
		}
	}
}

static u32 depth_of(const struct vnode *n)
{
	return n ? 1 + max(depth_of(n->left), depth_of(n->right)) : 0;
}

/* Whoever arms, and in whatever order, no CPU has to go past all the others. */
static void test_of_many_few_are_passed(void **state)
{
	static struct timer many[4096];
	static struct timer_queue q;

	for (u32 way = 0; way < 3; way++) {
		timer_queue_init(&q);
		for (u32 i = 0; i < ARRAY_SIZE(many); i++) {
			timer_init(&many[i], fired);
			many[i].deadline_ns = way == 0 ? 1000 + i : way == 1 ? 9000 - i : 5000;
			assert_int_equal(timer_queue_insert(&q, &many[i]), way == 1 || i == 0);
		}
		assert_in_range(depth_of(q.tree.root), 12, 48);
		for (u32 i = 0; i < ARRAY_SIZE(many); i++)
			assert_ptr_equal(timer_queue_pop(&q, 9000),
					 &many[way == 1 ? ARRAY_SIZE(many) - 1 - i : i]);
		assert_null(timer_queue_pop(&q, TIMER_NEVER));
		assert_int_equal(timer_queue_next(&q), TIMER_NEVER);
	}
}

/* Deadlines do not wrap, and guests may ask for any. */
static void test_far_apart(void **state)
{
	static const u64 deadlines[] = {TIMER_NEVER - 1, 3000, 1ull << 63, (1ull << 63) - 5, 2000};

	for (u32 i = 0; i < ARRAY_SIZE(deadlines); i++)
		timer_arm(&probes[i].timer, deadlines[i]);
	assert_int_equal(alarm_ns, 2000);
	set_clock(4000);
	handler(NULL);
	assert_int_equal(fired_total, 2);
	assert_int_equal(sequence[0], 4);
	assert_int_equal(alarm_ns, (1ull << 63) - 5);
	timer_cancel(&probes[3].timer);
	set_clock(5000);
	handler(NULL);
	assert_int_equal(fired_total, 2);
	assert_true(alarm_ns >= 1ull << 63);
	for (u32 i = 0; i < ARRAY_SIZE(deadlines); i++)
		timer_cancel(&probes[i].timer);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fires_in_order),
		TEST(test_alarm_too_early),
		TEST(test_past_deadline),
		TEST(test_never),
		TEST(test_rearm_moves),
		TEST(test_cancel),
		TEST(test_rearm_from_function),
		TEST(test_other_cpu),
		TEST(test_still_running),
		TEST(test_cancel_of_one_that_rearms),
		TEST(test_random),
		TEST(test_of_many_few_are_passed),
		TEST(test_far_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
