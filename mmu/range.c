/* SPDX-License-Identifier: MIT */
/*
 * What a guest asks for its own memory (docs/hypercalls.md): get, give back, protect, look at a
 * range of pages. Nothing a guest can pass makes it long or leaves half a page done.
 */
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mem/watermark.h"
#include "mmu/shadow_private.h"

/* Races that one page may lose before the guest is told to come again. */
#define TRIES 8

bool mmu_range_valid(gfn_t gfn, u64 pages)
{
	return pages && pages <= MMU_RANGE_MAX && gfn.v < mmu_gfn_end() &&
	       pages <= mmu_gfn_end() - gfn.v;
}

static int check_range(gfn_t gfn, u64 pages, u64 *done)
{
	*done = 0;
	return mmu_range_valid(gfn, pages) ? 0 : ERR_RANGE;
}

static void lock_word(u64 *word, bool *on)
{
	*on = irq_save();
	rmap_lock(word);
}

static void unlock_word(u64 *word, bool on)
{
	rmap_unlock(word);
	irq_restore(on);
}

/* Sets or clears a flag of the word; whether that changed it. */
static bool change_flag(u64 *word, u64 flag, bool set)
{
	bool on, was;

	lock_word(word, &on);
	was = __atomic_load_n(word, __ATOMIC_RELAXED) & flag;
	if (was != set)
		rmap_flag(word, set ? flag : 0, set ? 0 : flag);
	unlock_word(word, on);
	return was != set;
}

/* The guest's own memory: what Weir shows it for its own purposes is a device's. In a reader. */
static int look_up(struct mmu_vm *vm, gfn_t gfn, const struct memslot **s)
{
	u64 generation;
	int err = memslot_look_up(vm, gfn, false, s, &generation);

	return !err && ((*s)->flags & MEMSLOT_PRIVATE) ? ERR_NOSLOT : err;
}

/* --- Pins: one for each gfn of a slot, however often it is asked for --- */

static int pin_in_slot(const struct memslot *s, gfn_t gfn, bool write)
{
	u64 index = memslot_index(s, gfn);
	pfn_t pfn;
	int err;

	if (rmap_has_flag(s, gfn, RMAP_PINNED))
		return 0;
	err = rmap_prepare(s, gfn);
	if (!err)
		err = gmem_pin(s->object, index, write, &pfn);
	if (!err && !change_flag(rmap_word(s, gfn), RMAP_PINNED, true))
		gmem_unpin(s->object, index, pfn, false); /* another vCPU was first */
	return err;
}

/* Dirty: the guest may have written it by a mapping at any time since (R37). */
static void unpin_in_slot(const struct memslot *s, gfn_t gfn)
{
	u64 *word = rmap_word(s, gfn);
	u64 index = memslot_index(s, gfn);
	pfn_t pfn;

	if (!word || !change_flag(word, RMAP_PINNED, false))
		return;
	/* It is resident as long as it is pinned. */
	if (gmem_lookup(s->object, index, false, &pfn) == 0)
		gmem_unpin(s->object, index, pfn, !(s->flags & MEMSLOT_READONLY));
}

void mmu_unpin_slot(struct mmu_vm *vm, const struct memslot *s)
{
	(void)vm;
	for (u64 i = 0; i < s->pages; i++) {
		gfn_t gfn = GFN(s->base.v + i);

		if (!rmap_word(s, gfn))
			i |= RMAP_CHUNK_WORDS - 1; /* on to the next chunk */
		else if (rmap_has_flag(s, gfn, RMAP_PINNED))
			unpin_in_slot(s, gfn);
	}
}

/* --- Get --- */

/*
 * Whether it is one that can be got, and the pin if one is to be. A fault would tell, too, that it
 * is protected, but none with shadow paging, where it maps nothing.
 */
static int look(struct mmu_vm *vm, gfn_t gfn, bool write, bool pin)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s;
	int err = look_up(vm, gfn, &s);

	if (!err && write &&
	    ((s->flags & MEMSLOT_READONLY) || rmap_has_flag(s, gfn, RMAP_PROTECTED)))
		err = ERR_PERM;
	if (!err && pin)
		err = pin_in_slot(s, gfn, write);
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

/* In thread context it is only a glance. */
static bool is_mapped(struct mmu_vm *vm, gfn_t gfn, u32 access)
{
	const struct page_table_level *l;
	u32 level;
	bool on;
	u64 e;

	/* Which of its tables would show it is known only at an address of the guest's. */
	if (vm->shadow)
		return true;
	on = irq_save();
	rcu_read_lock();
	(void)page_table_find(vm->format, vm->root, gfn_to_gpa(gfn).v, &level, &e);
	rcu_read_unlock();
	irq_restore(on);
	l = &vm->format->level[level];
	return l->present(e) && (l->access(e) & access);
}

