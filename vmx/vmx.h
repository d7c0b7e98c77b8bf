/* SPDX-License-Identifier: MIT */
/*
 * VMX: bringing CPUs into VMX operation and running one vCPU. vmx_vcpu_run goes on by itself
 * through every exit that this floor can finish; what needs a device, a local APIC or the VM's
 * life is returned to the caller in struct vmx_exit, as a request to complete.
 */
#ifndef VMX_VMX_H
#define VMX_VMX_H

#include "vmx/apicv.h"
#include "mmu/mmu.h"
#include "mmu/fetch.h"
#include "mmu/regs.h"
#include "mmu/walk.h"
#include "kernel/base/stat.h"
#include "kernel/base/x86.h"
#include "smp/thread.h"

/*
 * Looks at CPUID, IA32_FEATURE_CONTROL and the VMX capability MSRs of the boot CPU: a flat list of
 * requirements, each with its sentence. 0, or ERR_NOTSUP after one plain line that says what is
 * missing and where a person turns it on. Prints the optional features as one table, and tells the
 * MMU what it needs to know (mmu_init).
 */
int vmx_probe(void);
/* The sentence of the first requirement that the boot CPU does not meet, or NULL. Boot CPU. */
const char *vmx_unmet(void);

/*
 * Real mode and protected mode without paging run as they are. Where not, they need what
 * mmu/real_mode.h builds. After vmx_probe.
 */
bool vmx_unrestricted_guest(void);
/* Before vmx_probe: false, do without it also where the CPU has it. */
void vmx_use_unrestricted_guest(bool use);

/*
 * VMXON on every online CPU. One that fails is named and hosts no vCPU. Thread context. ERR_NOTSUP:
 * all failed.
 */
int vmx_start(void);
bool vmx_cpu_ready(u32 cpu);
/* VMXOFF everywhere, before reboot. Thread context, interrupts on, no spin lock held. */
void vmx_stop(void);

/* Protection against what CPUs do speculatively: on unless told otherwise before vmx_start. */
void vmx_set_mitigations(bool on);

enum vmx_exit_kind {
	VMX_EXIT_NONE = 0,  /* woken, preempted or kicked: look at your requests and run again */
	VMX_EXIT_IO,	    /* port access; one element */
	VMX_EXIT_MMIO,	    /* gpa without a memslot; decode the instruction at rip */
	VMX_EXIT_RDMSR,	    /* not one of this floor's: vmx_complete_rdmsr or vmx_inject_gp */
	VMX_EXIT_WRMSR,	    /* likewise */
	VMX_EXIT_HLT,	    /* rip is already past it */
	VMX_EXIT_HYPERCALL, /* VMCALL; complete by vmx_complete_hypercall */
	VMX_EXIT_INTERRUPT_WINDOW,
	VMX_EXIT_TPR,	     /* CR8 was written, or fell below the threshold */
	VMX_EXIT_APIC_WRITE, /* a trap: the guest has written a register into apic_page */
	VMX_EXIT_APIC_EOI,   /* a trap: it has ended an interrupt of vmx_set_eoi_exits */
	VMX_EXIT_PAUSE,	     /* it has waited in a loop of PAUSEs for long; rip is past one */
	VMX_EXIT_TSC,	     /* the guest moved its TSC; rip is already past it */
	VMX_EXIT_SHUTDOWN,   /* triple fault */
	VMX_EXIT_EMULATE,    /* no entry as things are: instructions or an event in software */
	VMX_EXIT_TABLE,	     /* a write to a table of the guest's: run the instruction at rip */
	VMX_EXIT_NOMEM,	     /* a page could not be got: wait for memory, run again */
	VMX_EXIT_ERROR,	     /* entry failed or an exit that must not be; already told, VM ends */
};

/* Of VMX_EXIT_TABLE; by its own rights the instruction may write there. */
struct vmx_table_write {
	gva_t gva;		    /* at which the CPU refused the write */
	gpa_t gpa;		    /* where that is by the guest's tables */
	struct guest_paging paging; /* as vmx_get_paging has it */
};

