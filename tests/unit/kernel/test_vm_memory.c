/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/vm_memory.c kernel/restart.c mem/reclaim_policy.c */
/*
 * Who is paused when there is no memory, and who goes on when it is back. The VMs do nothing; who
 * waits is said by the test.
 */
#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "kernel/vm_memory.h"
#include "kernel/vm_private.h"
#include "mem/reclaim_policy.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>

#define VMS	3
#define STEP_NS 10000000ull

static struct vm vms[VMS];
static struct restart restarts[VMS];
static struct memory_wait waits[VMS]; /* of a vCPU of each */
static struct gmem ram[VMS];
static bool is_short, gone[VMS];
static u64 now_ns = 5000000000ull;
static u32 references;

static u32 in_a_hurry;

void thread_hurry(struct thread *t, enum hurry how)
{
	assert_ptr_equal(t, thread_current());
	assert_int_equal(how, HURRY_A_WHILE);
	in_a_hurry++;
}

void thread_hurry_no_more(struct thread *t)
{
	assert_ptr_equal(t, thread_current());
	in_a_hurry--;
}

/* As long as there is a reference no VM's end goes on. */
u32 vm_list(struct vm **out, u32 max)
{
	u32 n = 0;

	assert_int_equal(in_a_hurry, 1);
	for (u32 i = 0; i < VMS; i++) {
		if (!gone[i])
			out[n++] = &vms[i];
	}
	references += n;
	return n;
}

static u32 hurried;

void vm_list_hurry_end(void)
{
	hurried++;
}

void vm_put(struct vm *vm)
{
	assert_int_equal(in_a_hurry, 1);
	references--;
}

void vm_set_paused(struct vm *vm, u32 on, u32 off)
{
	vm->paused = (vm->paused | on) & ~off;
}

struct reclaim_free_text reclaim_free_text(void)
{
	return (struct reclaim_free_text){"77 frames are free, and 300 kept for min="};
}

bool reclaim_is_short(void)
{
	return is_short;
}

bool reclaim_gives_first(const struct reclaim_target *a, const struct reclaim_target *b)
{
	struct reclaim_claim of_a = {a->object->resident, a->object->resident, a->terms.shares};
	struct reclaim_claim of_b = {b->object->resident, b->object->resident, b->terms.shares};

	return reclaim_pays_less(&of_a, &of_b, 75);
}

/* a has least over its share, c most. */
static int setup(void **state)
{
	memset(vms, 0, sizeof(vms));
	memset(gone, 0, sizeof(gone));
	memset(restarts, 0, sizeof(restarts));
	memset(waits, 0, sizeof(waits));
	for (u32 i = 0; i < VMS; i++) {
		vms[i].name[0] = (char)('a' + i);
		vms[i].ram = &ram[i];
		vms[i].restart = &restarts[i];
		vms[i].memory_waits_told = ~0u; /* but where a test is about that */
		ram[i].resident = 1000 * (i + 1);
		ram[i].resident_max = ~0ull;
		vms[i].reclaim.object = &ram[i];
		vms[i].reclaim.terms.shares = 100;
	}
	is_short = true;
	hosted_log_reset();
	return 0;
}

static int teardown(void **state)
{
	for (u32 k = 0; k < VMS; k++)
		assert_int_equal(vms[k].memory.waiting, 0);
	assert_int_equal(references, 0);
	assert_int_equal(in_a_hurry, 0);
	now_ns += 60000000000ull;
	hosted_clock_free();
	return 0;
}

/* Of VM k, which tries at this moment and sleeps for none. */
static void wait_once(u32 k)
{
	vm_wants_memory(&vms[k], &waits[k]);
	(void)vm_waits_in_vain(&vms[k], &waits[k]);
	assert_int_equal(waits[k].counted, is_short && ram[k].resident < ram[k].resident_max);
	vm_wanted_memory(&vms[k], &waits[k], false);
}

/* So long the VMs of the mask wait, and the paused ones look. */
static void pass(u32 waiting, u64 ms)
{
	for (u64 i = 0; i < ms / 10; i++) {
		hosted_clock_set(now_ns += STEP_NS);
		for (u32 k = 0; k < VMS; k++) {
			if (gone[k])
				continue;
			if (!vms[k].paused && (waiting & BIT(k)))
				wait_once(k);
			else if (vms[k].paused && i % 10 == 0)
				vm_look_for_memory(&vms[k]);
		}
	}
}

static void expect(u32 a, u32 b, u32 c)
{
	assert_int_equal(vms[0].paused, a);
	assert_int_equal(vms[1].paused, b);
	assert_int_equal(vms[2].paused, c);
}

