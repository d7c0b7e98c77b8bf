/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/after_lookup.c */
/* unit-cflags: -include tests/hosted/points.h */
/* unit-libs: -Wl,--wrap=gmem_lookup -Wl,--wrap=gmem_lookup_to_map */
/*
 * Instructions as they are fetched in exit context: the same bytes as by the walker that knows
 * every case, or none; and none of a page that is taken away meanwhile.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "mmu/fetch.h"
#include "mmu/walk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mmu/after_lookup.h"
#include "tests/unit/mmu/fixture.h"

#include <cmocka.h>
#include <string.h>

#define RAM_PAGES 64
#define TABLES	  8
#define CASES	  60000
#define SEEDS	  40
#define ROUNDS	  30
#define VICTIM	  9
#define PATTERN	  0x5a

static struct gmem *ram;
static u8 *host[RAM_PAGES];
static u64 seed = 0xda3e39cb94b95bdbull;
static bool done; /* atomic */

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
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
		for (u32 at = 0; at < PAGE_SIZE; at++)
			host[i][at] = (u8)rnd();
	}
	return 0;
}

static int teardown(void **state)
{
	gmem_unref(ram);
	fixture_end();
	return 0;
}

/* Tables that lead to each other and to pages of RAM, now and then nowhere. */
static void make_tables(bool four_levels)
{
	u32 width = four_levels ? 8 : 4;

	for (u32 i = 0; i < TABLES * PAGE_SIZE / width; i++) {
		u64 page = rnd() % 32 ? rnd() % RAM_PAGES : rnd() % 1000;
		u64 entry = (page << PAGE_SHIFT) | 0x27;

		if (rnd() % 2)
			entry = ((rnd() % TABLES) << PAGE_SHIFT) | 0x27;
		/* A large page in the tables' own memory, of which the first MiB are there. */
		if (rnd() % 8 == 0)
			entry = 0xa7 | (rnd() & BIT(12)); /* PAT is no address */
		if (rnd() % 16 == 0)
			entry &= ~1ull;
		memcpy(host[i * width / PAGE_SIZE] + i * width % PAGE_SIZE, &entry, width);
	}
}

static const u8 *fetch(const struct fetch_code *code, u64 words[FETCH_WORDS])
{
	bool on = irq_save();
	const u8 *bytes = fetch_instruction(&vcpu, code, words);

	irq_restore(on);
	return bytes;
}

/* The walker that reads for the vCPU itself remembers pages, too: the same bytes and faults. */
static void compare_own(const struct guest_paging *p, u64 linear, int wanted,
			const struct walk_fault *fault, const u8 *expected)
{
	struct guest_paging own = *p;
	struct walk_fault mine = {0};
	u8 bytes[INSN_MAX_LENGTH];

	own.v = &vcpu;
	assert_int_equal(gva_read(&vm, &own, GVA(linear), bytes, sizeof(bytes),
				  MMU_READ | WALK_NO_AD, &mine),
			 wanted);
	if (!wanted)
		assert_memory_equal(bytes, expected, sizeof(bytes));
	if (wanted == ERR_FAULT)
		assert_memory_equal(&mine, fault, sizeof(mine));
}

/* Returns whether it was fetched. */
static bool compare(const struct fetch_code *code, const struct guest_paging *p)
{
	u64 words[FETCH_WORDS];
	const u8 *bytes = fetch(code, words);
	struct walk_fault fault = {0};
	u8 expected[INSN_MAX_LENGTH];
	int err = gva_read(&vm, p, GVA(code->linear), expected, sizeof(expected),
			   MMU_READ | WALK_NO_AD, &fault);

	compare_own(p, code->linear, err, &fault, expected);
	/* Reserved bits are the CPU's to check, and it has. */
	if (err == ERR_FAULT && (fault.error_code & PAGE_FAULT_RSVD))
		return false;
	if (err)
		assert_null(bytes);
	if (bytes)
		assert_memory_equal(bytes, expected, sizeof(expected));
	return bytes;
}

static void translated(bool four_levels, u64 linear_bits)
{
	struct guest_paging p = {.cr0 = CR0_PE | CR0_PG, .maxphyaddr = 40, .cr4 = CR4_PSE};
	u32 fetched = 0;

	if (four_levels) {
		p.cr4 |= CR4_PAE;
		p.efer = EFER_LME | EFER_LMA;
	}
	for (u32 i = 0; i < CASES; i++) {
		struct fetch_code code = {.paging = true, .four_levels = four_levels};

		if (i % 64 == 0)
			make_tables(four_levels);
		p.cr3 = (rnd() % TABLES) << PAGE_SHIFT;
		code.cr3 = p.cr3;
		code.linear = rnd() & (BIT(linear_bits) - 1);
		if (rnd() % 4 == 0)
			code.linear |= PAGE_SIZE - 32 + rnd() % 32;
		fetched += compare(&code, &p);
	}
	assert_true(fetched > CASES / 64);
}

static void two_levels(void **state)
{
	translated(false, 32);
}

static void four_levels(void **state)
{
	translated(true, 47);
}

static void no_paging(void **state)
{
	struct guest_paging p = {.cr0 = CR0_PE, .maxphyaddr = 40};
	struct fetch_code code = {0};

	for (u64 at = 0; at < (RAM_PAGES + 1) * PAGE_SIZE; at += 3) {
		bool whole = (at & (PAGE_SIZE - 1) & ~7ull) <=
			     PAGE_SIZE - sizeof(u64) * FETCH_WORDS;

		code.linear = at;
		assert_int_equal(compare(&code, &p), whole && at < RAM_PAGES * PAGE_SIZE);
	}
}

