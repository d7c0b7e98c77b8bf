/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c mmu/walk.c */
/* Copies by guest physical and by linear address. */
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mem/frame.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"
#include "mmu/walk.h"

#define PAGES 64
#define ROM   0x1000 /* gfn of a read-only window onto pages 8 to 11 */

static struct gmem *ram;

static int setup(void **state)
{
	fixture_start(MIB(16));
	ram = object_new(PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(0), PAGES, ram, 0, 0), 0);
	assert_int_equal(memslot_create(&vm, 2, GFN(ROM), 4, ram, 8, MEMSLOT_READONLY), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(ram->pins, 0);
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static bool dirty(u64 index)
{
	return gmem_entry(ram, index) & GMEM_DIRTY;
}

/* --- physical --- */

static void random_copies(void **state)
{
	enum {
		SIZE = PAGES * 4096
	};
	u8 *want = calloc(1, SIZE), *buf = malloc(SIZE);

	srand(3);
	for (u32 i = 0; i < 3000; i++) {
		u64 at = rand() % SIZE, n = rand() % 4 ? rand() % 20 : rand() % 9000;

		n = min(n, SIZE - at);
		switch (rand() % 3) {
		case 0:
			for (u64 k = 0; k < n; k++)
				want[at + k] = buf[k] = rand();
			assert_int_equal(gpa_write(&vm, GPA(at), buf, n), 0);
			break;
		case 1:
			memset(want + at, 0, n);
			assert_int_equal(gpa_zero(&vm, GPA(at), n), 0);
			break;
		default:
			memset(buf, 0xcc, n + 1 < SIZE ? n + 1 : n);
			assert_int_equal(gpa_read(&vm, GPA(at), buf, n), 0);
			assert_memory_equal(buf, want + at, n);
			assert_true(n + 1 >= SIZE || buf[n] == 0xcc);
		}
	}
	free(want);
	free(buf);
}

static void where_there_is_no_slot(void **state)
{
	u8 buf[64];
	u64 edge = PAGES * 4096 - 10;

	memset(buf, 0x5a, sizeof(buf));
	/* What comes before the hole is done. */
	assert_int_equal(gpa_write(&vm, GPA(edge), buf, 20), ERR_NOSLOT);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(gpa_read(&vm, GPA(edge), buf, 20), ERR_NOSLOT);
	assert_int_equal(buf[9], 0x5a);
	assert_int_equal(buf[10], 0);
	assert_int_equal(gpa_read(&vm, GPA(0xfee00000), buf, 4), ERR_NOSLOT);
	assert_int_equal(gpa_read(&vm, GPA(~0ull), buf, 1), ERR_NOSLOT);
	assert_int_equal(gpa_read(&vm, GPA(~0ull), buf, 2), ERR_RANGE);
	assert_int_equal(gpa_zero(&vm, GPA(5), ~0ull), ERR_RANGE);
	assert_int_equal(gpa_read(&vm, GPA(0xfee00000), buf, 0), 0);
	assert_int_equal(mmu_resident_pages(&vm), 1);
}

static void rom_and_dirt(void **state)
{
	u8 buf[4] = "abc";
	u64 old = 0;

	assert_int_equal(gpa_read(&vm, GPA(ROM << 12), buf, 4), 0);
	assert_false(dirty(8));
	assert_int_equal(gpa_write(&vm, GPA(ROM << 12), buf, 4), ERR_NOSLOT);
	assert_int_equal(gpa_zero(&vm, GPA(ROM << 12), 4), ERR_NOSLOT);
	assert_int_equal(gpa_cmpxchg(&vm, GPA(ROM << 12), 4, &old, 1), ERR_NOSLOT);
	assert_false(dirty(8));
	assert_int_equal(gpa_write(&vm, GPA(8 << 12), "abc", 4), 0);
	assert_true(dirty(8));
	assert_int_equal(gpa_read(&vm, GPA(ROM << 12), buf, 4), 0);
	assert_memory_equal(buf, "abc", 4);
}

static void zeroing_costs_no_memory(void **state)
{
	u64 free = frames_free();

	assert_int_equal(gpa_zero(&vm, GPA(0), PAGES * 4096), 0);
	assert_int_equal(mmu_resident_pages(&vm), 0);
	assert_int_equal(frames_free(), free);
	assert_int_equal(gpa_write(&vm, GPA(0x3000), "x", 1), 0);
	assert_int_equal(gpa_zero(&vm, GPA(0x2fff), 0x1002), 0);
	assert_int_equal(mmu_resident_pages(&vm), 1);
}

static void put_away(u64 index)
{
	struct gmem_taken t = {0};
	u64 one = 1;

	gmem_take(ram, index, 1, &one, &t);
	assert_int_equal(t.packed, 1);
}

/* What is overwritten whole is not unpacked, or read from a disk, first. */
static void whole_pages_do_not_come_back(void **state)
{
	static u8 bytes[3 * PAGE_SIZE], back[3 * PAGE_SIZE];

	for (u32 i = 0; i < sizeof(bytes); i++)
		bytes[i] = i % 7 + i / PAGE_SIZE;
	assert_int_equal(gpa_write(&vm, GPA(0x3000), bytes, sizeof(bytes)), 0);
	for (u64 i = 3; i < 6; i++)
		put_away(i);
	assert_int_equal(gpa_write(&vm, GPA(0x3000), bytes + 1, 2 * PAGE_SIZE), 0);
	assert_int_equal(ram->fetched, 0);
	assert_true(dirty(3) && dirty(4));
	assert_int_equal(gpa_write(&vm, GPA(0x5001), bytes, PAGE_SIZE - 1), 0);
	assert_int_equal(ram->fetched, 1);
	assert_int_equal(gpa_read(&vm, GPA(0x3000), back, sizeof(back)), 0);
	assert_memory_equal(back, bytes + 1, 2 * PAGE_SIZE);
	assert_int_equal(back[2 * PAGE_SIZE], bytes[2 * PAGE_SIZE]);
	assert_memory_equal(back + 2 * PAGE_SIZE + 1, bytes, PAGE_SIZE - 1);
}

static void compare_and_exchange(void **state)
{
	static const u32 sizes[] = {1, 2, 4, 8};
	u64 word, old;

	for (u32 i = 0; i < 4; i++) {
		u32 n = sizes[i];
		u64 mask = ~0ull >> (64 - 8 * n);

		word = 0x1122334455667788;
		assert_int_equal(gpa_write(&vm, GPA(0x5000), &word, 8), 0);
		old = 7;
		assert_int_equal(gpa_cmpxchg(&vm, GPA(0x5000), n, &old, 1), ERR_AGAIN);
		assert_int_equal(old, word & mask);
		assert_int_equal(gpa_cmpxchg(&vm, GPA(0x5000), n, &old, 0xa1b2c3d4e5f60718), 0);
		assert_int_equal(gpa_read(&vm, GPA(0x5000), &word, 8), 0);
		assert_int_equal(word, (0xa1b2c3d4e5f60718 & mask) | (0x1122334455667788 & ~mask));
		if (n > 1)
			assert_int_equal(gpa_cmpxchg(&vm, GPA(0x5fff), n, &old, 1), ERR_ALIGN);
		/* Anywhere within a page, and no byte beside. */
		word = 0x1122334455667788;
		assert_int_equal(gpa_write(&vm, GPA(0x5001), &word, 8), 0);
		old = 7;
		assert_int_equal(gpa_cmpxchg(&vm, GPA(0x5001), n, &old, 1), ERR_AGAIN);
		assert_int_equal(old, word & mask);
		assert_int_equal(gpa_cmpxchg(&vm, GPA(0x5001), n, &old, 0xa1b2c3d4e5f60718), 0);
		assert_int_equal(gpa_read(&vm, GPA(0x5001), &word, 8), 0);
		assert_int_equal(word, (0xa1b2c3d4e5f60718 & mask) | (0x1122334455667788 & ~mask));
	}
	assert_int_equal(gpa_cmpxchg(&vm, GPA(0x5000), 3, &old, 1), ERR_INVAL);
	assert_int_equal(gpa_cmpxchg(&vm, GPA(0x5000), 16, &old, 1), ERR_INVAL);
	assert_int_equal(gpa_cmpxchg(&vm, GPA(PAGES << 12), 8, &old, 1), ERR_NOSLOT);
}

/* What a guest pins does not keep Weir from its memory. */
static void pins_run_out(void **state)
{
	pfn_t pfn;
	u8 byte = 1;

	for (u32 i = 0; i < GMEM_PINS_MAX; i++)
		assert_int_equal(gmem_pin(ram, 0, false, &pfn), 0);
	assert_int_equal(gpa_read(&vm, GPA(0), &byte, 1), 0);
	assert_int_equal(gpa_write(&vm, GPA(0x5000), &byte, 1), 0);
	assert_int_equal(gmem_pin(ram, 0, false, &pfn), ERR_NOSPC);
	assert_int_equal(ram->pins, GMEM_PINS_MAX);
	for (u32 i = 0; i < GMEM_PINS_MAX; i++)
		gmem_unpin(ram, 0, pfn, false);
}

/* The guest's own protection holds for whoever writes on its behalf, and is no matter for readers. */
static void protected_pages(void **state)
{
	u64 done, old = 0, word = 5;

	assert_int_equal(gpa_write(&vm, GPA(0x5000), &word, 8), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(5), 1, true, &done), 0);
	assert_int_equal(gpa_write(&vm, GPA(0x5ff8), &old, 8), ERR_PERM);
	assert_int_equal(gpa_zero(&vm, GPA(0x5000), 8), ERR_PERM);
	old = 5;
	assert_int_equal(gpa_cmpxchg(&vm, GPA(0x5000), 8, &old, 6), ERR_PERM);
	/* What comes before it is done. */
	word = 0x1122334455667788;
	assert_int_equal(gpa_write(&vm, GPA(0x4ffc), &word, 8), ERR_PERM);
	word = 0;
	assert_int_equal(gpa_read(&vm, GPA(0x4ffc), &word, 8), 0);
	assert_int_equal(word, 5ull << 32 | 0x55667788);
	assert_true(mmu_is_protected(&vm, GPA(0x5fff)));
	assert_false(mmu_is_protected(&vm, GPA(0x4fff)) || mmu_is_protected(&vm, GPA(0x6000)));
	assert_int_equal(mmu_range_protect(&vm, GFN(5), 1, false, &done), 0);
	assert_int_equal(gpa_zero(&vm, GPA(0x5000), 8), 0);
}

