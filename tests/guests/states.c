/* SPDX-License-Identifier: MIT */
/*
 * Brings the CPU into states that a VM entry checks (SDM 3C 27.3.1) by whatever a guest may write, and
 * leaves the guest in each: an entry that failed would end the VM. Single steps over what exits, in the
 * shadows of STI and MOV SS; random control registers, EFER, XCR0 and DR7; the end of the address
 * space; virtual-8086 mode; IA-32e mode by a 32-bit guest.
 */
#include "guest.h"

#define LAPIC	     0xfee00000u
#define DEBUGCTL     0x1d9
#define DEBUGCTL_BTF 2
#define EFER	     0xc0000080
#define EFER_LME     0x100
#define EFER_LMA     0x400
#define CR0_PG	     0x80000000u
#define CR0_RANDOM   0x2005002eu /* all but PE, PG, NW and ET */
#define CR4_PSE	     0x10u
#define CR4_PAE	     0x20u
#define CR4_OSXSAVE  0x40000u
#define EFLAGS_TF    0x100u
#define EFLAGS_VM    0x20000u
#define TABLES	     0x1000000u
#define LAST_PAGE    0x1400000u
#define V86_CODE     0x8000u

static u32 seed = 20261127;

static u32 next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static u32 read_cr0(void)
{
	u32 v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}

static u32 read_cr4(void)
{
	u32 v;

	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

/* True: it was a fault. What follows leaves the guest in the new state. */
#define TRY_WITH(code, ...)                                                        \
	({                                                                         \
		u32 try_before_ = exceptions();                                    \
		__asm__ volatile("movl $1f, exception_resume\n\t" code             \
				 "\n1:\n\tmovl $0, exception_resume" ::__VA_ARGS__ \
				 : "memory");                                      \
		exceptions() != try_before_;                                       \
	})

static void leave(void)
{
	u32 r[4];

	cpuid(0, 0, r);
}

/* --- single steps --- */

static volatile u32 traps, trap_eip;

static void trap_hook(struct frame *f)
{
	if (f->vector != 1)
		return;
	traps++;
	trap_eip = f->eip;
	f->eflags &= ~EFLAGS_TF;
}

/* before: nothing, or what casts a shadow over code. The trap comes after code, once. */
#define STEP(name, before, code)                                                           \
	do {                                                                               \
		u32 after_;                                                                \
		traps = 0;                                                                 \
		__asm__ volatile(                                                          \
			"mov $0x3f8, %%edx; mov %%ss, %%edi; pushf; orl $0x100, (%%esp); " \
			"popf; " before code "\n1: nop; nop; cli; mov $1b, %0"             \
			: "=r"(after_)                                                     \
			: "S"(LAPIC + 0x30)                                                \
			: "eax", "ebx", "ecx", "edx", "edi", "memory");                    \
		check("single step over " name, traps == 1 && trap_eip == after_);         \
	} while (0)

#define SHADOWED(name, code) STEP(name " in the shadow of MOV SS", "mov %%edi, %%ss; ", code)

static void single_steps(void)
{
	/*
	 * The host that Weir is nested in may have no memory there yet. Bochs then tells it of a step that
	 * waits, though the instruction has not ended, and KVM lets the step come before it.
	 */
	(void)*(volatile u32 *)(LAPIC + 0x30);
	interrupt_hook = trap_hook;
	exception_keep_eip = true;
	SHADOWED("CPUID", "cpuid");
	SHADOWED("IN", "in $0x21, %%al");
	SHADOWED("a slow port", "in $0x92, %%al");
	SHADOWED("a device's register", "mov (%%esi), %%eax");
	SHADOWED("VMCALL", "vmcall");
	exception_keep_eip = false;
	interrupt_hook = 0;
}

static void count_traps(struct frame *f)
{
	traps += f->vector == 1;
}

/* With BTF, where the CPU has it, only branches trap; where it has not, every instruction does. */
static void branch_steps(void)
{
	interrupt_hook = count_traps;
	exception_keep_eip = true;
	wrmsr(DEBUGCTL, DEBUGCTL_BTF);
	traps = 0;
	__asm__ volatile(
		"mov %%ss, %%edi; pushf; orl $0x100, (%%esp); popf; cpuid; sti; cpuid; cli; "
		"mov %%edi, %%ss; cpuid; sti; in $0x21, %%al; mov %%edi, %%ss; in $0x92, %%al; "
		"sti; mov (%0), %%eax; cli; jmp 1f; nop; 1: nop; pushf; andl $~0x100, (%%esp); "
		"popf" ::"S"(LAPIC + 0x30)
		: "eax", "ebx", "ecx", "edx", "edi", "memory");
	check("branch steps over what leaves the guest, in the shadows of STI and MOV SS",
	      traps > 0);
	wrmsr(DEBUGCTL, 0);
	exception_keep_eip = false;
	interrupt_hook = 0;
}

/* --- registers --- */

static void random_registers(void)
{
	u32 cr0 = read_cr0(), cr4 = read_cr4(), faults = 0;
	u64 efer = rdmsr(EFER);

	for (u32 i = 0; i < 3000; i++) {
		faults += TRY_WITH("mov %0, %%cr4",
				   "r"(cr4 ^ 1u << next() % 32 ^ (next() & next())));
		leave();
		__asm__ volatile("mov %0, %%cr4" ::"r"(cr4));
		faults += TRY_WITH("mov %0, %%cr0", "r"(cr0 ^ (next() & CR0_RANDOM)));
		leave();
		__asm__ volatile("mov %0, %%cr0" ::"r"(cr0));
		faults += TRY_WITH("wrmsr", "c"(EFER), "a"(next() & 0x1fff),
				   "d"(next() & next() & 1));
		leave();
		wrmsr(EFER, efer);
		faults += TRY_WITH("mov %0, %%dr7", "r"(next() & ~0x2000));
		leave();
		__asm__ volatile("mov %0, %%dr7" ::"r"(0x400));
	}
	check("random CR0, CR4, EFER and DR7, some of them refused",
	      faults > 3000 && faults < 12000);
	check("what stays is as it was",
	      read_cr0() == cr0 && read_cr4() == cr4 && rdmsr(EFER) == efer);
}

static void random_xcr0(void)
{
	u32 cr4 = read_cr4(), r[4], taken = 0, refused = 0;

	cpuid(1, 0, r);
	if (!(r[2] & 1 << 26))
		return;
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | CR4_OSXSAVE));
	cpuid(0xd, 0, r);
	for (u32 i = 0; i < 512; i++) {
		bool sound = !(i & ~r[0]) && (i & 1) && (!(i & 4) || (i & 2)) &&
			     (!(i & 0x18) || (i & 0x18) == 0x18) &&
			     (!(i & 0xe0) || (i & 0xe6) == 0xe6);
		bool fault = TRY_WITH("xsetbv", "c"(0), "a"(i), "d"(0));

		leave();
		taken += sound && !fault;
		refused += !sound && fault;
	}
	check("XSETBV takes each sound value and no other", taken + refused == 512 && taken);
	check("XSETBV: no register but XCR0", TRY_WITH("xsetbv", "c"(1), "a"(1), "d"(0)));
	TRY_WITH("xsetbv", "c"(0), "a"(1), "d"(0));
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4));
}

