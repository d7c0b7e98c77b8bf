/* SPDX-License-Identifier: MIT */
#include "vmx/errata.h"

#define FAMILY(s) (((s) >> 8) & 0xf)
#define MODEL(s)  ((((s) >> 4) & 0xf) | (((s) >> 12) & 0xf0))

#define LONGEST_IN_GUEST_MS 1

/* Family 6, from Nehalem to Comet Lake and Cooper Lake; Atoms are not concerned. */
static const u8 core_models[] = {
	0x1a, 0x1e, 0x1f, 0x2e, 0x25, 0x2c, 0x2f, /* Nehalem, Westmere */
	0x2a, 0x2d, 0x3a, 0x3e,			  /* Sandy Bridge, Ivy Bridge */
	0x3c, 0x3f, 0x45, 0x46,			  /* Haswell */
	0x3d, 0x47, 0x4f, 0x56,			  /* Broadwell */
	0x4e, 0x5e, 0x55, 0x8e, 0x9e, 0x66,	  /* Skylake to Cascade Lake, Cannon Lake */
	0xa5, 0xa6,				  /* Comet Lake */
};

static bool is_core(u32 signature)
{
	for (u32 i = 0; i < ARRAY_SIZE(core_models); i++) {
		if (FAMILY(signature) == 6 && MODEL(signature) == core_models[i])
			return true;
	}
	return false;
}

bool errata_page_size_change(u32 signature, u64 arch_capabilities)
{
	return is_core(signature) && !(arch_capabilities & ARCH_CAP_PSCHANGE_MC_NO);
}

bool errata_l1tf(u32 signature, u64 arch_capabilities)
{
	return is_core(signature) && !(arch_capabilities & ARCH_CAP_RDCL_NO);
}

bool errata_mds(u32 signature, u64 arch_capabilities)
{
	return is_core(signature) && !(arch_capabilities & ARCH_CAP_MDS_NO);
}

bool errata_branch_targets(u32 signature)
{
	return is_core(signature);
}

bool errata_leaks_to_sibling(u32 signature, u64 arch_capabilities)
{
	u64 neither = ARCH_CAP_RDCL_NO | ARCH_CAP_MDS_NO;

	return is_core(signature) && (arch_capabilities & neither) != neither;
}

u32 errata_longest_stay(bool emulated, u64 tsc_khz, u32 shift)
{
	/* Elsewhere the timer serves nobody: it ends as late as it can. */
	return emulated ? (u32)((tsc_khz * LONGEST_IN_GUEST_MS) >> shift) : ~0u;
}

bool errata_interrupt_delivery(bool bochs)
{
	return bochs;
}

bool errata_compacted_xsave(bool bochs)
{
	return bochs;
}
