/* SPDX-License-Identifier: MIT */
/*
 * Shifts and rotates (SDM 2B RCL.., SAL.., SHLD, SHRD). Flags that the manual leaves undefined:
 * OF is what a count of 1 would give, AF is clear after shifts; a double shift of 16 bits by more
 * than 16 takes its destination's bits once more.
 */
#include "mmu/emulate_internal.h"

struct shift {
	u64 value, flags; /* in and out: flags are those of RFLAGS that it has to do with */
	unsigned int size, bits, count;
};

static void set_flag(struct shift *s, u64 flag, bool on)
{
	s->flags = on ? s->flags | flag : s->flags & ~flag;
}

static bool top(const struct shift *s, u64 value)
{
	return value >> (s->bits - 1) & 1;
}

static void rotate(struct shift *s, bool left)
{
	unsigned int count = s->count % s->bits;
	u64 v = s->value;

	if (count && !left)
		count = s->bits - count;
	if (count)
		v = (v << count | v >> (s->bits - count)) & size_mask(s->size);
	set_flag(s, RFLAGS_CF, left ? v & 1 : top(s, v));
	set_flag(s, RFLAGS_OF, left ? top(s, v) != (v & 1) : top(s, v) != top(s, v << 1));
	s->value = v;
}

/* CF is one bit more of the value. */
static void rotate_through_carry(struct shift *s, bool left)
{
	unsigned int count = s->count % (s->bits + 1);

	for (unsigned int i = 0; i < count; i++) {
		bool carry = s->flags & RFLAGS_CF, out = left ? top(s, s->value) : s->value & 1;

		if (left)
			s->value = (s->value << 1 | carry) & size_mask(s->size);
		else
			s->value = s->value >> 1 | (u64)carry << (s->bits - 1);
		set_flag(s, RFLAGS_CF, out);
	}
	if (left)
		set_flag(s, RFLAGS_OF, top(s, s->value) != !!(s->flags & RFLAGS_CF));
	else
		set_flag(s, RFLAGS_OF, top(s, s->value) != top(s, s->value << 1));
}

static void set_result(struct shift *s, u64 result, bool carry, bool overflow)
{
	s->value = result & size_mask(s->size);
	s->flags &= ~RFLAGS_STATUS;
	s->flags |= alu_result_flags(s->value, s->size);
	set_flag(s, RFLAGS_CF, carry);
	set_flag(s, RFLAGS_OF, overflow);
}

static void shift_left(struct shift *s)
{
	u64 result = s->value << s->count;
	bool carry = s->count <= s->bits && (s->value >> (s->bits - s->count) & 1);

	set_result(s, result, carry, top(s, result) != carry);
}

static void shift_right(struct shift *s)
{
	set_result(s, s->value >> s->count, s->value >> (s->count - 1) & 1, top(s, s->value));
}

static void shift_arithmetic(struct shift *s)
{
	s64 v = size_sign_extend(s->value, s->size);

	set_result(s, (u64)(v >> s->count), v >> (s->count - 1) & 1, false);
}

static void shift_double(struct shift *s, u64 from, bool left)
{
	u64 old = s->value, result;
	unsigned int count = s->count, rest = s->bits - count;
	bool carry;

	if (count > s->bits) {
		u64 all = old << 32 | from << 16 | old;

		result = left ? all << count >> 32 : all >> count;
		carry = from >> (left ? 32 - count : count - 17) & 1;
	} else if (left) {
		result = rest ? old << count | from >> rest : from;
		carry = old >> rest & 1;
	} else {
		result = rest ? old >> count | from << rest : from;
		carry = old >> (count - 1) & 1;
	}
	set_result(s, result, carry, top(s, result) != top(s, old));
}

static void shift_by(struct emulate *e, struct shift *s, u64 from)
{
	switch (e->insn->kind) {
	case INSN_ROL:
	case INSN_ROR:
		rotate(s, e->insn->kind == INSN_ROL);
		break;
	case INSN_RCL:
	case INSN_RCR:
		rotate_through_carry(s, e->insn->kind == INSN_RCL);
		break;
	case INSN_SHR:
		shift_right(s);
		break;
	case INSN_SAR:
		shift_arithmetic(s);
		break;
	case INSN_SHLD:
	case INSN_SHRD:
		shift_double(s, from, e->insn->kind == INSN_SHLD);
		break;
	default: /* INSN_SHL, INSN_SAL */
		shift_left(s);
		break;
	}
}

static u64 count_of(const struct emulate *e)
{
	const struct insn *insn = e->insn;

	if (insn->imm_size)
		return insn->imm;
	if (insn->kind >= INSN_SHLD || insn->src.kind == OPERAND_REG)
		return e->next.gpr[RCX];
	return 1;
}

bool replay_shift(struct emulate *e)
{
	const struct insn *insn = e->insn;
	struct shift s = {.size = insn->op_size, .bits = 8u * insn->op_size};
	u64 from = 0;

	s.flags = e->next.rflags;
	s.count = (unsigned int)count_of(e) & (s.size == 8 ? 63 : 31);
	if (insn->kind >= INSN_SHLD)
		from = emulate_get_reg(e, insn->src, s.size);
	if (!replay_get_to_change(e, insn->dst, s.size, &s.value))
		return false;
	/* By 0: no flag changes. */
	if (s.count)
		shift_by(e, &s, from);
	e->next.rflags = s.flags;
	return replay_set(e, insn->dst, s.size, s.value);
}
