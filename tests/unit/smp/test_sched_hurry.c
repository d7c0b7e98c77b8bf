/* SPDX-License-Identifier: MIT */
/* A weak VM's vCPUs beside busy strong ones, and hurried while somebody waits for them; in simulated time. */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c smp/thread_lift.c
 */
#include "tests/hosted/random.h"
#include "tests/unit/smp/sched_time.h"

#define VCPUS_MAX 8u
#define OTHERS	  VCPUS_MAX /* the first thread after them */

static struct sched_group vm, other_vm;
static u32 vcpus, others;

/* As on the target, where interrupts are on. */
void thread_preempt(void)
{
	bool on = irq_save();

	schedule_here(SCHEDULE_PREEMPT);
	irq_restore(on);
}

static void start(u32 cpu_number, u32 weight, u32 vcpu_count, u32 cap, u32 other_weight,
		  u32 other_count)
{
	setup(cpu_number);
	vcpus = vcpu_count;
	others = other_count;
	sched_group_init(&vm, weight, cap);
	sched_group_init(&other_vm, other_weight, 0);
	for (u32 i = 0; i < vcpus; i++) {
		make(i, 0, THREAD_ANY_CPU)->group = &vm;
		sched_wake(&threads[i]);
	}
	for (u32 i = OTHERS; i < OTHERS + others; i++) {
		make(i, 0, THREAD_ANY_CPU)->group = &other_vm;
		sched_wake(&threads[i]);
	}
	run_until(now + 3000 * MS);
}

static u64 vm_ran(void)
{
	u64 sum = 0;

	charge_all();
	for (u32 i = 0; i < vcpus; i++)
		sum += threads[i].run_ns;
	return sum;
}

/* Until each vCPU has had the CPU since then. */
static u64 time_for_all(void)
{
	u64 begin = now;
	bool all;

	do {
		run_until(now + STEP);
		all = true;
		for (u32 i = 0; i < vcpus; i++)
			all &= last_ran[i] > begin;
	} while (!all && now - begin < 100000 * MS);
	return now - begin;
}

static const struct {
	u32 weight, count;
} strong[] = {{100, 1}, {1000, 1}, {10000, 1}, {10000, 4}};

/*
 * The end of a weak VM: each vCPU has to see it, and is done then. Before, of weight 1 beside 10000, it was
 * 20 s for one and 80 s for four.
 */
static void all_have_the_cpu_soon(void **state)
{
	for (u32 k = 0; k < ARRAY_SIZE(strong); k++) {
		for (u32 n = 1; n <= VCPUS_MAX; n *= 2) {
			u64 most = 0, took;

			for (u32 round = 0; round < 8; round++) {
				start(1, 1, n, 0, strong[k].weight, strong[k].count);
				run_until(now + round * 37 * MS);
				for (u32 i = 0; i < n; i++)
					thread_hurry(&threads[i], HURRY_A_WHILE);
				took = time_for_all();
				most = max(most, took);
				teardown();
			}
			print_message("%u vCPUs of weight 1 beside %u of %u: %llu ms\n", n,
				      strong[k].count, strong[k].weight, most / MS);
			assert_in_range(most, 0, (n + strong[k].count) * SCHED_SLICE_MAX_NS + STEP);
		}
	}
}

/* Not at a slice of the least length after each of the others. Before, beside 10000, it was 217 s. */
static void one_is_done_soon(void **state)
{
	for (u32 k = 0; k < ARRAY_SIZE(strong); k++) {
		u64 begin, ran;

		start(1, 1, 1, 0, strong[k].weight, strong[k].count);
		while (threads[0].state != THREAD_RUNNABLE)
			run_until(now + STEP);
		begin = now;
		ran = vm_ran();
		thread_hurry(&threads[0], HURRY_A_WHILE);
		while (vm_ran() - ran < 22 * MS && now - begin < 100000 * MS)
			run_until(now + STEP);
		print_message("22 ms of weight 1 beside %u of %u: %llu ms\n", strong[k].count,
			      strong[k].weight, (now - begin) / MS);
		assert_in_range(now - begin, 22 * MS,
				22 * MS + 4 * strong[k].count * SCHED_SLICE_MAX_NS);
		teardown();
	}
}

