/* SPDX-License-Identifier: MIT */
/*
 * The CPUs: per-CPU data, descriptor tables, bring-up, which are online. this_cpu() is stable
 * only while preemption or interrupts are off: a thread that may be preempted may go on elsewhere
 * (but for one that is pinned). What is read of the CPU's data with preemption on is read by one
 * instruction, THIS_CPU, and says where the thread was, or what is the same wherever it is.
 */
#ifndef SMP_CPU_H
#define SMP_CPU_H

#include "kernel/base/addr.h"
#include "smp/lock_order.h"

#define CPU_MAX 64

struct thread;
struct interrupt_frame;

/* GS points here on target (gs:0 is self), always: SWAPGS is never used. Hosted: thread-local. */
struct cpu {
	struct cpu *self;
	u32 id;	     /* 0 .. cpu_count()-1; 0 is the boot CPU */
	u32 apic_id; /* x2APIC width */
	/* this CPU only */
	struct thread *current;
	u32 preempt_off;		     /* > 0: the scheduler leaves this thread alone */
	u32 interrupt_nest;		     /* > 0: in interrupt context */
	bool need_resched;		     /* atomic: others set it too */
	struct lock_stack spin_locks;	     /* debug: spin locks held */
	const struct interrupt_frame *fault; /* of the exception that is about to panic */
	/* set once at bring-up, read by all */
	bool online; /* atomic */
};

#ifndef WEIR_HOSTED
static inline struct cpu *this_cpu(void)
{
	struct cpu *cpu;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

/* A field of this CPU's, read by one instruction. */
#define THIS_CPU(field)                                               \
	({                                                            \
		typeof(((struct cpu *)0)->field) value_;              \
		__asm__ volatile("mov %%gs:%c1, %0"                   \
				 : "=r"(value_)                       \
				 : "i"(offsetof(struct cpu, field))); \
		value_;                                               \
	})

/* The same of a bool, without a register. */
#define THIS_CPU_IS_SET(field)                                                              \
	({                                                                                  \
		bool set_;                                                                  \
		static_assert(sizeof(((struct cpu *)0)->field) == 1, "a byte is compared"); \
		__asm__ volatile("cmpb $0, %%gs:%c1"                                        \
				 : "=@ccne"(set_)                                           \
				 : "i"(offsetof(struct cpu, field)));                       \
		set_;                                                                       \
	})
#else
struct cpu *this_cpu(void);
#define THIS_CPU(field)	       READ_ONCE(this_cpu()->field)
#define THIS_CPU_IS_SET(field) READ_ONCE(this_cpu()->field)
#endif

struct cpu *cpu_get(u32 id); /* NULL when id >= cpu_count() */
u32 cpu_count(void);	     /* CPUs that came up; ids are dense */

static inline u32 cpu_id(void)
{
	return THIS_CPU(id);
}

/* The same as an index of 64 bits, which costs no instruction more. */
#ifndef WEIR_HOSTED
static inline u64 cpu_index(void)
{
	u64 index;

	__asm__ volatile("movl %%gs:%c1, %k0" : "=r"(index) : "i"(offsetof(struct cpu, id)));
	return index;
}
#else
static inline u64 cpu_index(void)
{
	return cpu_id();
}
#endif

#ifndef WEIR_HOSTED
static inline void preempt_disable(void)
{
	/* One instruction, or the count of a CPU that the thread has just left would rise. */
	__asm__ volatile("incl %%gs:%c0" ::"i"(offsetof(struct cpu, preempt_off)) : "memory", "cc");
}
#else
void preempt_disable(void);
#endif
void preempt_enable(void); /* may switch threads if a resched is due and interrupts are on */
bool in_interrupt(void);

/*
 * Bring-up of this CPU's GDT, TSS, IDT and per-CPU pointer for the boot CPU: first thing after
 * boot/ enters C, before anything that may fault. Its stacks for NMI, #DF and #MC are static
 * until cpu_guard_stacks exchanges them.
 */
void cpu_init_boot(void);

/* Boot CPU, once, hooks set: NMI, #DF and #MC stacks with guard pages. Thread context. */
void cpu_guard_stacks(void);

/*
 * Starts every other CPU the MADT lists by INIT-SIPI-SIPI (SDM 3A 9.4.4). One that does not
 * answer is named and left out. Thread context, boot CPU, once, after mem/, the clock and threads
 * are up. max_cpus: 0 for all.
 */
void cpu_start_others(u32 max_cpus);

/*
 * Selectors in every CPU's GDT, and where this CPU's tables are (linear addresses): what a VMCS
 * wants to know for its host state, with HOST GS base being this_cpu().
 */
#define SELECTOR_CS  0x08
#define SELECTOR_DS  0x10
#define SELECTOR_TSS 0x18

u64 cpu_gdt_base(void);
u64 cpu_tss_base(void);
u64 cpu_idt_base(void);

/*
 * What smp/ needs of the floors above it. Set once by the boot CPU before thread_init_cpu; all
 * are called in thread context (cpu_init: on a CPU coming up, interrupts off).
 */
struct smp_hooks {
	u8 *(*stack_alloc)(u32 pages); /* guard pages around it; lowest byte or NULL */
	void (*stack_free)(u8 *stack, u32 pages);
	void *(*alloc)(size_t size); /* zeroed, 64-byte aligned; NULL: no memory */
	void (*free)(void *p);
	u8 *(*map_device)(hpa_t hpa, u64 size); /* uncached; NULL: no memory */
	u64 (*cr3)(void);			/* for CPUs that come up */
	void (*cpu_init)(void);			/* control registers, PAT and the like */
};

void smp_set_hooks(const struct smp_hooks *hooks);
const struct smp_hooks *smp_hooks_get(void); /* for smp/ alone; panics while unset */

#define STACK_PAGES 4 /* of a thread and of each IST stack */
#define STACK_SIZE  (STACK_PAGES * PAGE_SIZE)

/* What an address in a guard page below one of this CPU's own stacks belongs to, or NULL. */
const char *cpu_guard_page_owner(u64 addr);

#endif
