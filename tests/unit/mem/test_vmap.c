/* SPDX-License-Identifier: MIT */
/* unit-sources: mem/vmap.c mem/vmap_area.c mem/vmap_audit.c mem/pagetable.c mem/slab.c
 *               mem/frame.c mem/frame_array.c mem/frame_node.c mem/frame_use.c mem/frame_zone.c mem/memmap.c */
/*
 * The final page tables, built over the fake machine's memory and read back entry by entry: what
 * is shown where with which rights, what the audit finds when they are spoilt, and that addresses
 * and frames come back only after every TLB has forgotten them.
 */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "mem/vmap_internal.h"
#include "smp/cpu.h"
#include "tests/hosted/hosted.h"

/* --- The machine --------------------------------------------------------------------------- */

#define IMAGE_VA   0xffffffff80200000ull
#define IMAGE_HPA  MIB(2)
#define TEXT_SIZE  KIB(88)
#define RODATA_END (TEXT_SIZE + KIB(40))
#define DATA_END   (RODATA_END + KIB(8))
#define BSS_END	   (DATA_END + KIB(200))

void vmap_image_sections(struct vmap_section out[VMAP_SECTIONS])
{
	static const u64 ends[] = {TEXT_SIZE, RODATA_END, DATA_END, BSS_END};
	static const u64 flags[] = {0, PTE_NX, PTE_NX | PTE_WRITE, PTE_NX | PTE_WRITE};

	for (u32 i = 0; i < VMAP_SECTIONS; i++) {
		u64 start = i ? ends[i - 1] : 0;

		out[i] = (struct vmap_section){IMAGE_VA + start, ends[i] - start,
					       HPA(IMAGE_HPA + start), flags[i]};
	}
}

static bool gib_pages;

static u32 phys_bits = 39;

static struct cpuid_regs fake_cpuid(u32 leaf, u32 subleaf)
{
	switch (leaf) {
	case 0x80000000:
		return (struct cpuid_regs){.eax = 0x80000008};
	case 0x80000001:
		return (struct cpuid_regs){.edx = gib_pages ? BIT(26) : 0};
	case 0x80000008:
		return (struct cpuid_regs){.eax = phys_bits};
	}
	return (struct cpuid_regs){0, 0, 0, 0};
}

static u64 pat;

static void fake_wrmsr(u32 index, u64 value)
{
	if (index == MSR_IA32_PAT)
		pat = value;
}

static struct memmap map;
static struct vmap_uncached uncached;

static u64 free_now(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s.free;
}

/* RAM as given, the image and what the caller wants kept out of the free ranges. */
static void start_with(const struct boot_mmap_entry *entries, u32 count, u64 arena)
{
	struct mem_range image = {IMAGE_HPA, IMAGE_HPA + BSS_END};

	hosted_fail_after(0);
	hosted_cpu_set(0);
	hosted_arena_init(arena);
	hosted_machine.cpuid = fake_cpuid;
	hosted_machine.wrmsr = fake_wrmsr;
	hosted_machine.invlpg = NULL;
	assert_int_equal(memmap_build(&map, entries, count, &image, 1), 0);
	assert_int_equal(frame_init(&map), 0);
	slab_init();
	assert_int_equal(vmap_init(map.highest_ram, &uncached), 0);
	vmap_init_cpu();
	frame_init_high();
}

#define SMALL MIB(64)

static void start(void)
{
	static const struct boot_mmap_entry entries[] = {
		{0, KIB(639), BOOT_MEM_AVAILABLE},
		{MIB(1), SMALL - MIB(1), BOOT_MEM_AVAILABLE},
	};

	start_with(entries, ARRAY_SIZE(entries), SMALL);
}

static u64 leaf_of(u64 va, u32 *level)
{
	return pagetable_lookup(&vmap.pt, va, level);
}

static u64 leaf_at(u64 va)
{
	u32 level;

	return leaf_of(va, &level);
}

/* Where va leads to, or ~0. */
static u64 translate(u64 va)
{
	u32 level;
	u64 e = leaf_of(va, &level), inside = pt_page_size(level) - 1;

	return e ? (e & PTE_ADDR_MASK & ~inside) | (va & inside) : ~0ull;
}

