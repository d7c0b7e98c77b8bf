/* SPDX-License-Identifier: MIT */
#include "mem/memmap.h"
#include "kernel/base/error.h"

/* A sorted set of disjoint ranges in an array of MEMMAP_RANGES_MAX. */
struct range_set {
	struct mem_range *ranges;
	u32 count;
	bool overflowed; /* something did not fit and was left out */
};

/* Opens a gap of one at index i. False, and overflowed, when the array is full. */
static bool set_open(struct range_set *s, u32 i)
{
	if (s->count == MEMMAP_RANGES_MAX) {
		s->overflowed = true;
		return false;
	}
	for (u32 j = s->count; j > i; j--)
		s->ranges[j] = s->ranges[j - 1];
	s->count++;
	return true;
}

/* Takes the ranges [from, to) out of the array. */
static void set_close(struct range_set *s, u32 from, u32 to)
{
	for (u32 j = to; j < s->count; j++)
		s->ranges[from + j - to] = s->ranges[j];
	s->count -= to - from;
}

static void set_add(struct range_set *s, struct mem_range r)
{
	u32 from = 0, to;

	if (r.start >= r.end)
		return;
	while (from < s->count && s->ranges[from].end < r.start)
		from++;
	/* [from, to) are those that overlap or touch r: they become one with it. */
	for (to = from; to < s->count && s->ranges[to].start <= r.end; to++)
		;
	if (from == to) {
		if (set_open(s, from))
			s->ranges[from] = r;
		return;
	}
	s->ranges[from].start = min(s->ranges[from].start, r.start);
	s->ranges[from].end = max(s->ranges[to - 1].end, r.end);
	set_close(s, from + 1, to);
}

static void set_subtract(struct range_set *s, struct mem_range r)
{
	u32 i = 0;

	if (r.start >= r.end)
		return;
	while (i < s->count && s->ranges[i].start < r.end) {
		struct mem_range *have = &s->ranges[i];

		if (have->end <= r.start) {
			i++;
		} else if (have->start >= r.start && have->end <= r.end) {
			set_close(s, i, i + 1);
		} else if (have->start >= r.start) {
			have->start = r.end;
		} else if (have->end <= r.end) {
			have->end = r.start;
			i++;
		} else {
			/* r is in the middle. With no room for two halves the upper one is lost. */
			struct mem_range upper = {r.end, have->end};

			have->end = r.start;
			if (set_open(s, i + 1))
				s->ranges[i + 1] = upper;
			return;
		}
	}
}

/* The entry's bytes, ended at the end of the address space. False: it is empty or wraps. */
static bool entry_bytes(const struct boot_mmap_entry *e, struct mem_range *out)
{
	u64 end = e->base + e->length;
	bool wraps = end < e->base && end != 0;

	out->start = e->base;
	out->end = end < e->base ? ~0ull : end;
	return e->length && !wraps;
}

static struct mem_range round_inwards(struct mem_range r)
{
	struct mem_range out = {MEMMAP_PHYS_END, min(r.end, MEMMAP_PHYS_END) & PAGE_MASK};

	if (r.start < MEMMAP_PHYS_END)
		out.start = align_up(r.start, PAGE_SIZE);
	return out;
}

static struct mem_range round_outwards(struct mem_range r)
{
	struct mem_range out = {r.start & PAGE_MASK, MEMMAP_PHYS_END};

	if (r.start >= r.end)
		return (struct mem_range){0, 0};
	if (r.end < MEMMAP_PHYS_END)
		out.end = align_up(r.end, PAGE_SIZE);
	return out;
}

static bool is_acpi(u32 type)
{
	return type == BOOT_MEM_ACPI_RECLAIM || type == BOOT_MEM_ACPI_NVS;
}

/*
 * Everything that is memory, then less what is not. ACPI's ranges are memory that the direct map
 * shows (free_only false) but never free memory (free_only true).
 */
