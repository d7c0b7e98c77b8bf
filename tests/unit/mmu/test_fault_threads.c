/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c */
/* unit-sanitizer: thread */
/*
 * vCPUs on several CPUs fault against deletion, moving and unmapping. Each CPU has a TLB that keeps
 * what it found in the tables and forgets it at INVEPT only; through it the guest reads a stamp
 * in each page that says which object and page it is. A page that was taken away under the guest,
 * or mapped where it does not belong, is thus noticed by its stamp or as a race.
 */
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mmu/invept.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#define GUESTS	    4
#define STEADY	    96 /* pages of a slot that stays */
#define FLEETING    96 /* pages of one that comes and goes, its object with it */
#define STEADY_GFN  0x400
#define PLACES	    3 /* where the other may be */
#define TLB_ENTRIES 64
#define ROUNDS	    150

static u64 place(u32 i)
{
	return 0x1fff0 + i * 0x200; /* the first one lies across two tables */
}

static bool stop;		    /* atomic */
static u64 reads, faults, no_slots; /* atomic */
static char complaint[120];
static u32 complaints; /* atomic */

#define complain(...)                                                          \
	do {                                                                   \
		if (__atomic_fetch_add(&complaints, 1, __ATOMIC_SEQ_CST) == 0) \
			snprintf(complaint, sizeof(complaint), __VA_ARGS__);   \
	} while (0)

struct tlb_entry {
	u64 gfn, entry;
};

static _Thread_local struct tlb_entry tlb[TLB_ENTRIES];

static bool forget(enum invept_type type, u64 eptp)
{
	memset(tlb, 0, sizeof(tlb));
	return true;
}

/* Every page says what it is, from the first. Written before any guest can have it. */
static u64 stamp(u64 object, u64 index)
{
	return 0xbead000000000000ull | object << 16 | index;
}

static void stamp_all(struct gmem *g, u64 object)
{
	for (u64 i = 0; i < g->pages; i++) {
		pfn_t pfn;

		assert_int_equal(gmem_get_page(g, i, true, &pfn), 0);
		__atomic_store_n((u64 *)pfn_to_virt(pfn), stamp(object, i), __ATOMIC_RELEASE);
	}
}

/* One read by the guest. False: it faulted. Interrupts are off. */
static bool guest_read(u64 gfn, u64 *value)
{
	struct tlb_entry *t = &tlb[gfn % TLB_ENTRIES];

	if (t->gfn != gfn || !t->entry) {
		t->gfn = gfn;
		t->entry = ept_walk(&vm, GPA(gfn << 12));
	}
	if (!t->entry)
		return false;
	*value = __atomic_load_n((u64 *)pfn_to_virt(PFN(EPT_PFN(t->entry))), __ATOMIC_ACQUIRE);
	return true;
}

static void check(u64 gfn, u64 value)
{
	if (gfn >= STEADY_GFN && gfn < STEADY_GFN + STEADY) {
		if (value != stamp(0, gfn - STEADY_GFN))
			complain("steady gfn %#lx holds %#lx", gfn, value);
		return;
	}
	for (u32 i = 0; i < PLACES; i++) {
		u64 index = gfn - place(i);

		if (index < FLEETING && (value & 0xffff) == index && value >> 48 == 0xbead)
			return;
	}
	complain("fleeting gfn %#lx holds %#lx", gfn, value);
}

static u64 pick(unsigned int *seed)
{
	u64 r = rand_r(seed);

	if (r & 1)
		return STEADY_GFN + (r >> 8) % STEADY;
	return place((r >> 4) % PLACES) + (r >> 8) % FLEETING;
}

/* Some reads in the guest, up to one that faults. */
static bool run_guest(unsigned int *seed, u64 *faulting)
{
	bool ok = true;

	irq_disable();
	mmu_enter(&vm);
	for (u32 i = 0; i < 8 && ok; i++) {
		u64 gfn = pick(seed), value;

		ok = guest_read(gfn, &value);
		if (ok)
			check(gfn, value);
		*faulting = gfn;
		__atomic_fetch_add(&reads, ok, __ATOMIC_RELAXED);
	}
	mmu_exit(&vm);
	irq_enable();
	return ok;
}

