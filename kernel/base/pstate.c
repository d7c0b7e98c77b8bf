/* SPDX-License-Identifier: MIT */
#include "kernel/base/pstate.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"

#define MSR_PLATFORM_INFO	  0xce
#define MSR_IA32_PERF_STATUS	  0x198
#define MSR_IA32_PERF_CTL	  0x199
#define MSR_TURBO_RATIO_LIMIT	  0x1ad
#define MSR_IA32_PM_ENABLE	  0x770
#define MSR_IA32_HWP_CAPABILITIES 0x771
#define MSR_IA32_HWP_REQUEST	  0x774

#define VENDOR_EBX_INTEL      0x756e6547 /* "Genu" */
#define CPUID_POWER	      6
#define FEATURES_ECX_EIST     BIT(7)
#define POWER_EAX_TURBO	      BIT(1)
#define POWER_EAX_HWP	      BIT(7)
#define POWER_EAX_HWP_EPP     BIT(10)
#define MISC_ENABLE_EIST      BIT(16)
#define PM_ENABLE_HWP	      BIT(0)
#define CAP_HIGHEST(v)	      ((v)&0xff)
#define CAP_GUARANTEED(v)     ((v) >> 8 & 0xff)
#define CAP_LOWEST(v)	      ((v) >> 24 & 0xff)
#define REQUEST(lowest, most) ((lowest) | (most) << 8) /* desired 0: the CPU chooses */
#define REQUEST_EPP_BALANCED  (0x80ull << 24)
#define RATIO(v)	      ((v) >> 8 & 0xff)
#define PERF_CTL_RATIO(ratio) ((ratio) << 8) /* bit 32 clear: with turbo */
#define FAMILY(s)	      (((s) >> 8) & 0xf)
#define MODEL(s)	      ((((s) >> 4) & 0xf) | (((s) >> 12) & 0xf0))

static bool keep_firmware;
static bool told;

/*
 * Those whose IA32_PERF_CTL takes the ratio alone, in bits 15:8, and that have MSR_PLATFORM_INFO
 * and MSR_TURBO_RATIO_LIMIT (SDM 4 2.11 and after): of earlier ones it also sets the voltage, or
 * the ratio stands elsewhere.
 */
static const u8 ratio_models[] = {
	0x2a, 0x2d, 0x3a, 0x3e,		    /* Sandy Bridge, Ivy Bridge */
	0x3c, 0x3f, 0x45, 0x46,		    /* Haswell */
	0x3d, 0x47, 0x4f, 0x56,		    /* Broadwell */
	0x4e, 0x5e, 0x55, 0x8e, 0x9e, 0x66, /* Skylake to Cascade Lake, Cannon Lake */
	0xa5, 0xa6,			    /* Comet Lake */
	0x7d, 0x7e, 0x6a, 0x6c,		    /* Ice Lake */
	0x8c, 0x8d, 0xa7,		    /* Tiger Lake, Rocket Lake */
};

static bool takes_ratio(u32 signature)
{
	for (u32 i = 0; i < ARRAY_SIZE(ratio_models); i++) {
		if (FAMILY(signature) == 6 && MODEL(signature) == ratio_models[i])
			return true;
	}
	return false;
}

void pstate_keep_firmware(bool keep)
{
	keep_firmware = keep;
}

#define tell(...)                              \
	do {                                   \
		if (!told)                     \
			log_info(__VA_ARGS__); \
		told = true;                   \
	} while (0)

/* SDM 3B 15.4.7. IA32_PM_ENABLE is the package's, and once set it stays so. */
static bool ask_hwp(u32 power, int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64))
{
	bool balanced = power & POWER_EAX_HWP_EPP;
	u64 can, lowest, most;

	if (!(power & POWER_EAX_HWP) || wrmsr_safe(MSR_IA32_PM_ENABLE, PM_ENABLE_HWP) ||
	    rdmsr_safe(MSR_IA32_HWP_CAPABILITIES, &can))
		return false;
	lowest = CAP_LOWEST(can);
	most = CAP_HIGHEST(can);
	if (!most || lowest > most ||
	    wrmsr_safe(MSR_IA32_HWP_REQUEST,
		       REQUEST(lowest, most) | (balanced ? REQUEST_EPP_BALANCED : 0)))
		return false;
	tell("P-states: the CPU chooses (HWP) between %u and %u, of which it guarantees %u; "
	     "preference %s",
	     (u32)lowest, (u32)most, (u32)CAP_GUARANTEED(can),
	     balanced ? "balanced" : "as the firmware left it");
	return true;
}

static void ask_ratio(u32 power, int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64))
{
	struct cpuid_regs features = cpuid(1, 0);
	u64 misc, info, limit, was = 0, ratio;

	if (!(features.ecx & FEATURES_ECX_EIST) || rdmsr_safe(MSR_IA32_MISC_ENABLE, &misc) ||
	    !(misc & MISC_ENABLE_EIST)) {
		tell("P-states: as the firmware left them: it has SpeedStep (EIST) off");
		return;
	}
	if (!takes_ratio(features.eax) || rdmsr_safe(MSR_PLATFORM_INFO, &info) || !RATIO(info)) {
		tell("P-states: as the firmware left them: how to ask this CPU is not known");
		return;
	}
	ratio = RATIO(info);
	if ((power & POWER_EAX_TURBO) && rdmsr_safe(MSR_TURBO_RATIO_LIMIT, &limit) == 0)
		ratio = max(ratio, limit & 0xff);
	(void)rdmsr_safe(MSR_IA32_PERF_STATUS, &was);
	if (wrmsr_safe(MSR_IA32_PERF_CTL, PERF_CTL_RATIO(ratio)))
		tell("P-states: as the firmware left them: the CPU takes no wish");
	else
		tell("P-states: a ratio of %u asked for (EIST), it was %u; without turbo %u",
		     (u32)ratio, (u32)RATIO(was), (u32)RATIO(info));
}

void pstate_init_cpu(int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64))
{
	struct cpuid_regs leaf0 = cpuid(0, 0);
	u32 power;

	if (leaf0.ebx != VENDOR_EBX_INTEL)
		return;
	if (keep_firmware) {
		tell("P-states: as the firmware left them (pstate=firmware)");
		return;
	}
	power = leaf0.eax >= CPUID_POWER ? cpuid(CPUID_POWER, 0).eax : 0;
	if (!ask_hwp(power, rdmsr_safe, wrmsr_safe))
		ask_ratio(power, rdmsr_safe, wrmsr_safe);
}
