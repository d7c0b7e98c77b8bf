/* SPDX-License-Identifier: MIT */
/*
 * Weir's counters in one place: which groups there are of a VM and of Weir itself, and the log's
 * view of them. Thread context; takes LOCK_STAT.
 */
#ifndef KERNEL_STATS_H
#define KERNEL_STATS_H

#include "kernel/base/stat.h"
#include "kernel/config.h"

struct vm;

#define VM_STAT_GROUPS 8

#define VM_CPU_STATS(X)                                                                           \
	X(run, "ns", "Time that the VM's vCPUs had on CPUs, Weir's work for them included.")      \
	X(vcpus, "count", "The VM's vCPUs.", STAT_LEVEL)                                          \
	X(paused, "count",                                                                        \
	  "Whether the VM is paused: 1 by an operator, 2 for memory, 3 both, 0 not.", STAT_LEVEL) \
	X(wait_max, "ns", "The longest that one of them waited for a CPU after a wake-up.",       \
	  STAT_LEVEL)                                                                             \
	X(refused, "count", "Instructions at a device that Weir does not run, in a program: #UD.")

struct vm_cpu_stats {
	VM_CPU_STATS(STAT_FIELD)
};

#define VM_PARAVIRT_STATS(X)                                                                   \
	X(eois, "count", "Interrupts that the guest ended in its memory, without an exit.")    \
	X(tlb_flushes, "count",                                                                \
	  "TLB flushes done when a vCPU ran again, asked for while it was preempted.")         \
	X(kicks, "count", "KVM_HC_KICK_CPU: vCPUs that waited for a lock were woken.")         \
	X(yields, "count", "KVM_HC_SCHED_YIELD: a vCPU that others wait for was to go first.") \
	X(ipi_calls, "count", "KVM_HC_SEND_IPI: interrupts were sent to a set of vCPUs.")

struct vm_paravirt_stats {
	VM_PARAVIRT_STATS(STAT_FIELD)
};

#define VM_APIC_STATS(X)                                                                          \
	X(posted, "count", "Interrupts put where the CPU can take them, with posted interrupts.") \
	X(notified, "count", "Of those, the ones for which a CPU that ran the guest was told.")   \
	X(held, "count", "Interrupts that a CPU with posted interrupts may not take by itself.")

struct vm_apic_stats {
	VM_APIC_STATS(STAT_FIELD)
};

/* A VM's part of the registry. */
struct vm_stats {
	char scope[sizeof("vm.") + CONFIG_NAME_MAX];
	struct stat_group groups[VM_STAT_GROUPS];
};

/* Boot thread, once: the registry's lock and the groups that belong to no VM. */
void stats_init(bool log);

/* From when all of the VM is made until any of it is taken apart. */
void stats_vm_add(struct vm *vm);
void stats_vm_remove(struct vm *vm);

/* What the command line's word asks for: one line for each counter. Else nothing. */
void stats_log_vm(struct vm *vm);
void stats_log_weir(void);

#endif
