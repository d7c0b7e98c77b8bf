/* SPDX-License-Identifier: MIT */
/*
 * Runs in the Linux guest: do its clocks go backwards from one vCPU to another?
 *
 *	clocks ROUNDS
 *
 * A thread on each CPU reads each clock over and over. What it reads is no less than what any of
 * them had read, and told the others, before it began: that is all a program may rely on, and what
 * breaks when the time that two vCPUs are given does not agree, or one of them moves to another
 * CPU. Ends with 0 if no reading went backwards and every CPU told the others something.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define CPUS_MAX 64

static uint64_t read_ns(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t)) {
		perror("clock_gettime");
		exit(2);
	}
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What comes before is over, as with RDTSCP, which a Core 2 has not. */
static uint64_t read_tsc(void)
{
	_mm_lfence();
	return __rdtsc();
}

static uint64_t read_monotonic(void)
{
	return read_ns(CLOCK_MONOTONIC);
}

static uint64_t read_raw(void)
{
	return read_ns(CLOCK_MONOTONIC_RAW);
}

static uint64_t read_real(void)
{
	return read_ns(CLOCK_REALTIME);
}

static struct clock {
	const char *name;
	uint64_t (*read)(void);
	uint64_t latest __attribute__((aligned(64))); /* atomic: the most that anybody has read */
	uint64_t back, most_back;		      /* atomic */
} clocks[] = {
	{"tsc", read_tsc, 0, 0, 0},
	{"monotonic", read_monotonic, 0, 0, 0},
	{"raw", read_raw, 0, 0, 0},
	{"real", read_real, 0, 0, 0},
};
#define CLOCKS (sizeof(clocks) / sizeof(clocks[0]))

static struct reader {
	pthread_t thread;
	int cpu;
	unsigned long led; /* readings that were the latest */
} readers[CPUS_MAX];
static unsigned long rounds;
static pthread_barrier_t start;

static void raise_to(uint64_t *word, uint64_t value)
{
	uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

	while (old < value && !__atomic_compare_exchange_n(word, &old, value, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
}

static void look(struct clock *c, struct reader *r)
{
	uint64_t before = __atomic_load_n(&c->latest, __ATOMIC_SEQ_CST);
	uint64_t now = c->read();

	if (now < before) {
		__atomic_fetch_add(&c->back, 1, __ATOMIC_RELAXED);
		raise_to(&c->most_back, before - now);
		return;
	}
	r->led++;
	raise_to(&c->latest, now);
}

static void *run(void *arg)
{
	struct reader *r = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(r->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		perror("sched_setaffinity");
		exit(2);
	}
	pthread_barrier_wait(&start);
	for (unsigned long i = 0; i < rounds; i++) {
		for (size_t c = 0; c < CLOCKS; c++)
			look(&clocks[c], r);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	bool bad = false;

	rounds = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	if (!rounds || cpus < 1 || cpus > CPUS_MAX) {
		fprintf(stderr, "usage: clocks ROUNDS, on 1 to %d CPUs\n", CPUS_MAX);
		return 2;
	}
	pthread_barrier_init(&start, NULL, (unsigned int)cpus);
	for (long i = 0; i < cpus; i++) {
		int err;

		readers[i].cpu = (int)i;
		err = pthread_create(&readers[i].thread, NULL, run, &readers[i]);
		if (err) {
			fprintf(stderr, "pthread_create: %s\n", strerror(err));
			return 2;
		}
	}
	for (long i = 0; i < cpus; i++) {
		pthread_join(readers[i].thread, NULL);
		bad |= !readers[i].led;
	}
	for (size_t c = 0; c < CLOCKS; c++) {
		printf("clock %s: %ld CPUs, %lu readings each, %llu went back, by %llu at most\n",
		       clocks[c].name, cpus, rounds, (unsigned long long)clocks[c].back,
		       (unsigned long long)clocks[c].most_back);
		bad |= clocks[c].back;
	}
	printf("clocks %s\n", bad ? "FAILED" : "agree");
	return bad;
}