/* --- linear: 4-level tables in pages 0 to 3, mapping 0x400000 up to pages from 16 on --- */

#define LINEAR	  0x400000ull
#define CR3	  0x0ull
#define PTE(i)	  (0x3000 + 8 * (i))
#define PTE_FLAGS 0x7ull
#define PTE_A	  0x20ull
#define PTE_D	  0x40ull

static struct guest_paging paging;

static void put(u64 gpa, u64 value)
{
	assert_int_equal(gpa_write(&vm, GPA(gpa), &value, 8), 0);
}

static u64 get(u64 gpa)
{
	u64 value;

	assert_int_equal(gpa_read(&vm, GPA(gpa), &value, 8), 0);
	return value;
}

/* Page i of the linear range lies in RAM page 16 + (i * 7) % 32. */
static u64 behind(u64 i)
{
	return 16 + i * 7 % 32;
}

static void make_tables(void)
{
	paging = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG | CR0_WP,
		.cr3 = CR3,
		.cr4 = CR4_PAE,
		.efer = EFER_LMA | EFER_LME | EFER_NXE,
		.cpl = 3,
		.maxphyaddr = 39,
	};
	put(CR3, 0x1000 | PTE_FLAGS);
	put(0x1000, 0x2000 | PTE_FLAGS);
	put(0x2000 + 8 * 2, 0x3000 | PTE_FLAGS);
	for (u64 i = 0; i < 32; i++)
		put(PTE(i), behind(i) << 12 | PTE_FLAGS);
}

