/* SPDX-License-Identifier: MIT */
/* The model of what may be found where. See machine.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "mem/tier.h"
#include "mem/frame.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/machine/fake_cpu.h"
#include "tests/hosted/machine/machine_private.h"
#include "tests/hosted/schedule.h"

#define HOT_STRIDE     3
#define VIEWS_SEEN_MAX (MACHINE_VIEWS / 2) /* a longer access is not judged */

struct machine machine;

void machine_fail_at(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n    on CPU %u; WEIR_SEED=%llu\n", cpu_id(),
		(unsigned long long)machine.seed);
	abort();
}

/* --- objects --------------------------------------------------------------------------------- */

/* Made before any thread is, so that who meets one first has no order to keep with its maker. */
#define PAGES_MAX 131072
static struct machine_page page_pool[PAGES_MAX];

/* Odd while a CPU looks at some object's entries: who frees an object waits for that. */
static u64 peeks[HOSTED_JOBS_MAX];

struct machine_object *machine_object_new(u64 pages, u32 order)
{
	struct machine_object *o;
	struct gmem *gmem;
	u32 n;
	u64 first;

	if (gmem_create_order(pages, order, &gmem))
		return NULL;
	n = relaxed_add(&machine.objects, 1);
	first = relaxed_add(&machine.pages, pages);
	BUG_ON(n >= MACHINE_OBJECTS || first + pages > PAGES_MAX);
	o = &machine.object[n];
	o->pages = pages;
	o->page = &page_pool[first];
	relaxed_set(&o->gmem, gmem);
	return o;
}

void machine_object_free(struct machine_object *o)
{
	/* A full barrier too: before it are looked for those who peek. */
	struct gmem *gmem = __atomic_exchange_n(&o->gmem, NULL, __ATOMIC_SEQ_CST);

	for (u32 cpu = 0; cpu < HOSTED_JOBS_MAX; cpu++) {
		u64 seen = relaxed(&peeks[cpu]);

		while ((seen & 1) && relaxed(&peeks[cpu]) == seen)
			hosted_relax();
	}
	gmem_unref(gmem);
}

void machine_objects_end(void)
{
	for (u32 i = 0; i < machine.objects; i++) {
		struct machine_object *o = &machine.object[i];

		if (o->gmem)
			machine_object_free(o);
	}
	memset(page_pool, 0, machine.pages * sizeof(page_pool[0]));
	machine.objects = machine.pages = 0;
}

#define ENTRY_UNKNOWN (~0ull)

/* As gmem_entry, of an object that may be gone. Not seen by ThreadSanitizer. */
MODEL static u64 peek_entry(struct machine_object *o, u64 index)
{
	volatile u64 *peek = &peeks[cpu_id()];
	struct gmem *volatile *where = &o->gmem;
	u64 entry = ENTRY_UNKNOWN;
	struct gmem *g;

	*peek += 1;
	__sync_synchronize();
	g = *where;
	if (g) {
		u64 n = index >> g->order;
		u64 *volatile *entries = &g->slot_phys[n / GMEM_CHUNK_ENTRIES].entries;
		u64 *chunk = *entries;

		entry = GMEM_ABSENT;
		if (chunk)
			entry = *(volatile u64 *)&chunk[n % GMEM_CHUNK_ENTRIES];
		if (gmem_entry_state(entry) != GMEM_ABSENT)
			entry += (index & (BIT(g->order) - 1)) << GMEM_PFN_SHIFT;
	}
	__sync_synchronize();
	*peek += 1;
	return entry;
}

/* How many of its pages were put away so far; the same of one that is gone. */
MODEL static u64 peek_taken(struct machine_object *o)
{
	volatile u64 *peek = &peeks[cpu_id()];
	struct gmem *volatile *where = &o->gmem;
	u64 taken = ~0ull;
	struct gmem *g;

	*peek += 1;
	__sync_synchronize();
	g = *where;
	if (g)
		taken = *(volatile u64 *)&g->taken;
	__sync_synchronize();
	*peek += 1;
	return taken;
}

/* --- slots ----------------------------------------------------------------------------------- */

