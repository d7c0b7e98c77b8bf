/* SPDX-License-Identifier: MIT */
/*
 * What a VM has of the CPUs whose vCPUs sleep and wake to have more than its weight gives: one after
 * the other, all at once, as they like. And who runs beside it, in simulated time.
 */
/*
 * unit-sources: smp/sched.c smp/balance.c smp/sched_rest.c smp/sched_stat.c smp/runqueue.c
 *   smp/vtree.c smp/sched_group.c
 */
#include "tests/unit/smp/sched_time.h"

#define RUN_NS (10000 * MS)

static struct sched_group groups[2];
static u32 counts[2];		/* vCPUs of each VM: the first one's come first */
static u64 begun_ns[THREADS];	/* what it had run as its turn began */
static u64 wakes_ns[THREADS];	/* when a sleeper wakes */
static u64 woken_ns[THREADS];	/* and when it did; 0: it has run since */
static u64 longest_ns[THREADS]; /* from there until it ran */
static u64 before[2], began;

static void set_up(u32 cpu_number, u32 first, u32 second)
{
	setup(cpu_number);
	memset(begun_ns, 0, sizeof(begun_ns));
	memset(wakes_ns, 0, sizeof(wakes_ns));
	memset(woken_ns, 0, sizeof(woken_ns));
	memset(longest_ns, 0, sizeof(longest_ns));
	counts[0] = first;
	counts[1] = second;
	assert_true(first + second <= THREADS);
	for (u32 i = 0; i < 2; i++)
		sched_group_init(&groups[i], 100, 0);
	for (u32 i = 0; i < first + second; i++)
		make(i, 0, THREAD_ANY_CPU)->group = &groups[i >= first];
}

/* The second VM's, which are always busy. */
static void wake_busy(void)
{
	for (u32 i = 0; i < counts[1]; i++)
		wake_from(i % cpus_used, &threads[counts[0] + i]);
}

static u64 sum_of(u32 vm)
{
	u64 sum = 0;

	for (u32 i = 0; i < counts[vm]; i++)
		sum += threads[vm * counts[0] + i].run_ns;
	return sum;
}

static void begin(void)
{
	charge_all();
	began = now;
	for (u32 vm = 0; vm < 2; vm++)
		before[vm] = sum_of(vm);
}

/* In percent of one CPU, since begin. */
static double part_of(u32 vm)
{
	charge_all();
	return percent_of(sum_of(vm) - before[vm], now - began);
}

#define expect_part(vm, least, most)                                                 \
	do {                                                                         \
		double got_ = part_of(vm);                                           \
		if (got_ < (least) || got_ > (most))                                 \
			fail_msg("VM %u has %.2f %% and not %.2f to %.2f", vm, got_, \
				 (double)(least), (double)(most));                   \
	} while (0)

/* t runs, and has for so long since its turn began. */
static bool has_run(u32 i, u64 ns)
{
	struct thread *t = &threads[i];

	charge_all();
	return t->state == THREAD_RUNNING && t->cpu->current == t && t->run_ns - begun_ns[i] >= ns;
}

static void sleep_now(u32 i)
{
	hosted_cpu_set(threads[i].cpu->id);
	schedule_here(SCHEDULE_BLOCK);
}

/* By who runs on that CPU. */
static void give_turn(u32 cpu, u32 i)
{
	begun_ns[i] = threads[i].run_ns;
	wake_from(cpu, &threads[i]);
}

/* All have run once before, each on some CPU, and sleep there. */
static void sleep_about(void)
{
	for (u32 i = 0; i < counts[0]; i++) {
		wake_from(0, &threads[i]);
		while (threads[i].state != THREAD_RUNNING)
			run_until(now + STEP);
		sleep_now(i);
	}
	run_until(now + 500 * MS);
}

/* The first VM's vCPUs pass so many tokens on, each among n of them; who has it runs for burst_ns. */
static void pass_tokens(u32 tokens, u32 n, u64 burst_ns)
{
	u32 turn[THREADS] = {0};

	sleep_about();
	begin();
	for (u32 i = 0; i < tokens; i++)
		give_turn(i % cpus_used, i * n);
	for (u64 end = now + RUN_NS; now < end; run_until(now + STEP)) {
		for (u32 i = 0; i < tokens; i++) {
			u32 from = i * n + turn[i];

			if (!has_run(from, burst_ns))
				continue;
			turn[i] = (turn[i] + 1) % n;
			give_turn(threads[from].cpu->id, i * n + turn[i]);
			sleep_now(from);
		}
	}
}

