/* SPDX-License-Identifier: MIT */
/*
 * A guest of which much is the same as in others, also such pages as do not pack. It fills its RAM by
 * a pattern and reads all of it again, several times over; between two passes it writes some of the
 * pages anew, in the order of the passes and so like the others. Its command line is
 *
 *	share SEED MIB PASSES
 *
 * Of 8 pages one is zero, one is all ones, one packs and is the same in all guests, two do not pack
 * and are the same in all guests, two pack and one does not, and those three are this guest's own.
 */
#include "guest.h"

#define FIRST	   0x400000u /* above the image */
#define PAGE_SIZE  4096u
#define PAGE_WORDS (PAGE_SIZE / 4)
#define KINDS	   8u
#define ANEW	   5u /* every fifth page is written after a pass */

enum kind {
	ZERO,
	ONES,
	SAME_PACKS,
	SAME_HARD,
	SAME_HARD_TOO,
	OWN_PACKS,
	OWN_PACKS_TOO,
	OWN_HARD
};

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline;
};

static u32 seed, pages, wrong, rounds;

static u32 mix(u32 x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ (x >> 16);
}

/* What follows from a page and the round it was written in, word by word. */
struct pattern {
	enum kind kind;
	u32 first, random;
};

static struct pattern pattern_of(u32 page)
{
	struct pattern p = {.kind = (enum kind)(page % KINDS)};
	u32 round = page % ANEW ? 0 : rounds;

	p.first = mix((p.kind >= OWN_PACKS ? seed * 0x9e3779b9u : 0) + page * 977 + round * 31);
	p.random = p.first;
	return p;
}

static inline u32 next_word(struct pattern *p, u32 i)
{
	switch (p->kind) {
	case ZERO:
		return 0;
	case ONES:
		return ~0u;
	case SAME_PACKS:
	case OWN_PACKS:
	case OWN_PACKS_TOO:
		if (i & 15)
			return p->first + (i >> 6);
		break;
	default:
		break;
	}
	p->random = p->random * 1664525u + 1013904223u;
	return p->random;
}

static void fill(u32 page)
{
	volatile u32 *words = (volatile u32 *)(FIRST + page * PAGE_SIZE);
	struct pattern p = pattern_of(page);

	for (u32 i = 0; i < PAGE_WORDS; i++)
		words[i] = next_word(&p, i);
}

static void verify(u32 page)
{
	volatile u32 *words = (volatile u32 *)(FIRST + page * PAGE_SIZE);
	struct pattern p = pattern_of(page);

	for (u32 i = 0; i < PAGE_WORDS; i++) {
		if (words[i] == next_word(&p, i))
			continue;
		wrong++;
		print("share: wrong word in page ");
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
	for (u32 page = 0; page < pages; page++)
		fill(page);
	for (u32 pass = 0; pass < passes; pass++) {
		for (u32 page = 0; page < pages; page++)
			verify(page);
		rounds++;
		for (u32 page = 0; page < pages; page += ANEW)
			fill(page);
	}
	for (u32 page = 0; page < pages; page++)
		verify(page);
	check("every word of every page is right", wrong == 0);
	guest_end();
}
