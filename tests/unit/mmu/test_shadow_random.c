/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c */
/* unit-libs: -Wl,--wrap=rmap_prepare */
/*
 * A guest with shadow paging that changes its tables, its mode and its memory at random, on a CPU that
 * walks nothing but what Weir made. Whatever that lets through has to be what the guest's own tables
 * say at the moment, and what they say has to get through. Some of its memory is a page of 2 MiB, which
 * it maps in all sizes and has tables in. Where it writes a table itself it flushes before what it
 * finds is compared, by INVLPG or as MOV to CR3 does; or it does not, and nothing is said of what
 * it finds but that it writes no table that it is not to write. Now and then another vCPU changes
 * something between a fault's walk of the guest's tables and its linking (R01, R02, R05, R25), or
 * takes pages (R08): the fault's rmap_prepare goes through this test. A fault that sleeps under
 * mmu_lock panics (R06), a translation that should be gone is used (R13), and the audit finds a
 * leaf without its place in the chain (R22).
 */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/unit/mmu/fixture.h"
#include "tests/unit/mmu/shadow_cpu.h"

#define RAM_PAGES 64
#define TABLES	  12  /* few, so that tables are shared and recycled */
#define LAST	  5   /* of these some are mostly of the last level, from this one on */
#define BIG	  512 /* gfn of memory that is one large page */
#define BIG_USED  8   /* pages of it, for few are met again */
#define STEPS	  60000
#define TRIES	  12

enum race {
	RACE_TABLES,
	RACE_LET_WRITE,
	RACE_ZAP,
	RACE_DROP,
	RACE_DROP_BIG,
	RACE_ENTRY,
	RACES
};
static const char *const race_names[RACES] = {"tables", "let_write", "zap",
					      "drop",	"drop_big",  "entry"};

static bool racing;	   /* a fault is on its way, */
static u64 racing_gva;	   /* at this address */
static u32 prepared;	   /* words were, so often since it began */
static enum race race_met; /* RACES: none */
static u64 raced[RACES];   /* so many faults met each, */
static u64 retried[RACES]; /* and so many of them had to come again */

static struct gmem *ram, *big;
static struct guest_paging p;
static u64 seed;
static u64 mapped, refused, emulated, devices, large;
static u64 let_go, synced, unflushed, by_invlpg;
static bool stale; /* a table was written by the guest itself since it flushed */

static u64 rnd(void)
{
	return random_next(&seed);
}

static bool once_in(u32 n)
{
	return rnd() % n == 0;
}

/* For an entry of this shift. */
static u64 random_table(u32 shift)
{
	if (once_in(40))
		return (BIG + rnd() % 2) << 12;
	if (once_in(6))
		return rnd() % TABLES << 12;
	if (shift == 21 || shift == 22)
		return (LAST + rnd() % (TABLES - LAST)) << 12;
	return rnd() % LAST << 12;
}

/* Few addresses, so that most are met again. */
static u64 random_gva(void)
{
	u64 gva = (rnd() % 3 << 12) | (rnd() % 3 << 21) | (rnd() % 3 << 30) | (rnd() & 0xff8);

	if (p.efer & EFER_LMA)
		return gva | rnd() % 2 << 39;
	if (p.cr0 & CR0_PG)
		return gva;
	return (once_in(2) ? rnd() % RAM_PAGES : BIG + rnd() % BIG_USED) << 12 | (gva & 0xfff);
}

static u64 random_entry(u32 shift)
{
	u64 e = rnd() & 0xe00;

	e |= once_in(12) ? 0 : 1;
	e |= once_in(4) ? 0 : 2;
	e |= once_in(4) ? 0 : 4;
	e |= once_in(3) ? 0x20 : 0;
	e |= once_in(3) ? 0x40 : 0;
	if (p.cr4 & CR4_PAE)
		e |= once_in(8) ? BIT(63) : 0;
	if (shift > 12 && shift < 39 && once_in(5)) /* the page at 0, or the one after it */
		return e | 0x80 | (shift == 21 && once_in(2) ? BIG << 12 : 0);
	if (shift == 12 && once_in(4))
		return e | (BIG + rnd() % BIG_USED) << 12;
	return e | (shift == 12 ? rnd() % (RAM_PAGES + 2) << 12 : random_table(shift));
}

