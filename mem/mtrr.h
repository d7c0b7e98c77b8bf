/* SPDX-License-Identifier: MIT */
/*
 * Which memory the firmware left uncached: memory type ranges (SDM 3A 11.11). Where those say
 * uncached, no page attribute makes it cached. Boot CPU, before the frames are handed out, but for
 * mtrr_check_cpu; pure but for that and mtrr_read.
 */
#ifndef MEM_MTRR_H
#define MEM_MTRR_H

#include "mem/memmap.h"

#define MTRR_VARIABLE_MAX 32
#define MTRR_RANGES_MAX	  (MTRR_VARIABLE_MAX + 1)

struct mtrr_state {
	u64 default_type; /* IA32_MTRR_DEF_TYPE */
	u32 count;
	struct {
		u64 base, mask; /* IA32_MTRR_PHYSBASEn, PHYSMASKn */
	} variable[MTRR_VARIABLE_MAX];
};

/*
 * 0; ERR_NOTSUP: there are none, or a hypervisor's, where they have no effect; ERR_RANGE: they are off,
 * or blank, so that no memory is cached.
 */
int mtrr_read(struct mtrr_state *out, int (*rdmsr_safe)(u32, u64 *));

/*
 * Each CPU as it comes up, the boot CPU, whose number is 0, before the others: they must all have the
 * same ranges (SDM 3A 11.11.8). A warning where this one's are others. CPU-local. The first MiB's
 * own registers are not compared.
 */
void mtrr_check_cpu(u32 cpu, int (*rdmsr_safe)(u32, u64 *));

/*
 * What is not write-back, above the first MiB (whose ranges are others): sorted, disjoint, not
 * touching; MTRR_RANGES_MAX at most. Returns how many.
 */
u32 mtrr_not_write_back(const struct mtrr_state *s, struct mem_range *out);

/*
 * Takes that out of the free memory; the direct map goes on showing it. bytes: how much of the free
 * memory it is. 0; ERR_NOSPC: it is out, and some of the rest too (memmap.h); ERR_RANGE: more than
 * half of all is a mistake, the firmware's or ours: it stays.
 */
int mtrr_withhold(const struct mtrr_state *s, struct memmap *m, u64 *bytes);

#endif
