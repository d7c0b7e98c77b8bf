/* SPDX-License-Identifier: MIT */
/* CPUID exits: an answer that is kept is the one that would be given now. */
/* unit-sources: vmx/cpuid_exit.c vmx/regs.c */
#include "kernel/base/msr.h"
#include "tests/hosted/hosted.h"
#include "vmx/features.h"
#include "vmx/regs.h"

#include <cmocka.h>
#include <string.h>

#define LENGTH 2
#define ROUNDS 200000

struct guest_features guest_features;
static struct vmx_vcpu v;
static u32 computed;

/* Different for each leaf, subleaf and each thing that a guest may switch. */
void cpuid_policy(const struct cpuid_view *view, u32 leaf, u32 subleaf, struct cpuid_regs *out)
{
	computed++;
	*out = (struct cpuid_regs){leaf, subleaf, (u32)(view->cr4 ^ view->xcr0 << 8),
				   (u32)view->misc_enable ^ view->apic_id << 16};
}

bool clock_tsc_is_stable(void)
{
	return true;
}

u64 clock_tsc_khz(void)
{
	return 1000000;
}

static bool paravirt(u32 leaf, struct cpuid_regs *regs)
{
	if (leaf & 1)
		return false;
	*regs = (struct cpuid_regs){leaf, 1, 2, 3};
	return true;
}

static void execute(u32 leaf, u32 subleaf)
{
	struct vmx_exit e;

	v.regs.gpr[RAX] = 0xffffffff00000000ull | leaf;
	v.regs.gpr[RCX] = 0xffffffff00000000ull | subleaf;
	v.regs.gpr[RBX] = v.regs.gpr[RDX] = ~0ull;
	vmcs_write(GUEST_RIP, 0x1000);
	assert_int_equal(handle_cpuid(&v, &e), EXIT_RESUME);
	assert_int_equal(vmcs_read(GUEST_RIP), 0x1000 + LENGTH);
}

static void expect(u32 leaf, u32 subleaf)
{
	bool mine = leaf >= CPUID_PARAVIRT_FIRST && leaf <= CPUID_PARAVIRT_LAST;

	execute(leaf, subleaf);
	if (mine) {
		assert_int_equal(v.regs.gpr[RAX], leaf & 1 ? 0 : leaf);
		assert_int_equal(v.regs.gpr[RDX], leaf & 1 ? 0 : 3);
		return;
	}
	assert_int_equal(v.regs.gpr[RAX], leaf);
	assert_int_equal(v.regs.gpr[RBX], subleaf);
	assert_int_equal(v.regs.gpr[RCX], (u32)(vmcs_read(GUEST_CR4) ^ v.xcr0 << 8));
	assert_int_equal(v.regs.gpr[RDX], (u32)v.msr.misc_enable ^ v.config.vcpu_id << 16);
}

static int setup(void **state)
{
	memset(&v, 0, sizeof(v));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	vmcs_write(EXIT_INSTRUCTION_LENGTH, LENGTH);
	v.config.vcpu_id = 3;
	vmx_set_paravirt_cpuid(paravirt);
	cpuid_forget(&v);
	computed = 0;
	return 0;
}

static void kept(void **state)
{
	static const u32 first[] = {0, 0x80000000, 0x40000000};

	/* What a guest asks for has a place each. */
	for (u32 round = 0; round < 2; round++) {
		for (u32 i = 0; i < 0x17; i++)
			expect(i, 0);
		for (u32 i = 0; i <= 8; i++)
			expect(0x80000000 | i, 0);
		assert_int_equal(computed, 0x17 + 9);
	}
	for (u32 i = 0; i < 3; i++)
		expect(first[i], 0);
	assert_int_equal(computed, 0x17 + 9);
}

/* Subleaves and leaves that meet in one place. */
static void never_mixed_up(void **state)
{
	u64 seed = 0x9e3779b97f4a7c15ull;

	for (u32 i = 0; i < ROUNDS; i++) {
		u32 leaf, subleaf;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		leaf = (u32)(seed & 0x1f) | (u32)((seed >> 8) & 3) << 30;
		subleaf = (u32)(seed >> 16) & 7;
		if (((seed >> 24) & 7) == 0)
			leaf = subleaf = ~0u;
		expect(leaf, subleaf);
	}
}

static void forgotten(void **state)
{
	expect(1, 0);
	expect(0xd, 0);
	vmcs_write(GUEST_CR4, CR4_OSXSAVE);
	v.xcr0 = 7;
	v.msr.misc_enable = 1;
	cpuid_forget(&v);
	expect(1, 0);
	expect(0xd, 0);
}

/* All the places are empty at first, whatever is asked. */
static void nothing_at_first(void **state)
{
	for (u32 i = 0; i < 2 * CPUID_CACHED; i++) {
		cpuid_forget(&v);
		expect(i, 0);
		cpuid_forget(&v);
		expect(0, i);
	}
}

static void skips_slowly(void **state)
{
	vmcs_write(GUEST_RFLAGS, BIT(1) | RFLAGS_TF | RFLAGS_RF);
	vmcs_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS);
	vmcs_write(GUEST_RIP, 0xffffffff);
	handle_cpuid(&v, NULL);
	assert_true(v.regs_here && v.unprepared);
	regs_push(&v);
	assert_int_equal(vmcs_read(GUEST_RIP), 1); /* 32-bit code: it wraps */
	assert_int_equal(vmcs_read(GUEST_RFLAGS), BIT(1) | RFLAGS_TF);
	assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
	assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_BS);
	assert_false(v.regs_here);
}

static void crosses_4g(void **state)
{
	vmcs_write(GUEST_RIP, 0xffffffff);
	handle_cpuid(&v, NULL);
	regs_push(&v);
	assert_int_equal(vmcs_read(GUEST_RIP), 1);
	v.msr.efer = EFER_LMA;
	vmcs_write(GUEST_CS_ACCESS, ACCESS_LONG);
	vmcs_write(GUEST_RIP, 0xffffffff);
	handle_cpuid(&v, NULL);
	regs_push(&v);
	assert_int_equal(vmcs_read(GUEST_RIP), 0x100000001ull);
	vmcs_write(GUEST_RIP, 0xffffffff80000000ull);
	handle_cpuid(&v, NULL);
	assert_false(v.regs_here);
	assert_int_equal(vmcs_read(GUEST_RIP), 0xffffffff80000002ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(kept, setup),
		cmocka_unit_test_setup(never_mixed_up, setup),
		cmocka_unit_test_setup(forgotten, setup),
		cmocka_unit_test_setup(nothing_at_first, setup),
		cmocka_unit_test_setup(skips_slowly, setup),
		cmocka_unit_test_setup(crosses_4g, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
