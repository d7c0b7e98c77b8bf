/* SPDX-License-Identifier: MIT */
/*
 * The MMU under load, on the target: a vCPU on each CPU touches memory for ever and checks every
 * word, while this thread moves, deletes and recreates a slot, takes mappings away, ages, logs,
 * moves pages to other frames and puts them away under it. What the vCPUs do not look at it checks
 * itself.
 */
#include "kernel/selftest_mmu.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "kernel/selftest_vmx.h"
#include "mem/frame.h"
#include "mem/slab.h"
#include "smp/timer.h"

#define VCPUS_MAX    4
#define ROUNDS	     30
#define LARGE_FIRST  (HAMMER_STEADY >> PAGE_SHIFT)
#define STEADY_PAGES 512 /* its object: 2 MiB, so that it can be mapped large */
#define START_NS     10000000000ull
#define PAGE_WORDS   (PAGE_SIZE / sizeof(u32))

static_assert(HAMMER_MARKS_COUNT == VCPUS_MAX && HAMMER_MARKS % HAMMER_MARKS_COUNT == 0,
	      "a word for each");

enum {
	SLOT_CODE,
	SLOT_PRIVATE,
	SLOT_STEADY,
	SLOT_FLEETING
};

struct hammer {
	struct selftest *t;
	struct mmu_vm mmu;
	struct gmem *code, *private, *steady;
	u32 vcpus;
	bool stop;     /* atomic */
	bool released; /* atomic: nobody kicks the vCPUs any more */
	u64 marks;     /* that vCPUs left in pages that came and went */
	struct gmem_taken taken;
	struct {
		struct hammer *hammer;
		u32 number;
		struct mmu_vcpu mmu_vcpu;
		struct thread *thread;
		struct vmx_vcpu *v; /* atomic */
	} vcpu[VCPUS_MAX];
};

static u32 word_at(struct hammer *h, u64 gpa)
{
	u32 value = 0;

	EXPECT(h->t, gpa_read(&h->mmu, GPA(gpa), &value, sizeof(value)) == 0);
	return value;
}

static u64 private_page(u32 number)
{
	return HAMMER_PRIVATE + number * PAGE_SIZE;
}

/* --- A vCPU's thread --- */

/* Nobody there: a read gives all ones. Both instructions have two bytes. */
static void step_over(struct vmx_vcpu *v, const struct vmx_exit *e)
{
	struct guest_regs *r = vmx_regs(v);

	if (!(e->mmio.access & MMU_WRITE))
		r->gpr[RAX] = ~0u;
	r->rip += 2;
	vmx_complete_emulation(v);
}

static void sched_in(struct thread *thread)
{
	vmx_vcpu_sched_in(thread->sched_data);
}

static void sched_out(struct thread *thread)
{
	vmx_vcpu_sched_out(thread->sched_data);
}

static void attach(struct vmx_vcpu *v, bool on)
{
	struct thread *thread = thread_current();
	bool irqs = irq_save();

	thread->sched_data = v;
	thread->sched_in = on ? sched_in : NULL;
	thread->sched_out = on ? sched_out : NULL;
	if (on)
		vmx_vcpu_sched_in(v);
	else
		vmx_vcpu_sched_out(v);
	irq_restore(irqs);
}

static void run(struct hammer *h, struct vmx_vcpu *v, u32 number)
{
	struct vmx_exit e;

	while (!__atomic_load_n(&h->stop, __ATOMIC_ACQUIRE)) {
		vmx_vcpu_run(v, &e);
		if (e.kind == VMX_EXIT_MMIO && EXPECT(h->t, e.mmio.gpa.v >= HAMMER_FLEETING)) {
			step_over(v, &e);
		} else if (e.kind != VMX_EXIT_NONE) {
			const u64 *r = vmx_regs(v)->gpr;

			log_error("vCPU %u: exit %d, page %#llx at %#llx, value %#llx", number,
				  e.kind, (unsigned long long)r[RBX], (unsigned long long)r[RSI],
				  (unsigned long long)r[RAX]);
			selftest_fail(h->t, __FILE__, __LINE__, "the guest saw what it must not");
			break;
		}
	}
}

