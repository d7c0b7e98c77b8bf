/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "tests/unit/mmu/table_write.h"

#include "tests/hosted/points_off.h"

/* The guest's own instruction, on the live table. */
static void write_live(void *arg, u8 *at)
{
	const struct table_write *w = arg;
	u64 *word = (u64 *)(void *)at, old;

	if (w->add) {
		__atomic_fetch_add(word, w->add, __ATOMIC_SEQ_CST);
		return;
	}
	old = __atomic_load_n(word, __ATOMIC_SEQ_CST);
	if (w->how == EXCHANGED) {
		while (!__atomic_compare_exchange_n(word, &old, w->value, false, __ATOMIC_SEQ_CST,
						    __ATOMIC_SEQ_CST))
			;
	} else {
		__atomic_store_n(word, w->value, __ATOMIC_SEQ_CST);
	}
}

/* The same as kernel/emulation.c does it. */
static int write_for(struct mmu_vm *vm, gpa_t gpa, const struct table_write *w)
{
	u64 old = 0;
	int err;

	if (!w->add && w->how != EXCHANGED)
		return gpa_write(vm, gpa, &w->value, 8);
	err = gpa_read(vm, gpa, &old, 8);
	while (!err) {
		err = gpa_cmpxchg(vm, gpa, 8, &old, w->add ? old + w->add : w->value);
		if (!err)
			return 0;
		err = err == ERR_AGAIN ? 0 : err;
	}
	return err;
}

bool table_write(struct machine_vm *vm, struct mmu_vcpu *v, const struct table_write *w)
{
	struct machine_touch t = {
		.gva = w->gva,
		.access = MMU_WRITE,
		.fn = write_live,
		.arg = (void *)w,
	};
	static _Thread_local u64 at; /* it gets on */
	int err;

	at++;
	machine_linear_user(vm, v, false);
	do {
		err = machine_linear_touch(vm, v, &t);
	} while (err == SHADOW_EMULATE && w->how == NOT_RUN_IN_SOFTWARE &&
		 mmu_shadow_let_write(v, gpa_to_gfn(t.answer.gpa), at) == 0);
	if (err == SHADOW_EMULATE) {
		if (t.answer.gpa.v != w->gpa)
			machine_fail("a write to gpa %#llx is to be done at %#llx",
				     (unsigned long long)w->gpa,
				     (unsigned long long)t.answer.gpa.v);
		err = write_for(&vm->mmu, t.answer.gpa, w);
	}
	if (err && err != ERR_FAULT && (err != ERR_NOMEM || !machine.failing))
		machine_fail("a table is not written: %s", error_name(err));
	return !err;
}
