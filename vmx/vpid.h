/* SPDX-License-Identifier: MIT */
/*
 * Tags of TLB entries (SDM 3C 29.1), so that an entry into a guest need not flush. Each CPU gives
 * out its numbers once, in rising order, to whichever vCPU enters there without one. When they are
 * used up the CPU flushes them all and begins a new generation: vCPUs with a tag of an older one,
 * or of another CPU, take a new one at their next entry. So no number comes back before it has been
 * flushed (R16), and a vCPU that comes to a CPU again does not meet what it left there (R15).
 *
 * A vCPU's end needs nothing done. No lock: a CPU's numbers are its own. Interrupts off.
 */
#ifndef VMX_VPID_H
#define VMX_VPID_H

#include "kernel/base/stat.h"
#include "smp/cpu.h"

/* The highest number; 0 is Weir's own. Tests lower it. */
#ifndef VPID_LAST
#define VPID_LAST 0xffff
#endif
static_assert(VPID_LAST >= 1 && VPID_LAST <= 0xffff, "a VPID has 16 bits (SDM 3C 25.6.12)");

/* Zero: none. */
struct vpid_tag {
	u64 stamp;
	u16 vpid;
};

#define VPID_STATS(X)                                                      \
	X(taken, "count", "VPIDs that vCPUs took because theirs was old.") \
	X(generations, "count", "Times a CPU flushed all its VPIDs to use them again.")

struct vpid_stats {
	VPID_STATS(STAT_FIELD)
};

struct vpid_cpu {
	u64 stamp; /* generation * CPU_MAX + the CPU: no two of any CPU or generation are equal */
	u32 next;  /* 0: the CPU has not begun, and may hold what was there before Weir */
	struct vpid_stats stats;
} __aligned(64);
extern struct vpid_cpu vpid_cpus[CPU_MAX];

/* The tag may be used on this CPU as it is. */
static inline bool vpid_current(const struct vpid_tag *t)
{
	return t->stamp && t->stamp == vpid_cpus[cpu_id()].stamp;
}

/* A new tag of this CPU's. Executes INVVPID where a generation ends. */
void vpid_take(struct vpid_tag *t);

/* What is cached under the tag is not to be used again: the next entry takes another. */
static inline void vpid_drop(struct vpid_tag *t)
{
	t->stamp = 0;
}

/*
 * The same, by INVVPID where that can flush one (single) and it is this CPU's. One of another CPU would
 * be current there again if the vCPU came back to it without an entry here.
 */
void vpid_flush(struct vpid_tag *t, bool single);

/* The same of one address alone, if INVVPID can flush that (address). */
void vpid_flush_address(struct vpid_tag *t, u64 gva, bool address, bool single);

#endif
