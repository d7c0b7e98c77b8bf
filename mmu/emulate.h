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
 * What touches memory more than twice, and what changes more than the integer registers, is run from
 * its beginning again after each step, over what the steps before it gave (emulate_replay.c).
 *
 * Not checked, because the caller knows better or hardware has done it: the privilege to use a
 * port, alignment (CR0.AM), where the instruction itself lies in its code segment. RFLAGS.TF is the
 * caller's too. Not done (EMULATE_UNHANDLED): task switches, call gates, far transfers and interrupts
 * to another privilege level, and any interrupt in IA-32e mode.
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
	EMULATE_TOUCH,	  /* inject what reading the byte at e->gva would raise; it is not read */
	EMULATE_IN,	  /* set e->value to what port e->port gives; INS: e->gva gets it next */
	EMULATE_OUT,	  /* write the e->size low bytes of e->value to port e->port */
	EMULATE_READ_CR,  /* set e->value to control register e->index, as the guest sees it */
	EMULATE_WRITE_CR, /* set it to e->value, or inject what that raises */
	EMULATE_READ_DR,
	EMULATE_WRITE_DR,
	EMULATE_RDMSR, /* set e->value to MSR e->index, or inject what that raises */
	EMULATE_WRMSR,
	EMULATE_XSETBV,	  /* set extended control register e->index, or inject what that raises */
	EMULATE_XGETBV,	  /* set e->value to it, or inject what that raises */
	EMULATE_FEATURE,  /* set e->value to whether the guest's CPUID shows enum emulate_feature */
	EMULATE_RANDOM,	  /* set e->value to a number of FEATURE_RDRAND or _RDSEED, e->high to 1 or,
			   * where there was none, to 0 */
	EMULATE_CPUID,	  /* set e->cpuid to what leaf e->index, subleaf e->value has: EAX to EDX */
	EMULATE_RDTSC,	  /* set e->value to the guest's TSC */
	EMULATE_RDTSCP,	  /* likewise, and e->index to IA32_TSC_AUX, or inject what that raises */
	EMULATE_INVLPG,	  /* drop translations of e->gva */
	EMULATE_INVPCID,  /* drop all, or inject what that raises */
	EMULATE_READ_XMM, /* set e->value and e->high to the halves of XMM register e->index */
	EMULATE_WRITE_XMM,
	EMULATE_READ_X87, /* set e->value to what e->index names of the x87 unit */
	EMULATE_WRITE_X87,
	EMULATE_DONE,	  /* registers, RIP and RFLAGS are updated; see `changed` and `effects` */
	EMULATE_FAULT,	  /* inject e->vector, where it has an error code with e->error_code */
	EMULATE_UNHANDLED /* not an instruction that this module executes */
};

/* e->index of EMULATE_FEATURE and EMULATE_RANDOM. */
enum emulate_feature {
	FEATURE_POPCNT,
	FEATURE_LZCNT,
	FEATURE_BMI1,
	FEATURE_CLFLUSH,
	FEATURE_SMAP,
	FEATURE_RDRAND,
	FEATURE_RDSEED,
	FEATURE_COUNT
};

#define EMULATE_VECTOR_DE 0
#define EMULATE_VECTOR_BR 5
#define EMULATE_VECTOR_UD 6
#define EMULATE_VECTOR_NM 7
#define EMULATE_VECTOR_NP 11
#define EMULATE_VECTOR_SS 12
#define EMULATE_VECTOR_GP 13

/* As the VMCS holds it: the limit in bytes, access rights as in SDM 3C table 25-2. */
struct emulate_segment {
	u64 base;
	u32 limit;
	u32 access;
	u16 selector;
};

struct emulate_table {
	u64 base;
	u32 limit;
};

/* After those of enum insn_segment. */
#define EMULATE_LDTR	 SEGMENT_COUNT
#define EMULATE_TR	 (SEGMENT_COUNT + 1)
#define EMULATE_SEGMENTS (SEGMENT_COUNT + 2)

/* What of the vCPU's state decides how an address is made and what an instruction may do. */
struct emulate_cpu {
	struct emulate_segment segment[EMULATE_SEGMENTS];
	bool protected_mode; /* CR0.PE set and RFLAGS.VM clear */
	u8 linear_bits;	     /* 48, or 57 with CR4.LA57 */
	bool vm86;	     /* CR0.PE and RFLAGS.VM set */
	bool long_mode;	     /* EFER.LMA */
	bool umip;	     /* CR4.UMIP */
	bool sse;	     /* CR4.OSFXSR set and CR0.EM clear */
	bool x87_absent;     /* CR0.EM */
	bool task_switched;  /* CR0.TS */
	u8 cpl;		     /* 3 in virtual-8086 mode, 0 in real mode */
	struct emulate_table gdt, idt;
};

