/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/stats.c smp/sched_stat.c vmx/exit_stats.c vmx/vpid.c @mmu @mem @reclaim */
/* All counters that Weir has: their descriptions, what they count, and when they are logged. */
#include "kernel/dev/lapic.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/stats.h"
#include "kernel/vm.h"
#include "mem/frame.h"
#include "mem/gmem_stat.h"
#include "mem/pool.h"
#include "mem/reclaim.h"
#include "mem/share.h"
#include "mem/slab.h"
#include "mem/swap.h"
#include "tests/hosted/frames.h"
#include "tests/hosted/hosted.h"
#include "vmx/vmx.h"

#include <cmocka.h>
#include <string.h>

#define COUNTERS_MAX 500
#define OBJECT_PAGES (3 * GMEM_CHUNK_ENTRIES + 5) /* its last chunk is not whole */

static struct vm vm;
static struct vcpu vcpus[2];
static struct lapic no_interrupts;
static u64 exit_counts[2], no_time;

/* A vCPU stands for itself by the address of its count. */
u64 vmx_exit_count(const struct vmx_vcpu *v, u32 reason)
{
	return *(const u64 *)v * 100 + reason;
}

u32 vm_paused_why(const struct vm *v)
{
	return v->paused;
}

u64 thread_run_ns(const struct thread *t)
{
	return *(const u64 *)t;
}

u64 thread_wait_max_ns(const struct thread *t)
{
	return 10 * *(const u64 *)t;
}

static int start(void **state)
{
	static const struct mmu_hw hw = {.ept = true, .invept_all = true, .maxphyaddr = 39};

	frames_start(MIB(16));
	slab_init();
	assert_int_equal(reclaim_init(&(struct reclaim_options){0}), 0);
	mmu_init(&hw);
	stats_init(true);
	strlcpy(vm.name, "a.long-name_of-the-most-letters", sizeof(vm.name));
	assert_int_equal(strlen(vm.name), CONFIG_NAME_MAX - 1);
	assert_int_equal(gmem_create(OBJECT_PAGES, &vm.ram), 0);
	reclaim_add(&vm.reclaim, vm.ram,
		    &(struct reclaim_terms){.min = 3, .max = ~0ull, .shares = 77});
	assert_int_equal(mmu_vm_create(&vm.mmu, MMU_EPT), 0);
	vm.vcpu_count = 2;
	vm.vcpus[0] = &vcpus[0];
	vm.vcpus[1] = &vcpus[1];
	vcpus[0].lapic = vcpus[1].lapic = &no_interrupts;
	vcpus[0].thread = vcpus[1].thread = (struct thread *)&no_time;
	return 0;
}

static struct {
	char names[COUNTERS_MAX][STAT_NAME_MAX];
	const char *sentences[COUNTERS_MAX];
	u32 count;
} all;

static void collect(const struct stat_value *v, void *arg)
{
	assert_true(all.count < COUNTERS_MAX);
	strlcpy(all.names[all.count], v->name, STAT_NAME_MAX);
	all.sentences[all.count++] = v->desc->sentence;
}

static void every_counter_says_what_it_is(void **state)
{
	u32 fitted;

	stats_vm_add(&vm);
	all.count = 0;
	fitted = stat_for_each(NULL, collect, NULL);
	assert_int_equal(fitted, all.count);
	assert_true(all.count > VMX_EXIT_REASONS + GMEM_STAT_COUNT);
	for (u32 i = 0; i < all.count; i++) {
		const char *s = all.sentences[i];

		assert_int_equal(s[strlen(s) - 1], '.');
		assert_true(strlen(s) >= 12 && strchr(s, ' '));
		for (u32 k = 0; k < i; k++) {
			assert_string_not_equal(all.names[i], all.names[k]);
			assert_string_not_equal(s, all.sentences[k]);
		}
	}
	stats_vm_remove(&vm);
	assert_int_equal(stat_for_each("vm.*", collect, NULL), 0);
}

static u64 found;

static void take_value(const struct stat_value *v, void *arg)
{
	found = v->value;
}