struct vmx_exit {
	enum vmx_exit_kind kind;
	union {
		struct {
			u16 port;
			u8 size;	 /* 1, 2, 4 */
			bool in, string; /* string: INS/OUTS go through emulation like MMIO */
			u32 value;	 /* OUT; IN: the answer, of vmx_config.quick_io */
		} io;
		struct {
			gpa_t gpa;
			u32 access;
			/*
			 * Of the instruction: that vmx_config.quick_mmio has done; and before, where
			 * the CPU tells it. 0: it does not.
			 */
			u8 length;
		} mmio;
		struct vmx_table_write table;
		struct {
			u32 index;
			u64 value; /* WRMSR; RDMSR: the answer, of vmx_config.quick */
		} msr;
		u32 apic;      /* offset of the register, or vector */
		u64 hypercall; /* RAX */
	};
};

struct vmx_vcpu;
struct emulate_event;

#define VMX_LOOK	1
#define VMX_ACCESS_RING 0x60u /* SDM 3C table 25-2 */

struct vmx_config {
	struct mmu_vm *mmu;
	struct mmu_vcpu *mmu_vcpu;
	u32 vcpu_id; /* guest's APIC id */
	u32 vcpu_count;
	u64 tsc_offset; /* added to the host's TSC */
	/*
	 * Is offered the exits of kinds RDMSR and WRMSR before vmx_vcpu_run returns them, and those
	 * of kinds APIC_WRITE and APIC_EOI, which it does not return. Exit context: interrupts off,
	 * no sleep; completion is none of its business. 0: done, with what the guest reads in *e
	 * (quick_mmio: in its registers). ERR_FAULT: #GP. VMX_LOOK: done, but vmx_vcpu_run is to
	 * return after it, as after a kick. ERR_TOO_HARD: nothing was done, the exit is returned.
	 * NULL: it is always too hard.
	 */
	int (*quick)(void *owner, struct vmx_exit *e);
	/*
	 * Those of kind IO, and of kind MMIO where an instruction's own access made the guest exit,
	 * in the same way. There where quick is.
	 */
	int (*quick_io)(void *owner, struct vmx_exit *e);
	int (*quick_mmio)(void *owner, struct vmx_exit *e);
	/*
	 * Likewise VMCALLs, with RAX in and out, and SS's access rights, of which VMX_ACCESS_RING
	 * is not 0 outside ring 0. 0 or ERR_TOO_HARD. There where quick is.
	 */
	int (*quick_call)(u64 *rax, u32 ss_access);
	/*
	 * Before the line that says why a run returns SHUTDOWN or ERROR, which the VM ends for. False:
	 * no line. Thread context. NULL: there always is one.
	 */
	bool (*crash)(void *owner);
	void *owner;
	/* Where devices are and no slot of RAM is: offered before the slots are searched. */
	gpa_t device_area;
	u64 device_area_size;
	/* The page there whose accesses may be to make APIC-access exits. */
	gpa_t device_page;
	/*
	 * The local APIC's registers, as the CPU's virtual-APIC page has them (SDM 3C 30.1): a frame
	 * of the caller's. CR8 is TPR's there. NULL: one of the vCPU's own.
	 */
	void *apic_page;
	/*
	 * The APIC-access page, a frame that slots with MEMSLOT_PRIVATE show at device_page. NULL:
	 * there is none. What is done there comes as an MMIO exit like any device's.
	 */
	void *apic_access_page;
	/*
	 * VMX_APICV_POSTED, where there is an apic_page: the posted-interrupt descriptor
	 * (vmx/posted.h), at the beginning of a frame of the caller's: 64 bytes would do for the
	 * CPU, but Bochs 3.0 refuses the entry. NULL: none.
	 */
	void *posted;
	/* Without unrestricted guest: what mmu/rma_setup.h has put there. */
	gpa_t real_mode_tss, identity_map;
};

/* Thread context, on the thread that will run it; LOCK_PML. ERR_NOMEM; ERR_NOTSUP: not on this CPU. */
int vmx_vcpu_create(const struct vmx_config *config, struct vmx_vcpu **out);
/* Thread context, on the CPU that has its state, unless it was made to leave. Sleeps: LOCK_PML. */
void vmx_vcpu_destroy(struct vmx_vcpu *v);

