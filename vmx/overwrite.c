/* SPDX-License-Identifier: MIT */
/*
 * A page that is packed or on the disk, and that the guest is about to overwrite whole by REP STOS, as
 * Linux's clear_page does: what it held is not brought back first. One page's stores are done here, with
 * all that they change, and between it and the next the guest takes interrupts as between any two
 * iterations (SDM 2B REP). What is unusual is left to the ordinary way, which brings the page back.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mem/reclaim.h"
#include "mmu/emulate.h"
#include "mmu/fetch.h"
#include "mmu/walk.h"
#include "vmx/controls.h"
#include "vmx/regs.h"

#define RFLAGS_VM   BIT(17)
#define DR7_ENABLES 0xffull
#define LINEAR_BITS 48

/* Nothing is to come of the instruction but its stores, and it is where it was when it began. */
static bool is_usual(struct vmx_vcpu *v, gpa_t gpa)
{
	return is_aligned(gpa.v, PAGE_SIZE) && !v->event.valid && !v->regs_here &&
	       !vcpu_in_real_mode(v) && !(vcpu_rflags(v) & (RFLAGS_TF | RFLAGS_VM)) &&
	       !(vmcs_read(GUEST_DR7) & DR7_ENABLES) && !vmcs_read(GUEST_PENDING_DEBUG) &&
	       !(vmcs_read(GUEST_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
}

/* Only where its bytes are to be had at once: false where they are not, or are no instruction. */
static bool fetch(struct vmx_vcpu *v, struct insn *insn)
{
	u64 words[FETCH_WORDS];
	struct fetch_code code;
	const u8 *bytes = NULL;

	if (vmx_get_code(v, &code))
		bytes = fetch_instruction(v->config.mmu_vcpu, &code, words);
	if (!bytes || decode_insn(insn, bytes, INSN_MAX_LENGTH, (enum decode_mode)code.mode))
		return false;
	/* Its bytes may be others by now than those that the CPU has checked. */
	return insn->mode == DECODE_64 ||
	       vmcs_read(GUEST_RIP) + insn->length - 1 <= vmcs_read(GUEST_CS_LIMIT);
}

static void read_cpu(struct vmx_vcpu *v, const struct guest_paging *paging, struct emulate_cpu *cpu)
{
	struct vmx_segment es;

	vmx_get_segment(v, SEG_ES, &es);
	cpu->segment[SEGMENT_ES] = (struct emulate_segment){es.base, es.limit, es.access,
							    es.selector};
	cpu->protected_mode = true;
	cpu->long_mode = paging->efer & EFER_LMA;
	cpu->linear_bits = LINEAR_BITS;
}

/* The guest's tables lead there, and allow it; they have A and D set now. */
static bool leads_there(struct vmx_vcpu *v, const struct guest_paging *paging, u64 gva, gpa_t gpa)
{
	struct walk_result w;

	return guest_walk(v->config.mmu, paging, GVA(gva), MMU_WRITE, &w) == 0 && w.gpa.v == gpa.v;
}

bool vcpu_overwrite(struct vmx_vcpu *v, gpa_t gpa)
{
	u64 gva = vmcs_read(EXIT_GUEST_LINEAR), word;
	struct guest_paging paging;
	struct emulate_cpu cpu;
	struct emulate e;
	struct insn insn;

	if (!is_usual(v, gpa) || !fetch(v, &insn) || insn.kind != INSN_STOS)
		return false;
	vmx_get_paging(v, &paging);
	read_cpu(v, &paging, &cpu);
	emulate_start(&e, &insn, vcpu_regs(v), &cpu);
	if (!emulate_fills_page(&e, gva, &word) || !leads_there(v, &paging, gva, gpa) ||
	    gpa_fill_stored(v->config.mmu, gpa, word))
		return false;
	emulate_page_filled(&e);
	reclaim_count_overwritten();
	return true;
}