static struct machine_view *view_of(const struct machine_vm *vm, u64 n)
{
	return (struct machine_view *)&vm->view[n % MACHINE_VIEWS];
}

const struct machine_view *machine_slots(const struct machine_vm *vm)
{
	return view_of(vm, relaxed(&vm->version) / 2);
}

/* The view after this one, to be changed; from now on either may be met. */
static struct machine_view *view_next(struct machine_vm *vm)
{
	u64 version = relaxed(&vm->version);
	struct machine_view *next = view_of(vm, version / 2 + 1);

	BUG_ON(version & 1);
	*next = *view_of(vm, version / 2);
	return next;
}

static void view_change(struct machine_vm *vm)
{
	relaxed_set(&vm->version, vm->version + 1);
	barrier();
}

/* An attempt that failed has left everything as it was, in a view of its own. */
static int view_changed(struct machine_vm *vm, int err)
{
	u64 n = relaxed(&vm->version) / 2;

	barrier();
	if (err)
		*view_of(vm, n + 2) = *view_of(vm, n);
	relaxed_set(&vm->version, 2 * (n + (err ? 2 : 1)));
	return err;
}

static struct machine_slot *find_id(struct machine_view *view, u32 id)
{
	for (u32 i = 0; i < view->count; i++) {
		if (view->slot[i].id == id)
			return &view->slot[i];
	}
	machine_fail("there is no slot %u", id);
}

int machine_slot_create(struct machine_vm *vm, const struct machine_slot *s)
{
	struct machine_view *next = view_next(vm);

	BUG_ON(next->count == MACHINE_SLOTS);
	next->slot[next->count++] = *s;
	view_change(vm);
	return view_changed(vm, memslot_create(&vm->mmu, s->id, GFN(s->base), s->pages,
					       s->object->gmem, s->first, s->flags));
}

int machine_slot_delete(struct machine_vm *vm, u32 id)
{
	struct machine_view *next = view_next(vm);
	struct machine_slot *s = find_id(next, id);

	*s = next->slot[--next->count];
	view_change(vm);
	return view_changed(vm, memslot_delete(&vm->mmu, id));
}

/* The slots hold the last references to the object now, and free it with the deletion. */
int machine_slot_delete_last(struct machine_vm *vm, u32 id)
{
	struct machine_object *o = find_id((struct machine_view *)machine_slots(vm), id)->object;
	struct gmem *gmem = o->gmem;
	int err;

	machine_object_free(o);
	err = machine_slot_delete(vm, id);
	if (!err)
		return 0;
	gmem_ref(gmem);
	relaxed_set(&o->gmem, gmem);
	return err;
}

int machine_slot_move(struct machine_vm *vm, u32 id, u64 base)
{
	struct machine_view *next = view_next(vm);

	find_id(next, id)->base = base;
	view_change(vm);
	return view_changed(vm, memslot_move(&vm->mmu, id, GFN(base)));
}

int machine_slot_flags(struct machine_vm *vm, u32 id, u32 flags)
{
	struct machine_view *next = view_next(vm);

	find_id(next, id)->flags = flags;
	view_change(vm);
	return view_changed(vm, memslot_set_flags(&vm->mmu, id, flags));
}

void slots_vanish(struct machine_vm *vm)
{
	view_next(vm)->count = 0;
	view_change(vm);
}

void slots_vanished(struct machine_vm *vm)
{
	view_changed(vm, 0);
}

