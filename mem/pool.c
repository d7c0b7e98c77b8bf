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
#define ALIGN	   16u /* kmalloc's */
/* Of how many the emptiest is chosen, while the class is locked. */
#define SPANS_LOOKED 64u
#define SIZE_BITS    12u
#define SIZE_MASK    ((1u << SIZE_BITS) - 1)
#define CLASS_BYTES  (POOL_OBJECT_MAX + sizeof(struct header))
#define CLASSES	     ((CLASS_BYTES + STEP - 1) / STEP)

/*
 * What a handle names: it stays where it is, and the bytes move. Some 32 bytes for each, in frames
 * of their own that do not: so they take no more than a 128th of what was packed at a time.
 */
struct object {
	u64 place; /* atomic; changed under the class's lock: span, slot and size */
	struct pool_share share;
};

/* Before the bytes. */
struct header {
	struct object *object;
};

#define PLACE_SLOT_SHIFT SIZE_BITS
#define PLACE_SPAN_SHIFT (SIZE_BITS + SLOT_BITS)

static_assert(POOL_OBJECT_MAX <= SIZE_MASK, "SIZE_BITS");
static_assert(STEP % sizeof(struct header) == 0, "a header is in one frame");

struct span {
	struct list link; /* class->partial, or nowhere: full, or being emptied */
	u8 *frames[FRAMES_MAX];
	u64 taken[SLOTS_MAX / 64]; /* bit for each slot */
	u16 class;
	u16 used;
	bool emptying;
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

static u64 handle_of(const struct object *o)
{
	return virt_to_phys(o).v / ALIGN;
}

static struct object *object_of(u64 handle)
{
	return phys_to_virt(HPA(handle * ALIGN));
}

static u64 place_of(const struct span *s, u32 slot, u32 size)
{
	u64 span = virt_to_phys(s).v / ALIGN;

	BUG_ON(span >> (64 - PLACE_SPAN_SHIFT));
	return span << PLACE_SPAN_SHIFT | (u64)slot << PLACE_SLOT_SHIFT | size;
}

static u64 place_now(const struct object *o)
{
	return __atomic_load_n(&o->place, __ATOMIC_RELAXED);
}

static struct span *span_at(u64 place)
{
	return phys_to_virt(HPA((place >> PLACE_SPAN_SHIFT) * ALIGN));
}

static u32 slot_at(u64 place)
{
	return (u32)(place >> PLACE_SLOT_SHIFT) % SLOTS_MAX;
}

static u32 size_at(u64 place)
{
	return (u32)place & SIZE_MASK;
}

/* Wherever it moves its class is the same. */
static struct class *class_at(u64 place)
{
	return &classes[class_of(size_at(place))];
}

static bool is_taken(const struct span *s, u32 slot)
{
	return s->taken[slot / 64] & BIT(slot % 64);
}

struct pool_share *pool_share(u64 handle)
{
	return &object_of(handle)->share;
}

u32 pool_size(u64 handle)
{
	return size_at(place_now(object_of(handle)));
}

/* --- Bytes: under the class's lock ---------------------------------------------------------- */

/* An object's bytes, in one piece or two. */
struct pieces {
	u8 *first, *second;
	u32 first_size, second_size;
};

/* `size` bytes from byte `at` of the span on. */
static struct pieces pieces_at(const struct span *s, u32 at, u32 size)
{
	u32 frame = at / (u32)PAGE_SIZE, in_frame = at % (u32)PAGE_SIZE;
	struct pieces p = {.first = s->frames[frame] + in_frame};

	p.first_size = min(size, (u32)PAGE_SIZE - in_frame);
	p.second_size = size - p.first_size;
	p.second = p.second_size ? s->frames[frame + 1] : NULL;
	return p;
}

static struct header *header_of(const struct span *s, u32 slot)
{
	return (struct header *)(void *)pieces_at(s, slot * stride_of(s->class), 1).first;
}

static struct pieces pieces_of(u64 place)
{
	const struct span *s = span_at(place);