/* R30: while slots change pages are found, and none is remembered. */
static void nothing_of_an_odd_array_is_remembered(void **state)
{
	const struct fetch_page *p = &vcpu.fetched[VICTIM % FETCH_PAGES];
	struct fetch_code code = {.linear = VICTIM * PAGE_SIZE};
	u64 words[FETCH_WORDS];

	vm.slots->generation++;
	assert_non_null(fetch(&code, words));
	assert_int_equal(p->gfn.v, FETCH_NO_PAGE.v);
	assert_non_null(fetch(&code, words));
	vm.slots->generation--;
	assert_non_null(fetch(&code, words));
	assert_int_equal(p->gfn.v, VICTIM);
}

static void too_hard(void **state)
{
	struct fetch_code code = {.linear = VICTIM * PAGE_SIZE};
	u64 words[FETCH_WORDS];

	gpa_t gpa = GPA(code.linear);

	assert_non_null(fetch(&code, words));
	assert_true(fetch_copy(&vcpu, gpa, words, FETCH_COPY_MAX));
	gmem_invalidate_begin(ram, VICTIM, 1);
	assert_null(fetch(&code, words));
	assert_false(fetch_copy(&vcpu, gpa, words, FETCH_COPY_MAX));
	gmem_invalidate_end(ram, VICTIM, 1);
	assert_non_null(fetch(&code, words));
	assert_int_equal(gmem_drop(ram, VICTIM), 0);
	assert_null(fetch(&code, words));
	assert_false(fetch_copy(&vcpu, gpa, words, FETCH_COPY_MAX));
	assert_int_equal(gmem_entry_state(gmem_entry(ram, VICTIM)), GMEM_ABSENT);
}

static void take_victim(void)
{
	take_page(ram, VICTIM);
}

/* R08: the page has been looked up, and is another's when it is read. */
static void not_of_a_page_that_was_taken(void **state)
{
	struct fetch_code code = {.linear = VICTIM * PAGE_SIZE};
	u64 words[FETCH_WORDS];
	const u8 *bytes;

	after_index = VICTIM;
	after_lookup = take_victim;
	assert_null(fetch(&code, words));
	assert_null(after_lookup);
	bytes = fetch(&code, words);
	assert_non_null(bytes);
	for (u32 i = 0; i < INSN_MAX_LENGTH; i++)
		assert_int_equal(bytes[i], 0);
}

/* The page goes, its frame is filled with junk, and another with the pattern comes. */
static void take_away(void *arg)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		u64 bytes[PAGE_SIZE / sizeof(u64)];

		memset(bytes, PATTERN, sizeof(bytes));
		assert_int_equal(gmem_drop(ram, VICTIM), 0);
		assert_int_equal(gpa_write(&vm, GPA(VICTIM * PAGE_SIZE), bytes, sizeof(bytes)), 0);
	}
	__atomic_store_n(&done, true, __ATOMIC_SEQ_CST);
}

static void look(void *arg)
{
	struct fetch_code code = {.linear = VICTIM * PAGE_SIZE};
	u64 *seen = arg;

	while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST)) {
		u64 words[FETCH_WORDS];
		const u8 *bytes = fetch(&code, words);

		/* Zeros come between the page and what is written to it. */
		for (u32 i = 0; bytes && i < INSN_MAX_LENGTH; i++)
			BUG_ON(bytes[i] != PATTERN && bytes[i] != 0);
		*seen += bytes != NULL;
		hosted_relax();
	}
}

static void never_of_a_page_that_is_gone(void **state)
{
	u64 seen = 0;

	memset(host[VICTIM], PATTERN, PAGE_SIZE);
	for (u64 i = 0; i < SEEDS; i++) {
		struct hosted_job jobs[] = {{"taker", take_away, NULL}, {"vCPU", look, &seen}};
		struct hosted_way way = {.serial = true, .seed = i, .period = 3};

		done = false;
		hosted_run(jobs, ARRAY_SIZE(jobs), &way);
	}
	assert_true(seen > 0);
}

/* What the gfn shows by now, though where its page was is remembered. */
static void slots_change(void **state)
{
	struct fetch_code code = {.linear = VICTIM * PAGE_SIZE};
	struct gmem *other = object_new(RAM_PAGES);
	u64 words[FETCH_WORDS], junk = 0x1122334455667788;
	pfn_t pfn;

	assert_memory_equal(fetch(&code, words), host[VICTIM], INSN_MAX_LENGTH);
	assert_int_equal(memslot_delete(&vm, 1), 0);
	assert_null(fetch(&code, words));
	assert_int_equal(memslot_create(&vm, 1, GFN(0), RAM_PAGES, other, 0, 0), 0);
	assert_null(fetch(&code, words)); /* it is not resident */
	assert_int_equal(gmem_get_page(other, VICTIM, true, &pfn), 0);
	memcpy(pfn_to_virt(pfn), &junk, sizeof(junk));
	assert_memory_equal(fetch(&code, words), &junk, sizeof(junk));
	assert_int_equal(memslot_move(&vm, 1, GFN(1)), 0);
	assert_null(fetch(&code, words));
	code.linear += PAGE_SIZE;
	assert_memory_equal(fetch(&code, words), &junk, sizeof(junk));
	gmem_unref(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_paging, setup, teardown),
		cmocka_unit_test_setup_teardown(two_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(four_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_of_an_odd_array_is_remembered, setup,
						teardown),
		cmocka_unit_test_setup_teardown(too_hard, setup, teardown),
		cmocka_unit_test_setup_teardown(slots_change, setup, teardown),
		cmocka_unit_test_setup_teardown(not_of_a_page_that_was_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(never_of_a_page_that_is_gone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
