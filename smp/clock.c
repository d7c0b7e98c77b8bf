/* SPDX-License-Identifier: MIT */
/* The clock is the TSC, once its rate is known. */
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "smp/clock.h"
#include "smp/timer.h"

#define NS_PER_SECOND 1000000000ull
/*
 * A part in a hundred thousand, where a look takes a microsecond. What emulators count is exact, or
 * as good as their host lets it be; there each boot of the tests pays.
 */
#define MEASURE_MS  100
#define EMULATED_MS 10
#define PIT_MS_MAX  50 /* 16 bits of its counter */
#define ROUNDS	    3
#define BRACKETS    8 /* looks at both counters, of which the closest counts */
#define SPIN_READS  50000000ull
#define HONEST_PER  1000 /* CPUID may be off by one part in this many */
#define KHZ	    1000

#define CPUID_EXTENDED		  0x80000000u
#define CPUID_POWER		  0x80000007u
#define CPUID_POWER_EDX_INVARIANT BIT(8)
#define CPUID_HYPERVISOR	  0x40000000u
#define CPUID_KVM_FEATURES	  0x40000001u
#define CPUID_KVM_STABLE	  BIT(24) /* KVM_FEATURE_CLOCKSOURCE_STABLE_BIT */

static u64 tsc_start;
static u64 tsc_hz;
static u64 wall_start;
static struct clock_scale to_ns, to_tsc;

/* a * b / c with all bits in between; the caller knows that the quotient fits. */
static u64 multiply_divide(u64 a, u64 b, u64 c)
{
	u64 high;

	__asm__("mulq %3\n\t"
		"divq %4"
		: "=&a"(a), "=&d"(high)
		: "0"(a), "r"(b), "r"(c)
		: "cc");
	return a;
}

struct clock_scale clock_scale_make(u64 from_hz, u64 to_hz)
{
	return (struct clock_scale){multiply_divide(to_hz, BIT(32), from_hz)};
}

/* What CPUID claims by the crystal, 0 when it says nothing (SDM 2A CPUID leaf 15H). */
static u64 cpuid_tsc_hz(void)
{
	struct cpuid_regs r;

	if (cpuid(0, 0).eax < 0x15)
		return 0;
	r = cpuid(0x15, 0);
	return r.eax && r.ebx && r.ecx ? (u64)r.ecx * r.ebx / r.eax : 0;
}

/* A measurement can be disturbed, and CPUID can be made up: near enough, CPUID is better. */
static bool honest(u64 claimed, u64 measured)
{
	return claimed && measured && claimed + measured / HONEST_PER > measured &&
	       measured + measured / HONEST_PER > claimed;
}

/*
 * Where CPUID has the ratio to the crystal and not its rate it is one of these (SDM 3B 19.7.3):
 * the one that the measurement agrees with. Servers that slow theirs down a little, against radio
 * interference, agree with none.
 */
static u64 usual_crystal_hz(u64 measured)
{
	static const u32 crystals[] = {24000000, 25000000, 19200000, 38400000};
	struct cpuid_regs r;

	if (cpuid(0, 0).eax < 0x15)
		return 0;
	r = cpuid(0x15, 0);
	if (!r.eax || !r.ebx || r.ecx)
		return 0;
	for (u32 i = 0; i < ARRAY_SIZE(crystals); i++) {
		u64 hz = (u64)crystals[i] * r.ebx / r.eax;

		if (honest(hz, measured))
			return hz;
	}
	return 0;
}

/*
 * What the CPU is sold as, in whole MHz (leaf 16H): a 2904 MHz TSC is one of "2900", minutes wrong
 * in a day. Only where nothing can be measured.
 */
static u64 cpuid_nominal_hz(void)
{
	return cpuid(0, 0).eax >= 0x16 ? (u64)(cpuid(0x16, 0).eax & 0xffff) * 1000000 : 0;
}

/* Both counters at one moment, as close together as a few tries make it. */
static void read_both(const struct clock_reference *ref, u64 *tsc, u64 *ticks)
{
	u64 best = ~0ull;

	for (u32 i = 0; i < BRACKETS; i++) {
		u64 before = rdtsc(), now = ref->read(), after = rdtsc();

		if (after - before < best) {
			best = after - before;
			*tsc = before + best / 2;
			*ticks = now;
		}
	}
}

/* TSC cycles a second by ref; 0 when it stands still. */
static u64 measure_once(const struct clock_reference *ref, u32 ms)
{
	u64 wanted = ref->hz * ms / 1000, tsc0, tsc1, ticks0, ticks1, gone = 0;

	read_both(ref, &tsc0, &ticks0);
	for (u64 reads = 0; reads < SPIN_READS && gone < wanted; reads++)
		gone = (ref->read() - ticks0) & ref->mask;
	read_both(ref, &tsc1, &ticks1);
	gone = (ticks1 - ticks0) & ref->mask;
	if (gone < wanted)
		return 0;
	return multiply_divide(tsc1 - tsc0, ref->hz, gone);
}

