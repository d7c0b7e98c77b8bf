/* SPDX-License-Identifier: MIT */
/*
 * R15, R16: tags of the TLB. Beside the allocator stands a TLB for each CPU that remembers whose
 * translations it holds under which number, and forgets them only on INVVPID.
 */
/* unit-sources: vmx/vpid.c */
/* unit-cflags: -DVPID_LAST=7 */
#include "kernel/base/x86.h"
#include "mmu/invept.h"
#include "tests/hosted/hosted.h"
#include "vmx/vpid.h"

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define CPUS	 3
#define VCPUS	 11
#define STEPS	 20000
#define NOBODY	 0
#define FIRMWARE 99 /* what used the TLB before Weir */

struct vcpu {
	struct vpid_tag tag;
	u32 cpu;
	u32 version; /* of its translations: raised whenever what it left elsewhere is stale */
};

/* Whose translations, and of which version, a CPU holds under each number. */
static struct {
	u32 owner, version;
} tlb[CPUS][VPID_LAST + 1];
static struct vcpu vcpus[VCPUS];
static u32 flushes[CPUS], addresses;
static bool flush_fails;

static bool flush(enum invvpid_type type, u16 vpid)
{
	u32 cpu = cpu_id();

	assert_false(irq_enabled());
	if (type == INVVPID_ADDRESS) {
		assert_int_not_equal(vpid, 0);
		addresses++;
		return true;
	}
	if (type == INVVPID_SINGLE) {
		assert_int_not_equal(vpid, 0);
		tlb[cpu][vpid].owner = NOBODY;
		return true;
	}
	assert_int_equal(type, INVVPID_ALL);
	assert_int_equal(vpid, 0);
	/* All but those of Weir itself. */
	memset(&tlb[cpu][1], 0, sizeof(tlb[cpu]) - sizeof(tlb[cpu][0]));
	flushes[cpu]++;
	return !flush_fails;
}

static int setup(void **state)
{
	memset(vpid_cpus, 0, sizeof(vpid_cpus));
	memset(vcpus, 0, sizeof(vcpus));
	memset(flushes, 0, sizeof(flushes));
	for (u32 cpu = 0; cpu < CPUS; cpu++) {
		for (u32 vpid = 0; vpid <= VPID_LAST; vpid++)
			tlb[cpu][vpid].owner = FIRMWARE;
	}
	flush_fails = false;
	hosted_invvpid_hook = flush;
	irq_disable();
	hosted_cpu_set(0);
	return 0;
}

static void leave(void)
{
	hosted_invvpid_hook = NULL;
	irq_enable();
}

/* One entry of vCPU i on a CPU, and what it leaves in the TLB. */
static void enter(u32 i, u32 cpu)
{
	struct vcpu *v = &vcpus[i];

	hosted_cpu_set(cpu);
	if (v->cpu != cpu)
		v->version++;
	v->cpu = cpu;
	if (!vpid_current(&v->tag))
		vpid_take(&v->tag);
	assert_true(vpid_current(&v->tag));
	assert_in_range(v->tag.vpid, 1, VPID_LAST);
	if (tlb[cpu][v->tag.vpid].owner != NOBODY) {
		assert_int_equal(tlb[cpu][v->tag.vpid].owner, i + 1);
		assert_int_equal(tlb[cpu][v->tag.vpid].version, v->version);
	}
	tlb[cpu][v->tag.vpid].owner = i + 1;
	tlb[cpu][v->tag.vpid].version = v->version;
}

static void nothing_changes_while_it_stays(void **state)
{
	struct vpid_tag before;

	enter(0, 0);
	before = vcpus[0].tag;
	assert_int_equal(flushes[0], 1); /* what the firmware left */
	for (u32 i = 0; i < 3 * VPID_LAST; i++) {
		enter(0, 0);
		enter(1, 0);
	}
	assert_memory_equal(&before, &vcpus[0].tag, sizeof(before));
	assert_int_not_equal(vcpus[1].tag.vpid, before.vpid);
	assert_int_equal(flushes[0], 1);
	leave();
}

static void a_number_is_flushed_before_it_comes_back(void **state)
{
	for (u32 i = 0; i < VPID_LAST; i++)
		enter(i, 0);
	assert_int_equal(flushes[0], 1);
	/* The one that exhausts them begins a generation; all others take new tags in it. */
	enter(VPID_LAST, 0);
	assert_int_equal(flushes[0], 2);
	assert_int_equal(vcpus[VPID_LAST].tag.vpid, 1);
	for (u32 i = 0; i < VPID_LAST; i++)
		assert_false(vpid_current(&vcpus[i].tag));
	for (u32 i = 0; i < VPID_LAST - 1; i++)
		enter(i, 0);
	assert_int_equal(flushes[0], 2);
	enter(VPID_LAST - 1, 0);
	assert_int_equal(flushes[0], 3);
	leave();
}

/* Away and back: what it left under its old tag is stale, though the CPU's generation is the same. */
static void a_vcpu_that_comes_again_takes_another(void **state)
{
	u16 first;

	enter(0, 0);
	first = vcpus[0].tag.vpid;
	enter(0, 1);
	assert_int_equal(flushes[1], 1);
	enter(0, 0);
	assert_int_not_equal(vcpus[0].tag.vpid, first);
	assert_int_equal(flushes[0], 1);
	leave();
}