/* What was put off by then, and no more; the operator's goes on until it is done. */
static void a_while_has_an_end(void **state)
{
	u64 ran;

	start(1, 1, 1, 0, 10000, 1);
	ran = vm_ran();
	thread_hurry(&threads[0], HURRY_A_WHILE);
	run_until(now + 1000 * MS);
	assert_in_range(vm_ran() - ran, 25 * MS, SCHED_HURRY_NS + SCHED_SLICE_MAX_NS);
	thread_hurry(&threads[0], HURRY_UNTIL_DONE);
	ran = vm_ran();
	run_until(now + 1000 * MS);
	assert_in_range(vm_ran() - ran, 450 * MS, 550 * MS);
	thread_hurry_no_more(&threads[0]);
	thread_hurry_no_more(&threads[0]);
	ran = vm_ran();
	/* It owes a whole debt, and runs no more before that is paid: in 400 s. */
	run_until(now + 10000 * MS);
	assert_in_range(vm_ran() - ran, 0, SCHED_SLICE_MAX_NS);
	assert_int_equal(threads[0].put_off, 0);
	teardown();
}

/* What a guest may do to be hurried as often as it can, and never to pay for it. */
enum trick {
	ALWAYS,	      /* others wait for all of it, all the time */
	AS_IT_WAITS,  /* and let go once it has run for a while */
	AND_SLEEPS,   /* it sleeps for a moment just then */
	AND_YIELDS,   /* to another vCPU that is hurried */
	AS_IT_SLEEPS, /* and let go as it wakes */
	TRICKS
};

static bool is_on[VCPUS_MAX];
static u64 on_since[VCPUS_MAX];

static void set_hurried(u32 i, bool on)
{
	if (is_on[i] == on)
		return;
	is_on[i] = on;
	on_since[i] = threads[i].run_ns;
	if (on)
		thread_hurry(&threads[i], HURRY_A_WHILE);
	else
		thread_hurry_no_more(&threads[i]);
}

static void sleep_here(u32 i)
{
	if (threads[i].cpu->current != &threads[i])
		return;
	hosted_cpu_set(threads[i].cpu->id);
	schedule_here(SCHEDULE_BLOCK);
}

static void play(enum trick trick, u32 i, u64 *seed)
{
	struct thread *t = &threads[i];
	bool enough = t->run_ns - on_since[i] > random_below(seed, 40) * MS;

	if (trick == ALWAYS || t->state == THREAD_RUNNABLE)
		set_hurried(i, true);
	if (trick == AS_IT_SLEEPS) {
		if (t->state == THREAD_BLOCKED)
			wake_from(t->cpu->id, t);
		else if (is_on[i] && enough)
			sleep_here(i);
		set_hurried(i, t->state != THREAD_RUNNING || !enough);
	} else if (trick != ALWAYS && is_on[i] && t->state == THREAD_RUNNING && enough) {
		set_hurried(i, false);
		if (trick == AND_SLEEPS)
			sleep_here(i);
	}
	if (t->state == THREAD_BLOCKED && random_one_in(seed, 8))
		wake_from(t->cpu->id, t);
	/* Who is hurried is in Weir, and yields to nobody. */
	if (trick == AND_YIELDS && !is_on[i] && t->cpu->current == t) {
		hosted_cpu_set(t->cpu->id);
		sched_want(&threads[(i + 1) % vcpus]);
		schedule_here(SCHEDULE_YIELD);
	}
}

/*
 * Weights 1 to 3: the VM has no more than its quarter, by whatever it does, but for what it owes as the
 * test ends; on two CPUs also for what is forgotten where threads move between clocks that are apart.
 */
