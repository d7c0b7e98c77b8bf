/* SPDX-License-Identifier: MIT */
/* unit-sources: @machine */
/* unit-cflags: -include tests/hosted/points.h */
/*
 * vCPUs ask for their own memory (get, pin, give back, protect, look) beside guests that use it, a
 * reclaimer, and slots that go and come back. What is protected is not written, what is pinned
 * stays where it is, what went with its slot is pinned no more. R07, R14, R34, R35, R37.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "tests/hosted/machine/machine.h"

#define RAM_PAGES 160
#define BIG_PAGES 1024
#define PINS_MAX  40
#define RUN_MAX	  12 /* pages of one call */

/* Slots by what is done with them. */
enum {
	RAM = 1,  /* protected and given back; at its guards */
	PINNED,	  /* shows other pages of the same object, which are pinned */
	FLEETING, /* pinned without account, and goes */
	BIG,	  /* of 2 MiB pages, protected and given back */
};

#define RAM_BASE      0x400
#define PINNED_BASE   0x600
#define FLEETING_BASE 0x7f8
#define BIG_BASE      0x1000

static struct machine_object *ram, *fleeting, *big;
static struct gmem_account account;

/* Pages of PINNED: whether who took it last pinned it, and where it is then. */
static struct {
	bool taken; /* atomic */
	bool pinned;
	pfn_t pfn;
} pins[RAM_PAGES / 2];

static void show(u32 id, u64 base, u64 pages, u64 first, struct machine_object *o)
{
	struct machine_slot s = {base, pages, first, id, 0, o};

	machine_may_fail(machine_slot_create(&machine.vm[0], &s), 0);
}

static void set_up(u64 *random)
{
	ram = machine_object_new(RAM_PAGES, 0);
	fleeting = machine_object_new(32, 0);
	big = machine_object_new(BIG_PAGES, GMEM_LARGE_ORDER);
	account.pins_max = PINS_MAX;
	gmem_set_account(ram->gmem, &account);
	show(RAM, RAM_BASE, RAM_PAGES / 2, 0, ram);
	show(PINNED, PINNED_BASE, RAM_PAGES / 2, RAM_PAGES / 2, ram);
	show(FLEETING, FLEETING_BASE, 32, 0, fleeting);
	show(BIG, BIG_BASE, BIG_PAGES, 0, big);
	/* Half the runs guard pages of 4 KiB, half those of 2 MiB. */
	machine.vm[0].guard_base = random_below(random, 2) ? RAM_BASE : BIG_BASE;
}

static bool take_pin(u64 page)
{
	return !__atomic_exchange_n(&pins[page].taken, true, __ATOMIC_ACQUIRE);
}

static void give_pin(u64 page)
{
	__atomic_store_n(&pins[page].taken, false, __ATOMIC_RELEASE);
}

/* --- protection ------------------------------------------------------------------------------ */

/* As many guards from `first` on as nobody else has. */
static u64 take_guards(struct machine_vm *vm, u64 first, u64 most)
{
	u64 n = 0;

	while (n < most && machine_take(&vm->guard[first + n]))
		n++;
	return n;
}

static void give_guard(u64 *guard, bool on)
{
	u64 value = __atomic_load_n(guard, __ATOMIC_RELAXED);

	/* From 1 or 3 modulo 4 to 2 or 0. */
	__atomic_store_n(guard, value + (((value + 1) % 4 == 2) == on ? 1 : 3), __ATOMIC_RELAXED);
}

static void protect(struct machine_vm *vm, u64 *random)
{
	u64 first = random_below(random, MACHINE_GUARDS - RUN_MAX), done;
	u64 n = take_guards(vm, first, 1 + random_below(random, RUN_MAX));
	bool on = random_below(random, 2);
	int err = 0;

	if (!n)
		return;
	/* Part of it may be done when memory is short: then once more. */
	do {
		err = mmu_range_protect(&vm->mmu, GFN(vm->guard_base + first), n, on, &done);
	} while (machine_may_fail(err, 0));
	if (done != n)
		machine_fail("%llu of %llu pages protected", (unsigned long long)done,
			     (unsigned long long)n);
	for (u64 i = 0; i < n; i++)
		give_guard(&vm->guard[first + i], on);
}

/* --- giving back ----------------------------------------------------------------------------- */

static void give_back_pages(struct machine_vm *vm, struct machine_object *o, u64 base, u64 first,
			    u64 n)
{
	u64 taken = 0, done;
	int err;

	while (taken < n && machine_drop_begins(&o->page[first + taken]))
		taken++;
	done = 0;
	err = taken ? mmu_range_drop(&vm->mmu, GFN(base + first), taken, &done) : 0;
	/* A page that is protected; one that is pinned, if only by a device for a moment. */
	if (err && err != ERR_PERM && err != ERR_BUSY && err != ERR_ALIGN)
		machine_fail("give back: %s", error_name(err));
	if (!err && done != taken)
		machine_fail("%llu of %llu pages given back", (unsigned long long)done,
			     (unsigned long long)taken);
	for (u64 i = 0; i < taken; i++)
		machine_drop_ended(&o->page[first + i], i < done);
}

