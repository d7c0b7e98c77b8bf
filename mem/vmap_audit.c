/* SPDX-License-Identifier: MIT */
/*
 * The walk of the live tables that the self-test asks for. Whether a frame is executable here and
 * writable there is found by walking twice: once for executable ranges, once for writable leaves
 * in them. Weir has a handful of the former; more are looked at a batch at a time.
 */
#include "mem/vmap_internal.h"
#include "kernel/base/x86.h"

#define KERNEL_HALF BIT(63)
#define BATCH	    32

struct audit {
	struct vmap_audit *out;
	struct mem_range executable[BATCH]; /* physical */
	u32 count;
	u64 resume; /* address of the first executable leaf that did not fit, or 0 */
	u64 from;   /* address where this batch begins */
};

static void count_leaf(const struct pt_leaf *leaf, void *arg)
{
	struct vmap_audit *out = arg;

	out->leaves++;
	out->wx_leaves += leaf->writable && leaf->executable;
	out->user_leaves += leaf->user;
	out->low_leaves += !(leaf->va & KERNEL_HALF);
}

static void collect_executable(const struct pt_leaf *leaf, void *arg)
{
	struct audit *a = arg;
	struct mem_range *last = a->count ? &a->executable[a->count - 1] : NULL;

	if (!leaf->executable || leaf->va < a->from || a->resume)
		return;
	if (last && last->end == leaf->hpa)
		last->end += leaf->size;
	else if (a->count < BATCH)
		a->executable[a->count++] = (struct mem_range){leaf->hpa, leaf->hpa + leaf->size};
	else
		a->resume = leaf->va;
}

static void count_aliases(const struct pt_leaf *leaf, void *arg)
{
	struct audit *a = arg;

	/* A leaf that is both is counted as such, and not as its own alias. */
	if (!leaf->writable || leaf->executable)
		return;
	for (u32 i = 0; i < a->count; i++) {
		u64 start = max(leaf->hpa, a->executable[i].start);
		u64 end = min(leaf->hpa + leaf->size, a->executable[i].end);

		if (start < end)
			a->out->wx_aliases += (end - start) >> PAGE_SHIFT;
	}
}

void vmap_audit(struct vmap_audit *out)
{
	hpa_t root = HPA(read_cr3() & PTE_ADDR_MASK);
	struct audit a = {.out = out};
	bool irqs = spin_lock_irqsave(&vmap.lock);

	*out = (struct vmap_audit){0};
	pagetable_walk(root, count_leaf, out);
	do {
		a.count = 0;
		a.from = a.resume;
		a.resume = 0;
		pagetable_walk(root, collect_executable, &a);
		pagetable_walk(root, count_aliases, &a);
	} while (a.resume);
	spin_unlock_irqrestore(&vmap.lock, irqs);
}
