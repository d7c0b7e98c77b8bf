/* SPDX-License-Identifier: MIT */
/* The manager: which VMs start when, and what follows their ends. */
#include "kernel/vm_private.h"
#include "kernel/console.h"
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "kernel/dev/platform.h"
#include "kernel/guest/image.h"
#include "mem/frame.h"
#include "mem/swap.h"

#define LOADER_MESSAGE_MAX 256
#define START_TRIES	   64u

static struct restart restarts[CONFIG_VMS_MAX]; /* by configuration; manager's thread only */

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
		log_error("vm %s: not started: %s, %llu frames are free: give it less mem=, or "
			  "the machine more memory",
			  config->name, error_name(err), (unsigned long long)frames_now().free);
}

/* Whether a VM that was reset has to wait for memory; and to say so once. */
static bool must_wait(const struct vm_config *config, struct restart *restart, int err)
{
	if (!restart->pending || err != ERR_NOMEM)
		return false;
	if (restart_put_off(restart, clock_ns()))
		log_warn("vm %s: waits for memory to start again, %llu frames are free: end "
			 "another VM, or start with less mem= in all",
			 config->name, (unsigned long long)frames_now().free);
	return true;
}

static void start_vm(const struct vm_config *config, struct restart *restart)
{
	static char message[LOADER_MESSAGE_MAX];
	u32 tries = 0;
	struct vm *vm;
	int err;

	/* Others' pages are taken for it as long as memory is short, if there are some to be taken. */
	do {
		message[0] = 0;
		err = vm_make(config, restart, &vm, message, sizeof(message));
	} while (err == ERR_NOMEM && !message[0] && ++tries < START_TRIES &&
		 reclaim_help(NULL, GMEM_LARGE_ORDER));
	if (!err) {
		stats_vm_add(vm);
		if (restart_is_loud(restart))
			log_start(vm);
		restart_done(restart);
		vm_list_add(vm);
		vm_let_go(vm);
		return;
	}
	if (must_wait(config, restart, err))
		return;
	restart_done(restart);
	log_no_start(config, err, message);
}

/* --- the end of one --- */

static const char *end_text(enum vm_end end)
{
	switch (end) {
	case VM_END_POWEROFF:
		return "powered off";
	case VM_END_RESET:
		return "reset";
	case VM_END_CRASH:
		return "crashed";
	case VM_END_DEBUG_EXIT:
		return "left by debug exit";
	case VM_END_KILLED:
		return "killed";
	case VM_END_NONE:
		break;
	}
	return "ended";
}

static void log_end(struct vm *vm)
{
	u64 ms = (clock_ns() - vm->start_ns) / 1000000;
	u64 pages_per_mib = MIB(1) / PAGE_SIZE;
	struct mmu_stats stats;

	mmu_stats_get(&vm->mmu, &stats);
	if (vm->end == VM_END_DEBUG_EXIT)
		log_info("vm %s: debug exit code %u", vm->name, vm->end_code);
	log_info("vm %s: memory: %llu MiB of %llu MiB touched, %llu faults, %llu to devices",
		 vm->name,
		 (unsigned long long)((gmem_touched_peak(vm->ram) + pages_per_mib - 1) /
				      pages_per_mib),
		 (unsigned long long)(vm->config.mem >> 20), (unsigned long long)stats.faults,
		 (unsigned long long)stats.faults_mmio);
	log_info("vm %s: %s after %llu.%03llu s", vm->name, end_text(vm->end),
		 (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000));
}

/* A reset is the guest's to ask for; a crash starts it again where its configuration says so. */
static bool starts_again(struct vm *vm)
{
	u64 now = clock_ns(), ran = now - vm->start_ns;

	if (vm->end == VM_END_RESET) {
		restart_ask(vm->restart, now, ran);
		return true;
	}
	if (vm->end != VM_END_CRASH || !vm->config.restart_on_crash)
		return false;
	if (restart_ask_after_crash(vm->restart, now, ran))
		return true;
	log_error("vm %s: crashed %u times in a row: it is not started again", vm->name,
		  RESTART_CRASHES_MAX + 1);
	return false;
}

