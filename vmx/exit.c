/* SPDX-License-Identifier: MIT */
/*
 * Every basic exit reason (SDM 3D appendix C), those that cannot happen included, with what
 * handles it. Names and counters' meanings are in exit_stats.c; the counters are the vCPU's own.
 */
#include "kernel/base/log.h"
#include "kernel/base/mca.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "vmx/instructions.h"
#include "vmx/regs.h"

#define REASON_ENTRY_FAILED BIT(31)
#define REASON_MASK	    0xffffu
#define REASON_ENTRY_MC	    41

/* By the choice of controls this reason does not come; if it does, something is wrong with Weir. */
static enum exit_verdict unexpected(struct vmx_vcpu *v, struct vmx_exit *e)
{
	if (exit_crash(v))
		log_error("vm %s: VM exit %u (%s) must not happen: qualification %#llx, rip %#llx",
			  vcpu_name(), v->reason, vmx_exit_name(v->reason),
			  (unsigned long long)vmcs_read(EXIT_QUALIFICATION),
			  (unsigned long long)vcpu_regs(v)->rip);
	return exit_kind(e, VMX_EXIT_ERROR);
}

const exit_handler_t exit_handlers[VMX_EXIT_REASONS] = {
	[0] = handle_exception,		    /* exception or NMI */
	[1] = handle_external,		    /* external interrupt */
	[2] = handle_shutdown,		    /* triple fault */
	[3] = unexpected,		    /* INIT signal */
	[4] = unexpected,		    /* start-up IPI */
	[5] = unexpected,		    /* I/O SMI */
	[6] = unexpected,		    /* other SMI */
	[7] = handle_window,		    /* interrupt window */
	[8] = handle_nmi_window,	    /* NMI window */
	[9] = handle_task_switch,	    /* task switch */
	[10] = handle_cpuid,		    /* CPUID */
	[11] = exit_undefined,		    /* GETSEC */
	[12] = handle_hlt,		    /* HLT */
	[13] = handle_nop,		    /* INVD */
	[14] = handle_invlpg,		    /* INVLPG */
	[15] = exit_gp,			    /* RDPMC */
	[16] = unexpected,		    /* RDTSC */
	[17] = unexpected,		    /* RSM */
	[18] = handle_vmcall,		    /* VMCALL */
	[19] = exit_undefined,		    /* VMCLEAR */
	[20] = exit_undefined,		    /* VMLAUNCH */
	[21] = exit_undefined,		    /* VMPTRLD */
	[22] = exit_undefined,		    /* VMPTRST */
	[23] = exit_undefined,		    /* VMREAD */
	[24] = exit_undefined,		    /* VMRESUME */
	[25] = exit_undefined,		    /* VMWRITE */
	[26] = exit_undefined,		    /* VMXOFF */
	[27] = exit_undefined,		    /* VMXON */
	[28] = handle_cr_access,	    /* control-register access */
	[29] = handle_mov_dr,		    /* MOV DR */
	[30] = handle_io,		    /* I/O instruction */
	[31] = handle_rdmsr,		    /* RDMSR */
	[32] = handle_wrmsr,		    /* WRMSR */
	[33] = unexpected,		    /* entry failure: guest state */
	[34] = unexpected,		    /* entry failure: MSR loading */
	[35] = unexpected,		    /* reason 35 */
	[36] = exit_undefined,		    /* MWAIT */
	[37] = unexpected,		    /* monitor trap flag */
	[38] = unexpected,		    /* reason 38 */
	[39] = exit_undefined,		    /* MONITOR */
	[40] = handle_pause,		    /* PAUSE */
	[41] = unexpected,		    /* entry failure: machine check */
	[42] = unexpected,		    /* reason 42 */
	[43] = handle_tpr_below,	    /* TPR below threshold */
	[44] = handle_apic_access,	    /* APIC access */
	[45] = handle_apic_eoi,		    /* virtualized EOI */
	[46] = unexpected,		    /* GDTR or IDTR access */
	[47] = unexpected,		    /* LDTR or TR access */
	[48] = handle_ept_violation,	    /* EPT violation */
	[49] = handle_ept_misconfiguration, /* EPT misconfiguration */
	[50] = exit_undefined,		    /* INVEPT */
	[51] = unexpected,		    /* RDTSCP */
	[52] = handle_external,		    /* preemption timer */
	[53] = exit_undefined,		    /* INVVPID */
	[54] = handle_nop,		    /* WBINVD */
	[55] = handle_xsetbv,		    /* XSETBV */
	[56] = handle_apic_write,	    /* APIC write */
	[57] = unexpected,		    /* RDRAND */
	[58] = unexpected,		    /* INVPCID */
	[59] = exit_undefined,		    /* VMFUNC */
	[60] = exit_undefined,		    /* ENCLS */
	[61] = unexpected,		    /* RDSEED */
	[62] = handle_pml_full,		    /* page-modification log full */
	[63] = exit_undefined,		    /* XSAVES */
	[64] = exit_undefined,		    /* XRSTORS */
	[65] = exit_undefined,		    /* PCONFIG */
	[66] = unexpected,		    /* sub-page permission */
	[67] = exit_undefined,		    /* UMWAIT */
	[68] = exit_undefined,		    /* TPAUSE */
	[69] = exit_undefined,		    /* LOADIWKEY */
	[70] = exit_undefined,		    /* ENCLV */
	[71] = unexpected,		    /* reason 71 */
	[72] = exit_undefined,		    /* ENQCMD */
	[73] = exit_undefined,		    /* ENQCMDS */
	[74] = unexpected,		    /* bus lock */
	[75] = unexpected,		    /* notify: no event window for long */
	[76] = exit_undefined,		    /* SEAMCALL */
	[77] = exit_undefined,		    /* TDCALL */
};

