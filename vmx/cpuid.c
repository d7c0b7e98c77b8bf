/* SPDX-License-Identifier: MIT */
#include "kernel/base/msr.h"
#include "vmx/cpuid.h"
#include "vmx/xcr0.h"

#define LEAF_LAST	  0x16u
#define EXTENDED_FIRST	  0x80000000u
#define EXTENDED_LAST	  0x80000008u
#define LINEAR_BITS	  48u
#define LAPIC_TIMER_HZ	  1000000000u /* the virtual LAPIC counts nanoseconds */
#define MISC_FAST_STRINGS BIT(0)
#define EDX_1_HTT	  BIT(28)
#define EAX_6_ARAT	  BIT(2) /* the LAPIC timer never stops */
#define EDX_87_INVARIANT  BIT(8)
#define TOPOLOGY_SMT	  (1u << 8)
#define TOPOLOGY_CORE	  (2u << 8)
#define XSAVE_LEGACY_SIZE 576u /* the FXSAVE image and the XSAVE header */
#define COMPONENT_ALIGNED BIT(1)
#define EAX_D1_XSAVEC	  BIT(1)
#define EAX_D1_PASSED	  (BIT(0) | EAX_D1_XSAVEC | BIT(2)) /* XSAVEOPT, XGETBV of XINUSE */
#define COMPONENTS	  63u

enum reg {
	EAX,
	EBX,
	ECX,
	EDX
};

/* When feature bits pass at all. */
enum need {
	ALWAYS,
	NEEDS_XSAVE,
	NEEDS_AVX,
	NEEDS_AVX512,
	NEEDS_RDTSCP,
	NEEDS_INVPCID,
	NEEDS_PCID,
	NEEDS_FAST_STRINGS,
	FORCED, /* set though the CPU may lack it: Weir provides it */
};

struct feature_row {
	u32 leaf, subleaf;
	enum reg reg;
	enum need need;
	u32 bits;
};

/*
 * Hidden on purpose, beside what is merely not in the table: VMX, SMX, MONITOR, EIST, TM, SDBG,
 * debug store, performance monitoring, MPX, SGX, HLE and RTM, PT, PKU, LA57, WAITPKG, AMX, CET,
 * ENQCMD, hardware feedback, XSAVES.
 */
