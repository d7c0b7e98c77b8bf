/* SPDX-License-Identifier: MIT */
/* The monitor's commands, in the order in which help shows them. Those of one word stand together. */
#include "kernel/monitor/command.h"

const struct command commands[] = {
	{"help", NULL, "[COMMAND]", "|cc", NULL, "Explain a command, or list all of them.", NULL,
	 command_help},
	{"vm", "list", "", "", NULL, "List the VMs: state, memory, CPU time.",
	 "STATE is runs, paused, no-mem (paused for memory alone), ending, starts (it\n"
	 "waits for its turn) or off. RESIDENT is what it has in RAM, shared pages\n"
	 "included, OF MEM its mem=. CPU s is the time that its vCPUs had on CPUs, UP s\n"
	 "the time since its start.",
	 command_vm_list},
	{"vm", "show", "NAME", "v", NULL, "Show one VM: vCPUs, memory, modules.", NULL,
	 command_vm_show},
	{"vm", "console", "NAME", "v", NULL, "Go to a VM's console; Ctrl-] comes back.",
	 "What it wrote since Weir booted is shown first, the last 16 KiB of it, as\n"
	 "plain text. What is typed goes to it, and its output comes as it is, until\n"
	 "Ctrl-] is typed. Ctrl-] itself cannot be typed to a VM.",
	 command_vm_console},
	{"vm", "start", "NAME", "v", NULL, "Start a VM that is off, from its modules.",
	 "Not one with modules=release that has run: its modules are gone.", command_vm_start},
	{"vm", "pause", "NAME", "v", NULL, "Stop a VM's vCPUs until vm resume.",
	 "When the command is done no vCPU of it executes anything. Its clocks run on.",
	 command_vm_pause},
	{"vm", "resume", "NAME", "v", NULL, "Let a paused VM go on.", NULL, command_vm_resume},
	{"vm", "reset", "NAME", "v", NULL, "Start a VM afresh from its modules.",
	 "The guest is not asked, and what it had in memory is lost. A VM with\n"
	 "modules=release is not reset: it could not start again.",
	 command_vm_reset},
	{"vm", "off", "NAME", "v", NULL, "Switch a VM off, as if its power were cut.", NULL,
	 command_vm_off},
	{"vm", "kill", "NAME", "v", NULL, "End a VM; the log calls it killed.", NULL,
	 command_vm_kill},
	{"vm", "nmi", "NAME", "v", NULL, "Press a VM's NMI button.", NULL, command_vm_nmi},
	{"vm", "dump", "NAME [ADDRESS BYTES]", "v|..", NULL,
	 "Put a VM's registers into the log, or memory.",
	 "Without ADDRESS the registers of every vCPU; with it so many bytes of guest\n"
	 "physical memory from there on, 4096 at most.",
	 command_vm_dump},
	{"mem", NULL, "", "", NULL, "How memory is used: by Weir, its pool, each VM.",
	 "committed is mem= of all VMs, and modules; promised what is kept for them, by\n"
	 "min= and for what they cost besides, of all that can be. Then, for each VM,\n"
	 "where its pages are. RESIDENT: in RAM, in frames of its own. ZERO: never\n"
	 "touched, given back, or all zero. SAME: one word all over, which takes no\n"
	 "RAM. SHARED: in RAM, in frames that others may show. PACKED: compressed, by\n"
	 "their size before; RATIO is that divided by their size now. SWAPPED: on the\n"
	 "swap disk. WORKING is its working set: pages that were used twice lately, as\n"
	 "estimated.",
	 command_mem},
	{"top", NULL, "", "", NULL, "Show who uses the machine; q ends it.",
	 "CPU % is of one CPU, since the last refresh. EXITS/s and FAULTS/s are what\n"
	 "the guest took, with the four most frequent reasons of exits below, and where\n"
	 "its memory is. Who uses most CPU comes first; other keys sort otherwise: e by\n"
	 "exits, f by faults, m by memory, n by name, c by CPU again. With many VMs the\n"
	 "last have no details: the last line says how many rows are left out. STATE,\n"
	 "VCPUS, RESIDENT and OF are those of vm list.",
	 command_top},
	{"stat", NULL, "[-m|PATTERN]", "|s", "-m", "Show counters, each with what it means.",
	 "A line has a counter's name, its value, its unit, and what it counts.\n"
	 "In PATTERN * stands for any text and ? for one character; a pattern with\n"
	 "neither is looked for anywhere in a name. -m shows all as `metrics` does.",
	 command_stat},
	{"metrics", NULL, "", "", NULL, "Print all counters as OpenMetrics text.",
	 "From the first line, which begins with # TYPE, to the last, # EOF. Names are\n"
	 "weir_GROUP_NAME, or weir_vm_GROUP_NAME with {vm=\"NAME\"} where it is a VM's;\n"
	 "then the unit but for count, as in _pages (ns become _seconds), and _total\n"
	 "where it only rises: weir_vm_cpu_run_seconds_total{vm=\"alpha\"}.",
	 command_metrics},
	{"trace", "on", "", "", NULL, "Record exits, faults, switches of threads.",
	 "Each CPU has a ring of its own for the newest of them, 64 KiB, which stays\n"
	 "from then on.",
	 command_trace_on},
	{"trace", "off", "", "", NULL, "Stop recording; records can still be shown.", NULL,
	 command_trace_off},
	{"trace", "show", "[RECORDS [NAME]]", "|.v", NULL,
	 "Show the newest records, 40 by default.",
	 "Of all CPUs in the order of time: an exit with the guest's rip and the\n"
	 "qualification (an EPT violation's guest physical address, of RDMSR and WRMSR\n"
	 "the MSR), a fault and how it ended, who runs from then on; of several vCPUs\n"
	 "also which one, as in alpha/3. With NAME those of one VM alone, or of some\n"
	 "other thread of that name. What happens while they are shown is not recorded.",
	 command_trace_show},
	{"slot", NULL, "NAME", "v", NULL, "Show a VM's memslots and reverse maps.",
	 "generation counts the changes of slots. gfn: the guest frames that it shows,\n"
	 "from the first to the one after the last; page: where they begin in the\n"
	 "memory object that has them. Flags: readonly (writes go to a device), invalid\n"
	 "(on its way out), private (Weir's own), log_dirty (writes are noted),\n"
	 "no_large (no entries of 2 MiB). A chunk has words for 512 frames and is made\n"
	 "when one of them is touched first; pinned and protected are how many words\n"
	 "say so: the page stays where it is, or the guest may not write it.",
	 command_slot},
	{"rmap", NULL, "NAME GFN", "v.", NULL, "Show a guest frame: page, reverse map, entries.",
	 "Words are read under their lock bit; sptes are shown with the addresses they\n"
	 "are at.",
	 command_rmap},
	{"log", NULL, "[LINES]", "|.", NULL, "Show the last lines of the log, 40 by default.",
	 "Lines of all levels, those too that loglevel= keeps off the console. 64 KiB\n"
	 "are kept.",
	 command_log},
	{"pager", "on", "", "", NULL, "Show what fills more than a screen by pages.",
	 "Lines are broken between words at 79 columns. At --more-- the space bar shows\n"
	 "another page, Enter another line, and q ends it. What does not fit is kept\n"
	 "while the command runs, so nothing waits for whoever reads; where memory is\n"
	 "short, or the next command was typed already, it is shown at once. It is on\n"
	 "when Weir boots.",
	 command_pager_on},
	{"pager", "off", "", "", NULL, "Show all at once, lines as long as they are.",
	 "For scripts. What metrics and stat -m print never waits.", command_pager_off},
	{"reboot", NULL, "[-f]", "|o", "-f", "Restart the machine; -f kills VMs that run.", NULL,
	 command_reboot},
	{"poweroff", NULL, "[-f]", "|o", "-f", "Switch the machine off; -f as with reboot.", NULL,
	 command_poweroff},
	{"exit", NULL, "", "", NULL, "Leave the monitor to the VMs' consoles.",
	 "As it was at boot: one VM alone has it, several share it line by line. Ctrl-D\n"
	 "on an empty line does the same. When no VM runs, and Weir was not told to\n"
	 "stay (`monitor` on its command line), it then does what when_done= says.",
	 command_exit},
};

const u32 command_count = ARRAY_SIZE(commands);