#define RIGHTS (PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_PWT | PTE_PCD | PTE_NX)

/* --- What vmap_init builds ----------------------------------------------------------------- */

static const struct boot_mmap_entry big[] = {
	{0, KIB(639), BOOT_MEM_AVAILABLE},
	{MIB(1), MIB(2047), BOOT_MEM_AVAILABLE},
	{GIB(2), KIB(68), BOOT_MEM_ACPI_RECLAIM},
	{GIB(2) + MIB(7), MIB(20) + KIB(4), BOOT_MEM_AVAILABLE},
	{GIB(4), GIB(2) + KIB(12), BOOT_MEM_AVAILABLE},
};

#define BIG_ARENA (GIB(6) + MIB(1))

static bool is_ram(u64 hpa)
{
	if (hpa < MIB(1))
		return true; /* shown whole */
	for (u32 i = 0; i < map.ram_count; i++) {
		if (hpa >= map.ram[i].start && hpa < map.ram[i].end)
			return true;
	}
	return false;
}

static void check_direct_map(void)
{
	for (u64 hpa = 0; hpa < BIG_ARENA; hpa += PAGE_SIZE) {
		u64 e = leaf_at(DIRECT_MAP_BASE + hpa), expected = PTE_PRESENT | PTE_WRITE | PTE_NX;

		if (!is_ram(hpa)) {
			assert_int_equal(e, 0);
			continue;
		}
		if (hpa >= IMAGE_HPA && hpa < IMAGE_HPA + RODATA_END)
			expected &= ~PTE_WRITE;
		assert_int_equal(e & RIGHTS, expected);
		assert_int_equal(translate(DIRECT_MAP_BASE + hpa), hpa);
	}
	assert_int_equal(leaf_at(DIRECT_MAP_BASE + BIG_ARENA), 0);
}

static void direct_map_shows_ram_alone(void **state)
{
	for (u32 i = 0; i < 2; i++) {
		u32 level;

		gib_pages = i;
		start_with(big, ARRAY_SIZE(big), BIG_ARENA);
		check_direct_map();
		leaf_of(DIRECT_MAP_BASE + GIB(1), &level);
		assert_int_equal(level, gib_pages ? 3 : 2);
		leaf_of(DIRECT_MAP_BASE + GIB(4), &level);
		assert_int_equal(level, gib_pages ? 3 : 2);
		leaf_of(DIRECT_MAP_BASE + GIB(6), &level);
		assert_int_equal(level, 1);
		/* And the memory above 4 GiB is the allocator's now. */
		assert_true(free_now() > (GIB(3) + MIB(900)) >> PAGE_SHIFT);
	}
	gib_pages = false;
}

/* One leaf, one memory type: bounds inside 1 GiB, inside 2 MiB, and in Weir's text. */
static void check_uncached(bool in_use)
{
	static const struct mem_range ranges[] = {
		{IMAGE_HPA + KIB(8), IMAGE_HPA + KIB(16)},
		{MIB(512) + KIB(4), MIB(512) + KIB(8)},
		{GIB(5) - MIB(64), BIT(52)},
	};
	static const struct {
		u64 at, flags;
		u32 level;
	} expected[] = {
		{IMAGE_HPA + KIB(4), 0, 1},
		{IMAGE_HPA + KIB(8), PTE_PCD | PTE_PWT, 1},
		{IMAGE_HPA + KIB(16), 0, 1},
		{IMAGE_HPA + RODATA_END, PTE_WRITE, 1},
		{MIB(510), PTE_WRITE, 2},
		{MIB(512), PTE_WRITE, 1},
		{MIB(512) + KIB(4), PTE_WRITE | PTE_PCD | PTE_PWT, 1},
		{MIB(512) + KIB(8), PTE_WRITE, 1},
		{GIB(1), PTE_WRITE, 3},
		{GIB(4), PTE_WRITE, 2},
		{GIB(5) - MIB(66), PTE_WRITE, 2},
		{GIB(5) - MIB(64), PTE_WRITE | PTE_PCD | PTE_PWT, 2},
		{GIB(5), PTE_WRITE | PTE_PCD | PTE_PWT, 3},
		{GIB(6), PTE_WRITE | PTE_PCD | PTE_PWT, 1},
	};

	gib_pages = true;
	uncached = (struct vmap_uncached){ARRAY_SIZE(ranges), ranges, in_use};
	start_with(big, ARRAY_SIZE(big), BIG_ARENA);
	gib_pages = false;
	uncached.count = 0;
	for (u32 i = 0; i < ARRAY_SIZE(expected); i++) {
		u64 flags = expected[i].flags & (in_use ? ~(PTE_PCD | PTE_PWT) : ~0ull);
		u64 va = DIRECT_MAP_BASE + expected[i].at;
		u32 level;
		u64 e = leaf_of(va, &level);

		assert_int_equal(e & RIGHTS, PTE_PRESENT | PTE_NX | flags);
		assert_int_equal(level, expected[i].level);
		assert_int_equal(translate(va), expected[i].at);
	}
}