/*
 * It is off the list, no vCPU of it is in the guest. Devices and console go first, while the vCPUs that their timers
 * and interrupts may still reach exist; then the threads take the vCPUs apart.
 */
static void reap(struct vm *vm)
{
	bool on, again = starts_again(vm);

	if (!again || restart_is_loud(vm->restart))
		log_end(vm);
	/* A guest may reset itself as often as it likes: that fills no log. */
	if (!again)
		stats_log_vm(vm);
	stats_vm_remove(vm);
	platform_console_flush(vm->platform);
	console_vm_remove(vm);
	for (u32 i = 0; i < vm->vcpu_count; i++)
		platform_vcpu_destroy(vm->vcpus[i]);
	platform_destroy(vm->platform);
	vm->platform = NULL;
	on = wait_lock(&vm_wait);
	for (u32 i = 0; i < vm->vcpu_count; i++)
		vm->vcpus[i]->released = true;
	wait_unlock(&vm_wait, on);
	wait_wake_all(&vm_wait);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		thread_join(vm->vcpus[i]->thread);
		vm->vcpus[i]->lapic = NULL;
	}
	vm_unmake(vm);
}

/* Starts what is due, and is still wanted. Returns when to look again, if nothing else happens; ~0: never. */
static u64 start_due(struct weir_config *config)
{
	u64 next = ~0ull;

	for (u32 i = 0; i < config->vm_count; i++) {
		enum vm_plan plan = vm_take_plan(i);

		if (plan == VM_PLAN_STAY_OFF && restarts[i].pending) {
			log_info("vm %s: stays off", config->vms[i].name);
			restart_done(&restarts[i]);
		}
		if (plan == VM_PLAN_START)
			restart_by_hand(&restarts[i]);
		if (plan == VM_PLAN_START || restart_is_due(&restarts[i], clock_ns()))
			start_vm(&config->vms[i], &restarts[i]);
		if (restarts[i].pending)
			next = min(next, restarts[i].due_ns);
		else
			vm_is_off(i);
	}
	return next;
}

/* Something to do: a VM to take apart, or (with NULL) one to start. */
static struct vm *wait_for_work(u64 until_ns)
{
	struct vm *vm = NULL;

	if (until_ns == ~0ull)
		wait_event(&vm_wait, (vm = vm_list_take_stopped()) != NULL || vm_any_plan());
	else
		(void)wait_event_until(
			&vm_wait, (vm = vm_list_take_stopped()) != NULL || vm_any_plan(), until_ns);
	return vm;
}

static void run_until_none_is_left(struct weir_config *config)
{
	u64 next = start_due(config);
	struct vm *vm;

	while (!vm_list_empty() || next != ~0ull) {
		vm = wait_for_work(next);
		if (vm)
			reap(vm);
		next = start_due(config);
	}
}

void vm_run_all(struct weir_config *config)
{
	u64 free_before;

	images_start(config);
	free_before = frames_now().free;
	vm_list_init(config);
	for (u32 i = 0; i < config->vm_count; i++) {
		struct vm_config *c = &config->vms[i];

		if (c->refused)
			log_error("vm %s: not started: %s", c->name, c->message);
		else if (vm_take_plan(i) != VM_PLAN_STAY_OFF)
			start_vm(c, &restarts[i]);
	}
	run_until_none_is_left(config);
	images_bring_back(swap_audit);
	stats_log_weir();
	log_info("all VMs have ended: %llu frames free, %llu before the first",
		 (unsigned long long)frames_now().free, (unsigned long long)free_before);
}

void vm_run_asked(struct weir_config *config, bool (*until)(void))
{
	while (!until()) {
		wait_event(&vm_wait, vm_any_plan() || until());
		run_until_none_is_left(config);
	}
}

void vm_wake_manager(void)
{
	wait_wake_all(&vm_wait);
}
