/* SPDX-License-Identifier: MIT */
/* What others than guests do to pages. See machine.h. */
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "tests/hosted/machine/machine_private.h"
#include "tests/hosted/schedule.h"

/* --- device emulation ------------------------------------------------------------------------ */

/* One word alone: between two reads the gfn may come to show another page. */
static int device_read(struct machine_vm *vm, u64 gfn, enum page_word word, u64 *value)
{
	gpa_t gpa = GPA(gfn_to_gpa(GFN(gfn)).v + word * sizeof(u64));

	return gpa_read(&vm->mmu, gpa, value, sizeof(*value));
}

static int device_count(struct machine_vm *vm, u64 gfn, u64 *count)
{
	gpa_t gpa = GPA(gfn_to_gpa(GFN(gfn)).v + PAGE_COUNT * sizeof(u64));
	int err = device_read(vm, gfn, PAGE_COUNT, count);

	if (err)
		return err;
	do {
		err = gpa_cmpxchg(&vm->mmu, gpa, sizeof(*count), count, *count + 1);
	} while (err == ERR_AGAIN);
	return err;
}

static void judge_device_error(const struct window *w, u64 gfn, bool write, int err)
{
	if ((err == ERR_NOMEM && (machine.failing || machine.reclaims)) ||
	    (err == ERR_NOSPC && machine.few_pins))
		return;
	if (err == ERR_PERM && write && !always_open(w))
		return;
	if (err == ERR_IO) {
		judge_lost(w, gfn, err);
		return;
	}
	if (err == ERR_NOSLOT && (w->lost || !(write ? w->writable : w->always)))
		return;
	machine_fail("a device at gfn %#llx: %s", (unsigned long long)gfn, error_name(err));
}

bool machine_device_access(struct machine_vm *vm, u64 gfn, bool write, bool look)
{
	u64 stamp = 0, count = COUNT_UNKNOWN;
	const struct candidate *c;
	struct window w;
	int err;

	window_open(vm, &w, gfn);
	if (write)
		write_begins();
	err = write  ? device_count(vm, gfn, &count)
	      : look ? device_read(vm, gfn, PAGE_STAMP, &stamp)
		     : device_read(vm, gfn, PAGE_COUNT, &count);
	window_close(vm, &w, gfn);
	if (err) {
		judge_device_error(&w, gfn, write, err);
		if (write)
			write_never();
		return false;
	}
	c = judge(&w, gfn, write ? MMU_WRITE : MMU_READ, NULL, stamp, count);
	if (write)
		write_ended(&w, c);
	return true;
}

void device_access(struct machine_vm *vm, u64 *random)
{
	u64 gfn = pick_gfn(vm, random);
	bool write = random_below(random, 2), look = random_below(random, 2);

	machine_device_access(vm, gfn, write, look);
}

/* --- reclaim --------------------------------------------------------------------------------- */

#define RECLAIM_MAX 8

/*
 * What the page holds goes elsewhere, and nobody may find it where it was. What was put away, or what
 * the disk has, too, stays.
 */
static u64 move_contents(u64 entry)
{
	void *old = pfn_to_virt(gmem_entry_pfn(entry));
	pfn_t pfn;

	if (gmem_entry_state(entry) != GMEM_GOT_PAGE || (entry & GMEM_KEPT))
		return entry;
	if (frame_alloc(0, 0, &pfn)) {
		if (!machine.failing)
			machine_fail("no memory to move a page to");
		return entry;
	}
	memcpy(pfn_to_virt(pfn), old, PAGE_SIZE);
	memset(old, 0xee, PAGE_SIZE);
	frame_free(gmem_entry_pfn(entry), 0);
	return pfn.v << GMEM_PFN_SHIFT | (entry & (PAGE_SIZE - 1));
}

