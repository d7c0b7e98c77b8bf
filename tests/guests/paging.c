/* SPDX-License-Identifier: MIT */
/*
 * A guest that sets up 32-bit and PAE paging itself and checks what its CPU does with its tables:
 * faults and their error codes, A and D, large pages, aliases, live tables written in every width,
 * INVLPG, CR0.WP, NX, SMEP, SMAP, tables that become data and back. Nothing in it depends on who runs
 * it: on bare hardware, with EPT and with shadow paging it says the same.
 */
#include "page_table.h"

#define WINDOW	 0x40000000u /* where the pages under test are mapped */
#define TABLE_AT 16u	     /* page of the window at which the window's own table is */

#define RSVD 8u
#define ID   0x10u

static u32 directory32[1024] PAGE, table32[1024] PAGE;
static u64 pdpt[4] __attribute__((aligned(32)));
static u64 directory_low[512] PAGE, directory_window[512] PAGE, table64[512] PAGE;
static u32 page[4][1024] PAGE;
static u8 spare[4096] PAGE;

static bool pae;

/* --- Accesses that may fault --- */

#define FAULTED 0x80000000u

/* The error code and FAULTED, or 0. */
static u32 outcome(u32 before)
{
	return exceptions() == before ? 0 : exception_error | FAULTED;
}

static u32 read_fault(u32 va)
{
	u32 before = exceptions();

	__asm__ volatile("movl $1f, exception_resume\n\t"
			 "movl (%0), %%eax\n"
			 "1:\tmovl $0, exception_resume" ::"r"(va)
			 : "eax", "memory");
	return outcome(before);
}

static u32 write_fault(u32 va, u32 value)
{
	u32 before = exceptions();

	__asm__ volatile("movl $1f, exception_resume\n\t"
			 "movl %1, (%0)\n"
			 "1:\tmovl $0, exception_resume" ::"r"(va),
			 "r"(value)
			 : "memory");
	return outcome(before);
}

/* The page begins with RET. */
static u32 exec_fault(u32 va)
{
	u32 before = exceptions();

	__asm__ volatile("movl $1f, exception_resume\n\t"
			 "movl %%esp, %%esi\n\t"
			 "call *%0\n"
			 "1:\tmovl %%esi, %%esp\n\t"
			 "movl $0, exception_resume" ::"r"(va)
			 : "esi", "memory");
	return outcome(before);
}

static u32 load(u32 va)
{
	return *(volatile u32 *)va;
}

/* --- Tables of either kind --- */

static void *table(void)
{
	return pae ? (void *)table64 : (void *)table32;
}

static u32 entry_size(void)
{
	return pae ? 8 : 4;
}

static void set(u32 i, u64 value)
{
	if (pae)
		((volatile u64 *)table64)[i] = value;
	else
		((volatile u32 *)table32)[i] = (u32)value;
}

static u32 get(u32 i)
{
	return pae ? (u32)((volatile u64 *)table64)[i] : ((volatile u32 *)table32)[i];
}

/* The directory's entry for the window. */
static void set_directory(u64 value)
{
	if (pae)
		((volatile u64 *)directory_window)[0] = value;
	else
		((volatile u32 *)directory32)[WINDOW >> 22] = (u32)value;
}

static u32 get_directory(void)
{
	return pae ? (u32)((volatile u64 *)directory_window)[0]
		   : ((volatile u32 *)directory32)[WINDOW >> 22];
}

static u32 at(u32 i)
{
	return WINDOW + i * 4096;
}

/* The window's table as it stands in the window itself. */
static u32 entry_at(u32 i)
{
	return at(TABLE_AT) + i * entry_size();
}

static void fresh(void)
{
	for (u32 i = 0; i < 512; i++)
		set(i, 0);
	set(TABLE_AT, (u32)table() | P | W);
	set_directory((u32)table() | P | W | U);
	flush();
	for (u32 i = 0; i < 4; i++) {
		page[i][0] = 0x90c3c3c3u; /* RET */
		page[i][1] = 0x1000 + i;
	}
}

static void say(const char *name, bool ok)
{
	print(pae ? "PAE: " : "32-bit: ");
	check(name, ok);
}

/* --- Checks --- */

static void check_presence(void)
{
	fresh();
	say("a read of no page", read_fault(at(0)) == FAULTED && READ_CR(2) == at(0));
	say("a write to no page",
	    write_fault(at(1) + 8, 1) == (FAULTED | W) && READ_CR(2) == at(1) + 8);
	set(0, (u32)page[0] | P | W);
	say("from not present to present no flush is needed",
	    !read_fault(at(0)) && load(at(0) + 4) == 0x1000);
	set(0, 0);
	invlpg(at(0));
	say("it goes with INVLPG", read_fault(at(0)) == FAULTED);
	set_directory(0);
	flush();
	say("no table", read_fault(at(0)) == FAULTED);
}

