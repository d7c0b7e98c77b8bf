/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/monitor.c */
/*
 * `poweroff` and `reboot`: what they ask of the manager, and what they do where that does not end Weir.
 * And what is said, as one goes to a VM's console, of a VM that shows nothing.
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

static enum console_view view = CONSOLE_MONITOR;
ANSWER(enum console_view, console_view, view, void)
NOTHING(vm_wake_manager, void)
NOTHING(command_complete, void *arg, const char *line, u32 cursor, struct edit_completion *c)
NOTHING(command_run, char *line)
NOTHING(console_call_monitor, void)
ANSWER(bool, console_input_waits, false, void)
NOTHING(console_set_footer, const void *bytes, size_t n)

void console_show_last(void)
{
	view = CONSOLE_VM;
}

NOTHING(console_show_shared, void)
static const char *names[] = {"alpha", "beta", NULL}, *shown;
ANSWER(const char *, console_vm_name, names[i], u32 i)
ANSWER(const char *, console_shown_vm, shown, void)
NOTHING(edit_init, struct editor *e)
static enum edit_result edited = EDIT_GO_ON;
ANSWER(enum edit_result, edit_key, edited, struct editor *e, enum key key, char c)
NOTHING(edit_list, struct editor *e, void (*show)(void *arg, const char *candidate), void *arg)
ANSWER(u32, edit_show, 0, struct editor *e, char out[EDIT_SHOW_MAX])
NOTHING(monitor_draw, const char *bytes, size_t n)
ANSWER(enum key, monitor_key, KEY_NONE, u64 deadline_ns, char *c)
NOTHING(pager_begin, void)
ANSWER(bool, pager_end, false, void)
NOTHING(pager_switch, bool on)
static struct vm *there, *starts;
static struct vm vms[2]; /* alpha and beta, where both run */
static bool both_run;
static bool may_start, refused, spent;

/* It shows what the VM printed, which takes a while. */
int console_show_vm(const char *name)
{
	if (starts) {
		there = starts;
		may_start = false;
	}
	return 0;
}

ANSWER(struct vm *, vm_find, both_run ? &vms[name[0] == 'b'] : there, const char *name)
ANSWER(bool, vm_may_start, may_start, const char *name)

struct vm *command_vm_find(const char *name, bool *starts_soon)
{
	*starts_soon = vm_may_start(name);
	return vm_find(name);
}
static u32 paused[2]; /* why */
ANSWER(u32, vm_paused_why, both_run ? paused[vm - vms] : 0, const struct vm *vm)
ANSWER(bool, vm_is_refused, refused, const char *name)
ANSWER(bool, vm_is_spent, spent, const char *name)
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
	spent = true;
	assert_string_equal(say_of_console(),
			    "vm beta is off, and does not start again: Ctrl-] leads back\n");
	there = &beta;
	assert_string_equal(say_of_console(), "");
	spent = false;
	assert_string_equal(say_of_console(), "");
	/* It starts meanwhile. */
	there = NULL;
	may_start = true;
	starts = &beta;
	assert_string_equal(say_of_console(), "");
	assert_ptr_equal(there, &beta);
}

static void go(const char *one, u32 alpha, u32 beta)
{
	said[0] = 0;
	shown = one;
	paused[0] = alpha;
	paused[1] = beta;
}

static const char *say_at_ctrl_bracket(const char *one, u32 alpha, u32 beta)
{
	go(one, alpha, beta);
	view = CONSOLE_MONITOR;
	edited = EDIT_LEAVE;
	monitor_run();
	view = CONSOLE_MONITOR;
	return strchr(said, '\n') + 1; /* after the greeting */
}

/* Nothing at the console itself would say it, whichever way one goes there. */
static void console_of_who_is_paused(void **state)
{
	static const char by_operator[] =
		"vm beta is paused: Ctrl-] leads back, and vm resume beta there lets it go on\n";
	static const char for_memory[] =
		"vm beta is paused for memory, and goes on by itself when there is some\n";
	const u32 operator= VM_PAUSED_BY_OPERATOR, memory = VM_PAUSED_FOR_MEMORY;

	both_run = true;
	shown = "beta";
	paused[1] = operator;
	assert_string_equal(say_of_console(), by_operator);
	assert_string_equal(say_at_ctrl_bracket("beta", 0, operator), by_operator);
	assert_string_equal(say_at_ctrl_bracket("beta", 0, operator| memory), by_operator);
	assert_string_equal(say_at_ctrl_bracket("beta", 0, memory), for_memory);
	assert_string_equal(say_at_ctrl_bracket("beta", operator, 0), "");
	/* Of all that are shown. */
	assert_string_equal(say_at_ctrl_bracket(NULL, 0, operator), by_operator);
	assert_string_equal(say_at_ctrl_bracket(NULL, 0, 0), "");
	go(NULL, memory, operator);
	command_exit(0, NULL);
	assert_string_equal(said, "2 VMs are paused: Ctrl-] leads back, and vm list there tells "
				  "which\n");
	vms[1].end = VM_END_KILLED;
	assert_string_equal(say_at_ctrl_bracket("beta", 0, operator), "");
	both_run = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vms_are_not_killed_by_chance),
		cmocka_unit_test(what_does_not_end),
		cmocka_unit_test(console_of_who_does_not_run),
		cmocka_unit_test(console_of_who_is_paused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
