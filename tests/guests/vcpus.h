/* SPDX-License-Identifier: MIT */
/*
 * Guests with several vCPUs: their local APICs, and how vCPU 0 starts the others and has them do
 * something. Each vCPU counts what comes to it; interrupt_hook is to do that, and vCPU 0's start to call
 * vcpus_init.
 */
#ifndef TESTS_GUESTS_VCPUS_H
#define TESTS_GUESTS_VCPUS_H

#include "guest.h"

#define LAPIC	    0xfee00000u
#define LAPIC_ID    0x20
#define LAPIC_TPR   0x80
#define LAPIC_EOI   0xb0
#define LAPIC_LDR   0xd0
#define LAPIC_DFR   0xe0
#define LAPIC_SVR   0xf0
#define LAPIC_IRR   0x200
#define LAPIC_ICR   0x300
#define LAPIC_ICR_2 0x310

#define FIXED	0x4000u
#define LOWEST	0x4100u
#define NMI	0x4400u
#define INIT	0x4500u
#define STARTUP 0x4600u
#define LOGICAL 0x800u
#define SELF	0x40000u
#define ALL	0x80000u
#define OTHERS	0xc0000u

#define MSR_APIC_BASE  0x1b
#define MSR_X2APIC_EOI 0x80b
#define MSR_X2APIC_ICR 0x830
#ifndef CPUS_MAX
#define CPUS_MAX 8
#endif
#ifndef WAITS
#define WAITS 1u /* how much longer `until` waits, where many vCPUs share few CPUs */
#endif
#define STACK	   8192
#define TRAMPOLINE 0x8000u
#define SPURIOUS   0xff
#define WAKE	   0x40
#define TOKEN	   0x51

extern u8 ap_start[], ap_end[];
u8 ap_stacks[CPUS_MAX][STACK] __attribute__((aligned(16)));

static u32 cpus;
static volatile u32 starts[CPUS_MAX];
static volatile u32 counts[CPUS_MAX][256];
static void (*volatile jobs[CPUS_MAX])(u32 me);

/* --- local APIC --- */

static inline u32 apic_read(u32 at)
{
	return *(volatile u32 *)(LAPIC + at);
}

static inline void apic_write(u32 at, u32 v)
{
	*(volatile u32 *)(LAPIC + at) = v;
}

static inline u32 my_id(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	return r[1] >> 24;
}

static inline bool in_x2apic(void)
{
	return rdmsr(MSR_APIC_BASE) & 0x400;
}

static inline void ipi(u32 dest, u32 low)
{
	if (in_x2apic()) {
		wrmsr(MSR_X2APIC_ICR, (u64)dest << 32 | low);
		return;
	}
	apic_write(LAPIC_ICR_2, dest << 24);
	apic_write(LAPIC_ICR, low);
}

static inline void to_x2apic(u32 me)
{
	(void)me;
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 0x400);
}

static inline void eoi(void)
{
	if (in_x2apic())
		wrmsr(MSR_X2APIC_EOI, 0);
	else
		apic_write(LAPIC_EOI, 0);
}

static inline void apic_on(u32 me)
{
	apic_write(LAPIC_SVR, 0x100 | SPURIOUS);
	apic_write(LAPIC_DFR, ~0u);
	apic_write(LAPIC_LDR, me < 8 ? 1u << (24 + me) : 0);
	apic_write(LAPIC_TPR, 0);
}

static inline void relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

/* Long enough for what ought to come, and for what ought not. */
static inline bool until(volatile u32 *p, u32 value)
{
	for (u32 i = 0; i < WAITS * 10000000u && *p != value; i++)
		relax();
	return *p == value;
}

static inline void linger(void)
{
	for (volatile u32 i = 0; i < 20000; i++)
		relax();
}

/* --- the other vCPUs --- */

void ap_main(u32 me)
{
	interrupts_init();
	apic_on(me);
	__asm__ volatile("lock incl %0" : "+m"(starts[me]));
	for (;;) {
		__asm__ volatile("cli");
		if (jobs[me]) {
			__asm__ volatile("sti");
			jobs[me](me);
			__asm__ volatile("" ::: "memory");
			jobs[me] = 0;
		} else {
			/* What comes from here on ends the HLT. */
			__asm__ volatile("sti; hlt" ::: "memory");
		}
	}
}

