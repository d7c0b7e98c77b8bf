/* SPDX-License-Identifier: MIT */
/*
 * A record of what each CPU does: exits, faults, switches of threads, in a ring for each CPU, the
 * newest in place of the oldest. While it is off it costs a load and a branch where it is asked.
 * Any context but NMI. Each ring is written by its own CPU with interrupts off, without a lock.
 */
#ifndef KERNEL_BASE_TRACE_H
#define KERNEL_BASE_TRACE_H

#include "kernel/base/types.h"

#define TRACE_CPUS_MAX	64
#define TRACE_WHO_MAX	32    /* a whole name: VMs may differ in its last letter */
#define TRACE_RING_SIZE 65536 /* bytes for each CPU */

enum trace_kind {
	/* what: reason; a: rip; b: qualification, for an EPT violation the gpa, for an MSR which */
	TRACE_EXIT,
	TRACE_FAULT,  /* what: access; a: gpa; b: how it ended, an error or 0 */
	TRACE_SWITCH, /* who runs from now on */
};

struct trace_record {
	u64 ns; /* on the log's clock */
	u16 kind;
	u16 number; /* which thread of that name, from 1: a vCPU's is one less; 0: it is alone */
	u32 what;
	u64 a, b;
	char who[TRACE_WHO_MAX]; /* the thread's name; a VM's vCPUs have the VM's */
};
#define TRACE_RING_RECORDS (TRACE_RING_SIZE / sizeof(struct trace_record))
/* That are shown: in the place of the oldest one may just be written. */
#define TRACE_KEPT (TRACE_RING_RECORDS - 1)

/* Written by trace_switch alone. */
extern bool trace_is_on;

void trace_put(enum trace_kind kind, u32 what, u64 a, u64 b, const char *who, u32 number);

#define TRACE(...)                                    \
	do {                                          \
		if (unlikely(READ_ONCE(trace_is_on))) \
			trace_put(__VA_ARGS__);       \
	} while (0)

/* One at a time calls these: the console's thread. */

/* Memory for a CPU's ring, TRACE_RING_SIZE zeroed bytes; it stays. A CPU without is not traced. */
void trace_set_ring(u32 cpu, void *memory);
bool trace_has_ring(u32 cpu);
void trace_switch(bool on);

/*
 * The records of all CPUs, oldest first, from the last `count` on; what is written meanwhile
 * pushes them out, so whoever takes his time over one switches the trace off before.
 * False: fn has had enough.
 */
void trace_for_each(u64 count, bool (*fn)(u32 cpu, const struct trace_record *r, void *arg),
		    void *arg);

#endif