static void linear_copies(void **state)
{
	struct walk_fault fault;
	u8 out[9000], in[9000];

	make_tables();
	srand(4);
	for (u32 i = 0; i < 300; i++) {
		u64 at = rand() % (32 * 4096 - 9000), n = rand() % 9000;

		for (u64 k = 0; k < n; k++)
			out[k] = rand();
		assert_int_equal(gva_write(&vm, &paging, GVA(LINEAR + at), out, n, &fault), 0);
		assert_int_equal(gva_read(&vm, &paging, GVA(LINEAR + at), in, n, MMU_READ, &fault),
				 0);
		assert_memory_equal(in, out, n);
		if (!n)
			continue;
		/* And they are where the tables say. */
		assert_int_equal(gpa_read(&vm, GPA(behind(at >> 12) << 12 | (at & 0xfff)), in, 1),
				 0);
		assert_int_equal(in[0], out[0]);
		at += n - 1;
		assert_int_equal(gpa_read(&vm, GPA(behind(at >> 12) << 12 | (at & 0xfff)), in, 1),
				 0);
		assert_int_equal(in[0], out[n - 1]);
	}
}

static void a_fault_on_the_second_page(void **state)
{
	struct walk_fault fault = {0};
	u8 buf[16] = {0};

	make_tables();
	put(PTE(4), behind(4) << 12 | 0x5); /* read-only */
	put(PTE(6), 0);
	put(PTE(8), behind(8) << 12 | PTE_FLAGS | BIT(63));
	put(PTE(10), 0x7000000ull | PTE_FLAGS); /* no RAM there */
	memset(buf, 0x77, sizeof(buf));
	assert_int_equal(gva_write(&vm, &paging, GVA(LINEAR + 0x4000 - 8), buf, 16, &fault),
			 ERR_FAULT);
	assert_int_equal(fault.gva.v, LINEAR + 0x4000);
	assert_int_equal(fault.error_code, PAGE_FAULT_P | PAGE_FAULT_WR | PAGE_FAULT_US);
	/* Nothing was written, and no D says so; A may be. */
	assert_int_equal(get(behind(3) << 12 | 0xff8), 0);
	assert_int_equal(get(PTE(3)) & PTE_D, 0);

	assert_int_equal(
		gva_read(&vm, &paging, GVA(LINEAR + 0x6000 - 8), buf, 16, MMU_READ, &fault),
		ERR_FAULT);
	assert_int_equal(fault.gva.v, LINEAR + 0x6000);
	assert_int_equal(fault.error_code, PAGE_FAULT_US);
	assert_int_equal(get(PTE(5)) & (PTE_A | PTE_D), PTE_A);

	assert_int_equal(gva_read(&vm, &paging, GVA(LINEAR + 0x8000 - 1), buf, 2, MMU_EXEC, &fault),
			 ERR_FAULT);
	assert_int_equal(fault.error_code, PAGE_FAULT_P | PAGE_FAULT_US | PAGE_FAULT_ID);
	assert_int_equal(gva_read(&vm, &paging, GVA(LINEAR + 0xa000 - 1), buf, 2, MMU_READ, &fault),
			 ERR_NOSLOT);
	assert_int_equal(gva_read(&vm, &paging, GVA(1ull << 47), buf, 2, MMU_READ, &fault),
			 ERR_RANGE);
	assert_int_equal(gva_write(&vm, &paging, GVA(LINEAR + 0x2ff8), buf, 16, &fault), 0);
	assert_int_equal(get(PTE(2)) & (PTE_A | PTE_D), PTE_A | PTE_D);
	assert_int_equal(get(PTE(3)) & (PTE_A | PTE_D), PTE_A | PTE_D);
}

