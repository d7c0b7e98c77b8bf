/* SPDX-License-Identifier: MIT */
#include "kernel/base/string.h"
#include "kernel/selftest_vmx.h"
#include "smp/thread.h"

#define EXITS_MAX 1000

enum {
	SLOT_CODE,
	SLOT_LOW
};

static void sched_in(struct thread *thread)
{
	vmx_vcpu_sched_in(thread->sched_data);
}

static void sched_out(struct thread *thread)
{
	vmx_vcpu_sched_out(thread->sched_data);
}

void machine_attach(struct machine *m)
{
	struct thread *thread = thread_current();
	bool on = irq_save();

	thread->sched_data = m->v;
	thread->sched_in = sched_in;
	thread->sched_out = sched_out;
	vmx_vcpu_sched_in(m->v);
	irq_restore(on);
}

void machine_detach(struct machine *m)
{
	struct thread *thread = thread_current();
	bool on = irq_save();

	vmx_vcpu_sched_out(m->v);
	thread->sched_in = NULL;
	thread->sched_out = NULL;
	irq_restore(on);
}

static bool make_memory(struct selftest *t, struct machine *m, bool low)
{
	gfn_t code = gpa_to_gfn(GPA(MACHINE_CODE));

	if (!EXPECT(t, gmem_create(1, &m->code) == 0) ||
	    !EXPECT(t, memslot_create(&m->mmu, SLOT_CODE, code, 1, m->code, 0, 0) == 0) ||
	    !EXPECT(t, gpa_write(&m->mmu, GPA(MACHINE_CODE), vmx_guest_page, PAGE_SIZE) == 0))
		return false;
	if (!low)
		return true;
	return EXPECT(t, gmem_create(MACHINE_LOW_PAGES, &m->low) == 0) &&
	       EXPECT(t, memslot_create(&m->mmu, SLOT_LOW, GFN(0), MACHINE_LOW_PAGES, m->low, 0,
					0) == 0);
}

bool machine_make(struct selftest *t, struct machine *m, const struct vmx_start *start, bool low)
{
	struct vmx_config config = {.mmu = &m->mmu, .mmu_vcpu = &m->mmu_vcpu, .vcpu_count = 1};

	memset(m, 0, sizeof(*m));
	m->t = t;
	if (!EXPECT(t, mmu_vm_create(&m->mmu, MMU_EPT) == 0))
		return false;
	m->mmu_made = true;
	if (!make_memory(t, m, low))
		return false;
	mmu_vcpu_init(&m->mmu_vcpu, &m->mmu);
	if (!EXPECT(t, vmx_vcpu_create(&config, &m->v) == 0))
		return false;
	machine_attach(m);
	vmx_vcpu_set_start(m->v, start);
	machine_detach(m);
	return true;
}

static void unmake_slot(struct machine *m, u32 slot, struct gmem *object)
{
	if (!object)
		return;
	/* Not there where making it is what failed. */
	(void)memslot_delete(&m->mmu, slot);
	gmem_unref(object);
}

void machine_unmake(struct machine *m)
{
	if (m->v)
		vmx_vcpu_destroy(m->v);
	if (m->mmu_vcpu.vm)
		mmu_vcpu_destroy(&m->mmu_vcpu);
	unmake_slot(m, SLOT_CODE, m->code);
	unmake_slot(m, SLOT_LOW, m->low);
	if (m->mmu_made)
		mmu_vm_destroy(&m->mmu);
}

struct vmx_exit machine_run(struct machine *m)
{
	struct vmx_exit e = {.kind = VMX_EXIT_NONE};

	for (u32 i = 0; i < EXITS_MAX && e.kind == VMX_EXIT_NONE; i++)
		vmx_vcpu_run(m->v, &e);
	return e;
}

void machine_expect_halt(struct machine *m)
{
	EXPECT(m->t, machine_run(m).kind == VMX_EXIT_HLT);
}

bool selftest_have_vmx(struct selftest *t)
{
	const char *unmet = vmx_unmet();

	if (unmet) {
		selftest_skip(t, unmet);
		return false;
	}
	if (!EXPECT(t, vmx_probe() == 0) || !EXPECT(t, vmx_start() == 0) ||
	    !EXPECT(t, vmx_cpu_ready(cpu_id())))
		return false;
	if (!vmx_unrestricted_guest()) {
		selftest_skip(t, "it wants EPT and unrestricted guest");
		return false;
	}
	return true;
}
