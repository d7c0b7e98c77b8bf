/* SPDX-License-Identifier: MIT */
/* What tests/hosted/include/mmu/invept.h declares. */
#include "mmu/invept.h"
#include "smp/cpu.h"

bool (*hosted_invept_hook)(enum invept_type type, u64 eptp);
bool (*hosted_invvpid_hook)(enum invvpid_type type, u16 vpid);
u64 hosted_invvpid_gva;
static u32 invepts[CPU_MAX]; /* atomic */

bool invept(enum invept_type type, u64 eptp)
{
	__atomic_fetch_add(&invepts[cpu_id()], 1, __ATOMIC_SEQ_CST);
	return hosted_invept_hook ? hosted_invept_hook(type, eptp) : true;
}

bool invvpid(enum invvpid_type type, u16 vpid)
{
	return hosted_invvpid_hook ? hosted_invvpid_hook(type, vpid) : true;
}

bool invvpid_address(u16 vpid, u64 gva)
{
	hosted_invvpid_gva = gva;
	return invvpid(INVVPID_ADDRESS, vpid);
}

u32 hosted_invepts(u32 cpu)
{
	return __atomic_load_n(&invepts[cpu], __ATOMIC_SEQ_CST);
}
