/* SPDX-License-Identifier: MIT */
/* Whether a vCPU made for the boot CPU can run on another one. */
#include "kernel/base/msr.h"
#include "vmx/capability.h"
#include "vmx/controls.h"

/* Each bit that Weir may set in some vCPU. */
#define USED_PIN                                                                      \
	(PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER | \
	 PIN_POSTED_INTERRUPTS)
#define USED_PROC                                                                                 \
	(PROC_INTERRUPT_WINDOW | PROC_TSC_OFFSETTING | PROC_HLT | PROC_MWAIT | PROC_RDPMC |       \
	 PROC_CR3_LOAD | PROC_CR3_STORE | PROC_CR8_LOAD | PROC_CR8_STORE | PROC_TPR_SHADOW |      \
	 PROC_NMI_WINDOW | PROC_MOV_DR | PROC_IO | PROC_MSR_BITMAPS | PROC_MONITOR | PROC_PAUSE | \
	 PROC_SECONDARY | PROC_INVLPG)
#define USED_PROC2                                                                                 \
	(PROC2_APIC_ACCESS | PROC2_EPT | PROC2_RDTSCP | PROC2_X2APIC | PROC2_VPID | PROC2_WBINVD | \
	 PROC2_UNRESTRICTED | PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY | PROC2_PAUSE_LOOP | \
	 PROC2_INVPCID | PROC2_ENCLS | PROC2_PML)
#define USED_EXIT                                                                         \
	(EXIT_SAVE_DEBUG | EXIT_HOST_64BIT | EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_SAVE_PAT | \
	 EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER)
#define USED_ENTRY (ENTRY_LOAD_DEBUG | ENTRY_IA32E | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER)
#define USED_EPT_VPID                                                                      \
	(EPT_CAP_WALK_4 | EPT_CAP_WB | EPT_CAP_2M | EPT_CAP_INVEPT | EPT_CAP_AD |          \
	 EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL | VPID_CAP_INVVPID | VPID_CAP_SINGLE | \
	 VPID_CAP_ALL)

#define BASIC_REVISION	 0x7fffffffull
#define BASIC_MEMTYPE	 (0xfull << 50)
#define MISC_TIMER_SHIFT 0x1full
#define CR4_USED                                                                                  \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | \
	 CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_VMXE | CR4_FSGSBASE | CR4_PCIDE |           \
	 CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)

/* A bit that must be 1 there has to be 1 here; one that may be set here has to be one that may there. */
static bool control_serves(u64 boot, u64 here, u64 used)
{
	u32 must = (u32)here & ~(u32)boot;
	u32 may = (u32)(boot >> 32) & ~(u32)(here >> 32) & ((u32)used | (u32)boot);

	return !must && !may;
}

static bool has_all(u64 boot, u64 here, u64 used)
{
	return !(boot & ~here & used);
}

bool capability_serves(const struct vmx_capability *boot, const struct vmx_capability *here,
		       struct capability_difference *d)
{
	const struct vmx_capability *b = boot, *h = here;
	const struct {
		const char *what;
		u64 boot, here;
		bool serves;
	} fields[] = {
		{"basic", b->basic, h->basic,
		 !((b->basic ^ h->basic) & (BASIC_REVISION | BASIC_MEMTYPE))},
		{"pin-based", b->pin, h->pin, control_serves(b->pin, h->pin, USED_PIN)},
		{"processor-based", b->proc, h->proc, control_serves(b->proc, h->proc, USED_PROC)},
		{"secondary processor-based", b->proc2, h->proc2,
		 control_serves(b->proc2, h->proc2, USED_PROC2)},
		{"VM-exit", b->exit, h->exit, control_serves(b->exit, h->exit, USED_EXIT)},
		{"VM-entry", b->entry, h->entry, control_serves(b->entry, h->entry, USED_ENTRY)},
		{"EPT and VPID", b->ept_vpid, h->ept_vpid,
		 has_all(b->ept_vpid, h->ept_vpid, USED_EPT_VPID)},
		{"miscellaneous", b->misc, h->misc, !((b->misc ^ h->misc) & MISC_TIMER_SHIFT)},
		{"CR0 fixed to 1", b->cr0_fixed0, h->cr0_fixed0,
		 has_all(h->cr0_fixed0, b->cr0_fixed0, ~0ull)},
		{"CR0 fixed to 0", b->cr0_fixed1, h->cr0_fixed1,
		 has_all(b->cr0_fixed1, h->cr0_fixed1, ~0ull)},
		{"CR4 fixed to 1", b->cr4_fixed0, h->cr4_fixed0,
		 has_all(h->cr4_fixed0, b->cr4_fixed0, ~0ull)},
		{"CR4 fixed to 0", b->cr4_fixed1, h->cr4_fixed1,
		 has_all(b->cr4_fixed1, h->cr4_fixed1, CR4_USED)},
		{"XCR0", b->xcr0, h->xcr0, has_all(b->xcr0, h->xcr0, ~0ull)},
	};

	for (u32 i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (fields[i].serves)
			continue;
		*d = (struct capability_difference){fields[i].what, fields[i].boot, fields[i].here};
		return false;
	}
	return true;
}