static void vcpu_thread(void *arg)
{
	struct hammer *h = *(struct hammer **)arg;
	u32 number = (u32)(((u8 *)arg - (u8 *)h->vcpu) / sizeof(h->vcpu[0]));
	struct vmx_config config = {
		.mmu = &h->mmu,
		.mmu_vcpu = &h->vcpu[number].mmu_vcpu,
		.vcpu_id = number,
		.vcpu_count = h->vcpus,
	};
	struct vmx_start start = {
		.mode = VMX_START_PROTECTED, .rip = HAMMER_CODE, .cs = 0x08, .ds = 0x10};
	struct vmx_vcpu *v;

	mmu_vcpu_init(&h->vcpu[number].mmu_vcpu, &h->mmu);
	if (EXPECT(h->t, vmx_vcpu_create(&config, &v) == 0)) {
		attach(v, true);
		vmx_vcpu_set_start(v, &start);
		vmx_regs(v)->gpr[RDI] = number;
		vmx_regs(v)->gpr[RBP] = private_page(number);
		__atomic_store_n(&h->vcpu[number].v, v, __ATOMIC_RELEASE);
		run(h, v, number);
		while (!__atomic_load_n(&h->released, __ATOMIC_ACQUIRE))
			thread_yield();
		attach(v, false);
		vmx_vcpu_destroy(v);
	}
	mmu_vcpu_destroy(&h->vcpu[number].mmu_vcpu);
}

/* --- What happens under them --- */

/* The contents of a steady page move to another frame. */
static void move_page(struct hammer *h, u64 index)
{
	u64 entry;
	pfn_t pfn;

	if (h->steady->order || frame_alloc(0, 0, &pfn))
		return;
	gmem_invalidate_begin(h->steady, index, 1);
	if (gmem_claim(h->steady, index, &entry)) {
		frame_free(pfn, 0);
	} else if (gmem_entry_state(entry) != GMEM_GOT_PAGE) {
		/* Put away, and nobody has touched it since. */
		frame_free(pfn, 0);
		gmem_settle(h->steady, index, entry);
	} else {
		gmem_unmap(h->steady, index, 1);
		memcpy(pfn_to_virt(pfn), pfn_to_virt(gmem_entry_pfn(entry)), PAGE_SIZE);
		memset(pfn_to_virt(gmem_entry_pfn(entry)), 0xee, PAGE_SIZE);
		frame_free(gmem_entry_pfn(entry), 0);
		gmem_settle(h->steady, index, pfn.v << GMEM_PFN_SHIFT | GMEM_DIRTY | GMEM_GOT_PAGE);
	}
	gmem_invalidate_end(h->steady, index, 1);
}

/* Every 61st page of them goes to where it takes less room; the next touch gets it back. */
static void put_away(struct hammer *h, u32 round)
{
	u64 marked[STEADY_PAGES / 64] = {0};

	for (u64 i = round % 61; i < STEADY_PAGES; i += 61)
		marked[i / 64] |= BIT(i % 64);
	gmem_take(h->steady, 0, STEADY_PAGES, marked, &h->taken);
}

static void log_writes(struct hammer *h)
{
	u64 bitmap[STEADY_PAGES / 64];

	EXPECT(h->t, memslot_set_flags(&h->mmu, SLOT_STEADY, MEMSLOT_LOG_DIRTY) == 0);
	for (u32 i = 0; i < 4; i++)
		EXPECT(h->t, mmu_dirty_get_and_clear(&h->mmu, SLOT_STEADY, bitmap,
						     ARRAY_SIZE(bitmap)) == 0);
	EXPECT(h->t, memslot_set_flags(&h->mmu, SLOT_STEADY, 0) == 0);
}

