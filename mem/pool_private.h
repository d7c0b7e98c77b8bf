/* SPDX-License-Identifier: MIT */
/*
 * What mem/pool.c and mem/pool_compact.c know of each other: spans, the objects in them, and what a
 * handle names.
 */
#ifndef MEM_POOL_PRIVATE_H
#define MEM_POOL_PRIVATE_H

#include "kernel/base/list.h"
#include "mem/frame.h"
#include "mem/pool.h"
#include "smp/spinlock.h"

/*
 * Sizes of classes, headers included: 16 bytes apart up to 1 KiB, 32 up to 2 KiB, then 64, so that an
 * object wastes some hundredth of itself by its class. Of a smaller one than the first a span would not
 * be full with POOL_SLOTS_MAX.
 */
#define POOL_SMALLEST	 64u
#define POOL_STEP	 16u
#define POOL_MIDDLE	 1024u
#define POOL_MIDDLE_STEP 32u
#define POOL_LARGE	 2048u
#define POOL_LARGE_STEP	 64u
#define POOL_FRAMES_MAX	 8u
#define POOL_SLOT_BITS	 6u
#define POOL_SLOTS_MAX	 (1u << POOL_SLOT_BITS)
#define POOL_ALIGN	 8u /* kmalloc's for what is as small as an object */
#define POOL_SIZE_BITS	 12u
#define POOL_SIZE_MASK	 ((1u << POOL_SIZE_BITS) - 1)
#define POOL_CLASS_BYTES (POOL_OBJECT_MAX + sizeof(struct pool_header))
#define POOL_TO_MIDDLE	 ((POOL_MIDDLE - POOL_SMALLEST) / POOL_STEP)
#define POOL_TO_LARGE	 (POOL_TO_MIDDLE + (POOL_LARGE - POOL_MIDDLE) / POOL_MIDDLE_STEP)
#define POOL_CLASSES                                                                               \
	(POOL_TO_LARGE + (POOL_CLASS_BYTES - POOL_LARGE + POOL_LARGE_STEP - 1) / POOL_LARGE_STEP + \
	 1)

/*
 * What a handle names: it stays where it is, and the bytes move. Some 24 bytes for each, in frames
 * of their own that do not: so they take no more than a 170th of what was packed at a time.
 */
struct pool_object {
	u64 place; /* atomic; changed under the class's lock: span, slot and size */
	struct pool_share share;
};
static_assert(sizeof(struct pool_object) == 24, "what slab.c cuts");

/* Before the bytes. */
struct pool_header {
	struct pool_object *object;
};

#define POOL_PLACE_SLOT_SHIFT POOL_SIZE_BITS
#define POOL_PLACE_SPAN_SHIFT (POOL_SIZE_BITS + POOL_SLOT_BITS)

static_assert(POOL_OBJECT_MAX <= POOL_SIZE_MASK, "POOL_SIZE_BITS");
static_assert(POOL_STEP % sizeof(struct pool_header) == 0, "a header is in one frame");

struct pool_span {
	struct list link;	     /* class->partial, or nowhere: full, or being emptied */
	u32 frames[POOL_FRAMES_MAX]; /* pfns; 0: none */
	u64 taken;		     /* bit for each slot */
	u16 class;
	u8 frame_count;
	u8 slots, used;
	bool emptying;
};
static_assert(sizeof(struct pool_span) == 64, "one for some frames of the pool");

struct pool_shape {
	u8 frames, slots; /* of a span */
};

/* So many small spans, of which one that is hardly used costs little, has a class before large ones. */
#define POOL_SMALL_SPANS 16u

struct pool_class {
	struct spinlock lock;
	/* set once */
	struct pool_shape small, large;
	/* lock */
	struct list partial;
	u64 spans;
	u64 frames;
	u64 slots;
	u64 objects;
	u64 bytes;
} __aligned(64);

struct pool_state {
	struct pool_class classes[POOL_CLASSES];
	u64 moved, emptied; /* atomic */
	u32 compact_next;   /* class; pool_compact's */
};
extern struct pool_state pool;

/* Of an object with its header. */
static inline u32 pool_stride(u32 class)
{
	if (class <= POOL_TO_MIDDLE)
		return POOL_SMALLEST + class * POOL_STEP;
	if (class <= POOL_TO_LARGE)
		return POOL_MIDDLE + (class - POOL_TO_MIDDLE) * POOL_MIDDLE_STEP;
	return POOL_LARGE + (class - POOL_TO_LARGE) * POOL_LARGE_STEP;
}

static inline u64 pool_place(const struct pool_object *o)
{
	return __atomic_load_n(&o->place, __ATOMIC_RELAXED);
}

static inline struct pool_span *pool_span_at(u64 place)
{
	return phys_to_virt(HPA((place >> POOL_PLACE_SPAN_SHIFT) * POOL_ALIGN));
}

static inline u32 pool_slot_at(u64 place)
{
	return (u32)(place >> POOL_PLACE_SLOT_SHIFT) % POOL_SLOTS_MAX;
}

static inline u32 pool_size_at(u64 place)
{
	return (u32)place & POOL_SIZE_MASK;
}

static inline bool pool_is_taken(const struct pool_span *s, u32 slot)
{
	return s->taken & BIT(slot);
}

/* --- Under the class's lock --- */

/* It has come, or with -1 gone. */
static inline void pool_count_span(struct pool_class *c, const struct pool_span *s, s64 n)
{
	c->spans += (u64)n;
	c->frames += (u64)(n * s->frame_count);
	c->slots += (u64)(n * s->slots);
}

struct pool_header *pool_header_of(const struct pool_span *s, u32 slot);
/* Copies an object's bytes. */
void pool_read_bytes(u64 place, u8 *bytes);
/* The object is there from now on. */
void pool_place_object(struct pool_object *o, struct pool_span *s, u32 slot, u32 size,
		       const u8 *bytes);
/* Of a span that has a free one. */
u32 pool_take_slot(struct pool_span *s);
/* Whether the span is empty, and its class's no more. */
bool pool_release_slot(struct pool_class *c, struct pool_span *s, u32 slot);

/* --- Without it --- */

void pool_free_span(struct pool_span *s);

#endif
