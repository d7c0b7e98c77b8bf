/* SPDX-License-Identifier: MIT */
/*
 * The EPT format. An entry (SDM 3C 29.3.2, tables 29-1 to 29-7):
 *
 *	 0  read     1  write     2  execute      any of them set: present
 *	 5:3 memory type of a page; write-back, like the RAM it is
 *	 6  ignore PAT: set. No guest has a device whose registers need another type, and a frame that
 *	    the guest has uncached while Weir's own map has it write-back is undefined where the CPU
 *	    lacks self-snoop (SDM 3A 12.12.4): machine checks, at the guest's will
 *	 7  page, in an entry that could lead to a table
 *	 8  accessed, 9  dirty: the CPU's, where the EPT pointer turns them on; else Weir's own
 *	 51:12 address
 *	 52 frozen: ignored by the CPU (table 29-7: bits 62:52 are software's in an entry that is
 *	    not present), and no address or right can ever set it
 */
#include "mmu/ept.h"
#include "mmu/mmu.h"

#define EPT_ACCESS     (BIT(0) | BIT(1) | BIT(2))
#define EPT_TYPE_SHIFT 3
#define EPT_TYPE_WB    6ull
#define EPT_IGNORE_PAT BIT(6)
#define EPT_PAGE       BIT(7)
#define EPT_ADDRESS    (BIT(52) - BIT(12))
#define EPT_LEAF_BITS  (EPT_ACCESS | PAGE_TABLE_ACCESSED | PAGE_TABLE_DIRTY)
#define EPT_FROZEN     BIT(52)

#define EPTP_WALK_LENGTH_SHIFT 3 /* levels less one */
#define EPTP_ACCESSED_DIRTY    BIT(6)

static_assert(MMU_READ == BIT(0) && MMU_WRITE == BIT(1) && MMU_EXEC == BIT(2),
	      "access is written as the entry has it");
static_assert(PAGE_TABLE_ACCESSED == BIT(8) && PAGE_TABLE_DIRTY == BIT(9),
	      "and so are the bits of its use");

static bool ept_present(u64 e)
{
	return e & EPT_ACCESS;
}

static bool ept_never(u64 e)
{
	(void)e;
	return false;
}

static bool ept_large(u64 e)
{
	return e & EPT_PAGE;
}

static bool ept_always(u64 e)
{
	(void)e;
	return true;
}

static hpa_t ept_address(u64 e)
{
	return HPA(e & EPT_ADDRESS);
}

static u32 ept_access(u64 e)
{
	return e & EPT_LEAF_BITS;
}

/* What a page may be used for is said at its leaf alone. */
static u64 ept_make_table(hpa_t table)
{
	return table.v | EPT_ACCESS;
}

static u64 ept_make_leaf(hpa_t page, u32 access)
{
	return page.v | (access & EPT_LEAF_BITS) | EPT_IGNORE_PAT | (EPT_TYPE_WB << EPT_TYPE_SHIFT);
}

static u64 ept_make_large(hpa_t page, u32 access)
{
	return ept_make_leaf(page, access) | EPT_PAGE;
}

static u64 ept_with_access(u64 e, u32 access)
{
	return (e & ~EPT_LEAF_BITS) | (access & EPT_LEAF_BITS);
}

#define EPT_LEVEL(s, is_leaf, leaf_maker)                                                        \
	{                                                                                        \
		.shift = (s), .present = ept_present, .leaf = (is_leaf), .address = ept_address, \
		.access = ept_access, .make_table = ept_make_table, .make_leaf = (leaf_maker),   \
		.with_access = ept_with_access                                                   \
	}

const struct page_table_format ept_format = {
	.name = "EPT",
	.frozen = EPT_FROZEN,
	.levels = 4,
	.level =
		{
			EPT_LEVEL(39, ept_never, NULL),
			EPT_LEVEL(30, ept_large, ept_make_large),
			EPT_LEVEL(21, ept_large, ept_make_large),
			EPT_LEVEL(12, ept_always, ept_make_leaf),
		},
};

u64 ept_pointer(hpa_t root, bool accessed_dirty)
{
	return root.v | EPT_TYPE_WB | ((u64)(ept_format.levels - 1) << EPTP_WALK_LENGTH_SHIFT) |
	       (accessed_dirty ? EPTP_ACCESSED_DIRTY : 0);
}
