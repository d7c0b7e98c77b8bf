/* SPDX-License-Identifier: MIT */
/*
 * Hypercalls by a guest for what no VM of Weir's shows its guests: a slot that is on its way out, a
 * read-only one, pages of 2 MiB, a page that is lost. The guest is real-mode code that does nothing
 * but VMCALL; its registers are the test's.
 */
#include "kernel/hypercall.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "kernel/selftest_vmx.h"
#include "kernel/vcpu.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define PATIENCE_NS  10000000000ull
#define RAM_GPA	     0x8000ull
#define RAM_PAGES    8u
#define LOST	     6u /* this page of it is */
#define ROM_GPA	     0x40000ull
#define ROM_PAGES    2u
#define LARGE_GPA    0x200000ull
#define GOING_GPA    0x80000ull
#define GOING	     4u /* slot */
#define STUB_IP	     (0xf000u + (u64)(vmx_guest_call - vmx_guest_page))
#define NO_FLAGS     0u
#define PAGE(gpa, i) ((gpa) + (u64)(i)*PAGE_SIZE)

static struct {
	struct selftest *t;
	struct vm vm;
	struct vcpu vcpu;
	struct gmem *code, *ram, *large, *going;
	u64 generation; /* of the slots, before one goes */
	/* atomic */
	bool reader_in, reader_may_go;
} h;

/* What a call answers to what it is asked; of a page, for H_READ, no count. */
struct call {
	enum hypercall_token token;
	u64 gpa;
	u64 pages, flags;
	int result;
	u64 done;
};

/* --- The machine --- */

static bool make_slot(u32 id, u64 gpa, u64 pages, struct gmem *object, u32 flags)
{
	return EXPECT(h.t, memslot_create(&h.vm.mmu, id, gpa_to_gfn(GPA(gpa)), pages, object, 0,
					  flags) == 0);
}

static bool make_memory(void)
{
	return EXPECT(h.t, gmem_create(1, &h.code) == 0) &&
	       EXPECT(h.t, gmem_create(RAM_PAGES, &h.ram) == 0) &&
	       EXPECT(h.t, gmem_create(RAM_PAGES, &h.going) == 0) &&
	       EXPECT(h.t, gmem_create_order(GMEM_LARGE_PAGES, GMEM_LARGE_ORDER, &h.large) == 0) &&
	       make_slot(0, MACHINE_CODE, 1, h.code, 0) &&
	       EXPECT(h.t,
		      gpa_write(&h.vm.mmu, GPA(MACHINE_CODE), vmx_guest_page, PAGE_SIZE) == 0) &&
	       make_slot(1, RAM_GPA, RAM_PAGES, h.ram, 0) &&
	       make_slot(2, ROM_GPA, ROM_PAGES, h.ram, MEMSLOT_READONLY) &&
	       make_slot(3, LARGE_GPA, GMEM_LARGE_PAGES, h.large, 0) &&
	       make_slot(GOING, GOING_GPA, RAM_PAGES, h.going, 0);
}

static bool make_vcpu(struct machine *m)
{
	const struct vmx_start reset = {.mode = VMX_START_RESET};
	struct vmx_config config = {.mmu = &h.vm.mmu, .mmu_vcpu = &h.vcpu.mmu, .vcpu_count = 1};

	h.vm.vcpu_count = 1;
	h.vcpu.vm = &h.vm;
	mmu_vcpu_init(&h.vcpu.mmu, &h.vm.mmu);
	if (!EXPECT(h.t, vmx_vcpu_create(&config, &m->v) == 0))
		return false;
	h.vcpu.vmx = m->v;
	machine_attach(m);
	vmx_vcpu_set_start(m->v, &reset);
	return true;
}

static void unmake(struct machine *m)
{
	struct gmem *objects[] = {h.code, h.ram, h.large, h.going};

	if (m->v) {
		machine_detach(m);
		vmx_vcpu_destroy(m->v);
	}
	if (h.vcpu.mmu.vm)
		mmu_vcpu_destroy(&h.vcpu.mmu);
	mmu_vm_destroy(&h.vm.mmu);
	for (u32 i = 0; i < ARRAY_SIZE(objects); i++) {
		if (objects[i])
			gmem_unref(objects[i]);
	}
}

/* --- Calls --- */

