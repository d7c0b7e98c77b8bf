/* SPDX-License-Identifier: MIT */
#include "kernel/base/log.h"
#include "kernel/base/mca.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"

#define FEATURES_EDX_MCE BIT(7)
#define FEATURES_EDX_MCA BIT(14)

#define MSR_IA32_MCG_CTL      0x17b
#define MSR_IA32_MC_CTL(i)    (0x400 + 4 * (i))
#define MSR_IA32_MC_STATUS(i) (0x401 + 4 * (i))
#define MSR_IA32_MC_ADDR(i)   (0x402 + 4 * (i))
#define MSR_IA32_MC_MISC(i)   (0x403 + 4 * (i))

#define MCG_CAP_BANKS(v) ((u32)(v)&0xffu)
#define MCG_CAP_CTL_P	 BIT(8)
#define STATUS_ADDRV	 BIT(58)
#define STATUS_MISCV	 BIT(59)
#define STATUS_UC	 BIT(61)
#define STATUS_VAL	 BIT(63)

#define BANKS_MAX   32u /* beyond it are other MSRs (SDM 4 table 2-2) */
#define RECORDS_MAX 64
#define NO_BANK	    BANKS_MAX

struct record {
	u32 cpu, bank;
	u64 machine, status, address, misc;
	bool complete; /* atomic: the others are there */
};

static struct record records[RECORDS_MAX];
static u32 recorded; /* atomic; may be more than there is room for */
static int (*read_msr)(u32, u64 *);

static bool has_mca(void)
{
	u32 both = FEATURES_EDX_MCE | FEATURES_EDX_MCA;

	return (cpuid(1, 0).edx & both) == both;
}

/* Before Nehalem bank 0's CTL is the firmware's: a write goes to another register (SDM 3B 16.3.2.1). */
static bool bank_0_is_ours(void)
{
	u32 eax = cpuid(1, 0).eax;
	u32 family = (eax >> 8) & 0xf, model = ((eax >> 4) & 0xf) | ((eax >> 12) & 0xf0);

	return family != 6 || model >= 0x1a;
}

static u64 read_or_0(u32 index)
{
	u64 value;

	return read_msr(index, &value) ? 0 : value;
}

static u32 bank_count(u64 cap)
{
	return MCG_CAP_BANKS(cap) < BANKS_MAX ? MCG_CAP_BANKS(cap) : BANKS_MAX;
}

static void read_bank(struct record *r, u32 bank)
{
	r->bank = bank;
	r->status = read_or_0(MSR_IA32_MC_STATUS(bank));
	r->address = r->status & STATUS_ADDRV ? read_or_0(MSR_IA32_MC_ADDR(bank)) : 0;
	r->misc = r->status & STATUS_MISCV ? read_or_0(MSR_IA32_MC_MISC(bank)) : 0;
}

static void log_leftover(const struct record *r)
{
	log_warn("machine check: an error from before Weir's start%s: bank %u status %#llx "
		 "address %#llx misc %#llx",
		 r->status & STATUS_UC ? ", uncorrected" : "", r->bank,
		 (unsigned long long)r->status, (unsigned long long)r->address,
		 (unsigned long long)r->misc);
}

void mca_init_cpu(int (*rdmsr_safe)(u32, u64 *), int (*wrmsr_safe)(u32, u64))
{
	u64 cap;

	if (!has_mca() || rdmsr_safe(MSR_IA32_MCG_CAP, &cap))
		return;
	if (!read_msr)
		read_msr = rdmsr_safe;
	if (cap & MCG_CAP_CTL_P)
		(void)wrmsr_safe(MSR_IA32_MCG_CTL, ~0ull);
	for (u32 i = 0; i < bank_count(cap); i++) {
		struct record r = {0};

		if (i || bank_0_is_ours())
			(void)wrmsr_safe(MSR_IA32_MC_CTL(i), ~0ull);
		read_bank(&r, i);
		if (!(r.status & STATUS_VAL))
			continue;
		log_leftover(&r);
		(void)wrmsr_safe(MSR_IA32_MC_STATUS(i), 0);
	}
	/* Where MCIP is left set the next machine check is a shutdown. */
	(void)wrmsr_safe(MSR_IA32_MCG_STATUS, 0);
}

static void keep(struct record *r)
{
	u32 at = __atomic_fetch_add(&recorded, 1, __ATOMIC_RELAXED);

	if (at >= RECORDS_MAX)
		return;
	records[at] = *r;
	__atomic_store_n(&records[at].complete, true, __ATOMIC_RELEASE);
}

void mca_record(void)
{
	struct record r = {.cpu = log_cpu_id(), .bank = NO_BANK};
	bool any = false;
	u32 banks;

	if (!read_msr)
		return;
	r.machine = read_or_0(MSR_IA32_MCG_STATUS);
	banks = bank_count(read_or_0(MSR_IA32_MCG_CAP));
	for (u32 i = 0; i < banks; i++) {
		read_bank(&r, i);
		if (!(r.status & STATUS_VAL))
			continue;
		keep(&r);
		any = true;
	}
	if (any)
		return;
	r.bank = NO_BANK;
	keep(&r);
}

void mca_show(void)
{
	u32 n = __atomic_load_n(&recorded, __ATOMIC_RELAXED);

	for (u32 i = 0; i < n && i < RECORDS_MAX; i++) {
		const struct record *r = &records[i];

		if (!__atomic_load_n(&r->complete, __ATOMIC_ACQUIRE))
			continue;
		if (r->bank == NO_BANK)
			log_error("machine check: cpu%u MCG_STATUS %#llx, no bank says why", r->cpu,
				  (unsigned long long)r->machine);
		else
			log_error("machine check: cpu%u MCG_STATUS %#llx bank %u status %#llx "
				  "address %#llx misc %#llx",
				  r->cpu, (unsigned long long)r->machine, r->bank,
				  (unsigned long long)r->status, (unsigned long long)r->address,
				  (unsigned long long)r->misc);
	}
	if (n > RECORDS_MAX)
		log_error("machine check: %u more are not shown", n - RECORDS_MAX);
}
