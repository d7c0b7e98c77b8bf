/* SPDX-License-Identifier: MIT */
#include "kernel/guest/image.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/memmap.h"
#include "mem/reclaim.h"

#define TRIES 1000u /* for a page; each is a wait of 10 ms at most, or takes pages */

/* By the module's number in boot_info. */
static struct kept {
	struct gmem *object; /* NULL: it stays where GRUB put it, or is nobody's */
	bool needed;	     /* its VM is yet to start, or may again */
	bool released;	     /* nobody's is: there is nothing left to load */
	hpa_t start;
	u64 size;
	struct reclaim_target target; /* of the first module that is this object */
} kept[BOOT_MODULES_MAX];

static u64 pages_of(u64 size)
{
	return align_up(size, PAGE_SIZE) >> PAGE_SHIFT;
}

static void release(hpa_t start, u64 size)
{
	frame_release_range(start.v, start.v + (pages_of(size) << PAGE_SHIFT));
}

static bool share_a_page(u64 start, u64 size, u64 other, u64 other_size)
{
	u64 end = align_up(start + size, PAGE_SIZE),
	    other_end = align_up(other + other_size, PAGE_SIZE);

	return size && other_size && align_down(start, PAGE_SIZE) < other_end &&
	       align_down(other, PAGE_SIZE) < end;
}

/*
 * The module's frames hold nothing else. GRUB sees to that; where what it says is malformed they stay
 * as they are, for good: modules may lie over each other, over Weir, or begin within a page.
 */
static bool is_alone(u32 boot_index)
{
	const struct boot_info *b = &boot_info;
	const struct boot_module *m = &b->modules[boot_index];
	bool shares = share_a_page(m->start.v, m->size, b->image_start.v,
				   b->image_end.v - b->image_start.v) ||
		      (b->fb.present && share_a_page(m->start.v, m->size, b->fb.addr.v,
						     (u64)b->fb.pitch * b->fb.height));

	for (u32 i = 0; i < b->module_count && !shares; i++)
		shares = i != boot_index && share_a_page(m->start.v, m->size, b->modules[i].start.v,
							 b->modules[i].size);
	return !shares && is_aligned(m->start.v, PAGE_SIZE);
}

/* Below 1 MiB, where GRUB may put a small one under UEFI, memory has none: it stays as it is. */
static bool has_frames(u32 boot_index)
{
	return boot_info.modules[boot_index].start.v >= MEMMAP_LOW_END;
}

static void tell_if_malformed(u32 boot_index)
{
	const struct boot_module *m = &boot_info.modules[boot_index];

	if (m->size && !is_alone(boot_index))
		log_warn("module %u at %#llx has no pages of its own: they are not reclaimed; load "
			 "it "
			 "with GRUB 2.02 or later, each file once",
			 boot_index + 1, (unsigned long long)m->start.v);
}

/* Nobody has taken any page of the two yet. */
static bool are_equal(hpa_t a, hpa_t b, u64 size)
{
	const u64 *x = phys_to_virt(a), *y = phys_to_virt(b);
	u64 words = size / sizeof(*x);

	for (u64 i = 0; i < words; i++) {
		if (x[i] != y[i])
			return false;
	}
	return memcmp(x + words, y + words, size % sizeof(*x)) == 0;
}

/* An object with the same bytes, or NULL. */
static struct gmem *find_equal(const struct config_module *m)
{
	for (u32 i = 0; i < BOOT_MODULES_MAX; i++) {
		const struct kept *k = &kept[i];

		if (k->object && k->size == m->size && are_equal(k->start, m->start, m->size))
			return k->object;
	}
	return NULL;
}

static struct gmem *adopt(const struct config_module *m, u32 group)
{
	u64 pages = pages_of(m->size);
	struct gmem *g;

	if (gmem_create(pages, &g))
		return NULL;
	if (gmem_adopt(g, 0, PFN(m->start.v >> PAGE_SHIFT), pages)) {
		gmem_unref(g);
		return NULL;
	}
	gmem_set_share_group(g, group);
	return g;
}

/* Returns the bytes that came free. */
static u64 keep(const struct config_module *m, u32 group)
{
	struct kept *k = &kept[m->boot_index];
	struct gmem *same;

	if (!is_alone(m->boot_index) || !has_frames(m->boot_index))
		return 0;
	same = find_equal(m);
	k->start = m->start;
	k->size = m->size;
	k->needed = true;
	k->object = same ? same : adopt(m, group);
	if (!same)
		return 0;
	release(m->start, m->size);
	return m->size;
}

static bool is_kept(const struct weir_config *config, u32 boot_index)
{
	for (u32 i = 0; i < config->vm_count; i++) {
		const struct vm_config *vm = &config->vms[i];

		for (u32 n = 0; n < vm->module_count && !vm->refused; n++) {
			if (vm->modules[n].boot_index == boot_index)
				return true;
		}
	}
	return false;
}

static u64 release_the_others(const struct weir_config *config)
{
	u64 freed = 0;

	for (u32 i = 0; i < boot_info.module_count; i++) {
		const struct boot_module *m = &boot_info.modules[i];

		if (!m->size || !is_alone(i) || !has_frames(i) || is_kept(config, i))
			continue;
		release(m->start, m->size);
		freed += m->size;
	}
	return freed;
}

static_assert(BOOT_MODULES_MAX + CONFIG_VMS_MAX <= RECLAIM_TARGETS_MAX, "pages of all are taken");

/* Its pages go before those of any VM, and count as there all the same: what does not pack stays. */
static void offer(struct kept *k)
{
	const struct reclaim_terms terms = {.max = ~0ull, .shares = 1, .costs = k->object->pages};

	reclaim_add(&k->target, k->object, &terms);
}

