/* SPDX-License-Identifier: MIT */
/*
 * A guest that fills more memory than there is and then writes over it, page by page, with REP STOS of
 * all sizes and in ways that Weir may do a page at a time, or may not: each must leave registers, flags,
 * its page and its neighbours as a CPU does, while interrupts come in between. It does so twice, without
 * paging and with. Its command line is
 *
 *	overwrite SEED MIB
 *
 * Half of the pages pack, and half are random.
 */
#define GUEST "overwrite"
#include "pattern.h"

#define PAGES_MAX 6144u
#define ALL	  PAGE_WORDS
#define SOME	  8u /* pages of those kinds that cost many interrupts */

#define EFLAGS_CF    1u
#define EFLAGS_TF    0x100u
#define CR0_PG	     0x80000000u
#define CR4_PSE	     0x10u
#define PTE	     3u /* present, writable */
#define PTE_ACCESSED 0x20u
#define PTE_DIRTY    0x40u
#define PDE_LARGE    0x80u
#define IRQ0	     0x20u
#define PIT_10_KHZ   119u

/* What was written over: words [from, to) of each page. */
static u16 from[PAGES_MAX], to[PAGES_MAX];
static u32 value[PAGES_MAX];

static u32 directory[1024] __attribute__((aligned(PAGE_SIZE)));
static u32 tables[PAGES_MAX / 1024][1024] __attribute__((aligned(PAGE_SIZE)));
static bool paging;

static u32 wrong_registers, wrong_marks, wrong_steps, wrong_watched, wrong_limits;

/* The instruction at hand, for who interrupts it. */
static volatile u32 ends_at, width;
static volatile u32 between, wrong_between;
/* Of single steps: how many iterations were left at the last, and those between two. */
static volatile u32 traps, stepped_to, skipped;

static struct pattern pattern_of(u32 page)
{
	return (struct pattern){.kind = page, .random = mix((seed + rounds) * 0x9e3779b9u + page)};
}

static inline u32 next_word(struct pattern *p, u32 i)
{
	p->random = random_after(p->random);
	if (i >= from[p->kind] && i < to[p->kind])
		return value[p->kind];
	return p->kind / 16 % 2 && i / 8 % 2 ? 0x5eed : p->random;
}

static void over(u32 page, u32 first, u32 end, u32 word)
{
	from[page] = (u16)first;
	to[page] = (u16)end;
	value[page] = word;
}

static u8 *at(u32 page)
{
	return (u8 *)(FIRST + page * PAGE_SIZE);
}

/* --- what comes in between --- */

static void look(struct frame *f)
{
	const u8 *code = (const u8 *)f->eip;

	if (f->vector == 1) {
		traps++;
		if (code[0] == 0xf3) {
			skipped += stepped_to - f->ecx > 1;
			stepped_to = f->ecx;
		}
	}
	if (f->vector == IRQ0)
		outb(0x20, 0x20);
	if (!width || (code[0] != 0xf3 && code[0] != 0x66))
		return;
	between++;
	wrong_between += f->edi + f->ecx * width != ends_at;
}

static void start_interrupts(void)
{
	interrupts_init();
	interrupt_hook = look;
	exception_keep_eip = true;
	pics_init(IRQ0, IRQ0 + 8, 0xfe);
	outb(0x43, 0x34);
	outb(0x40, PIT_10_KHZ);
	outb(0x40, 0);
	__asm__ volatile("sti");
}

/* --- one instruction --- */

#define STORE(insn)                                                    \
	__asm__ volatile("stc\n\t" insn "\n\tpushfl\n\tcld\n\tpopl %3" \
			 : "+D"(edi), "+c"(ecx), "+a"(eax), "=&r"(flags)::"memory", "cc")

/* `bytes` at a time: what all of these leave is known. */
static void store(u8 *first, u32 count, u32 eax_value, u32 bytes)
{
	u32 edi = (u32)first, ecx = count, eax = eax_value, flags;

	ends_at = edi + count * bytes;
	width = bytes;
	if (bytes == 1)
		STORE("rep stosb");
	else if (bytes == 2)
		STORE("rep stosw");
	else
		STORE("rep stosl");
	width = 0;
	wrong_registers += edi != ends_at || ecx != 0 || eax != eax_value || !(flags & EFLAGS_CF);
}

static void store_down(u32 page, u32 eax_value)
{
	u32 edi = (u32)at(page) + PAGE_SIZE - 4, ecx = ALL, eax = eax_value, flags;

	STORE("std\n\trep stosl");
	wrong_registers += edi != (u32)at(page) - 4 || ecx != 0;
}

/* Each iteration traps. An interrupt in between may make one trap twice. */
static void store_in_steps(u32 page, u32 eax_value)
{
	u32 edi = (u32)at(page), ecx = ALL, eax = eax_value, flags;

	stepped_to = ALL;
	skipped = 0;
	STORE("pushfl\n\torl $0x100, (%%esp)\n\tpopfl\n\trep stosl\n\t"
	      "pushfl\n\tandl $~0x100, (%%esp)\n\tpopfl\n\tstc");
	wrong_steps += skipped != 0 || stepped_to > 1;
	wrong_registers += edi != (u32)at(page) + PAGE_SIZE || ecx != 0;
}

static void store_watched(u32 page, u32 eax_value)
{
	traps = 0;
	__asm__ volatile("mov %0, %%dr0" ::"r"(at(page) + PAGE_SIZE / 2));
	__asm__ volatile("mov %0, %%dr7" ::"r"(0x000d0403)); /* 4 bytes, writes */
	store(at(page), ALL, eax_value, 4);
	__asm__ volatile("mov %0, %%dr7" ::"r"(0x400));
	wrong_watched += traps != 1;
}

/* --- ES with a base and a limit --- */

