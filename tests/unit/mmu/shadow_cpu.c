/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include "kernel/base/msr.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/shadow_cpu.h"

#define P  0x1ull
#define W  0x2ull
#define U  0x4ull
#define A  0x20ull
#define D  0x40ull
#define PS 0x80ull
#define XD (1ull << 63)

/* Where CR3 leads: the table for the top 9 bits that it indexes, and how many levels there are. */
static u64 *top(const struct mmu_vcpu *v, const struct guest_paging *p, u64 gva, u32 *levels)
{
	u64 pdpte;

	if (p->efer & EFER_LMA) {
		assert_int_equal(v->shadow.root_count, 1);
		*levels = 4;
		return (u64 *)(hosted_arena + mmu_shadow_cr3(v));
	}
	assert_int_equal(v->shadow.root_count, 4);
	*levels = 2;
	pdpte = v->shadow.pdpt[gva >> 30 & 3];
	/* Of a PDPTE the CPU wants all rights to be 0 (SDM 3A 4.4.1). */
	assert_int_equal(pdpte & 0x1e6, 0);
	return pdpte & P ? (u64 *)(hosted_arena + (pdpte & 0xffffffffff000ull)) : NULL;
}

static bool may(const struct guest_paging *p, u32 access, u64 rights)
{
	/* In the guest's unpaged modes Weir turns SMEP and SMAP off. */
	u64 cr4 = p->cr0 & CR0_PG ? p->cr4 : 0;

	if (p->cpl == 3 && !(rights & U))
		return false;
	if ((access & MMU_EXEC) && (rights & XD))
		return false;
	if ((access & MMU_WRITE) && !(rights & W))
		return false;
	if (p->cpl == 3 || !(rights & U))
		return true;
	if (access & MMU_EXEC)
		return !(cr4 & CR4_SMEP);
	return !(cr4 & CR4_SMAP) || (p->rflags & (1u << 18));
}

/* --- The TLB --- */

#define TLB_ENTRIES 64

static struct {
	bool valid;
	u64 page, frame, rights;
} tlb[TLB_ENTRIES];
static u64 flushed; /* the VM's flush generation when it was emptied last */

void shadow_cpu_forget(void)
{
	for (u32 i = 0; i < TLB_ENTRIES; i++)
		tlb[i].valid = false;
}

void shadow_cpu_forget_address(u64 gva)
{
	tlb[gva >> 12 & (TLB_ENTRIES - 1)].valid = false;
}

/* A page is written with D clear by a walk only. */
static bool hits(const struct guest_paging *p, u64 gva, u32 access, u64 *at)
{
	u32 i = gva >> 12 & (TLB_ENTRIES - 1);

	if (!tlb[i].valid || tlb[i].page != gva >> 12)
		return false;
	if (!may(p, access, tlb[i].rights) || ((access & MMU_WRITE) && !(tlb[i].rights & D))) {
		tlb[i].valid = false;
		return false;
	}
	*at = tlb[i].frame | (gva & 0xfff);
	return true;
}

static void keep(u64 gva, u64 at, u64 rights)
{
	u32 i = gva >> 12 & (TLB_ENTRIES - 1);

	tlb[i].valid = true;
	tlb[i].page = gva >> 12;
	tlb[i].frame = at & ~0xfffull;
	tlb[i].rights = rights;
}

/* --- Walks --- */

/* What is reserved, or not Weir's to use. Pages are of 4 KiB or 2 MiB. */
static void check_bits(u64 e, u32 level)
{
	assert_int_equal(e & 0x7ff0000000000f18ull, 0);
	if (!(e & PS))
		return;
	assert_int_equal(level, 2);
	assert_int_equal(e & 0x1ff000, 0);
}

static bool walk(const struct mmu_vcpu *v, const struct guest_paging *p, u64 gva, u32 access,
		 u64 *at)
{
	u32 levels;
	u64 *table = top(v, p, gva, &levels), rights = U | W;

	for (u32 l = levels; table && l; l--) {
		u64 *e = &table[gva >> (3 + 9 * l) & 0x1ff];

		if (!(*e & P))
			return false;
		check_bits(*e, l);
		rights = (rights & (*e | ~(U | W))) | (*e & XD);
		if (l == 1 || (*e & PS)) {
			if (!may(p, access, rights))
				return false;
			*e |= A | (access & MMU_WRITE ? D : 0);
			*at = (*e & 0xffffffffff000ull) | (gva & ((1ull << (3 + 9 * l)) - 1));
			keep(gva, *at, rights | (*e & D));
			return true;
		}
		if (!(*e & A))
			*e |= A;
		table = (u64 *)(hosted_arena + (*e & 0xffffffffff000ull));
	}
	return false;
}

bool shadow_cpu(const struct mmu_vcpu *v, const struct guest_paging *p, u64 gva, u32 access,
		u64 *at)
{
	if (flushed != v->vm->flush_generation)
		shadow_cpu_forget();
	flushed = v->vm->flush_generation;
	if (hits(p, gva, access, at) || walk(v, p, gva, access, at))
		return true;
	shadow_cpu_forget_address(gva);
	return false;
}
