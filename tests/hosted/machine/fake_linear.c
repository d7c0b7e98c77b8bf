/* SPDX-License-Identifier: MIT */
/* A CPU's TLB and page walks without EPT. See fake_linear.h. */
#include <string.h>
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/invept.h"
#include "mmu/mmu.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/machine/fake_linear.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"

#define P	 BIT(0)
#define W	 BIT(1)
#define U	 BIT(2)
#define ACCESSED BIT(5)
#define DIRTY	 BIT(6)
#define XD	 BIT(63)
#define ADDRESS	 (BIT(52) - BIT(12))
#define PAGE_2M	 BIT(7)
/* Reserved, or of a kind that shadow paging makes none of: PWT, PCD, G, ignored bits. */
#define NEVER	      (0xf18ull | (BIT(63) - BIT(52)))
#define NEVER_2M      (MIB(2) - PAGE_SIZE)
#define PDPTE_NEVER   (0x1e6ull | ~(ADDRESS | 0xfffull))
#define PDPTES	      4
#define TLB_ENTRIES   64
#define TABLE_ENTRIES 16 /* paging-structure cache, for each level */
#define LEVELS	      4	 /* 1: its entries map pages */

struct translation {
	bool valid;
	u16 vpid;
	u64 page, rights; /* W, U, XD; DIRTY */
	pfn_t pfn;
};

/* The table that an entry of some level leads to, and what the entries up to there allow. */
struct table_entry {
	bool valid;
	u16 vpid;
	u64 prefix, rights;
	pfn_t table;
};

struct linear_cpu {
	struct translation tlb[TLB_ENTRIES];
	struct table_entry tables[LEVELS + 1][TABLE_ENTRIES];
	u64 pdpte[PDPTES];
	u64 random;
} __aligned(64);

static struct linear_cpu cpus[HOSTED_JOBS_MAX];
static u32 vpids; /* atomic */

static struct linear_cpu *self(void)
{
	BUG_ON(cpu_id() >= HOSTED_JOBS_MAX);
	return &cpus[cpu_id()];
}

/* --- what is cached -------------------------------------------------------------------------- */

static u64 prefix_of(u64 gva, u32 level)
{
	return gva >> (PAGE_SHIFT + 9 * (level - 1));
}

static struct translation *tlb_slot(struct linear_cpu *c, u16 vpid, u64 gva)
{
	return &c->tlb[(prefix_of(gva, 1) + vpid * 7ull) % TLB_ENTRIES];
}

static struct translation *tlb_find(struct linear_cpu *c, u16 vpid, u64 gva)
{
	struct translation *t = tlb_slot(c, vpid, gva);

	return t->valid && t->vpid == vpid && t->page == prefix_of(gva, 1) ? t : NULL;
}

static struct table_entry *table_slot(struct linear_cpu *c, u16 vpid, u64 gva, u32 level)
{
	return &c->tables[level][(prefix_of(gva, level) + vpid * 5ull) % TABLE_ENTRIES];
}

/* INVLPG and a fault make the CPU forget the ways to tables, too (SDM 3A 4.10.4.1). */
static void forget_address(struct linear_cpu *c, u16 vpid, u64 gva)
{
	struct translation *t = tlb_find(c, vpid, gva);

	if (t)
		t->valid = false;
	for (u32 level = 2; level <= LEVELS; level++) {
		struct table_entry *e = table_slot(c, vpid, gva, level);

		if (e->vpid == vpid && e->prefix == prefix_of(gva, level))
			e->valid = false;
	}
}

static bool on_invvpid(enum invvpid_type type, u16 vpid)
{
	struct linear_cpu *c = self();

	for (u32 i = 0; i < TLB_ENTRIES; i++) {
		if (type == INVVPID_ALL || c->tlb[i].vpid == vpid)
			c->tlb[i].valid = false;
	}
	for (u32 level = 2; level <= LEVELS; level++) {
		for (u32 i = 0; i < TABLE_ENTRIES; i++) {
			if (type == INVVPID_ALL || c->tables[level][i].vpid == vpid)
				c->tables[level][i].valid = false;
		}
	}
	return true;
}

/* --- walking --------------------------------------------------------------------------------- */

static u64 narrowed(u64 rights, u64 e)
{
	return (rights & (e | XD | DIRTY)) | (e & XD);
}

static bool allows(const struct fake_linear *g, u64 rights, u32 access)
{
	if (g->user && !(rights & U))
		return false;
	if ((access & MMU_WRITE) && !(rights & W))
		return false;
	return !(access & MMU_EXEC) || !(rights & XD);
}

/* Where a walk begins: the deepest table that is known. */
static u32 begin(struct linear_cpu *c, const struct fake_linear *g, u64 gva, pfn_t *table,
		 u64 *rights)
{
	for (u32 level = 2; level <= (g->long_mode ? LEVELS : 2u); level++) {
		const struct table_entry *e = table_slot(c, g->vpid, gva, level);

		if (e->valid && e->vpid == g->vpid && e->prefix == prefix_of(gva, level)) {
			*table = e->table;
			*rights = e->rights;
			return level - 1;
		}
	}
	*rights = W | U;
	*table = hpa_to_pfn(HPA((g->long_mode ? g->cr3 : c->pdpte[gva >> 30 & 3]) & ADDRESS));
	if (g->long_mode)
		return LEVELS;
	return c->pdpte[gva >> 30 & 3] & P ? 2 : 0;
}

