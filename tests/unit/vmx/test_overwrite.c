/* SPDX-License-Identifier: MIT */
/* unit-sources: @emulate vmx/overwrite.c vmx/regs.c */
/*
 * Which writes are done as those of REP STOS to all of a page, and what they leave; whatever is unusual
 * is left alone. The MMU and the guest's tables are this file's, the VMCS is the fake machine's.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mmu/emulate.h"
#include "mmu/fetch.h"
#include "mmu/walk.h"
#include "tests/hosted/hosted.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <string.h>

#define GPA_AT	   0x123456000ull
#define LINEAR	   0xffff800012345000ull
#define LINEAR_32  0x345000ull
#define RIP	   0xffffffff81000000ull
#define FIXED	   2ull
#define FLAT_DATA  0xc093u
#define WORDS_LEFT 512u

static struct mmu_vm mmu;
static struct vmx_vcpu v;
static struct fetch_code code;
static const char *instruction; /* NULL: it is not to be had */
static u64 leads_to;		/* gpa */
static int walk_answer, fill_answer;
static u32 walks, fills, counted;
static u64 filled;
static bool mode_known, real_mode;
static struct vmx_segment es;

u64 *vmx_get_code(struct vmx_vcpu *vcpu, struct fetch_code *out)
{
	*out = code;
	return mode_known ? vcpu->regs.gpr : NULL;
}

const u8 *fetch_instruction(struct mmu_vcpu *m, const struct fetch_code *from,
			    u64 words[FETCH_WORDS])
{
	assert_int_equal(from->linear, code.linear);
	if (!instruction)
		return NULL;
	memset(words, 0x90, FETCH_WORDS * sizeof(*words));
	memcpy(words, instruction, strlen(instruction));
	return (const u8 *)words;
}

void vmx_get_paging(struct vmx_vcpu *vcpu, struct guest_paging *out)
{
	*out = (struct guest_paging){.cr0 = CR0_PE, .efer = EFER_LMA, .cr3 = 0x77000};
}

void vmx_get_segment(struct vmx_vcpu *vcpu, enum vmx_segment_id id, struct vmx_segment *out)
{
	assert_int_equal(id, SEG_ES);
	*out = es;
}

bool vcpu_in_real_mode(struct vmx_vcpu *vcpu)
{
	return real_mode;
}

int guest_walk(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, u32 access,
	       struct walk_result *out)
{
	assert_int_equal(p->cr3, 0x77000);
	assert_int_equal(gva.v, vmcs_read(EXIT_GUEST_LINEAR));
	assert_int_equal(access, MMU_WRITE);
	walks++;
	out->gpa = GPA(leads_to);
	return walk_answer;
}

int gpa_fill_stored(struct mmu_vm *vm, gpa_t gpa, u64 word)
{
	assert_int_equal(gpa.v, GPA_AT);
	assert_int_equal(walks, 1);
	fills++;
	filled = word;
	return fill_answer;
}

void reclaim_count_overwritten(void)
{
	counted++;
}

/* A clear_page of Linux's, which has come to its page. */
static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	v.config.mmu = &mmu;
	code = (struct fetch_code){.linear = RIP, .mode = DECODE_64, .paging = true};
	instruction = "\xf3\x48\xab";
	leads_to = GPA_AT;
	walk_answer = fill_answer = 0;
	walks = fills = counted = 0;
	mode_known = true;
	real_mode = false;
	es = (struct vmx_segment){.limit = 0xffffffff, .access = FLAT_DATA};
	vmcs_write(EXIT_GUEST_LINEAR, LINEAR);
	vmcs_write(GUEST_RIP, RIP);
	vmcs_write(GUEST_RFLAGS, FIXED | RFLAGS_RF);
	vmcs_write(GUEST_DR7, 0x400);
	vmcs_write(GUEST_CS_LIMIT, 0xffffffff);
	v.regs.gpr[RDI] = LINEAR;
	v.regs.gpr[RCX] = WORDS_LEFT;
	v.regs.gpr[RAX] = 0x1122334455667788ull;
	return 0;
}