static void nothing_is_earned(void **state)
{
	for (u32 n = 0; n < 3 * TRICKS; n++) {
		enum trick trick = n % TRICKS;
		u32 cpu_number = n / TRICKS == 2 ? 2 : 1;
		u64 seed = n + 1, begin, ran;
		double percent, most = cpu_number > 1 ? 26.3 : 25.7;

		memset(is_on, 0, sizeof(is_on));
		start(cpu_number, 100, n < TRICKS ? 1 : 4, 0, 300, 4);
		begin = now;
		ran = vm_ran();
		while (now - begin < 40000 * MS) {
			for (u32 i = 0; i < vcpus; i++)
				play(trick, i, &seed);
			run_until(now + STEP);
		}
		percent = percent_of(vm_ran() - ran, (now - begin) * cpu_number);
		print_message("trick %u, %u vCPUs, %u CPUs: %.2f %%\n", trick, vcpus, cpu_number,
			      percent);
		if (percent > most || (percent < 24 && trick < AND_SLEEPS))
			fail_msg("trick %u: %.2f %% and not 25", trick, percent);
		for (u32 i = 0; i < vcpus; i++)
			set_hurried(i, false);
		run_until(now + 3000 * MS);
		for (u32 i = 0; i < vcpus; i++)
			assert_true(threads[i].put_off == 0 || threads[i].state == THREAD_BLOCKED);
		teardown();
	}
}

#define PIECE_NS (25 * MS) /* of CPU: a line that is completed, at 115200 baud */

static struct {
	u32 holder; /* of the console; VCPUS_MAX: nobody */
	u64 since, ran;
	u64 longest;
	u32 pieces;
} console;

/* Whoever has it is hurried for the others (smp/mutex.c). */
static void write_to_console(u32 i)
{
	struct thread *t = &threads[i];

	if (t->cpu->current != t)
		return;
	hosted_cpu_set(t->cpu->id);
	if (console.holder == VCPUS_MAX) {
		console.holder = i;
		console.since = now;
		console.ran = t->run_ns;
		thread_hurry(t, HURRY_A_WHILE);
	} else if (console.holder == i && t->run_ns - console.ran >= PIECE_NS) {
		console.holder = VCPUS_MAX;
		console.longest = max(console.longest, now - console.since);
		console.pieces++;
		thread_hurry_no_more(t);
	}
}

/*
 * Four vCPUs that do nothing but write, of VMs that weigh little: nobody waits for the console for long, and
 * the strong one has what it should.
 */
static void who_writes_without_end_keeps_nobody_out(void **state)
{
	u64 begin, ran;

	start(1, 4, 4, 0, 100, 2);
	memset(&console, 0, sizeof(console));
	console.holder = VCPUS_MAX;
	begin = now;
	ran = vm_ran();
	while (now - begin < 200000 * MS) {
		charge_all();
		for (u32 i = 0; i < vcpus; i++)
			write_to_console(i);
		run_until(now + STEP);
	}
	print_message("%u pieces, the longest in %llu ms, %.2f %%\n", console.pieces,
		      console.longest / MS, percent_of(vm_ran() - ran, now - begin));
	assert_in_range(console.pieces, 40, 320);
	assert_in_range(console.longest, PIECE_NS, PIECE_NS + 6 * SCHED_SLICE_MAX_NS);
	expect_percent(vm_ran() - ran, now - begin, 3.85, 0.2);
	teardown();
}

/* It has slept for long by then: what it put off is in the past like anything else that it owed. */
static void a_sleep_pays(void **state)
{
	start(1, 100, 1, 0, 100, 1);
	thread_hurry(&threads[0], HURRY_A_WHILE);
	run_until(now + 100 * MS);
	while (threads[0].state != THREAD_RUNNING)
		run_until(now + STEP);
	assert_true(threads[0].put_off > (s64)(5 * MS));
	sleep_here(0);
	run_until(now + 1000 * MS);
	thread_hurry_no_more(&threads[0]);
	sched_wake(&threads[0]);
	assert_int_equal(threads[0].put_off, 0);
	assert_true((s64)(threads[0].vruntime - schedulers[0].rq.clock) <= 0);
	teardown();
}

