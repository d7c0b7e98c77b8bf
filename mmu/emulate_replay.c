/* SPDX-License-Identifier: MIT */
/*
 * Instructions that are run from their beginning again after each step: a handler is straight code
 * that reads and writes as it goes. What it asked for before is in the log and is passed over; the
 * first thing that is not ends the run with that step. So a handler must do the same each time.
 */
#include "mmu/emulate_internal.h"

#define WIDE 16 /* bytes */

/* What ends a run, for the run's end to find, in e->phase: 0 is before the first run. */
static bool end_run(struct emulate *e, enum emulate_step step)
{
	e->phase = (u8)step + 1;
	return false;
}

bool replay_fault(struct emulate *e, u8 vector, u32 error_code)
{
	e->vector = vector;
	e->error_code = (u16)error_code;
	return end_run(e, EMULATE_FAULT);
}

bool replay_unhandled(struct emulate *e)
{
	return end_run(e, EMULATE_UNHANDLED);
}

bool replay_need_cpl0(struct emulate *e)
{
	return e->cpu->cpl == 0 || replay_fault(e, EMULATE_VECTOR_GP, 0);
}

/* True: it was done before, and gave *value. */
static bool passed(struct emulate *e, u64 *value)
{
	if (e->replayed == e->logged)
		return false;
	*value = e->log[e->replayed++];
	return true;
}

bool replay_read(struct emulate *e, unsigned int segment, u64 offset, unsigned int size, u64 *value)
{
	enum emulate_step step;

	if (passed(e, value)) {
		*value &= size_mask(size);
		return true;
	}
	step = emulate_access(e, (enum insn_segment)segment, offset, size, EMULATE_READ);
	return end_run(e, step);
}

bool replay_write(struct emulate *e, unsigned int segment, u64 offset, unsigned int size, u64 value)
{
	u64 unused;

	if (passed(e, &unused))
		return true;
	e->value = value & size_mask(size);
	return end_run(e,
		       emulate_access(e, (enum insn_segment)segment, offset, size, EMULATE_WRITE));
}

bool replay_read_wide(struct emulate *e, unsigned int segment, u64 offset, u64 value[2])
{
	if (passed(e, &value[0]))
		return passed(e, &value[1]);
	return end_run(e,
		       emulate_access(e, (enum insn_segment)segment, offset, WIDE, EMULATE_READ));
}

bool replay_write_wide(struct emulate *e, unsigned int segment, u64 offset, const u64 value[2])
{
	u64 unused;

	if (passed(e, &unused))
		return true;
	e->value = value[0];
	e->high = value[1];
	return end_run(e,
		       emulate_access(e, (enum insn_segment)segment, offset, WIDE, EMULATE_WRITE));
}

bool replay_read_xmm(struct emulate *e, u32 n, u64 value[2])
{
	if (passed(e, &value[0]))
		return passed(e, &value[1]);
	e->index = n;
	return end_run(e, EMULATE_READ_XMM);
}

bool replay_write_xmm(struct emulate *e, u32 n, const u64 value[2])
{
	u64 unused;

	if (passed(e, &unused))
		return true;
	e->index = n;
	e->value = value[0];
	e->high = value[1];
	return end_run(e, EMULATE_WRITE_XMM);
}

bool replay_probe(struct emulate *e, unsigned int segment, u64 offset, unsigned int size)
{
	u64 unused;
	bool done;

	e->for_write = true;
	done = replay_read(e, segment, offset, size, &unused);
	if (done)
		e->for_write = false;
	return done;
}

bool replay_touch(struct emulate *e, unsigned int segment, u64 offset)
{
	u64 unused;

	if (passed(e, &unused))
		return true;
	return end_run(e, emulate_access(e, (enum insn_segment)segment, offset, 1, EMULATE_TOUCH));
}

static bool access_table(struct emulate *e, u64 linear, unsigned int size, enum emulate_step step)
{
	e->gva = e->cpu->long_mode ? linear : (u32)linear;
	e->size = (u8)size;
	e->implicit = true;
	return end_run(e, step);
}

bool replay_read_table(struct emulate *e, u64 linear, unsigned int size, u64 *value)
{
	if (!passed(e, value))
		return access_table(e, linear, size, EMULATE_READ);
	*value &= size_mask(size);
	return true;
}

bool replay_exchange_table(struct emulate *e, u64 linear, unsigned int size, u64 expected,
			   u64 value)
{
	u64 unused;

	if (passed(e, &unused))
		return true;
	e->atomic = true;
	e->expected = expected;
	e->value = value;
	return access_table(e, linear, size, EMULATE_WRITE);
}

bool replay_ask(struct emulate *e, enum emulate_step step, u32 index, u64 *value)
{
	u64 given;

	if (passed(e, &given)) {
		*value = given;
		return true;
	}
	e->index = index;
	e->value = *value;
	return end_run(e, step);
}

