/* SPDX-License-Identifier: MIT */
/*
 * Segment registers: loads by paragraph in real and virtual-8086 mode, from descriptors in
 * protected mode (SDM 3A 5.6-5.8; the faults are those of MOV, SDM 2B, and of JMP, SDM 2A).
 */
#include "mmu/emulate_internal.h"

#define RPL(selector) ((selector)&3u)
#define PARAGRAPH     4
#define VM86_LIMIT    0xffffu
#define VM86_ACCESS   0xf3u
#define REAL_ACCESS   0x93u
#define TYPE_MASK     0xfu
#define TYPE_LDT      2u
#define TYPE_TSS      9u /* available */
#define TYPE_TSS_16   1u
#define TYPE_BUSY     2u

#define TYPE_CALL_GATE_16 4u
#define TYPE_TASK_GATE	  5u
#define TYPE_CALL_GATE	  12u

/* The error code that names a selector: EXT and IDT clear. */
static bool fault_at(struct emulate *e, u8 vector, u16 selector)
{
	return replay_fault(e, vector, selector & ~3u);
}

static void set_segment(struct emulate *e, unsigned int segment, struct emulate_segment s)
{
	e->sys.segment[segment] = s;
	e->changed |= (u16)BIT(segment);
}

/* Limit and rights stay in real mode, whatever a visit to protected mode left there. */
static bool load_paragraph(struct emulate *e, unsigned int segment, u16 selector)
{
	struct emulate_segment s = e->sys.segment[segment];

	s.selector = selector;
	s.base = (u64)selector << PARAGRAPH;
	/* A null selector of protected mode left nothing. */
	if (s.access & ACCESS_UNUSABLE) {
		s.limit = VM86_LIMIT;
		s.access = REAL_ACCESS;
	}
	if (e->cpu->vm86) {
		s.limit = VM86_LIMIT;
		s.access = VM86_ACCESS;
	}
	set_segment(e, segment, s);
	return true;
}

/* --- descriptors --- */

static bool is_null(u16 selector)
{
	return !(selector & ~3u);
}

static bool load_null(struct emulate *e, unsigned int segment, u16 selector)
{
	struct emulate_segment s = {.selector = selector, .access = (u32)ACCESS_UNUSABLE};

	if (segment == SEGMENT_SS) {
		if (e->insn->mode != DECODE_64 || e->cpu->cpl == 3 || RPL(selector) != e->cpu->cpl)
			return replay_fault(e, EMULATE_VECTOR_GP, 0);
		s.access |= e->cpu->cpl << 5;
	}
	set_segment(e, segment, s);
	return true;
}

static bool check_stack(struct emulate *e, u32 access, u16 selector)
{
	if (RPL(selector) != e->cpu->cpl || !(access & ACCESS_S) || (access & ACCESS_CODE) ||
	    !(access & ACCESS_WRITABLE) || ACCESS_DPL(access) != e->cpu->cpl)
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	return access & ACCESS_PRESENT || fault_at(e, EMULATE_VECTOR_SS, selector);
}

static bool check_data(struct emulate *e, u32 access, u16 selector)
{
	bool code = access & ACCESS_CODE;

	if (!(access & ACCESS_S) || (code && !(access & ACCESS_READABLE)))
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (!(code && (access & ACCESS_CONFORMING)) &&
	    (RPL(selector) > ACCESS_DPL(access) || e->cpu->cpl > ACCESS_DPL(access)))
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	return access & ACCESS_PRESENT || fault_at(e, EMULATE_VECTOR_NP, selector);
}

bool replay_load_segment(struct emulate *e, unsigned int segment, u16 selector)
{
	struct descriptor d;
	bool fits;

	if (!e->cpu->protected_mode)
		return load_paragraph(e, segment, selector);
	if (is_null(selector))
		return load_null(e, segment, selector);
	if (!replay_read_descriptor(e, selector, &d))
		return false;
	fits = segment == SEGMENT_SS ? check_stack(e, d.segment.access, selector)
				     : check_data(e, d.segment.access, selector);
	if (!fits || !replay_mark_descriptor(e, &d, ACCESS_ACCESSED))
		return false;
	set_segment(e, segment, d.segment);
	return true;
}

/* --- code --- */

/* Which types of system descriptor JMP and CALL go by (SDM 3A table 3-2): gates and tasks. */
static bool is_way(const struct emulate *e, u32 type, u16 selector)
{
	if (e->cpu->long_mode)
		return type == TYPE_CALL_GATE;
	if (type == TYPE_TSS || type == TYPE_TSS_16)
		return !(selector & SELECTOR_TI);
	return type == TYPE_CALL_GATE || type == TYPE_CALL_GATE_16 || type == TYPE_TASK_GATE;
}

