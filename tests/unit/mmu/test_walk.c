/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/walk_oracle.c mmu/walk.c */
/*
 * The guest walker against an oracle: each combination of an entry's bits at each level with each mode,
 * access and CPL, and random page tables in all modes.
 */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"
#include "tests/unit/mmu/walk_oracle.h"

#define RAM_PAGES  64
#define TABLES	   16 /* pages that tables are made in: few, so that levels share them at times */
#define CASES	   500000
#define CASES_FULL 2000000 /* WEIR_FUZZ=full */

static struct gmem *ram;
static u8 *host[RAM_PAGES];
static u8 want[TABLES][PAGE_SIZE]; /* what the tables should hold */
static u64 seed = 0x1234567;
static u64 outcomes[40]; /* by error and code: the test must see them all */

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}

/* True once in n. */
static bool once_in(u32 n)
{
	return (rnd() >> 20) % n == 0;
}

bool oracle_load(u64 gpa, u32 width, u64 *value)
{
	*value = 0;
	if (gpa >= RAM_PAGES * PAGE_SIZE)
		return false;
	memcpy(value, host[gpa >> 12] + (gpa & 0xfff), width);
	return true;
}

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(RAM_PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(0), RAM_PAGES, ram, 0, 0), 0);
	for (u32 i = 0; i < RAM_PAGES; i++) {
		pfn_t pfn;

		assert_int_equal(gmem_get_page(ram, i, true, &pfn), 0);
		host[i] = pfn_to_virt(pfn);
	}
	memset(want, 0, sizeof(want));
	return 0;
}

