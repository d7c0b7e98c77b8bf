/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/* When no VM is left: nothing of one is; or the audit says what. */
#include <string.h>
#include "kernel/base/log.h"
#include "mem/audit.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/reclaim.h"
#include "mem/share.h"
#include "mem/slab.h"
#include "mem/swap.h"
#include "mem/swap_blocks.h"
#include "smp/rcu.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mem/fixture.h"

#define PAGES 64u

static int setup(void **state)
{
	const struct reclaim_options options = {.tax = 75};

	(void)start(MIB(16));
	assert_int_equal(reclaim_init(&options), 0);
	memset(&watermarks, 0, sizeof(watermarks));
	mem_audit_begin();
	hosted_log_reset();
	return 0;
}

static void run(void *pages)
{
	mem_audit((u64)pages);
}

static void expect(const char *line)
{
	assert_true(hosted_catch_panic(run, NULL));
	assert_non_null(strstr(hosted_log_last(), line));
}

static u64 *page(struct gmem *g, u64 index, bool write)
{
	pfn_t pfn;

	assert_int_equal(gmem_get_page(g, index, write, &pfn), 0);
	return pfn_to_virt(pfn);
}

/* A quarter each zero, equal, packing, and neither. */
static void fill(struct gmem *g)
{
	u64 random = 7;

	for (u64 i = 0; i < PAGES; i++) {
		u64 *p = page(g, i, true);

		for (u32 k = 0; k < PAGE_SIZE / 8; k++)
			p[k] = i % 4 == 0   ? 0
			       : i % 4 == 1 ? k % 7
			       : i % 4 == 2 ? i * 100 + k % 7
					    : random_next(&random);
	}
}

static void all_that_a_vm_has(void **state)
{
	struct gmem_taken t = {0};
	struct gmem *g;
	u64 all = ~0ull;

	fake_disk_init(1000);
	assert_int_equal(swap_attach(&fake_disk, 1000, 4711), 0);
	mem_audit_begin(); /* with the disk's sums */
	assert_int_equal(gmem_create(PAGES, &g), 0);
	gmem_set_share_group(g, 1);
	fill(g);
	gmem_take(g, 0, PAGES, &all, &t);
	assert_int_equal(t.zero, PAGES / 4);
	assert_int_equal(t.packed, PAGES / 2);
	assert_int_equal(t.writing, PAGES / 4);
	for (u64 i = 0; i < PAGES; i += 3)
		(void)page(g, i, false);
	gmem_unref(g);
	mem_audit(0);
	/* What stays is what is said to. */
	assert_int_equal(gmem_create(PAGES, &g), 0);
	mem_audit_begin();
	fill(g);
	mem_audit_begin();
	mem_audit(PAGES);
	expect("audit: no VM is left, and 64 frames of guests are, where 0 were before");
	gmem_unref(g);
	mem_audit(0);
	swap_detach();
}

static void an_object_of_the_pool(void **state)
{
	u64 handle;

	assert_int_equal(pool_store("contents", 8, &handle), 0);
	expect("frames of small objects are, where 0 were before");
	assert_int_equal(hosted_log_count(LOG_ERROR), 3); /* and the object, and the pool's frame */
	pool_free(handle);
	mem_audit(0);
}

static void a_block_of_the_disk(void **state)
{
	u64 block;

	fake_disk_init(1000);
	assert_int_equal(swap_attach(&fake_disk, 1000, 4711), 0);
	mem_audit_begin();
	block = swap_block_get();
	assert_int_not_equal(block, 0);
	assert_true(hosted_catch_panic(run, NULL));
	swap_block_put(block);
	mem_audit(0);
	swap_detach();
}

