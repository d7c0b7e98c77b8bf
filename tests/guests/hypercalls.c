/* SPDX-License-Identifier: MIT */
/*
 * Every hypercall of docs/hypercalls.md, good and bad, with what it answers and what it does. The
 * guest is 32-bit, so registers are narrow and ESI has an address's upper half; but for a few calls
 * from 64-bit code. With memory in pages of 2 MiB ("large" in its words) it looks at what is
 * another matter there, and no more. With "given" it gives back 300 pages, touches 44 of them and
 * stays, so that somebody can look at what Weir has counted.
 */
#include "guest.h"

#define REMOVE	0x57490004u
#define ENTER	0x57490008u
#define READ	0x5749000cu
#define PROTECT 0x57490018u
#define CEDE	0x574900e0u
#define PROD	0x574900e8u

#define SUCCESS	  0
#define PARTIAL	  5
#define FUNCTION  (-2)
#define PRIVILEGE (-3)
#define PARAMETER (-4)
#define NOT_FOUND (-7)
#define REFUSED	  (-11) /* H_PERMISSION */
#define RESOURCE  (-16)
#define P2	  (-55)
#define P3	  (-56)

#define WRITE	 1
#define PIN	 2
#define PINS	 1
#define ON	 1
#define CONTENTS 1
#define MAPPED	 0x001
#define WRITABLE 0x002
#define PINNED	 0x020
#define GUARDED	 0x040 /* protected */
#define STAYS	 0x100
#define WHOLE	 0x200

#define PAGE	4096u
#define LAPIC	0xfee00000u
#define VERSION (LAPIC + 0x30)
#define TIMER	0x40	   /* vector */
#define RAM	0x1000000u /* 16 MiB that nothing else uses */
#define HOLE	0xa0000u   /* the end of the memory below 1 MiB */
#define PM_PORT 0x608
#define IF	(1u << 9)

#define TEXT_(x) #x
#define TEXT(x)	 TEXT_(x)
/* As a number in an instruction's text. */
#define GUARD	  0x1100000
#define GUARD_NEW 0x1101000

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device;
	const char *cmdline;
};

static bool shadow;  /* the second word says so: H_ENTER maps nothing */
static bool large;   /* likewise: memory in pages of 2 MiB */
static bool given;   /* likewise: pages are given back for somebody who looks */
static u32 ebx, ecx; /* as the last call left them */

static int call(u32 number, u64 address, u32 count, u32 flags)
{
	int result;

	__asm__ volatile("vmcall"
			 : "=a"(result), "=b"(ebx), "=c"(ecx)
			 : "a"(number), "b"((u32)address), "c"(count), "d"(flags),
			   "S"((u32)(address >> 32))
			 : "memory");
	return result;
}

/* A call on a range: its result, and how many pages it says are done. */
static bool gives(u32 number, u64 address, u32 count, u32 flags, int result, u32 done)
{
	return call(number, address, count, flags) == result && ecx == done && ebx == (u32)address;
}

static bool page_is(u32 at, u32 contents, u32 bits)
{
	return call(READ, at, 0, 0) == SUCCESS && ebx == contents && (ecx & bits) == bits;
}

static volatile u32 *word(u32 at)
{
	return (volatile u32 *)at;
}

static u32 read_cr2(void)
{
	u32 v;

	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}

/* The last exception was the fault of a write to what the guest itself protected. */
static bool page_fault_at(u32 at)
{
	return exception_vector == 14 && exception_error == 3 && read_cr2() == at;
}

/* A string instruction from, to and by a port; whether it faulted. */
#define TRY_STRING(code, from, to)                                                    \
	({                                                                            \
		u32 try_before_ = exceptions(), from_ = (from), to_ = (to);           \
		__asm__ volatile("movl $1f, %0\n\tcld\n\t" code "\n1:\n\tmovl $0, %0" \
				 : "+m"(exception_resume), "+S"(from_), "+D"(to_)     \
				 : "d"(PM_PORT)                                       \
				 : "eax", "ecx", "memory");                           \
		exceptions() != try_before_;                                          \
	})

/* --- What there is --- */

static u32 pins_max;

