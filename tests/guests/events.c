/* SPDX-License-Identifier: MIT */
/*
 * Interrupts and exceptions where their delivery itself leaves the guest: a stack page that was
 * never touched makes the delivery fault in the nested tables, and the event must come exactly once
 * all the same, with its error code and its return address. Then the shadows, NMI, debug traps.
 */
#include "guest.h"

#define LAPIC	  0xfee00000u
#define FRESH	  0x1000000u /* pages from here on were never touched */
#define CR0_PG	  0x80000000u
#define DR6_BS	  (1u << 14)
#define EFLAGS_TF 0x100u

static u32 next_fresh = FRESH;

static void mmio_write(u32 at, u32 v)
{
	*(volatile u32 *)at = v;
}

/* The top of a page that nobody touched before. */
static u32 fresh_stack(void)
{
	next_fresh += 0x2000;
	return next_fresh;
}

static void eoi(void)
{
	mmio_write(LAPIC + 0xb0, 0);
}

/* Runs code on a stack in an untouched page; esi keeps the old one. */
#define ON_FRESH_STACK(code)                                          \
	__asm__ volatile("mov %%esp, %%esi\n\tmov %0, %%esp\n\t" code \
			 "\n\tmov %%esi, %%esp" ::"r"(fresh_stack())  \
			 : "esi", "memory", "cc")

static void check_delivery(void)
{
	ON_FRESH_STACK("int $0x51");
	check("INT n on an untouched stack comes once", interrupt_count[0x51] == 1);

	mmio_write(LAPIC + 0xf0, 0x1ff);
	mmio_write(LAPIC + 0x300, 0x40000 | 0x52);
	ON_FRESH_STACK("sti; nop; nop; cli");
	check("an interrupt on an untouched stack comes once", interrupt_count[0x52] == 1);
	eoi();

	u32 before = interrupt_count[13];

	__asm__ volatile("movl $1f, %1\n\tmov %%esp, %%esi\n\tmov %0, %%esp\n\t"
			 "mov $0x28, %%eax\n\tmov %%eax, %%fs\n1:\n\tmov %%esi, %%esp\n\t"
			 "movl $0, %1" ::"r"(fresh_stack()),
			 "m"(exception_resume)
			 : "eax", "esi", "memory");
	check("#GP on an untouched stack comes once, with its error code",
	      interrupt_count[13] == before + 1 && exception_error == 0x28);

	before = interrupt_count[3];
	ON_FRESH_STACK("movl $2f, exception_resume; int3; 2: movl $0, exception_resume");
	check("INT3 on an untouched stack comes once", interrupt_count[3] == before + 1);

	before = interrupt_count[4];
	ON_FRESH_STACK("movl $2f, exception_resume; mov $0x7f, %%al; add $1, %%al; into; "
		       "2: movl $0, exception_resume");
	check("INTO on an untouched stack comes once", interrupt_count[4] == before + 1);
}

static void check_shadows(void)
{
	mmio_write(LAPIC + 0x300, 0x40000 | 0x53);
	for (u32 i = 0; i < 100; i++)
		__asm__ volatile("sti; cli");
	check("no interrupt in STI's shadow", interrupt_count[0x53] == 0);
	__asm__ volatile("sti; nop; cli");
	check("an interrupt after STI's shadow", interrupt_count[0x53] == 1);
	eoi();

	mmio_write(LAPIC + 0x300, 0x40000 | 0x54);
	__asm__ volatile("sti; hlt; cli");
	check("HLT with an interrupt pending does not sleep", interrupt_count[0x54] == 1);
	eoi();
}

static volatile u32 nmi_depth, nmi_deepest;

/* A second NMI from inside the handler must wait for its IRET. */
static void nmi_hook(struct frame *f)
{
	if (f->vector != 2)
		return;
	nmi_depth++;
	if (nmi_depth > nmi_deepest)
		nmi_deepest = nmi_depth;
	if (interrupt_count[2] == 1)
		mmio_write(LAPIC + 0x300, 0x40400);
	for (volatile u32 i = 0; i < 1000; i++)
		;
	nmi_depth--;
}

static void check_nmi(void)
{
	interrupt_hook = nmi_hook;
	mmio_write(LAPIC + 0x300, 0x40400); /* self, NMI */
	for (volatile u32 i = 0; i < 1000; i++)
		;
	check("NMI comes with interrupts off, the second after the first's IRET",
	      interrupt_count[2] == 2 && nmi_deepest == 1);
	interrupt_hook = 0;
}

static u32 read_dr6(void)
{
	u32 v;

	__asm__ volatile("mov %%dr6, %0" : "=r"(v));
	return v;
}

