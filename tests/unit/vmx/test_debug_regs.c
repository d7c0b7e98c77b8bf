/* SPDX-License-Identifier: MIT */
/* unit-sources: vmx/debug_regs.c */
/*
 * Debug registers: whose the CPU's are, MOV DR in software, and what is left of it when the vCPU is
 * switched out amid it: another guest has the registers wherever interrupts are found on.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "tests/hosted/hosted.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

#include <cmocka.h>
#include <string.h>

#define DR6_FIXED 0xffff0ff0ull
#define DR6_BS	  BIT(14)
#define DR6_BD	  BIT(13)
#define DR7_FIXED BIT(10)
#define DR7_GD	  BIT(13)
#define DR7_L0	  BIT(0)
#define OTHERS	  0xdead2000ull /* with BD */

static struct vmx_vcpu v;
static u32 injected, switches;
static enum {
	NO_SWITCH,
	AND_BACK, /* others run, and the vCPU again on this CPU */
	AND_AWAY  /* the same, and its registers stay out: no breakpoint is on */
} switching;

void vmcs_set_proc_controls(struct vmx_vcpu *vcpu, u32 value)
{
	vcpu->proc_controls = value;
}

void vmx_inject_exception(struct vmx_vcpu *vcpu, u8 vector, bool has_error, u32 error_code)
{
	assert_int_equal(vector, EXCEPTION_DB);
	assert_false(has_error);
	injected++;
}

/* What vmx/switch.c does, and another vCPU in between. */
static void take_cpu_away(void)
{
	if (irq_enabled() && switching != NO_SWITCH) {
		irq_disable();
		switches++;
		hosted_on_dr = NULL;
		debug_regs_save(&v);
		for (u32 i = 0; i < ARRAY_SIZE(hosted_dr); i++)
			hosted_dr[i] = OTHERS + i;
		if (switching == AND_BACK)
			debug_regs_load(&v);
		hosted_on_dr = take_cpu_away;
		irq_enable();
	}
}

static void reset(void)
{
	memset(&v, 0, sizeof(v));
	v.dr6 = DR6_FIXED;
	v.proc_controls = PROC_MOV_DR;
	vmcs_write(GUEST_DR7, DR7_FIXED);
	vmcs_write(GUEST_CR4, 0);
	injected = switches = 0;
	hosted_on_dr = take_cpu_away;
	for (u32 i = 0; i < ARRAY_SIZE(hosted_dr); i++)
		hosted_dr[i] = OTHERS + i;
}

static int setup(void **state)
{
	switching = NO_SWITCH;
	reset();
	return 0;
}

static int teardown(void **state)
{
	hosted_on_dr = NULL;
	assert_true(irq_enabled());
	return 0;
}

/* The first MOV DR exits, and brings the guest's registers into the CPU. */
static void load_them(void)
{
	struct vmx_exit e = {0};

	irq_disable();
	assert_int_equal(handle_mov_dr(&v, &e), EXIT_RESUME);
	irq_enable();
	assert_true(v.dr_loaded);
	assert_false(v.proc_controls & PROC_MOV_DR);
}

static void switched_with_the_vcpu(void **state)
{
	v.dr[2] = 0x1234;
	load_them();
	assert_int_equal(hosted_dr[2], 0x1234);
	assert_int_equal(hosted_dr[6], DR6_FIXED);
	hosted_dr[3] = 0x5678;
	irq_disable();
	debug_regs_save(&v);
	assert_int_equal(v.dr[3], 0x5678);
	/* Those that are another's are not saved. */
	hosted_dr[3] = OTHERS;
	debug_regs_save(&v);
	assert_int_equal(v.dr[3], 0x5678);
	/* No breakpoint: they stay out until a MOV DR. */
	debug_regs_load(&v);
	assert_int_equal(hosted_dr[3], OTHERS);
	assert_true(v.proc_controls & PROC_MOV_DR);
	vmcs_write(GUEST_DR7, DR7_FIXED | DR7_L0);
	debug_regs_load(&v);
	assert_int_equal(hosted_dr[3], 0x5678);
	irq_enable();
}

