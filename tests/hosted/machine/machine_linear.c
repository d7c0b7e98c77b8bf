/* SPDX-License-Identifier: MIT */
/*
 * What vmx/ does for a vCPU without EPT: its root, its VPID, its page faults. A guest without paging,
 * whose linear addresses are physical ones, unless a scenario says otherwise.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "tests/hosted/machine/fake_linear.h"
#include "tests/hosted/machine/machine_private.h"
#include "tests/hosted/schedule.h"

#define TRIES_MAX 2000

static struct machine_linear *state_of(struct machine_vm *vm, struct mmu_vcpu *v)
{
	return &vm->linear[v - vm->vcpu];
}

static struct fake_linear cpu_state(const struct machine_linear *l)
{
	return (struct fake_linear){
		.cr3 = l->cr3,
		.long_mode = l->paging.efer & EFER_LMA,
		.user = l->paging.cpl == 3,
		.vpid = l->vpid,
	};
}

/* As after MOV to CR3. What another CPU knows of it stays there with a VPID that is not used again. */
static void take_root(struct mmu_vcpu *v, struct machine_linear *l)
{
	l->cr3 = mmu_shadow_cr3(v);
	if (l->cpu == cpu_id())
		fake_linear_flush(l->vpid);
	else
		l->cpu = CPU_MAX;
}

bool machine_linear_load(struct machine_vm *vm, struct mmu_vcpu *v, const struct guest_paging *p)
{
	struct machine_linear *l = state_of(vm, v);
	int err = mmu_shadow_load(v, p);

	if (err && (err != ERR_NOMEM || !(machine.failing || machine.reclaims)))
		machine_fail("a root cannot be loaded: %s", error_name(err));
	if (err)
		return false;
	l->paging = *p;
	take_root(v, l);
	return true;
}

void machine_linear_invlpg(struct machine_vm *vm, struct mmu_vcpu *v, u64 gva)
{
	struct machine_linear *l = state_of(vm, v);
	struct fake_linear state = cpu_state(l);

	if (!mmu_shadow_invlpg(v, GVA(gva)))
		return;
	if (l->cpu == cpu_id())
		fake_linear_invlpg(&state, gva);
	else
		l->cpu = CPU_MAX;
}

bool linear_load(struct machine_vm *vm, struct mmu_vcpu *v)
{
	struct guest_paging p = state_of(vm, v)->paging;

	return v->shadow.root_count || machine_linear_load(vm, v, &p);
}

void linear_enter(struct machine_vm *vm, struct mmu_vcpu *v)
{
	struct machine_linear *l = state_of(vm, v);
	struct fake_linear state;

	/* One that a CPU has had is not used there again (vmx/vpid.c). */
	if (l->cpu != cpu_id())
		l->vpid = fake_linear_new_vpid();
	l->cpu = cpu_id();
	state = cpu_state(l);
	fake_linear_enter(&state);
}

enum fake_outcome linear_translate(struct machine_vm *vm, struct mmu_vcpu *v, u64 gva, u32 access,
				   pfn_t *out)
{
	struct fake_linear state = cpu_state(state_of(vm, v));

	return fake_linear_translate(&state, gva, access, out);
}

void linear_speculate(struct machine_vm *vm, struct mmu_vcpu *v, u64 gva, u64 *random)
{
	struct fake_linear state = cpu_state(state_of(vm, v));

	if (random_one_in(random, 4))
		fake_linear_invlpg(&state, gva);
	else
		fake_linear_speculate(&state, gva);
}

int linear_fault(struct machine_vm *vm, struct mmu_vcpu *v, u64 gva, u32 access,
		 struct shadow_answer *answer)
{
	struct machine_linear *l = state_of(vm, v);
	int err = mmu_shadow_fault(v, &l->paging, GVA(gva), access, answer);

	if (l->cr3 != mmu_shadow_cr3(v))
		take_root(v, l);
	return err;
}

void machine_linear_user(struct machine_vm *vm, struct mmu_vcpu *v, bool user)
{
	state_of(vm, v)->paging.cpl = user ? 3 : 0;
}

/* One stay in the guest for the access alone. */
static enum fake_outcome stay(struct machine_vm *vm, struct mmu_vcpu *v, struct machine_touch *t)
{
	enum fake_outcome outcome;
	pfn_t pfn;

	irq_disable();
	mmu_enter(&vm->mmu);
	linear_enter(vm, v);
	outcome = linear_translate(vm, v, t->gva, t->access, &pfn);
	if (outcome == FAKE_TRANSLATED) {
		fake_check_frame(pfn, "page");
		hosted_point();
		t->fn(t->arg, (u8 *)pfn_to_virt(pfn) + (t->gva & (PAGE_SIZE - 1)));
		hosted_point();
		fake_check_frame(pfn, "page");
	}
	mmu_exit(&vm->mmu);
	irq_enable();
	fake_cpu_interrupts_on();
	return outcome;
}

int machine_linear_touch(struct machine_vm *vm, struct mmu_vcpu *v, struct machine_touch *t)
{
	for (u32 tries = 0;; tries++) {
		enum fake_outcome outcome = stay(vm, v, t);
		int err;

		if (outcome == FAKE_TRANSLATED)
			return 0;
		if (outcome == FAKE_KICKED)
			continue;
		relaxed_add(&machine.faults, 1);
		err = linear_fault(vm, v, t->gva, t->access, &t->answer);
		if (err)
			return err;
		if (machine.serial && tries > TRIES_MAX)
			machine_fail("gva %#llx faults for ever", (unsigned long long)t->gva);
	}
}
