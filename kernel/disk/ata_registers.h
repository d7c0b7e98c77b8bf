/* SPDX-License-Identifier: MIT */
/* Between ata.c and ata_transfer.c: the registers, and the steps of a command. */
#ifndef KERNEL_DISK_ATA_REGISTERS_H
#define KERNEL_DISK_ATA_REGISTERS_H

#include "kernel/base/x86.h"
#include "kernel/disk/ata.h"

/* From the command block's first port (ATA/ATAPI-6, 7). */
#define ATA_DATA     0
#define ATA_ERROR    1
#define ATA_COUNT    2
#define ATA_LBA_LOW  3
#define ATA_LBA_MID  4
#define ATA_LBA_HIGH 5
#define ATA_HEAD     6
#define ATA_STATUS   7 /* read: the drive's interrupt goes */
#define ATA_COMMAND  7

#define ATA_HEAD_LBA 0xe0
#define ATA_DRIVE_1  0x10

#define ATA_BSY	 0x80
#define ATA_DRDY 0x40
#define ATA_DF	 0x20
#define ATA_DRQ	 0x08
#define ATA_ERR	 0x01
#define ATA_NOTHING \
	0x7f /* and above: a bus where nobody drives, but that a resistor pulls BSY down */

#define ATA_SRST 0x04 /* of the control register; its interrupts are on with 0 in bit 1 */

enum ata_commands {
	ATA_READ = 0x20,
	ATA_READ_EXT = 0x24,
	ATA_READ_DMA_EXT = 0x25,
	ATA_WRITE = 0x30,
	ATA_WRITE_EXT = 0x34,
	ATA_WRITE_DMA_EXT = 0x35,
	ATA_READ_DMA = 0xc8,
	ATA_WRITE_DMA = 0xca,
	ATA_FLUSH = 0xe7,
	ATA_FLUSH_EXT = 0xea,
	ATA_IDENTIFY = 0xec,
};

/* Words of IDENTIFY DEVICE (8.15), and bits in them. */
#define IDENTIFY_GENERAL      0
#define IDENTIFY_IS_ATAPI     BIT(15)
#define IDENTIFY_MODEL	      27
#define IDENTIFY_MODEL_WORDS  20
#define IDENTIFY_CAPABILITIES 49
#define IDENTIFY_HAS_DMA      BIT(8)
#define IDENTIFY_HAS_LBA      BIT(9)
#define IDENTIFY_SECTORS_28   60
#define IDENTIFY_28_MAX	      (BIT(28) - 1) /* of them: the last is 0ffffffeh */
#define IDENTIFY_FEATURES     83
#define IDENTIFY_HAS_LBA48    BIT(10)
#define IDENTIFY_SECTORS_48   100
#define IDENTIFY_SECTOR_SIZE  106
#define IDENTIFY_SIZE_MASK    0xd000 /* whether the word counts, and the logical sector is not 512 */
#define IDENTIFY_SIZE_OTHER   0x5000

/* From the bus master's first port. */
#define BM_COMMAND   0
#define BM_STATUS    2
#define BM_PRDS	     4
#define BM_START     0x01
#define BM_TO_MEMORY 0x08
#define BM_ACTIVE    0x01 /* of the status: descriptors are left */
#define BM_ERROR     0x02
#define BM_INTERRUPT 0x04

#define PRD_LAST BIT(63)

/*
 * Waits until the drive is not busy, and with dma until the bus master has the interrupt, too. 0
 * and the status; ERR_TIMEOUT; ERR_NOENT: no drive answers.
 */
int ata_wait(struct ata_channel *ch, bool dma, u64 timeout_ns, u8 *status);
/* Gives a command to a drive that is ready. ERR_BUSY: it wants data; as ata_wait. */
int ata_command(struct ata_disk *d, u8 command, u64 sector, u32 count);
/*
 * 28 bits do not reach all of these. 0fffffffh is for LBA48 alone, although they could say it: words
 * 61:60 count no more than those before it, and drives refuse it.
 */
bool ata_needs_lba48(u64 sector, u32 count);
/* The drive takes its interrupt back. */
void ata_acknowledge(struct ata_channel *ch);
void ata_stop_dma(struct ata_channel *ch);
/* Both drives of the channel; this one takes commands again on return. As ata_wait. */
int ata_reset(struct ata_disk *d);

#endif
