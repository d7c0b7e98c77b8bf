/* SPDX-License-Identifier: MIT */
/*
 * Which vCPU's state a CPU holds. A vCPU whose thread sleeps keeps the CPU's registers until
 * another vCPU wants them, or it goes to another CPU: a thread of Weir's own in between costs nothing.
 */
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/invept.h"
#include "mmu/shadow.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/features.h"
#include "vmx/instructions.h"
#include "vmx/posted.h"
#include "vmx/vcpu.h"

static const u32 switched_index[SWITCHED_COUNT] = {
	[SWITCHED_STAR] = MSR_STAR,
	[SWITCHED_LSTAR] = MSR_LSTAR,
	[SWITCHED_CSTAR] = MSR_CSTAR,
	[SWITCHED_SFMASK] = MSR_SFMASK,
	[SWITCHED_KERNEL_GS_BASE] = MSR_KERNEL_GS_BASE,
	[SWITCHED_TSC_AUX] = MSR_TSC_AUX,
};

static u32 switched_count(void)
{
	return guest_features.rdtscp ? SWITCHED_COUNT : SWITCHED_TSC_AUX;
}

static void save(struct vmx_vcpu *v)
{
	for (u32 i = 0; i < switched_count(); i++)
		v->switched[i] = rdmsr(switched_index[i]);
	/* Nothing of Weir's changes it: a page fault of its own is its end. */
	v->cr2 = read_cr2();
	debug_regs_save(v);
	fpu_save(v);
}

/* It comes from memory: no CPU has its VMCS active. */
static void arrive(struct vmx_vcpu *v)
{
	u32 cpu = cpu_id();

	__atomic_store_n(&v->cpu, cpu, __ATOMIC_RELAXED);
	v->active = true;
	if (v->host_cpu == cpu)
		return;
	vmcs_set_host_cpu();
	v->host_cpu = cpu;
}

static void load(struct vmx_vcpu *v)
{
	BUG_ON(vmptrld(virt_to_phys(v->vmcs)));
	if (!v->active)
		arrive(v);
	for (u32 i = 0; i < switched_count(); i++)
		wrmsr(switched_index[i], v->switched[i]);
	shadow_load_msrs(v);
	write_cr2(v->cr2);
	debug_regs_load(v);
	fpu_load(v);
}

void vcpu_own_cpu(struct vmx_vcpu *v)
{
	struct vmx_cpu *cpu = &vmx_cpus[cpu_id()];

	ASSERT(!irq_enabled());
	/* Active on two CPUs its VMCS would be corrupt. */
	BUG_ON(v->active && v->cpu != cpu_id());
	if (cpu->owner == v)
		return;
	if (cpu->owner)
		save(cpu->owner);
	load(v);
	cpu->owner = v;
	mitigations_switch();
}

/* Its VMCS goes back to memory. */
void vcpu_disown_cpu(struct vmx_vcpu *v)
{
	struct vmx_cpu *cpu = &vmx_cpus[cpu_id()];

	ASSERT(!irq_enabled());
	if (!v->active)
		return;
	BUG_ON(v->cpu != cpu_id());
	if (cpu->owner == v) {
		save(v);
		cpu->owner = NULL;
	}
	BUG_ON(vmclear(virt_to_phys(v->vmcs)));
	v->entry.flags &= ~(u32)ENTRY_RESUME;
	v->active = false;
}

/* The VMCS is current. Weir's own entries are tagged 0: none of this touches them. */
void vcpu_take_vpid(struct vmx_vcpu *v)
{
	if (!(vmx_boot_controls.proc2 & PROC2_VPID))
		return;
	vpid_take(&v->vpid);
	vmcs_write(CTRL_VPID, v->vpid.vpid);
}

void vcpu_flush_tlb(struct vmx_vcpu *v)
{
	/* Off, so that what is looked at and what is flushed are of one CPU. */
	bool on = irq_save();

	/* The next entry looks whether it has one. */
	v->unprepared = true;
	/* Without a VPID every entry flushes. */
	vpid_flush(&v->vpid, vmx_boot_capability.ept_vpid & VPID_CAP_SINGLE);
	irq_restore(on);
}

void vmx_flush_guest_tlb(struct vmx_vcpu *v)
{
	if (v->shadow)
		shadow_stale(v);
	else
		vcpu_flush_tlb(v);
}

bool vmx_is_between_instructions(const struct vmx_vcpu *v)
{
	return v->between;
}

static void flush_page(struct vmx_vcpu *v, u64 gva)
{
	u64 caps = vmx_boot_capability.ept_vpid;
	bool on = irq_save();

	v->unprepared = true;
	vpid_flush_address(&v->vpid, gva, caps & VPID_CAP_ADDRESS, caps & VPID_CAP_SINGLE);
	irq_restore(on);
}

void vmx_drop_page(struct vmx_vcpu *v, gva_t gva)
{
	if (!v->shadow || mmu_shadow_invlpg(v->config.mmu_vcpu, gva))
		flush_page(v, gva.v);
}

void vmx_vcpu_sched_in(struct vmx_vcpu *v)
{
	vcpu_own_cpu(v);
	posted_look(v);
	v->dirty_l1d = v->flush_l1d;
	v->unprepared = true;
}

void vmx_vcpu_sched_out(struct vmx_vcpu *v)
{
	/* The state stays where it is: vcpu_own_cpu of the next vCPU saves it. */
	ASSERT(!irq_enabled() && vmx_cpus[cpu_id()].owner == v);
	(void)v;
}

void vmx_vcpu_sched_leave(struct vmx_vcpu *v)
{
	vcpu_disown_cpu(v);
}