static u64 median(u64 v[ROUNDS])
{
	u64 low = min(v[0], v[1]), high = max(v[0], v[1]);

	return max(low, min(high, v[2]));
}

static u64 measure(const char **how)
{
	const struct clock_reference *ref = clock_reference_find();
	u32 ms = machine_is_emulated() ? EMULATED_MS : MEASURE_MS;
	u64 rates[ROUNDS], cycles;

	if (ref) {
		*how = ref->name;
		for (u32 i = 0; i < ROUNDS; i++)
			rates[i] = measure_once(ref, ms);
		if (median(rates))
			return median(rates);
	}
	*how = "PIT";
	ms = min(ms, (u32)PIT_MS_MAX);
	for (u32 i = 0; i < ROUNDS; i++)
		rates[i] = clock_pit_measure(ms, &cycles) ? cycles * 1000 / ms : 0;
	return median(rates);
}

static bool tsc_is_doubted;

bool clock_tsc_is_stable(void)
{
	return !__atomic_load_n(&tsc_is_doubted, __ATOMIC_RELAXED);
}

void clock_tsc_doubt(void)
{
	__atomic_store_n(&tsc_is_doubted, true, __ATOMIC_RELAXED);
}

static bool is_called(const struct cpuid_regs *r, const char name[12])
{
	return !memcmp(&r->ebx, name, 4) && !memcmp(&r->ecx, name + 4, 4) &&
	       !memcmp(&r->edx, name + 8, 4);
}

/*
 * Emulators' TSCs have one rate, also those of models of CPUs whose manuals promise none; KVM says
 * so, where QEMU hides the CPU's promise. Of other hypervisors nothing is known.
 */
static bool is_promised_below(void)
{
	struct cpuid_regs r;

	if (machine_is_bochs())
		return true;
	if (!machine_has_hypervisor())
		return false;
	r = cpuid(CPUID_HYPERVISOR, 0);
	if (is_called(&r, "TCGTCGTCGTCG"))
		return true;
	return is_called(&r, "KVMKVMKVM\0\0\0") &&
	       (cpuid(CPUID_KVM_FEATURES, 0).eax & CPUID_KVM_STABLE);
}

static void look_at_promise(void)
{
	bool invariant = cpuid(CPUID_EXTENDED, 0).eax >= CPUID_POWER &&
			 (cpuid(CPUID_POWER, 0).edx & CPUID_POWER_EDX_INVARIANT);

	__atomic_store_n(&tsc_is_doubted, false, __ATOMIC_RELAXED);
	if (invariant || is_promised_below())
		return;
	clock_tsc_doubt();
	log_warn("clock: this CPU does not promise that its TSC keeps its rate, so guests are not "
		 "promised it either");
}

void clock_init(void)
{
	u64 claimed = cpuid_tsc_hz(), measured, crystal;
	const char *how;

	measured = measure(&how);
	crystal = usual_crystal_hz(measured);
	tsc_hz = measured;
	if (honest(claimed, measured)) {
		tsc_hz = claimed;
		how = "CPUID";
	} else if (crystal) {
		tsc_hz = crystal;
		how = "CPUID and the usual crystal";
	} else if (!measured) {
		tsc_hz = claimed ? claimed : cpuid_nominal_hz();
		how = "CPUID alone, nothing else counts";
	}
	if (tsc_hz < KHZ)
		panic("no clock: CPUID names no TSC rate, and HPET, ACPI timer and PIT stand "
		      "still");
	to_ns = clock_scale_make(tsc_hz, NS_PER_SECOND);
	to_tsc = clock_scale_make(NS_PER_SECOND, tsc_hz);
	tsc_start = rdtsc();
	wall_start = cmos_read_time();
	look_at_promise();
	log_info("clock: TSC at %lu kHz by %s", tsc_hz / KHZ, how);
}

u64 clock_ns(void)
{
	return clock_scale_apply(to_ns, rdtsc() - tsc_start);
}

u64 clock_tsc_khz(void)
{
	return tsc_hz / KHZ;
}

u64 clock_tsc_to_ns(u64 cycles)
{
	return clock_scale_apply(to_ns, cycles);
}

u64 clock_ns_to_tsc(u64 ns)
{
	return clock_scale_apply(to_tsc, ns);
}

u64 clock_boot_wall_seconds(void)
{
	return wall_start;
}

void clock_udelay(u32 microseconds)
{
	u64 start = rdtsc(), cycles = clock_ns_to_tsc((u64)microseconds * 1000);

	while (rdtsc() - start < cycles)
		cpu_relax();
}
