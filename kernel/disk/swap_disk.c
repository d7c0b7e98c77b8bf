/* SPDX-License-Identifier: MIT */
#include "kernel/disk/swap_disk.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/disk/partition.h"
#include "kernel/disk/swap_header.h"
#include "kernel/disk/swap_name.h"
#include "mem/frame.h"
#include "mem/swap_blocks.h"
#include "smp/timer.h"

#define AUTO_PARTITIONS 16 /* of each disk that are looked at */
#define TABLES_PART	16 /* of the memory that is free at boot, at most, for the tables */

static_assert(SWAP_PLACES == DISKS_MAX && SWAP_PARTITIONS == PARTITIONS_MAX, "what swap= may name");

static struct disk_area area;
static u64 area_blocks;

/* --- The area ------------------------------------------------------------------------------- */

static int read_page(void *arg, u64 sector, void *page)
{
	struct ata_failure why;
	void *pages[] = {page};

	return ata_transfer(arg, sector, pages, 1, false, &why);
}

static const char *no_partition(int err)
{
	switch (err) {
	case ERR_NOENT:
		return "there is no such partition";
	case ERR_CORRUPT:
		return "its partition table is damaged";
	case ERR_RANGE:
		return "it is said to lie beyond the disk's end";
	case ERR_NOTSUP:
		return "it is an extended partition, or in a table of unusual form";
	default:
		return "its partition table cannot be read";
	}
}

/* NULL, and area is filled; else why it cannot be used. */
static const char *look_at(u32 place, u32 partition, u8 *page, struct swap_header *header)
{
	struct ata_disk *d = disk_at(place);
	struct partition_source s = {.read = read_page, .arg = d, .page = page};
	int err = 0;

	if (!d)
		return "there is no such disk";
	area.disk = d;
	area.first = 0;
	area.sectors = s.sectors = d->sectors;
	if (partition)
		err = partition_find(&s, partition, &area.first, &area.sectors);
	if (err)
		return no_partition(err);
	if (area.sectors < SWAP_HEADERS * ATA_PAGE_SECTORS)
		return "it is smaller than 64 KiB: give more";
	if (read_page(d, area.first, header))
		return "its first block cannot be read";
	if (read_page(d, area.first + ATA_PAGE_SECTORS, page))
		return "its second block cannot be read";
	return swap_header_fault(header, (const struct swap_header *)(void *)page, area.sectors);
}

static void name_of(char *to, size_t size, u32 place, u32 partition)
{
	if (partition)
		snprintf(to, size, "ata%up%u", place, partition);
	else
		snprintf(to, size, "ata%u", place);
}

/* The first that may be used, disks as a whole before their partitions. */
static const char *look_everywhere(u8 *page, struct swap_header *header, char *name, size_t size)
{
	for (u32 place = 0; place < DISKS_MAX; place++) {
		if (!disk_at(place))
			continue;
		for (u32 partition = 0; partition <= AUTO_PARTITIONS; partition++) {
			name_of(name, size, place, partition);
			if (!look_at(place, partition, page, header))
				return NULL;
		}
	}
	return "no disk carries Weir's swap signature: write it (docs/bare-metal.md)";
}

/* --- Attaching it --------------------------------------------------------------------------- */

/* As many blocks as there is memory to keep account of. */
static u64 affordable(u64 blocks)
{
	struct frame_stats frames;
	u64 most;

	frame_get_stats(&frames);
	most = (frames.free << PAGE_SHIFT) / TABLES_PART;
	if (swap_blocks_memory(blocks) <= most)
		return blocks;
	most = max(most / (swap_blocks_memory(MIB(1)) / MIB(1) + 1), (u64)SWAP_BLOCKS_MIN);
	return min(most, blocks);
}

static void log_attached(const char *name, const struct swap_header *h, u64 blocks)
{
	const u8 *id = h->uuid;

	log_info(
		"swap: %s: %llu pages, signature %02x%02x%02x%02x-%02x%02x; %s of RAM keep account "
		"of it",
		name, (unsigned long long)(blocks - 1), id[0], id[1], id[2], id[3], id[4], id[5],
		size_text(align_up(swap_blocks_memory(blocks), KIB(1))).text);
	if (blocks < h->blocks - (SWAP_HEADERS - 1))
		log_warn("swap: %s: the rest of its %llu pages is not used: the machine has too "
			 "little memory to keep account of them",
			 name, (unsigned long long)(h->blocks - SWAP_HEADERS));
}

static void attach(const char *name, const struct swap_header *header)
{
	u64 blocks = affordable(header->blocks - (SWAP_HEADERS - 1));
	u64 seed = rdtsc() ^ clock_boot_wall_seconds() << 32;
	int err;

	/* Block 0, which is never touched, is the last of the headers. */
	area.first += (SWAP_HEADERS - 1) * ATA_PAGE_SECTORS;
	area.sectors -= (SWAP_HEADERS - 1) * ATA_PAGE_SECTORS;
	err = disk_start(&area);
	if (!err)
		err = swap_attach(&area.device, blocks, seed);
	if (err) {
		log_error("swap=%s: not used: %s: give the machine more memory", name,
			  error_name(err));
		return;
	}
	area_blocks = blocks;
	log_attached(name, header, blocks);
}

void swap_start(const char *text)
{
	struct swap_header *header;
	struct swap_name name;
	char found[SWAP_NAME_MAX];
	const char *fault;
	u8 *page;

	if (!text[0] || swap_name_parse(text, text + strlen(text), &name))
		return;
	disk_probe();
	page = frame_alloc_page(FRAME_FOR(SWAP));
	header = frame_alloc_page(FRAME_FOR(SWAP));
	if (!page || !header)
		fault = "no memory to look at it";
	else if (name.automatic)
		fault = look_everywhere(page, header, found, sizeof(found));
	else
		fault = look_at(name.place, name.partition, page, header);
	if (!name.automatic)
		name_of(found, sizeof(found), name.place, name.partition);
	if (fault)
		log_error("swap=%s: not used: %s", text, fault);
	else
		attach(found, header);
	if (page)
		frame_free_page(page);
	if (header)
		frame_free_page(header);
}

struct disk_area *swap_area(u64 *blocks)
{
	*blocks = area_blocks;
	return area_blocks ? &area : NULL;
}
