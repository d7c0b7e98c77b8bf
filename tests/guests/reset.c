/* SPDX-License-Identifier: MIT */
/*
 * Resets itself for ever, in the way that the first letter of its VM's name says, and tells each
 * time, by that name, whether its memory is like new.
 */
#include "guest.h"

#define MARK_AT ((volatile u32 *)0x1000000)
#define MARK	0x600dcafeu

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device;
	const char *cmdline;
};

void main(u32 magic, const struct multiboot_info *info)
{
	(void)magic;
	print(info->cmdline);
	print(*MARK_AT == MARK ? ": memory is old\n" : ": memory is new\n");
	*MARK_AT = MARK;
	switch (info->cmdline[0]) {
	case 'r': /* the reset control register */
		outb(0xcf9, 2);
		outb(0xcf9, 6);
		break;
	case 'k': /* the keyboard controller */
		outb(0x64, 0xfe);
		break;
	case 's': /* the system control port */
		outb(0x92, 1);
		break;
	}
}
