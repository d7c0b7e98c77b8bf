/* SPDX-License-Identifier: MIT */
/* The kernel on the disk of the guest `grub`: looks at what GRUB read and asked the BIOS for. */
#include "guest.h"

#define MAGIC	 0x2badb002u
#define COMMAND	 (1u << 2)
#define MODULES	 (1u << 3)
#define MAP	 (1u << 6)
#define WORDS	 32768u
#define STEP	 2654435761u /* as in tests/lab/grub.py */
#define LOW_TOP	 0x9e000u
#define HIGH	 0x100000u
#define HIGH_TOP (*(volatile u32 *)(LOW_TOP + 4)) /* in grub_bios.S */

struct info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	u32 mmap_length, mmap_addr;
};

struct module {
	u32 start, end, string, reserved;
};

struct area {
	u32 size;
	u64 addr, length;
	u32 type;
} __attribute__((packed));

static bool equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* Whether RAM, what the map says of `from` up to `to`. */
static bool is_ram(const struct info *info, u32 from, u32 to)
{
	for (u32 at = info->mmap_addr; at < info->mmap_addr + info->mmap_length;
	     at += ((const struct area *)at)->size + 4) {
		const struct area *a = (const struct area *)at;

		if (a->type == 1 && a->addr == from && a->addr + a->length == to)
			return true;
	}
	return false;
}

static bool pattern_is_whole(const struct module *m)
{
	if (m->end - m->start != WORDS * 4)
		return false;
	for (u32 i = 0; i < WORDS; i++) {
		if (((const u32 *)m->start)[i] != i * STEP)
			return false;
	}
	return true;
}

void main(u32 magic, const struct info *info)
{
	check("GRUB's magic", magic == MAGIC);
	check("the command line",
	      (info->flags & COMMAND) && equal((const char *)info->cmdline, "by GRUB"));
	check("one module", (info->flags & MODULES) && info->mods_count == 1);
	check("every word of it", pattern_is_whole((const struct module *)info->mods_addr));
	check("low memory", info->mem_lower == LOW_TOP >> 10);
	check("the BIOS's map",
	      (info->flags & MAP) && is_ram(info, 0, LOW_TOP) && is_ram(info, HIGH, HIGH_TOP));
	guest_end();
}
