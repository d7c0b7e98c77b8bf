/* SPDX-License-Identifier: MIT */
/*
 * What the guest `tables` stands on: its page tables in three modes, the descriptors and vectors that
 * these take, and one access at a time with what came of it.
 */
#ifndef TESTS_GUESTS_TABLES_H
#define TESTS_GUESTS_TABLES_H

#include "page_table.h"

#define WINDOW	   0x40000000u		 /* below 4 GiB, with 4-level paging as well */
#define USER_AT	   0x40c00000u		 /* the user's code */
#define HIGH	   0xffff812345600000ull /* the window a second time, with 4-level paging */
#define SELF	   16u			 /* page of the window at which its own table is */
#define LDT_PAGE   21u
#define PAGES	   8u
#define BIG_A	   0x800000u /* in memory */
#define BIG_B	   0xc00000u
#define FAR_IN	   0x5000u /* of a large page */
#define PTES	   512u
#define VECTOR_END 128u
#define NO_ANSWER  0xf0000000u

#define OPEN (P | W | U)

#define EFER_LME 0x100u
#define FLAG_AC	 0x40000u

enum mode {
	MODE_32,
	MODE_PAE,
	MODE_LONG,
};
enum kind {
	KIND_READ,
	KIND_WRITE,
	KIND_RUN,
	KIND_LOAD_FS,
	KIND_LOAD_CR3,
};

/* tables_code.S */
extern struct {
	u32 vector, error;
	u64 cr2, value;
} volatile probe;
extern u64 user_code;
extern u8 access_begin[], access_end[], fault_stack_top[];
void probe_32(u32 kind, u32 address, u32 value, u32 user);
void probe_64(u32 kind, u32 low, u32 high, u32 value, u32 user);
void probe_unexpected(void);

static enum mode mode;
static const char *const mode_names[] = {"32-bit", "PAE", "4-level"};
static u32 physical_bits;

static u32 directory32[1024] PAGE, table32[1024] PAGE, user_table32[1024] PAGE;
static u64 pdpt_pae[4] __attribute__((aligned(32)));
static u64 other_pdpt[4] __attribute__((aligned(32)));
static u64 pml4[PTES] PAGE, pdpt_low[PTES] PAGE, pdpt_high[PTES] PAGE;
static u64 directory_low[PTES] PAGE, directory[PTES] PAGE, table64[PTES] PAGE;
static u64 user_table64[PTES] PAGE;
static u8 other_table[4096] PAGE;
#define SMALL_TABLES 4u /* of the kernel's memory, by pages of 4 KiB */
static u32 small_tables[SMALL_TABLES][1024] PAGE;
static u8 code_page[4096] PAGE;
static u64 ldt_page[PTES] PAGE;
static u32 page[PAGES][1024] __attribute__((aligned(0x10000)));

/* --- The machine --- */

static void set_flags(u32 clear, u32 set)
{
	u32 flags;

	__asm__ volatile("pushf; pop %0" : "=r"(flags));
	__asm__ volatile("push %0; popf" ::"r"((flags & ~clear) | set) : "memory", "cc");
}

static u64 gdt[12] __attribute__((aligned(16))) = {
	0,
	0x00cf9b000000ffff, /* code, data */
	0x00cf93000000ffff,
	0x00af9b000000ffff, /* code of 64 bits */
	0x00cffb000000ffff, /* the user's */
	0x00cff3000000ffff,
	0x00affb000000ffff,
};
#define GDT_TSS32 7u
#define GDT_TSS64 8u /* two */
#define GDT_LDT	  10u
static u32 tss[26]; /* as of 32 bits and as of 64 */
static u64 idt32[256], idt64[512];

static u64 descriptor(u32 base, u32 limit, u64 access)
{
	return (u64)(base >> 24) << 56 | access << 40 | (u64)(base & 0xffffff) << 16 | limit;
}

#define SET_HANDLER(n, dpl)                                                                  \
	do {                                                                                 \
		extern u8 handler_32_##n[], handler_64_##n[];                                \
		set_handler(n, (u32)handler_32_##n, (u32)handler_64_##n, 0x8e | (dpl) << 5); \
	} while (0)

static void set_handler(u32 n, u32 at32, u32 at64, u64 access)
{
	idt32[n] = (u64)(at32 >> 16) << 48 | access << 40 | 0x08 << 16 | (at32 & 0xffff);
	idt64[2 * n] = (u64)(at64 >> 16) << 48 | access << 40 | 0x18 << 16 | (at64 & 0xffff);
}

static void load_table(u32 which, const void *base, u32 size)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) pointer = {(u16)(size - 1), (u32)base};

	if (which)
		__asm__ volatile("lidt %0" ::"m"(pointer));
	else
		__asm__ volatile("lgdt %0" ::"m"(pointer));
}

