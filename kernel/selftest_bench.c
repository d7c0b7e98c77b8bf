/* SPDX-License-Identifier: MIT */
/*
 * What Weir's own operations cost, in ticks of the TSC (in Bochs a tick is an instruction), for
 * `make bench`. One line for each, as tests/guests/bench.c prints them: "bench: NAME MEDIAN MIN MAX
 * COUNT", less what two RDTSC in a row cost.
 */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_bench.h"
#include "kernel/selftest_vmx.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "mmu/mmu.h"
#include "smp/timer.h"

#define SLOT_STRIDE  2 /* gfns from one slot's base to the next */
#define FAULT_AROUND 16
#define LARGE_GFN    0x800 /* beyond the other pages */
#define ACCESS_FIRST (MMU_READ | MMU_WRITE)

u32 bench_samples[SAMPLES];
static u32 overhead;

static void sort(void)
{
	for (u32 i = 1; i < SAMPLES; i++) {
		u32 value = bench_samples[i], at = i;

		for (; at && bench_samples[at - 1] > value; at--)
			bench_samples[at] = bench_samples[at - 1];
		bench_samples[at] = value;
	}
}

static u32 less_overhead(u32 ticks)
{
	return ticks > overhead ? ticks - overhead : 0;
}

void bench_report(const char *name, u32 times)
{
	sort();
	log_info("bench: %s %u %u %u %u", name, less_overhead(bench_samples[SAMPLES / 2]) / times,
		 less_overhead(bench_samples[0]) / times,
		 less_overhead(bench_samples[SAMPLES - 1]) / times, SAMPLES);
}

static void measure_nothing(void)
{
	overhead = 0;
	for (u32 i = 0; i < SAMPLES; i++) {
		u64 before = rdtsc();

		bench_samples[i] = (u32)(rdtsc() - before);
	}
	sort();
	overhead = bench_samples[SAMPLES / 2];
}

static void measure_locks(void)
{
	static struct spinlock lock = SPINLOCK_INIT("bench", LOCK_LOG);
	static struct srcu domain;

	srcu_init(&domain);
	MEASURE("spin-lock", {
		spin_lock(&lock);
		spin_unlock(&lock);
	});
	MEASURE("spin-lock-irqsave", {
		bool on = spin_lock_irqsave(&lock);

		spin_unlock_irqrestore(&lock, on);
	});
	MEASURE("srcu-read", {
		u32 reader = srcu_read_lock(&domain);

		srcu_read_unlock(&domain, reader);
	});
	MEASURE("clock-ns", (void)clock_ns());
}

static void measure_frames(struct selftest *t)
{
	MEASURE("frame-alloc-free", {
		void *page = frame_alloc_page(0);

		EXPECT(t, page != NULL);
		if (page)
			frame_free_page(page);
	});
	MEASURE("frame-alloc-zero-free", {
		void *page = frame_alloc_page(FRAME_ZERO);

		EXPECT(t, page != NULL);
		if (page)
			frame_free_page(page);
	});
}

/* Each slot shows one page; between two slots is a gap. */
static bool make_slots(struct selftest *t, struct mmu_vm *vm, struct gmem *g, u32 from, u32 to)
{
	for (u32 id = from; id < to; id++) {
		if (!EXPECT(t, memslot_create(vm, id, GFN(id * SLOT_STRIDE), 1, g, id, 0) == 0))
			return false;
	}
	return true;
}

/* Of the slots one after the other, by who remembers none; and as a fault does, of that found last. */
static void measure_lookup(struct selftest *t, struct mmu_vm *vm, u32 count, const char *name,
			   const char *cached_name)
{
	u32 reader = srcu_read_lock(&vm->srcu), last = count - 1;
	const struct memslot *s;
	u64 generation;
	int err = 0;

	MEASURE(name,
		err |= memslot_look_up(vm, GFN(i % count * SLOT_STRIDE), true, &s, &generation));
	MEASURE(cached_name, err |= memslot_look_up_cached(vm, GFN((count - 1) * SLOT_STRIDE), true,
							   &last, &s, &generation));
	EXPECT(t, err == 0);
	srcu_read_unlock(&vm->srcu, reader);
}

static void measure_slots(struct selftest *t)
{
	struct mmu_vm *vm = kmalloc(sizeof(*vm));
	struct gmem *g;

	if (!EXPECT(t, vm != NULL) || !EXPECT(t, mmu_vm_create(vm, MMU_EPT) == 0)) {
		kfree(vm);
		return;
	}
	if (EXPECT(t, gmem_create(MEMSLOTS_MAX, &g) == 0)) {
		if (make_slots(t, vm, g, 0, 1))
			measure_lookup(t, vm, 1, "slot-find-1", "slot-find-cached-1");
		if (make_slots(t, vm, g, 1, 32))
			measure_lookup(t, vm, 32, "slot-find-32", "slot-find-cached-32");
		if (make_slots(t, vm, g, 32, MEMSLOTS_MAX))
			measure_lookup(t, vm, MEMSLOTS_MAX, "slot-find-512",
				       "slot-find-cached-512");
		gmem_unref(g);
	}
	mmu_vm_destroy(vm);
	kfree(vm);
}

