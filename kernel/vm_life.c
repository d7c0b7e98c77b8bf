/* SPDX-License-Identifier: MIT */
#include "kernel/vm_private.h"
#include "kernel/vcpu.h"
#include "kernel/vm_memory.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/dev/platform.h"
#include "smp/timer.h"

#define DUMP_LINE 8 /* bytes: its line fits 80 columns with what stands before it in the log */

void vm_life_init_vm(struct vm *vm)
{
	wait_queue_init(&vm->life);
	mutex_init(&vm->dump_lock, "vm dump", LOCK_VM_DUMP);
}

static bool has_ended(const struct vm *vm)
{
	return __atomic_load_n(&vm->end, __ATOMIC_SEQ_CST) != VM_END_NONE;
}

/* --- who waits for its vCPUs --- */

/*
 * Somebody waits until v has done what it is asked for: however little its VM weighs that is not after a
 * turn of its own. Nobody else has less by it: vcpu_attend's moment, or a guest's last, is all that it runs.
 * vm->life's lock.
 */
static void hurry(struct vcpu *v, enum hurry how)
{
	v->hurried++;
	thread_hurry(v->thread, how);
}

/* Likewise. What it is asked for it has done, but not what it was asked for since it last looked. */
static void hurry_no_more(struct vcpu *v)
{
	const struct vm *vm = v->vm;

	if (!has_ended(vm) && (v->dump_asked || (vm->paused && !v->parked)))
		return;
	for (; v->hurried; v->hurried--)
		thread_hurry_no_more(v->thread);
}

/* --- pause --- */

u32 vm_paused_why(const struct vm *vm)
{
	return __atomic_load_n(&vm->paused, __ATOMIC_SEQ_CST);
}

bool vm_is_paused(const struct vm *vm)
{
	return vm_paused_why(vm) != 0;
}

/* vm->life's lock. */
static bool all_parked(const struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		if (!vm->vcpus[i]->parked)
			return false;
	}
	return true;
}

void vm_set_paused(struct vm *vm, u32 on, u32 off)
{
	bool irqs_on = wait_lock(&vm->life);
	u32 before = vm->paused, after = (before | on) & ~off;

	__atomic_store_n(&vm->paused, after, __ATOMIC_SEQ_CST);
	/*
	 * Asked first: who is hurried does not enter the guest. A guest may have it paused for memory, again
	 * and again.
	 */
	for (u32 i = 0; on && i < vm->vcpu_count; i++) {
		vcpu_request(vm->vcpus[i], VCPU_REQ_LIFE);
		if (!vm->vcpus[i]->parked)
			hurry(vm->vcpus[i],
			      on & VM_PAUSED_BY_OPERATOR ? HURRY_UNTIL_DONE : HURRY_A_WHILE);
	}
	wait_wake_all_locked(&vm->life);
	wait_unlock(&vm->life, irqs_on);
	if (before && !after)
		platform_resume(vm->platform);
}

int vm_pause(struct vm *vm)
{
	vm_set_paused(vm, VM_PAUSED_BY_OPERATOR, 0);
	wait_event(&vm->life, has_ended(vm) || !vm->paused || all_parked(vm));
	return has_ended(vm) ? ERR_NOENT : 0;
}

int vm_resume(struct vm *vm)
{
	if (has_ended(vm))
		return ERR_NOENT;
	vm_set_paused(vm, 0, VM_PAUSED_BY_OPERATOR);
	return 0;
}

/* --- on the vCPU's thread --- */

static void dump_if_asked(struct vcpu *v)
{
	struct vm *vm = v->vm;
	bool on;

	if (!__atomic_load_n(&v->dump_asked, __ATOMIC_SEQ_CST))
		return;
	log_info("vm %s: vCPU %u%s", vm->name, v->id, v->halted ? ", halted" : "");
	vmx_vcpu_dump(v->vmx);
	on = wait_lock(&vm->life);
	v->dump_asked = false;
	wait_wake_all_locked(&vm->life);
	wait_unlock(&vm->life, on);
}

/* Parks until something changes; or for a while, who has to look for memory. */
static void park(struct vcpu *v)
{
	struct vm *vm = v->vm;
	bool on = wait_lock(&vm->life);
	u64 until = clock_ns() + VM_MEMORY_LOOK_NS;

	v->parked = true;
	hurry_no_more(v);
	wait_wake_all_locked(&vm->life);
	while (vm->paused && !has_ended(vm) && !v->dump_asked) {
		if (v->id || !(vm->paused & VM_PAUSED_FOR_MEMORY))
			wait_sleep(&vm->life, &on);
		else if (!wait_sleep_until(&vm->life, &on, until))
			break;
	}
	v->parked = false;
	wait_unlock(&vm->life, on);
}