static void collect(struct range_set *s, const struct boot_mmap_entry *entries, u32 count,
		    bool free_only)
{
	struct mem_range r;

	for (u32 i = 0; i < count; i++) {
		bool sound = entry_bytes(&entries[i], &r);

		if (entries[i].type == BOOT_MEM_AVAILABLE && sound)
			set_add(s, round_inwards(r));
		else if (is_acpi(entries[i].type) && sound && !free_only)
			set_add(s, round_outwards(r));
	}
	for (u32 i = 0; i < count; i++) {
		entry_bytes(&entries[i], &r);
		if (!entries[i].length || entries[i].type == BOOT_MEM_AVAILABLE)
			continue;
		if (free_only || !is_acpi(entries[i].type))
			set_subtract(s, round_outwards(r));
	}
}

static u32 count_ignored(const struct boot_mmap_entry *entries, u32 count)
{
	struct mem_range r;
	u32 ignored = 0;

	for (u32 i = 0; i < count; i++) {
		bool sound = entry_bytes(&entries[i], &r);

		if (!sound || (entries[i].type == BOOT_MEM_AVAILABLE && r.start >= MEMMAP_PHYS_END))
			ignored++;
	}
	return ignored;
}

int memmap_build(struct memmap *out, const struct boot_mmap_entry *entries, u32 count,
		 const struct mem_range *reserved, u32 reserved_count)
{
	struct range_set ram = {.ranges = out->ram}, free = {.ranges = out->ranges};

	collect(&ram, entries, count, false);
	collect(&free, entries, count, true);
	set_subtract(&free, (struct mem_range){0, MEMMAP_LOW_END});
	for (u32 i = 0; i < reserved_count; i++)
		set_subtract(&free, round_outwards(reserved[i]));
	/* Only where ram[] overflowed may a free range lie outside it: the promise is kept. */
	if (ram.overflowed) {
		u64 end = ram.count ? ram.ranges[ram.count - 1].end : 0, start = 0;

		for (u32 i = 0; i < ram.count; i++) {
			set_subtract(&free, (struct mem_range){start, ram.ranges[i].start});
			start = ram.ranges[i].end;
		}
		set_subtract(&free, (struct mem_range){end, MEMMAP_PHYS_END});
	}
	out->ram_count = ram.count;
	out->count = free.count;
	out->highest_ram = ram.count ? ram.ranges[ram.count - 1].end : 0;
	out->ignored = count_ignored(entries, count);
	return ram.overflowed || free.overflowed ? ERR_NOSPC : 0;
}

bool memmap_clip(struct memmap *m, u64 end)
{
	struct range_set ram = {.ranges = m->ram, .count = m->ram_count};
	struct range_set free = {.ranges = m->ranges, .count = m->count};
	bool clipped = m->highest_ram > end;

	set_subtract(&ram, (struct mem_range){end, ~0ull});
	set_subtract(&free, (struct mem_range){end, ~0ull});
	m->ram_count = ram.count;
	m->count = free.count;
	m->highest_ram = ram.count ? ram.ranges[ram.count - 1].end : 0;
	return clipped;
}

u64 memmap_free_within(const struct memmap *m, struct mem_range r)
{
	u64 bytes = 0;

	for (u32 i = 0; i < m->count; i++) {
		u64 start = max(m->ranges[i].start, r.start), end = min(m->ranges[i].end, r.end);

		if (start < end)
			bytes += end - start;
	}
	return bytes;
}

int memmap_withhold(struct memmap *m, struct mem_range r)
{
	struct range_set free = {.ranges = m->ranges, .count = m->count};

	set_subtract(&free, r);
	m->count = free.count;
	return free.overflowed ? ERR_NOSPC : 0;
}

bool memmap_shows(const struct memmap *m, u64 start, u64 size)
{
	u64 end = start + size;

	if (end < start)
		return false;
	if (start < MEMMAP_LOW_END)
		start = min(end, MEMMAP_LOW_END);
	for (u32 i = 0; i < m->ram_count && start < end; i++) {
		if (m->ram[i].start <= start && start < m->ram[i].end)
			start = m->ram[i].end;
	}
	return start >= end;
}
