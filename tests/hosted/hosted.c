/* SPDX-License-Identifier: MIT */
/* The fake machine: memory, log, panic, failures on order. See hosted.h. */
#define _GNU_SOURCE /* pthread_setattr_default_np */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/points_off.h"

char *hosted_arena;
u64 hosted_arena_size;

struct hosted_machine hosted_machine;
_Thread_local bool hosted_irq_on = true;
_Thread_local u64 hosted_cr[5];
_Thread_local u64 hosted_no_speculation;

#define ARENA_ALIGN    MIB(2)
#define HUGE_PAGES_MAX MIB(64)
#define DEADLINE_S     600u

u64 hosted_deadline(void)
{
	const char *text = getenv("WEIR_DEADLINE");
	u64 seconds = text ? strtoul(text, NULL, 10) : DEADLINE_S;

	return seconds ? seconds : UINT32_MAX;
}

static u64 waits_end_s; /* a little before the deadline */

static u64 now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec;
}

/*
 * A thread that waits for what another, whose assertion failed, would have done ends with the
 * process. The signal is not caught: ThreadSanitizer would hold it back from a thread that spins.
 */
static __attribute__((constructor)) void set_deadline(void)
{
	alarm((unsigned int)hosted_deadline());
	waits_end_s = now_s() + hosted_deadline() - hosted_deadline() / 16;
}

bool hosted_wait_a_moment(const char *file, u32 line, const char *condition)
{
	static _Thread_local u32 moments;

	if (now_s() > waits_end_s) {
		fflush(stdout);
		fprintf(stderr, "%s:%u: waited in vain until %s\n", file, line, condition);
		abort();
	}
	/* Not all the time of a busy host: it is the others' turn. */
	if (++moments % 16)
		sched_yield();
	else
		usleep(20);
	return true;
}

#ifdef __SANITIZE_ADDRESS__
#define THREAD_STACK KIB(256)

/*
 * AddressSanitizer's own stack for a thread's variables has up to 1 MiB of each of 11 sizes, as the
 * thread's has room, and goes through all of it before a place is used again. Here it is a quarter.
 */
static __attribute__((constructor)) void set_thread_stacks(void)
{
	pthread_attr_t attr;

	if (pthread_attr_init(&attr) || pthread_attr_setstacksize(&attr, THREAD_STACK) ||
	    pthread_setattr_default_np(&attr))
		abort();
	pthread_attr_destroy(&attr);
}
#endif

void hosted_arena_init(u64 size)
{
	static void *mapped;
	static u64 mapped_size;

	if (mapped)
		munmap(mapped, mapped_size);
	mapped_size = size + ARENA_ALIGN;
	mapped = mmap(NULL, mapped_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapped == MAP_FAILED) {
		perror("hosted_arena_init");
		exit(2);
	}
	hosted_arena = (char *)align_up((uintptr_t)mapped, ARENA_ALIGN);
	hosted_arena_size = size;
	if (size <= HUGE_PAGES_MAX) /* touched all over, in every run; it is only advice */
		madvise(hosted_arena, size, MADV_HUGEPAGE);
}

/* --- Log --- */

#define LOG_LINE_MAX 481

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static char log_last[LOG_LINE_MAX]; /* log_mutex */
static u32 log_counts[LOG_DEBUG + 1];

/* Weak, these two: a test may bring the real log. */
void __attribute__((weak)) log_write(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	va_list ap;

	pthread_mutex_lock(&log_mutex);
	va_start(ap, fmt);
	vsnprintf(log_last, sizeof(log_last), fmt, ap);
	va_end(ap);
	log_counts[level]++;
	if (getenv("WEIR_TEST_LOG"))
		fprintf(stderr, "%s: %s\n", names[level], log_last);
	pthread_mutex_unlock(&log_mutex);
}

void __attribute__((weak)) log_set_level(enum log_level level)
{
	(void)level;
}

const char *hosted_log_last(void)
{
	return log_last;
}

u32 hosted_log_count(int level)
{
	u32 n;

	pthread_mutex_lock(&log_mutex);
	n = log_counts[level];
	pthread_mutex_unlock(&log_mutex);
	return n;
}

void hosted_log_reset(void)
{
	pthread_mutex_lock(&log_mutex);
	log_last[0] = '\0';
	for (u32 i = 0; i < ARRAY_SIZE(log_counts); i++)
		log_counts[i] = 0;
	pthread_mutex_unlock(&log_mutex);
}

/* --- Panic --- */

static _Thread_local jmp_buf *panic_catcher;
static _Thread_local char panic_text[LOG_LINE_MAX];

void __noreturn panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(panic_text, sizeof(panic_text), fmt, ap);
	va_end(ap);
	if (panic_catcher)
		longjmp(*panic_catcher, 1);
	fprintf(stderr, "panic: %s\n", panic_text);
	abort();
}

bool hosted_catch_panic(void (*fn)(void *arg), void *arg)
{
	jmp_buf here;
	jmp_buf *volatile outer = panic_catcher;

	panic_text[0] = '\0';
	if (setjmp(here) == 0) {
		panic_catcher = &here;
		fn(arg);
		panic_catcher = outer;
		return false;
	}
	panic_catcher = outer;
	return true;
}

const char *hosted_panic_text(void)
{
	return panic_text;
}

/* --- Failing allocations --- */

static s64 fail_countdown; /* atomic; 0: disarmed */
static bool fail_happened;

static u32 fail_one_in; /* atomic; 0: none */
static u64 fail_random; /* atomic */

void hosted_fail_often(u32 n, u64 seed)
{
	__atomic_store_n(&fail_random, seed, __ATOMIC_RELAXED);
	__atomic_store_n(&fail_one_in, n, __ATOMIC_RELAXED);
}

void hosted_fail_after(u32 n)
{
	__atomic_store_n(&fail_happened, false, __ATOMIC_SEQ_CST);
	__atomic_store_n(&fail_countdown, (s64)n, __ATOMIC_SEQ_CST);
}

bool hosted_fail_happened(void)
{
	return __atomic_load_n(&fail_happened, __ATOMIC_SEQ_CST);
}

bool hosted_should_fail(void)
{
	s64 left = __atomic_load_n(&fail_countdown, __ATOMIC_SEQ_CST);
	u32 one_in = __atomic_load_n(&fail_one_in, __ATOMIC_RELAXED);

	if (one_in) {
		u64 state = __atomic_fetch_add(&fail_random, 1, __ATOMIC_RELAXED);

		return random_one_in(&state, one_in);
	}
	while (left > 0) {
		if (!__atomic_compare_exchange_n(&fail_countdown, &left, left - 1, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		if (left == 1)
			__atomic_store_n(&fail_happened, true, __ATOMIC_SEQ_CST);
		return left == 1;
	}
	return false;
}

/*
 * Words of a page that may be gone are read there, and the object's sequence tells afterwards whether
 * they count (R08): whoever has the frame by then may be writing it.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:^read_page$\n";
}
