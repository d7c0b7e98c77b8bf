/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine tests/unit/mmu/spare_slot.c tests/unit/mmu/table_write.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Guests with page tables of their own, on CPUs without EPT. Their vCPUs change the entries of tables
 * that all of them use, in two modes and by two ways of which one gives no right to write; the writes
 * come to the live table, or to Weir. Meanwhile pages and tables are moved and put away, aged, and a slot
 * comes, moves and goes that one of the tables is in, and a page that another shows. Some entries
 * map pages of 2 MiB, or tables in them that show the same; these move as a whole, and have a log
 * for a while. What a CPU finds is held against what the entries said at some moment since its vCPU
 * flushed them last (MOV to CR3, INVLPG, a page fault of its own); what it is refused, against what
 * they said at some moment of the access. R01 to R03, R05, R06, R13, R15, R18, R19, R22, R25.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mem/gmem_private.h"
#include "tests/hosted/machine/machine.h"
#include "tests/hosted/points_off.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mmu/spare_slot.h"
#include "tests/unit/mmu/table_write.h"

#define relaxed(p)	  __atomic_load_n((p), __ATOMIC_RELAXED)
#define relaxed_set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

#define RAM_BASE    0x400u
#define RAM_PAGES   100u
#define TABLE_BASE  0x600u
#define TABLE_PAGES 100u
#define TABLES_USED 16u
#define SHOWN	    40u /* pages of RAM that entries lead to */
#define BIG_BASE    0x800u
#define BIGS	    2u /* regions of 2 MiB */
#define BIG_ID	    4u
#define BIG_TABLE \
	100u /* page of the first: a table that shows its region; the next shows the other */

/* Tables, by their page. Entries 0 and 1 are where the machine has a stamp and a count. */
enum {
	TOP,	  /* PML4 */
	TOP_READ, /* one that gives no right to write */
	MIDDLE,	  /* PDPT */
	DIRECTORY,
	TABLES,		    /* the first of those with entries under test */
	ALIAS = TABLES + 3, /* shows the tables */
	EMPTY,		    /* PML4 of who uses none of them */
};
#define UNDER_TEST  3u /* tables */
#define ENTRIES	    6u /* of each */
#define FIRST	    2u
#define FIRST_BIG   (UNDER_TEST + 1) /* after them in the directory, and the alias: pages of 2 MiB */
#define VIA_SPARE   (FIRST_BIG + BIGS) /* in the directory: the table in the spare slot */
#define SHOWS_SPARE 30u		       /* entry of the first table: the page in that slot */
#define NAMES	    (RAM_PAGES + BIGS * ENTRIES)
#define SPARE_NAME  (NAMES + 1)
#define STAY_POINTS 400	 /* in the guest, with a large page */
#define COUNTER	    500u /* an entry that is not present, in which all vCPUs count */

#define P	 1ull
#define W	 2ull
#define U	 4ull
#define ACCESSED 0x20ull
#define DIRTY	 0x40ull
#define LARGE	 0x80ull
#define XD	 BIT(63)
#define MARKS	 (ACCESSED | DIRTY)
#define ALL	 (P | W | U)

/* Where a page says which it is, and how often it was written. */
#define NAME_AT	 64
#define COUNT_AT 128

/* What an entry was at some time: values[n % HISTORY] from version 2n on. */
#define HISTORY 16
struct entry {
	u64 version; /* odd: on its way to the next */
	u64 value[HISTORY];
	bool taken;
};
static struct entry entries[UNDER_TEST][ENTRIES], big_entries[BIGS];
/* The version that each vCPU has flushed to: older values it may not meet. Its own. */
static u64 flushed[MACHINE_VCPUS][UNDER_TEST][ENTRIES];
static u64 written[NAMES]; /* times */
static u64 counted;
static struct machine_object *ram, *tables, *big;
static u64 randoms[MACHINE_VCPUS];
/*
 * The run is about all alike, or mostly about pages of 2 MiB, or tables that vCPUs write
 * themselves.
 */
