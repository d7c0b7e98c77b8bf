/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: @mem vmx/vcpu.c vmx/pml.c vmx/capability.c vmx/inject.c vmx/event.c vmx/regs.c
 *   vmx/cr_rules.c
 */
/*
 * A vCPU's making and end: each frame and object of it fails in turn, and what there was comes
 * back.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "mmu/mmu.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/frames.h"
#include "tests/hosted/hosted.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/cpuid.h"
#include "vmx/features.h"
#include "vmx/regs.h"
#include "vmx/vmx.h"

#include <cmocka.h>

#define VMCS_REVISION 0x4711

struct vmx_cpu vmx_cpus[CPU_MAX];
struct guest_features guest_features;

static struct mmu_vm mmu;
static bool ready;
static u32 set_up, gone; /* VMCSs, and vCPUs that their CPU was told of */

bool vmx_cpu_ready(u32 cpu)
{
	return ready;
}

void vmcs_setup(struct vmx_vcpu *v)
{
	assert_false(irq_enabled());
	assert_int_equal(*(const u32 *)v->vmcs, VMCS_REVISION);
	assert_non_null(v->xsave);
	assert_non_null(v->config.apic_page);
	set_up++;
}

void vcpu_disown_cpu(struct vmx_vcpu *v)
{
	gone++;
}

void cr_get(struct vmx_vcpu *v, struct cr_state *out)
{
	*out = (struct cr_state){.cr0 = CR0_PE | CR0_PG, .cr4 = CR4_PAE, .efer = EFER_LMA};
}

NOTHING(cpuid_forget, struct vmx_vcpu *v)
NOTHING(fpu_init_area, struct vmx_vcpu *v)
NOTHING(mitigations_update, struct vmx_vcpu *v)
NOTHING(mmu_dirty_mark, struct mmu_vm *m, gfn_t gfn)
NOTHING(msr_state_reset, struct msr_state *s)
NOTHING(vcpu_get_pdptes, const struct vmx_vcpu *v, u64 pdpte[4])
NOTHING(vmcs_set_proc_controls, struct vmx_vcpu *v, u32 value)
ANSWER(u64, cpuid_xcr0_offered, 0, void)
ANSWER(bool, mmu_uses_pml, false, const struct mmu_vm *m)
ANSWER(bool, vmx_unrestricted_guest, true, void)

static int setup(void **state)
{
	frames_start(MIB(8));
	slab_init();
	pml_init();
	vmx_boot_capability.basic = VMCS_REVISION;
	vmx_boot_capability.proc2 = (u64)PROC2_PML << 32;
	vmx_boot_capability.ept_vpid = EPT_CAP_AD;
	ready = true;
	set_up = gone = 0;
	return 0;
}

/* How many allocations it is; each one fails once. */
static u32 fail_each(const struct vmx_config *c)
{
	u64 free = frames_free();
	struct vmx_vcpu *v;

	for (u32 n = 1;; n++) {
		int err;

		hosted_fail_after(n);
		err = vmx_vcpu_create(c, &v);
		if (!hosted_fail_happened()) {
			assert_int_equal(err, 0);
			assert_int_equal(set_up, 1);
			hosted_fail_after(0);
			vmx_vcpu_destroy(v);
			assert_int_equal(gone, 1);
			assert_int_equal(frames_free(), free);
			assert_int_equal(hosted_locks_held(), 0);
			return n - 1;
		}
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(set_up, 0);
		assert_int_equal(frames_free(), free);
		assert_int_equal(hosted_locks_held(), 0);
	}
}

/* The vCPU itself and its slab's page, VMCS, XSAVE area, local APIC's page, PML's buffer. */
static void each_frame_fails(void **state)
{
	const struct vmx_config c = {.mmu = &mmu};

	assert_int_equal(fail_each(&c), 6);
}

/* One of its owner's stays the owner's. */
static void with_an_apic_page(void **state)
{
	u8 *page = frame_alloc_page(0);
	const struct vmx_config c = {.mmu = &mmu, .apic_page = page};

	assert_int_equal(fail_each(&c), 5);
	frame_free_page(page);
}

static void without_pml(void **state)
{
	const struct vmx_config c = {.mmu = &mmu};

	vmx_boot_capability.proc2 = 0;
	assert_int_equal(fail_each(&c), 5);
}

static void on_a_cpu_without_vmx(void **state)
{
	const struct vmx_config c = {.mmu = &mmu};
	struct vmx_vcpu *v;

	ready = false;
	assert_int_equal(vmx_vcpu_create(&c, &v), ERR_NOTSUP);
}

/* What a walk of the guest's tables goes by is what the guest is shown. */
static void paging_is_as_cpuid_says(void **state)
{
	static struct vmx_vcpu v;
	struct guest_paging p;

	guest_features = (struct guest_features){.maxphyaddr = 38};
	vmx_get_paging(&v, &p);
	assert_int_equal(p.maxphyaddr, 38);
	assert_true(p.no_1g);
	guest_features.pages_1g = true;
	vmx_get_paging(&v, &p);
	assert_false(p.no_1g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_frame_fails, setup),
		cmocka_unit_test_setup(with_an_apic_page, setup),
		cmocka_unit_test_setup(without_pml, setup),
		cmocka_unit_test_setup(on_a_cpu_without_vmx, setup),
		cmocka_unit_test_setup(paging_is_as_cpuid_says, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