/* The pin comes last: a page that is not got has none. */
static int get_one(struct mmu_vcpu *v, gfn_t gfn, bool write, bool pin)
{
	u32 access = write ? MMU_WRITE : MMU_READ;
	int err = look(v->vm, gfn, write, false);

	for (u32 i = 0; !err && i < TRIES; i++) {
		err = mmu_fault_slow(v, gfn_to_gpa(gfn), access);
		if (!err && pin)
			err = look(v->vm, gfn, write, true);
		if (!err && is_mapped(v->vm, gfn, access))
			return 0;
	}
	return err ? err : ERR_AGAIN;
}

int mmu_range_get(struct mmu_vcpu *v, gfn_t gfn, u64 pages, bool write, bool pin, u64 *done)
{
	int err = check_range(gfn, pages, done);

	for (; !err && *done < pages; *done += !err)
		err = get_one(v, GFN(gfn.v + *done), write, pin);
	return err;
}

static int unpin_one(struct mmu_vm *vm, gfn_t gfn)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s;
	int err = look_up(vm, gfn, &s);

	if (!err)
		unpin_in_slot(s, gfn);
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

int mmu_range_unpin(struct mmu_vm *vm, gfn_t gfn, u64 pages, u64 *done)
{
	int err = check_range(gfn, pages, done);

	for (; !err && *done < pages; *done += !err)
		err = unpin_one(vm, GFN(gfn.v + *done));
	return err;
}

/* --- Give back --- */

/*
 * How many pages from gfn on, at most n, one slot shows and nothing protects. A page of 2 MiB that
 * is protected in part is protected.
 */
static int run_to_drop(const struct memslot *s, gfn_t gfn, u64 n, u64 *run)
{
	if (s->flags & MEMSLOT_READONLY)
		return ERR_PERM;
	n = min(n, s->base.v + s->pages - gfn.v);
	for (*run = 0; *run < n; (*run)++) {
		if (rmap_has_flag(s, GFN(gfn.v + *run), RMAP_PROTECTED))
			break;
	}
	if (*run < n)
		*run -= min(*run, (memslot_index(s, gfn) + *run) % BIT(s->object->order));
	return *run ? 0 : ERR_PERM;
}

/* The object is the caller's to give back. */
static int look_for_drop(struct mmu_vm *vm, gfn_t gfn, u64 n, struct gmem **object, u64 *index,
			 u64 *run)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s;
	int err = look_up(vm, gfn, &s);

	if (!err)
		err = run_to_drop(s, gfn, n, run);
	if (!err) {
		*object = s->object;
		*index = memslot_index(s, gfn);
		gmem_ref(s->object);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

/* In the log of every slot that shows them, wherever it is by now (R21). */
static void note_dropped(struct mmu_vm *vm, const struct gmem *object, u64 index, u64 pages)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslots *slots = memslots_get(vm);

	for (u32 i = 0; i < slots->count; i++) {
		const struct memslot *s = &slots->slots[i];
		u64 from = max(index, s->first), to = min(index + pages, s->first + s->pages);

		for (u64 at = from; s->object == object && at < to; at++) {
			gfn_t gfn = GFN(s->base.v + (at - s->first));

			mmu_dirty_note(vm, s, gfn);
			if (vm->shadow)
				shadow_written(vm, s, gfn_to_gpa(gfn), PAGE_SIZE);
		}
	}
	srcu_read_unlock(&vm->srcu, reader);
}

int mmu_range_drop(struct mmu_vm *vm, gfn_t gfn, u64 pages, u64 *done)
{
	int err = check_range(gfn, pages, done);

	while (!err && *done < pages) {
		gfn_t at = GFN(gfn.v + *done);
		u64 index, run, dropped = 0;
		struct gmem *object;

		err = look_for_drop(vm, at, pages - *done, &object, &index, &run);
		if (err)
			break;
		/* Outside the reader, for it waits for whoever is changing a page. */
		err = gmem_drop_range(object, index, run, &dropped);
		note_dropped(vm, object, index, dropped);
		gmem_unref(object);
		*done += dropped;
	}
	return err;
}

/* --- Protect --- */

/* A guest may protect all that it never touched: below the min watermark it gets no words for that. */
static int prepare(const struct memslot *s, gfn_t gfn)
{
	return rmap_word(s, gfn) || gmem_admits_table(s->object) ? rmap_prepare(s, gfn) : ERR_NOMEM;
}

/* Nor a table for each 2 MiB that are mapped as one: they stay so. The region counts as small. */
static bool may_split(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn)
{
	return vm->shadow || !rmap_in_use(rmap_large_word(s, gfn), 0) ||
	       gmem_admits_table(s->object);
}

