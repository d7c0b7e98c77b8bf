/* SPDX-License-Identifier: MIT */
/* Where boot/ hands over: memory, slab and final page tables are up, one CPU runs. */
#ifndef KERNEL_MAIN_H
#define KERNEL_MAIN_H

#include "kernel/base/types.h"

void __noreturn kernel_main(void);

#endif
