/* SPDX-License-Identifier: MIT */
/* What changes the machine rather than a program's state: the caller has it, and is asked. */
#include "mmu/emulate_internal.h"

#define CR0_PE	  BIT(0)
#define CR0_TS	  BIT(3)
#define LMSW_BITS 0xfull /* PE, MP, EM, TS */

static const struct insn_operand reg_rax = {OPERAND_REG, RAX}, reg_rcx = {OPERAND_REG, RCX},
				 reg_rdx = {OPERAND_REG, RDX}, reg_rbx = {OPERAND_REG, RBX};

static bool is_64(const struct emulate *e)
{
	return e->insn->mode == DECODE_64;
}

/* MOV to and from CR and DR: the operand size follows from the mode alone. */
static unsigned int wide(const struct emulate *e)
{
	return is_64(e) ? 8 : 4;
}

static bool store_special(struct emulate *e, enum emulate_step step)
{
	u64 value = 0;

	if (!replay_need_cpl0(e) || !replay_ask(e, step, e->insn->reg, &value))
		return false;
	emulate_set_reg(e, e->insn->dst, wide(e), value);
	return true;
}

static bool load_special(struct emulate *e, enum emulate_step step)
{
	u64 value = emulate_get_reg(e, e->insn->src, wide(e));

	return replay_need_cpl0(e) && replay_ask(e, step, e->insn->reg, &value);
}

/* LMSW sets PE but does not clear it. */
static bool change_cr0(struct emulate *e)
{
	u64 cr0 = 0, source;

	if (!replay_need_cpl0(e))
		return false;
	if (e->insn->kind == INSN_LMSW && !replay_get(e, e->insn->src, 2, &source))
		return false;
	if (!replay_ask(e, EMULATE_READ_CR, 0, &cr0))
		return false;
	if (e->insn->kind == INSN_LMSW)
		cr0 = (cr0 & ~(LMSW_BITS & ~CR0_PE)) | (source & LMSW_BITS);
	else
		cr0 &= ~CR0_TS;
	return replay_ask(e, EMULATE_WRITE_CR, 0, &cr0);
}

/* What tells of the machine a program may not see with CR4.UMIP (SDM 3A 2.5). */
static bool may_store(struct emulate *e)
{
	return !e->cpu->umip || replay_need_cpl0(e);
}

static bool store_cr0(struct emulate *e)
{
	u64 cr0 = 0;

	return may_store(e) && replay_ask(e, EMULATE_READ_CR, 0, &cr0) &&
	       replay_set(e, e->insn->dst, e->insn->op_size, cr0);
}

/* --- GDTR and IDTR: a limit of two bytes, then the base --- */

static u64 base_offset(const struct emulate *e)
{
	return (emulate_offset(e) + 2) & size_mask(e->insn->addr_size);
}

static bool store_table(struct emulate *e, const struct emulate_table *t)
{
	const struct insn *insn = e->insn;

	return may_store(e) && replay_write(e, insn->mem.segment, emulate_offset(e), 2, t->limit) &&
	       replay_write(e, insn->mem.segment, base_offset(e), wide(e), t->base);
}

static bool load_table(struct emulate *e, struct emulate_table *t, u32 changed)
{
	const struct insn *insn = e->insn;
	u64 limit, base;

	if (!replay_need_cpl0(e) ||
	    !replay_read(e, insn->mem.segment, emulate_offset(e), 2, &limit) ||
	    !replay_read(e, insn->mem.segment, base_offset(e), wide(e), &base))
		return false;
	if (is_64(e) && !emulate_canonical(e, base))
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	/* With 16 bits of operand size the base has 24. */
	if (!is_64(e) && insn->op_size == 2)
		base &= 0xffffff;
	t->limit = (u32)limit;
	t->base = base;
	e->changed |= (u16)changed;
	return true;
}

/* --- MSRs, CPUID, the TSC --- */

static bool read_msr(struct emulate *e)
{
	u64 value = 0;

	if (!replay_need_cpl0(e) || !replay_ask(e, EMULATE_RDMSR, (u32)e->next.gpr[RCX], &value))
		return false;
	emulate_set_reg(e, reg_rax, 4, value);
	emulate_set_reg(e, reg_rdx, 4, value >> 32);
	return true;
}

