/* SPDX-License-Identifier: MIT */
/* Page-table entries of the fake machine. See fake_format.h. */
#include "kernel/base/panic.h"
#include "mmu/ept.h"
#include "mmu/mmu.h"
#include "tests/hosted/machine/fake_format.h"

#define PFN_BITS       24
#define SIGNATURE_BITS 8
#define FROZEN	       0x00f02e7000000000ull /* no level's signature */

/* Bit numbers, but for the two constants. */
struct layout {
	u8 signature_at;
	u8 signature;
	u8 pfn_at;
	u32 pfn_xor;
	u8 read, write, exec;
	u8 leaf;
	u8 accessed, dirty;
};

static const struct layout layouts[FAKE_LEVELS] = {
	{56, 0xa1, 8, 0x555555, 0, 1, 2, 3, 4, 5},
	{0, 0xb2, 32, 0xaaaaaa, 63, 61, 62, 60, 57, 58},
	{28, 0xc3, 36, 0x123456, 3, 1, 5, 7, 9, 11},
	{40, 0xd4, 0, 0xabcdef, 30, 26, 28, 32, 34, 36},
};

static u64 field(u64 e, u8 at, u32 bits)
{
	return (e >> at) & (BIT(bits) - 1);
}

static u64 all_bits(const struct layout *l)
{
	return (BIT(SIGNATURE_BITS) - 1) << l->signature_at | (BIT(PFN_BITS) - 1) << l->pfn_at |
	       BIT(l->read) | BIT(l->write) | BIT(l->exec) | BIT(l->leaf) | BIT(l->accessed) |
	       BIT(l->dirty);
}

static const struct layout *insist(u32 level, u64 e)
{
	const struct layout *l = &layouts[level];

	if (field(e, l->signature_at, SIGNATURE_BITS) != l->signature || (e & ~all_bits(l)))
		panic("%#llx is no entry of level %u", (unsigned long long)e, level);
	return l;
}

static pfn_t pfn_of(const struct layout *l, u64 e)
{
	return PFN(field(e, l->pfn_at, PFN_BITS) ^ l->pfn_xor);
}

/* Access and use, as mmu/page_table.h has them. */
static u64 leaf_bits(const struct layout *l, u32 bits)
{
	return (bits & PAGE_TABLE_ACCESSED ? BIT(l->accessed) : 0) |
	       (bits & PAGE_TABLE_DIRTY ? BIT(l->dirty) : 0);
}

static u64 access_bits(const struct layout *l, u32 access)
{
	return (access & MMU_READ ? BIT(l->read) : 0) | (access & MMU_WRITE ? BIT(l->write) : 0) |
	       (access & MMU_EXEC ? BIT(l->exec) : 0);
}

static u32 access_of(const struct layout *l, u64 e)
{
	return (e & BIT(l->read) ? MMU_READ : 0) | (e & BIT(l->write) ? MMU_WRITE : 0) |
	       (e & BIT(l->exec) ? MMU_EXEC : 0);
}

static u64 make(u32 level, hpa_t to, u32 access, bool leaf)
{
	const struct layout *l = &layouts[level];
	u64 pfn = hpa_to_pfn(to).v;

	BUG_ON(to.v & ~PAGE_MASK || pfn >> PFN_BITS);
	BUG_ON(leaf && (pfn & (BIT(fake_shift(level) - PAGE_SHIFT) - 1)));
	return (u64)l->signature << l->signature_at | (pfn ^ l->pfn_xor) << l->pfn_at |
	       access_bits(l, access) | (leaf ? BIT(l->leaf) : 0);
}

/* --- what the code under test calls ---------------------------------------------------------- */

static bool present(u32 level, u64 e)
{
	return e && e != FROZEN && access_of(insist(level, e), e);
}

/* The rest: of a present entry. */
static const struct layout *insist_present(u32 level, u64 e)
{
	const struct layout *l = insist(level, e);

	if (!access_of(l, e))
		panic("%#llx of level %u is not present", (unsigned long long)e, level);
	return l;
}

static bool leaf(u32 level, u64 e)
{
	return e & BIT(insist_present(level, e)->leaf);
}

static hpa_t address(u32 level, u64 e)
{
	return pfn_to_hpa(pfn_of(insist_present(level, e), e));
}

static u32 access_to(u32 level, u64 e)
{
	const struct layout *l = &layouts[level];

	BUG_ON(!leaf(level, e));
	return access_of(l, e) | (e & BIT(l->accessed) ? PAGE_TABLE_ACCESSED : 0) |
	       (e & BIT(l->dirty) ? PAGE_TABLE_DIRTY : 0);
}

