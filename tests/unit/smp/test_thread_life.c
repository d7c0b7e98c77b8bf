/* SPDX-License-Identifier: MIT */
/* unit-sources: smp/thread_life.c smp/tables.c */
/* unit-libs: -Wl,--allow-multiple-definition */
/*
 * A thread's making and end, and a CPU's stacks, with each allocation failing in turn. The hosted
 * machine has threads of its own: the linker takes those of smp/ and of this file, which come
 * first.
 */
#include "kernel/base/error.h"
#include "smp/cpu_private.h"
#include "smp/thread_private.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>
#include <stdlib.h>

#define IST_STACKS 3 /* NMI, #DF, #MC */

static u32 objects, stacks; /* that are out */
static u32 started;
static struct cpu cpu;
u8 interrupt_stubs[16]; /* smp/entry.S: nobody is interrupted here */

static u8 *stack_alloc(u32 pages)
{
	assert_int_equal(pages, STACK_PAGES);
	if (hosted_should_fail())
		return NULL;
	stacks++;
	return malloc(STACK_SIZE);
}

static void stack_free(u8 *stack, u32 pages)
{
	assert_int_equal(pages, STACK_PAGES);
	stacks--;
	free(stack);
}

static void *alloc(size_t size)
{
	if (hosted_should_fail())
		return NULL;
	objects++;
	return calloc(1, size);
}

static void free_object(void *p)
{
	objects--;
	free(p);
}

const struct smp_hooks *smp_hooks_get(void)
{
	static const struct smp_hooks hooks = {
		.stack_alloc = stack_alloc,
		.stack_free = stack_free,
		.alloc = alloc,
		.free = free_object,
	};

	return &hooks;
}

struct cpu *cpu_get(u32 id)
{
	assert_int_equal(id, 0);
	return &cpu;
}

u32 cpu_count(void)
{
	return 1;
}

void thread_set_first_frame(struct thread *t)
{
	assert_non_null(t->stack);
}

void thread_start(struct thread *t)
{
	started++;
}

/* It has run; who joins it finds it done. */
static void end(struct thread *t)
{
	thread_bury(t);
	thread_join(t);
}

static u32 make_with_each_failing(u32 reapers)
{
	struct thread *t;
	u32 before = started;

	for (u32 n = 1;; n++) {
		int err;

		hosted_fail_after(n);
		err = thread_create(&t, "one", NULL, NULL, THREAD_ANY_CPU);
		if (!hosted_fail_happened()) {
			assert_int_equal(err, 0);
			assert_int_equal(started - before, 1 + reapers);
			assert_string_equal(t->name, "one");
			end(t);
			assert_int_equal(objects, 1);
			assert_int_equal(stacks, 1);
			return n - 1;
		}
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(objects, started > before || !reapers);
		assert_int_equal(stacks, objects);
	}
}

/* The first has the reaper made, too, which stays; it is tried again where that failed. */
static void each_allocation_fails(void **state)
{
	thread_reaper_init();
	assert_int_equal(make_with_each_failing(1), 3);
	assert_int_equal(make_with_each_failing(0), 2);
	hosted_fail_after(0);
}

static void no_cpu_to_run_on(void **state)
{
	struct thread *t;

	assert_int_equal(thread_create(&t, "none", NULL, NULL, 1), ERR_RANGE);
	assert_int_equal(objects, 1);
	assert_int_equal(stacks, 1);
}

/* It counts from when it is made until its end; one that could not be made does not. */
static void a_group_counts_its_threads(void **state)
{
	static struct sched_group group;
	struct thread_options options = {.group = &group};
	struct thread *threads[3];

	cpu_set_fill(&options.allowed);
	for (u32 i = 0; i < 3; i++) {
		hosted_fail_after(2);
		assert_int_equal(thread_create_with(&threads[i], "one", NULL, NULL, &options),
				 ERR_NOMEM);
		hosted_fail_after(0);
		assert_int_equal(group.threads, i);
		assert_int_equal(thread_create_with(&threads[i], "one", NULL, NULL, &options), 0);
		assert_int_equal(group.threads, i + 1);
	}
	for (u32 i = 0; i < 3; i++) {
		end(threads[i]);
		assert_int_equal(group.threads, 2 - i);
	}
}

/* What it has of its three stacks a CPU keeps for the next attempt. */
static void a_cpus_stacks(void **state)
{
	u32 before = stacks;

	for (u32 n = 0; n < IST_STACKS; n++) {
		hosted_fail_after(2);
		assert_int_equal(cpu_prepare_tables(3), n + 1 < IST_STACKS ? ERR_NOMEM : 0);
		assert_int_equal(stacks, before + n + 1);
	}
	hosted_fail_after(1);
	assert_int_equal(cpu_prepare_tables(3), 0);
	assert_false(hosted_fail_happened());
	hosted_fail_after(1);
	assert_int_equal(cpu_prepare_tables(4), ERR_NOMEM);
	hosted_fail_after(0);
	assert_int_equal(stacks, before + IST_STACKS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_fails),
		cmocka_unit_test(no_cpu_to_run_on),
		cmocka_unit_test(a_group_counts_its_threads),
		cmocka_unit_test(a_cpus_stacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