static enum {
	MIXED,
	BIG,
	WRITTEN
} about;

struct access {
	struct machine_vm *vm;
	struct mmu_vcpu *v;
	u64 *random;
	struct entry *entry;
	u32 table, place;
	bool user, may_write;
	u32 access;
	u64 from;  /* version as the access began, */
	u64 since; /* and as it was flushed last */
	u64 name;
};

static u64 table_gpa(u32 table, u32 place)
{
	return ((u64)(TABLE_BASE + table) << PAGE_SHIFT) + 8ull * place;
}

static u64 gva_of(const struct machine_linear *l, u32 table, u32 place)
{
	u64 gva = (u64)FIRST << 30 | (u64)(FIRST + table) << 21 | (u64)place << 12;

	return l->paging.efer & EFER_LMA ? gva | (u64)FIRST << 39 : gva;
}

static void put(struct machine_vm *vm, u64 gpa, u64 value)
{
	int err;

	do {
		err = gpa_write(&vm->mmu, GPA(gpa), &value, sizeof(value));
	} while (err == ERR_NOMEM);
	if (err)
		machine_fail("gpa %#llx: %s", (unsigned long long)gpa, error_name(err));
}

static u64 table_entry(u32 table)
{
	return table_gpa(table, 0) | ALL | MARKS;
}

static u64 random_entry(u64 *random)
{
	u64 e = ((u64)RAM_BASE + FIRST + random_below(random, SHOWN)) << PAGE_SHIFT;

	e |= random_one_in(random, 8) ? 0 : P;
	e |= random_one_in(random, 4) ? 0 : W;
	e |= random_one_in(random, 4) ? 0 : U;
	e |= random_one_in(random, 6) ? XD : 0;
	e |= random_one_in(random, 4) ? MARKS : 0;
	return e;
}

/* Shows one of the regions: in one piece, or by the table for it. */
static u64 random_big_entry(u64 *random)
{
	u64 region = random_below(random, BIGS);
	u64 to = random_one_in(random, 4) ? BIG_BASE + BIG_TABLE + region
					  : BIG_BASE + region * GMEM_LARGE_PAGES;
	u64 rights = random_entry(random) & (ALL | MARKS | XD);

	return to << PAGE_SHIFT | rights | (to % GMEM_LARGE_PAGES ? 0 : LARGE);
}

static u64 region_of(u64 e)
{
	u64 page = ((e & ~XD) >> PAGE_SHIFT) - BIG_BASE;

	return e & LARGE ? page / GMEM_LARGE_PAGES : page - BIG_TABLE;
}

static u64 gpa_of_big(u64 region, u32 place)
{
	return (BIG_BASE + region * GMEM_LARGE_PAGES + FIRST + place) << PAGE_SHIFT;
}

static void set_up_big(struct machine_vm *vm, u64 *random)
{
	big = machine_object_new(BIGS * GMEM_LARGE_PAGES, GMEM_LARGE_ORDER);
	machine_may_fail(machine_slot_create(vm, &(struct machine_slot){BIG_BASE, big->pages, 0,
									BIG_ID, 0, big}),
			 0);
	for (u32 r = 0; r < BIGS; r++) {
		for (u32 i = 0; i < ENTRIES; i++) {
			u64 gpa = gpa_of_big(r, i);

			put(vm, gpa | NAME_AT, RAM_PAGES + r * ENTRIES + i + 1);
			put(vm, (BIG_BASE + BIG_TABLE + r) << PAGE_SHIFT | (FIRST + i) * 8,
			    gpa | ALL | MARKS);
		}
		big_entries[r].value[0] = random_big_entry(random);
		put(vm, table_gpa(DIRECTORY, FIRST + FIRST_BIG + r), big_entries[r].value[0]);
	}
}

