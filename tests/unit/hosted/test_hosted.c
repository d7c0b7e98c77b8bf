/* SPDX-License-Identifier: MIT */
/* The fake machine keeps the promises that the other tests rest on. */
#include <setjmp.h>
#include <cmocka.h>
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"

static void arena_is_zero_and_translates(void **state)
{
	hosted_arena_init(MIB(64));
	assert_int_equal(hosted_arena_size, MIB(64));
	assert_true(is_aligned((uintptr_t)hosted_arena, MIB(2)));
	for (u64 a = 0; a < MIB(64); a += PAGE_SIZE)
		assert_int_equal(*(u64 *)phys_to_virt(HPA(a)), 0);
	*(u8 *)phys_to_virt(HPA(MIB(64) - 1)) = 1;
	assert_int_equal(virt_to_phys(hosted_arena + 4096).v, 4096);
	hosted_arena_init(MIB(64));
	assert_int_equal(*(u8 *)phys_to_virt(HPA(MIB(64) - 1)), 0);
}

static void panics(void *arg)
{
	BUG_ON(arg);
}

static void panic_is_caught(void **state)
{
	int there;

	assert_false(hosted_catch_panic(panics, NULL));
	assert_true(hosted_catch_panic(panics, &there));
	assert_non_null(strstr(hosted_panic_text(), "BUG: arg"));
	assert_false(hosted_catch_panic(panics, NULL));
	assert_string_equal(hosted_panic_text(), "");
}

static void failure_comes_once_and_on_time(void **state)
{
	hosted_fail_after(3);
	assert_false(hosted_should_fail());
	assert_false(hosted_should_fail());
	assert_false(hosted_fail_happened());
	assert_true(hosted_should_fail());
	assert_true(hosted_fail_happened());
	assert_false(hosted_should_fail());
	hosted_fail_after(0);
	assert_false(hosted_should_fail());
	assert_false(hosted_fail_happened());
}

static void log_is_counted(void **state)
{
	hosted_log_reset();
	log_warn("slot %u", 7u);
	log_warn("slot %u", 8u);
	assert_int_equal(hosted_log_count(LOG_WARN), 2);
	assert_int_equal(hosted_log_count(LOG_ERROR), 0);
	assert_string_equal(hosted_log_last(), "slot 8");
}

static u32 port_in(u16 port, u32 size)
{
	return port == 0x71 && size == 1 ? 0x26 : 0;
}

static void machine_answers_by_hooks(void **state)
{
	assert_int_equal(inb(0x60), 0xff);
	hosted_machine.in = port_in;
	assert_int_equal(inb(0x71), 0x26);
	hosted_machine.in = NULL;
	assert_true(irq_save());
	assert_false(irq_enabled());
	irq_restore(true);
	assert_true(irq_enabled());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arena_is_zero_and_translates),	  cmocka_unit_test(panic_is_caught),
		cmocka_unit_test(failure_comes_once_and_on_time), cmocka_unit_test(log_is_counted),
		cmocka_unit_test(machine_answers_by_hooks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
