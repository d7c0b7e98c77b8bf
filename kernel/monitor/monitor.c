/* SPDX-License-Identifier: MIT */
#include "kernel/monitor/monitor.h"
#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/console.h"
#include "kernel/console_input.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/pager.h"
#include "kernel/version.h"
#include "kernel/vm_life.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define COLUMNS	    PAGER_COLUMNS
#define NEVER	    (~0ull)
#define END_WAIT_NS 10000000000ull

static struct editor editor = {
	.prompt = "weir> ",
	.columns = COLUMNS,
	.complete = command_complete,
};

static bool stays;   /* set once, when no VM was left: the command line's word */
static bool decided; /* atomic: by a command, it ends so */
static enum config_when_done decision;

/* --- the line --- */

static void show_line(void)
{
	char bytes[EDIT_SHOW_MAX];

	static_assert(EDIT_SHOW_MAX <= CONSOLE_FOOTER_MAX, "the log puts it back");
	console_set_footer(bytes, edit_show(&editor, bytes));
}

/* What is shown of the line stays, and output begins below it. */
static void leave_line(const char *mark)
{
	char bytes[EDIT_SHOW_MAX];
	u32 n;

	editor.cursor = editor.length;
	n = edit_show(&editor, bytes);
	console_set_footer(NULL, 0);
	monitor_draw(bytes, n);
	monitor_draw(mark, strlen(mark));
	monitor_draw("\r\n", 2);
}

/* --- going back --- */

static u32 why_paused(const char *name)
{
	struct vm *vm = vm_find(name);
	u32 why = 0;

	if (!vm)
		return 0;
	if (__atomic_load_n(&vm->end, __ATOMIC_ACQUIRE) == VM_END_NONE)
		why = vm_paused_why(vm);
	vm_put(vm);
	return why;
}

/* Nothing comes from it, nor is anything taken that is typed: nobody there could know why. */
static void tell_paused(void)
{
	const char *only = console_shown_vm(), *name, *paused = NULL;
	u32 count = 0, why = 0;

	for (u32 i = 0; (name = console_vm_name(i)) != NULL; i++) {
		u32 now = !only || strcmp(name, only) == 0 ? why_paused(name) : 0;

		if (!now)
			continue;
		count++;
		paused = name;
		why = now;
	}
	if (!count)
		return;
	monitor_draw("\r\n", 2); /* what a guest wrote last may be half a line */
	if (count > 1)
		monitor_print("%u VMs are paused: Ctrl-] leads back, and vm list there tells which",
			      count);
	else if (why == VM_PAUSED_FOR_MEMORY)
		monitor_print(
			"vm %s is paused for memory, and goes on by itself when there is some",
			paused);
	else
		monitor_print("vm %s is paused: Ctrl-] leads back, and vm resume %s there lets it "
			      "go on",
			      paused, paused);
}

/* Ctrl-]: back to where one was. */
static void leave(void)
{
	edit_init(&editor);
	console_show_last();
	tell_paused();
	vm_wake_manager();
}

/* --- completion, and pages --- */

struct candidates {
	char line[COLUMNS];
	u32 length;
};

/* In columns of 16, or wider where a name is. */
static void list_candidate(void *arg, const char *text)
{
	struct candidates *c = arg;
	u32 width = ((u32)strlen(text) / 16 + 1) * 16;

	if (c->length && c->length + width >= COLUMNS) {
		monitor_print("%s", c->line);
		c->length = 0;
	}
	c->length += (u32)snprintf(c->line + c->length, COLUMNS - c->length, "%-*s",
				   (int)min(width, COLUMNS - 1 - c->length), text);
}

static void list_candidates(void)
{
	struct candidates c = {.length = 0};
	u32 cursor = editor.cursor;

	leave_line("");
	editor.cursor = cursor;
	pager_begin();
	edit_list(&editor, list_candidate, &c);
	if (c.length)
		monitor_print("%s", c.line);
	if (pager_end())
		leave();
}

void command_pager_on(u32 argc, char **argv)
{
	(void)argc;
	(void)argv;
	pager_switch(true);
	monitor_print("what fills more than %u lines is shown by the page", PAGER_ROWS - 1);
}

void command_pager_off(u32 argc, char **argv)
{
	(void)argc;
	(void)argv;
	pager_switch(false);
	monitor_print("all is shown at once, lines as long as they are");
}

/* --- commands that go to a console --- */