static void make_descriptors(void)
{
	u32 top = (u32)fault_stack_top;

	gdt[GDT_LDT] = descriptor(WINDOW + LDT_PAGE * 4096, 0xf, 0x82);
	load_table(0, gdt, sizeof(gdt));
	SET_HANDLER(6, 0);
	SET_HANDLER(8, 0);
	SET_HANDLER(10, 0);
	SET_HANDLER(11, 0);
	SET_HANDLER(12, 0);
	SET_HANDLER(13, 0);
	SET_HANDLER(14, 0);
	SET_HANDLER(128, 3);
	tss[1] = top; /* ESP0, and RSP0's lower half */
	tss[2] = mode == MODE_LONG ? 0 : 0x10;
}

/* What depends on the mode: the task, its stack, the vectors. */
static void load_descriptors(void)
{
	u16 task = (mode == MODE_LONG ? GDT_TSS64 : GDT_TSS32) * 8;

	make_descriptors();
	gdt[task / 8] = descriptor((u32)tss, sizeof(tss) - 1, 0x89);
	load_table(1, mode == MODE_LONG ? idt64 : idt32,
		   mode == MODE_LONG ? sizeof(idt64) : sizeof(idt32));
	__asm__ volatile("ltr %0" ::"r"(task));
	__asm__ volatile("lldt %0" ::"r"((u16)(GDT_LDT * 8)));
}

void probe_unexpected(void)
{
	print("guest: exception ");
	print_hex(probe.vector);
	print(" code ");
	print_hex(probe.error);
	print(" address ");
	print_hex((u32)probe.cr2);
	print("\n");
	check("no unexpected exception", false);
	guest_end();
}

/* --- One access, and a letter for what came of it --- */

static void access_at(enum kind kind, u64 address, u32 value, bool user)
{
	if (mode == MODE_LONG)
		probe_64(kind, (u32)address, (u32)(address >> 32), value, user);
	else
		probe_32(kind, (u32)address, value, user);
}

static const char digits[] = "0123456789abcdefghijklmnopqrstuv";

/* Of a page fault its code, if CR2 has the address. */
static char answer(u64 address)
{
	switch (probe.vector) {
	case VECTOR_END:
		return '.';
	case 14:
		if (mode != MODE_LONG)
			address = (u32)address;
		return probe.cr2 == address && probe.error < 32 ? digits[probe.error] : '!';
	case 13:
		return 'G';
	default:
		return '?';
	}
}

static char try(enum kind kind, u64 base, bool user)
{
	static const u32 offset[] = {4, 8, 0};
	u64 address = base + offset[kind];

	access_at(kind, address, 0x77, user);
	return answer(address);
}

static char line[256];
static u32 line_length;

static void put_in_line(char c)
{
	if (line_length < sizeof(line) - 1)
		line[line_length++] = c;
}

static void end_line(void)
{
	line[line_length] = 0;
	print(line);
	print("\n");
	line_length = 0;
}

static void begin_line(const char *name)
{
	print("tables: ");
	print(mode_names[mode]);
	print(": ");
	print(name);
	print(" ");
}

static void say(const char *name, u32 value)
{
	begin_line(name);
	print_hex(value);
	print("\n");
}

/* --- Tables --- */

static u32 entry_size(void)
{
	return mode == MODE_32 ? 4 : 8;
}

static void *table(void)
{
	return mode == MODE_32 ? (void *)table32 : (void *)table64;
}

static void set(u32 i, u64 value)
{
	if (mode == MODE_32)
		((volatile u32 *)table32)[i] = (u32)value;
	else
		((volatile u64 *)table64)[i] = value;
}

static u64 get(u32 i)
{
	return mode == MODE_32 ? ((volatile u32 *)table32)[i] : ((volatile u64 *)table64)[i];
}

static u32 index_of(u32 shift)
{
	return (u32)(HIGH >> shift) & (PTES - 1);
}

/* The levels above the last, the lowest first: their entries on the way to base(). */
static u32 uppers(void)
{
	return mode == MODE_LONG ? 3 : 1;
}

static volatile u64 *upper(u32 level)
{
	if (mode == MODE_PAE)
		return &directory[0];
	return level == 0   ? &directory[index_of(21)]
	       : level == 1 ? &pdpt_high[index_of(30)]
			    : &pml4[index_of(39)];
}

