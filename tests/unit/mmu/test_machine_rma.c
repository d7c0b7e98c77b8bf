/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine mmu/rma_setup.c mmu/real_mode.c */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * vCPUs race for the set-up of the real-mode area, again and again, while the slot at 0 goes and
 * comes back, pages are reclaimed and pins are few. Whoever finds the area set up finds its pages
 * resident and pinned; a set-up that failed leaves nothing pinned. R24, R36, R37.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mem/frame.h"
#include "mmu/rma_setup.h"
#include "tests/hosted/machine/machine.h"

#define RAM_PAGES 48
#define LOW	  1
#define ALIAS	  2

static struct mutex vm_lock;
static struct rma_area area;
static struct machine_object *ram;
static struct gmem_account account;
static u64 set_ups, refused; /* atomic */

/* Odd while the slot at 0 is changed; what was set up before a change may have no pins. */
static u64 slot_changes; /* atomic */

static void set_up(u64 *random)
{
	struct machine_slot low = {0, RAM_PAGES, 0, LOW, 0, NULL};
	struct machine_slot alias = {0x400, RAM_PAGES, 0, ALIAS, 0, NULL};

	low.object = alias.object = ram = machine_object_new(RAM_PAGES, 0);
	account = (struct gmem_account){0};
	account.pins_max = RMA_PAGES;
	gmem_set_account(ram->gmem, &account);
	machine_may_fail(machine_slot_create(&machine.vm[0], &low), 0);
	machine_may_fail(machine_slot_create(&machine.vm[0], &alias), 0);
	mutex_init(&vm_lock, "vm", LOCK_VM);
	rma_area_init(&area, &machine.vm[0].mmu, &vm_lock, NULL);
}

static u32 pins_now(void)
{
	u32 n;

	spin_lock(&ram->gmem->lock);
	n = ram->gmem->pins;
	spin_unlock(&ram->gmem->lock);
	return n;
}

/*
 * The slot may go, and the frame with it, while this looks; what is seen then does not count. Hence
 * no ThreadSanitizer.
 */
__attribute__((no_sanitize("thread"), noinline)) static u32 pins_of_frame(pfn_t pfn)
{
	return *(volatile u16 *)&frame_of(pfn)->pins;
}

/* Every page of the area, unless the slot has been changed since. */
static void check_pinned(u64 changes)
{
	for (u64 i = 0; i < RMA_PAGES; i++) {
		u64 entry = gmem_entry(ram->gmem, i);
		bool resident = gmem_entry_state(entry) == GMEM_GOT_PAGE;
		u32 pins = resident ? pins_of_frame(gmem_entry_pfn(entry)) : 0;

		if (__atomic_load_n(&slot_changes, __ATOMIC_SEQ_CST) != changes)
			return;
		if (!pins)
			machine_fail("R36: the area is set up, and page %llu is %s",
				     (unsigned long long)i, resident ? "not pinned" : "not there");
	}
}

static bool before_entry(struct machine_vm *vm, struct mmu_vcpu *v)
{
	u64 changes = __atomic_load_n(&slot_changes, __ATOMIC_SEQ_CST);
	bool fresh = !rma_is_set_up(&area);
	gpa_t where;
	int err = rma_set_up(&area, v, &where);

	switch (err) {
	case 0:
		break;
	case ERR_NOSPC:
	case ERR_NOSLOT:
	case ERR_AGAIN:
		__atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
		return false;
	default:
		machine_may_fail(err, 0);
		return false;
	}
	if (!fresh || (changes & 1))
		return true;
	/* It was set up in this moment, by this vCPU or another. */
	__atomic_fetch_add(&set_ups, 1, __ATOMIC_RELAXED);
	check_pinned(changes);
	return true;
}

/* The next race. Nobody runs meanwhile, and nothing stays pinned. */
static void begin_anew(u64 *random)
{
	machine_stop();
	rma_area_destroy(&area);
	if (pins_now())
		machine_fail("%u pins are left of the area", pins_now());
	/* Too few, now and then. */
	account.pins_max = RMA_PAGES - 1 + random_below(random, 6);
	rma_area_init(&area, &machine.vm[0].mmu, &vm_lock, NULL);
	machine_resume();
}

static void replace_low(u64 *random)
{
	struct machine_vm *vm = &machine.vm[0];

	if (random_below(random, 3)) {
		begin_anew(random);
		machine_pause(random);
		return;
	}
	__atomic_fetch_add(&slot_changes, 1, __ATOMIC_SEQ_CST);
	if (!machine_may_fail(machine_slot_delete(vm, LOW), 0)) {
		machine_pause(random);
		while (machine_may_fail(
			machine_slot_create(vm,
					    &(struct machine_slot){0, RAM_PAGES, 0, LOW, 0, ram}),
			0))
			;
	}
	__atomic_fetch_add(&slot_changes, 1, __ATOMIC_SEQ_CST);
}

static void reclaim(u64 *random)
{
	machine_reclaim(ram, random);
}

static void tear_down(void)
{
	rma_area_destroy(&area);
	if (pins_now())
		machine_fail("%u pins are left at the end", pins_now());
}

static const struct machine_scenario scenario = {
	.name = "rma",
	.memory = MIB(16),
	.vms = 1,
	.few_pins = true,
	.guests = 4,
	.accesses = 400,
	.rounds = 120,
	.races_lost = 45,
	.meets = {.invalid = 20, .kicks = 10},
	.set_up = set_up,
	.before_entry = before_entry,
	.jobs = {{"slot", replace_low}, {"reclaim", reclaim}},
	.tear_down = tear_down,
};

static void vcpus_race_for_the_real_mode_area(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vcpus_race_for_the_real_mode_area),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
