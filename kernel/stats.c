/* SPDX-License-Identifier: MIT */
#include "kernel/stats.h"

#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/dev/lapic.h"
#include "kernel/vm_life.h"
#include "mem/frame.h"
#include "mem/gmem_stat.h"
#include "smp/thread.h"
#include "mem/pool.h"
#include "mem/reclaim.h"
#include "mem/share.h"
#include "mem/slab.h"
#include "mem/swap.h"
#include "smp/mutex.h"
#include "vmx/vmx.h"

static struct mutex stats_lock;
static bool log_wanted; /* set once */

static void lock(void)
{
	mutex_lock(&stats_lock);
}

static void unlock(void)
{
	mutex_unlock(&stats_lock);
}

void stats_init(bool log)
{
	mutex_init(&stats_lock, "stats", LOCK_STAT);
	stat_set_lock(lock, unlock);
	log_wanted = log;
	stat_register(&frame_stat_group);
	stat_register(&frame_use_stat_group);
	stat_register(&slab_stat_group);
	stat_register(&rcu_stat_group);
	stat_register(&sched_stat_group);
	stat_register(&pool_stat_group);
	stat_register(&reclaim_stat_group);
	stat_register(&reclaim_memory_stat_group);
	for (u32 node = 0; frame_node_count > 1 && node < frame_node_count; node++)
		stat_register(reclaim_node_stat_group(node));
	stat_register(&share_stat_group);
	stat_register(&swap_stat_group);
	stat_register(&vmx_vpid_stats);
}

static u64 read_exits(const void *owner, u32 i)
{
	const struct vm *vm = owner;
	u64 sum = 0;

	for (u32 k = 0; k < vm->vcpu_count; k++) {
		/* Its own thread makes it, some time after the VM's start. */
		const struct vmx_vcpu *v = __atomic_load_n(&vm->vcpus[k]->vmx, __ATOMIC_ACQUIRE);

		sum += v ? vmx_exit_count(v, i) : 0;
	}
	return sum;
}

static const struct stat_desc vm_cpu_descs[] = {VM_CPU_STATS(STAT_DESC)};
STAT_CHECK(vm_cpu_stats, vm_cpu_descs);

static u64 longest_wait(const struct vm *vm)
{
	u64 longest = 0;

	for (u32 k = 0; k < vm->vcpu_count; k++)
		longest = max(longest, thread_wait_max_ns(vm->vcpus[k]->thread));
	return longest;
}

static u64 read_cpu(const void *owner, u32 i)
{
	const struct vm *vm = owner;
	bool refused = i == offsetof(struct vm_cpu_stats, refused) / sizeof(u64);
	u64 sum = 0;

	if (i == offsetof(struct vm_cpu_stats, vcpus) / sizeof(u64))
		return vm->vcpu_count;
	if (i == offsetof(struct vm_cpu_stats, paused) / sizeof(u64))
		return vm_paused_why(vm);
	if (i == offsetof(struct vm_cpu_stats, wait_max) / sizeof(u64))
		return longest_wait(vm);
	for (u32 k = 0; k < vm->vcpu_count; k++)
		sum += refused ? READ_ONCE(vm->vcpus[k]->refused)
			       : thread_run_ns(vm->vcpus[k]->thread);
	return sum;
}

static const struct stat_desc vm_paravirt_descs[] = {VM_PARAVIRT_STATS(STAT_DESC)};
STAT_CHECK(vm_paravirt_stats, vm_paravirt_descs);

static u64 read_paravirt(const void *owner, u32 i)
{
	const struct vm *vm = owner;
	struct vm_paravirt_stats sum = {0};

	for (u32 k = 0; k < vm->vcpu_count; k++) {
		const struct vcpu *v = vm->vcpus[k];

		sum.eois += READ_ONCE(v->paravirt.eois);
		sum.tlb_flushes += READ_ONCE(v->paravirt.tlb_flushes);
		sum.kicks += READ_ONCE(v->paravirt.kicks);
		sum.yields += READ_ONCE(v->paravirt.yields);
		sum.ipi_calls += READ_ONCE(v->paravirt.ipi_calls);
	}
	return ((const u64 *)&sum)[i];
}

