/* SPDX-License-Identifier: MIT */
/* Guests that hold what their CPU finds against the model. See machine.h. */
#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/shadow.h"
#include "tests/hosted/machine/fake_cpu.h"
#include "tests/hosted/machine/machine_private.h"
#include "tests/hosted/schedule.h"

#define ACCESSES_IN_TURN 12
#define PAUSE_POINTS	 2000
#define TRIES_MAX	 2000 /* of one access */

/* What one CPU is about to do. */
struct intent {
	struct machine_vm *vm;
	struct mmu_vcpu *vcpu;
	u64 gfn;
	u32 access;
};

static u32 pick_access(u64 *random)
{
	static const u32 often[] = {MMU_READ, MMU_READ, MMU_WRITE, MMU_WRITE, MMU_WRITE, MMU_EXEC};

	return often[random_below(random, ARRAY_SIZE(often))];
}

static u64 pick(const struct intent *in, u64 *random)
{
	u64 gfn = pick_gfn(in->vm, random);

	return machine.shadow ? gfn & (LINEAR_GFNS - 1) : gfn;
}

static enum fake_outcome translate(const struct intent *in, pfn_t *out)
{
	gpa_t gpa = gfn_to_gpa(GFN(in->gfn));

	if (machine.shadow)
		return linear_translate(in->vm, in->vcpu, gpa.v, in->access, out);
	return fake_cpu_translate(mmu_eptp(&in->vm->mmu), gpa, in->access, out);
}

static void speculate(const struct intent *in, u64 *random)
{
	gpa_t gpa = gfn_to_gpa(GFN(pick(in, random)));

	if (machine.shadow)
		linear_speculate(in->vm, in->vcpu, gpa.v, random);
	else
		fake_cpu_speculate(mmu_eptp(&in->vm->mmu), gpa);
}

/* The guest's own instruction, on the page that its CPU translated to. */
static void touch_page(const struct intent *in, struct window *w, pfn_t pfn)
{
	u64 *word = pfn_to_virt(pfn), stamp, count;
	const struct candidate *c;

	fake_check_frame(pfn, "page");
	hosted_point();
	if (in->access == MMU_WRITE) {
		write_begins();
		count = relaxed_add(&word[PAGE_COUNT], 1);
	} else {
		count = relaxed(&word[PAGE_COUNT]);
	}
	hosted_point();
	stamp = relaxed(&word[PAGE_STAMP]);
	fake_check_frame(pfn, "page");
	c = judge(w, in->gfn, in->access, &pfn, stamp, count);
	if (in->access != MMU_WRITE)
		return;
	if (c && !stamp)
		relaxed_set(&word[PAGE_STAMP], stamp_of(c));
	write_ended(w, c);
	relaxed_add(&machine.writes, 1);
}

static enum fake_outcome guest_access(const struct intent *in)
{
	struct window w;
	enum fake_outcome outcome;
	pfn_t pfn;

	window_open(in->vm, &w, in->gfn);
	outcome = translate(in, &pfn);
	if (outcome != FAKE_TRANSLATED)
		return outcome;
	/* What it translated to was shown at some moment up to here. */
	window_close(in->vm, &w, in->gfn);
	touch_page(in, &w, pfn);
	relaxed_add(&machine.accesses, 1);
	return outcome;
}

static void judge_fault(const struct intent *in, const struct window *w, int err)
{
	bool writes = in->access & MMU_WRITE;

	if (w->lost)
		return;
	switch (err) {
	case 0:
		if (!w->count)
			machine_fail("gfn %#llx was mapped and has no slot",
				     (unsigned long long)in->gfn);
		return;
	case ERR_AGAIN:
		/* R11 */
		if (!w->count)
			machine_fail("gfn %#llx is tried again and has no slot",
				     (unsigned long long)in->gfn);
		relaxed_add(&machine.retries, 1);
		return;
	case ERR_NOSLOT:
		/* R23 */
		if (writes ? w->writable : w->always)
			machine_fail("gfn %#llx went to a device and always had a slot",
				     (unsigned long long)in->gfn);
		relaxed_add(&machine.no_slot, 1);
		return;
	case ERR_PERM:
		if (writes && !always_open(w))
			return;
		break;
	case ERR_NOMEM:
		if (machine.failing || machine.reclaims)
			return;
		break;
	case ERR_IO:
		judge_lost(w, in->gfn, err);
		return;
	}
	machine_fail("fault at gfn %#llx: %s", (unsigned long long)in->gfn, error_name(err));
}