static void a_shared_frame(void **state)
{
	pfn_t pfn;
	struct gmem keeper = {0};
	void *contents = frame_alloc_page(FRAME_FOR(GUEST));

	pfn = virt_to_pfn(contents);
	memset(contents, 7, PAGE_SIZE);
	share_keep(&keeper, pfn, share_key(1, contents));
	assert_int_equal(keeper.alone, 1);
	expect("1 frames of guests are, where 0 were before");
	assert_int_equal(hosted_log_count(LOG_ERROR), 3);
	/* And one who holds it. */
	assert_int_equal(share_ref(pfn), 0);
	hosted_log_reset();
	expect("1 frames of guests are, where 0 were before");
	assert_int_equal(hosted_log_count(LOG_ERROR), 4);
	assert_false(share_put(NULL, pfn));
	assert_true(share_put(&keeper, pfn));
	assert_int_equal(keeper.alone, 0);
	mem_audit(0);
}

/* Two pages of one object of the pool, and what that saves. */
static void packed_contents(void **state)
{
	struct gmem *g;
	u64 entry;

	assert_int_equal(gmem_create(PAGES, &g), 0);
	gmem_set_share_group(g, 1);
	fill(g);
	(void)take_range(g, 1, 1);
	(void)take_range(g, 5, 1);
	entry = gmem_entry(g, 1);
	assert_int_equal(gmem_entry_state(entry), GMEM_PACKED);
	assert_int_equal(gmem_entry(g, 5) >> GMEM_PFN_SHIFT, entry >> GMEM_PFN_SHIFT);
	mem_audit_begin();
	assert_true(hosted_catch_panic(run, (void *)(u64)PAGES));
	/* The object, the frames of it, and that it is known. */
	assert_int_equal(hosted_log_count(LOG_ERROR), 4);
	gmem_unref(g);
	mem_audit(0);
}

static void unref(void *g)
{
	gmem_unref(g);
}

/* An object of which it is thought that it has frames alone, and no page is left. */
static void alone_for_ever(void **state)
{
	struct gmem *g;

	assert_int_equal(gmem_create(PAGES, &g), 0);
	g->alone = 1;
	assert_true(hosted_catch_panic(unref, g));
	assert_non_null(strstr(hosted_panic_text(), "g->alone"));
}

static void leave(struct rcu_head *h)
{
	frame_free_page(h);
}

/* What waits for readers is as good as gone. */
static void frames_on_their_way(void **state)
{
	rcu_call(frame_alloc_page(FRAME_FOR(TABLES)), leave);
	mem_audit(0);
}

static void frames(void **state)
{
	static const struct {
		u32 flags;
		const char *line;
	} uses[] = {
		{FRAME_FOR(TABLES), "1 frames of tables are, where 0 were before"},
		{FRAME_FOR(RMAPS), "1 frames of reverse maps are, where 0 were before"},
		{FRAME_FOR(ENTRIES), "1 frames of entries are, where 0 were before"},
		{FRAME_FOR(VCPU), "1 frames of vCPUs are, where 0 were before"},
		{FRAME_FOR(SLAB), "1 frames of small objects are, where 0 were before"},
		{FRAME_FOR(BLOCKS), "1 frames of large objects are, where 0 were before"},
		{FRAME_FOR(STACKS), "1 frames of stacks are, where 0 were before"},
		{FRAME_FOR(SWAP), "1 frames of the swap disk's are, where 0 were before"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(uses); i++) {
		void *leaked = frame_alloc_page(uses[i].flags);

		expect(uses[i].line);
		frame_free_page(leaked);
		mem_audit(0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(all_that_a_vm_has, setup),
		cmocka_unit_test_setup(an_object_of_the_pool, setup),
		cmocka_unit_test_setup(a_block_of_the_disk, setup),
		cmocka_unit_test_setup(a_shared_frame, setup),
		cmocka_unit_test_setup(packed_contents, setup),
		cmocka_unit_test_setup(alone_for_ever, setup),
		cmocka_unit_test_setup(frames_on_their_way, setup),
		cmocka_unit_test_setup(frames, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
