/* SPDX-License-Identifier: MIT */
/* The guest's page that exchanges of Weir's are tested on, and where it is in this program. */
#ifndef TESTS_UNIT_MMU_EXCHANGE_PAGE_H
#define TESTS_UNIT_MMU_EXCHANGE_PAGE_H

#include <cmocka.h>
#include "tests/unit/mmu/fixture.h"

#define BASE 0x10 /* its gfn, and the first of its slot */
#define LINE 64u  /* of a cache */

static struct gmem *ram;
static u8 *page;

static inline void exchange_page_start(void)
{
	pfn_t pfn;

	fixture_start(MIB(16));
	ram = object_new(64);
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), 64, ram, 0, 0), 0);
	assert_int_equal(gmem_get_page(ram, 0, true, &pfn), 0);
	page = pfn_to_virt(pfn);
}

static inline void exchange_page_end(void)
{
	gmem_unref(ram);
	fixture_end();
}

#endif
