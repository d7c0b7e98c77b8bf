/* SPDX-License-Identifier: MIT */
/* Each CPU's GDT and TSS, and the one IDT (SDM 3A 3.5, 6.14, 8.7). */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "smp/cpu_private.h"
#include "smp/irq.h"

/* Each of these arrives on a stack of its own, for the one in use may be the trouble. */
enum ist {
	IST_NONE,
	IST_NMI,
	IST_DOUBLE_FAULT,
	IST_MACHINE_CHECK,
	IST_COUNT = IST_MACHINE_CHECK,
};

#define IST_BOOT_SIZE 8192 /* the boot CPU's until cpu_guard_stacks */

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3;
	u16 iomap_base;
} __packed;
static_assert(sizeof(struct tss) == 104, "64-bit TSS, SDM 3A figure 8-11");

struct gate {
	u16 offset_low;
	u16 selector;
	u8 ist;
	u8 type;
	u16 offset_middle;
	u32 offset_high;
	u32 reserved;
};
static_assert(sizeof(struct gate) == 16, "64-bit IDT gate, SDM 3A figure 6-8");

struct table_register {
	u16 limit;
	u64 base;
} __packed;

#define GDT_CODE64     0x00af9b000000ffffull /* present, DPL 0, code, accessed, L */
#define GDT_DATA       0x00cf93000000ffffull /* present, DPL 0, writable data, accessed */
#define GDT_TSS_TYPE   0x89ull		     /* present, available 64-bit TSS */
#define GATE_INTERRUPT 0x8e		     /* present, DPL 0, interrupt gate: IF is cleared */

struct cpu_tables {
	u64 gdt[6]; /* null, code, data, TSS (two entries) */
	struct tss tss;
	u8 *ist_guard[IST_COUNT + 1]; /* lowest byte of each stack that has a guard page */
} __aligned(64);

static struct cpu_tables tables[CPU_MAX];
static struct gate idt[256] __aligned(16);
static u8 boot_ist[IST_COUNT][IST_BOOT_SIZE] __aligned(16);

extern u8 interrupt_stubs[]; /* entry.S; one each INTERRUPT_STUB_SIZE bytes */
#define INTERRUPT_STUB_SIZE 16

static void idt_fill(void)
{
	for (u32 v = 0; v < ARRAY_SIZE(idt); v++) {
		u64 entry = (u64)interrupt_stubs + v * INTERRUPT_STUB_SIZE;

		idt[v] = (struct gate){
			.offset_low = (u16)entry,
			.selector = SELECTOR_CS,
			.type = GATE_INTERRUPT,
			.offset_middle = (u16)(entry >> 16),
			.offset_high = (u32)(entry >> 32),
		};
	}
	idt[VECTOR_NMI].ist = IST_NMI;
	idt[VECTOR_DF].ist = IST_DOUBLE_FAULT;
	idt[VECTOR_MC].ist = IST_MACHINE_CHECK;
}

static void gdt_fill(struct cpu_tables *t)
{
	u64 base = (u64)&t->tss, limit = sizeof(t->tss) - 1;

	t->gdt[SELECTOR_CS / 8] = GDT_CODE64;
	t->gdt[SELECTOR_DS / 8] = GDT_DATA;
	t->gdt[SELECTOR_TSS / 8] = limit | (base & 0xffffff) << 16 | GDT_TSS_TYPE << 40 |
				   ((base >> 24) & 0xff) << 56;
	t->gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
	t->tss.iomap_base = sizeof(t->tss);
}

void cpu_load_tables(struct cpu *cpu)
{
	struct cpu_tables *t = &tables[cpu->id];
	struct table_register gdtr = {sizeof(t->gdt) - 1, (u64)t->gdt};
	struct table_register idtr = {sizeof(idt) - 1, (u64)idt};
	u64 scratch;

	/* LTR wants it marked available; a CPU that is started again finds it busy. */
	gdt_fill(t);
	__asm__ volatile("lgdt %1\n\t"
			 "pushq %2\n\t"
			 "leaq 1f(%%rip), %0\n\t"
			 "pushq %0\n\t"
			 "lretq\n"
			 "1:\n\t"
			 "movl %3, %%ds\n\t"
			 "movl %3, %%es\n\t"
			 "movl %3, %%ss\n\t"
			 "movl %4, %%fs\n\t"
			 "movl %4, %%gs\n\t"
			 "lidt %5"
			 : "=&r"(scratch)
			 : "m"(gdtr), "i"(SELECTOR_CS), "r"(SELECTOR_DS), "r"(0), "m"(idtr)
			 : "memory");
	/* Loading GS cleared its base: before anything else, point it at the CPU again. */
	wrmsr(MSR_GS_BASE, (u64)cpu);
	__asm__ volatile("ltr %w0" ::"r"(SELECTOR_TSS));
}

static void set_stack(struct cpu_tables *t, enum ist ist, u8 *stack, u64 size)
{
	t->tss.ist[ist - 1] = (u64)stack + size;
}

/* Stacks with guard pages for NMI, #DF and #MC of one CPU. Those it had are not given back. */
int cpu_prepare_tables(u32 id)
{
	struct cpu_tables *t = &tables[id];

	for (enum ist ist = IST_NMI; ist <= IST_COUNT; ist++) {
		u8 *stack = t->ist_guard[ist];

		if (!stack)
			stack = smp_hooks_get()->stack_alloc(STACK_PAGES);
		if (!stack)
			return ERR_NOMEM;
		t->ist_guard[ist] = stack;
		set_stack(t, ist, stack, STACK_SIZE);
	}
	return 0;
}

void cpu_guard_stacks(void)
{
	if (cpu_prepare_tables(cpu_id()))
		panic("no memory for the boot CPU's stacks");
}

void cpu_tables_init_boot(struct cpu *cpu)
{
	idt_fill();
	for (enum ist ist = IST_NMI; ist <= IST_COUNT; ist++)
		set_stack(&tables[0], ist, boot_ist[ist - 1], IST_BOOT_SIZE);
	cpu_load_tables(cpu);
}

const char *cpu_guard_page_owner(u64 addr)
{
	static const char *const names[] = {
		[IST_NMI] = "the NMI stack",
		[IST_DOUBLE_FAULT] = "the double fault stack",
		[IST_MACHINE_CHECK] = "the machine check stack",
	};
	struct cpu_tables *t = &tables[cpu_id()];

	for (enum ist ist = IST_NMI; ist <= IST_COUNT; ist++) {
		u64 low = (u64)t->ist_guard[ist];

		if (low && addr < low && addr >= low - PAGE_SIZE)
			return names[ist];
	}
	return NULL;
}

u64 cpu_gdt_base(void)
{
	return (u64)tables[cpu_id()].gdt;
}

u64 cpu_tss_base(void)
{
	return (u64)&tables[cpu_id()].tss;
}

u64 cpu_idt_base(void)
{
	return (u64)idt;
}