/* Two CPUs of one age: a tag of the one is none of the other's. */
static void a_tag_is_of_one_cpu(void **state)
{
	enter(0, 0);
	enter(1, 1);
	assert_int_equal(vcpus[0].tag.vpid, vcpus[1].tag.vpid);
	hosted_cpu_set(1);
	assert_false(vpid_current(&vcpus[0].tag));
	enter(0, 1);
	leave();
}

static void a_dropped_tag_is_not_used_again(void **state)
{
	u16 before;

	enter(0, 0);
	before = vcpus[0].tag.vpid;
	vcpus[0].version++;
	vpid_drop(&vcpus[0].tag);
	assert_false(vpid_current(&vcpus[0].tag));
	enter(0, 0);
	assert_int_not_equal(vcpus[0].tag.vpid, before);
	leave();
}

/* One CPU's tag is flushed on another, where it never comes to an entry. */
static void what_is_flushed_elsewhere_is_stale_at_home(void **state)
{
	for (u32 single = 0; single < 2; single++) {
		enter(single, 0);
		hosted_cpu_set(1);
		vcpus[single].version++;
		vpid_flush(&vcpus[single].tag, single);
		enter(single, 0);
	}
	leave();
}

/*
 * Of one address the rest stays, where the CPU can do that; elsewhere, and for no address at all,
 * nothing.
 */
static void one_address_is_flushed(void **state)
{
	u16 before;

	enter(0, 0);
	before = vcpus[0].tag.vpid;
	addresses = 0;
	vpid_flush_address(&vcpus[0].tag, 0xffff800000123000, true, true);
	assert_int_equal(addresses, 1);
	assert_int_equal(hosted_invvpid_gva, 0xffff800000123000);
	assert_int_equal(tlb[0][before].owner, 1);
	vpid_flush_address(&vcpus[0].tag, 0x800000000000, true, true);
	assert_int_equal(addresses, 1);
	assert_int_equal(tlb[0][before].owner, NOBODY);
	enter(0, 0);
	vpid_flush_address(&vcpus[0].tag, 0x1000, false, true);
	assert_int_equal(addresses, 1);
	assert_int_equal(tlb[0][before].owner, NOBODY);
	enter(0, 0);
	hosted_cpu_set(1);
	vcpus[0].version++;
	vpid_flush_address(&vcpus[0].tag, 0x1000, true, true);
	assert_int_equal(addresses, 1);
	enter(0, 0);
	assert_int_not_equal(vcpus[0].tag.vpid, before);
	leave();
}

static void a_zeroed_tag_is_none(void **state)
{
	struct vpid_tag none = {0};

	/* Not even on a CPU that has not begun, whose stamp is zero too. */
	assert_false(vpid_current(&none));
	leave();
}

static void take_one(void *tag)
{
	vpid_take(tag);
}

static void a_flush_that_fails_is_a_bug(void **state)
{
	static struct vpid_tag tag;

	flush_fails = true;
	assert_true(hosted_catch_panic(take_one, &tag));
	irq_enable();
	flush_fails = false;
	assert_true(hosted_catch_panic(take_one, &tag)); /* with interrupts on */
	leave();
}

static void random_walk(void **state)
{
	const char *given = getenv("WEIR_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : 1;

	print_message("seed %u\n", seed);
	srand(seed);
	for (u32 i = 0; i < STEPS; i++) {
		u32 n = (u32)rand() % VCPUS;
		u32 what = (u32)rand() % 16;

		if (what == 3) {
			hosted_cpu_set((u32)rand() % CPUS);
			vpid_flush(&vcpus[n].tag, (u32)rand() % 2);
			vcpus[n].version++;
		} else if (what == 0) {
			vpid_drop(&vcpus[n].tag);
			vcpus[n].version++;
		} else if (what == 1) {
			/* It ends, and another is made in its place. */
			vcpus[n] = (struct vcpu){.version = vcpus[n].version + 1};
		} else {
			enter(n, what == 2 ? (u32)rand() % CPUS : vcpus[n].cpu);
		}
	}
	for (u32 cpu = 0; cpu < CPUS; cpu++)
		assert_true(flushes[cpu] > 10);
	leave();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(nothing_changes_while_it_stays, setup),
		cmocka_unit_test_setup(a_number_is_flushed_before_it_comes_back, setup),
		cmocka_unit_test_setup(a_vcpu_that_comes_again_takes_another, setup),
		cmocka_unit_test_setup(a_tag_is_of_one_cpu, setup),
		cmocka_unit_test_setup(a_dropped_tag_is_not_used_again, setup),
		cmocka_unit_test_setup(what_is_flushed_elsewhere_is_stale_at_home, setup),
		cmocka_unit_test_setup(one_address_is_flushed, setup),
		cmocka_unit_test_setup(a_zeroed_tag_is_none, setup),
		cmocka_unit_test_setup(a_flush_that_fails_is_a_bug, setup),
		cmocka_unit_test_setup(random_walk, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