static bool write_msr(struct emulate *e)
{
	u64 value = e->next.gpr[RDX] << 32 | (u32)e->next.gpr[RAX];

	return replay_need_cpl0(e) && replay_ask(e, EMULATE_WRMSR, (u32)e->next.gpr[RCX], &value);
}

static bool set_xcr(struct emulate *e)
{
	u64 value = e->next.gpr[RDX] << 32 | (u32)e->next.gpr[RAX];

	return replay_need_cpl0(e) && replay_ask(e, EMULATE_XSETBV, (u32)e->next.gpr[RCX], &value);
}

static bool get_xcr(struct emulate *e)
{
	u64 value = 0;

	if (!replay_ask(e, EMULATE_XGETBV, (u32)e->next.gpr[RCX], &value))
		return false;
	emulate_set_reg(e, reg_rax, 4, value);
	emulate_set_reg(e, reg_rdx, 4, value >> 32);
	return true;
}

/* CLAC and STAC are there in real mode, and not in virtual-8086 mode (SDM 2A, 2B). */
static bool change_ac(struct emulate *e)
{
	if (e->cpu->cpl)
		return replay_fault(e, EMULATE_VECTOR_UD, 0);
	if (!replay_need_feature(e, FEATURE_SMAP))
		return false;
	e->next.rflags &= ~RFLAGS_AC;
	if (e->insn->kind == INSN_STAC)
		e->next.rflags |= RFLAGS_AC;
	return true;
}

/* Without a number the destination is 0 (SDM 2B RDRAND, RDSEED). */
static bool draw(struct emulate *e)
{
	enum emulate_feature source = e->insn->kind == INSN_RDRAND ? FEATURE_RDRAND
								   : FEATURE_RDSEED;
	u64 value[2];

	if (!replay_need_feature(e, source) || !replay_random(e, source, value))
		return false;
	e->next.rflags = (e->next.rflags & ~RFLAGS_STATUS) | (value[1] ? RFLAGS_CF : 0);
	emulate_set_reg(e, e->insn->dst, e->insn->op_size, value[1] ? value[0] : 0);
	return true;
}

/* A fault is a byte read's (SDM 2A CLFLUSH). Whose line it is does not matter: caches are coherent. */
static bool flush_line(struct emulate *e)
{
	return replay_need_feature(e, FEATURE_CLFLUSH) &&
	       replay_touch(e, e->insn->mem.segment, emulate_offset(e));
}

static bool identify(struct emulate *e)
{
	u64 subleaf = (u32)e->next.gpr[RCX];

	if (!replay_ask(e, EMULATE_CPUID, (u32)e->next.gpr[RAX], &subleaf))
		return false;
	emulate_set_reg(e, reg_rax, 4, e->cpuid[0]);
	emulate_set_reg(e, reg_rbx, 4, e->cpuid[1]);
	emulate_set_reg(e, reg_rcx, 4, e->cpuid[2]);
	emulate_set_reg(e, reg_rdx, 4, e->cpuid[3]);
	return true;
}

static bool read_tsc(struct emulate *e)
{
	bool aux = e->insn->kind == INSN_RDTSCP;
	u64 value = 0;

	if (!replay_ask(e, aux ? EMULATE_RDTSCP : EMULATE_RDTSC, 0, &value))
		return false;
	if (aux)
		emulate_set_reg(e, reg_rcx, 4, e->index);
	emulate_set_reg(e, reg_rax, 4, value);
	emulate_set_reg(e, reg_rdx, 4, value >> 32);
	return true;
}

static bool drop_page(struct emulate *e)
{
	unsigned int segment = e->insn->mem.segment;
	u64 unused = 0;

	if (!replay_need_cpl0(e))
		return false;
	e->gva = emulate_offset(e);
	if (!is_64(e))
		e->gva = (u32)(e->gva + e->cpu->segment[segment].base);
	else if (segment >= SEGMENT_FS)
		e->gva += e->cpu->segment[segment].base;
	return replay_ask(e, EMULATE_INVLPG, 0, &unused);
}

#define INVPCID_TYPES 4 /* an address, a PCID, all, all but global ones */
#define PCID_MASK     0xfffull

/*
 * There is no PCID outside IA-32e mode, and in it the CPU does this by itself. All is dropped, before
 * the rest is looked at, for that is always allowed: who has no INVPCID has its #UD first.
 */
