/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/trace.c vmx/shadow.c vmx/ept.c vmx/inject.c vmx/event.c vmx/regs.c */
/*
 * What becomes of a page fault with shadow paging by the MMU's answer. The MMU is this file's, which
 * answers as it is told; the VMCS is the fake machine's.
 */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "mmu/shadow.h"
#include "tests/hosted/hosted.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/features.h"
#include "vmx/instructions.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <string.h>

#define GVA_AT 0xffff800012345678ull
#define GPA_AT 0x123456678ull

struct vmx_controls vmx_boot_controls;
struct guest_features guest_features;

static struct mmu_vm mmu;
static struct mmu_vcpu mmu_vcpu;
static struct vmx_vcpu v;
static struct vmx_exit e;
static struct shadow_answer mmus;
static int answer, let_write;
static u32 access_seen, flushes;
static u64 root, dropped;

int mmu_shadow_fault(struct mmu_vcpu *m, const struct guest_paging *p, gva_t gva, u32 access,
		     struct shadow_answer *out)
{
	assert_int_equal(gva.v, GVA_AT);
	access_seen = access;
	*out = mmus;
	return answer;
}

int mmu_shadow_let_write(struct mmu_vcpu *m, gfn_t gfn, u64 digest)
{
	assert_int_equal(gfn.v, GPA_AT >> PAGE_SHIFT);
	return let_write;
}

void vmx_drop_page(struct vmx_vcpu *vcpu, gva_t gva)
{
	dropped = gva.v;
}

u64 mmu_shadow_cr3(const struct mmu_vcpu *m)
{
	return root;
}

void vcpu_flush_tlb(struct vmx_vcpu *vcpu)
{
	flushes++;
}

void exit_to_thread(struct vmx_vcpu *vcpu)
{
}

enum exit_verdict exit_kind(struct vmx_exit *exit, enum vmx_exit_kind kind)
{
	exit->kind = kind;
	return EXIT_RETURN;
}

void vmx_get_paging(struct vmx_vcpu *vcpu, struct guest_paging *out)
{
	*out = (struct guest_paging){.cpl = ACCESS_DPL((u32)vmcs_read(GUEST_SS_ACCESS))};
}

const char *vcpu_name(void)
{
	return "test";
}

u32 vcpu_number(void)
{
	return 0;
}

void vmcs_set_proc_controls(struct vmx_vcpu *vcpu, u32 value)
{
}

/* --- Not called --- */

bool vcpu_overwrite(struct vmx_vcpu *vcpu, gpa_t gpa)
{
	return false;
}

int mmu_fault(struct mmu_vcpu *m, gpa_t gpa, u32 access)
{
	return ERR_NOTSUP;
}

int mmu_fault_slow(struct mmu_vcpu *m, gpa_t gpa, u32 access)
{
	return ERR_NOTSUP;
}

int mmu_shadow_load(struct mmu_vcpu *m, const struct guest_paging *p)
{
	return ERR_NOTSUP;
}

void cr_get(struct vmx_vcpu *vcpu, struct cr_state *out)
{
}

bool cr_pae_paging(const struct cr_state *s)
{
	return false;
}

int cr_load_pdptes(struct vmx_vcpu *vcpu, u64 cr3)
{
	return ERR_NOTSUP;
}

enum exit_verdict exit_gp(struct vmx_vcpu *vcpu, struct vmx_exit *exit)
{
	return EXIT_RESUME;
}

u32 vcpu_cpl(struct vmx_vcpu *vcpu)
{
	return 0;
}

/* --- The tests --- */

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(&e, 0, sizeof(e));
	memset(&mmu, 0, sizeof(mmu));
	memset(&mmu_vcpu, 0, sizeof(mmu_vcpu));
	v.config.mmu = &mmu;
	v.config.mmu_vcpu = &mmu_vcpu;
	v.shadow = true;
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	answer = let_write = 0;
	mmus = (struct shadow_answer){.gpa = GPA(GPA_AT), .error_code = PAGE_FAULT_US};
	access_seen = flushes = 0;
	root = 0;
	vmcs_write(GUEST_CR0, CR0_PE | CR0_PG);
	vmcs_write(GUEST_SS_ACCESS, 0x93);
	vmcs_write(EXIT_QUALIFICATION, GVA_AT);
	hosted_log_reset();
	return 0;
}