void machine_reclaim_pages(struct machine_object *o, u64 first, u64 n)
{
	bool mine[RECLAIM_MAX], claimed[RECLAIM_MAX] = {false};
	u64 entry[RECLAIM_MAX];

	BUG_ON(n > RECLAIM_MAX);
	for (u64 i = 0; i < n; i++)
		mine[i] = machine_take(&o->page[first + i].moves);
	gmem_invalidate_begin(o->gmem, first, n);
	for (u64 i = 0; i < n; i++)
		claimed[i] = mine[i] && gmem_claim(o->gmem, first + i, &entry[i]) == 0;
	gmem_unmap(o->gmem, first, n);
	for (u64 i = 0; i < n; i++) {
		if (claimed[i])
			gmem_settle(o->gmem, first + i, move_contents(entry[i]));
	}
	gmem_invalidate_end(o->gmem, first, n);
	for (u64 i = 0; i < n; i++) {
		if (mine[i])
			machine_give(&o->page[first + i].moves);
	}
}

void machine_reclaim(struct machine_object *o, u64 *random)
{
	u64 n = 1 + random_below(random, RECLAIM_MAX);
	u64 first = random_below(random, (u32)(o->pages - n));

	if (random_below(random, 4))
		first = machine_hot_page(random);
	machine_reclaim_pages(o, first, n);
}

/* Of up to 64 neighbours those that are marked; others leave them alone meanwhile. */
u64 machine_put_away_pages(struct machine_object *o, u64 first, u64 n, u64 marked)
{
	struct gmem_taken taken = {0};

	for (u64 i = 0; i < n; i++) {
		if ((marked & BIT(i)) && !machine_take(&o->page[first + i].moves))
			marked &= ~BIT(i);
	}
	gmem_take(o->gmem, first, n, &marked, &taken);
	for (u64 i = 0; i < n; i++) {
		if (marked & BIT(i))
			machine_give(&o->page[first + i].moves);
	}
	return taken.packed + taken.shared;
}

u64 machine_put_away(struct machine_object *o, u64 *random)
{
	u64 n = 1 + random_below(random, 64), marked = random_next(random) | random_next(random);
	u64 first = random_below(random, (u32)(o->pages - n)), left;

	if (random_below(random, 4))
		first = machine_hot_page(random);
	left = GMEM_LARGE_PAGES - first % GMEM_LARGE_PAGES;
	left = min(left, o->pages - first);
	return machine_put_away_pages(o, first, min(n, left), marked);
}

void machine_harden(struct machine_object *o)
{
	for (u64 i = 0; i < o->pages; i++) {
		u64 *e = gmem_entry_find(o->gmem, i), entry = e ? gmem_entry_load(e) : 0;

		if (gmem_entry_state(entry) == GMEM_GOT_PAGE && !(entry & GMEM_KEPT))
			(void)gmem_entry_exchange(e, &entry, (entry & ~GMEM_DIRTY) | GMEM_HARD);
	}
}

void machine_drop_page(struct machine_object *o, u64 index)
{
	int err;

	if (!machine_drop_begins(&o->page[index]))
		return;
	err = gmem_drop(o->gmem, index);
	/* Pinned by a device, for a moment. */
	if (err && err != ERR_BUSY)
		machine_fail("drop: %s", error_name(err));
	machine_drop_ended(&o->page[index], !err);
}

void machine_drop(struct machine_object *o, u64 *random)
{
	machine_drop_page(o, random_below(random, 2) ? random_below(random, (u32)o->pages)
						     : machine_hot_page(random));
}

/* Who writes meanwhile may see it lost, or find the page without its stamp, as with a drop. */
void machine_fill(struct machine_object *o, u64 index)
{
	const struct candidate c = {.slot.object = o, .index = index};
	pfn_t pfn;
	int err;

	BUG_ON(!machine.alike);
	if (!machine_drop_begins(&o->page[index]))
		return;
	err = machine_may_fail(gmem_hold(o->gmem, index, true, &pfn), 0);
	if (!err) {
		u64 *word = pfn_to_virt(pfn);

		for (u32 i = 0; i < PAGE_SIZE / sizeof(*word); i++)
			relaxed_set(&word[i], stamp_of(&c));
		gmem_release(o->gmem, index, pfn, true);
	}
	machine_drop_ended(&o->page[index], !err);
}

void machine_age(struct machine_object *o, u64 *random)
{
	u64 n = 1 + random_below(random, 16);
	u64 first = random_below(random, (u32)(o->pages - n));

	if (random_below(random, 2))
		first = machine_hot_page(random);
	if (random_below(random, 4))
		gmem_age(o->gmem, first, n);
	else
		gmem_test_young(o->gmem, first, n);
}
