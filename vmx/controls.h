/* SPDX-License-Identifier: MIT */
/* Bits of the VMX controls and capability MSRs (SDM 3C 25.6-25.8, 3D appendix A). Constants. */
#ifndef VMX_CONTROLS_H
#define VMX_CONTROLS_H

#include "kernel/base/types.h"

/* Capability MSRs that msr.h does not have. */
#define MSR_IA32_VMX_PINBASED	    0x481
#define MSR_IA32_VMX_PROCBASED	    0x482
#define MSR_IA32_VMX_EXIT	    0x483
#define MSR_IA32_VMX_ENTRY	    0x484
#define MSR_IA32_VMX_MISC	    0x485
#define MSR_IA32_VMX_CR0_FIXED0	    0x486
#define MSR_IA32_VMX_CR0_FIXED1	    0x487
#define MSR_IA32_VMX_CR4_FIXED0	    0x488
#define MSR_IA32_VMX_CR4_FIXED1	    0x489
#define MSR_IA32_VMX_PROCBASED2	    0x48b
#define MSR_IA32_VMX_EPT_VPID_CAP   0x48c
#define MSR_IA32_VMX_TRUE_PINBASED  0x48d
#define MSR_IA32_VMX_TRUE_PROCBASED 0x48e
#define MSR_IA32_VMX_TRUE_EXIT	    0x48f
#define MSR_IA32_VMX_TRUE_ENTRY	    0x490

#define VMX_BASIC_REVISION(v) ((u32)(v)&0x7fffffffu)
#define VMX_BASIC_SIZE(v)     ((u32)((v) >> 32) & 0x1fffu)
#define VMX_BASIC_MEMTYPE(v)  ((u32)((v) >> 50) & 0xfu)
#define VMX_BASIC_TRUE	      BIT(55)
#define MEMTYPE_WB	      6

#define EPT_CAP_EXEC_ONLY     BIT(0)
#define EPT_CAP_WALK_4	      BIT(6)
#define EPT_CAP_WB	      BIT(14)
#define EPT_CAP_2M	      BIT(16)
#define EPT_CAP_1G	      BIT(17)
#define EPT_CAP_INVEPT	      BIT(20)
#define EPT_CAP_AD	      BIT(21)
#define EPT_CAP_INVEPT_SINGLE BIT(25)
#define EPT_CAP_INVEPT_ALL    BIT(26)
#define VPID_CAP_INVVPID      BIT(32)
#define VPID_CAP_ADDRESS      BIT(40)
#define VPID_CAP_SINGLE	      BIT(41)
#define VPID_CAP_ALL	      BIT(42)

#define PIN_EXTERNAL_INTERRUPT BIT(0)
#define PIN_NMI		       BIT(3)
#define PIN_VIRTUAL_NMIS       BIT(5)
#define PIN_PREEMPTION_TIMER   BIT(6)
#define PIN_POSTED_INTERRUPTS  BIT(7)

#define PROC_INTERRUPT_WINDOW BIT(2)
#define PROC_TSC_OFFSETTING   BIT(3)
#define PROC_HLT	      BIT(7)
#define PROC_INVLPG	      BIT(9)
#define PROC_MWAIT	      BIT(10)
#define PROC_RDPMC	      BIT(11)
#define PROC_RDTSC	      BIT(12)
#define PROC_CR3_LOAD	      BIT(15)
#define PROC_CR3_STORE	      BIT(16)
#define PROC_CR8_LOAD	      BIT(19)
#define PROC_CR8_STORE	      BIT(20)
#define PROC_TPR_SHADOW	      BIT(21)
#define PROC_NMI_WINDOW	      BIT(22)
#define PROC_MOV_DR	      BIT(23)
#define PROC_IO		      BIT(24)
#define PROC_MSR_BITMAPS      BIT(28)
#define PROC_MONITOR	      BIT(29)
#define PROC_PAUSE	      BIT(30)
#define PROC_SECONDARY	      BIT(31)

#define PROC2_APIC_ACCESS	 BIT(0)
#define PROC2_EPT		 BIT(1)
#define PROC2_RDTSCP		 BIT(3)
#define PROC2_X2APIC		 BIT(4)
#define PROC2_VPID		 BIT(5)
#define PROC2_WBINVD		 BIT(6)
#define PROC2_UNRESTRICTED	 BIT(7)
#define PROC2_APIC_REGISTERS	 BIT(8)
#define PROC2_INTERRUPT_DELIVERY BIT(9)
#define PROC2_PAUSE_LOOP	 BIT(10)
#define PROC2_INVPCID		 BIT(12)
#define PROC2_VMFUNC		 BIT(13)
#define PROC2_VMCS_SHADOWING	 BIT(14)
#define PROC2_ENCLS		 BIT(15)
#define PROC2_PML		 BIT(17)
#define PROC2_VE		 BIT(18)
#define PROC2_XSAVES		 BIT(20)
#define PROC2_MODE_BASED_EXEC	 BIT(22)
#define PROC2_TSC_SCALING	 BIT(25)
#define PROC2_BUS_LOCK		 BIT(30)

#define EXIT_SAVE_DEBUG		   BIT(2)
#define EXIT_HOST_64BIT		   BIT(9)
#define EXIT_ACKNOWLEDGE_INTERRUPT BIT(15)
#define EXIT_SAVE_PAT		   BIT(18)
#define EXIT_LOAD_PAT		   BIT(19)
#define EXIT_SAVE_EFER		   BIT(20)
#define EXIT_LOAD_EFER		   BIT(21)

#define ENTRY_LOAD_DEBUG BIT(2)
#define ENTRY_IA32E	 BIT(9)
#define ENTRY_LOAD_PAT	 BIT(14)
#define ENTRY_LOAD_EFER	 BIT(15)

/* Guest interruptibility (SDM 3C table 25-3). */
#define BLOCKED_BY_STI	  BIT(0)
#define BLOCKED_BY_MOV_SS BIT(1)
#define BLOCKED_BY_NMI	  BIT(3)

/* Pending debug exceptions (SDM 3C table 25-4). */
#define PENDING_DEBUG_BS BIT(14)

/* Segment access rights (SDM 3C table 25-2). */
#define ACCESS_TYPE_MASK	0xfu
#define ACCESS_DPL(a)		(((a) >> 5) & 3u)
#define ACCESS_DPL_MASK		0x60u
#define ACCESS_LONG		BIT(13)
#define ACCESS_BIG		BIT(14) /* D/B */
#define ACCESS_UNUSABLE		BIT(16)
#define ACCESS_REAL_CODE	0x9bu	/* present, code, read, accessed */
#define ACCESS_REAL_DATA	0x93u	/* present, data, write, accessed */
#define ACCESS_FLAT_CODE32	0xc09bu /* and 4 KiB granular, 32-bit */
#define ACCESS_FLAT_DATA	0xc093u
#define ACCESS_FLAT_CODE64	0xa09bu
#define ACCESS_TSS_BUSY		0x8bu /* 32-bit or, in IA-32e mode, 64-bit */
#define ACCESS_LDT		0x82u
#define ACCESS_TYPE_TSS_16_BUSY 0x3u
#define ACCESS_TYPE_TSS_BUSY	0xbu

#endif
