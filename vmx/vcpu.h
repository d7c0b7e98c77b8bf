/* SPDX-License-Identifier: MIT */
/*
 * A vCPU as vmx/ knows it, and what the files of vmx/ ask of each other. Not for other floors.
 *
 * One thread owns a vCPU; nothing here is locked but what says so. The VMCS and the register state
 * that the CPU does not switch by itself (XSAVE, MSRs, debug registers) stay in the CPU until another
 * vCPU comes to it: struct vmx_cpu.owner says whose they are. A vCPU whose thread goes to another CPU
 * leaves this one first (vcpu_disown_cpu): a VMCS is active on one CPU at a time (SDM 3C 25.11.1).
 */
#ifndef VMX_VCPU_H
#define VMX_VCPU_H

#include "vmx/cr_rules.h"
#include "vmx/cpuid.h"
#include "vmx/event.h"
#include "vmx/msr_policy.h"
#include "vmx/pause.h"
#include "vmx/pml.h"
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

/* What entry.S needs beside the registers. */
struct entry_state {
	u64 stack; /* Weir's RSP, while the guest runs */
	u32 guest_spec_ctrl, host_spec_ctrl;
	u32 flags; /* ENTRY_* */
};
/* entry.S shifts the upper ones into CF and SF. */
#define ENTRY_RESUME	    BIT(0)
#define ENTRY_CLEAR_BUFFERS BIT(29)
#define ENTRY_SPEC_CTRL	    BIT(30)
#define ENTRY_KEEP_RSB	    BIT(31) /* the return stack buffer is not stuffed after an exit */

struct cpuid_answer {
	u32 leaf, subleaf;
	struct cpuid_regs regs;
};
#define CPUID_CACHED 64

/* What of the guest's own state virtual-8086 mode hides while the guest runs in it. */
struct vm86_state {
	u32 access[SEG_GS + 1];
	struct vmx_segment tr;
	u64 rflags, cr4, sysenter_cs;
};

struct vmx_vcpu {
	/* Both first: entry.S. rip, rflags and gpr[RSP] are to be had by vcpu_regs() alone. */
	struct guest_regs regs;
	struct entry_state entry;
	struct vmx_config config;
	/* the CPU that loaded its state last, which still has it while `active`; any CPU may read it */
	u32 cpu; /* atomic; before in_guest */
	bool active;
	u32 host_cpu; /* whose tables the VMCS has for the host; CPU_MAX: nobody's */
	void *vmcs;
	struct vpid_tag vpid;
	/* regs.h; and what the VMCS holds, so that only changes are written */
	bool regs_here;
	u64 vmcs_rip, vmcs_rsp, vmcs_rflags;
	u32 proc_controls;
	u32 proc2_controls;
	u32 entry_controls;
	/* guest state that is not in the VMCS */
	struct msr_state msr;
	u64 switched[SWITCHED_COUNT];
	u64 xcr0;
	void *xsave; /* a frame */
	u64 cr2;
	/* with shadow paging the CPU's CR3 is Weir's; this is what the guest loaded (shadow.c) */
	u64 guest_cr3, pdpte[4];
	u64 shadow_cr3;
	u64 dr[4], dr6;
	bool dr_loaded;	     /* in the CPU's registers, MOV DR does not exit */
	void *own_apic_page; /* where the config has none */
	u8 tpr_threshold;
	bool apic_registers, apic_full; /* as in vmx/apicv.h, and the floor above knows of it */
	bool posts;			/* likewise; set once */
	u64 eoi_exits[4];
	/* events for the next entry */
	struct event event;    /* goes in first */
	struct event deferred; /* an interrupt that an exception overtook */
	bool nmi_pending;
	bool nmi_window_behind_sti; /* this CPU was seen to take it for open there */
	bool interrupt_window_asked;
	bool shutdown;
	/* Something above or below may have changed since an entry was last prepared (run.c). */
	bool unprepared;
	u64 not_before;	 /* the host's TSC, which the next entry waits for; 0: none */
	bool shadow;	 /* set once: no EPT for this one */
	bool root_stale; /* its root is not that of its mode and CR3 */
	bool between;	 /* interrupts, or other threads, come in between two instructions */
	/* restricted.c: no unrestricted guest, which only EPT allows and not every CPU has */
	bool restricted;
	bool in_vm86;	    /* the VMCS is in that form */
	bool was_vm86;	    /* the last exit came from it */
	bool emulate_once;  /* the instruction at RIP is to be run in software */
	u8 own_fault;	    /* since it raised this: #GP or #UD */
	bool segments_odd;  /* in protected mode an entry may refuse them */
	bool paging_hidden; /* GUEST_CR3 has the identity map; the guest's own is */
	u64 cr3;
	struct vm86_state vm86;
	/* the exit at hand */
	u32 reason;
	u8 io_size;
	u32 masked_exits; /* how many more until interrupts come on for a moment */
	bool flush_l1d;	  /* before entries, where the next is so: */
	bool dirty_l1d;	  /* Weir did more than a short exit since the last entry */
	u64 exits[VMX_EXIT_REASONS];
	struct cpuid_answer cpuid[CPUID_CACHED]; /* cpuid_exit.c */
	struct vcpu_pml pml;
	struct pause_loop pauses;
	/* atomic; any CPU */
	bool kicked;
	bool in_guest; /* stay.h */
};