const bool exit_at_instruction[VMX_EXIT_REASONS] = {
	[10] = true, /* CPUID */
	[12] = true, /* HLT */
	[14] = true, /* INVLPG */
	[18] = true, /* VMCALL */
	[30] = true, /* I/O instruction */
	[31] = true, /* RDMSR */
	[32] = true, /* WRMSR */
	[43] = true, /* TPR below threshold */
	[44] = true, /* APIC access: the handler collects where one is delivered */
	[45] = true, /* virtualized EOI, a trap */
	[56] = true, /* APIC write, likewise */
};

enum exit_verdict exit_odd(struct vmx_vcpu *v, struct vmx_exit *e)
{
	bool failed = v->reason & REASON_ENTRY_FAILED;

	v->reason &= REASON_MASK;
	if (!failed)
		return unexpected(v, e);
	/* No #MC comes of it, and MCIP stays set: the next one would be a shutdown (SDM 3C 27.9). */
	if (v->reason == REASON_ENTRY_MC) {
		mca_record();
		panic("machine check during an entry of vm %s", vcpu_name());
	}
	vcpu_log_entry_failure(v, false);
	return exit_kind(e, VMX_EXIT_ERROR);
}

void exit_to_thread(struct vmx_vcpu *v)
{
	if (unlikely(v->flush_l1d))
		v->dirty_l1d = v->unprepared = true;
	irq_enable();
	/* STI holds interrupts off for one more instruction; without one, CLI could follow at once. */
	__asm__ volatile("nop" ::: "memory");
}

void exit_let_in(struct vmx_vcpu *v)
{
	v->between = true;
	exit_to_thread(v);
	v->between = false;
}

enum exit_verdict exit_kind(struct vmx_exit *e, enum vmx_exit_kind kind)
{
	e->kind = kind;
	return EXIT_RETURN;
}

enum exit_verdict exit_look(struct vmx_vcpu *v, struct vmx_exit *e)
{
	vcpu_skip(v);
	return exit_kind(e, VMX_EXIT_NONE);
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
