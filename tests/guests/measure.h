/* SPDX-License-Identifier: MIT */
/*
 * What the guests that measure share, each its own copy: samples in ticks of the TSC, and a line
 * "bench: NAME MEDIAN MIN MAX COUNT" of them, less what two readings with nothing in between cost.
 */
#ifndef TESTS_GUESTS_MEASURE_H
#define TESTS_GUESTS_MEASURE_H

#include "guest.h"

#define SAMPLES 10000

static u32 samples[SAMPLES];
static u32 overhead;

static inline u32 now(void)
{
	u32 low;

	__asm__ volatile("rdtsc" : "=a"(low)::"edx", "memory");
	return low;
}

static void swap(u32 *a, u32 *b)
{
	u32 t = *a;

	*a = *b;
	*b = t;
}

static void sift_down(u32 from, u32 end)
{
	for (;;) {
		u32 child = 2 * from + 1;

		if (child >= end)
			return;
		if (child + 1 < end && samples[child] < samples[child + 1])
			child++;
		if (samples[from] >= samples[child])
			return;
		swap(&samples[from], &samples[child]);
		from = child;
	}
}

/* By heap: there is no worst case. */
static void sort(u32 n)
{
	for (u32 i = n / 2; i-- > 0;)
		sift_down(i, n);
	for (u32 end = n; end-- > 1;) {
		swap(&samples[0], &samples[end]);
		sift_down(0, end);
	}
}

static u32 less_overhead(u32 ticks)
{
	return ticks > overhead ? ticks - overhead : 0;
}

static void print_figures(const char *name, u32 median, u32 least, u32 most, u32 count)
{
	print("bench: ");
	print(name);
	print(" ");
	print_decimal(less_overhead(median));
	print(" ");
	print_decimal(less_overhead(least));
	print(" ");
	print_decimal(less_overhead(most));
	print(" ");
	print_decimal(count);
	print("\n");
}

static void report_first(const char *name, u32 count)
{
	sort(count);
	print_figures(name, samples[count / 2], samples[0], samples[count - 1], count);
}

static inline void report(const char *name)
{
	report_first(name, SAMPLES);
}

/* Of what was reported last: where one in many costs much, the median says little. */
static inline void report_mean(const char *name)
{
	u32 sum = 0, mean;

	for (u32 i = 0; i < SAMPLES; i++)
		sum += samples[i];
	mean = sum / SAMPLES;
	print_figures(name, mean, mean, mean, SAMPLES);
}

/* The operation stands between two readings as it is written, with no call around it. */
#define MEASURE(name, operation)                     \
	do {                                         \
		for (u32 i = 0; i < SAMPLES; i++) {  \
			u32 before = now();          \
                                                     \
			operation;                   \
			samples[i] = now() - before; \
		}                                    \
		report(name);                        \
	} while (0)

static void measure_nothing(void)
{
	for (u32 i = 0; i < SAMPLES; i++) {
		u32 before = now();

		samples[i] = now() - before;
	}
	sort(SAMPLES);
	overhead = samples[SAMPLES / 2];
}

#endif
