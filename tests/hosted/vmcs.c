/* SPDX-License-Identifier: MIT */
/* What tests/hosted/include/vmx/instructions.h declares. */
#include "vmx/instructions.h"

_Thread_local u64 hosted_vmcs[HOSTED_VMCS_FIELDS];
_Thread_local u64 hosted_dr[8];
void (*hosted_on_dr)(void);
bool (*hosted_vmxon)(hpa_t region);
void (*hosted_vmxoff)(void);
