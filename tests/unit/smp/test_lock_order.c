/* SPDX-License-Identifier: MIT */
/* The order of locks: what is noticed, and that a panic names both locks. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "smp/lock_order.h"
#include "smp/spinlock.h"
#include "smp/thread.h"
#include "tests/hosted/hosted.h"

static struct spinlock low, middle, high;
static struct thread thread;

static int setup(void **state)
{
	(void)state;
	memset(this_cpu(), 0, sizeof(struct cpu));
	memset(&thread, 0, sizeof(thread));
	hosted_cpu_set(0);
	irq_enable();
	spin_init(&low, "the low lock", LOCK_MMU);
	spin_init(&middle, "the middle lock", LOCK_RMAP);
	spin_init(&high, "the high lock", LOCK_ZONE);
	return 0;
}

static void take(void *lock)
{
	spin_lock(lock);
}

static void panics_with(void (*fn)(void *), void *arg, const char *a, const char *b)
{
	assert_true(hosted_catch_panic(fn, arg));
	assert_non_null(strstr(hosted_panic_text(), a));
	assert_non_null(strstr(hosted_panic_text(), b));
}

static void test_upwards(void **state)
{
	spin_lock(&low);
	spin_lock(&middle);
	spin_lock(&high);
	assert_true(spin_held(&middle));
	/* The order of release is free. */
	spin_unlock(&low);
	spin_unlock(&high);
	spin_unlock(&middle);
	assert_int_equal(this_cpu()->spin_locks.count, 0);
	assert_int_equal(this_cpu()->preempt_off, 0);
	assert_false(spin_held(&middle));
}

static void test_downwards(void **state)
{
	spin_lock(&high);
	panics_with(take, &low, "the low lock", "the high lock");
}

static void test_same_twice(void **state)
{
	spin_lock(&low);
	panics_with(take, &low, "the low lock (level", "while holding the low lock");
}

static void test_equal_level(void **state)
{
	struct spinlock other;

	spin_init(&other, "the other", LOCK_RMAP);
	spin_lock(&middle);
	panics_with(take, &other, "the other", "the middle lock");
}

/* trylock may go down; what was held before must then still count. */
static void test_trylock(void **state)
{
	spin_lock(&high);
	assert_true(spin_trylock(&low));
	assert_false(spin_trylock(&low));
	panics_with(take, &middle, "the middle lock", "the high lock");
}

static void test_trylock_failed_leaves_nothing(void **state)
{
	assert_true(spin_trylock(&low));
	assert_false(spin_trylock(&low));
	assert_int_equal(this_cpu()->preempt_off, 1);
	assert_int_equal(this_cpu()->spin_locks.count, 1);
	spin_unlock(&low);
	assert_int_equal(this_cpu()->preempt_off, 0);
}

static void unlock(void *lock)
{
	spin_unlock(lock);
}

static void test_unlock_not_held(void **state)
{
	panics_with(unlock, &low, "the low lock", "does not hold");
}

/* An interrupt begins with an empty hand, and leaves it so. */
static void test_interrupt(void **state)
{
	struct cpu *cpu = this_cpu();
	bool on;

	spin_lock(&high);
	cpu->spin_locks.base = cpu->spin_locks.count;
	cpu->interrupt_nest++;
	irq_disable();
	on = spin_lock_irqsave(&low);
	assert_true(low.usage & LOCK_USAGE_IN_INTERRUPT);
	spin_unlock_irqrestore(&low, on);
	cpu->interrupt_nest--;
	cpu->spin_locks.base = 0;
	irq_enable();
	spin_unlock(&high);
}

static void in_interrupt_take(void *lock)
{
	this_cpu()->interrupt_nest++;
	irq_disable();
	spin_lock(lock);
}

static void test_lock_of_threads_in_interrupt(void **state)
{
	spin_lock(&low);
	spin_unlock(&low);
	panics_with(in_interrupt_take, &low, "the low lock", "now by an interrupt");
}

static void test_lock_of_interrupts_in_thread(void **state)
{
	low.usage = LOCK_USAGE_IN_INTERRUPT;
	assert_false(spin_lock_irqsave(&low) == false);
	spin_unlock_irqrestore(&low, true);
	panics_with(take, &low, "the low lock", "interrupt");
}

/*
 * CPU 1 holds high, interrupts on; its interrupt waits for low; CPU 0 holds low and waits for
 * high. Each acquisition goes up, and yet nobody goes on.
 */
static void test_inversion_through_interrupt(void **state)
{
	low.usage = LOCK_USAGE_IN_INTERRUPT;
	spin_lock(&high);
	spin_unlock(&high);
	spin_lock_irqsave(&low);
	panics_with(take, &high, "the high lock", "the low lock");
}

static void sleep_check(void *level)
{
	lock_order_sleep_check("the mutex", (enum lock_level)(u64)level);
}

static void test_sleeping(void **state)
{
	struct lock_breach b;

	this_cpu()->current = &thread;
	lock_order_sleep_check("slots", LOCK_SLOTS);
	lock_order_sleep_taken(&thread, "slots", LOCK_SLOTS);
	assert_true(lock_order_sleep_ok(LOCK_MEM_SEM, &b));
	assert_true(lock_order_spin_ok(&low, &b));
	panics_with(sleep_check, (void *)(u64)LOCK_VM, "the mutex", "slots");
	lock_order_sleep_dropped(&thread);
	lock_order_sleep_check("vm", LOCK_VM);
}

static void test_sleeping_then_spin_below(void **state)
{
	struct spinlock lowest;

	this_cpu()->current = &thread;
	spin_init(&lowest, "the lowest", LOCK_VM);
	lock_order_sleep_taken(&thread, "slots", LOCK_SLOTS);
	panics_with(take, &lowest, "the lowest", "slots");
}

static void test_no_sleep_under_spin_lock(void **state)
{
	spin_lock(&low);
	panics_with(sleep_check, (void *)(u64)LOCK_SLOTS, "the mutex", "the low lock");
}

static void test_no_sleep_with_irqs_off(void **state)
{
	this_cpu()->current = &thread;
	irq_disable();
	panics_with(sleep_check, (void *)(u64)LOCK_SLOTS, "the mutex", "interrupts are off");
}

static void fill(void *stack)
{
	for (u32 i = 0; i <= LOCK_STACK_MAX; i++)
		lock_stack_push(stack, &(struct lock_held){&low, "x", LOCK_MMU, 0});
}

static void test_stack_full(void **state)
{
	struct lock_stack stack = {.count = 0};

	assert_true(hosted_catch_panic(fill, &stack));
	assert_int_equal(stack.count, LOCK_STACK_MAX);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_upwards),
		TEST(test_downwards),
		TEST(test_same_twice),
		TEST(test_equal_level),
		TEST(test_trylock),
		TEST(test_trylock_failed_leaves_nothing),
		TEST(test_unlock_not_held),
		TEST(test_interrupt),
		TEST(test_lock_of_threads_in_interrupt),
		TEST(test_lock_of_interrupts_in_thread),
		TEST(test_inversion_through_interrupt),
		TEST(test_sleeping),
		TEST(test_sleeping_then_spin_below),
		TEST(test_no_sleep_under_spin_lock),
		TEST(test_no_sleep_with_irqs_off),
		TEST(test_stack_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
