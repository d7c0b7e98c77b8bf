/* SPDX-License-Identifier: MIT */
/*
 * Executes one decoded instruction as a sequence of steps. It calls nobody: each step tells the
 * caller what to read or write, the caller does so and comes back. So the caller may sleep, take
 * locks, translate addresses and inject faults between steps as it sees fit.
 *
 *	emulate_start(&e, &insn, regs, cpu);
 *	for (;;)
 *		switch (emulate_next(&e)) {
 *		case EMULATE_READ:  e.value = the e.size bytes at linear address e.gva
 *		case EMULATE_WRITE: those bytes = e.value
 *		...
 *
 * Until EMULATE_DONE the guest's registers are as they were, so that the caller may abandon the
 * instruction after any step (a page fault to inject, memory that vanished) and run it again from
 * the start; only writes and port accesses that it already carried out have happened.
 *
 * A string instruction with a REP prefix does one iteration and leaves RIP where it is while
 * more are to come: each run is bounded, and interrupts come in between as they do on a CPU.
 *
 * Not checked, because the caller knows better or hardware has done it: the privilege to use a
 * port, alignment (CR0.AM), RIP against the code segment's limit. RFLAGS.TF and the interrupt
 * shadow of STI and MOV SS are the caller's too.
 *
 * Pure: any context, no locks; a struct emulate belongs to one vCPU's thread.
 */
#ifndef MMU_EMULATE_H
#define MMU_EMULATE_H

#include "kernel/base/types.h"
#include "mmu/decode.h"
#include "mmu/regs.h"

enum emulate_step {
	EMULATE_READ,	  /* set e->value to the e->size bytes at e->gva */
	EMULATE_WRITE,	  /* write the e->size low bytes of e->value to e->gva */
	EMULATE_IN,	  /* set e->value to what port e->port gives; INS: e->gva gets it next */
	EMULATE_OUT,	  /* write the e->size low bytes of e->value to port e->port */
	EMULATE_DONE,	  /* registers, RIP and RFLAGS are updated */
	EMULATE_FAULT,	  /* inject e->vector, where it has an error code with 0 */
	EMULATE_UNHANDLED /* not an instruction that this module executes */
};

#define EMULATE_VECTOR_SS 12
#define EMULATE_VECTOR_GP 13

/* As the VMCS holds it: the limit in bytes, access rights as in SDM 3C table 25-2. */
struct emulate_segment {
	u64 base;
	u32 limit;
	u32 access;
};

/* What of the vCPU's state decides how an address is made. */
struct emulate_cpu {
	struct emulate_segment segment[SEGMENT_COUNT]; /* by enum insn_segment */
	bool protected_mode;			       /* CR0.PE set and RFLAGS.VM clear */
	u8 linear_bits;				       /* 48, or 57 with CR4.LA57 */
};

struct emulate {
	/* The request, for the caller; of these it changes `value` and nothing else. */
	u64 gva;      /* linear; outside 64-bit mode bytes beyond 4 GiB wrap to 0 */
	u64 value;    /* only the low `size` bytes count */
	u64 expected; /* EMULATE_WRITE with `atomic`: what EMULATE_READ gave */
	u16 port;
	u8 size;   /* bytes: 1, 2, 4, 8 */
	u8 vector; /* EMULATE_FAULT */
	/*
	 * On EMULATE_READ: a write to the same place follows, so it must be allowed to.
	 */
	bool for_write;
	/*
	 * The read and the write must be one (LOCK, or XCHG). In memory that others reach, write
	 * by compare-and-exchange from `expected`, and if that fails start again.
	 */
	bool atomic;

	/* The module's own. */
	const struct insn *insn;
	struct guest_regs *regs;
	const struct emulate_cpu *cpu;
	struct guest_regs next; /* what *regs becomes */
	u64 first;		/* the value read in an earlier step */
	u8 phase;
};

/* Prepare to run *insn; all three pointers must stay good until the last emulate_next(). */
void emulate_start(struct emulate *e, const struct insn *insn, struct guest_regs *regs,
		   const struct emulate_cpu *cpu);

/*
 * Go on to the next step. At most four calls come before one of EMULATE_DONE, EMULATE_FAULT and
 * EMULATE_UNHANDLED; after one of those start anew.
 */
enum emulate_step emulate_next(struct emulate *e) __must_check;

#endif
