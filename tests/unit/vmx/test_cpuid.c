/* SPDX-License-Identifier: MIT */
/* What a guest reads by CPUID, over a CPU that claims everything and one that has little. */
/* unit-sources: vmx/cpuid.c */
#include <setjmp.h>
#include <cmocka.h>
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "vmx/cpuid.h"
#include "vmx/msr_policy.h"
#include "vmx/xcr0.h"

#define EVERYTHING ((struct cpuid_regs){~0u, ~0u, ~0u, ~0u})

static u64 host_xcr0;
static bool
	host_odd_layout; /* a component that does not end on 64 bytes, an aligned one after it */
static u32 host_last;
static u32 host_extended_last;

/* Components as Intel's client CPUs place them; 9 is PKRU, 17 and 18 AMX. */
static struct cpuid_regs component(u32 i)
{
	static const struct {
		u32 size, offset, flags;
	} c[64] = {
		[2] = {256, 576, 0},	[5] = {64, 1088, 0}, [6] = {512, 1152, 0},
		[7] = {1024, 1664, 0},	[9] = {8, 2688, 0},  [17] = {64, 2752, 2},
		[18] = {8192, 2816, 2},
	};

	if (i >= 64 || !(host_xcr0 & BIT(i)))
		return (struct cpuid_regs){0};
	if (host_odd_layout && i == 5)
		return (struct cpuid_regs){8, 1088, 0, 0};
	if (host_odd_layout && i == 6)
		return (struct cpuid_regs){512, 1152, 2, 0};
	return (struct cpuid_regs){c[i].size, c[i].offset, c[i].flags, 0};
}

static struct cpuid_regs host(u32 leaf, u32 subleaf)
{
	if (leaf == 0)
		return (struct cpuid_regs){host_last, 0x756e6547, 0x6c65746e, 0x49656e69};
	if (leaf == 0x80000000)
		return (struct cpuid_regs){host_extended_last, 0, 0, 0};
	if (leaf == 0xd && subleaf == 0) /* wrong sizes: nobody may believe them */
		return (struct cpuid_regs){(u32)host_xcr0, 9999, 9999, (u32)(host_xcr0 >> 32)};
	if (leaf == 0xd && subleaf == 1)
		return (struct cpuid_regs){~0u, 9999, ~0u, ~0u};
	if (leaf == 0xd)
		return component(subleaf);
	if (leaf == 4)
		return subleaf < 4 ? (struct cpuid_regs){0xfc004001 | (subleaf + 1) << 5, 7, 63, 0}
				   : (struct cpuid_regs){0};
	if (leaf == 0x80000008)
		return (struct cpuid_regs){39 | 57 << 8 | 40 << 16, ~0u, ~0u, ~0u};
	return EVERYTHING;
}

static struct cpuid_view view_all(void)
{
	return (struct cpuid_view){
		.rdtscp = true,
		.invpcid = true,
		.xcr0_offered = XCR0_KNOWN,
		.tsc_khz = 2496000,
		.tsc_stable = true,
		.vcpu_count = 1,
		.xcr0 = XCR0_X87,
		.misc_enable = MISC_ENABLE_RESET,
	};
}

static struct cpuid_regs ask(const struct cpuid_view *v, u32 leaf, u32 subleaf)
{
	struct cpuid_regs r = {0xdead, 0xdead, 0xdead, 0xdead};

	cpuid_policy(v, leaf, subleaf, &r);
	return r;
}

static int setup(void **state)
{
	hosted_machine.cpuid = host;
	host_xcr0 = XCR0_KNOWN | BIT(9) | BIT(17) | BIT(18) | BIT(3) | BIT(4);
	host_last = 0x20;
	host_extended_last = 0x8000001f;
	return 0;
}

