/* SPDX-License-Identifier: MIT */
/*
 * Hosted: the machine's instructions as the fake machine has them. The interrupt flag is the
 * thread's own; ports, MSRs, CPUID and control registers answer through hooks that a test sets.
 */
#ifndef KERNEL_BASE_X86_H
#define KERNEL_BASE_X86_H

#include <sched.h>
#include <stdlib.h>
#include "kernel/base/panic.h"
#include "kernel/base/types.h"

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};

/* Every hook may be NULL: reads give all ones (ports) or 0, writes are dropped. */
struct hosted_machine {
	u32 (*in)(u16 port, u32 size);
	void (*out)(u16 port, u32 size, u32 value);
	u64 (*rdmsr)(u32 index);
	void (*wrmsr)(u32 index, u64 value);
	struct cpuid_regs (*cpuid)(u32 leaf, u32 subleaf);
	u64 (*tsc)(void);
	u64 (*xgetbv)(u32 index);
	void (*invlpg)(const void *p);
};

extern struct hosted_machine hosted_machine;
extern _Thread_local bool hosted_irq_on;
extern _Thread_local u64 hosted_cr[5];

static inline u32 hosted_in(u16 port, u32 size)
{
	return hosted_machine.in ? hosted_machine.in(port, size) : ~0u;
}

static inline void hosted_out(u16 port, u32 size, u32 value)
{
	if (hosted_machine.out)
		hosted_machine.out(port, size, value);
}

static inline void outb(u16 port, u8 v)
{
	hosted_out(port, 1, v);
}

static inline void outw(u16 port, u16 v)
{
	hosted_out(port, 2, v);
}

static inline void outl(u16 port, u32 v)
{
	hosted_out(port, 4, v);
}

static inline u8 inb(u16 port)
{
	return hosted_in(port, 1);
}

static inline u16 inw(u16 port)
{
	return hosted_in(port, 2);
}

static inline u32 inl(u16 port)
{
	return hosted_in(port, 4);
}

static inline u64 rdmsr(u32 index)
{
	return hosted_machine.rdmsr ? hosted_machine.rdmsr(index) : 0;
}

static inline void wrmsr(u32 index, u64 v)
{
	if (hosted_machine.wrmsr)
		hosted_machine.wrmsr(index, v);
}

static inline struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
	if (hosted_machine.cpuid)
		return hosted_machine.cpuid(leaf, subleaf);
	return (struct cpuid_regs){0, 0, 0, 0};
}

#define HOSTED_CR_ACCESSORS(n)                \
	static inline u64 read_cr##n(void)    \
	{                                     \
		return hosted_cr[n];          \
	}                                     \
	static inline void write_cr##n(u64 v) \
	{                                     \
		hosted_cr[n] = v;             \
	}

HOSTED_CR_ACCESSORS(0)
HOSTED_CR_ACCESSORS(2)
HOSTED_CR_ACCESSORS(3)
HOSTED_CR_ACCESSORS(4)
#undef HOSTED_CR_ACCESSORS

static inline u64 xgetbv(u32 index)
{
	return hosted_machine.xgetbv ? hosted_machine.xgetbv(index) : 0;
}

/* Every second one fails. */
static inline bool rdrand(u64 *value)
{
	static u64 n;

	*value = 0x5eed0000 + n;
	return n++ & 1;
}

static inline bool rdseed(u64 *value)
{
	*value = 0;
	return false;
}

static inline void xsetbv(u32 index, u64 v)
{
	(void)index;
	(void)v;
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	if (hosted_machine.tsc)
		return hosted_machine.tsc();
	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return ((u64)hi << 32) | lo;
}

/* There may be more threads than cores: let the one that is waited for run (schedule.c). */
void hosted_relax(void);

static inline void cpu_relax(void)
{
	hosted_relax();
}

/* How often the thread has come by one. */
extern _Thread_local u64 hosted_no_speculation;

static inline void no_speculation(void)
{
	hosted_no_speculation++;
}

static inline void irq_disable(void)
{
	hosted_irq_on = false;
}

static inline void irq_enable(void)
{
	hosted_irq_on = true;
}

static inline void irq_enable_and_halt(void)
{
	hosted_irq_on = true;
	sched_yield();
}

#define RFLAGS_IF BIT(9)

static inline bool irq_enabled(void)
{
	return hosted_irq_on;
}

static inline bool irq_save(void)
{
	bool on = hosted_irq_on;

	hosted_irq_on = false;
	return on;
}

static inline void irq_restore(bool on)
{
	if (on)
		hosted_irq_on = true;
}

static inline void invlpg(const void *p)
{
	if (hosted_machine.invlpg)
		hosted_machine.invlpg(p);
}

static inline void __noreturn halt_forever(void)
{
	panic("halted for ever");
}

#endif
