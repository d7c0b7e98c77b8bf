/* SPDX-License-Identifier: MIT */
/* A CPU's TLB and page walks in the guest. See fake_cpu.h. */
#include <string.h>
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mem/frame_internal.h"
#include "mmu/invept.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/machine/fake_cpu.h"
#include "tests/hosted/machine/fake_format.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"

#define TLB_ENTRIES   64
#define TABLE_ENTRIES 16 /* paging-structure cache, for each level */
#define LEAF_LEVEL    (FAKE_LEVELS - 1)
#define LARGE_LEVEL   (FAKE_LEVELS - 2)

struct translation {
	bool valid, dirty;
	u32 level;
	u32 access;
	u64 root;
	u64 page; /* gpa >> the level's shift */
	pfn_t pfn;
};

/* The table that an entry of some level leads to. */
struct table_entry {
	bool valid;
	u64 root;
	u64 page;
	pfn_t table;
};

struct fake_cpu {
	struct translation tlb[TLB_ENTRIES];
	struct table_entry tables[LEAF_LEVEL][TABLE_ENTRIES];
	u64 random;
	struct fake_cpu_stats stats;
} __aligned(64);

static struct fake_cpu cpus[HOSTED_JOBS_MAX];
void (*fake_cpu_dirtied)(gpa_t gpa);
bool fake_cpu_keeps_dirty;

static struct fake_cpu *self(void)
{
	BUG_ON(cpu_id() >= HOSTED_JOBS_MAX);
	return &cpus[cpu_id()];
}

/* --- frames ---------------------------------------------------------------------------------- */

/*
 * The block that a frame is in may begin up to a GiB below it. Heads of other blocks change while
 * they are looked at, which harms nobody: hence no ThreadSanitizer.
 */
__attribute__((no_sanitize("thread"))) void fake_check_frame(pfn_t pfn, const char *what)
{
	for (u32 order = 0; order <= FRAME_ORDER_MAX; order++) {
		const struct frame *head = frame_slot(pfn.v & ~(BIT(order) - 1));

		if (!head)
			break;
		if ((*(volatile const u8 *)&head->state & FRAME_STATE_MASK) == FRAME_USED &&
		    head->order >= order)
			return;
	}
	panic("a CPU uses a %s in frame %#llx, which is free", what, (unsigned long long)pfn.v);
}

/* --- what is cached -------------------------------------------------------------------------- */

static u64 page_of(u64 gpa, u32 level)
{
	return gpa >> fake_shift(level);
}

static struct translation *tlb_slot(struct fake_cpu *c, u64 root, u64 gpa, u32 level)
{
	return &c->tlb[(page_of(gpa, level) + root * 7 + level * 31) % TLB_ENTRIES];
}

static struct translation *tlb_find(struct fake_cpu *c, u64 root, u64 gpa)
{
	for (u32 level = LARGE_LEVEL; level <= LEAF_LEVEL; level++) {
		struct translation *t = tlb_slot(c, root, gpa, level);

		if (t->valid && t->root == root && t->level == level &&
		    t->page == page_of(gpa, level))
			return t;
	}
	return NULL;
}

static struct table_entry *table_slot(struct fake_cpu *c, u64 root, u64 gpa, u32 level)
{
	return &c->tables[level][(page_of(gpa, level) + root * 5) % TABLE_ENTRIES];
}

/* Where a walk may start: the deepest table that is known. */
static u32 deepest_table(struct fake_cpu *c, u64 root, u64 gpa, pfn_t *table)
{
	for (u32 level = LEAF_LEVEL; level-- > 0;) {
		const struct table_entry *e = table_slot(c, root, gpa, level);

		if (e->valid && e->root == root && e->page == page_of(gpa, level)) {
			*table = e->table;
			return level + 1;
		}
	}
	*table = PFN(root);
	return 0;
}

static void forget_address(struct fake_cpu *c, u64 root, u64 gpa)
{
	struct translation *t;

	while ((t = tlb_find(c, root, gpa)))
		t->valid = false;
	for (u32 level = 0; level < LEAF_LEVEL; level++) {
		struct table_entry *e = table_slot(c, root, gpa, level);

		if (e->root == root && e->page == page_of(gpa, level))
			e->valid = false;
	}
}

static bool on_invept(enum invept_type type, u64 eptp)
{
	struct fake_cpu *c = self();
	u64 root = type == INVEPT_ALL ? 0 : fake_root(eptp).table.v;

	c->stats.invepts++;
	for (u32 i = 0; i < TLB_ENTRIES; i++) {
		if (type == INVEPT_ALL || c->tlb[i].root == root)
			c->tlb[i].valid = false;
	}
	for (u32 level = 0; level < LEAF_LEVEL; level++) {
		for (u32 i = 0; i < TABLE_ENTRIES; i++) {
			if (type == INVEPT_ALL || c->tables[level][i].root == root)
				c->tables[level][i].valid = false;
		}
	}
	return true;
}

/* --- walking --------------------------------------------------------------------------------- */

/* One level of a walk: reads the entry and sets `bits` in it. False: not present, or no access. */
static bool step(pfn_t table, u64 gpa, u32 level, bool ad, u32 access, struct fake_entry *out,
		 bool *dirtied)
{
	u64 *entry = (u64 *)pfn_to_virt(table) + (page_of(gpa, level) & 511);
	u64 e = __atomic_load_n(entry, __ATOMIC_ACQUIRE), bits;

	fake_check_frame(table, "table");
	do {
		*out = fake_decode(level, e);
		if (!out->present || (access & ~out->access))
			return false;
		bits = 0;
		if (ad && !out->accessed)
			bits |= fake_accessed_bit(level);
		if (ad && out->leaf && !out->dirty && (access & MMU_WRITE))
			bits |= fake_dirty_bit(level);
		*dirtied = bits & fake_dirty_bit(level);
	} while (bits && !__atomic_compare_exchange_n(entry, &e, e | bits, false, __ATOMIC_SEQ_CST,
						      __ATOMIC_RELAXED));
	out->dirty |= *dirtied;
	return true;
}

