/* SPDX-License-Identifier: MIT */
/* The value of swap= on Weir's command line. Pure. */
#ifndef KERNEL_DISK_SWAP_NAME_H
#define KERNEL_DISK_SWAP_NAME_H

#include "kernel/base/types.h"

#define SWAP_PLACES	8   /* of disks */
#define SWAP_PARTITIONS 128 /* of one disk */
#define SWAP_NAME_MAX	16

/* What swap= says. */
struct swap_name {
	bool automatic; /* the first that has the signature */
	u32 place;	/* else: of the disk, */
	u32 partition;	/* and from 1; 0: the disk as a whole */
};
/* auto, ataN, ataNpM. Pure. ERR_INVAL. */
int swap_name_parse(const char *at, const char *end, struct swap_name *out);

#endif
