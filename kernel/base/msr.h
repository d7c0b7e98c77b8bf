/* SPDX-License-Identifier: MIT */
/* MSR numbers and bits, control-register bits (SDM 4 chapter 2, SDM 3A 2.5). Pure constants. */
#ifndef KERNEL_BASE_MSR_H
#define KERNEL_BASE_MSR_H

#include "kernel/base/types.h"

#define MSR_IA32_TSC		   0x10
#define MSR_IA32_APIC_BASE	   0x1b
#define MSR_TEST_CTRL		   0x33
#define TEST_CTRL_SPLIT_LOCK	   BIT(29)
#define MSR_IA32_FEATURE_CONTROL   0x3a
#define MSR_IA32_TSC_ADJUST	   0x3b
#define MSR_IA32_SPEC_CTRL	   0x48
#define MSR_IA32_PRED_CMD	   0x49
#define MSR_IA32_BIOS_SIGN_ID	   0x8b
#define MSR_IA32_MTRRCAP	   0xfe
#define MSR_IA32_ARCH_CAPABILITIES 0x10a
#define MSR_IA32_FLUSH_CMD	   0x10b
#define MSR_IA32_SYSENTER_CS	   0x174
#define MSR_IA32_SYSENTER_ESP	   0x175
#define MSR_IA32_SYSENTER_EIP	   0x176
#define MSR_IA32_MCG_CAP	   0x179
#define MSR_IA32_MCG_STATUS	   0x17a
#define MSR_IA32_MISC_ENABLE	   0x1a0
#define MSR_IA32_DEBUGCTL	   0x1d9
#define MSR_IA32_PAT		   0x277
#define MSR_IA32_MTRR_DEF_TYPE	   0x2ff
#define MSR_IA32_VMX_BASIC	   0x480
#define MSR_IA32_TSC_DEADLINE	   0x6e0
#define MSR_X2APIC_BASE		   0x800
#define MSR_IA32_XSS		   0xda0
#define MSR_EFER		   0xc0000080
#define MSR_STAR		   0xc0000081
#define MSR_LSTAR		   0xc0000082
#define MSR_CSTAR		   0xc0000083
#define MSR_SFMASK		   0xc0000084
#define MSR_FS_BASE		   0xc0000100
#define MSR_GS_BASE		   0xc0000101
#define MSR_KERNEL_GS_BASE	   0xc0000102
#define MSR_TSC_AUX		   0xc0000103
/* KVM's, for its guests: Linux Documentation/virt/kvm/x86/msr.rst. */
#define MSR_KVM_WALL_CLOCK_OLD	0x11
#define MSR_KVM_SYSTEM_TIME_OLD 0x12
#define MSR_KVM_WALL_CLOCK	0x4b564d00
#define MSR_KVM_SYSTEM_TIME	0x4b564d01
#define MSR_KVM_STEAL_TIME	0x4b564d03
#define MSR_KVM_PV_EOI		0x4b564d04

#define FEATURE_CONTROL_LOCKED	    BIT(0)
#define FEATURE_CONTROL_VMX_IN_SMX  BIT(1)
#define FEATURE_CONTROL_VMX_OUT_SMX BIT(2)

#define APIC_BASE_BSP	 BIT(8)
#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME	       BIT(0)
#define CR4_PVI	       BIT(1)
#define CR4_TSD	       BIT(2)
#define CR4_DE	       BIT(3)
#define CR4_PSE	       BIT(4)
#define CR4_PAE	       BIT(5)
#define CR4_MCE	       BIT(6)
#define CR4_PGE	       BIT(7)
#define CR4_PCE	       BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_VMXE       BIT(13)
#define CR4_SMXE       BIT(14)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE	       BIT(22)
#define CR4_CET	       BIT(23)

#endif