static void check_discovery(void)
{
	u32 r[4];

	cpuid(0x40000100, 0, r);
	check("the leaf of hypercalls is announced", r[0] >= 0x40000102);
	cpuid(0x40000102, 0, r);
	check("all calls are offered", (r[0] & 0x3f) == 0x3f && r[1] == 0x57490000);
	check("a range has 512 pages at most", r[2] == 512);
	pins_max = r[3];
	check("pins are bounded", pins_max >= 512 && pins_max <= 4096);
}

/* Here: of a vCPU that there is not. */
#define KVM_HC_KICK_CPU	   5
#define KVM_HC_SCHED_YIELD 11
#define KVM_HC_SEND_IPI	   10 /* left to the guest `paravirt` */

static void check_numbers(void)
{
	bool ok = true;

	for (u32 n = 0; n <= 13; n++) {
		bool offered = n == KVM_HC_KICK_CPU || n == KVM_HC_SCHED_YIELD;

		if (n != KVM_HC_SEND_IPI)
			ok = ok && call(n, RAM, 1, 0) == (offered ? 0 : -1000) && ecx == 1;
	}
	check("of KVM's numbers those are offered that CPUID names", ok);
	check("a number beside Weir's is not offered",
	      call(0x5748ffff, RAM, 1, 0) == -1000 && call(0x574a0000, RAM, 1, 0) == -1000);
	check("no function of Weir's", call(0x57490000, RAM, 1, 0) == FUNCTION &&
					       call(0x574900e4, 0, 1, 0) == FUNCTION &&
					       call(0x5749ffff, RAM, 1, 0) == FUNCTION);
}

static const struct {
	u32 number;
	const char *name;
} ranged[] = {{ENTER, "H_ENTER's arguments"},
	      {REMOVE, "H_REMOVE's arguments"},
	      {PROTECT, "H_PROTECT's arguments"}};

static void check_arguments(void)
{
	for (u32 i = 0; i < 3; i++) {
		u32 n = ranged[i].number;
		bool ok = gives(n, RAM + 1, 1, 0, PARAMETER, 0);

		ok = ok && gives(n, RAM + 0x800, 1, 0, PARAMETER, 0);
		ok = ok && gives(n, RAM, 0, 0, P2, 0);
		ok = ok && gives(n, RAM, 513, 0, P2, 0);
		ok = ok && gives(n, RAM, ~0u, 0, P2, 0);
		ok = ok && gives(n, RAM, 1, 4, P3, 0);
		ok = ok && gives(n, RAM, 1, 0x80000000, P3, 0);
		/* The last page there could be, and the first that there cannot. */
		ok = ok && gives(n, 0xfffffffffffff000ull, 1, 0, PARAMETER, 0);
		ok = ok && gives(n, 0xfffffffffffff000ull, 2, 0, PARAMETER, 0);
		ok = ok && gives(n, 0x10000000000000ull, 1, 0, PARAMETER, 0);
		ok = ok && gives(n, 0xffffffffff000ull, 2, 0, PARAMETER, 0);
		/* A device, a hole below, one above 4 GiB; and RAM that ends. */
		ok = ok && gives(n, LAPIC, 1, 0, NOT_FOUND, 0);
		ok = ok && gives(n, HOLE, 1, 0, NOT_FOUND, 0);
		ok = ok && gives(n, 0x100000000ull, 1, 0, NOT_FOUND, 0);
		ok = ok && gives(n, 32u << 20, 1, 0, NOT_FOUND, 0);
		check(ranged[i].name, ok);
	}
	check("H_READ's arguments", call(READ, RAM + 4, 0, 0) == PARAMETER && ebx == RAM + 4 &&
					    call(READ, 0xfffffffffffff000ull, 0, 0) == PARAMETER &&
					    call(READ, LAPIC, 0, 0) == NOT_FOUND &&
					    call(READ, RAM, ~0u, ~0u) == SUCCESS);
	check("a range goes as far as there is memory",
	      gives(ENTER, HOLE - 3 * PAGE, 10, 0, NOT_FOUND, 3));
}

/* --- H_ENTER and H_REMOVE --- */

static void check_enter(void)
{
	check("an untouched page is nowhere", page_is(RAM, 0, 0) && ecx == 0);
	check("H_ENTER gets and maps",
	      gives(ENTER, RAM, 512, WRITE, SUCCESS, 512) &&
		      page_is(RAM + 511 * PAGE, CONTENTS, shadow ? 0 : MAPPED | WRITABLE));
	check("and no more", page_is(RAM + 512 * PAGE, 0, 0));
	check("what is got is zero", *word(RAM) == 0 && *word(RAM + 511 * PAGE) == 0);
	check("H_ENTER of what is there", gives(ENTER, RAM, 512, 0, SUCCESS, 512));
}

