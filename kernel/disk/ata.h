/* SPDX-License-Identifier: MIT */
/*
 * ATA disks by the registers of an IDE channel (ATA/ATAPI-6; "Programming Interface for Bus Master
 * IDE Controller", rev. 1.0). A channel does one command at a time, for one of its two drives: one
 * thread has it. That thread sleeps until the channel's interrupt comes, looks by itself now and
 * then in case it does not, and gives up at a deadline. After an error the channel is reset and the
 * command tried again, at last without DMA, and the drive goes without from then on unless that try
 * fails as well. A drive that does not come back, or that never ends a command, is dead, and every
 * request to it fails at once.
 *
 * Thread context but for ata_interrupt; no lock.
 */
#ifndef KERNEL_DISK_ATA_H
#define KERNEL_DISK_ATA_H

#include "kernel/base/addr.h"
#include "smp/wait.h"

#define ATA_SECTOR	 512u
#define ATA_PAGE_SECTORS ((u32)(PAGE_SIZE / ATA_SECTOR))
#define ATA_PAGES_MAX	 32u /* of one command: LBA28 counts 256 sectors */
#define ATA_MODEL_MAX	 41
#define ATA_FAILURE_MAX	 96

struct ata_channel {
	/* set once */
	u16 command, control; /* first ports of the two register blocks */
	u16 bus_master;	      /* likewise; 0: PIO only */
	bool has_interrupt;   /* else its status is looked at every millisecond */
	u64 timeout_ns;	      /* of one command */
	u64 reset_ns;	      /* of a reset */
	/* Below 4 GiB, and NULL without DMA: */
	u64 *prds;  /* a page of descriptors */
	u8 *bounce; /* ATA_PAGES_MAX pages for those above 4 GiB; NULL: there are none */
	/* its thread's */
	u8 selected;
	u64 lost_interrupts; /* times that something had happened which no interrupt told */
	/* atomic */
	u32 interrupts;
	struct wait_queue wait;
};

struct ata_disk {
	struct ata_channel *channel;
	/* set once */
	u32 drive; /* 0 or 1 */
	u64 sectors;
	bool lba48;
	char name[8];
	char model[ATA_MODEL_MAX];
	/* its channel's thread's */
	bool dma;
	u32 dma_failures;
	u32 timeouts; /* tries in a row */
	bool dead;
	u64 retries;
};

/* What became of a command that failed: ready for a line of the log. */
struct ata_failure {
	char text[ATA_FAILURE_MAX];
};

/* ports and interrupt; the default times. The caller has set the rest to 0. */
void ata_channel_init(struct ata_channel *ch, u16 command, u16 control, u16 bus_master);
/*
 * Memory for DMA. ERR_NOMEM: none below 4 GiB was found, and the channel goes without. high: there
 * is RAM above 4 GiB.
 */
int ata_channel_use_dma(struct ata_channel *ch, bool high);

/* Nobody drives its lines. */
bool ata_is_empty(struct ata_channel *ch);

/* From the channel's interrupt, in interrupt context. */
void ata_interrupt(struct ata_channel *ch);

/*
 * ERR_NOENT: no drive, or none that is a disk; ERR_NOTSUP: one without LBA, or with sectors of other
 * than 512 bytes; ERR_TIMEOUT, ERR_IO.
 */
int ata_identify(struct ata_channel *ch, u32 drive, struct ata_disk *out);

/*
 * Whole pages to or from sectors that follow one another; 1 to ATA_PAGES_MAX. Sleeps, up to some
 * timeouts' time. ERR_RANGE: beyond the end; ERR_IO; ERR_TIMEOUT. *why then says what happened.
 */
int ata_transfer(struct ata_disk *d, u64 sector, void *const *pages, u32 count, bool write,
		 struct ata_failure *why);
/* What was written is on the medium. As ata_transfer. */
int ata_flush(struct ata_disk *d, struct ata_failure *why);

#endif