static void disturb(struct hammer *h, u32 round)
{
	u64 page = round * 7 % HAMMER_PAGES;

	mmu_unmap(&h->mmu, GFN(LARGE_FIRST + page), 1 + round % 9);
	move_page(h, page);
	mmu_age(&h->mmu, GFN(LARGE_FIRST), HAMMER_PAGES);
	if (round % 4 == 2)
		put_away(h, round);
	if (round % 8 == 3)
		log_writes(h);
	if (round % 8 == 5)
		EXPECT(h->t, memslot_set_flags(&h->mmu, SLOT_STEADY, MEMSLOT_NO_LARGE) == 0);
	if (round % 8 == 7)
		EXPECT(h->t, memslot_set_flags(&h->mmu, SLOT_STEADY, 0) == 0);
}

static gfn_t place(u32 i)
{
	return GFN((HAMMER_FLEETING >> PAGE_SHIFT) + i % HAMMER_PLACES * HAMMER_PLACE_PAGES);
}

static u32 fleeting_stamp(u32 round, u64 page)
{
	return HAMMER_FLEETING_STAMP | (round & 0xffff) << 8 | (u32)page;
}

static u32 *fleeting_page(struct hammer *h, struct gmem *g, u64 page)
{
	pfn_t pfn;

	return EXPECT(h->t, gmem_get_page(g, page, true, &pfn) == 0) ? pfn_to_virt(pfn) : NULL;
}

static bool stamp_fleeting(struct hammer *h, struct gmem *g, u32 round)
{
	for (u64 page = 0; page < HAMMER_PLACE_PAGES; page++) {
		u32 *words = fleeting_page(h, g, page);

		for (u32 i = 0; words && i < PAGE_WORDS; i++)
			words[i] = fleeting_stamp(round, page);
		if (!words)
			return false;
	}
	return true;
}

/* An address that this page of the object had. */
static bool is_mark(u32 word, u64 page)
{
	u32 offset = word - HAMMER_FLEETING;

	return offset < HAMMER_PLACES * HAMMER_PLACE_PAGES * PAGE_SIZE &&
	       offset % (HAMMER_PLACE_PAGES * PAGE_SIZE) == page * PAGE_SIZE;
}

/* Nobody shows them any more: they hold the stamp, and what vCPUs wrote where they saw the page. */
static void check_fleeting(struct hammer *h, struct gmem *g, u32 round)
{
	for (u64 page = 0; page < HAMMER_PLACE_PAGES && !h->t->failures; page++) {
		const u32 *words = fleeting_page(h, g, page);

		for (u32 i = 0; words && i < PAGE_WORDS && !h->t->failures; i++) {
			bool marked = words[i] != fleeting_stamp(round, page);

			EXPECT(h->t,
			       !marked || (i - HAMMER_MARKS < h->vcpus && is_mark(words[i], page)));
			h->marks += marked;
		}
	}
}

static void come_and_go(struct hammer *h, u32 round)
{
	struct gmem *g;

	if (!EXPECT(h->t, gmem_create(HAMMER_PLACE_PAGES, &g) == 0))
		return;
	if (stamp_fleeting(h, g, round) &&
	    EXPECT(h->t, memslot_create(&h->mmu, SLOT_FLEETING, place(round), HAMMER_PLACE_PAGES, g,
					0, 0) == 0)) {
		for (u32 i = 1; i < HAMMER_PLACES; i++) {
			disturb(h, round * HAMMER_PLACES + i);
			EXPECT(h->t, memslot_move(&h->mmu, SLOT_FLEETING, place(round + i)) == 0);
		}
		EXPECT(h->t, memslot_delete(&h->mmu, SLOT_FLEETING) == 0);
		check_fleeting(h, g, round);
	}
	gmem_unref(g);
}

/* --- The whole --- */

