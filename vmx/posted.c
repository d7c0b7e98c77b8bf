/* SPDX-License-Identifier: MIT */
#include "vmx/posted.h"

#include "kernel/base/panic.h"
#include "smp/ipi.h"
#include "smp/irq.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"

/* The entry checks all of it (SDM 3C 27.2.1.1): virtual-interrupt delivery is on. */
void posted_setup(struct vmx_vcpu *v)
{
	BUG_ON(!is_aligned((u64)v->config.posted, sizeof(struct posted_descriptor)));
	v->posts = true;
	vmcs_write(CTRL_PIN, vmx_boot_controls.pin | PIN_POSTED_INTERRUPTS);
	vmcs_write(EXIT_CONTROLS, vmx_boot_controls.exit | EXIT_ACKNOWLEDGE_INTERRUPT);
	vmcs_write(CTRL_POSTED_VECTOR, VECTOR_POSTED);
	vmcs_write(CTRL_POSTED_DESCRIPTOR, virt_to_phys(v->config.posted).v);
}

void posted_look(struct vmx_vcpu *v)
{
	if (posted_waits(v))
		__atomic_store_n(&v->kicked, true, __ATOMIC_SEQ_CST);
}

/*
 * It came when no guest ran here. If the vCPU that it was for is still this CPU's, its next entry
 * would leave it unseen; if not, the vCPU has looked, or will when it comes to a CPU.
 */
static void posted_interrupt(void *arg)
{
	struct vmx_vcpu *v = vmx_cpus[cpu_id()].owner;

	(void)arg;
	if (v)
		posted_look(v);
}

void posted_init(void)
{
	bool on = irq_save();

	irq_set_handler(VECTOR_POSTED, posted_interrupt, NULL);
	irq_restore(on);
}

/*
 * The caller's POSTED_ON comes before the look at in_guest: it was a full barrier. cpu is of now or
 * of before; if of before, the vCPU has come to another CPU since, and looked there.
 */
bool vmx_vcpu_notify(struct vmx_vcpu *v)
{
	u32 cpu;

	if (!v->posts || !__atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST))
		return false;
	cpu = __atomic_load_n(&v->cpu, __ATOMIC_RELAXED);
	if (cpu == cpu_id())
		return false;
	ipi_notify(cpu);
	return true;
}