static void leaves_alone(void)
{
	struct guest_regs before = v.regs;
	u64 rip = vmcs_read(GUEST_RIP);

	assert_false(vcpu_overwrite(&v, GPA(GPA_AT)));
	assert_int_equal(counted, 0);
	before.gpr[RSP] = v.regs.gpr[RSP]; /* it may have come from the VMCS */
	assert_memory_equal(v.regs.gpr, before.gpr, sizeof(before.gpr));
	if (v.regs_here)
		regs_push(&v);
	assert_int_equal(vmcs_read(GUEST_RIP), rip);
	assert_int_equal(vmcs_read(GUEST_RFLAGS) & RFLAGS_RF, RFLAGS_RF);
}

static void does(u64 word)
{
	assert_true(vcpu_overwrite(&v, GPA(GPA_AT)));
	assert_int_equal(fills, 1);
	assert_int_equal(counted, 1);
	assert_true(filled == word);
	regs_push(&v);
}

static void the_last_page(void **state)
{
	does(0x1122334455667788ull);
	assert_true(v.regs.gpr[RDI] == LINEAR + PAGE_SIZE);
	assert_int_equal(v.regs.gpr[RCX], 0);
	assert_true(v.regs.gpr[RAX] == 0x1122334455667788ull);
	assert_int_equal(vmcs_read(GUEST_RIP), RIP + 3);
	assert_int_equal(vmcs_read(GUEST_RFLAGS), FIXED);
}

/* The instruction goes on, so RF stays, which keeps a breakpoint on it from coming again. */
static void more_are_to_come(void **state)
{
	v.regs.gpr[RCX] = WORDS_LEFT + 1;
	does(0x1122334455667788ull);
	assert_true(v.regs.gpr[RDI] == LINEAR + PAGE_SIZE);
	assert_int_equal(v.regs.gpr[RCX], 1);
	assert_int_equal(vmcs_read(GUEST_RIP), RIP);
	assert_int_equal(vmcs_read(GUEST_RFLAGS), FIXED | RFLAGS_RF);
}

static void flat_32(void **state)
{
	setup(state);
	code.mode = DECODE_32;
	vmcs_write(EXIT_GUEST_LINEAR, LINEAR_32);
	vmcs_write(GUEST_RIP, 0x1000);
	v.regs.gpr[RDI] = LINEAR_32;
	instruction = "\xf3\xab";
	v.regs.gpr[RCX] = PAGE_SIZE / 4;
}

/* Each that is refused would be done but for one thing. */
static void in_32_bit_code(void **state)
{
	code.mode = DECODE_32;
	instruction = "\xf3\xaa";
	vmcs_write(EXIT_GUEST_LINEAR, LINEAR_32);
	vmcs_write(GUEST_RIP, 0x1000);
	es.base = 0x5000;
	v.regs.gpr[RDI] = LINEAR_32 - 0x5000;
	v.regs.gpr[RCX] = PAGE_SIZE;
	/* Nor may its last byte lie beyond the limit of its segment. */
	vmcs_write(GUEST_CS_LIMIT, 0x1000);
	assert_false(vcpu_overwrite(&v, GPA(GPA_AT)));
	vmcs_write(GUEST_CS_LIMIT, 0x1001);
	does(0x8888888888888888ull);
	assert_int_equal(v.regs.gpr[RDI], LINEAR_32 - 0x5000 + PAGE_SIZE);
	assert_int_equal(vmcs_read(GUEST_RIP), 0x1002);
	flat_32(state);
	es.limit = (u32)LINEAR_32 + PAGE_SIZE - 1;
	does(0x5566778855667788ull);
	flat_32(state);
	es.limit = (u32)LINEAR_32 + PAGE_SIZE - 2;
	assert_false(vcpu_overwrite(&v, GPA(GPA_AT)));
	assert_int_equal(walks, 0);
	/* The instruction may be another by now than the one whose segment the CPU has checked. */
	flat_32(state);
	es.access = FLAT_DATA & ~2u; /* read-only */
	leaves_alone();
	assert_int_equal(walks, 0);
}

