/* SPDX-License-Identifier: MIT */
/* Each CPU's way into VMX operation and out (SDM 3C 24.7). */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "mem/frame.h"
#include "smp/ipi.h"
#include "smp/irq.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/cpuid.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

struct vmx_cpu vmx_cpus[CPU_MAX];

static bool started;

bool vmx_cpu_ready(u32 cpu)
{
	return cpu < CPU_MAX && __atomic_load_n(&vmx_cpus[cpu].ready, __ATOMIC_ACQUIRE);
}

static int unlock_vmx(void)
{
	u64 control;

	if (rdmsr_safe(MSR_IA32_FEATURE_CONTROL, &control))
		return ERR_FAULT;
	if (!(control & FEATURE_CONTROL_LOCKED) &&
	    wrmsr_safe(MSR_IA32_FEATURE_CONTROL,
		       control | FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_OUT_SMX))
		return ERR_PERM;
	control = rdmsr(MSR_IA32_FEATURE_CONTROL);
	return control & FEATURE_CONTROL_VMX_OUT_SMX ? 0 : ERR_PERM;
}

/* What VMX operation demands of CR0 and CR4 (SDM 3C 24.8), and what Weir's use of it does. */
static void set_control_registers(const struct vmx_capability *c)
{
	u64 cr0 = read_cr0() & ~(CR0_TS | CR0_EM), cr4 = read_cr4() | CR4_VMXE | CR4_OSFXSR;

	if (cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE)
		cr4 |= CR4_OSXSAVE;
	write_cr0((cr0 | c->cr0_fixed0 | CR0_MP) & c->cr0_fixed1);
	write_cr4((cr4 | c->cr4_fixed0) & c->cr4_fixed1);
}

/*
 * Where firmware has it so, a locked access over two cache lines raises #AC: a guest's in the guest,
 * and in Weir what it does for a guest (SDM 3A 10.1.2.3).
 */
static void allow_split_locks(void)
{
	u64 value;

	if (rdmsr_safe(MSR_TEST_CTRL, &value) == 0 && (value & TEST_CTRL_SPLIT_LOCK))
		(void)wrmsr_safe(MSR_TEST_CTRL, value & ~TEST_CTRL_SPLIT_LOCK);
}

static int start_this_cpu(struct vmx_cpu *cpu)
{
	struct capability_difference d;
	struct vmx_capability c;
	int err;

	if (!cpu->region)
		return ERR_NOMEM;
	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_VMX))
		return ERR_NOENT;
	err = unlock_vmx();
	if (err)
		return err;
	capability_read(&c);
	if (!capability_serves(&vmx_boot_capability, &c, &d)) {
		log_warn("VMX: %s capabilities are %#llx here, %#llx on the boot CPU", d.what,
			 (unsigned long long)d.here, (unsigned long long)d.boot);
		return ERR_NOTSUP;
	}
	*(u32 *)cpu->region = VMX_BASIC_REVISION(c.basic);
	set_control_registers(&c);
	allow_split_locks();
	if (vmxon(virt_to_phys(cpu->region))) {
		write_cr4(read_cr4() & ~CR4_VMXE);
		return ERR_IO;
	}
	mitigations_init_cpu();
	__atomic_store_n(&cpu->ready, true, __ATOMIC_RELEASE);
	return 0;
}

/* Interrupt context, or the caller's with interrupts off. */
static void start_cpu(void *arg)
{
	struct vmx_cpu *cpu = &vmx_cpus[cpu_id()];

	(void)arg;
	if (!cpu->ready)
		cpu->error = start_this_cpu(cpu);
}

static const char *why_not(int err)
{
	switch (err) {
	case ERR_NOMEM:
		return "no memory for its VMXON region";
	case ERR_PERM:
		return "its firmware locked VMX off: turn on Intel VT-x for all CPUs in the setup";
	case ERR_FAULT:
		return "it has VMX, but no IA32_FEATURE_CONTROL to turn it on by: update the "
		       "firmware, or the hypervisor below Weir";
	case ERR_NOENT:
		return "it has no VMX, as the boot CPU has";
	case ERR_NOTSUP:
		return "it lacks what the boot CPU has, as the line before says: where all cores "
		       "are of one kind update the firmware";
	default:
		return "VMXON failed";
	}
}

int vmx_start(void)
{
	u32 ready = 0, count = cpu_count();

	if (started)
		return 0;
	msr_bitmap_init();
	mitigations_init();
	pml_init();
	for (u32 i = 0; i < count; i++) {
		if (!vmx_cpus[i].region)
			vmx_cpus[i].region = frame_alloc_page(FRAME_ZERO | FRAME_FOR(VCPU));
	}
	ipi_call_all(start_cpu, NULL);
	for (u32 i = 0; i < count; i++) {
		if (vmx_cpu_ready(i))
			ready++;
		else
			log_error("CPU %u hosts no vCPU: %s", i, why_not(vmx_cpus[i].error));
	}
	if (!ready)
		return ERR_NOTSUP;
	started = true;
	log_info("VMX: on, %u of %u CPUs", ready, count);
	return 0;
}

static void stop_cpu(void *arg)
{
	struct vmx_cpu *cpu = &vmx_cpus[cpu_id()];

	(void)arg;
	if (!cpu->ready)
		return;
	/* What the CPU still holds of a VMCS goes back to memory first (SDM 3C 25.11.1). */
	if (cpu->owner)
		vcpu_disown_cpu(cpu->owner);
	vmxoff();
	write_cr4(read_cr4() & ~CR4_VMXE);
	__atomic_store_n(&cpu->ready, false, __ATOMIC_RELEASE);
}

void vmx_stop(void)
{
	ipi_call_all(stop_cpu, NULL);
	started = false;
}
