/* SPDX-License-Identifier: MIT */
/* Commands that look at VMs and steer their lives (kernel/vm_life.h). */
#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/base/string.h"
#include "kernel/console.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/pager.h"
#include "kernel/vm_life.h"
#include "smp/thread.h"
#include "smp/timer.h"
#include "vmx/vmx.h"

#define NS_PER_MS 1000000ull
#define MS_PER_S  1000

#define NAME_COLUMNS 23 /* 79 with the others */

/* --- names --- */

static bool is_configured(const char *name)
{
	for (u32 i = 0; console_vm_name(i); i++) {
		if (strcmp(console_vm_name(i), name) == 0)
			return true;
	}
	return false;
}

static void tell_missing(const char *name, bool may_start)
{
	if (vm_is_refused(name))
		monitor_print("vm %s was refused when Weir booted: log tells why", name);
	else if (may_start)
		monitor_print("vm %s does not run yet: it is about to start", name);
	else if (vm_is_spent(name))
		monitor_print("vm %s does not run, nor does it start again, for it has "
			      "modules=release: boot the machine anew, with modules=keep for "
			      "more than one start",
			      name);
	else if (is_configured(name))
		monitor_print("vm %s does not run: vm start %s", name, name);
	else
		monitor_print("no VM is called '%s': vm list lists them", name);
}

struct vm *command_vm_find(const char *name, bool *may_start)
{
	struct vm *vm;

	/* Asked before: it can start in between. And once more: it can end, to start again. */
	*may_start = vm_may_start(name);
	vm = vm_find(name);
	if (!vm && !*may_start)
		*may_start = vm_may_start(name);
	return vm;
}

struct vm *command_vm_get(const char *name)
{
	bool may_start;
	struct vm *vm = command_vm_find(name, &may_start);

	if (!vm)
		tell_missing(name, may_start);
	return vm;
}

/* --- showing --- */

struct seconds_text {
	char text[24];
};

static struct seconds_text seconds(u64 ns)
{
	struct seconds_text t;
	unsigned long long ms = ns / NS_PER_MS;

	snprintf(t.text, sizeof(t.text), "%llu.%03llu", ms / MS_PER_S, ms % MS_PER_S);
	return t;
}

static u64 run_ns(const struct vm *vm)
{
	u64 sum = 0;

	for (u32 i = 0; i < vm->vcpu_count; i++)
		sum += thread_run_ns(vm->vcpus[i]->thread);
	return sum;
}

static const char *state_text(const struct vm *vm)
{
	if (__atomic_load_n(&vm->end, __ATOMIC_ACQUIRE) != VM_END_NONE)
		return "ending";
	if (vm_paused_why(vm) == VM_PAUSED_FOR_MEMORY)
		return "no-mem";
	return vm_is_paused(vm) ? "paused" : "runs";
}

static void print_row(const char *name, const struct vm *vm, bool may_start)
{
	struct size_text resident, mem;

	if (!vm) {
		monitor_print("%-*s %s", NAME_COLUMNS, pager_name(name, NAME_COLUMNS).text,
			      may_start ? "starts" : "off");
		return;
	}
	resident = size_text(__atomic_load_n(&vm->ram->resident, __ATOMIC_RELAXED) << PAGE_SHIFT);
	mem = size_text(vm->config.mem);
	monitor_print("%-*s %-7s %5u %9s of %-6s %10s %10s", NAME_COLUMNS,
		      pager_name(name, NAME_COLUMNS).text, state_text(vm), vm->vcpu_count,
		      resident.text, mem.text, seconds(run_ns(vm)).text,
		      seconds(clock_ns() - vm->start_ns).text);
}

void command_vm_list(u32 argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (!console_vm_name(0)) {
		monitor_print("no VM is configured");
		return;
	}
	monitor_print("%-*s %-7s %5s %9s %9s %10s %10s", NAME_COLUMNS, "VM", "STATE", "VCPUS",
		      "RESIDENT", "OF MEM", "CPU s", "UP s");
	for (u32 i = 0; console_vm_name(i) && !monitor_stopped(); i++) {
		const char *name = console_vm_name(i);
		bool may_start;
		struct vm *vm = command_vm_find(name, &may_start);

		print_row(name, vm, may_start);
		if (vm)
			vm_put(vm);
	}
}

static const char *vcpu_text(const struct vcpu *v)
{
	if (__atomic_load_n(&v->waits_for_sipi, __ATOMIC_RELAXED))
		return "waits for its start-up IPI";
	if (READ_ONCE(v->halted))
		return "halted";
	return READ_ONCE(v->parked) ? "paused" : "not halted";
}

