/* SPDX-License-Identifier: MIT */
#include "vmx/pml.h"
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "smp/ipi.h"
#include "smp/mutex.h"
#include "vmx/capability.h"
#include "vmx/controls.h"
#include "vmx/instructions.h"
#include "vmx/vcpu.h"

#define ENTRIES	   512u
#define LAST_INDEX (ENTRIES - 1) /* the CPU writes downwards, and wraps below 0 */

/* left counts up from 0: it never comes to this. */
#define NOT_WAITED_FOR (~0ull)

static struct mutex pml_lock;
/* pml_lock */
static struct list vcpus = LIST_INIT(vcpus);

void pml_init(void)
{
	mutex_init(&pml_lock, "pml", LOCK_PML);
}

/* In the guest, in the stay in which it was found. */
static bool still_inside(const struct vmx_vcpu *v)
{
	return __atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST) &&
	       __atomic_load_n(&v->pml.left, __ATOMIC_ACQUIRE) == v->pml.waited_for;
}

/*
 * mmu_vm.drain_dirty. What a vCPU wrote before we came is in the log already, or will be when it
 * leaves: all are told, then waited for. One that enters meanwhile writes after we came. A vCPU of
 * this CPU is not in the guest.
 */
static void drain(struct mmu_vm *vm)
{
	struct vmx_vcpu *v;

	mutex_lock(&pml_lock);
	list_for_each_entry (v, &vcpus, pml.link) {
		if (v->config.mmu != vm)
			continue;
		v->pml.waited_for = __atomic_load_n(&v->pml.left, __ATOMIC_ACQUIRE);
		if (v->cpu != cpu_id() && still_inside(v))
			ipi_kick(v->cpu);
		else
			v->pml.waited_for = NOT_WAITED_FOR;
	}
	list_for_each_entry (v, &vcpus, pml.link) {
		while (v->config.mmu == vm && still_inside(v))
			cpu_relax();
	}
	mutex_unlock(&pml_lock);
}

int pml_create(struct vmx_vcpu *v)
{
	if (!capability_has_pml(&vmx_boot_capability))
		return 0;
	v->pml.buffer = frame_alloc_page(FRAME_FOR(VCPU));
	if (!v->pml.buffer)
		return ERR_NOMEM;
	mutex_lock(&pml_lock);
	list_add_tail(&v->pml.link, &vcpus);
	mutex_unlock(&pml_lock);
	v->config.mmu->drain_dirty = drain;
	return 0;
}

void pml_destroy(struct vmx_vcpu *v)
{
	if (!v->pml.buffer)
		return;
	mutex_lock(&pml_lock);
	list_del(&v->pml.link);
	mutex_unlock(&pml_lock);
	frame_free_page(v->pml.buffer);
}

void pml_before_entry(struct vmx_vcpu *v)
{
	bool on = mmu_uses_pml(v->config.mmu);

	if (on == v->pml.on)
		return;
	v->proc2_controls &= ~(u32)PROC2_PML;
	if (on) {
		v->proc2_controls |= (u32)PROC2_PML;
		vmcs_write(CTRL_PML_ADDRESS, virt_to_phys(v->pml.buffer).v);
		vmcs_write(GUEST_PML_INDEX, LAST_INDEX);
	}
	vmcs_write(CTRL_PROC_SECONDARY, v->proc2_controls);
	v->pml.on = on;
}

void pml_empty(struct vmx_vcpu *v)
{
	u64 index = vmcs_read(GUEST_PML_INDEX);

	if (index != LAST_INDEX) {
		for (u64 i = index < ENTRIES ? index + 1 : 0; i < ENTRIES; i++)
			mmu_dirty_mark(v->config.mmu, gpa_to_gfn(GPA(v->pml.buffer[i])));
		vmcs_write(GUEST_PML_INDEX, LAST_INDEX);
	}
}

/*
 * Not before it counts as out: who saw a new count beside the old stay would take the next stay for
 * it, and the kick that was for the old one is spent.
 */
void pml_left(struct vmx_vcpu *v)
{
	__atomic_store_n(&v->pml.left, v->pml.left + 1, __ATOMIC_RELEASE);
}

/* The log was full before the write, which the guest does again. It is empty by now. */
enum exit_verdict handle_pml_full(struct vmx_vcpu *v, struct vmx_exit *e)
{
	(void)e;
	event_iret_faulted(v, vmcs_read(EXIT_QUALIFICATION));
	return EXIT_RESUME;
}