/* Equal ones once. */
static void offer_all(void)
{
	for (u32 i = 0; i < BOOT_MODULES_MAX; i++) {
		bool first = kept[i].object != NULL;

		for (u32 before = 0; before < i && first; before++)
			first = kept[before].object != kept[i].object;
		if (first)
			offer(&kept[i]);
	}
}

void images_start(const struct weir_config *config)
{
	u64 twice = 0, unused;

	memset(kept, 0, sizeof(kept));
	for (u32 i = 0; i < boot_info.module_count; i++)
		tell_if_malformed(i);
	for (u32 i = 0; i < config->vm_count; i++) {
		const struct vm_config *vm = &config->vms[i];

		for (u32 n = 0; n < vm->module_count && !vm->refused; n++)
			twice += keep(&vm->modules[n], vm->share_group);
	}
	unused = release_the_others(config);
	reclaim_memory_is_known();
	offer_all();
	if (twice || unused)
		log_info("modules: released %llu KiB that were there twice, %llu KiB of modules "
			 "that no VM has",
			 (unsigned long long)(twice >> 10), (unsigned long long)(unused >> 10));
}

static bool is_needed(const struct gmem *object)
{
	for (u32 i = 0; i < BOOT_MODULES_MAX; i++) {
		if (kept[i].object == object && kept[i].needed)
			return true;
	}
	return false;
}

static void forget(struct gmem *object)
{
	for (u32 i = 0; i < BOOT_MODULES_MAX; i++) {
		if (kept[i].object != object)
			continue;
		reclaim_remove(&kept[i].target);
		kept[i].object = NULL;
		kept[i].released = true;
	}
	gmem_unref(object);
}

u64 images_release(const struct vm_config *vm)
{
	u64 freed = 0;

	for (u32 n = 0; n < vm->module_count; n++)
		kept[vm->modules[n].boot_index].needed = false;
	for (u32 n = 0; n < vm->module_count; n++) {
		struct kept *k = &kept[vm->modules[n].boot_index];

		if (!k->object || is_needed(k->object))
			continue;
		freed += k->size;
		forget(k->object);
	}
	return freed;
}

static bool is_all_there(const struct gmem *g)
{
	u64 pages[GMEM_STATES];

	gmem_count_states(g, pages);
	return pages[GMEM_GOT_PAGE] == g->pages;
}

/*
 * 0, or the worst that happened: what has no memory ends it (ERR_NOMEM), and that it is enough where
 * there is something to be read or unpacked (ERR_AGAIN); what is lost does not.
 */
static int bring_back(struct gmem *g, bool (*is_enough)(void))
{
	int err, lost = 0;
	pfn_t pfn;

	for (u64 index = 0; index < g->pages; index++) {
		if (is_enough() && !is_all_there(g))
			return ERR_AGAIN;
		err = gmem_get_page(g, index, true, &pfn);
		if (err == ERR_NOMEM)
			return err;
		lost = err ? err : lost;
	}
	return lost;
}

static bool ends(int err)
{
	return err == ERR_NOMEM || err == ERR_AGAIN;
}

void images_bring_back(void (*all_are_back)(void), bool (*is_enough)(void))
{
	int err = 0;

	/* None is taken meanwhile. */
	for (u32 i = 0; i < BOOT_MODULES_MAX; i++)
		reclaim_remove(&kept[i].target);
	for (u32 i = 0; i < BOOT_MODULES_MAX && !ends(err); i++) {
		int failed = kept[i].object ? bring_back(kept[i].object, is_enough) : 0;

		err = failed ? failed : err;
	}
	if (!err)
		all_are_back();
	offer_all();
}

/* Equal modules are one object. */
static bool is_first(u32 i)
{
	for (u32 k = 0; k < i; k++) {
		if (kept[k].object == kept[i].object)
			return false;
	}
	return kept[i].object != NULL;
}

u64 images_pages(void)
{
	u64 pages = 0;

	for (u32 i = 0; i < BOOT_MODULES_MAX; i++)
		pages += is_first(i) ? kept[i].object->pages : 0;
	return pages;
}

struct image image_of_module(const struct config_module *m)
{
	struct gmem *object = kept[m->boot_index].object;

	BUG_ON(kept[m->boot_index].released);
	return (struct image){object ? NULL : phys_to_virt(m->start), m->size, object};
}

bool image_has(const struct image *i, u64 offset, u64 size)
{
	return size <= i->size && offset <= i->size - size;
}

int image_piece_get(const struct image *i, u64 offset, u64 size, struct image_piece *p)
{
	u64 in_page = offset % PAGE_SIZE;
	u32 tries = 0;
	int err;

	if (!i->object) {
		*p = (struct image_piece){.data = i->data + offset, .size = size};
		return 0;
	}
	p->index = offset / PAGE_SIZE;
	do {
		err = gmem_hold(i->object, p->index, false, &p->pfn);
	} while (err == ERR_NOMEM && ++tries < TRIES && reclaim_help(NULL, 0));
	if (err)
		return err;
	p->data = (const u8 *)pfn_to_virt(p->pfn) + in_page;
	p->size = min(size, PAGE_SIZE - in_page);
	return 0;
}

void image_piece_put(const struct image *i, const struct image_piece *p)
{
	if (i->object)
		gmem_release(i->object, p->index, p->pfn, false);
}

int image_read(const struct image *i, u64 offset, void *out, u64 size)
{
	u8 *to = out;

	if (!image_has(i, offset, size))
		return ERR_RANGE;
	while (size) {
		struct image_piece p;
		int err = image_piece_get(i, offset, size, &p);

		if (err)
			return err;
		memcpy(to, p.data, p.size);
		image_piece_put(i, &p);
		to += p.size;
		offset += p.size;
		size -= p.size;
	}
	return 0;
}
