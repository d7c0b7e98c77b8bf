/* SPDX-License-Identifier: MIT */
/*
 * Self-tests of what becomes of a guest's writes: to pages whose writes are logged, by the CPU's
 * own log (PML) where there is one, and to pages that it protected.
 */
#include "kernel/base/string.h"
#include "kernel/selftest_vmx.h"
#include "mem/slab.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define SLOT_LOGGED		7
#define LOGGED_AT		0x1000000ull
#define LOGGED_PAGES		1024ull /* twice what a CPU's log holds */
#define WORDS			(LOGGED_PAGES / 64)
#define ROUNDS			40
#define SWEEPS			8
#define SAMPLES			32 /* in a round */
#define ROUND_NS		1000000ull
#define EXIT_EXTERNAL_INTERRUPT 1
#define EXIT_PREEMPTION_TIMER	52
#define EXIT_PML_FULL		62

/* The tables and the rest of the protected guest, in the machine's low memory. */
#define GDT	   0x800
#define PDPT_PAE   0x1000
#define PD_FIRST   0x2000
#define PD_LAST	   0x3000
#define PT	   0x4000
#define DATA	   0x6000
#define PRESENT	   BIT(0)
#define WRITABLE   BIT(1)
#define LARGE	   BIT(7)
#define LAST_2M	   0xffe00000ull
#define LINEAR	   0x200010u
#define WRITTEN	   0x600dda7au
#define PF_VECTOR  14
#define GATE	   (BIT(47) | 0xeull << 40 | 0x8ull << 16) /* present, 32-bit interrupt, CS 8 */
#define FLAT_CODE  0x00cf9b000000ffffull
#define FLAT_DATA  0x00cf93000000ffffull
#define STACK_PAGE 0

static u64 ip_of(const u8 *code)
{
	return MACHINE_CODE + (u64)(code - vmx_guest_page);
}

static bool begin(struct selftest *t, struct machine *m, const u8 *code, bool low)
{
	struct vmx_start start = {
		.mode = VMX_START_PROTECTED,
		.rip = ip_of(code),
		.cs = 0x08,
		.ds = 0x10,
		.gdt_base = GDT,
		.gdt_limit = 3 * 8 - 1,
	};

	return machine_make(t, m, &start, low);
}

/* --- logged pages --- */

struct logged {
	struct machine m;
	struct gmem *object;
	u64 bitmap[WORDS];
	u32 replica[LOGGED_PAGES];
	bool stop; /* atomic */
};

static bool begin_logged(struct selftest *t, struct logged *l)
{
	return begin(t, &l->m, vmx_guest_sweep, false) &&
	       EXPECT(t, gmem_create(LOGGED_PAGES, &l->object) == 0) &&
	       EXPECT(t, memslot_create(&l->m.mmu, SLOT_LOGGED, gpa_to_gfn(GPA(LOGGED_AT)),
					LOGGED_PAGES, l->object, 0, MEMSLOT_LOG_DIRTY) == 0);
}

static void end_logged(struct logged *l)
{
	if (l->object) {
		(void)memslot_delete(&l->m.mmu, SLOT_LOGGED);
		gmem_unref(l->object);
	}
	machine_unmake(&l->m);
}

/* How many pages the log has. */
static u32 read_log(struct logged *l)
{
	u32 pages = 0;

	EXPECT(l->m.t, mmu_dirty_get_and_clear(&l->m.mmu, SLOT_LOGGED, l->bitmap, WORDS) == 0);
	for (u32 i = 0; i < LOGGED_PAGES; i++)
		pages += (l->bitmap[i / 64] >> (i % 64)) & 1;
	return pages;
}

/* One to each of the first pages. */
static void sweep(struct logged *l, u32 pages)
{
	struct guest_regs *r = vmx_regs(l->m.v);

	r->rip = ip_of(vmx_guest_sweep);
	r->gpr[RBP] = LOGGED_AT;
	r->gpr[RCX] = pages;
	machine_expect_halt(&l->m);
}

/* The CPU's log is empty after each exit. */
static u64 exits_for_others(const struct logged *l)
{
	return vmx_exit_count(l->m.v, EXIT_EXTERNAL_INTERRUPT) +
	       vmx_exit_count(l->m.v, EXIT_PREEMPTION_TIMER);
}

/*
 * All pages are mapped and clean. Beneath another hypervisor the writes may take so long that what
 * interrupts them empties the log each time before it is full.
 */
