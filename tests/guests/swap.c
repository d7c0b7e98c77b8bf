/* SPDX-License-Identifier: MIT */
/*
 * A guest whose memory does not pack, or with PACKS to three quarters: every page is random, and its
 * own. Its command line is
 *
 *	swap SEED MIB PASSES [PACKS]
 *
 * It fills MIB of memory and reads all of it PASSES times over; between two passes every seventh page
 * is written anew. Before that it looks for disks: those of Weir are not to be seen.
 */
#define GUEST "swap"
#include "pattern.h"

#define ANEW 7u /* every seventh page is written after a pass */

static u32 packs;

static struct pattern pattern_of(u32 page)
{
	u32 first = mix(seed * 0x9e3779b9u + page * 977 + (page % ANEW ? 0 : rounds));

	return (struct pattern){.first = first, .random = first};
}

/* Of those that pack eight of sixteen words are one. */
static inline u32 next_word(struct pattern *p, u32 i)
{
	p->random = random_after(p->random);
	return packs && i / 8 % 2 ? 0x5eed : p->random;
}

static bool all_ones(u16 first, u16 count)
{
	for (u16 i = 0; i < count; i++) {
		if (inb((u16)(first + i)) != 0xff)
			return false;
	}
	return true;
}

static void look_for_disks(void)
{
	check("no disk at port 0x1f0", all_ones(0x1f0, 8) && all_ones(0x3f6, 1));
	check("no disk at port 0x170", all_ones(0x170, 8) && all_ones(0x376, 1));
	outb(0x1f6, 0xe0);
	outb(0x1f7, 0xec);
	check("no disk after a command either", all_ones(0x1f0, 8));
	outl(0xcf8, 0x80000900u);
	check("no controller in PCI configuration space", inl(0xcfc) == 0xffffffffu);
}

void main(u32 magic, const struct multiboot_info *info)
{
	(void)magic;
	packs = take_arguments(info);
	look_for_disks();
	fill_each(1);
	print("swap: filled\n");
	for (u32 pass = 0; pass < passes; pass++) {
		verify_all();
		rounds++;
		fill_each(ANEW);
	}
	end();
}
