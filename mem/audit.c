/* SPDX-License-Identifier: MIT */
#include "mem/audit.h"

#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/pool.h"
#include "mem/share.h"
#include "mem/share_table.h"
#include "mem/swap.h"
#include "smp/rcu.h"

#ifdef WEIR_DEBUG

/*
 * What a VM has of its own, in frames or in objects cut from them; its pages, the pool and known contents
 * are looked at by themselves. The rest comes and goes without a VM: each configured one has a frame of
 * CONSOLE from boot to the end, and the operator's pager more; SCRATCH is each CPU's, OWN_TABLES stay where
 * a stack was, and of OTHER is the ring of `trace`.
 */
static struct use {
	enum frame_use use;
	const char *name;
	u64 before;
} uses[] = {
	{.use = FRAME_USE_ENTRIES, .name = "frames of entries"},
	{.use = FRAME_USE_TABLES, .name = "frames of tables"},
	{.use = FRAME_USE_RMAPS, .name = "frames of reverse maps"},
	{.use = FRAME_USE_VCPU, .name = "frames of vCPUs"},
	{.use = FRAME_USE_SLAB, .name = "frames of small objects"},
	{.use = FRAME_USE_BLOCKS, .name = "frames of large objects"},
	{.use = FRAME_USE_STACKS, .name = "frames of stacks"},
	{.use = FRAME_USE_SWAP, .name = "frames of the swap disk's"},
};

static u32 is_more(const char *what, u64 now, u64 before)
{
	if (now <= before)
		return 0;
	log_error("audit: no VM is left, and %llu %s are, where %llu were before",
		  (unsigned long long)now, what, (unsigned long long)before);
	return 1;
}

#endif

void mem_audit_begin(void)
{
#ifdef WEIR_DEBUG
	for (u32 i = 0; i < ARRAY_SIZE(uses); i++)
		uses[i].before = frame_used_for(uses[i].use);
#endif
}

void mem_audit(u64 pages)
{
#ifdef WEIR_DEBUG
	struct share_stats share;
	struct pool_stats pool;
	u32 wrong = 0;

	swap_audit();
	rcu_barrier();
	pool_get_stats(&pool);
	share_get_stats(&share);
	wrong += is_more("objects of the pool", pool.objects, 0);
	wrong += is_more("frames of the pool", pool.frames, 0);
	wrong += is_more("shared frames", share.frames, 0);
	wrong += is_more("frames that sharing saves", share.frames_saved, 0);
	wrong += is_more("packed pages that sharing saves", share.packed_saved, 0);
	wrong += is_more("known contents", share_table_taken(), 0);
	wrong += is_more("frames of guests", frame_used_for(FRAME_USE_GUEST), pages);
	for (u32 i = 0; i < ARRAY_SIZE(uses); i++)
		wrong += is_more(uses[i].name, frame_used_for(uses[i].use), uses[i].before);
	BUG_ON(wrong);
#else
	(void)pages;
#endif
}
