/* SPDX-License-Identifier: MIT */
/* The LAPIC's timer as one alarm: TSC deadline, or counting down (SDM 3A 10.5.4). */
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/apic_regs.h"
#include "smp/cpu.h"
#include "smp/irq.h"
#include "smp/timer.h"
#include "smp/tsc_errata.h"

#define CPUID_1_ECX_TSC_DEADLINE BIT(24)
#define NS_PER_MS		 1000000ull
#define CALIBRATE_NS		 (10 * NS_PER_MS)
#define PROBE_DELAY_NS		 (NS_PER_MS / 10)
#define PROBE_PATIENCE_NS	 (20 * NS_PER_MS)
#define HORIZON_NS		 (3600 * 1000 * NS_PER_MS)

static bool deadline_mode;
static u64 ticks_per_ms; /* of the counting timer, divided by 16 */

bool apic_timer_is_deadline(void)
{
	return deadline_mode;
}

static bool timer_vector_pending(void)
{
	return apic_read(APIC_IRR + VECTOR_TIMER / 32 * 16) & BIT(VECTOR_TIMER % 32);
}

static void write_deadline(u64 tsc)
{
	/* 0 would disarm it. */
	wrmsr(MSR_IA32_TSC_DEADLINE, tsc ? tsc : 1);
}

static void deadline_mode_on(void)
{
	apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
	/* The MSR's write may not pass the store that selects the mode (SDM 3A 10.5.4.1). */
	__asm__ volatile("mfence" ::: "memory");
}

/* SDM 3A 9.11.7.1: CPUID fills the register in, which must be 0 before. 0: it is not there. */
static u32 microcode_revision(void)
{
	u64 id;

	if (wrmsr_safe(MSR_IA32_BIOS_SIGN_ID, 0))
		return 0;
	(void)cpuid(1, 0);
	return rdmsr_safe(MSR_IA32_BIOS_SIGN_ID, &id) ? 0 : (u32)(id >> 32);
}

/* An emulated CPU has the signature and not the fault; and no revision that says so. */
static bool deadline_is_good(void)
{
	u32 least = tsc_deadline_microcode(cpuid(1, 0).eax), revision;

	if (!least || machine_is_emulated())
		return true;
	revision = microcode_revision();
	if (revision >= least)
		return true;
	log_warn("TSC deadline timer errs on this CPU with microcode %#x: the LAPIC timer counts "
		 "instead; from %#x on it is good: update the firmware",
		 revision, least);
	return false;
}

/* CPUID promises it; one alarm with interrupts off shows whether it comes. */
static bool deadline_works(void)
{
	u64 start = clock_ns();

	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_TSC_DEADLINE) || !deadline_is_good())
		return false;
	deadline_mode_on();
	write_deadline(rdtsc() + clock_ns_to_tsc(PROBE_DELAY_NS));
	while (clock_ns() - start < PROBE_PATIENCE_NS) {
		if (timer_vector_pending())
			return true;
		cpu_relax();
	}
	wrmsr(MSR_IA32_TSC_DEADLINE, 0);
	log_warn("TSC deadline timer did not fire: the LAPIC timer counts instead");
	return false;
}

static void counting_mode_on(void)
{
	apic_write(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_16);
	apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
}

static void calibrate(void)
{
	u64 start, end;
	u32 counted;

	apic_write(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_16);
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	/* Looks at the clock enclose the count: what comes between the two makes alarms early, not late. */
	start = clock_ns();
	apic_write(APIC_TIMER_INITIAL, ~0u);
	while (clock_ns() - start < CALIBRATE_NS)
		cpu_relax();
	counted = ~0u - apic_read(APIC_TIMER_CURRENT);
	end = clock_ns();
	apic_write(APIC_TIMER_INITIAL, 0);
	ticks_per_ms = counted * NS_PER_MS / (end - start);
	if (!ticks_per_ms)
		panic("the LAPIC timer does not count: this machine has no usable timer");
}

void apic_timer_init_cpu(void)
{
	if (cpu_id() == 0) {
		deadline_mode = deadline_works();
		if (!deadline_mode)
			calibrate();
		log_info("timer: LAPIC %s", deadline_mode ? "TSC deadline" : "one-shot count");
		if (!deadline_mode)
			log_info("timer: %lu kHz after division", ticks_per_ms);
	}
	if (deadline_mode)
		deadline_mode_on();
	else
		counting_mode_on();
}

/* ms and rest apart, so that no product overflows; an early alarm is looked at and set again. */
static u32 ns_to_count(u64 ns)
{
	u64 count = ns / NS_PER_MS;

	if (count >= ~0u / ticks_per_ms)
		return ~0u;
	count = count * ticks_per_ms + ns % NS_PER_MS * ticks_per_ms / NS_PER_MS;
	return count ? (u32)count : 1;
}

void apic_timer_set(u64 deadline_ns)
{
	u64 now = clock_ns(), left = deadline_ns > now ? deadline_ns - now : 0;

	/* A TSC value that wraps would be one that has passed: an alarm without end. */
	left = min(left, HORIZON_NS);
	if (deadline_mode)
		write_deadline(rdtsc() + clock_ns_to_tsc(left));
	else
		apic_write(APIC_TIMER_INITIAL, ns_to_count(left));
}

void apic_timer_stop(void)
{
	if (deadline_mode)
		wrmsr(MSR_IA32_TSC_DEADLINE, 0);
	else
		apic_write(APIC_TIMER_INITIAL, 0);
}
