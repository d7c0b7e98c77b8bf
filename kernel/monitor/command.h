/* SPDX-License-Identifier: MIT */
/*
 * The monitor's commands: one table with all that help and completion say of them. A command is one
 * word, or two. Pure but for what the commands themselves do; the console's thread.
 */
#ifndef KERNEL_MONITOR_COMMAND_H
#define KERNEL_MONITOR_COMMAND_H

#include "kernel/monitor/edit.h"
#include "kernel/monitor/output.h"

#define COMMAND_WORDS_MAX 8

struct command {
	const char *word, *second; /* second: NULL where there is none */
	const char *arguments;	   /* as help shows them; those in [] may be left out */
	/*
	 * What each argument is, for completion and for their number: v a VM, s a counter, c a
	 * command's word, o one of `options`, . anything; those after | may be left out.
	 */
	const char *kinds;
	const char *options; /* words with blanks between */
	const char *summary; /* one line */
	const char *details; /* more of them, or NULL */
	/* argv: the arguments alone. */
	void (*run)(u32 argc, char **argv);
};

extern const struct command commands[];
extern const u32 command_count;

/* Runs a line; says what is wrong with it. The line is taken apart. */
void command_run(char *line);

/* For struct editor. */
void command_complete(void *arg, const char *line, u32 cursor, struct edit_completion *c);

/* A number, decimal or 0x. False: it is none, and that was said. what: as arguments calls it. */
bool command_number(const char *what, const char *text, u64 *out);

/* A reference to the VM of that name, for vm_put. NULL: it does not run; whether it is about to. */
struct vm *command_vm_find(const char *name, bool *may_start);

/* A reference to the VM of that name, for vm_put. NULL: it does not run, and that was said, with why. */
struct vm *command_vm_get(const char *name);

/* --- the commands, by file --- */

/* command.c */
void command_help(u32 argc, char **argv);
/* command_vm.c */
void command_vm_list(u32 argc, char **argv);
void command_vm_show(u32 argc, char **argv);
void command_vm_start(u32 argc, char **argv);
void command_vm_pause(u32 argc, char **argv);
void command_vm_resume(u32 argc, char **argv);
void command_vm_reset(u32 argc, char **argv);
void command_vm_off(u32 argc, char **argv);
void command_vm_kill(u32 argc, char **argv);
void command_vm_nmi(u32 argc, char **argv);
void command_vm_dump(u32 argc, char **argv);
/* command_mmu.c */
void command_slot(u32 argc, char **argv);
void command_rmap(u32 argc, char **argv);
/* command_stat.c */
void command_mem(u32 argc, char **argv);
void command_stat(u32 argc, char **argv);
void command_metrics(u32 argc, char **argv);
void command_log(u32 argc, char **argv);
/* command_trace.c */
void command_trace_on(u32 argc, char **argv);
void command_trace_off(u32 argc, char **argv);
void command_trace_show(u32 argc, char **argv);
/* top.c */
void command_top(u32 argc, char **argv);
/* monitor.c */
void command_pager_on(u32 argc, char **argv);
void command_pager_off(u32 argc, char **argv);
void command_vm_console(u32 argc, char **argv);
void command_exit(u32 argc, char **argv);
void command_reboot(u32 argc, char **argv);
void command_poweroff(u32 argc, char **argv);

#endif
