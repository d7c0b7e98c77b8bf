/* SPDX-License-Identifier: MIT */
/* What there is to say about a vCPU when something went wrong. Thread context or interrupts off. */
#include "kernel/base/log.h"
#include "kernel/base/panic.h"
#include "vmx/regs.h"

#define FIELD_ROW(name, encoding) {#name, encoding},
static const struct {
	const char *name;
	u32 field;
} fields[] = {VMCS_FIELDS(FIELD_ROW)};

/* SDM 3C 31.4, table 31-1. */
static const char *const instruction_errors[] = {
	[1] = "VMCALL executed in VMX root operation",
	[2] = "VMCLEAR with invalid physical address",
	[3] = "VMCLEAR with VMXON pointer",
	[4] = "VMLAUNCH with non-clear VMCS",
	[5] = "VMRESUME with non-launched VMCS",
	[6] = "VMRESUME after VMXOFF",
	[7] = "VM entry with invalid control fields",
	[8] = "VM entry with invalid host-state fields",
	[9] = "VMPTRLD with invalid physical address",
	[10] = "VMPTRLD with VMXON pointer",
	[11] = "VMPTRLD with incorrect VMCS revision identifier",
	[12] = "VMREAD or VMWRITE of an unsupported VMCS component",
	[13] = "VMWRITE to a read-only VMCS component",
	[15] = "VMXON executed in VMX root operation",
	[16] = "VM entry with invalid executive-VMCS pointer",
	[17] = "VM entry with non-launched executive VMCS",
	[18] = "VM entry with executive-VMCS pointer not VMXON pointer",
	[19] = "VMCALL with non-clear VMCS",
	[20] = "VMCALL with invalid VM-exit control fields",
	[22] = "VMCALL with incorrect MSEG revision identifier",
	[23] = "VMXOFF under dual-monitor treatment",
	[24] = "VMCALL with invalid SMM-monitor features",
	[25] = "VM entry with invalid VM-execution control fields in executive VMCS",
	[26] = "VM entry with events blocked by MOV SS",
	[28] = "invalid operand to INVEPT or INVVPID",
};

static const char *error_words(u64 error)
{
	if (error < ARRAY_SIZE(instruction_errors) && instruction_errors[error])
		return instruction_errors[error];
	return "unknown error";
}

/* entry.S comes here when a field access fails. */
void vmcs_access_panic(void);
void vmcs_access_panic(void)
{
	u64 error = 0;

	vmcs_try_read(EXIT_INSTRUCTION_ERROR, &error);
	panic("VMREAD or VMWRITE failed: error %lu, %s", error, error_words(error));
}

void vmcs_dump(struct vmx_vcpu *v)
{
	u64 value;

	(void)v;
	for (u32 i = 0; i < ARRAY_SIZE(fields); i++) {
		if (vmcs_try_read((enum vmcs_field)fields[i].field, &value))
			log_error("VMCS %04x %-26s %#llx", fields[i].field, fields[i].name,
				  (unsigned long long)value);
	}
}

/* refused: before the guest's state was loaded (SDM 3C 27.1, 27.2); else by the guest's state. */
void vcpu_log_entry_failure(struct vmx_vcpu *v, bool refused)
{
	u64 error;

	/* An exit of its own kind (SDM 3C 27.8): one of reasons 33, 34 and 41. */
	if (!refused && v->reason < VMX_EXIT_REASONS)
		v->exits[v->reason]++;
	if (!exit_crash(v))
		return;
	if (refused) {
		error = vmcs_read(EXIT_INSTRUCTION_ERROR);
		log_error("vm %s: VM entry refused: error %llu, %s", vcpu_name(),
			  (unsigned long long)error, error_words(error));
	} else {
		log_error("vm %s: VM entry failed: %s, qualification %llu", vcpu_name(),
			  vmx_exit_name(v->reason),
			  (unsigned long long)vmcs_read(EXIT_QUALIFICATION));
	}
	vmcs_dump(v);
}

/* The lines of what follows fit 80 columns with what stands before each in the log. */

static void dump_pair(const char *name, u64 value, const char *name2, u64 value2)
{
	log_info("  %-4s %016llx  %-4s %016llx", name, (unsigned long long)value, name2,
		 (unsigned long long)value2);
}

static void dump_segment(struct vmx_vcpu *v, const char *name, enum vmx_segment_id id)
{
	struct vmx_segment s;

	vmx_get_segment(v, id, &s);
	log_info("  %-4s %04x %016llx %08x %05x", name, s.selector, (unsigned long long)s.base,
		 s.limit, s.access);
}

static void dump_table(const char *name, enum vmcs_field base, enum vmcs_field limit)
{
	log_info("  %-4s      %016llx %08x", name, (unsigned long long)vmcs_read(base),
		 (u32)vmcs_read(limit));
}

static void dump_segments(struct vmx_vcpu *v)
{
	log_info("       sel  base             limit    access");
	dump_segment(v, "cs", SEG_CS);
	dump_segment(v, "ss", SEG_SS);
	dump_segment(v, "ds", SEG_DS);
	dump_segment(v, "es", SEG_ES);
	dump_segment(v, "fs", SEG_FS);
	dump_segment(v, "gs", SEG_GS);
	dump_segment(v, "tr", SEG_TR);
	dump_segment(v, "ldtr", SEG_LDTR);
	dump_table("gdtr", GUEST_GDTR_BASE, GUEST_GDTR_LIMIT);
	dump_table("idtr", GUEST_IDTR_BASE, GUEST_IDTR_LIMIT);
}

void vmx_vcpu_dump(struct vmx_vcpu *v)
{
	static const char *const names[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
						     "rsi", "rdi", "r8",  "r9",	 "r10", "r11",
						     "r12", "r13", "r14", "r15"};
	const struct guest_regs *regs = vcpu_regs(v);
	struct cr_state cr;

	cr_get(v, &cr);
	log_info("  last exit %u (%s)", v->reason, vmx_exit_name(v->reason));
	dump_pair("rip", regs->rip, "rflags", regs->rflags);
	for (u32 i = 0; i < GPR_COUNT; i += 2)
		dump_pair(names[i], regs->gpr[i], names[i + 1], regs->gpr[i + 1]);
	dump_pair("cr0", cr.cr0, "cr2", regs->cr2);
	dump_pair("cr3", cr.cr3, "cr4", cr.cr4);
	dump_pair("efer", cr.efer, "xcr0", v->xcr0);
	log_info("  cr8  %#llx", (unsigned long long)apic_cr8(v));
	if (v->apic_full)
		log_info("  requested %#llx in service %#llx",
			 (unsigned long long)vmcs_read(GUEST_INTERRUPT_STATUS) & 0xff,
			 (unsigned long long)vmcs_read(GUEST_INTERRUPT_STATUS) >> 8);
	dump_segments(v);
}
