/* SPDX-License-Identifier: MIT */
/*
 * A vCPU as vmx/ knows it, and what the files of vmx/ ask of each other. Not for other floors.
 *
 * One thread on one CPU owns a vCPU; nothing here is locked but what says so. The VMCS and the
 * register state that the CPU does not switch by itself (XSAVE, MSRs, debug registers) stay in the
 * CPU until another vCPU comes to it: struct vmx_cpu.owner says whose they are.
 */
#ifndef VMX_VCPU_H
#define VMX_VCPU_H

#include "vmx/cr_rules.h"
#include "vmx/event.h"
#include "vmx/msr_policy.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"
#include "vmx/vpid.h"

enum switched_msr {
	SWITCHED_STAR,
	SWITCHED_LSTAR,
	SWITCHED_CSTAR,
	SWITCHED_SFMASK,
	SWITCHED_KERNEL_GS_BASE,
	SWITCHED_TSC_AUX, /* last: not every CPU has it */
	SWITCHED_COUNT,
};

struct vmx_vcpu {
	struct guest_regs regs; /* first: entry.S */
	struct vmx_config config;
	u32 cpu; /* the one it lives on */
	void *vmcs;
	struct vpid_tag vpid;
	bool launched;
	/* What the VMCS holds, so that only changes are written. */
	u64 vmcs_rip, vmcs_rsp, vmcs_rflags, host_rsp;
	u32 proc_controls;
	u32 entry_controls;
	/* guest state that is not in the VMCS */
	struct msr_state msr;
	u64 switched[SWITCHED_COUNT];
	u64 xcr0;
	void *xsave; /* a frame */
	u64 dr[4], dr6;
	bool dr_loaded; /* in the CPU's registers, MOV DR does not exit */
	u8 cr8;
	/* events for the next entry */
	struct event event;    /* goes in first */
	struct event deferred; /* an interrupt that an exception overtook */
	bool nmi_pending;
	bool interrupt_window_asked;
	bool shutdown;
	/* the exit at hand */
	u32 reason;
	u8 io_size;
	u32 masked_exits; /* that may starve the host, since interrupts were on */
	bool topup;	  /* the MMU's cache was used */
	bool dirty_l1d;	  /* Weir did more than a short exit since the last entry */
	u64 exits[VMX_EXIT_REASONS];
	/* atomic; any CPU */
	bool kicked;
	bool in_guest;
};

/* Per CPU; own CPU, interrupts off. */
struct vmx_cpu {
	void *region; /* VMXON */
	int error;    /* why it is not ready */
	bool ready;   /* atomic */
	struct vmx_vcpu *owner;
};
extern struct vmx_cpu vmx_cpus[CPU_MAX];

/* entry.S: 0, or 1: VM entry failed before the guest's state was looked at. */
struct entry_options {
	u64 guest_spec_ctrl, host_spec_ctrl;
	u32 flags;
};
#define ENTRY_RESUME	    BIT(0) /* bit numbers stand in entry.S */
#define ENTRY_SPEC_CTRL	    BIT(1)
#define ENTRY_CLEAR_BUFFERS BIT(2)
#define ENTRY_STUFF_RSB	    BIT(3)
int vmx_enter(struct guest_regs *regs, u64 *host_rsp, const struct entry_options *options);
void vmx_exit_point(void);

/* vmcs_setup.c */
void vmcs_setup(struct vmx_vcpu *v); /* VMCS current, interrupts off */
void vmcs_set_proc_controls(struct vmx_vcpu *v, u32 value);
void vmcs_set_entry_controls(struct vmx_vcpu *v, u32 value);

/* switch.c */
void vcpu_take_vpid(struct vmx_vcpu *v); /* before an entry, interrupts off */
void vcpu_own_cpu(struct vmx_vcpu *v);	 /* interrupts off */
void vcpu_disown_cpu(struct vmx_vcpu *v);
void vcpu_flush_tlb(struct vmx_vcpu *v); /* the guest's linear translations */

