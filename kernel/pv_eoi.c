/* SPDX-License-Identifier: MIT */
/* MSR_KVM_PV_EOI_EN: where the guest has the word of kernel/dev/lapic_pv_eoi.c. */
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "kernel/dev/lapic.h"

#define PV_EOI_ENABLE BIT(0)

static void change(struct vcpu *v, u64 msr, struct gpa_pin *word)
{
	lapic_pv_eoi_set(v->lapic, word);
	gpa_unpin(v->pv_eoi.word);
	v->pv_eoi.word = word;
	v->pv_eoi.msr = msr;
}

int pv_eoi_wrmsr(struct vcpu *v, u64 value)
{
	gpa_t gpa = GPA(value & ~PV_EOI_ENABLE);
	struct gpa_pin *word = NULL;
	int err;

	if (!is_aligned(gpa.v, 4ull))
		return ERR_FAULT;
	if (value & PV_EOI_ENABLE) {
		err = gpa_pin(&v->vm->mmu, gpa, &word);
		if (err)
			return err == ERR_NOMEM ? err : ERR_FAULT;
	}
	change(v, value, word);
	return 0;
}

void pv_eoi_forget(struct vcpu *v)
{
	change(v, 0, NULL);
}
