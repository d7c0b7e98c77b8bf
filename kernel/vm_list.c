/* SPDX-License-Identifier: MIT */
/* The VMs that run, references to them, and which of the configured ones are to start. */
#include "kernel/vm_private.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"

struct wait_queue vm_wait = WAIT_QUEUE_INIT(vm_wait);
/* vm_wait's lock */
static struct list vms = LIST_INIT(vms);
static struct {
	bool may_start; /* the manager starts it, or that is yet to be decided: it has just ended */
	bool start_asked; /* somebody wants it started */
	bool stays_off;	  /* somebody does not: neither now nor once it has ended */
	bool ending;	  /* it is off the list, and being taken apart */
	bool spent;	  /* what it would start from again was released */
} plans[CONFIG_VMS_MAX];  /* by configuration */
static u32 ends;	  /* atomic; written under vm_wait's lock: VMs that have ended */
/* Set once; `refused` of a VM changes under vm_wait's lock. */
static struct weir_config *config;

/* list_for_each_entry would make a struct vm of the head, where none is aligned as one must be. */
#define FOR_EACH_VM(vm)                   \
	for (struct list *at_ = vms.next; \
	     at_ != &vms && (vm = container_of(at_, struct vm, link)) != NULL; at_ = at_->next)

/* --- which run --- */

static int index_of(const char *name)
{
	for (u32 i = 0; config && i < config->vm_count; i++) {
		if (strcmp(config->vms[i].name, name) == 0)
			return (int)i;
	}
	return ERR_NOENT;
}

void vm_list_init(struct weir_config *c)
{
	config = c;
	memset(plans, 0, sizeof(plans));
	for (u32 i = 0; i < c->vm_count; i++)
		plans[i].may_start = !c->vms[i].refused;
}

void vm_refuse_all(void)
{
	bool on = wait_lock(&vm_wait);

	memset(plans, 0, sizeof(plans));
	for (u32 i = 0; i < config->vm_count; i++)
		config->vms[i].refused = true;
	wait_unlock(&vm_wait, on);
}

bool vm_list_add(struct vm *vm)
{
	int i = index_of(vm->name);
	bool on = wait_lock(&vm_wait), wanted = !plans[i].stays_off;

	if (wanted)
		list_add_tail(&vm->link, &vms);
	/* Who asked for it while it was made has it. */
	plans[i].may_start = plans[i].start_asked = plans[i].stays_off = false;
	plans[i].spent = wanted && vm->config.release_modules;
	wait_unlock(&vm_wait, on);
	return wanted;
}

/* vm_wait's lock. */
static bool is_any_ending(void)
{
	for (u32 i = 0; i < CONFIG_VMS_MAX; i++) {
		if (plans[i].ending)
			return true;
	}
	return false;
}

bool vm_list_empty(void)
{
	bool empty, on = wait_lock(&vm_wait);

	empty = list_empty(&vms) && !is_any_ending();
	wait_unlock(&vm_wait, on);
	return empty;
}

static bool all_stopped(const struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		if (!vm->vcpus[i]->stopped)
			return false;
	}
	return true;
}

struct vm *vm_list_take_stopped(u32 *config_index)
{
	struct vm *vm;

	FOR_EACH_VM (vm) {
		if (vm->references || !all_stopped(vm))
			continue;
		list_del(&vm->link);
		*config_index = (u32)index_of(vm->name);
		plans[*config_index].may_start = plans[*config_index].ending = true;
		return vm;
	}
	return NULL;
}

void vm_list_ended(u32 config_index)
{
	bool on = wait_lock(&vm_wait);

	plans[config_index].ending = false;
	vm_ends_hurry_no_more();
	__atomic_store_n(&ends, ends + 1, __ATOMIC_RELEASE);
	wait_wake_all_locked(&vm_wait);
	wait_unlock(&vm_wait, on);
}

u32 vm_list_ends(void)
{
	return __atomic_load_n(&ends, __ATOMIC_ACQUIRE);
}

static bool has_ended(const struct vm *vm)
{
	return __atomic_load_n(&vm->end, __ATOMIC_SEQ_CST) != VM_END_NONE;
}

/* vm_wait's lock. */
static bool is_end_due(void)
{
	struct vm *vm;

	FOR_EACH_VM (vm) {
		if (has_ended(vm))
			return true;
	}
	return is_any_ending();
}

void vm_list_hurry_end(void)
{
	bool on = wait_lock(&vm_wait);

	if (is_end_due())
		vm_ends_hurry();
	wait_unlock(&vm_wait, on);
}

bool vm_list_wait_end(u32 *seen)
{
	bool ended, on = wait_lock(&vm_wait);

	if (ends == *seen && is_end_due())
		vm_ends_hurry();
	wait_unlock(&vm_wait, on);
	wait_event(&vm_wait, ends != *seen || !is_end_due());
	ended = vm_list_ends() != *seen;
	*seen = vm_list_ends();
	return ended;
}

bool vm_list_idle(u32 seen)
{
	bool on = wait_lock(&vm_wait), idle;

	idle = list_empty(&vms) && !is_any_ending() && ends == seen;
	wait_unlock(&vm_wait, on);
	return idle;
}