static void turns_on_one_cpu(void **state)
{
	static const u64 bursts[] = {MS / 2, 2 * MS, 5 * MS, 9 * MS, 10 * MS};

	for (u32 n = 2; n <= 22; n += 4) {
		for (u32 i = 0; i < ARRAY_SIZE(bursts); i++) {
			set_up(1, n, 1);
			wake_busy();
			pass_tokens(1, n, bursts[i]);
			expect_part(0, 49, 50.5);
			teardown();
		}
	}
}

static void turns_beside_other_weights(void **state)
{
	static const u32 weights[] = {300, 33, 900};

	for (u32 i = 0; i < ARRAY_SIZE(weights); i++) {
		double due = 10000.0 / (100 + weights[i]);

		set_up(1, 8, 2);
		groups[1].weight = weights[i];
		wake_busy();
		pass_tokens(1, 8, 9 * MS);
		expect_part(0, due - 1, due + 1);
		teardown();
	}
}

static void several_turns_on_one_cpu(void **state)
{
	set_up(1, 16, 1);
	wake_busy();
	pass_tokens(4, 4, 9 * MS);
	expect_part(0, 49, 50.5);
	teardown();
	set_up(1, 20, 1);
	wake_busy();
	pass_tokens(2, 10, MS);
	expect_part(0, 49, 50.5);
	teardown();
}

static void check_turns(u32 cpu_number, u32 tokens, u32 n, u64 burst_ns, u32 others)
{
	double due = 50.0 * cpu_number;

	set_up(cpu_number, tokens * n, others);
	wake_busy();
	pass_tokens(tokens, n, burst_ns);
	expect_part(0, 0.93 * due, 1.05 * due);
	teardown();
}

static void turns_on_several_cpus(void **state)
{
	check_turns(2, 1, 8, 9 * MS, 2);
	check_turns(2, 2, 4, 9 * MS, 2);
	check_turns(2, 2, 8, 9 * MS, 4);
	check_turns(2, 4, 4, 9 * MS, 2);
	check_turns(2, 4, 4, 2 * MS, 2);
	check_turns(4, 4, 4, 9 * MS, 4);
	/* Their slices never end. */
	check_turns(2, 3, 5, 5 * MS, 2);
	check_turns(4, 8, 2, 9 * MS, 4);
	check_turns(4, 6, 3, 5 * MS, 4);
}

/* All are woken at once as the last of them sleeps. */
static void come_in_waves(u32 cpu_number, u32 n, u64 burst_ns, double least, double most)
{
	bool awake;

	set_up(cpu_number, n, cpu_number);
	wake_busy();
	begin();
	for (u64 end = now + RUN_NS; now < end; run_until(now + STEP)) {
		awake = false;
		for (u32 i = 0; i < n; i++) {
			if (has_run(i, burst_ns))
				sleep_now(i);
			awake |= threads[i].state != THREAD_BLOCKED &&
				 threads[i].state != THREAD_NEW;
		}
		for (u32 i = 0; i < n && !awake; i++)
			give_turn(i % cpu_number, i);
	}
	expect_part(0, least, most);
	teardown();
}

static void waves(void **state)
{
	for (u64 burst = MS / 2; burst <= 4 * MS; burst *= 2) {
		for (u32 n = 2; n <= 22; n += 5)
			come_in_waves(1, n, burst, 49, 50.5);
		/* Who has had his turn sleeps until the last has, and is due nothing meanwhile. */
		for (u32 n = 8; n <= 20; n += 4)
			come_in_waves(2, n, burst, 70, 110);
	}
}

/* From `first` on those of the first VM run for run_ns and sleep for sleep_ns, each for itself. */
static void nap(u32 first, u64 run_ns, u64 sleep_ns)
{
	for (u64 end = now + RUN_NS; now < end; run_until(now + STEP)) {
		for (u32 i = first; i < counts[0]; i++) {
			struct thread *t = &threads[i];

			if (t->state == THREAD_BLOCKED && now >= wakes_ns[i]) {
				woken_ns[i] = now;
				give_turn(t->cpu->id, i);
			} else if (woken_ns[i] && t->state == THREAD_RUNNING) {
				longest_ns[i] = max(longest_ns[i], now - woken_ns[i]);
				woken_ns[i] = 0;
			} else if (has_run(i, run_ns)) {
				wakes_ns[i] = now + sleep_ns;
				sleep_now(i);
			}
		}
	}
}

static void wake_first(void)
{
	for (u32 i = 0; i < counts[0]; i++)
		give_turn(i % cpus_used, i);
}

static void check_waits(u64 most_ns)
{
	for (u32 i = 0; i < counts[0]; i++) {
		if (longest_ns[i] > most_ns)
			fail_msg("vCPU %u waited for %llu us", i,
				 (unsigned long long)longest_ns[i] / 1000);
	}
}

/*
 * A VM that uses less than its part has the CPU as soon as it wakes, however many of it do. Where
 * others may come from other CPUs, that are owed time there, it may have to let two go first.
 */
