/* SPDX-License-Identifier: MIT */
/*
 * A class has a list of pages with free objects. What is known of a page stands in its struct
 * frame, so objects fill the page: its first free object (each free one names the next in its
 * first bytes) and how many are out. A full page is on no list; an empty one goes back at once,
 * which costs little since the buddy's per-CPU cache is under it.
 *
 * A debug build ends each object with a trailer:
 *
 *   | contents, size bytes | SLAB_REDZONE ... | trailer |     allocated
 *   | next | SLAB_JUNK_FREE ...               | trailer |     free
 */
#include "mem/slab.h"
#include "mem/fail.h"
#include "mem/frame.h"
#include "mem/junk.h"
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "smp/spinlock.h"

#define SIZE_OF(size) size,
static const u16 class_sizes[] = {SLAB_SIZES(SIZE_OF)};

#define CLASSES	  ARRAY_SIZE(class_sizes)
#define FREE_NONE 0xffff

struct class
{
	struct spinlock lock;
	/* lock */
	struct list partial; /* struct frame.link of pages with a free object */
	u64 objects;	     /* that are out */
};

static struct class classes[CLASSES];

struct trailer {
	u32 size;
	u32 state;
	u64 redzone;
};

#define TRAILER_SIZE	(JUNK_ON ? sizeof(struct trailer) : 0)
#define TRAILER_USED	0x75736564u
#define TRAILER_FREE	0x66726565u
#define TRAILER_REDZONE 0xbdbdbdbdbdbdbdbdull

/* The first bytes of a free object: the next one's number, and a mark beside it. */
#define LINK_SIZE 8
#define LINK_MARK 0x5b5b5b5b5b5b0000ull

void slab_init(void)
{
	for (u32 i = 0; i < CLASSES; i++) {
		spin_init(&classes[i].lock, "slab class", LOCK_SLAB);
		list_init(&classes[i].partial);
		classes[i].objects = 0;
	}
}

static u8 *object_at(struct frame *f, u32 class, u32 index)
{
	return (u8 *)pfn_to_virt(frame_pfn(f)) + index * class_sizes[class];
}

static u32 objects_in_page(u32 class)
{
	return PAGE_SIZE / class_sizes[class];
}

static u64 *link_of(void *object)
{
	return object;
}

/* --- Debug --------------------------------------------------------------------------------- */

static struct trailer *trailer_of(void *object, u64 slot_size)
{
	return (struct trailer *)((u8 *)object + slot_size - sizeof(struct trailer));
}

static void guard_free(void *object, u64 slot_size)
{
	struct trailer *t = trailer_of(object, slot_size);

	if (!JUNK_ON)
		return;
	if (slot_size > LINK_SIZE + sizeof(*t))
		junk_fill((u8 *)object + LINK_SIZE, SLAB_JUNK_FREE,
			  slot_size - LINK_SIZE - sizeof(*t));
	*t = (struct trailer){0, TRAILER_FREE, TRAILER_REDZONE};
}

/* The object is free and about to be handed out: nobody may have written to it. */
static void guard_check_free(void *object, u64 slot_size)
{
	struct trailer *t = trailer_of(object, slot_size);
	const u8 *bad = NULL;

	if (!JUNK_ON)
		return;
	if (slot_size > LINK_SIZE + sizeof(*t))
		bad = junk_find_damage((u8 *)object + LINK_SIZE, SLAB_JUNK_FREE,
				       slot_size - LINK_SIZE - sizeof(*t));
	if (bad || (*link_of(object) & ~0xffffull) != LINK_MARK || t->state != TRAILER_FREE ||
	    t->redzone != TRAILER_REDZONE)
		panic("object %p of %llu bytes was written to after kfree", object,
		      (unsigned long long)slot_size);
}

static void guard_used(void *object, u64 size, u64 slot_size)
{
	struct trailer *t = trailer_of(object, slot_size);

	if (!JUNK_ON)
		return;
	junk_fill((u8 *)object + size, SLAB_REDZONE, slot_size - size - sizeof(*t));
	*t = (struct trailer){size, TRAILER_USED, TRAILER_REDZONE};
}

static void guard_check_used(void *object, u64 slot_size)
{
	struct trailer *t = trailer_of(object, slot_size);
	const u8 *bad = NULL;

	if (!JUNK_ON)
		return;
	if (t->state == TRAILER_FREE)
		panic("kfree of %p, which is free already", object);
	if (t->state != TRAILER_USED || t->redzone != TRAILER_REDZONE ||
	    t->size > slot_size - sizeof(*t))
		panic("object %p of %llu bytes: written past its end (trailer)", object,
		      (unsigned long long)slot_size);
	bad = junk_find_damage((u8 *)object + t->size, SLAB_REDZONE,
			       slot_size - t->size - sizeof(*t));
	if (bad)
		panic("object %p of %u bytes: written past its end at offset %llu", object, t->size,
		      (unsigned long long)(bad - (u8 *)object));
}

/* --- Pages of a class (its lock held) ------------------------------------------------------ */

static struct frame *page_new(u32 class)
{
	struct frame *f;
	pfn_t pfn;

