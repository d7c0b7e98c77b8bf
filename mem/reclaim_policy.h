/* SPDX-License-Identifier: MIT */
/*
 * Whose page goes next: Waldspurger's min-funding revocation with a tax on idle memory, as in VMware
 * ESX (OSDI 2002). A VM of S shares that costs P pages and uses U of them pays for its pages with
 *
 *	          S                                  1
 *	rho = ---------------- ,   k = ----------------- ,   0 <= tax < 100
 *	      U + k * (P - U)              1 - tax / 100
 *
 * shares for each, an idle page counting for k used ones; the VM that pays least gives next. Pure.
 */
#ifndef MEM_RECLAIM_POLICY_H
#define MEM_RECLAIM_POLICY_H

#include "kernel/base/types.h"

#define RECLAIM_TAX_DEFAULT 75u
#define RECLAIM_TAX_MAX	    99u
#define RECLAIM_SHARES_MAX  (1u << 20)

struct reclaim_claim {
	u64 pages; /* P, at most 2^36 */
	u64 used;  /* U; what is above P counts as P */
	u32 shares;
};

/* The denominator of rho, times 100 - tax. */
u64 reclaim_charge(const struct reclaim_claim *c, u32 tax);

/* a pays less for each page than b. */
bool reclaim_pays_less(const struct reclaim_claim *a, const struct reclaim_claim *b, u32 tax);

/*
 * The working set as it is known after a round in which `used` pages had been used, the one before
 * having been ns earlier: it grows at once, and falls by half in about RECLAIM_MEMORY_NS.
 */
#define RECLAIM_MEMORY_NS 2000000000ull
u64 reclaim_working_set(u64 before, u64 used, u64 ns);

#endif
