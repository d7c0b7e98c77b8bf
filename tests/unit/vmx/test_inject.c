/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/inject.c vmx/event.c vmx/regs.c */
/*
 * Events between exits and entries, and who tells the next entry that there is work for it. The
 * VMCS is the fake machine's.
 */
#include "kernel/base/msr.h"
#include "tests/hosted/hosted.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <string.h>

#define GP_INFO	 (13 | EVENT_EXCEPTION << 8 | (u32)EVENT_INFO_ERROR | (u32)EVENT_INFO_VALID)
#define INT_INFO (0x41 | EVENT_INTERRUPT << 8 | (u32)EVENT_INFO_VALID)
#define NMI_INFO (2 | EVENT_NMI << 8 | (u32)EVENT_INFO_VALID)
#define SHADOWS	 (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)

static struct vmx_vcpu v;

void vmcs_set_proc_controls(struct vmx_vcpu *vcpu, u32 value)
{
	vcpu->proc_controls = value;
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	vmcs_write(GUEST_CR0, CR0_PE);
	vmcs_write(GUEST_RFLAGS, RFLAGS_IF | 2);
	return 0;
}

static void enter(void)
{
	event_prepare(&v);
	/* The exit clears it (SDM 3C 28.3.4). */
	vmcs_write(ENTRY_INTERRUPTION_INFO, 0);
}

static void nothing_asks_for_work(void **state)
{
	event_collect(&v);
	assert_false(v.unprepared || v.event.valid || v.regs_here);
	vmx_request_interrupt_window(&v, false);
	assert_false(v.unprepared);
}

static void whoever_gives_work_says_so(void **state)
{
	vmx_inject_gp(&v);
	assert_true(v.unprepared);
	enter();
	assert_false(v.unprepared);
	vmx_inject_interrupt(&v, 0x41);
	assert_true(v.unprepared);
	enter();
	assert_false(v.unprepared);
	vmx_request_interrupt_window(&v, true);
	assert_true(v.unprepared);
	enter();
	assert_true(v.proc_controls & (u32)PROC_INTERRUPT_WINDOW);
	assert_false(v.unprepared);
	vmx_request_interrupt_window(&v, false);
	assert_true(v.unprepared);
	enter();
	assert_false(v.proc_controls & (u32)PROC_INTERRUPT_WINDOW);
	vmx_inject_nmi(&v);
	assert_true(v.unprepared);
}

/* What cannot go yet is looked at before every entry, until it can. */
static void what_waits_is_work(void **state)
{
	vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI);
	vmx_inject_nmi(&v);
	for (u32 i = 0; i < 3; i++) {
		enter();
		assert_true(v.unprepared && v.nmi_pending);
		assert_true(v.proc_controls & (u32)PROC_NMI_WINDOW);
	}
	vmcs_write(GUEST_INTERRUPTIBILITY, 0);
	event_prepare(&v);
	assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), NMI_INFO);
	assert_false(v.unprepared);
}

/*
 * A CPU may take the NMI window for open behind STI (SDM 3C 26.2), where no NMI goes: the exit would
 * come again and again, before any instruction. The interrupt window opens behind the next one.
 */
static void nmi_behind_sti(void **state)
{
	u32 windows = (u32)PROC_NMI_WINDOW | (u32)PROC_INTERRUPT_WINDOW;

	vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI);
	vmx_inject_nmi(&v);
	enter();
	assert_true(v.unprepared && v.nmi_pending);
	/* CLI may be the next: on most CPUs the NMI goes in behind it. */
	assert_int_equal(v.proc_controls & windows, (u32)PROC_NMI_WINDOW);
	v.nmi_window_behind_sti = true;
	enter();
	assert_true(v.unprepared && v.nmi_pending);
	assert_int_equal(v.proc_controls & windows, (u32)PROC_INTERRUPT_WINDOW);
	vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI | BLOCKED_BY_NMI);
	enter();
	assert_int_equal(v.proc_controls & windows, (u32)PROC_NMI_WINDOW);
	vmcs_write(GUEST_INTERRUPTIBILITY, 0);
	event_prepare(&v);
	assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), NMI_INFO);
	assert_int_equal(v.proc_controls & windows, 0);
}

static void interrupted_delivery_is_repeated(void **state)
{
	vmcs_write(EXIT_VECTORING_INFO, GP_INFO);
	vmcs_write(EXIT_VECTORING_ERROR, 0x18);
	event_collect(&v);
	assert_true(v.unprepared && v.event.valid);
	event_prepare(&v);
	assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), GP_INFO);
	assert_int_equal(vmcs_read(ENTRY_EXCEPTION_ERROR), 0x18);
	assert_false(v.unprepared || v.event.valid);
}