static const struct stat_desc vm_apic_descs[] = {VM_APIC_STATS(STAT_DESC)};
STAT_CHECK(vm_apic_stats, vm_apic_descs);

static u64 read_apic(const void *owner, u32 i)
{
	const struct vm *vm = owner;
	struct vm_apic_stats sum = {0};

	for (u32 k = 0; k < vm->vcpu_count; k++) {
		const struct lapic *l = vm->vcpus[k]->lapic;

		sum.posted += READ_ONCE(l->posted_count);
		sum.notified += READ_ONCE(l->notified_count);
		sum.held += READ_ONCE(l->held_count);
	}
	return ((const u64 *)&sum)[i];
}

void stats_vm_add(struct vm *vm)
{
	struct vm_stats *s = &vm->stats;
	const struct stat_group groups[VM_STAT_GROUPS] = {
		{.name = "exits",
		 .descs = vmx_exit_stat_descs,
		 .count = VMX_EXIT_REASONS,
		 .read = read_exits,
		 .owner = vm},
		{.name = "cpu",
		 .descs = vm_cpu_descs,
		 .count = ARRAY_SIZE(vm_cpu_descs),
		 .read = read_cpu,
		 .owner = vm},
		{.name = "paravirt",
		 .descs = vm_paravirt_descs,
		 .count = ARRAY_SIZE(vm_paravirt_descs),
		 .read = read_paravirt,
		 .owner = vm},
		{.name = "apic",
		 .descs = vm_apic_descs,
		 .count = ARRAY_SIZE(vm_apic_descs),
		 .read = read_apic,
		 .owner = vm},
		{.name = "srcu",
		 .descs = srcu_stat_descs,
		 .count = SRCU_STAT_COUNT,
		 .read = srcu_stat_read,
		 .owner = &vm->mmu.srcu},
		{.name = "mmu",
		 .descs = mmu_stat_descs,
		 .count = MMU_STAT_COUNT,
		 .read = mmu_stat_read,
		 .owner = &vm->mmu},
		{.name = "reclaim",
		 .descs = reclaim_vm_stat_descs,
		 .count = RECLAIM_VM_STAT_COUNT,
		 .read = reclaim_vm_stat_read,
		 .owner = &vm->reclaim},
		{.name = "memory",
		 .descs = gmem_stat_descs,
		 .count = GMEM_STAT_COUNT,
		 .read = gmem_stat_read,
		 .owner = vm->ram},
	};

	snprintf(s->scope, sizeof(s->scope), "vm.%s", vm->name);
	for (u32 i = 0; i < VM_STAT_GROUPS; i++) {
		s->groups[i] = groups[i];
		s->groups[i].scope = s->scope;
		stat_register(&s->groups[i]);
	}
}

void stats_vm_remove(struct vm *vm)
{
	for (u32 i = 0; i < VM_STAT_GROUPS; i++)
		stat_unregister(&vm->stats.groups[i]);
}

static void log_one(const struct stat_value *v)
{
	log_info("stat %s %llu %s: %s", v->name, (unsigned long long)v->value, v->desc->unit,
		 v->desc->sentence);
}

static void log_of_scope(const struct stat_value *v, void *scope)
{
	if (strcmp(v->scope, scope) == 0)
		log_one(v);
}

static void log_of_no_vm(const struct stat_value *v, void *arg)
{
	(void)arg;
	if (strncmp(v->scope, "vm.", 3))
		log_one(v);
}

void stats_log_vm(struct vm *vm)
{
	if (log_wanted)
		stat_for_each(NULL, log_of_scope, vm->stats.scope);
}

void stats_log_weir(void)
{
	if (log_wanted)
		stat_for_each(NULL, log_of_no_vm, NULL);
}