/*
 * Runs the guest until something is for the caller, who then also looks at what a kick may have
 * been for: those that came by now are spent. Thread context, interrupts on.
 */
void vmx_vcpu_run(struct vmx_vcpu *v, struct vmx_exit *exit);
/* Makes a vCPU in guest mode leave it soon, and one about to enter return first. Any context. */
void vmx_vcpu_kick(struct vmx_vcpu *v);
/*
 * The descriptor of config.posted has something new and its ON bit was clear until the caller set
 * it. True: the vCPU is in the guest, and is sent the notification. False: it is to be kicked. Any
 * context.
 */
bool vmx_vcpu_notify(struct vmx_vcpu *v);

/*
 * Hooks for the thread's switch, to be called by the owner's sched_in and sched_out; and once each
 * at the beginning and end of the thread's life as a vCPU. Interrupts off. Between them everything
 * below may be called; outside, only create, destroy and kick.
 */
void vmx_vcpu_sched_in(struct vmx_vcpu *v);
void vmx_vcpu_sched_out(struct vmx_vcpu *v);
/*
 * Between two of them, on the CPU of the last: nothing of the vCPU stays in it, so that the next
 * vmx_vcpu_sched_in may be another's. Any context, interrupts off.
 */
void vmx_vcpu_sched_leave(struct vmx_vcpu *v);

/* In sched_out: the guest is between two instructions, of which none is begun. */
bool vmx_is_between_instructions(const struct vmx_vcpu *v);
/*
 * The guest's own translations are forgotten before the next entry, as if it had flushed its TLB. Own
 * thread, any CPU; any context.
 */
void vmx_flush_guest_tlb(struct vmx_vcpu *v);

/* The initial states that the loaders ask for. */
enum vmx_start_mode {
	VMX_START_RESET,     /* SDM 3A 9.1: real mode at f000:fff0 */
	VMX_START_LONG,	     /* 64-bit, paging on, flat segments: cr3, rip, rsp, rsi given */
	VMX_START_PROTECTED, /* 32-bit, paging off, flat segments: rip, eax, ebx given */
};
struct vmx_start {
	enum vmx_start_mode mode;
	u64 rip, rsp, rax, rbx, rsi, cr3;
	u64 gdt_base;	       /* guest-physical GDT the loader wrote; */
	u16 gdt_limit, cs, ds; /* selectors in it (ds for all data segments) */
};
void vmx_vcpu_set_start(struct vmx_vcpu *v, const struct vmx_start *s);

/*
 * What INIT does to a CPU (SDM 3A table 9-1): as vmx_vcpu_set_start with VMX_START_RESET, but that
 * FPU, XCR0, MTRRs, TSC and most MSRs stay, as do CR0's CD and NW; events that waited are gone.
 * Then vmx_vcpu_sipi, for one that is to start at vector * 4 KiB in real mode. Between runs.
 */
void vmx_vcpu_init(struct vmx_vcpu *v);
void vmx_vcpu_sipi(struct vmx_vcpu *v, u8 vector);

/*
 * Between runs: the next entry comes no sooner than the host's TSC is `tsc`, which is not further off
 * than VMX_NOT_BEFORE_MAX: about as long as an entry takes, for interrupts are off in that time.
 */
#define VMX_NOT_BEFORE_MAX 150
void vmx_vcpu_not_before(struct vmx_vcpu *v, u64 tsc);

/*
 * Between runs, by its thread, which looks after it at whatever a kick may have been for: the next run
 * need not return for one that came before.
 */
void vmx_vcpu_kick_seen(struct vmx_vcpu *v);

/* Between runs, by the vCPU's thread. What vmx_regs returns is good until the next run. */
struct guest_regs *vmx_regs(struct vmx_vcpu *v);
void vmx_get_paging(struct vmx_vcpu *v, struct guest_paging *out);
/*
 * For vmx_config.quick_mmio: where the instruction is, and the general registers, of which gpr[RSP] is
 * not there. NULL: the guest is in a mode that mmu/fetch.h does not know.
 */