static void put(u64 gpa, u64 value, u32 width)
{
	(void)gpa_write(&vm, GPA(gpa), &value, width);
}

/* Entries for one address, in tables that may be in use already. */
static void make_way(u64 gva)
{
	u32 shift = p.efer & EFER_LMA ? 39 : p.cr4 & CR4_PAE ? 21 : 22;
	u64 table = p.cr3 & ~0xfffull;

	if (!(p.cr0 & CR0_PG))
		return;
	if (shift == 21)
		table = p.pdpte[gva >> 30 & 3] & ~0xfffull;
	for (;;) {
		u64 e = random_entry(shift);

		if (p.cr4 & CR4_PAE)
			put(table + 8 * (gva >> shift & 0x1ff), e, 8);
		else
			put(table + 4 * (gva >> shift & 0x3ff), e, 4);
		if (shift == 12 || (e & 0x80))
			return;
		table = e & 0x7fffffffff000ull;
		shift -= p.cr4 & CR4_PAE ? 9 : 10;
	}
}

static void flush_all(void)
{
	assert_int_equal(mmu_shadow_load(&vcpu, &p), 0);
	shadow_cpu_forget();
	stale = false;
}

static void change_mode(void)
{
	p.cr0 = CR0_PE | CR0_PG | (once_in(3) ? 0 : CR0_WP);
	p.cr4 = (once_in(3) ? CR4_SMEP : 0) | (once_in(3) ? CR4_SMAP : 0);
	p.efer = once_in(3) ? 0 : EFER_NXE;
	p.cr3 = random_table(48);
	switch (rnd() % 5) {
	case 0:
		p.cr0 = CR0_PE;
		break;
	case 1:
		p.cr4 |= once_in(3) ? 0 : CR4_PSE;
		break;
	case 2:
		p.cr4 |= CR4_PAE;
		for (u32 i = 0; i < 4; i++)
			p.pdpte[i] = random_table(30) | (once_in(6) ? 0 : 1);
		break;
	default:
		p.cr4 |= CR4_PAE;
		p.efer |= EFER_LME | EFER_LMA;
	}
	flush_all();
}

/* What the CPU let through is what the guest's tables say, with their marks set. */
static void check_access(u64 gva, u32 access, u64 at)
{
	struct walk_result w;
	struct walk_trace t;
	const struct memslot *s;
	pfn_t pfn;
	u64 index;

	assert_int_equal(guest_walk_trace(&vm, &p, GVA(gva), access | WALK_NO_AD, &w, &t), 0);
	s = memslot_find(vm.slots, gpa_to_gfn(w.gpa));
	assert_non_null(s);
	index = s->first + (w.gpa.v >> 12) - s->base.v;
	assert_int_equal(gmem_lookup(s->object, index, false, &pfn), 0);
	assert_int_equal(at, pfn_to_hpa(pfn).v | (gva & 0xfff));
	for (u32 i = 0; i < t.count; i++) {
		assert_true(t.entry[i] & 0x20);
		if (i + 1 == t.count && (access & MMU_WRITE))
			assert_true(t.entry[i] & 0x40);
	}
	mapped++;
}

/* A write that Weir does for the guest. */
static void emulate(u64 gva, gpa_t gpa)
{
	u32 width = p.cr4 & CR4_PAE ? 8 : 4;
	u64 value = once_in(6) ? rnd() : random_entry(12 + 9 * (u32)(rnd() % 3));

	assert_true(rmap_word(memslot_find(vm.slots, gpa_to_gfn(gpa)), gpa_to_gfn(gpa)) != NULL);
	put(once_in(9) ? gpa.v : gpa.v & ~7ull, value, once_in(9) ? 2 : width);
	emulated++;
}