/* Page tables in ROM serve; their A bits stay as they are. */
static void tables_in_rom(void **state)
{
	struct walk_result w;

	make_tables();
	put(0x2000 + 8 * 2, ROM << 12 | PTE_FLAGS);
	put(8 << 12, 0x20000 | PTE_FLAGS); /* seen at ROM */
	assert_int_equal(guest_walk(&vm, &paging, GVA(LINEAR + 5), MMU_WRITE, &w), 0);
	assert_int_equal(w.gpa.v, 0x20005);
	assert_int_equal(get(8 << 12), 0x20000 | PTE_FLAGS);
}

/*
 * A table whose page the guest protected serves as long as there is no A or D to set in it; then
 * the access is a page fault, as the CPU's own walk would make it (vmx/ept.c), and no loop.
 */
static void tables_that_are_protected(void **state)
{
	struct walk_fault fault = {0};
	struct walk_result w;
	u64 done;
	u8 byte;

	make_tables();
	paging.cpl = 0;
	assert_int_equal(guest_walk(&vm, &paging, GVA(LINEAR), MMU_READ, &w), 0);
	assert_int_equal(mmu_range_protect(&vm, GFN(3), 1, true, &done), 0);
	assert_int_equal(guest_walk(&vm, &paging, GVA(LINEAR), MMU_READ, &w), 0);
	assert_int_equal(guest_walk(&vm, &paging, GVA(LINEAR), MMU_WRITE, &w), ERR_FAULT);
	assert_int_equal(w.error_code, PAGE_FAULT_P | PAGE_FAULT_WR);
	assert_int_equal(guest_walk(&vm, &paging, GVA(LINEAR + 0x1000), MMU_EXEC, &w), ERR_FAULT);
	assert_int_equal(w.error_code, PAGE_FAULT_P | PAGE_FAULT_WR);
	paging.cpl = 3;
	assert_int_equal(guest_walk(&vm, &paging, GVA(LINEAR + 0x1000), MMU_READ, &w), ERR_FAULT);
	assert_int_equal(w.error_code, PAGE_FAULT_P | PAGE_FAULT_WR | PAGE_FAULT_US);
	assert_int_equal(guest_walk(&vm, &paging, GVA(LINEAR + 0x1000),
				    MMU_READ | WALK_IMPLICIT_SUPERVISOR, &w),
			 ERR_FAULT);
	assert_int_equal(w.error_code, PAGE_FAULT_P | PAGE_FAULT_WR);
	/* Only a look. */
	assert_int_equal(guest_walk(&vm, &paging, GVA(LINEAR + 0x1000), MMU_WRITE | WALK_NO_AD, &w),
			 0);
	assert_int_equal(gva_read(&vm, &paging, GVA(LINEAR + 0xfff), &byte, 1, MMU_READ, &fault),
			 0);
	assert_int_equal(gva_read(&vm, &paging, GVA(LINEAR + 0x1001), &byte, 1, MMU_READ, &fault),
			 ERR_FAULT);
	assert_int_equal(fault.gva.v, LINEAR + 0x1001);
	assert_int_equal(fault.error_code, PAGE_FAULT_P | PAGE_FAULT_WR | PAGE_FAULT_US);
	assert_int_equal(get(PTE(0)), behind(0) << 12 | PTE_FLAGS | PTE_A);
	assert_int_equal(mmu_range_protect(&vm, GFN(3), 1, false, &done), 0);
	assert_int_equal(guest_walk(&vm, &paging, GVA(LINEAR + 0x1000), MMU_WRITE, &w), 0);
}

