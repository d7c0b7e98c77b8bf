/* SPDX-License-Identifier: MIT */
/*
 * The vmap area: address space handed out first-fit from below, each area with an unmapped page
 * at both ends. An area keeps its addresses until no TLB knows them.
 */
#include "mem/frame.h"
#include "mem/slab.h"
#include "mem/vmap_internal.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/panic.h"

enum area_state {
	AREA_LIVE,
	AREA_DEAD,  /* to be unmapped when the other CPUs can be reached */
	AREA_DYING, /* someone is at it */
};

struct area {
	/* vmap.lock */
	struct list link; /* vmap.areas */
	enum area_state state;
	bool firmware;
	hpa_t hpa; /* of the first page, where firmware */
	/* set once */
	u64 start; /* the lower guard page */
	u64 pages; /* without the guard pages */
	bool owns_frames;
};

static u64 area_first(const struct area *a)
{
	return a->start + PAGE_SIZE;
}

static u64 area_end(const struct area *a)
{
	return a->start + (a->pages + 2) * PAGE_SIZE;
}

void vmap_area_init(void)
{
	list_init(&vmap.areas);
}

/* vmap.lock held. False: no gap is large enough. */
static bool area_place(struct area *area)
{
	u64 size = (area->pages + 2) * PAGE_SIZE, at = VMAP_BASE;
	struct area *next;

	list_for_each_entry (next, &vmap.areas, link) {
		if (next->start - at >= size)
			break;
		at = area_end(next);
	}
	if (VMAP_BASE + VMAP_SIZE - at < size)
		return false;
	area->start = at;
	/* Before next, which is the head when no area lies above. */
	list_add_tail(&area->link, &next->link);
	return true;
}

/* Unmaps, makes every CPU forget, then frees. No lock held; vmap_can_flush(). */
static void area_destroy(struct area *a)
{
	struct list tables = LIST_INIT(tables), frames = LIST_INIT(frames);
	bool irqs = spin_lock_irqsave(&vmap.lock);

	pagetable_unmap(&vmap.pt, area_first(a), a->pages * PAGE_SIZE, &tables,
			a->owns_frames ? &frames : NULL);
	spin_unlock_irqrestore(&vmap.lock, irqs);
	vmap_flush(area_first(a), a->pages * PAGE_SIZE);
	irqs = spin_lock_irqsave(&vmap.lock);
	list_del(&a->link);
	spin_unlock_irqrestore(&vmap.lock, irqs);
	vmap_free_frames(&tables);
	vmap_free_frames(&frames);
	kfree(a);
}

static struct area *take_dead(void)
{
	struct area *a, *found = NULL;
	bool irqs = spin_lock_irqsave(&vmap.lock);

	list_for_each_entry (a, &vmap.areas, link) {
		if (a->state == AREA_DEAD) {
			a->state = AREA_DYING;
			found = a;
			break;
		}
	}
	spin_unlock_irqrestore(&vmap.lock, irqs);
	return found;
}

static void reap(void)
{
	struct area *a;

	while (vmap_can_flush() && (a = take_dead()))
		area_destroy(a);
}

static struct area *area_create(u64 pages)
{
	struct area *a;
	bool irqs, placed;

	reap();
	a = kmalloc(sizeof(*a));
	if (!a)
		return NULL;
	a->pages = pages;
	irqs = spin_lock_irqsave(&vmap.lock);
	placed = area_place(a);
	spin_unlock_irqrestore(&vmap.lock, irqs);
	if (!placed) {
		kfree(a);
		return NULL;
	}
	return a;
}

static int area_map(struct area *a, u64 offset, hpa_t hpa, u64 size, u64 flags)
{
	bool irqs = spin_lock_irqsave(&vmap.lock);
	int err = pagetable_map(&vmap.pt, area_first(a) + offset, hpa, size, flags | PTE_NX);

	spin_unlock_irqrestore(&vmap.lock, irqs);
	return err;
}

static void area_free(struct area *a)
{
	bool irqs;

	if (vmap_can_flush()) {
		area_destroy(a);
		return;
	}
	irqs = spin_lock_irqsave(&vmap.lock);
	a->state = AREA_DEAD;
	spin_unlock_irqrestore(&vmap.lock, irqs);
}

/* Ends the area whose first page is here; anything else is the caller's error. */
static struct area *area_claim(const void *p, u64 pages)
{
	u64 first = (u64)p & PAGE_MASK;
	struct area *a, *found = NULL;
	bool irqs = spin_lock_irqsave(&vmap.lock);