/* Those are not done; of a descriptor that leads nowhere the fault is (SDM 2A JMP, CALL, RET, IRET). */
static bool go_by_system(struct emulate *e, u32 access, u16 selector)
{
	u32 dpl = ACCESS_DPL(access), kind = e->insn->kind;

	if ((kind != INSN_JMP_FAR && kind != INSN_CALL_FAR) ||
	    !is_way(e, access & TYPE_MASK, selector) || dpl < e->cpu->cpl || dpl < RPL(selector))
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (!(access & ACCESS_PRESENT))
		return fault_at(e, EMULATE_VECTOR_NP, selector);
	return replay_unhandled(e);
}

static bool check_code(struct emulate *e, u32 access, u16 selector)
{
	u32 dpl = ACCESS_DPL(access);

	if (!(access & ACCESS_S))
		return go_by_system(e, access, selector);
	if (!(access & ACCESS_CODE))
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (access & ACCESS_CONFORMING ? dpl > e->cpu->cpl
				       : RPL(selector) > e->cpu->cpl || dpl != e->cpu->cpl)
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (e->cpu->long_mode && (access & ACCESS_LONG) && (access & ACCESS_BIG))
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	return access & ACCESS_PRESENT || fault_at(e, EMULATE_VECTOR_NP, selector);
}

/* CS as it was checked, its RPL the CPL, and RIP there. */
static bool enter_code(struct emulate *e, struct descriptor *d, u16 selector, u64 target)
{
	if (!replay_mark_descriptor(e, d, ACCESS_ACCESSED))
		return false;
	d->segment.selector = (u16)((selector & ~3u) | e->cpu->cpl);
	set_segment(e, SEGMENT_CS, d->segment);
	e->next.rip = target;
	return true;
}

bool replay_go_far(struct emulate *e, u16 selector, u64 target)
{
	struct descriptor d;
	bool fits;

	if (!e->cpu->protected_mode) {
		if (target > e->sys.segment[SEGMENT_CS].limit)
			return replay_fault(e, EMULATE_VECTOR_GP, 0);
		e->next.rip = target;
		return load_paragraph(e, SEGMENT_CS, selector);
	}
	if (is_null(selector))
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	if (!replay_read_descriptor(e, selector, &d) || !check_code(e, d.segment.access, selector))
		return false;
	fits = e->cpu->long_mode && (d.segment.access & ACCESS_LONG) ? emulate_canonical(e, target)
								     : target <= d.segment.limit;
	if (!fits)
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	return enter_code(e, &d, selector, target);
}

/* A return to an outer level, whose stack is another, is not done: but its faults come first. */
bool replay_go_out(struct emulate *e, u16 selector)
{
	struct descriptor d;
	u32 access, dpl;

	if (is_null(selector))
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	if (!replay_read_descriptor(e, selector, &d))
		return false;
	access = d.segment.access;
	dpl = ACCESS_DPL(access);
	if (!(access & ACCESS_S) || !(access & ACCESS_CODE) ||
	    (access & ACCESS_CONFORMING ? dpl > RPL(selector) : dpl != RPL(selector)))
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (!(access & ACCESS_PRESENT))
		return fault_at(e, EMULATE_VECTOR_NP, selector);
	return replay_unhandled(e);
}

/* SDM 2A, INT n, from "trap-or-interrupt-gate" on; the gate's RPL says nothing. */
static bool check_handler(struct emulate *e, u32 access, u16 selector)
{
	u32 dpl = ACCESS_DPL(access);

	if (!(access & ACCESS_S) || !(access & ACCESS_CODE) || dpl > e->cpu->cpl)
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (!(access & ACCESS_PRESENT))
		return fault_at(e, EMULATE_VECTOR_NP, selector);
	/* An inner level has a stack of its own. */
	return access & ACCESS_CONFORMING || dpl == e->cpu->cpl || replay_unhandled(e);
}

bool replay_go_to_handler(struct emulate *e, u16 selector, u64 target, u32 external)
{
	struct descriptor d;

	if (is_null(selector))
		return replay_fault(e, EMULATE_VECTOR_GP, external);
	if (!replay_read_descriptor(e, selector, &d) ||
	    !check_handler(e, d.segment.access, selector)) {
		e->error_code |= external; /* of the fault, if it is one */
		return false;
	}
	if (target > d.segment.limit)
		return replay_fault(e, EMULATE_VECTOR_GP, external);
	return enter_code(e, &d, selector, target);
}

/* --- LLDT and LTR --- */

