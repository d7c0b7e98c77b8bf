/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/peek.h"
#include "tests/unit/mmu/shadow_big.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 600u

struct gmem *big;

void slot_of_big(u64 base, u64 first, u64 pages, u32 flags)
{
	assert_int_equal(memslot_create(&vm, 2, GFN(base), pages, big, first, flags), 0);
}

void begin_with(struct gmem *object)
{
	big = object;
	load();
}

int shadow_big_start(void **state)
{
	(void)state;
	shadow_guest_start(MIB(64), RAM_PAGES);
	return 0;
}

int shadow_big_end(void **state)
{
	mmu_hw.large_nx = false;
	check_audit();
	if (big)
		gmem_unref(big);
	big = NULL;
	return shadow_guest_end(state);
}

struct gmem *large_object(u64 pages)
{
	struct gmem *g;

	assert_int_equal(gmem_create_order(pages, GMEM_LARGE_ORDER, &g), 0);
	return g;
}

void no_paging(void)
{
	paging.cr0 = CR0_PE;
	paging.efer = 0;
	load();
}

/* Where the page is that the guest's own memory has at gfn. */
static u64 at_gfn(u64 gfn)
{
	const struct memslot *s = slot_of(gfn);
	pfn_t pfn;

	assert_int_equal(gmem_lookup(s->object, memslot_index(s, GFN(gfn)), false, &pfn), 0);
	return pfn_to_hpa(pfn).v;
}

void reaches(u64 gva, u64 gfn, u32 access)
{
	u64 at;

	assert_int_equal(shadow_access(gva, access, &at), 0);
	assert_int_equal(at & ~0xfffull, at_gfn(gfn));
}

bool is_mapped_large(u64 gfn)
{
	return !rmap_empty(large_word_of(gfn));
}

u64 large_spte(u64 gfn)
{
	return *rmap_spte(large_word_of(gfn), 0);
}

void big_entry(u32 i, u64 gfn, u64 bits)
{
	entry(3, i, gfn, bits | PS);
}

void all_in_one(u64 gva, u64 gfn)
{
	u64 faults;

	reaches(gva, gfn, MMU_WRITE);
	assert_true(is_mapped_large(gfn));
	faults = STAT(faults);
	for (u64 i = 0; i < LARGE_PAGES; i++)
		reaches((gva & ~(MIB(2) - 1)) + i * PAGE_SIZE, align_down(gfn, LARGE_PAGES) + i,
			MMU_WRITE << i % 2);
	assert_int_equal(STAT(faults), faults);
}

void small_at(u64 gfn)
{
	reaches(gfn << 12, gfn, MMU_READ);
	assert_false(is_mapped_large(gfn));
	assert_false(rmap_empty(word_of(gfn)));
}
