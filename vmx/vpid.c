/* SPDX-License-Identifier: MIT */
#include "vmx/vpid.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/invept.h"

struct vpid_cpu vpid_cpus[CPU_MAX]; /* each its own CPU's */

/* The flush comes before the first number of the new generation is used. */
static void begin_generation(struct vpid_cpu *c)
{
	BUG_ON(!invvpid(INVVPID_ALL, 0));
	c->stamp = c->stamp ? c->stamp + CPU_MAX : CPU_MAX + cpu_id();
	c->next = 1;
}

void vpid_take(struct vpid_tag *t)
{
	struct vpid_cpu *c = &vpid_cpus[cpu_id()];

	ASSERT(!irq_enabled());
	if (c->next == 0 || c->next > VPID_LAST)
		begin_generation(c);
	t->vpid = (u16)c->next++;
	t->stamp = c->stamp;
}
