/* SPDX-License-Identifier: MIT */
/*
 * A look at guest memory in exit context: nothing sleeps, nothing becomes resident, no accessed bit
 * is set. For what the CPU itself has just read, the instruction that made the guest exit; what is
 * too hard here is done again in thread context by mmu/walk.h, which knows every case.
 */
#ifndef MMU_FETCH_H
#define MMU_FETCH_H

#include "mmu/decode.h"
#include "mmu/mmu.h"

/* Where a vCPU's next instruction is, and what translates its address. */
struct fetch_code {
	u64 linear;
	u64 cr3;
	u8 mode; /* enum decode_mode */
	bool paging;
	bool four_levels; /* IA-32e mode; else two levels of 32 bits, with PSE */
};

/* For an instruction of the longest kind, wherever in a word it begins. */
#define FETCH_WORDS 3
static_assert(FETCH_WORDS * sizeof(u64) >= sizeof(u64) - 1 + INSN_MAX_LENGTH + 1, "FETCH_WORDS");

/*
 * Copies the words of memory that hold the instruction, and returns its first byte: fifteen more
 * follow. Rights are not checked: the CPU has. NULL: too hard, as where the words go on in another
 * page. Any context, the vCPU's own thread, not inside a reader of the VM's SRCU.
 */
const u8 *fetch_instruction(struct mmu_vcpu *v, const struct fetch_code *code,
			    u64 words[FETCH_WORDS]);

/*
 * The aligned word of guest memory at gpa, as it was at some moment of the call. In a reader of the
 * VM's SRCU; any context, the vCPU's own thread. false: not resident, on its way out, or no RAM.
 */
bool fetch_word(struct mmu_vcpu *v, gpa_t gpa, u64 *word);

/*
 * Copies `size` bytes, FETCH_COPY_MAX at most and all in one page, by the words that they are in: each
 * as it was at some moment of the call. Any context, the vCPU's own thread, outside a reader of the
 * VM's SRCU or in one. false: not resident, on its way out, or no RAM; nothing is copied.
 */
#define FETCH_COPY_MAX 16
static_assert(FETCH_WORDS * sizeof(u64) >= sizeof(u64) - 1 + FETCH_COPY_MAX, "FETCH_COPY_MAX");
bool fetch_copy(struct mmu_vcpu *v, gpa_t gpa, void *to, u64 size);

#endif
