/* SPDX-License-Identifier: MIT */
#include "tests/unit/vmx/pml_cpu.h"
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "tests/hosted/frames.h"
#include "tests/hosted/hosted.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/cpuid.h"
#include "vmx/instructions.h"
#include "vmx/stay.h"

#include <cmocka.h>
#include <string.h>

struct mmu_vm vm;
struct vmx_vcpu vcpus[VCPUS];
u32 marks[PAGES];
bool wanted;

u64 cpuid_xcr0_offered(void)
{
	return 0;
}

bool mmu_uses_pml(const struct mmu_vm *m)
{
	return __atomic_load_n(&wanted, __ATOMIC_SEQ_CST);
}

void mmu_dirty_mark(struct mmu_vm *m, gfn_t gfn)
{
	assert_ptr_equal(m, &vm);
	assert_true(gfn.v < PAGES);
	__atomic_fetch_add(&marks[gfn.v], 1, __ATOMIC_SEQ_CST);
}

/* No translation is ever stale here. */
void mmu_enter_flush(struct mmu_vm *m)
{
	fail();
}

void vmcs_set_proc_controls(struct vmx_vcpu *v, u32 value)
{
}

static u64 free_at_start;

int pml_setup(void **state)
{
	frames_start(MIB(8));
	free_at_start = frames_free();
	pml_init();
	memset(vcpus, 0, sizeof(vcpus));
	memset(&vm, 0, sizeof(vm));
	memset(marks, 0, sizeof(marks));
	memset(hosted_vmcs, 0, sizeof(hosted_vmcs));
	wanted = false;
	vmx_boot_capability.proc2 = (u64)PROC2_PML << 32;
	vmx_boot_capability.ept_vpid = EPT_CAP_AD;
	vmx_boot_controls.proc2 = PLAIN_PROC2;
	for (u32 i = 0; i < VCPUS; i++) {
		vcpus[i].config.mmu = &vm;
		vcpus[i].cpu = i + 1;
		vcpus[i].proc2_controls = PLAIN_PROC2;
	}
	return 0;
}

int pml_teardown(void **state)
{
	for (u32 i = 0; i < VCPUS; i++)
		pml_destroy(&vcpus[i]);
	assert_int_equal(frames_free(), free_at_start);
	return 0;
}

bool cpu_writes(struct vmx_vcpu *v, u64 page)
{
	u16 index = (u16)vmcs_read(GUEST_PML_INDEX);

	if (!(vmcs_read(CTRL_PROC_SECONDARY) & PROC2_PML))
		return true;
	assert_int_equal(vmcs_read(CTRL_PML_ADDRESS), virt_to_phys(v->pml.buffer).v);
	if (index >= BUFFER)
		return false;
	v->pml.buffer[index] = page << PAGE_SHIFT;
	vmcs_write(GUEST_PML_INDEX, (u16)(index - 1));
	return true;
}

void goes_in(struct vmx_vcpu *v)
{
	irq_disable();
	stay_begin(v, v->config.mmu);
	pml_before_entry(v);
}

void comes_out(struct vmx_vcpu *v)
{
	stay_end(v);
	irq_enable();
}
