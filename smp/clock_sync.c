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
#define SETS		       4 /* of one TSC: any one of them may be bad */
#define MEASUREMENTS	       (2 + SETS)
#define CPUID_7_EBX_TSC_ADJUST BIT(1)
#define PATIENCE_NS	       1000000000ull
#define FINISHED	       (~0ull)

static struct {
	u64 turn; /* odd: the new CPU asks; even: the boot CPU has answered. Atomic */
	u64 boot_tsc;
	u64 boot_adjust; /* how far it was set by WRMSR; before the new CPU comes */
} meeting;

static bool wait_turn(u64 turn)
{
	u64 start = rdtsc(), patience = clock_ns_to_tsc(PATIENCE_NS), now;

	while ((now = __atomic_load_n(&meeting.turn, __ATOMIC_ACQUIRE)) != turn) {
		if (now == FINISHED || rdtsc() - start > patience)
			return false;
		cpu_relax();
	}
	return true;
}

static bool has_tsc_adjust(void)
{
	return cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & CPUID_7_EBX_TSC_ADJUST);
}

void clock_sync_prepare(void)
{
	meeting.boot_adjust = has_tsc_adjust() ? rdmsr(MSR_IA32_TSC_ADJUST) : 0;
	__atomic_store_n(&meeting.turn, 0, __ATOMIC_RELEASE);
}

/*
 * Answers the new CPU's questions, until that has done. A CPU that stops asking is noticed elsewhere.
 */
void clock_sync_boot_cpu(void)
{
	for (u64 i = 0; i < MEASUREMENTS * ROUNDS; i++) {
		u64 asked = 2 * i + 1;

		if (!wait_turn(asked))
			break;
		__atomic_store_n(&meeting.boot_tsc, rdtsc(), __ATOMIC_RELAXED);
		/* Who came too late with it must not hide that the new CPU has given up. */
		if (!__atomic_compare_exchange_n(&meeting.turn, &asked, 2 * i + 2, false,
						 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			break;
	}
}

/* The least and the most that this TSC can be ahead of the boot CPU's. */
struct lead {
	s64 least, most;
};

/* nth: of MEASUREMENTS, from 0 on. False: the boot CPU does not answer. */
static bool measure_lead(u64 nth, struct lead *lead)
{
	*lead = (struct lead){INT64_MIN, INT64_MAX};
	for (u64 i = nth * ROUNDS; i < (nth + 1) * ROUNDS; i++) {
		u64 before = rdtsc(), theirs, after;

		__atomic_store_n(&meeting.turn, 2 * i + 1, __ATOMIC_RELEASE);
		if (!wait_turn(2 * i + 2))
			return false;
		theirs = __atomic_load_n(&meeting.boot_tsc, __ATOMIC_RELAXED);
		after = rdtsc();
		lead->least = max(lead->least, (s64)(before - theirs));
		lead->most = min(lead->most, (s64)(after - theirs));
	}
	return true;
}

static bool is_apart(struct lead lead)
{
	return lead.least > 0 || lead.most < 0;
}

static s64 middle_of(struct lead lead)
{
	return lead.least + (lead.most - lead.least) / 2;
}

/* late: cycles from reading IA32_TSC until it has what is written, as far as they are known. */
static void set_back(s64 middle, u64 late)
{
	log_warn("CPU %u: its TSC is %ld cycles apart; it is set right", cpu_id(), middle);
	if (has_tsc_adjust())
		wrmsr(MSR_IA32_TSC_ADJUST, rdmsr(MSR_IA32_TSC_ADJUST) - (u64)middle);
	else
		wrmsr(MSR_IA32_TSC, rdtsc() - (u64)middle + late);
}

static void tell_no_answer(void)
{
	clock_tsc_doubt();
	log_warn("CPU %u: the boot CPU does not answer: whether the TSCs agree is not known",
		 cpu_id());
}

/*
 * As a rule the TSCs of a machine start together. Where the firmware wrote to them the boot CPU's
 * adjustment makes this one exactly what it was beside it; what was measured is as good as the
 * measurement, so that is measured again, and set again: one bad measurement is not to cost all guests
 * their promise. Without the adjustment a TSC is written some cycles after it was read: about as many
 * the next time, so what the last write was late by is added.
 */
static void match(void)
{
	struct lead lead;
	u64 late = 0;
	u64 n = 0;

	if (!measure_lead(n++, &lead)) {
		tell_no_answer();
		return;
	}
	if (!is_apart(lead))
		return;
	if (has_tsc_adjust() && rdmsr(MSR_IA32_TSC_ADJUST) != meeting.boot_adjust) {
		wrmsr(MSR_IA32_TSC_ADJUST, meeting.boot_adjust);
		if (!measure_lead(n++, &lead)) {
			tell_no_answer();
			return;
		}
		if (!is_apart(lead)) {
			log_warn("CPU %u: the firmware set its TSC apart; it is set back",
				 cpu_id());
			return;
		}
	}
	for (u32 i = 0; i < SETS; i++) {
		set_back(middle_of(lead), late);
		if (!measure_lead(n++, &lead)) {
			tell_no_answer();
			return;
		}
		if (!is_apart(lead))
			return;
		late -= (u64)middle_of(lead);
	}
	clock_tsc_doubt();
	log_warn("CPU %u: its TSC is %ld cycles apart still: guests are not promised that TSCs "
		 "agree",
		 cpu_id(), middle_of(lead));
}

void clock_sync_new_cpu(void)
{
	match();
	__atomic_store_n(&meeting.turn, FINISHED, __ATOMIC_RELEASE);
}
