/* SPDX-License-Identifier: MIT */
/*
 * One vCPU's thread: the loop that injects, enters, and answers what the guest asked for.
 * Everything here runs on the vCPU's own thread unless it says otherwise; no lock.
 */
#ifndef KERNEL_VCPU_H
#define KERNEL_VCPU_H

#include "kernel/vm.h"
#include "vmx/vmx.h"

/*
 * The body of the vCPU's thread; start is vCPU 0's, NULL for one that waits for a start-up IPI,
 * asleep.
 */
void vcpu_main(struct vcpu *v, const struct vmx_start *start);

/*
 * Runs the instruction at rip in software, because it touched what is no RAM (kernel/emulation.c).
 * Ends with the instruction done, or an exception queued; an instruction that cannot be run is
 * #UD for a user's program, and for the guest's kernel ends the VM with bytes and address in the
 * log. port_size: of the port access that made the guest exit, 0 for memory. ERR_NOMEM: nothing is
 * queued, run the guest again when there is memory; not once a device has answered, which is
 * waited for in here.
 */
int vcpu_emulate(struct vcpu *v, u32 port_size);

/*
 * The same after a write of the instruction's that the CPU refused, in that state: the guest's tables
 * were asked, with the rights of the instruction itself, when the CPU had just asked them. That write
 * is where they said then, as a CPU looks an address up once; so is what the instruction reads there to
 * modify it, and what INS looks at before it reads its port. Of any other access, and of each after the
 * first write, they are asked now.
 */
int vcpu_emulate_write(struct vcpu *v, const struct vmx_table_write *w);

/*
 * Runs what the CPU cannot: the instruction at rip, or the delivery of a vector in real mode, as
 * vmx_must_emulate says. As vcpu_emulate, but an instruction that cannot be run ends the VM; and
 * VCPU_HALTED: it was HLT, and is done.
 */
#define VCPU_HALTED 1
int vcpu_emulate_state(struct vcpu *v);

/*
 * MSRs that are the platform's or Weir's. 0; ERR_FAULT: #GP; ERR_NOMEM: again when there is memory.
 * Own thread.
 */
int vcpu_read_msr(struct vcpu *v, u32 index, u64 *value);
int vcpu_write_msr(struct vcpu *v, u32 index, u64 value);

/* The guest's TSC has another offset: what was reckoned by the old one is reckoned again. */
void vcpu_tsc_moved(struct vcpu *v);

/* There was no frame: sleeps a while, and says so once for each VM. Own thread. */
void vcpu_wait_for_memory(struct vcpu *v);

/*
 * Tells the VM's manager that the guest runs no more, and waits until nothing but this thread
 * knows the vCPU (devices, timers and console are gone). In kernel/vm_life.c.
 */
void vm_vcpu_stopped(struct vcpu *v);

/* Own thread, between two instructions of the guest: parks while the VM is paused, and dumps. */
void vcpu_attend(struct vcpu *v);

/* INIT and start-up IPIs (kernel/start_up.c). Own thread, between two instructions of the guest. */
void vcpu_start_up(struct vcpu *v);

/*
 * Ends the VM as crashed, because of this vCPU, if it has not ended. Own thread, thread context. True: the
 * log is to say why. The other vCPUs of a VM that ends may meet anything, and one that starts again
 * and crashes again fills no log.
 */
bool vcpu_crash(struct vcpu *v);

/*
 * Something is to be done before the guest goes on: a request, or an interrupt that it would take.
 * Own thread.
 */
bool vcpu_is_wanted(struct vcpu *v);

/*
 * What of the exits is answered at once (kernel/quick.c): see struct vmx_config. Exit context, on
 * the vCPU's thread.
 */
int vcpu_quick(void *owner, struct vmx_exit *e);
int vcpu_quick_io(void *owner, struct vmx_exit *e);
int vcpu_quick_mmio(void *owner, struct vmx_exit *e);

/*
 * Steal time (kernel/steal_time.c). out and in: the thread's switches, interrupts off; clean: between
 * two instructions of the guest. After `in`, which may flush the guest's TLB, the CPU has its state.
 * tell: before an entry, own thread. wrmsr: as paravirt_wrmsr.
 */
void steal_time_out(struct vcpu *v, const struct thread *t, bool clean);
void steal_time_in(struct vcpu *v);
void steal_time_tell(struct vcpu *v);
int steal_time_wrmsr(struct vcpu *v, u64 value);
void steal_time_forget(struct vcpu *v);

/* KVM's EOI (kernel/pv_eoi.c): likewise. */
int pv_eoi_wrmsr(struct vcpu *v, u64 value);
void pv_eoi_forget(struct vcpu *v);

/* The other, of the same VM, goes first where it waits for a CPU. Own thread, between instructions. */
void vcpu_yield_to(struct vcpu *v, struct vcpu *other);

/* Paravirtual clock and CPUID leaves (kernel/paravirt.c). */
void paravirt_init(void);
bool paravirt_owns_msr(u32 index);
int paravirt_rdmsr(struct vcpu *v, u32 index, u64 *value); /* 0, or ERR_FAULT: #GP */
/* 0; ERR_FAULT: #GP; ERR_NOMEM: run the guest again when there is memory. */
int paravirt_wrmsr(struct vcpu *v, u32 index, u64 value);
/*
 * INIT, and the vCPU's end: what the guest had asked for is no more, as with KVM. Whoever starts the
 * vCPU next may have other uses for that memory. Own thread, while it has a local APIC.
 */
void paravirt_forget(struct vcpu *v);
/* The guest moved this vCPU's TSC: its clock page is to follow. 0, ERR_FAULT, ERR_NOMEM. */
int paravirt_tsc_moved(struct vcpu *v);
/*
 * The VM was paused: the guest's clock page says so, and Linux does not take the time for one in which a
 * program of its own kept the CPU (PVCLOCK_GUEST_STOPPED). 0, ERR_FAULT, ERR_NOMEM. Own thread, before
 * the guest goes on.
 */
int paravirt_was_paused(struct vcpu *v);

#endif