__asm__(".section .rodata\n"
	".code16\n"
	".globl ap_start, ap_end\n"
	"ap_start:\n"
	"	cli\n"
	"	xor %ax, %ax\n"
	"	mov %ax, %ds\n"
	"	lgdtl 0x8000 + ap_gdt_pointer - ap_start\n"
	"	mov %cr0, %eax\n"
	"	or $1, %al\n"
	"	mov %eax, %cr0\n"
	"	ljmpl $8, $ap_protected\n"
	"ap_gdt_pointer:\n"
	"	.word 23\n"
	"	.long ap_gdt\n"
	"ap_end:\n"
	".balign 8\n"
	"ap_gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
	".text\n"
	".code32\n"
	"ap_protected:\n"
	"	mov $16, %eax\n"
	"	mov %eax, %ds\n"
	"	mov %eax, %es\n"
	"	mov %eax, %ss\n"
	"	mov $1, %eax\n"
	"	cpuid\n"
	"	shr $24, %ebx\n"
	"	mov %ebx, %eax\n"
	"	shl $13, %eax\n"
	"	lea ap_stacks + 8192(%eax), %esp\n"
	"	push %ebx\n"
	"	call ap_main\n");
_Static_assert(STACK == 8192 && TRAMPOLINE == 0x8000, "the assembler's");

static inline void run_on(u32 cpu, void (*job)(u32 me))
{
	jobs[cpu] = job;
	ipi(cpu, FIXED | WAKE);
}

static inline bool done(u32 cpu)
{
	return until((volatile u32 *)&jobs[cpu], 0);
}

static inline void start(u32 cpu)
{
	jobs[cpu] = 0;
	ipi(cpu, INIT);
	ipi(cpu, STARTUP | TRAMPOLINE >> 12);
	ipi(cpu, STARTUP | TRAMPOLINE >> 12);
}

/* All but vCPU 0, which started already. */
static inline bool start_others(void)
{
	bool all = true;

	for (u32 i = 1; i < cpus; i++)
		start(i);
	for (u32 i = 1; i < cpus; i++)
		all = until(&starts[i], 1) && all;
	return all;
}

/* The job on all of them at once, vCPU 0 among them. */
static inline bool on_all(void (*job)(u32 me))
{
	bool ok = true;

	for (u32 i = 1; i < cpus; i++)
		run_on(i, job);
	job(0);
	for (u32 i = 1; i < cpus; i++)
		ok = done(i) && ok;
	return ok;
}

/* --- what comes to whom --- */

/* It comes to these vCPUs once each, and to no other. */
static inline bool comes_to(u32 vector, u32 set)
{
	bool same = true;

	for (u32 i = 0; i < cpus; i++) {
		if (set >> i & 1)
			same = until(&counts[i][vector], 1) && same;
	}
	linger();
	for (u32 i = 0; i < cpus; i++)
		same = counts[i][vector] == (set >> i & 1) && same;
	return same;
}

static volatile u32 token_rounds; /* that are left */

/* For interrupt_hook, after the EOI: TOKEN goes on to the next vCPU, until it went round so often. */
static inline void pass_token(u32 me)
{
	if (me || --token_rounds)
		ipi((me + 1) % cpus, FIXED | TOKEN);
}

/* vCPU 0 sleeps meanwhile: it wakes by the token alone, and for ever waits for one that is lost. */
static inline void send_token_round(u32 rounds)
{
	for (u32 i = 0; i < cpus; i++)
		counts[i][TOKEN] = 0;
	token_rounds = rounds;
	ipi(1, FIXED | TOKEN);
	while (token_rounds)
		__asm__ volatile("sti; hlt; cli" ::: "memory");
}

static inline bool token_came_to_all(u32 rounds)
{
	bool all = true;

	for (u32 i = 0; i < cpus; i++)
		all = counts[i][TOKEN] == rounds && all;
	return all;
}

/* How many there are; where the others start. apic_on(0) is the caller's. */
static inline void vcpus_init(void)
{
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	interrupts_init();
	outw(0x510, 5);
	cpus = inb(0x511);
	for (u32 i = 0; ap_start + i < ap_end; i++)
		((u8 *)TRAMPOLINE)[i] = ap_start[i];
}

#endif