/* The slot has a table that leads out of it and into it, and a page that is shown from outside, too. */
static void set_up_spare(struct machine_vm *vm)
{
	spare_slot_start(vm);
	put(vm, SPARE_PAGE | NAME_AT, SPARE_NAME);
	put(vm, SPARE_TABLE + 8ull * FIRST, (RAM_BASE + FIRST) << PAGE_SHIFT | ALL | MARKS);
	put(vm, SPARE_TABLE + 8ull * (FIRST + 1), SPARE_PAGE | ALL | MARKS);
	put(vm, table_gpa(DIRECTORY, FIRST + VIA_SPARE), SPARE_TABLE | ALL | MARKS);
	put(vm, table_gpa(TABLES, SHOWS_SPARE), SPARE_PAGE | ALL | MARKS);
}

static void set_up(u64 *random)
{
	struct machine_vm *vm = &machine.vm[0];

	ram = machine_object_new(RAM_PAGES, 0);
	tables = machine_object_new(TABLE_PAGES, 0);
	machine_may_fail(
		machine_slot_create(vm, &(struct machine_slot){RAM_BASE, RAM_PAGES, 0, 1, 0, ram}),
		0);
	machine_may_fail(machine_slot_create(vm, &(struct machine_slot){TABLE_BASE, TABLE_PAGES, 0,
									2, 0, tables}),
			 0);
	for (u64 i = 0; i < RAM_PAGES; i++)
		put(vm, (RAM_BASE + i) << PAGE_SHIFT | NAME_AT, i + 1);
	put(vm, table_gpa(TOP, FIRST), table_entry(MIDDLE));
	put(vm, table_gpa(TOP_READ, FIRST), table_entry(MIDDLE) & ~W);
	put(vm, table_gpa(MIDDLE, FIRST), table_entry(DIRECTORY));
	for (u32 t = 0; t <= UNDER_TEST; t++)
		put(vm, table_gpa(DIRECTORY, FIRST + t), table_entry(TABLES + t));
	for (u32 t = 0; t < TABLES_USED; t++)
		put(vm, table_gpa(ALIAS, FIRST + t), table_entry(t));
	for (u32 t = 0; t < UNDER_TEST; t++) {
		for (u32 i = 0; i < ENTRIES; i++) {
			entries[t][i].value[0] = random_entry(random);
			put(vm, table_gpa(TABLES + t, FIRST + i), entries[t][i].value[0]);
		}
	}
	set_up_big(vm, random);
	set_up_spare(vm);
	/* Half of the runs: what is stale too long is met by few of the others. */
	about = min(random_below(random, 4), (u32)WRITTEN);
	for (u32 i = 0; i < MACHINE_VCPUS; i++)
		randoms[i] = random_next(random);
}

/* --- What an access may find ----------------------------------------------------------------- */

static bool is_big(const struct access *a)
{
	return a->table >= FIRST_BIG;
}

/* Where the entry under test lies: table and place. */
static u32 entry_table(const struct access *a)
{
	return is_big(a) ? (u32)DIRECTORY : TABLES + a->table;
}

static u32 entry_place(const struct access *a)
{
	return FIRST + (is_big(a) ? a->table : a->place);
}

static bool allows(const struct access *a, u64 e)
{
	if (!(e & P) || (a->user && !(e & U)))
		return false;
	if ((a->access & MMU_WRITE) && !(e & W))
		return false;
	if (a->access & MMU_WRITE)
		return a->may_write;
	return !(a->access & MMU_EXEC) || !(e & XD);
}

/* Of a table of the last level; the others are never out of step. NULL: none. */
static u64 *flushed_of(const struct access *a)
{
	return is_big(a) ? NULL : &flushed[a->v - a->vm->vcpu][a->table][a->place];
}

/*
 * Whether the entry had a value since the window opened for which want(a, e); and, in *all, whether
 * each was one. Too many to know: true, and not all.
 */
