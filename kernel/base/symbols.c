/* SPDX-License-Identifier: MIT */
#include "kernel/base/symbols.h"

const char *symbols_find(const struct symbols *s, u32 offset, u32 *within)
{
	u32 low = 0, high = s->count; /* below low: at or under offset; from high on: over it */

	while (low < high) {
		u32 middle = low + (high - low) / 2;

		if (s->table[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	*within = offset - s->table[low - 1].offset;
	return s->names + s->table[low - 1].name;
}