u64 *vmx_get_code(struct vmx_vcpu *v, struct fetch_code *out);
u32 vmx_data_base(struct vmx_vcpu *v); /* DS's, where that counts: outside 64-bit code */
struct vmx_segment {
	u16 selector;
	u32 limit, access; /* access rights in VMCS format (SDM 3C 25.4.1) */
	u64 base;
};
enum vmx_segment_id {
	SEG_ES,
	SEG_CS,
	SEG_SS,
	SEG_DS,
	SEG_FS,
	SEG_GS,
	SEG_LDTR,
	SEG_TR
};
void vmx_get_segment(struct vmx_vcpu *v, enum vmx_segment_id id, struct vmx_segment *out);
u32 vmx_cpl(struct vmx_vcpu *v);
/*
 * The guest leaves, by VMX_EXIT_TPR, when its TPR falls below this class: that of an interrupt
 * which waits for it, not above TPR's own; 0: never. Without a TPR shadow any write of CR8 exits.
 */
void vmx_set_tpr_threshold(struct vmx_vcpu *v, u32 class);
/*
 * VMX_APICV_FULL and above, where the config has an apic_page. status: the highest vectors of the
 * page's IRR and ISR, 0 for none, after somebody but the CPU changed those. eoi_exits: the vectors
 * of which the owner wants to know the end.
 */
void vmx_set_interrupt_status(struct vmx_vcpu *v, u8 requested, u8 in_service);
void vmx_set_eoi_exits(struct vmx_vcpu *v, const u32 vectors[8]);
/* x2APIC mode has other MSRs that do not exit. No slot shows the APIC-access page while it is on. */
void vmx_set_x2apic(struct vmx_vcpu *v, bool on);
u64 vmx_guest_tsc(struct vmx_vcpu *v);
u64 vmx_tsc_offset(const struct vmx_vcpu *v); /* guest's TSC less the host's */

/* The caller has looked at what they may be: no checks. */
void vmx_set_segment(struct vmx_vcpu *v, enum vmx_segment_id id, const struct vmx_segment *s);
struct vmx_table {
	u64 base;
	u32 limit;
};
void vmx_get_tables(struct vmx_vcpu *v, struct vmx_table *gdt, struct vmx_table *idt);
void vmx_set_gdt(struct vmx_vcpu *v, const struct vmx_table *t);
void vmx_set_idt(struct vmx_vcpu *v, const struct vmx_table *t);

/*
 * What an instruction run in software asks for (SDM 2B MOV CR, MOV DR, 2A CPUID, 2D XSETBV). Thread
 * context. 0; ERR_FAULT: it raises #GP(0); ERR_INVAL: #UD; ERR_BUSY: DR7.GD is set, and #DB is
 * queued; ERR_NOMEM.
 */
u64 vmx_read_cr(struct vmx_vcpu *v, u32 n);
int vmx_write_cr(struct vmx_vcpu *v, u32 n, u64 value);
int vmx_read_dr(struct vmx_vcpu *v, u32 n, u64 *value);
int vmx_write_dr(struct vmx_vcpu *v, u32 n, u64 value);
int vmx_set_xcr(struct vmx_vcpu *v, u32 n, u64 value);
int vmx_get_xcr(struct vmx_vcpu *v, u32 n, u64 *value);
void vmx_cpuid(struct vmx_vcpu *v, u32 leaf, u32 subleaf, struct cpuid_regs *out);
/* Of this floor's own MSRs; ERR_NOSLOT: it is none of them. */
int vmx_read_msr(struct vmx_vcpu *v, u32 index, u64 *value);
int vmx_write_msr(struct vmx_vcpu *v, u32 index, u64 value);
/* vector.c: the vCPU's registers, on this CPU. Its own thread, whatever the context. */
void vmx_read_xmm(struct vmx_vcpu *v, u32 n, u64 half[2]);
void vmx_write_xmm(struct vmx_vcpu *v, u32 n, const u64 half[2]);
u16 vmx_x87_status(struct vmx_vcpu *v);
u16 vmx_x87_control(struct vmx_vcpu *v);
void vmx_set_x87_control(struct vmx_vcpu *v, u16 value);
void vmx_init_x87(struct vmx_vcpu *v);
void vmx_drop_page(struct vmx_vcpu *v, gva_t gva); /* INVLPG */

