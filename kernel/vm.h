/* SPDX-License-Identifier: MIT */
/*
 * Virtual machines and their vCPUs: life cycle. A VM is made from a configuration (kernel/config.h),
 * runs one thread for each vCPU, and ends by power-off, reset, crash or kill.
 */
#ifndef KERNEL_VM_H
#define KERNEL_VM_H

#include "kernel/base/list.h"
#include "kernel/base/x86.h"
#include "kernel/config.h"
#include "kernel/dev/device.h"
#include "kernel/restart.h"
#include "kernel/stats.h"
#include "mem/reclaim.h"
#include "mem/rma.h"
#include "mmu/gpa_pin.h"
#include "mmu/mmu.h"
#include "mmu/rma_setup.h"
#include "smp/mutex.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define VM_VCPUS_MAX CONFIG_VCPUS_MAX

/*
 * Pages of a VM that may be pinned at a time: what guests ask for (H_ENTER), and what Weir itself
 * pins for long: the real-mode area, and two words of each vCPU (KVM's steal time and EOI).
 */
#define VM_PINS_MAX 1024

enum vm_end {
	VM_END_NONE,
	VM_END_POWEROFF,
	VM_END_RESET,	   /* the guest asked to be reset */
	VM_END_CRASH,	   /* triple fault, entry failure, unhandled instruction */
	VM_END_DEBUG_EXIT, /* isa-debug-exit; code in end_code */
	VM_END_KILLED,
	VM_END_SWITCHED_OFF, /* by vm_power_off: the guest did not ask for it */
};

/* Why a VM is paused: it goes on when no reason is left. */
enum vm_pause {
	VM_PAUSED_BY_OPERATOR = BIT(0),
	VM_PAUSED_FOR_MEMORY = BIT(1), /* kernel/vm_memory.h */
};

/* Waiting for memory; atomic (kernel/vm_memory.h). */
struct vm_memory {
	u64 vain_since_ns; /* a vCPU of it has been waiting since, */
	u64 vain_ns;	   /* and was seen to do so then; 0: never */
	u32 waiting;	   /* vCPUs whose last try was in vain, and that sleep or try again */
	u64 paused_ns;	   /* when it was paused last */
	u32 pauses;
};

struct platform;
struct lapic;
struct vmx_vcpu;
struct vmx_start;

/* A vCPU's tries to find memory, each with the sleep after it where it was in vain; its own thread. */
struct memory_wait {
	u64 begun_ns;
	u64 ended_ns; /* the last that is over; 0: it has found some */
	u64 sleep_ns; /* the last one */
	bool in_vain; /* the last that is over was, and waited for others' memory */
	bool counted; /* the vCPU is one of vm_memory.waiting now */
};

enum vcpu_request {
	VCPU_REQ_KICK = BIT(0),	 /* look at interrupts again */
	VCPU_REQ_TIMER = BIT(1), /* a timer of the LAPIC fired */
	VCPU_REQ_STOP = BIT(2),
	VCPU_REQ_POLL = BIT(3), /* a device left work for platform_vcpu_poll */
	VCPU_REQ_LIFE = BIT(4), /* vm_life.h wants it to pause, or to show its registers */
};

/* What the guest's vCPU did by KVM's paravirtual means: kernel/stats.h. */
struct paravirt_counts {
	u64 eois, tlb_flushes, kicks, yields, ipi_calls;
};

struct vcpu {
	struct vm *vm;
	u32 id; /* also its APIC id */
	struct thread *thread;
	struct vmx_vcpu *vmx;
	struct mmu_vcpu mmu;
	struct lapic *lapic;
	u64 requests;	/* atomic bits */
	bool prodded;	/* atomic: an H_PROD that no H_CEDE has taken yet */
	bool kick_came; /* atomic: a KVM_HC_KICK_CPU that no HLT has taken yet */
	/* vm_wait's lock */
	bool stopped;  /* the guest runs no more */
	bool released; /* its thread may take the vCPU apart */
	/* vm->life's lock */
	bool parked;	 /* executes nothing until vm_resume */
	bool dump_asked; /* atomic */
	u32 hurried;	 /* thread_hurry's that vcpu_attend takes back */
	/* own thread */
	bool halted;
	bool was_paused;     /* and the guest is not told yet */
	bool apic_waits;     /* so the CPU was told at the last entry */
	u32 yielded_to;	     /* whom its last loop of PAUSEs let go first */
	bool waits_for_sipi; /* atomic: after power-on, but vCPU 0; and after INIT */
	bool crashed;	     /* it is what ended the VM */
	struct memory_wait memory_wait;
	gfn_t mmio_gfn;	  /* what the instruction that is emulated touched; string I/O: none */
	u64 kvmclock_msr; /* MSR_KVM_SYSTEM_TIME as written: gpa | enable */
	u32 kvmclock_version;
	struct steal_time {
		u64 msr;       /* MSR_KVM_STEAL_TIME as written: gpa | enable */
		u64 since_ns;  /* it would run and does not; 0: it runs, or sleeps */
		u64 stolen_ns; /* since the MSR was written */
		u32 version;
		bool news;		   /* the guest's memory does not have all of it */
		struct gpa_pin *preempted; /* in the guest's memory; NULL: it is off */
		bool preempted_on;	   /* it says that the vCPU does not run */
	} steal;
	struct {
		u64 msr; /* MSR_KVM_PV_EOI_EN as written: gpa | enable */
		struct gpa_pin *word;
	} pv_eoi;
	bool yields;			 /* at the moment, between two instructions of the guest */
	struct paravirt_counts paravirt; /* others may read */
	u64 refused;			 /* likewise: #UD for programs (kernel/emulation.c) */
};