static void set_upper(u32 level, u64 bits)
{
	void *const to[] = {table(), directory, pdpt_high};

	if (mode == MODE_32)
		((volatile u32 *)directory32)[WINDOW >> 22] = (u32)((u32)to[0] | bits);
	else
		*upper(level) = (u32)to[level] | bits;
}

static u64 get_upper(u32 level)
{
	return mode == MODE_32 ? ((volatile u32 *)directory32)[WINDOW >> 22] : *upper(level);
}

/* The directory's entry for the window below 4 GiB, or for what follows it. */
static void set_directory(u32 which, u64 value)
{
	if (mode == MODE_32)
		((volatile u32 *)directory32)[(WINDOW >> 22) + which] = (u32)value;
	else
		((volatile u64 *)directory)[which] = value;
}

static u64 get_directory(u32 which)
{
	return mode == MODE_32 ? ((volatile u32 *)directory32)[(WINDOW >> 22) + which]
			       : ((volatile u64 *)directory)[which];
}

static u64 base(void)
{
	return mode == MODE_LONG ? HIGH : WINDOW;
}

static u32 at(u32 i)
{
	return WINDOW + i * 4096;
}

static u32 entry_at(u32 i)
{
	return at(SELF) + i * entry_size();
}

static void fresh(void)
{
	for (u32 i = 0; i < PTES; i++)
		set(i, 0);
	set(SELF, (u32)table() | P | W);
	set(LDT_PAGE, (u32)ldt_page | P | W);
	set_directory(0, (u32)table() | OPEN);
	set_directory(1, 0);
	for (u32 level = 0; level < uppers(); level++)
		set_upper(level, OPEN);
	for (u32 i = 0; i < PAGES; i++) {
		page[i][0] = 0x80cd; /* INT 0x80 */
		page[i][1] = 0x1000 + i;
	}
	flush();
}

/* What is read in the page there; a fault has no such value. */
static u32 see_at(u64 address)
{
	access_at(KIND_READ, address + 4, 0, false);
	if (probe.vector == VECTOR_END)
		return (u32)probe.value;
	return NO_ANSWER | probe.vector << 8 | probe.error;
}

/* At page i of the window. */
static u32 see(u32 i)
{
	return see_at(at(i));
}

/* --- Into a mode --- */

static void make_tables(void)
{
	for (u32 i = 0; i < 256; i++)
		directory32[i] = i << 22 | P | W | PS;
	for (u32 i = 0; i < SMALL_TABLES * 1024; i++)
		small_tables[i / 1024][i % 1024] = i << 12 | P | W;
	for (u32 i = 0; i < PTES; i++)
		directory_low[i] = (u64)i << 21 | P | W | PS;
	directory32[USER_AT >> 22] = (u32)user_table32 | OPEN;
	user_table32[0] = (u32)code_page | P | U;
	directory[(USER_AT - WINDOW) >> 21] = (u32)user_table64 | OPEN;
	user_table64[0] = (u32)code_page | P | U;
	pdpt_pae[0] = (u32)directory_low | P;
	pdpt_pae[WINDOW >> 30] = (u32)directory | P;
	pdpt_low[0] = (u32)directory_low | P | W;
	pdpt_low[WINDOW >> 30] = (u32)directory | OPEN;
	pml4[0] = (u32)pdpt_low | OPEN;
	for (u32 i = 0; access_begin + i < access_end; i++)
		code_page[i] = access_begin[i];
	user_code = USER_AT;
	*(u32 *)(BIG_A + FAR_IN) = *(u32 *)(BIG_B + FAR_IN) = 0x80cd;
	*(u32 *)(BIG_A + FAR_IN + 4) = 0xa5a5;
	*(u32 *)(BIG_B + FAR_IN + 4) = 0x5a5a;
}

static void turn_on(enum mode m)
{
	void *const top[] = {directory32, pdpt_pae, pml4};

	mode = m;
	WRITE_CR(0, READ_CR(0) & ~CR0_PG);
	WRITE_CR(4, (READ_CR(4) & ~(CR4_PSE | CR4_PAE)) | (m == MODE_32 ? CR4_PSE : CR4_PAE));
	if (cpu_nx)
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	if (m == MODE_LONG)
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_LME);
	WRITE_CR(3, (u32)top[m]);
	WRITE_CR(0, READ_CR(0) | CR0_PG | CR0_WP);
	load_descriptors();
}

static void identify(void)
{
	u32 r[4];

	identify_cpu();
	cpuid(0x80000008, 0, r);
	physical_bits = r[0] & 0xff;
}

#endif