static void check_marks(void)
{
	fresh();
	set(0, (u32)page[0] | P | W);
	say("no A before the first use", !(get(0) & (A | D)));
	(void)load(at(0));
	say("a read sets A alone", (get(0) & (A | D)) == A && (get_directory() & A));
	say("a write sets D", !write_fault(at(0) + 8, 7) && (get(0) & (A | D)) == (A | D));
	set(0, (u32)page[0] | P | W);
	invlpg(at(0));
	say("and again when both are cleared",
	    !write_fault(at(0) + 8, 8) && (get(0) & (A | D)) == (A | D));
	set(1, (u32)page[1] | P);
	say("a write that faults sets no D",
	    write_fault(at(1), 1) == (FAULTED | P | W) && !(get(1) & D));
}

static void check_write_protect(void)
{
	fresh();
	set(0, (u32)page[0] | P);
	say("a read of what may not be written", !read_fault(at(0)));
	say("a write to it with WP", write_fault(at(0) + 8, 1) == (FAULTED | P | W));
	if (!no_writes_without_wp) {
		WRITE_CR(0, READ_CR(0) & ~CR0_WP);
		say("a write to it without WP",
		    !write_fault(at(0) + 8, 0x77) && page[0][2] == 0x77);
		say("sets D", get(0) & D);
		WRITE_CR(0, READ_CR(0) | CR0_WP);
	}
	say("and with WP again", write_fault(at(0) + 8, 1) == (FAULTED | P | W));
	set(0, (u32)page[0] | P | W);
	set_directory((u32)table() | P);
	flush();
	say("the directory's right counts too", write_fault(at(0), 1) == (FAULTED | P | W));
}

static void check_aliases(void)
{
	fresh();
	set(0, (u32)page[0] | P | W);
	set(1, (u32)page[0] | P);
	say("one page at two addresses",
	    !write_fault(at(0) + 12, 0xabcd) && load(at(1) + 12) == 0xabcd);
	set(1, (u32)page[1] | P);
	invlpg(at(1));
	say("one of them moves", load(at(1) + 4) == 0x1001 && load(at(0) + 4) == 0x1000);
}

/* Through the window, by instructions that write parts of an entry. */
static void check_live_writes(void)
{
	fresh();
	set(0, (u32)page[0] | P | W);
	(void)load(at(0));
	*(volatile u32 *)entry_at(0) = (u32)page[1] | P | W;
	invlpg(at(0));
	say("32 bits of a live entry", load(at(0) + 4) == 0x1001);
	*(volatile u16 *)entry_at(0) = (u16)((u32)page[2] | P | W);
	*(volatile u16 *)(entry_at(0) + 2) = (u16)((u32)page[2] >> 16);
	invlpg(at(0));
	say("16 bits twice", load(at(0) + 4) == 0x1002);
	*(volatile u8 *)entry_at(0) = W;
	invlpg(at(0));
	say("8 bits", read_fault(at(0)) == FAULTED);
	__asm__ volatile("lock btsl $0, (%0)" ::"r"(entry_at(0)) : "memory");
	say("LOCK BTS", load(at(0) + 4) == 0x1002);
	__asm__ volatile("lock andl %1, (%0)" ::"r"(entry_at(0)), "r"(~W) : "memory");
	invlpg(at(0));
	say("LOCK AND", write_fault(at(0) + 8, 1) == (FAULTED | P | W));
	__asm__ volatile("xchgl %0, (%1)" ::"r"((u32)page[3] | P | W), "r"(entry_at(0)) : "memory");
	invlpg(at(0));
	say("XCHG", load(at(0) + 4) == 0x1003);
}

static void check_wide_writes(void)
{
	u32 low = (u32)page[1] | P | W, old = get(0);

	fresh();
	set(0, (u32)page[0] | P | W);
	(void)load(at(0));
	old = get(0);
	__asm__ volatile("lock cmpxchgl %2, (%1)"
			 : "+a"(old)
			 : "r"(entry_at(0)), "r"(low)
			 : "memory");
	invlpg(at(0));
	say("LOCK CMPXCHG", load(at(0) + 4) == 0x1001);
	set(3, (u32)page[0] | P | W);
	set(4, (u32)page[0] | P | W);
	(void)load(at(3));
	(void)load(at(4));
	/* Over the end of one entry into the next: what belongs to the second keeps its value. */
	*(volatile u32 *)(entry_at(4) - 2) = get(4) << 16;
	invlpg(at(3));
	invlpg(at(4));
	say("a write over two entries", load(at(4) + 4) == 0x1000);
	__asm__ volatile("rep stosl" : : "a"(0), "D"(entry_at(0)), "c"(8) : "memory");
	flush();
	say("REP STOS over entries", read_fault(at(0)) == FAULTED && read_fault(at(3)) == FAULTED);
}