static void expect_calls(struct machine *m, const struct call *calls, u32 count)
{
	for (u32 i = 0; i < count && !h.t->failures; i++) {
		const struct call *c = &calls[i];
		struct guest_regs *r = vmx_regs(m->v);
		struct vmx_exit e;

		r->rip = STUB_IP;
		r->gpr[RAX] = HYPERCALL_BASE + c->token;
		r->gpr[RBX] = c->gpa;
		r->gpr[RCX] = c->pages;
		r->gpr[RDX] = c->flags;
		r->gpr[RSI] = 0;
		e = machine_run(m);
		if (!EXPECT(h.t, e.kind == VMX_EXIT_HYPERCALL) ||
		    !EXPECT(h.t, hypercall(&h.vcpu, e.hypercall) == HYPERCALL_GO_ON))
			return;
		r = vmx_regs(m->v);
		if ((s32)r->gpr[RAX] == c->result && (c->token == H_READ || r->gpr[RCX] == c->done))
			continue;
		selftest_fail(h.t, __FILE__, __LINE__, "a call's result or count");
		log_error("call %u, token %#x at %#llx: %d, %llu done", i, c->token,
			  (unsigned long long)c->gpa, (s32)r->gpr[RAX],
			  (unsigned long long)r->gpr[RCX]);
	}
}

static void read_only(struct machine *m)
{
	static const struct call calls[] = {
		{H_ENTER, ROM_GPA, 2, H_ENTER_WRITE, H_PERMISSION, 0},
		{H_ENTER, ROM_GPA, 2, NO_FLAGS, H_SUCCESS, 2},
		{H_ENTER, ROM_GPA, 3, NO_FLAGS, H_NOT_FOUND, 2},
		{H_REMOVE, ROM_GPA, 1, NO_FLAGS, H_PERMISSION, 0},
		{H_PROTECT, ROM_GPA, 2, H_PROTECT_ON, H_SUCCESS, 2},
		{H_PROTECT, ROM_GPA, 2, NO_FLAGS, H_SUCCESS, 2},
		{H_READ, ROM_GPA, 0, NO_FLAGS, H_SUCCESS, 0},
	};

	expect_calls(m, calls, ARRAY_SIZE(calls));
	EXPECT(h.t, vmx_regs(m->v)->gpr[RCX] & H_PAGE_READONLY);
}

static void large_pages(struct machine *m)
{
	static const struct call calls[] = {
		{H_ENTER, PAGE(LARGE_GPA, 5), 1, H_ENTER_WRITE, H_SUCCESS, 1},
		{H_REMOVE, LARGE_GPA, 1, NO_FLAGS, H_PARAMETER, 0},
		{H_REMOVE, LARGE_GPA, 511, NO_FLAGS, H_PARAMETER, 0},
		{H_REMOVE, PAGE(LARGE_GPA, 1), 511, NO_FLAGS, H_PARAMETER, 0},
		{H_PROTECT, PAGE(LARGE_GPA, 7), 1, H_PROTECT_ON, H_SUCCESS, 1},
		{H_REMOVE, LARGE_GPA, 512, NO_FLAGS, H_PERMISSION, 0},
		{H_PROTECT, PAGE(LARGE_GPA, 7), 1, NO_FLAGS, H_SUCCESS, 1},
		{H_REMOVE, LARGE_GPA, 512, NO_FLAGS, H_SUCCESS, 512},
		{H_READ, LARGE_GPA, 0, NO_FLAGS, H_SUCCESS, 0},
	};

	expect_calls(m, calls, ARRAY_SIZE(calls));
	EXPECT(h.t, vmx_regs(m->v)->gpr[RCX] & H_PAGE_WHOLE);
}

/* As the swap tier marks a page whose block the disk did not give. */
static void lost_page(struct machine *m)
{
	static const struct call calls[] = {
		{H_ENTER, PAGE(RAM_GPA, LOST), 1, NO_FLAGS, H_HARDWARE, 0},
		{H_ENTER, PAGE(RAM_GPA, LOST - 2), 4, H_ENTER_WRITE, H_HARDWARE, 2},
		{H_READ, PAGE(RAM_GPA, LOST), 0, NO_FLAGS, H_SUCCESS, 0},
	};
	pfn_t pfn;
	u64 was, entry;

	if (!EXPECT(h.t, gmem_get_page(h.ram, LOST, true, &pfn) == 0) ||
	    !EXPECT(h.t, gmem_claim(h.ram, LOST, &was) == 0))
		return;
	gmem_settle(h.ram, LOST, GMEM_SWAPPED | GMEM_LOST);
	expect_calls(m, calls, ARRAY_SIZE(calls));
	EXPECT(h.t, vmx_regs(m->v)->gpr[RBX] == H_CONTENTS_SWAPPED);
	if (EXPECT(h.t, gmem_claim(h.ram, LOST, &entry) == 0))
		gmem_settle(h.ram, LOST, was);
}

/* --- A slot that is on its way out --- */

static bool reader_is_in(void)
{
	return __atomic_load_n(&h.reader_in, __ATOMIC_ACQUIRE);
}

