/* SPDX-License-Identifier: MIT */
/* Controls chosen by capability MSRs, what a CPU must have and what a person is told, VPIDs. */
/* unit-sources: vmx/capability.c vmx/capability_serves.c vmx/requirements.c */
#include <setjmp.h>
#include <cmocka.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "smp/irq.h"
#include "tests/hosted/hosted.h"
#include "vmx/controls.h"
#include "vmx/requirements.h"
#include "vmx/vmx.h"

#define MAY(bits) ((u64)(bits) << 32)

static u32 cpuid_1_ecx;
static struct vmx_findings cpu;

static struct cpuid_regs host_cpuid(u32 leaf, u32 subleaf)
{
	return (struct cpuid_regs){.ecx = cpuid_1_ecx, .edx = cpu.has_pat ? BIT(16) : 0};
}

static u64 host_rdmsr(u32 index)
{
	const struct vmx_capability *c = &cpu.capability;
	bool older = index >= MSR_IA32_VMX_PINBASED && index <= MSR_IA32_VMX_ENTRY;
	bool newer = index >= MSR_IA32_VMX_TRUE_PINBASED && index <= MSR_IA32_VMX_TRUE_ENTRY;

	/* Where there are the newer ones they are what counts; elsewhere they fault. */
	if (c->basic & VMX_BASIC_TRUE ? older : newer)
		fail_msg("MSR %#x is read", index);
	switch (index) {
	case MSR_IA32_FEATURE_CONTROL:
		return cpu.feature_control;
	case MSR_IA32_VMX_BASIC:
		return c->basic;
	case MSR_IA32_VMX_PINBASED:
	case MSR_IA32_VMX_TRUE_PINBASED:
		return c->pin;
	case MSR_IA32_VMX_PROCBASED:
	case MSR_IA32_VMX_TRUE_PROCBASED:
		return c->proc;
	case MSR_IA32_VMX_EXIT:
	case MSR_IA32_VMX_TRUE_EXIT:
		return c->exit;
	case MSR_IA32_VMX_ENTRY:
	case MSR_IA32_VMX_TRUE_ENTRY:
		return c->entry;
	case MSR_IA32_VMX_PROCBASED2:
		return c->proc2;
	case MSR_IA32_VMX_EPT_VPID_CAP:
		return c->ept_vpid;
	default:
		return 0;
	}
}

u64 cpuid_xcr0_offered(void)
{
	return cpu.capability.xcr0;
}

int rdmsr_safe(u32 index, u64 *value)
{
	*value = host_rdmsr(index);
	return 0;
}

/* A CPU that can do everything, with the bits that real ones insist on. */
static int setup(void **state)
{
	cpu = (struct vmx_findings){
		.has_vmx = true,
		.has_pat = true,
		.feature_control = FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_OUT_SMX,
		.capability =
			{
				.basic = 4 | 4096ull << 32 | 6ull << 50 | VMX_BASIC_TRUE,
				.pin = MAY(0xffffffff) | 0x16,
				.proc = MAY(0xffffffff) | 0x04006172,
				.proc2 = MAY(0xffffffff),
				.exit = MAY(0xffffffff) | 0x36dfb,
				.entry = MAY(0xffffffff) | 0x11fb,
				.ept_vpid = ~0ull,
				.xcr0 = 7,
			},
	};
	cpuid_1_ecx = BIT(5);
	hosted_machine.cpuid = host_cpuid;
	hosted_machine.rdmsr = host_rdmsr;
	hosted_log_reset();
	return 0;
}

static const char *sentence(void)
{
	struct vmx_findings f;

	requirements_look(&f);
	return requirements_unmet(&f);
}

static void adjusting(void **state)
{
	u32 out, missing;

	assert_int_equal(control_adjust(MAY(0xff) | 0x11, 0x02, 0x04, &out, &missing), 0);
	assert_int_equal(out, 0x17);
	assert_int_equal(missing, 0);
	/* An optional bit that the CPU lacks is left out. */
	assert_int_equal(control_adjust(MAY(0x13) | 0x11, 0x02, 0x04, &out, &missing), 0);
	assert_int_equal(out, 0x13);
	/* A required one fails, and is named. */
	assert_int_equal(control_adjust(MAY(0x11) | 0x11, 0x06, 0, &out, &missing), ERR_NOTSUP);
	assert_int_equal(missing, 0x06);
}

