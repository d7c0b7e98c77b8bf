/* SPDX-License-Identifier: MIT */
/*
 * Which values MOV to CR0 and CR4 take, and what they do to EFER.LMA (SDM 3A 2.5, 4.1, 9.8.5; the
 * reasons for #GP are listed with MOV to control registers in SDM 2B). Pure; any context.
 */
#ifndef VMX_CR_RULES_H
#define VMX_CR_RULES_H

#include "kernel/base/types.h"

/* As the guest sees them. */
struct cr_state {
	u64 cr0, cr3, cr4, efer;
	bool cs_long; /* CS.L */
	bool tss_16;  /* TR has a 16-bit TSS */
};

#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)

/* 0 and the new state in *out, or ERR_FAULT: #GP(0). offered: the CR4 bits a guest may set. */
int cr0_write(const struct cr_state *s, u64 value, struct cr_state *out);
int cr4_write(const struct cr_state *s, u64 offered, u64 value, struct cr_state *out);

/* PAE paging: the four PDPTEs are registers (SDM 3A 4.4.1). */
bool cr_pae_paging(const struct cr_state *s);
/* Does going from one state to the other load the PDPTEs? */
bool cr_loads_pdptes(const struct cr_state *from, const struct cr_state *to);
/* Does it drop the linear translations that the CPU holds (SDM 3A 4.10.4.1)? */
bool cr_flushes(const struct cr_state *from, const struct cr_state *to);
/* No reserved bit is set in those that are present. */
bool cr_pdptes_valid(const u64 pdpte[4], u32 maxphyaddr);

#endif
