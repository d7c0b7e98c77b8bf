/* SPDX-License-Identifier: MIT */
/* Between the files of `selftest=bench`. Boot thread, one CPU counts. */
#ifndef KERNEL_SELFTEST_BENCH_H
#define KERNEL_SELFTEST_BENCH_H

#include "kernel/base/x86.h"
#include "kernel/selftest_private.h"
#include "mmu/mmu.h"

#define SAMPLES 1001
#define PAGES	SAMPLES /* each is faulted in once */

extern u32 bench_samples[SAMPLES];
/* Each sample is what so many cost. */
void bench_report(const char *name, u32 times);

/* The statement sees the number of the sample as i. */
#define MEASURE(name, statement)                                     \
	do {                                                         \
		for (u32 i = 0; i < SAMPLES; i++) {                  \
			u64 before_ = rdtsc();                       \
			statement;                                   \
			bench_samples[i] = (u32)(rdtsc() - before_); \
		}                                                    \
		bench_report(name, 1);                               \
	} while (0)

static inline gpa_t bench_page_at(u32 i)
{
	return GPA((u64)i << PAGE_SHIFT);
}

/* A fault by a write; and by a read. */
int bench_fault(struct mmu_vcpu *v, gpa_t gpa);
int bench_read(struct mmu_vcpu *v, gpa_t gpa);

/* Pages that are taken, and come back: the slot's page i is the object's page i + 1, resident. */
void bench_tiers(struct selftest *t, struct mmu_vcpu *v, struct gmem *g);

#endif