static void hidden_stays_hidden(void **state)
{
	struct cpuid_view v = view_all();
	struct cpuid_regs one = ask(&v, 1, 0), seven = ask(&v, 7, 0);

	/* MONITOR DS-CPL VMX SMX EIST TM2 CNXT-ID xTPR PDCM DCA OSXSAVE */
	assert_int_equal(one.ecx & (BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(10) |
				    BIT(14) | BIT(15) | BIT(18) | BIT(27)),
			 0);
	/* PSN DS ACPI HTT TM PBE */
	assert_int_equal(one.edx & (BIT(18) | BIT(21) | BIT(22) | BIT(28) | BIT(29) | BIT(31)), 0);
	/* SGX HLE RTM PQM MPX PQE PT */
	assert_int_equal(
		seven.ebx & (BIT(2) | BIT(4) | BIT(11) | BIT(12) | BIT(14) | BIT(15) | BIT(25)), 0);
	/* PKU OSPKE WAITPKG CET_SS TME LA57 MAWAU KL BUS_LOCK ENQCMD SGX_LC PKS */
	assert_int_equal(seven.ecx &
				 (BIT(3) | BIT(4) | BIT(5) | BIT(7) | BIT(13) | BIT(16) |
				  0x1full << 17 | BIT(23) | BIT(24) | BIT(29) | BIT(30) | BIT(31)),
			 0);
	/* UINTR TSXLDTRK PCONFIG ARCH_LBR CET_IBT AMX L1D_FLUSH CORE_CAP HYBRID */
	assert_int_equal(seven.edx & (BIT(5) | BIT(15) | BIT(16) | BIT(18) | BIT(19) | BIT(20) |
				      BIT(22) | BIT(24) | BIT(25) | BIT(28) | BIT(30)),
			 0);
	assert_int_equal(seven.eax, 1);
	/* Monitor, performance, quality of service, SGX, trace, future leaves. */
	static const u32 empty[] = {3, 5, 8, 9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x11, 0x12, 0x13, 0x14};

	for (u32 i = 0; i < ARRAY_SIZE(empty); i++) {
		struct cpuid_regs r = ask(&v, empty[i], 0), zero = {0};

		assert_memory_equal(&r, &zero, sizeof(r));
	}
	/* Of leaf 6 only that the LAPIC timer goes on. */
	assert_int_equal(ask(&v, 6, 0).eax, 4);
	assert_int_equal(ask(&v, 6, 0).ecx, 0);
	assert_int_equal(ask(&v, 7, 2).ebx | ask(&v, 7, 2).edx | ask(&v, 7, 2).eax, 0);
	/* AMX-FP16 and the like in the second subleaf. */
	assert_int_equal(ask(&v, 7, 1).eax & BIT(21), 0);
}

static void offered_comes_through(void **state)
{
	struct cpuid_view v = view_all();
	struct cpuid_regs one = ask(&v, 1, 0), seven = ask(&v, 7, 0);

	assert_int_equal(one.ecx, 0xf7fa3203);
	assert_int_equal(one.edx, 0x0f8bfbff);
	assert_true(seven.ebx & CPUID_7_EBX_ERMS);
	assert_true(seven.edx & CPUID_7_EDX_FSRM);
	assert_true(seven.ebx & BIT(16));
	assert_int_equal(ask(&v, 0x80000001, 0).edx,
			 BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29));
}

static void weir_provides_what_the_cpu_lacks(void **state)
{
	struct cpuid_view v = view_all();
	struct cpuid_regs one;

	v.xcr0_offered = 0;
	v.rdtscp = v.invpcid = false;
	host_last = 0; /* a CPU with nothing: every leaf above is absent */
	host_extended_last = 0x80000000;
	one = ask(&v, 1, 0);
	assert_int_equal(one.ecx, BIT(21) | BIT(24) | BIT(31));
	assert_int_equal(one.edx, BIT(7) | BIT(9) | BIT(12) | BIT(14));
	assert_int_equal(ask(&v, 7, 0).ebx, BIT(1));
	assert_int_equal(ask(&v, 0x80000001, 0).edx, 0);
	assert_int_equal(ask(&v, 0xd, 0).eax, 0);
	assert_int_equal(ask(&v, 0x80000007, 0).edx, BIT(8));
	v.tsc_stable = false;
	assert_int_equal(ask(&v, 0x80000007, 0).edx, 0);
}