static void check_remove(void)
{
	bool zero = true, kept = true;

	for (u32 i = 0; i < 8; i++)
		*word(RAM + i * PAGE) = i + 1;
	check("H_REMOVE", gives(REMOVE, RAM + 2 * PAGE, 4, 0, SUCCESS, 4));
	check("what is given back is nowhere", page_is(RAM + 3 * PAGE, 0, 0) && ecx == 0);
	for (u32 i = 0; i < 8; i++) {
		if (i >= 2 && i < 6)
			zero = zero && *word(RAM + i * PAGE) == 0;
		else
			kept = kept && *word(RAM + i * PAGE) == i + 1;
	}
	check("it reads as zeros", zero);
	check("its neighbours stay", kept);
	*word(RAM + 2 * PAGE) = 7;
	check("and can be written again", *word(RAM + 2 * PAGE) == 7);
	check("giving back nothing", gives(REMOVE, RAM + 600 * PAGE, 5, 0, SUCCESS, 5));
}

/* --- Pins --- */

static void check_pins(void)
{
	u32 pinned = 0;
	int result;

	*word(RAM + PAGE) = 5;
	check("H_ENTER pins", gives(ENTER, RAM, 3, PIN, SUCCESS, 3) &&
				      page_is(RAM + PAGE, CONTENTS, PINNED | STAYS));
	check("a pinned page is not given back",
	      gives(REMOVE, RAM, 5, 0, RESOURCE, 0) && *word(RAM + PAGE) == 5);
	check("H_REMOVE unpins", gives(REMOVE, RAM, 5, PINS, SUCCESS, 5) &&
					 page_is(RAM + PAGE, CONTENTS, 0) && !(ecx & PINNED) &&
					 *word(RAM + PAGE) == 5);
	check("then it is", gives(REMOVE, RAM, 5, 0, SUCCESS, 5) && *word(RAM + PAGE) == 0);
	check("the real-mode area stays", gives(REMOVE, 0x2000, 1, 0, RESOURCE, 0) &&
						  page_is(0x2000, CONTENTS, STAYS) &&
						  !(ecx & PINNED));
	do {
		result = call(ENTER, RAM + pinned * PAGE, 512, PIN);
		pinned += ecx;
	} while (result == SUCCESS || result == PARTIAL);
	check("pins end at the bound",
	      result == RESOURCE && pinned <= pins_max && pinned + 64 > pins_max);
	check("and Weir still runs instructions",
	      !TRY_STRING("movsl", VERSION, RAM + 2000 * PAGE) &&
		      *word(RAM + 2000 * PAGE) == *word(VERSION));
	for (u32 i = 0; i < pinned; i += 512)
		call(REMOVE, RAM + i * PAGE, 512, PINS);
	check("and begin anew", gives(ENTER, RAM, 100, PIN, SUCCESS, 100) &&
					gives(REMOVE, RAM, 100, PINS, SUCCESS, 100) &&
					gives(REMOVE, RAM, 512, 0, SUCCESS, 512));
}

/* --- H_PROTECT --- */

static void check_protect(void)
{
	*word(GUARD) = 0x11111111;
	check("H_PROTECT of a page that is there and one that is not",
	      gives(PROTECT, GUARD, 2, ON, SUCCESS, 2) && page_is(GUARD, CONTENTS, GUARDED) &&
		      !(ecx & WRITABLE) && page_is(GUARD_NEW, 0, GUARDED));
	check("a write to it is a page fault",
	      TRY("movl $5, " TEXT(GUARD)) && page_fault_at(GUARD) && *word(GUARD) == 0x11111111);
	check("so is one to the other",
	      TRY("movb $5, " TEXT(GUARD_NEW) "+0xfff") && page_fault_at(GUARD_NEW + 0xfff));
	check("which can be read", *word(GUARD_NEW) == 0);
	check("a locked increment faults",
	      TRY("lock; incl " TEXT(GUARD) "+8") && page_fault_at(GUARD + 8));
}