/* PAE's four entries are looked at as paging comes on: garbage, a device, nothing at all. */
static void bad_pdptes(void)
{
	static const u32 places[] = {TABLES + 0x8000, LAPIC, 0xf0000000, 0xa0000};
	u32 cr0 = read_cr0(), cr4 = read_cr4();

	for (u32 i = 0; i < 8; i++)
		((volatile u32 *)(TABLES + 0x8000))[i] = ~0u;
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | CR4_PAE));
	for (u32 i = 0; i < 4; i++) {
		__asm__ volatile("mov %0, %%cr3" ::"r"(places[i]));
		check("PDPTEs that are none: #GP",
		      TRY_WITH("mov %0, %%cr0", "r"(cr0 | CR0_PG)) && exception_vector == 13);
	}
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4));
}

/* --- the end of the address space --- */

#define AT_THE_END(name, length, ...)                                                     \
	do {                                                                              \
		static const u8 code_[] = {__VA_ARGS__};                                  \
		for (u32 i_ = 0; i_ < (length); i_++)                                     \
			((volatile u8 *)LAST_PAGE)[0x400000 - (length) + i_] = code_[i_]; \
		__asm__ volatile("call *%0" ::"r"(0u - (length)), "S"(LAPIC + 0x30)       \
				 : "eax", "ebx", "ecx", "edx", "memory");                 \
		check(name " as the address space's last bytes", true);                   \
	} while (0)

/* EIP goes from its last value to 0, where a RET stands. */
static void wrap(void)
{
	u32 *directory = (u32 *)TABLES, cr0 = read_cr0(), cr4 = read_cr4();

	for (u32 i = 0; i < 1023; i++)
		directory[i] = i << 22 | 0x83;
	directory[1023] = LAST_PAGE | 0x83;
	__asm__ volatile("movb $0xc3, 0" ::
				 : "memory"); /* an address that the compiler takes for none */
	__asm__ volatile("mov %0, %%cr4; mov %1, %%cr3; mov %2, %%cr0" ::"r"(cr4 | CR4_PSE),
			 "r"(directory), "r"(cr0 | CR0_PG)
			 : "memory");
	AT_THE_END("CPUID", 2, 0x0f, 0xa2);
	AT_THE_END("IN", 2, 0xe4, 0x21);
	AT_THE_END("a slow IN", 2, 0xe4, 0x92);
	AT_THE_END("VMCALL", 3, 0x0f, 0x01, 0xc1);
	AT_THE_END("a device's register", 2, 0x8b, 0x06);
	AT_THE_END("a device's byte", 2, 0x8a, 0x06);
	__asm__ volatile("mov %0, %%cr0; mov %1, %%cr4" ::"r"(cr0), "r"(cr4) : "memory");
}