static void print_vcpu(const struct vcpu *v)
{
	const struct vmx_vcpu *vmx = __atomic_load_n(&v->vmx, __ATOMIC_ACQUIRE);
	u64 exits = 0;

	for (u32 i = 0; vmx && i < VMX_EXIT_REASONS; i++)
		exits += vmx_exit_count(vmx, i);
	monitor_print("  vCPU %u: %s, on CPU %u, ran %s s, %llu exits", v->id, vcpu_text(v),
		      v->thread->cpu->id, seconds(thread_run_ns(v->thread)).text,
		      (unsigned long long)exits);
}

static void print_modules(const struct vm *vm)
{
	static const char *const kinds[] = {"kernel", "initrd", "module"};

	monitor_print("  modules=%s on_crash=%s", vm->config.release_modules ? "release" : "keep",
		      vm->config.restart_on_crash ? "restart" : "stop");
	for (u32 i = 0; i < vm->config.module_count; i++) {
		const struct config_module *m = &vm->config.modules[i];

		monitor_print("  %s: %llu bytes%s%.300s", kinds[m->kind],
			      (unsigned long long)m->size, m->cmdline[0] ? ", -- " : "",
			      m->cmdline);
	}
}

static u64 page_bytes(const u64 *pages)
{
	return __atomic_load_n(pages, __ATOMIC_RELAXED) << PAGE_SHIFT;
}

/* Whole KiB, so that it has its unit as the sizes beside it do. */
static u64 packed_bytes(const struct gmem *g)
{
	return align_up(__atomic_load_n(&g->packed_bytes, __ATOMIC_RELAXED), KIB(1));
}

static void print_memory(const struct vm *vm)
{
	const struct gmem *g = vm->ram;
	u64 pages[GMEM_STATES];

	gmem_count_states(g, pages);
	monitor_print("  put away: %s packed to %s, %s one word all over, %s swapped; %s shared",
		      size_text(pages[GMEM_PACKED] << PAGE_SHIFT).text,
		      size_text(packed_bytes(g)).text,
		      size_text(pages[GMEM_FILLED] << PAGE_SHIFT).text,
		      size_text(pages[GMEM_SWAPPED] << PAGE_SHIFT).text,
		      size_text(pages[GMEM_SHARED] << PAGE_SHIFT).text);
	monitor_print(
		"  min=%s max=%s shares=%u, working set %s; %llu pages taken, %llu came back, "
		"%llu of them soon",
		size_text(vm->config.min).text,
		size_text(vm->config.max ? vm->config.max : vm->config.mem).text, vm->config.shares,
		size_text(page_bytes(&vm->reclaim.working_set)).text,
		(unsigned long long)__atomic_load_n(&g->taken, __ATOMIC_RELAXED),
		(unsigned long long)__atomic_load_n(&g->fetched, __ATOMIC_RELAXED),
		(unsigned long long)__atomic_load_n(&g->refaults, __ATOMIC_RELAXED));
	monitor_print("  given back by the guest: %s now, %s in all",
		      size_text(gmem_given_back(g) << PAGE_SHIFT).text,
		      size_text(page_bytes(&g->removed)).text);
}

void command_vm_show(u32 argc, char **argv)
{
	struct vm *vm = command_vm_get(argv[0]);
	struct mmu_stats stats;

	(void)argc;
	if (!vm)
		return;
	mmu_stats_get(&vm->mmu, &stats);
	monitor_print("vm %s: %s, up %s s, ran %s s of CPU time", vm->name, state_text(vm),
		      seconds(clock_ns() - vm->start_ns).text, seconds(run_ns(vm)).text);
	monitor_print(
		"  memory: mem=%s psize=%s rma=%s, %s resident, %s", size_text(vm->config.mem).text,
		size_text(PAGE_SIZE << vm->config.page_order).text, size_text(vm->config.rma).text,
		size_text(__atomic_load_n(&vm->ram->resident, __ATOMIC_RELAXED) << PAGE_SHIFT).text,
		vm->mmu.kind == MMU_SHADOW ? "shadow paging" : "EPT");
	print_memory(vm);
	monitor_print("  faults: %llu, %llu of them a device's; %llu pages are tables",
		      (unsigned long long)stats.faults, (unsigned long long)stats.faults_mmio,
		      (unsigned long long)stats.tables);
	for (u32 i = 0; i < vm->vcpu_count; i++)
		print_vcpu(vm->vcpus[i]);
	print_modules(vm);
	vm_put(vm);
}

/* --- steering --- */

