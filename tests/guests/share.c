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
#define GUEST "share"
#include "pattern.h"

#define KINDS 8u
#define ANEW  5u /* every fifth page is written after a pass */

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

static struct pattern pattern_of(u32 page)
{
	struct pattern p = {.kind = page % KINDS};
	u32 round = page % ANEW ? 0 : rounds;

	p.first = mix((p.kind >= OWN_PACKS ? seed * 0x9e3779b9u : 0) + page * 977 + round * 31);
	p.random = p.first;
	return p;
}

static inline u32 next_word(struct pattern *p, u32 i)
{
	switch ((enum kind)p->kind) {
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
	return p->random = random_after(p->random);
}

void main(u32 magic, const struct multiboot_info *info)
{
	(void)magic;
	(void)take_arguments(info);
	fill_each(1);
	for (u32 pass = 0; pass < passes; pass++) {
		verify_all();
		rounds++;
		fill_each(ANEW);
	}
	end();
}
