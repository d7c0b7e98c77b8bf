/* SPDX-License-Identifier: MIT */
/*
 * clock_ns is one clock only if the TSCs agree. Firmware is known to set them apart, so each CPU
 * that comes up compares: the boot CPU's TSC before and after must enclose its own.
 */
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "smp/clock.h"
#include "smp/cpu.h"
#include "smp/timer.h"

#define ROUNDS		       16
#define CPUID_7_EBX_TSC_ADJUST BIT(1)
#define PATIENCE_NS	       1000000000ull

/* Odd: the new CPU asks; even: the boot CPU has answered with its TSC. Atomic. */
static struct {
	u64 turn;
	u64 boot_tsc;
} meeting;

static bool wait_turn(u64 turn)
{
	u64 start = rdtsc(), patience = clock_ns_to_tsc(PATIENCE_NS);

	while (__atomic_load_n(&meeting.turn, __ATOMIC_ACQUIRE) != turn) {
		if (rdtsc() - start > patience)
			return false;
		cpu_relax();
	}
	return true;
}

void clock_sync_prepare(void)
{
	__atomic_store_n(&meeting.turn, 0, __ATOMIC_RELEASE);
}

/* Answers the new CPU's questions. A CPU that stops asking is noticed elsewhere. */
void clock_sync_boot_cpu(void)
{
	for (u64 i = 0; i < ROUNDS; i++) {
		if (!wait_turn(2 * i + 1))
			break;
		__atomic_store_n(&meeting.boot_tsc, rdtsc(), __ATOMIC_RELAXED);
		__atomic_store_n(&meeting.turn, 2 * i + 2, __ATOMIC_RELEASE);
	}
}

/* The least and the most that this TSC can be ahead of the boot CPU's. */
static bool measure_lead(s64 *least, s64 *most)
{
	*least = INT64_MIN;
	*most = INT64_MAX;
	for (u64 i = 0; i < ROUNDS; i++) {
		u64 before = rdtsc(), theirs, after;

		__atomic_store_n(&meeting.turn, 2 * i + 1, __ATOMIC_RELEASE);
		if (!wait_turn(2 * i + 2))
			return false;
		theirs = __atomic_load_n(&meeting.boot_tsc, __ATOMIC_RELAXED);
		after = rdtsc();
		*least = max(*least, (s64)(before - theirs));
		*most = min(*most, (s64)(after - theirs));
	}
	return true;
}

static bool has_tsc_adjust(void)
{
	return cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & CPUID_7_EBX_TSC_ADJUST);
}

void clock_sync_new_cpu(void)
{
	s64 least, most, lead;

	if (!measure_lead(&least, &most) || (least <= 0 && most >= 0))
		return;
	lead = least + (most - least) / 2;
	log_warn("CPU %u: its TSC is %ld cycles apart; it is set right", cpu_id(), lead);
	if (has_tsc_adjust())
		wrmsr(MSR_IA32_TSC_ADJUST, rdmsr(MSR_IA32_TSC_ADJUST) - (u64)lead);
	else
		wrmsr(MSR_IA32_TSC, rdtsc() - (u64)lead);
}
