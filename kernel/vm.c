/* SPDX-License-Identifier: MIT */
/* The manager: which VMs start when, and again. */
#include "kernel/vm_private.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "kernel/guest/image.h"
#include "mem/audit.h"
#include "mem/frame.h"

#define LOADER_MESSAGE_MAX 256

/* By configuration. The manager's; while its VM is taken apart, the thread's that does that. */
static struct restart restarts[CONFIG_VMS_MAX];

static struct frame_stats frames_now(void)
{
	struct frame_stats s;

	frame_get_stats(&s);
	return s;
}

/* --- starting one --- */

static void log_start(const struct vm *vm)
{
	log_info("vm %s: started: %llu MiB%s, %u vCPU, %s", vm->name,
		 (unsigned long long)(vm->config.mem >> 20),
		 vm->config.page_order ? " in pages of 2 MiB" : "", vm->vcpu_count,
		 vm->mmu.kind == MMU_SHADOW ? "shadow paging" : "EPT");
}

static void log_no_start(const struct vm_config *config, int err, const char *message)
{
	if (message[0])
		log_error("vm %s: not started: %s", config->name, message);
	else
		log_error("vm %s: not started: %s, %s: give it less mem=, or the machine more "
			  "memory",
			  config->name, error_name(err), reclaim_free_text().text);
}

/* Whether a VM that was reset has to wait for memory; and to say so once. */
static bool must_wait(const struct vm_config *config, struct restart *restart, int err)
{
	if (!restart->pending || err != ERR_NOMEM)
		return false;
	if (restart_put_off(restart, clock_ns()))
		log_warn("vm %s: waits for memory to start again, %s: end another VM, or start "
			 "with less mem= in all",
			 config->name, reclaim_free_text().text);
	return true;
}

/* What it was loaded from, as far as no other VM starts from it. */
static void release_modules(const struct vm_config *config)
{
	u64 freed = images_release(config);

	if (freed)
		log_info("vm %s: released %llu KiB of modules that no VM starts from any more",
			 config->name, (unsigned long long)(freed >> 10));
}

/*
 * Others' pages are taken for one that starts as long as memory is short, if there are some to be taken,
 * or what one leaves that ends: also what it was promised. A load that says what it found no memory for
 * has had taken what could be.
 */
static bool may_find_memory(int err, const char *message, u32 *ends)
{
	if (err != ERR_NOMEM && err != ERR_NOSPC)
		return false;
	if (err == ERR_NOMEM && !message[0] && reclaim_help(NULL, GMEM_LARGE_ORDER))
		return true;
	return vm_list_wait_end(ends);
}

/* Whether it did. From then on the restart is not the manager's any more: it may have ended already. */
static bool start_vm(const struct vm_config *config, struct restart *restart)
{
	static char message[LOADER_MESSAGE_MAX];
	u32 tries = 0, ends = vm_list_ends();
	struct vm *vm;
	int err;

	do {
		message[0] = 0;
		err = vm_ends_start(); /* or nobody would take it apart */
		if (!err)
			err = vm_make(config, restart, &vm, message, sizeof(message));
	} while (err && ++tries < VM_START_TRIES && vm_may_start(config->name) &&
		 may_find_memory(err, message, &ends));
	if (!err && vm_list_add(vm)) {
		stats_vm_add(vm);
		if (restart_is_loud(restart))
			log_start(vm);
		restart_done(restart);
		if (config->release_modules)
			release_modules(config);
		vm_let_go(vm);
		return true;
	}
	if (!err || !vm_may_start(config->name)) {
		if (!err)
			vm_discard(vm);
		restart_done(restart);
		log_info("vm %s: stays off", config->name);
		return false;
	}
	if (must_wait(config, restart, err))
		return false;
	restart_done(restart);
	log_no_start(config, err, message);
	return false;
}

/* --- all of them --- */

/* Starts what is due, and is still wanted. Returns when to look again, if nothing else happens; ~0: never. */
static u64 start_due(struct weir_config *config)
{
	u64 next = ~0ull;

	for (u32 i = 0; i < config->vm_count; i++) {
		enum vm_plan plan = vm_take_plan(i);

		if (plan == VM_PLAN_LATER)
			continue; /* the end of its end wakes us */
		if (plan == VM_PLAN_STAY_OFF && restarts[i].pending) {
			log_info("vm %s: stays off", config->vms[i].name);
			restart_done(&restarts[i]);
		}
		if (plan == VM_PLAN_START)
			restart_by_hand(&restarts[i]);
		if ((plan == VM_PLAN_START || restart_is_due(&restarts[i], clock_ns())) &&
		    start_vm(&config->vms[i], &restarts[i]))
			continue;
		if (restarts[i].pending)
			next = min(next, restarts[i].due_ns);
		else
			vm_is_off(i);
	}
	return next;
}

static bool has_work(u32 ends)
{
	return vm_list_ends() != ends || vm_any_plan();
}

static void wait_for_work(u64 until_ns, u32 ends)
{
	if (until_ns == ~0ull)
		wait_event(&vm_wait, has_work(ends));
	else
		(void)wait_event_until(&vm_wait, has_work(ends), until_ns);
}

/* An end that comes while it looks may have left something to start. */
static void run_until_none_is_left(struct weir_config *config)
{
	u32 ends = vm_list_ends();
	u64 next = start_due(config);

	while (next != ~0ull || !vm_list_idle(ends)) {
		wait_for_work(next, ends);
		ends = vm_list_ends();
		next = start_due(config);
	}
}

static void audit(void)
{
	mem_audit(images_pages());
}

void vm_run_all(struct weir_config *config, bool (*is_decided)(void))
{
	u64 free_before;

	images_start(config);
	(void)vm_ends_start(); /* tried again for each VM */
	free_before = frames_now().free;
	mem_audit_begin();
	for (u32 i = 0; i < config->vm_count; i++) {
		struct vm_config *c = &config->vms[i];

		if (c->refused)
			log_error("vm %s: not started: %s", c->name, c->message);
		else if (vm_take_plan(i) == VM_PLAN_STAY_OFF)
			log_info("vm %s: stays off", c->name);
		else
			(void)start_vm(c, &restarts[i]);
	}
	run_until_none_is_left(config);
	images_bring_back(audit, is_decided);
	stats_log_weir();
	log_info("all VMs have ended: %llu frames free, %llu before the first",
		 (unsigned long long)frames_now().free, (unsigned long long)free_before);
}

/* Whoever was told that a VM starts has it started first. */
static bool is_done(bool (*until)(void))
{
	bool on = wait_lock(&vm_wait), done = until() && !vm_any_plan();

	wait_unlock(&vm_wait, on);
	return done;
}

void vm_run_asked(struct weir_config *config, bool (*until)(void))
{
	while (!is_done(until)) {
		wait_event(&vm_wait, vm_any_plan() || until());
		run_until_none_is_left(config);
	}
}

void vm_wake_manager(void)
{
	wait_wake_all(&vm_wait);
}