static bool any_of(const struct access *a, u64 from, bool (*want)(const struct access *a, u64 e),
		   bool *all)
{
	u64 first = from / 2, last = (relaxed(&a->entry->version) + 1) / 2;
	bool any = false;

	*all = true;
	if (last - first >= HISTORY - 2) {
		*all = false;
		return true;
	}
	for (u64 n = first; n <= last; n++) {
		bool is = want(a, relaxed(&a->entry->value[n % HISTORY]));

		any |= is;
		*all &= is;
	}
	return any;
}

static bool leads_to(const struct access *a, u64 e)
{
	u64 name = ((e & ~XD) >> PAGE_SHIFT) - RAM_BASE;

	if (is_big(a))
		name = RAM_PAGES + region_of(e) * ENTRIES + a->place;
	return allows(a, e) && name == a->name - 1;
}

static void in_page(void *arg, u8 *at)
{
	struct access *a = arg;

	a->name = relaxed((u64 *)(void *)(at + NAME_AT));
	/* Who moves it has much to do before its frames are free. */
	for (u32 i = 0; is_big(a) && i < STAY_POINTS; i++)
		hosted_point();
	if (!(a->access & MMU_WRITE))
		return;
	__atomic_fetch_add((u64 *)(void *)(at + COUNT_AT), 1, __ATOMIC_RELAXED);
	if (a->name && a->name <= NAMES)
		__atomic_fetch_add(&written[a->name - 1], 1, __ATOMIC_RELAXED);
}

/* Nobody has changed the entry since: it has the marks of the access. */
static void check_marks(const struct access *a)
{
	u64 gpa = table_gpa(entry_table(a), entry_place(a)), e, want = ACCESSED;

	/* Otherwise it may have used an older one. */
	if ((a->from & 1) || a->since != a->from)
		return;
	if (gpa_read(&a->vm->mmu, GPA(gpa), &e, 8))
		return;
	/* Of a table nothing is written. */
	if ((a->access & MMU_WRITE) && (!is_big(a) || (e & LARGE)))
		want |= DIRTY;
	if (relaxed(&a->entry->version) == a->from && (e & want) != want)
		machine_fail("an entry that was used is %#llx", (unsigned long long)e);
}

static void access_once(struct access *a)
{
	struct machine_touch t = {
		.gva = gva_of(&a->vm->linear[a->v - a->vm->vcpu], a->table, FIRST + a->place),
		.access = a->access,
		.fn = in_page,
		.arg = a,
	};
	bool all, any;
	int err;

	a->from = relaxed(&a->entry->version);
	a->since = flushed_of(a) ? *flushed_of(a) : a->from;
	err = machine_linear_touch(a->vm, a->v, &t);
	switch (err) {
	case 0:
		if (!any_of(a, a->since, leads_to, &all))
			machine_fail("gva %#llx led to page %lld, or with rights that it has not",
				     (unsigned long long)t.gva, (long long)a->name - 1);
		check_marks(a);
		__atomic_fetch_add(&machine.accesses, 1, __ATOMIC_RELAXED);
		return;
	case ERR_FAULT:
		any = any_of(a, a->from, allows, &all);
		if (any && all)
			machine_fail("gva %#llx was refused", (unsigned long long)t.gva);
		if (flushed_of(a))
			*flushed_of(a) = a->from;
		__atomic_fetch_add(&machine.accesses, 1, __ATOMIC_RELAXED);
		return;
	case ERR_NOMEM:
		if (machine.failing)
			return;
	}
	machine_fail("gva %#llx: %s", (unsigned long long)t.gva, error_name(err));
}

static bool has_name(const void *arg)
{
	const struct access *a = arg;

	return a->name == a->from;
}

/* By the table in the slot that comes and goes, or to the page. `from` is the name that it has. */
static void meet_spare(struct access *a)
{
	u32 way = random_below(a->random, 3), place = way == 2 ? SHOWS_SPARE : FIRST + way;
	struct machine_touch t = {.access = MMU_READ, .fn = in_page, .arg = a};

	a->table = way == 2 ? 0 : VIA_SPARE;
	a->access = MMU_READ;
	a->from = way ? SPARE_NAME : FIRST + 1;
	t.gva = gva_of(&a->vm->linear[a->v - a->vm->vcpu], a->table, place);
	spare_slot_meet(a->vm, a->v, &t, has_name);
}