static void uncached_ram_is_cut_out(void **state)
{
	check_uncached(false);
	check_uncached(true);
}

static void image_is_mapped_by_section(void **state)
{
	start();
	for (u64 offset = 0; offset < BSS_END; offset += PAGE_SIZE) {
		u64 expected = PTE_PRESENT;

		if (offset >= TEXT_SIZE)
			expected |= PTE_NX;
		if (offset >= RODATA_END)
			expected |= PTE_WRITE;
		assert_int_equal(leaf_at(IMAGE_VA + offset) & RIGHTS, expected);
		assert_int_equal(translate(IMAGE_VA + offset), IMAGE_HPA + offset);
	}
	assert_int_equal(leaf_at(IMAGE_VA - PAGE_SIZE), 0);
	assert_int_equal(leaf_at(IMAGE_VA + BSS_END), 0);
	assert_int_equal(leaf_at(0), 0);
	assert_int_equal(read_cr3(), vmap_cr3());
	/* WB, WC, UC-, UC, and again. */
	assert_int_equal(pat, 0x0007010600070106ull);
}

static void initialise(void *arg)
{
	*(int *)arg = vmap_init(map.highest_ram, &uncached);
}

static void init_fails_for_want_of_memory(void **state)
{
	u32 n = 0;

	start();
	do {
		int err = 0;

		assert_int_equal(frame_init(&map), 0);
		slab_init();
		hosted_fail_after(++n);
		assert_false(hosted_catch_panic(initialise, &err));
		assert_int_equal(err, hosted_fail_happened() ? ERR_NOMEM : 0);
	} while (hosted_fail_happened());
	assert_true(n > 6);
}

/* --- The audit ----------------------------------------------------------------------------- */

static void audit_is_clean(void **state)
{
	struct vmap_audit a;
	u8 *stack;

	start();
	stack = vmap_stack_alloc(4);
	vmap_device(HPA(0xfee00000), PAGE_SIZE, VMAP_UC);
	vmap_audit(&a);
	assert_int_equal(a.wx_leaves, 0);
	assert_int_equal(a.wx_aliases, 0);
	assert_int_equal(a.user_leaves, 0);
	assert_int_equal(a.low_leaves, 0);
	/* Image; low MiB, next MiB, the 2 MiB with the image; 60 MiB by 2; stack; device. */
	assert_int_equal(a.leaves, BSS_END / PAGE_SIZE + 256 + 256 + 512 + 30 + 4 + 1);
	assert_non_null(stack);
}

static void plant(u64 va, u64 hpa, u64 size, u64 flags)
{
	assert_int_equal(pagetable_map(&vmap.pt, va, HPA(hpa), size, flags), 0);
}