/* Per CPU; own CPU, interrupts off. */
struct vmx_cpu {
	void *region; /* VMXON */
	int error;    /* why it is not ready */
	bool ready;   /* atomic */
	struct vmx_vcpu *owner;
};
extern struct vmx_cpu vmx_cpus[CPU_MAX];

static_assert(offsetof(struct vmx_vcpu, entry) == 152, "entry.S knows this layout");
static_assert(offsetof(struct entry_state, flags) == 16, "entry.S knows this layout");
static_assert(offsetof(struct vmx_vcpu, regs.gpr) == 0 &&
		      sizeof(((struct guest_regs *)0)->gpr) == 128,
	      "entry.S pushes the registers to where they belong");

/* entry.S; run.c calls the first in a way of its own */
void vmx_enter(void);
void vmx_exit_point(void);

/* vmcs_setup.c */
/*
 * #DB and #AC: a guest can arrange for either to be raised while it is delivered, for ever, and
 * the CPU would take no interrupt meanwhile. #MC is the machine's, not the guest's.
 */
#define VCPU_EXCEPTIONS (BIT(EXCEPTION_DB) | BIT(EXCEPTION_AC) | BIT(EXCEPTION_MC))

/* With shadow paging all page faults are Weir's to look at first. */
static inline u32 vcpu_exceptions(const struct vmx_vcpu *v)
{
	return (u32)(VCPU_EXCEPTIONS | (v->shadow ? BIT(EXCEPTION_PF) : 0));
}

void vmcs_setup(struct vmx_vcpu *v); /* VMCS current, interrupts off */
void vmcs_set_host_cpu(void);	     /* likewise: what of the host state is this CPU's own */
void vmcs_set_proc_controls(struct vmx_vcpu *v, u32 value);
void vmcs_set_entry_controls(struct vmx_vcpu *v, u32 value);

/* switch.c */
void vcpu_take_vpid(struct vmx_vcpu *v); /* before an entry, interrupts off */
void vcpu_own_cpu(struct vmx_vcpu *v);	 /* interrupts off */
/* Interrupts off, on the CPU that has its state, if one has: nothing of it stays there. */
void vcpu_disown_cpu(struct vmx_vcpu *v);
void vcpu_flush_tlb(struct vmx_vcpu *v); /* the guest's linear translations */

/* apic.c */
void apic_setup(struct vmx_vcpu *v); /* VMCS current, interrupts off */
u64 apic_cr8(struct vmx_vcpu *v);
void apic_set_cr8(struct vmx_vcpu *v, u64 cr8);

/* fpu.c; interrupts off */
void fpu_init_area(struct vmx_vcpu *v);
void fpu_save(struct vmx_vcpu *v);
void fpu_load(const struct vmx_vcpu *v);

/* debug_regs.c */
#define DR6_INITIAL 0xffff0ff0ull
void debug_regs_save(struct vmx_vcpu *v); /* interrupts off */
void debug_regs_load(struct vmx_vcpu *v); /* likewise */
void debug_regs_raise(struct vmx_vcpu *v, u64 qualification);

/* inject.c */
/* After an exit that no instruction of its own caused: what was being delivered. */
void event_collect(struct vmx_vcpu *v);
void event_prepare(struct vmx_vcpu *v); /* before an entry, interrupts off */
void event_take_back(struct vmx_vcpu *v);
void event_queue(struct vmx_vcpu *v, const struct event *e);
void event_forget(struct vmx_vcpu *v); /* INIT: nothing waits any more */
void event_choose(struct vmx_vcpu *v); /* what waits and may go becomes the next event */
bool event_wakes(struct vmx_vcpu *v);  /* something that waits here ends a HLT */
/* The exit's qualification may say that it was an IRET that is to run again. */
void event_iret_faulted(struct vmx_vcpu *v, u64 qualification);