/* fpu.c; interrupts off */
void fpu_init_area(struct vmx_vcpu *v);
void fpu_save(struct vmx_vcpu *v);
void fpu_load(const struct vmx_vcpu *v);

/* debug_regs.c */
void debug_regs_save(struct vmx_vcpu *v); /* interrupts off */
void debug_regs_load(struct vmx_vcpu *v); /* likewise */
void debug_regs_raise(struct vmx_vcpu *v, u64 qualification);

/* inject.c */
void event_collect(struct vmx_vcpu *v); /* after an exit: what was being delivered */
void event_prepare(struct vmx_vcpu *v); /* before an entry, interrupts off */
void event_queue(struct vmx_vcpu *v, const struct event *e);
bool event_wakes(struct vmx_vcpu *v); /* something that waits here ends a HLT */

/* vcpu.c: past the instruction of this exit, its shadow and single-step trap included */
void vcpu_skip(struct vmx_vcpu *v);
bool vcpu_in_64bit(struct vmx_vcpu *v);
u32 vcpu_cpl(struct vmx_vcpu *v);
void vcpu_end_shadow(struct vmx_vcpu *v);
const char *vcpu_name(void); /* of the thread that runs it: it names the VM */

/* cr.c */
void cr_get(struct vmx_vcpu *v, struct cr_state *out);
void cr_set(struct vmx_vcpu *v, const struct cr_state *new_state); /* no checks, no PDPTEs */

/* mitigations.c; interrupts off */
void mitigations_init(void);
void mitigations_init_cpu(void); /* each CPU */
void mitigations_switch(void);	 /* another vCPU comes to this CPU */
void mitigations_enter(struct vmx_vcpu *v, struct entry_options *o);

/* dump.c */
void vmcs_dump(struct vmx_vcpu *v);
void vcpu_log_entry_failure(struct vmx_vcpu *v, bool refused);

/* What an exit handler leaves to be done. */
enum exit_verdict {
	EXIT_RESUME, /* enter again */
	EXIT_RETURN, /* struct vmx_exit says why */
};

/* Called with interrupts off; a handler may turn them on, and leave them on. */
enum exit_verdict exit_dispatch(struct vmx_vcpu *v, struct vmx_exit *e);
typedef enum exit_verdict (*exit_handler_t)(struct vmx_vcpu *v, struct vmx_exit *e);

/* From exit to thread context: interrupts come on, the thread may be switched. */
void exit_to_thread(struct vmx_vcpu *v);
enum exit_verdict exit_undefined(struct vmx_vcpu *v, struct vmx_exit *e); /* #UD */
enum exit_verdict exit_gp(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict exit_kind(struct vmx_exit *e, enum vmx_exit_kind kind); /* EXIT_RETURN */

/* The handlers, by file. */
enum exit_verdict handle_exception(struct vmx_vcpu *v, struct vmx_exit *e); /* exception.c */
enum exit_verdict handle_external(struct vmx_vcpu *v, struct vmx_exit *e);  /* exit_simple.c */
enum exit_verdict handle_shutdown(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_window(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_nmi_window(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_task_switch(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_cpuid(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_hlt(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_nop(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_vmcall(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_io(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_xsetbv(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_cr_access(struct vmx_vcpu *v, struct vmx_exit *e); /* cr.c */
enum exit_verdict handle_mov_dr(struct vmx_vcpu *v, struct vmx_exit *e);    /* debug_regs.c */
enum exit_verdict handle_rdmsr(struct vmx_vcpu *v, struct vmx_exit *e);	    /* msr.c */
enum exit_verdict handle_wrmsr(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_ept_violation(struct vmx_vcpu *v, struct vmx_exit *e); /* ept.c */
enum exit_verdict handle_ept_misconfiguration(struct vmx_vcpu *v, struct vmx_exit *e);

/* msr.c */
const void *msr_bitmap(void);
void msr_bitmap_init(void);

#endif
