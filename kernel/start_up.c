/* SPDX-License-Identifier: MIT */
/*
 * INIT and start-up IPIs (SDM 3A 9.4.3, 9.4.4). INIT puts a CPU into its initial state, from where
 * the boot processor goes on at the reset vector and every other waits for a start-up IPI. That
 * starts only who waits; else it is lost. A vCPU that waits is a thread that sleeps.
 */
#include "kernel/vcpu.h"

#include "kernel/base/msr.h"
#include "kernel/dev/platform.h"

static void do_init(struct vcpu *v)
{
	platform_init(v);
	paravirt_forget(v);
	vmx_vcpu_init(v->vmx);
	v->waits_for_sipi = !(platform_apic_base(v) & APIC_BASE_BSP);
}

void vcpu_start_up(struct vcpu *v)
{
	struct platform_start_up s = platform_start_up_take(v);

	if (s.init)
		do_init(v);
	if (!s.sipi || !v->waits_for_sipi)
		return;
	vmx_vcpu_sipi(v->vmx, s.vector);
	v->waits_for_sipi = false;
}
