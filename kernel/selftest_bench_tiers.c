/* SPDX-License-Identifier: MIT */
/* What it costs to age a page, to take one of each kind, and to bring it back. */
#include "kernel/base/string.h"
#include "kernel/selftest_bench.h"
#include "mem/frame.h"
#include "mem/reclaim_private.h"
#include "mem/share.h"
#include "mem/swap.h"

/* LZ4 packs it to a third: of 32 words 9 are random. Those of one seed are alike. */
static void fill_page(struct selftest *t, struct mmu_vm *vm, u32 i, u32 seed)
{
	static u32 words[PAGE_SIZE / sizeof(u32)];
	u32 random = seed;

	for (u32 k = 0; k < ARRAY_SIZE(words); k++) {
		random = random * 1664525u + 1013904223u;
		words[k] = k % 32 < 9 ? random : seed;
	}
	EXPECT(t, gpa_write(vm, bench_page_at(i), words, PAGE_SIZE) == 0);
}

/* One word all over. */
static void fill_word(struct selftest *t, struct mmu_vm *vm, u32 i)
{
	static u32 words[PAGE_SIZE / sizeof(u32)];

	for (u32 k = 0; k < ARRAY_SIZE(words); k++)
		words[k] = 7;
	EXPECT(t, gpa_write(vm, bench_page_at(i), words, PAGE_SIZE) == 0);
}

/* What does not pack; of one seed these pages are alike. */
static void fill_random(struct selftest *t, struct mmu_vm *vm, u32 i, u32 seed)
{
	static u32 words[PAGE_SIZE / sizeof(u32)];
	u32 random = seed;

	for (u32 k = 0; k < ARRAY_SIZE(words); k++)
		words[k] = random = random * 1664525u + 1013904223u;
	EXPECT(t, gpa_write(vm, bench_page_at(i), words, PAGE_SIZE) == 0);
}

static u64 take_page(struct gmem *g, u64 index)
{
	struct gmem_taken taken = {0};
	u64 one = 1;

	gmem_take(g, index, 1, &one, &taken);
	return taken.freed;
}

/* --- A disk that is memory, and takes no time ---------------------------------------------------- */

#define DISK_BLOCKS 512u

static u8 *blocks[DISK_BLOCKS];

static void submit(struct swap_device *d, struct list *requests)
{
	(void)d;
	while (!list_empty(requests)) {
		struct swap_request *r = list_first(requests, struct swap_request, link);
		u8 *block = blocks[r->block];

		list_del(&r->link);
		memcpy(r->write ? block : r->page, r->write ? r->page : block, PAGE_SIZE);
		r->err = 0;
		r->done(r);
	}
}

static u64 write_page(struct gmem *g, u64 index)
{
	struct gmem_taken taken = {0};
	u64 one = 1;

	gmem_take(g, index, 1, &one, &taken);
	return taken.writing;
}

/* Neighbours that went to the disk at once lie beside one another there. */
static void write_neighbours(struct selftest *t, struct mmu_vcpu *v, struct gmem *g, u32 seed)
{
	struct gmem_taken taken = {0};
	u64 all = BIT(SWAP_READ_AHEAD) - 1;

	for (u32 k = 0; k < SWAP_READ_AHEAD; k++)
		fill_random(t, v->vm, k, seed + k);
	gmem_take(g, 1, SWAP_READ_AHEAD, &all, &taken);
	EXPECT(t, taken.writing == SWAP_READ_AHEAD);
}

static void measure_read_ahead(struct selftest *t, struct mmu_vcpu *v, struct gmem *g)
{
	struct swap_stats before, after;

	swap_get_stats(&before);
	MEASURE("fault-swapped-ahead", {
		write_neighbours(t, v, g, i * SWAP_READ_AHEAD + 5);
		before_ = rdtsc();
		EXPECT(t, bench_fault(v, bench_page_at(0)) == 0);
	});
	swap_get_stats(&after);
	/* Where the disk ends they may lie apart: in less than half of the samples. */
	EXPECT(t, after.read_ahead - before.read_ahead > SAMPLES / 2 * (SWAP_READ_AHEAD - 1));
	/* None keeps its block: what is read to be written does not, and the last first comes alone. */
	write_neighbours(t, v, g, 4);
	for (u32 k = SWAP_READ_AHEAD; k-- > 0;)
		EXPECT(t, bench_fault(v, bench_page_at(k)) == 0);
}

static void measure_swap_of(struct selftest *t, struct mmu_vcpu *v, struct gmem *g)
{
	/* The one before comes back at once: the disk is small. */
	MEASURE("take-swapped", {
		EXPECT(t, i == 0 || bench_fault(v, bench_page_at(i - 1)) == 0);
		fill_random(t, v->vm, i, i + 2);
		EXPECT(t, bench_fault(v, bench_page_at(i)) == 0);
		before_ = rdtsc();
		EXPECT(t, write_page(g, i + 1) == 1);
	});
	EXPECT(t, bench_fault(v, bench_page_at(SAMPLES - 1)) == 0);
	/* Its neighbours are there: it comes alone. */
	MEASURE("fault-swapped", {
		fill_random(t, v->vm, i, i + 3);
		EXPECT(t, write_page(g, i + 1) == 1);
		before_ = rdtsc();
		EXPECT(t, bench_fault(v, bench_page_at(i)) == 0);
	});
	/* It keeps its block while it is only read; at its write, in the next turn, it loses it. */
	MEASURE("take-kept", {
		EXPECT(t, i == 0 || bench_fault(v, bench_page_at(i - 1)) == 0);
		fill_random(t, v->vm, i, i + 4);
		EXPECT(t, write_page(g, i + 1) == 1);
		EXPECT(t, bench_read(v, bench_page_at(i)) == 0);
		before_ = rdtsc();
		EXPECT(t, take_page(g, i + 1) == 1);
	});
	EXPECT(t, bench_fault(v, bench_page_at(SAMPLES - 1)) == 0);
	measure_read_ahead(t, v, g);
}

