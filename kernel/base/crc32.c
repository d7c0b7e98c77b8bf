/* SPDX-License-Identifier: MIT */
#include "kernel/base/crc32.h"

#define POLYNOMIAL 0xedb88320u

/* For the few bytes of headers: a bit at a time, without a table. */
u32 crc32(u32 crc, const void *bytes, u64 size)
{
	const u8 *p = bytes;

	crc = ~crc;
	while (size--) {
		crc ^= *p++;
		for (u32 i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
	}
	return ~crc;
}