/* What was asked for, or why it could not be. */
static void answer(const struct vm *vm, int err, const char *done)
{
	if (err == ERR_NOENT)
		monitor_print("vm %s has ended meanwhile", vm->name);
	else if (err)
		monitor_print("vm %s: %s", vm->name, error_name(err));
	else
		monitor_print("vm %s %s", vm->name, done);
}

static void steer(const char *name, int (*what)(struct vm *vm), const char *done)
{
	struct vm *vm = command_vm_get(name);

	if (!vm)
		return;
	answer(vm, what(vm), done);
	vm_put(vm);
}

void command_vm_start(u32 argc, char **argv)
{
	int err = vm_start(argv[0]);

	(void)argc;
	if (err == ERR_EXIST)
		monitor_print("vm %s runs already, or is about to", argv[0]);
	else if (err)
		tell_missing(argv[0], false);
	else
		monitor_print("vm %s is about to start", argv[0]);
}

void command_vm_pause(u32 argc, char **argv)
{
	struct vm *vm = command_vm_get(argv[0]);
	bool was;

	(void)argc;
	if (!vm)
		return;
	was = vm_paused_why(vm) & VM_PAUSED_BY_OPERATOR;
	answer(vm, vm_pause(vm), was ? "was paused already" : "is paused");
	vm_put(vm);
}

void command_vm_resume(u32 argc, char **argv)
{
	struct vm *vm = command_vm_get(argv[0]);

	(void)argc;
	if (!vm)
		return;
	if (vm_paused_why(vm) == VM_PAUSED_FOR_MEMORY)
		monitor_print(
			"vm %s is paused for memory, and goes on by itself when there is some",
			vm->name);
	else if (vm_is_paused(vm))
		answer(vm, vm_resume(vm),
		       vm_paused_why(vm) & VM_PAUSED_FOR_MEMORY ? "goes on when there is memory"
								: "goes on");
	else
		monitor_print("vm %s is not paused", vm->name);
	vm_put(vm);
}

void command_vm_reset(u32 argc, char **argv)
{
	struct vm *vm = command_vm_get(argv[0]);
	int err;

	(void)argc;
	if (!vm)
		return;
	err = vm_reset(vm);
	if (err == ERR_PERM)
		monitor_print("vm %s is not reset, for it has modules=release, and it could not "
			      "start: vm off ends it; modules=keep is for VMs that are reset",
			      vm->name);
	else
		answer(vm, err, "is reset");
	vm_put(vm);
}

/*
 * Also one that is about to start: who resets itself at once runs for moments only. One that is there
 * is held from before it is said to stay off, or it would be gone when it is to be told.
 */
static void end(const char *name, int (*what)(struct vm *vm), const char *done)
{
	struct vm *vm;
	int err;

	do {
		vm = vm_find(name);
		err = vm_stay_off(name);
	} while (!vm && err == ERR_EXIST); /* it has just begun, for the last time */
	if (err == 0)
		monitor_print("vm %s was about to start, and stays off", name);
	else if (vm)
		answer(vm, what(vm), done);
	else
		tell_missing(name, false);
	if (vm)
		vm_put(vm);
}

void command_vm_off(u32 argc, char **argv)
{
	(void)argc;
	end(argv[0], vm_power_off, "is switched off");
}

void command_vm_kill(u32 argc, char **argv)
{
	(void)argc;
	end(argv[0], vm_kill, "is killed");
}

void command_vm_nmi(u32 argc, char **argv)
{
	(void)argc;
	steer(argv[0], vm_nmi, "got an NMI");
}

static void dump_memory(struct vm *vm, const char *address, const char *bytes)
{
	u64 gpa, size;
	int err;

	if (!command_number("ADDRESS", address, &gpa) || !command_number("BYTES", bytes, &size))
		return;
	err = vm_dump_memory(vm, gpa, size);
	if (err == ERR_RANGE)
		monitor_print("BYTES is 1 to %u, and no address wraps", VM_DUMP_MAX);
	else if (err == ERR_NOSLOT)
		monitor_print("there is no RAM %s", size > 16 ? "from there on" : "there");
	else if (err)
		answer(vm, err, "");
}

void command_vm_dump(u32 argc, char **argv)
{
	struct vm *vm;

	if (argc == 2) {
		monitor_print("ADDRESS needs BYTES after it");
		return;
	}
	vm = command_vm_get(argv[0]);
	if (!vm)
		return;
	if (argc == 1)
		answer(vm, vm_dump(vm), "is in the log");
	else
		dump_memory(vm, argv[1], argv[2]);
	vm_put(vm);
}