#define MEM VM_PAUSED_FOR_MEMORY
#define OP  VM_PAUSED_BY_OPERATOR

static void the_furthest_of_those_that_wait(void **state)
{
	pass(BIT(0) | BIT(1), 900);
	expect(0, 0, 0); /* patience */
	pass(BIT(0) | BIT(1), 300);
	expect(0, MEM, 0); /* c has more, but does not wait: it may end */
	assert_non_null(strstr(hosted_log_last(),
			       "vm b: paused for memory, being furthest over its share with 8000K "
			       "resident; it goes on when there is memory: end another VM (c has "
			       "12000K)"));
	pass(BIT(0) | BIT(1), 5000);
	expect(0, MEM, 0); /* and the last that waits only waits */
	pass(BIT(0) | BIT(2), 3000);
	expect(0, MEM, MEM);
}

static void alone_it_only_waits(void **state)
{
	pass(BIT(2), 60000);
	expect(0, 0, 0);
	is_short = false;
	pass(BIT(0) | BIT(1) | BIT(2), 60000); /* each at its own bound */
	expect(0, 0, 0);
}

/* Whoever has all it may have waits for nobody, and nobody is paused for it. */
static void its_own_max_is_its_own(void **state)
{
	ram[0].resident_max = ram[0].resident;
	pass(BIT(0) | BIT(1), 60000);
	expect(0, 0, 0);
	pass(BIT(0) | BIT(1) | BIT(2), 3000);
	expect(0, 0, MEM);
}

/* From whom nothing may be taken nothing comes by a pause, however little he pays. */
static void promised_memory_runs(void **state)
{
	vms[2].reclaim.terms.min = ram[2].resident;
	pass(BIT(1) | BIT(2), 3000);
	expect(0, MEM, 0);
	vms[0].reclaim.terms.min = 5000;
	pass(BIT(0) | BIT(2), 10000);
	expect(0, MEM, 0);
}

/* Waits that end in between are none in vain. */
static void now_and_then_is_no_matter(void **state)
{
	for (u32 i = 0; i < 50; i++) {
		pass(BIT(0) | BIT(1), 300);
		pass(0, 600);
	}
	expect(0, 0, 0);
}

#define SLOW_NS 900000000ull

/* Many that look for memory on one CPU take longer for it than waits that end in between do. */
static void slow_tries_are_waits(void **state)
{
	bool tries[2];

	for (u32 i = 0; i < 5; i++) {
		for (u32 k = 0; k < 2; k++) {
			tries[k] = !vms[k].paused;
			if (!tries[k])
				continue;
			vm_wants_memory(&vms[k], &waits[k]);
			assert_int_equal(vms[k].memory.waiting, i > 0);
		}
		hosted_clock_set(now_ns += SLOW_NS);
		for (u32 k = 0; k < 2; k++) {
			if (!tries[k])
				continue;
			(void)vm_waits_in_vain(&vms[k], &waits[k]);
			assert_int_equal(vms[k].memory.waiting, 1);
			vm_wanted_memory(&vms[k], &waits[k], false);
		}
	}
	expect(0, MEM, 0);
	/* And no longer than that: a has memory. */
	pass(BIT(2), 1000);
	assert_int_equal(vms[2].memory.pauses, 0);
	pass(0, 1000);
	pass(BIT(2), 3000);
	expect(0, MEM, 0);
}

/* However long it took to find that there is none: the next try has found some. */
static void who_has_found_some_waits_no_more(void **state)
{
	hosted_clock_set(now_ns += 5000000000ull);
	vm_wants_memory(&vms[1], &waits[1]);
	hosted_clock_set(now_ns += 5000000000ull);
	(void)vm_waits_in_vain(&vms[1], &waits[1]);
	vm_wanted_memory(&vms[1], &waits[1], false);
	vm_wants_memory(&vms[1], &waits[1]);
	assert_int_equal(vms[1].memory.waiting, 1);
	pass(0, 900);
	vm_wanted_memory(&vms[1], &waits[1], true);
	pass(BIT(0), 3000);
	expect(0, 0, 0);
	/* Nor does it when it looks the next time. */
	vm_wants_memory(&vms[1], &waits[1]);
	assert_int_equal(vms[1].memory.waiting, 0);
	vm_wanted_memory(&vms[1], &waits[1], true);
}