/* Writes that Weir does for the guest. */
static void check_protect_emulated(void)
{
	check("what Weir writes from a device is the same fault",
	      TRY_STRING("movsl", VERSION, GUARD + 12) && page_fault_at(GUARD + 12));
	check("and from a port", TRY_STRING("insl", 0, GUARD + 16) && page_fault_at(GUARD + 16));
	check("a device may be written from it", !TRY_STRING("movsl", GUARD, LAPIC + 0x3e0));
	check("its clock cannot lie there",
	      TRY("mov $0x4b564d01, %%ecx; mov $" TEXT(GUARD) "+1, %%eax; xor %%edx, %%edx;"
							      "wrmsr") &&
		      exception_vector == 13 && exception_error == 0);
	check("H_ENTER for writing is refused",
	      gives(ENTER, GUARD, 1, WRITE, REFUSED, 0) && gives(ENTER, GUARD, 2, 0, SUCCESS, 2));
	check("it is not given back", gives(REMOVE, GUARD, 1, 0, REFUSED, 0));
	check("nothing of all that changed it",
	      *word(GUARD) == 0x11111111 && *word(GUARD + 8) == 0 && *word(GUARD + 12) == 0);
	check("released it is written", gives(PROTECT, GUARD, 2, 0, SUCCESS, 2) &&
						!TRY("movl $5, " TEXT(GUARD)) && *word(GUARD) == 5);
	check("and has a clock", ({
		      wrmsr(0x4b564d01, GUARD_NEW | 1);
		      wrmsr(0x4b564d01, 0);
		      *word(GUARD_NEW) != 0 && !(*word(GUARD_NEW) & 1);
	      }));
}

/* --- H_CEDE and H_PROD --- */

static void timer(u32 ticks)
{
	*word(LAPIC + 0xf0) = 0x1ff;
	*word(LAPIC + 0x3e0) = 0xb;
	*word(LAPIC + 0x320) = TIMER;
	*word(LAPIC + 0x380) = ticks;
}

/* Not before a few calls are made, each of which may be slow where Weir has a hypervisor below it. */
#define LATER 20000000

static u32 flags_now(void)
{
	u32 v;

	__asm__ volatile("pushf; pop %0" : "=r"(v));
	return v;
}

static void check_cede(void)
{
	u32 before;

	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	check("no such vCPU",
	      call(PROD, 1, 0, 0) == PARAMETER && ebx == 1 && call(PROD, ~0u, 0, 0) == PARAMETER);
	__asm__ volatile("cli");
	check("H_PROD of itself", call(PROD, 0, 0, 0) == SUCCESS);
	check("a prod that came first ends H_CEDE at once",
	      call(CEDE, 0, 0, 0) == SUCCESS && (flags_now() & IF));
	before = interrupt_count[TIMER];
	__asm__ volatile("cli");
	timer(100000);
	check("H_CEDE lasts until an interrupt, which comes in",
	      call(CEDE, 0, 0, 0) == SUCCESS && interrupt_count[TIMER] == before + 1 &&
		      (flags_now() & IF));
	*word(LAPIC + 0xb0) = 0;
	__asm__ volatile("cli");
	timer(LATER);
	call(PROD, 0, 0, 0);
	call(PROD, 0, 0, 0);
	call(CEDE, 0, 0, 0);
	check("two prods are one",
	      call(CEDE, 0, 0, 0) == SUCCESS && interrupt_count[TIMER] == before + 2);
	*word(LAPIC + 0xb0) = 0;
	__asm__ volatile("cli");
}

/* A range may take longer than an interrupt likes to wait: then it is done in parts. */
static void check_partial(void)
{
	u32 before = interrupt_count[TIMER], done = 0;
	int result = SUCCESS;

	gives(REMOVE, RAM, 512, 0, SUCCESS, 512);
	timer(1000);
	__asm__ volatile("sti");
	while (done < 512 && (result == SUCCESS || result == PARTIAL)) {
		result = call(ENTER, RAM + done * PAGE, 512 - done, WRITE);
		done += ecx;
	}
	__asm__ volatile("cli");
	*word(LAPIC + 0xb0) = 0;
	check("a range is entered with interrupts on",
	      done == 512 && result == SUCCESS && interrupt_count[TIMER] == before + 1);
}

/* --- From user mode --- */

static u64 gdt[7] = {0,
		     0x00cf9b000000ffff,
		     0x00cf93000000ffff,
		     0x00cffb000000ffff,
		     0x00cff3000000ffff,
		     0, /* the TSS */
		     0x00af9b000000ffff};
