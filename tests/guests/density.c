/* SPDX-License-Identifier: MIT */
/*
 * A guest that uses more memory than it would get if its pages cost what they say: it fills its RAM
 * by a pattern and reads all of it again, several times over. Its command line is
 *
 *	density SEED MIB PASSES [WORDS]
 *
 * Of 20 pages 8 are zero, 5 are the same in all guests, 6 pack to two thirds and are this guest's
 * own (SEED), and one is random. Between two passes every fifth page is written anew.
 *
 * With WORDS a quarter each is zero, the same in all guests but else random, the guest's own of which
 * so many words in 32 are random, and random: LZ4 packs the third kind to a fifth if WORDS is 4, and to
 * a third if it is 9.
 */
#include "guest.h"

#define FIRST	   0x400000u /* above the image */
#define PAGE_SIZE  4096u
#define PAGE_WORDS (PAGE_SIZE / 4)
#define KINDS	   20u

enum kind {
	ZERO,
	IDENTICAL,
	COMPRESSIBLE,
	RANDOM
};

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline;
};

static u32 seed, pages, quarters, wrong;
static u32 rounds; /* how often a page of the fifth kind was written */

static u32 mix(u32 x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ (x >> 16);
}

static enum kind kind_of(u32 page)
{
	u32 k = page % KINDS;

	if (quarters)
		return (enum kind)(page % 4);
	if (k < 8)
		return ZERO;
	if (k < 13)
		return IDENTICAL;
	return k < 19 ? COMPRESSIBLE : RANDOM;
}

/* What follows from a page, word by word. */
struct pattern {
	enum kind kind;
	u32 own, random;
};

static u32 round_of(u32 page)
{
	return page % 5 ? 0 : rounds;
}

static struct pattern pattern_of(u32 page)
{
	struct pattern p = {.kind = kind_of(page)};

	p.own = p.kind == IDENTICAL ? mix(page * 31 + round_of(page))
				    : mix(seed * 0x9e3779b9u + page * 977 + round_of(page));
	p.random = p.own;
	return p;
}

static inline u32 next_word(struct pattern *p, u32 i)
{
	switch (p->kind) {
	case ZERO:
		return 0;
	case IDENTICAL:
		if (quarters)
			break;
		return p->own + (i & 31) * 0x01010101u;
	case COMPRESSIBLE:
		if (quarters ? (i & 31) >= quarters : i & 3)
			return quarters ? p->own : p->own + (i >> 6);
		break;
	case RANDOM:
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
		print("density: wrong word in page ");
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
	quarters = number(&words);
	for (u32 page = 0; page < pages; page++)
		fill(page);
	print("density: filled\n");
	for (u32 pass = 0; pass < passes; pass++) {
		for (u32 page = 0; page < pages; page++)
			verify(page);
		if (quarters) {
			print("density: read once more\n");
			continue; /* equal pages of guests that are not equally far would differ */
		}
		rounds++;
		for (u32 page = 0; page < pages; page += 5)
			fill(page);
	}
	for (u32 page = 0; page < pages; page++)
		verify(page);
	check("every word of every page is right", wrong == 0);
	guest_end();
}
