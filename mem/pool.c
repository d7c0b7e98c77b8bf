/* SPDX-License-Identifier: MIT */
#include "mem/pool.h"

#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "smp/spinlock.h"

#define STEP	   64u /* classes are so many bytes apart */
#define FRAMES_MAX 4u
#define SLOT_BITS  7u
#define SLOTS_MAX  (1u << SLOT_BITS)
#define SPAN_ALIGN 16u /* kmalloc's */
/* Of how many the emptiest is chosen, while the class is locked. */
#define SPANS_LOOKED 64u
#define SIZE_BITS    12u
#define SIZE_MASK    ((1u << SIZE_BITS) - 1)
#define CLASS_BYTES  (POOL_OBJECT_MAX + sizeof(struct header))
#define CLASSES	     ((CLASS_BYTES + STEP - 1) / STEP)

/* Before the bytes of each object. */
struct header {
	struct gmem *object;
	u64 index_and_size;
	struct pool_share share;
};

static_assert(POOL_OBJECT_MAX <= SIZE_MASK, "SIZE_BITS");
static_assert(STEP % sizeof(struct header) == 0, "a header is in one frame");

struct span {
	struct list link; /* class->partial, or nowhere: full, or being emptied */
	u8 *frames[FRAMES_MAX];
	u64 taken[SLOTS_MAX / 64]; /* bit for each slot */
	u16 class;
	u16 used;
	bool emptying;
	bool stuck; /* something in it could not be moved, and nothing was freed since */
};

struct class
{
	struct spinlock lock;
	/* set once */
	u32 frames; /* of a span */
	u32 slots;
	/* lock */
	struct list partial;
	u64 spans;
	u64 objects;
	u64 bytes;
} __aligned(64);

static struct class classes[CLASSES];
static u64 moved, emptied; /* atomic */
static u32 compact_next;   /* class; pool_compact's */

static u32 stride_of(u32 class)
{
	return (class + 1) * STEP;
}

static u32 class_of(u32 size)
{
	return (u32)(size + sizeof(struct header) - 1) / STEP;
}

/* As many frames as waste the smallest part of themselves. */
static void set_shape(struct class *c, u32 stride)
{
	u32 best = 0;

	for (u32 n = 1; n <= FRAMES_MAX; n++) {
		u32 slots = (u32)(n * PAGE_SIZE / stride);

		if (slots * stride * 1000 / n > best && slots <= SLOTS_MAX) {
			best = slots * stride * 1000 / n;
			c->frames = n;
			c->slots = slots;
		}
	}
}

void pool_init(void)
{
	for (u32 i = 0; i < CLASSES; i++) {
		struct class *c = &classes[i];

		memset(c, 0, sizeof(*c));
		spin_init(&c->lock, "pool class", LOCK_POOL);
		list_init(&c->partial);
		set_shape(c, stride_of(i));
	}
	moved = emptied = 0;
	compact_next = 0;
}

/* --- Handles -------------------------------------------------------------------------------- */

static u64 handle_of(struct span *s, u32 slot)
{
	u64 place = virt_to_phys(s).v / SPAN_ALIGN;

	BUG_ON(place >> (POOL_HANDLE_BITS - SLOT_BITS));
	return place << SLOT_BITS | slot;
}

static struct span *span_of(u64 handle)
{
	return phys_to_virt(HPA((handle >> SLOT_BITS) * SPAN_ALIGN));
}

static u32 slot_of(u64 handle)
{
	return handle % SLOTS_MAX;
}

static bool is_taken(const struct span *s, u32 slot)
{
	return s->taken[slot / 64] & BIT(slot % 64);
}

/* `size` bytes from byte `at` of the span on, in one piece or two. */
static struct pool_bytes pieces(const struct span *s, u32 at, u32 size)
{
	u32 frame = at / (u32)PAGE_SIZE, in_frame = at % (u32)PAGE_SIZE;
	struct pool_bytes b = {.first = s->frames[frame] + in_frame};

	b.first_size = min(size, (u32)PAGE_SIZE - in_frame);
	b.second_size = size - b.first_size;
	b.second = b.second_size ? s->frames[frame + 1] : NULL;
	return b;
}

static struct header *header_of(const struct span *s, u32 slot)
{
	return (struct header *)(void *)pieces(s, slot * stride_of(s->class), 1).first;
}

