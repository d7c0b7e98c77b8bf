/* SPDX-License-Identifier: MIT */
/* unit-libs: -Wl,--wrap=spin_unlock */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/peek.c */
/* unit-sanitizer: thread */
#include "tests/unit/mmu/test_shadow_hash.c"