static void check_large(void)
{
	u32 size = pae ? 0x200000u : 0x400000u;
	u32 base = (u32)page[0] & ~(size - 1), there = WINDOW + ((u32)page[0] & (size - 1));

	fresh();
	set_directory(base | P | W | PS);
	flush();
	say("a large page", load(there + 4) == 0x1000);
	say("sets A in its entry", (get_directory() & (A | D)) == A);
	say("and D", !write_fault(there + 8, 5) && page[0][2] == 5 && (get_directory() & D));
	set_directory(base | P | PS);
	flush();
	say("that may not be written", write_fault(there + 8, 6) == (FAULTED | P | W));
	set_directory((u32)table() | P | W | U);
	set(0, (u32)page[1] | P | W);
	flush();
	say("and a table in its place", load(at(0) + 4) == 0x1001);
}

static void check_recycled(void)
{
	fresh();
	set(0, (u32)page[0] | P | W);
	(void)load(at(0));
	set_directory((u32)spare | P | W | U);
	flush();
	/* Data now, as far as the CPU knows; a fault elsewhere must not give it to the guest as more. */
	for (u32 i = 0; i < 512; i++)
		set(i, 0xdeadbee0 + i);
	say("a table that is data keeps what is written", get(7) == 0xdeadbee7);
	say("and is walked no more", read_fault(at(0)) == FAULTED);
	for (u32 i = 0; i < 512; i++)
		set(i, 0);
	set(0, (u32)page[2] | P | W);
	set_directory((u32)table() | P | W | U);
	flush();
	say("and is a table again", load(at(0) + 4) == 0x1002);
}

static void check_rights_of_users(void)
{
	u32 cr4 = READ_CR(4);

	fresh();
	set(0, (u32)page[0] | P | W | U);
	say("a supervisor uses a user's page", !read_fault(at(0)) && !exec_fault(at(0)));
	if (cpu_smep) {
		WRITE_CR(4, cr4 | CR4_SMEP);
		say("SMEP", exec_fault(at(0)) == (FAULTED | P | ID) && !read_fault(at(0)));
	}
	if (cpu_smap) {
		WRITE_CR(4, cr4 | CR4_SMAP);
		say("SMAP", read_fault(at(0)) == (FAULTED | P));
		__asm__ volatile("stac");
		say("SMAP with AC", !read_fault(at(0)));
		__asm__ volatile("clac");
		say("SMAP without", write_fault(at(0) + 8, 1) == (FAULTED | P | W));
	}
	WRITE_CR(4, cr4);
	say("and neither again", !exec_fault(at(0)) && !read_fault(at(0)));
}

static void check_high_bits(void)
{
	fresh();
	if (!pae)
		return;
	set(0, (u32)page[0] | P | W | 1ull << 52);
	say("a reserved bit", read_fault(at(0)) == (FAULTED | P | RSVD));
	if (!cpu_nx)
		return;
	set(1, (u32)page[1] | P | W | XD);
	say("NX without NXE is reserved", read_fault(at(1)) == (FAULTED | P | RSVD));
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	flush();
	say("NX lets read", !read_fault(at(1)));
	say("but not execute", exec_fault(at(1)) == (FAULTED | P | ID));
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_NXE);
}

static void check_off_and_on(void)
{
	u32 cr0 = READ_CR(0);

	fresh();
	set(0, (u32)page[3] | P | W);
	(void)load(at(0));
	WRITE_CR(0, cr0 & ~CR0_PG);
	page[3][1] = 0x4321;
	set(0, (u32)page[1] | P | W);
	WRITE_CR(0, cr0);
	say("paging off, a change, and on", load(at(0) + 4) == 0x1001);
}

static void check_mode(void)
{
	check_presence();
	check_marks();
	check_write_protect();
	check_aliases();
	check_live_writes();
	check_wide_writes();
	check_large();
	check_recycled();
	check_rights_of_users();
	check_high_bits();
	check_off_and_on();
	check_live_writes();
}

/* The first GiB as it is, in large pages. */
static void turn_on(void)
{
	if (pae) {
		for (u32 i = 0; i < 512; i++)
			directory_low[i] = (u64)i << 21 | P | W | PS;
		pdpt[0] = (u32)directory_low | P;
		pdpt[WINDOW >> 30] = (u32)directory_window | P;
		WRITE_CR(4, (READ_CR(4) & ~CR4_PSE) | CR4_PAE);
		WRITE_CR(3, (u32)pdpt);
	} else {
		for (u32 i = 0; i < 256; i++)
			directory32[i] = i << 22 | P | W | PS;
		WRITE_CR(4, READ_CR(4) | CR4_PSE);
		WRITE_CR(3, (u32)directory32);
	}
	WRITE_CR(0, READ_CR(0) | CR0_PG | CR0_WP);
}

void main(u32 magic, const u32 *info)
{
	(void)magic;
	read_words(info);
	outb(0x3fb, 3); /* 8 bits, where no firmware has said so */
	interrupts_init();
	identify_cpu();
	turn_on();
	check_mode();
	WRITE_CR(0, READ_CR(0) & ~CR0_PG);
	pae = true;
	turn_on();
	check_mode();
	WRITE_CR(0, READ_CR(0) & ~CR0_PG);
	check("paging off at last", page[0][1] == 0x1000);
	guest_end();
}