static u64 make_leaf(u32 level, hpa_t page, u32 access)
{
	BUG_ON(level == 0 || !(access & MMU_READ));
	return make(level, page, access, true) | leaf_bits(&layouts[level], access);
}

static u64 with_access(u32 level, u64 e, u32 access)
{
	BUG_ON(!leaf(level, e));
	return make_leaf(level, address(level, e), access);
}

#define LEVEL_FUNCTIONS(n)                                \
	static bool present_##n(u64 e)                    \
	{                                                 \
		return present(n, e);                     \
	}                                                 \
	static bool leaf_##n(u64 e)                       \
	{                                                 \
		return leaf(n, e);                        \
	}                                                 \
	static hpa_t address_##n(u64 e)                   \
	{                                                 \
		return address(n, e);                     \
	}                                                 \
	static u32 access_##n(u64 e)                      \
	{                                                 \
		return access_to(n, e);                   \
	}                                                 \
	static u64 make_table_##n(hpa_t table)            \
	{                                                 \
		BUG_ON(n + 1 == FAKE_LEVELS);             \
		return make(n, table, ACCESS_ALL, false); \
	}                                                 \
	static u64 make_leaf_##n(hpa_t page, u32 access)  \
	{                                                 \
		return make_leaf(n, page, access);        \
	}                                                 \
	static u64 with_access_##n(u64 e, u32 access)     \
	{                                                 \
		return with_access(n, e, access);         \
	}

#define LEVEL(n)                                                                          \
	{                                                                                 \
		.shift = PAGE_SHIFT + 9 * (FAKE_LEVELS - 1 - n), .present = present_##n,  \
		.leaf = leaf_##n, .address = address_##n, .access = access_##n,           \
		.make_table = make_table_##n, .make_leaf = n == 0 ? NULL : make_leaf_##n, \
		.with_access = with_access_##n,                                           \
	}

#define ACCESS_ALL (MMU_READ | MMU_WRITE | MMU_EXEC)

LEVEL_FUNCTIONS(0)
LEVEL_FUNCTIONS(1)
LEVEL_FUNCTIONS(2)
LEVEL_FUNCTIONS(3)

const struct page_table_format ept_format = {
	.name = "fake",
	.frozen = FROZEN,
	.levels = FAKE_LEVELS,
	.level = {LEVEL(0), LEVEL(1), LEVEL(2), LEVEL(3)},
};

/* --- what the CPU does ----------------------------------------------------------------------- */

struct fake_entry fake_decode(u32 level, u64 e)
{
	const struct layout *l;
	struct fake_entry out = {0};

	if (!e || e == FROZEN)
		return out;
	l = insist(level, e);
	out.access = access_of(l, e);
	out.present = out.access != 0;
	out.leaf = e & BIT(l->leaf);
	out.pfn = pfn_of(l, e);
	out.accessed = e & BIT(l->accessed);
	out.dirty = e & BIT(l->dirty);
	/* SDM 3C 29.3.3.1: writable and not readable is a misconfiguration. */
	if (out.present && !(out.access & MMU_READ))
		panic("%#llx of level %u may be written or run but not read", (unsigned long long)e,
		      level);
	if (out.present && (level == 0 ? out.leaf : level + 1 == FAKE_LEVELS && !out.leaf))
		panic("%#llx of level %u leads nowhere", (unsigned long long)e, level);
	return out;
}

u64 fake_accessed_bit(u32 level)
{
	return BIT(layouts[level].accessed);
}

u64 fake_dirty_bit(u32 level)
{
	return BIT(layouts[level].dirty);
}

#define ROOT_SIGNATURE	  0x5eedull
#define ROOT_SIGNATURE_AT 48
#define ROOT_XOR	  0x3c3c3cull
#define ROOT_AD		  BIT(3)

u64 ept_pointer(hpa_t root, bool accessed_dirty)
{
	BUG_ON(root.v & ~PAGE_MASK);
	return ROOT_SIGNATURE << ROOT_SIGNATURE_AT | (hpa_to_pfn(root).v ^ ROOT_XOR) << PAGE_SHIFT |
	       (accessed_dirty ? ROOT_AD : 0);
}

struct fake_root fake_root(u64 eptp)
{
	BUG_ON(eptp >> ROOT_SIGNATURE_AT != ROOT_SIGNATURE);
	return (struct fake_root){PFN(field(eptp, PAGE_SHIFT, PFN_BITS) ^ ROOT_XOR),
				  eptp & ROOT_AD};
}
