/* SPDX-License-Identifier: MIT */
/*
 * The array of struct frames: a piece for each GiB that has RAM, from its first to its last
 * frame of RAM, carved out of the free ranges. What is below FRAME_EARLY_END is set up first; the
 * rest when the direct map shows it, and then each GiB may hold its own piece.
 */
#include "mem/frame_internal.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"

struct section {
	struct frame *frames; /* of pfn first and up; NULL: no RAM here */
	u64 first, count;     /* pfns */
};

/* What the direct map can show; a section's index fits struct frame. */
#define RAM_END BIT(46)
static_assert(RAM_END >> (PAGE_SHIFT + SECTION_ORDER) <= UINT16_MAX + 1, "section is a u16");
#ifndef WEIR_HOSTED
static_assert(RAM_END <= DIRECT_MAP_SIZE, "all RAM is in the direct map");
#endif

/* Set at init, read-only afterwards. */
static struct section *sections;
static u64 section_count;
static struct memmap memory; /* ranges[]: what is not carved or given to the pool yet */

struct frame *frame_slot(u64 pfn)
{
	struct section *s;

	if (pfn >> SECTION_ORDER >= section_count)
		return NULL;
	s = &sections[pfn >> SECTION_ORDER];
	/* Below first the difference wraps, and is too large as well. */
	return pfn - s->first < s->count ? &s->frames[pfn - s->first] : NULL;
}

struct frame *frame_of(pfn_t pfn)
{
	struct frame *f = frame_slot(pfn.v);

	return f && frame_state(f) != FRAME_NONE ? f : NULL;
}

pfn_t frame_pfn(const struct frame *f)
{
	const struct section *s = &sections[f->section];

	return PFN(s->first + (u64)(f - s->frames));
}

const struct mem_range *frame_ram(u32 *count)
{
	*count = memory.ram_count;
	return memory.ram;
}

/* Takes size bytes off the lowest free range that has them below limit. NULL: none has. */
static void *carve(u64 size, u64 limit)
{
	size = align_up(size, PAGE_SIZE);
	for (u32 i = 0; i < memory.count; i++) {
		struct mem_range *r = &memory.ranges[i];
		u64 start = r->start, end = min(r->end, limit);

		if (end < start || end - start < size)
			continue;
		r->start += size;
		return memset(phys_to_virt(HPA(start)), 0, size);
	}
	return NULL;
}

static void mark_ram(u64 first, u64 end)
{
	for (u32 i = 0; i < memory.ram_count; i++) {
		u64 from = max(memory.ram[i].start >> PAGE_SHIFT, first);
		u64 to = min(memory.ram[i].end >> PAGE_SHIFT, end);

		for (u64 pfn = from; pfn < to; pfn++)
			frame_slot(pfn)->state = FRAME_RESERVED;
	}
}

/* Finds the first and last RAM of a section. The low MiB is not the allocator's. */
static bool section_bounds(u64 index, u64 *first, u64 *end)
{
	u64 low = index << SECTION_ORDER, high = (index + 1) << SECTION_ORDER;

	*first = high;
	*end = low;
	for (u32 i = 0; i < memory.ram_count; i++) {
		u64 start = max(memory.ram[i].start, MEMMAP_LOW_END);
		u64 from = max(start >> PAGE_SHIFT, low);
		u64 to = min(memory.ram[i].end >> PAGE_SHIFT, high);

		if (from < to) {
			*first = min(*first, from);
			*end = max(*end, to);
		}
	}
	return *first < *end;
}

static int section_init(u64 index, u64 limit)
{
	struct section *s = &sections[index];
	u64 first, end;

	if (!section_bounds(index, &first, &end))
		return 0;
	s->frames = carve((end - first) * sizeof(struct frame), limit);
	if (!s->frames)
		return ERR_NOMEM;
	s->first = first;
	s->count = end - first;
	for (u64 i = 0; i < s->count; i++) {
		s->frames[i].section = index;
		s->frames[i].state = FRAME_NONE;
	}
	mark_ram(first, end);
	return 0;
}

/* Gives what is free of the sections [from, to), which have their arrays, to the pool. */
static void sections_release(u64 from, u64 to)
{
	for (u32 i = 0; i < memory.count; i++) {
		u64 start = memory.ranges[i].start >> PAGE_SHIFT;
		u64 end = memory.ranges[i].end >> PAGE_SHIFT;

		start = max(start, from << SECTION_ORDER);
		for (end = min(end, to << SECTION_ORDER); start < end;) {
			u64 next = min((start | (SECTION_FRAMES - 1)) + 1, end);

			if (frame_slot(start))
				frame_release_range(start << PAGE_SHIFT, next << PAGE_SHIFT);
			start = next;
		}
	}
}

