/* SPDX-License-Identifier: MIT */
/*
 * What a guest may know about being one: KVM's paravirtual CPUID leaves and clock, by which Linux
 * needs no calibration, and Weir's own leaves beside them.
 */
#include "kernel/hypercall.h"
#include "kernel/vcpu.h"
#include "kernel/version.h"

#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "smp/timer.h"

#define CPUID_KVM_SIGNATURE   0x40000000u
#define CPUID_KVM_FEATURES    0x40000001u
#define CPUID_WEIR_SIGNATURE  0x40000100u
#define CPUID_WEIR_VERSION    0x40000101u
#define CPUID_WEIR_HYPERCALLS 0x40000102u

#define KVM_FEATURE_CLOCKSOURCE	       BIT(0)
#define KVM_FEATURE_NOP_IO_DELAY       BIT(1)
#define KVM_FEATURE_CLOCKSOURCE2       BIT(3)
#define KVM_FEATURE_STEAL_TIME	       BIT(5)
#define KVM_FEATURE_PV_EOI	       BIT(6)
#define KVM_FEATURE_PV_UNHALT	       BIT(7) /* KVM_HC_KICK_CPU ends a HLT */
#define KVM_FEATURE_PV_TLB_FLUSH       BIT(9) /* steal time tells who is preempted */
#define KVM_FEATURE_PV_SEND_IPI	       BIT(11)
#define KVM_FEATURE_PV_SCHED_YIELD     BIT(13)
#define KVM_FEATURE_CLOCKSOURCE_STABLE BIT(24)

#define SYSTEM_TIME_ENABLE BIT(0)

/* The guest reads these: the layouts are KVM's ABI. */
struct pvclock_time {
	u32 version; /* odd while it is being changed */
	u32 pad0;
	u64 tsc_timestamp;
	u64 system_time;
	u32 tsc_to_system_mul;
	s8 tsc_shift;
	u8 flags;
	u8 pad1[2];
};
static_assert(sizeof(struct pvclock_time) == 32, "the guest's layout");
#define PVCLOCK_TSC_STABLE    BIT(0)
#define PVCLOCK_GUEST_STOPPED BIT(1) /* the guest takes it away */

struct pvclock_wall {
	u32 version;
	u32 sec;
	u32 nsec;
};
static_assert(sizeof(struct pvclock_wall) == 12, "the guest's layout");

static void put_signature(struct cpuid_regs *r, const char text[12])
{
	memcpy(&r->ebx, text, 4);
	memcpy(&r->ecx, text + 4, 4);
	memcpy(&r->edx, text + 8, 4);
}

/* An EOI that the CPU does by itself could not be cheaper. */
static bool has_pv_eoi(void)
{
	return vmx_apicv() < VMX_APICV_FULL;
}

static bool paravirt_cpuid(u32 leaf, struct cpuid_regs *r)
{
	*r = (struct cpuid_regs){0};
	switch (leaf) {
	case CPUID_KVM_SIGNATURE:
		r->eax = CPUID_KVM_FEATURES;
		put_signature(r, "KVMKVMKVM\0\0");
		return true;
	case CPUID_KVM_FEATURES:
		r->eax = KVM_FEATURE_CLOCKSOURCE | KVM_FEATURE_NOP_IO_DELAY |
			 KVM_FEATURE_CLOCKSOURCE2 | KVM_FEATURE_STEAL_TIME | KVM_FEATURE_PV_UNHALT |
			 KVM_FEATURE_PV_TLB_FLUSH | KVM_FEATURE_PV_SEND_IPI |
			 KVM_FEATURE_PV_SCHED_YIELD |
			 (clock_tsc_is_stable() ? KVM_FEATURE_CLOCKSOURCE_STABLE : 0) |
			 (has_pv_eoi() ? KVM_FEATURE_PV_EOI : 0);
		return true;
	case CPUID_WEIR_SIGNATURE:
		r->eax = CPUID_WEIR_HYPERCALLS;
		put_signature(r, "WeirWeirWeir");
		return true;
	case CPUID_WEIR_VERSION:
		r->eax = WEIR_VERSION_NUMBER;
		return true;
	case CPUID_WEIR_HYPERCALLS:
		r->eax = HYPERCALL_FEATURES;
		r->ebx = HYPERCALL_BASE;
		r->ecx = MMU_RANGE_MAX;
		r->edx = VM_PINS_MAX;
		return true;
	default:
		return false;
	}
}

void paravirt_init(void)
{
	vmx_set_paravirt_cpuid(paravirt_cpuid);
}

/*
 * ns = ((tsc << shift) * mul) >> 32, a negative shift being to the right. mul is the fraction
 * 10^6 / khz normalised into [2^31, 2^32).
 */