static void dependants_go_with_what_they_need(void **state)
{
	struct cpuid_view v = view_all();
	u64 avx512_ebx = BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) |
			 BIT(31);

	v.xcr0_offered = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	assert_int_equal(ask(&v, 7, 0).ebx & avx512_ebx, 0);
	assert_true(ask(&v, 7, 0).ebx & BIT(5));
	v.xcr0_offered = XCR0_X87 | XCR0_SSE;
	assert_int_equal(ask(&v, 7, 0).ebx & BIT(5), 0);
	assert_int_equal(ask(&v, 1, 0).ecx & (BIT(12) | BIT(28) | BIT(29)), 0);
	assert_true(ask(&v, 1, 0).ecx & BIT(26));
	v.xcr0_offered = 0;
	assert_int_equal(ask(&v, 1, 0).ecx & BIT(26), 0);
	v.rdtscp = false;
	assert_int_equal(ask(&v, 7, 0).ecx & CPUID_7_ECX_RDPID, 0);
	assert_int_equal(ask(&v, 0x80000001, 0).edx & CPUID_81_EDX_RDTSCP, 0);
	v.invpcid = false;
	assert_int_equal(ask(&v, 7, 0).ebx & CPUID_7_EBX_INVPCID, 0);
}

static void fast_strings_are_one_matter(void **state)
{
	struct cpuid_view v = view_all();

	v.misc_enable = 0;
	assert_int_equal(ask(&v, 7, 0).ebx & CPUID_7_EBX_ERMS, 0);
	assert_int_equal(ask(&v, 7, 0).edx & CPUID_7_EDX_FSRM, 0);
	assert_int_equal(ask(&v, 7, 1).eax & (BIT(10) | BIT(11) | BIT(12)), 0);
}

static void osxsave_follows_cr4(void **state)
{
	struct cpuid_view v = view_all();

	assert_false(ask(&v, 1, 0).ecx & CPUID_1_ECX_OSXSAVE);
	v.cr4 = CR4_OSXSAVE;
	assert_true(ask(&v, 1, 0).ecx & CPUID_1_ECX_OSXSAVE);
}

static void xsave_sizes_fit_the_components(void **state)
{
	struct cpuid_view v = view_all();
	struct cpuid_regs r = ask(&v, 0xd, 0);

	assert_int_equal(r.eax, XCR0_KNOWN);
	assert_int_equal(r.edx, 0);
	assert_int_equal(r.ebx, 576);
	assert_int_equal(r.ecx, 2688);
	v.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	assert_int_equal(ask(&v, 0xd, 0).ebx, 832);
	assert_int_equal(ask(&v, 0xd, 1).ebx, 832);
	v.xcr0 = XCR0_KNOWN;
	assert_int_equal(ask(&v, 0xd, 0).ebx, 2688);
	/* Compacted there is no gap. */
	assert_int_equal(ask(&v, 0xd, 1).ebx, 576 + 256 + 64 + 512 + 1024);
	host_odd_layout = true;
	v.xcr0 &= ~BIT(7);
	assert_int_equal(ask(&v, 0xd, 1).ebx, 576 + 256 + 64 + 512);
	host_odd_layout = false;
	/* XSAVEOPT, XSAVEC, XGETBV; no XSAVES. */
	assert_int_equal(ask(&v, 0xd, 1).eax, 7);
	assert_int_equal(ask(&v, 0xd, 1).ecx, 0);
	v.no_xsavec = true;
	assert_int_equal(ask(&v, 0xd, 1).eax, 5);
	assert_int_equal(ask(&v, 0xd, 1).ebx, 0);
	v.no_xsavec = false;
	assert_int_equal(ask(&v, 0xd, 2).eax, 256);
	assert_int_equal(ask(&v, 0xd, 2).ebx, 576);
	/* PKRU and AMX are not offered, and so their subleaves are empty. */
	assert_int_equal(ask(&v, 0xd, 9).eax, 0);
	assert_int_equal(ask(&v, 0xd, 18).eax, 0);
	assert_int_equal(ask(&v, 0xd, 63).eax, 0);
	assert_int_equal(ask(&v, 0xd, ~0u).eax, 0);
}

static void offered_components_stand_together(void **state)
{
	assert_int_equal(cpuid_xcr0_offered(), XCR0_KNOWN);
	host_xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX | BIT(5) | BIT(6); /* one of three is missing */
	assert_int_equal(cpuid_xcr0_offered(), XCR0_X87 | XCR0_SSE | XCR0_AVX);
	host_xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX512;
	assert_int_equal(cpuid_xcr0_offered(), XCR0_X87 | XCR0_SSE);
	host_last = 0xb;
	assert_int_equal(cpuid_xcr0_offered(), 0);
}