/* Who wants no more than its own max waits for nobody, and has not waited for others when it comes to have more. */
static void who_waited_for_its_own_is_new(void **state)
{
	ram[1].resident_max = ram[1].resident;
	pass(BIT(0) | BIT(1), 3500); /* a has it decided each second */
	ram[1].resident_max = ~0ull;
	pass(BIT(0) | BIT(1), 900);
	expect(0, 0, 0);
	/* Nor does it wait for others any more that has all it may have since its last try. */
	ram[1].resident_max = ram[1].resident;
	vm_wants_memory(&vms[1], &waits[1]);
	assert_int_equal(vms[1].memory.waiting, 0);
	vm_wanted_memory(&vms[1], &waits[1], true);
	ram[1].resident_max = ~0ull;
	pass(BIT(0) | BIT(1), 1000);
	expect(0, MEM, 0);
}

/* Who sleeps between two tries waits, however late it is woken. */
static void who_sleeps_waits(void **state)
{
	hosted_clock_set(now_ns);
	vm_wants_memory(&vms[1], &waits[1]);
	(void)vm_waits_in_vain(&vms[1], &waits[1]);
	pass(BIT(0), 3000);
	expect(0, MEM, 0);
	vm_wanted_memory(&vms[1], &waits[1], false);
	setup(NULL);
	wait_once(1);
	pass(0, 1000);
	pass(BIT(0), 3000);
	expect(0, 0, 0);
}

/* Of two vCPUs one sleeps and the other finds memory: the VM waits as long as the first does. */
static void each_vcpu_counts_for_itself(void **state)
{
	struct memory_wait other = {.counted = false};

	hosted_clock_set(now_ns);
	vm_wants_memory(&vms[1], &waits[1]);
	(void)vm_waits_in_vain(&vms[1], &waits[1]);
	for (u32 i = 0; i < 3; i++) {
		vm_wants_memory(&vms[1], &other);
		vm_wanted_memory(&vms[1], &other, true);
	}
	assert_int_equal(vms[1].memory.waiting, 1);
	vm_wants_memory(&vms[1], &other);
	(void)vm_waits_in_vain(&vms[1], &other);
	assert_int_equal(vms[1].memory.waiting, 2);
	vm_wanted_memory(&vms[1], &other, false);
	vm_wanted_memory(&vms[1], &waits[1], false);
	/* A third has waited since the first began, however long its own try takes. */
	other = (struct memory_wait){.counted = false};
	vm_wants_memory(&vms[1], &other);
	hosted_clock_set(now_ns += 5000000000ull);
	(void)vm_waits_in_vain(&vms[1], &other);
	assert_true(vms[1].memory.vain_since_ns < now_ns);
	vm_wanted_memory(&vms[1], &other, false);
}

/* The longer nothing is found the less often it is looked for. */
static void sleeps_grow(void **state)
{
	static const u64 ms[] = {10, 20, 40, 80, 80};
	struct memory_wait *w = &waits[0];

	for (u32 i = 0; i < ARRAY_SIZE(ms) + 2; i++) {
		u64 ns;

		/* Not at once, or with some found in between. */
		hosted_clock_set(now_ns += i == ARRAY_SIZE(ms) ? 20000000 : 1000);
		vm_wants_memory(&vms[0], w);
		if (i > ARRAY_SIZE(ms)) {
			vm_wanted_memory(&vms[0], w, true);
			vm_wants_memory(&vms[0], w);
		}
		ns = vm_waits_in_vain(&vms[0], w);
		assert_int_equal(ns, i < ARRAY_SIZE(ms) ? ms[i] * 1000000 : 10000000);
		hosted_clock_set(now_ns += ns);
		vm_wanted_memory(&vms[0], w, false);
	}
}

/* When there is memory they go on by themselves, who is least over its share first, one by one. */
static void goes_on_by_itself(void **state)
{
	pass(BIT(0) | BIT(1) | BIT(2), 4000);
	expect(0, MEM, MEM);
	is_short = false;
	pass(0, 300); /* a's last wait was just now */
	expect(0, MEM, MEM);
	pass(0, 2000);
	assert_int_equal(vms[1].paused, 0);
	pass(0, 2000);
	expect(0, 0, 0);
	assert_non_null(strstr(hosted_log_last(), "vm c: goes on, after it was paused for memory"));
}

/* Or when nobody is left for whom it would stay paused, whatever is free. */
static void the_last_goes_on(void **state)
{
	pass(BIT(1) | BIT(2), 3000);
	expect(0, 0, MEM);
	gone[1] = true;
	pass(0, 5000);
	expect(0, 0, MEM); /* a runs on what there is, which is little */
	gone[0] = true;
	pass(0, 2000);
	expect(0, 0, 0);
}