struct vm {
	/* vm_wait's lock */
	struct list link;
	u32 references;			/* vm_life.h: while there are some nothing is taken apart */
	bool threads_go, threads_leave; /* all vCPUs have a thread; or it could not be */
	char name[CONFIG_NAME_MAX];
	struct vm_config config;
	/* atomic, both at once: set once, by vm_request_end */
	union {
		struct {
			enum vm_end end;
			u32 end_code;
		};
		u64 end_and_code;
	};
	struct wait_queue life;	  /* who parks, resumes, dumps */
	u32 paused;		  /* atomic; enum vm_pause; written under life's lock */
	struct mutex dump_lock;	  /* LOCK_VM_DUMP: one dump at a time */
	struct mutex lock;	  /* LOCK_VM: the set-up of the real-mode area */
	struct sched_group sched; /* of its vCPUs' threads */
	/* set at creation */
	struct gmem *ram;
	struct gmem_account pins;      /* of all its objects: of ram */
	struct rma_piece *rma_piece;   /* the bottom of ram; NULL: pages like any other */
	struct reclaim_target reclaim; /* its RAM */
	struct mmu_vm mmu;
	bool mmu_made;
	struct apic_page {
		struct gmem *object;
		pfn_t pfn;
		u32 slot;
		bool pinned;
		bool there; /* atomic: its slot is */
	} apic_page;	    /* kernel/apic_page.h */
	struct rma_area rma;
	struct bus bus;
	struct platform *platform;
	u32 vcpu_count;
	struct vcpu *vcpus[VM_VCPUS_MAX];
	struct vmx_start *start; /* how vCPU 0 begins */
	/* one moment on both clocks, from which all its vCPUs' clock pages count */
	u64 start_ns;
	u64 tsc_offset;		 /* guest TSC = host TSC + this; the guest's starts at 0 */
	u64 let_go_ns;		 /* later, when it was loaded: its vCPUs began */
	u64 kvmclock_wall_msr;	 /* atomic */
	struct restart *restart; /* its configuration's; lines_told and programs_told are atomic */
	struct vm_memory memory;
	u32 memory_waits_told; /* atomic: of each kind of wait for memory a line is said once */
	struct vm_console *console;
	struct vm_stats stats;
};

/* The vCPU of a number that the guest has chosen; NULL: there is none. Any context. */
static inline struct vcpu *vm_vcpu(const struct vm *vm, u64 number)
{
	if (number >= vm->vcpu_count)
		return NULL;
	no_speculation();
	return vm->vcpus[number];
}

/* Any context: sets request bits and makes the vCPU notice (kick or wake). */
void vcpu_request(struct vcpu *v, u64 bits);
/*
 * What was posted for it (vmx/posted.h) is to be looked at: by its CPU, if it is in the guest
 * (true), or by its thread. Any context.
 */
bool vcpu_notify(struct vcpu *v);

/*
 * Asks the VM to end, from any of its threads or a device. The first cause wins: false, where it is
 * another's. Any context.
 */
bool vm_request_end(struct vm *vm, enum vm_end cause, u32 code);

/*
 * Every VM that is not refused is to start. The boot thread, once, before whoever may say that one
 * starts, or does not.
 */
void vm_list_init(struct weir_config *config);
/* The machine runs no guests: none starts, nor is any promised to from here on. The boot thread. */
void vm_refuse_all(void);

/*
 * Starts every VM that is to start, says which are refused, then runs them to their ends: a VM whose
 * guest asks for a reset starts again from its modules; any other end frees all it had. Returns
 * when none is left, and modules are as GRUB loaded them; where is_decided says that Weir ends they need
 * not be. Thread context, the boot thread. is_decided: any context.
 */
void vm_run_all(struct weir_config *config, bool (*is_decided)(void));

/*
 * After vm_run_all: goes on with what vm_start asks for, until no VM is left, nor is any asked for,
 * and `until` says true.
 * The boot thread. until is called under vm_wait's lock: it looks at words. Who changes what it
 * looks at wakes the manager, from any context.
 */
void vm_run_asked(struct weir_config *config, bool (*until)(void));
void vm_wake_manager(void);

/* Output of the guest's console UART. Thread context. Never blocks for long. */
void vm_console_write(struct vm *vm, const u8 *bytes, u32 count);

/* Guest TSC now, as RDTSC in the guest would read it. */
u64 vcpu_guest_tsc(struct vcpu *v);
u64 vcpu_guest_tsc_to_ns(struct vcpu *v, u64 guest_tsc); /* on clock_ns's scale */

#endif
