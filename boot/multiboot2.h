/* SPDX-License-Identifier: MIT */
/*
 * Reads GRUB's multiboot2 information into struct boot_info. Nothing in it is believed: sizes are
 * checked against what is there, text against its end, counts against the tables they go into.
 * What is malformed is passed over with a log line that names it. Pure but for the log.
 */
#ifndef BOOT_MULTIBOOT2_H
#define BOOT_MULTIBOOT2_H

#include "kernel/base/boot_info.h"

#define MULTIBOOT2_MAGIC    0x36d76289 /* in EAX at entry, specification 3.3 */
#define MULTIBOOT2_SIZE_MAX MIB(16)    /* of the information: GRUB's is some kilobytes */

/*
 * info: where EBX pointed; limit: bytes that may be read from there. Fills all of out but
 * image_start and image_end. 0, or ERR_CORRUPT: the header's own size makes no sense, and out is
 * empty. Anything less leaves out with what was sound.
 */
int multiboot2_parse(const void *info, u64 limit, struct boot_info *out);

#endif
