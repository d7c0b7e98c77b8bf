/* SPDX-License-Identifier: MIT */
#include "mem/pool_private.h"

#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/slab.h"

#define SMALL_WASTE 8 /* percent of a small span that a large one would not waste */

struct pool_state pool;

static u32 class_of(u32 size)
{
	u32 bytes = size + (u32)sizeof(struct pool_header);

	if (bytes <= POOL_SMALLEST)
		return 0;
	if (bytes <= POOL_MIDDLE)
		return (bytes - POOL_SMALLEST + POOL_STEP - 1) / POOL_STEP;
	if (bytes <= POOL_LARGE)
		return POOL_TO_MIDDLE +
		       (bytes - POOL_MIDDLE + POOL_MIDDLE_STEP - 1) / POOL_MIDDLE_STEP;
	return POOL_TO_LARGE + (bytes - POOL_LARGE + POOL_LARGE_STEP - 1) / POOL_LARGE_STEP;
}

/* What of a span's frames its slots fill, in thousandths; 0: it would have more slots than it can. */
static u32 filled(u32 frames, u32 stride)
{
	u32 slots = (u32)(frames * PAGE_SIZE / stride);

	return slots <= POOL_SLOTS_MAX ? slots * stride * 1000 / (u32)(frames * PAGE_SIZE) : 0;
}

/* The fewest frames of which no more than this part less is filled than could be. */
static struct pool_shape shape_of(u32 stride, u32 percent)
{
	u32 best = 0, n = 1;

	for (u32 i = 1; i <= POOL_FRAMES_MAX; i++)
		best = max(best, filled(i, stride));
	while (filled(n, stride) * 100 < best * (100 - percent))
		n++;
	return (struct pool_shape){(u8)n, (u8)(n * PAGE_SIZE / stride)};
}

void pool_init(void)
{
	for (u32 i = 0; i < POOL_CLASSES; i++) {
		struct pool_class *c = &pool.classes[i];

		memset(c, 0, sizeof(*c));
		spin_init(&c->lock, "pool class", LOCK_POOL);
		list_init(&c->partial);
		c->small = shape_of(pool_stride(i), SMALL_WASTE);
		c->large = shape_of(pool_stride(i), 0);
	}
	pool.moved = pool.emptied = 0;
	pool.compact_next = 0;
}

/* --- Handles -------------------------------------------------------------------------------- */

static u64 handle_of(const struct pool_object *o)
{
	return virt_to_phys(o).v / POOL_ALIGN;
}

static struct pool_object *object_of(u64 handle)
{
	return phys_to_virt(HPA(handle * POOL_ALIGN));
}

u64 pool_last_handle(u64 end)
{
	return (end - 1) / POOL_ALIGN;
}

static u64 place_of(const struct pool_span *s, u32 slot, u32 size)
{
	u64 span = virt_to_phys(s).v / POOL_ALIGN;

	BUG_ON(span >> (64 - POOL_PLACE_SPAN_SHIFT));
	return span << POOL_PLACE_SPAN_SHIFT | (u64)slot << POOL_PLACE_SLOT_SHIFT | size;
}

/* Wherever it moves its class is the same. */
static struct pool_class *class_at(u64 place)
{
	return &pool.classes[class_of(pool_size_at(place))];
}

struct pool_share *pool_share(u64 handle)
{
	return &object_of(handle)->share;
}

u32 pool_size(u64 handle)
{
	return pool_size_at(pool_place(object_of(handle)));
}

/* --- Bytes: under the class's lock ---------------------------------------------------------- */

/* An object's bytes, in one piece or two. */
struct pool_pieces {
	u8 *first, *second;
	u32 first_size, second_size;
};

static u8 *frame_at(const struct pool_span *s, u32 i)
{
	return phys_to_virt(pfn_to_hpa(PFN(s->frames[i])));
}

/* `size` bytes from byte `at` of the span on. */
static struct pool_pieces pieces_at(const struct pool_span *s, u32 at, u32 size)
{
	u32 frame = at / (u32)PAGE_SIZE, in_frame = at % (u32)PAGE_SIZE;
	struct pool_pieces p = {.first = frame_at(s, frame) + in_frame};

	p.first_size = min(size, (u32)PAGE_SIZE - in_frame);
	p.second_size = size - p.first_size;
	p.second = p.second_size ? frame_at(s, frame + 1) : NULL;
	return p;
}

struct pool_header *pool_header_of(const struct pool_span *s, u32 slot)
{
	return (struct pool_header *)(void *)pieces_at(s, slot * pool_stride(s->class), 1).first;
}

static struct pool_pieces pieces_of(u64 place)
{
	const struct pool_span *s = pool_span_at(place);

	return pieces_at(
		s, pool_slot_at(place) * pool_stride(s->class) + (u32)sizeof(struct pool_header),
		pool_size_at(place));
}

void pool_read_bytes(u64 place, u8 *bytes)
{
	struct pool_pieces p = pieces_of(place);

	memcpy(bytes, p.first, p.first_size);
	if (p.second_size)
		memcpy(bytes + p.first_size, p.second, p.second_size);
}

