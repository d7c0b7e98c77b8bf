/* SPDX-License-Identifier: MIT */
/* Words about memory that are more than one number. Pure. */
#ifndef KERNEL_CONFIG_MEMORY_H
#define KERNEL_CONFIG_MEMORY_H

#include "kernel/base/types.h"

/*
 * "MIN,LOW,HIGH": three sizes, in bytes. ERR_INVAL, when nothing is changed: not three, no size, not
 * a multiple of 4 KiB, out of range, or less than the one before.
 */
int config_parse_watermarks(const char *at, const char *end, u64 out[3]);

#endif
