/* SPDX-License-Identifier: MIT */
/*
 * What it costs a guest to work on its page tables, in ticks of its TSC: with EPT nothing of it leaves
 * the guest, with shadow paging most does. All memory is touched before, so that no figure has a first
 * touch in it. It needs no more than a PC and isa-debug-exit.
 */
#include "measure.h"
#include "page_table.h"

#define PAGE_SIZE  4096u
#define LARGE_PAGE 0x400000u
#define ENTRIES	   1024u

#define MEMORY	  0x4000000u /* all of it is mapped where it is, by 4 MiB */
#define FRESH	  0x1000000u /* nothing of this program's above */
#define WINDOW	  0x40000000u
#define TABLES	  10u /* of the window */
#define UNUSED	  0xc0000000u
#define PROCESSES 16u
#define PROCESS	  0x80000000u /* where each has pages of its own */
#define OWN_PAGES 16u
#define FORK	  256u /* pages that a process has when it forks */
#define FORKS	  200u
#define VECTOR_PF 14u

static u32 directory[ENTRIES] PAGE, window[TABLES][ENTRIES] PAGE;
static u32 process[PROCESSES][ENTRIES] PAGE, own[PROCESSES][ENTRIES] PAGE;
static u32 child[ENTRIES] PAGE, child_own[ENTRIES] PAGE;
static volatile u32 seen;

static inline void load_cr3(const u32 *table)
{
	__asm__ volatile("mov %0, %%cr3" ::"r"(table) : "memory");
}

static inline void touch(u32 va)
{
	seen = *(volatile u32 *)va;
}

static void map_all_memory(u32 *table)
{
	for (u32 i = 0; i < MEMORY / LARGE_PAGE; i++)
		table[i] = i * LARGE_PAGE | PS | W | P;
}

static void paging_on(void)
{
	map_all_memory(directory);
	__asm__ volatile("mov %%cr4, %%eax; or $0x10, %%eax; mov %%eax, %%cr4\n\t"
			 "mov %0, %%cr3\n\t"
			 "mov %%cr0, %%eax; or $0x80010000, %%eax; mov %%eax, %%cr0"
			 :
			 : "r"(directory)
			 : "eax", "memory");
	for (u32 at = FRESH; at < MEMORY; at += PAGE_SIZE)
		*(volatile u32 *)at = at;
}

static u32 page_of(u32 n)
{
	return FRESH + n % ((MEMORY - FRESH) / PAGE_SIZE) * PAGE_SIZE;
}

/* The tables are complete when the directory shows them. */
static void one_by_one(void)
{
	u32 *entries = window[0];

	for (u32 i = 0; i < TABLES * ENTRIES; i++)
		entries[i] = page_of(i) | W | P;
	for (u32 i = 0; i < TABLES; i++)
		directory[WINDOW / LARGE_PAGE + i] = (u32)window[i] | W | P;
	MEASURE("page-first-read", touch(WINDOW + i * PAGE_SIZE));
	MEASURE("page-read-again", touch(WINDOW + i * PAGE_SIZE));
	MEASURE("page-first-write", *(volatile u32 *)(WINDOW + i * PAGE_SIZE) = 1);
	MEASURE("entry-write", entries[i] = page_of(i + 1) | W | P);
	MEASURE("invlpg", invlpg(WINDOW + i * PAGE_SIZE));
	MEASURE("page-read-remapped", touch(WINDOW + i * PAGE_SIZE));
	/* What CR3 leads to stays write-protected under shadow paging, however often it is written. */
	MEASURE("directory-write", directory[UNUSED / LARGE_PAGE] = page_of(i) | W);
}

/* Each sample is a switch to the next of n; what it touches there it has touched before. */
static void switch_among(const char *name, u32 n, u32 pages)
{
	for (u32 i = 0; i < SAMPLES; i++) {
		u32 before = now();

		load_cr3(process[i % n]);
		for (u32 k = 0; k < pages; k++)
			touch(PROCESS + k * PAGE_SIZE);
		samples[i] = now() - before;
	}
	report(name);
}

static void switches(void)
{
	for (u32 i = 0; i < PROCESSES; i++) {
		map_all_memory(process[i]);
		for (u32 k = 0; k < OWN_PAGES; k++)
			own[i][k] = page_of(i * OWN_PAGES + k) | W | P;
		process[i][PROCESS / LARGE_PAGE] = (u32)own[i] | W | P;
	}
	switch_among("cr3-1", 1, 0);
	switch_among("cr3-4", 4, 0);
	switch_among("cr3-16", 16, 0);
	switch_among("cr3-16-touch", 16, OWN_PAGES);
	load_cr3(directory);
}

/* The child's own copy of what it writes to. */
static void page_fault(struct frame *f)
{
	u32 va, index;

	if (f->vector != VECTOR_PF)
		return;
	__asm__ volatile("mov %%cr2, %0" : "=r"(va));
	index = va / PAGE_SIZE % ENTRIES;
	child_own[index] = page_of(FORK + index) | W | P;
	invlpg(va);
}

static void fork_write_exit(void)
{
	for (u32 i = 0; i < FORK; i++) {
		child_own[i] = own[0][i] & ~W;
		own[0][i] &= ~W;
	}
	child[PROCESS / LARGE_PAGE] = (u32)child_own | W | P;
	load_cr3(process[0]);
	load_cr3(child);
	for (u32 i = 0; i < OWN_PAGES; i++)
		*(volatile u32 *)(PROCESS + i * 8 * PAGE_SIZE) = i;
	load_cr3(process[0]);
	child[PROCESS / LARGE_PAGE] = 0;
	for (u32 i = 0; i < FORK; i++) {
		child_own[i] = 0;
		own[0][i] |= W;
	}
}

static void forks(void)
{
	u32 faults = interrupt_count[VECTOR_PF];

	interrupt_hook = page_fault;
	exception_keep_eip = true;
	map_all_memory(child);
	for (u32 i = 0; i < FORK; i++)
		own[0][i] = page_of(i) | W | P;
	load_cr3(process[0]);
	for (u32 i = 0; i < FORK; i++)
		touch(PROCESS + i * PAGE_SIZE);
	for (u32 i = 0; i < FORKS; i++) {
		u32 before = now();

		fork_write_exit();
		samples[i] = now() - before;
	}
	report_first("fork", FORKS);
	check("each write of a child's is a page fault",
	      interrupt_count[VECTOR_PF] - faults == FORKS * OWN_PAGES);
}

void main(u32 magic, const void *info)
{
	(void)magic;
	(void)info;
	interrupts_init();
	measure_nothing();
	paging_on();
	one_by_one();
	switches();
	forks();
	guest_end();
}
