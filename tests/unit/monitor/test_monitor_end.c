/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/monitor.c */
/*
 * `poweroff` and `reboot`: what they ask of the manager, and what they do where that does not end Weir.
 * And what `vm console` says of a VM that shows nothing.
 */
#include "kernel/base/console.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/console.h"
#include "kernel/console_input.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/monitor.h"
#include "kernel/monitor/pager.h"
#include "kernel/vm_life.h"
#include "smp/thread.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/monitor/said.h"

#include <cmocka.h>
#include <setjmp.h>

enum how {
	NO_END,
	OFF,
	AGAIN
};

static jmp_buf end;
static u32 running;
static u64 slept_until;
static bool ended_all;

u64 clock_ns(void)
{
	return 5000000000ull;
}

u32 console_running(void)
{
	return running;
}

void thread_sleep_until(u64 deadline_ns)
{
	assert_true(ended_all && monitor_has_decided() && monitor_lets_end());
	slept_until = deadline_ns;
}

void vm_end_all(void)
{
	assert_true(monitor_has_decided());
	ended_all = true;
}

void __noreturn machine_poweroff(void)
{
	longjmp(end, OFF);
}

void __noreturn machine_reboot(void)
{
	longjmp(end, AGAIN);
}

ANSWER(enum console_view, console_view, CONSOLE_MONITOR, void)
NOTHING(vm_wake_manager, void)
NOTHING(command_complete, void *arg, const char *line, u32 cursor, struct edit_completion *c)
NOTHING(command_run, char *line)
NOTHING(console_call_monitor, void)
ANSWER(bool, console_input_waits, false, void)
NOTHING(console_set_footer, const void *bytes, size_t n)
NOTHING(console_show_last, void)
NOTHING(console_show_shared, void)
NOTHING(edit_init, struct editor *e)
ANSWER(enum edit_result, edit_key, EDIT_GO_ON, struct editor *e, enum key key, char c)
NOTHING(edit_list, struct editor *e, void (*show)(void *arg, const char *candidate), void *arg)
ANSWER(u32, edit_show, 0, struct editor *e, char out[EDIT_SHOW_MAX])
NOTHING(monitor_draw, const char *bytes, size_t n)
ANSWER(enum key, monitor_key, KEY_NONE, u64 deadline_ns, char *c)
NOTHING(pager_begin, void)
ANSWER(bool, pager_end, false, void)
NOTHING(pager_switch, bool on)
static struct vm *there, *starts;
static bool may_start, refused;

/* It shows what the VM printed, which takes a while. */
int console_show_vm(const char *name)
{
	if (starts) {
		there = starts;
		may_start = false;
	}
	return 0;
}

ANSWER(struct vm *, vm_find, there, const char *name)
ANSWER(bool, vm_may_start, may_start, const char *name)

struct vm *command_vm_find(const char *name, bool *starts_soon)
{
	*starts_soon = vm_may_start(name);
	return vm_find(name);
}
ANSWER(bool, vm_is_refused, refused, const char *name)
NOTHING(vm_put, struct vm *vm)

/* How the machine ended, after ten seconds. */
static enum how run(void (*command)(u32 argc, char **argv), const char *word)
{
	char words[8] = "", *argv[] = {words};
	int how;

	said[0] = 0;
	slept_until = 0;
	ended_all = false;
	hosted_log_reset();
	strlcpy(words, word, sizeof(words));
	how = setjmp(end);
	if (!how)
		command(word[0] != 0, argv);
	else
		assert_int_equal(slept_until, 15000000000ull);
	return (enum how)how;
}

/* First, for it is decided once. */
static void vms_are_not_killed_by_chance(void **state)
{
	running = 2;
	assert_int_equal(run(command_poweroff, ""), NO_END);
	assert_string_equal(said, "2 VMs run: -f kills what runs\n");
	assert_int_equal(run(command_reboot, "-g"), NO_END);
	assert_string_equal(said, "'-g': only -f may follow\n");
	assert_false(monitor_has_decided());
	assert_false(ended_all);
}

/* It says who does not end. */
static void what_does_not_end(void **state)
{
	running = 2;
	assert_int_equal(run(command_poweroff, "-f"), OFF);
	assert_non_null(
		strstr(hosted_log_last(), "monitor: VMs do not end: the machine goes off "));
	assert_int_equal(monitor_decision(), WHEN_DONE_POWEROFF);
	running = 0;
	assert_int_equal(run(command_reboot, ""), AGAIN);
	assert_non_null(
		strstr(hosted_log_last(), "monitor: Weir does not end: the machine restarts "));
	assert_int_equal(monitor_decision(), WHEN_DONE_REBOOT);
}

static const char *say_of_console(void)
{
	char name[] = "beta", *argv[] = {name};

	said[0] = 0;
	command_vm_console(1, argv);
	return said;
}

/* Why it shows nothing, and what may be done about that. */
static void console_of_who_does_not_run(void **state)
{
	static struct vm beta;

	assert_string_equal(say_of_console(), "vm beta is off: Ctrl-] leads back, and vm start "
					      "beta there starts it\n");
	may_start = true;
	assert_string_equal(say_of_console(), "");
	may_start = false;
	refused = true;
	assert_string_equal(say_of_console(), "vm beta was refused when Weir booted: Ctrl-] leads "
					      "back, and log tells why there\n");
	refused = false;
	there = &beta;
	assert_string_equal(say_of_console(), "");
	/* It starts meanwhile. */
	there = NULL;
	may_start = true;
	starts = &beta;
	assert_string_equal(say_of_console(), "");
	assert_ptr_equal(there, &beta);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vms_are_not_killed_by_chance),
		cmocka_unit_test(what_does_not_end),
		cmocka_unit_test(console_of_who_does_not_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