static void audit_finds_breaches(void **state)
{
	const u64 va = VMAP_BASE + GIB(64);
	struct vmap_audit a;

	/* Writable and executable. */
	start();
	plant(va, GIB(1), PAGE_SIZE, PTE_WRITE);
	vmap_audit(&a);
	assert_int_equal(a.wx_leaves, 1);
	assert_int_equal(a.wx_aliases, 0);
	/* A second, writable view of two pages of text and the first of rodata. */
	start();
	plant(va, IMAGE_HPA + TEXT_SIZE - 2 * PAGE_SIZE, 3 * PAGE_SIZE, PTE_WRITE | PTE_NX);
	vmap_audit(&a);
	assert_int_equal(a.wx_leaves, 0);
	assert_int_equal(a.wx_aliases, 2);
	/* An executable view of a page that the direct map shows as part of a large one, RW. */
	start();
	plant(va, MIB(33), PAGE_SIZE, 0);
	vmap_audit(&a);
	assert_int_equal(a.wx_aliases, 1);
	/* More of them than are looked at in one batch, none next to another. */
	start();
	for (u64 i = 0; i < 100; i++)
		plant(va + i * PAGE_SIZE, MIB(16) + i * 2 * PAGE_SIZE, PAGE_SIZE, 0);
	vmap_audit(&a);
	assert_int_equal(a.wx_aliases, 100);
	/* In the low half. */
	start();
	plant(MIB(1), MIB(32), MIB(4), PTE_NX);
	vmap_audit(&a);
	assert_true(a.low_leaves >= 2);
	assert_int_equal(a.wx_leaves + a.wx_aliases, 0);
}

/* A user page is one only if every level says so. */
static void audit_finds_user_pages(void **state)
{
	const u64 va = VMAP_BASE + GIB(64);
	struct vmap_audit a;
	u64 *table;

	start();
	plant(va, GIB(1), PAGE_SIZE, PTE_NX | PTE_USER);
	vmap_audit(&a);
	assert_int_equal(a.user_leaves, 0);
	table = phys_to_virt(vmap.pt.root);
	for (u32 level = 4; level > 1; level--) {
		u64 *e = &table[va >> (12 + 9 * (level - 1)) & 511];

		*e |= PTE_USER;
		table = phys_to_virt(HPA(*e & PTE_ADDR_MASK));
	}
	vmap_audit(&a);
	assert_int_equal(a.user_leaves, 1);
}

/* Likewise a writable one; here the level above says no. */
static void audit_combines_the_levels(void **state)
{
	const u64 va = VMAP_BASE + GIB(64);
	struct vmap_audit a;
	u64 *table;

	start();
	plant(va, IMAGE_HPA, PAGE_SIZE, PTE_WRITE | PTE_NX);
	vmap_audit(&a);
	assert_int_equal(a.wx_aliases, 1);
	table = phys_to_virt(vmap.pt.root);
	table = phys_to_virt(HPA(table[va >> 39 & 511] & PTE_ADDR_MASK));
	table[va >> 30 & 511] &= ~PTE_WRITE;
	vmap_audit(&a);
	assert_int_equal(a.wx_aliases, 0);
	/* And NX anywhere on the way is enough. */
	start();
	plant(va, MIB(32), PAGE_SIZE, PTE_WRITE);
	table = phys_to_virt(vmap.pt.root);
	table = phys_to_virt(HPA(table[va >> 39 & 511] & PTE_ADDR_MASK));
	table[va >> 30 & 511] |= PTE_NX;
	vmap_audit(&a);
	assert_int_equal(a.wx_leaves + a.wx_aliases, 0);
}

/* --- Stacks -------------------------------------------------------------------------------- */

static void stacks_have_guards(void **state)
{
	u8 *a, *b;
	u64 before;

	start();
	before = free_now();
	a = vmap_stack_alloc(4);
	b = vmap_stack_alloc(1);
	for (u64 i = 0; i < 4; i++) {
		u64 e = leaf_at((u64)a + i * PAGE_SIZE);

		assert_int_equal(e & RIGHTS, PTE_PRESENT | PTE_WRITE | PTE_NX);
		for (u64 j = 0; j < i; j++)
			assert_int_not_equal(e, leaf_at((u64)a + j * PAGE_SIZE));
	}
	assert_int_equal(leaf_at((u64)a - PAGE_SIZE), 0);
	assert_int_equal(leaf_at((u64)a + 4 * PAGE_SIZE), 0);
	assert_int_not_equal(leaf_at((u64)b), 0);
	assert_int_equal(leaf_at((u64)b - PAGE_SIZE), 0);
	assert_int_equal(leaf_at((u64)b + PAGE_SIZE), 0);
	assert_null(vmap_stack_alloc(0));
	vmap_stack_free(b, 1);
	vmap_stack_free(a, 4);
	vmap_stack_free(NULL, 4);
	assert_int_equal(leaf_at((u64)a), 0);
	/* But for the tables of levels 2 and 3, which stay. */
	assert_int_equal(before - free_now(), 2);
	before = free_now();
	assert_ptr_equal(vmap_stack_alloc(4), a);
	vmap_stack_free(a, 4);
	assert_int_equal(free_now(), before);
}

