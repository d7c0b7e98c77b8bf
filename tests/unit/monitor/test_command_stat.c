/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/command_stat.c */
/* What lines of the log do while counters are printed. */
#include "kernel/base/log_ring.h"
#include "kernel/base/stat.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/metrics.h"
#include "kernel/monitor/pager.h"
#include "tests/hosted/fakes.h"
#include "tests/unit/monitor/say.h"

#include <cmocka.h>

static bool held, stopped;

void log_hold(void)
{
	held = true;
}

void log_release(void)
{
	held = false;
	monitor_print("released");
}

void metrics_each_line(bool (*emit)(const char *line, void *arg), void *arg)
{
	assert_true(held);
	if (emit("# TYPE", arg))
		emit("# EOF", arg);
}

u32 stat_for_each(const char *pattern, void (*fn)(const struct stat_value *v, void *arg), void *arg)
{
	assert_false(held);
	return 1;
}

ANSWER(bool, monitor_stopped, stopped, void)
ANSWER(bool, command_number, false, const char *what, const char *text, u64 *value)
ANSWER(u64, log_mark, 0, void)
ANSWER(u64, log_tail, 0, u32 lines)
ANSWER(bool, log_next, false, u64 *at, char *line)
NOTHING(pager_pass, void)

/* None comes between those of OpenMetrics text, and they come after its end, whatever ended it. */
static void the_log_waits_for_metrics(void **state)
{
	assert_string_equal(say(command_metrics, ""), "# TYPE\n# EOF\nreleased\n");
	assert_string_equal(say(command_stat, "-m"), "# TYPE\n# EOF\nreleased\n");
	stopped = true;
	assert_string_equal(say(command_metrics, ""), "# TYPE\nreleased\n");
	assert_string_equal(say(command_stat, "x"), "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_log_waits_for_metrics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