static enum exit_verdict fault(int mmu_says, u32 error_code)
{
	answer = mmu_says;
	return handle_shadow_fault(&v, &e, error_code);
}

/* What the MMU has logged already is not told again: a page that is lost. */
static void answers(void **state)
{
	static const struct {
		int answer;
		enum exit_verdict verdict;
		enum vmx_exit_kind kind;
		u32 errors; /* lines */
	} cases[] = {
		{0, EXIT_RESUME, VMX_EXIT_NONE, 0},
		{ERR_NOSLOT, EXIT_RETURN, VMX_EXIT_MMIO, 0},
		{SHADOW_EMULATE, EXIT_RETURN, VMX_EXIT_TABLE, 0},
		{ERR_NOMEM, EXIT_RETURN, VMX_EXIT_NOMEM, 0},
		{ERR_IO, EXIT_RETURN, VMX_EXIT_ERROR, 0},
		{ERR_CORRUPT, EXIT_RETURN, VMX_EXIT_ERROR, 0},
		{ERR_NOENT, EXIT_RETURN, VMX_EXIT_ERROR, 1},
		{ERR_NOTSUP, EXIT_RETURN, VMX_EXIT_ERROR, 1},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		assert_int_equal(fault(cases[i].answer, PAGE_FAULT_WR), cases[i].verdict);
		assert_int_equal(e.kind, cases[i].kind);
		assert_int_equal(hosted_log_count(LOG_ERROR), cases[i].errors);
		assert_false(v.event.valid);
	}
}

static bool end_is_not_told(void *owner)
{
	return false;
}