static void who_mostly_sleeps_has_the_cpu_at_once(void **state)
{
	for (u32 cpu_number = 1; cpu_number <= 4; cpu_number *= 2) {
		for (u32 n = 1; n <= 2 * cpu_number; n *= 2) {
			set_up(cpu_number, n, 2 * cpu_number);
			wake_busy();
			wake_first();
			run_until(now + 500 * MS);
			nap(0, MS / 2, 20 * MS);
			check_waits(cpu_number < 4 ? MS : 2 * SCHED_WAIT_BOUND_NS);
			teardown();
		}
	}
}

/* A vCPU has a CPU of its own, which nobody else wants; that counts for nothing elsewhere. */
static void a_sibling_runs_alone(u64 sleep_ns, double least)
{
	set_up(2, 2, 1);
	for (u32 i = 0; i < 3; i++)
		threads[i].allowed = (struct cpu_set){{i ? 2 : 1}};
	threads[1].cpu = threads[2].cpu = &cpus[1];
	wake_busy();
	wake_first();
	run_until(now + 500 * MS);
	begin();
	nap(1, MS, sleep_ns);
	expect_part(0, 100 + least, 134);
	check_waits(SCHED_WAIT_BOUND_NS);
	teardown();
}

static void who_runs_alone_elsewhere_harms_no_sibling(void **state)
{
	a_sibling_runs_alone(MS / 4, 32);
	a_sibling_runs_alone(5 * MS, 14);
}

/* One vCPU beside a VM of 20, that are busy, nap, come one after the other, or all at once. */
static void one_beside_twenty(void **state)
{
	set_up(1, 1, 20);
	wake_busy();
	wake_first();
	begin();
	run_until(now + RUN_NS);
	expect_part(0, 49, 51);
	teardown();
	set_up(1, 1, 20);
	wake_busy();
	wake_first();
	run_until(now + 500 * MS);
	nap(0, MS, 9 * MS);
	check_waits(MS);
	teardown();
	set_up(1, 20, 1);
	wake_busy();
	wake_first();
	begin();
	nap(0, MS, MS / 4);
	expect_part(1, 49.5, 51);
	teardown();
	check_turns(1, 1, 20, 9 * MS, 1);
	come_in_waves(1, 20, MS, 49, 50.5);
}

/* They have used up their cap and are parked: that does not earn each of them 10 ms. */
static void who_was_parked(void **state)
{
	const u32 other = 20;
	u64 longest = 0;

	set_up(1, other, 1);
	sched_group_init(&groups[0], 100, 45);
	wake_busy();
	wake_first();
	run_until(now + 500 * MS);
	begin();
	for (u64 end = now + RUN_NS; now < end; run_until(now + STEP))
		longest = max(longest, now - last_ran[other]);
	expect_part(0, 44, 46);
	assert_in_range(longest, 0, 30 * MS);
	teardown();
}

static bool is_slow(void)
{
	charge_all();
	hosted_cpu_set(0);
	assert_ptr_equal(me->current, &threads[0]);
	return thread_is_slow();
}

/* Whether a vCPU that runs may be without a CPU for long. Another VM's may want it. */
static void who_is_slow(u32 n, u32 weight, bool beside_another, bool expected)
{
	set_up(2, n, 1);
	groups[0].weight = weight;
	for (u32 i = 0; i <= n; i++)
		threads[i].allowed = (struct cpu_set){{i % n ? 2 : 1}};
	give_turn(0, 0);
	run_until(now + MS);
	for (u32 i = 1; i < n; i++)
		give_turn(0, i);
	assert_false(is_slow());
	if (beside_another)
		give_turn(0, n);
	assert_int_equal(is_slow(), expected);
	teardown();
}

static void who_counts_for_little_is_slow(void **state)
{
	who_is_slow(20, 100, true, true);
	who_is_slow(5, 100, true, true);
	who_is_slow(4, 100, true, false);
	who_is_slow(20, 1000, true, false);
	who_is_slow(1, 20, true, true);
	who_is_slow(1, 50, true, false);
	/* Nobody has it wait. */
	who_is_slow(20, 100, false, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(turns_on_one_cpu),
		cmocka_unit_test(turns_beside_other_weights),
		cmocka_unit_test(several_turns_on_one_cpu),
		cmocka_unit_test(turns_on_several_cpus),
		cmocka_unit_test(waves),
		cmocka_unit_test(who_mostly_sleeps_has_the_cpu_at_once),
		cmocka_unit_test(who_runs_alone_elsewhere_harms_no_sibling),
		cmocka_unit_test(one_beside_twenty),
		cmocka_unit_test(who_was_parked),
		cmocka_unit_test(who_counts_for_little_is_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
