/* SPDX-License-Identifier: MIT */
/*
 * What follows the end of a VM, on a thread of its own: what the manager waits for while it starts one,
 * memory or the disk, may be just what another that has ended still has.
 */
#include "kernel/vm_private.h"
#include "kernel/console.h"
#include "kernel/vcpu.h"

#include "kernel/base/log.h"
#include "kernel/dev/platform.h"
#include "smp/lift.h"

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
	case VM_END_SWITCHED_OFF:
		return "switched off";
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
	log_info("vm %s: memory: at most %llu MiB of %llu MiB in RAM, %llu faults, %llu to devices",
		 vm->name,
		 (unsigned long long)((gmem_resident_peak(vm->ram) + pages_per_mib - 1) /
				      pages_per_mib),
		 (unsigned long long)(vm->config.mem >> 20), (unsigned long long)stats.faults,
		 (unsigned long long)stats.faults_mmio);
	log_info("vm %s: %s after %llu.%03llu s", vm->name, end_text(vm->end),
		 (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000));
}

/* A reset is the guest's to ask for; a crash starts it again where its configuration says so. */
static bool starts_again(struct vm *vm)
{
	/* Without the load, which may take longer than any guest; and the clock was another CPU's. */
	u64 now = clock_ns(), ran = now - min(vm->let_go_ns, now);

	if (vm->end == VM_END_RESET && vm->config.release_modules) {
		log_warn("vm %s: not started again: it has modules=release: to have it start "
			 "anew boot the machine, with modules=keep if it resets itself",
			 vm->name);
		return false;
	}
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

static struct thread *thread; /* for good; the manager's */
static struct lift ends_lift;

void vm_ends_hurry(void)
{
	lift_begin(&ends_lift);
}

void vm_ends_hurry_no_more(void)
{
	ASSERT(spin_held(&vm_wait.lock));
	lift_end(&ends_lift);
}

/*
 * No vCPU of it is in the guest. Devices and console go first, while the vCPUs that their timers
 * and interrupts may still reach exist; then the threads take the vCPUs apart.
 */
static void take_apart(struct vm *vm, u32 config_index)
{
	bool on, again = starts_again(vm);

	/* It is off from now on for whoever asks, and not when it is gone, which may take seconds. */
	if (!again)
		vm_is_off(config_index);
	/* Else nobody waits for what it leaves, until he says so. */
	if (again || reclaim_is_short())
		vm_ends_hurry();
	if (!again || restart_is_loud(vm->restart))
		log_end(vm);
	/* A guest may reset itself as often as it likes: that fills no log. */
	if (!again)
		stats_log_vm(vm);
	stats_vm_remove(vm);
	platform_console_flush(vm->platform);
	console_vm_remove(vm, end_text(vm->end));
	if (!again)
		console_vm_is_off(vm->name);
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

static struct wait_queue ends_wait = WAIT_QUEUE_INIT(ends_wait);
static bool woken; /* atomic */

void vm_ends_wake(void)
{
	__atomic_store_n(&woken, true, __ATOMIC_SEQ_CST);
	wait_wake_all(&ends_wait);
}

static struct vm *take_stopped(u32 *config_index)
{
	bool on = wait_lock(&vm_wait);
	struct vm *vm = vm_list_take_stopped(config_index);

	wait_unlock(&vm_wait, on);
	return vm;
}

static void look_after_ends(void *arg)
{
	struct vm *vm;
	u32 index;

	(void)arg;
	for (;;) {
		wait_event(&ends_wait, __atomic_exchange_n(&woken, false, __ATOMIC_SEQ_CST));
		while ((vm = take_stopped(&index)) != NULL) {
			take_apart(vm, index);
			vm_list_ended(index);
		}
	}
}

int vm_ends_start(void)
{
	struct thread_options options = {.weight = WEIGHT_DAEMON};
	int err;

	if (thread)
		return 0;
	cpu_set_fill(&options.allowed);
	err = thread_create_with(&thread, "vm ends", look_after_ends, NULL, &options);
	if (!err)
		lift_init(&ends_lift, thread);
	return err;
}