static void every_allocation_fails_once(void **state)
{
	u64 before;
	u32 n = 0;

	start();
	vmap_stack_free(vmap_stack_alloc(1), 1);
	before = free_now();
	do {
		u8 *stack;
		void *device;
		bool all;

		hosted_fail_after(++n);
		stack = vmap_stack_alloc(4);
		device = vmap_device(HPA(GIB(3)), 3 * PAGE_SIZE, VMAP_UC);
		all = stack && device;
		vmap_stack_free(stack, 4);
		vunmap_device(device, 3 * PAGE_SIZE);
		assert_int_equal(all, !hosted_fail_happened());
		assert_int_equal(free_now(), before);
		assert_true(list_empty(&vmap.areas));
	} while (hosted_fail_happened());
	assert_true(n > 8);
	hosted_fail_after(0);
}

static u32 flushes, flush_wrong;
static u64 flush_free;

static void check_flush(const void *p)
{
	flushes++;
	/* Unmapped by now, and nothing of it is free yet. */
	if (leaf_at((u64)p) || free_now() != flush_free)
		flush_wrong++;
}

/* R13 for Weir's own tables: flush before the frame can be anyone else's. */
static void flush_comes_before_reuse(void **state)
{
	u8 *stack;

	start();
	hosted_cpu_set(1);
	hosted_cpu_set(0);
	stack = vmap_stack_alloc(4);
	flushes = flush_wrong = 0;
	flush_free = free_now();
	hosted_machine.invlpg = check_flush;
	vmap_stack_free(stack, 4);
	assert_int_equal(flush_wrong, 0);
	/* On every CPU. */
	assert_int_equal(flushes, 4 * cpu_count());
	assert_true(free_now() >= flush_free + 4);
}

static void freed_with_interrupts_off(void **state)
{
	u64 before;
	u8 *a, *b;
	bool on;

	start();
	hosted_cpu_set(1);
	hosted_cpu_set(0);
	vmap_stack_free(vmap_stack_alloc(1), 1);
	before = free_now();
	a = vmap_stack_alloc(2);
	flushes = flush_wrong = 0;
	on = irq_save();
	vmap_stack_free(a, 2);
	/* Nobody else can be told, so it stays. */
	assert_int_not_equal(leaf_at((u64)a), 0);
	b = vmap_stack_alloc(2);
	assert_ptr_not_equal(a, b);
	assert_int_not_equal(leaf_at((u64)a), 0);
	irq_restore(on);
	vmap_stack_free(b, 2);
	/* The next that can tell them does. */
	b = vmap_stack_alloc(2);
	assert_ptr_equal(a, b);
	vmap_stack_free(b, 2);
	assert_int_equal(free_now(), before);
}

struct unmap {
	u8 *p;
	u32 pages;
};

static void do_stack_free(void *arg)
{
	struct unmap *u = arg;

	vmap_stack_free(u->p, u->pages);
}

static void unmapping_what_is_not_mapped(void **state)
{
	struct unmap u = {.pages = 4};
	bool on;

	start();
	u.p = vmap_stack_alloc(4);
	u.pages = 3;
	assert_true(hosted_catch_panic(do_stack_free, &u));
	u.pages = 4;
	u.p += PAGE_SIZE;
	assert_true(hosted_catch_panic(do_stack_free, &u));
	u.p -= PAGE_SIZE;
	vmap_stack_free(u.p, 4);
	assert_true(hosted_catch_panic(do_stack_free, &u));
	assert_non_null(strstr(hosted_panic_text(), "twice"));
	/* Also while it waits for the other CPUs to be told. */
	hosted_cpu_set(1);
	hosted_cpu_set(0);
	u.p = vmap_stack_alloc(4);
	on = irq_save();
	vmap_stack_free(u.p, 4);
	assert_true(hosted_catch_panic(do_stack_free, &u));
	irq_restore(on);
}