static u64 gdt[4] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};

static void load_es(u32 base, u32 limit, bool by_pages)
{
	gdt[3] = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)0x93 << 40 |
		 (u64)(limit >> 16 & 15) << 48 | (u64)(by_pages ? 0xc : 0x4) << 52 |
		 (u64)(base >> 24) << 56;
	__asm__ volatile("mov %0, %%es" ::"r"(24));
}

static void flat_es(void)
{
	__asm__ volatile("mov %0, %%es" ::"r"(16));
}

static void gdt_init(void)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) pointer = {sizeof(gdt) - 1, (u32)gdt};

	__asm__ volatile("lgdt %0" ::"m"(pointer));
}

static void store_by_base(u32 page, u32 eax_value)
{
	u32 edi = 0x30, ecx = ALL, eax = eax_value, flags;

	load_es((u32)at(page) - 0x30, 0xfffff, true);
	STORE("rep stosl");
	flat_es();
	wrong_registers += edi != PAGE_SIZE + 0x30 || ecx != 0;
}

/* The limit is in the middle of the page: what comes before it is stored, and then it faults. */
static void store_to_limit(u32 page, u32 eax_value)
{
	u32 edi = 0, ecx = ALL, eax = eax_value, flags, before = interrupt_count[13];

	load_es((u32)at(page), PAGE_SIZE / 2 - 1, false);
	exception_keep_eip = false;
	__asm__ volatile("movl $1f, %0" : "=m"(exception_resume));
	STORE("rep stosl\n1:");
	exception_resume = 0;
	exception_keep_eip = true;
	flat_es();
	wrong_limits += interrupt_count[13] != before + 1;
	wrong_registers += edi != PAGE_SIZE / 2 || ecx != ALL / 2;
}

/* --- paging --- */

static void start_paging(void)
{
	u32 v;

	for (u32 i = 0; i < 1024; i++)
		directory[i] = i << 22 | PDE_LARGE | PTE;
	for (u32 i = 0; i * 1024 < pages; i++) {
		for (u32 j = 0; j < 1024; j++)
			tables[i][j] = (FIRST + i * 0x400000 + j * PAGE_SIZE) | PTE;
		directory[FIRST / 0x400000 + i] = (u32)tables[i] | PTE;
	}
	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	__asm__ volatile("mov %0, %%cr4" ::"r"(v | CR4_PSE));
	__asm__ volatile("mov %0, %%cr3" ::"r"(directory) : "memory");
	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	__asm__ volatile("mov %0, %%cr0; jmp 1f; 1:" ::"r"(v | CR0_PG) : "memory");
	paging = true;
}

static bool marked(u32 page)
{
	u32 marks = PTE_ACCESSED | PTE_DIRTY;

	return (((volatile u32 *)tables)[page] & marks) == marks;
}

/* --- sixteen pages, one or two for each way --- */

static void write_over(u32 page, u32 word, bool slowly)
{
	u32 twice = (word & 0xffff) * 0x10001u, bytes = (word & 0xff) * 0x01010101u;

	store(at(page), ALL, 0, 4);
	over(page, 0, ALL, 0);
	store(at(page + 1), PAGE_SIZE, word, 1);
	over(page + 1, 0, ALL, bytes);
	store(at(page + 2), PAGE_SIZE / 2, word, 2);
	over(page + 2, 0, ALL, twice);
	store(at(page + 3), 2 * ALL, word, 4);
	over(page + 3, 0, ALL, word);
	over(page + 4, 0, ALL, word);
	store(at(page + 5), ALL + 1, 0, 4); /* a word of the next, too */
	over(page + 5, 0, ALL, 0);
	over(page + 6, 0, 1, 0);
	store(at(page + 7), ALL - 1, word, 4);
	over(page + 7, 0, ALL - 1, word);
	store_down(page + 8, word);
	over(page + 8, 0, ALL, word);
	store(at(page + 9) + 4, ALL + ALL - 1, 0, 4); /* from its middle to the end of the next */
	over(page + 9, 1, ALL, 0);
	over(page + 10, 0, ALL, 0);
	store_by_base(page + 11, word);
	over(page + 11, 0, ALL, word);
	store_to_limit(page + 12, word);
	over(page + 12, 0, ALL / 2, word);
	if (!slowly)
		return;
	store_in_steps(page + 13, word);
	over(page + 13, 0, ALL, word);
	store_watched(page + 14, word);
	over(page + 14, 0, ALL, word);
}

static void check_marks(u32 page)
{
	for (u32 i = 0; i < 13; i++)
		wrong_marks += !marked(page + i);
	wrong_marks += marked(page + 15);
}

static void write_all_over(void)
{
	for (u32 page = 0; page < pages; page += 16) {
		write_over(page, mix(page), page < 16 * SOME);
		if (paging)
			check_marks(page);
	}
}

static void fill_anew(void)
{
	for (u32 page = 0; page < pages; page++)
		over(page, 0, 0, 0);
	fill_each(1);
	print("overwrite: filled\n");
}

void main(u32 magic, const struct multiboot_info *info)
{
	(void)magic;
	take_arguments(info);
	gdt_init();
	start_interrupts();
	fill_anew();
	write_all_over();
	verify_all();
	rounds++;
	fill_anew();
	start_paging();
	write_all_over();
	__asm__ volatile("cli");
	check("registers are as a CPU leaves them", wrong_registers == 0);
	check("what is written is marked in the page tables, and nothing else", wrong_marks == 0);
	check("each iteration traps in single steps", wrong_steps == 0);
	check("a breakpoint on the page traps once", wrong_watched == 0);
	check("a segment's limit in the page faults there", wrong_limits == 0);
	check("interrupts find a whole number of iterations done",
	      between > 0 && wrong_between == 0);
	end();
}
