/* SPDX-License-Identifier: MIT */
/*
 * Two TSCs that the firmware set apart, each a thread's: the same time, an offset that nothing
 * shows, and what IA32_TSC_ADJUST says.
 */
/* unit-sources: smp/clock_sync.c */
/* unit-sanitizer: thread */
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "smp/clock.h"
#include "smp/cpu.h"
#include "smp/timer.h"
#include "tests/hosted/hosted.h"

#define FAR	1000000000000ll
#define NEAR	(100 * STEP) /* and more than a measurement takes here */
#define STEP	1000
#define STEPS	5
#define AN_HOUR 3600000000000ull
#define TRIES	5
#define SETS	4

static _Thread_local s64 offset, adjust;
static bool has_adjust, keeps_adjust; /* kept: by who runs this machine as a guest, say */
static u64 write_takes[SETS];	      /* until IA32_TSC has what was written: an SMI, say */
static u32 adjust_writes, tsc_writes, doubts;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static u64 now;		   /* lock */
static u32 last, in_a_row; /* lock: who read it last, and how often */
static u32 late_reads;	   /* lock: the boot CPU's once the new one is through */
static bool through;	   /* lock */
static bool goes_deaf;	   /* the boot CPU does, when the new one has written its adjustment */
static bool deaf;	   /* atomic */

/*
 * Who waits lets no time pass, however long the host takes; but nobody waits when both are through.
 */
static u64 time_passes(u32 cpu)
{
	u64 t;

	pthread_mutex_lock(&lock);
	in_a_row = cpu == last ? in_a_row + 1 : 1;
	last = cpu;
	late_reads += through;
	now += through || in_a_row <= STEPS ? STEP : 0;
	if (cpu && __atomic_load_n(&deaf, __ATOMIC_ACQUIRE))
		now += AN_HOUR;
	t = now;
	pthread_mutex_unlock(&lock);
	return t;
}

static bool is_through(void)
{
	bool is;

	pthread_mutex_lock(&lock);
	is = through;
	pthread_mutex_unlock(&lock);
	return is;
}

void clock_tsc_doubt(void)
{
	doubts++;
}

static u64 fake_tsc(void)
{
	u32 cpu = cpu_id();

	while (!cpu && __atomic_load_n(&deaf, __ATOMIC_ACQUIRE) && !is_through())
		sched_yield();
	return time_passes(cpu) + (u64)(offset + adjust);
}

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	if (leaf == 0)
		return (struct cpuid_regs){.eax = 7};
	return (struct cpuid_regs){.ebx = leaf == 7 && has_adjust ? BIT(1) : 0};
}

static u64 fake_rdmsr(u32 index)
{
	assert_int_equal(index, MSR_IA32_TSC_ADJUST);
	assert_true(has_adjust);
	return (u64)adjust;
}

static void fake_wrmsr(u32 index, u64 value)
{
	if (index == MSR_IA32_TSC_ADJUST) {
		if (!keeps_adjust)
			adjust = (s64)value;
		adjust_writes++;
		__atomic_store_n(&deaf, goes_deaf, __ATOMIC_RELEASE);
	} else {
		assert_int_equal(index, MSR_IA32_TSC);
		pthread_mutex_lock(&lock);
		if (tsc_writes < SETS)
			now += write_takes[tsc_writes];
		offset = (s64)(value - now) - adjust;
		pthread_mutex_unlock(&lock);
		tsc_writes++;
	}
}

struct new_cpu {
	s64 offset, adjust;
	s64 ends_apart; /* from the boot CPU's, whose is offset 0 */
	s64 ends_adjusted;
};

static void *new_cpu(void *arg)
{
	struct new_cpu *n = arg;

	hosted_cpu_set(1);
	offset = n->offset;
	adjust = n->adjust;
	clock_sync_new_cpu();
	pthread_mutex_lock(&lock);
	through = true;
	pthread_mutex_unlock(&lock);
	n->ends_apart = offset + adjust;
	n->ends_adjusted = adjust;
	return NULL;
}

static void meet(struct new_cpu *n, s64 boot_adjust)
{
	pthread_t thread;

	hosted_cpu_set(0);
	adjust = boot_adjust;
	offset = 0;
	through = false;
	late_reads = 0;
	clock_sync_prepare();
	assert_int_equal(pthread_create(&thread, NULL, new_cpu, n), 0);
	clock_sync_boot_cpu();
	assert_int_equal(pthread_join(thread, NULL), 0);
	n->ends_apart -= boot_adjust;
	/* It does not wait for more questions: one look may have come before. */
	assert_in_range(late_reads, 0, 1);
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){
		.tsc = fake_tsc, .cpuid = fake_cpuid, .rdmsr = fake_rdmsr, .wrmsr = fake_wrmsr};
	has_adjust = true;
	keeps_adjust = goes_deaf = deaf = false;
	memset(write_takes, 0, sizeof(write_takes));
	adjust_writes = tsc_writes = doubts = 0;
	hosted_log_reset();
	return 0;
}

