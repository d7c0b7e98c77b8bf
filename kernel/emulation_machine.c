/* SPDX-License-Identifier: MIT */
/* What an instruction that is run in software asks of the vCPU itself. */
#include "kernel/emulation_private.h"

#include "kernel/base/error.h"
#include "kernel/dev/platform.h"

static int read_msr(struct emulation *em)
{
	int err = vmx_read_msr(em->v->vmx, em->e.index, &em->e.value);

	if (err != ERR_NOSLOT)
		return err;
	if (platform_owns_msr(em->e.index))
		return platform_rdmsr(em->v, em->e.index, &em->e.value);
	if (paravirt_owns_msr(em->e.index))
		return paravirt_rdmsr(em->v, em->e.index, &em->e.value);
	return ERR_FAULT;
}

static int write_msr(struct emulation *em)
{
	int err = vmx_write_msr(em->v->vmx, em->e.index, em->e.value);

	if (err != ERR_NOSLOT)
		return err;
	if (platform_owns_msr(em->e.index))
		return platform_wrmsr(em->v, em->e.index, em->e.value);
	if (paravirt_owns_msr(em->e.index))
		return paravirt_wrmsr(em->v, em->e.index, em->e.value);
	return ERR_FAULT;
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

/* An error but ERR_NOMEM is the guest's #GP, unless Weir does not do it at all. */
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
		em->e.value = vmx_read_dr(vmx, em->e.index);
		return 0;
	case EMULATE_WRITE_DR:
		return vmx_write_dr(vmx, em->e.index, em->e.value);
	case EMULATE_RDMSR:
		return read_msr(em);
	case EMULATE_WRMSR:
		return write_msr(em);
	case EMULATE_CPUID:
		return identify(em);
	case EMULATE_RDTSC:
		em->e.value = vmx_guest_tsc(vmx);
		return 0;
	default: /* EMULATE_INVLPG */
		vmx_drop_page(vmx, GVA(em->e.gva));
		return 0;
	}
}

int emulation_ask(struct emulation *em, enum emulate_step step)
{
	int err = machine_step(em, step);

	if (err == ERR_NOTSUP)
		emulation_unhandled(em);
	else if (err && err != ERR_NOMEM)
		vmx_inject_gp(em->v->vmx);
	return err;
}