static bool load_ldt(struct emulate *e, u16 selector)
{
	struct descriptor d;

	if (is_null(selector)) {
		set_segment(e, EMULATE_LDTR,
			    (struct emulate_segment){.selector = selector,
						     .access = (u32)ACCESS_UNUSABLE});
		return true;
	}
	if (selector & SELECTOR_TI)
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (!replay_read_descriptor(e, selector, &d))
		return false;
	if ((d.segment.access & (ACCESS_S | TYPE_MASK)) != TYPE_LDT)
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (!(d.segment.access & ACCESS_PRESENT))
		return fault_at(e, EMULATE_VECTOR_NP, selector);
	set_segment(e, EMULATE_LDTR, d.segment);
	return true;
}

static bool load_task(struct emulate *e, u16 selector)
{
	struct descriptor d;
	u32 type;

	if (is_null(selector) || (selector & SELECTOR_TI))
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (!replay_read_descriptor(e, selector, &d))
		return false;
	type = d.segment.access & (ACCESS_S | TYPE_MASK);
	if (type != TYPE_TSS && type != TYPE_TSS_16)
		return fault_at(e, EMULATE_VECTOR_GP, selector);
	if (!(d.segment.access & ACCESS_PRESENT))
		return fault_at(e, EMULATE_VECTOR_NP, selector);
	if (!replay_mark_descriptor(e, &d, TYPE_BUSY))
		return false;
	set_segment(e, EMULATE_TR, d.segment);
	return true;
}

bool replay_load_table_segment(struct emulate *e)
{
	u64 selector;

	/* In IA-32e mode descriptors of the two have 16 bytes; nothing there comes here. */
	if (e->cpu->long_mode)
		return replay_unhandled(e);
	if (!replay_get(e, e->insn->src, 2, &selector))
		return false;
	if (e->insn->kind == INSN_LLDT)
		return load_ldt(e, (u16)selector);
	return load_task(e, (u16)selector);
}

/* --- instructions --- */

static bool pop_segment(struct emulate *e)
{
	const struct insn *insn = e->insn;
	unsigned int width = emulate_stack_size(e);
	static const struct insn_operand reg_rsp = {OPERAND_REG, RSP};
	u64 selector, rsp = emulate_get_reg(e, reg_rsp, width);

	if (!replay_read(e, SEGMENT_SS, rsp, 2, &selector) ||
	    !replay_load_segment(e, insn->reg, (u16)selector))
		return false;
	emulate_set_reg(e, reg_rsp, width, rsp + insn->op_size);
	return true;
}

/*
 * A slot of 64 bits gets the selector and zeros, of one of 32 CPUs of Intel's write the lower two
 * bytes alone (SDM 2B, PUSH).
 */
static bool push_segment(struct emulate *e)
{
	const struct insn *insn = e->insn;
	static const struct insn_operand reg_rsp = {OPERAND_REG, RSP};
	unsigned int width = emulate_stack_size(e);
	unsigned int written = insn->op_size == 8 ? 8 : 2;
	u64 rsp = (emulate_get_reg(e, reg_rsp, width) - insn->op_size) & size_mask(width);

	if (!replay_write(e, SEGMENT_SS, rsp, written, e->cpu->segment[insn->reg].selector))
		return false;
	emulate_set_reg(e, reg_rsp, width, rsp);
	return true;
}

static bool load_far(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 at = emulate_offset(e), offset, selector, mask = size_mask(insn->addr_size);

	if (!replay_read(e, insn->mem.segment, at, insn->op_size, &offset) ||
	    !replay_read(e, insn->mem.segment, (at + insn->op_size) & mask, 2, &selector) ||
	    !replay_load_segment(e, insn->reg, (u16)selector))
		return false;
	emulate_set_reg(e, insn->dst, insn->op_size, offset);
	return true;
}

static bool load(struct emulate *e)
{
	u64 selector;

	return replay_get(e, e->insn->src, 2, &selector) &&
	       replay_load_segment(e, e->insn->reg, (u16)selector);
}

bool replay_segment(struct emulate *e)
{
	const struct insn *insn = e->insn;

	if (insn->kind != INSN_PUSH_SEG && insn->kind != INSN_STORE_SEG &&
	    insn->kind != INSN_LOAD_FAR && insn->reg == SEGMENT_SS)
		e->effects |= EMULATE_SS_SHADOW;
	switch (insn->kind) {
	case INSN_PUSH_SEG:
		return push_segment(e);
	case INSN_POP_SEG:
		return pop_segment(e);
	case INSN_STORE_SEG:
		return replay_set(e, insn->dst, insn->op_size, e->cpu->segment[insn->reg].selector);
	case INSN_LOAD_SEG:
		return load(e);
	default: /* INSN_LOAD_FAR */
		return load_far(e);
	}
}