/*
 * On CPUs without unrestricted guest: the guest's state is one that no entry takes, or an event waits
 * in it or in real mode. The event is what vmx_software_event tells; then vmx_software_event_done.
 */
bool vmx_must_emulate(struct vmx_vcpu *v);
bool vmx_software_event(struct vmx_vcpu *v, struct emulate_event *out);
void vmx_software_event_done(struct vmx_vcpu *v);
/*
 * The instruction is run in software because it raised this in what stands for real mode: #GP or #UD.
 * false: it did not.
 */
bool vmx_own_fault(const struct vmx_vcpu *v, u8 *vector);

/* Completing exits. Each moves rip past the instruction. */
void vmx_complete_io_in(struct vmx_vcpu *v, u32 value);
void vmx_complete_io_out(struct vmx_vcpu *v);
void vmx_complete_rdmsr(struct vmx_vcpu *v, u64 value);
void vmx_complete_wrmsr(struct vmx_vcpu *v);
void vmx_complete_hypercall(struct vmx_vcpu *v, u64 rax);
/*
 * The emulator changed vmx_regs (rip, rflags included): take them, end the shadow of STI and MOV SS.
 */
void vmx_complete_emulation(struct vmx_vcpu *v);
/* The same for an instruction of any kind. */
#define VMX_DID_STI	 BIT(0) /* a shadow begins: STI's, */
#define VMX_DID_MOV_SS	 BIT(1) /* or MOV SS's */
#define VMX_DID_IRET	 BIT(2) /* NMIs are not blocked any more */
#define VMX_DID_ONE_STEP BIT(3) /* RFLAGS.TF was set before it: it traps */
void vmx_complete_instruction(struct vmx_vcpu *v, u32 did);

/* Events. An exception wins over an interrupt at the next entry; combining follows SDM 3A 6.15. */
#define EXCEPTION_UD 6
#define EXCEPTION_GP 13
#define EXCEPTION_PF 14
void vmx_inject_exception(struct vmx_vcpu *v, u8 vector, bool has_error, u32 error_code);
void vmx_inject_page_fault(struct vmx_vcpu *v, gva_t gva, u32 error_code);
static inline void vmx_inject_gp(struct vmx_vcpu *v)
{
	vmx_inject_exception(v, EXCEPTION_GP, true, 0);
}
/* May an external interrupt be injected at the next entry (IF, shadows, nothing queued)? */
bool vmx_interrupt_allowed(struct vmx_vcpu *v);
void vmx_inject_interrupt(struct vmx_vcpu *v, u8 vector);
void vmx_request_interrupt_window(struct vmx_vcpu *v, bool on);
/* One that is here already goes in at the next entry: no moment to halt. */
bool vmx_event_waits(struct vmx_vcpu *v);
/*
 * An NMI may be handed over: none waits here yet. One that the guest blocks (it is in the handler
 * of another) waits for its IRET; a guest that halts there is not woken by it.
 */
bool vmx_nmi_allowed(struct vmx_vcpu *v);
void vmx_inject_nmi(struct vmx_vcpu *v);
bool vmx_nmi_blocked(struct vmx_vcpu *v);

/* Paravirtual CPUID leaves (0x4000xxxx) belong to the kernel floor: registered once at start.
 * The function fills regs, with the same for a leaf every time, and returns true, or false for a
 * leaf it does not have. */
void vmx_set_paravirt_cpuid(bool (*fn)(u32 leaf, struct cpuid_regs *regs));

/* Logs where the guest is: registers, segments, control registers, last exit. */
void vmx_vcpu_dump(struct vmx_vcpu *v);

/* Counters of exits by reason since creation, and what each means. Any context. */
#define VMX_EXIT_REASONS	 78
#define VMX_REASON_RDMSR	 31
#define VMX_REASON_WRMSR	 32
#define VMX_REASON_EPT_VIOLATION 48
extern const struct stat_desc vmx_exit_stat_descs[VMX_EXIT_REASONS];
u64 vmx_exit_count(const struct vmx_vcpu *v, u32 reason);
const char *vmx_exit_name(u32 reason);

/* The tags of all CPUs' TLBs (vmx/vpid.h), as a group of counters. */
extern struct stat_group vmx_vpid_stats;

#endif
