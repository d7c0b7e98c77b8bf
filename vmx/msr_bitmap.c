/* SPDX-License-Identifier: MIT */
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "vmx/msr_bitmap.h"

/* Four bitmaps of 1 KiB: read low, read high, write low, write high. */
#define MSR_LOW_LAST   0x1fffu
#define MSR_HIGH_FIRST 0xc0000000u
#define HIGH_PART      1024u
#define WRITE_PART     2048u
#define MSRS_IN_PART   8192u

/* Places of x2APIC registers (SDM 3A table 11-6). */
#define X2APIC_TPR	0x08
#define X2APIC_PPR	0x0a
#define X2APIC_EOI	0x0b
#define X2APIC_SELF_IPI 0x3f

enum passed {
	PASS_READ = 1,
	PASS_WRITE = 2,
	PASS_BOTH = 3,
};

static const struct {
	u32 index;
	enum passed passed;
} passed[] = {
	/* with "use TSC offsetting" the CPU adds the offset here too */
	{MSR_IA32_TSC, PASS_READ},
	/* guest state in the VMCS */
	{MSR_IA32_SYSENTER_CS, PASS_BOTH},
	{MSR_IA32_SYSENTER_ESP, PASS_BOTH},
	{MSR_IA32_SYSENTER_EIP, PASS_BOTH},
	{MSR_IA32_PAT, PASS_BOTH},
	{MSR_EFER, PASS_READ},
	{MSR_FS_BASE, PASS_BOTH},
	{MSR_GS_BASE, PASS_BOTH},
	/* switched with the vCPU (switch.c); Weir uses none of them */
	{MSR_STAR, PASS_BOTH},
	{MSR_LSTAR, PASS_BOTH},
	{MSR_CSTAR, PASS_BOTH},
	{MSR_SFMASK, PASS_BOTH},
	{MSR_KERNEL_GS_BASE, PASS_BOTH},
	{MSR_TSC_AUX, PASS_BOTH},
};

/* false: the bitmap does not cover it, and it always exits. */
static bool locate(u32 index, bool write, u32 *byte, u8 *bit)
{
	u32 base = write ? WRITE_PART : 0;

	if (index >= MSR_HIGH_FIRST && index < MSR_HIGH_FIRST + MSRS_IN_PART) {
		base += HIGH_PART;
		index -= MSR_HIGH_FIRST;
	} else if (index > MSR_LOW_LAST) {
		return false;
	}
	*byte = base + index / 8;
	*bit = (u8)(1u << index % 8);
	return true;
}

bool msr_bitmap_exits(const u8 bitmap[MSR_BITMAP_SIZE], u32 index, bool write)
{
	u32 byte;
	u8 bit;

	return !locate(index, write, &byte, &bit) || (bitmap[byte] & bit);
}

static void pass(u8 *bitmap, u32 index, bool write)
{
	u32 byte;
	u8 bit;

	if (locate(index, write, &byte, &bit))
		bitmap[byte] &= (u8)~bit;
}

/* What the CPU has of these is not what the guest has. */
static bool is_shadowed(u32 index)
{
	return index == MSR_EFER || index == MSR_IA32_PAT;
}

void msr_bitmap_keep_efer(u8 bitmap[MSR_BITMAP_SIZE])
{
	u32 byte;
	u8 bit;

	if (locate(MSR_EFER, false, &byte, &bit))
		bitmap[byte] |= bit;
}

void msr_bitmap_fill(u8 bitmap[MSR_BITMAP_SIZE], bool has_tsc_aux, bool shadow)
{
	memset(bitmap, 0xff, MSR_BITMAP_SIZE);
	for (u32 i = 0; i < ARRAY_SIZE(passed); i++) {
		if (passed[i].index == MSR_TSC_AUX && !has_tsc_aux)
			continue;
		if (shadow && is_shadowed(passed[i].index))
			continue;
		if (passed[i].passed & PASS_READ)
			pass(bitmap, passed[i].index, false);
		if (passed[i].passed & PASS_WRITE)
			pass(bitmap, passed[i].index, true);
	}
}

/*
 * What the CPU does on the virtual-APIC page (SDM 3C 30.5). It reads whatever is at an MSR's place
 * there, so that only MSRs pass which exist and have nothing to be worked out; PPR it works out
 * where it delivers interrupts. Of the others a write would go to the machine's own.
 */
void msr_bitmap_pass_x2apic(u8 bitmap[MSR_BITMAP_SIZE], bool full)
{
	static const struct {
		u8 first, last;
	} read[] = {{0x02, 0x03}, {0x08, 0x08}, {0x0d, 0x0d}, {0x0f, 0x28},
		    {0x30, 0x30}, {0x32, 0x38}, {0x3e, 0x3e}};

	for (u32 i = 0; i < ARRAY_SIZE(read); i++) {
		for (u32 reg = read[i].first; reg <= read[i].last; reg++)
			pass(bitmap, MSR_X2APIC_BASE + reg, false);
	}
	pass(bitmap, MSR_X2APIC_BASE + X2APIC_TPR, true);
	if (!full)
		return;
	pass(bitmap, MSR_X2APIC_BASE + X2APIC_PPR, false);
	pass(bitmap, MSR_X2APIC_BASE + X2APIC_EOI, true);
	pass(bitmap, MSR_X2APIC_BASE + X2APIC_SELF_IPI, true);
}
