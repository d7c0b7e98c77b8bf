/* SPDX-License-Identifier: MIT */
/* What an instruction that is run in software asks of the vCPU itself. */
#include "kernel/emulation_private.h"

#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"

#define CPUID_LEAF_1  1u
#define CPUID_LEAF_7  7u
#define CPUID_LEAF_81 0x80000001u

/* Tries until RDRAND and RDSEED count as failed (SDM 1 7.3.17.1). */
#define RANDOM_TRIES 10

enum cpuid_reg {
	EBX,
	ECX,
	EDX
};

struct cpuid_bit {
	u32 leaf;
	enum cpuid_reg reg;
	u32 bit;
};

static const struct cpuid_bit features[FEATURE_COUNT] = {
	[FEATURE_POPCNT] = {CPUID_LEAF_1, ECX, BIT(23)},
	[FEATURE_LZCNT] = {CPUID_LEAF_81, ECX, BIT(5)},
	[FEATURE_BMI1] = {CPUID_LEAF_7, EBX, BIT(3)},
	[FEATURE_CLFLUSH] = {CPUID_LEAF_1, EDX, BIT(19)},
	[FEATURE_SMAP] = {CPUID_LEAF_7, EBX, BIT(20)},
	[FEATURE_RDRAND] = {CPUID_LEAF_1, ECX, BIT(30)},
	[FEATURE_RDSEED] = {CPUID_LEAF_7, EBX, BIT(18)},
};
static const struct cpuid_bit invpcid = {CPUID_LEAF_7, EBX, BIT(10)};
static const struct cpuid_bit rdtscp = {CPUID_LEAF_81, EDX, BIT(27)};

static int read_msr(struct emulation *em)
{
	int err = vmx_read_msr(em->v->vmx, em->e.index, &em->e.value);

	return err == ERR_NOSLOT ? vcpu_read_msr(em->v, em->e.index, &em->e.value) : err;
}

static int write_msr(struct emulation *em)
{
	u64 tsc_offset = vmx_tsc_offset(em->v->vmx);
	int err = vmx_write_msr(em->v->vmx, em->e.index, em->e.value);

	if (err == ERR_NOSLOT)
		return vcpu_write_msr(em->v, em->e.index, em->e.value);
	if (!err && vmx_tsc_offset(em->v->vmx) != tsc_offset)
		vcpu_tsc_moved(em->v);
	return err;
}

static int identify(struct emulation *em)
{
	struct cpuid_regs r;

	vmx_cpuid(em->v->vmx, em->e.index, (u32)em->e.value, &r);
	em->e.cpuid[0] = r.eax;
	em->e.cpuid[1] = r.ebx;
	em->e.cpuid[2] = r.ecx;
	em->e.cpuid[3] = r.edx;
	return 0;
}

/* What the guest is not shown raises #UD there, whatever the CPU has. */
static bool has(struct emulation *em, const struct cpuid_bit *b)
{
	struct cpuid_regs r;

	vmx_cpuid(em->v->vmx, b->leaf, 0, &r);
	return (b->reg == EBX ? r.ebx : b->reg == ECX ? r.ecx : r.edx) & b->bit;
}

/* The CPU has what the guest is shown. */
static int draw(struct emulation *em)
{
	bool seed = em->e.index == FEATURE_RDSEED;

	em->e.high = 0;
	for (u32 i = 0; i < RANDOM_TRIES && !em->e.high; i++)
		em->e.high = seed ? rdseed(&em->e.value) : rdrand(&em->e.value);
	return 0;
}

static int read_tsc_and_aux(struct emulation *em)
{
	u64 aux;
	int err;

	if (!has(em, &rdtscp))
		return ERR_INVAL;
	err = vmx_read_msr(em->v->vmx, MSR_TSC_AUX, &aux);
	em->e.index = (u32)aux;
	em->e.value = vmx_guest_tsc(em->v->vmx);
	return err;
}

static int drop_all(struct emulation *em)
{
	if (!has(em, &invpcid))
		return ERR_INVAL;
	vmx_flush_guest_tlb(em->v->vmx);
	return 0;
}

static int x87(struct emulation *em, bool write)
{
	struct vmx_vcpu *vmx = em->v->vmx;

	if (!write)
		em->e.value = em->e.index == EMULATE_X87_STATUS ? vmx_x87_status(vmx)
								: vmx_x87_control(vmx);
	else if (em->e.index == EMULATE_X87_CONTROL)
		vmx_set_x87_control(vmx, (u16)em->e.value);
	else
		vmx_init_x87(vmx);
	return 0;
}

static int xmm(struct emulation *em, bool write)
{
	u64 half[2] = {em->e.value, em->e.high};

	if (write) {
		vmx_write_xmm(em->v->vmx, em->e.index, half);
		return 0;
	}
	vmx_read_xmm(em->v->vmx, em->e.index, half);
	em->e.value = half[0];
	em->e.high = half[1];
	return 0;
}

static int machine_step(struct emulation *em, enum emulate_step step)
{
	struct vmx_vcpu *vmx = em->v->vmx;

	switch (step) {
	case EMULATE_READ_CR:
		em->e.value = vmx_read_cr(vmx, em->e.index);
		return 0;
	case EMULATE_WRITE_CR:
		return vmx_write_cr(vmx, em->e.index, em->e.value);
	case EMULATE_READ_DR:
		return vmx_read_dr(vmx, em->e.index, &em->e.value);
	case EMULATE_WRITE_DR:
		return vmx_write_dr(vmx, em->e.index, em->e.value);
	case EMULATE_RDMSR:
		return read_msr(em);
	case EMULATE_WRMSR:
		return write_msr(em);
	case EMULATE_XSETBV:
		return vmx_set_xcr(vmx, em->e.index, em->e.value);
	case EMULATE_XGETBV:
		return vmx_get_xcr(vmx, em->e.index, &em->e.value);
	case EMULATE_FEATURE:
		em->e.value = has(em, &features[em->e.index]);
		return 0;
	case EMULATE_RANDOM:
		return draw(em);
	case EMULATE_CPUID:
		return identify(em);
	case EMULATE_RDTSC:
		em->e.value = vmx_guest_tsc(vmx);
		return 0;
	case EMULATE_READ_XMM:
	case EMULATE_WRITE_XMM:
		return xmm(em, step == EMULATE_WRITE_XMM);
	case EMULATE_READ_X87:
	case EMULATE_WRITE_X87:
		return x87(em, step == EMULATE_WRITE_X87);
	case EMULATE_RDTSCP:
		return read_tsc_and_aux(em);
	case EMULATE_INVPCID:
		return drop_all(em);
	default: /* EMULATE_INVLPG */
		vmx_drop_page(vmx, GVA(em->e.gva));
		return 0;
	}
}

int emulation_ask(struct emulation *em, enum emulate_step step)
{
	int err = machine_step(em, step);

	switch (err) {
	case 0:
	case ERR_NOMEM:
	case ERR_BUSY: /* #DB is queued */
		break;
	case ERR_INVAL:
		vmx_inject_exception(em->v->vmx, EXCEPTION_UD, false, 0);
		break;
	case ERR_NOTSUP:
		emulation_end_vm(em, "asks for what Weir does not do in software", 0);
		break;
	default:
		vmx_inject_gp(em->v->vmx);
		break;
	}
	return err;
}