static struct {
	u32 link, esp0, ss0, rest[22];
	u16 trap, io_map;
} tss;
static u8 kernel_stack[4096] __attribute__((aligned(16)));
static u32 saved_esp;

static void back_to_kernel(struct frame *f)
{
	if ((f->cs & 3) == 3)
		f->cs = 8;
}

static void enter_tables(void)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) pointer = {sizeof(gdt) - 1, (u32)gdt};
	u64 base = (u32)&tss;

	tss.esp0 = (u32)kernel_stack + sizeof(kernel_stack);
	tss.ss0 = 16;
	tss.io_map = sizeof(tss);
	gdt[5] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24) << 56;
	__asm__ volatile("lgdt %0\n\tltr %w1" ::"m"(pointer), "r"(0x28));
}

/* To CPL 3, there VMCALL and UD2, whose handler comes back. */
static int user_call(u32 number)
{
	int result;

	interrupt_hook = back_to_kernel;
	__asm__ volatile("movl $2f, exception_resume\n\t"
			 "movl %%esp, %1\n\t"
			 "mov $0x23, %%edx\n\tmov %%edx, %%ds\n\tmov %%edx, %%es\n\t"
			 "push $0x23\n\tpush %1\n\tpush $2\n\tpush $0x1b\n\tpush $1f\n\tiret\n"
			 "1:\n\tvmcall\n\tud2\n"
			 "2:\n\tmovl %1, %%esp\n\t"
			 "mov $16, %%edx\n\tmov %%edx, %%ds\n\tmov %%edx, %%es\n\t"
			 "movl $0, exception_resume"
			 : "=a"(result), "+m"(saved_esp)
			 : "a"(number), "b"(RAM), "c"(1)
			 : "edx", "memory");
	interrupt_hook = 0;
	return result;
}

