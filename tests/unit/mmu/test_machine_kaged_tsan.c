/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine @reclaim */
/* unit-cflags: -include tests/hosted/points.h -DFRAME_CACHE=8 */
/* unit-sanitizer: thread */
#include "tests/unit/mmu/test_machine_kaged.c"