static const struct feature_row rows[] = {
	/* SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND */
	{1, 0, ECX, ALWAYS,
	 BIT(0) | BIT(1) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(25) |
		 BIT(30)},
	{1, 0, ECX, NEEDS_PCID, CPUID_1_ECX_PCID},
	{1, 0, ECX, NEEDS_XSAVE, BIT(26)},
	{1, 0, ECX, NEEDS_AVX, BIT(12) | BIT(28) | BIT(29)}, /* FMA AVX F16C */
	/* x2APIC and TSC deadline are the virtual LAPIC's; bit 31 says that there is a hypervisor. */
	{1, 0, ECX, FORCED, BIT(21) | BIT(24) | BIT(31)},
	/* FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR
	 * SSE SSE2 SS */
	{1, 0, EDX, ALWAYS,
	 BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(11) | BIT(13) |
		 BIT(15) | BIT(16) | BIT(17) | BIT(19) | BIT(23) | BIT(24) | BIT(25) | BIT(26) |
		 BIT(27)},
	{1, 0, EDX, FORCED, BIT(7) | BIT(9) | BIT(12) | BIT(14)}, /* MCE APIC MTRR MCA */
	/* FSGSBASE BMI1 FDP-only SMEP BMI2 FCS/FDS gone RDSEED ADX SMAP CLFLUSHOPT CLWB SHA */
	{7, 0, EBX, ALWAYS,
	 BIT(0) | BIT(3) | BIT(6) | BIT(7) | BIT(8) | BIT(13) | BIT(18) | BIT(19) | BIT(20) |
		 BIT(23) | BIT(24) | BIT(29)},
	{7, 0, EBX, FORCED, BIT(1)}, /* TSC_ADJUST */
	{7, 0, EBX, NEEDS_FAST_STRINGS, CPUID_7_EBX_ERMS},
	{7, 0, EBX, NEEDS_INVPCID, CPUID_7_EBX_INVPCID},
	{7, 0, EBX, NEEDS_AVX, BIT(5)}, /* AVX2 */
	/* AVX512 F DQ IFMA PF ER CD BW VL */
	{7, 0, EBX, NEEDS_AVX512,
	 BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31)},
	/* UMIP GFNI CLDEMOTE MOVDIRI MOVDIR64B */
	{7, 0, ECX, ALWAYS, BIT(2) | BIT(8) | BIT(25) | BIT(27) | BIT(28)},
	{7, 0, ECX, NEEDS_RDTSCP, CPUID_7_ECX_RDPID},
	{7, 0, ECX, NEEDS_AVX, BIT(9) | BIT(10)}, /* VAES VPCLMULQDQ */
	/* AVX512 VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
	{7, 0, ECX, NEEDS_AVX512, BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14)},
	{7, 0, EDX, NEEDS_FAST_STRINGS, CPUID_7_EDX_FSRM},
	/* MD_CLEAR SERIALIZE IBRS/IBPB STIBP ARCH_CAPABILITIES SSBD */
	{7, 0, EDX, ALWAYS,
	 CPUID_7_EDX_MD_CLEAR | BIT(14) | CPUID_7_EDX_IBRS | CPUID_7_EDX_STIBP |
		 CPUID_7_EDX_ARCH_CAP | CPUID_7_EDX_SSBD},
	/* AVX512 4VNNIW 4FMAPS VP2INTERSECT FP16 */
	{7, 0, EDX, NEEDS_AVX512, BIT(2) | BIT(3) | BIT(8) | BIT(23)},
	{7, 1, EAX, NEEDS_FAST_STRINGS, BIT(10) | BIT(11) | BIT(12)}, /* FZRM FSRS FSRC */
	{7, 1, EAX, NEEDS_AVX, BIT(4) | BIT(23)},		      /* AVX-VNNI AVX-IFMA */
	{7, 1, EAX, NEEDS_AVX512, BIT(5)},			      /* BF16 */
	{0x80000001, 0, ECX, ALWAYS, BIT(0) | BIT(5) | BIT(8)},	      /* LAHF LZCNT PREFETCHW */
	{0x80000001, 0, EDX, ALWAYS, BIT(11) | CPUID_81_EDX_NX | CPUID_81_EDX_1G | BIT(29)},
	{0x80000001, 0, EDX, NEEDS_RDTSCP, CPUID_81_EDX_RDTSCP},
};

static bool need_met(const struct cpuid_view *v, enum need need)
{
	switch (need) {
	case NEEDS_XSAVE:
		return v->xcr0_offered != 0;
	case NEEDS_AVX:
		return v->xcr0_offered & XCR0_AVX;
	case NEEDS_AVX512:
		return v->xcr0_offered & XCR0_AVX512;
	case NEEDS_RDTSCP:
		return v->rdtscp;
	case NEEDS_INVPCID:
		return v->invpcid;
	case NEEDS_PCID:
		return !v->no_pcid;
	case NEEDS_FAST_STRINGS:
		return v->misc_enable & MISC_FAST_STRINGS;
	case ALWAYS:
	case FORCED:
		break;
	}
	return true;
}

static u32 *reg_of(struct cpuid_regs *r, enum reg reg)
{
	return reg == EAX ? &r->eax : reg == EBX ? &r->ebx : reg == ECX ? &r->ecx : &r->edx;
}

/* The host's feature bits in place, less what the table does not pass. */
static void filter(const struct cpuid_view *v, u32 leaf, u32 subleaf, struct cpuid_regs *r)
{
	struct cpuid_regs pass = {0}, force = {0};

	for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct feature_row *row = &rows[i];

		if (row->leaf != leaf || row->subleaf != subleaf || !need_met(v, row->need))
			continue;
		*reg_of(row->need == FORCED ? &force : &pass, row->reg) |= row->bits;
	}
	r->eax = (r->eax & pass.eax) | force.eax;
	r->ebx = (r->ebx & pass.ebx) | force.ebx;
	r->ecx = (r->ecx & pass.ecx) | force.ecx;
	r->edx = (r->edx & pass.edx) | force.edx;
}