static bool drop_pcid(struct emulate *e)
{
	const struct insn *insn = e->insn;
	u64 type = emulate_get_reg(e, insn->dst, wide(e)), at = emulate_offset(e);
	u64 pcid, address, unused = 0;

	if (e->cpu->long_mode)
		return replay_unhandled(e);
	if (!replay_need_cpl0(e) || !replay_ask(e, EMULATE_INVPCID, 0, &unused))
		return false;
	if (type >= INVPCID_TYPES)
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	if (!replay_read(e, insn->mem.segment, at, 8, &pcid) ||
	    !replay_read(e, insn->mem.segment, (at + 8) & size_mask(insn->addr_size), 8, &address))
		return false;
	if (pcid & ~PCID_MASK || (type < 2 && pcid) ||
	    (type == 0 && !emulate_canonical(e, address)))
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	return true;
}

/* In real mode #GP (SDM 2B); else it leads to another level, or comes from there. */
static bool enter_system(struct emulate *e)
{
	if (e->cpu->protected_mode)
		return replay_unhandled(e);
	return replay_fault(e, EMULATE_VECTOR_GP, 0);
}

static bool halt(struct emulate *e)
{
	if (!replay_need_cpl0(e))
		return false;
	e->effects |= EMULATE_HALTED;
	return true;
}

/* SLDT, STR, LLDT and LTR are there in protected mode only. */
static bool table_segment(struct emulate *e)
{
	const struct insn *insn = e->insn;
	unsigned int segment = insn->kind == INSN_SLDT ? EMULATE_LDTR : EMULATE_TR;

	if (!e->cpu->protected_mode)
		return replay_fault(e, EMULATE_VECTOR_UD, 0);
	if (insn->kind == INSN_SLDT || insn->kind == INSN_STR)
		return may_store(e) &&
		       replay_set(e, insn->dst, insn->op_size, e->cpu->segment[segment].selector);
	return replay_need_cpl0(e) && replay_load_table_segment(e);
}

bool replay_system(struct emulate *e)
{
	switch (e->insn->kind) {
	case INSN_HLT:
		return halt(e);
	case INSN_CPUID:
		return identify(e);
	case INSN_RDTSC:
	case INSN_RDTSCP:
		return read_tsc(e);
	case INSN_RDMSR:
		return read_msr(e);
	case INSN_WRMSR:
		return write_msr(e);
	case INSN_RDPMC: /* the guest has no counters */
		return replay_fault(e, EMULATE_VECTOR_GP, 0);
	case INSN_XSETBV:
		return set_xcr(e);
	case INSN_XGETBV:
		return get_xcr(e);
	case INSN_CLAC:
	case INSN_STAC:
		return change_ac(e);
	case INSN_RDRAND:
	case INSN_RDSEED:
		return draw(e);
	case INSN_CLFLUSH:
		return flush_line(e);
	case INSN_CLTS:
	case INSN_LMSW:
		return change_cr0(e);
	case INSN_SMSW:
		return store_cr0(e);
	case INSN_SGDT:
		return store_table(e, &e->cpu->gdt);
	case INSN_SIDT:
		return store_table(e, &e->cpu->idt);
	case INSN_LGDT:
		return load_table(e, &e->sys.gdt, EMULATE_CHANGED_GDT);
	case INSN_LIDT:
		return load_table(e, &e->sys.idt, EMULATE_CHANGED_IDT);
	case INSN_SLDT:
	case INSN_STR:
	case INSN_LLDT:
	case INSN_LTR:
		return table_segment(e);
	case INSN_SYSENTER:
		return enter_system(e);
	case INSN_INVPCID:
		return drop_pcid(e);
	case INSN_INVLPG:
		return drop_page(e);
	case INSN_STORE_CR:
		return store_special(e, EMULATE_READ_CR);
	case INSN_LOAD_CR:
		return load_special(e, EMULATE_WRITE_CR);
	case INSN_STORE_DR:
		return store_special(e, EMULATE_READ_DR);
	case INSN_LOAD_DR:
		return load_special(e, EMULATE_WRITE_DR);
	case INSN_INVD:
		return replay_need_cpl0(e);
	default: /* INSN_UD */
		return replay_fault(e, EMULATE_VECTOR_UD, 0);
	}
}
