/* SPDX-License-Identifier: MIT */
/* A VM's parts: made in their order, the loader last, and taken apart again. Threads: kernel/vm_private.h. */
#include "kernel/admission.h"
#include "kernel/apic_page.h"
#include "kernel/config_cpus.h"
#include "kernel/console.h"
#include "kernel/rma.h"
#include "kernel/vcpu.h"
#include "kernel/vm_private.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/base/string.h"
#include "kernel/base/trace.h"
#include "kernel/dev/platform.h"
#include "kernel/guest/loader.h"
#include "mem/slab.h"

/* The VM's memslots. */
enum {
	SLOT_LOW,
	SLOT_MAIN,
	SLOT_HIGH,
	SLOT_APIC, /* the APIC-access page */
};

/* A part of RAM: bytes [from, from + size) of it at gpa. Refused sizes are told in message. */
static int map_part(struct vm *vm, u32 id, u64 gpa, u64 size, u64 from, char *message,
		    size_t message_size)
{
	int err = memslot_create(&vm->mmu, id, GFN(gpa >> PAGE_SHIFT), size >> PAGE_SHIFT, vm->ram,
				 from >> PAGE_SHIFT, 0);

	if (err == ERR_RANGE)
		snprintf(message, message_size,
			 "mem=%s: %s of it would be at guest address 0x%llx, which is more than "
			 "this CPU can address: give less mem=",
			 size_text(vm->config.mem).text, size_text(size).text,
			 (unsigned long long)gpa);
	else if (err == ERR_ALIGN)
		snprintf(message, message_size,
			 "psize=%s: %s of RAM from byte 0x%llx on cannot be at guest address "
			 "0x%llx, elsewhere in their page: give psize=4K",
			 size_text(PAGE_SIZE << vm->config.page_order).text, size_text(size).text,
			 (unsigned long long)from, (unsigned long long)gpa);
	return err;
}

/* Each part is where it is in its 2 MiB of RAM too, as psize=2M wants it. */
static_assert(GUEST_LOWMEM_TOP % MIB(2) == 0 && GUEST_HIGH_BASE % MIB(2) == 0, "psize=2M");

static int map_ram(struct vm *vm, char *message, size_t size)
{
	u64 mem = vm->config.mem;
	u64 low = min(mem, (u64)GUEST_LOWMEM_TOP);
	int err;

	err = map_part(vm, SLOT_LOW, 0, GUEST_LEGACY_HOLE, 0, message, size);
	if (!err)
		err = map_part(vm, SLOT_MAIN, GUEST_BIOS_AREA, low - GUEST_BIOS_AREA,
			       GUEST_BIOS_AREA, message, size);
	if (!err && mem > low)
		err = map_part(vm, SLOT_HIGH, GUEST_HIGH_BASE, mem - low, low, message, size);
	return err;
}

static void destroy_vcpus(struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *v = vm->vcpus[i];

		if (!v)
			continue;
		if (v->lapic)
			platform_vcpu_destroy(v);
		kfree(v);
		vm->vcpus[i] = NULL;
	}
}

static int create_vcpus(struct vm *vm)
{
	for (u32 i = 0; i < vm->config.vcpus; i++) {
		struct vcpu *v = kmalloc(sizeof(*v));
		int err;

		if (!v)
			return ERR_NOMEM;
		v->vm = vm;
		v->id = i;
		vm->vcpus[i] = v;
		vm->vcpu_count = i + 1;
		err = platform_vcpu_create(v);
		if (err)
			return err;
	}
	return 0;
}

/* Whoever touched it goes no further than that: none of its vCPUs runs without the page. */
static void page_lost(void *arg, u64 index, u64 block, int err)
{
	const u64 low = GUEST_LOWMEM_TOP >> PAGE_SHIFT, high = GUEST_HIGH_BASE >> PAGE_SHIFT;
	struct vm *vm = arg;

	if (vm_request_end(vm, VM_END_CRASH, 0))
		log_error("vm %s: its page at gfn %#llx cannot be had from block %llu of the swap "
			  "disk: %s: it ends",
			  vm->name, (unsigned long long)(index < low ? index : index - low + high),
			  (unsigned long long)block,
			  err == ERR_CORRUPT ? "not what was written" : error_name(err));
}

static int create_ram(struct vm *vm, char *message, size_t size)
{
	int err = gmem_create_order(vm->config.mem >> PAGE_SHIFT, vm->config.page_order, &vm->ram);

	if (err)
		return err;
	vm->pins.pins_max = VM_PINS_MAX;
	gmem_set_account(vm->ram, &vm->pins);
	gmem_set_share_group(vm->ram, vm->config.share_group);
	gmem_on_lost(vm->ram, page_lost, vm);
	return vm_rma_create(vm, message, size);
}

static int create_mmu(struct vm *vm, char *message, size_t size)
{
	static const enum mmu_kind kinds[] = {
		[CONFIG_MMU_AUTO] = MMU_AUTO,
		[CONFIG_MMU_EPT] = MMU_EPT,
		[CONFIG_MMU_SHADOW] = MMU_SHADOW,
	};
	int err = mmu_vm_create(&vm->mmu, kinds[vm->config.mmu]);

	if (err == ERR_NOTSUP)
		snprintf(message, size, "mmu=ept: this CPU has no EPT: leave the word out");
	if (err)
		return err;
	vm->mmu_made = true;
	return 0;
}