/* --- Devices and firmware ------------------------------------------------------------------ */

static void devices(void **state)
{
	static const u64 flags[] = {
		[VMAP_WB] = 0, [VMAP_WC] = PTE_PWT, [VMAP_UC] = PTE_PCD | PTE_PWT};
	u64 before;

	start();
	vunmap_device(vmap_device(HPA(GIB(3)), PAGE_SIZE, VMAP_UC), PAGE_SIZE);
	before = free_now();
	for (u32 cache = VMAP_WB; cache <= VMAP_UC; cache++) {
		u8 *p = vmap_device(HPA(0xfed00ff8), 16, cache);

		assert_int_equal((u64)p & 0xfff, 0xff8);
		assert_int_equal(translate((u64)p), 0xfed00ff8);
		assert_int_equal(translate((u64)p + 8), 0xfed01000);
		assert_int_equal(leaf_at((u64)p) & RIGHTS,
				 PTE_PRESENT | PTE_WRITE | PTE_NX | flags[cache]);
		assert_int_equal(leaf_at((u64)p - PAGE_SIZE), 0);
		assert_int_equal(leaf_at((u64)p + 2 * PAGE_SIZE), 0);
		vunmap_device(p, 16);
		assert_int_equal(leaf_at((u64)p), 0);
		assert_int_equal(free_now(), before);
	}
	assert_null(vmap_device(HPA(GIB(3)), 0, VMAP_UC));
	assert_null(vmap_device(HPA(BIT(39)), 1, VMAP_UC));
	assert_null(vmap_device(HPA(BIT(39) - 1), 2, VMAP_UC));
	assert_null(vmap_device(HPA(GIB(3)), ~0ull, VMAP_UC));
	assert_null(vmap_device(HPA(~0ull), ~0ull, VMAP_UC));
	assert_null(vmap_device(HPA(IMAGE_HPA + TEXT_SIZE - 1), 1, VMAP_UC));
	assert_null(vmap_device(HPA(IMAGE_HPA - 8), 9, VMAP_UC));
	assert_int_equal(free_now(), before);
}

static void firmware(void **state)
{
	const u8 *a, *b;

	start_with(big, ARRAY_SIZE(big), BIG_ARENA);
	/* In RAM: the direct map, also across a boundary of large pages. */
	assert_ptr_equal(vmap_firmware(HPA(GIB(1) - 8), 16), phys_to_virt(HPA(GIB(1) - 8)));
	assert_ptr_equal(vmap_firmware(HPA(0xe0000), 0x20000), phys_to_virt(HPA(0xe0000)));
	assert_ptr_equal(vmap_firmware(HPA(GIB(2) + 100), 1000), phys_to_virt(HPA(GIB(2) + 100)));
	/* Half in RAM, and in none: a read-only view, the same one when asked again. */
	a = vmap_firmware(HPA(GIB(2) + KIB(68) - 10), 20);
	assert_int_equal(translate((u64)a), GIB(2) + KIB(68) - 10);
	assert_int_equal(translate((u64)a + 10), GIB(2) + KIB(68));
	assert_int_equal(leaf_at((u64)a) & RIGHTS, PTE_PRESENT | PTE_NX);
	b = vmap_firmware(HPA(GIB(3) + 36), KIB(8));
	assert_int_equal(translate((u64)b), GIB(3) + 36);
	assert_ptr_equal(vmap_firmware(HPA(GIB(3) + 36), 4), b);
	assert_ptr_equal(vmap_firmware(HPA(GIB(3)), KIB(12)), b - 36);
	assert_ptr_not_equal(vmap_firmware(HPA(GIB(3)), KIB(12) + 1), b - 36);
	assert_null(vmap_firmware(HPA(GIB(3)), 0));
	assert_null(vmap_firmware(HPA(BIT(39) - 4), 8));
	assert_null(vmap_firmware(HPA(~0ull - 4), 8));
}