struct pool_share *pool_share(u64 handle)
{
	return &header_of(span_of(handle), slot_of(handle))->share;
}

struct pool_bytes pool_read(u64 handle)
{
	const struct span *s = span_of(handle);
	u32 slot = slot_of(handle);

	return pieces(s, slot * stride_of(s->class) + (u32)sizeof(struct header),
		      (u32)header_of(s, slot)->index_and_size & SIZE_MASK);
}

void pool_write(u64 handle, const void *bytes)
{
	struct pool_bytes b = pool_read(handle);

	memcpy((void *)b.first, bytes, b.first_size);
	if (b.second_size)
		memcpy((void *)b.second, (const u8 *)bytes + b.first_size, b.second_size);
}

/* --- Spans ---------------------------------------------------------------------------------- */

static void free_span(struct span *s)
{
	for (u32 i = 0; i < FRAMES_MAX; i++) {
		if (s->frames[i])
			frame_free_page(s->frames[i]);
	}
	kfree(s);
}

static struct span *make_span(u32 class)
{
	struct span *s = kmalloc(sizeof(*s));

	if (!s)
		return NULL;
	s->class = (u16) class;
	for (u32 i = 0; i < classes[class].frames; i++) {
		s->frames[i] = frame_alloc_page(0);
		if (!s->frames[i]) {
			free_span(s);
			return NULL;
		}
	}
	return s;
}

/* Under the class's lock. */
static u32 take_slot(struct class *c, struct span *s)
{
	u32 slot = 0;

	while (is_taken(s, slot))
		slot++;
	s->taken[slot / 64] |= BIT(slot % 64);
	if (++s->used == c->slots)
		list_del(&s->link);
	c->objects++;
	return slot;
}

int pool_alloc(u32 size, const struct pool_owner *owner, u64 *handle)
{
	u32 class = class_of(size), slot;
	struct span *s, *made = NULL;
	struct class *c;

	if (size == 0 || size > POOL_OBJECT_MAX)
		return ERR_RANGE;
	c = &classes[class];
	spin_lock(&c->lock);
	if (list_empty(&c->partial)) {
		spin_unlock(&c->lock);
		made = make_span(class);
		if (!made)
			return ERR_NOMEM;
		spin_lock(&c->lock);
		list_add(&made->link, &c->partial);
		c->spans++;
	}
	s = list_first(&c->partial, struct span, link);
	slot = take_slot(c, s);
	c->bytes += size;
	*header_of(s, slot) = (struct header){
		.object = owner->object,
		.index_and_size = owner->index << SIZE_BITS | size,
		.share.refs = 1,
	};
	spin_unlock(&c->lock);
	*handle = handle_of(s, slot);
	return 0;
}

/* Under the class's lock. Whether the span is empty, and its class's no more. */
static bool release_slot(struct class *c, struct span *s, u32 slot)
{
	BUG_ON(!is_taken(s, slot));
	c->bytes -= header_of(s, slot)->index_and_size & SIZE_MASK;
	s->taken[slot / 64] &= ~BIT(slot % 64);
	c->objects--;
	s->used--;
	s->stuck = false;
	if (s->emptying)
		return false;
	if (s->used == c->slots - 1u)
		list_add_tail(&s->link, &c->partial);
	if (s->used)
		return false;
	list_del(&s->link);
	c->spans--;
	return true;
}

void pool_free(u64 handle)
{
	struct span *s = span_of(handle);
	struct class *c = &classes[s->class];
	bool empty;

	spin_lock(&c->lock);
	empty = release_slot(c, s, slot_of(handle));
	spin_unlock(&c->lock);
	if (empty)
		free_span(s);
}

/* --- Compaction ----------------------------------------------------------------------------- */

/*
 * The span with the least in it, if the others have room for that; it is out of their list then,
 * so that nothing more comes into it. Under the class's lock.
 */
static struct span *pick_span(struct class *c)
{
	struct span *s, *least = NULL;
	u32 looked = 0;

	if (c->spans * c->slots - c->objects < c->slots)
		return NULL;
	list_for_each_entry (s, &c->partial, link) {
		if (!s->stuck && (!least || s->used < least->used))
			least = s;
		if (++looked == SPANS_LOOKED)
			break;
	}
	if (least) {
		least->emptying = true;
		list_del(&least->link);
	}
	return least;
}