/* Everything but the threads. On error what was made stays, for destroy_parts. */
static int create_parts(struct vm *vm, char *message, size_t size)
{
	struct reclaim_terms terms;
	int err;

	err = vm_admit(&vm->config, message, size);
	if (!err)
		err = create_ram(vm, message, size);
	if (!err)
		err = create_mmu(vm, message, size);
	if (err)
		return err;
	terms = vm_terms(&vm->config);
	terms.sample = mmu_age_unmaps(&vm->mmu);
	reclaim_add(&vm->reclaim, vm->ram, &terms);
	vm_rma_watch(vm);
	err = map_ram(vm, message, size);
	if (!err)
		err = apic_page_create(vm, SLOT_APIC);
	if (!err)
		err = platform_create(vm, &vm->platform);
	if (!err)
		err = create_vcpus(vm);
	if (!err) {
		vm->start = kmalloc(sizeof(*vm->start));
		err = vm->start ? loader_load(vm, vm->start, message, size) : ERR_NOMEM;
	}
	return err;
}

void vm_unmake(struct vm *vm)
{
	/* First: what is typed goes to the devices of a VM that has a console. */
	console_vm_remove(vm, NULL);
	destroy_vcpus(vm);
	if (vm->platform)
		platform_destroy(vm->platform);
	if (vm->mmu_made) {
		reclaim_remove(&vm->reclaim);
		vm_rma_unwatch(vm);
		mmu_vm_destroy(&vm->mmu);
	}
	apic_page_destroy(vm);
	if (vm->ram)
		gmem_unref(vm->ram);
	vm_rma_destroy(vm);
	kfree(vm->start);
	sched_group_destroy(&vm->sched);
	kfree(vm);
}

/* It begins when all have a thread. Where one has none the others go without having run. */
static void vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	struct vm *vm = v->vm;

	wait_event(&vm_wait, vm->threads_go || vm->threads_leave);
	if (vm->threads_go)
		vcpu_main(v, v->id == 0 ? vm->start : NULL);
}

/*
 * On which of the CPUs that take part a vCPU is at a time is the scheduler's to say. ERR_RANGE: none
 * of those that it may run on takes part.
 */
static int set_cpus(const struct vm *vm, struct cpu_set *allowed, char *message, size_t size)
{
	u64 there = 0;
	char names[64];

	for (u32 id = 0; id < cpu_count(); id++) {
		if (!vmx_cpu_ready(id))
			continue;
		there |= BIT(id);
		if (!vm->config.cpus || (vm->config.cpus & BIT(id)))
			cpu_set_add(allowed, id);
	}
	if (!cpu_set_is_empty(allowed))
		return 0;
	config_cpus_text(there, names, sizeof(names));
	snprintf(message, size, "cpus= names no CPU that runs VMs: give some of %s", names);
	return ERR_RANGE;
}

static_assert(CPU_MAX <= 64, "a configuration has a bit for each CPU");
static_assert(THREAD_NAME_MAX >= CONFIG_NAME_MAX && TRACE_WHO_MAX >= CONFIG_NAME_MAX,
	      "a trace, and the log of an exit, tell VMs apart whose names begin alike");

static int create_threads(struct vm *vm, char *message, size_t size)
{
	struct thread_options options = {.group = &vm->sched};
	int err = set_cpus(vm, &options.allowed, message, size);

	if (err)
		return err;
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *v = vm->vcpus[i];

		options.number = vm->vcpu_count > 1 ? i + 1 : 0;
		err = thread_create_with(&v->thread, vm->name, vcpu_thread, v, &options);
		if (err) {
			v->thread = NULL;
			return err;
		}
	}
	return 0;
}

static void let_threads(bool *flag)
{
	bool on = wait_lock(&vm_wait);

	*flag = true;
	wait_wake_all_locked(&vm_wait);
	wait_unlock(&vm_wait, on);
}

/* Of those that there are, none of which runs its vCPU. */
static void end_threads(struct vm *vm)
{
	let_threads(&vm->threads_leave);
	for (u32 i = 0; i < vm->vcpu_count && vm->vcpus[i]->thread; i++) {
		thread_join(vm->vcpus[i]->thread);
		vm->vcpus[i]->thread = NULL;
	}
}

static int start_threads(struct vm *vm, char *message, size_t size)
{
	int err = create_threads(vm, message, size);

	if (err)
		end_threads(vm);
	return err;
}

void vm_discard(struct vm *vm)
{
	end_threads(vm);
	vm_unmake(vm);
}

void vm_let_go(struct vm *vm)
{
	vm->let_go_ns = clock_ns();
	let_threads(&vm->threads_go);
}

static void set_start(struct vm *vm)
{
	bool on = irq_save();

	vm->start_ns = clock_ns();
	vm->tsc_offset = -rdtsc();
	irq_restore(on);
}

int vm_make(const struct vm_config *config, struct restart *restart, struct vm **out, char *message,
	    size_t size)
{
	struct vm *vm = kmalloc(sizeof(*vm));
	int err;

	if (!vm)
		return ERR_NOMEM;
	vm->restart = restart;
	strlcpy(vm->name, config->name, sizeof(vm->name));
	vm->config = *config;
	sched_group_init(&vm->sched, config->weight, config->cap);
	mutex_init(&vm->lock, "vm", LOCK_VM);
	vm_life_init_vm(vm);
	set_start(vm);
	err = console_vm_add(vm);
	if (!err)
		err = create_parts(vm, message, size);
	if (!err)
		err = start_threads(vm, message, size);
	if (err)
		vm_unmake(vm);
	*out = vm;
	return err;
}