bool replay_random(struct emulate *e, enum emulate_feature source, u64 value[2])
{
	if (passed(e, &value[0]))
		return passed(e, &value[1]);
	e->index = source;
	return end_run(e, EMULATE_RANDOM);
}

bool replay_need_feature(struct emulate *e, enum emulate_feature feature)
{
	u64 has = 0;

	return replay_ask(e, EMULATE_FEATURE, feature, &has) &&
	       (has || replay_fault(e, EMULATE_VECTOR_UD, 0));
}

/* --- operands --- */

bool replay_get(struct emulate *e, struct insn_operand operand, unsigned int size, u64 *value)
{
	switch ((enum insn_operand_kind)operand.kind) {
	case OPERAND_REG:
	case OPERAND_REG_HIGH:
		*value = emulate_get_reg(e, operand, size);
		return true;
	case OPERAND_MEM:
		return replay_read(e, e->insn->mem.segment, emulate_offset(e), size, value);
	case OPERAND_IMM:
		*value = e->insn->imm & size_mask(size);
		return true;
	case OPERAND_XMM:
	case OPERAND_NONE:
		break;
	}
	*value = 0;
	return true;
}

bool replay_get_to_change(struct emulate *e, struct insn_operand operand, unsigned int size,
			  u64 *value)
{
	bool done;

	e->for_write = operand.kind == OPERAND_MEM;
	done = replay_get(e, operand, size, value);
	if (done)
		e->for_write = false;
	return done;
}

bool replay_set(struct emulate *e, struct insn_operand operand, unsigned int size, u64 value)
{
	if (operand.kind == OPERAND_MEM)
		return replay_write(e, e->insn->mem.segment, emulate_offset(e), size, value);
	emulate_set_reg(e, operand, size, value);
	return true;
}

/* --- the stack --- */

static const struct insn_operand reg_rsp = {OPERAND_REG, RSP};

bool replay_push(struct emulate *e, unsigned int size, u64 value)
{
	unsigned int width = emulate_stack_size(e);
	u64 rsp = (emulate_get_reg(e, reg_rsp, width) - size) & size_mask(width);

	if (!replay_write(e, SEGMENT_SS, rsp, size, value))
		return false;
	emulate_set_reg(e, reg_rsp, width, rsp);
	return true;
}

bool replay_pop(struct emulate *e, unsigned int size, u64 *value)
{
	unsigned int width = emulate_stack_size(e);
	u64 rsp = emulate_get_reg(e, reg_rsp, width);

	if (!replay_read(e, SEGMENT_SS, rsp, size, value))
		return false;
	emulate_set_reg(e, reg_rsp, width, rsp + size);
	return true;
}

/* --- the run --- */

static bool run(struct emulate *e)
{
	unsigned int kind = e->insn->kind;

	if (kind == INSN_CMPXCHG8B)
		return replay_exchange_16(e);
	if (kind >= INSN_MOV_XMM)
		return replay_vector(e);
	if (kind <= INSN_SHRD)
		return replay_shift(e);
	if (kind <= INSN_IMUL)
		return replay_multiply(e);
	if (kind <= INSN_BOUND)
		return replay_bits(e);
	if (kind <= INSN_AAD)
		return replay_decimal(e);
	if (kind <= INSN_NOP)
		return replay_flags(e);
	if (kind <= INSN_JCXZ)
		return replay_branch(e);
	if (kind <= INSN_IRET)
		return replay_far(e);
	if (kind <= INSN_LEAVE)
		return replay_frame(e);
	if (kind <= INSN_LOAD_FAR)
		return replay_segment(e);
	if (kind <= INSN_ARPL)
		return replay_verify(e);
	return replay_system(e);
}

/* Did the last step give two values? */
static bool gave_two(const struct emulate *e)
{
	enum emulate_step step = (enum emulate_step)(e->phase - 1);

	return step == EMULATE_READ_XMM || step == EMULATE_RANDOM ||
	       (step == EMULATE_READ && e->size == WIDE);
}

enum emulate_step emulate_next_replay(struct emulate *e)
{
	/* The step that was asked for has been done. */
	if (e->phase)
		e->log[e->logged++] = e->value;
	if (e->phase && gave_two(e))
		e->log[e->logged++] = e->high;
	e->next = *e->regs;
	e->next.rip = emulate_next_rip(e);
	e->next.rflags &= ~RFLAGS_RF;
	e->sys = *e->cpu;
	e->changed = 0;
	e->effects = 0;
	e->for_write = e->atomic = e->implicit = false;
	e->replayed = 0;
	if (!run(e))
		return (enum emulate_step)(e->phase - 1);
	return emulate_commit(e, false);
}
