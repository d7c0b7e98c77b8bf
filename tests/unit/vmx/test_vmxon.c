/* SPDX-License-Identifier: MIT */
/*
 * Each CPU's way into VMX operation: what it is told, what is made of one that fails, in which
 * words, and that the others run on.
 */
/* unit-sources: vmx/vmxon.c vmx/capability.c vmx/capability_serves.c */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "smp/ipi.h"
#include "smp/irq.h"
#include "tests/hosted/hosted.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/cpuid.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

#define CPUS	 4
#define REVISION 0x1234u
#define NO_MSR	 (~0ull)
#define ENABLED	 (FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_OUT_SMX)

struct fake_cpu {
	bool has_vmx, vmxon_fails, on;
	u64 feature_control; /* NO_MSR: faults */
	u64 pin;
	u64 test_ctrl;
	u64 cr0, cr4;
};

static struct fake_cpu cpus[CPUS];
static u32 frames_left, mitigated, disowned;

static struct fake_cpu *here(void)
{
	return &cpus[cpu_id()];
}

static struct cpuid_regs host_cpuid(u32 leaf, u32 subleaf)
{
	return (struct cpuid_regs){
		.ecx = leaf == 1 ? (here()->has_vmx ? CPUID_1_ECX_VMX : 0) | CPUID_1_ECX_XSAVE : 0};
}

static u64 host_rdmsr(u32 index)
{
	switch (index) {
	case MSR_IA32_FEATURE_CONTROL:
		assert_true(here()->feature_control != NO_MSR);
		return here()->feature_control;
	case MSR_IA32_VMX_BASIC:
		return REVISION;
	case MSR_IA32_VMX_PINBASED:
		return here()->pin;
	case MSR_IA32_VMX_CR0_FIXED0:
		return CR0_PE | CR0_NE | CR0_PG;
	case MSR_IA32_VMX_CR4_FIXED0:
		return CR4_VMXE;
	case MSR_IA32_VMX_CR0_FIXED1:
	case MSR_IA32_VMX_CR4_FIXED1:
		return ~0ull;
	default:
		return 0;
	}
}

int rdmsr_safe(u32 index, u64 *value)
{
	if (index == MSR_IA32_FEATURE_CONTROL && here()->feature_control == NO_MSR)
		return ERR_FAULT;
	*value = index == MSR_TEST_CTRL ? here()->test_ctrl : host_rdmsr(index);
	return 0;
}

int wrmsr_safe(u32 index, u64 value)
{
	if (index == MSR_TEST_CTRL) {
		here()->test_ctrl = value;
		return 0;
	}
	assert_int_equal(index, MSR_IA32_FEATURE_CONTROL);
	if (here()->feature_control & FEATURE_CONTROL_LOCKED)
		return ERR_FAULT;
	here()->feature_control = value;
	return 0;
}

/* VMfailInvalid and #GP look the same from here: true. */
static bool fake_vmxon(hpa_t region)
{
	assert_int_equal(*(u32 *)phys_to_virt(region), REVISION);
	assert_true(is_aligned(region.v, PAGE_SIZE));
	assert_true(hosted_cr[4] & CR4_VMXE);
	assert_int_equal(here()->feature_control & ENABLED, ENABLED);
	if (here()->vmxon_fails)
		return true;
	assert_false(here()->on);
	here()->on = true;
	return false;
}

static void fake_vmxoff(void)
{
	assert_true(here()->on);
	here()->on = false;
}

/* Each CPU in turn. */
void ipi_call_all(void (*fn)(void *), void *arg)
{
	for (u32 id = 0; id < cpu_count(); id++) {
		hosted_cpu_set(id);
		hosted_cr[0] = here()->cr0;
		hosted_cr[4] = here()->cr4;
		fn(arg);
		here()->cr0 = hosted_cr[0];
		here()->cr4 = hosted_cr[4];
	}
	hosted_cpu_set(0);
}

void *frame_alloc_page(u32 flags)
{
	static u64 next = PAGE_SIZE;

	if (!frames_left)
		return NULL;
	frames_left--;
	next += PAGE_SIZE;
	return phys_to_virt(HPA(next));
}

void msr_bitmap_init(void)
{
}

void mitigations_init(void)
{
}

void pml_init(void)
{
}

void mitigations_init_cpu(void)
{
	mitigated++;
}

void vcpu_disown_cpu(struct vmx_vcpu *v)
{
	disowned++;
}

u64 cpuid_xcr0_offered(void)
{
	return 7;
}

static int setup(void **state)
{
	hosted_arena_init(MIB(1));
	hosted_machine = (struct hosted_machine){.cpuid = host_cpuid, .rdmsr = host_rdmsr};
	hosted_vmxon = fake_vmxon;
	hosted_vmxoff = fake_vmxoff;
	for (u32 i = 0; i < CPUS; i++)
		cpus[i] = (struct fake_cpu){
			.has_vmx = true,
			.pin = 5ull << 32 | 1,
			.cr0 = CR0_PE | CR0_PG | CR0_TS | CR0_EM,
		};
	memset(vmx_cpus, 0, sizeof(vmx_cpus));
	frames_left = CPUS;
	mitigated = disowned = 0;
	hosted_cpu_set(0);
	capability_read(&vmx_boot_capability);
	hosted_log_reset();
	return 0;
}