static void write_page(const struct memslot *s, u64 index)
{
	const u64 *word = rmap_word(s, GFN(s->base.v + index));

	/* A table in use is written by Weir alone, or it is out of step. */
	assert_int_not_equal(*word & (RMAP_TABLE | RMAP_UNSYNC), RMAP_TABLE);
	stale |= *word & RMAP_UNSYNC;
}

static void native_write(u64 at)
{
	u64 value = once_in(4) ? rnd() : random_entry(12), frame = at >> 12;
	pfn_t pfn;

	for (u64 i = 0; i < RAM_PAGES; i++) {
		if (gmem_lookup(ram, i, false, &pfn) == 0 && pfn.v == frame)
			write_page(&vm.slots->slots[0], i);
	}
	if (gmem_lookup(big, 0, false, &pfn) == 0 && frame - pfn.v < LARGE_PAGES)
		write_page(&vm.slots->slots[1], frame - pfn.v);
	memcpy(hosted_arena + (at & ~7ull), &value, 8);
}

/* Whether it has flushed the address. */
static bool flush_some(u64 gva)
{
	if (!stale)
		return true;
	switch (rnd() % 4) {
	case 0:
		unflushed++;
		return false;
	case 1:
		flush_all();
		return true;
	default:
		if (mmu_shadow_invlpg(&vcpu, GVA(gva)))
			shadow_cpu_forget_address(gva);
		by_invlpg++;
		return true;
	}
}

/* A fault that loads the roots first would be disturbed before its walk. */
static bool roots_stay(void)
{
	for (u32 i = 0; i < vcpu.shadow.root_count; i++) {
		if (vcpu.shadow.root[i] && vcpu.shadow.root[i]->invalid)
			return false;
	}
	return true;
}

int __real_rmap_prepare(const struct memslot *s, gfn_t gfn);
int __wrap_rmap_prepare(const struct memslot *s, gfn_t gfn);

static void race(gfn_t gfn)
{
	u64 offset = once_in(4) ? rnd() & 0xff8 : rnd() % 3 << 3, done;

	race_met = (enum race)(rnd() % RACES);
	raced[race_met]++;
	switch (race_met) {
	case RACE_TABLES:
		make_way(racing_gva);
		break;
	case RACE_LET_WRITE:
		(void)mmu_shadow_let_write(&vcpu, GFN(rnd() % (once_in(4) ? RAM_PAGES : TABLES)),
					   rnd());
		break;
	case RACE_ZAP:
		shadow_zap_all(&vm);
		break;
	case RACE_DROP:
		(void)mmu_range_drop(&vm, gfn, 1, &done);
		break;
	case RACE_DROP_BIG:
		(void)mmu_range_drop(&vm, GFN(BIG), LARGE_PAGES, &done);
		break;
	default:
		put(random_table(once_in(2) ? 21 : 30) | offset,
		    random_entry(12 + 9 * (u32)(rnd() % 3)), 8);
	}
}

/*
 * A fault comes here first after the walk and the look at the page, before mmu_lock; and again only when
 * it has given up, for the words of the guest's tables.
 */
int __wrap_rmap_prepare(const struct memslot *s, gfn_t gfn)
{
	int err = __real_rmap_prepare(s, gfn);

	if (!racing || prepared++ || !once_in(4))
		return err;
	racing = false;
	race(gfn);
	racing = true;
	return err;
}

static int fault_raced(u64 gva, u32 access, bool may_race, struct shadow_answer *answer)
{
	u64 retries = vcpu.stats.faults_retry;
	int err;

	racing_gva = gva;
	prepared = 0;
	race_met = RACES;
	racing = may_race && roots_stay();
	err = mmu_shadow_fault(&vcpu, &p, GVA(gva), access, answer);
	racing = false;
	if (race_met != RACES && prepared == 1 && vcpu.stats.faults_retry != retries)
		retried[race_met]++;
	return err;
}