bool machine_take(u64 *word)
{
	u64 value = relaxed(word);

	return !(value & 1) && __atomic_compare_exchange_n(word, &value, value + 1, false,
							   __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void machine_give(u64 *word)
{
	barrier();
	relaxed_add(word, 1);
}

bool machine_drop_begins(struct machine_page *page)
{
	if (!machine_take(&page->moves))
		return false;
	relaxed_add(&page->drops, 1);
	barrier();
	return true;
}

void machine_drop_ended(struct machine_page *page, bool dropped)
{
	barrier();
	if (dropped)
		relaxed_set(&page->low, ((relaxed(&page->low) >> 32) + 1) << 32);
	relaxed_add(&page->drops, 1);
	machine_give(&page->moves);
}

int machine_may_fail(int err, int allowed)
{
	if (err && err != allowed && !(err == ERR_NOMEM && (machine.failing || machine.reclaims)))
		machine_fail("%s", error_name(err));
	return err;
}

/* --- what an access may meet ----------------------------------------------------------------- */

MODEL static void add_candidate(struct window *w, const struct machine_slot *s, u64 gfn, bool early)
{
	struct candidate *c = &w->candidate[w->count];
	u64 index = s->first + (gfn - s->base);

	for (u32 i = 0; i < w->count; i++) {
		const struct candidate *old = &w->candidate[i];

		if (old->page == &s->object->page[index] && old->slot.flags == s->flags)
			return;
	}
	if (w->count == CANDIDATES_MAX) {
		w->lost = true;
		return;
	}
	w->count++;
	c->slot = *s;
	c->index = index;
	c->page = &s->object->page[index];
	c->early = early;
	c->moves = relaxed(&c->page->moves);
	c->drops = relaxed(&c->page->drops);
	c->low = relaxed(&c->page->low);
	c->unreadable = relaxed(&c->page->unreadable);
	barrier();
	c->taken = peek_taken(s->object);
	barrier();
	c->entry = peek_entry(s->object, index);
}

MODEL static void look_at_view(const struct machine_vm *vm, struct window *w, u64 n, u64 gfn,
			       bool early)
{
	const struct machine_view *v = view_of(vm, n);
	bool found = false, writable = false;

	for (u32 i = 0; i < v->count; i++) {
		struct machine_slot s = v->slot[i];

		if (gfn - s.base >= s.pages)
			continue;
		found = true;
		writable = !(s.flags & MEMSLOT_READONLY);
		add_candidate(w, &s, gfn, early);
	}
	w->always &= found;
	w->writable &= writable;
}

void window_open(const struct machine_vm *vm, struct window *w, u64 gfn)
{
	*w = (struct window){.always = true, .writable = true};
	if (gfn - vm->guard_base < MACHINE_GUARDS) {
		w->guard = &vm->guard[gfn - vm->guard_base];
		w->guarded = relaxed(w->guard);
	}
	w->from = relaxed(&vm->version);
	barrier();
	for (u64 n = w->from / 2; n <= (w->from + 1) / 2; n++)
		look_at_view(vm, w, n, gfn, true);
}

void window_close(const struct machine_vm *vm, struct window *w, u64 gfn)
{
	barrier();
	w->to = relaxed(&vm->version);
	if (w->to - w->from > VIEWS_SEEN_MAX)
		w->lost = true;
	for (u64 n = (w->from + 1) / 2 + 1; !w->lost && n <= (w->to + 1) / 2; n++)
		look_at_view(vm, w, n, gfn, false);
}

bool always_open(const struct window *w)
{
	return !w->guard || (w->guarded % 4 == 0 && relaxed(w->guard) == w->guarded);
}

bool always_guarded(const struct window *w)
{
	return w->guard && w->guarded % 4 == 2 && relaxed(w->guard) == w->guarded;
}

/* --- judging --------------------------------------------------------------------------------- */

/* Writes that are in no page's `high` yet. */
static u64 writes_unsettled;

static u64 object_number(const struct machine_object *o)
{
	return (u64)(o - machine.object);
}

u64 stamp_of(const struct candidate *c)
{
	/* One that the entry of a FILLED page can tell; no count comes from one to another. */
	if (machine.alike)
		return 0x57ull << 40 | c->index % machine.alike << 32;
	return 0x57a3ull << 48 | object_number(c->slot.object) << 32 | c->index;
}

/* A page that its stamp was all over counts from there (machine_fill). */
static u64 count_of(const struct candidate *c, u64 count)
{
	return machine.alike && count != COUNT_UNKNOWN && count >= stamp_of(c) ? count - stamp_of(c)
									       : count;
}

static bool is_resident(u64 entry)
{
	return gmem_entry_state(entry) == GMEM_GOT_PAGE || gmem_entry_state(entry) == GMEM_SHARED;
}

/*
 * Nobody moves the page, but a write may bring it out of a frame that it has with others. Then the
 * count tells who reads there still; and no write goes there.
 */
static bool may_have_left(const struct candidate *c, u32 access, u64 now, const pfn_t *pfn)
{
	if (!machine.alike || now == ENTRY_UNKNOWN)
		return false;
	if (access & MMU_WRITE)
		return gmem_entry_state(now) == GMEM_GOT_PAGE && gmem_entry_pfn(now).v == pfn->v;
	return gmem_entry_state(now) == GMEM_BUSY ||
	       gmem_entry_state(now) != gmem_entry_state(c->entry) ||
	       gmem_entry_pfn(now).v != gmem_entry_pfn(c->entry).v;
}

/*
 * Where anybody may take pages the frame is only known of a page that was resident all the time: it was
 * at both ends of the access, in the same frame, and no page of its object was put away in between.
 */
static bool may_have_gone(const struct candidate *c)
{
	u64 now = peek_entry(c->slot.object, c->index);

	barrier();
	return machine.reclaims && (!is_resident(c->entry) || now == ENTRY_UNKNOWN ||
				    gmem_entry_state(now) != gmem_entry_state(c->entry) ||
				    gmem_entry_pfn(now).v != gmem_entry_pfn(c->entry).v ||
				    peek_taken(c->slot.object) != c->taken);
}

/* NULL, or why what was found is not this page. pfn: NULL where it is not known. */
static const char *misfit(const struct candidate *c, u32 access, const pfn_t *pfn, u64 stamp,
			  u64 count)
{
	u64 now = pfn ? peek_entry(c->slot.object, c->index) : ENTRY_UNKNOWN;
	u64 entry = c->entry, unsettled;
	bool still, kept;

	/* In this order: nobody moved the page before the look at where it is now. */
	barrier();
	still = c->early && !(c->moves & 1) && relaxed(&c->page->moves) == c->moves;
	kept = c->early && !(c->drops & 1) && relaxed(&c->page->drops) == c->drops;
	if ((access & MMU_WRITE) && (c->slot.flags & MEMSLOT_READONLY))
		return "it is read-only";
	if (c->unreadable)
		return "it is lost";
	if (stamp && stamp != stamp_of(c))
		return "it has another stamp";
	if (count == COUNT_UNKNOWN)
		return NULL;
	count = count_of(c, count);
	if (kept && relaxed(&c->page->low) >> 32 == c->low >> 32 && count < (c->low & LOW_COUNT))
		return "writes are lost";
	/* In this order: a write is in the one until it is in the other. */
	unsettled = relaxed(&writes_unsettled);
	barrier();
	if (count > relaxed(&c->page->high) + unsettled)
		return "it was never written so often";
	if (!pfn || !still || !kept || may_have_gone(c))
		return NULL;
	if (entry != ENTRY_UNKNOWN && !is_resident(entry))
		entry = now;
	if (entry == ENTRY_UNKNOWN)
		return NULL;
	if (may_have_left(c, access, now, pfn))
		return NULL;
	if (!is_resident(entry))
		return "it is not resident";
	if ((access & MMU_WRITE) && gmem_entry_state(entry) == GMEM_SHARED)
		return "it is shared";
	return gmem_entry_pfn(entry).v == pfn->v ? NULL : "it is in another frame";
}

const struct candidate *judge(const struct window *w, u64 gfn, u32 access, const pfn_t *pfn,
			      u64 stamp, u64 count)
{
	const struct candidate *fit = NULL;
	const char *why = "no slot shows it";
	u32 fits = 0;

	if ((access & MMU_WRITE) && always_guarded(w))
		machine_fail("gfn %#llx was written and is protected", (unsigned long long)gfn);
	for (u32 i = 0; i < w->count; i++) {
		const char *not = misfit(&w->candidate[i], access, pfn, stamp, count);

		if (not ) {
			why = not ;
			continue;
		}
		fits += !fit || fit->page != w->candidate[i].page;
		fit = &w->candidate[i];
	}
	if (!fits && !w->lost)
		machine_fail(
			"access %u at gfn %#llx found stamp %#llx, count %llu, in frame %#llx, "
			"between versions %llu and %llu: %s",
			access, (unsigned long long)gfn, (unsigned long long)stamp,
			(unsigned long long)count, pfn ? (unsigned long long)pfn->v : 0ull,
			(unsigned long long)w->from, (unsigned long long)w->to, why);
	return fits == 1 && !w->lost ? fit : NULL;
}

void judge_lost(const struct window *w, u64 gfn, int err)
{
	for (u32 i = 0; i < w->count; i++) {
		if (relaxed(&w->candidate[i].page->unreadable))
			return;
	}
	if (!w->lost)
		machine_fail("gfn %#llx is not lost: %s", (unsigned long long)gfn, error_name(err));
}

void write_begins(void)
{
	relaxed_add(&writes_unsettled, 1);
}

static void settle(const struct window *w, const struct candidate *to)
{
	u64 low;

	for (u32 i = 0; i < w->count; i++) {
		if (!to || &w->candidate[i] == to)
			relaxed_add(&w->candidate[i].page->high, 1);
	}
	if (!to || !to->early || (to->drops & 1) || relaxed(&to->page->drops) != to->drops)
		return;
	low = relaxed(&to->page->low);
	while (low >> 32 == to->low >> 32 &&
	       !__atomic_compare_exchange_n(&to->page->low, &low, low + 1, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
}

void write_ended(const struct window *w, const struct candidate *to)
{
	settle(w, to);
	relaxed_add(&writes_unsettled, -1ull);
}

void write_never(void)
{
	relaxed_add(&writes_unsettled, -1ull);
}

MODEL u64 pick_gfn(const struct machine_vm *vm, u64 *random)
{
	const struct machine_view *v = machine_slots(vm);
	const struct machine_slot *s;
	u64 pages;

	if (v->count == 0 || random_one_in(random, 16))
		return random_below(random, 0x800);
	/* Often the one slot that this run is about. */
	s = &v->slot[random_below(random, 3) ? machine.hot_slot % v->count
					     : random_below(random, v->count)];
	pages = s->pages ? s->pages : 1;
	if (random_below(random, 4))
		return s->base + machine_hot_page(random) % pages;
	/* One page below and above too. */
	return s->base - 1 + random_below(random, (u32)pages + 2);
}

u64 machine_hot_page(u64 *random)
{
	return random_below(random, machine.hot_pages) * HOT_STRIDE;
}

/* --- at the end ------------------------------------------------------------------------------ */

static void check_page(const struct machine_object *o, u64 index)
{
	const struct machine_page *p = &o->page[index];
	u64 entry = gmem_entry(o->gmem, index), stamp = 0, count = 0;
	struct candidate c = {.slot.object = (struct machine_object *)o, .index = index};

	if (is_resident(entry) || tier_has(entry)) {
		u64 unpacked[PAGE_SIZE / sizeof(u64)];
		const u64 *word = unpacked;

		if (gmem_entry_state(entry) == GMEM_SWAPPED) {
			word = (u64 *)(void *)fake_disk_block(entry >> GMEM_PFN_SHIFT);
		} else if (tier_has(entry)) {
			tier_get(entry, unpacked);
		} else {
			word = pfn_to_virt(gmem_entry_pfn(entry));
			fake_check_frame(gmem_entry_pfn(entry), "page");
		}
		stamp = relaxed(&word[PAGE_STAMP]);
		count = count_of(&c, relaxed(&word[PAGE_COUNT]));
	}
	if ((stamp && stamp != stamp_of(&c)) || count < (p->low & LOW_COUNT) || count > p->high)
		machine_fail(
			"page %llu of object %llu holds stamp %#llx, count %llu of %llu to %llu",
			(unsigned long long)index, (unsigned long long)object_number(o),
			(unsigned long long)stamp, (unsigned long long)count,
			(unsigned long long)(p->low & LOW_COUNT), (unsigned long long)p->high);
}

void machine_check_contents(void)
{
	/* What is on its way to the disk gets there. */
	while (fake_disk_do(NULL))
		;
	for (u32 i = 0; i < machine.objects; i++) {
		const struct machine_object *o = &machine.object[i];

		for (u64 index = 0; o->gmem && index < o->pages; index++)
			check_page(o, index);
	}
}