static void measure_swap(struct selftest *t, struct mmu_vcpu *v, struct gmem *g)
{
	static struct swap_device disk = {.name = "memory", .submit = submit};
	u32 n = 0;

	while (n < DISK_BLOCKS && (blocks[n] = frame_alloc_page(0)))
		n++;
	if (EXPECT(t, n == DISK_BLOCKS) && EXPECT(t, swap_attach(&disk, DISK_BLOCKS, 1) == 0)) {
		measure_swap_of(t, v, g);
		swap_detach();
	}
	while (n)
		frame_free_page(blocks[--n]);
}

/* --- Contents that several have ------------------------------------------------------------------- */

/* Both packed, in one place of the pool; no others are alike. */
static void pack_two(struct selftest *t, struct mmu_vcpu *v, struct gmem *g, u32 seed)
{
	for (u32 k = 0; k < 2; k++) {
		fill_page(t, v->vm, k, seed);
		EXPECT(t, bench_fault(v, bench_page_at(k)) == 0);
		EXPECT(t, take_page(g, k + 1) == 1);
	}
}

static void measure_shown(struct selftest *t, struct mmu_vcpu *v, struct gmem *g)
{
	struct share_stats before, after;

	share_get_stats(&before);
	MEASURE("fault-show-first", {
		pack_two(t, v, g, 0x10000 + i);
		before_ = rdtsc();
		EXPECT(t, bench_read(v, bench_page_at(0)) == 0);
	});
	share_get_stats(&after);
	EXPECT(t, after.shown - before.shown == SAMPLES);
	MEASURE("fault-shown", {
		pack_two(t, v, g, 0x20000 + i);
		EXPECT(t, bench_read(v, bench_page_at(0)) == 0);
		before_ = rdtsc();
		EXPECT(t, bench_read(v, bench_page_at(1)) == 0);
	});
	EXPECT(t, gmem_entry_state(gmem_entry(g, 1)) == GMEM_SHARED &&
			  gmem_entry_state(gmem_entry(g, 2)) == GMEM_SHARED);
}

static void measure_shared(struct selftest *t, struct mmu_vcpu *v, struct gmem *g)
{
	gmem_set_share_group(g, 1);
	MEASURE("take-shared", {
		fill_random(t, v->vm, i, 1);
		EXPECT(t, bench_fault(v, bench_page_at(i)) == 0);
		before_ = rdtsc();
		EXPECT(t, take_page(g, i + 1) == (i > 0));
	});
	MEASURE("fault-copy", EXPECT(t, bench_fault(v, bench_page_at(i)) == 0));
	measure_shown(t, v, g);
}

/* --- Aging ---------------------------------------------------------------------------------------- */

/* Mapped, and by that used. */
static void use_all(struct selftest *t, struct mmu_vcpu *v)
{
	mmu_unmap(v->vm, GFN(0), PAGES);
	for (u32 i = 0; i < PAGES; i++)
		EXPECT(t, bench_fault(v, bench_page_at(i)) == 0);
}

/* A round over the object, as kaged goes over it: what it costs for each page. */
static void measure_rounds(struct selftest *t, struct mmu_vcpu *v, struct reclaim_target *target,
			   const char *name, bool used)
{
	u64 aged = reclaim.stats.aged, young = reclaim.stats.young;

	for (u32 i = 0; i < SAMPLES; i++) {
		struct reclaim_effort e = {
			.ages = reclaim_chunks(target), .gap_ns = 1, .only = target};
		u64 before;

		if (used)
			use_all(t, v);
		before = rdtsc();
		EXPECT(t, reclaim_age(&e));
		bench_samples[i] = (u32)(rdtsc() - before);
	}
	bench_report(name, PAGES);
	/* In the first round idle pages have been used, too. */
	EXPECT(t, reclaim.stats.aged - aged >= (u64)SAMPLES * PAGES);
	EXPECT(t, (reclaim.stats.young - young >= (u64)SAMPLES * PAGES) == used);
}

static void measure_aging(struct selftest *t, struct mmu_vcpu *v, struct gmem *g)
{
	const struct reclaim_terms terms = {.max = ~0ull, .shares = 1};
	static struct reclaim_target target;

	MEASURE("age-2m", {
		u64 young[LARGE_PAGES / 64] = {0};

		before_ = rdtsc();
		gmem_age_marked(g, 0, LARGE_PAGES, young);
	});
	reclaim_add(&target, g, &terms);
	measure_rounds(t, v, &target, "age-page", true);
	measure_rounds(t, v, &target, "age-page-idle", false);
	reclaim_remove(&target);
	use_all(t, v);
}

void bench_tiers(struct selftest *t, struct mmu_vcpu *v, struct gmem *g)
{
	measure_aging(t, v, g);
	MEASURE("take-zero", EXPECT(t, take_page(g, i + 1) == 1));
	MEASURE("take-packed", {
		fill_page(t, v->vm, i, i);
		EXPECT(t, bench_fault(v, bench_page_at(i)) == 0);
		before_ = rdtsc();
		EXPECT(t, take_page(g, i + 1) == 1);
	});
	MEASURE("fault-packed", EXPECT(t, bench_fault(v, bench_page_at(i)) == 0));
	MEASURE("fault-filled", {
		fill_word(t, v->vm, i);
		EXPECT(t, take_page(g, i + 1) == 1);
		before_ = rdtsc();
		EXPECT(t, bench_fault(v, bench_page_at(i)) == 0);
	});
	measure_swap(t, v, g);
	measure_shared(t, v, g);
}