/* regs.c: the shadow of STI and MOV SS ends, a single step traps */
void vcpu_end_shadow(struct vmx_vcpu *v);
bool vcpu_in_64bit(struct vmx_vcpu *v);

/* vcpu.c */
u32 vcpu_cpl(struct vmx_vcpu *v);
const char *vcpu_name(void); /* of the thread that runs it: it names the VM */
u32 vcpu_number(void);	     /* likewise: which of several, from 1; 0: it is alone */

/* restricted.c. Interrupts off, but where the floor above calls. */
bool vcpu_in_real_mode(struct vmx_vcpu *v);
/* false: no entry yet, *e says why. True: when all else is prepared, restricted_enter. */
bool restricted_prepare(struct vmx_vcpu *v, struct vmx_exit *e);
void restricted_enter(struct vmx_vcpu *v);
void restricted_leave(struct vmx_vcpu *v); /* right after the exit, if in_vm86 */
/* #GP or #UD of what real mode may allow: run it in software. */
bool restricted_is_privileged(struct vmx_vcpu *v, const struct event *e);

/* cr.c */
/* CR3 as the guest has it. */
void cr3_set(struct vmx_vcpu *v, u64 value);
u64 cr_efer(const struct vmx_vcpu *v); /* of the CPU, while the guest runs */
void cr_get(struct vmx_vcpu *v, struct cr_state *out);
void cr_set(struct vmx_vcpu *v, const struct cr_state *new_state); /* no checks, no PDPTEs */
/* Thread context. 0, ERR_FAULT: a reserved bit is set, ERR_NOMEM. */
int cr_load_pdptes(struct vmx_vcpu *v, u64 cr3);
u64 vcpu_cr4_offered(const struct vmx_vcpu *v);

/* mitigations.c; interrupts off */
void mitigations_init(void);
bool mitigations_large_nx(void); /* boot CPU, before the MMU is told what the CPU has */
void mitigations_init_cpu(void); /* each CPU */
void mitigations_switch(void);	 /* another vCPU comes to this CPU */
/* What an entry of v has to do; again after its spec_ctrl changed. */
void mitigations_update(struct vmx_vcpu *v);
void mitigations_flush_l1d(struct vmx_vcpu *v); /* before an entry, while dirty_l1d is set */

/* shadow.c */
u64 vcpu_cr3(const struct vmx_vcpu *v);
void vcpu_set_cr3(struct vmx_vcpu *v, u64 cr3);
void vcpu_get_pdptes(const struct vmx_vcpu *v, u64 pdpte[4]);
void vcpu_set_pdptes(struct vmx_vcpu *v, const u64 pdpte[4]);
/* What the CPU has, for what the guest has chosen. */
u64 shadow_cr0(u64 cr0);
u64 shadow_cr4(u64 cr4, bool paging);
void vcpu_set_efer(struct vmx_vcpu *v, u64 efer);
void shadow_load_msrs(struct vmx_vcpu *v); /* it comes to this CPU; interrupts off */
void shadow_stale(struct vmx_vcpu *v);	   /* before the next entry the root is loaded */
/* Thread context. ERR_NOMEM. */
int shadow_load(struct vmx_vcpu *v);

/* What an exit handler leaves to be done. */
enum exit_verdict {
	EXIT_RESUME, /* enter again */
	EXIT_RETURN, /* struct vmx_exit says why */
};

/* dump.c */
void vmcs_dump(struct vmx_vcpu *v);
void vcpu_log_entry_failure(struct vmx_vcpu *v, bool refused);

/* cpuid_exit.c: what CPUID answers may have changed */
void cpuid_forget(struct vmx_vcpu *v);

/*
 * By reason, for those below VMX_EXIT_REASONS. Called with interrupts off; a handler may turn them
 * on, and leave them on.
 */
typedef enum exit_verdict (*exit_handler_t)(struct vmx_vcpu *v, struct vmx_exit *e);
extern const exit_handler_t exit_handlers[];
/*
 * An instruction of the guest's own causes it, so no event is being delivered (SDM 3C 28.2.4); and
 * the handler ends the instruction or queues a fault.
 */