static u64 value(const char *pattern)
{
	assert_int_equal(stat_for_each(pattern, take_value, NULL), 1);
	return found;
}

static void exits_are_summed_over_vcpus(void **state)
{
	stats_vm_add(&vm);
	assert_int_equal(value("vm.*.exits.cpuid"), 0); /* none has begun */
	exit_counts[0] = 3;
	vcpus[0].vmx = (struct vmx_vcpu *)&exit_counts[0];
	assert_int_equal(value("vm.*.exits.cpuid"), 310);
	exit_counts[1] = 4;
	vcpus[1].vmx = (struct vmx_vcpu *)&exit_counts[1];
	assert_int_equal(value("vm.*.exits.cpuid"), 310 + 410);
	assert_int_equal(value("vm.*.exits.bus_lock"), 374 + 474);
	stats_vm_remove(&vm);
}

static void time_on_cpus_is_summed(void **state)
{
	static u64 run_ns[2] = {1000, 234};

	for (u32 i = 0; i < 2; i++)
		vcpus[i].thread = (struct thread *)&run_ns[i];
	stats_vm_add(&vm);
	assert_int_equal(value("vm.*.cpu.run"), 1234);
	assert_int_equal(value("vm.*.cpu.wait_max"), 10000);
	assert_int_equal(value("vm.*.cpu.vcpus"), 2);
	assert_int_equal(value("vm.*.cpu.paused"), 0);
	vm.paused = true;
	assert_int_equal(value("vm.*.cpu.paused"), 1);
	vm.paused = false;
	vcpus[0].refused = 7;
	vcpus[1].refused = 4;
	assert_int_equal(value("vm.*.cpu.refused"), 11);
	stats_vm_remove(&vm);
}

static void every_exit_reason_is_named(void **state)
{
	for (u32 i = 0; i < VMX_EXIT_REASONS; i++)
		assert_string_equal(vmx_exit_name(i), vmx_exit_stat_descs[i].name);
	assert_string_equal(vmx_exit_name(48), "ept_violation");
	assert_string_equal(vmx_exit_name(VMX_EXIT_REASONS), "unknown");
}

static void pages_are_counted_by_state(void **state)
{
	struct gmem *g = vm.ram;
	u64 free_before, entry;
	pfn_t pfn;

	stats_vm_add(&vm);
	assert_int_equal(value("vm.*.memory.absent"), OBJECT_PAGES);
	assert_int_equal(value("vm.*.memory.got_page"), 0);
	free_before = value("frames.free");
	/* Two in the first chunk, none in the second, the very last. */
	assert_int_equal(gmem_get_page(g, 0, true, &pfn), 0);
	assert_int_equal(gmem_get_page(g, 7, true, &pfn), 0);
	assert_int_equal(gmem_get_page(g, OBJECT_PAGES - 1, true, &pfn), 0);
	assert_int_equal(value("vm.*.memory.absent"), OBJECT_PAGES - 3);
	assert_int_equal(value("vm.*.memory.got_page"), 3);
	assert_int_equal(value("vm.*.memory.peak"), 3);
	assert_int_equal(value("frames.free"), free_before - 3 - 2 /* chunks */);
	gmem_invalidate_begin(g, 7, 1);
	assert_int_equal(gmem_claim(g, 7, &entry), 0);
	assert_int_equal(value("vm.*.memory.got_page"), 2);
	assert_int_equal(value("vm.*.memory.busy"), 1);
	gmem_settle(g, 7, entry);
	gmem_invalidate_end(g, 7, 1);
	assert_int_equal(value("vm.*.memory.busy"), 0);
	assert_int_equal(gmem_pin(g, 0, true, &pfn), 0);
	assert_int_equal(value("vm.*.memory.pins"), 1);
	gmem_unpin(g, 0, pfn, true);
	assert_int_equal(value("vm.*.memory.pins"), 0);
	assert_true(value("frames.total") > value("frames.free"));
	stats_vm_remove(&vm);
}