static void give_back(struct machine_vm *vm, u64 *random)
{
	u64 first = random_below(random, RAM_PAGES / 2 - RUN_MAX);

	if (random_below(random, 3))
		give_back_pages(vm, ram, RAM_BASE, first, 1 + random_below(random, RUN_MAX));
	else
		give_back_pages(vm, big, BIG_BASE, random_below(random, 2) ? 512 : 10,
				random_below(random, 2) ? 512 : 10);
}

/* --- pins ------------------------------------------------------------------------------------ */

static void check_pin(u64 page)
{
	u64 entry = gmem_entry(ram->gmem, RAM_PAGES / 2 + page);

	if (gmem_entry_state(entry) != GMEM_GOT_PAGE || gmem_entry_pfn(entry).v != pins[page].pfn.v)
		machine_fail("page %llu is pinned and was moved", (unsigned long long)page);
}

static void pin_or_unpin(struct machine_vm *vm, struct mmu_vcpu *v, u64 *random)
{
	u64 page = random_below(random, RAM_PAGES / 2), done;
	gfn_t gfn = GFN(PINNED_BASE + page);
	int err;

	if (!take_pin(page))
		return;
	if (pins[page].pinned) {
		check_pin(page);
		machine_may_fail(mmu_range_unpin(&vm->mmu, gfn, 1, &done), 0);
		pins[page].pinned = false;
	} else {
		err = mmu_range_get(v, gfn, 1, random_below(random, 2), true, &done);
		/* It may be pinned, and not mapped. */
		if (err && err != ERR_NOSPC && err != ERR_AGAIN &&
		    !(err == ERR_NOMEM && machine.failing))
			machine_fail("pin: %s", error_name(err));
		if (err)
			mmu_range_unpin(&vm->mmu, gfn, 1, &done);
		pins[page].pinned = !err;
		pins[page].pfn = gmem_entry_pfn(gmem_entry(ram->gmem, RAM_PAGES / 2 + page));
	}
	give_pin(page);
}

/* In a slot that comes and goes. */
static void pin_fleeting(struct machine_vm *vm, struct mmu_vcpu *v, u64 *random)
{
	gfn_t gfn = GFN(FLEETING_BASE + random_below(random, 28));
	u64 done;
	int err = mmu_range_get(v, gfn, 4, true, true, &done);

	if (err && err != ERR_NOSLOT && err != ERR_AGAIN && !(err == ERR_NOMEM && machine.failing))
		machine_fail("pin: %s", error_name(err));
}

/* --- looking --------------------------------------------------------------------------------- */

static void look(struct machine_vm *vm, u64 *random)
{
	u64 page = random_below(random, RAM_PAGES / 2);
	struct mmu_page_state state;
	bool mine = take_pin(page);
	int err = mmu_page_state(&vm->mmu, GFN(PINNED_BASE + page), &state);

	if (err)
		machine_fail("look: %s", error_name(err));
	if (mine && state.pinned != pins[page].pinned)
		machine_fail("page %llu is said to be %spinned", (unsigned long long)page,
			     state.pinned ? "" : "not ");
	if (mine)
		give_pin(page);
}

static void call(struct machine_vm *vm, struct mmu_vcpu *v, u64 *random)
{
	switch (random_below(random, 6)) {
	case 0:
	case 1:
		protect(vm, random);
		break;
	case 2:
		give_back(vm, random);
		break;
	case 3:
		pin_or_unpin(vm, v, random);
		break;
	case 4:
		pin_fleeting(vm, v, random);
		break;
	default:
		look(vm, random);
	}
}

/* --- beside the calls ------------------------------------------------------------------------ */

static void reclaim(u64 *random)
{
	machine_reclaim(random_below(random, 2) ? ram : fleeting, random);
}

static u32 pins_of(struct machine_object *o)
{
	u32 n;

	spin_lock(&o->gmem->lock);
	n = o->gmem->pins;
	spin_unlock(&o->gmem->lock);
	return n;
}

/* R37: with the slot went its pins, and what may have been written through them is dirty. */
static void replace_slot(u64 *random)
{
	if (machine_may_fail(machine_slot_delete(&machine.vm[0], FLEETING), 0))
		return;
	if (pins_of(fleeting))
		machine_fail("R37: %u pins are left of a slot that went", pins_of(fleeting));
	machine_pause(random);
	while (machine_may_fail(
		machine_slot_create(&machine.vm[0], &(struct machine_slot){FLEETING_BASE, 32, 0,
									   FLEETING, 0, fleeting}),
		0))
		;
}

/* The guest writes pages of 2 MiB again after their protection ended, and large. */
static void age(u64 *random)
{
	machine_age(random_below(random, 2) ? big : ram, random);
}

static const struct machine_scenario scenario = {
	.name = "calls",
	.memory = MIB(32),
	.vms = 1,
	.few_pins = true,
	.guests = 4,
	.accesses = 400,
	.rounds = 120,
	.races_lost = 30,
	.meets = {.invalid = 20, .kicks = 10, .large = 4, .split = 1},
	.set_up = set_up,
	.call = call,
	.jobs = {{"reclaim", reclaim}, {"slot", replace_slot}, {"age", age}},
};

static void guests_that_ask_for_their_memory(void **state)
{
	machine_runs(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_that_ask_for_their_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