	if (frame_alloc(0, FRAME_FOR(SLAB), &pfn))
		return NULL;
	f = frame_of(pfn);
	f->slab_class = class + 1;
	f->slab_free = 0;
	f->slab_used = 0;
	for (u32 i = 0; i < objects_in_page(class); i++) {
		u8 *object = object_at(f, class, i);

		*link_of(object) = LINK_MARK | (i + 1 < objects_in_page(class) ? i + 1 : FREE_NONE);
		guard_free(object, class_sizes[class]);
	}
	list_add(&f->link, &classes[class].partial);
	return f;
}

static void *page_take(struct frame *f, u32 class)
{
	u8 *object;

	BUG_ON(f->slab_free >= objects_in_page(class));
	object = object_at(f, class, f->slab_free);
	guard_check_free(object, class_sizes[class]);
	f->slab_free = (u16)*link_of(object);
	f->slab_used++;
	classes[class].objects++;
	if (f->slab_free == FREE_NONE)
		list_del(&f->link);
	return object;
}

/* True when the page has become empty and is off its list: the caller frees it. */
static bool page_put(struct frame *f, u32 class, void *object)
{
	u32 offset = (u64)object & (PAGE_SIZE - 1), index = offset / class_sizes[class];

	if (offset % class_sizes[class] || index >= objects_in_page(class))
		panic("kfree of %p, which is no object of its page", object);
	if (index == f->slab_free)
		panic("kfree of %p, which is free already", object);
	guard_check_used(object, class_sizes[class]);
	BUG_ON(!f->slab_used);
	if (f->slab_free == FREE_NONE)
		list_add(&f->link, &classes[class].partial);
	*link_of(object) = LINK_MARK | f->slab_free;
	f->slab_free = index;
	guard_free(object, class_sizes[class]);
	classes[class].objects--;
	if (--f->slab_used)
		return false;
	list_del(&f->link);
	f->slab_class = 0;
	return true;
}

/* --- Whole frames -------------------------------------------------------------------------- */

static u32 order_for(u64 size)
{
	u32 order = 0;

	while (order <= FRAME_ORDER_MAX && PAGE_SIZE << order < size)
		order++;
	return order;
}

static void *large_alloc(size_t size)
{
	u32 order = order_for((u64)size + TRAILER_SIZE);
	pfn_t pfn;
	void *p;

	if (size > PAGE_SIZE << FRAME_ORDER_MAX ||
	    frame_alloc(order, FRAME_ZERO | FRAME_FOR(BLOCKS), &pfn))
		return NULL;
	p = pfn_to_virt(pfn);
	guard_used(p, size, PAGE_SIZE << order);
	return p;
}

static void large_free(struct frame *f, void *p)
{
	u32 order = f->order;

	if ((u64)p & (PAGE_SIZE - 1))
		panic("kfree of %p, which is free already or not the start of an object", p);
	/* A second kfree meets the frame's own check, so the trailer may not be looked at first. */
	if (f->refs == 1)
		guard_check_used(p, PAGE_SIZE << order);
	frame_free(virt_to_pfn(p), order);
}

/* --- For everyone -------------------------------------------------------------------------- */

void *kmalloc(size_t size)
{
	struct frame *f;
	void *object;
	u32 class = 0;
	bool on;

	if (!size || hosted_should_fail())
		return NULL;
	/* A size whose sum with the trailer would wrap is large. */
	if (size > class_sizes[CLASSES - 1])
		return large_alloc(size);
	while (class < CLASSES && size + TRAILER_SIZE > class_sizes[class])
		class ++;
	if (class == CLASSES)
		return large_alloc(size);
	on = spin_lock_irqsave(&classes[class].lock);
	if (list_empty(&classes[class].partial))
		f = page_new(class);
	else
		f = list_first(&classes[class].partial, struct frame, link);
	object = f ? page_take(f, class) : NULL;
	spin_unlock_irqrestore(&classes[class].lock, on);
	if (!object)
		return NULL;
	memset(object, 0, size);
	guard_used(object, size, class_sizes[class]);
	return object;
}

void kfree(void *p)
{
	struct frame *f;
	bool on, empty;
	u32 class;

	if (!p)
		return;
	f = frame_of(virt_to_pfn(p));
	if (!f)
		panic("kfree of %p, which is not in RAM of ours", p);
	if (!f->slab_class) {
		large_free(f, p);
		return;
	}
	class = f->slab_class - 1;
	on = spin_lock_irqsave(&classes[class].lock);
	empty = page_put(f, class, p);
	spin_unlock_irqrestore(&classes[class].lock, on);
	if (empty)
		frame_free(frame_pfn(f), 0);
}

/* --- Statistics ---------------------------------------------------------------------------- */

#define SIZE_DESC(size)                                                                    \
	STAT_DESC(of_##size, "count", "Objects that are out of those of " #size " bytes.", \
		  STAT_LEVEL)
static const struct stat_desc stat_descs[] = {SLAB_SIZES(SIZE_DESC)};

static u64 read_stat(const void *owner, u32 i)
{
	bool on = spin_lock_irqsave(&classes[i].lock);
	u64 objects = classes[i].objects;

	(void)owner;
	spin_unlock_irqrestore(&classes[i].lock, on);
	return objects;
}

struct stat_group slab_stat_group = {
	.scope = "",
	.name = "slab",
	.descs = stat_descs,
	.count = ARRAY_SIZE(stat_descs),
	.read = read_stat,
};
