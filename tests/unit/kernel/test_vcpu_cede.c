/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/vcpu.c kernel/restart.c kernel/hypercall.c kernel/kvm_hypercall.c
 *	tests/unit/kernel/vcpu_loop.c tests/unit/kernel/vcpu_idle.c @mmu @mem tests/unit/mmu/fixture.c mmu/walk.c
 */
/*
 * H_CEDE and H_PROD between the vCPUs of a VM: who sleeps, who wakes whom, and that no prod is ever
 * lost; and a call that waits for memory.
 */
#include "kernel/hypercall.h"
#include "mem/frame.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/kernel/vcpu_loop.h"

#include <cmocka.h>
#include <unistd.h>

#define ROUNDS 20000

static u32 go;	/* atomic: what the second vCPU may do */
static u32 ran; /* atomic: steps that vCPU 0 began */

static bool sleeper(u32 id, u32 step, struct vmx_exit *e)
{
	if (id == 1) {
		if (look(&go) != 1)
			return idle(id, e);
		__atomic_store_n(&go, 2, __ATOMIC_SEQ_CST);
		make_call(1, e, H_PROD, 0, 0, 0);
		return true;
	}
	__atomic_store_n(&ran, step + 1, __ATOMIC_SEQ_CST);
	make_call(0, e, H_CEDE, 0, 0, 0);
	return step < 2;
}

/* Asleep until another prods it; then until an interrupt, which comes in though IF was clear. */
static void prod_and_interrupt_wake(void **state)
{
	go = ran = 0;
	vcpus_start(sleeper);
	wait_steps(0, 1);
	settle();
	assert_int_equal(look(&ran), 1);
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	wait_steps(0, 2);
	settle();
	assert_int_equal(look(&ran), 2);
	assert_int_equal(look(&injected), 0);
	/* A kick that is neither goes by. */
	vcpu_request(&cpus[0], VCPU_REQ_KICK);
	settle();
	assert_int_equal(look(&ran), 2);
	__atomic_store_n(&interrupt[0], true, __ATOMIC_SEQ_CST);
	vcpu_request(&cpus[0], VCPU_REQ_KICK);
	vcpus_end();
	assert_int_equal(ran, 3);
	assert_int_equal(injected, 1);
}

static bool halter(u32 id, u32 step, struct vmx_exit *e)
{
	if (id == 1)
		return idle(id, e);
	__atomic_store_n(&ran, step + 1, __ATOMIC_SEQ_CST);
	switch (step) {
	case 0:
		guests[0].regs.rflags |= RFLAGS_IF;
		e->kind = VMX_EXIT_HLT;
		return true;
	case 1:
		make_call(0, e, H_CEDE, 0, 0, 0);
		return true;
	default:
		return false;
	}
}

/* HLT knows no prods. The one that came meanwhile is there for the H_CEDE that follows. */
static void hlt_is_not_prodded(void **state)
{
	ran = 0;
	vcpus_start(halter);
	while (look(&ran) == 0)
		usleep(200);
	settle();
	hypercall_prod(&cpus[0]);
	settle();
	assert_int_equal(look(&ran), 1);
	__atomic_store_n(&interrupt[0], true, __ATOMIC_SEQ_CST);
	vcpu_request(&cpus[0], VCPU_REQ_KICK);
	vcpus_end();
	assert_int_equal(ran, 3);
}

/* Each prods the other and cedes: one prod that is lost, and both sleep for ever. */
static bool player(u32 id, u32 step, struct vmx_exit *e)
{
	if (step & 1)
		make_call(id, e, H_CEDE, 0, 0, 0);
	else
		make_call(id, e, H_PROD, !id, 0, 0);
	return step < 2 * ROUNDS;
}

static void no_prod_is_lost(void **state)
{
	vcpus_start(player);
	vcpus_end();
	assert_true(steps[0] == 2 * ROUNDS || steps[1] == 2 * ROUNDS);
	assert_true(steps[0] + 4 >= 2 * ROUNDS && steps[1] + 4 >= 2 * ROUNDS);
}

static bool eater(u32 id, u32 step, struct vmx_exit *e)
{
	if (id == 1)
		return idle(id, e);
	if (step == 0)
		make_call(0, e, H_ENTER, BASE, 20, H_ENTER_WRITE | H_ENTER_PIN);
	return step == 0;
}

/* No memory: the call is not completed but made again, until there is some. */
static void a_call_waits_for_memory(void **state)
{
	static void *pages[8192];
	u32 n = 0;

	/* What is left is less than the call needs; each thread takes its own first. */
	while (n < ARRAY_SIZE(pages) && (pages[n] = frame_alloc_page(0)))
		n++;
	assert_true(n < ARRAY_SIZE(pages));
	vcpus_start(eater);
	while (look(&retries) < 2)
		usleep(200);
	assert_int_equal(look(&steps[0]), 0);
	assert_int_equal(machine.pins.pins, 0);
	assert_true(look(&waits_told) > 0);
	while (n)
		frame_free_page(pages[--n]);
	wait_steps(0, 1);
	vcpus_end();
	assert_int_equal(guests[0].regs.gpr[RAX], H_SUCCESS);
	assert_int_equal(guests[0].regs.gpr[RCX], 20);
	assert_int_equal(machine.pins.pins, 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, vcpu_loop_setup, vcpu_loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(prod_and_interrupt_wake),
		TEST(hlt_is_not_prodded),
		TEST(no_prod_is_lost),
		TEST(a_call_waits_for_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