static void xsetbv_takes_what_the_manual_allows(void **state)
{
	u64 all = XCR0_KNOWN;

	for (u64 value = 0; value < 1024; value++) {
		bool x87 = value & 1, sse = value & 2, avx = value & 4;
		u64 wide = value & 0xe0;
		bool good = x87 && !(value & ~all) && (!avx || sse) && (!wide || wide == 0xe0) &&
			    (!wide || avx);

		if (xcr0_valid(value, all) != good)
			fail_msg("%#lx", (unsigned long)value);
	}
	assert_false(xcr0_valid(BIT(63) | 1, all));
	assert_false(xcr0_valid(7, 3));
	assert_true(xcr0_valid(3, 3));
	assert_false(xcr0_valid(1, 0));
}

static void topology_of_cores(void **state)
{
	struct cpuid_view v = view_all();
	struct cpuid_regs r;

	r = ask(&v, 0xb, 0);
	assert_int_equal(r.eax, 0);
	assert_int_equal(r.ebx, 1);
	assert_int_equal(r.ecx, 0x100);
	assert_int_equal(ask(&v, 0xb, 1).eax, 0);
	assert_int_equal(ask(&v, 0xb, 1).ebx, 1);

	v.vcpu_count = 5;
	v.apic_id = 4;
	r = ask(&v, 0xb, 1);
	assert_int_equal(r.eax, 3);
	assert_int_equal(r.ebx, 5);
	assert_int_equal(r.ecx, 0x201);
	assert_int_equal(r.edx, 4);
	r = ask(&v, 0xb, 2);
	assert_int_equal(r.eax | r.ebx, 0);
	assert_int_equal(r.ecx, 2);
	assert_int_equal(r.edx, 4);
	r = ask(&v, 1, 0);
	assert_int_equal(r.ebx >> 24, 4);
	assert_int_equal((r.ebx >> 16) & 0xff, 8);
	assert_true(r.edx & BIT(28));
	/* Level 1 belongs to one core, level 3 to all. */
	assert_int_equal((ask(&v, 4, 0).eax >> 14) & 0xfff, 0);
	assert_int_equal((ask(&v, 4, 2).eax >> 14) & 0xfff, 7);
	assert_int_equal(ask(&v, 4, 2).eax >> 26, 7);
	assert_int_equal(ask(&v, 4, 4).eax, 0);
}

static void frequency_is_exact(void **state)
{
	struct cpuid_view v = view_all();
	struct cpuid_regs r = ask(&v, 0x15, 0);

	assert_int_equal((u64)r.ecx * r.ebx / r.eax, v.tsc_khz * 1000);
	assert_int_equal(ask(&v, 0x16, 0).eax, 2496);
}

static void leaves_end_where_they_say(void **state)
{
	struct cpuid_view v = view_all();
	struct cpuid_regs last = ask(&v, 0x16, 0), r;

	assert_int_equal(ask(&v, 0, 0).eax, 0x16);
	assert_int_equal(ask(&v, 0x80000000, 0).eax, 0x80000008);
	static const u32 beyond[] = {0x17, 0x1f, 0x20, 0x3fffffff, 0x7fffffff, 0x80000009, ~0u};

	for (u32 i = 0; i < ARRAY_SIZE(beyond); i++) {
		r = ask(&v, beyond[i], 0);
		assert_memory_equal(&r, &last, sizeof(r));
	}
	/* 48 linear bits whatever the CPU has, no guest-physical limit, no other features. */
	r = ask(&v, 0x80000008, 0);
	assert_int_equal(r.eax, 39 | 48 << 8);
	assert_int_equal(r.ebx | r.ecx | r.edx, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(hidden_stays_hidden, setup),
		cmocka_unit_test_setup(offered_comes_through, setup),
		cmocka_unit_test_setup(weir_provides_what_the_cpu_lacks, setup),
		cmocka_unit_test_setup(dependants_go_with_what_they_need, setup),
		cmocka_unit_test_setup(fast_strings_are_one_matter, setup),
		cmocka_unit_test_setup(osxsave_follows_cr4, setup),
		cmocka_unit_test_setup(xsave_sizes_fit_the_components, setup),
		cmocka_unit_test_setup(offered_components_stand_together, setup),
		cmocka_unit_test_setup(xsetbv_takes_what_the_manual_allows, setup),
		cmocka_unit_test_setup(topology_of_cores, setup),
		cmocka_unit_test_setup(frequency_is_exact, setup),
		cmocka_unit_test_setup(leaves_end_where_they_say, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