/* Or when nobody has waited for long, though there is little: it may run on what it has. */
static void nobody_waits_any_more(void **state)
{
	pass(BIT(1) | BIT(2), 3000);
	expect(0, 0, MEM);
	pass(BIT(1), 15000);
	expect(0, 0, MEM);
	pass(0, 9000);
	expect(0, 0, MEM);
	pass(0, 2000);
	expect(0, 0, 0);
}

static void an_operator_has_his_own_reason(void **state)
{
	pass(BIT(1) | BIT(2), 3000);
	expect(0, 0, MEM);
	vm_set_paused(&vms[2], OP, 0);
	is_short = false;
	pass(0, 3000);
	expect(0, 0, OP); /* memory is there, the operator is not */
	/* Whom the operator has paused is not paused for memory, nor waited for. */
	is_short = true;
	vm_set_paused(&vms[1], OP, 0);
	pass(BIT(0) | BIT(1) | BIT(2), 5000);
	expect(0, OP, OP);
}

/* Guests that wait over and over do not fill the log. */
static void flapping_is_told_seldom(void **state)
{
	for (u32 i = 0; i < 100; i++) {
		is_short = true;
		pass(BIT(0) | BIT(1), 2500);
		assert_int_equal(vms[1].paused, MEM);
		is_short = false;
		pass(0, 3000);
		assert_int_equal(vms[1].paused, 0);
	}
	/* 1, 2, 3, 4, 8, 16, 32, 64 */
	assert_int_equal(hosted_log_count(LOG_WARN), 8);
	assert_int_equal(hosted_log_count(LOG_INFO), 8);
	/* Nor one that starts again each time, and so is another VM. */
	hosted_log_reset();
	restarts[1].silent = true;
	for (u32 i = 0; i < 10; i++) {
		vms[1].memory.pauses = 0;
		is_short = true;
		pass(BIT(0) | BIT(1), 2500);
		assert_int_equal(vms[1].paused, MEM);
		is_short = false;
		pass(0, 3000);
	}
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
	assert_int_equal(hosted_log_count(LOG_INFO), 0);
}

static void told(const char *line, u32 lines)
{
	wait_once(0);
	wait_once(0);
	assert_int_equal(hosted_log_count(LOG_WARN), lines);
	assert_non_null(strstr(hosted_log_last(), line));
}

/* Who waits is told once what would help him: no end of others where it is his own bound. */
static void what_would_help(void **state)
{
	vms[0].memory_waits_told = 0;
	told("vm a: waits for memory, 77 frames are free, and 300 kept for min=: end another VM, "
	     "or start with less mem=",
	     1);
	ram[0].resident_max = ram[0].resident;
	told("vm a: waits for memory: it has all of its max=4000K, and nothing of that can be put "
	     "away now: give it a larger max=, or Weir a swap disk",
	     2);
	ram[0].resident_max = ~0ull;
	vms[0].config.page_order = 9;
	told("vm a: waits for 2M of memory in one piece, 77 frames are free, and 300 kept for "
	     "min=: "
	     "end another VM, or start it without psize=2M",
	     3);
	vms[0].memory_waits_told = 0;
	restarts[0].silent = true;
	wait_once(0);
	assert_int_equal(hosted_log_count(LOG_WARN), 3);
}

/* Unless it is its own bound, and not only once; also where it is 2 MiB that are not there. */
static void ends_are_waited_for(void **state)
{
	hurried = 0;
	wait_once(0);
	is_short = false;
	wait_once(0);
	assert_int_equal(hurried, 2);
	ram[0].resident_max = ram[0].resident;
	wait_once(0);
	assert_int_equal(hurried, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ends_are_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(the_furthest_of_those_that_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(alone_it_only_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(its_own_max_is_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(promised_memory_runs, setup, teardown),
		cmocka_unit_test_setup_teardown(now_and_then_is_no_matter, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_tries_are_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(who_has_found_some_waits_no_more, setup, teardown),
		cmocka_unit_test_setup_teardown(who_sleeps_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waited_for_its_own_is_new, setup, teardown),
		cmocka_unit_test_setup_teardown(each_vcpu_counts_for_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(sleeps_grow, setup, teardown),
		cmocka_unit_test_setup_teardown(goes_on_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_waits_any_more, setup, teardown),
		cmocka_unit_test_setup_teardown(an_operator_has_his_own_reason, setup, teardown),
		cmocka_unit_test_setup_teardown(what_would_help, setup, teardown),
		cmocka_unit_test_setup_teardown(flapping_is_told_seldom, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
