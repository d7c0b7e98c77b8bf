/* SPDX-License-Identifier: MIT */
/*
 * An IDE channel of this process, with one disk on it, and all that disks do wrong. What the driver
 * writes to a register at the wrong time fails the test.
 */
#ifndef TESTS_UNIT_DISK_FAKE_ATA_H
#define TESTS_UNIT_DISK_FAKE_ATA_H

#include "kernel/disk/ata.h"

#define FAKE_ATA_COMMAND 0x1f0
#define FAKE_ATA_CONTROL 0x3f6
#define FAKE_ATA_MASTER	 0xc000
#define FAKE_ATA_SECTORS 4096u /* that have contents: others show those modulo this */

struct fake_ata {
	/* what it is */
	u64 sectors;
	bool wide, dma, lba, slave_is_cdrom, no_drive;
	bool large_sectors, lie;
	bool second_alone; /* it is the second drive, and nobody is the first */
	u8 bytes[FAKE_ATA_SECTORS * ATA_SECTOR];
	/* what goes wrong */
	u64 bad_sector; /* cannot be read or written; ~0: none */
	u8 bad_error;	/* says so */
	bool device_fault, master_fails, no_interrupts, gone, forever_busy;
	bool unplugged;	  /* the channel is there, and nobody drives it */
	bool other_only;  /* the drive is gone, and the other answers in its place */
	bool slow_data;	  /* not busy while it moves data, which takes busy_looks again */
	bool early;	  /* the bus master says that it is done when it is not */
	bool moves_half;  /* of what it was told */
	bool ends_none;	  /* every command hangs, and a reset ends it */
	u32 hang;	  /* so many commands never end, unless by a reset */
	u32 busy_looks;	  /* looks at the status for which a command takes */
	u32 dma_failures; /* so many DMA commands fail */
	/* registers, those with two halves with the older below */
	u8 count[2], low[2], mid[2], high[2], head, status, error;
	u8 control, master_command, master_status;
	bool intrq;
	u32 prds;
	/* the command under way */
	u8 command;
	u64 at;
	u32 left; /* sectors */
	u32 looks;
	u32 byte;
	u64 sector_ns, ready_ns; /* a sector takes so long, the next is there then */
	u16 identity[256];
	u8 *data;
	bool hanging; /* the command under way never ends */
	/* what happened */
	u32 resets, commands, ext_commands, dma_commands, transferred, flushes;
};
extern struct fake_ata m;

/* It is as a disk that works, and this machine's ports lead to it; interrupts go to the channel. */
void fake_ata_start(struct ata_channel *ch);
void fake_ata_end(void);
u8 *fake_ata_contents(u64 sector);

#endif