/* Pages of one region and one slot. The region counts as small before anything is looked at. */
static int protect_run(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 run, bool on)
{
	u32 *small = rmap_small_count(s, gfn);
	u64 changed;
	int err = 0;

	for (u64 i = 0; on && !err && i < run; i++)
		err = prepare(s, GFN(gfn.v + i));
	if (err)
		return err;
	if (on)
		__atomic_fetch_add(small, (u32)run, __ATOMIC_SEQ_CST);
	if (on && !may_split(vm, s, gfn)) {
		__atomic_fetch_sub(small, (u32)run, __ATOMIC_SEQ_CST);
		return ERR_NOMEM;
	}
	changed = mmu_sweep(vm, s, gfn, run, on ? SWEEP_GUARD : SWEEP_UNGUARD);
	__atomic_fetch_sub(small, (u32)(on ? run - changed : changed), __ATOMIC_SEQ_CST);
	if (!on)
		mmu_collapse(vm, s, gfn);
	return 0;
}

/*
 * Weir writes through a pin without a look at the protection: it takes none, and none is made where
 * one is. The lock keeps others from pinning between the look for them and the protection.
 */
static int protect_unpinned(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn, u64 *run)
{
	int err;

	mutex_lock(&vm->pins_lock);
	*run = mmu_pins_before(vm, gfn, *run);
	err = *run ? protect_run(vm, s, gfn, *run, true) : ERR_BUSY;
	mutex_unlock(&vm->pins_lock);
	return err;
}

int mmu_range_protect(struct mmu_vm *vm, gfn_t gfn, u64 pages, bool on, u64 *done)
{
	int err = check_range(gfn, pages, done);

	while (!err && *done < pages) {
		gfn_t at = GFN(gfn.v + *done);
		u32 reader = srcu_read_lock(&vm->srcu);
		const struct memslot *s;
		u64 run = 0;

		err = look_up(vm, at, &s);
		if (!err) {
			run = min(pages - *done, s->base.v + s->pages - at.v);
			run = min(run, LARGE_PAGES - at.v % LARGE_PAGES);
			err = on ? protect_unpinned(vm, s, at, &run)
				 : protect_run(vm, s, at, run, false);
		}
		srcu_read_unlock(&vm->srcu, reader);
		if (!err)
			*done += run;
	}
	/*
	 * Weir's own writes look at the protection in a reader and end within it (access.c): what
	 * looked before it was there has been written when this returns.
	 */
	if (on && *done)
		srcu_synchronize(&vm->srcu);
	return err;
}

/* --- Look --- */

static void tell_access(u32 access, struct mmu_page_state *out)
{
	out->mapped |= !!access;
	out->writable |= !!(access & MMU_WRITE);
	out->accessed |= !!(access & PAGE_TABLE_ACCESSED);
	out->dirty |= !!(access & PAGE_TABLE_DIRTY);
}

/* All of them together: a page has one for each of the guest's addresses for it. */
static bool look_at_chain(struct mmu_vm *vm, u64 *word, u32 level, struct mmu_page_state *out)
{
	struct rmap_cursor at;
	bool on, any;
	u64 *spte;

	if (!word)
		return false;
	on = irq_save();
	rmap_lock(word);
	any = !rmap_empty(word);
	rmap_for_each (spte, word, &at)
		tell_access(vm->format->level[level].access(page_table_read(spte)), out);
	rmap_unlock(word);
	irq_restore(on);
	return any;
}

static void look_at_shadow(struct mmu_vm *vm, const struct memslot *s, gfn_t gfn,
			   struct mmu_page_state *out)
{
	(void)look_at_chain(vm, rmap_word(s, gfn), small_level(vm), out);
	out->large = look_at_chain(vm, rmap_large_word(s, gfn), large_level(vm), out);
}

static void look_at_spte(struct mmu_vm *vm, gfn_t gfn, struct mmu_page_state *out)
{
	const struct page_table_level *l;
	bool on = irq_save();
	u32 level;
	u64 e;

	rcu_read_lock();
	(void)page_table_find(vm->format, vm->root, gfn_to_gpa(gfn).v, &level, &e);
	rcu_read_unlock();
	irq_restore(on);
	l = &vm->format->level[level];
	if (!l->present(e))
		return;
	tell_access(l->access(e), out);
	out->large = level != small_level(vm);
}

int mmu_page_state(struct mmu_vm *vm, gfn_t gfn, struct mmu_page_state *out)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s;
	int err = look_up(vm, gfn, &s);

	*out = (struct mmu_page_state){0};
	if (!err) {
		out->state = gmem_entry_state(gmem_entry(s->object, memslot_index(s, gfn)));
		out->order = s->object->order;
		out->stays = gmem_stays(s->object, memslot_index(s, gfn));
		out->readonly = s->flags & MEMSLOT_READONLY;
		out->pinned = rmap_has_flag(s, gfn, RMAP_PINNED);
		out->protected = rmap_has_flag(s, gfn, RMAP_PROTECTED);
		if (vm->shadow)
			look_at_shadow(vm, s, gfn, out);
		else
			look_at_spte(vm, gfn, out);
	}
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}