static void together(void **state)
{
	struct new_cpu n = {.adjust = 77};

	meet(&n, 77);
	assert_int_equal(n.ends_apart, 0);
	assert_int_equal(adjust_writes + tsc_writes + doubts, 0);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
	has_adjust = false;
	n = (struct new_cpu){0};
	meet(&n, 0);
	assert_int_equal(adjust_writes + tsc_writes, 0);
}

/* The firmware wrote one of them: what it wrote is known, and exact. */
static void set_apart_by_writing(void **state)
{
	static const s64 writes[][2] = {{FAR, 0}, {-FAR, 0}, {0, FAR}, {5 * FAR, 3 * FAR}};

	for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
		struct new_cpu n = {.adjust = writes[i][0]};

		setup(state);
		meet(&n, writes[i][1]);
		assert_int_equal(n.ends_apart, 0);
		assert_int_equal(adjust_writes, 1);
		assert_int_equal(doubts, 0);
		assert_int_equal(hosted_log_count(LOG_WARN), 1);
	}
}

/* Nothing shows why: as near as the measurement is. Also where the adjustments do differ. */
static void apart_by_themselves(void **state)
{
	static const struct new_cpu starts[] = {{.offset = FAR},
						{.offset = -FAR},
						{.offset = FAR, .adjust = 12345},
						{.offset = FAR, .adjust = -2 * FAR}};

	for (u32 i = 0; i < ARRAY_SIZE(starts); i++) {
		struct new_cpu n;
		u32 tries = 0, sets;

		do {
			n = starts[i];
			setup(state);
			has_adjust = i != 0;
			meet(&n, 0);
			assert_true(llabs(n.ends_apart) < NEAR);
			sets = hosted_log_count(LOG_WARN) - doubts;
			assert_in_range(sets, 1, SETS);
			assert_int_equal(tsc_writes, i == 0 ? sets : 0);
			assert_int_equal(adjust_writes, i == 0 ? 0 : sets + !!starts[i].adjust);
			assert_non_null(strstr(hosted_log_last(), "cycles apart"));
			/* The host may have run neither when it was its turn, for each of them. */
		} while (doubts && ++tries < TRIES);
		assert_int_equal(doubts, 0);
	}
}

/*
 * IA32_TSC has what was written too late, each time by the same: it is made up for. Also where one of
 * the writes, whichever, is later than the others.
 */
static void written_late(void **state)
{
	for (u32 smi = 0; smi <= SETS; smi++) {
		struct new_cpu n;
		u32 tries = 0;

		do {
			n = (struct new_cpu){.offset = FAR};
			setup(state);
			has_adjust = false;
			for (u32 i = 0; i < SETS; i++)
				write_takes[i] = (i == smi ? 7 : 2) * NEAR;
			meet(&n, 0);
			/* As in apart_by_themselves: it is measured near to a host that does not run. */
		} while (doubts && ++tries < TRIES);
		assert_int_equal(doubts, 0);
		assert_true(llabs(n.ends_apart) < NEAR);
	}
}

/* What is written comes to be too late by what nobody knows, or not at all: no TSCs that agree. */
static void not_set_right(void **state)
{
	struct new_cpu n = {.offset = FAR};

	has_adjust = false;
	for (u32 i = 0; i < SETS; i++)
		write_takes[i] = (u64)(i + 1) * (i + 1) * 2 * NEAR;
	meet(&n, 0);
	assert_int_equal(tsc_writes, SETS);
	assert_int_equal(doubts, 1);
	assert_non_null(strstr(hosted_log_last(), "apart still"));
	for (u32 i = 0; i < 2; i++) {
		setup(state);
		keeps_adjust = true;
		n = (struct new_cpu){.offset = FAR, .adjust = i ? FAR : 0};
		meet(&n, 0);
		assert_int_equal(adjust_writes, SETS + i);
		assert_int_equal(doubts, 1);
		assert_non_null(strstr(hosted_log_last(), "apart still"));
	}
}

/* Set back, but nobody says whether that was right: guests are told of no TSCs that agree. */
static void no_answer_to_the_second(void **state)
{
	struct new_cpu n = {.adjust = FAR};

	goes_deaf = true;
	meet(&n, 0);
	assert_int_equal(doubts, 1);
	assert_int_equal(n.ends_apart, 0);
	assert_int_equal(adjust_writes, 1);
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	assert_non_null(strstr(hosted_log_last(), "does not answer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(together, setup),
		cmocka_unit_test_setup(set_apart_by_writing, setup),
		cmocka_unit_test_setup(apart_by_themselves, setup),
		cmocka_unit_test_setup(written_late, setup),
		cmocka_unit_test_setup(not_set_right, setup),
		cmocka_unit_test_setup(no_answer_to_the_second, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
