/* SPDX-License-Identifier: MIT */
#include "kernel/disk/partition.h"

#include "kernel/base/crc32.h"
#include "kernel/base/error.h"
#include "kernel/base/string.h"

#define SECTOR 512u

#define MBR_ENTRIES	 446u
#define MBR_ENTRY_SIZE	 16u
#define MBR_COUNT	 4u
#define MBR_TYPE	 4u /* of an entry */
#define MBR_FIRST	 8u
#define MBR_SECTORS	 12u
#define MBR_SIGNATURE	 510u
#define MBR_SIGNATURE_IS 0xaa55u

#define TYPE_EXTENDED	    0x05
#define TYPE_EXTENDED_LBA   0x0f
#define TYPE_EXTENDED_LINUX 0x85
#define TYPE_GPT	    0xee

struct gpt_header {
	u8 signature[8];
	u32 revision;
	u32 header_size;
	u32 header_crc;
	u32 reserved;
	u64 this_lba;
	u64 other_lba;
	u64 first_usable;
	u64 last_usable;
	u8 disk_guid[16];
	u64 entries_lba;
	u32 entry_count;
	u32 entry_size;
	u32 entries_crc;
} __packed;
static_assert(offsetof(struct gpt_header, entries_crc) == 88, "UEFI 2.8, table 19");

struct gpt_entry {
	u8 type[16];
	u8 guid[16];
	u64 first, last;
} __packed;

#define GPT_ENTRY_SIZE 128u
#define GPT_HEADER_MIN 92u

