/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "vmx/cr_rules.h"

#define CR3_PCID_MASK  0xfffull
#define PDPTE_PRESENT  BIT(0)
#define PDPTE_RESERVED (BIT(1) | BIT(2) | BIT(5) | BIT(6) | BIT(7) | BIT(8))
#define CR0_PDPTE_BITS (CR0_PG | CR0_CD | CR0_NW)
#define CR4_PDPTE_BITS (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)
#define CR4_FLUSHING   (CR4_PAE | CR4_PSE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)

bool cr_pae_paging(const struct cr_state *s)
{
	return (s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LMA);
}

static int paging_on(const struct cr_state *s, struct cr_state *out)
{
	if (!(s->efer & EFER_LME))
		return 0;
	/* Into IA-32e mode: never from 64-bit code's descriptor, without PAE, with a TSS it has not. */
	if (!(s->cr4 & CR4_PAE) || s->cs_long || s->tss_16)
		return ERR_FAULT;
	out->efer |= EFER_LMA;
	return 0;
}

static int paging_off(const struct cr_state *s, struct cr_state *out)
{
	if (s->cr4 & CR4_PCIDE)
		return ERR_FAULT;
	if (!(s->efer & EFER_LMA))
		return 0;
	/* Only compatibility mode may leave IA-32e mode. */
	if (s->cs_long)
		return ERR_FAULT;
	out->efer &= ~EFER_LMA;
	return 0;
}

int cr0_write(const struct cr_state *s, u64 value, struct cr_state *out)
{
	*out = *s;
	if (value >> 32)
		return ERR_FAULT;
	/* Reserved bits of the lower half are kept at 0 without a fault; ET is always 1. */
	value = (value & CR0_DEFINED) | CR0_ET;
	if ((value & CR0_NW) && !(value & CR0_CD))
		return ERR_FAULT;
	if ((value & CR0_PG) && !(value & CR0_PE))
		return ERR_FAULT;
	out->cr0 = value;
	if (!((value ^ s->cr0) & CR0_PG))
		return 0;
	return value & CR0_PG ? paging_on(s, out) : paging_off(s, out);
}

int cr4_write(const struct cr_state *s, u64 offered, u64 value, struct cr_state *out)
{
	bool long_mode = s->efer & EFER_LMA;

	*out = *s;
	if (value & ~offered)
		return ERR_FAULT;
	if (long_mode && !(value & CR4_PAE))
		return ERR_FAULT;
	if ((value & CR4_PCIDE) && !(s->cr4 & CR4_PCIDE) &&
	    (!long_mode || (s->cr3 & CR3_PCID_MASK)))
		return ERR_FAULT;
	out->cr4 = value;
	return 0;
}

bool cr_loads_pdptes(const struct cr_state *from, const struct cr_state *to)
{
	if (!cr_pae_paging(to))
		return false;
	return ((from->cr0 ^ to->cr0) & CR0_PDPTE_BITS) || ((from->cr4 ^ to->cr4) & CR4_PDPTE_BITS);
}

bool cr_flushes(const struct cr_state *from, const struct cr_state *to)
{
	return ((from->cr0 ^ to->cr0) & CR0_PG) || ((from->cr4 ^ to->cr4) & CR4_FLUSHING);
}

bool cr_pdptes_valid(const u64 pdpte[4], u32 maxphyaddr)
{
	u64 reserved = PDPTE_RESERVED | ~(BIT(maxphyaddr) - 1);

	for (u32 i = 0; i < 4; i++) {
		if ((pdpte[i] & PDPTE_PRESENT) && (pdpte[i] & reserved))
			return false;
	}
	return true;
}
