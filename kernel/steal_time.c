/* SPDX-License-Identifier: MIT */
/*
 * KVM's steal time: how long a vCPU would have run and did not, because others had its CPU. The
 * guest reads it in its own memory, and takes it off what it thinks that its programs used. Beside it
 * is a byte that says whether the vCPU is preempted now: then another does not spin for it, and does
 * not interrupt it to have its TLB flushed but asks for that in the same byte.
 *
 * The thread's switches note the time, with interrupts off; the guest hears of it before the next
 * entry. The byte is written by the switches themselves, so its page is pinned, and the record,
 * which does not leave the page, is written through that, too. Where the memory goes nobody is told
 * any more.
 *
 * It says so only between two instructions of the guest. Amid one that is run in software an address
 * may have been translated and not yet used, which a flush that is done later does not undo.
 */
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
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

/* Where the pin is. */
static gpa_t preempted_gpa(u64 msr)
{
	return GPA((msr & ~(STEAL_ENABLE | STEAL_RESERVED)) +
		   offsetof(struct steal_record, preempted));
}

void steal_time_out(struct vcpu *v, const struct thread *t, bool clean)
{
	enum thread_state state = __atomic_load_n(&t->state, __ATOMIC_RELAXED);

	if (!(v->steal.msr & STEAL_ENABLE) || state == THREAD_BLOCKED || state == THREAD_DEAD)
		return;
	v->steal.since_ns = clock_ns();
	if (!clean || !v->steal.preempted)
		return;
	v->steal.preempted_on = gpa_pin_put(v->steal.preempted, PREEMPTED);
}

/*
 * Who changed a page table found the vCPU preempted before this exchange, and the flush is done; or
 * finds it running after, and sends it an interrupt, which comes before or in the guest.
 */
static void runs_again(struct vcpu *v)
{
	v->steal.preempted_on = false;
	if (!(gpa_pin_take(v->steal.preempted) & FLUSH_TLB))
		return;
	vmx_flush_guest_tlb(v->vmx);
	v->paravirt.tlb_flushes++;
}

void steal_time_in(struct vcpu *v)
{
	u64 now;

	if (likely(!v->steal.since_ns))
		return;
	/* It was another CPU's clock, perhaps, which may be ahead. */
	now = clock_ns();
	v->steal.stolen_ns += now - min(v->steal.since_ns, now);
	v->steal.since_ns = 0;
	v->steal.news = true;
	if (v->steal.preempted_on)
		runs_again(v);
}

/* In an RCU reader. NULL: the memory has gone. */
static struct steal_record *record_of(const struct gpa_pin *preempted)
{
	u8 *at = gpa_pin_at(preempted);

	return at ? container_of(at, struct steal_record, preempted) : NULL;
}

/* Each is a single store for the guest, which reads between two looks at the version. */
static void write_record(struct steal_time *s)
{
	bool on = irq_save();
	struct steal_record *r;

	rcu_read_lock();
	r = record_of(s->preempted);
	if (r) {
		__atomic_store_n(&r->version, ++s->version, __ATOMIC_RELEASE);
		__atomic_store_n(&r->steal, s->stolen_ns, __ATOMIC_RELEASE);
		__atomic_store_n(&r->version, ++s->version, __ATOMIC_RELEASE);
	}
	rcu_read_unlock();
	irq_restore(on);
}

static void clear_record(const struct gpa_pin *preempted)
{
	bool on = irq_save();
	struct steal_record *r;

	rcu_read_lock();
	r = record_of(preempted);
	if (r)
		memset(r, 0, sizeof(*r));
	rcu_read_unlock();
	irq_restore(on);
}

void steal_time_tell(struct vcpu *v)
{
	if (likely(!v->steal.news))
		return;
	v->steal.news = false;
	write_record(&v->steal);
}

/* The thread's switches look at the pointer, and while it is set at the byte. */
static void change(struct vcpu *v, u64 msr, struct gpa_pin *preempted)
{
	struct gpa_pin *old = v->steal.preempted;
	bool on = irq_save();

	v->steal = (struct steal_time){.msr = msr, .preempted = preempted};
	irq_restore(on);
	gpa_unpin(old);
}

int steal_time_wrmsr(struct vcpu *v, u64 value)
{
	struct gpa_pin *preempted = NULL;
	int err = 0;

	if (value & STEAL_RESERVED)
		return ERR_FAULT;
	if (value & STEAL_ENABLE)
		err = gpa_pin(&v->vm->mmu, preempted_gpa(value), &preempted);
	if (err)
		return err == ERR_NOMEM ? err : ERR_FAULT;
	if (preempted)
		clear_record(preempted);
	change(v, value, preempted);
	return 0;
}

void steal_time_forget(struct vcpu *v)
{
	change(v, 0, NULL);
}
