/* SPDX-License-Identifier: MIT */
/* The monitor's commands, in the order in which help shows them. Those of one word stand together. */
#include "kernel/monitor/command.h"

const struct command commands[] = {
	{"help", NULL, "[COMMAND]", "|cc", NULL, "Explain a command, or list all of them.", NULL,
	 command_help},
	{"vm", "list", "", "", NULL, "List the VMs: state, memory, CPU time.", NULL,
	 command_vm_list},
	{"vm", "show", "NAME", "v", NULL, "Show one VM: vCPUs, memory, modules.", NULL,
	 command_vm_show},
	{"vm", "console", "NAME", "v", NULL, "Go to a VM's console; Ctrl-] comes back.",
	 "What it wrote since Weir booted is shown first, the last 16 KiB of it, as plain text. "
	 "What\n"
	 "is typed goes to it, and its output comes as it is, until Ctrl-] is typed. Ctrl-] "
	 "itself\n"
	 "cannot be typed to a VM.",
	 command_vm_console},
	{"vm", "start", "NAME", "v", NULL, "Start a VM that does not run, from its modules.", NULL,
	 command_vm_start},
	{"vm", "pause", "NAME", "v", NULL, "Stop a VM's vCPUs until vm resume.",
	 "When the command is done no vCPU of it executes anything. Its clocks run on.",
	 command_vm_pause},
	{"vm", "resume", "NAME", "v", NULL, "Let a paused VM go on.", NULL, command_vm_resume},
	{"vm", "reset", "NAME", "v", NULL, "Start a VM afresh from its modules.",
	 "The guest is not asked, and what it had in memory is lost.", command_vm_reset},
	{"vm", "off", "NAME", "v", NULL, "Switch a VM off, as if its power were cut.", NULL,
	 command_vm_off},
	{"vm", "kill", "NAME", "v", NULL, "End a VM; the log calls it killed.", NULL,
	 command_vm_kill},
	{"vm", "nmi", "NAME", "v", NULL, "Press a VM's NMI button.", NULL, command_vm_nmi},
	{"vm", "dump", "NAME [ADDRESS BYTES]", "v|..", NULL,
	 "Put a VM's registers into the log, or memory.",
	 "Without ADDRESS the registers of every vCPU; with it so many bytes of guest physical\n"
	 "memory from there on, 4096 at most.",
	 command_vm_dump},
	{"mem", NULL, "", "", NULL, "How memory is used: by Weir, its pool, each VM.", NULL,
	 command_mem},
	{"top", NULL, "", "", NULL, "Show who uses the machine, every two seconds; q ends it.",
	 "CPU % is of one CPU, since the last refresh. EXITS/s and FAULTS/s are what the guest\n"
	 "took, with the four most frequent reasons of exits below, and where its memory is.\n"
	 "Who uses most CPU comes first; other keys sort otherwise: e by exits, f by faults,\n"
	 "m by memory, n by name, c by CPU again. With many VMs the last have no details: the\n"
	 "last line says how many rows are left out.",
	 command_top},
	{"stat", NULL, "[-m|PATTERN]", "|s", "-m", "Show counters, each with what it means.",
	 "In PATTERN * stands for any text and ? for one character; a pattern with neither is "
	 "looked\n"
	 "for anywhere in a name. -m shows all as `metrics` does.",
	 command_stat},
	{"metrics", NULL, "", "", NULL, "Print all counters as OpenMetrics text, for scripts.",
	 "From the first line, which begins with # TYPE, to the last, # EOF. A counter's name is\n"
	 "weir_GROUP_NAME, or weir_vm_GROUP_NAME{vm=\"NAME\"} where it belongs to a VM.",
	 command_metrics},
	{"trace", "on", "", "", NULL, "Record exits, faults and switches of threads on each CPU.",
	 "Each CPU has a ring of its own for the newest of them, 64 KiB, which stays from then on.",
	 command_trace_on},
	{"trace", "off", "", "", NULL, "Stop recording; what there is can still be shown.", NULL,
	 command_trace_off},
	{"trace", "show", "[RECORDS]", "|.", NULL,
	 "Show the newest records, 40 or as many as given.",
	 "Of all CPUs in the order of time: an exit with the guest's rip and the qualification "
	 "(an\n"
	 "EPT violation's guest physical address), a fault and how it ended, who runs from then "
	 "on.",
	 command_trace_show},
	{"slot", NULL, "NAME", "v", NULL,
	 "Show a VM's memslots and how full their reverse maps are.", NULL, command_slot},
	{"rmap", NULL, "NAME GFN", "v.", NULL,
	 "Show what a guest frame shows: its page, reverse map, entries.",
	 "Words are read under their lock bit; sptes are shown with the addresses they are at.",
	 command_rmap},
	{"log", NULL, "[LINES]", "|.", NULL,
	 "Show the end of the log, 40 lines or as many as given.",
	 "Lines of all levels, those too that loglevel= keeps off the console. 64 KiB are kept.",
	 command_log},
	{"reboot", NULL, "[-f]", "|o", "-f",
	 "Restart the machine; -f: VMs that run are killed first.", NULL, command_reboot},
	{"poweroff", NULL, "[-f]", "|o", "-f", "Switch the machine off; -f as with reboot.", NULL,
	 command_poweroff},
	{"exit", NULL, "", "", NULL, "Leave the monitor; the console is the VMs' again.",
	 "As it was at boot: one VM alone has it, several share it line by line. Ctrl-D on an "
	 "empty\n"
	 "line does the same. When no VM runs, and Weir was not told to stay (`monitor` on its\n"
	 "command line), it then does what when_done= says.",
	 command_exit},
};

const u32 command_count = ARRAY_SIZE(commands);
