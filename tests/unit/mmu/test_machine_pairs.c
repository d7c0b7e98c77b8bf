/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * Two operations on the same page of a VM at once, one of them stopped at some point for all of the
 * other: what a race needs besides luck. Then both CPUs use the pages, with what they cached before,
 * and the dirty log has what was written.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "smp/cpu.h"
#include "tests/hosted/machine/machine.h"

#define RAM_PAGES 8
#define BIG_PAGES 512

enum {
	RAM = 1,
	ALIAS, /* the same pages, across the edge of a table */
	BIG,   /* 2 MiB in one piece */
};

#define RAM_BASE   0x400ull
#define ALIAS_BASE 0x5feull
#define BIG_BASE   0x1000ull
#define X	   1 /* the page that all are at */
#define BIG_X	   3

/* What the run begins with. */
enum {
	WARM = 1,   /* both CPUs have mapped and cached the pages */
	LOGGED = 2, /* all slots keep a dirty log */
	PIECES = 4, /* what is mapped by 2 MiB are pages of 4 KiB */
	VARIANTS = 8,
};

static struct machine_object *ram, *big;
static struct copy {
	u32 slot;
	u64 base, pages;
	u64 *count;
} copies[] = {{.slot = RAM, .base = RAM_BASE, .pages = RAM_PAGES},
	      {.slot = ALIAS, .base = ALIAS_BASE, .pages = 4},
	      {.slot = BIG, .base = BIG_BASE, .pages = BIG_PAGES}};
static u64 ram_copy[RAM_PAGES], big_copy[BIG_PAGES];
static bool logged, pieces;

static struct machine_vm *vm(void)
{
	return &machine.vm[0];
}

static const struct machine_slot *find(u32 id)
{
	const struct machine_view *v = machine_slots(vm());

	for (u32 i = 0; i < v->count; i++) {
		if (v->slot[i].id == id)
			return &v->slot[i];
	}
	return NULL;
}

/* --- the dirty log --------------------------------------------------------------------------- */

static u64 count_of(const struct copy *c, u64 page)
{
	gpa_t gpa = GPA(((c->base + page) << PAGE_SHIFT) + MACHINE_COUNT_AT);
	u64 count = 0;

	/* Without the slot the copy is of no use any more. */
	while (machine_may_fail(gpa_read(&vm()->mmu, gpa, &count, sizeof(count)), ERR_NOSLOT) ==
	       ERR_NOMEM)
		;
	return count;
}

static void take_log(struct copy *c)
{
	u64 bitmap[BIG_PAGES / 64];

	if (mmu_dirty_get_and_clear(&vm()->mmu, c->slot, bitmap, ARRAY_SIZE(bitmap)))
		return;
	for (u64 i = 0; i < c->pages; i++) {
		if (bitmap[i / 64] & BIT(i % 64))
			c->count[i] = count_of(c, i);
	}
}

/* Whoever does it, one at a time: the copy is one. */
static void take_logs(void)
{
	static bool busy; /* atomic */

	if (__atomic_exchange_n(&busy, true, __ATOMIC_ACQUIRE))
		return;
	for (u32 i = 0; i < ARRAY_SIZE(copies); i++)
		take_log(&copies[i]);
	__atomic_store_n(&busy, false, __ATOMIC_RELEASE);
}

/* All slots are where they were and keep a log since the copy was made. */
static bool copy_counts(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(copies); i++) {
		const struct machine_slot *s = find(copies[i].slot);

		if (!s || s->base != copies[i].base || !(s->flags & MEMSLOT_LOG_DIRTY))
			return false;
	}
	return logged;
}

static void check_log(void)
{
	if (!copy_counts())
		return;
	take_logs();
	for (u32 i = 0; i < ARRAY_SIZE(copies); i++) {
		const struct copy *c = &copies[i];

		for (u64 page = 0; page < c->pages; page++) {
			if (c->count[page] != count_of(c, page))
				machine_fail("R21: page %llu of slot %u was written %llu times, "
					     "and copied after %llu",
					     (unsigned long long)page, c->slot,
					     (unsigned long long)count_of(c, page),
					     (unsigned long long)c->count[page]);
		}
	}
}