/* flushed: what is found there is what the tables say now. */
static void access_once(u64 gva, u32 access, bool flushed)
{
	struct shadow_answer answer = {0};
	struct walk_result w;
	u64 at;

	for (u32 i = 0; i < TRIES; i++) {
		u32 code;
		int err;

		if (shadow_cpu(&vcpu, &p, gva, access, &at)) {
			if (flushed)
				check_access(gva, access, at);
			if (access & MMU_WRITE)
				native_write(at);
			return;
		}
		err = guest_walk(&vm, &p, GVA(gva), access | WALK_NO_AD, &w);
		code = w.error_code;
		switch (fault_raced(gva, access, i + 4 < TRIES, &answer)) {
		case 0:
			continue;
		case ERR_FAULT:
			assert_int_equal(err, ERR_FAULT);
			assert_int_equal(answer.error_code, code);
			refused++;
			/* What the CPU knew of the address went with the fault. */
			if (once_in(2))
				access_once(gva, MMU_READ << rnd() % 3, true);
			return;
		case SHADOW_EMULATE:
			assert_true(access & MMU_WRITE);
			emulate(gva, answer.gpa);
			return;
		case ERR_NOSLOT:
			assert_null(memslot_find(vm.slots, gpa_to_gfn(answer.gpa)));
			devices++;
			return;
		case ERR_NOENT:
			return;
		default:
			fail();
		}
	}
	fail_msg("no way to gva %#llx", (unsigned long long)gva);
}

/* Has a table mapped that is in use, and writes it over and over. */
static void work_on_table(u64 gva)
{
	u64 window = random_gva() & ~0xfffull;
	struct walk_result w;
	struct walk_trace t;
	u64 table;

	if (guest_walk_trace(&vm, &p, GVA(gva), MMU_READ | WALK_NO_AD, &w, &t) || !t.count)
		return;
	table = t.where[t.count - 1].v & ~0xfffull;
	if (guest_walk_trace(&vm, &p, GVA(window), MMU_READ | WALK_NO_AD, &w, &t) || !t.count)
		return;
	put(t.where[t.count - 1].v, table | 0x67, t.entry_size);
	p.cpl = 0;
	for (u32 i = 0; i < 8; i++) {
		if (once_in(3))
			access_once(gva, MMU_READ, flush_some(gva));
		window = (window & ~0xfffull) | rnd() % 3 << 3;
		access_once(window, MMU_WRITE, flush_some(window));
	}
}

static void access_random(void)
{
	u64 gva;

	p.cpl = once_in(2) ? 3 : 0;
	p.rflags = 2 | (once_in(2) ? BIT(18) : 0);
	gva = random_gva();
	access_once(gva, MMU_READ << rnd() % 3, flush_some(gva));
}

/* The large page gives way for a while, or goes; or may be one again. */
static void disturb_big(void)
{
	static const u32 flags[] = {0, 0, MEMSLOT_LOG_DIRTY, MEMSLOT_NO_LARGE};
	u64 page = rnd() % BIG_USED, done;

	switch (rnd() % 8) {
	case 0:
		gmem_invalidate_begin(big, page, 1);
		gmem_unmap(big, page, 1);
		gmem_invalidate_end(big, page, 1);
		break;
	case 1:
		(void)mmu_range_drop(&vm, GFN(BIG), LARGE_PAGES, &done);
		break;
	case 2:
		(void)mmu_shadow_let_write(&vcpu, GFN(BIG + page), rnd());
		break;
	case 3:
		(void)mmu_range_protect(&vm, GFN(BIG + 100 + page), 1, once_in(2), &done);
		break;
	case 4:
		assert_int_equal(memslot_set_flags(&vm, 2, flags[rnd() % ARRAY_SIZE(flags)]), 0);
		break;
	case 5:
		mmu_age(&vm, GFN(BIG), LARGE_PAGES);
		break;
	case 6:
		assert_int_equal(memslot_delete(&vm, 2), 0);
		assert_int_equal(memslot_create(&vm, 2, GFN(BIG), LARGE_PAGES, big, 0, 0), 0);
		break;
	default:
		(void)mmu_collapse(&vm, memslot_find(vm.slots, GFN(BIG)), GFN(BIG));
	}
}

