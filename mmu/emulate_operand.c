/* SPDX-License-Identifier: MIT */
/* Registers, addresses, segments, and the end of an instruction. */
#include "kernel/base/string.h"
#include "mmu/emulate_internal.h"

u64 emulate_get_reg(const struct emulate *e, struct insn_operand operand, unsigned int size)
{
	u64 value = e->next.gpr[operand.reg];

	return (operand.kind == OPERAND_REG_HIGH ? value >> 8 : value) & size_mask(size);
}

/* 8- and 16-bit writes leave the rest of a register, 32-bit ones clear its upper half. */
void emulate_set_reg(struct emulate *e, struct insn_operand operand, unsigned int size, u64 value)
{
	unsigned int shift = operand.kind == OPERAND_REG_HIGH ? 8 : 0;
	u64 *reg = &e->next.gpr[operand.reg];
	u64 mask = size_mask(size) << shift;

	if (size >= 4)
		*reg = value & mask;
	else
		*reg = (*reg & ~mask) | (value << shift & mask);
}

/* Also in 16-bit code: what runs on past 0xffff meets the segment's limit (SDM 3B 23.38.1). */
u64 emulate_next_rip(const struct emulate *e)
{
	u64 rip = e->regs->rip + e->insn->length;

	return e->insn->mode == DECODE_64 ? rip : (u32)rip;
}

u64 emulate_offset(const struct emulate *e)
{
	const struct insn_memory *mem = &e->insn->mem;
	u64 offset = (u64)mem->disp;

	if (mem->base == INSN_REG_RIP)
		offset += emulate_next_rip(e);
	else if (mem->base != INSN_REG_NONE)
		offset += e->next.gpr[mem->base];
	if (mem->index != INSN_REG_NONE)
		offset += e->next.gpr[mem->index] * mem->scale;
	return offset & size_mask(e->insn->addr_size);
}

bool emulate_canonical(const struct emulate *e, u64 address)
{
	unsigned int unused_bits = 64 - e->cpu->linear_bits;

	return (s64)(address << unused_bits) >> unused_bits == (s64)address;
}

/* Only FS and GS have a base, no segment has a limit (SDM 1 3.4.2.1, 3A 5.3.1). */
static bool translate_64(struct emulate *e, enum insn_segment segment, u64 offset,
			 unsigned int size)
{
	e->gva = offset;
	if (segment == SEGMENT_FS || segment == SEGMENT_GS)
		e->gva += e->cpu->segment[segment].base;
	return emulate_canonical(e, e->gva) && emulate_canonical(e, e->gva + size - 1);
}

static bool type_allows(const struct emulate_segment *s, bool write, bool touch)
{
	if (s->access & ACCESS_UNUSABLE)
		return false;
	if (s->access & ACCESS_CODE)
		return touch || (!write && (s->access & ACCESS_READABLE));
	return !write || (s->access & ACCESS_WRITABLE);
}

/* SDM 3A 5.3 and 5.5 */
static bool translate_legacy(struct emulate *e, enum insn_segment segment, u64 offset,
			     unsigned int size, bool write, bool touch)
{
	const struct emulate_segment *s = &e->cpu->segment[segment];
	u64 last = offset + size - 1;

	e->gva = (u32)(s->base + offset);
	if (e->cpu->protected_mode && !type_allows(s, write, touch))
		return false;
	if ((s->access & (ACCESS_CODE | ACCESS_EXPAND_DOWN)) == ACCESS_EXPAND_DOWN)
		return offset > s->limit && last <= (s->access & ACCESS_BIG ? 0xffffffff : 0xffff);
	return last <= s->limit;
}

enum emulate_step emulate_access(struct emulate *e, enum insn_segment segment, u64 offset,
				 unsigned int size, enum emulate_step step)
{
	bool touch = step == EMULATE_TOUCH;
	bool write = (step != EMULATE_READ && !touch) || e->for_write;
	bool allowed;

	e->size = (u8)size;
	if (e->insn->mode == DECODE_64)
		allowed = translate_64(e, segment, offset, size);
	else
		allowed = translate_legacy(e, segment, offset, size, write, touch);
	if (allowed)
		return step;
	e->vector = segment == SEGMENT_SS ? EMULATE_VECTOR_SS : EMULATE_VECTOR_GP;
	e->error_code = 0;
	return EMULATE_FAULT;
}

enum emulate_step emulate_commit(struct emulate *e, bool leave)
{
	if (leave) {
		e->next.rip = emulate_next_rip(e);
		e->next.rflags &= ~RFLAGS_RF;
	}
	memcpy(e->regs->gpr, e->next.gpr, sizeof(e->next.gpr));
	e->regs->rip = e->next.rip;
	e->regs->rflags = e->next.rflags;
	return EMULATE_DONE;
}