static void *guest(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	struct mmu_vcpu v;
	u64 gfn;

	hosted_cpu_set(seed);
	mmu_vcpu_init(&v, &vm);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		int err;

		if (mmu_vcpu_topup(&v))
			complain("no memory");
		if (run_guest(&seed, &gfn))
			continue;
		err = touch(&v, GPA(gfn << 12), MMU_READ);
		__atomic_fetch_add(&faults, 1, __ATOMIC_RELAXED);
		if (err == ERR_NOSLOT && gfn < STEADY_GFN + STEADY)
			complain("steady gfn %#lx has no slot", gfn);
		else if (err == ERR_NOSLOT)
			__atomic_fetch_add(&no_slots, 1, __ATOMIC_RELAXED);
		else if (err && err != ERR_AGAIN)
			complain("fault: %d", err);
	}
	mmu_vcpu_destroy(&v);
	return NULL;
}

/* Device emulation: reads and writes of its own, in the second half of pages. */
static void *device(void *arg)
{
	unsigned int seed = 99;

	hosted_cpu_set(40);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		u64 gfn = pick(&seed), value;
		int err = gpa_read(&vm, GPA(gfn << 12), &value, 8);

		if (!err)
			check(gfn, value);
		if (!err)
			err = gpa_write(&vm, GPA(gfn << 12 | 0x800), &value, 8);
		if (err && (err != ERR_NOSLOT || gfn < STEADY_GFN + STEADY))
			complain("device at %#lx: %d", gfn, err);
	}
	return NULL;
}

/* Takes pages of the steady slot away for good: their contents move to other frames. */
static void *reclaimer(void *arg)
{
	struct gmem *g = arg;
	unsigned int seed = 77;

	hosted_cpu_set(41);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		u64 index = rand_r(&seed) % STEADY, entry;
		u64 *old, *new;
		pfn_t pfn;

		gmem_invalidate_begin(g, index, 1);
		if (gmem_claim(g, index, &entry) == 0) {
			gmem_unmap(g, index, 1);
			old = pfn_to_virt(gmem_entry_pfn(entry));
			if (frame_alloc(0, FRAME_ZERO, &pfn))
				complain("no frame");
			new = pfn_to_virt(pfn);
			__atomic_store_n(new, __atomic_load_n(old, __ATOMIC_ACQUIRE),
					 __ATOMIC_RELEASE);
			memset(old, 0xee, PAGE_SIZE);
			frame_free(gmem_entry_pfn(entry), 0);
			gmem_settle(g, index, pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE);
		}
		gmem_invalidate_end(g, index, 1);
		sched_yield();
	}
	return NULL;
}

/* The fleeting slot: made, moved about, deleted, its frames given back and poisoned. */
static void come_and_go(u64 round)
{
	struct gmem *g = object_new(FLEETING);
	u32 at = round % PLACES;

	stamp_all(g, round % 100 + 1);
	if (memslot_create(&vm, 2, GFN(place(at)), FLEETING, g, 0, 0))
		complain("create");
	gmem_unref(g);
	for (u32 i = 1; i < PLACES; i++) {
		for (u32 wait = 0; wait < 5; wait++)
			sched_yield();
		if (memslot_move(&vm, 2, GFN(place((at + i) % PLACES))))
			complain("move");
	}
	if (memslot_delete(&vm, 2))
		complain("delete");
}

static void all_at_once(void **state)
{
	pthread_t guests[GUESTS], other[2];
	u64 leaves, tables;
	struct gmem *g;

	fixture_start(MIB(32));
	assert_int_equal(rcu_start(), 0);
	hosted_invept_hook = forget;
	g = object_new(STEADY);
	stamp_all(g, 0);
	assert_int_equal(memslot_create(&vm, 1, GFN(STEADY_GFN), STEADY, g, 0, 0), 0);
	for (u64 i = 0; i < GUESTS; i++)
		pthread_create(&guests[i], NULL, guest, (void *)(uintptr_t)(i + 1));
	pthread_create(&other[0], NULL, device, NULL);
	pthread_create(&other[1], NULL, reclaimer, g);
	for (u64 round = 0; round < ROUNDS; round++)
		come_and_go(round);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (u64 i = 0; i < GUESTS; i++)
		pthread_join(guests[i], NULL);
	pthread_join(other[0], NULL);
	pthread_join(other[1], NULL);

	if (complaints)
		fail_msg("%u complaints; the first: %s", complaints, complaint);
	ept_census(&vm, &leaves, &tables);
	assert_int_equal(leaves, STAT(mapped) - STAT(unmapped));
	assert_int_equal(tables, STAT(tables));
	print_message(
		"%lu reads, %lu faults, %lu without a slot, %lu retried, %lu flushes, %lu kicks\n",
		reads, faults, no_slots, STAT(faults_retry), STAT(flushes), STAT(kicks));
	assert_true(reads > 1000 && faults > 1000 && no_slots > 0);
	gmem_unref(g);
	fixture_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