/* Behind a shadow, with a single step under way, the entry wants BS (SDM 3C 27.3.1.5). */
static void shadow_with_single_step(void **state)
{
	for (u64 shadow = BLOCKED_BY_STI; shadow <= BLOCKED_BY_MOV_SS; shadow <<= 1) {
		setup(state);
		vmcs_write(GUEST_RFLAGS, RFLAGS_TF | 2);
		vmcs_write(GUEST_INTERRUPTIBILITY, shadow);
		event_collect(&v);
		assert_true(v.unprepared);
		enter();
		assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_BS);
		assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY) & SHADOWS, shadow);
	}
}

/* Only behind a shadow, only with TF, and not where single steps are of branches (BTF). */
static void no_single_step_where_none_is_due(void **state)
{
	static const struct {
		u64 rflags, interruptibility, debugctl;
	} none[] = {
		{RFLAGS_TF | 2, 0, 0},
		{RFLAGS_TF | 2, BLOCKED_BY_NMI, 0},
		{2, SHADOWS, 0},
		{RFLAGS_TF | 2, BLOCKED_BY_STI, DEBUGCTL_BTF},
	};

	for (u32 i = 0; i < ARRAY_SIZE(none); i++) {
		setup(state);
		vmcs_write(GUEST_RFLAGS, none[i].rflags);
		vmcs_write(GUEST_INTERRUPTIBILITY, none[i].interruptibility);
		vmcs_write(GUEST_DEBUGCTL, none[i].debugctl);
		vmcs_write(GUEST_PENDING_DEBUG, 0x3);
		enter();
		assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0x3);
	}
	/* What is pending beside it stays. */
	vmcs_write(GUEST_DEBUGCTL, 0);
	enter();
	assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_BS | 0x3);
}

static void taken_back_as_it_was(void **state)
{
	vmx_inject_exception(&v, EXCEPTION_GP, true, 0x28);
	event_prepare(&v);
	assert_false(v.event.valid);
	event_take_back(&v);
	assert_true(v.event.valid && v.event.has_error);
	assert_int_equal(v.event.vector, EXCEPTION_GP);
	assert_int_equal(v.event.error_code, 0x28);
	assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
	/* And it is not given twice. */
	event_take_back(&v);
	assert_true(v.event.valid);
	event_prepare(&v);
	assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), GP_INFO);
	assert_int_equal(vmcs_read(ENTRY_EXCEPTION_ERROR), 0x28);
}

/* An exception overtakes an interrupt that a kick brought back. */
static void taken_back_and_overtaken(void **state)
{
	vmx_inject_interrupt(&v, 0x41);
	event_prepare(&v);
	assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), INT_INFO);
	event_take_back(&v);
	assert_false(vmx_interrupt_allowed(&v));
	vmx_inject_gp(&v);
	event_prepare(&v);
	assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), GP_INFO);
	assert_true(v.deferred.valid && v.deferred.vector == 0x41 && v.unprepared);
	assert_true(v.proc_controls & (u32)PROC_INTERRUPT_WINDOW);
}

static void page_fault_sets_cr2(void **state)
{
	vmx_inject_page_fault(&v, GVA(0x12345678), 2);
	assert_int_equal(read_cr2(), 0x12345678);
	assert_int_equal(vcpu_regs(&v)->cr2, 0x12345678);
	assert_true(v.regs.rflags & RFLAGS_RF);
	regs_push(&v);
	assert_true(vmcs_read(GUEST_RFLAGS) & RFLAGS_RF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(nothing_asks_for_work, setup),
		cmocka_unit_test_setup(whoever_gives_work_says_so, setup),
		cmocka_unit_test_setup(what_waits_is_work, setup),
		cmocka_unit_test_setup(nmi_behind_sti, setup),
		cmocka_unit_test_setup(interrupted_delivery_is_repeated, setup),
		cmocka_unit_test_setup(shadow_with_single_step, setup),
		cmocka_unit_test_setup(no_single_step_where_none_is_due, setup),
		cmocka_unit_test_setup(taken_back_as_it_was, setup),
		cmocka_unit_test_setup(taken_back_and_overtaken, setup),
		cmocka_unit_test_setup(page_fault_sets_cr2, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