static void pvclock_scale(u64 khz, u32 *mul, s8 *shift)
{
	u64 numerator = 1000000, denominator = khz;
	s8 s = 0;

	while (numerator >= denominator) {
		denominator <<= 1;
		s++;
	}
	while (numerator * 2 < denominator) {
		numerator <<= 1;
		s--;
	}
	*mul = (u32)((numerator << 32) / denominator);
	*shift = s;
}

/* 0; ERR_FAULT: no RAM is there, the guest's error; ERR_NOMEM. */
static int write_shared(struct vcpu *v, gpa_t gpa, const void *bytes, u64 size)
{
	int err = gpa_write(&v->vm->mmu, gpa, bytes, size);

	return err && err != ERR_NOMEM ? ERR_FAULT : err;
}

static int write_system_time(struct vcpu *v, u64 msr, u8 flags)
{
	/* Without it Linux sees to it by itself that time does not go back between vCPUs. */
	u8 stable = clock_tsc_is_stable() ? PVCLOCK_TSC_STABLE : 0;
	struct pvclock_time t = {.flags = flags | stable};
	gpa_t gpa = GPA(msr & ~SYSTEM_TIME_ENABLE);
	int err;

	if (!is_aligned(gpa.v, 4ull))
		return ERR_FAULT;
	/*
	 * All vCPUs reckon from the VM's start, at the same rate: what one reads after another is
	 * never earlier, however long ago each page was written.
	 */
	t.tsc_timestamp = vmx_tsc_offset(v->vmx) - v->vm->tsc_offset;
	t.system_time = 0;
	pvclock_scale(clock_tsc_khz(), &t.tsc_to_system_mul, &t.tsc_shift);
	t.version = v->kvmclock_version + 1;
	err = write_shared(v, gpa, &t, sizeof(t));
	if (err)
		return err;
	t.version++;
	v->kvmclock_version = t.version;
	return write_shared(v, gpa, &t.version, sizeof(t.version));
}

static int write_wall_clock(struct vcpu *v, u64 gpa)
{
	u64 second = 1000000000;
	struct pvclock_wall w = {
		.version = 2,
		.sec = (u32)(clock_boot_wall_seconds() + v->vm->start_ns / second),
		.nsec = (u32)(v->vm->start_ns % second),
	};

	if (!is_aligned(gpa, 4ull))
		return ERR_FAULT;
	return write_shared(v, GPA(gpa), &w, sizeof(w));
}

bool paravirt_owns_msr(u32 index)
{
	return index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_SYSTEM_TIME ||
	       index == MSR_KVM_STEAL_TIME || index == MSR_KVM_WALL_CLOCK_OLD ||
	       index == MSR_KVM_SYSTEM_TIME_OLD || (index == MSR_KVM_PV_EOI && has_pv_eoi());
}

int paravirt_rdmsr(struct vcpu *v, u32 index, u64 *value)
{
	if (index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_WALL_CLOCK_OLD)
		*value = READ_ONCE(v->vm->kvmclock_wall_msr);
	else if (index == MSR_KVM_STEAL_TIME)
		*value = v->steal.msr;
	else if (index == MSR_KVM_PV_EOI)
		*value = v->pv_eoi.msr;
	else
		*value = v->kvmclock_msr;
	return 0;
}

int paravirt_tsc_moved(struct vcpu *v)
{
	u64 at = (v->kvmclock_msr & ~SYSTEM_TIME_ENABLE) + offsetof(struct pvclock_time, flags);
	u8 flags;
	int err;

	if (!(v->kvmclock_msr & SYSTEM_TIME_ENABLE))
		return 0;
	/* It may not have seen yet that it was stopped. */
	err = gpa_read(&v->vm->mmu, GPA(at), &flags, sizeof(flags));
	if (err)
		return err == ERR_NOMEM ? err : ERR_FAULT;
	return write_system_time(v, v->kvmclock_msr, flags & PVCLOCK_GUEST_STOPPED);
}

int paravirt_was_paused(struct vcpu *v)
{
	if (!(v->kvmclock_msr & SYSTEM_TIME_ENABLE))
		return 0;
	return write_system_time(v, v->kvmclock_msr, PVCLOCK_GUEST_STOPPED);
}

void paravirt_forget(struct vcpu *v)
{
	v->kvmclock_msr = 0;
	steal_time_forget(v);
	pv_eoi_forget(v);
}

int paravirt_wrmsr(struct vcpu *v, u32 index, u64 value)
{
	int err = 0;

	if (index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_WALL_CLOCK_OLD) {
		err = write_wall_clock(v, value);
		if (!err)
			WRITE_ONCE(v->vm->kvmclock_wall_msr, value);
		return err;
	}
	if (index == MSR_KVM_STEAL_TIME)
		return steal_time_wrmsr(v, value);
	if (index == MSR_KVM_PV_EOI)
		return pv_eoi_wrmsr(v, value);
	if (value & SYSTEM_TIME_ENABLE)
		err = write_system_time(v, value, 0);
	if (!err)
		v->kvmclock_msr = value;
	return err;
}
