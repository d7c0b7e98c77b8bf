/* SPDX-License-Identifier: MIT */
/*
 * A page below 1 MiB for CPUs to begin in, and the page tables they turn paging on with: the
 * upper half is Weir's own, the lower shows that one page, read-only and executable.
 */
#include "kernel/base/error.h"
#include "kernel/base/harden.h"
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "smp/trampoline.h"

/* Some firmware's SMM code writes to the lowest 64 KiB whatever its memory map says. */
#define LOW_MEMORY_GOOD 0x10000
#define LOW_MEMORY_END	0xa0000
#define ENTRIES		512
#define PTE_PRESENT	BIT(0)
#define PTE_WRITE	BIT(1)
#define PTE_ADDRESS	0x000ffffffffff000ull

#ifndef WEIR_HOSTED
extern u8 trampoline_start[], trampoline_end[], trampoline_code32[], trampoline_code64[];
extern u8 trampoline_gdt[], trampoline_gdt_base[], trampoline_jump32[], trampoline_jump64[];
extern u8 trampoline_cr3[], trampoline_stack[], trampoline_argument[], trampoline_entry[];
extern u8 trampoline_final_cr3[], trampoline_show_nx[];
void ap_entry(void);

static u64 pml4[ENTRIES] __aligned(4096);
static u64 pdpt[ENTRIES] __aligned(4096);
static u64 directory[ENTRIES] __aligned(4096);
static u64 table[ENTRIES] __aligned(4096);
static u64 page; /* physical address */

static void put(const u8 *symbol, u64 value, u32 bytes)
{
	memcpy((u8 *)phys_to_virt(HPA(page)) + (symbol - trampoline_start), &value, bytes);
}

static void build_tables(u64 cr3)
{
	const u64 *live = phys_to_virt(HPA(cr3 & PTE_ADDRESS));

	memset(pml4, 0, sizeof(pml4));
	memcpy(&pml4[ENTRIES / 2], &live[ENTRIES / 2], sizeof(pml4) / 2);
	pml4[0] = virt_to_phys(pdpt).v | PTE_PRESENT | PTE_WRITE;
	pdpt[0] = virt_to_phys(directory).v | PTE_PRESENT | PTE_WRITE;
	directory[0] = virt_to_phys(table).v | PTE_PRESENT | PTE_WRITE;
	memset(table, 0, sizeof(table));
	table[page / PAGE_SIZE] = page | PTE_PRESENT;
}

int trampoline_prepare(u64 cr3)
{
	page = trampoline_page_take();
	if (page == TRAMPOLINE_NONE)
		return ERR_NOENT;
	/* Loaded in 32-bit code, so the tables must be below 4 GiB: GRUB puts the image there. */
	BUG_ON(virt_to_phys(pml4).v >> 32);
	BUG_ON(trampoline_end - trampoline_start > (long)PAGE_SIZE);
	build_tables(cr3);
	memcpy(phys_to_virt(HPA(page)), trampoline_start, trampoline_end - trampoline_start);
	put(trampoline_gdt_base, page + (trampoline_gdt - trampoline_start), 4);
	put(trampoline_jump32, page + (trampoline_code32 - trampoline_start), 4);
	put(trampoline_jump64, page + (trampoline_code64 - trampoline_start), 4);
	put(trampoline_cr3, virt_to_phys(pml4).v, 8);
	put(trampoline_final_cr3, cr3, 8);
	put(trampoline_entry, (u64)ap_entry, 8);
	put(trampoline_show_nx, harden_nx_was_hidden(), 4);
	log_debug("CPUs start at %#lx", page);
	return 0;
}

u8 trampoline_page(void)
{
	return (u8)(page / PAGE_SIZE);
}

void trampoline_set(u64 stack_top, void *argument)
{
	put(trampoline_stack, stack_top, 8);
	put(trampoline_argument, (u64)argument, 8);
}

void trampoline_wipe(void)
{
	trampoline_page_give_back(page);
	pml4[0] = 0;
}
#endif

/* An empty range overlaps nothing, wherever it is. */
static bool overlaps(u64 a, u64 a_end, u64 b, u64 b_end)
{
	return a < b_end && b < a_end && b < b_end;
}

/* An entry's end, cut off at the top of the address space where base + length wraps. */
static u64 entry_end(const struct boot_mmap_entry *e)
{
	return e->length > ~0ull - e->base ? ~0ull : e->base + e->length;
}

static bool page_fits(u64 start, const struct boot_mmap_entry *map, u32 count)
{
	u64 end = start + PAGE_SIZE;
	bool inside = false;

	for (u32 i = 0; i < count; i++) {
		if (map[i].type == BOOT_MEM_AVAILABLE)
			inside |= map[i].base <= start && end <= entry_end(&map[i]);
		else if (overlaps(start, end, map[i].base, entry_end(&map[i])))
			return false;
	}
	return inside;
}

static u64 choose_between(u64 from, u64 end, const struct boot_mmap_entry *map, u32 count,
			  const struct trampoline_keep *keep, u32 keep_count)
{
	for (u64 start = from; start < end; start += PAGE_SIZE) {
		bool kept = false;

		for (u32 i = 0; i < keep_count; i++)
			kept |= overlaps(start, start + PAGE_SIZE, keep[i].start, keep[i].end);
		if (!kept && page_fits(start, map, count))
			return start;
	}
	return TRAMPOLINE_NONE;
}

u64 trampoline_choose(const struct boot_mmap_entry *map, u32 count,
		      const struct trampoline_keep *keep, u32 keep_count)
{
	u64 start = choose_between(LOW_MEMORY_GOOD, LOW_MEMORY_END, map, count, keep, keep_count);

	if (start == TRAMPOLINE_NONE)
		start = choose_between(PAGE_SIZE, LOW_MEMORY_GOOD, map, count, keep, keep_count);
	return start;
}

/* What was on the page that was taken: a module's bytes, or nothing. */
static u8 aside[PAGE_SIZE];

u64 trampoline_page_take(void)
{
	static struct trampoline_keep keep[BOOT_MODULES_MAX + 1];
	u64 taken;
	u32 n = 0;

	keep[n++] = (struct trampoline_keep){boot_info.image_start.v, boot_info.image_end.v};
	for (u32 i = 0; i < boot_info.module_count; i++) {
		const struct boot_module *m = &boot_info.modules[i];

		keep[n++] = (struct trampoline_keep){m->start.v, m->start.v + m->size};
	}
	memset(aside, 0, sizeof(aside));
	taken = trampoline_choose(boot_info.mmap, boot_info.mmap_count, keep, n);
	if (taken != TRAMPOLINE_NONE)
		return taken;
	taken = trampoline_choose(boot_info.mmap, boot_info.mmap_count, keep, 1);
	if (taken != TRAMPOLINE_NONE)
		memcpy(aside, phys_to_virt(HPA(taken)), PAGE_SIZE);
	return taken;
}

void trampoline_page_give_back(u64 taken)
{
	memcpy(phys_to_virt(HPA(taken)), aside, PAGE_SIZE);
}