static void sweep_until_full(struct selftest *t, struct logged *l)
{
	bool full = false, interrupted = true;

	for (u32 i = 0; i < SWEEPS && !full && interrupted; i++) {
		u64 count = vmx_exit_count(l->m.v, EXIT_PML_FULL), others = exits_for_others(l);

		sweep(l, LOGGED_PAGES);
		full = vmx_exit_count(l->m.v, EXIT_PML_FULL) > count;
		interrupted = exits_for_others(l) != others;
		EXPECT(t, read_log(l) == LOGGED_PAGES);
	}
	if (mmu_uses_pml(&l->m.mmu))
		EXPECT(t, full || interrupted);
}

static void check_log(struct selftest *t, struct logged *l)
{
	u64 full;

	machine_attach(&l->m);
	EXPECT(t, read_log(l) == 0);
	sweep(l, LOGGED_PAGES); /* first touches */
	EXPECT(t, read_log(l) == LOGGED_PAGES);
	EXPECT(t, read_log(l) == 0);
	sweep_until_full(t, l);
	sweep(l, 70);
	EXPECT(t, read_log(l) == 70);
	EXPECT(t, l->bitmap[0] == ~0ull && l->bitmap[1] == BIT(6) - 1);
	EXPECT(t, memslot_set_flags(&l->m.mmu, SLOT_LOGGED, 0) == 0);
	full = vmx_exit_count(l->m.v, EXIT_PML_FULL);
	sweep(l, LOGGED_PAGES);
	EXPECT(t, vmx_exit_count(l->m.v, EXIT_PML_FULL) == full);
	EXPECT(t, memslot_set_flags(&l->m.mmu, SLOT_LOGGED, MEMSLOT_LOG_DIRTY) == 0);
	sweep(l, 3);
	EXPECT(t, read_log(l) == 3);
	selftest_note(t, mmu_uses_pml(&l->m.mmu) ? "by the CPU's log" : "by write protection");
	machine_detach(&l->m);
}

static void test_log(struct selftest *t)
{
	struct logged *l = kmalloc(sizeof(*l));

	if (EXPECT(t, l) && selftest_have_vmx(t)) {
		if (begin_logged(t, l))
			check_log(t, l);
		end_logged(l);
	}
	kfree(l);
}

static u32 word_of(struct logged *l, u32 page)
{
	u32 word = 0;

	EXPECT(l->m.t, gpa_read(&l->m.mmu, GPA(LOGGED_AT + page * PAGE_SIZE), &word, 4) == 0);
	return word;
}

static bool is_logged(const struct logged *l, u32 page)
{
	return l->bitmap[page / 64] & BIT(page % 64);
}

/* A write that was seen before the log was asked for is in it, or was copied before. */
static void copy_logged(struct logged *l, u32 round)
{
	u32 first = round * SAMPLES % LOGGED_PAGES, seen[SAMPLES];

	for (u32 i = 0; i < SAMPLES; i++)
		seen[i] = word_of(l, first + i);
	read_log(l);
	for (u32 i = 0; i < SAMPLES; i++)
		EXPECT(l->m.t, is_logged(l, first + i) || l->replica[first + i] == seen[i]);
	for (u32 i = 0; i < LOGGED_PAGES; i++) {
		if (is_logged(l, i))
			l->replica[i] = word_of(l, i);
	}
}

static void follow(void *arg)
{
	struct logged *l = arg;

	for (u32 i = 0; i < ROUNDS; i++) {
		thread_sleep_until(clock_ns() + ROUND_NS);
		copy_logged(l, i);
	}
	__atomic_store_n(&l->stop, true, __ATOMIC_SEQ_CST);
	vmx_vcpu_kick(l->m.v);
}

/*
 * R21. A copy of the guest's memory is kept by what the log says alone, from another CPU, while the
 * guest writes. In the end it must be true to the last word.
 */
static void check_follow(struct selftest *t, struct logged *l)
{
	struct guest_regs *r = vmx_regs(l->m.v);
	struct thread *other;
	struct vmx_exit e;
	u64 written = 0;

	machine_attach(&l->m);
	r->rip = ip_of(vmx_guest_storm);
	r->gpr[RBP] = LOGGED_AT;
	r->gpr[RDX] = (LOGGED_PAGES - 1) << PAGE_SHIFT;
	if (EXPECT(t, thread_create(&other, "follower", follow, l, 1) == 0)) {
		while (!__atomic_load_n(&l->stop, __ATOMIC_SEQ_CST)) {
			vmx_vcpu_run(l->m.v, &e);
			if (!EXPECT(t, e.kind == VMX_EXIT_NONE))
				break;
		}
		thread_join(other);
	}
	machine_detach(&l->m);
	copy_logged(l, ROUNDS);
	for (u32 i = 0; i < LOGGED_PAGES; i++) {
		if (!EXPECT(t, word_of(l, i) == l->replica[i]))
			break;
		written += l->replica[i];
	}
	EXPECT(t, written > ROUNDS);
	selftest_note(t, "%llu writes followed", (unsigned long long)written);
}

