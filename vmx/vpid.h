/* SPDX-License-Identifier: MIT */
/* Tags of TLB entries, one for each vCPU while it lives (SDM 3C 29.1). Any context; atomic. */
#ifndef VMX_VPID_H
#define VMX_VPID_H

#include "kernel/base/types.h"

#define VPID_MAX 4096

u16 vpid_alloc(void); /* 0: none is free, and the vCPU does without */
void vpid_free(u16 vpid);

#endif
