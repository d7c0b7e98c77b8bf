/* SPDX-License-Identifier: MIT */
/*
 * A guest that uses more memory than it would get if its pages cost what they say: it fills its RAM
 * by a pattern and reads all of it again, several times over. Its command line is
 *
 *	density SEED MIB PASSES [WORDS]
 *
 * Of 20 pages 8 are zero, 5 are the same in all guests, 6 pack to two thirds and are this guest's
 * own (SEED), and one is random. Between two passes every fifth page is written anew. Before the first
 * some are read with x87 and SSE registers in use: Weir uses those itself to unpack a page.
 *
 * With WORDS a quarter each is zero, the same in all guests but else random, the guest's own of which
 * so many words in 32 are random, and random: LZ4 packs the third kind to a fifth if WORDS is 4, and to
 * a third if it is 9.
 */
#define GUEST "density"
#include "pattern.h"
#include "vectors.h"

#define KINDS 20u
#define ANEW  5u /* every fifth page is written after a pass */

#define READ_AT_ONCE 16u /* pages, with one set of registers */

enum kind {
	ZERO,
	IDENTICAL,
	COMPRESSIBLE,
	RANDOM
};

static u32 quarters; /* WORDS */

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

static u32 round_of(u32 page)
{
	return page % ANEW ? 0 : rounds;
}

static struct pattern pattern_of(u32 page)
{
	struct pattern p = {.kind = kind_of(page)};

	p.first = p.kind == IDENTICAL ? mix(page * 31 + round_of(page))
				      : mix(seed * 0x9e3779b9u + page * 977 + round_of(page));
	p.random = p.first;
	return p;
}

static inline u32 next_word(struct pattern *p, u32 i)
{
	switch ((enum kind)p->kind) {
	case ZERO:
		return 0;
	case IDENTICAL:
		if (quarters)
			break;
		return p->first + (i & 31) * 0x01010101u;
	case COMPRESSIBLE:
		if (quarters ? (i & 31) >= quarters : i & 3)
			return quarters ? p->first : p->first + (i >> 6);
		break;
	case RANDOM:
		break;
	}
	return p->random = random_after(p->random);
}

/* Those that were filled first are cold by now, and many of them packed. */
static void check_vectors(void)
{
	u32 wrong_times = 0;

	vectors_init(seed + 1);
	for (u32 page = 0; page + READ_AT_ONCE <= pages / 4; page += READ_AT_ONCE)
		wrong_times += !vectors_stay(FIRST + page * PAGE_SIZE, READ_AT_ONCE);
	check("x87 and SSE registers stay as they are while pages come back", wrong_times == 0);
}

void main(u32 magic, const struct multiboot_info *info)
{
	(void)magic;
	quarters = take_arguments(info);
	/* No interrupt is meant for it. In Bochs one of the host's ends a stay in the guest only with IF set. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	__asm__ volatile("sti");
	fill_each(1);
	print("density: filled\n");
	if (!quarters)
		check_vectors();
	for (u32 pass = 0; pass < passes; pass++) {
		verify_all();
		if (quarters) {
			print("density: read once more\n");
			continue; /* equal pages of guests that are not equally far would differ */
		}
		rounds++;
		fill_each(ANEW);
	}
	end();
}
