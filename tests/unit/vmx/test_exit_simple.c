/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/exit_simple.c vmx/regs.c */
/* Exits that end a VM with a line, and those that do nothing but go on behind the instruction. */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"
#include "vmx/posted.h"
#include "vmx/features.h"
#include "vmx/instructions.h"
#include "vmx/regs.h"
#include "vmx/xcr0.h"

#include <cmocka.h>
#include <string.h>

#define RIP 0x401000ull

static struct vmx_vcpu v;
static struct vmx_exit e;
static bool in_thread;

struct guest_features guest_features;

void exit_to_thread(struct vmx_vcpu *vcpu)
{
	in_thread = true;
}

enum exit_verdict exit_kind(struct vmx_exit *exit, enum vmx_exit_kind kind)
{
	exit->kind = kind;
	return EXIT_RETURN;
}

const char *vcpu_name(void)
{
	return "test";
}

u64 vcpu_cr3(const struct vmx_vcpu *vcpu)
{
	return 0x5000;
}

/* What happened of it, in order: the vector that was handled, and interrupts that were let in. */
#define LET_IN 1000
static u32 happened[4], happenings;

void exit_let_in(struct vmx_vcpu *vcpu)
{
	happened[happenings++] = LET_IN;
}

void interrupt_acknowledged(u8 vector)
{
	happened[happenings++] = vector;
}

static u32 looks;
static bool xgetbv1; /* CPUID shows XGETBV of XINUSE */

void vmx_cpuid(struct vmx_vcpu *vcpu, u32 leaf, u32 subleaf, struct cpuid_regs *out)
{
	assert_true(leaf == 0xd && subleaf == 1);
	*out = (struct cpuid_regs){.eax = xgetbv1 ? (u32)BIT(2) : 0};
}

static u64 in_use(u32 index)
{
	assert_int_equal(index, 1);
	assert_false(irq_enabled());
	return 3;
}

void posted_look(struct vmx_vcpu *of)
{
	assert_true(of->posts);
	looks++;
}

/* Of other exits. */

enum exit_verdict exit_look(struct vmx_vcpu *vcpu, struct vmx_exit *exit)
{
	fail();
	return EXIT_RETURN;
}

enum exit_verdict exit_gp(struct vmx_vcpu *vcpu, struct vmx_exit *exit)
{
	fail();
	return EXIT_RETURN;
}

enum exit_verdict exit_undefined(struct vmx_vcpu *vcpu, struct vmx_exit *exit)
{
	fail();
	return EXIT_RETURN;
}

bool event_wakes(struct vmx_vcpu *vcpu)
{
	fail();
	return false;
}

u32 vcpu_cpl(struct vmx_vcpu *vcpu)
{
	fail();
	return 0;
}

void cpuid_forget(struct vmx_vcpu *vcpu)
{
	fail();
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(&e, 0, sizeof(e));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	in_thread = false;
	vmcs_write(GUEST_RIP, RIP);
	hosted_log_reset();
	return 0;
}

static void expect_end(enum vmx_exit_kind kind, const char *line)
{
	assert_int_equal(e.kind, kind);
	assert_true(in_thread);
	assert_string_equal(hosted_log_last(), line);
	assert_int_equal(vcpu_regs(&v)->rip, RIP);
}

/* Which selector, whatever else the qualification holds (SDM 3C table 28-2: by a gate). */
static void a_task_switch_ends_the_vm(void **state)
{
	vmcs_write(EXIT_QUALIFICATION, 3ull << 30 | 0x48);
	assert_int_equal(handle_task_switch(&v, &e), EXIT_RETURN);
	expect_end(VMX_EXIT_ERROR, "vm test: the guest switches tasks by hardware at rip 0x401000 "
				   "(to selector 0x48), which Weir does not do");
	assert_int_equal(hosted_log_count(LOG_ERROR), 1);
}

static void a_triple_fault_says_where(void **state)
{
	vmcs_write(GUEST_CS_SELECTOR, 8);
	vmcs_write(GUEST_CR0, CR0_PE);
	write_cr2(0x1234);
	assert_int_equal(handle_shutdown(&v, &e), EXIT_RETURN);
	expect_end(VMX_EXIT_SHUTDOWN, "vm test: triple fault at 0x8:0x401000, cr0 0x1, cr2 0x1234, "
				      "cr3 0x5000");
}

static u32 asked; /* whether the VM's end is to be told */

static bool end_is_not_told(void *owner)
{
	assert_ptr_equal(owner, &asked);
	assert_true(in_thread);
	asked++;
	return false;
}

