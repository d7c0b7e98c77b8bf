/* SPDX-License-Identifier: MIT */
/*
 * Where a disk's partitions are: the four of an MBR, or those of a GUID partition table (UEFI 2.8,
 * 5.3). All of it is a disk's word: nothing is believed that the rest does not bear out.
 * Pure over a function that reads.
 */
#ifndef KERNEL_DISK_PARTITION_H
#define KERNEL_DISK_PARTITION_H

#include "kernel/base/types.h"

#define PARTITIONS_MAX 128

struct partition_source {
	/* PAGE_SIZE bytes from this sector on. 0 or an error. */
	int (*read)(void *arg, u64 sector, void *page);
	void *arg;
	u64 sectors; /* of the disk */
	u8 *page;    /* PAGE_SIZE, the callee's to use */
};

/*
 * Partition `number`, from 1. ERR_NOENT: there is none; ERR_CORRUPT: the table is damaged, or
 * another partition has sectors of this one; ERR_RANGE: it is not within what the disk has for it; ERR_NOTSUP: an extended partition; what read returned.
 */
int partition_find(const struct partition_source *s, u32 number, u64 *first, u64 *sectors);

#endif