static bool make_slot(struct hammer *h, u32 slot, u64 gpa, u64 pages, struct gmem *g)
{
	return EXPECT(h->t,
		      memslot_create(&h->mmu, slot, gpa_to_gfn(GPA(gpa)), pages, g, 0, 0) == 0);
}

static bool fill_memory(struct hammer *h)
{
	u32 words[PAGE_SIZE / 16 / sizeof(u32)];

	if (!EXPECT(h->t, gpa_write(&h->mmu, GPA(HAMMER_CODE), mmu_guest_page, PAGE_SIZE) == 0))
		return false;
	for (u32 page = 0; page < STEADY_PAGES; page++) {
		u64 gpa = HAMMER_STEADY + page * PAGE_SIZE;

		for (u32 i = 0; i < ARRAY_SIZE(words); i++)
			words[i] = HAMMER_STEADY_STAMP | page;
		for (u64 at = 0; at < PAGE_SIZE; at += sizeof(words))
			EXPECT(h->t, gpa_write(&h->mmu, GPA(gpa + at), words, sizeof(words)) == 0);
		EXPECT(h->t, gpa_zero(&h->mmu, GPA(gpa), HAMMER_COUNTS * sizeof(u32)) == 0);
	}
	for (u32 i = 0; i < h->vcpus; i++) {
		u32 seed = 1 + i * 77;

		EXPECT(h->t, gpa_write(&h->mmu, GPA(private_page(i) + HAMMER_RANDOM), &seed,
				       sizeof(seed)) == 0);
	}
	return !h->t->failures;
}

static bool make(struct hammer *h, u32 order)
{
	return EXPECT(h->t, gmem_create(1, &h->code) == 0) &&
	       EXPECT(h->t, gmem_create(VCPUS_MAX, &h->private) == 0) &&
	       EXPECT(h->t, gmem_create_order(STEADY_PAGES, order, &h->steady) == 0) &&
	       make_slot(h, SLOT_CODE, HAMMER_CODE, 1, h->code) &&
	       make_slot(h, SLOT_PRIVATE, HAMMER_PRIVATE, VCPUS_MAX, h->private) &&
	       make_slot(h, SLOT_STEADY, HAMMER_STEADY, STEADY_PAGES, h->steady) && fill_memory(h);
}

static void unmake(struct hammer *h)
{
	struct gmem *objects[] = {h->code, h->private, h->steady};

	mmu_vm_destroy(&h->mmu);
	for (u32 i = 0; i < ARRAY_SIZE(objects); i++) {
		if (objects[i])
			gmem_unref(objects[i]);
	}
}

static void start_vcpus(struct hammer *h)
{
	for (u32 i = 0; i < h->vcpus; i++) {
		h->vcpu[i].hammer = h;
		if (!EXPECT(h->t, thread_create(&h->vcpu[i].thread, "hammer", vcpu_thread,
						&h->vcpu[i], (i + 1) % cpu_count()) == 0))
			h->vcpu[i].thread = NULL;
	}
}

/* They have gone over all pages once, or one of them has failed. */
static void wait_for_rounds(struct hammer *h)
{
	u64 deadline = clock_ns() + START_NS;

	for (u32 i = 0; i < h->vcpus; i++) {
		while (!h->t->failures && word_at(h, private_page(i) + HAMMER_ROUNDS) == 0) {
			if (!EXPECT(h->t, clock_ns() < deadline))
				return;
			thread_yield();
		}
	}
}

static void stop_vcpus(struct hammer *h)
{
	__atomic_store_n(&h->stop, true, __ATOMIC_RELEASE);
	for (u32 i = 0; i < h->vcpus; i++) {
		struct vmx_vcpu *v = __atomic_load_n(&h->vcpu[i].v, __ATOMIC_ACQUIRE);

		if (v)
			vmx_vcpu_kick(v);
	}
	__atomic_store_n(&h->released, true, __ATOMIC_RELEASE);
	for (u32 i = 0; i < h->vcpus; i++) {
		if (h->vcpu[i].thread)
			thread_join(h->vcpu[i].thread);
	}
}

