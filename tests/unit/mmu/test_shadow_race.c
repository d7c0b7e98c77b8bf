/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c */
/* unit-libs: -Wl,--wrap=gmem_lookup */
/*
 * What others do in the moment between a shadow fault's look at the page and its linking, as
 * test_fault_race does it with EPT: gmem_lookup goes through this test.
 */
#include <cmocka.h>
#include <pthread.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "mem/frame.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"
#include "tests/unit/mmu/shadow_cpu.h"

#define RAM_PAGES 64
#define PAGE	  40u /* the one under test; tables are 1 to 4 */
#define MARKED	  0x67ull

static struct gmem *ram;
static struct guest_paging p;
static u64 frame_before;
static void (*meanwhile)(void); /* done once, after a lookup that finds the page `raced` */
static u64 raced;

int __real_gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out);
int __wrap_gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out);

static void *on_another_cpu(void *what)
{
	hosted_cpu_set(9);
	((void (*)(void))what)();
	return NULL;
}

int __wrap_gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	int err = __real_gmem_lookup(g, index, write, out);
	void (*what)(void) = meanwhile;
	pthread_t other;

	if (err || !what || index != raced)
		return err;
	meanwhile = NULL;
	frame_before = out->v;
	pthread_create(&other, NULL, on_another_cpu, (void *)what);
	pthread_join(other, NULL);
	return err;
}

static void entry(u64 table, u32 i, u64 to, u64 bits)
{
	u64 e = to << 12 | bits;

	assert_int_equal(gpa_write(&vm, GPA((table << 12) + 8ull * i), &e, 8), 0);
}

static int setup(void **state)
{
	(void)state;
	fixture_start_kind(MIB(16), MMU_SHADOW);
	ram = object_new(RAM_PAGES);
	assert_int_equal(memslot_create(&vm, 1, GFN(0), RAM_PAGES, ram, 0, 0), 0);
	p = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG | CR0_WP,
		.cr3 = 1 << 12,
		.cr4 = CR4_PAE,
		.efer = EFER_LME | EFER_LMA | EFER_NXE,
		.rflags = 2,
		.maxphyaddr = 39,
	};
	for (u32 table = 1; table < 4; table++)
		entry(table, 0, table + 1, MARKED);
	entry(4, 0, PAGE, MARKED);
	entry(PAGE, 0, 0, 0); /* resident */
	assert_int_equal(mmu_shadow_load(&vcpu, &p), 0);
	shadow_cpu_forget();
	raced = PAGE;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_null(meanwhile); /* it was reached */
	assert_null(mmu_audit(&vm));
	gmem_unref(ram);
	fixture_end();
	return 0;
}

static int fault_at(u64 gva)
{
	struct shadow_answer answer;

	return mmu_shadow_fault(&vcpu, &p, GVA(gva), MMU_WRITE, &answer);
}

static u64 frame_now(u64 index)
{
	return gmem_entry_pfn(gmem_entry(ram, index)).v;
}

/* The page's contents move to another frame, and the old one is free. */
static void take_page(void)
{
	u64 entry_was;
	pfn_t pfn;

	gmem_invalidate_begin(ram, raced, 1);
	assert_int_equal(gmem_claim(ram, raced, &entry_was), 0);
	gmem_unmap(ram, raced, 1);
	assert_int_equal(frame_alloc(0, FRAME_ZERO, &pfn), 0);
	frame_free(gmem_entry_pfn(entry_was), 0);
	gmem_settle(ram, raced, pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE);
	gmem_invalidate_end(ram, raced, 1);
}

/* R08: the sequence is read before the page is looked up, and again under the lock of the link. */
static void a_page_that_was_taken_is_not_linked(void **state)
{
	u64 retries = STAT(faults_retry), at;

	(void)state;
	meanwhile = take_page;
	assert_int_equal(fault_at(0), 0);
	assert_int_equal(STAT(faults_retry), retries + 1);
	assert_false(shadow_cpu(&vcpu, &p, 0, MMU_READ, &at));
	assert_int_equal(fault_at(0), 0);
	assert_true(shadow_cpu(&vcpu, &p, 0, MMU_WRITE, &at));
	assert_int_equal(at >> 12, frame_now(PAGE));
	assert_int_not_equal(at >> 12, frame_before);
}

static void begin(void)
{
	gmem_invalidate_begin(ram, PAGE, 1);
}

/* One that only began holds it off too. */
static void an_invalidation_that_began_holds_it_off(void **state)
{
	bool linked;
	u64 at;

	(void)state;
	meanwhile = begin;
	assert_int_equal(fault_at(0), 0);
	linked = shadow_cpu(&vcpu, &p, 0, MMU_READ, &at);
	gmem_invalidate_end(ram, PAGE, 1);
	assert_false(linked);
	assert_int_equal(fault_at(0), 0);
	assert_true(shadow_cpu(&vcpu, &p, 0, MMU_READ, &at));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_page_that_was_taken_is_not_linked),
		TEST(an_invalidation_that_began_holds_it_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
