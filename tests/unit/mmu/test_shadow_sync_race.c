/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c tests/unit/mmu/before_flush.c */
/* unit-libs: -Wl,--wrap=mmu_flush */
/*
 * A vCPU that flushes while another brings the last page that is out of step back, and has not
 * flushed itself yet: it waits for that, though no page counts as out of step any more.
 */
#include <cmocka.h>
#include "kernel/base/error.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/before_flush.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 600u
#define TABLE	  4u
#define GVA_OF(i) ((u64)(i) << PAGE_SHIFT)

static void look(void)
{
	/* The lock may be held for long: what is typed meanwhile is not to be lost. */
	assert_true(irq_enabled());
	if (before_flush)
		assert_int_equal(vm.shadow->unsync_count, 0);
}

static struct shadow_page *table_page(void)
{
	struct shadow_page *sp = *shadow_bucket(vm.shadow, GFN(TABLE));

	while (sp && sp->gfn.v != TABLE)
		sp = sp->next;
	assert_non_null(sp);
	return sp;
}

/* Page 100 is there, its table is out of step, and the guest has taken the entry away. */
static int start(void **state)
{
	(void)state;
	before_flush_setup();
	look_before_flush = look;
	shadow_guest_start(MIB(64), RAM_PAGES);
	load();
	entry(TABLE, 6, 100, MARKED);
	assert_int_equal(shadow_access(GVA_OF(6), MMU_WRITE, NULL), 0);
	spin_lock(&vm.mmu_lock);
	assert_true(shadow_unsync(&vm, table_page()));
	spin_unlock(&vm.mmu_lock);
	((u64 *)pfn_to_virt(PFN(frame_of_page(TABLE))))[6] = 0;
	return 0;
}

static int finish(void **state)
{
	assert_null(before_flush);
	return shadow_guest_end(state);
}

static void forget_page(void)
{
	mmu_shadow_invlpg(&vcpu, GVA(GVA_OF(6)));
}

static void sync_all(void)
{
	u32 reader = srcu_read_lock(&vm.srcu);

	shadow_sync_all(&vm);
	srcu_read_unlock(&vm.srcu, reader);
}

static void while_all_are_brought_back(void (*what)(void))
{
	u64 at;

	before_flush = what;
	shadow_sync_all(&vm);
	before_flush_join();
	assert_false(shadow_cpu(&vcpu, &paging, GVA_OF(6), MMU_READ, &at));
}

static void invlpg_waits_for_the_flush(void **state)
{
	(void)state;
	while_all_are_brought_back(forget_page);
}

static void a_root_waits_for_the_flush(void **state)
{
	(void)state;
	while_all_are_brought_back(sync_all);
}

/* The page itself goes: to make room, or as one of no use. */
static void invlpg_waits_for_a_page_that_goes(void **state)
{
	struct shadow_gone gone = SHADOW_GONE(gone);

	(void)state;
	spin_lock(&vm.mmu_lock);
	shadow_zap(&vm, table_page(), &gone);
	before_flush = forget_page;
	shadow_finish(&vm, &gone);
	spin_unlock(&vm.mmu_lock);
	before_flush_join();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(invlpg_waits_for_the_flush),
		TEST(a_root_waits_for_the_flush),
		TEST(invlpg_waits_for_a_page_that_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
