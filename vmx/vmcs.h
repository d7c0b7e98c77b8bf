/* SPDX-License-Identifier: MIT */
/*
 * The fields of a VMCS in the order of SDM 3D appendix B: first by width, then by area. The prefix
 * is the area: CTRL_ for execution controls, EXIT_ and ENTRY_ for what governs or reports those,
 * GUEST_ and HOST_ for the two machine states. Pure constants; the list also names the fields for
 * a dump.
 */
#ifndef VMX_VMCS_H
#define VMX_VMCS_H

#include "kernel/base/types.h"

/* clang-format off */
#define VMCS_FIELDS(F)                                     \
	/* 16 bits: control */                             \
	F(CTRL_VPID,                     0x0000)           \
	F(CTRL_POSTED_VECTOR,            0x0002)           \
	F(CTRL_EPTP_INDEX,               0x0004)           \
	/* 16 bits: guest */                               \
	F(GUEST_ES_SELECTOR,             0x0800)           \
	F(GUEST_CS_SELECTOR,             0x0802)           \
	F(GUEST_SS_SELECTOR,             0x0804)           \
	F(GUEST_DS_SELECTOR,             0x0806)           \
	F(GUEST_FS_SELECTOR,             0x0808)           \
	F(GUEST_GS_SELECTOR,             0x080a)           \
	F(GUEST_LDTR_SELECTOR,           0x080c)           \
	F(GUEST_TR_SELECTOR,             0x080e)           \
	F(GUEST_INTERRUPT_STATUS,        0x0810)           \
	F(GUEST_PML_INDEX,               0x0812)           \
	/* 16 bits: host */                                \
	F(HOST_ES_SELECTOR,              0x0c00)           \
	F(HOST_CS_SELECTOR,              0x0c02)           \
	F(HOST_SS_SELECTOR,              0x0c04)           \
	F(HOST_DS_SELECTOR,              0x0c06)           \
	F(HOST_FS_SELECTOR,              0x0c08)           \
	F(HOST_GS_SELECTOR,              0x0c0a)           \
	F(HOST_TR_SELECTOR,              0x0c0c)           \
	/* 64 bits: control */                             \
	F(CTRL_IO_BITMAP_A,              0x2000)           \
	F(CTRL_IO_BITMAP_B,              0x2002)           \
	F(CTRL_MSR_BITMAP,               0x2004)           \
	F(EXIT_MSR_STORE_ADDRESS,        0x2006)           \
	F(EXIT_MSR_LOAD_ADDRESS,         0x2008)           \
	F(ENTRY_MSR_LOAD_ADDRESS,        0x200a)           \
	F(CTRL_EXECUTIVE_VMCS,           0x200c)           \
	F(CTRL_PML_ADDRESS,              0x200e)           \
	F(CTRL_TSC_OFFSET,               0x2010)           \
	F(CTRL_VIRTUAL_APIC_ADDRESS,     0x2012)           \
	F(CTRL_APIC_ACCESS_ADDRESS,      0x2014)           \
	F(CTRL_POSTED_DESCRIPTOR,        0x2016)           \
	F(CTRL_VMFUNC,                   0x2018)           \
	F(CTRL_EPT_POINTER,              0x201a)           \
	F(CTRL_EOI_EXIT_0,               0x201c)           \
	F(CTRL_EOI_EXIT_1,               0x201e)           \
	F(CTRL_EOI_EXIT_2,               0x2020)           \
	F(CTRL_EOI_EXIT_3,               0x2022)           \
	F(CTRL_EPTP_LIST,                0x2024)           \
	F(CTRL_VMREAD_BITMAP,            0x2026)           \
	F(CTRL_VMWRITE_BITMAP,           0x2028)           \
	F(CTRL_VE_INFORMATION,           0x202a)           \
	F(CTRL_XSS_EXITING,              0x202c)           \
	F(CTRL_ENCLS_EXITING,            0x202e)           \
	F(CTRL_SPP_TABLE,                0x2030)           \
	F(CTRL_TSC_MULTIPLIER,           0x2032)           \
	F(CTRL_PROC_TERTIARY,            0x2034)           \
	F(CTRL_ENCLV_EXITING,            0x2036)           \
	/* 64 bits: read-only */                           \
	F(EXIT_GUEST_PHYSICAL,           0x2400)           \
	/* 64 bits: guest */                               \
	F(GUEST_LINK_POINTER,            0x2800)           \
	F(GUEST_DEBUGCTL,                0x2802)           \
	F(GUEST_PAT,                     0x2804)           \
	F(GUEST_EFER,                    0x2806)           \
	F(GUEST_PERF_GLOBAL_CTRL,        0x2808)           \
	F(GUEST_PDPTE0,                  0x280a)           \
	F(GUEST_PDPTE1,                  0x280c)           \
	F(GUEST_PDPTE2,                  0x280e)           \
	F(GUEST_PDPTE3,                  0x2810)           \
	F(GUEST_BNDCFGS,                 0x2812)           \
	F(GUEST_RTIT_CTL,                0x2814)           \
	/* 64 bits: host */                                \
	F(HOST_PAT,                      0x2c00)           \
	F(HOST_EFER,                     0x2c02)           \
	F(HOST_PERF_GLOBAL_CTRL,         0x2c04)           \
	/* 32 bits: control */                             \
	F(CTRL_PIN,                      0x4000)           \
	F(CTRL_PROC,                     0x4002)           \
	F(CTRL_EXCEPTION_BITMAP,         0x4004)           \
	F(CTRL_PAGE_FAULT_MASK,          0x4006)           \
	F(CTRL_PAGE_FAULT_MATCH,         0x4008)           \
	F(CTRL_CR3_TARGET_COUNT,         0x400a)           \
	F(EXIT_CONTROLS,                 0x400c)           \
	F(EXIT_MSR_STORE_COUNT,          0x400e)           \
	F(EXIT_MSR_LOAD_COUNT,           0x4010)           \
	F(ENTRY_CONTROLS,                0x4012)           \
	F(ENTRY_MSR_LOAD_COUNT,          0x4014)           \
	F(ENTRY_INTERRUPTION_INFO,       0x4016)           \
	F(ENTRY_EXCEPTION_ERROR,         0x4018)           \
	F(ENTRY_INSTRUCTION_LENGTH,      0x401a)           \
	F(CTRL_TPR_THRESHOLD,            0x401c)           \
	F(CTRL_PROC_SECONDARY,           0x401e)           \
	F(CTRL_PLE_GAP,                  0x4020)           \
	F(CTRL_PLE_WINDOW,               0x4022)           \
	/* 32 bits: read-only */                           \
	F(EXIT_INSTRUCTION_ERROR,        0x4400)           \
	F(EXIT_REASON,                   0x4402)           \
	F(EXIT_INTERRUPTION_INFO,        0x4404)           \
	F(EXIT_INTERRUPTION_ERROR,       0x4406)           \
	F(EXIT_VECTORING_INFO,           0x4408)           \
	F(EXIT_VECTORING_ERROR,          0x440a)           \
	F(EXIT_INSTRUCTION_LENGTH,       0x440c)           \
	F(EXIT_INSTRUCTION_INFO,         0x440e)           \
	/* 32 bits: guest */                               \
	F(GUEST_ES_LIMIT,                0x4800)           \
	F(GUEST_CS_LIMIT,                0x4802)           \
	F(GUEST_SS_LIMIT,                0x4804)           \
	F(GUEST_DS_LIMIT,                0x4806)           \
	F(GUEST_FS_LIMIT,                0x4808)           \
	F(GUEST_GS_LIMIT,                0x480a)           \
	F(GUEST_LDTR_LIMIT,              0x480c)           \
	F(GUEST_TR_LIMIT,                0x480e)           \
	F(GUEST_GDTR_LIMIT,              0x4810)           \
	F(GUEST_IDTR_LIMIT,              0x4812)           \
	F(GUEST_ES_ACCESS,               0x4814)           \
	F(GUEST_CS_ACCESS,               0x4816)           \
	F(GUEST_SS_ACCESS,               0x4818)           \
	F(GUEST_DS_ACCESS,               0x481a)           \
	F(GUEST_FS_ACCESS,               0x481c)           \
	F(GUEST_GS_ACCESS,               0x481e)           \
	F(GUEST_LDTR_ACCESS,             0x4820)           \
	F(GUEST_TR_ACCESS,               0x4822)           \
	F(GUEST_INTERRUPTIBILITY,        0x4824)           \
	F(GUEST_ACTIVITY,                0x4826)           \
	F(GUEST_SMBASE,                  0x4828)           \
	F(GUEST_SYSENTER_CS,             0x482a)           \
	F(GUEST_PREEMPTION_TIMER,        0x482e)           \
	/* 32 bits: host */                                \
	F(HOST_SYSENTER_CS,              0x4c00)           \
	/* natural width: control */                       \
	F(CTRL_CR0_MASK,                 0x6000)           \
	F(CTRL_CR4_MASK,                 0x6002)           \
	F(CTRL_CR0_SHADOW,               0x6004)           \
	F(CTRL_CR4_SHADOW,               0x6006)           \
	F(CTRL_CR3_TARGET_0,             0x6008)           \
	F(CTRL_CR3_TARGET_1,             0x600a)           \
	F(CTRL_CR3_TARGET_2,             0x600c)           \
	F(CTRL_CR3_TARGET_3,             0x600e)           \
	/* natural width: read-only */                     \
	F(EXIT_QUALIFICATION,            0x6400)           \
	F(EXIT_IO_RCX,                   0x6402)           \
	F(EXIT_IO_RSI,                   0x6404)           \
	F(EXIT_IO_RDI,                   0x6406)           \
	F(EXIT_IO_RIP,                   0x6408)           \
	F(EXIT_GUEST_LINEAR,             0x640a)           \
	/* natural width: guest */                         \
	F(GUEST_CR0,                     0x6800)           \
	F(GUEST_CR3,                     0x6802)           \
	F(GUEST_CR4,                     0x6804)           \
	F(GUEST_ES_BASE,                 0x6806)           \
	F(GUEST_CS_BASE,                 0x6808)           \
	F(GUEST_SS_BASE,                 0x680a)           \
	F(GUEST_DS_BASE,                 0x680c)           \
	F(GUEST_FS_BASE,                 0x680e)           \
	F(GUEST_GS_BASE,                 0x6810)           \
	F(GUEST_LDTR_BASE,               0x6812)           \
	F(GUEST_TR_BASE,                 0x6814)           \
	F(GUEST_GDTR_BASE,               0x6816)           \
	F(GUEST_IDTR_BASE,               0x6818)           \
	F(GUEST_DR7,                     0x681a)           \
	F(GUEST_RSP,                     0x681c)           \
	F(GUEST_RIP,                     0x681e)           \
	F(GUEST_RFLAGS,                  0x6820)           \
	F(GUEST_PENDING_DEBUG,           0x6822)           \
	F(GUEST_SYSENTER_ESP,            0x6824)           \
	F(GUEST_SYSENTER_EIP,            0x6826)           \
	/* natural width: host */                          \
	F(HOST_CR0,                      0x6c00)           \
	F(HOST_CR3,                      0x6c02)           \
	F(HOST_CR4,                      0x6c04)           \
	F(HOST_FS_BASE,                  0x6c06)           \
	F(HOST_GS_BASE,                  0x6c08)           \
	F(HOST_TR_BASE,                  0x6c0a)           \
	F(HOST_GDTR_BASE,                0x6c0c)           \
	F(HOST_IDTR_BASE,                0x6c0e)           \
	F(HOST_SYSENTER_ESP,             0x6c10)           \
	F(HOST_SYSENTER_EIP,             0x6c12)           \
	F(HOST_RSP,                      0x6c14)           \
	F(HOST_RIP,                      0x6c16)
/* clang-format on */

#define VMCS_FIELD_ENUM(name, encoding) name = (encoding),
enum vmcs_field {
	VMCS_FIELDS(VMCS_FIELD_ENUM)
};
#undef VMCS_FIELD_ENUM

static_assert(HOST_RSP == 0x6c14, "entry.S knows this number");

/* Segment fields follow each other by two in the order of enum vmx_segment_id. */
#define VMCS_SEGMENT(field, id) ((enum vmcs_field)((field) + 2 * (u32)(id)))

#endif