static void write_bytes(u64 place, const u8 *bytes)
{
	struct pool_pieces p = pieces_of(place);

	memcpy(p.first, bytes, p.first_size);
	if (p.second_size)
		memcpy(p.second, bytes + p.first_size, p.second_size);
}

u32 pool_copy(u64 handle, void *bytes)
{
	struct pool_object *o = object_of(handle);
	struct pool_class *c = class_at(pool_place(o));
	u64 place;

	spin_lock(&c->lock);
	place = pool_place(o);
	pool_read_bytes(place, bytes);
	spin_unlock(&c->lock);
	return pool_size_at(place);
}

/* --- Spans ---------------------------------------------------------------------------------- */

void pool_free_span(struct pool_span *s)
{
	for (u32 i = 0; i < s->frame_count; i++) {
		if (s->frames[i])
			frame_free(PFN(s->frames[i]), 0);
	}
	kfree(s);
}

/* The pool does without RAM above 16 TiB. */
static bool get_frame(u32 *out)
{
	pfn_t pfn;

	if (frame_alloc(0, FRAME_FOR(POOL), &pfn))
		return false;
	*out = (u32)pfn.v;
	if (likely(*out == pfn.v))
		return true;
	frame_free(pfn, 0);
	*out = 0;
	return false;
}

static struct pool_span *make_span(u32 class, struct pool_shape shape)
{
	struct pool_span *s = kmalloc(sizeof(*s));

	if (!s)
		return NULL;
	s->class = (u16) class;
	s->frame_count = shape.frames;
	s->slots = shape.slots;
	for (u32 i = 0; i < shape.frames; i++) {
		if (!get_frame(&s->frames[i])) {
			pool_free_span(s);
			return NULL;
		}
	}
	return s;
}

u32 pool_take_slot(struct pool_span *s)
{
	u32 slot = (u32)__builtin_ctzll(~s->taken);

	s->taken |= BIT(slot);
	if (++s->used == s->slots)
		list_del(&s->link);
	return slot;
}

void pool_place_object(struct pool_object *o, struct pool_span *s, u32 slot, u32 size,
		       const u8 *bytes)
{
	u64 place = place_of(s, slot, size);

	pool_header_of(s, slot)->object = o;
	write_bytes(place, bytes);
	__atomic_store_n(&o->place, place, __ATOMIC_RELAXED);
}

static int store_object(struct pool_object *o, const void *bytes, u32 size)
{
	u32 class = class_of(size);
	struct pool_class *c = &pool.classes[class];
	struct pool_span *s;

	spin_lock(&c->lock);
	if (list_empty(&c->partial)) {
		struct pool_shape shape = c->spans < POOL_SMALL_SPANS ? c->small : c->large;
		struct pool_span *made;

		spin_unlock(&c->lock);
		made = make_span(class, shape);
		if (!made)
			return ERR_NOMEM;
		spin_lock(&c->lock);
		list_add(&made->link, &c->partial);
		pool_count_span(c, made, 1);
	}
	s = list_first(&c->partial, struct pool_span, link);
	pool_place_object(o, s, pool_take_slot(s), size, bytes);
	c->objects++;
	c->bytes += size;
	spin_unlock(&c->lock);
	return 0;
}

int pool_store(const void *bytes, u32 size, u64 *handle)
{
	struct pool_object *o;
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

bool pool_release_slot(struct pool_class *c, struct pool_span *s, u32 slot)
{
	BUG_ON(!pool_is_taken(s, slot));
	s->taken &= ~BIT(slot);
	s->used--;
	if (s->emptying)
		return false;
	if (s->used == s->slots - 1u)
		list_add_tail(&s->link, &c->partial);
	if (s->used)
		return false;
	list_del(&s->link);
	pool_count_span(c, s, -1);
	return true;
}

void pool_free(u64 handle)
{
	struct pool_object *o = object_of(handle);
	struct pool_class *c = class_at(pool_place(o));
	struct pool_span *s;
	bool empty;
	u64 place;

	spin_lock(&c->lock);
	place = pool_place(o);
	s = pool_span_at(place);
	BUG_ON(pool_header_of(s, pool_slot_at(place))->object != o);
	empty = pool_release_slot(c, s, pool_slot_at(place));
	c->objects--;
	c->bytes -= pool_size_at(place);
	spin_unlock(&c->lock);
	kfree(o);
	if (empty)
		pool_free_span(s);
}

/* --- Statistics ----------------------------------------------------------------------------- */

static const struct stat_desc stat_descs[] = {POOL_STATS(STAT_DESC)};
STAT_CHECK(pool_stats, stat_descs);

void pool_get_stats(struct pool_stats *out)
{
	*out = (struct pool_stats){
		.moved = __atomic_load_n(&pool.moved, __ATOMIC_RELAXED),
		.emptied = __atomic_load_n(&pool.emptied, __ATOMIC_RELAXED),
	};
	for (u32 i = 0; i < POOL_CLASSES; i++) {
		struct pool_class *c = &pool.classes[i];

		spin_lock(&c->lock);
		out->objects += c->objects;
		out->bytes += c->bytes;
		out->frames += c->frames;
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
