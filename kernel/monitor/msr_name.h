/* SPDX-License-Identifier: MIT */
/* What an MSR is called, for whoever reads its number (SDM 4 chapter 2). Pure. */
#ifndef KERNEL_MONITOR_MSR_NAME_H
#define KERNEL_MONITOR_MSR_NAME_H

#include "kernel/base/types.h"

/* NULL: it is none of the well-known ones. */
const char *msr_name(u32 index);

#endif