static void choosing(void **state)
{
	struct vmx_controls c = {.apicv = VMX_APICV_ALL};

	assert_int_equal(capability_choose(&cpu.capability, &c), 0);
	/* The windows are closed and no guest begins in IA-32e mode. */
	assert_int_equal(c.proc & (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW), 0);
	assert_int_equal(c.entry & ENTRY_IA32E, 0);
	assert_true(c.proc & PROC_SECONDARY);
	assert_true(c.proc2 & PROC2_VPID);
	/* What nobody asked for is off: no INVLPG, CR3 or RDTSC exits, no PML, no XSAVES. */
	assert_int_equal(c.proc & (PROC_INVLPG | PROC_CR3_LOAD | PROC_CR3_STORE | PROC_RDTSC), 0);
	assert_int_equal(c.proc2 & (PROC2_PML | PROC2_XSAVES | PROC2_VMFUNC | PROC2_VE), 0);
	assert_int_equal(c.pin, 0x16 | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS |
					PIN_PREEMPTION_TIMER);
	/* A VPID that cannot be flushed is of no use. */
	cpu.capability.ept_vpid &= ~VPID_CAP_INVVPID;
	assert_int_equal(capability_choose(&cpu.capability, &c), 0);
	assert_int_equal(c.proc2 & PROC2_VPID, 0);
	cpu.capability.ept_vpid = ~VPID_CAP_ALL;
	assert_false(capability_has_vpid(&cpu.capability));
	assert_int_equal(hosted_log_count(LOG_ERROR), 0);
}

static void local_apic(void **state)
{
	struct vmx_controls c = {.apicv = VMX_APICV_ALL};
	u32 cr8 = PROC_CR8_LOAD | PROC_CR8_STORE;

	assert_int_equal(capability_choose(&cpu.capability, &c), 0);
	assert_int_equal(c.apicv, VMX_APICV_POSTED);
	assert_string_equal(capability_apicv_name(c.apicv), "posted");
	assert_int_equal(c.proc & (PROC_TPR_SHADOW | cr8), PROC_TPR_SHADOW);
	/* Not wanted, and not there: MOV CR8 exits. */
	c.apicv = VMX_APICV_OFF;
	assert_int_equal(capability_choose(&cpu.capability, &c), 0);
	assert_int_equal(c.proc & (PROC_TPR_SHADOW | cr8), cr8);
	/* Each missing control takes what needs it, and no more. */
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_POSTED), VMX_APICV_POSTED);
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_FULL), VMX_APICV_FULL);
	cpu.capability.exit &= ~MAY(EXIT_ACKNOWLEDGE_INTERRUPT);
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_POSTED), VMX_APICV_FULL);
	cpu.capability.exit |= MAY(EXIT_ACKNOWLEDGE_INTERRUPT);
	cpu.capability.pin &= ~MAY(PIN_POSTED_INTERRUPTS);
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_POSTED), VMX_APICV_FULL);
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_ALL), VMX_APICV_REGISTERS);
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_FULL), VMX_APICV_FULL);
	cpu.capability.proc2 &= ~MAY(PROC2_INTERRUPT_DELIVERY);
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_FULL), VMX_APICV_REGISTERS);
	cpu.capability.proc2 &= ~MAY(PROC2_X2APIC);
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_ALL), VMX_APICV_ACCESS);
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_TPR), VMX_APICV_TPR);
	cpu.capability.proc2 &= ~MAY(PROC2_APIC_ACCESS);
	assert_int_equal(capability_apicv(&cpu.capability, VMX_APICV_ALL), VMX_APICV_TPR);
	c.apicv = VMX_APICV_ALL;
	cpu.capability.proc &= ~MAY(PROC_TPR_SHADOW);
	assert_int_equal(capability_choose(&cpu.capability, &c), 0);
	assert_int_equal(c.apicv, VMX_APICV_OFF);
	assert_string_equal(capability_apicv_name(c.apicv), "off");
	assert_int_equal(c.proc & (PROC_TPR_SHADOW | cr8), cr8);
}

static void every_level_has_its_name(void **state)
{
	for (u32 i = VMX_APICV_OFF; i <= VMX_APICV_ALL; i++) {
		assert_non_null(capability_apicv_name(i));
		for (u32 j = 0; j < i; j++)
			assert_string_not_equal(capability_apicv_name(i), capability_apicv_name(j));
	}
}

static void a_missing_control_is_one_line(void **state)
{
	struct vmx_controls c = {.apicv = VMX_APICV_ALL};

	cpu.capability.proc &= ~MAY(PROC_MONITOR);
	assert_int_equal(capability_choose(&cpu.capability, &c), ERR_NOTSUP);
	assert_int_equal(hosted_log_count(LOG_ERROR), 1);
	assert_non_null(strstr(hosted_log_last(), "0x20000000"));
}

