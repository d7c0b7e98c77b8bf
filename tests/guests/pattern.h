/* SPDX-License-Identifier: MIT */
/*
 * What the guests share that fill their RAM by a pattern and read all of it again: each defines GUEST,
 * its name, before it includes this, and pattern_of and next_word behind it.
 */
#ifndef TESTS_GUESTS_PATTERN_H
#define TESTS_GUESTS_PATTERN_H

#include "guest.h"

#define FIRST	   0x400000u /* above the image */
#define PAGE_SIZE  4096u
#define PAGE_WORDS (PAGE_SIZE / 4)

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline;
};

static u32 seed, pages, passes;
static u32 rounds; /* how often pages were written anew */
static u32 wrong;  /* pages */

static u32 mix(u32 x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ (x >> 16);
}

static inline u32 random_after(u32 x)
{
	return x * 1664525u + 1013904223u;
}

/* What follows from a page and the round it was written in, word by word; i counts them. */
struct pattern {
	u32 kind; /* the guest's own */
	u32 first, random;
};
static struct pattern pattern_of(u32 page);
static inline u32 next_word(struct pattern *p, u32 i);

static void fill(u32 page)
{
	volatile u32 *words = (volatile u32 *)(FIRST + page * PAGE_SIZE);
	struct pattern p = pattern_of(page);

	for (u32 i = 0; i < PAGE_WORDS; i++)
		words[i] = next_word(&p, i);
}

/* Each step-th page, from the first on. */
static void fill_each(u32 step)
{
	for (u32 page = 0; page < pages; page += step)
		fill(page);
}

static void verify(u32 page)
{
	volatile u32 *words = (volatile u32 *)(FIRST + page * PAGE_SIZE);
	struct pattern p = pattern_of(page);

	for (u32 i = 0; i < PAGE_WORDS; i++) {
		if (words[i] == next_word(&p, i))
			continue;
		wrong++;
		print(GUEST ": wrong word in page ");
		print_decimal(page);
		print("\n");
		return;
	}
}

static void verify_all(void)
{
	for (u32 page = 0; page < pages; page++)
		verify(page);
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

/* SEED MIB PASSES, behind the VM's name; returns the number that follows, or 0. */
static u32 take_arguments(const struct multiboot_info *info)
{
	const char *words = (const char *)info->cmdline;

	while (*words && *words != ' ')
		words++;
	seed = number(&words);
	pages = number(&words) << 8;
	passes = number(&words);
	return number(&words);
}

static void end(void)
{
	verify_all();
	check("every word of every page is right", wrong == 0);
	guest_end();
}

#endif
