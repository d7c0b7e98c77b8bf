/* SPDX-License-Identifier: MIT */
/*
 * What the files of kernel/emulation share and nobody else uses: one instruction of a guest on its
 * way through the emulator. Own thread of the vCPU; no MMU lock is held.
 */
#ifndef KERNEL_EMULATION_PRIVATE_H
#define KERNEL_EMULATION_PRIVATE_H

#include "kernel/vcpu.h"

#include "mmu/emulate.h"

/* What one emulation looks at; the paging state is a snapshot. */
struct emulation {
	struct vcpu *v;
	struct guest_paging paging;
	struct emulate_cpu cpu;
	struct insn insn;
	struct emulate e;
	u8 bytes[INSN_MAX_LENGTH];
	u32 fetched;
	u64 linear_rip;
	/* Of vcpu_emulate_write, until the first write is done; else NULL. */
	const struct vmx_table_write *translated;
	bool committed; /* what cannot be done twice is done: the instruction goes on */
	bool device;	/* one was asked, by memory or a port */
	bool by_state;	/* the CPU cannot run it; not the access is why it is run here */
	bool event;	/* it is the delivery of an interrupt or exception */
	bool single_step;
	u64 rip;
	bool repeats; /* a string instruction did an iteration, and another is to come */
};

/* emulation.c */

/* With the instruction and a gpa or gva in the log. */
void emulation_end_vm(struct emulation *em, const char *why, u64 gpa);
/* It is none that the emulator knows: the VM ends, or a user's program gets #UD. */
void emulation_unhandled(struct emulation *em);
void emulation_page_fault(struct emulation *em, u64 gva, u32 code);
enum decode_mode emulation_mode(const struct emulation *em);
/*
 * Reading or translating a linear address failed with err, which it returns: a fault is queued, or
 * the VM ends. Of ERR_NOMEM and ERR_AGAIN the guest knows nothing: no memory was to be had, or its
 * tables change too fast. The instruction runs again.
 */
int emulation_access_failed(struct emulation *em, int err, u64 gva, u32 code, const char *why);

/*
 * emulation_access.c, emulation_machine.c: do one step. 0; ERR_NOMEM or ERR_AGAIN: nothing is queued,
 * the instruction runs again; another: a fault is queued, or the VM ends.
 */
int emulation_read(struct emulation *em);
int emulation_write(struct emulation *em);
/* Faults as a read of a byte would, and asks no device. */
int emulation_touch(struct emulation *em);
int emulation_in(struct emulation *em);
int emulation_out(struct emulation *em);
int emulation_ask(struct emulation *em, enum emulate_step step);

#endif
