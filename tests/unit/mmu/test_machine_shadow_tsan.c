/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine tests/unit/mmu/spare_slot.c tests/unit/mmu/table_write.c */
/* unit-cflags: -include tests/hosted/points.h */
/* unit-sanitizer: thread */
#include "tests/unit/mmu/test_machine_shadow.c"
