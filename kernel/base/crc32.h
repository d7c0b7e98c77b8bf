/* SPDX-License-Identifier: MIT */
/* The CRC of Ethernet, zlib and UEFI: polynomial 0x04c11db7, reflected, inverted. Pure. */
#ifndef KERNEL_BASE_CRC32_H
#define KERNEL_BASE_CRC32_H

#include "kernel/base/types.h"

/* crc is 0, or what was returned for the bytes before these. */
u32 crc32(u32 crc, const void *bytes, u64 size);

#endif