/* As vmx/ does it: the fast half with interrupts off, the slow half where that is not enough. */
static int fault(struct mmu_vcpu *v, gpa_t gpa, u32 access)
{
	bool on = irq_save();
	int err = mmu_fault(v, gpa, access);

	irq_restore(on);
	return err == ERR_TOO_HARD ? mmu_fault_slow(v, gpa, access) : err;
}

int bench_fault(struct mmu_vcpu *v, gpa_t gpa)
{
	return fault(v, gpa, ACCESS_FIRST);
}

int bench_read(struct mmu_vcpu *v, gpa_t gpa)
{
	return fault(v, gpa, MMU_READ);
}

static u64 unmap_and_flush(struct mmu_vm *vm, u32 page)
{
	return mmu_unmap(vm, gpa_to_gfn(bench_page_at(page)), 1);
}

/* An entry's part of a flush: INVEPT when this CPU lags behind. */
static void enter_and_exit(struct mmu_vm *vm)
{
	bool on = irq_save();

	mmu_enter(vm);
	mmu_exit(vm);
	irq_restore(on);
}

/* Each fault maps the page and as many neighbours as there are in its group. */
static void measure_around(struct selftest *t, struct mmu_vcpu *v)
{
	struct mmu_vm *vm = v->vm;
	u32 around = vm->fault_around = FAULT_AROUND;

	mmu_unmap(vm, GFN(0), PAGES);
	MEASURE("fault-around", {
		if (i % (PAGES / around) == 0)
			mmu_unmap(vm, GFN(0), PAGES);
		before_ = rdtsc();
		EXPECT(t, bench_fault(v, bench_page_at(i % (PAGES / around) * around)) == 0);
	});
	vm->fault_around = 1;
}

/* One page of 2 MiB, again and again. */
static void measure_large(struct selftest *t, struct mmu_vm *vm, struct mmu_vcpu *v)
{
	struct gmem *g;

	if (!EXPECT(t, gmem_create_order(LARGE_PAGES, GMEM_LARGE_ORDER, &g) == 0))
		return;
	if (EXPECT(t, memslot_create(vm, 1, GFN(LARGE_GFN), LARGE_PAGES, g, 0, 0) == 0)) {
		EXPECT(t, bench_fault(v, bench_page_at(LARGE_GFN)) == 0);
		MEASURE("fault-large", {
			mmu_unmap(vm, GFN(LARGE_GFN), LARGE_PAGES);
			before_ = rdtsc();
			EXPECT(t, bench_fault(v, bench_page_at(LARGE_GFN)) == 0);
		});
	}
	gmem_unref(g);
}

static void measure_faults_of(struct selftest *t, struct mmu_vcpu *v, struct gmem *g)
{
	struct mmu_vm *vm = v->vm;

	MEASURE("fault-zero-fill", EXPECT(t, bench_fault(v, bench_page_at(i)) == 0));
	enter_and_exit(vm);
	MEASURE("enter-no-flush", enter_and_exit(vm));
	MEASURE("unmap-flush", EXPECT(t, unmap_and_flush(vm, i) == 1));
	MEASURE("fault-resident", EXPECT(t, bench_fault(v, bench_page_at(i)) == 0));
	MEASURE("unmap-flush-invept", {
		EXPECT(t, unmap_and_flush(vm, i) == 1);
		enter_and_exit(vm);
	});
	measure_around(t, v);
	mmu_unmap(vm, GFN(0), PAGES);
	for (u32 i = 0; i < PAGES; i++)
		EXPECT(t, bench_fault(v, bench_page_at(i)) == 0);
	bench_tiers(t, v, g);
}

static void measure_faults(struct selftest *t)
{
	struct mmu_vm *vm = kmalloc(sizeof(*vm));
	struct mmu_vcpu v;
	struct gmem *g;

	if (!EXPECT(t, vm != NULL) || !EXPECT(t, mmu_vm_create(vm, MMU_EPT) == 0)) {
		kfree(vm);
		return;
	}
	mmu_vcpu_init(&v, vm);
	vm->fault_around = 1;
	/* The slot begins a page into the object, so that nothing of it is mapped large. */
	if (EXPECT(t, gmem_create(PAGES + 1, &g) == 0)) {
		if (EXPECT(t, memslot_create(vm, 0, GFN(0), PAGES, g, 1, 0) == 0) &&
		    EXPECT(t, mmu_vcpu_topup(&v) == 0))
			measure_faults_of(t, &v, g);
		measure_large(t, vm, &v);
		gmem_unref(g);
	}
	mmu_vcpu_destroy(&v);
	mmu_vm_destroy(vm);
	kfree(vm);
}

static void bench(struct selftest *t)
{
	measure_nothing();
	measure_locks();
	measure_frames(t);
	if (!selftest_have_vmx(t))
		return;
	measure_slots(t);
	measure_faults(t);
}

const struct selftest_case selftest_bench[] = {
	{"bench", bench, true},
	{NULL, NULL, false},
};