/* --- virtual-8086 mode --- */

static u32 tss[26 + 9]; /* and the map of the first 256 ports: all are free */
static u64 gdt[4] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
static u8 stack[4096] __attribute__((aligned(16)));
u32 v86_esp, v86_ebp, *v86_gate;

/* Leaves the mode by HLT's #GP; its own handler, for the data segments come as null ones. */
static void virtual_8086(void)
{
	/* cpuid; in al, 0x21; vmcall; ds = 0xa000; ax = [0x10]; [0x12] = ax; cs:[0x200] = ax; hlt */
	static const u8 code[] = {0x0f, 0xa2, 0xe4, 0x21, 0x0f, 0x01, 0xc1, 0xb8,
				  0x00, 0xa0, 0x8e, 0xd8, 0xa1, 0x10, 0x00, 0xa3,
				  0x12, 0x00, 0x2e, 0xa3, 0x00, 0x02, 0xf4};
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) table = {sizeof(gdt) - 1, (u32)gdt}, idtr;
	u32 *gate, was[2], base = (u32)tss;

	for (u32 i = 0; i < sizeof(code); i++)
		((volatile u8 *)V86_CODE)[i] = code[i];
	*(volatile u16 *)(V86_CODE + 0x200) = 0;
	tss[1] = (u32)stack + sizeof(stack);
	tss[2] = 0x10;
	tss[25] = 0x680000;
	tss[34] = ~0u;
	gdt[3] = 0x000089000000008bull | (u64)(base & 0xffffff) << 16 | (u64)(base >> 24) << 56;
	__asm__ volatile("lgdt %0; ltr %w1" ::"m"(table), "r"(0x18) : "memory");
	__asm__ volatile("sidt %0" : "=m"(idtr));
	gate = (u32 *)(idtr.base + 13 * 8);
	was[0] = gate[0];
	was[1] = gate[1];
	v86_gate = gate;
	__asm__ volatile(
		"mov v86_gate, %%ecx; mov $2f, %%eax; movw %%ax, (%%ecx); shr $16, %%eax;"
		"movw %%ax, 6(%%ecx); mov %%esp, v86_esp; mov %%ebp, v86_ebp;"
		"push $0; push $0; push $0; push $0; push $0; push $0x1000; push $0x23002;"
		"push %0; push $0; iret;"
		"2: mov $16, %%eax; mov %%ax, %%ds; mov %%ax, %%es; mov %%ax, %%fs; mov %%ax, %%gs;"
		"mov v86_esp, %%esp; mov v86_ebp, %%ebp" ::"i"(V86_CODE >> 4)
		: "eax", "ebx", "ecx", "edx", "esi", "edi", "memory");
	gate[0] = was[0];
	gate[1] = was[1];
	check("virtual-8086 mode reads all ones in the legacy hole and comes back",
	      *(volatile u16 *)(V86_CODE + 0x200) == 0xffff);
}

/* --- IA-32e mode --- */

/* In compatibility mode all the while: what a 32-bit program sees is the same. */
static void ia32e(void)
{
	volatile u64 *pml4 = (u64 *)TABLES, *pdpt = (u64 *)(TABLES + 0x1000);
	volatile u64 *pd = (u64 *)(TABLES + 0x2000);
	u32 cr0 = read_cr0(), cr4 = read_cr4(), version = 0;
	u64 efer = rdmsr(EFER);

	pml4[0] = (TABLES + 0x1000) | 3;
	for (u32 i = 0; i < 4; i++)
		pdpt[i] = (TABLES + 0x2000 + i * 0x1000) | 3;
	for (u32 i = 0; i < 2048; i++)
		pd[i] = (u64)i << 21 | 0x83;
	__asm__ volatile("mov %0, %%cr3" ::"r"(TABLES));
	wrmsr(EFER, efer | EFER_LME);
	check("LME without PAE: #GP", TRY_WITH("mov %0, %%cr0", "r"(cr0 | CR0_PG)));
	__asm__ volatile("mov %0, %%cr4; mov %1, %%cr0" ::"r"(cr4 | CR4_PAE), "r"(cr0 | CR0_PG));
	for (u32 i = 0; i < 100; i++) {
		leave();
		version = *(volatile u32 *)(LAPIC + 0x30);
		inb(0x92);
	}
	efer = rdmsr(EFER);
	__asm__ volatile("mov %0, %%cr0; mov %1, %%cr4" ::"r"(cr0), "r"(cr4));
	check("IA-32e mode on and off", (efer & EFER_LMA) && !(rdmsr(EFER) & EFER_LMA) && version);
	wrmsr(EFER, efer & ~(u64)(EFER_LME | EFER_LMA));
}

void main(void)
{
	interrupts_init();
	print("guest: hello\n");
	single_steps();
	branch_steps();
	random_registers();
	random_xcr0();
	bad_pdptes();
	wrap();
	ia32e();
	virtual_8086();
	guest_end();
}
