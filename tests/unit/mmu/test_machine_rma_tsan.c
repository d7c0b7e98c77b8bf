/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine mmu/rma_setup.c mmu/real_mode.c */
/* unit-cflags: -include tests/hosted/points.h */
/* unit-sanitizer: thread */
#include "tests/unit/mmu/test_machine_rma.c"