/* --- What a vCPU does to its tables ---------------------------------------------------------- */

/* True: it is done. */
static bool write_entry(const struct access *a, u32 table, u32 place, struct table_write *w)
{
	w->gpa = table_gpa(table, place);
	w->gva = gva_of(&a->vm->linear[a->v - a->vm->vcpu], UNDER_TEST, FIRST + table) +
		 8ull * place;
	return table_write(a->vm, a->v, w);
}

static void change_entry(struct access *a)
{
	struct table_write w = {.how = about == WRITTEN ? STORED : random_below(a->random, 3)};
	struct entry *e = a->entry;
	u64 n, before;

	if (__atomic_exchange_n(&e->taken, true, __ATOMIC_ACQUIRE))
		return;
	w.value = is_big(a) ? random_big_entry(a->random) : random_entry(a->random);
	n = relaxed(&e->version) / 2;
	before = relaxed(&e->value[n % HISTORY]);
	relaxed_set(&e->value[(n + 1) % HISTORY], w.value);
	__atomic_fetch_add(&e->version, 1, __ATOMIC_SEQ_CST);
	if (!write_entry(a, entry_table(a), entry_place(a), &w))
		relaxed_set(&e->value[(n + 1) % HISTORY], before);
	__atomic_fetch_add(&e->version, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&e->taken, false, __ATOMIC_RELEASE);
}

static void count(struct access *a)
{
	struct table_write w = {.add = 2};
	u32 table = TABLES + a->table % UNDER_TEST;

	if (write_entry(a, table, COUNTER, &w))
		__atomic_fetch_add(&counted, w.add, __ATOMIC_RELAXED);
}

/* --- A turn ---------------------------------------------------------------------------------- */

/* What the entries were before is met no more. */
static bool load(struct access *a, const struct guest_paging *p)
{
	u64 version[UNDER_TEST][ENTRIES];

	for (u32 t = 0; t < UNDER_TEST; t++) {
		for (u32 i = 0; i < ENTRIES; i++)
			version[t][i] = relaxed(&entries[t][i].version);
	}
	if (!machine_linear_load(a->vm, a->v, p))
		return false;
	memcpy(flushed[a->v - a->vm->vcpu], version, sizeof(version));
	return true;
}

/* It is at a tree that leads to the entries under test. */
static bool has_space(const struct guest_paging *p)
{
	return (p->cr0 & CR0_PG) && p->cr3 != table_gpa(EMPTY, 0);
}

static bool switch_space(struct access *a)
{
	const struct guest_paging *now = &a->vm->linear[a->v - a->vm->vcpu].paging;
	struct guest_paging p = {
		.cr0 = CR0_PE | CR0_PG | CR0_WP,
		.cr4 = CR4_PAE,
		.efer = EFER_NXE,
		.maxphyaddr = 46,
	};

	/* For a moment it is at no table that others write. */
	if (random_one_in(a->random, 4)) {
		struct guest_paging other = p;

		other.efer |= EFER_LME | EFER_LMA;
		other.cr3 = table_gpa(EMPTY, 0);
		if (!machine_linear_load(a->vm, a->v, &other))
			return false;
	}
	/* The value that it has is a flush, too. */
	if (has_space(now) && random_one_in(a->random, 2))
		return load(a, now);
	if (random_one_in(a->random, 3)) {
		p.pdpte[FIRST] = table_gpa(DIRECTORY, 0) | P;
	} else {
		p.efer |= EFER_LME | EFER_LMA;
		p.cr3 = table_gpa(random_below(a->random, 2) ? TOP : TOP_READ, 0);
	}
	return load(a, &p);
}

static void drop_address(struct access *a)
{
	const struct machine_linear *l = &a->vm->linear[a->v - a->vm->vcpu];
	u64 version = relaxed(&a->entry->version);

	machine_linear_invlpg(a->vm, a->v, gva_of(l, a->table, FIRST + a->place));
	if (flushed_of(a))
		*flushed_of(a) = version;
}

