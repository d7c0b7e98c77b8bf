/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/panic.c */
/* How long what a panic has said can be read before the machine starts again. Each test is a process that ends. */
#include "kernel/base/backtrace.h"
#include "kernel/base/console.h"
#include "kernel/base/interrupt_frame.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/mca.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "kernel/base/symbols.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"

#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define TEN    100 /* seconds, in tenths */

void panic_called(const struct interrupt_frame *call, const char *fmt, va_list ap, u64 rbp);

static u64 now, tsc, hz;
static u32 tenths;

u64 log_clock_ns(void)
{
	return now;
}

static u64 cycles(void)
{
	return tsc;
}

static void pass(void)
{
	if (now)
		now += SECOND / 10;
	tsc += hz / 10;
	tenths++;
}

void __noreturn machine_reboot(void)
{
	const char *said = strstr(hosted_log_last(), "rebooting, for panic=reboot: it failed: 7");

	_exit(said ? (int)tenths : 0);
}

u32 log_cpu_id(void)
{
	return 0;
}

u64 log_mark(void)
{
	return 0;
}

void log_show_last(u64 mark, u32 lines)
{
}

void console_break_locks(void)
{
}

void mca_show(void)
{
}

void symbol_print(char *buf, size_t size, u64 addr)
{
}

void backtrace_log(u64 rip, u64 rbp)
{
}

static void fail_with(const char *fmt, ...)
{
	static const struct interrupt_frame frame;
	va_list ap;

	va_start(ap, fmt);
	panic_called(&frame, fmt, ap, 0);
	va_end(ap);
}

/* How many tenths of a second until it starts again. */
static u32 restarts_after(u64 clock, u64 frequency)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		now = clock;
		hz = frequency;
		hosted_machine.tsc = cycles;
		hosted_on_relax = pass;
		panic_set_reboot(true);
		fail_with("it failed: %d", 7);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return (u32)WEXITSTATUS(status);
}

static void after_ten_seconds(void **state)
{
	assert_int_equal(restarts_after(5 * SECOND, 1000000000), TEN);
	assert_int_equal(restarts_after(5 * SECOND, 5000000000), TEN);
}

/* And some, whatever the CPU, before it is known how fast that is. */
static void without_a_clock(void **state)
{
	assert_int_equal(restarts_after(0, 2000000000), TEN);
	assert_int_equal(restarts_after(0, 5000000000), TEN * 2 / 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_ten_seconds),
		cmocka_unit_test(without_a_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
