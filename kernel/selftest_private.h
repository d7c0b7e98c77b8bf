/* SPDX-License-Identifier: MIT */
/* Between the files of the self-test. */
#ifndef KERNEL_SELFTEST_PRIVATE_H
#define KERNEL_SELFTEST_PRIVATE_H

#include "smp/cpu.h"

#define SELFTEST_NOTE_MAX 160

/* What one test found. note: shown behind PASS, FAIL or SKIP; the first failure's stays. */
struct selftest {
	u32 failures; /* atomic */
	bool skipped;
	char note[SELFTEST_NOTE_MAX];
};

typedef void (*selftest_fn)(struct selftest *t);

struct selftest_case {
	const char *name;
	selftest_fn fn;
	bool only_by_name; /* not of `all`: ends in a panic, fills the log, or measures */
};

/* Any thread of the test, or an interrupt. */
void selftest_fail(struct selftest *t, const char *file, u32 line, const char *what);

#define EXPECT(t, cond)                                              \
	({                                                           \
		bool expect_ok_ = (cond);                            \
		if (!expect_ok_)                                     \
			selftest_fail(t, __FILE__, __LINE__, #cond); \
		expect_ok_;                                          \
	})

/* Replaces the note of a test that has not failed. */
void selftest_note(struct selftest *t, const char *fmt, ...) __printf_like(2, 3);

/* What the test needs is not there: it counts as neither passed nor failed, unless it failed. */
void selftest_skip(struct selftest *t, const char *why);

#define SELFTEST_WORKERS_MAX (CPU_MAX * 4)

/* What a worker is told. */
struct selftest_worker {
	struct selftest *test;
	void *shared;
	u32 index; /* 0 .. workers-1 */
	u32 cpu;
	struct thread *thread;
	void (*fn)(struct selftest_worker *w);
};

/* Runs fn in per_cpu threads on each CPU at once and waits for all. */
void selftest_on_all(struct selftest *t, u32 per_cpu, void (*fn)(struct selftest_worker *w),
		     void *shared);
u32 selftest_workers(u32 per_cpu); /* how many that are */

/* Each file's tests; the list ends with a NULL name. */
extern const struct selftest_case selftest_locks[], selftest_threads[], selftest_sched[],
	selftest_time[], selftest_memory[], selftest_srcu[], selftest_vmx[], selftest_vmx_paging[],
	selftest_vmx_writes[], selftest_vmx_failure[], selftest_mmu[], selftest_bench[],
	selftest_disk[], selftest_cpu[], selftest_hypercall[];

#endif