static void a_good_cpu_is_not_refused(void **state)
{
	assert_null(sentence());
	cpu.feature_control = 0; /* unlocked: Weir locks it */
	assert_null(sentence());
}

static void no_vmx_says_where_to_turn_it_on(void **state)
{
	cpuid_1_ecx = 0;
	assert_non_null(strstr(sentence(), "VMX"));
	assert_non_null(strstr(sentence(), "VT-x"));
	assert_non_null(strstr(sentence(), "firmware setup"));
}

static void locked_off_says_where_to_turn_it_on(void **state)
{
	static const u64 off[] = {FEATURE_CONTROL_LOCKED,
				  FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_IN_SMX};

	for (u32 i = 0; i < ARRAY_SIZE(off); i++) {
		cpu.feature_control = off[i];
		assert_non_null(strstr(sentence(), "locked"));
		assert_non_null(strstr(sentence(), "turn on Intel VT-x"));
	}
}

/* Each thing taken away by itself gets its own sentence. */
static void each_requirement_has_its_sentence(void **state)
{
	struct vmx_capability *c = &cpu.capability, all;
	struct {
		u64 *word;
		u64 without;
		const char *says;
	} cases[] = {
		{&c->basic, 2ull << 50, "write-back"},
		{&c->basic, 4096ull << 32, "size"},
		{&c->proc, MAY(PROC_SECONDARY), "secondary"},
		{&c->proc, MAY(PROC_MSR_BITMAPS), "MSR bitmaps"},
		{&c->pin, MAY(PIN_VIRTUAL_NMIS), "virtual NMIs"},
		{&c->exit, MAY(EXIT_HOST_64BIT), "64-bit"},
		{&c->exit, MAY(EXIT_LOAD_EFER), "EFER"},
		{&c->entry, MAY(ENTRY_LOAD_EFER), "EFER"},
		{&c->exit, MAY(EXIT_SAVE_PAT), "PAT"},
		{&c->entry, MAY(ENTRY_LOAD_PAT), "PAT"},
		{&c->ept_vpid, EPT_CAP_WALK_4, "4 levels"},
		{&c->ept_vpid, EPT_CAP_WB, "write-back"},
		{&c->ept_vpid, EPT_CAP_INVEPT, "INVEPT"},
		{&c->ept_vpid, EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL, "INVEPT"},
	};

	all = *c;
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		*c = all;
		*cases[i].word &= ~cases[i].without;
		if (!sentence() || !strstr(sentence(), cases[i].says))
			fail_msg("%s: %s", cases[i].says, sentence() ? sentence() : "accepted");
	}
	*c = all;
	cpu.has_pat = false;
	assert_non_null(strstr(sentence(), "PAT"));
}

/* Shadow paging is for CPUs that are older than these controls. */
static void without_ept_less_is_required(void **state)
{
	struct vmx_capability *c = &cpu.capability;
	struct vmx_controls out;

	c->proc2 &= ~(MAY(PROC2_EPT) | MAY(PROC2_UNRESTRICTED));
	c->exit &= ~(MAY(EXIT_SAVE_EFER) | MAY(EXIT_LOAD_EFER) | MAY(EXIT_SAVE_PAT) |
		     MAY(EXIT_LOAD_PAT));
	c->entry &= ~(MAY(ENTRY_LOAD_EFER) | MAY(ENTRY_LOAD_PAT));
	assert_null(sentence());
	assert_int_equal(capability_choose(c, &out), 0);
	assert_int_equal(out.proc2 & (PROC2_EPT | PROC2_UNRESTRICTED), 0);
	assert_int_equal(out.exit & (EXIT_LOAD_EFER | EXIT_LOAD_PAT), 0);
}

static void unrestricted_guest_is_used_where_it_is(void **state)
{
	struct vmx_controls out;

	assert_int_equal(capability_choose(&cpu.capability, &out), 0);
	assert_true(out.proc2 & PROC2_UNRESTRICTED);
	vmx_use_unrestricted_guest(false);
	assert_int_equal(capability_choose(&cpu.capability, &out), 0);
	assert_false(out.proc2 & PROC2_UNRESTRICTED);
	vmx_use_unrestricted_guest(true);
	cpu.capability.proc2 &= ~MAY(PROC2_UNRESTRICTED);
	assert_null(sentence());
	assert_int_equal(capability_choose(&cpu.capability, &out), 0);
	assert_false(out.proc2 & PROC2_UNRESTRICTED);
	assert_false(out.proc & (PROC_CR3_LOAD | PROC_CR3_STORE | PROC_INVLPG));
}

