/* SPDX-License-Identifier: MIT */
/* What mmu/decode says of an instruction, beside what Zydis says of it. For fuzz_decode.c. */
#ifndef TESTS_FUZZ_DECODE_REFERENCE_H
#define TESTS_FUZZ_DECODE_REFERENCE_H

#include <Zydis/Zydis.h>

#include "mmu/decode.h"

struct reference {
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

/* What decode.h calls the instruction. */
enum insn_kind reference_kind(const struct reference *r);

/* The name of what differs, of an instruction that both accept, or NULL. */
const char *reference_differs(const struct insn *i, const struct reference *r);

/* ZYDIS_REGCLASS_INVALID: it is no register. */
ZydisRegisterClass reference_reg_class(const ZydisDecodedOperand *op);
/* Segment, control and debug registers have no place in struct insn_operand. */
bool reference_is_special(const ZydisDecodedOperand *op);

#endif