	list_for_each_entry (a, &vmap.areas, link) {
		if (area_first(a) == first && a->pages == pages && a->state == AREA_LIVE)
			found = a;
	}
	if (found)
		found->state = AREA_DYING;
	spin_unlock_irqrestore(&vmap.lock, irqs);
	if (!found)
		panic("%p with %llu pages is unmapped but is not mapped so: unmapped twice?", p,
		      (unsigned long long)pages);
	return found;
}

/* --- Device memory and the firmware's ------------------------------------------------------- */

static u64 pages_of(u64 address, u64 size)
{
	return ((address & (PAGE_SIZE - 1)) + size + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

static bool phys_range_ok(hpa_t hpa, u64 size)
{
	return size && hpa.v < vmap.phys_end && size <= vmap.phys_end - hpa.v;
}

static void *map_phys(hpa_t hpa, u64 size, u64 flags, bool firmware)
{
	struct area *a = area_create(pages_of(hpa.v, size));

	if (!a)
		return NULL;
	if (area_map(a, 0, HPA(hpa.v & PAGE_MASK), a->pages * PAGE_SIZE, flags)) {
		area_free(a);
		return NULL;
	}
	if (firmware) {
		bool irqs = spin_lock_irqsave(&vmap.lock);

		a->hpa = HPA(hpa.v & PAGE_MASK);
		a->firmware = true;
		spin_unlock_irqrestore(&vmap.lock, irqs);
	}
	return (void *)(area_first(a) + (hpa.v & (PAGE_SIZE - 1)));
}

void *vmap_device(hpa_t hpa, u64 size, enum vmap_cache cache)
{
	static const u64 cache_flags[] = {
		[VMAP_WB] = 0,
		[VMAP_WC] = PTE_PWT,
		[VMAP_UC] = PTE_PCD | PTE_PWT,
	};

	if (!phys_range_ok(hpa, size))
		return NULL;
	if ((hpa.v & PAGE_MASK) < vmap.read_only.end && hpa.v + size > vmap.read_only.start) {
		log_error("device memory at %#llx is where Weir's code is: not mapped",
			  (unsigned long long)hpa.v);
		return NULL;
	}
	return map_phys(hpa, size, cache_flags[cache] | PTE_WRITE, false);
}

void vunmap_device(void *p, u64 size)
{
	if (p)
		area_free(area_claim(p, pages_of((u64)p, size)));
}

/* vmap.lock held. */
static bool direct_map_shows(hpa_t hpa, u64 size)
{
	u64 va = DIRECT_MAP_BASE + hpa.v, end = va + size;

	/* Further up stands something else. */
	if (hpa.v + size > VMAP_BASE - DIRECT_MAP_BASE)
		return false;
	while (va < end) {
		u32 level;

		if (!pagetable_lookup(&vmap.pt, va, &level))
			return false;
		va = align_down(va, pt_page_size(level)) + pt_page_size(level);
	}
	return true;
}

static const void *firmware_mapped_before(hpa_t hpa, u64 size)
{
	struct area *a;

	list_for_each_entry (a, &vmap.areas, link) {
		u64 offset = hpa.v - a->hpa.v;

		if (a->firmware && hpa.v >= a->hpa.v && offset + size <= a->pages * PAGE_SIZE)
			return (const void *)(area_first(a) + offset);
	}
	return NULL;
}

const void *vmap_firmware(hpa_t hpa, u64 size)
{
	const void *p;
	bool irqs;

	if (!phys_range_ok(hpa, size))
		return NULL;
	irqs = spin_lock_irqsave(&vmap.lock);
	if (direct_map_shows(hpa, size))
		p = phys_to_virt(hpa);
	else
		p = firmware_mapped_before(hpa, size);
	spin_unlock_irqrestore(&vmap.lock, irqs);
	return p ? p : map_phys(hpa, size, 0, true);
}

/* --- Stacks -------------------------------------------------------------------------------- */

u8 *vmap_stack_alloc(u32 pages)
{
	struct area *a = pages ? area_create(pages) : NULL;

	if (!a)
		return NULL;
	a->owns_frames = true;
	for (u32 i = 0; i < pages; i++) {
		pfn_t pfn;

		if (frame_alloc(0, FRAME_ZERO | FRAME_FOR(STACKS), &pfn)) {
			area_free(a);
			return NULL;
		}
		if (area_map(a, i * PAGE_SIZE, pfn_to_hpa(pfn), PAGE_SIZE, PTE_WRITE)) {
			frame_free(pfn, 0);
			area_free(a);
			return NULL;
		}
	}
	return (u8 *)area_first(a);
}

void vmap_stack_free(u8 *stack, u32 pages)
{
	if (stack)
		area_free(area_claim(stack, pages));
}
