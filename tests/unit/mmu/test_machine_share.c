/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Guests on all CPUs write and read pages of which many are equal, also such that do not pack, while
 * they go cold, are found to be equal, get one frame or one place in the pool, are read by all who
 * have them, written by one, held and pinned, dropped, and while the pool is compacted. Two objects
 * are of one group; one of them is shown by several slots and two VMs. R08, R13, R34.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mem/pool.h"
#include "mem/share.h"
#include "tests/hosted/machine/machine.h"

#define RAM_PAGES 560 /* of two regions of 2 MiB */
#define ALIKE	  4

static struct machine_object *ram[2];
static u64 shared; /* atomic; pages that were found to be like others */

static void show(u32 vm, u64 base, u64 pages, u64 first, u32 id, u32 flags, u32 object)
{
	struct machine_slot s = {base, pages, first, id, flags, ram[object]};

	machine_may_fail(machine_slot_create(&machine.vm[vm], &s), 0);
}

/* Behind stamp and count the pages of every second kind are such that they do not pack. */
static void make_hard(struct gmem *g, u64 index)
{
	u64 random = index % ALIKE, *word;
	pfn_t pfn;

	BUG_ON(gmem_get_page(g, index, true, &pfn));
	word = pfn_to_virt(pfn);
	for (u32 i = 2; i < PAGE_SIZE / sizeof(*word); i++)
		word[i] = random_next(&random);
}

static void set_up(u64 *random)
{
	for (u32 i = 0; i < 2; i++) {
		ram[i] = machine_object_new(RAM_PAGES, 0);
		gmem_set_share_group(ram[i]->gmem, 7);
		for (u64 page = 0; page < 200; page++) {
			if (page % ALIKE % 2)
				make_hard(ram[i]->gmem, page);
		}
	}
	show(0, 0x400, RAM_PAGES, 0, 1, 0, 0);
	show(0, 0x7fff0, 64, 0, 2, 0, 0);
	show(1, 0x3f8, 128, 4, 1, MEMSLOT_READONLY, 0);
	show(1, 0x2000, RAM_PAGES, 0, 3, 0, 1);
}

static struct machine_object *one_of(u64 *random)
{
	return ram[random_below(random, 2)];
}

static void take(u64 *random)
{
	__atomic_fetch_add(&shared, machine_put_away(one_of(random), random), __ATOMIC_RELAXED);
}

/* A pin for reading: the page gets a frame of its own, and stays there. */
static void pin(struct gmem *g, u64 index)
{
	pfn_t pfn;
	int err = gmem_pin(g, index, false, &pfn);

	if (machine_may_fail(err, ERR_NOSPC))
		return;
	if (gmem_entry_state(gmem_entry(g, index)) != GMEM_GOT_PAGE || share_is_frame(pfn))
		machine_fail("page %llu is pinned where others have it", (unsigned long long)index);
	gmem_unpin(g, index, pfn, false);
}

static void age(u64 *random)
{
	if (random_below(random, 3))
		machine_age(one_of(random), random);
	else
		pin(one_of(random)->gmem, machine_hot_page(random));
}

static void drop(u64 *random)
{
	if (random_one_in(random, 4))
		machine_drop(one_of(random), random);
}

static void compact(u64 *random)
{
	pool_compact(~0u);
}

static struct gmem *gmem_at(u64 i)
{
	return ram[i / RAM_PAGES]->gmem;
}

/* The object of the pool that the frame shows; 0: none. */
static u64 handle_of(const struct frame *f)
{
	return f->share.owners & 1 ? f->share.origin : 0;
}

/* Whose entries lead to the frame, one xor the other, as the frame has it. */
static u64 owners_of(pfn_t pfn)
{
	u64 owners = frame_of(pfn)->share.owners & 1;

	for (u64 i = 0; i < 2 * RAM_PAGES; i++) {
		u64 entry = gmem_entry(gmem_at(i), i % RAM_PAGES);

		if (gmem_entry_state(entry) == GMEM_SHARED && gmem_entry_pfn(entry).v == pfn.v)
			owners ^= (uintptr_t)gmem_at(i);
	}
	return owners;
}

/* What the counters say, and what the entries do. */
static void check_counts(void)
{
	u64 in[GMEM_STATES] = {0}, shown = 0, alone = 0;
	struct pool_stats pool;
	struct share_stats s;

	for (u64 i = 0; i < 2 * RAM_PAGES; i++) {
		u64 entry = gmem_entry(gmem_at(i), i % RAM_PAGES);
		const struct frame *f = frame_of(gmem_entry_pfn(entry));

		in[gmem_entry_state(entry)]++;
		/* Whoever has the frame is counted in it: a part of one. */
		if (gmem_entry_state(entry) != GMEM_SHARED)
			continue;
		if (f->share.owners != owners_of(gmem_entry_pfn(entry)))
			machine_fail("page %llu: %u have its frame, and others than it has noted",
				     (unsigned long long)i, f->refs);
		if (handle_of(f))
			shown += 1000000 / f->refs;
		alone += f->refs == 1 && !(handle_of(f) && share_has_many(handle_of(f)));
	}
	if (alone != ram[0]->gmem->alone + ram[1]->gmem->alone)
		machine_fail("%llu pages are alone in their frames, %llu and %llu are counted",
			     (unsigned long long)alone, (unsigned long long)ram[0]->gmem->alone,
			     (unsigned long long)ram[1]->gmem->alone);
	pool_get_stats(&pool);
	share_get_stats(&s);
	shown = (shown + 1000) / 1000000;
	if (in[GMEM_SHARED] != s.frames + s.frames_saved ||
	    pool.objects + s.packed_saved != in[GMEM_PACKED] + shown)
		machine_fail(
			"%llu shared in %llu frames and %llu saved; %llu packed, %llu shown, in "
			"%llu objects and %llu saved",
			(unsigned long long)in[GMEM_SHARED], (unsigned long long)s.frames,
			(unsigned long long)s.frames_saved, (unsigned long long)in[GMEM_PACKED],
			(unsigned long long)shown, (unsigned long long)pool.objects,
			(unsigned long long)s.packed_saved);
	for (u32 i = 0; i < 2; i++) {
		u64 states[GMEM_STATES];

		gmem_count_states(ram[i]->gmem, states);
		for (u32 k = 0; k < GMEM_STATES; k++)
			in[k] -= states[k];
	}
	for (u32 k = 0; k < GMEM_STATES; k++) {
		if (in[k])
			machine_fail("%lld pages more in state %u than were counted",
				     (long long)in[k], k);
	}
	if (!machine.failing && !shared)
		machine_fail("no page was put away");
}

static const struct machine_scenario scenario = {
	.name = "share",
	.memory = MIB(32),
	.vms = 2,
	.guests = 3,
	.accesses = 500,
	.rounds = 150,
	.alike = ALIKE,
	.races_lost = 45,
	.meets = {.kicks = 5},
	.set_up = set_up,
	.jobs = {{"take", take},
		 {"take too", take},
		 {"age", age},
		 {"drop", drop},
		 {"compact", compact}},
	.tear_down = check_counts,
};

static void guests_against_sharing(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_against_sharing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