static void writing_to_a_protected_page(void **state)
{
	struct walk_fault fault = {0};
	u8 bytes[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, seen[8];
	u64 done, zero = 0;

	make_tables();
	paging.cpl = 0;
	assert_int_equal(mmu_range_protect(&vm, GFN(behind(2)), 1, true, &done), 0);
	assert_int_equal(gva_write(&vm, &paging, GVA(LINEAR + 0x2004), bytes, 4, &fault),
			 ERR_FAULT);
	assert_int_equal(fault.gva.v, LINEAR + 0x2004);
	assert_int_equal(fault.error_code, PAGE_FAULT_P | PAGE_FAULT_WR);
	/* Nothing is written where a later page is refused. */
	paging.cpl = 3;
	assert_int_equal(gva_write(&vm, &paging, GVA(LINEAR + 0x1ff8), bytes, 16, &fault),
			 ERR_FAULT);
	assert_int_equal(fault.gva.v, LINEAR + 0x2000);
	assert_int_equal(fault.error_code, PAGE_FAULT_P | PAGE_FAULT_WR | PAGE_FAULT_US);
	assert_int_equal(gva_read(&vm, &paging, GVA(LINEAR + 0x1ff8), seen, 8, MMU_READ, &fault),
			 0);
	assert_memory_equal(seen, &zero, 8);
	assert_int_equal(mmu_range_protect(&vm, GFN(behind(2)), 1, false, &done), 0);
	assert_int_equal(gva_write(&vm, &paging, GVA(LINEAR + 0x1ff8), bytes, 16, &fault), 0);
}

/* --- R02: an entry that the guest has changed meanwhile is never put back --- */

static bool stop; /* atomic */

static void *walker(void *arg)
{
	struct walk_result w;
	u64 *answers = arg;

	hosted_cpu_set(3);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		int err = guest_walk(&vm, &paging, GVA(LINEAR), MMU_WRITE, &w);

		if (err != ERR_AGAIN)
			answers[err == 0 && w.gpa.v >= 0x10000 && w.gpa.v < 0x30000]++;
	}
	return NULL;
}