/* Nothing is in it that has several entries, whose owners are not known. */
static bool may_be_emptied(struct class *c, const struct span *s)
{
	bool may = true;

	spin_lock(&c->lock);
	for (u32 slot = 0; slot < c->slots && may; slot++)
		may = !is_taken(s, slot) ||
		      __atomic_load_n(&header_of(s, slot)->share.refs, __ATOMIC_RELAXED) == 1;
	spin_unlock(&c->lock);
	return may;
}

/* The owner of what is in the slot; false: nothing is. */
static bool look_at_slot(struct class *c, const struct span *s, u32 slot, struct pool_owner *out)
{
	bool taken;

	spin_lock(&c->lock);
	taken = is_taken(s, slot);
	if (taken) {
		const struct header *h = header_of(s, slot);

		*out = (struct pool_owner){h->object, h->index_and_size >> SIZE_BITS};
	}
	spin_unlock(&c->lock);
	return taken;
}

/* What could not be moved stays, and the span with it. Returns the frames that came free. */
static u64 end_emptying(struct class *c, struct span *s)
{
	u64 frames = c->frames;
	bool empty;

	spin_lock(&c->lock);
	s->emptying = false;
	empty = s->used == 0;
	if (empty)
		c->spans--;
	else if (s->used < c->slots)
		list_add_tail(&s->link, &c->partial);
	s->stuck = !empty;
	spin_unlock(&c->lock);
	if (!empty)
		return 0;
	free_span(s);
	__atomic_fetch_add(&emptied, 1, __ATOMIC_RELAXED);
	return frames;
}

/* One that may be emptied; those that may not are passed over until something of them is freed. */
static struct span *pick_movable(struct class *c)
{
	for (u32 i = 0; i < SPANS_LOOKED; i++) {
		struct span *s;

		spin_lock(&c->lock);
		s = pick_span(c);
		spin_unlock(&c->lock);
		if (!s || may_be_emptied(c, s))
			return s;
		(void)end_emptying(c, s);
	}
	return NULL;
}

/* The frames that came free; 0: no span could be emptied. */
static u64 empty_span(struct class *c, pool_move_fn move, void *arg)
{
	struct span *s = pick_movable(c);

	if (!s)
		return 0;
	for (u32 slot = 0; slot < c->slots; slot++) {
		struct pool_owner owner;

		if (!look_at_slot(c, s, slot, &owner))
			continue;
		if (move(&owner, handle_of(s, slot), arg))
			__atomic_fetch_add(&moved, 1, __ATOMIC_RELAXED);
	}
	return end_emptying(c, s);
}

u64 pool_compact(pool_move_fn move, void *arg, u32 spans)
{
	u64 freed = 0;

	for (u32 left = CLASSES; left && spans;) {
		u64 got = empty_span(&classes[compact_next], move, arg);

		freed += got;
		if (got) {
			spans--;
			continue;
		}
		compact_next = (compact_next + 1) % CLASSES;
		left--;
	}
	return freed;
}

/* --- Statistics ----------------------------------------------------------------------------- */

static const struct stat_desc stat_descs[] = {POOL_STATS(STAT_DESC)};
STAT_CHECK(pool_stats, stat_descs);

void pool_get_stats(struct pool_stats *out)
{
	*out = (struct pool_stats){
		.moved = __atomic_load_n(&moved, __ATOMIC_RELAXED),
		.emptied = __atomic_load_n(&emptied, __ATOMIC_RELAXED),
	};
	for (u32 i = 0; i < CLASSES; i++) {
		struct class *c = &classes[i];

		spin_lock(&c->lock);
		out->objects += c->objects;
		out->bytes += c->bytes;
		out->frames += c->spans * c->frames;
		spin_unlock(&c->lock);
	}
}

static u64 read_stat(const void *owner, u32 i)
{
	struct pool_stats s;

	(void)owner;
	pool_get_stats(&s);
	return stat_read_field(&s, i);
}

struct stat_group pool_stat_group = {
	.scope = "",
	.name = "pool",
	.descs = stat_descs,
	.count = ARRAY_SIZE(stat_descs),
	.read = read_stat,
};