void vcpu_attend(struct vcpu *v)
{
	struct vm *vm = v->vm;
	bool on;

	dump_if_asked(v);
	while (vm_is_paused(vm) && !has_ended(vm)) {
		park(v);
		v->was_paused = true;
		if (v->id == 0 && (vm_paused_why(vm) & VM_PAUSED_FOR_MEMORY))
			vm_look_for_memory(vm);
		dump_if_asked(v);
	}
	/* Shown; or resumed before it was parked. */
	on = wait_lock(&vm->life);
	hurry_no_more(v);
	wait_unlock(&vm->life, on);
}

/* --- end --- */

static_assert(offsetof(struct vm, end_code) == offsetof(struct vm, end) + 4, "one word");

/* For good: from here on it runs what takes it apart, once others have let it. */
static void hurry_to_end(struct vm *vm, enum hurry how)
{
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		if (vm->vcpus[i] && vm->vcpus[i]->thread)
			thread_hurry(vm->vcpus[i]->thread, how);
	}
}

bool vm_request_end(struct vm *vm, enum vm_end cause, u32 code)
{
	u64 none = VM_END_NONE;

	/* Together: every vCPU may have stopped, and the manager looked, before a second store. */
	if (!__atomic_compare_exchange_n(&vm->end_and_code, &none, (u64)code << 32 | cause, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		if (vm->vcpus[i])
			vcpu_request(vm->vcpus[i], VCPU_REQ_STOP);
	}
	hurry_to_end(vm, HURRY_A_WHILE);
	wait_wake_all(&vm->life);
	return true;
}

void vm_vcpu_stopped(struct vcpu *v)
{
	bool on = wait_lock(&vm_wait);

	v->stopped = true;
	wait_unlock(&vm_wait, on);
	vm_ends_wake();
	wait_event(&vm_wait, v->released);
}

/* Whoever ended it, the operator waits for it now. */
static int ask_end(struct vm *vm, enum vm_end cause)
{
	bool first = vm_request_end(vm, cause, 0);

	hurry_to_end(vm, HURRY_UNTIL_DONE);
	return first ? 0 : ERR_NOENT;
}

int vm_reset(struct vm *vm)
{
	if (vm->config.release_modules)
		return ERR_PERM;
	return ask_end(vm, VM_END_RESET);
}

int vm_power_off(struct vm *vm)
{
	return ask_end(vm, VM_END_SWITCHED_OFF);
}

int vm_kill(struct vm *vm)
{
	return ask_end(vm, VM_END_KILLED);
}

/* --- NMI and dump --- */

int vm_nmi(struct vm *vm)
{
	if (has_ended(vm))
		return ERR_NOENT;
	platform_nmi(vm->platform);
	return 0;
}

static void dump_vcpu(struct vcpu *v)
{
	struct vm *vm = v->vm;
	bool on = wait_lock(&vm->life);

	v->dump_asked = true;
	vcpu_request(v, VCPU_REQ_LIFE);
	hurry(v, HURRY_UNTIL_DONE);
	wait_wake_all_locked(&vm->life);
	wait_unlock(&vm->life, on);
	wait_event(&vm->life, has_ended(vm) || !v->dump_asked);
}

/* One after the other: lines of several do not mix. */
int vm_dump(struct vm *vm)
{
	mutex_lock(&vm->dump_lock);
	for (u32 i = 0; i < vm->vcpu_count && !has_ended(vm); i++)
		dump_vcpu(vm->vcpus[i]);
	mutex_unlock(&vm->dump_lock);
	return has_ended(vm) ? ERR_NOENT : 0;
}

static void dump_line(u64 gpa, const u8 *bytes, u32 count)
{
	char hex[3 * DUMP_LINE + 1], text[DUMP_LINE + 1];
	u32 at = 0;

	for (u32 i = 0; i < count; i++) {
		at += (u32)snprintf(hex + at, sizeof(hex) - at, "%02x ", bytes[i]);
		text[i] = bytes[i] >= ' ' && bytes[i] < 0x7f ? (char)bytes[i] : '.';
	}
	text[count] = 0;
	log_info("  %012llx  %-24s %s", (unsigned long long)gpa, hex, text);
}

int vm_dump_memory(struct vm *vm, u64 gpa, u64 size)
{
	u8 bytes[DUMP_LINE];
	int err = 0;

	if (!size || size > VM_DUMP_MAX || gpa + size < gpa)
		return ERR_RANGE;
	mutex_lock(&vm->dump_lock);
	for (u64 at = 0; at < size && !err; at += DUMP_LINE) {
		u32 count = (u32)min(size - at, (u64)DUMP_LINE);

		err = gpa_read(&vm->mmu, GPA(gpa + at), bytes, count);
		if (!err && !at)
			log_info("vm %s: memory", vm->name);
		if (!err)
			dump_line(gpa + at, bytes, count);
	}
	mutex_unlock(&vm->dump_lock);
	return err;
}
