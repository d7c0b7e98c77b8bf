/* SPDX-License-Identifier: MIT */
#include "kernel/disk/swap_header.h"

#include "kernel/base/crc32.h"
#include "kernel/base/string.h"

#define BLOCK_SECTORS (PAGE_SIZE / 512)

static bool all_zero(const u8 *p, u64 size)
{
	for (u64 i = 0; i < size; i++) {
		if (p[i])
			return false;
	}
	return true;
}

static bool crc_is_right(const struct swap_header *h)
{
	static const u8 zero[sizeof(h->crc)];
	const u8 *bytes = (const u8 *)h;
	u32 at = offsetof(struct swap_header, crc), crc;

	crc = crc32(0, bytes, at);
	crc = crc32(crc, zero, sizeof(zero));
	crc = crc32(crc, bytes + at + sizeof(zero), sizeof(*h) - at - sizeof(zero));
	return crc == h->crc;
}

const char *swap_header_fault(const struct swap_header *h, const struct swap_header *copy,
			      u64 sectors)
{
	if (sectors < SWAP_BLOCKS_MIN * BLOCK_SECTORS)
		return "it is smaller than 64 KiB: give more";
	if (memcmp(h->magic, SWAP_MAGIC, sizeof(h->magic)))
		return "it does not carry Weir's swap signature, so it may hold somebody's data: "
		       "write the signature (docs/bare-metal.md), or name another";
	if (h->version != SWAP_VERSION)
		return "its signature is of another version: write it anew";
	if (!crc_is_right(h))
		return "its signature is damaged (checksum): write it anew";
	if (h->block_size != PAGE_SIZE)
		return "its blocks are not of 4096 bytes: write the signature anew";
	if (h->blocks < SWAP_BLOCKS_MIN)
		return "its signature tells of less than 64 KiB: write it anew";
	if (h->blocks > SWAP_BLOCKS_MAX)
		return "its signature tells of more than 16 TiB: write it anew";
	if (h->blocks > sectors / BLOCK_SECTORS)
		return "its signature tells of more than there is: it was made for a larger one, "
		       "write it anew";
	if (all_zero(h->uuid, sizeof(h->uuid)))
		return "its signature has no UUID: write it anew";
	if (!all_zero(h->zero, sizeof(h->zero)))
		return "its signature has bytes that version 2 does not know: write it anew";
	if (memcmp(h, copy, sizeof(*h)))
		return "the copy of its signature, at 4 KiB, is not there: somebody else may have "
		       "used it since, as RAID does; write the signature anew, or name another";
	return NULL;
}
