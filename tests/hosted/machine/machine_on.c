/* SPDX-License-Identifier: MIT */
/* The machine and its VMs, and a process for a run. See machine.h. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "mem/pool.h"
#include "mem/frame.h"
#include "mem/share.h"
#include "mem/slab.h"
#include "smp/rcu.h"
#include "tests/hosted/frames.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/machine/fake_linear.h"
#include "tests/hosted/machine/machine_private.h"
#include "tests/hosted/schedule.h"

#define NS_PER_SECOND 1000000000ull

void (*machine_memory_init)(void);
static u64 free_at_start;
static bool ended; /* atomic */

void machine_on(u64 memory, u64 random)
{
	static struct memmap map;
	struct mmu_hw hw = {
		.ept = !machine.shadow,
		.ept_ad = machine.accessed_dirty,
		.ept_2m = true,
		.pml = machine.pml,
		.invept_single = random_below(&random, 2),
		.invept_all = true,
		.invvpid_single = true,
		.invvpid_all = true,
		.maxphyaddr = 46,
		.large_nx = random_one_in(&random, 3),
	};

	hosted_fail_after(0);
	hosted_fail_often(0, 0);
	hosted_arena_init(memory);
	memset(&map, 0, sizeof(map));
	map.count = 1;
	map.ranges[0] = (struct mem_range){MIB(1), memory};
	map.ram_count = 1;
	map.ram[0] = map.ranges[0];
	map.highest_ram = memory;
	BUG_ON(frame_init(&map));
	slab_init();
	if (machine_memory_init) {
		machine_memory_init();
	} else {
		pool_init();
		BUG_ON(share_init());
	}
	mmu_init(&hw);
	fake_cpus_reset(random);
	fake_linear_reset(random);
	free_at_start = frames_free();
	__atomic_store_n(&ended, false, __ATOMIC_RELEASE);
	if (machine.pml)
		machine_logs();
}

void machine_off(void)
{
	u64 left = frames_free();

	if (left != free_at_start)
		machine_fail("%llu frames were free, and %llu are",
			     (unsigned long long)free_at_start, (unsigned long long)left);
	__atomic_store_n(&ended, true, __ATOMIC_RELEASE);
}

void machine_vm_start(struct machine_vm *vm)
{
	while (mmu_vm_create(&vm->mmu, MMU_AUTO))
		BUG_ON(!machine.failing && !machine.reclaims);
	if (machine.pml)
		vm->mmu.drain_dirty = machine_drain;
	for (u32 i = 0; i < MACHINE_VCPUS; i++) {
		mmu_vcpu_init(&vm->vcpu[i], &vm->mmu);
		vm->linear[i] = (struct machine_linear){.paging = {.cr0 = CR0_PE, .maxphyaddr = 46},
							.cpu = CPU_MAX};
	}
}

static void add_met(struct mmu_vm *vm)
{
	struct mmu_stats s;

	mmu_stats_get(vm, &s);
	relaxed_add(&machine.met.invalid, s.faults_invalid);
	relaxed_add(&machine.met.kicks, s.kicks);
	relaxed_add(&machine.met.large, s.mapped_large);
	relaxed_add(&machine.met.split, s.split);
	relaxed_add(&machine.met.collapsed, s.collapsed);
}

void machine_vm_end(struct machine_vm *vm)
{
	add_met(&vm->mmu);
	for (u32 i = 0; i < MACHINE_VCPUS; i++)
		mmu_vcpu_destroy(&vm->vcpu[i]);
	slots_vanish(vm);
	mmu_vm_destroy(&vm->mmu);
	slots_vanished(vm);
}

void machine_rcu_job(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE)) {
		rcu_work();
		hosted_stand(LOOK_AGAIN);
	}
}

/* cmocka's handlers say less of a crash than the sanitizers', which were there first. */
static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static struct sigaction crash_handlers[ARRAY_SIZE(crashes)];

__attribute__((constructor)) static void keep_handlers(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(crashes); i++)
		sigaction(crashes[i], NULL, &crash_handlers[i]);
}

static void restore_handlers(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(crashes); i++)
		sigaction(crashes[i], &crash_handlers[i], NULL);
}

/*
 * LeakSanitizer asks this at a process's end. All that a run gets is the machine's memory, of which
 * director_job knows whether it came back, and the look costs as much as the run.
 */
static bool in_run;
int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
	return in_run;
}

int machine_apart(void (*fn)(void *arg), void *arg)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		/* Not to outlive a test that is stopped at its deadline. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		restore_handlers();
		in_run = true;
		fn(arg);
		exit(0);
	}
	BUG_ON(waitpid(child, &status, 0) != child);
	return status;
}

static u64 ns_of(struct timeval t)
{
	return (u64)t.tv_sec * NS_PER_SECOND + (u64)t.tv_usec * 1000;
}

void *machine_shared(u64 size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	BUG_ON(p == MAP_FAILED);
	return p;
}

u64 run_clock_ns(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return ns_of(self.ru_utime) + ns_of(self.ru_stime) + ns_of(children.ru_utime) +
	       ns_of(children.ru_stime);
}

u64 run_seed(void)
{
	const char *text = getenv("WEIR_SEED");
	char date[16];
	time_t now = time(NULL);

	if (text && *text)
		return strtoull(text, NULL, 0);
	strftime(date, sizeof(date), "%Y%m%d", localtime(&now));
	return strtoull(date, NULL, 10);
}

static bool extent_is(const char *name)
{
	const char *extent = getenv("WEIR_FUZZ");

	return extent && strcmp(extent, name) == 0;
}

bool run_is_full(void)
{
	return extent_is("full");
}

u64 run_budget_ns(u64 short_ns, u64 full_ns)
{
	if (run_is_full())
		return full_ns;
	return extent_is("quick") ? short_ns / 2 : short_ns;
}
