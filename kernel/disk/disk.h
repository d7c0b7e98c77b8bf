/* SPDX-License-Identifier: MIT */
/*
 * The ATA disks of the machine, which are Weir's own: no guest sees them. A disk is named by its
 * place: ata0 and ata1 are the first channel's two, ata2 and ata3 the second's, and so on.
 *
 * Before disk_start a disk is used by the boot thread, with ata.h's functions. From then on its
 * channel has a thread that carries out requests (mem/swap.h), reads before writes, neighbours in
 * one command. It is lifted while there are reads.
 */
#ifndef KERNEL_DISK_DISK_H
#define KERNEL_DISK_DISK_H

#include "kernel/base/stat.h"
#include "kernel/disk/ata.h"
#include "mem/swap.h"

#define DISK_CHANNELS_MAX 4
#define DISKS_MAX	  (2 * DISK_CHANNELS_MAX)

/* Boot thread, once: looks for controllers and their disks, and logs each. */
void disk_probe(void);
/* NULL: there is no disk at this place. */
struct ata_disk *disk_at(u32 place);

/* Part of a disk that pages go to. */
struct disk_area {
	struct swap_device device;
	struct ata_disk *disk;
	u64 first; /* sector */
	u64 sectors;
};

/*
 * Boot thread, once: the channel of the area's disk gets its thread. The caller has filled all but
 * device, which is ready for swap_attach then. ERR_NOMEM.
 */
int disk_start(struct disk_area *area);

#endif
