/* SPDX-License-Identifier: MIT */
/* What it costs to take a page of each kind, and to bring it back. */
#include "kernel/base/string.h"
#include "kernel/selftest_bench.h"
#include "mem/frame.h"
#include "mem/swap.h"

/* LZ4 packs it to a third: of 32 words 9 are random. */
static void fill_page(struct selftest *t, struct mmu_vm *vm, u32 i)
{
	static u32 words[PAGE_SIZE / sizeof(u32)];
	u32 random = i;

	for (u32 k = 0; k < ARRAY_SIZE(words); k++) {
		random = random * 1664525u + 1013904223u;
		words[k] = k % 32 < 9 ? random : i;
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

void bench_tiers(struct selftest *t, struct mmu_vcpu *v, struct gmem *g)
{
	MEASURE("age-2m", {
		u64 young[LARGE_PAGES / 64] = {0};

		before_ = rdtsc();
		gmem_age_marked(g, 0, LARGE_PAGES, young);
	});
	MEASURE("take-zero", EXPECT(t, take_page(g, i + 1) == 1));
	MEASURE("take-packed", {
		fill_page(t, v->vm, i);
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
	gmem_set_share_group(g, 1);
	MEASURE("take-shared", {
		fill_random(t, v->vm, i, 1);
		EXPECT(t, bench_fault(v, bench_page_at(i)) == 0);
		before_ = rdtsc();
		EXPECT(t, take_page(g, i + 1) == (i > 0));
	});
	MEASURE("fault-copy", EXPECT(t, bench_fault(v, bench_page_at(i)) == 0));
}
