/* SPDX-License-Identifier: MIT */
/* A size as a person would write it and parse_size would read it: 96M, 2116K, 5. Pure. */
#ifndef KERNEL_BASE_SIZE_TEXT_H
#define KERNEL_BASE_SIZE_TEXT_H

#include "kernel/base/types.h"

struct size_text {
	char text[24];
};
struct size_text size_text(u64 bytes);

#endif