/* What a vCPU wrote is there as often as it says, and nothing else is but what was there before. */
static u32 steady_word(struct hammer *h, u64 page, u32 i)
{
	if (i >= HAMMER_COUNTS)
		return HAMMER_STEADY_STAMP | (u32)page;
	return i < h->vcpus && page < HAMMER_PAGES ? word_at(h, private_page(i) + page * 4) : 0;
}

static void check_steady(struct hammer *h)
{
	static u32 words[PAGE_WORDS];

	for (u64 page = 0; page < STEADY_PAGES && !h->t->failures; page++) {
		EXPECT(h->t, gpa_read(&h->mmu, GPA(HAMMER_STEADY + page * PAGE_SIZE), words,
				      sizeof(words)) == 0);
		for (u32 i = 0; i < PAGE_WORDS && !h->t->failures; i++)
			EXPECT(h->t, words[i] == steady_word(h, page, i));
	}
}

static void tell(struct hammer *h)
{
	u32 rounds = 0, hits = 0;
	struct mmu_stats s;

	for (u32 i = 0; i < h->vcpus; i++) {
		rounds += word_at(h, private_page(i) + HAMMER_ROUNDS);
		hits += word_at(h, private_page(i) + HAMMER_HITS);
	}
	mmu_stats_get(&h->mmu, &s);
	EXPECT(h->t, hits > 0 && h->marks > 0 && s.faults_mmio > 0 && s.flushes > 0);
	EXPECT(h->t, s.mapped_large > 0 && s.split > 0);
	EXPECT(h->t, h->steady->order || h->taken.freed > 0);
	selftest_note(h->t,
		      "%u vCPUs, %u rounds, %u hits, %llu faults, %llu retried, %llu to devices, "
		      "%llu flushes, %llu large, %llu split, %llu put away",
		      h->vcpus, rounds, hits, (unsigned long long)s.faults,
		      (unsigned long long)s.faults_retry, (unsigned long long)s.faults_mmio,
		      (unsigned long long)s.flushes, (unsigned long long)s.mapped_large,
		      (unsigned long long)s.split, (unsigned long long)h->taken.freed);
}

static void hammer(struct selftest *t, u32 order)
{
	struct frame_stats before, after;
	struct hammer *h;
	const char *fault;

	if (!selftest_have_vmx(t))
		return;
	rcu_barrier();
	frame_get_stats(&before);
	h = kmalloc(sizeof(*h));
	if (!EXPECT(t, h != NULL))
		return;
	h->t = t;
	h->vcpus = min(cpu_count(), (u32)VCPUS_MAX);
	if (EXPECT(t, mmu_vm_create(&h->mmu, MMU_EPT) == 0)) {
		if (make(h, order)) {
			start_vcpus(h);
			wait_for_rounds(h);
			for (u32 round = 0; round < ROUNDS && !t->failures; round++)
				come_and_go(h, round);
			fault = mmu_audit(&h->mmu);
			if (fault)
				log_error("audit: %s", fault);
			EXPECT(t, !fault);
			stop_vcpus(h);
			check_steady(h);
			tell(h);
		}
		unmake(h);
	}
	kfree(h);
	frame_get_stats(&after);
	/* The slab allocator may keep some. */
	EXPECT(t, after.free + 16 >= before.free);
}

static void test_hammer(struct selftest *t)
{
	hammer(t, 0);
}

/* The steady memory is one page of 2 MiB. */
static void test_hammer_large(struct selftest *t)
{
	hammer(t, GMEM_LARGE_ORDER);
}

const struct selftest_case selftest_mmu[] = {
	{.name = "mmu_hammer", .fn = test_hammer},
	{.name = "mmu_hammer_large", .fn = test_hammer_large},
	{.name = NULL},
};