/* In a row, so that the table is the guest's to write after some. */
static void change_table(struct access *a)
{
	for (u32 n = 0; n < ENTRIES; n++) {
		a->place = random_below(a->random, ENTRIES);
		a->entry = is_big(a) ? a->entry : &entries[a->table][a->place];
		change_entry(a);
	}
}

/* Often of the table that was met last. */
static void pick_entry(struct access *a)
{
	if (random_one_in(a->random, about == WRITTEN ? 16 : 4) ||
	    (about == BIG && !random_one_in(a->random, 6)))
		a->table = FIRST_BIG + random_below(a->random, BIGS);
	else if (random_below(a->random, 2) || is_big(a))
		a->table = random_below(a->random, UNDER_TEST);
	a->place = random_below(a->random, ENTRIES);
	a->entry = is_big(a) ? &big_entries[a->table - FIRST_BIG] : &entries[a->table][a->place];
}

/* In place of accesses without paging. */
static bool turn(struct machine_vm *vm, struct mmu_vcpu *v)
{
	const struct guest_paging *p = &vm->linear[v - vm->vcpu].paging;
	struct access a = {.vm = vm, .v = v, .random = &randoms[v - vm->vcpu]};

	for (u32 n = 0; n < 8; n++) {
		/* Without memory it may be left at no table. */
		if ((!has_space(p) || random_one_in(a.random, 12)) && !switch_space(&a) &&
		    !has_space(p))
			return false;
		pick_entry(&a);
		/* What is mapped large is to stay so for a while. */
		if (random_one_in(a.random, is_big(&a) || about == WRITTEN ? 10 : 3)) {
			change_entry(&a);
		} else if (!is_big(&a) && random_one_in(a.random, about == WRITTEN ? 3 : 12)) {
			change_table(&a);
		} else if (random_one_in(a.random, 10)) {
			count(&a);
		} else if (random_one_in(a.random, 4)) {
			meet_spare(&a);
		} else {
			if (random_one_in(a.random, 3))
				drop_address(&a);
			a.access = MMU_READ << random_below(a.random, 3);
			a.user = random_below(a.random, 2);
			/* A mode without the bits of a top table, or the one that has the right. */
			a.may_write = !(p->efer & EFER_LMA) || p->cr3 == table_gpa(TOP, 0);
			machine_linear_user(vm, v, a.user);
			access_once(&a);
		}
	}
	return false;
}

/* --- Others ---------------------------------------------------------------------------------- */

/* Few at a time: an access needs five of them at once. */
static void put_away(u64 *random)
{
	struct machine_object *o = random_one_in(random, 3) ? tables : ram;

	machine_put_away_pages(o, random_below(random, SHOWN), 4, 1 + random_below(random, 3));
}

static void age(u64 *random)
{
	machine_age(random_one_in(random, 3) ? big : ram, random);
}

/* Goes to other frames as a whole; where it was nobody may look any more. */
static void move_big(u64 *random)
{
	u64 first = random_below(random, BIGS) * GMEM_LARGE_PAGES, e;
	u64 *entry = gmem_entry_find(big->gmem, first);
	pfn_t old, pfn;

	gmem_invalidate_begin(big->gmem, first, GMEM_LARGE_PAGES);
	if (gmem_claim_entry(big->gmem, first, entry, &e) == 0) {
		gmem_unmap(big->gmem, first, GMEM_LARGE_PAGES);
		old = gmem_entry_pfn(e);
		if (frame_alloc(GMEM_LARGE_ORDER, 0, &pfn) == 0) {
			memcpy(pfn_to_virt(pfn), pfn_to_virt(old), MIB(2));
			memset(pfn_to_virt(old), 0xee, MIB(2));
			frame_free(old, GMEM_LARGE_ORDER);
			e = pfn.v << GMEM_PFN_SHIFT | (e & (PAGE_SIZE - 1));
		}
		gmem_settle_entry(big->gmem, first, entry, e);
		wait_wake_all(&big->gmem->busy);
	}
	gmem_invalidate_end(big->gmem, first, GMEM_LARGE_PAGES);
}