	return pieces_at(s, slot_at(place) * stride_of(s->class) + (u32)sizeof(struct header),
			 size_at(place));
}

static void read_bytes(u64 place, u8 *bytes)
{
	struct pieces p = pieces_of(place);

	memcpy(bytes, p.first, p.first_size);
	if (p.second_size)
		memcpy(bytes + p.first_size, p.second, p.second_size);
}

static void write_bytes(u64 place, const u8 *bytes)
{
	struct pieces p = pieces_of(place);

	memcpy(p.first, bytes, p.first_size);
	if (p.second_size)
		memcpy(p.second, bytes + p.first_size, p.second_size);
}

u32 pool_copy(u64 handle, void *bytes)
{
	struct object *o = object_of(handle);
	struct class *c = class_at(place_now(o));
	u64 place;

	spin_lock(&c->lock);
	place = place_now(o);
	read_bytes(place, bytes);
	spin_unlock(&c->lock);
	return size_at(place);
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
	return slot;
}

/* Under the class's lock: the object is there from now on. */
static void place_object(struct object *o, struct span *s, u32 slot, u32 size, const u8 *bytes)
{
	u64 place = place_of(s, slot, size);

	header_of(s, slot)->object = o;
	write_bytes(place, bytes);
	__atomic_store_n(&o->place, place, __ATOMIC_RELAXED);
}

static int store_object(struct object *o, const void *bytes, u32 size)
{
	u32 class = class_of(size);
	struct class *c = &classes[class];
	struct span *s;

	spin_lock(&c->lock);
	if (list_empty(&c->partial)) {
		struct span *made;

		spin_unlock(&c->lock);
		made = make_span(class);
		if (!made)
			return ERR_NOMEM;
		spin_lock(&c->lock);
		list_add(&made->link, &c->partial);
		c->spans++;
	}
	s = list_first(&c->partial, struct span, link);
	place_object(o, s, take_slot(c, s), size, bytes);
	c->objects++;
	c->bytes += size;
	spin_unlock(&c->lock);
	return 0;
}

int pool_store(const void *bytes, u32 size, u64 *handle)
{
	struct object *o;
	int err;

	if (size == 0 || size > POOL_OBJECT_MAX)
		return ERR_RANGE;
	o = kmalloc(sizeof(*o));
	if (!o)
		return ERR_NOMEM;
	o->share.refs = 1;
	err = store_object(o, bytes, size);
	if (err) {
		kfree(o);
		return err;
	}
	*handle = handle_of(o);
	return 0;
}

/* Under the class's lock. Whether the span is empty, and its class's no more. */
static bool release_slot(struct class *c, struct span *s, u32 slot)
{
	BUG_ON(!is_taken(s, slot));
	s->taken[slot / 64] &= ~BIT(slot % 64);
	s->used--;
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
	struct object *o = object_of(handle);
	struct class *c = class_at(place_now(o));
	struct span *s;
	bool empty;
	u64 place;

	spin_lock(&c->lock);
	place = place_now(o);
	s = span_at(place);
	BUG_ON(header_of(s, slot_at(place))->object != o);
	empty = release_slot(c, s, slot_at(place));
	c->objects--;
	c->bytes -= size_at(place);
	spin_unlock(&c->lock);
	kfree(o);
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
		if (!least || s->used < least->used)
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

/*
 * Under the class's lock, which keeps everybody from the bytes: whoever leads to the object finds it
 * at its new place the next time. False: others have taken the room meanwhile.
 */
static bool move_object(struct class *c, struct span *from, u32 slot)
{
	struct object *o = header_of(from, slot)->object;
	u64 place = place_now(o);
	u8 bytes[POOL_OBJECT_MAX];
	struct span *to;

	if (list_empty(&c->partial))
		return false;
	to = list_first(&c->partial, struct span, link);
	read_bytes(place, bytes);
	place_object(o, to, take_slot(c, to), size_at(place), bytes);
	(void)release_slot(c, from, slot);
	return true;
}

/* One by one, so that nobody waits long for the class. */
static void move_objects(struct class *c, struct span *s)
{
	bool room = true;

	for (u32 slot = 0; slot < c->slots && room; slot++) {
		spin_lock(&c->lock);
		if (is_taken(s, slot)) {
			room = move_object(c, s, slot);
			if (room)
				__atomic_fetch_add(&moved, 1, __ATOMIC_RELAXED);
		}
		spin_unlock(&c->lock);
	}
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
	spin_unlock(&c->lock);
	if (!empty)
		return 0;
	free_span(s);
	__atomic_fetch_add(&emptied, 1, __ATOMIC_RELAXED);
	return frames;
}

/* The frames that came free; 0: no span could be emptied. */
static u64 empty_span(struct class *c)
{
	struct span *s;

	spin_lock(&c->lock);
	s = pick_span(c);
	spin_unlock(&c->lock);
	if (!s)
		return 0;
	move_objects(c, s);
	return end_emptying(c, s);
}

u64 pool_compact(u32 spans)
{
	u64 freed = 0;

	for (u32 left = CLASSES; left && spans;) {
		u64 got = empty_span(&classes[compact_next]);

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