/*
 * A Xeon X5482 (Penryn), as its registers read: no TRUE MSRs, so that CR3 exits must be on, and
 * neither EPT nor a switch of EFER and PAT.
 */
static void core_2_is_good_enough(void **state)
{
	struct vmx_controls out = {.apicv = VMX_APICV_ALL};

	cpu.capability = (struct vmx_capability){
		.basic = 0x005a08000000000dull,
		.pin = 0x0000003f00000016ull,
		.proc = 0xf7f9fffe0401e172ull,
		.proc2 = 0x0000004100000000ull,
		.exit = 0x0003ffff00036dffull,
		.entry = 0x00003fff000011ffull,
	};
	assert_null(sentence());
	assert_int_equal(capability_choose(&cpu.capability, &out), 0);
	assert_int_equal(hosted_log_count(LOG_ERROR), 0);
	assert_int_equal(out.apicv, VMX_APICV_ACCESS);
	assert_int_equal(out.pin, 0x16 | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS);
	assert_int_equal(out.proc & 0x0401e172, 0x0401e172);
	assert_int_equal(out.proc & (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW), 0);
	assert_true(out.proc & PROC_PAUSE);
	assert_int_equal(out.proc2, PROC2_WBINVD);
	assert_int_equal(out.exit, 0x36dff | EXIT_HOST_64BIT);
	assert_int_equal(out.entry, 0x11ff);
}

/* Each PAUSE exits only where neither a loop of them nor time does. */
static void pauses_exit_for_want_of_a_better(void **state)
{
	u64 loop = MAY(PROC2_PAUSE_LOOP), timer = MAY(PIN_PREEMPTION_TIMER);
	struct vmx_controls out = {.apicv = VMX_APICV_ALL};

	for (u32 has = 0; has < 4; has++) {
		cpu.capability.proc2 = (cpu.capability.proc2 & ~loop) | (has & 1 ? loop : 0);
		cpu.capability.pin = (cpu.capability.pin & ~timer) | (has & 2 ? timer : 0);
		assert_int_equal(capability_choose(&cpu.capability, &out), 0);
		assert_int_equal(!(out.proc & PROC_PAUSE), has != 0);
		assert_int_equal(!(out.proc2 & PROC2_PAUSE_LOOP), !(has & 1));
	}
	cpu.capability.proc2 &= ~loop;
	cpu.capability.pin &= ~timer;
	cpu.capability.proc &= ~MAY(PROC_PAUSE);
	assert_null(sentence());
	assert_int_equal(capability_choose(&cpu.capability, &out), 0);
	assert_false(out.proc & PROC_PAUSE);
}

static const char *in_the_way(const struct vmx_capability *here)
{
	struct capability_difference d = {0};

	return capability_serves(&cpu.capability, here, &d) ? NULL : d.what;
}

/* Cores of two kinds: what Weir uses nothing of may differ, and the other one may have more. */
static void another_kind_of_core_serves(void **state)
{
	struct vmx_capability here;

	cpu.capability.cr4_fixed1 = ~0ull;
	here = cpu.capability;
	assert_null(in_the_way(&here));
	here.basic ^= BIT(54);
	here.proc &= ~MAY(PROC_RDTSC);
	here.proc2 &= ~(MAY(PROC2_TSC_SCALING) | MAY(PROC2_VMCS_SHADOWING));
	here.ept_vpid &= ~(EPT_CAP_1G | EPT_CAP_EXEC_ONLY);
	here.misc ^= BIT(29);
	here.xcr0 |= 0xe0;
	here.cr4_fixed1 &= ~(u64)CR4_PKE;
	assert_null(in_the_way(&here));
	/* What the boot CPU lacks nobody asks for. */
	here = cpu.capability;
	cpu.capability.proc2 &= ~MAY(PROC2_PML);
	cpu.capability.ept_vpid &= ~EPT_CAP_AD;
	assert_null(in_the_way(&here));
	/* A bit that must be 1 on the boot CPU is set in each vCPU anyway. */
	here.exit &= ~(u64)BIT(17);
	assert_null(in_the_way(&here));
}

