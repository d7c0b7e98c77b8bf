/* SPDX-License-Identifier: MIT */
/*
 * A guest whose memory cannot be had cheaper: random words, which it reads again and again. Its command
 * line is
 *
 *	hungry SEED MIB FROM UNTIL
 *
 * FROM and UNTIL are in millions of its TSC: when it begins, and before when it does not leave.
 */
#include "guest.h"

#define FIRST	   0x400000u /* above the image */
#define PAGE_WORDS 1024u

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline;
};

static u32 number(const char **text)
{
	u32 n = 0;

	while (**text && (**text < '0' || **text > '9'))
		(*text)++;
	while (**text >= '0' && **text <= '9')
		n = n * 10 + (u32)(*(*text)++ - '0');
	return n;
}

static u32 next(u32 *random)
{
	*random = *random * 1664525u + 1013904223u;
	return *random ^ *random >> 13;
}

static volatile u32 *page_at(u32 page)
{
	return (volatile u32 *)(FIRST + page * PAGE_WORDS * 4);
}

static void fill(u32 seed, u32 page)
{
	u32 random = seed + page * 977;

	for (u32 i = 0; i < PAGE_WORDS; i++)
		page_at(page)[i] = next(&random);
}

static bool is_right(u32 seed, u32 page)
{
	u32 random = seed + page * 977;

	for (u32 i = 0; i < PAGE_WORDS; i++) {
		if (page_at(page)[i] != next(&random))
			return false;
	}
	return true;
}

void main(u32 magic, const struct multiboot_info *info)
{
	const char *words = (const char *)info->cmdline;
	u32 seed, pages, wrong = 0;
	u64 from, until;

	(void)magic;
	while (*words && *words != ' ') /* the VM's name */
		words++;
	seed = number(&words) * 0x9e3779b9u;
	pages = number(&words) << 8;
	from = (u64)number(&words) * 1000000;
	until = (u64)number(&words) * 1000000;
	while (rdtsc() < from)
		;
	for (u32 page = 0; page < pages; page++)
		fill(seed, page);
	print("hungry: filled\n");
	do {
		for (u32 page = 0; page < pages; page++)
			wrong += !is_right(seed, page);
	} while (rdtsc() < until);
	check("every word of every page is right", wrong == 0);
	guest_end();
}
