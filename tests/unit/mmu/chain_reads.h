/* SPDX-License-Identifier: MIT */
/*
 * Counts the descriptors that are read of chains of sptes. With "unit-libs:
 * -Wl,--wrap=rmap_spte_of_many -Wl,--wrap=rmap_next_of_many".
 */
#ifndef TESTS_UNIT_MMU_CHAIN_READS_H
#define TESTS_UNIT_MMU_CHAIN_READS_H

#include "kernel/base/types.h"

extern u32 chain_reads;

#endif
