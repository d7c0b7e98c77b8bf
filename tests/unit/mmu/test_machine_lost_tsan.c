/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/* unit-sanitizer: thread */
#include "tests/unit/mmu/test_machine_lost.c"
