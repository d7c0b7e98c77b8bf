/* SPDX-License-Identifier: MIT */
/* A VM's name in a table's column: of one that is too long the middle is left out, where '~' stands. Pure. */
#ifndef KERNEL_MONITOR_CUT_NAME_H
#define KERNEL_MONITOR_CUT_NAME_H

#include "kernel/config.h"

struct cut_name {
	char text[CONFIG_NAME_MAX];
};
/* columns: 3 and more. */
struct cut_name cut_name(const char *name, u32 columns);

#endif
