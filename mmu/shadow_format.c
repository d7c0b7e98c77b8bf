/* SPDX-License-Identifier: MIT */
/*
 * Shadow entries, as sweeps see them: what the CPU walks in 4-level and PAE paging alike (SDM 3A
 * tables 4-11, 4-19). Who may use a page (U/S) is the guest's business, and stays as it is.
 *
 *	 0  present    1  write    2  user    5  accessed    6  dirty    7  a page, not a table
 *	 63  no execution
 *	 51:12 address of the frame or the table
 *	 52 frozen: ignored by the CPU where present is clear
 */
#include "mmu/shadow_private.h"

#define SPTE_FROZEN BIT(52)

static bool present(u64 e)
{
	return e & SPTE_P;
}

static bool is_large(u64 e)
{
	return e & SPTE_PAGE;
}

static bool never(u64 e)
{
	(void)e;
	return false;
}

static bool always(u64 e)
{
	(void)e;
	return true;
}

static hpa_t address(u64 e)
{
	return HPA(e & SPTE_ADDRESS);
}

static u32 access_of(u64 e)
{
	u32 access = 0;

	if (!present(e))
		return 0;
	access |= MMU_READ | (e & SPTE_NX ? 0 : MMU_EXEC) | (e & SPTE_W ? MMU_WRITE : 0);
	access |= e & SPTE_ACCESSED ? PAGE_TABLE_ACCESSED : 0;
	access |= e & SPTE_DIRTY ? PAGE_TABLE_DIRTY : 0;
	return access;
}

static u64 with_access(u64 e, u32 access)
{
	e &= ~(SPTE_P | SPTE_W | SPTE_ACCESSED | SPTE_DIRTY | SPTE_NX);
	e |= access & MMU_READ ? SPTE_P : 0;
	e |= access & MMU_WRITE ? SPTE_W : 0;
	e |= access & MMU_EXEC ? 0 : SPTE_NX;
	e |= access & PAGE_TABLE_ACCESSED ? SPTE_ACCESSED : 0;
	e |= access & PAGE_TABLE_DIRTY ? SPTE_DIRTY : 0;
	return e;
}

/* All rights: those of the guest's entry are part of the key of what it leads to. */
static u64 make_table(hpa_t table)
{
	return table.v | SPTE_P | SPTE_W | SPTE_U | SPTE_ACCESSED;
}

#define SHADOW_LEVEL(s, is_leaf)                                                          \
	{                                                                                 \
		.shift = (s), .present = present, .leaf = (is_leaf), .address = address,  \
		.access = access_of, .make_table = make_table, .with_access = with_access \
	}

const struct page_table_format shadow_format = {
	.name = "shadow",
	.frozen = SPTE_FROZEN,
	.levels = 4,
	.level =
		{
			SHADOW_LEVEL(39, never),
			SHADOW_LEVEL(30, is_large),
			SHADOW_LEVEL(21, is_large),
			SHADOW_LEVEL(12, always),
		},
};