/* Or a part of it is looked for alone, and then it may be in one piece again. */
static void change_big(u64 *random)
{
	u64 page = random_below(random, (u32)big->pages);

	if (about != BIG && random_below(random, 2))
		return;
	if (random_below(random, 3))
		move_big(random);
	else if (random_below(random, 2))
		gmem_join(big->gmem, align_down(page, GMEM_LARGE_PAGES), GMEM_LARGE_PAGES);
	else
		mmu_unmap(&machine.vm[0].mmu, GFN(BIG_BASE + page), 1);
}

/* The tables' own slot stays. Or large pages have a log, or are none. */
static void change_slots(u64 *random)
{
	static const u32 flags[] = {0, 0, 0, MEMSLOT_LOG_DIRTY, MEMSLOT_NO_LARGE};
	int err;

	if (random_below(random, 4) > 1 || (about != MIXED && !random_one_in(random, 8)))
		return;
	if (random_below(random, 2)) {
		err = machine_slot_flags(&machine.vm[0], BIG_ID,
					 flags[random_below(random, ARRAY_SIZE(flags))]);
		machine_may_fail(err, ERR_NOMEM);
		return;
	}
	spare_slot_change(&machine.vm[0], random);
}

static u64 word_of(u64 gpa)
{
	u64 value = 0;

	if (gpa_read(&machine.vm[0].mmu, GPA(gpa), &value, 8))
		machine_fail("gpa %#llx cannot be read", (unsigned long long)gpa);
	return value;
}

static void check_entry(const struct entry *e, u32 table, u32 place)
{
	u64 is = word_of(table_gpa(table, place));

	if ((is ^ e->value[e->version / 2 % HISTORY]) & ~MARKS)
		machine_fail("entry %u of table %u is %#llx", place, table, (unsigned long long)is);
}

/* No write was lost; each entry is as the last who changed it left it. */
static void check(void)
{
	const char *fault = mmu_audit(&machine.vm[0].mmu);
	u64 sum = 0;

	if (fault)
		machine_fail("%s", fault);
	for (u32 i = 0; i < NAMES; i++) {
		u64 gpa = i < RAM_PAGES ? (u64)(RAM_BASE + i) << PAGE_SHIFT
					: gpa_of_big((i - RAM_PAGES) / ENTRIES,
						     (i - RAM_PAGES) % ENTRIES);

		if (word_of(gpa | COUNT_AT) != written[i])
			machine_fail("page %u was written %llu times", i,
				     (unsigned long long)written[i]);
	}
	for (u32 t = 0; t < UNDER_TEST; t++) {
		sum += word_of(table_gpa(TABLES + t, COUNTER));
		for (u32 i = 0; i < ENTRIES; i++)
			check_entry(&entries[t][i], TABLES + t, FIRST + i);
	}
	for (u32 r = 0; r < BIGS; r++)
		check_entry(&big_entries[r], DIRECTORY, FIRST + FIRST_BIG + r);
	if (sum != counted)
		machine_fail("R03: %llu was counted, and %llu is there",
			     (unsigned long long)counted, (unsigned long long)sum);
}

static const struct machine_scenario scenario = {
	.name = "shadow",
	.memory = MIB(32),
	.vms = 1,
	.guests = 3,
	.accesses = 250,
	.rounds = 40,
	.linear = true,
	.meets = {.large = 10, .split = 2, .collapsed = 2},
	.set_up = set_up,
	.before_entry = turn,
	.jobs = {{"put away", put_away},
		 {"age", age},
		 {"slots", change_slots},
		 {"large", change_big}},
	.tear_down = check,
};

static void guests_with_tables(void **state)
{
	(void)state;
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_with_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
