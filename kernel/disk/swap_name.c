/* SPDX-License-Identifier: MIT */
#include "kernel/disk/swap_name.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"

static bool take_number(const char **at, const char *end, u32 most, u32 *out)
{
	const char *p = *at;
	u32 n = 0;

	if (p == end)
		return false;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (u32)(*p - '0');
		if (n > most)
			return false;
	}
	if (p == *at)
		return false;
	*at = p;
	*out = n;
	return true;
}

int swap_name_parse(const char *at, const char *end, struct swap_name *out)
{
	memset(out, 0, sizeof(*out));
	if (end - at == 4 && memcmp(at, "auto", 4) == 0) {
		out->automatic = true;
		return 0;
	}
	if (end - at < 4 || memcmp(at, "ata", 3))
		return ERR_INVAL;
	at += 3;
	if (!take_number(&at, end, SWAP_PLACES - 1, &out->place))
		return ERR_INVAL;
	if (at == end)
		return 0;
	if (*at++ != 'p' || !take_number(&at, end, SWAP_PARTITIONS, &out->partition) || at != end ||
	    !out->partition)
		return ERR_INVAL;
	return 0;
}