/* What the CPU would refuse, or shadow paging does not make; or PAT, where the bit is that. */
static bool is_wrong(u64 e, u32 level)
{
	return (e & NEVER) || ((e & PAGE_2M) && (level != 2 || (e & NEVER_2M)));
}

/*
 * The 4 KiB that a leaf shows at gva. Of 2 MiB the TLB keeps such pieces, as it may (SDM 3A
 * 4.10.2.3).
 */
static pfn_t piece_of(u64 e, u64 gva)
{
	u64 first = hpa_to_pfn(HPA(e & ADDRESS)).v;

	return PFN(e & PAGE_2M ? first + (prefix_of(gva, 1) & 511) : first);
}

/* A leaf's marks, by compare-and-exchange as the CPU does it. False: no access. */
static bool mark(const struct fake_linear *g, u64 *entry, u64 *e, u64 rights, u32 access)
{
	u64 bits, large = *e & PAGE_2M;

	do {
		if ((*e & P) && (*e & PAGE_2M) != large)
			return false; /* changed meanwhile, as the CPU notices */
		if (!(*e & P) || !allows(g, narrowed(rights, *e), access))
			return false;
		BUG_ON(*e & NEVER);
		bits = ACCESSED | (access & MMU_WRITE ? DIRTY : 0);
	} while ((bits & ~*e) && !__atomic_compare_exchange_n(entry, e, *e | bits, false,
							      __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	*e |= bits;
	return true;
}

static bool walk(struct linear_cpu *c, const struct fake_linear *g, u64 gva, u32 access,
		 struct translation *out)
{
	u64 rights, e;
	pfn_t table;
	u32 level = begin(c, g, gva, &table, &rights);
	u64 *entry;

	if (!level)
		return false;
	for (;; level--) {
		entry = (u64 *)pfn_to_virt(table) + (prefix_of(gva, level) & 511);
		e = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
		fake_check_frame(table, "table");
		if (!(e & P))
			return false;
		if (is_wrong(e, level))
			panic("%#llx of level %u is no shadow entry", (unsigned long long)e, level);
		if (level == 1 || (e & PAGE_2M))
			break;
		rights = narrowed(rights, e);
		table = hpa_to_pfn(HPA(e & ADDRESS));
		if (random_one_in(&c->random, 2))
			*table_slot(c, g->vpid, gva, level) = (struct table_entry){
				true, g->vpid, prefix_of(gva, level), rights, table};
	}
	if (!mark(g, entry, &e, rights, access))
		return false;
	*out = (struct translation){true, g->vpid, prefix_of(gva, 1),
				    narrowed(rights, e) | (e & DIRTY), piece_of(e, gva)};
	return true;
}

void fake_linear_enter(const struct fake_linear *g)
{
	const u64 *pdpt = phys_to_virt(HPA(g->cr3));

	BUG_ON(irq_enabled());
	if (g->long_mode)
		return;
	for (u32 i = 0; i < PDPTES; i++) {
		self()->pdpte[i] = __atomic_load_n(&pdpt[i], __ATOMIC_RELAXED);
		BUG_ON((self()->pdpte[i] & P) && (self()->pdpte[i] & PDPTE_NEVER));
	}
}

enum fake_outcome fake_linear_translate(const struct fake_linear *g, u64 gva, u32 access,
					pfn_t *out)
{
	struct linear_cpu *c = self();
	struct translation *cached, found;
	bool serves;

	BUG_ON(irq_enabled());
	if (hosted_kick_pending(cpu_id()))
		return FAKE_KICKED;
	cached = tlb_find(c, g->vpid, gva);
	serves = cached && allows(g, cached->rights, access);
	/* A page is written with D clear by a walk only. */
	if (serves && (!(access & MMU_WRITE) || (cached->rights & DIRTY))) {
		*out = cached->pfn;
		return FAKE_TRANSLATED;
	}
	/* Rights that it lacks by what is cached: the CPU may look again, or not. */
	if ((cached && !serves && random_one_in(&c->random, 2)) ||
	    !walk(c, g, gva, access, &found)) {
		forget_address(c, g->vpid, gva);
		return FAKE_VIOLATION;
	}
	*tlb_slot(c, g->vpid, gva) = found;
	*out = found.pfn;
	return FAKE_TRANSLATED;
}

void fake_linear_speculate(const struct fake_linear *g, u64 gva)
{
	struct linear_cpu *c = self();
	struct translation found;

	if (!hosted_kick_pending(cpu_id()) && walk(c, g, gva, MMU_READ, &found))
		*tlb_slot(c, g->vpid, gva) = found;
}

void fake_linear_invlpg(const struct fake_linear *g, u64 gva)
{
	forget_address(self(), g->vpid, gva);
}

u16 fake_linear_new_vpid(void)
{
	u32 vpid = __atomic_add_fetch(&vpids, 1, __ATOMIC_RELAXED);

	BUG_ON(vpid > 0xffff);
	return (u16)vpid;
}

void fake_linear_flush(u16 vpid)
{
	bool on = irq_save();

	on_invvpid(INVVPID_SINGLE, vpid);
	irq_restore(on);
}

void fake_linear_reset(u64 seed)
{
	memset(cpus, 0, sizeof(cpus));
	for (u32 i = 0; i < HOSTED_JOBS_MAX; i++)
		cpus[i].random = seed + 100 + i;
	vpids = 0;
	hosted_invvpid_hook = on_invvpid;
}
