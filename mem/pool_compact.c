/* SPDX-License-Identifier: MIT */
/* Spans of the pool that hold little are emptied, and their frames come free. */
#include "mem/pool_private.h"

/* Of how many the emptiest is chosen, while the class is locked. */
#define SPANS_LOOKED 64u

/*
 * The span with the least in it, if the others have room for that; it is out of their list then,
 * so that nothing more comes into it. Under the class's lock.
 */
static struct pool_span *pick_span(struct pool_class *c)
{
	struct pool_span *s, *least = NULL;
	u32 looked = 0;

	list_for_each_entry (s, &c->partial, link) {
		if (c->slots - c->objects >= s->slots && (!least || s->used < least->used))
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
static bool move_object(struct pool_class *c, struct pool_span *from, u32 slot)
{
	struct pool_object *o = pool_header_of(from, slot)->object;
	u64 place = pool_place(o);
	u8 bytes[POOL_OBJECT_MAX];
	struct pool_span *to;

	if (list_empty(&c->partial))
		return false;
	to = list_first(&c->partial, struct pool_span, link);
	pool_read_bytes(place, bytes);
	pool_place_object(o, to, pool_take_slot(to), pool_size_at(place), bytes);
	(void)pool_release_slot(c, from, slot);
	return true;
}

/* One by one, so that nobody waits long for the class. */
static void move_objects(struct pool_class *c, struct pool_span *s)
{
	bool room = true;

	for (u32 slot = 0; slot < s->slots && room; slot++) {
		spin_lock(&c->lock);
		if (pool_is_taken(s, slot)) {
			room = move_object(c, s, slot);
			if (room)
				__atomic_fetch_add(&pool.moved, 1, __ATOMIC_RELAXED);
		}
		spin_unlock(&c->lock);
	}
}

/* What could not be moved stays, and the span with it. Returns the frames that came free. */
static u64 end_emptying(struct pool_class *c, struct pool_span *s)
{
	u64 frames = s->frame_count;
	bool empty;

	spin_lock(&c->lock);
	s->emptying = false;
	empty = s->used == 0;
	if (empty)
		pool_count_span(c, s, -1);
	else if (s->used < s->slots)
		list_add_tail(&s->link, &c->partial);
	spin_unlock(&c->lock);
	if (!empty)
		return 0;
	pool_free_span(s);
	__atomic_fetch_add(&pool.emptied, 1, __ATOMIC_RELAXED);
	return frames;
}

/* The frames that came free; 0: no span could be emptied. */
static u64 empty_span(struct pool_class *c)
{
	struct pool_span *s;

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

	for (u32 left = POOL_CLASSES; left && spans;) {
		u64 got = empty_span(&pool.classes[pool.compact_next]);

		freed += got;
		if (got) {
			spans--;
			continue;
		}
		pool.compact_next = (pool.compact_next + 1) % POOL_CLASSES;
		left--;
	}
	return freed;
}
