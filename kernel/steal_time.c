/* SPDX-License-Identifier: MIT */
/*
 * KVM's steal time: how long a vCPU would have run and did not, because others had its CPU. The
 * guest reads it in its own memory, and takes it off what it thinks that its programs used. Beside it
 * is a byte that says whether the vCPU is preempted now: then another does not spin for it, and does
 * not interrupt it to have its TLB flushed but asks for that in the same byte.
 *
 * The thread's switches note the time, with interrupts off; the guest's memory is written on the
 * thread before the next entry. The byte is written by the switches themselves, so its page is pinned.
 *
 * It says so only between two instructions of the guest. Amid one that is run in software an address
 * may have been translated and not yet used, which a flush that is done later does not undo.
 */
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "smp/timer.h"

#define STEAL_ENABLE   BIT(0)
#define STEAL_RESERVED 0x3eull

#define PREEMPTED BIT(0)
#define FLUSH_TLB BIT(1)

/* The guest reads it: the layout is KVM's ABI. */
struct steal_record {
	u64 steal;
	u32 version; /* odd while it is being changed */
	u32 flags;
	u8 preempted;
	u8 pad[47];
};
static_assert(sizeof(struct steal_record) == 64, "the guest's layout");

static gpa_t where(u64 msr, u64 offset)
{
	return GPA((msr & ~(STEAL_ENABLE | STEAL_RESERVED)) + offset);
}

void steal_time_out(struct vcpu *v, const struct thread *t, bool clean)
{
	enum thread_state state = __atomic_load_n(&t->state, __ATOMIC_RELAXED);

	if (!(v->steal.msr & STEAL_ENABLE) || state == THREAD_BLOCKED || state == THREAD_DEAD)
		return;
	v->steal.since_ns = clock_ns();
	if (!clean || !v->steal.preempted)
		return;
	v->steal.preempted_on = true;
	__atomic_store_n(v->steal.preempted, PREEMPTED, __ATOMIC_RELEASE);
}

/*
 * Who changed a page table found the vCPU preempted before this exchange, and the flush is done; or
 * finds it running after, and sends it an interrupt, which comes before or in the guest.
 */
static void runs_again(struct vcpu *v)
{
	v->steal.preempted_on = false;
	if (!(__atomic_exchange_n(v->steal.preempted, 0, __ATOMIC_SEQ_CST) & FLUSH_TLB))
		return;
	vmx_flush_guest_tlb(v->vmx);
	v->paravirt.tlb_flushes++;
}

void steal_time_in(struct vcpu *v)
{
	if (likely(!v->steal.since_ns))
		return;
	v->steal.stolen_ns += clock_ns() - v->steal.since_ns;
	v->steal.since_ns = 0;
	v->steal.news = true;
	if (v->steal.preempted_on)
		runs_again(v);
}

/* Each is a single store for the guest, which reads between two looks at the version. */
static int write_record(struct vcpu *v)
{
	struct mmu_vm *mmu = &v->vm->mmu;
	gpa_t version = where(v->steal.msr, offsetof(struct steal_record, version));
	u64 stolen = READ_ONCE(v->steal.stolen_ns);
	int err;

	v->steal.version |= 1;
	err = gpa_write(mmu, version, &v->steal.version, sizeof(v->steal.version));
	if (!err)
		err = gpa_write(mmu, where(v->steal.msr, 0), &stolen, sizeof(stolen));
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

/* The thread's switches look at the pointer, and while it is set at the page. */
static void change(struct vcpu *v, u64 msr, const struct gpa_pin *page)
{
	struct gpa_pin old = v->steal.page;
	bool on = irq_save();

	v->steal = (struct steal_time){.msr = msr, .page = *page};
	if (page->at)
		v->steal.preempted = (u8 *)page->at + offsetof(struct steal_record, preempted);
	irq_restore(on);
	gpa_unpin(&old);
}

int steal_time_wrmsr(struct vcpu *v, u64 value)
{
	const struct steal_record none = {0};
	struct gpa_pin page = {0};
	int err = 0;

	if (value & STEAL_RESERVED)
		return ERR_FAULT;
	if (value & STEAL_ENABLE) {
		err = gpa_pin(&v->vm->mmu, where(value, 0), &page);
		if (!err)
			err = gpa_write(&v->vm->mmu, where(value, 0), &none, sizeof(none));
	}
	if (err) {
		gpa_unpin(&page);
		return err == ERR_NOMEM ? err : ERR_FAULT;
	}
	change(v, value, &page);
	return 0;
}

void steal_time_forget(struct vcpu *v)
{
	const struct gpa_pin none = {0};

	change(v, 0, &none);
}