static void guest_changes_the_entry(void **state)
{
	u64 answers[2] = {0}, lost = 0, set = 0;
	pthread_t thread;
	pfn_t pfn;
	u64 *pte;

	make_tables();
	assert_int_equal(gmem_pin(ram, 3, true, &pfn), 0);
	pte = pfn_to_virt(pfn);
	stop = false;
	pthread_create(&thread, NULL, walker, answers);
	for (u64 i = 1; i < 200000 || !set; i++) {
		/* The count stands in bits that the CPU ignores. */
		u64 value = (16 + i % 32) << 12 | PTE_FLAGS | (i & 0x7f) << 52, found;

		__atomic_store_n(pte, value, __ATOMIC_SEQ_CST);
		for (u32 wait = 0; wait < i % 64; wait++)
			__asm__ volatile("pause");
		found = __atomic_load_n(pte, __ATOMIC_SEQ_CST);
		lost += (found & ~(PTE_A | PTE_D)) != value;
		set += (found & (PTE_A | PTE_D)) == (PTE_A | PTE_D);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	gmem_unpin(ram, 3, pfn, true);
	assert_int_equal(lost, 0);
	assert_int_equal(answers[0], 0);
	assert_true(set > 0 && answers[1] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(where_there_is_no_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(protected_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(tables_that_are_protected, setup, teardown),
		cmocka_unit_test_setup_teardown(writing_to_a_protected_page, setup, teardown),
		cmocka_unit_test_setup_teardown(rom_and_dirt, setup, teardown),
		cmocka_unit_test_setup_teardown(zeroing_costs_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(whole_pages_do_not_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(compare_and_exchange, setup, teardown),
		cmocka_unit_test_setup_teardown(pins_run_out, setup, teardown),
		cmocka_unit_test_setup_teardown(linear_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(a_fault_on_the_second_page, setup, teardown),
		cmocka_unit_test_setup_teardown(tables_in_rom, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_changes_the_entry, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