static bool walk(struct fake_cpu *c, u64 eptp, u64 gpa, u32 access, struct translation *out)
{
	struct fake_root root = fake_root(eptp);
	u32 allowed = MMU_READ | MMU_WRITE | MMU_EXEC, level;
	struct fake_entry e;
	bool dirtied;
	pfn_t table;

	c->stats.walks++;
	for (level = deepest_table(c, root.table.v, gpa, &table);; level++) {
		if (!step(table, gpa, level, root.accessed_dirty, access, &e, &dirtied))
			return false;
		allowed &= e.access;
		if (e.leaf && level < LEAF_LEVEL && (e.access & MMU_EXEC) && mmu_hw.large_nx)
			panic("gpa %#llx may be executed from a large page",
			      (unsigned long long)gpa);
		if (e.leaf)
			break;
		table = e.pfn;
		if (random_one_in(&c->random, 2))
			*table_slot(c, root.table.v, gpa, level) = (struct table_entry){
				true, root.table.v, page_of(gpa, level), table};
	}
	if (dirtied && fake_cpu_dirtied)
		fake_cpu_dirtied(GPA(gpa));
	*out = (struct translation){.valid = true,
				    .dirty = e.dirty || !root.accessed_dirty,
				    .level = level,
				    .access = allowed,
				    .root = root.table.v,
				    .page = page_of(gpa, level),
				    .pfn = e.pfn};
	return true;
}

/*
 * A CPU that cached a page as dirty sets D no more. So the entry has D, as long as it shows that page
 * and nobody takes D away on purpose.
 */
static void check_dirty(const struct translation *t, u64 gpa)
{
	pfn_t table = PFN(t->root);

	for (u32 level = 0;; level++) {
		const u64 *entry = (u64 *)pfn_to_virt(table) + (page_of(gpa, level) & 511);
		struct fake_entry e = fake_decode(level, __atomic_load_n(entry, __ATOMIC_ACQUIRE));

		if (!e.present)
			return;
		if (e.leaf && level == t->level && e.pfn.v == t->pfn.v && !e.dirty)
			panic("R18: a D bit was lost: gpa %#llx", (unsigned long long)gpa);
		if (e.leaf)
			return;
		table = e.pfn;
	}
}

static bool serves(const struct translation *t, u32 access)
{
	return t && !(access & ~t->access) && (t->dirty || !(access & MMU_WRITE));
}

enum fake_outcome fake_cpu_translate(u64 eptp, gpa_t gpa, u32 access, pfn_t *out)
{
	struct fake_cpu *c = self();
	u64 root = fake_root(eptp).table.v;
	struct translation *cached, found;

	BUG_ON(irq_enabled());
	if (hosted_kick_pending(cpu_id())) {
		c->stats.kicks++;
		return FAKE_KICKED;
	}
	c->stats.accesses++;
	cached = tlb_find(c, root, gpa.v);
	if (serves(cached, access)) {
		found = *cached;
		if ((access & MMU_WRITE) && fake_cpu_keeps_dirty && fake_root(eptp).accessed_dirty)
			check_dirty(cached, gpa.v);
	} else {
		/* Rights that it lacks by what is cached: the CPU may look again, or not. */
		bool refused = cached && (access & ~cached->access) && random_one_in(&c->random, 2);

		if (refused || !walk(c, eptp, gpa.v, access, &found)) {
			forget_address(c, root, gpa.v);
			c->stats.violations++;
			return FAKE_VIOLATION;
		}
		if (cached)
			cached->valid = false;
		*tlb_slot(c, root, gpa.v, found.level) = found;
	}
	*out = PFN(found.pfn.v +
		   (page_of(gpa.v, LEAF_LEVEL) & (BIT(fake_shift(found.level) - PAGE_SHIFT) - 1)));
	return FAKE_TRANSLATED;
}

void fake_cpu_speculate(u64 eptp, gpa_t gpa)
{
	struct fake_cpu *c = self();
	struct translation found;

	if (!hosted_kick_pending(cpu_id()) && walk(c, eptp, gpa.v, MMU_READ, &found))
		*tlb_slot(c, found.root, gpa.v, found.level) = found;
}

void fake_cpu_interrupts_on(void)
{
	hosted_kick_take(cpu_id());
}

/* --- runs ------------------------------------------------------------------------------------ */

void fake_cpus_reset(u64 seed)
{
	memset(cpus, 0, sizeof(cpus));
	for (u32 i = 0; i < HOSTED_JOBS_MAX; i++)
		cpus[i].random = seed + i;
	hosted_invept_hook = on_invept;
	fake_cpu_dirtied = NULL;
	fake_cpu_keeps_dirty = true;
}

struct fake_cpu_stats fake_cpus_stats(void)
{
	struct fake_cpu_stats sum = {0};

	for (u32 i = 0; i < HOSTED_JOBS_MAX; i++) {
		sum.accesses += cpus[i].stats.accesses;
		sum.walks += cpus[i].stats.walks;
		sum.violations += cpus[i].stats.violations;
		sum.kicks += cpus[i].stats.kicks;
		sum.invepts += cpus[i].stats.invepts;
	}
	return sum;
}