static int teardown(void **state)
{
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static u64 random_table(void)
{
	return once_in(60) ? (RAM_PAGES + rnd() % 1000) << 12 : rnd() % TABLES << 12;
}

static void store(u64 gpa, u32 width, u64 value)
{
	if (gpa >= TABLES * PAGE_SIZE)
		return;
	memcpy(host[gpa >> 12] + (gpa & 0xfff), &value, width);
	memcpy(want[gpa >> 12] + (gpa & 0xfff), &value, width);
}

/* Plausible mostly, with each kind of trouble now and then. */
static u64 random_entry(const struct guest_paging *p, bool last, u32 shift, u64 table)
{
	u64 e = rnd() & 0xf78; /* PWT, PCD, A, D, G, ignored */
	u64 m = p->maxphyaddr;

	e |= once_in(20) ? 0 : 1;
	e |= once_in(4) ? 0 : 2;
	e |= once_in(4) ? 0 : 4;
	e |= once_in(6) ? BIT(63) : 0;
	if (last ? once_in(2) : once_in(4)) {
		e |= 0x80;
		last = true;
	}
	if (!last)
		e |= table;
	else
		e |= (rnd() & (BIT(m) - 1)) & ~((1ull << shift) - 1);
	e |= once_in(3) ? 0x1000 * !!(e & 0x80 && shift > 12) : 0; /* PAT */
	if (once_in(12))
		e |= BIT(12 + rnd() % 51);
	return e;
}

static u32 random_pse36(u64 e)
{
	u32 entry = (u32)e;

	if ((entry & 0x80) && !once_in(6))
		entry = (entry & ~0x3fe000u) | (u32)((rnd() & 0xf) << 13);
	return entry;
}

static void random_tables(const struct guest_paging *p, u64 gva)
{
	bool pae = p->cr4 & CR4_PAE;
	u64 table = p->cr3 & 0x000ffffffffff000;
	u32 shift = p->efer & EFER_LMA ? 39 : pae ? 21 : 22;

	if (!(p->efer & EFER_LMA)) {
		gva &= 0xffffffff;
		table = pae ? p->pdpte[gva >> 30] & 0x000ffffffffff000 : table & 0xfffff000;
	}
	for (;;) {
		u64 next = random_table();
		u64 e = random_entry(p, shift == 12, shift, next);

		if (pae) {
			store(table + 8 * (gva >> shift & 0x1ff), 8, e);
		} else {
			e = shift == 22 ? random_pse36(e) : e;
			store(table + 4 * (gva >> shift & 0x3ff), 4, e);
		}
		if (shift == 12)
			return;
		shift -= pae ? 9 : 10;
		table = next;
	}
}

static struct guest_paging random_paging(void)
{
	static const u32 widths[] = {32, 36, 39, 40, 46, 52};
	struct guest_paging p = {.cr0 = CR0_PE | CR0_PG};

	p.maxphyaddr = widths[rnd() % ARRAY_SIZE(widths)];
	p.cr0 |= once_in(2) ? CR0_WP : 0;
	p.cr4 |= once_in(3) ? 0 : CR4_PSE;
	p.cr4 |= once_in(2) ? CR4_SMEP : 0;
	p.cr4 |= once_in(2) ? CR4_SMAP : 0;
	p.efer |= once_in(3) ? 0 : EFER_NXE;
	p.rflags = 2 | (once_in(2) ? BIT(18) : 0);
	p.cpl = once_in(2) ? 3 : rnd() % 3;
	p.no_1g = once_in(3);
	p.cr3 = random_table() | (rnd() & 0xfff);
	switch (rnd() % 10) {
	case 0:
		p.cr0 &= ~CR0_PG;
		p.cr4 |= once_in(2) ? CR4_PAE : 0;
		break;
	case 1 ... 3:
		break;
	case 4 ... 6:
		p.cr4 |= CR4_PAE;
		for (u32 i = 0; i < 4; i++)
			p.pdpte[i] = random_table() | (once_in(20) ? 0 : 1);
		break;
	default:
		p.cr4 |= CR4_PAE;
		p.efer |= EFER_LMA | EFER_LME;
	}
	return p;
}

static u64 random_gva(const struct guest_paging *p)
{
	u64 gva = rnd();

	if (!(p->efer & EFER_LMA))
		return once_in(50) ? gva : gva & 0xffffffff;
	return once_in(100) ? gva : (u64)((s64)(gva << 16) >> 16);
}

static u32 random_access(void)
{
	u32 access = MMU_READ << rnd() % 3;

	access |= once_in(5) ? WALK_IMPLICIT_SUPERVISOR : 0;
	access |= once_in(5) ? WALK_NO_AD : 0;
	return access;
}

static void expect_accessed_dirty(const struct oracle_answer *a, u32 access)
{
	for (u32 i = 0; i < a->used && !a->err && !(access & WALK_NO_AD); i++) {
		u8 *e = &want[a->where[i] >> 12][a->where[i] & 0xfff];

		*e |= 0x20;
		if (i + 1 == a->used && a->dirty_last)
			*e |= 0x40;
	}
}

static void compare(const struct guest_paging *p, u64 gva, u32 access, u32 number)
{
	struct oracle_answer a = oracle_walk(p, gva, access);
	struct walk_result w;
	int err = guest_walk(&vm, p, GVA(gva), access, &w);

	expect_accessed_dirty(&a, access);
	if (err != a.err || (err == ERR_FAULT && w.error_code != a.code) ||
	    (!err && (w.gpa.v != a.gpa || w.page_size != a.page_size)))
		fail_msg("case %u: got %d code %x gpa %lx size %lx, want %d code %x gpa %lx "
			 "size %lx; gva %lx access %x cr0 %lx cr4 %lx efer %lx cpl %u width %u",
			 number, err, w.error_code, w.gpa.v, w.page_size, a.err, a.code, a.gpa,
			 a.page_size, gva, access, p->cr0, p->cr4, p->efer, p->cpl, p->maxphyaddr);
	outcomes[err == ERR_FAULT ? a.code : (u32)(32 - err % 8)]++;
	for (u32 i = 0; i < a.used && a.where[i] < TABLES * PAGE_SIZE; i++)
		assert_memory_equal(host[a.where[i] >> 12] + (a.where[i] & 0xfff),
				    &want[a.where[i] >> 12][a.where[i] & 0xfff], a.width);
}

static void one_case(u32 number)
{
	struct guest_paging p = random_paging();
	u64 gva = random_gva(&p);
	u32 access = random_access();

	random_tables(&p, gva);
	compare(&p, gva, access, number);
	if (number % 64 == 0) {
		for (u32 i = 0; i < TABLES; i++)
			assert_memory_equal(host[i], want[i], PAGE_SIZE);
	}
}

/* --- Each combination --- */

/* One page is the table of all levels, in which the address has another entry for each. */
#define EACH_GVA   0xffff812345678abcull
#define EACH_TABLE 0x1000ull /* of a large page's entry that is bit 12, the PAT's */
#define EACH_PAGE  0x14000ull
#define OPEN	   7ull

enum each_control {
	EACH_WP = BIT(0),
	EACH_SMEP = BIT(1),
	EACH_SMAP = BIT(2),
	EACH_AC = BIT(3),
	EACH_PSE_OR_NXE = BIT(4), /* in 32-bit paging the one, else the other */
	EACH_NO_1G = BIT(5),
	EACH_CONTROLS = BIT(6)
};

static const struct each_mode {
	u64 cr4, efer;
	u32 levels, width, controls;
	u32 shift[4];
} each_modes[] = {
	{0, 0, 2, 4, EACH_NO_1G, {22, 12}},
	{CR4_PAE, 0, 2, 8, EACH_NO_1G, {21, 12}},
	{CR4_PAE, EFER_LMA | EFER_LME, 4, 8, EACH_CONTROLS, {39, 30, 21, 12}},
};

static const u64 each_bit[] = {1, 2, 4, 0x80, 0x20, 0x40, BIT(63)};

#define EACH_ENTRIES  BIT(ARRAY_SIZE(each_bit))
#define EACH_ACCESSES 12u /* to read, write, fetch; the CPU's own or not; CPL 0 or 3 */

static u64 each_entry(u32 bits)
{
	u64 e = 0;

	for (u32 i = 0; i < ARRAY_SIZE(each_bit); i++)
		e |= bits & BIT(i) ? each_bit[i] : 0;
	return e;
}

static void each_tables(const struct each_mode *m, u32 level, u64 e)
{
	for (u32 i = 0; i < m->levels; i++) {
		u64 index = EACH_GVA >> m->shift[i] & (m->width == 8 ? 0x1ff : 0x3ff);
		u64 to = i + 1 == m->levels ? EACH_PAGE : EACH_TABLE;

		store(EACH_TABLE + index * m->width, m->width, to | (i == level ? e : OPEN));
	}
}

static struct guest_paging each_paging(const struct each_mode *m, u32 controls, u32 cpl)
{
	struct guest_paging p = {
		.cr0 = CR0_PE | CR0_PG | (controls & EACH_WP ? CR0_WP : 0),
		.cr3 = EACH_TABLE,
		.cr4 = m->cr4 | (controls & EACH_SMEP ? CR4_SMEP : 0) |
		       (controls & EACH_SMAP ? CR4_SMAP : 0),
		.efer = m->efer,
		.rflags = 2 | (controls & EACH_AC ? BIT(18) : 0),
		.cpl = cpl,
		.maxphyaddr = 40,
		.no_1g = controls & EACH_NO_1G,
	};

	for (u32 i = 0; i < 4; i++)
		p.pdpte[i] = EACH_TABLE | 1;
	if (controls & EACH_PSE_OR_NXE && m->width == 4)
		p.cr4 |= CR4_PSE;
	else if (controls & EACH_PSE_OR_NXE)
		p.efer |= EFER_NXE;
	return p;
}

/* All accesses with one entry; of 32-bit entries bit 63 is none. */
static u32 each_access(const struct each_mode *m, u32 level, u32 controls, u32 bits)
{
	u64 e = each_entry(bits);

	if (m->width == 4 && (e >> 32))
		return 0;
	for (u32 n = 0; n < EACH_ACCESSES; n++) {
		u32 access = MMU_READ << n % 3;
		struct guest_paging p = each_paging(m, controls, n / 6 * 3);

		access |= n / 3 % 2 ? WALK_IMPLICIT_SUPERVISOR : 0;
		each_tables(m, level, e);
		compare(&p, EACH_GVA, access, n);
	}
	return EACH_ACCESSES;
}

static void each_combination(void **state)
{
	u32 count = 0;

	for (u32 i = 0; i < ARRAY_SIZE(each_modes); i++) {
		const struct each_mode *m = &each_modes[i];

		for (u32 level = 0; level < m->levels; level++)
			for (u32 controls = 0; controls < m->controls; controls++)
				for (u32 bits = 0; bits < EACH_ENTRIES; bits++)
					count += each_access(m, level, controls, bits);
	}
	print_message("%u combinations\n", count);
	assert_int_equal(count, 4 * 64 * 128 * 12 + 2 * 32 * 128 * 12 + 2 * 32 * 64 * 12);
	(void)state;
}

/* --- Random tables --- */

static void random_walks(void **state)
{
	const char *extent = getenv("WEIR_FUZZ");
	u32 cases = extent && strcmp(extent, "full") == 0 ? CASES_FULL : CASES;

	memset(outcomes, 0, sizeof(outcomes));
	/* Every code that can be: with P or without, RSVD only with P. */
	for (u32 i = 0; i < cases; i++)
		one_case(i);
	for (u32 code = 0; code < 32; code++) {
		bool p = code & PAGE_FAULT_P, rsvd = code & PAGE_FAULT_RSVD;
		bool both = (code & PAGE_FAULT_ID) && (code & PAGE_FAULT_WR);

		if (both || (rsvd && !p))
			assert_int_equal(outcomes[code], 0);
		else
			assert_true(outcomes[code] > 100);
	}
	assert_true(outcomes[32] > cases / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_combination, setup, teardown),
		cmocka_unit_test_setup_teardown(random_walks, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