/* What e->index names of the x87 unit. */
#define EMULATE_X87_INIT    0 /* written: as FNINIT does */
#define EMULATE_X87_STATUS  1
#define EMULATE_X87_CONTROL 2

/* Bits of `changed`: BIT(segment) for each of the eight, and */
#define EMULATE_CHANGED_GDT BIT(8)
#define EMULATE_CHANGED_IDT BIT(9)

/* Bits of `effects`. */
#define EMULATE_HALTED	     BIT(0)
#define EMULATE_STI_SHADOW   BIT(1)
#define EMULATE_SS_SHADOW    BIT(2)
#define EMULATE_RETURNED     BIT(3) /* IRET: NMIs are no longer blocked */
#define EMULATE_NO_STEP_TRAP BIT(4) /* it entered a handler: RFLAGS.TF from before is no trap */

/* Reads and writes of one instruction: ENTER with 31 levels has the most. */
#define EMULATE_LOG_MAX 66

struct emulate {
	/* The request, for the caller; of these it changes `value` and nothing else. */
	u64 gva;      /* linear; outside 64-bit mode bytes beyond 4 GiB wrap to 0 */
	u64 value;    /* only the low `size` bytes count */
	u64 high;     /* of 16 bytes the upper 8 */
	u64 expected; /* EMULATE_WRITE with `atomic`: what EMULATE_READ gave */
	u64 expected_high;
	u16 port;
	u8 size;	/* bytes: 1, 2, 4, 8, 16 */
	u8 vector;	/* EMULATE_FAULT */
	u16 error_code; /* likewise */
	u32 index;
	u32 cpuid[4];
	/* The access is the CPU's own, to a descriptor or vector table: CPL does not count. */
	bool implicit;
	/*
	 * On EMULATE_READ: a write to the same place follows, so it must be allowed to.
	 */
	bool for_write;
	/*
	 * The read and the write must be one (LOCK, or XCHG). In memory that others reach, write
	 * by compare-and-exchange from `expected`, and if that fails start again.
	 */
	bool atomic;
	/*
	 * On EMULATE_DONE: what is to be taken over from sys into the vCPU, and what else follows.
	 */
	u16 changed;
	u8 effects;

	/* The module's own. */
	const struct insn *insn;
	struct guest_regs *regs;
	const struct emulate_cpu *cpu;
	struct guest_regs next; /* what *regs becomes */
	u64 first;		/* the value read in an earlier step */
	u8 phase;
	u8 logged, replayed; /* steps done, and how many of them this run has passed */
	u64 log[EMULATE_LOG_MAX];

	struct emulate_cpu sys;
};

/*
 * Which segments of struct emulate_cpu the instruction looks at, BIT(segment) for each of the eight;
 * with EMULATE_USES_TABLES gdt and idt, too. The others need not be filled in; what is no segment and no
 * table always is. More may be said than is so.
 */
#define EMULATE_USES_TABLES BIT(EMULATE_SEGMENTS)
u32 emulate_uses(const struct insn *insn);

/* Prepare to run *insn; all three pointers must stay good until the last emulate_next(). */
void emulate_start(struct emulate *e, const struct insn *insn, struct guest_regs *regs,
		   const struct emulate_cpu *cpu);

/*
 * Go on to the next step. At most EMULATE_LOG_MAX calls come before one of EMULATE_DONE,
 * EMULATE_FAULT and EMULATE_UNHANDLED; after one of those start anew.
 */
enum emulate_step emulate_next(struct emulate *e) __must_check;

/*
 * After emulate_start, instead of emulate_next: is it REP STOS that is to store to all of the page at
 * linear address gva next, upwards, and may? *word is what its words of 8 bytes become. No register has
 * changed; emulate_page_filled makes them what they are after that page.
 */
bool emulate_fills_page(struct emulate *e, u64 gva, u64 *word);
void emulate_page_filled(struct emulate *e);

/* An interrupt or exception that is to be delivered. */
struct emulate_event {
	u8 vector;
	u8 length;     /* bytes from RIP to where its handler returns */
	bool software; /* INT n, INT3 or INTO raised it: the gate's DPL counts */
	bool has_error;
	u16 error_code;
};

/* Makes an instruction of its delivery, in the state that the vCPU is in (`mode` is that of CS). */
void emulate_make_event(struct insn *insn, const struct emulate_event *event,
			enum decode_mode mode);

/* Does the exception push an error code, outside real mode (SDM 3A table 6-1)? */
bool emulate_has_error_code(u8 vector);

#endif
