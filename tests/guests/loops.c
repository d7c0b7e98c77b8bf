/* SPDX-License-Identifier: MIT */
/*
 * Goes round for ever, in the way that its VM is named after: loops that an operator must be able to
 * stop, look at and end, and beside which other VMs have their share of the CPU. Some keep a CPU from
 * taking interrupts for as long as it is left alone (SDM 3A 6.15, #AC and #DB on their own stacks).
 */
#include "guest.h"

#define LAPIC	     0xfee00000u
#define IOAPIC	     0xfec00000u
#define CR0_AM	     (1u << 18)
#define EFLAGS_AC    (1u << 18)
#define USER_CODE    0x1b
#define USER_DATA    0x23
#define TSS	     0x28
#define VECTOR_STRAY 0x60
#define VECTOR_RTC   0x62

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device;
	const char *cmdline;
};

struct pointer {
	u16 limit;
	u32 base;
} __attribute__((packed));

static u32 tss[26];
static u64 gdt[6] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff,
		     0x00cff3000000ffff};
static u8 user_stack[256] __attribute__((aligned(16)));

static void mmio_write(u32 at, u32 v)
{
	*(volatile u32 *)at = v;
}

static void ioapic_write(u32 reg, u32 v)
{
	mmio_write(IOAPIC, reg);
	mmio_write(IOAPIC + 0x10, v);
}

/* A gate for programs to one vector's stub, or to code of theirs. */
static void user_gate(u32 vector, void *handler)
{
	struct pointer idtr;
	u32 *gate;

	__asm__ volatile("sidt %0" : "=m"(idtr));
	gate = (u32 *)(idtr.base + vector * 8);
	gate[0] = USER_CODE << 16 | ((u32)handler & 0xffff);
	gate[1] = ((u32)handler & 0xffff0000) | 0xee00;
}

static void load_user_segments(void)
{
	struct pointer gdtr = {sizeof(gdt) - 1, (u32)gdt};
	u64 base = (u32)tss;

	tss[1] = (u32)user_stack + sizeof(user_stack); /* of CPL 0; nothing goes there */
	tss[2] = 0x10;
	gdt[5] = 0x0000890000000067ull | (base & 0xffffff) << 16 | (base >> 24) << 56;
	__asm__ volatile("lgdt %0; ltr %w1" ::"m"(gdtr), "r"(TSS) : "memory");
}

/* The handler's frame is as misaligned as what it is about, so that it never comes to its first byte. */
static void alignment_checks(void)
{
	u32 cr0;

	load_user_segments();
	user_gate(17, &&handler);
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" ::"r"(cr0 | CR0_AM));
	__asm__ volatile(
		"push %0; push %1; push %2; push %3; push $1f; iret; 1: push %%eax; jmp 1b" ::"r"(
			USER_DATA),
		"r"((u32)user_stack + 129), "r"(EFLAGS_AC | 2), "r"(USER_CODE)
		: "memory");
handler:
	for (;;)
		;
}

/* A breakpoint on the stack onto which #DB pushes. */
static void debug_traps(void)
{
	exception_keep_eip = true;
	__asm__ volatile(
		"lea -16(%%esp), %%eax; mov %%eax, %%dr0; lea -8(%%esp), %%eax; "
		"mov %%eax, %%dr1; mov $0x00dd040f, %%eax; mov %%eax, %%dr7; "
		"1: push %%eax; push %%eax; push %%eax; push %%eax; add $16, %%esp; jmp 1b" ::
			: "eax", "memory");
}

static void halt_without_interrupts(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void jump_without_interrupts(void)
{
	__asm__ volatile("cli; 1: jmp 1b");
}

/* A REP that writes to a device, as often as the CPU can count. */
static void repeat_on_device(void)
{
	for (;;)
		__asm__ volatile("rep stosl" ::"D"(IOAPIC + 0x100), "c"(~0u), "a"(0) : "memory");
}

static void repeat_on_port(void)
{
	for (;;)
		__asm__ volatile("rep insb" ::"D"(0x1000000), "c"(0x100000), "d"(0x61) : "memory");
}

/* Timers whose periods are the shortest there are, of all devices at once, by the IOAPIC. */
static void shortest_timers(void)
{
	outb(0x43, 0x34);
	outb(0x40, 2);
	outb(0x40, 0);
	outb(0x70, 0x0a);
	outb(0x71, 0x23);
	outb(0x70, 0x0b);
	outb(0x71, 0x72);
	mmio_write(LAPIC + 0xf0, 0x1ff);
	mmio_write(LAPIC + 0x320, 0x20000 | VECTOR_STRAY);
	mmio_write(LAPIC + 0x3e0, 0xb);
	mmio_write(LAPIC + 0x380, 1);
	ioapic_write(0x10 + 2 * 2, 0x61);
	ioapic_write(0x10 + 2 * 8, VECTOR_RTC);
	for (;;)
		__asm__ volatile("sti; hlt");
}

/* A level that nobody takes away comes again at each EOI: the keyboard controller's own answer. */
static void a_level_for_ever(void)
{
	mmio_write(LAPIC + 0xf0, 0x1ff);
	ioapic_write(0x10 + 2 * 1, 0x8000 | VECTOR_STRAY);
	outb(0x64, 0x60);
	outb(0x60, 0x01);
	outb(0x64, 0xaa);
	for (;;)
		__asm__ volatile("sti; hlt");
}

/* Errors of the local APIC, reported by an interrupt that is an error. */
static void errors_about_errors(void)
{
	mmio_write(LAPIC + 0xf0, 0x1ff);
	mmio_write(LAPIC + 0x370, 3);
	for (;;) {
		mmio_write(LAPIC + 0x300, 0x40000 | 5);
		mmio_write(LAPIC + 0x280, 0);
	}
}

static void hook(struct frame *f)
{
	if (f->vector == VECTOR_RTC) {
		outb(0x70, 0x0c);
		inb(0x71);
	}
	if (f->vector >= 32)
		mmio_write(LAPIC + 0xb0, 0);
}

void main(u32 magic, const struct multiboot_info *info)
{
	static const struct {
		char letter;
		void (*run)(void);
	} loops[] = {{'a', alignment_checks},	     {'d', debug_traps},
		     {'h', halt_without_interrupts}, {'j', jump_without_interrupts},
		     {'r', repeat_on_device},	     {'i', repeat_on_port},
		     {'t', shortest_timers},	     {'l', a_level_for_ever},
		     {'e', errors_about_errors}};

	(void)magic;
	interrupts_init();
	interrupt_hook = hook;
	for (u32 i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		if (loops[i].letter != info->cmdline[0])
			continue;
		print("guest: goes round\n");
		loops[i].run();
	}
	print("FAIL: no such loop\n");
	guest_end();
}