/* A map made by hand may leave ram[] empty: the free ranges are RAM then. */
static void take_map(const struct memmap *map)
{
	memory = *map;
	if (!memory.ram_count) {
		memory.ram_count = memory.count;
		memcpy(memory.ram, memory.ranges, sizeof(memory.ram));
	}
	while (memory.ram_count && memory.ram[memory.ram_count - 1].start >= RAM_END)
		memory.ram_count--;
	while (memory.count && memory.ranges[memory.count - 1].start >= RAM_END)
		memory.count--;
	if (memory.ram_count && memory.ram[memory.ram_count - 1].end > RAM_END) {
		log_warn("memory above %llu GiB is not used", RAM_END >> 30);
		memory.ram[memory.ram_count - 1].end = RAM_END;
		if (memory.count && memory.ranges[memory.count - 1].end > RAM_END)
			memory.ranges[memory.count - 1].end = RAM_END;
	}
}

#define EARLY_SECTIONS (FRAME_EARLY_END >> (PAGE_SHIFT + SECTION_ORDER))

int frame_init(const struct memmap *map)
{
	u64 end, early;

	frame_pool_reset();
	sections = NULL;
	section_count = 0;
	take_map(map);
	if (!memory.ram_count)
		return ERR_NOMEM;
	end = memory.ram[memory.ram_count - 1].end >> PAGE_SHIFT;
	end = align_up(end, SECTION_FRAMES) >> SECTION_ORDER;
	sections = carve(end * sizeof(*sections), FRAME_EARLY_END);
	if (!sections)
		return ERR_NOMEM;
	section_count = end;
	early = min(end, EARLY_SECTIONS);
	for (u64 i = 0; i < early; i++) {
		int err = section_init(i, FRAME_EARLY_END);

		if (err)
			return err;
	}
	sections_release(0, early);
	/* The pool has it: nothing more is carved there. */
	for (u32 i = 0; i < memory.count; i++) {
		memory.ranges[i].start = max(memory.ranges[i].start, FRAME_EARLY_END);
		memory.ranges[i].end = max(memory.ranges[i].end, FRAME_EARLY_END);
	}
	return 0;
}

void frame_init_high(void)
{
	for (u64 i = EARLY_SECTIONS; i < section_count; i++) {
		if (section_init(i, RAM_END))
			log_warn("memory from %llu GiB to %llu GiB is not used: no room to "
				 "describe it",
				 (unsigned long long)i, (unsigned long long)(i + 1));
	}
	sections_release(EARLY_SECTIONS, section_count);
}

bool frame_may_adopt(pfn_t pfn)
{
	const struct frame *f = frame_slot(pfn.v);

	return f && frame_state(f) == FRAME_RESERVED;
}

void frame_adopt(pfn_t pfn, u64 pages)
{
	for (u64 i = 0; i < pages; i++) {
		struct frame *f = frame_slot(pfn.v + i);

		BUG_ON(!frame_may_adopt(PFN(pfn.v + i)));
		f->order = 0;
		f->refs = 1;
		f->pins = 0;
		f->slab_class = 0;
		frame_use_begin(f, 0, FRAME_FOR(GUEST));
		frame_set_state(f, FRAME_USED);
	}
	frame_zone_adopted(pfn.v, pfn.v + pages);
}

void frame_release_range(u64 start, u64 end)
{
	u64 pfn = start >> PAGE_SHIFT, run = pfn, skipped = 0;

	BUG_ON(!is_aligned(start | end, PAGE_SIZE) || start > end);
	for (; pfn < end >> PAGE_SHIFT; pfn++) {
		struct frame *f = frame_slot(pfn);

		if (f && frame_state(f) == FRAME_RESERVED) {
			frame_set_state(f, FRAME_BODY);
			continue;
		}
		if (f && frame_state(f) != FRAME_NONE)
			panic("frame %llx is released but was never reserved, or is released twice",
			      (unsigned long long)pfn);
		frame_pool_add(run, pfn);
		run = pfn + 1;
		skipped++;
	}
	frame_pool_add(run, pfn);
	if (skipped)
		log_warn("released memory %llx-%llx has %llu pages that are not RAM",
			 (unsigned long long)start, (unsigned long long)end,
			 (unsigned long long)skipped);
}