/* Bits that number n things: 0 for one. */
static u32 bits_for(u32 n)
{
	u32 bits = 0;

	while ((1ull << bits) < n)
		bits++;
	return bits;
}

static void leaf_1(const struct cpuid_view *v, struct cpuid_regs *r)
{
	u32 signature = r->eax, line = r->ebx & 0xff00;

	filter(v, 1, 0, r);
	r->eax = signature;
	r->ebx = line | (1u << bits_for(v->vcpu_count)) << 16 | v->apic_id << 24;
	if (v->vcpu_count > 1)
		r->edx |= (u32)EDX_1_HTT;
	if (v->cr4 & CR4_OSXSAVE)
		r->ecx |= (u32)CPUID_1_ECX_OSXSAVE;
}

/* Every vCPU is a core with its own first two levels of cache; the third is everyone's. */
static void leaf_4(const struct cpuid_view *v, struct cpuid_regs *r)
{
	u32 type = r->eax & 0x1f, level = (r->eax >> 5) & 7;
	u32 ids = (1u << bits_for(v->vcpu_count)) - 1;

	if (type == 0) {
		*r = (struct cpuid_regs){0};
		return;
	}
	r->eax = (r->eax & 0x3fff) | (level >= 3 ? ids << 14 : 0) | min(ids, 63u) << 26;
}

static void leaf_7(const struct cpuid_view *v, u32 subleaf, struct cpuid_regs *r)
{
	u32 last = min(r->eax, 1u);

	if (subleaf == 1 && cpuid(7, 0).eax < 1)
		*r = (struct cpuid_regs){0};
	filter(v, 7, subleaf, r);
	if (subleaf == 0)
		r->eax = last;
}

static void leaf_topology(const struct cpuid_view *v, u32 subleaf, struct cpuid_regs *r)
{
	*r = (struct cpuid_regs){.ecx = subleaf & 0xff, .edx = v->apic_id};
	if (subleaf == 0) {
		r->ebx = 1;
		r->ecx |= TOPOLOGY_SMT;
	} else if (subleaf == 1) {
		r->eax = bits_for(v->vcpu_count);
		r->ebx = v->vcpu_count;
		r->ecx |= TOPOLOGY_CORE;
	}
}

/* The size of an XSAVE area for these components (SDM 1 13.4), from where the CPU puts each. */
static u32 xsave_size(u64 components, bool compacted)
{
	u32 end = XSAVE_LEGACY_SIZE, next = XSAVE_LEGACY_SIZE;

	for (u32 i = 2; i < COMPONENTS; i++) {
		struct cpuid_regs r;

		if (!(components & BIT(i)))
			continue;
		r = cpuid(0xd, i);
		end = max(end, r.ebx + r.eax);
		if (r.ecx & COMPONENT_ALIGNED)
			next = align_up(next, 64u);
		next += r.eax;
	}
	return compacted ? next : end;
}

static void leaf_xsave(const struct cpuid_view *v, u32 subleaf, struct cpuid_regs *r)
{
	u64 offered = v->xcr0_offered;
	struct cpuid_regs host = *r;

	*r = (struct cpuid_regs){0};
	if (!offered)
		return;
	if (subleaf == 0) {
		r->eax = (u32)offered;
		r->edx = (u32)(offered >> 32);
		r->ebx = xsave_size(v->xcr0, false);
		r->ecx = xsave_size(offered, false);
	} else if (subleaf == 1) {
		r->eax = host.eax & (u32)EAX_D1_PASSED;
		if (v->no_xsavec)
			r->eax &= ~(u32)EAX_D1_XSAVEC;
		if (r->eax & EAX_D1_XSAVEC)
			r->ebx = xsave_size(v->xcr0, true);
	} else if (subleaf < COMPONENTS && (offered & BIT(subleaf))) {
		r->eax = host.eax;
		r->ebx = host.ebx;
		r->ecx = host.ecx & (u32)COMPONENT_ALIGNED;
	}
}