static void what_stands_in_the_way_is_named(void **state)
{
	static struct vmx_capability here;
	struct {
		u64 *word;
		u64 flip;
		const char *what;
	} cases[] = {
		{&here.basic, 1, "basic"},
		{&here.basic, BIT(51), "basic"},
		{&here.pin, MAY(PIN_PREEMPTION_TIMER), "pin-based"},
		{&here.pin, MAY(PIN_POSTED_INTERRUPTS), "pin-based"},
		{&here.proc, MAY(PROC_TPR_SHADOW), "processor-based"},
		{&here.proc, MAY(PROC_PAUSE), "processor-based"},
		{&here.proc, PROC_INVLPG, "processor-based"}, /* must be 1 here alone */
		{&here.proc, MAY(BIT(1)), "processor-based"}, /* must be 1 there */
		{&here.proc2, MAY(PROC2_UNRESTRICTED), "secondary processor-based"},
		{&here.exit, MAY(EXIT_LOAD_EFER), "VM-exit"},
		{&here.exit, MAY(EXIT_ACKNOWLEDGE_INTERRUPT), "VM-exit"},
		{&here.entry, MAY(ENTRY_IA32E), "VM-entry"},
		{&here.ept_vpid, EPT_CAP_AD, "EPT and VPID"},
		{&here.misc, 1, "miscellaneous"},
		{&here.cr0_fixed0, CR0_NW, "CR0 fixed to 1"},
		{&here.cr0_fixed1, CR0_PG, "CR0 fixed to 0"},
		{&here.cr4_fixed0, CR4_SMXE, "CR4 fixed to 1"},
		{&here.cr4_fixed1, CR4_SMAP, "CR4 fixed to 0"},
		{&here.xcr0, 4, "XCR0"},
	};
	struct capability_difference d;

	cpu.capability.cr0_fixed1 = cpu.capability.cr4_fixed1 = ~0ull;
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		here = cpu.capability;
		*cases[i].word ^= cases[i].flip;
		assert_false(capability_serves(&cpu.capability, &here, &d));
		assert_string_equal(d.what, cases[i].what);
		assert_int_equal(d.here, *cases[i].word);
		assert_int_equal(d.here ^ d.boot, cases[i].flip);
	}
}

/*
 * capability_choose and capability_serves have each a list of what Weir uses: none is left out
 * here.
 */
static void a_control_that_is_chosen_has_to_be_there(void **state)
{
	static const u32 offsets[][2] = {
		{offsetof(struct vmx_capability, pin), offsetof(struct vmx_controls, pin)},
		{offsetof(struct vmx_capability, proc), offsetof(struct vmx_controls, proc)},
		{offsetof(struct vmx_capability, proc2), offsetof(struct vmx_controls, proc2)},
		{offsetof(struct vmx_capability, exit), offsetof(struct vmx_controls, exit)},
		{offsetof(struct vmx_capability, entry), offsetof(struct vmx_controls, entry)},
	};
	u32 looked_at = 0;

	for (u32 level = VMX_APICV_OFF; level <= VMX_APICV_ALL; level++) {
		struct vmx_controls out = {.apicv = level};

		assert_int_equal(capability_choose(&cpu.capability, &out), 0);
		for (u32 n = 0; n < ARRAY_SIZE(offsets) * 32; n++) {
			struct vmx_capability here = cpu.capability;
			u32 bit = 1u << n % 32;
			u64 *may = (u64 *)((u8 *)&here + offsets[n / 32][0]);
			u32 word;

			memcpy(&word, (u8 *)&out + offsets[n / 32][1], sizeof(word));
			if (!(word & bit))
				continue;
			*may &= ~((u64)bit << 32);
			assert_non_null(in_the_way(&here));
			looked_at++;
		}
	}
	assert_true(looked_at > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(adjusting, setup),
		cmocka_unit_test_setup(without_ept_less_is_required, setup),
		cmocka_unit_test_setup(choosing, setup),
		cmocka_unit_test_setup(another_kind_of_core_serves, setup),
		cmocka_unit_test_setup(a_control_that_is_chosen_has_to_be_there, setup),
		cmocka_unit_test_setup(what_stands_in_the_way_is_named, setup),
		cmocka_unit_test_setup(core_2_is_good_enough, setup),
		cmocka_unit_test_setup(pauses_exit_for_want_of_a_better, setup),
		cmocka_unit_test_setup(local_apic, setup),
		cmocka_unit_test_setup(every_level_has_its_name, setup),
		cmocka_unit_test_setup(a_missing_control_is_one_line, setup),
		cmocka_unit_test_setup(a_good_cpu_is_not_refused, setup),
		cmocka_unit_test_setup(no_vmx_says_where_to_turn_it_on, setup),
		cmocka_unit_test_setup(locked_off_says_where_to_turn_it_on, setup),
		cmocka_unit_test_setup(each_requirement_has_its_sentence, setup),
		cmocka_unit_test_setup(unrestricted_guest_is_used_where_it_is, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