static volatile u32 trap_eip, trap_dr6;

static void trap_hook(struct frame *f)
{
	if (f->vector != 1)
		return;
	trap_eip = f->eip;
	trap_dr6 = read_dr6();
	f->eflags &= ~EFLAGS_TF;
}

/*
 * The trap after an instruction that leaves the guest must come as after any other. The stub's
 * fix-up of EIP is off: a trap goes on where it is.
 */
static void check_single_step(void)
{
	u32 after;

	interrupt_hook = trap_hook;
	exception_keep_eip = true;
	trap_eip = 0;
	__asm__ volatile("pushf; orl $0x100, (%%esp); popf; cpuid; 1: nop; mov $1b, %0"
			 : "=r"(after)::"eax", "ebx", "ecx", "edx", "memory");
	check("single step over CPUID", trap_eip == after && (trap_dr6 & DR6_BS));

	__asm__ volatile("mov %0, %%dr6" ::"r"(0));
	trap_eip = 0;
	__asm__ volatile("mov $0xfee00030, %%eax; pushf; orl $0x100, (%%esp); popf; "
			 "mov (%%eax), %%ecx; 1: nop; mov $1b, %0"
			 : "=r"(after)::"eax", "ecx", "memory");
	check("single step over a device's register", trap_eip == after && (trap_dr6 & DR6_BS));
	exception_keep_eip = false;
	interrupt_hook = 0;
}

static volatile u32 watched;

static void check_watchpoint(void)
{
	u32 dr0;

	interrupt_hook = trap_hook;
	exception_keep_eip = true;
	__asm__ volatile("mov %0, %%dr6" ::"r"(0));
	__asm__ volatile("mov %0, %%dr0" ::"r"(&watched));
	__asm__ volatile("mov %0, %%dr7" ::"r"(0x000d0401 | 0x3));
	trap_dr6 = 0;
	watched = 7;
	__asm__ volatile("mov %0, %%dr7" ::"r"(0x400));
	check("a data watchpoint traps", trap_dr6 & 1);
	__asm__ volatile("cpuid; mov %%dr0, %0" : "=r"(dr0)::"eax", "ebx", "ecx", "edx");
	check("debug registers keep their values", dr0 == (u32)&watched);
	exception_keep_eip = false;
	interrupt_hook = 0;
}

/* 32-bit paging with tables in pages that the walk is the first to reach after they are written. */
static void check_paging(void)
{
	u32 *directory = (u32 *)0x2000000, cr2, error;

	for (u32 i = 0; i < 1024; i++)
		directory[i] = i << 22 | 0x83;
	directory[0x40] = 0; /* 0x10000000 */
	__asm__ volatile("mov %%cr4, %%eax; or $0x10, %%eax; mov %%eax, %%cr4" ::: "eax");
	__asm__ volatile("mov %0, %%cr3" ::"r"(directory) : "memory");
	__asm__ volatile("mov %%cr0, %%eax; or $0x80010000, %%eax; mov %%eax, %%cr0" ::
				 : "eax", "memory");
	check("#PF on a page that is not there",
	      TRY("movl $1, 0x10000123") && exception_vector == 14 && exception_error == 2);
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	check("CR2 says where", cr2 == 0x10000123);

	error = interrupt_count[14];
	__asm__ volatile(
		"movl $1f, %1\n\tmov %%esp, %%esi\n\tmov %0, %%esp\n\t"
		"movl $1, 0x10000456\n1:\n\tmov %%esi, %%esp\n\tmovl $0, %1" ::"r"(fresh_stack()),
		"m"(exception_resume)
		: "esi", "memory");
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	check("#PF on an untouched stack keeps CR2 and error code",
	      interrupt_count[14] == error + 1 && exception_error == 2 && cr2 == 0x10000456);

	check("a device through guest page tables", *(volatile u32 *)(LAPIC + 0x30) != 0);
	directory[LAPIC >> 22] &= ~2u; /* read-only, with CR0.WP */
	__asm__ volatile("invlpg 0xfee00080" ::: "memory");
	check("#PF on a device's read-only page",
	      TRY("movl $0, 0xfee00080") && exception_vector == 14 && exception_error == 3);
	__asm__ volatile("mov %%cr0, %%eax; and $0x7fffffff, %%eax; mov %%eax, %%cr0" ::
				 : "eax", "memory");
}

void main(void)
{
	interrupts_init();
	print("guest: hello\n");
	check_delivery();
	check_shadows();
	check_nmi();
	check_single_step();
	check_watchpoint();
	check_paging();
	guest_end();
}