static void moved_in_software(void **state)
{
	u64 value;

	assert_int_equal(vmx_write_dr(&v, 1, 0x7fff12345678), 0);
	assert_int_equal(vmx_read_dr(&v, 1, &value), 0);
	assert_int_equal(value, 0x7fff12345678);
	/* Of DR6 and DR7 some bits are fixed, and the upper half has to be clear. */
	assert_int_equal(vmx_write_dr(&v, 6, 0), 0);
	assert_int_equal(vmx_read_dr(&v, 6, &value), 0);
	assert_int_equal(value, DR6_FIXED);
	assert_int_equal(vmx_write_dr(&v, 6, BIT(32)), ERR_FAULT);
	assert_int_equal(vmx_write_dr(&v, 7, BIT(32)), ERR_FAULT);
	assert_int_equal(vmx_write_dr(&v, 7, 0xffff), 0);
	assert_int_equal(vmcs_read(GUEST_DR7), 0x27ff);
	assert_true(v.dr_loaded); /* breakpoints are on */
}

/* DR4 and DR5 are DR6 and DR7, or nothing. */
static void names_of_old(void **state)
{
	u64 value;

	assert_int_equal(vmx_write_dr(&v, 5, DR7_L0), 0);
	assert_int_equal(vmx_read_dr(&v, 7, &value), 0);
	assert_int_equal(value, DR7_FIXED | DR7_L0);
	assert_int_equal(vmx_read_dr(&v, 4, &value), 0);
	assert_int_equal(value, DR6_FIXED);
	vmcs_write(GUEST_CR4, CR4_DE);
	assert_int_equal(vmx_read_dr(&v, 4, &value), ERR_INVAL);
	assert_int_equal(vmx_write_dr(&v, 5, 0), ERR_INVAL);
}

static void general_detect(void **state)
{
	u64 value;

	vmcs_write(GUEST_DR7, DR7_FIXED | DR7_GD);
	assert_int_equal(vmx_read_dr(&v, 0, &value), ERR_BUSY);
	assert_int_equal(injected, 1);
	assert_int_equal(v.dr6, DR6_FIXED | DR6_BD);
	/* It is off for the handler. */
	assert_int_equal(vmx_write_dr(&v, 0, 5), 0);
	assert_int_equal(injected, 1);
}

/* As it does where it is delivered (SDM 3B 18.4.3): the debugger sets BTF again for the next branch. */
static void a_cause_ends_the_branch_step(void **state)
{
	vmcs_write(GUEST_DR7, DR7_FIXED | DR7_GD);
	vmcs_write(GUEST_DEBUGCTL, DEBUGCTL_BTF);
	debug_regs_raise(&v, DR6_BS);
	assert_int_equal(v.dr6, DR6_FIXED | DR6_BS);
	assert_int_equal(vmcs_read(GUEST_DR7), DR7_FIXED);
	assert_int_equal(vmcs_read(GUEST_DEBUGCTL), 0);
}

/* The vCPU is switched out wherever interrupts are found on. */
static void cause_survives_a_switch(void **state)
{
	for (switching = AND_BACK; switching <= AND_AWAY; switching++) {
		reset();
		load_them();
		vmcs_write(GUEST_DR7, switching == AND_BACK ? DR7_FIXED | DR7_L0 : DR7_FIXED);
		debug_regs_raise(&v, DR6_BS | 1);
		irq_disable();
		debug_regs_save(&v);
		irq_enable();
		assert_int_equal(v.dr6, DR6_FIXED | DR6_BS | 1);
		/* None of another guest's. */
		for (u32 i = 0; i < 4; i++)
			assert_int_equal(v.dr[i], 0);
	}
}

static void moves_survive_a_switch(void **state)
{
	u64 value;

	for (switching = AND_BACK; switching <= AND_AWAY; switching++) {
		for (u32 n = 0; n < 4; n++) {
			reset();
			load_them();
			vmcs_write(GUEST_DR7,
				   switching == AND_BACK ? DR7_FIXED | DR7_L0 : DR7_FIXED);
			assert_int_equal(vmx_write_dr(&v, n, 0x1000 + n), 0);
			assert_int_equal(vmx_read_dr(&v, n, &value), 0);
			assert_int_equal(value, 0x1000 + n);
		}
		assert_int_equal(switches, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(switched_with_the_vcpu, setup, teardown),
		cmocka_unit_test_setup_teardown(moved_in_software, setup, teardown),
		cmocka_unit_test_setup_teardown(names_of_old, setup, teardown),
		cmocka_unit_test_setup_teardown(general_detect, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cause_ends_the_branch_step, setup, teardown),
		cmocka_unit_test_setup_teardown(cause_survives_a_switch, setup, teardown),
		cmocka_unit_test_setup_teardown(moves_survive_a_switch, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
