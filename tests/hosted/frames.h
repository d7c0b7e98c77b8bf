/* SPDX-License-Identifier: MIT */
/* The frame allocator of mem/ on the fake machine. The test brings @mem. */
#ifndef TESTS_HOSTED_FRAMES_H
#define TESTS_HOSTED_FRAMES_H

#include "kernel/base/types.h"

/*
 * A fresh machine with so many bytes of memory, of which all but the first MiB is frames that are
 * free. This thread is CPU 0, and no allocation fails.
 */
void frames_start(u64 memory);
u64 frames_free(void); /* how many are */

#endif