static void disturb(void)
{
	u64 page = rnd() % RAM_PAGES, pages = 1 + rnd() % (RAM_PAGES - page), done;

	switch (rnd() % 6) {
	case 0:
		gmem_invalidate_begin(ram, page, pages);
		gmem_unmap(ram, page, pages);
		gmem_invalidate_end(ram, page, pages);
		break;
	case 1:
		(void)mmu_range_drop(&vm, GFN(page), pages, &done);
		break;
	case 2:
		(void)mmu_shadow_let_write(&vcpu, GFN(page), rnd());
		break;
	case 3:
		mmu_age(&vm, GFN(0), RAM_PAGES);
		break;
	case 4:
		if (!once_in(8))
			break;
		assert_int_equal(memslot_delete(&vm, 1), 0);
		assert_int_equal(memslot_create(&vm, 1, GFN(0), RAM_PAGES, ram, 0, 0), 0);
		break;
	default:
		vm.shadow->limit = 0;
	}
}

static void run(u64 from)
{
	seed = from;
	p = (struct guest_paging){.maxphyaddr = 39, .v = once_in(3) ? NULL : &vcpu};
	vm.fault_around = once_in(4) ? 1 : 16;
	ram = object_new(RAM_PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(0), RAM_PAGES, ram, 0, 0), 0);
	assert_int_equal(gmem_create_order(LARGE_PAGES, GMEM_LARGE_ORDER, &big), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(BIG), LARGE_PAGES, big, 0, 0), 0);
	mmu_hw.large_nx = once_in(3);
	change_mode();
	for (u32 i = 0; i < STEPS; i++) {
		if (once_in(100))
			change_mode();
		if (once_in(30))
			disturb();
		if (once_in(30))
			disturb_big();
		if (once_in(12))
			make_way(random_gva());
		if (once_in(16))
			work_on_table(random_gva());
		access_random();
		if (i % 512 == 0) {
			const char *fault = mmu_audit(&vm);

			if (fault)
				fail_msg("step %u: %s", i, fault);
		}
	}
	large += STAT(mapped_large);
	let_go += STAT(shadow_let_go);
	synced += STAT(shadow_synced);
	mmu_hw.large_nx = false;
	gmem_unref(big);
	gmem_unref(ram);
}

static void test_random(void **state)
{
	const char *given = getenv("WEIR_SEED"), *extent = getenv("WEIR_FUZZ");
	u32 runs = extent && strcmp(extent, "full") == 0 ? 60 : 6;

	for (u32 i = 0; i < runs; i++) {
		u64 from = (given ? strtoull(given, NULL, 0) : 1) + i;

		print_message("WEIR_SEED=%llu\n", (unsigned long long)from);
		fixture_start_kind(MIB(32), MMU_SHADOW);
		run(from);
		fixture_end();
	}
	print_message("%llu mapped, %llu by 2 MiB; %llu refused, %llu emulated, %llu at devices\n",
		      (unsigned long long)mapped, (unsigned long long)large,
		      (unsigned long long)refused, (unsigned long long)emulated,
		      (unsigned long long)devices);
	print_message(
		"%llu let go, %llu synced; %llu accesses without a flush, %llu after INVLPG\n",
		(unsigned long long)let_go, (unsigned long long)synced,
		(unsigned long long)unflushed, (unsigned long long)by_invlpg);
	assert_true(mapped && large && refused && emulated && devices);
	assert_true(let_go && synced && unflushed && by_invlpg);
	for (u32 i = 0; i < RACES; i++) {
		print_message("%s: %llu faults, %llu came again\n", race_names[i],
			      (unsigned long long)raced[i], (unsigned long long)retried[i]);
		assert_true(raced[i] && retried[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