static bool slots_have_changed(void)
{
	return __atomic_load_n(&h.vm.mmu.slots_generation, __ATOMIC_ACQUIRE) != h.generation;
}

/* false: it does not come, for the thread that it is of has failed. */
static bool await(bool (*comes)(void))
{
	u64 end = clock_ns() + PATIENCE_NS;

	while (!comes()) {
		if (clock_ns() >= end)
			return false;
		thread_yield();
	}
	return true;
}

static void hold_reader(void *arg)
{
	u32 reader = srcu_read_lock(&h.vm.mmu.srcu);

	(void)arg;
	__atomic_store_n(&h.reader_in, true, __ATOMIC_RELEASE);
	/* going_slot says so on each way out. */
	while (!__atomic_load_n(&h.reader_may_go, __ATOMIC_ACQUIRE))
		thread_yield();
	srcu_read_unlock(&h.vm.mmu.srcu, reader);
}

static void delete_slot(void *arg)
{
	(void)arg;
	EXPECT(h.t, memslot_delete(&h.vm.mmu, GOING) == 0);
}

static void calls_meanwhile(struct machine *m)
{
	static const struct call before[] = {
		{H_ENTER, GOING_GPA, 8, H_ENTER_WRITE | H_ENTER_PIN, H_SUCCESS, 8},
	};
	static const struct call meanwhile[] = {
		{H_ENTER, GOING_GPA, 8, H_ENTER_WRITE, H_BUSY, 0},
		{H_ENTER, GOING_GPA, 1, NO_FLAGS, H_BUSY, 0},
		{H_REMOVE, GOING_GPA, 8, NO_FLAGS, H_BUSY, 0},
		{H_REMOVE, GOING_GPA, 8, H_REMOVE_PINS, H_BUSY, 0},
		{H_PROTECT, GOING_GPA, 8, H_PROTECT_ON, H_BUSY, 0},
		{H_PROTECT, GOING_GPA, 8, NO_FLAGS, H_BUSY, 0},
		{H_READ, GOING_GPA, 0, NO_FLAGS, H_BUSY, 0},
		/* Others are not concerned. */
		{H_ENTER, RAM_GPA, 2, H_ENTER_WRITE, H_SUCCESS, 2},
	};
	struct thread *deleter;

	h.generation = h.vm.mmu.slots_generation;
	expect_calls(m, before, ARRAY_SIZE(before));
	if (!EXPECT(h.t,
		    thread_create(&deleter, "deleter", delete_slot, NULL, cpu_count() - 1) == 0))
		return;
	/* Published as INVALID; it waits for the reader now. */
	if (EXPECT(h.t, await(slots_have_changed))) {
		expect_calls(m, meanwhile, ARRAY_SIZE(meanwhile));
		EXPECT(h.t, h.vm.mmu.slots_generation == h.generation + 1);
	}
	__atomic_store_n(&h.reader_may_go, true, __ATOMIC_RELEASE);
	thread_join(deleter);
}

static void going_slot(struct machine *m)
{
	static const struct call after[] = {
		{H_ENTER, GOING_GPA, 8, H_ENTER_WRITE, H_NOT_FOUND, 0},
		{H_REMOVE, GOING_GPA, 8, H_REMOVE_PINS, H_NOT_FOUND, 0},
		{H_PROTECT, GOING_GPA, 8, H_PROTECT_ON, H_NOT_FOUND, 0},
		{H_READ, GOING_GPA, 0, NO_FLAGS, H_NOT_FOUND, 0},
	};
	struct thread *reader;

	if (!EXPECT(h.t, thread_create(&reader, "reader", hold_reader, NULL, 0) == 0))
		return;
	if (EXPECT(h.t, await(reader_is_in)))
		calls_meanwhile(m);
	__atomic_store_n(&h.reader_may_go, true, __ATOMIC_RELEASE);
	thread_join(reader);
	expect_calls(m, after, ARRAY_SIZE(after));
	/* R37: the pins went with it. */
	EXPECT(h.t, h.going->pins == 0);
}

static void test_hypercalls(struct selftest *t)
{
	struct machine m = {.t = t};

	if (!selftest_have_vmx(t))
		return;
	memset(&h, 0, sizeof(h));
	h.t = t;
	if (!EXPECT(t, mmu_vm_create(&h.vm.mmu, MMU_EPT) == 0))
		return;
	if (make_memory() && make_vcpu(&m)) {
		read_only(&m);
		large_pages(&m);
		lost_page(&m);
		going_slot(&m);
	}
	unmake(&m);
}

const struct selftest_case selftest_hypercall[] = {
	{.name = "hypercalls", .fn = test_hypercalls},
	{.name = NULL},
};