static int teardown(void **state)
{
	vmx_stop();
	return 0;
}

/* Alone, so that the last line is this CPU's. */
static void expect_refusal(const char *sentence)
{
	assert_int_equal(vmx_start(), ERR_NOTSUP);
	assert_non_null(strstr(hosted_log_last(), "CPU 0 hosts no vCPU: "));
	assert_non_null(strstr(hosted_log_last(), sentence));
	assert_false(vmx_cpu_ready(0));
	assert_false(cpus[0].on);
	assert_false(cpus[0].cr4 & CR4_VMXE);
	assert_int_equal(mitigated, 0);
}

static void test_each_refusal(void **state)
{
	assert_int_equal(cpu_count(), 1);
	cpus[0].has_vmx = false;
	expect_refusal("it has no VMX, as the boot CPU has");
	cpus[0].has_vmx = true;
	cpus[0].feature_control = NO_MSR;
	expect_refusal("it has VMX, but no IA32_FEATURE_CONTROL");
	cpus[0].feature_control = FEATURE_CONTROL_LOCKED;
	expect_refusal("its firmware locked VMX off: turn on Intel VT-x");
	cpus[0].feature_control = 0;
	cpus[0].pin = 1ull << 32 | 1; /* no NMI exiting */
	vmx_boot_capability.pin |= (u64)PIN_NMI << 32;
	expect_refusal("it lacks what the boot CPU has, as the line before says");
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	vmx_boot_capability.pin = cpus[0].pin;
	cpus[0].vmxon_fails = true;
	expect_refusal("VMXON failed");
	cpus[0].vmxon_fails = false;
	vmx_cpus[0].region = NULL;
	frames_left = 0;
	expect_refusal("no memory for its VMXON region");
	/* And what has failed may go on later. */
	frames_left = 1;
	assert_int_equal(vmx_start(), 0);
	assert_true(vmx_cpu_ready(0) && cpus[0].on);
	assert_int_equal(hosted_log_count(LOG_ERROR), 6);
}

static void test_all_start(void **state)
{
	cpus[1].feature_control = ENABLED;
	cpus[2].test_ctrl = TEST_CTRL_SPLIT_LOCK | BIT(31);
	assert_int_equal(vmx_start(), 0);
	assert_string_equal(hosted_log_last(), "VMX: on, 4 of 4 CPUs");
	assert_int_equal(hosted_log_count(LOG_ERROR), 0);
	assert_int_equal(mitigated, CPUS);
	assert_int_equal(cpus[2].test_ctrl, BIT(31));
	for (u32 i = 0; i < CPUS; i++) {
		assert_true(vmx_cpu_ready(i) && cpus[i].on);
		assert_int_equal(cpus[i].feature_control, ENABLED);
		assert_int_equal(cpus[i].cr0, CR0_PE | CR0_PG | CR0_NE | CR0_MP);
		assert_int_equal(cpus[i].cr4, CR4_VMXE | CR4_OSFXSR | CR4_OSXSAVE);
		for (u32 j = 0; j < i; j++)
			assert_ptr_not_equal(vmx_cpus[i].region, vmx_cpus[j].region);
	}
	/* Once more: nothing is done twice. */
	assert_int_equal(vmx_start(), 0);
	assert_int_equal(mitigated, CPUS);
}

/* Each of the others fails in its own way. */
static void test_one_is_left(void **state)
{
	cpus[0].feature_control = FEATURE_CONTROL_LOCKED;
	cpus[1].vmxon_fails = true;
	cpus[3].pin = 1ull << 32 | 3;
	assert_int_equal(vmx_start(), 0);
	assert_string_equal(hosted_log_last(), "VMX: on, 1 of 4 CPUs");
	assert_int_equal(hosted_log_count(LOG_ERROR), 3);
	for (u32 i = 0; i < CPUS; i++) {
		assert_int_equal(vmx_cpu_ready(i), i == 2);
		assert_int_equal(cpus[i].on, i == 2);
		assert_int_equal(!(cpus[i].cr4 & CR4_VMXE), i != 2);
	}
	assert_false(vmx_cpu_ready(CPUS) || vmx_cpu_ready(CPU_MAX));
}

static void test_stop_and_start(void **state)
{
	struct vmx_vcpu *somebody = (struct vmx_vcpu *)&cpus;

	cpus[3].vmxon_fails = true;
	assert_int_equal(vmx_start(), 0);
	vmx_cpus[1].owner = somebody;
	vmx_stop();
	assert_int_equal(disowned, 1);
	for (u32 i = 0; i < CPUS; i++)
		assert_true(!vmx_cpu_ready(i) && !cpus[i].on && !(cpus[i].cr4 & CR4_VMXE));
	vmx_cpus[1].owner = NULL;
	cpus[3].vmxon_fails = false;
	assert_int_equal(vmx_start(), 0);
	assert_string_equal(hosted_log_last(), "VMX: on, 4 of 4 CPUs");
	assert_int_equal(frames_left, 0);
}

static int setup_four(void **state)
{
	hosted_cpu_set(CPUS - 1);
	return setup(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* While there is one CPU. */
		cmocka_unit_test_setup_teardown(test_each_refusal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_start, setup_four, teardown),
		cmocka_unit_test_setup_teardown(test_one_is_left, setup_four, teardown),
		cmocka_unit_test_setup_teardown(test_stop_and_start, setup_four, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