/* As vmx/ept.c. Interrupts are off when it begins, and on when it ends. */
static int guest_fault(const struct intent *in)
{
	gpa_t gpa = gfn_to_gpa(GFN(in->gfn));
	struct shadow_answer answer;
	struct window w;
	int err;

	window_open(in->vm, &w, in->gfn);
	relaxed_add(&machine.faults, 1);
	err = machine.shadow ? ERR_TOO_HARD : mmu_fault(in->vcpu, gpa, in->access);
	BUG_ON(irq_enabled());
	irq_enable();
	fake_cpu_interrupts_on();
	if (machine.shadow)
		err = linear_fault(in->vm, in->vcpu, gpa.v, in->access, &answer);
	else if (err == ERR_TOO_HARD || err == ERR_STORED)
		err = mmu_fault_slow(in->vcpu, gpa, in->access);
	window_close(in->vm, &w, in->gfn);
	judge_fault(in, &w, err);
	return err;
}

/* --- a CPU's log of dirty pages (PML, SDM 3C 29.3.6) ----------------------------------------- */

static struct {
	u64 stay; /* atomic; odd: in the guest, or with pages that are not in the slot's log yet */
	bool on;
	u32 count;
	gfn_t gfn[ACCESSES_IN_TURN];
} __aligned(64) logs[HOSTED_JOBS_MAX];

static void log_page(gpa_t gpa)
{
	if (!logs[cpu_id()].on)
		return;
	BUG_ON(logs[cpu_id()].count == ACCESSES_IN_TURN);
	logs[cpu_id()].gfn[logs[cpu_id()].count++] = gpa_to_gfn(gpa);
}

/* Enters the guest. Whether to log is looked at where a flush is seen too. */
static void log_begins(struct mmu_vm *vm)
{
	__atomic_fetch_add(&logs[cpu_id()].stay, 1, __ATOMIC_SEQ_CST);
	mmu_enter(vm);
	logs[cpu_id()].on = mmu_uses_pml(vm);
}

static void log_ends(struct mmu_vm *vm)
{
	u32 cpu = cpu_id();

	mmu_exit(vm);
	while (logs[cpu].count)
		mmu_dirty_mark(vm, logs[cpu].gfn[--logs[cpu].count]);
	__atomic_fetch_add(&logs[cpu].stay, 1, __ATOMIC_SEQ_CST);
}

void machine_drain(struct mmu_vm *vm)
{
	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		u64 stay = __atomic_load_n(&logs[cpu].stay, __ATOMIC_SEQ_CST);

		if (!(stay & 1))
			continue;
		ipi_kick(cpu);
		while (__atomic_load_n(&logs[cpu].stay, __ATOMIC_SEQ_CST) == stay)
			hosted_relax();
	}
}

void machine_logs(void)
{
	fake_cpu_dirtied = log_page;
	fake_cpu_keeps_dirty = false; /* a log that is read takes them */
}

/* One stay in the guest. True: it faulted, and in->gfn says where. Interrupts stay off then. */
static bool guest_stay(struct intent *in, u32 *left, u64 *random)
{
	enum fake_outcome outcome = FAKE_TRANSLATED;

	irq_disable();
	log_begins(&in->vm->mmu);
	if (machine.shadow)
		linear_enter(in->vm, in->vcpu);
	while (*left && outcome == FAKE_TRANSLATED) {
		if (random_one_in(random, 8))
			speculate(in, random);
		outcome = guest_access(in);
		if (outcome != FAKE_TRANSLATED)
			break;
		(*left)--;
		in->gfn = pick(in, random);
		in->access = pick_access(random);
	}
	log_ends(&in->vm->mmu);
	if (outcome == FAKE_VIOLATION)
		return true;
	irq_enable();
	fake_cpu_interrupts_on();
	return false;
}

/* A vCPU that no other CPU runs, or NULL. */
static struct mmu_vcpu *take_vcpu(struct machine_vm *vm, u64 *random, bool **busy)
{
	u32 n = random_below(random, MACHINE_VCPUS);

	*busy = &vm->vcpu_busy[n];
	return __atomic_exchange_n(*busy, true, __ATOMIC_ACQUIRE) ? NULL : &vm->vcpu[n];
}

