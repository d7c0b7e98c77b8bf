/* SPDX-License-Identifier: MIT */
/* A disk that pages go to, and come back from. See machine.h. */
#include "kernel/base/error.h"
#include "mem/swap.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/machine/machine_private.h"

#define AT_ONCE 8 /* requests of one turn of the disk's */

static bool reads_fail; /* some, in this run */

void machine_disk_attach(u64 blocks, const u64 *random)
{
	reads_fail = false;
	fake_disk_init(blocks);
	machine_may_fail(swap_attach(&fake_disk, blocks, *random), 0);
}

void machine_disk_fail_reads(u32 every)
{
	reads_fail |= every != 0;
	fake_disk_fail(every, 0);
}

void machine_page_is_lost(struct machine_object *o, u64 index)
{
	relaxed_set(&o->page[index].unreadable, 1);
}

void machine_put_away_hard(struct machine_object *o, u64 *random)
{
	if (random_below(random, 4))
		machine_harden(o);
	(void)machine_put_away(o, random);
}

void machine_disk_turn(u64 *random, u32 most)
{
	for (u32 i = random_below(random, most); i; i--)
		(void)fake_disk_do(random);
}

void machine_disk(u64 *random)
{
	machine_disk_turn(random, AT_ONCE);
}

bool machine_disk_was_used(void)
{
	struct swap_stats s;

	swap_get_stats(&s);
	return machine.failing || (s.writes && s.reads);
}

void machine_disk_finish(void)
{
	struct swap_stats s;

	fake_disk_hold(false);
	while (fake_disk_do(NULL))
		;
	swap_get_stats(&s);
	if (s.damaged || (s.read_errors && !reads_fail))
		machine_fail("%llu pages damaged", (unsigned long long)(s.damaged + s.read_errors));
}

void machine_disk_end(struct machine_object *o)
{
	struct swap_stats s;

	machine_disk_finish();
	for (u64 i = 0; i < o->pages; i++)
		machine_may_fail(gmem_drop(o->gmem, i), 0);
	swap_get_stats(&s);
	if (s.used || s.damaged || s.read_errors)
		machine_fail("%llu blocks are left, %llu damaged", (unsigned long long)s.used,
			     (unsigned long long)s.damaged);
	swap_detach();
}