static u64 owed_in_all(const struct thread *t)
{
	return t->vruntime - schedulers[0].rq.clock + (u64)t->put_off;
}

/* How long at most it waits, from now on, until it has run so long. */
static u64 longest_wait(const struct thread *t, u64 ns)
{
	u64 ran, last = now, longest = 0;

	charge_all();
	ran = t->run_ns;
	while (t->run_ns - ran < ns && now - last < 100000 * MS) {
		if (t->state == THREAD_RUNNING)
			last = now;
		longest = max(longest, now - last);
		run_until(now + STEP);
		charge_all();
	}
	return longest;
}

static void until_it_runs(u32 i)
{
	while (threads[i].state != THREAD_RUNNING)
		run_until(now + STEP);
}

/*
 * It has put off as much as it may, at an eighth of its VM's weight; then the other vCPUs halt, and it has all
 * of it. Before, it waited for what it could not put off any more: of weight 4 beside 100 for seconds. When
 * it has been let go, and has slept, that is over: it puts off what its part then is worth.
 */
static void its_part_may_grow(void **state)
{
	struct thread *t = &threads[0];
	u64 wait;

	for (u32 sleeps = 0; sleeps < 2; sleeps++) {
		start(1, 4, VCPUS_MAX, 0, 100, 1);
		until_it_runs(0);
		while (t->state == THREAD_RUNNING)
			run_until(now + STEP);
		thread_hurry(t, HURRY_A_WHILE);
		longest_wait(t, 15 * MS);
		until_it_runs(0);
		if (sleeps)
			sleep_here(0);
		for (u32 i = 1; i < VCPUS_MAX; i++)
			thread_hurry(&threads[i], HURRY_A_WHILE);
		for (u32 i = 1; i < VCPUS_MAX; i++) {
			until_it_runs(i);
			sleep_here(i);
			thread_hurry_no_more(&threads[i]);
		}
		if (sleeps)
			wake_from(0, t);
		wait = longest_wait(t, 15 * MS);
		print_message("its part has grown, and it has%s slept: %llu ms\n",
			      sleeps ? "" : " not", wait / MS);
		assert_in_range(wait, 0, 2 * SCHED_SLICE_MAX_NS);
		until_it_runs(0);
		sleep_here(0);
		thread_hurry_no_more(t);
		run_until(now + 1000 * MS);
		wake_from(0, t);
		until_it_runs(0);
		charge_all();
		t->vruntime = schedulers[0].rq.clock + 10000 * MS;
		thread_hurry(t, HURRY_A_WHILE);
		assert_int_equal(t->put_off, runqueue_virtual(SCHED_HURRY_NS, thread_weight(t)));
		teardown();
	}
}

/* However much that is, as it is hurried and let go; nor is it yielded to for having put it off. */
static void what_it_owes_stays(void **state)
{
	struct runqueue *rq = &schedulers[0].rq;
	struct thread *t = &threads[0];
	u64 owed;

	start(1, 100, 1, 0, 100, 1);
	while (t->state != THREAD_RUNNABLE)
		run_until(now + STEP);
	charge_all();
	t->vruntime = rq->clock + 60 * MS;
	thread_hurry(t, HURRY_A_WHILE);
	assert_int_equal(t->put_off, SCHED_HURRY_NS);
	assert_int_equal(owed_in_all(t), 60 * MS);
	thread_hurry_no_more(t);
	assert_int_equal(owed_in_all(t), 60 * MS);
	assert_int_equal(t->put_off, 0);
	t->vruntime = rq->clock + SCHED_SLICE_MAX_NS;
	thread_hurry(t, HURRY_A_WHILE);
	assert_true(runqueue_may_come_first(rq, t));
	t->put_off += MS;
	assert_int_equal(t->vruntime, rq->clock);
	assert_false(runqueue_may_come_first(rq, t));
	/* It sleeps for a moment, and counts for more then: what it has put off is worth what it was. */
	t->put_off = 60 * MS;
	while (t->state != THREAD_RUNNING)
		run_until(now + STEP);
	sleep_here(0);
	owed = owed_in_all(t);
	assert_true(owed > SCHED_DEBT_NS);
	sched_wake(t);
	assert_int_equal(owed_in_all(t), owed);
	teardown();
}