static u32 load32(const u8 *at)
{
	u32 v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static bool within(const struct partition_source *s, u64 first, u64 sectors)
{
	return first && sectors && sectors <= s->sectors && first <= s->sectors - sectors;
}

/* --- GPT ------------------------------------------------------------------------------------ */

static int check_header(const struct partition_source *s, struct gpt_header *h)
{
	static const u8 zero[4];
	u32 crc;

	if (memcmp(h->signature, "EFI PART", 8) || h->header_size < GPT_HEADER_MIN ||
	    h->header_size > SECTOR || h->this_lba != 1)
		return ERR_CORRUPT;
	crc = crc32(0, s->page + SECTOR, offsetof(struct gpt_header, header_crc));
	crc = crc32(crc, zero, sizeof(zero));
	crc = crc32(crc, s->page + SECTOR + offsetof(struct gpt_header, reserved),
		    h->header_size - offsetof(struct gpt_header, reserved));
	if (crc != h->header_crc)
		return ERR_CORRUPT;
	/* Others exist on paper. */
	if (h->entry_size != GPT_ENTRY_SIZE || h->entry_count > PARTITIONS_MAX)
		return ERR_NOTSUP;
	return within(s, h->entries_lba, PARTITIONS_MAX * GPT_ENTRY_SIZE / SECTOR) ? 0 : ERR_RANGE;
}

static bool is_used(const struct gpt_entry *e)
{
	static const u8 none[16];

	return memcmp(e->type, none, sizeof(none)) != 0;
}

static struct gpt_entry entry_in(const u8 *page, u32 at)
{
	struct gpt_entry e;

	memcpy(&e, page + at * GPT_ENTRY_SIZE, sizeof(e));
	return e;
}

/* Whether another entry of this page, which begins with the one after `at`, has sectors of it. */
static bool is_overlapped(const u8 *page, u32 at, u32 count, u32 number, const struct gpt_entry *e)
{
	for (u32 i = 0; i < count; i++) {
		struct gpt_entry other = entry_in(page, i);

		if (at + i + 1 != number && is_used(&other) && other.first <= e->last &&
		    e->first <= other.last)
			return true;
	}
	return false;
}

/*
 * All entries are read: once for their checksum, and the one that is meant is kept; once more to
 * see that no other has sectors of that.
 */
static int read_entries(const struct partition_source *s, const struct gpt_header *h, u32 number,
			bool again, struct gpt_entry *out)
{
	u32 per_page = PAGE_SIZE / GPT_ENTRY_SIZE, crc = 0;

	for (u32 at = 0; at < h->entry_count; at += per_page) {
		u32 count = min(per_page, h->entry_count - at);
		int err = s->read(s->arg, h->entries_lba + at * GPT_ENTRY_SIZE / SECTOR, s->page);

		if (err)
			return err;
		crc = crc32(crc, s->page, count * GPT_ENTRY_SIZE);
		if (again && is_overlapped(s->page, at, count, number, out))
			return ERR_CORRUPT;
		if (!again && number > at && number <= at + count)
			*out = entry_in(s->page, number - 1 - at);
	}
	return crc == h->entries_crc ? 0 : ERR_CORRUPT;
}

static int find_gpt(const struct partition_source *s, u32 number, u64 *first, u64 *sectors)
{
	struct gpt_header h;
	struct gpt_entry e = {.first = 0};
	int err;

	memcpy(&h, s->page + SECTOR, sizeof(h));
	err = check_header(s, &h);
	if (!err)
		err = read_entries(s, &h, number, false, &e);
	if (err)
		return err;
	if (!is_used(&e))
		return ERR_NOENT;
	/* Outside of what is usable are the tables. */
	if (e.last < e.first || !within(s, e.first, e.last - e.first + 1) ||
	    e.first < h.first_usable || e.last > h.last_usable)
		return ERR_RANGE;
	*first = e.first;
	*sectors = e.last - e.first + 1;
	return read_entries(s, &h, number, true, &e);
}

/* --- MBR ------------------------------------------------------------------------------------ */

static bool is_gpt(const u8 *mbr)
{
	for (u32 i = 0; i < MBR_COUNT; i++) {
		if (mbr[MBR_ENTRIES + i * MBR_ENTRY_SIZE + MBR_TYPE] == TYPE_GPT)
			return true;
	}
	return false;
}

/* The entry has sectors that others have; an extended one has those of all partitions in it. */
static bool mbr_overlaps(const u8 *mbr, u32 number, u64 first, u64 sectors)
{
	for (u32 i = 0; i < MBR_COUNT; i++) {
		const u8 *e = mbr + MBR_ENTRIES + i * MBR_ENTRY_SIZE;
		u64 other = load32(e + MBR_FIRST), count = load32(e + MBR_SECTORS);

		if (i != number - 1 && e[MBR_TYPE] && other < first + sectors &&
		    first < other + count)
			return true;
	}
	return false;
}

static int find_mbr(const struct partition_source *s, u32 number, u64 *first, u64 *sectors)
{
	const u8 *e = s->page + MBR_ENTRIES + (number - 1) * MBR_ENTRY_SIZE;

	if (number > MBR_COUNT || e[MBR_TYPE] == 0)
		return ERR_NOENT;
	if (e[MBR_TYPE] == TYPE_EXTENDED || e[MBR_TYPE] == TYPE_EXTENDED_LBA ||
	    e[MBR_TYPE] == TYPE_EXTENDED_LINUX)
		return ERR_NOTSUP;
	*first = load32(e + MBR_FIRST);
	*sectors = load32(e + MBR_SECTORS);
	if (!within(s, *first, *sectors))
		return ERR_RANGE;
	return mbr_overlaps(s->page, number, *first, *sectors) ? ERR_CORRUPT : 0;
}

int partition_find(const struct partition_source *s, u32 number, u64 *first, u64 *sectors)
{
	int err;

	if (number == 0 || number > PARTITIONS_MAX || s->sectors < PAGE_SIZE / SECTOR)
		return ERR_NOENT;
	err = s->read(s->arg, 0, s->page);
	if (err)
		return err;
	if ((load32(s->page + MBR_SIGNATURE) & 0xffff) != MBR_SIGNATURE_IS)
		return ERR_NOENT;
	return is_gpt(s->page) ? find_gpt(s, number, first, sectors)
			       : find_mbr(s, number, first, sectors);
}
