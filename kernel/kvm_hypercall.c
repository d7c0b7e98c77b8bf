/* SPDX-License-Identifier: MIT */
/*
 * KVM's hypercalls, by which a guest whose vCPUs share CPUs wakes, names and reaches them for fewer
 * exits. Numbers, arguments and results are KVM's ABI. vCPUs are named by their APIC ids; to name one
 * that there is not is no error.
 */
#include "kernel/hypercall.h"
#include "kernel/vcpu.h"

#include "kernel/dev/lapic.h"

/* Of ICR, in KVM_HC_SEND_IPI; the set says whom. */
#define ICR_MODE_SHIFT 8
#define ICR_DEST_BITS  0xc0800u /* logical, shorthand */

struct arguments {
	u64 rbx, rcx, rdx, rsi;
};

bool hypercall_take_kick(struct vcpu *v)
{
	return __atomic_exchange_n(&v->kick_came, false, __ATOMIC_SEQ_CST);
}

/* The vCPU halted until another gives it a lock: its HLT, this one or its next, ends whatever its IF. */
static u64 kick_cpu(struct vcpu *v, u64 apic_id)
{
	struct vcpu *other = vm_vcpu(v->vm, apic_id);

	v->paravirt.kicks++;
	if (other) {
		__atomic_store_n(&other->kick_came, true, __ATOMIC_SEQ_CST);
		vcpu_request(other, VCPU_REQ_KICK);
	}
	return 0;
}

/* Whoever sent it an interrupt waits for its answer. */
static u64 yield_to_cpu(struct vcpu *v, u64 apic_id)
{
	struct vcpu *other = vm_vcpu(v->vm, apic_id);

	v->paravirt.yields++;
	if (other && other != v)
		vcpu_yield_to(v, other);
	return 0;
}

static u64 send_to_set(struct vcpu *v, u64 set, u64 first, const struct lapic_message *m)
{
	struct vcpu *other;
	u64 taken = 0;

	for (; set; set &= set - 1) {
		other = vm_vcpu(v->vm, first + (u32)__builtin_ctzll(set));
		if (!other)
			break;
		taken += lapic_send_to(other->lapic, m);
	}
	return taken;
}

/*
 * RBX and RCX are a set of ids from RDX up, of 64 or, outside 64-bit code, 32 each; RSI is what ICR
 * would have. The result is how many took it. Modes that start, stop or reset a vCPU are ICR's alone.
 */
static u64 send_ipi(struct vcpu *v, const struct arguments *a, u32 bits)
{
	struct lapic_message m = {
		.mode = (a->rsi >> ICR_MODE_SHIFT) & 7,
		.vector = (u8)a->rsi,
	};

	if ((a->rsi & ICR_DEST_BITS) || (m.mode != LAPIC_FIXED && m.mode != LAPIC_NMI))
		return KVM_EINVAL;
	v->paravirt.ipi_calls++;
	/* No sum of these wraps. */
	if (a->rdx >= v->vm->vcpu_count)
		return 0;
	return send_to_set(v, a->rbx, a->rdx, &m) + send_to_set(v, a->rcx, a->rdx + bits, &m);
}

static struct arguments take_arguments(const struct guest_regs *r, bool long_mode)
{
	u64 mask = long_mode ? ~0ull : ~0u;

	return (struct arguments){
		.rbx = r->gpr[RBX] & mask,
		.rcx = r->gpr[RCX] & mask,
		.rdx = r->gpr[RDX] & mask,
		.rsi = r->gpr[RSI] & mask,
	};
}

u64 kvm_hypercall(struct vcpu *v, u64 number, bool long_mode, u32 cpl)
{
	struct arguments a = take_arguments(vmx_regs(v->vmx), long_mode);

	if (cpl)
		return KVM_EPERM;
	switch (long_mode ? number : (u32)number) {
	case KVM_HC_KICK_CPU:
		return kick_cpu(v, a.rcx);
	case KVM_HC_SEND_IPI:
		return send_ipi(v, &a, long_mode ? 64 : 32);
	case KVM_HC_SCHED_YIELD:
		return yield_to_cpu(v, a.rbx);
	default:
		return KVM_ENOSYS;
	}
}
