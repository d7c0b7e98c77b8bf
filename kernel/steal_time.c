/* SPDX-License-Identifier: MIT */
/*
 * KVM's steal time: how long a vCPU would have run and did not, because others had its CPU. The
 * guest reads it in its own memory, and takes it off what it thinks that its programs used.
 *
 * The thread's switches note the time, with interrupts off; the guest's memory is written on the
 * thread before the next entry.
 */
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "smp/timer.h"

#define STEAL_ENABLE   BIT(0)
#define STEAL_RESERVED 0x3eull

/* The guest reads it: the layout is KVM's ABI. */
struct steal_record {
	u64 steal;
	u32 version; /* odd while it is being changed */
	u32 flags;
	u8 preempted; /* not told: always 0 */
	u8 pad[47];
};
static_assert(sizeof(struct steal_record) == 64, "the guest's layout");

static gpa_t where(const struct vcpu *v, u64 offset)
{
	return GPA((v->steal.msr & ~(STEAL_ENABLE | STEAL_RESERVED)) + offset);
}

void steal_time_out(struct vcpu *v, const struct thread *t)
{
	enum thread_state state = __atomic_load_n(&t->state, __ATOMIC_RELAXED);

	if ((v->steal.msr & STEAL_ENABLE) && state != THREAD_BLOCKED && state != THREAD_DEAD)
		v->steal.since_ns = clock_ns();
}

void steal_time_in(struct vcpu *v)
{
	if (likely(!v->steal.since_ns))
		return;
	v->steal.stolen_ns += clock_ns() - v->steal.since_ns;
	v->steal.since_ns = 0;
	v->steal.news = true;
}

/* Each is a single store for the guest, which reads between two looks at the version. */
static int write_record(struct vcpu *v)
{
	struct mmu_vm *mmu = &v->vm->mmu;
	gpa_t version = where(v, offsetof(struct steal_record, version));
	u64 stolen = READ_ONCE(v->steal.stolen_ns);
	int err;

	v->steal.version |= 1;
	err = gpa_write(mmu, version, &v->steal.version, sizeof(v->steal.version));
	if (!err)
		err = gpa_write(mmu, where(v, 0), &stolen, sizeof(stolen));
	if (err)
		return err;
	v->steal.version++;
	return gpa_write(mmu, version, &v->steal.version, sizeof(v->steal.version));
}

void steal_time_tell(struct vcpu *v)
{
	if (likely(!v->steal.news))
		return;
	v->steal.news = false;
	/* With no RAM there any more it is told to nobody; for want of memory later. */
	if (write_record(v) == ERR_NOMEM)
		v->steal.news = true;
}

int steal_time_wrmsr(struct vcpu *v, u64 value)
{
	const struct steal_record none = {0};
	u64 old = v->steal.msr;
	int err;

	if (value & STEAL_RESERVED)
		return ERR_FAULT;
	v->steal.msr = value;
	if (!(value & STEAL_ENABLE))
		return 0;
	err = gpa_write(&v->vm->mmu, where(v, 0), &none, sizeof(none));
	if (err) {
		v->steal.msr = old;
		return err == ERR_NOMEM ? err : ERR_FAULT;
	}
	v->steal.version = 0;
	v->steal.stolen_ns = 0;
	v->steal.news = false;
	return 0;
}

void steal_time_forget(struct vcpu *v)
{
	v->steal = (struct steal_time){0};
}