/* --- a run's beginning and end --------------------------------------------------------------- */

static void set_up(u32 variant)
{
	u32 flags = variant & LOGGED ? MEMSLOT_LOG_DIRTY : 0;
	struct machine_slot slots[] = {{RAM_BASE, RAM_PAGES, 0, RAM, flags, NULL},
				       {ALIAS_BASE, 4, 0, ALIAS, flags, NULL},
				       {BIG_BASE, BIG_PAGES, 0, BIG, flags, NULL}};

	ram = machine_object_new(RAM_PAGES, 0);
	pieces = variant & PIECES;
	big = machine_object_new(BIG_PAGES, pieces ? 0 : GMEM_LARGE_ORDER);
	for (u64 i = 0; pieces && i < BIG_PAGES; i++) {
		pfn_t pfn;

		machine_may_fail(gmem_get_page(big->gmem, i, true, &pfn), 0);
	}
	slots[0].object = slots[1].object = ram;
	slots[2].object = big;
	for (u32 i = 0; i < ARRAY_SIZE(slots); i++)
		machine_may_fail(machine_slot_create(vm(), &slots[i]), 0);
	vm()->guard_base = RAM_BASE;
	memset(ram_copy, 0, sizeof(ram_copy));
	memset(big_copy, 0, sizeof(big_copy));
	copies[0].count = copies[1].count = ram_copy;
	copies[2].count = big_copy;
	logged = flags;
}

static void use_pages(struct mmu_vcpu *v, u32 access)
{
	machine_access(vm(), v, RAM_BASE + X, access);
	machine_access(vm(), v, RAM_BASE + X + 1, access);
	machine_access(vm(), v, ALIAS_BASE + X, access);
	machine_access(vm(), v, BIG_BASE + BIG_X, access);
}

static void prepare(struct mmu_vcpu *v, u32 variant)
{
	if (variant & WARM)
		use_pages(v, MMU_WRITE);
}

static void look(struct mmu_vcpu *v)
{
	use_pages(v, MMU_READ);
	use_pages(v, MMU_WRITE);
	machine_access(vm(), v, RAM_BASE, MMU_READ);
	machine_access(vm(), v, BIG_BASE + BIG_X + 1, MMU_WRITE);
}

/* --- operations ------------------------------------------------------------------------------ */

static void read_page(struct mmu_vcpu *v)
{
	machine_access(vm(), v, RAM_BASE + X, MMU_READ);
}

static void write_page(struct mmu_vcpu *v)
{
	machine_access(vm(), v, RAM_BASE + X, MMU_WRITE);
}

static void write_neighbour(struct mmu_vcpu *v)
{
	machine_access(vm(), v, RAM_BASE + X + 1, MMU_WRITE);
}

static void write_alias(struct mmu_vcpu *v)
{
	machine_access(vm(), v, ALIAS_BASE + X, MMU_WRITE);
}

static void write_big(struct mmu_vcpu *v)
{
	machine_access(vm(), v, BIG_BASE + BIG_X, MMU_WRITE);
}

static void read_big(struct mmu_vcpu *v)
{
	machine_access(vm(), v, BIG_BASE + BIG_X, MMU_READ);
}

static void device_write(struct mmu_vcpu *v)
{
	machine_device_access(vm(), RAM_BASE + X, true, false);
}

static void device_read(struct mmu_vcpu *v)
{
	machine_device_access(vm(), RAM_BASE + X, false, true);
}

static void reclaim(struct mmu_vcpu *v)
{
	machine_reclaim_pages(ram, X, 1);
}

static void reclaim_all(struct mmu_vcpu *v)
{
	machine_reclaim_pages(ram, 0, RAM_PAGES);
}

