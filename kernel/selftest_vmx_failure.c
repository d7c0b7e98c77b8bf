/* SPDX-License-Identifier: MIT */
/*
 * Self-tests of what goes wrong: entries that the CPU refuses, and a panic while other CPUs are in
 * guests.
 */
#include "kernel/base/panic.h"
#include "kernel/selftest_vmx.h"
#include "mem/slab.h"
#include "smp/thread.h"
#include "smp/timer.h"
#include "vmx/instructions.h"

#define NS_PER_MS    1000000ull
#define RFLAGS_FIXED BIT(1)
#define IN_GUEST_MS  5	     /* by then all loop */
#define PAGE_IP	     0xf000u /* of the first byte of the page of code */

static const struct vmx_start reset = {.mode = VMX_START_RESET};

/* Refused for the host's state, then failed by the guest's (SDM 3C 27.2, 27.3), then it goes on. */
static void test_failed_entry(struct selftest *t)
{
	struct machine m;
	u64 cs;

	if (!selftest_have_vmx(t))
		return;
	if (machine_make(t, &m, &reset, false)) {
		machine_attach(&m);
		machine_expect_halt(&m);
		cs = vmcs_read(HOST_CS_SELECTOR);
		vmcs_write(HOST_CS_SELECTOR, 0);
		EXPECT(t, machine_run(&m).kind == VMX_EXIT_ERROR);
		vmcs_write(HOST_CS_SELECTOR, cs);
		vmx_regs(m.v)->rflags = 0;
		EXPECT(t, machine_run(&m).kind == VMX_EXIT_ERROR);
		vmx_regs(m.v)->rflags = RFLAGS_FIXED;
		EXPECT(t, machine_run(&m).kind == VMX_EXIT_IO);
		machine_detach(&m);
	}
	machine_unmake(&m);
}

struct looper {
	struct selftest *t;
	struct machine m;
	bool loops; /* atomic */
};

/* On its CPU: the VMCS cannot be taken along. */
static void loop_in_guest(void *arg)
{
	struct looper *l = arg;
	struct machine *m = &l->m;

	if (!machine_make(l->t, m, &reset, false))
		return;
	machine_attach(m);
	vmx_regs(m->v)->rip = PAGE_IP + (u64)(vmx_guest_loop - vmx_guest_page);
	__atomic_store_n(&l->loops, true, __ATOMIC_RELEASE);
	for (;;)
		machine_run(m);
}

/*
 * Ends in a panic: for the boot tests. The arguments show which register is which, and the stack.
 */
static void test_panic_in_guests(struct selftest *t)
{
	struct thread *thread;

	if (!selftest_have_vmx(t))
		return;
	for (u32 cpu = 1; cpu < cpu_count(); cpu++) {
		struct looper *l = kmalloc(sizeof(*l)); /* for good: nothing ends but Weir */

		if (!EXPECT(t, l != NULL))
			return;
		*l = (struct looper){.t = t};
		if (!EXPECT(t, thread_create(&thread, "loop", loop_in_guest, l, cpu) == 0))
			return;
		while (!__atomic_load_n(&l->loops, __ATOMIC_ACQUIRE) && !t->failures)
			thread_sleep_until(clock_ns() + NS_PER_MS);
	}
	thread_sleep_until(clock_ns() + IN_GUEST_MS * NS_PER_MS);
	panic("others are in guests: %u %u %u %u %u %u %u", 1, 2, 3, 4, 5, 6, 7);
}

const struct selftest_case selftest_vmx_failure[] = {
	{"vmx_failed_entry", test_failed_entry, true},
	{"panic-in-guests", test_panic_in_guests, true},
	{NULL, NULL, false},
};