extern const bool exit_at_instruction[];
/* A reason that the SDM does not have, or a failed entry (SDM 3C 27.8). */
enum exit_verdict exit_odd(struct vmx_vcpu *v, struct vmx_exit *e);

/* From exit to thread context: interrupts come on, the thread may be switched. */
void exit_to_thread(struct vmx_vcpu *v);
/* To thread context, for the VM ends for this exit. True: the log is to say why. */
static inline bool exit_crash(struct vmx_vcpu *v)
{
	exit_to_thread(v);
	return !v->config.crash || v->config.crash(v->config.owner);
}
/* Lets interrupts, and so other threads, come in for a moment; the exit at hand is done with. */
void exit_let_in(struct vmx_vcpu *v);
enum exit_verdict exit_undefined(struct vmx_vcpu *v, struct vmx_exit *e); /* #UD */
enum exit_verdict exit_gp(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict exit_kind(struct vmx_exit *e, enum vmx_exit_kind kind); /* EXIT_RETURN */

/* Done, and the floor above is to look around: past the instruction, and EXIT_RETURN. */
enum exit_verdict exit_look(struct vmx_vcpu *v, struct vmx_exit *e);

/*
 * Asks the floor above for an answer at once (struct vmx_config): its result. What it has not done,
 * and no handler does either, is returned as it stands in *e.
 */
static inline int exit_offer(struct vmx_vcpu *v, struct vmx_exit *e, enum vmx_exit_kind kind)
{
	e->kind = kind;
	return v->config.quick(v->config.owner, e);
}

/* The handlers, by file. */
enum exit_verdict handle_exception(struct vmx_vcpu *v, struct vmx_exit *e); /* exception.c */
enum exit_verdict handle_external(struct vmx_vcpu *v, struct vmx_exit *e);  /* exit_simple.c */
enum exit_verdict handle_shutdown(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_window(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_nmi_window(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_task_switch(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_hlt(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_pause(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_nop(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_vmcall(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_io(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_xsetbv(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_cpuid(struct vmx_vcpu *v, struct vmx_exit *e);	    /* cpuid_exit.c */
enum exit_verdict handle_cr_access(struct vmx_vcpu *v, struct vmx_exit *e); /* cr.c */
enum exit_verdict handle_mov_dr(struct vmx_vcpu *v, struct vmx_exit *e);    /* debug_regs.c */
enum exit_verdict handle_rdmsr(struct vmx_vcpu *v, struct vmx_exit *e);	    /* msr.c */
enum exit_verdict handle_wrmsr(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_ept_violation(struct vmx_vcpu *v, struct vmx_exit *e); /* ept.c */
/*
 * overwrite.c: the guest's write to the page at gpa, at EXIT_GUEST_LINEAR, was ERR_STORED. True: it was
 * REP STOS, and that page is done. Thread context.
 */
bool vcpu_overwrite(struct vmx_vcpu *v, gpa_t gpa);
enum exit_verdict handle_ept_misconfiguration(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_apic_access(struct vmx_vcpu *v, struct vmx_exit *e); /* apic.c */
enum exit_verdict handle_apic_write(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_apic_eoi(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_tpr_below(struct vmx_vcpu *v, struct vmx_exit *e);
enum exit_verdict handle_pml_full(struct vmx_vcpu *v, struct vmx_exit *e); /* pml.c */
enum exit_verdict handle_invlpg(struct vmx_vcpu *v, struct vmx_exit *e);   /* shadow.c */
enum exit_verdict handle_shadow_fault(struct vmx_vcpu *v, struct vmx_exit *e, u32 error_code);
enum exit_verdict cr3_write(struct vmx_vcpu *v, struct vmx_exit *e, u64 value); /* MOV to CR3 */

/* ept.c */
/* No memory at gpa: a device's, by emulation. */
enum exit_verdict exit_to_device(struct vmx_vcpu *v, struct vmx_exit *e, gpa_t gpa, u32 access);
/*
 * The same for an instruction's own access to config.device_area: offered to the floor above first.
 * false: that did nothing.
 */
bool exit_offer_mmio(struct vmx_vcpu *v, struct vmx_exit *e, gpa_t gpa, u32 access, u8 length,
		     enum exit_verdict *verdict);

/* msr.c */
const void *msr_bitmap(bool x2apic, bool shadow);
void msr_bitmap_init(void);

#endif
