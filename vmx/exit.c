/* SPDX-License-Identifier: MIT */
/*
 * Every basic exit reason (SDM 3D appendix C), those that cannot happen included, with what
 * handles it. The counters beside it are the vCPU's own.
 */
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

/* By the choice of controls this reason does not come; if it does, something is wrong with Weir. */
static enum exit_verdict unexpected(struct vmx_vcpu *v, struct vmx_exit *e)
{
	exit_to_thread(v);
	log_error("vm %s: VM exit %u (%s) must not happen: qualification %#llx, rip %#llx",
		  vcpu_name(), v->reason, vmx_exit_name(v->reason),
		  (unsigned long long)vmcs_read(EXIT_QUALIFICATION),
		  (unsigned long long)v->regs.rip);
	return exit_kind(e, VMX_EXIT_ERROR);
}

struct exit_row {
	const char *name;
	exit_handler_t handle;
};

static const struct exit_row table[VMX_EXIT_REASONS] = {
	[0] = {"exception or NMI", handle_exception},
	[1] = {"external interrupt", handle_external},
	[2] = {"triple fault", handle_shutdown},
	[3] = {"INIT signal", unexpected},
	[4] = {"start-up IPI", unexpected},
	[5] = {"I/O SMI", unexpected},
	[6] = {"other SMI", unexpected},
	[7] = {"interrupt window", handle_window},
	[8] = {"NMI window", handle_nmi_window},
	[9] = {"task switch", handle_task_switch},
	[10] = {"CPUID", handle_cpuid},
	[11] = {"GETSEC", exit_undefined},
	[12] = {"HLT", handle_hlt},
	[13] = {"INVD", handle_nop},
	[14] = {"INVLPG", unexpected},
	[15] = {"RDPMC", exit_gp},
	[16] = {"RDTSC", unexpected},
	[17] = {"RSM", unexpected},
	[18] = {"VMCALL", handle_vmcall},
	[19] = {"VMCLEAR", exit_undefined},
	[20] = {"VMLAUNCH", exit_undefined},
	[21] = {"VMPTRLD", exit_undefined},
	[22] = {"VMPTRST", exit_undefined},
	[23] = {"VMREAD", exit_undefined},
	[24] = {"VMRESUME", exit_undefined},
	[25] = {"VMWRITE", exit_undefined},
	[26] = {"VMXOFF", exit_undefined},
	[27] = {"VMXON", exit_undefined},
	[28] = {"control-register access", handle_cr_access},
	[29] = {"MOV DR", handle_mov_dr},
	[30] = {"I/O instruction", handle_io},
	[31] = {"RDMSR", handle_rdmsr},
	[32] = {"WRMSR", handle_wrmsr},
	[33] = {"entry failure: guest state", unexpected},
	[34] = {"entry failure: MSR loading", unexpected},
	[35] = {"reason 35", unexpected},
	[36] = {"MWAIT", exit_undefined},
	[37] = {"monitor trap flag", unexpected},
	[38] = {"reason 38", unexpected},
	[39] = {"MONITOR", exit_undefined},
	[40] = {"PAUSE", unexpected},
	[41] = {"entry failure: machine check", unexpected},
	[42] = {"reason 42", unexpected},
	[43] = {"TPR below threshold", unexpected},
	[44] = {"APIC access", unexpected},
	[45] = {"virtualized EOI", unexpected},
	[46] = {"GDTR or IDTR access", unexpected},
	[47] = {"LDTR or TR access", unexpected},
	[48] = {"EPT violation", handle_ept_violation},
	[49] = {"EPT misconfiguration", handle_ept_misconfiguration},
	[50] = {"INVEPT", exit_undefined},
	[51] = {"RDTSCP", unexpected},
	[52] = {"preemption timer", handle_external},
	[53] = {"INVVPID", exit_undefined},
	[54] = {"WBINVD", handle_nop},
	[55] = {"XSETBV", handle_xsetbv},
	[56] = {"APIC write", unexpected},
	[57] = {"RDRAND", unexpected},
	[58] = {"INVPCID", unexpected},
	[59] = {"VMFUNC", exit_undefined},
	[60] = {"ENCLS", exit_undefined},
	[61] = {"RDSEED", unexpected},
	[62] = {"page-modification log full", unexpected},
	[63] = {"XSAVES", exit_undefined},
	[64] = {"XRSTORS", exit_undefined},
	[65] = {"PCONFIG", exit_undefined},
	[66] = {"sub-page permission", unexpected},
	[67] = {"UMWAIT", exit_undefined},
	[68] = {"TPAUSE", exit_undefined},
	[69] = {"LOADIWKEY", exit_undefined},
	[70] = {"ENCLV", exit_undefined},
	[71] = {"reason 71", unexpected},
	[72] = {"ENQCMD", exit_undefined},
	[73] = {"ENQCMDS", exit_undefined},
	[74] = {"bus lock", unexpected},
};

const char *vmx_exit_name(u32 reason)
{
	return reason < VMX_EXIT_REASONS ? table[reason].name : "unknown";
}

enum exit_verdict exit_dispatch(struct vmx_vcpu *v, struct vmx_exit *e)
{
	if (unlikely(v->reason >= VMX_EXIT_REASONS))
		return unexpected(v, e);
	v->exits[v->reason]++;
	return table[v->reason].handle(v, e);
}

void exit_to_thread(struct vmx_vcpu *v)
{
	v->dirty_l1d = true;
	irq_enable();
	/* STI holds interrupts off for one more instruction; without one, CLI could follow at once. */
	__asm__ volatile("nop" ::: "memory");
}

enum exit_verdict exit_kind(struct vmx_exit *e, enum vmx_exit_kind kind)
{
	e->kind = kind;
	return EXIT_RETURN;
}

enum exit_verdict exit_undefined(struct vmx_vcpu *v, struct vmx_exit *e)
{
	(void)e;
	vmx_inject_exception(v, EXCEPTION_UD, false, 0);
	return EXIT_RESUME;
}

enum exit_verdict exit_gp(struct vmx_vcpu *v, struct vmx_exit *e)
{
	(void)e;
	vmx_inject_gp(v);
	return EXIT_RESUME;
}
