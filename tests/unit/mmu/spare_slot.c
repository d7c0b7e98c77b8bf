/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "tests/unit/mmu/spare_slot.h"

#define AWAY  0x720u /* where it is for a while */
#define PAGES 8u
#define ID    3u

#define relaxed(p)	  __atomic_load_n((p), __ATOMIC_RELAXED)
#define relaxed_set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

static struct machine_object *spare;
static u64 base; /* 0: the slot is not there */

/* What is at SPARE_BASE, in the low bits; above them how often it has changed. Atomic. */
enum {
	NOTHING,
	CHANGING,
	SLOT,
	STATES = 4
};
static u64 state;

static u64 next_state(u64 what)
{
	return align_down(state, STATES) + STATES + what;
}

void spare_slot_start(struct machine_vm *vm)
{
	struct machine_slot s = {SPARE_BASE, PAGES, 0, ID, 0, NULL};

	spare = machine_object_new(PAGES, 0);
	s.object = spare;
	machine_may_fail(machine_slot_create(vm, &s), 0);
	base = SPARE_BASE;
	state = SLOT;
}

void spare_slot_change(struct machine_vm *vm, u64 *random)
{
	struct machine_slot s = {SPARE_BASE, PAGES, 0, ID, 0, spare};
	u64 to = base == SPARE_BASE ? AWAY : SPARE_BASE;
	int err;

	relaxed_set(&state, next_state(CHANGING));
	if (base && random_below(random, 2))
		to = 0;
	if (!base)
		err = machine_slot_create(vm, &s);
	else
		err = to ? machine_slot_move(vm, ID, to) : machine_slot_delete(vm, ID);
	if (!machine_may_fail(err, ERR_NOMEM))
		base = to;
	relaxed_set(&state, next_state(base == SPARE_BASE ? SLOT : NOTHING));
}

void spare_slot_meet(struct machine_vm *vm, struct mmu_vcpu *v, struct machine_touch *t,
		     bool (*is_right)(const void *arg))
{
	u64 before = relaxed(&state), gva = t->gva;
	int err = machine_linear_touch(vm, v, t);
	bool stayed = before == relaxed(&state);

	if (err == ERR_NOMEM && machine.failing)
		return;
	if (err && err != ERR_NOSLOT && err != ERR_NOENT)
		machine_fail("gva %#llx: %s", (unsigned long long)gva, error_name(err));
	if (!err && !is_right(t->arg))
		machine_fail("gva %#llx led to another page", (unsigned long long)gva);
	if (stayed && before % STATES == (err ? SLOT : NOTHING))
		machine_fail("gva %#llx: its slot is %s", (unsigned long long)gva,
			     err ? "there" : "gone");
	__atomic_fetch_add(&machine.accesses, 1, __ATOMIC_RELAXED);
}