/* The crystal is the LAPIC timer's clock; the ratio makes exactly the TSC's rate of it. */
static void leaf_tsc(const struct cpuid_view *v, struct cpuid_regs *r)
{
	*r = (struct cpuid_regs){
		.eax = LAPIC_TIMER_HZ / 1000,
		.ebx = (u32)v->tsc_khz,
		.ecx = LAPIC_TIMER_HZ,
	};
}

static void leaf_frequency(const struct cpuid_view *v, struct cpuid_regs *r)
{
	u32 mhz = (u32)(v->tsc_khz / 1000) & 0xffff;

	*r = (struct cpuid_regs){.eax = mhz, .ebx = mhz, .ecx = 100};
}

static void basic(const struct cpuid_view *v, u32 leaf, u32 subleaf, struct cpuid_regs *r)
{
	switch (leaf) {
	case 0:
		r->eax = LEAF_LAST;
		break;
	case 1:
		leaf_1(v, r);
		break;
	case 2:
		break;
	case 4:
		leaf_4(v, r);
		break;
	case 6:
		*r = (struct cpuid_regs){.eax = (u32)EAX_6_ARAT};
		break;
	case 7:
		leaf_7(v, subleaf, r);
		break;
	case 0xb:
		leaf_topology(v, subleaf, r);
		break;
	case 0xd:
		leaf_xsave(v, subleaf, r);
		break;
	case 0x15:
		leaf_tsc(v, r);
		break;
	case 0x16:
		leaf_frequency(v, r);
		break;
	default:
		*r = (struct cpuid_regs){0};
		break;
	}
}

static void extended(const struct cpuid_view *v, u32 leaf, struct cpuid_regs *r)
{
	switch (leaf) {
	case 0x80000000:
		*r = (struct cpuid_regs){.eax = EXTENDED_LAST};
		break;
	case 0x80000001:
		filter(v, leaf, 0, r);
		break;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004: /* the brand string */
		break;
	case 0x80000006:
		*r = (struct cpuid_regs){.ecx = r->ecx};
		break;
	case 0x80000007:
		*r = (struct cpuid_regs){.edx = v->tsc_stable ? (u32)EDX_87_INVARIANT : 0};
		break;
	case 0x80000008:
		*r = (struct cpuid_regs){.eax = (r->eax & 0xff) | LINEAR_BITS << 8};
		break;
	default:
		*r = (struct cpuid_regs){0};
		break;
	}
}

/* What the CPU says, or zeros where it does not go so far: beyond its end it repeats itself. */
static struct cpuid_regs host_leaf(u32 leaf, u32 subleaf)
{
	if (leaf > cpuid(leaf & EXTENDED_FIRST, 0).eax)
		return (struct cpuid_regs){0};
	return cpuid(leaf, subleaf);
}

void cpuid_policy(const struct cpuid_view *v, u32 leaf, u32 subleaf, struct cpuid_regs *out)
{
	/* Beyond the last leaf comes the highest basic one (SDM 2A, CPUID). */
	if ((leaf > LEAF_LAST && leaf < EXTENDED_FIRST) || leaf > EXTENDED_LAST) {
		leaf = LEAF_LAST;
		subleaf = 0;
	}
	*out = host_leaf(leaf, subleaf);
	if (leaf >= EXTENDED_FIRST)
		extended(v, leaf, out);
	else
		basic(v, leaf, subleaf, out);
}

u64 cpuid_xcr0_offered(void)
{
	struct cpuid_regs r;

	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE) || cpuid(0, 0).eax < 0xd)
		return 0;
	r = cpuid(0xd, 0);
	return xcr0_largest_valid(((u64)r.edx << 32 | r.eax) & XCR0_KNOWN);
}