/* An address that, added to the direct map's, is one of the vmap area: no table is there. */
static void firmware_beyond_the_direct_map(void **state)
{
	hpa_t far = HPA(VMAP_BASE - DIRECT_MAP_BASE + PAGE_SIZE);
	const u8 *p;

	phys_bits = 52;
	start();
	phys_bits = 39;
	assert_ptr_equal(vmap_stack_alloc(1), (u8 *)VMAP_BASE + PAGE_SIZE);
	p = vmap_firmware(far, 36);
	assert_non_null(p);
	assert_int_equal(translate((u64)p), far.v);
}

/* --- Many areas ---------------------------------------------------------------------------- */

#define AREAS 150

static void areas_never_touch(void **state)
{
	static struct unmap areas[AREAS];
	u64 before;
	u32 count = 0;

	start();
	vmap_stack_free(vmap_stack_alloc(1), 1);
	before = free_now();
	srandom(4);
	for (u32 i = 0; i < 4000; i++) {
		if (count < AREAS && random() % 2) {
			u32 pages = 1 + (u32)random() % 9;
			u8 *p = vmap_stack_alloc(pages);

			assert_non_null(p);
			for (u32 j = 0; j < count; j++) {
				u8 *end = areas[j].p + areas[j].pages * PAGE_SIZE;

				assert_true(p >= end + PAGE_SIZE ||
					    p + (pages + 1) * PAGE_SIZE <= areas[j].p);
			}
			areas[count].p = p;
			areas[count++].pages = pages;
		} else if (count) {
			u32 which = (u32)random() % count;

			vmap_stack_free(areas[which].p, areas[which].pages);
			areas[which] = areas[--count];
		}
		for (u32 j = 0; j < count; j++) {
			assert_int_not_equal(leaf_at((u64)areas[j].p), 0);
			assert_int_equal(leaf_at((u64)areas[j].p - PAGE_SIZE), 0);
		}
	}
	while (count--)
		vmap_stack_free(areas[count].p, areas[count].pages);
	assert_int_equal(free_now(), before);
}

/* --- Page tables alone --------------------------------------------------------------------- */

static void mapping_twice(void **state)
{
	const u64 va = VMAP_BASE + GIB(8);
	struct list tables = LIST_INIT(tables);

	start();
	plant(va + PAGE_SIZE, GIB(1), PAGE_SIZE, PTE_NX);
	assert_int_equal(pagetable_map(&vmap.pt, va + PAGE_SIZE, HPA(GIB(1)), PAGE_SIZE, 0),
			 ERR_EXIST);
	/* A large page may not take the place of a table. */
	assert_int_equal(pagetable_map(&vmap.pt, va, HPA(GIB(1)), MIB(2), 0), ERR_EXIST);
	plant(va + MIB(2), GIB(1), MIB(2), PTE_NX);
	/* Nor a small one be put into a large one. */
	assert_int_equal(pagetable_map(&vmap.pt, va + MIB(2) + KIB(4), HPA(0), PAGE_SIZE, 0),
			 ERR_EXIST);
	assert_int_equal(translate(va + PAGE_SIZE), GIB(1));
	pagetable_unmap(&vmap.pt, va, MIB(4), &tables, NULL);
	assert_int_equal(leaf_at(va + PAGE_SIZE) | leaf_at(va + MIB(2)), 0);
	/* The last-level table went, alone. */
	assert_false(list_empty(&tables));
	assert_ptr_equal(tables.next, tables.prev);
	vmap_free_frames(&tables);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(direct_map_shows_ram_alone),
		cmocka_unit_test(uncached_ram_is_cut_out),
		cmocka_unit_test(image_is_mapped_by_section),
		cmocka_unit_test(init_fails_for_want_of_memory),
		cmocka_unit_test(audit_is_clean),
		cmocka_unit_test(audit_finds_breaches),
		cmocka_unit_test(audit_finds_user_pages),
		cmocka_unit_test(audit_combines_the_levels),
		cmocka_unit_test(stacks_have_guards),
		cmocka_unit_test(every_allocation_fails_once),
		cmocka_unit_test(flush_comes_before_reuse),
		cmocka_unit_test(freed_with_interrupts_off),
		cmocka_unit_test(unmapping_what_is_not_mapped),
		cmocka_unit_test(devices),
		cmocka_unit_test(firmware),
		cmocka_unit_test(firmware_beyond_the_direct_map),
		cmocka_unit_test(areas_never_touch),
		cmocka_unit_test(mapping_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