/* vm_wait's lock. */
static struct vm *find(const char *name)
{
	struct vm *vm;

	FOR_EACH_VM (vm) {
		if (strcmp(vm->name, name) == 0)
			return vm;
	}
	return NULL;
}

struct vm *vm_find(const char *name)
{
	bool on = wait_lock(&vm_wait);
	struct vm *vm = find(name);

	if (vm)
		vm->references++;
	wait_unlock(&vm_wait, on);
	return vm;
}

void vm_put(struct vm *vm)
{
	bool on = wait_lock(&vm_wait), last = --vm->references == 0;

	/* The last one may be what its end waits for: vm is not to be touched after this. */
	wait_unlock(&vm_wait, on);
	if (last)
		vm_ends_wake();
}

u32 vm_list(struct vm **out, u32 max)
{
	bool on = wait_lock(&vm_wait);
	struct vm *vm;
	u32 n = 0;

	FOR_EACH_VM (vm) {
		if (n == max)
			break;
		vm->references++;
		out[n++] = vm;
	}
	wait_unlock(&vm_wait, on);
	return n;
}

/* --- which are to start --- */

int vm_start(const char *name)
{
	int i = index_of(name), err = 0;
	struct vm *vm;
	bool on;

	if (i < 0)
		return i;
	on = wait_lock(&vm_wait);
	vm = find(name);
	if (config->vms[i].refused) {
		err = ERR_PERM;
	} else if ((vm && !has_ended(vm)) || plans[i].start_asked) {
		err = ERR_EXIST;
	} else if (plans[i].spent) {
		err = ERR_PERM;
	} else {
		plans[i].start_asked = true;
		plans[i].stays_off = false;
		plans[i].may_start = !vm; /* else when it is taken off the list */
		if (vm || plans[i].ending)
			vm_ends_hurry();
		wait_wake_all_locked(&vm_wait);
	}
	wait_unlock(&vm_wait, on);
	return err;
}

/* vm_wait's lock. */
static int stay_off(u32 i)
{
	bool runs = find(config->vms[i].name) != NULL;

	if (!runs && !plans[i].may_start)
		return ERR_NOENT;
	plans[i].stays_off = true;
	plans[i].start_asked = false;
	wait_wake_all_locked(&vm_wait);
	return runs ? ERR_EXIST : 0;
}

int vm_stay_off(const char *name)
{
	int i = index_of(name), err;
	bool on;

	if (i < 0)
		return i;
	on = wait_lock(&vm_wait);
	err = stay_off((u32)i);
	wait_unlock(&vm_wait, on);
	return err;
}

bool vm_may_start(const char *name)
{
	int i = index_of(name);
	bool on = wait_lock(&vm_wait), may_start;

	may_start = i >= 0 && plans[i].may_start && !plans[i].stays_off;
	wait_unlock(&vm_wait, on);
	return may_start;
}

bool vm_is_refused(const char *name)
{
	int i = index_of(name);
	bool on = wait_lock(&vm_wait), refused;

	refused = i >= 0 && config->vms[i].refused;
	wait_unlock(&vm_wait, on);
	return refused;
}

bool vm_is_spent(const char *name)
{
	int i = index_of(name);
	bool on = wait_lock(&vm_wait), spent;

	spent = i >= 0 && plans[i].spent;
	wait_unlock(&vm_wait, on);
	return spent;
}

void vm_end_all(void)
{
	struct vm *running[CONFIG_VMS_MAX];
	bool on = wait_lock(&vm_wait);
	u32 n;

	for (u32 i = 0; config && i < config->vm_count; i++)
		(void)stay_off(i); /* where it is off it stays so */
	wait_unlock(&vm_wait, on);
	n = vm_list(running, CONFIG_VMS_MAX);
	for (u32 i = 0; i < n; i++) {
		(void)vm_kill(running[i]); /* it ends already */
		vm_put(running[i]);
	}
}

/* --- for the manager --- */

enum vm_plan vm_take_plan(u32 i)
{
	bool on = wait_lock(&vm_wait);
	enum vm_plan plan = VM_PLAN_NONE;

	if (plans[i].ending || find(config->vms[i].name)) {
		wait_unlock(&vm_wait, on);
		return VM_PLAN_LATER;
	}
	if (plans[i].may_start && plans[i].stays_off)
		plan = VM_PLAN_STAY_OFF;
	else if (plans[i].may_start && plans[i].start_asked)
		plan = VM_PLAN_START;
	if (plan == VM_PLAN_STAY_OFF)
		plans[i].stays_off = plans[i].may_start = false;
	plans[i].start_asked = false;
	wait_unlock(&vm_wait, on);
	return plan;
}

void vm_is_off(u32 i)
{
	bool on = wait_lock(&vm_wait);

	/* Or it is on again, or somebody has just asked for that. */
	plans[i].may_start &= plans[i].start_asked;
	wait_unlock(&vm_wait, on);
}

bool vm_any_plan(void)
{
	for (u32 i = 0; i < CONFIG_VMS_MAX; i++) {
		if (plans[i].may_start && !plans[i].ending &&
		    (plans[i].start_asked || plans[i].stays_off))
			return true;
	}
	return false;
}
