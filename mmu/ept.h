/* SPDX-License-Identifier: MIT */
/*
 * Extended page tables: 4 levels over 48 bits of guest-physical address (SDM 3C 29.3.2). Pure: any
 * context.
 */
#ifndef MMU_EPT_H
#define MMU_EPT_H

#include "mmu/page_table.h"

#define EPT_ADDRESS_BITS 48

extern const struct page_table_format ept_format;

/* The EPT pointer (SDM 3C 25.6.11, table 25-9). */
u64 ept_pointer(hpa_t root, bool accessed_dirty);

#endif
