/* SPDX-License-Identifier: MIT */
/* What `top` compares: all VMs' counters at one moment. The console's thread. */
#ifndef KERNEL_MONITOR_TOP_H
#define KERNEL_MONITOR_TOP_H

#include "kernel/config.h"
#include "vmx/vmx.h"

struct sample {
	char scope[sizeof("vm.") + CONFIG_NAME_MAX];
	u64 run_ns, vcpus, paused, faults, resident, absent;
	u64 filled, packed, shared, swapped, packed_bytes, working_set, refaults;
	u64 exits[VMX_EXIT_REASONS];
};

struct samples {
	u64 ns; /* clock_ns */
	u32 count;
	struct sample of[CONFIG_VMS_MAX];
};

/* Thread context; takes the registry's lock of the counters. */
void top_take_sample(struct samples *s);

/* The VM of that scope, or NULL. */
struct sample *top_find(struct samples *s, const char *scope);

#endif
