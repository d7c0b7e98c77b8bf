/* SPDX-License-Identifier: MIT */
/*
 * What Weir requires of a CPU before it runs guests, each requirement with the sentence that a
 * person reads when it is not met. Pure but for reading CPUID and MSRs; boot CPU.
 */
#ifndef VMX_REQUIREMENTS_H
#define VMX_REQUIREMENTS_H

#include "vmx/capability.h"

/* What is looked at; capability is valid only where has_vmx. */
struct vmx_findings {
	bool has_vmx; /* CPUID.1:ECX.VMX */
	bool has_pat; /* CPUID.1:EDX.PAT */
	u64 feature_control;
	struct vmx_capability capability;
};

void requirements_look(struct vmx_findings *f);

/* The sentence of the first requirement that is not met, or NULL. */
const char *requirements_unmet(const struct vmx_findings *f);

#endif