void command_vm_console(u32 argc, char **argv)
{
	/* Before all that it printed is shown: it can start or end meanwhile. */
	bool may_start;
	struct vm *vm = command_vm_find(argv[0], &may_start);

	(void)argc;
	if (vm)
		vm_put(vm);
	if (console_show_vm(argv[0]))
		monitor_print("no VM is called '%s': vm list lists them", argv[0]);
	else if (vm_is_refused(argv[0]))
		monitor_print("vm %s was refused when Weir booted: Ctrl-] leads back, and log "
			      "tells why there",
			      argv[0]);
	else if (!vm && vm_is_spent(argv[0]))
		monitor_print("vm %s is off, and does not start again: Ctrl-] leads back", argv[0]);
	else if (!vm && !may_start)
		monitor_print("vm %s is off: Ctrl-] leads back, and vm start %s there starts it",
			      argv[0], argv[0]);
	else
		tell_paused();
}

void command_exit(u32 argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (stays && !console_running()) {
		monitor_print("no VM runs, and Weir stays for the monitor: poweroff or reboot ends "
			      "it");
		return;
	}
	console_show_shared();
	tell_paused();
	vm_wake_manager();
}

/* --- the end --- */

bool monitor_has_decided(void)
{
	return __atomic_load_n(&decided, __ATOMIC_ACQUIRE);
}

enum config_when_done monitor_decision(void)
{
	return decision;
}

bool monitor_lets_end(void)
{
	return monitor_has_decided() || (!stays && console_view() == CONSOLE_SHARED);
}

void monitor_stay(bool stay)
{
	stays = stay;
	if (stay && console_view() != CONSOLE_MONITOR)
		console_call_monitor();
	if (monitor_lets_end())
		return;
	if (stay)
		log_info("monitor: no VM is left; Weir stays until poweroff or reboot in the "
			 "monitor");
	else if (console_view() == CONSOLE_MONITOR)
		log_info("monitor: no VM is left; Weir stays until exit, poweroff or reboot here");
	else
		log_info("monitor: no VM is left; Weir stays for who looks at a VM's console: "
			 "Ctrl-] leads to the monitor, and exit there ends it");
}

static void decide(enum config_when_done how)
{
	decision = how;
	__atomic_store_n(&decided, true, __ATOMIC_RELEASE);
	vm_wake_manager();
}

static void end_weir(u32 argc, char **argv, enum config_when_done how)
{
	u32 running = console_running();
	u64 deadline = clock_ns() + END_WAIT_NS;

	if (argc && strcmp(argv[0], "-f")) {
		monitor_print("'%s': only -f may follow", argv[0]);
		return;
	}
	if (running && !argc) {
		monitor_print("%u VM%s: -f kills what runs", running,
			      running == 1 ? " runs" : "s run");
		return;
	}
	decide(how);
	vm_end_all();
	/* The manager ends Weir when the last VM has ended. */
	thread_sleep_until(deadline);
	log_error("monitor: %s: the machine %s all the same",
		  console_running() ? "VMs do not end" : "Weir does not end",
		  how == WHEN_DONE_REBOOT ? "restarts" : "goes off");
	if (how == WHEN_DONE_REBOOT)
		machine_reboot();
	machine_poweroff();
}

void command_reboot(u32 argc, char **argv)
{
	end_weir(argc, argv, WHEN_DONE_REBOOT);
}

void command_poweroff(u32 argc, char **argv)
{
	end_weir(argc, argv, WHEN_DONE_POWEROFF);
}

/* --- the session --- */

static void run_line(void)
{
	char line[EDIT_LINE_MAX];

	strlcpy(line, editor.line, sizeof(line));
	edit_init(&editor);
	pager_begin();
	command_run(line);
	if (pager_end())
		leave();
}

static void handle_key(enum key key, char c)
{
	switch (edit_key(&editor, key, c)) {
	case EDIT_GO_ON:
		break;
	case EDIT_BELL:
		if (!console_input_waits()) /* once for all that is pasted */
			monitor_draw("\a", 1);
		break;
	case EDIT_ENTERED:
		leave_line("");
		run_line();
		break;
	case EDIT_LIST:
		list_candidates();
		break;
	case EDIT_CANCELED:
		leave_line("^C");
		edit_init(&editor);
		break;
	case EDIT_END:
		leave_line("exit");
		command_exit(0, NULL);
		break;
	case EDIT_LEAVE:
		leave_line("");
		leave();
		break;
	case EDIT_REDRAW:
		monitor_draw("\x1b[H\x1b[J", 6);
		break;
	}
}

void monitor_run(void)
{
	enum key key;
	char c = 0;

	edit_init(&editor);
	monitor_print("Weir %s: the monitor. help lists the commands, Ctrl-] goes back.",
		      WEIR_VERSION);
	while (console_view() == CONSOLE_MONITOR) {
		/* What was typed ahead is shown once, when it has been read. */
		if (!console_input_waits())
			show_line();
		key = monitor_key(NEVER, &c);
		handle_key(key, c);
	}
}
