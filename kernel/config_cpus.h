/* SPDX-License-Identifier: MIT */
/* A list of CPUs in the configuration, as in cpus=0,2-3. Pure. */
#ifndef KERNEL_CONFIG_CPUS_H
#define KERNEL_CONFIG_CPUS_H

#include "kernel/base/types.h"

/*
 * Numbers and ranges with commas between them, each below 64 and no range backwards; a CPU may be
 * named twice. 0 or ERR_INVAL, when *out is not changed.
 */
int config_parse_cpus(const char *at, const char *end, u64 *out);

/* The same list again, ranges where there are any, for messages; cut at size. */
void config_cpus_text(u64 cpus, char *text, size_t size);

#endif