/* A dropped page has a count that the copy does not know; its log says so too, by another way. */
static void drop(struct mmu_vcpu *v)
{
	logged = false;
	machine_drop_page(ram, X);
}

static void age(struct mmu_vcpu *v)
{
	gmem_age(ram->gmem, 0, RAM_PAGES);
}

static void age_big(struct mmu_vcpu *v)
{
	gmem_age(big->gmem, 0, 16);
}

static void test_young(struct mmu_vcpu *v)
{
	gmem_test_young(ram->gmem, X, 1);
}

static void read_log(struct mmu_vcpu *v)
{
	take_logs();
}

/* A slot that goes takes its pages' protection along, and what is on its way to it. */
#define GUARD_UNKNOWN 0x10001ull

static void forget_guards(void)
{
	for (u32 i = 0; i < MACHINE_GUARDS; i++)
		__atomic_store_n(&vm()->guard[i], GUARD_UNKNOWN, __ATOMIC_RELAXED);
}

static void protect(bool on)
{
	u64 *guard = &vm()->guard[X], taken, then, done;
	int err;

	if (!machine_take(guard))
		return;
	taken = __atomic_load_n(guard, __ATOMIC_RELAXED);
	err = mmu_range_protect(&vm()->mmu, GFN(RAM_BASE + X), 1, on, &done);
	if (err != ERR_NOSLOT && err != ERR_AGAIN)
		machine_may_fail(err, 0);
	then = taken + (((taken + 1) % 4 == 2) == (on && !err) ? 1 : 3);
	__atomic_compare_exchange_n(guard, &taken, then, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void protect_page(struct mmu_vcpu *v)
{
	protect(true);
}

static void protect_and_release(struct mmu_vcpu *v)
{
	protect(true);
	protect(false);
}

/* A large mapping is split, and may come back. */
static void protect_big(struct mmu_vcpu *v)
{
	u64 done;

	mmu_range_protect(&vm()->mmu, GFN(BIG_BASE + 100), 1, true, &done);
}

static void split_and_collapse(struct mmu_vcpu *v)
{
	u64 done;

	mmu_range_protect(&vm()->mmu, GFN(BIG_BASE + 200), 2, true, &done);
	mmu_range_protect(&vm()->mmu, GFN(BIG_BASE + 200), 2, false, &done);
}

/* With pages of 2 MiB the first two of these leave them alone. */
static void reclaim_in_big(struct mmu_vcpu *v)
{
	machine_reclaim_pages(big, BIG_X, 2);
}

static void put_away_in_big(struct mmu_vcpu *v)
{
	machine_put_away_pages(big, BIG_X, 4, ~0ull);
}

static void drop_in_big(struct mmu_vcpu *v)
{
	if (!pieces)
		return;
	logged = false;
	machine_drop_page(big, BIG_X);
}

static void split_for_age(struct mmu_vcpu *v)
{
	gmem_split(big->gmem, 0, BIG_PAGES);
}

static void join_by_age(struct mmu_vcpu *v)
{
	gmem_split(big->gmem, 0, BIG_PAGES);
	gmem_join(big->gmem, 0, BIG_PAGES);
}

static void pin_and_unpin(struct mmu_vcpu *v)
{
	u64 done;

	mmu_range_get(v, GFN(RAM_BASE + X), 1, true, true, &done);
	mmu_range_unpin(&vm()->mmu, GFN(RAM_BASE + X), 1, &done);
}

/* The slots have one writer at a time, in the model; the second finds it busy and does nothing. */
static bool writer_busy; /* atomic */

static bool begin_change(void)
{
	return !__atomic_exchange_n(&writer_busy, true, __ATOMIC_ACQUIRE);
}

static void end_change(void)
{
	__atomic_store_n(&writer_busy, false, __ATOMIC_RELEASE);
}

static void delete_slot(struct mmu_vcpu *v)
{
	if (!begin_change())
		return;
	logged = false;
	forget_guards();
	if (find(RAM))
		machine_may_fail(machine_slot_delete(vm(), RAM), 0);
	end_change();
}

static void replace_slot(struct mmu_vcpu *v)
{
	struct machine_slot s;

	if (!begin_change())
		return;
	logged = false;
	forget_guards();
	if (find(RAM)) {
		s = *find(RAM);
		if (!machine_may_fail(machine_slot_delete(vm(), RAM), 0))
			machine_may_fail(machine_slot_create(vm(), &s), 0);
	}
	end_change();
}

static void move_slot(struct mmu_vcpu *v)
{
	if (!begin_change())
		return;
	logged = false;
	forget_guards();
	if (find(RAM))
		machine_may_fail(machine_slot_move(vm(), RAM, RAM_BASE + 1), 0);
	end_change();
}

static void set_flags(u32 id, u32 flags)
{
	if (!begin_change())
		return;
	if (find(id))
		machine_may_fail(machine_slot_flags(vm(), id, flags), 0);
	end_change();
}

static void make_readonly(struct mmu_vcpu *v)
{
	logged = false;
	set_flags(RAM, MEMSLOT_READONLY);
}

static void begin_log(struct mmu_vcpu *v)
{
	set_flags(RAM, MEMSLOT_LOG_DIRTY);
	set_flags(BIG, MEMSLOT_LOG_DIRTY);
}

static void end_log(struct mmu_vcpu *v)
{
	logged = false;
	set_flags(RAM, 0);
	set_flags(BIG, 0);
}

static const struct machine_operation operations[] = {
	{"a read", read_page},
	{"a write", write_page},
	{"a write beside it", write_neighbour},
	{"a write by the alias", write_alias},
	{"a read of the large page", read_big},
	{"a write of the large page", write_big},
	{"a device's write", device_write},
	{"a device's read", device_read},
	{"reclaim", reclaim},
	{"reclaim of all", reclaim_all},
	{"dropping", drop},
	{"aging", age},
	{"aging of the large page", age_big},
	{"a look at its age", test_young},
	{"reading the log", read_log},
	{"protection", protect_page},
	{"protection and release", protect_and_release},
	{"protection in the large page", protect_big},
	{"a split and a collapse", split_and_collapse},
	{"reclaim in the large page", reclaim_in_big},
	{"putting away in the large page", put_away_in_big},
	{"dropping in the large page", drop_in_big},
	{"a split for aging", split_for_age},
	{"a join by aging", join_by_age},
	{"a pin", pin_and_unpin},
	{"deletion of the slot", delete_slot},
	{"replacement of the slot", replace_slot},
	{"a move of the slot", move_slot},
	{"the slot made read-only", make_readonly},
	{"a log that begins", begin_log},
	{"a log that ends", end_log},
};

/* What most of the races in docs/testing.md are between. */
static const struct machine_pair known[] = {
	{"a write", "reclaim"},
	{"a write", "dropping"},
	{"a write by the alias", "reclaim of all"},
	{"a write", "reading the log"},
	{"a write", "a log that begins"},
	{"a write", "protection"},
	{"a write", "replacement of the slot"},
	{"a device's write", "a move of the slot"},
	{"a write of the large page", "a log that begins"},
	{"a write of the large page", "a join by aging"},
	{"a read of the large page", "reclaim in the large page"},
	{"a split for aging", "putting away in the large page"},
};

static const struct machine_pairs pairs = {
	.name = "pairs",
	.memory = MIB(8),
	.logs = true,
	.variants = VARIANTS,
	.set_up = set_up,
	.prepare = prepare,
	.operations = operations,
	.count = ARRAY_SIZE(operations),
	.known = known,
	.known_count = ARRAY_SIZE(known),
	.look = look,
	.check = check_log,
};

static void one_operation_within_another(void **state)
{
	machine_pairs(&pairs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_operation_within_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
