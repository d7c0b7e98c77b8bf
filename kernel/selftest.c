/* SPDX-License-Identifier: MIT */
#include "kernel/selftest.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/selftest_private.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define NS_PER_MS 1000000ull

static const struct selftest_case *const groups[] = {
	selftest_locks,	     selftest_threads,	   selftest_sched,     selftest_time,
	selftest_memory,     selftest_srcu,	   selftest_vmx,       selftest_vmx_paging,
	selftest_vmx_writes, selftest_vmx_failure, selftest_mmu,       selftest_bench,
	selftest_disk,	     selftest_cpu,	   selftest_hypercall,
};

static struct selftest_worker workers[SELFTEST_WORKERS_MAX];

void selftest_fail(struct selftest *t, const char *file, u32 line, const char *what)
{
	if (__atomic_fetch_add(&t->failures, 1, __ATOMIC_SEQ_CST) == 0)
		snprintf(t->note, sizeof(t->note), "%s:%u: %s", file, line, what);
}

void selftest_note(struct selftest *t, const char *fmt, ...)
{
	va_list ap;

	if (t->failures)
		return;
	va_start(ap, fmt);
	vsnprintf(t->note, sizeof(t->note), fmt, ap);
	va_end(ap);
}

void selftest_skip(struct selftest *t, const char *why)
{
	t->skipped = true;
	selftest_note(t, "%s", why);
}

u32 selftest_workers(u32 per_cpu)
{
	return min(cpu_count() * per_cpu, (u32)SELFTEST_WORKERS_MAX);
}

static void worker(void *arg)
{
	struct selftest_worker *w = arg;

	w->fn(w);
}

void selftest_on_all(struct selftest *t, u32 per_cpu, void (*fn)(struct selftest_worker *w),
		     void *shared)
{
	u32 n = selftest_workers(per_cpu);

	for (u32 i = 0; i < n; i++) {
		struct selftest_worker *w = &workers[i];

		*w = (struct selftest_worker){t, shared, i, i % cpu_count(), NULL, fn};
		if (!EXPECT(t, thread_create(&w->thread, "selftest", worker, w, w->cpu) == 0))
			w->thread = NULL;
	}
	for (u32 i = 0; i < n; i++) {
		if (workers[i].thread)
			thread_join(workers[i].thread);
	}
}

struct score {
	u32 passed, failed, skipped;
};

static void run(const struct selftest_case *c, struct score *score)
{
	struct selftest t = {.note = ""};
	u64 start = clock_ns(), ms;

	log_debug("selftest %s begins", c->name);
	c->fn(&t);
	ms = (clock_ns() - start) / NS_PER_MS;
	if (t.failures) {
		score->failed++;
		log_error("selftest %s: FAIL (%s; %u failures, %lu ms)", c->name, t.note,
			  t.failures, ms);
	} else if (t.skipped) {
		score->skipped++;
		log_info("selftest %s: SKIP (%s)", c->name, t.note);
	} else {
		score->passed++;
		log_info("selftest %s: PASS (%s%s%lu ms)", c->name, t.note, t.note[0] ? ", " : "",
			 ms);
	}
}

static const struct selftest_case *find(const char *name)
{
	for (u32 g = 0; g < ARRAY_SIZE(groups); g++) {
		for (const struct selftest_case *c = groups[g]; c->name; c++) {
			if (!strcmp(c->name, name))
				return c;
		}
	}
	return NULL;
}

static void run_all(struct score *score)
{
	for (u32 g = 0; g < ARRAY_SIZE(groups); g++) {
		for (const struct selftest_case *c = groups[g]; c->name; c++) {
			if (!c->only_by_name)
				run(c, score);
		}
	}
}

static void run_named(const char *name, struct score *score)
{
	const struct selftest_case *c = find(name);

	if (!strcmp(name, "all")) {
		run_all(score);
	} else if (c) {
		run(c, score);
	} else {
		score->failed++;
		log_error("selftest %s: FAIL (there is no such test)", name);
	}
}

u32 selftest_run(const char *names)
{
	struct score score = {0, 0, 0};
	char name[32];

	if (!names[0])
		names = "all";
	while (*names) {
		const char *comma = strchr(names, ',');
		size_t len = comma ? (size_t)(comma - names) : strlen(names);

		strlcpy(name, names, min(len + 1, sizeof(name)));
		if (len)
			run_named(name, &score);
		names += comma ? len + 1 : len;
	}
	log_info("%u passed, %u failed, %u skipped", score.passed, score.failed, score.skipped);
	return score.failed;
}
