/* SPDX-License-Identifier: MIT */
#include "vmx/vpid.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/invept.h"
#include "vmx/vmx.h"

struct vpid_cpu vpid_cpus[CPU_MAX]; /* each its own CPU's */

static const struct stat_desc descs[] = {VPID_STATS(STAT_DESC)};
STAT_CHECK(vpid_stats, descs);

static u64 read_stat(const void *owner, u32 i)
{
	(void)owner;
	return stat_sum_field(&vpid_cpus[0].stats, sizeof(vpid_cpus[0]), CPU_MAX, i);
}

struct stat_group vmx_vpid_stats = {
	.scope = "",
	.name = "vpid",
	.descs = descs,
	.count = ARRAY_SIZE(descs),
	.read = read_stat,
};

/* The flush comes before the first number of the new generation is used. */
static void begin_generation(struct vpid_cpu *c)
{
	BUG_ON(!invvpid(INVVPID_ALL, 0));
	c->stamp = c->stamp ? c->stamp + CPU_MAX : CPU_MAX + cpu_id();
	c->next = 1;
	c->stats.generations++;
}

void vpid_take(struct vpid_tag *t)
{
	struct vpid_cpu *c = &vpid_cpus[cpu_id()];

	ASSERT(!irq_enabled());
	if (c->next == 0 || c->next > VPID_LAST)
		begin_generation(c);
	t->vpid = (u16)c->next++;
	t->stamp = c->stamp;
	c->stats.taken++;
}

void vpid_flush(struct vpid_tag *t, bool single)
{
	if (single && vpid_current(t))
		BUG_ON(!invvpid(INVVPID_SINGLE, t->vpid));
	else
		vpid_drop(t);
}

/* Of another INVVPID refuses to flush (SDM 3C 31.3). */
static bool is_canonical(u64 gva)
{
	return (u64)((s64)(gva << 16) >> 16) == gva;
}

void vpid_flush_address(struct vpid_tag *t, u64 gva, bool address, bool single)
{
	if (address && is_canonical(gva) && vpid_current(t))
		BUG_ON(!invvpid_address(t->vpid, gva));
	else
		vpid_flush(t, single);
}