void machine_vcpus_stop(struct machine_vm *vm)
{
	for (u32 i = 0; i < MACHINE_VCPUS; i++) {
		while (__atomic_exchange_n(&vm->vcpu_busy[i], true, __ATOMIC_ACQUIRE))
			hosted_relax();
	}
}

void machine_vcpus_go(struct machine_vm *vm)
{
	for (u32 i = 0; i < MACHINE_VCPUS; i++)
		__atomic_store_n(&vm->vcpu_busy[i], false, __ATOMIC_RELEASE);
}

void (*machine_no_memory)(struct machine_vm *vm);
bool (*machine_before_entry)(struct machine_vm *vm, struct mmu_vcpu *v);
void (*machine_call)(struct machine_vm *vm, struct mmu_vcpu *v, u64 *random);

/* The accesses that are left and their faults, over as many stays as it takes. False: one cannot be. */
static bool run_guest(struct intent *in, u32 left, u64 *random)
{
	u32 tries = 0;

	if (machine.shadow && !linear_load(in->vm, in->vcpu))
		return false;
	while (left) {
		u32 before = left;
		int err;

		if (mmu_vcpu_topup(in->vcpu) && !machine.failing && !machine.reclaims)
			machine_fail("no memory for a vCPU's cache");
		if (!guest_stay(in, &left, random))
			continue;
		err = guest_fault(in);
		if (err == ERR_NOMEM && machine_no_memory)
			machine_no_memory(in->vm);
		if (err == ERR_NOSLOT || err == ERR_NOMEM || err == ERR_PERM || err == ERR_IO)
			return false;
		if (err == ERR_AGAIN)
			hosted_relax();
		/*
		 * R07, R31: a fault that is served lets the access go on. In a parallel run whoever
		 * is in the way may be off its CPU for long.
		 */
		tries = left == before ? tries + 1 : 0;
		if (machine.serial && tries > TRIES_MAX)
			machine_fail("gfn %#llx faults for ever", (unsigned long long)in->gfn);
	}
	return true;
}

static void run_guest_a_while(struct machine_vm *vm, struct mmu_vcpu *v, u64 *random)
{
	struct intent in = {vm, v, 0, pick_access(random)};

	in.gfn = pick(&in, random);
	run_guest(&in, 1 + random_below(random, ACCESSES_IN_TURN), random);
}

bool machine_access(struct machine_vm *vm, struct mmu_vcpu *v, u64 gfn, u32 access)
{
	struct intent in = {vm, v, gfn, access};
	u64 random = gfn;

	return run_guest(&in, 1, &random);
}

void machine_pause(u64 *random)
{
	hosted_stand(random_below(random, PAUSE_POINTS));
}

/* --- standing still -------------------------------------------------------------------------- */

void machine_stop(void)
{
	__atomic_store_n(&machine.stopped, true, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&machine.standing, __ATOMIC_ACQUIRE) != machine.guests)
		hosted_stand(LOOK_AGAIN);
}

void machine_resume(void)
{
	__atomic_store_n(&machine.stopped, false, __ATOMIC_RELEASE);
	/* Who has yet to go on is not to be taken for standing by the next stop. */
	while (__atomic_load_n(&machine.standing, __ATOMIC_ACQUIRE))
		hosted_relax();
}

void machine_stand(void)
{
	if (!__atomic_load_n(&machine.stopped, __ATOMIC_ACQUIRE)) {
		hosted_stand(LOOK_AGAIN);
		return;
	}
	__atomic_fetch_add(&machine.standing, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&machine.stopped, __ATOMIC_ACQUIRE))
		hosted_stand(LOOK_AGAIN);
	__atomic_fetch_sub(&machine.standing, 1, __ATOMIC_SEQ_CST);
}

void machine_guest_turn(u64 *random)
{
	struct machine_vm *vm = &machine.vm[random_below(random, machine.vms)];
	struct mmu_vcpu *v;
	bool *busy;

	if (__atomic_load_n(&machine.stopped, __ATOMIC_ACQUIRE))
		machine_stand();
	v = take_vcpu(vm, random, &busy);
	if (!v) {
		hosted_relax();
		return;
	}
	if (random_one_in(random, 12))
		device_access(vm, random);
	else if (machine_call && random_one_in(random, 3))
		machine_call(vm, v, random);
	else if (!machine_before_entry || machine_before_entry(vm, v))
		run_guest_a_while(vm, v, random);
	__atomic_store_n(busy, false, __ATOMIC_RELEASE);
}