static void check_privilege(void)
{
	static const u32 numbers[] = {REMOVE, ENTER, READ, PROTECT, CEDE, PROD, 0x57490000};
	bool ok = true;

	enter_tables();
	for (u32 i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		ok = ok && user_call(numbers[i]) == PRIVILEGE && exception_vector == 6;
	check("user mode may make none of the calls", ok);
	check("nor KVM's", user_call(1) == -1);
	check("and did nothing", gives(REMOVE, RAM, 1, 0, SUCCESS, 1) && page_is(RAM, 0, 0));
}

/* --- Page tables in a protected page --- */

#define ALIAS 0x40000000 /* of RAM, through a page directory of its own */

static u64 directories[4][512] __attribute__((aligned(4096)));
static u64 pointers[4] __attribute__((aligned(32)));
static u64 pointers_64[512] __attribute__((aligned(4096)));

static void paging_on(void)
{
	for (u32 i = 0; i < 2048; i++)
		directories[i / 512][i % 512] = (u64)i << 21 | 0x83;
	directories[1][0] = RAM | 0x83;
	for (u32 i = 0; i < 4; i++) {
		pointers[i] = (u32)directories[i] | 1;
		pointers_64[i] = (u32)directories[i] | 3;
	}
	__asm__ volatile(
		"mov %%cr4, %%eax\n\tor $0x20, %%eax\n\tmov %%eax, %%cr4\n\t"
		"mov %0, %%cr3\n\t"
		"mov %%cr0, %%eax\n\tor $0x80010000, %%eax\n\tmov %%eax, %%cr0" ::"r"(pointers)
		: "eax", "memory");
}

/*
 * The CPU, and Weir where it runs an instruction, must set A in the directory to use it, or D. They
 * may not, and say so. A Bochs whose CPU has no A/D bits in EPT writes all the same, where a real
 * CPU faults (SDM 3C 29.3.3.2): the test is told of it and knows on which CPUs it may be.
 */
static void check_tables(void)
{
	u32 directory = (u32)directories[1];

	paging_on();
	*word(RAM) = 0x22222222;
	check("H_PROTECT of a page directory", gives(PROTECT, directory, 1, ON, SUCCESS, 1));
	if (TRY("movl " TEXT(ALIAS) ", %%eax"))
		check("an access through it is a page fault",
		      page_fault_at(ALIAS) && directories[1][0] == (RAM | 0x83));
	else
		print("guest: the CPU writes to a protected directory\n");
	check("what Weir writes through it is one", TRY_STRING("movsl", VERSION, ALIAS + 4) &&
							    page_fault_at(ALIAS + 4) &&
							    !(directories[1][0] & 0x40));
	check("released it is used", gives(PROTECT, directory, 1, 0, SUCCESS, 1) &&
					     *word(ALIAS) == 0x22222222 &&
					     (directories[1][0] & 0x20));
	check("also by Weir",
	      !TRY_STRING("movsl", VERSION, ALIAS + 4) && *word(RAM + 4) == *word(VERSION));
}

/* --- From 64-bit code --- */

#define CODE_64 0x30
#define CODE_32 0x08

static u64 top[512] __attribute__((aligned(4096)));
/* RAX, RBX, RCX, RDX and RSI: in and out. */
static u64 wide[5];

/* Paging is on, with PAE: off, into IA-32e mode, a call by whole registers, and back. */
static void wide_call(void)
{
	u32 top_at = (u32)top, pae_at = (u32)pointers;

	top[0] = (u32)pointers_64 | 3;
	__asm__ volatile(
		"mov %%cr0, %%eax\n\tand $0x7fffffff, %%eax\n\tmov %%eax, %%cr0\n\t"
		"mov %[top], %%eax\n\tmov %%eax, %%cr3\n\t"
		"mov $0xc0000080, %%ecx\n\trdmsr\n\tor $0x100, %%eax\n\twrmsr\n\t"
		"mov %%cr0, %%eax\n\tor $0x80000000, %%eax\n\tmov %%eax, %%cr0\n\t"
		"ljmp %[code_64], $1f\n\t"
		".code64\n"
		"1:\n\t"
		"mov %%edi, %%edi\n\tmov %%esp, %%esp\n\t"
		"mov (%%rdi), %%rax\n\tmov 8(%%rdi), %%rbx\n\tmov 16(%%rdi), %%rcx\n\t"
		"mov 24(%%rdi), %%rdx\n\tmov 32(%%rdi), %%rsi\n\t"
		"vmcall\n\t"
		"mov %%rax, (%%rdi)\n\tmov %%rbx, 8(%%rdi)\n\tmov %%rcx, 16(%%rdi)\n\t"
		"mov %%rdx, 24(%%rdi)\n\tmov %%rsi, 32(%%rdi)\n\t"
		"push %[code_32]\n\tlea 3f(%%rip), %%rax\n\tpush %%rax\n\tlretq\n\t"
		".code32\n"
		"3:\n\t"
		"mov %%cr0, %%eax\n\tand $0x7fffffff, %%eax\n\tmov %%eax, %%cr0\n\t"
		"mov $0xc0000080, %%ecx\n\trdmsr\n\tand $~0x100, %%eax\n\twrmsr\n\t"
		"mov %[pae], %%eax\n\tmov %%eax, %%cr3\n\t"
		"mov %%cr0, %%eax\n\tor $0x80000000, %%eax\n\tmov %%eax, %%cr0" ::[top] "m"(top_at),
		[pae] "m"(pae_at), [code_64] "i"(CODE_64), [code_32] "i"(CODE_32), "D"(wide)
		: "eax", "ebx", "ecx", "edx", "esi", "memory");
}

/* RSI is none of 64-bit code's: whatever it holds stays. */
static bool wide_gives(u64 number, u64 address, u64 count, u64 flags, int result, u64 done)
{
	const u64 noise = 0xdeadbeefcafef00dull;

	wide[0] = number;
	wide[1] = address;
	wide[2] = count;
	wide[3] = flags;
	wide[4] = noise;
	wide_call();
	return wide[0] == (u64)(long long)result && wide[1] == address && wide[2] == done &&
	       wide[3] == flags && wide[4] == noise;
}

static void check_wide(void)
{
	*word(RAM) = 0x33333333;
	check("64-bit code: H_ENTER and H_REMOVE",
	      wide_gives(ENTER, RAM, 3, WRITE, SUCCESS, 3) &&
		      wide_gives(REMOVE, RAM, 2, 0, SUCCESS, 2) && *word(RAM) == 0);
	check("an address has its upper half in RBX",
	      wide_gives(ENTER, 1ull << 32 | RAM, 1, 0, NOT_FOUND, 0) &&
		      wide_gives(ENTER, 1ull << 63 | RAM, 1, 0, PARAMETER, 0));
	check("upper halves of counts and flags count",
	      wide_gives(ENTER, RAM, 1ull << 32 | 1, 0, P2, 0) &&
		      wide_gives(ENTER, RAM, 1, 1ull << 32 | WRITE, P3, 0) &&
		      wide_gives(PROTECT, RAM, 0, 0, P2, 0));
	check("so do those of the number", wide_gives(1ull << 32 | ENTER, RAM, 1, 0, -1000, 1) &&
						   wide_gives(0x574900e4, RAM, 1, 0, FUNCTION, 1));
	check("and of a vCPU's", wide_gives(PROD, 1ull << 32, 5, 0, PARAMETER, 5) &&
					 wide_gives(PROD, 0, 5, 0, SUCCESS, 5));
	wide[0] = READ;
	wide[1] = RAM + 2 * PAGE;
	wide_call();
	check("H_READ", wide[0] == 0 && wide[1] == CONTENTS && !(wide[2] & ~0x3ffull));
}

/* --- Memory in pages of 2 MiB --- */

static void check_whole(void)
{
	*word(RAM + 5 * PAGE) = 5;
	check("a page is a part of one of 2 MiB", page_is(RAM + 5 * PAGE, CONTENTS, WHOLE));
	check("H_REMOVE of a part", gives(REMOVE, RAM, 1, 0, PARAMETER, 0) &&
					    gives(REMOVE, RAM, 511, 0, PARAMETER, 0) &&
					    gives(REMOVE, RAM + PAGE, 511, 0, PARAMETER, 0) &&
					    gives(REMOVE, RAM + 256 * PAGE, 512, 0, PARAMETER, 0) &&
					    *word(RAM + 5 * PAGE) == 5);
	check("one of which a part is protected is refused",
	      gives(PROTECT, RAM + 5 * PAGE, 1, ON, SUCCESS, 1) &&
		      gives(REMOVE, RAM, 512, 0, REFUSED, 0) && *word(RAM + 5 * PAGE) == 5);
	check("and can be written beside it", ({
		      *word(RAM + 4 * PAGE) = 4;
		      *word(RAM + 6 * PAGE) = 6;
		      *word(RAM + 4 * PAGE) == 4 && *word(RAM + 6 * PAGE) == 6;
	      }));
	check("one of which a part is pinned stays",
	      gives(PROTECT, RAM + 5 * PAGE, 1, 0, SUCCESS, 1) &&
		      gives(ENTER, RAM + 9 * PAGE, 1, PIN, SUCCESS, 1) &&
		      gives(REMOVE, RAM, 512, 0, RESOURCE, 0) &&
		      gives(REMOVE, RAM + 9 * PAGE, 1, PINS, SUCCESS, 1));
	check("the whole is given back", gives(REMOVE, RAM, 512, 0, SUCCESS, 512) &&
						 page_is(RAM, 0, WHOLE) &&
						 *word(RAM + 5 * PAGE) == 0);
}

/* --- For somebody who looks from outside --- */

static void give_back(void)
{
	check("pages are there", gives(ENTER, RAM, 512, WRITE, SUCCESS, 512));
	check("300 of them are given back, and what was given is not again",
	      gives(REMOVE, RAM, 300, 0, SUCCESS, 300) && gives(REMOVE, RAM, 300, 0, SUCCESS, 300));
	for (u32 i = 0; i < 44; i++)
		*word(RAM + i * PAGE) = i;
	check("44 are touched", *word(RAM + 43 * PAGE) == 43);
	print("hypercalls: 256 pages are away\n");
	for (;;)
		call(CEDE, 0, 0, 0);
}

static void take_words(const char *at)
{
	for (; *at; at++) {
		shadow = shadow || (at[0] == ' ' && at[1] == 's');
		large = large || (at[0] == ' ' && at[1] == 'l');
		given = given || (at[0] == ' ' && at[1] == 'g');
	}
}

void main(u32 magic, const struct multiboot_info *info)
{
	(void)magic;
	take_words(info->cmdline);
	interrupts_init();
	if (given)
		give_back();
	check_discovery();
	check_numbers();
	check_arguments();
	if (large) {
		check_whole();
		guest_end();
	}
	check_enter();
	check_remove();
	check_pins();
	check_protect();
	check_protect_emulated();
	check_cede();
	check_partial();
	check_privilege();
	check_tables();
	check_wide();
	guest_end();
}
