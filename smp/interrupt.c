/* SPDX-License-Identifier: MIT */
/* What happens at a vector: a handler, a fixup, or the end. */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/mca.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/ipi_private.h"
#include "smp/irq.h"
#include "smp/nmi.h"
#include "smp/thread.h"

#define PAGE_FAULT_PRESENT BIT(0)
#define PAGE_FAULT_WRITE   BIT(1)
#define PAGE_FAULT_FETCH   BIT(4)

struct irq_slot {
	irq_handler_t fn;
	void *arg;
	u64 count; /* atomic */
};

struct fixup {
	u64 faulting, resume;
};

static struct irq_slot slots[256];

extern const struct fixup fixup_table[]; /* entry.S */
static_assert(ERR_FAULT == -10, "entry.S returns it by number");

static const char *const exception_names[VECTOR_EXCEPTIONS] = {
	"#DE divide error",
	"#DB debug",
	"NMI",
	"#BP breakpoint",
	"#OF overflow",
	"#BR bound range",
	"#UD invalid opcode",
	"#NM no FPU",
	"#DF double fault",
	"vector 9",
	"#TS invalid TSS",
	"#NP segment not present",
	"#SS stack segment",
	"#GP general protection",
	"#PF page fault",
	"vector 15",
	"#MF x87",
	"#AC alignment check",
	"#MC machine check",
	"#XM SIMD",
	"#VE virtualization",
	"#CP control protection",
};

void irq_set_handler(u8 vector, irq_handler_t fn, void *arg)
{
	BUG_ON(vector < VECTOR_EXCEPTIONS || slots[vector].fn);
	slots[vector].arg = arg;
	__atomic_store_n(&slots[vector].fn, fn, __ATOMIC_RELEASE);
}

u64 irq_count(u8 vector)
{
	return __atomic_load_n(&slots[vector].count, __ATOMIC_RELAXED);
}

static bool resume_at_fixup(struct interrupt_frame *f)
{
	for (const struct fixup *x = fixup_table; x->faulting; x++) {
		if (x->faulting == f->rip) {
			f->rip = x->resume;
			return true;
		}
	}
	return false;
}

static void __noreturn page_fault_panic(const struct interrupt_frame *f, u64 addr)
{
	const char *what = f->error_code & PAGE_FAULT_FETCH   ? "fetch from"
			   : f->error_code & PAGE_FAULT_WRITE ? "write to"
							      : "read of";

	panic("page fault: %s %#lx (%s) at rip %#lx", what, addr,
	      f->error_code & PAGE_FAULT_PRESENT ? "not allowed" : "not mapped", f->rip);
}

/*
 * A push onto a full stack faults, and so does the delivery of that page fault: what arrives is a
 * double fault, with the address of the first still in CR2.
 */
static void name_stack_overflow(const struct interrupt_frame *f, u64 addr)
{
	const char *owner = cpu_guard_page_owner(addr);

	if (owner)
		panic("stack overflow of %s at rip %#lx", owner, f->rip);
	if (thread_guard_page_hit(addr, f->rsp))
		panic("stack overflow of thread %s at rip %#lx", thread_current()->name, f->rip);
}

static void exception(struct interrupt_frame *f)
{
	u64 addr;

	if (f->vector == VECTOR_GP && resume_at_fixup(f))
		return;
	this_cpu()->fault = f;
	if (f->vector == VECTOR_MC)
		mca_record();
	if (f->vector == VECTOR_PF || f->vector == VECTOR_DF) {
		addr = read_cr2();
		name_stack_overflow(f, addr);
		if (f->vector == VECTOR_PF)
			page_fault_panic(f, addr);
	}
	panic("exception %lu (%s), error code %#lx, at rip %#lx", f->vector,
	      exception_names[f->vector] ? exception_names[f->vector] : "reserved", f->error_code,
	      f->rip);
}

/* May have come in the middle of anything, so it takes no lock: not even the log's. */
static void nmi(void)
{
	/* Another CPU panics: here is where this one ends. */
	if (ipi_stopping())
		halt_forever();
	__atomic_fetch_add(&slots[VECTOR_NMI].count, 1, __ATOMIC_RELAXED);
	nmi_came();
}

static void device_interrupt(u8 vector)
{
	struct irq_slot *s = &slots[vector];

	__atomic_fetch_add(&s->count, 1, __ATOMIC_RELAXED);
	if (s->fn)
		s->fn(s->arg);
	else if (s->count == 1 && vector != VECTOR_SPURIOUS)
		log_warn("interrupt at vector %#x, which nobody handles", vector);
	/* A spurious one of either controller is not in service, so there is nothing to end. */
	if (vector != VECTOR_SPURIOUS && vector >= VECTOR_IRQ_BASE)
		apic_eoi();
}

void interrupt_dispatch(struct interrupt_frame *f)
{
	struct cpu *cpu = this_cpu();
	u32 base;

	if (f->vector < VECTOR_EXCEPTIONS && f->vector != VECTOR_NMI) {
		exception(f);
		return;
	}

	base = cpu->spin_locks.base;
	cpu->spin_locks.base = cpu->spin_locks.count;
	cpu->interrupt_nest++;
	if (f->vector == VECTOR_NMI)
		nmi();
	else
		device_interrupt((u8)f->vector);
	cpu->interrupt_nest--;
	cpu->spin_locks.base = base;

	if (f->vector != VECTOR_NMI && READ_ONCE(cpu->need_resched) && !cpu->interrupt_nest &&
	    !cpu->preempt_off && (f->rflags & RFLAGS_IF))
		thread_preempt_from_interrupt();
}

/* RFLAGS has IF clear: nobody is preempted here. */
void interrupt_acknowledged(u8 vector)
{
	struct interrupt_frame f = {.vector = vector, .rip = (u64)interrupt_acknowledged};

	ASSERT(!irq_enabled());
	interrupt_dispatch(&f);
}