static bool end_is_told(void *owner)
{
	return !end_is_not_told(owner);
}

/* The VM has ended already, or has told enough. */
static void no_line_where_none_is_wanted(void **state)
{
	enum exit_verdict (*const handlers[])(struct vmx_vcpu *, struct vmx_exit *) = {
		handle_shutdown, handle_task_switch};

	for (u32 i = 0; i < ARRAY_SIZE(handlers); i++) {
		for (u32 told = 0; told < 2; told++) {
			setup(state);
			asked = 0;
			v.config.owner = &asked;
			v.config.crash = told ? end_is_told : end_is_not_told;
			assert_int_equal(handlers[i](&v, &e), EXIT_RETURN);
			assert_int_equal(e.kind, i ? VMX_EXIT_ERROR : VMX_EXIT_SHUTDOWN);
			assert_int_equal(asked, 1);
			assert_int_equal(hosted_log_count(LOG_ERROR) + hosted_log_count(LOG_WARN),
					 told);
		}
	}
}

/* INVD is never done: it would drop what other guests and Weir have written. */
static void invd_and_wbinvd_are_passed_over(void **state)
{
	static const u8 reasons[] = {13, 54};

	for (u32 i = 0; i < ARRAY_SIZE(reasons); i++) {
		setup(state);
		vmcs_write(EXIT_INSTRUCTION_LENGTH, 2);
		assert_int_equal(handle_nop(&v, &e), EXIT_RESUME);
		assert_int_equal(vcpu_regs(&v)->rip, RIP + 2);
		assert_false(in_thread || v.event.valid);
	}
}

/*
 * With posted interrupts the CPU has acknowledged the one that made the guest leave; not a timer's
 * end.
 */
static void interrupts_of_the_host(void **state)
{
	vmcs_write(EXIT_INTERRUPTION_INFO, 0x800000f2);
	for (u32 i = 0; i < 3; i++) {
		v.posts = i > 0;
		v.reason = i < 2 ? 1 : 52;
		happenings = 0;
		looks = 0;
		assert_int_equal(handle_external(&v, &e), EXIT_RESUME);
		/* A notification that was lost is made good. */
		assert_int_equal(looks, i == 1);
		assert_int_equal(happenings, i == 1 ? 2 : 1);
		if (i == 1)
			assert_int_equal(happened[0], 0xf2);
		assert_int_equal(happened[happenings - 1], LET_IN);
	}
	v.posts = false;
}

/* SDM 2D, XGETBV: #UD without CR4.OSXSAVE, #GP of a register that is not there. */
static void xgetbv_by_software(void **state)
{
	u64 value = 1;

	hosted_machine.xgetbv = in_use;
	irq_enable();
	v.xcr0 = 7;
	guest_features.xcr0 = 7;
	xgetbv1 = true;
	assert_int_equal(vmx_get_xcr(&v, 0, &value), ERR_INVAL);
	vmcs_write(GUEST_CR4, CR4_OSXSAVE);
	assert_int_equal(vmx_get_xcr(&v, 0, &value), 0);
	assert_int_equal(value, 7);
	assert_int_equal(vmx_get_xcr(&v, 1, &value), 0);
	assert_int_equal(value, 3);
	assert_int_equal(vmx_get_xcr(&v, 2, &value), ERR_FAULT);
	xgetbv1 = false;
	assert_int_equal(vmx_get_xcr(&v, 1, &value), ERR_FAULT);
	guest_features.xcr0 = 0;
	assert_int_equal(vmx_get_xcr(&v, 0, &value), ERR_INVAL);
	assert_true(irq_enabled());
}

/* What inject.c is to know of this CPU. */
static void an_nmi_window_behind_sti(void **state)
{
	assert_int_equal(handle_nmi_window(&v, &e), EXIT_RESUME);
	assert_false(v.nmi_window_behind_sti);
	vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI);
	assert_int_equal(handle_nmi_window(&v, &e), EXIT_RESUME);
	assert_true(v.nmi_window_behind_sti);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_nmi_window_behind_sti, setup),
		cmocka_unit_test_setup(interrupts_of_the_host, setup),
		cmocka_unit_test_setup(a_task_switch_ends_the_vm, setup),
		cmocka_unit_test_setup(a_triple_fault_says_where, setup),
		cmocka_unit_test_setup(no_line_where_none_is_wanted, setup),
		cmocka_unit_test_setup(invd_and_wbinvd_are_passed_over, setup),
		cmocka_unit_test_setup(xgetbv_by_software, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