static void in_16_bit_code(void **state)
{
	code.mode = DECODE_16;
	instruction = "\xf3\xab";
	vmcs_write(EXIT_GUEST_LINEAR, LINEAR_32);
	vmcs_write(GUEST_RIP, 0xfffe);
	es.base = LINEAR_32 - 0x3000;
	es.limit = 0xffff;
	v.regs.gpr[RDI] = 0x3000;
	v.regs.gpr[RCX] = PAGE_SIZE / 2;
	vmcs_write(GUEST_CS_LIMIT, 0xfffe);
	assert_false(vcpu_overwrite(&v, GPA(GPA_AT)));
	vmcs_write(GUEST_CS_LIMIT, 0xffff);
	does(0x7788778877887788ull);
	assert_int_equal(v.regs.gpr[RDI], 0x3000 + PAGE_SIZE);
}

static void other_instructions(void **state)
{
	static const char *const others[] = {
		"\x48\xab", "\xf3\x48\xa5", "\x48\x89\x07", "\x0f\x0b", "\xc5\xfc\x29\x07",
	};

	for (u32 i = 0; i < ARRAY_SIZE(others); i++) {
		setup(state);
		instruction = others[i];
		leaves_alone();
		assert_int_equal(walks, 0);
	}
	instruction = NULL;
	leaves_alone();
	instruction = "\xf3\x48\xab";
	mode_known = false;
	leaves_alone();
	assert_int_equal(walks, 0);
}

static void less_than_a_page(void **state)
{
	v.regs.gpr[RCX] = WORDS_LEFT - 1;
	leaves_alone();
	setup(state);
	v.regs.gpr[RDI] = LINEAR -
			  4; /* it is the second half of a word that has come to the page */
	v.regs.gpr[RCX] = 2 * WORDS_LEFT;
	leaves_alone();
	setup(state);
	vmcs_write(GUEST_RFLAGS, FIXED | RFLAGS_RF | BIT(10)); /* DF */
	leaves_alone();
	assert_int_equal(walks, 0);
	setup(state);
	assert_false(vcpu_overwrite(&v, GPA(GPA_AT + 8)));
	assert_int_equal(walks, 0);
}

#define UNUSUAL(change)                     \
	do {                                \
		setup(state);               \
		change;                     \
		leaves_alone();             \
		assert_int_equal(walks, 0); \
	} while (0)

static void unusual(void **state)
{
	UNUSUAL(v.event.valid = true);
	UNUSUAL(real_mode = true);
	UNUSUAL(vmcs_write(GUEST_RFLAGS, FIXED | RFLAGS_RF | RFLAGS_TF));
	UNUSUAL(vmcs_write(GUEST_RFLAGS, FIXED | RFLAGS_RF | BIT(17))); /* VM */
	UNUSUAL(vmcs_write(GUEST_DR7, 0x402));
	UNUSUAL(vmcs_write(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS));
	UNUSUAL(vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI));
	UNUSUAL(vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS));
	/* An NMI's handler clears pages like anybody. */
	setup(state);
	vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI);
	does(0x1122334455667788ull);
	assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), BLOCKED_BY_NMI);
}

/* The guest's tables, and the page, may be others by now. */
static void elsewhere(void **state)
{
	leads_to = GPA_AT + PAGE_SIZE;
	leaves_alone();
	setup(state);
	walk_answer = ERR_FAULT;
	leaves_alone();
	assert_int_equal(fills, 0);
	setup(state);
	fill_answer = ERR_STORED;
	leaves_alone();
	setup(state);
	fill_answer = ERR_PERM;
	leaves_alone();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_last_page, setup),
		cmocka_unit_test_setup(more_are_to_come, setup),
		cmocka_unit_test_setup(in_32_bit_code, setup),
		cmocka_unit_test_setup(in_16_bit_code, setup),
		cmocka_unit_test_setup(other_instructions, setup),
		cmocka_unit_test_setup(less_than_a_page, setup),
		cmocka_unit_test_setup(unusual, setup),
		cmocka_unit_test_setup(elsewhere, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