/* Parked it goes on at once, and is not parked until nobody waits any more: then at once. */
static void no_cap_holds_it_up(void **state)
{
	start(1, 100, 1, 10, 100, 0);
	/* Used up long ago, and owed for many periods. */
	while (threads[0].state != THREAD_RUNNING)
		run_until(now + STEP);
	vm.used_ns = 1000 * MS;
	while (threads[0].state != THREAD_PARKED)
		run_until(now + STEP);
	/* Its VM's others have had what was its part meanwhile. */
	vm.cpus[0].vtime = schedulers[0].rq.clock + 5 * MS;
	thread_hurry(&threads[0], HURRY_A_WHILE);
	assert_int_equal(owed_in_all(&threads[0]), 5 * MS);
	assert_int_equal(threads[0].state, THREAD_RUNNABLE);
	assert_true(list_empty(&schedulers[0].parked));
	run_until(now + STEP);
	assert_ptr_equal(cpus[0].current, &threads[0]);
	assert_false(cpus[0].need_resched);
	run_until(now + 10 * MS);
	assert_true(sched_group_throttled(&vm));
	assert_int_equal(threads[0].state, THREAD_RUNNING);
	assert_int_equal(hosted_timers_next() > now + 10 * MS, true);
	/* No slice of it ends before the period: who makes it look is who does not wait any more. */
	parks = false;
	thread_hurry_no_more(&threads[0]);
	assert_true(cpus[0].need_resched);
	parks = true;
	run_until(now + STEP);
	assert_int_equal(threads[0].state, THREAD_PARKED);
	teardown();
}

/* It has run before its turn: as nobody waits for it any more, whose turn it is goes on. */
static void who_is_let_go_makes_way(void **state)
{
	start(1, 1, 1, 0, 100, 1);
	while (threads[0].state != THREAD_RUNNABLE)
		run_until(now + STEP);
	thread_hurry(&threads[0], HURRY_A_WHILE);
	while (threads[0].put_off == 0 || cpus[0].current != &threads[0])
		run_until(now + STEP);
	assert_false(cpus[0].need_resched);
	irq_enable();
	thread_hurry_no_more(&threads[0]);
	irq_disable();
	assert_ptr_equal(cpus[0].current, &threads[OTHERS]);
	teardown();
}

/* Nothing is done for those; they are lifted. */
static void no_thread_of_weirs_own(void **state)
{
	start(1, 100, 1, 0, 100, 1);
	make(20, 20, 0);
	sched_wake(&threads[20]);
	thread_hurry(&threads[20], HURRY_UNTIL_DONE);
	assert_int_equal(threads[20].hurried, 0);
	thread_hurry_no_more(&threads[20]);
	assert_int_equal(threads[20].hurried, 0);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_have_the_cpu_soon),
		cmocka_unit_test(one_is_done_soon),
		cmocka_unit_test(a_while_has_an_end),
		cmocka_unit_test(nothing_is_earned),
		cmocka_unit_test(who_writes_without_end_keeps_nobody_out),
		cmocka_unit_test(a_sleep_pays),
		cmocka_unit_test(its_part_may_grow),
		cmocka_unit_test(what_it_owes_stays),
		cmocka_unit_test(no_cap_holds_it_up),
		cmocka_unit_test(who_is_let_go_makes_way),
		cmocka_unit_test(no_thread_of_weirs_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
