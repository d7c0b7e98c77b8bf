/* SPDX-License-Identifier: MIT */
#include "kernel/apic_page.h"

#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/dev/platform.h"
#include "mem/gmem.h"
#include "vmx/apicv.h"

int apic_page_create(struct vm *vm, u32 slot)
{
	struct apic_page *a = &vm->apic_page;
	pfn_t pfn;
	int err;

	if (vmx_apicv() < VMX_APICV_ACCESS)
		return 0;
	err = gmem_create(1, &a->object);
	if (err)
		return err;
	err = gmem_pin(a->object, 0, true, &pfn);
	if (err)
		return err;
	a->pfn = pfn;
	a->pinned = true;
	a->slot = slot;
	err = memslot_create(&vm->mmu, slot, gpa_to_gfn(GPA(PLATFORM_LAPIC_BASE)), 1, a->object, 0,
			     MEMSLOT_PRIVATE);
	if (!err)
		__atomic_store_n(&a->there, true, __ATOMIC_SEQ_CST);
	return err;
}

void apic_page_destroy(struct vm *vm)
{
	struct apic_page *a = &vm->apic_page;

	if (a->pinned)
		gmem_unpin(a->object, 0, a->pfn, false);
	if (a->object)
		gmem_unref(a->object);
	*a = (struct apic_page){0};
}

bool apic_base_moves(struct vcpu *v, u32 msr, u64 value)
{
	return msr == MSR_IA32_APIC_BASE && ((value ^ platform_apic_base(v)) & ~APIC_BASE_BSP);
}

/*
 * Who comes second waits inside memslot_delete for the first, so that whoever returns finds no CPU
 * that has the page mapped.
 */
int apic_page_retire(struct vm *vm)
{
	struct apic_page *a = &vm->apic_page;
	int err = memslot_delete(&vm->mmu, a->slot);

	if (err && err != ERR_NOENT)
		return err;
	__atomic_store_n(&a->there, false, __ATOMIC_SEQ_CST);
	return 0;
}
