/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include <pthread.h>
#include "mem/frame.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/after_lookup.h"

void (*after_lookup)(void);
u64 after_index, after_frame;

int __real_gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out);
int __wrap_gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out);
int __real_gmem_lookup_to_map(struct gmem *g, u64 index, bool write, bool may_write, pfn_t *out);
int __wrap_gmem_lookup_to_map(struct gmem *g, u64 index, bool write, bool may_write, pfn_t *out);

static void *on_another_cpu(void *what)
{
	hosted_cpu_set(9);
	((void (*)(void))what)();
	return NULL;
}

void run_on_another_cpu(void (*what)(void))
{
	pthread_t other;

	pthread_create(&other, NULL, on_another_cpu, (void *)what);
	pthread_join(other, NULL);
}

static void found(u64 index, pfn_t pfn)
{
	void (*what)(void) = after_lookup;

	if (!what || index != after_index)
		return;
	after_lookup = NULL;
	after_frame = pfn.v;
	run_on_another_cpu(what);
}

int __wrap_gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	int err = __real_gmem_lookup(g, index, write, out);

	if (!err)
		found(index, *out);
	return err;
}

int __wrap_gmem_lookup_to_map(struct gmem *g, u64 index, bool write, bool may_write, pfn_t *out)
{
	int how = __real_gmem_lookup_to_map(g, index, write, may_write, out);

	if (how >= 0)
		found(index, *out);
	return how;
}

void take_page(struct gmem *g, u64 index)
{
	u64 entry;
	pfn_t pfn;

	gmem_invalidate_begin(g, index, 1);
	assert_int_equal(gmem_claim(g, index, &entry), 0);
	gmem_unmap(g, index, 1);
	assert_int_equal(frame_alloc(0, FRAME_ZERO, &pfn), 0);
	frame_free(gmem_entry_pfn(entry), 0);
	gmem_settle(g, index, pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE);
	gmem_invalidate_end(g, index, 1);
}
