/* SPDX-License-Identifier: MIT */
/*
 * Self-tests of memory under load from all CPUs, of the page tables Weir lives on, and of what a
 * library that packs pages is lent.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_private.h"
#include "mem/frame.h"
#include "mem/lz4.h"
#include "mem/slab.h"
#include "mem/vmap.h"

#define HELD	     16
#define FRAME_ROUNDS 300
#define SLAB_ROUNDS  600
#define ORDER_MAX    4
#define SIZE_MAX_TRY 3000
#define KEPT_SPARE   512 /* frames that per-CPU caches and slabs may keep, for each CPU */

static u64 next_random(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

struct piece {
	void *p;
	u64 bytes;
	u32 order;
	u64 tag;
};

/* First and last word carry the owner's tag: two owners of one piece disagree soon. */
static void mark(struct piece *x, u64 tag)
{
	x->tag = tag;
	*(u64 *)x->p = tag;
	memcpy((u8 *)x->p + x->bytes - sizeof(tag), &tag, sizeof(tag));
}

static bool marked(const struct piece *x)
{
	return !memcmp(x->p, &x->tag, sizeof(x->tag)) &&
	       !memcmp((u8 *)x->p + x->bytes - sizeof(x->tag), &x->tag, sizeof(x->tag));
}

static void drop_frames(struct selftest *t, struct piece *x)
{
	if (!x->p)
		return;
	EXPECT(t, marked(x));
	frame_free(virt_to_pfn(x->p), x->order);
	x->p = NULL;
}

static void frame_worker(struct selftest_worker *w)
{
	u64 random = 0x9e3779b97f4a7c15ull + w->index;
	struct piece held[HELD] = {{NULL, 0, 0, 0}};

	for (u32 i = 0; i < FRAME_ROUNDS; i++) {
		struct piece *x = &held[next_random(&random) % HELD];
		pfn_t pfn;

		drop_frames(w->test, x);
		x->order = (u32)(next_random(&random) % (ORDER_MAX + 1));
		x->bytes = PAGE_SIZE << x->order;
		if (!EXPECT(w->test, frame_alloc(x->order, 0, &pfn) == 0))
			break;
		EXPECT(w->test, is_aligned(pfn.v, 1ull << x->order));
		x->p = pfn_to_virt(pfn);
		mark(x, next_random(&random));
	}
	for (u32 i = 0; i < HELD; i++)
		drop_frames(w->test, &held[i]);
}

static u64 frames_free(void)
{
	struct frame_stats stats;

	frame_get_stats(&stats);
	return stats.free;
}

static void test_frames(struct selftest *t)
{
	u64 before = frames_free();

	selftest_on_all(t, 2, frame_worker, NULL);
	EXPECT(t, frames_free() + KEPT_SPARE * cpu_count() >= before);
	selftest_note(t, "%lu MiB free", frames_free() >> 8);
}

static void drop_object(struct selftest *t, struct piece *x)
{
	if (!x->p)
		return;
	EXPECT(t, marked(x));
	kfree(x->p);
	x->p = NULL;
}

static bool all_zero(const u8 *p, u64 n)
{
	while (n--) {
		if (*p++)
			return false;
	}
	return true;
}

static void slab_worker(struct selftest_worker *w)
{
	u64 random = 0xd1b54a32d192ed03ull + w->index;
	struct piece held[HELD] = {{NULL, 0, 0, 0}};

	for (u32 i = 0; i < SLAB_ROUNDS; i++) {
		struct piece *x = &held[next_random(&random) % HELD];

		drop_object(w->test, x);
		x->bytes = 2 * sizeof(u64) + next_random(&random) % SIZE_MAX_TRY;
		x->p = kmalloc(x->bytes);
		if (!EXPECT(w->test, x->p != NULL))
			break;
		EXPECT(w->test, is_aligned((u64)x->p, 16));
		EXPECT(w->test, all_zero(x->p, x->bytes));
		mark(x, next_random(&random));
	}
	for (u32 i = 0; i < HELD; i++)
		drop_object(w->test, &held[i]);
}

static void test_slab(struct selftest *t)
{
	u64 before = frames_free();

	selftest_on_all(t, 2, slab_worker, NULL);
	EXPECT(t, frames_free() + KEPT_SPARE * cpu_count() >= before);
}

static void test_page_tables(struct selftest *t)
{
	struct vmap_audit audit;

	vmap_audit(&audit);
	EXPECT(t, audit.leaves > 0);
	EXPECT(t, audit.wx_leaves == 0);
	EXPECT(t, audit.wx_aliases == 0);
	EXPECT(t, audit.user_leaves == 0);
	EXPECT(t, audit.low_leaves == 0);
	selftest_note(t, "%lu mappings", audit.leaves);
}

/* --- liblz4 has FS for its stack guard, as long as it is called --- */

struct packing {
	u64 mark[8]; /* what FS points to otherwise, as if it were in use */
	u64 lent;    /* FS as the library has it */
	u32 size;
	u8 packed[PAGE_SIZE];
	u8 page[PAGE_SIZE] __aligned(16), copy[PAGE_SIZE] __aligned(16);
};

static int keep_packed(void *arg, const void *bytes, u32 size)
{
	struct packing *p = arg;

	p->lent = rdmsr(MSR_FS_BASE);
	p->size = size;
	memcpy(p->packed, bytes, size);
	return 0;
}

static u32 get_packed(void *arg, void *bytes)
{
	struct packing *p = arg;

	p->lent = rdmsr(MSR_FS_BASE);
	memcpy(bytes, p->packed, p->size);
	return p->size;
}

static bool words_equal(const u64 *a, const u64 *b)
{
	return memcmp(a, b, PAGE_SIZE) == 0;
}

static bool fs_is_back(const struct packing *p)
{
	return rdmsr(MSR_FS_BASE) == (u64)p->mark;
}

/* Likewise, and the library had another since this was asked last. */
static bool fs_was_lent(struct packing *p)
{
	bool lent = p->lent && p->lent != (u64)p->mark;

	p->lent = 0;
	return lent && fs_is_back(p);
}

static void pack_and_unpack(struct selftest *t, struct packing *p)
{
	u64 random = 0x2545f4914f6cdd1dull;

	memset(p->page, 'w', sizeof(p->page));
	EXPECT(t, lz4_pack(p->page, PAGE_SIZE / 2, keep_packed, p) == 0 && fs_was_lent(p));
	EXPECT(t, lz4_unpack(get_packed, p, p->copy) && fs_was_lent(p));
	EXPECT(t, memcmp(p->page, p->copy, PAGE_SIZE) == 0);
	EXPECT(t, lz4_holds(get_packed, p, p->page, words_equal) && fs_was_lent(p));
	for (u32 i = 0; i < PAGE_SIZE; i += sizeof(u64))
		*(u64 *)(void *)&p->page[i] = next_random(&random);
	EXPECT(t, lz4_pack(p->page, PAGE_SIZE / 2, keep_packed, p) == ERR_NOSPC && fs_is_back(p));
}

/* FS belongs to the CPU: the thread stays on it, and no other comes between. */
static void packing_worker(struct selftest_worker *w)
{
	struct packing *p = kmalloc(sizeof(*p));
	u64 before;
	bool on;

	if (!EXPECT(w->test, p != NULL))
		return;
	on = irq_save();
	before = rdmsr(MSR_FS_BASE);
	wrmsr(MSR_FS_BASE, (u64)p->mark);
	pack_and_unpack(w->test, p);
	wrmsr(MSR_FS_BASE, before);
	irq_restore(on);
	kfree(p);
}

static void test_packing(struct selftest *t)
{
	selftest_on_all(t, 1, packing_worker, NULL);
}

const struct selftest_case selftest_memory[] = {
	{"frames", test_frames, false},
	{"slab", test_slab, false},
	{"page-tables", test_page_tables, false},
	{"packing", test_packing, false},
	{NULL, NULL, false},
};
