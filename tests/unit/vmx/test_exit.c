/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/exit.c vmx/exit_stats.c vmx/inject.c vmx/event.c vmx/regs.c */
/* What each exit reason is answered with: every one has a handler, and a name of its own. */
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "tests/hosted/hosted.h"
#include "vmx/regs.h"
#include "vmx/vmx.h"

#include <cmocka.h>
#include <string.h>

static struct vmx_vcpu v;
static struct vmx_exit e;
static u32 recorded, logged;

#define HANDLER(name)                                                  \
	enum exit_verdict name(struct vmx_vcpu *u, struct vmx_exit *x) \
	{                                                              \
		return EXIT_RESUME;                                    \
	}
HANDLER(handle_exception)
HANDLER(handle_external)
HANDLER(handle_shutdown)
HANDLER(handle_window)
HANDLER(handle_nmi_window)
HANDLER(handle_task_switch)
HANDLER(handle_cpuid)
HANDLER(handle_hlt)
HANDLER(handle_nop)
HANDLER(handle_vmcall)
HANDLER(handle_cr_access)
HANDLER(handle_mov_dr)
HANDLER(handle_invlpg)
HANDLER(handle_io)
HANDLER(handle_rdmsr)
HANDLER(handle_wrmsr)
HANDLER(handle_pause)
HANDLER(handle_tpr_below)
HANDLER(handle_apic_access)
HANDLER(handle_apic_eoi)
HANDLER(handle_ept_violation)
HANDLER(handle_ept_misconfiguration)
HANDLER(handle_xsetbv)
HANDLER(handle_apic_write)
HANDLER(handle_pml_full)

bool restricted_holds_events(struct vmx_vcpu *vcpu)
{
	return false;
}

void vmcs_set_proc_controls(struct vmx_vcpu *vcpu, u32 value)
{
	vcpu->proc_controls = value;
}

void vcpu_log_entry_failure(struct vmx_vcpu *vcpu, bool early)
{
	logged++;
}

void mca_record(void)
{
	recorded++;
}

const char *vcpu_name(void)
{
	return "test";
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(&e, 0, sizeof(e));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	return 0;
}

static void every_reason_is_answered(void **state)
{
	for (u32 i = 0; i < VMX_EXIT_REASONS; i++) {
		assert_non_null(exit_handlers[i]);
		assert_non_null(vmx_exit_stat_descs[i].name);
		for (u32 j = 0; j < i; j++)
			assert_string_not_equal(vmx_exit_name(i), vmx_exit_name(j));
	}
}

/*
 * Instructions that exit whatever the controls are, where a CPU has them, and that a guest was not
 * told of.
 */
static void what_a_guest_was_not_offered_is_undefined(void **state)
{
	static const u8 reasons[] = {11, 19, 20, 21, 22, 23, 24, 25, 26, 27, 36,
				     39, 50, 53, 59, 60, 65, 69, 70, 76, 77};

	for (u32 i = 0; i < ARRAY_SIZE(reasons); i++) {
		setup(state);
		assert_int_equal(exit_handlers[reasons[i]](&v, &e), EXIT_RESUME);
		assert_true(v.event.valid);
		assert_int_equal(v.event.vector, EXCEPTION_UD);
		assert_false(v.event.has_error);
	}
}

static void enter_and_fail(void *arg)
{
	v.reason = BIT(31) | *(const u32 *)arg;
	assert_int_equal(exit_odd(&v, &e), EXIT_RETURN);
}

/* A machine check is the machine's end, any other failed entry the VM's. */
static void an_entry_that_fails(void **state)
{
	u32 guest_state = 33, machine_check = 41;

	recorded = logged = 0;
	assert_false(hosted_catch_panic(enter_and_fail, &guest_state));
	assert_int_equal(e.kind, VMX_EXIT_ERROR);
	assert_int_equal(logged, 1);
	assert_int_equal(recorded, 0);
	assert_true(hosted_catch_panic(enter_and_fail, &machine_check));
	assert_int_equal(recorded, 1);
	assert_non_null(strstr(hosted_panic_text(), "machine check"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(every_reason_is_answered, setup),
		cmocka_unit_test_setup(what_a_guest_was_not_offered_is_undefined, setup),
		cmocka_unit_test_setup(an_entry_that_fails, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