static void test_follow(struct selftest *t)
{
	struct logged *l = kmalloc(sizeof(*l));

	if (cpu_count() < 2) {
		selftest_skip(t, "it wants two CPUs");
	} else if (EXPECT(t, l) && selftest_have_vmx(t)) {
		if (begin_logged(t, l))
			check_follow(t, l);
		end_logged(l);
	}
	kfree(l);
}

/* --- protected pages --- */

static void put(struct machine *m, u64 at, u64 value)
{
	EXPECT(m->t, gpa_write(&m->mmu, GPA(at), &value, sizeof(value)) == 0);
}

static void write_tables(struct machine *m)
{
	u64 handler = ip_of(vmx_guest_fault);

	put(m, GDT + 8, FLAT_CODE);
	put(m, GDT + 16, FLAT_DATA);
	put(m, PF_VECTOR * 8, GATE | (handler & 0xffff) | (handler >> 16) << 48);
	put(m, PDPT_PAE, PD_FIRST | PRESENT);
	put(m, PDPT_PAE + 3 * 8, PD_LAST | PRESENT);
	put(m, PD_FIRST, PRESENT | WRITABLE | LARGE);
	put(m, PD_FIRST + 8, PT | PRESENT | WRITABLE);
	put(m, PD_LAST + 511 * 8, LAST_2M | PRESENT | WRITABLE | LARGE);
	put(m, PT, DATA | PRESENT | WRITABLE);
}

static void protect(struct machine *m, u64 page, bool on)
{
	u64 done;

	EXPECT(m->t, mmu_range_protect(&m->mmu, gpa_to_gfn(GPA(page)), 1, on, &done) == 0);
	EXPECT(m->t, done == 1);
}

static void check_protected(struct selftest *t, struct machine *m)
{
	const u64 *r = vmx_regs(m->v)->gpr;
	u32 word = 0;

	protect(m, DATA, true);
	machine_expect_halt(m);
	EXPECT(t, r[RBX] == 3 && r[RSI] == LINEAR && r[RBP] == 0);
	EXPECT(t, gpa_read(&m->mmu, GPA(DATA + LINEAR % PAGE_SIZE), &word, 4) == 0 && word == 0);
	/* It tries again in vain, and with success when the protection is gone. */
	vmx_regs(m->v)->gpr[RBX] = 0;
	machine_expect_halt(m);
	EXPECT(t, r[RBX] == 3 && r[RSI] == LINEAR && r[RBP] == 0);
	protect(m, DATA, false);
	machine_expect_halt(m);
	EXPECT(t, r[RBP] == 1);
	EXPECT(t, gpa_read(&m->mmu, GPA(DATA + LINEAR % PAGE_SIZE), &word, 4) == 0);
	EXPECT(t, word == WRITTEN);
}

static void test_protected(struct selftest *t)
{
	struct machine m;

	if (!selftest_have_vmx(t))
		return;
	if (begin(t, &m, vmx_guest_protected, true)) {
		write_tables(&m);
		machine_attach(&m);
		check_protected(t, &m);
		machine_detach(&m);
	}
	machine_unmake(&m);
}

/* The fault's own frame has nowhere to go: a double fault, and then the end. */
static void test_protected_stack(struct selftest *t)
{
	struct machine m;

	if (!selftest_have_vmx(t))
		return;
	if (begin(t, &m, vmx_guest_protected, true)) {
		write_tables(&m);
		protect(&m, DATA, true);
		protect(&m, STACK_PAGE, true);
		machine_attach(&m);
		EXPECT(t, machine_run(&m).kind == VMX_EXIT_SHUTDOWN);
		machine_detach(&m);
	}
	machine_unmake(&m);
}

const struct selftest_case selftest_vmx_writes[] = {
	{.name = "vmx_dirty_log", .fn = test_log},
	{.name = "vmx_dirty_follow", .fn = test_follow},
	{.name = "vmx_protected", .fn = test_protected},
	{.name = "vmx_protected_stack", .fn = test_protected_stack},
	{.name = NULL},
};
