/* SPDX-License-Identifier: MIT */
/*
 * A guest whose memory does not pack, or with PACKS to three quarters: every page is random, and its own. Its command line is
 *
 *	swap SEED MIB PASSES [PACKS]
 *
 * It fills MIB of memory and reads all of it PASSES times over; between two passes every seventh page
 * is written anew. Before that it looks for disks: those of Weir are not to be seen.
 */
#include "guest.h"

#define FIRST	   0x400000u /* above the image */
#define PAGE_SIZE  4096u
#define PAGE_WORDS (PAGE_SIZE / 4)
#define REWRITTEN  7u

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline;
};

static u32 seed, pages, rounds, wrong, packs;

static u32 mix(u32 x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ (x >> 16);
}

static u32 first_word(u32 page)
{
	return mix(seed * 0x9e3779b9u + page * 977 + (page % REWRITTEN ? 0 : rounds));
}

static inline u32 next_word(u32 x)
{
	return x * 1664525u + 1013904223u;
}

/* Of those that pack eight of sixteen words are one. */
static inline u32 shown(u32 i, u32 x)
{
	return packs && i / 8 % 2 ? 0x5eed : x;
}

static void fill(u32 page)
{
	volatile u32 *words = (volatile u32 *)(FIRST + page * PAGE_SIZE);
	u32 x = first_word(page);

	for (u32 i = 0; i < PAGE_WORDS; i++)
		words[i] = shown(i, x = next_word(x));
}

static void verify(u32 page)
{
	volatile u32 *words = (volatile u32 *)(FIRST + page * PAGE_SIZE);
	u32 x = first_word(page);

	for (u32 i = 0; i < PAGE_WORDS; i++) {
		x = next_word(x);
		if (words[i] == shown(i, x))
			continue;
		wrong++;
		print("swap: wrong word in page ");
		print_decimal(page);
		print("\n");
		return;
	}
}

static u32 number(const char **text)
{
	u32 n = 0;

	while (**text && (**text < '0' || **text > '9'))
		(*text)++;
	while (**text >= '0' && **text <= '9')
		n = n * 10 + (u32)(*(*text)++ - '0');
	return n;
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
	const char *words = (const char *)info->cmdline;
	u32 passes;

	(void)magic;
	while (*words && *words != ' ') /* the VM's name */
		words++;
	seed = number(&words);
	pages = number(&words) << 8;
	passes = number(&words);
	packs = number(&words);
	look_for_disks();
	for (u32 page = 0; page < pages; page++)
		fill(page);
	print("swap: filled\n");
	for (u32 pass = 0; pass < passes; pass++) {
		for (u32 page = 0; page < pages; page++)
			verify(page);
		rounds++;
		for (u32 page = 0; page < pages; page += REWRITTEN)
			fill(page);
	}
	for (u32 page = 0; page < pages; page++)
		verify(page);
	check("every word of every page is right", wrong == 0);
	guest_end();
}