/* The VM has ended already, or has told enough. */
static void no_line_where_none_is_wanted(void **state)
{
	v.config.crash = end_is_not_told;
	assert_int_equal(fault(ERR_NOENT, PAGE_FAULT_WR), EXIT_RETURN);
	assert_int_equal(fault(ERR_NOTSUP, PAGE_FAULT_WR), EXIT_RETURN);
	v.event.valid = true;
	let_write = ERR_NOTSUP;
	assert_int_equal(fault(SHADOW_EMULATE, PAGE_FAULT_WR), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	assert_int_equal(hosted_log_count(LOG_ERROR), 0);
}

/* The CPU's error code says what was tried; at CPL 3 without U/S it did so by itself. */
static void what_was_tried(void **state)
{
	assert_int_equal(fault(0, 0), EXIT_RESUME);
	assert_int_equal(access_seen, MMU_READ);
	assert_int_equal(fault(0, PAGE_FAULT_WR | PAGE_FAULT_US), EXIT_RESUME);
	assert_int_equal(access_seen, MMU_WRITE);
	assert_int_equal(fault(0, PAGE_FAULT_ID), EXIT_RESUME);
	assert_int_equal(access_seen, MMU_EXEC);
	vmcs_write(GUEST_SS_ACCESS, 0x93 | 3 << 5);
	assert_int_equal(fault(0, 0), EXIT_RESUME);
	assert_int_equal(access_seen, MMU_READ | WALK_IMPLICIT_SUPERVISOR);
	assert_int_equal(fault(0, PAGE_FAULT_US), EXIT_RESUME);
	assert_int_equal(access_seen, MMU_READ);
}

/* What the instruction may do as well is told with its translation; what the CPU alone may is not. */
static void a_table_is_written(void **state)
{
	assert_int_equal(fault(SHADOW_EMULATE, PAGE_FAULT_WR), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_TABLE);
	assert_int_equal(e.table.gva.v, GVA_AT);
	assert_int_equal(e.table.gpa.v, GPA_AT);
	vmcs_write(GUEST_SS_ACCESS, 0x93 | 3 << 5);
	assert_int_equal(fault(SHADOW_EMULATE, PAGE_FAULT_WR | PAGE_FAULT_US), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_TABLE);
	assert_int_equal(e.table.paging.cpl, 3);
	assert_int_equal(fault(SHADOW_EMULATE, PAGE_FAULT_WR), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_MMIO);
	assert_int_equal(e.mmio.gpa.v, GPA_AT);
	assert_int_equal(e.mmio.access, MMU_WRITE);
}

static void assert_page_fault(u32 error_code)
{
	assert_true(v.event.valid);
	assert_int_equal(v.event.vector, 14);
	assert_int_equal(v.event.error_code, error_code);
}

static void the_guests_own(void **state)
{
	assert_int_equal(fault(ERR_FAULT, PAGE_FAULT_WR), EXIT_RESUME);
	assert_page_fault(PAGE_FAULT_US);
	setup(state);
	assert_int_equal(fault(ERR_PERM, PAGE_FAULT_WR | PAGE_FAULT_US), EXIT_RESUME);
	assert_page_fault(PAGE_FAULT_P | PAGE_FAULT_WR | PAGE_FAULT_US);
	setup(state);
	assert_int_equal(fault(ERR_PERM, PAGE_FAULT_WR), EXIT_RESUME);
	assert_page_fault(PAGE_FAULT_P | PAGE_FAULT_WR);
}

/* An event that is delivered to a table is no instruction that could be run in its place. */
static void events_to_tables(void **state)
{
	v.event.valid = true;
	assert_int_equal(fault(SHADOW_EMULATE, PAGE_FAULT_WR), EXIT_RESUME);
	let_write = ERR_NOTSUP;
	assert_int_equal(fault(SHADOW_EMULATE, PAGE_FAULT_WR), EXIT_RETURN);
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	assert_int_equal(hosted_log_count(LOG_ERROR), 1);
}

/* Whoever takes faults elsewhere has got on since it was let write, and may be so again. */
static void a_guest_that_gets_on(void **state)
{
	mmu_vcpu.shadow.let_write = 5;
	mmu_vcpu.shadow.let_write_digest = guest_regs_digest(vcpu_regs(&v));
	assert_int_equal(fault(0, 0), EXIT_RESUME);
	assert_int_equal(mmu_vcpu.shadow.let_write, 5);
	vcpu_regs(&v)->rip += 4;
	assert_int_equal(fault(SHADOW_EMULATE, PAGE_FAULT_WR), EXIT_RETURN);
	assert_int_equal(mmu_vcpu.shadow.let_write, 5);
	assert_int_equal(fault(0, 0), EXIT_RESUME);
	assert_int_equal(mmu_vcpu.shadow.let_write, 0);
}

static void a_root_made_anew(void **state)
{
	assert_int_equal(fault(0, 0), EXIT_RESUME);
	assert_int_equal(flushes, 0);
	root = 0x5000;
	assert_int_equal(fault(0, 0), EXIT_RESUME);
	assert_int_equal(flushes, 1);
	assert_int_equal(vmcs_read(GUEST_CR3), root);
	assert_int_equal(fault(0, 0), EXIT_RESUME);
	assert_int_equal(flushes, 1);
}

/* Of what the CPU has cached nothing has to go that the MMU does not flush itself. */
static void invlpg_is_the_mmus(void **state)
{
	vmcs_write(GUEST_RIP, 0x1000);
	vmcs_write(EXIT_INSTRUCTION_LENGTH, 3);
	assert_int_equal(handle_invlpg(&v, &e), EXIT_RESUME);
	assert_int_equal(dropped, GVA_AT);
	assert_int_equal(vmcs_read(GUEST_RIP), 0x1003);
	assert_int_equal(flushes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(answers, setup),
		cmocka_unit_test_setup(no_line_where_none_is_wanted, setup),
		cmocka_unit_test_setup(what_was_tried, setup),
		cmocka_unit_test_setup(a_table_is_written, setup),
		cmocka_unit_test_setup(the_guests_own, setup),
		cmocka_unit_test_setup(events_to_tables, setup),
		cmocka_unit_test_setup(a_guest_that_gets_on, setup),
		cmocka_unit_test_setup(a_root_made_anew, setup),
		cmocka_unit_test_setup(invlpg_is_the_mmus, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