static void grace_periods_are_counted(void **state)
{
	u64 before;

	srcu_init(&vm.mmu.srcu);
	stats_vm_add(&vm);
	assert_int_equal(value("vm.*.srcu.grace_periods"), 0);
	srcu_synchronize(&vm.mmu.srcu);
	assert_true(value("vm.*.srcu.grace_periods") > 0);
	before = value("rcu.grace_periods");
	rcu_synchronize();
	assert_int_equal(value("rcu.grace_periods"), before + 1);
	stats_vm_remove(&vm);
}

#define GIVEN_BACK (offsetof(struct gmem_stats, given_back) / sizeof(u64))
#define REMOVED	   (offsetof(struct gmem_stats, removed) / sizeof(u64))

static void large_pages_count_whole(void **state)
{
	struct gmem *g;
	pfn_t pfn;

	assert_int_equal(gmem_create_order(3 * GMEM_LARGE_PAGES, GMEM_LARGE_ORDER, &g), 0);
	assert_int_equal(gmem_stat_read(g, GMEM_ABSENT), 3 * GMEM_LARGE_PAGES);
	assert_int_equal(gmem_get_page(g, GMEM_LARGE_PAGES + 9, true, &pfn), 0);
	assert_int_equal(gmem_stat_read(g, GMEM_GOT_PAGE), GMEM_LARGE_PAGES);
	assert_int_equal(gmem_stat_read(g, GMEM_ABSENT), 2 * GMEM_LARGE_PAGES);
	assert_int_equal(gmem_drop(g, GMEM_LARGE_PAGES), 0);
	assert_int_equal(gmem_stat_read(g, GIVEN_BACK), GMEM_LARGE_PAGES);
	assert_int_equal(gmem_get_page(g, GMEM_LARGE_PAGES, true, &pfn), 0);
	assert_int_equal(gmem_stat_read(g, GIVEN_BACK), 0);
	assert_int_equal(gmem_stat_read(g, REMOVED), GMEM_LARGE_PAGES);
	gmem_unref(g);
}

static void one_line_for_each_and_only_when_wanted(void **state)
{
	u32 of_vm, of_weir;

	stats_vm_add(&vm);
	all.count = 0;
	of_vm = stat_for_each("vm.*", collect, NULL);
	of_weir = stat_for_each(NULL, collect, NULL) - of_vm;
	hosted_log_reset();
	stats_log_vm(&vm);
	assert_int_equal(hosted_log_count(LOG_INFO), of_vm);
	assert_non_null(strstr(hosted_log_last(),
			       "stat vm.a.long-name_of-the-most-letters.memory.removed "
			       "0 pages: Pages that held"));
	hosted_log_reset();
	stats_log_weir();
	assert_int_equal(hosted_log_count(LOG_INFO), of_weir);
	stats_vm_remove(&vm);
}

static void nothing_without_the_word(void **state)
{
	/* The registry is there already: this test comes last and leaves it as it is. */
	stat_unregister(&frame_stat_group);
	stat_unregister(&frame_use_stat_group);
	stat_unregister(&slab_stat_group);
	stat_unregister(&rcu_stat_group);
	stat_unregister(&sched_stat_group);
	stat_unregister(&pool_stat_group);
	stat_unregister(&reclaim_stat_group);
	stat_unregister(&reclaim_memory_stat_group);
	stat_unregister(&share_stat_group);
	stat_unregister(&swap_stat_group);
	stat_unregister(&vmx_vpid_stats);
	stats_init(false);
	stats_vm_add(&vm);
	hosted_log_reset();
	stats_log_vm(&vm);
	stats_log_weir();
	assert_int_equal(hosted_log_count(LOG_INFO), 0);
	stats_vm_remove(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_counter_says_what_it_is),
		cmocka_unit_test(exits_are_summed_over_vcpus),
		cmocka_unit_test(time_on_cpus_is_summed),
		cmocka_unit_test(every_exit_reason_is_named),
		cmocka_unit_test(pages_are_counted_by_state),
		cmocka_unit_test(grace_periods_are_counted),
		cmocka_unit_test(large_pages_count_whole),
		cmocka_unit_test(one_line_for_each_and_only_when_wanted),
		cmocka_unit_test(nothing_without_the_word),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
