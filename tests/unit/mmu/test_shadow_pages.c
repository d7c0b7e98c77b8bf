/* SPDX-License-Identifier: MIT */
/* unit-sources: @mmu @mem tests/unit/mmu/fixture.c tests/unit/mmu/shadow_cpu.c
   tests/unit/mmu/shadow_guest.c */
/*
 * Shadow paging, one thing at a time: what a guest could drive without a bound, and what tells shadow
 * pages of one table apart. The random guest (test_shadow_random) finds what is wrong in ordinary ones.
 */
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"
#include "mmu/shadow_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/shadow_cpu.h"
#include "tests/unit/mmu/shadow_guest.h"

#define RAM_PAGES 2048u
#define RWU	  7ull
#define CHAINS	  512u /* of a VM without slots */

static int start(void **state)
{
	(void)state;
	shadow_guest_start(MIB(32), RAM_PAGES);
	load();
	return 0;
}

static u64 frame_at(u64 gfn)
{
	pfn_t pfn;

	assert_int_equal(gmem_lookup(ram, gfn, false, &pfn), 0);
	return pfn_to_hpa(pfn).v;
}

static u32 chain_of(u64 gfn)
{
	const u64 *word = rmap_word(&vm.slots->slots[0], GFN(gfn));
	u32 n = 0;

	while (rmap_spte(word, n))
		n++;
	return n;
}

/* --- Bounds --- */

static u32 gave_way; /* faults that met a full chain */

/*
 * Page 100 is read there. What a full chain gives up for it CPUs may have cached, and no later change
 * comes by it: it is flushed (R13).
 */
static void read_with_chain(u64 gva, const u64 *word)
{
	u64 faults = STAT(faults), flushes = STAT(flushes), at;
	bool full = rmap_is_full(word);

	assert_int_equal(shadow_access(gva, MMU_READ, &at), 0);
	assert_int_equal(at, frame_at(100));
	if (!full || STAT(faults) == faults)
		return;
	assert_true(STAT(flushes) > flushes);
	gave_way++;
}

/* All addresses of several tables lead to one page. */
static void one_page_at_many_addresses(void **state)
{
	u64 at;

	for (u32 table = 0; table < 3; table++) {
		entry(3, table, 10 + table, MARKED);
		for (u32 i = 0; i < 512; i++)
			entry(10 + table, i, 100, MARKED);
	}
	assert_int_equal(shadow_access(0, MMU_READ, &at), 0);
	gave_way = 0;
	for (u64 gva = 0; gva < 3ull << 21; gva += PAGE_SIZE)
		read_with_chain(gva, rmap_word(&vm.slots->slots[0], GFN(100)));
	assert_int_not_equal(gave_way, 0);
	assert_in_range(chain_of(100), 2, RMAP_CHAIN_MAX);
	assert_null(mmu_audit(&vm));
	/* Each of them comes again. */
	for (u64 gva = 0; gva < 3ull << 21; gva += 37 * PAGE_SIZE)
		assert_int_equal(shadow_access(gva, MMU_READ, &at), 0);
	assert_int_equal(mmu_unmap(&vm, GFN(100), 1), 1);
	assert_int_equal(chain_of(100), 0);
	(void)state;
}

/* One table is behind each entry of two others. */
static void one_table_at_many_addresses(void **state)
{
	struct shadow_page *sp;
	u64 at;
	u32 n = 0;

	gave_way = 0;
	entry(4, 0, 100, MARKED);
	entry(2, 1, 5, MARKED);
	for (u32 i = 0; i < 512; i++) {
		entry(3, i, 4, MARKED);
		entry(5, i, 4, MARKED);
	}
	assert_int_equal(shadow_access(0, MMU_READ, &at), 0);
	for (u64 gva = 0; gva < 2ull << 30; gva += BIT(21))
		read_with_chain(gva, &shadow_page_for_table(4)->parents);
	assert_int_not_equal(gave_way, 0);
	list_for_each_entry (sp, &vm.shadow->active, link) {
		if (sp->gfn.v != 4)
			continue;
		while (rmap_spte(&sp->parents, n))
			n++;
	}
	assert_in_range(n, 2, RMAP_CHAIN_MAX);
	(void)state;
}

/* The room goes: not all at once, under the lock, and not what a vCPU is at (R33). */
static void room_goes_step_by_step(void **state)
{
	const struct shadow_page *root = vcpu.shadow.root[0];
	u64 zapped, at;

	for (u32 i = 0; i <= 500; i++) {
		entry(3, i, 100 + i, MARKED);
		entry(100 + i, 0, 90, MARKED);
	}
	vm.shadow->limit = 1000;
	vm.shadow->limit_generation = vm.slots_generation;
	for (u64 gva = 0; gva < 500ull << 21; gva += BIT(21))
		(void)shadow_access(gva, MMU_READ, &at);
	assert_in_range(vm.shadow->pages, 500, 600);
	vm.shadow->limit = 0;
	zapped = STAT(shadow_zapped);
	(void)shadow_access(500ull << 21, MMU_READ, &at);
	assert_in_range(STAT(shadow_zapped) - zapped, 16, 200);
	assert_ptr_equal(vcpu.shadow.root[0], root);
	(void)state;
}

/*
 * What the CPU goes by all the time has no faults; it stays all the same, while tables that are used
 * once come and go. What nobody uses any more goes.
 */
static void what_is_used_stays(void **state)
{
	u64 at, zapped = STAT(shadow_zapped);
	u32 gone = 0;

	for (u32 i = 0; i < 500; i++) {
		entry(3, i, 100 + i, MARKED);
		entry(100 + i, 0, 90, MARKED);
	}
	for (u32 i = 1; i < 500; i++) {
		/* By a walk: in the TLB nobody sees it. */
		shadow_cpu_forget_address(0);
		assert_int_equal(shadow_access(0, MMU_READ, &at), 0);
		assert_int_equal(shadow_access((u64)i << 21, MMU_READ, &at), 0);
		assert_int_equal(shadow_pages_of(100), 1);
	}
	assert_true(STAT(shadow_zapped) - zapped > 300);
	for (u32 i = 1; i < 400; i++) {
		assert_int_equal(shadow_access((u64)i << 21, MMU_READ, &at), 0);
		gone += !shadow_pages_of(100);
	}
	assert_in_range(gone, 100, 330);
	(void)state;
}

#define WAY(n) ((500ull + (n)) << 21)

/* Table 100 at so many addresses, and 480 others that come and go. */
static void begin_with_ways(u32 ways)
{
	u64 at;

	for (u32 i = 0; i < 512; i++)
		entry(100, i, 90, MARKED);
	for (u32 i = 0; i < 480; i++) {
		entry(3, i, 101 + i, MARKED);
		entry(101 + i, 0, 90, MARKED);
	}
	for (u32 way = 0; way < ways; way++) {
		entry(3, 500 + way, 100, MARKED);
		assert_int_equal(shadow_access(WAY(way), MMU_READ, &at), 0);
	}
}

/* By whichever of the entries that lead to it. */
static void what_is_used_by_one_way_stays(void **state)
{
	u64 at, zapped = STAT(shadow_zapped);

	begin_with_ways(3);
	for (u32 way = 0; way < 3; way++) {
		for (u32 i = 0; i < 480; i++) {
			shadow_cpu_forget_address(WAY(way));
			assert_int_equal(shadow_access(WAY(way), MMU_READ, &at), 0);
			assert_int_equal(shadow_access((u64)i << 21, MMU_READ, &at), 0);
			assert_int_equal(shadow_pages_of(100), 1);
		}
	}
	assert_true(STAT(shadow_zapped) - zapped > 900);
	(void)state;
}

/* Where they are more than are looked at a fault tells. */
static void what_faults_come_through_stays(void **state)
{
	u64 at, leaf = 1;

	begin_with_ways(8);
	for (u32 way = 0; way < 8; way++) {
		for (u32 i = 0; i < 480; i++) {
			if (i % 8 == 0)
				assert_int_equal(shadow_access(WAY(way) + (leaf++ << PAGE_SHIFT),
							       MMU_READ, &at),
						 0);
			assert_int_equal(shadow_access((u64)i << 21, MMU_READ, &at), 0);
			assert_int_equal(shadow_pages_of(100), 1);
		}
	}
	(void)state;
}

/* As many as a VM has are more than the lock is held for. */
static void all_go_step_by_step(void **state)
{
	u64 at, flushes;

	for (u32 i = 0; i < 100; i++) {
		entry(3, i, 100 + i, MARKED);
		entry(100 + i, 0, 300, MARKED);
	}
	for (u64 gva = 0; gva < 100ull << 21; gva += BIT(21))
		assert_int_equal(shadow_access(gva, MMU_READ, &at), 0);
	flushes = STAT(flushes);
	shadow_zap_all(&vm);
	assert_in_range(STAT(flushes) - flushes, 3, 10);
	assert_true(list_empty(&vm.shadow->active));
	assert_int_equal(shadow_access(0, MMU_READ, &at), 0);
	(void)state;
}

/* A look at all of them holds the lock for one at a time. */
static void looked_at_step_by_step(void **state)
{
	u32 before;
	u64 at;

	for (u32 i = 0; i < 100; i++) {
		entry(3, i, 100 + i, MARKED);
		entry(100 + i, 0, 300, MARKED);
	}
	for (u64 gva = 0; gva < 100ull << 21; gva += BIT(21))
		assert_int_equal(shadow_access(gva, MMU_READ, &at), 0);
	before = vm.mmu_lock.next;
	assert_null(mmu_audit(&vm));
	assert_true(vm.mmu_lock.next - before > 100);
	(void)state;
}

static bool auditing;	/* atomic */
static u32 begun, done; /* atomic: looks of the auditor */

static void *audit(void *arg)
{
	hosted_cpu_set(1);
	while (__atomic_load_n(&auditing, __ATOMIC_SEQ_CST)) {
		__atomic_fetch_add(&begun, 1, __ATOMIC_SEQ_CST);
		assert_null(mmu_audit(&vm));
		__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
	}
	return arg;
}

/* Until the auditor has looked at what is there now, and is about it again: which look that is. */
static u32 wait_for_look(void)
{
	u32 before = __atomic_load_n(&begun, __ATOMIC_SEQ_CST), look;

	while ((look = __atomic_load_n(&done, __ATOMIC_SEQ_CST)) <= before ||
	       __atomic_load_n(&begun, __ATOMIC_SEQ_CST) == look)
		cpu_relax();
	return look;
}

/* Pages go while they are looked at, that which is next among them. */
static void looked_at_while_they_go(void **state)
{
	u32 amid = 0;
	pthread_t thread;
	u64 at;

	for (u32 i = 0; i < 20; i++) {
		entry(3, i, 100 + i, MARKED);
		entry(100 + i, 0, 300, MARKED);
	}
	begun = done = 0;
	auditing = true;
	assert_int_equal(pthread_create(&thread, NULL, audit, NULL), 0);
	while (amid < 10) {
		u32 look;

		for (u64 gva = 0; gva < 20ull << 21; gva += BIT(21))
			assert_int_equal(shadow_access(gva, MMU_READ, &at), 0);
		look = wait_for_look();
		shadow_zap_all(&vm);
		amid += __atomic_load_n(&done, __ATOMIC_SEQ_CST) == look;
	}
	__atomic_store_n(&auditing, false, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	(void)state;
}

static u64 tsc_at_creation;

static u64 tsc(void)
{
	return tsc_at_creation;
}

static u32 most_in_a_bucket(struct shadow *sh, const u32 *gfns, u32 n)
{
	static u32 count[CHAINS];
	u32 most = 0;

	memset(count, 0, sizeof(count));
	for (u32 i = 0; i < n; i++)
		most = max(most, ++count[shadow_bucket(sh, GFN(gfns[i])) - sh->hash.bucket]);
	return most;
}

/*
 * Whatever gfns a guest takes for its tables, they are not all in one bucket: not those that differ in
 * high bits, nor those that were in one of another VM.
 */
static void no_bucket_is_the_guests_choice(void **state)
{
	static u32 gfns[64 * 256];
	static struct mmu_vm other[2];
	const u32 mean = ARRAY_SIZE(gfns) / CHAINS;
	u32 n = 0;

	hosted_machine.tsc = tsc;
	for (u32 i = 0; i < 2; i++) {
		tsc_at_creation = 1000003 + i;
		assert_int_equal(mmu_vm_create(&other[i], MMU_SHADOW), 0);
	}
	hosted_machine.tsc = NULL;
	assert_true(other[0].shadow->odd != other[1].shadow->odd);
	/* By twos of their bytes the lowest of these is 0 in all of them. */
	for (u32 high = 0; high < 64; high++) {
		for (u32 low = 0; low < 256; low++)
			gfns[n++] = high << 16 | low << 8 | low;
	}
	assert_in_range(most_in_a_bucket(other[0].shadow, gfns, n), mean, 2 * mean);
	assert_in_range(most_in_a_bucket(other[1].shadow, gfns, n), mean, 2 * mean);
	n = 0;
	for (u32 gfn = 0; n < ARRAY_SIZE(gfns); gfn++) {
		if (shadow_bucket(other[0].shadow, GFN(gfn)) == &other[0].shadow->hash.bucket[7])
			gfns[n++] = gfn;
	}
	assert_int_equal(most_in_a_bucket(other[0].shadow, gfns, n), n);
	assert_in_range(most_in_a_bucket(other[1].shadow, gfns, n), mean, 2 * mean);
	for (u32 i = 0; i < 2; i++)
		mmu_vm_destroy(&other[i]);
	(void)state;
}

/* A table that is used in many ways has a page for each of them. */
static void one_table_in_many_ways(void **state)
{
	u64 at, flushes;

	entry(4, 0, 100, MARKED);
	for (u32 i = 0; i < 64; i++) {
		/* In two ways before, too: each way has rights of its own. */
		paging.cr4 = CR4_PAE | (i & 1 ? CR4_SMEP : 0) | (i & 2 ? CR4_SMAP : 0);
		paging.cr0 = CR0_PE | CR0_PG | (i & 4 ? CR0_WP : 0);
		paging.rflags |= EFLAGS_AC;
		entry(3, 0, 4,
		      (MARKED & ~((i & 8 ? 2ull : 0) | (i & 16 ? 4ull : 0))) |
			      (i & 32 ? BIT(63) : 0));
		load();
		assert_int_equal(shadow_access(0, MMU_READ, &at), 0);
	}
	assert_int_equal(shadow_pages_of(4), 64);
	flushes = STAT(flushes);
	put((4 << 12) + 1, 0, 1);
	assert_int_equal(shadow_pages_of(4), 0);
	assert_in_range(STAT(flushes) - flushes, 2, 4);
	(void)state;
}

/* The pool has room for what each of many vCPUs needs at once. */
static void many_vcpus_have_room(void **state)
{
	static struct mmu_vcpu more[32];
	u64 zapped = STAT(shadow_zapped);

	for (u32 i = 0; i < 32; i++) {
		mmu_vcpu_init(&more[i], &vm);
		paging.cr3 = (200ull + i) << 12;
		for (u32 level = 0; level < 3; level++)
			entry(200 + i + 100 * level, 0, 300 + i + 100 * level, MARKED);
		assert_int_equal(mmu_shadow_load(&more[i], &paging), 0);
	}
	for (u32 i = 0; i < 32; i++) {
		struct shadow_answer answer;

		paging.cr3 = (200ull + i) << 12;
		entry(500 + i, 0, 600, MARKED);
		assert_int_equal(mmu_shadow_fault(&more[i], &paging, GVA(0), MMU_READ, &answer), 0);
	}
	assert_int_equal(STAT(shadow_zapped), zapped);
	for (u32 i = 0; i < 32; i++)
		mmu_vcpu_destroy(&more[i]);
	(void)state;
}

/* MOV to CR3 of the value that it has; but a root that went is made anew (R25). */
static void its_own_root_again(void **state)
{
	u64 made = STAT(shadow_made), at, other;
	struct shadow_page *root = vcpu.shadow.root[0];

	(void)state;
	load();
	assert_ptr_equal(vcpu.shadow.root[0], root);
	assert_int_equal(root->roots, 1);
	assert_int_equal(STAT(shadow_made), made);
	shadow_zap_all(&vm);
	assert_true(root->invalid);
	load();
	assert_false(vcpu.shadow.root[0]->invalid);
	assert_int_equal(STAT(shadow_made), made + 1);
	/* Another table, and the same one with other rights. */
	entry(4, 0, 100, MARKED);
	entry(6, 0, 2, MARKED);
	assert_int_equal(shadow_access(0, MMU_READ, &at), 0);
	paging.cr3 = 6 << 12;
	load();
	assert_int_equal(vcpu.shadow.root[0]->gfn.v, 6);
	paging.cr0 &= ~CR0_WP;
	load();
	assert_false(vcpu.shadow.root[0]->role.wp);
	assert_int_equal(shadow_access(0, MMU_READ, &other), 0);
	assert_int_equal(at, other);
}

/* --- Keys --- */

/* Bits 62:52 of an entry are the guest's in 4-level paging and reserved in PAE. */
static void pae_has_pages_of_its_own(void **state)
{
	struct shadow_answer answer;
	u64 at;

	entry(4, 0, 100, MARKED | BIT(55));
	assert_int_equal(shadow_access(0, MMU_READ, &at), 0);
	paging.efer = EFER_NXE;
	paging.pdpte[0] = 3 << 12 | 1;
	load();
	assert_int_equal(shadow_access(0, MMU_READ, &at), ERR_FAULT);
	assert_int_equal(mmu_shadow_fault(&vcpu, &paging, GVA(0), MMU_READ, &answer), ERR_FAULT);
	assert_int_equal(answer.error_code, PAGE_FAULT_P | PAGE_FAULT_RSVD);
	(void)state;
}

/* --- Writes --- */

/* A right is often taken by a locked AND of an entry's low byte: that is no reason to give a table up. */
static void low_byte_is_an_entrys(void **state)
{
	u64 at;

	entry(4, 0, 100, MARKED);
	assert_int_equal(shadow_access(0, MMU_WRITE, &at), 0);
	put(4 << 12, 0x65, 1);
	assert_int_equal(shadow_pages_of(4), 1);
	assert_int_equal(shadow_access(0, MMU_WRITE, &at), ERR_FAULT);
	put((4 << 12) + 1, 0, 1);
	assert_int_equal(shadow_pages_of(4), 0);
	(void)state;
}

/*
 * A table has entries of 8 bytes for one vCPU and of 4 for another: what marks an entry of the one may
 * change where the other's leads.
 */
static void marks_of_other_entries(void **state)
{
	const u64 high = 3ull << 20; /* gfn: the upper half of the entry is 3 */
	struct guest_paging before = paging;
	u64 at;

	assert_int_equal(memslot_create(&vm, 2, GFN(high), 16, ram, 512, 0), 0);
	entry(4, 0, high, MARKED);
	assert_int_equal(shadow_access(0, MMU_READ, &at), 0);
	assert_int_equal(at, frame_at(512));

	/* Its upper half is an entry that leads to page 0. */
	paging.cr4 = 0;
	paging.cr3 = 5 << 12;
	paging.efer = 0;
	put(5 << 12, 4 << 12 | MARKED, 4);
	load();
	assert_int_equal(shadow_access(PAGE_SIZE, MMU_WRITE, &at), 0);
	assert_int_equal(at, frame_at(0));

	paging = before;
	load();
	assert_int_equal(shadow_access(0, MMU_READ, &at), ERR_NOSLOT);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	(void)state;
}

/* --- What would go on for ever --- */

#define APIC_GFN 0xfee00

/* The page that is written is on the way to itself. */
static void a_table_that_maps_itself(void **state)
{
	struct gmem *page;
	u64 at;
	u32 n = 0;
	int err;

	entry(4, 0, 4, MARKED);
	for (err = 0; !err && n < 1000; n++) {
		assert_int_equal(shadow_access(0, MMU_WRITE, &at), SHADOW_EMULATE);
		err = mmu_shadow_let_write(&vcpu, GFN(4), 7);
	}
	assert_int_equal(err, ERR_NOTSUP);
	assert_in_range(n, 10, 100);
	/* Where the guest gets on now and then it is left alone. */
	entry(4, 1, 5, MARKED);
	entry(3, 1, 5, MARKED);
	for (n = 0; n < 1000; n++) {
		entry(5, 0, 6, MARKED);
		(void)shadow_access(BIT(21), MMU_READ, &at);
		assert_int_equal(shadow_access(PAGE_SIZE, MMU_WRITE, &at), SHADOW_EMULATE);
		assert_int_equal(mmu_shadow_let_write(&vcpu, GFN(5), n), 0);
		assert_int_equal(shadow_access(PAGE_SIZE, MMU_WRITE, &at), 0);
	}
	assert_int_equal(mmu_shadow_let_write(&vcpu, GFN(RAM_PAGES), 0), ERR_NOSLOT);
	/* The APIC-access page is no RAM of the guest's either. */
	assert_int_equal(gmem_create(1, &page), 0);
	assert_int_equal(memslot_create(&vm, 9, GFN(APIC_GFN), 1, page, 0, MEMSLOT_PRIVATE), 0);
	gmem_unref(page);
	assert_int_equal(mmu_shadow_let_write(&vcpu, GFN(APIC_GFN), 0), ERR_NOSLOT);
	assert_int_equal(memslot_delete(&vm, 9), 0);
	(void)state;
}

/*
 * An instruction that writes over the end of one table into another, each on the way to the other's
 * address: whichever is none any more is met as one again while the other is written.
 */
static void two_tables_that_map_each_other(void **state)
{
	static const u64 page[] = {4, 5};
	const struct guest_regs regs = {.rip = 0x1000};
	u64 at;
	u32 n = 0, served = 0;
	int err = 0;

	/* Page 4 is a table that shows page 5, page 5 is one that shows page 4. */
	entry(3, 1, 5, MARKED);
	entry(4, 0, 5, MARKED);
	entry(5, 0, 4, MARKED);
	for (; !err && n < 1000; n++) {
		u64 gva = n & 1 ? BIT(21) : 0; /* which shows the other */

		/* Where it is let write it may, until the other is written. */
		if (shadow_access(gva, MMU_WRITE, &at) == 0) {
			served++;
			continue;
		}
		err = mmu_shadow_let_write(&vcpu, GFN(page[~n & 1]), guest_regs_digest(&regs));
		served += shadow_access(gva, MMU_WRITE, &at) == 0;
		mmu_shadow_got_on(&vcpu, &regs);
	}
	assert_int_equal(err, ERR_NOTSUP);
	assert_in_range(n, 10, 200);
	assert_true(served > 10); /* so it was no page that kept its count */
	(void)state;
}

/*
 * An idle guest's interrupts come to a stack beside a table, again and again with the same registers;
 * what the handler then touches makes it a table anew.
 */
static void an_event_that_is_delivered_each_time(void **state)
{
	const struct guest_regs idle = {.rip = 0x1000}, handler = {.rip = 0x2000};
	u64 at;

	entry(4, 1, 5, MARKED);
	entry(3, 1, 5, MARKED);
	for (u32 n = 0; n < 200; n++) {
		entry(5, 0, 6, MARKED);
		(void)shadow_access(BIT(21), MMU_READ, &at);
		mmu_shadow_got_on(&vcpu, &handler);
		assert_int_equal(shadow_access(PAGE_SIZE, MMU_WRITE, &at), SHADOW_EMULATE);
		assert_int_equal(mmu_shadow_let_write(&vcpu, GFN(5), guest_regs_digest(&idle)), 0);
		assert_int_equal(shadow_access(PAGE_SIZE, MMU_WRITE, &at), 0);
		mmu_shadow_got_on(&vcpu, &idle);
	}
	(void)state;
}

/* A loop in which any of them changes gets on. */
static void each_register_is_in_the_digest(void **state)
{
	const struct guest_regs was = {.rip = 0x1000};

	for (u32 i = 0; i <= GPR_COUNT; i++) {
		for (u32 bit = 0; bit < 64; bit++) {
			struct guest_regs now = was;

			*(i < GPR_COUNT ? &now.gpr[i] : &now.rip) ^= BIT(bit);
			assert_true(guest_regs_digest(&now) != guest_regs_digest(&was));
		}
	}
	(void)state;
}

static u64 guest_entry(u64 table, u32 i)
{
	u64 e;

	assert_int_equal(gpa_read(&vm, GPA(table * PAGE_SIZE + 8 * i), &e, sizeof(e)), 0);
	return e;
}

#define ROM BIT(18) /* gfn: a read-only window onto pages 600 to 603 */

/*
 * A table in ROM whose entry has D clear: the CPU sets it, which goes nowhere, and writes. By a page of
 * 4 KiB and by one of 2 MiB, with which the entry is in another table.
 */
static void writes_through_a_table_in_rom(void **state)
{
	u64 at;

	entry(600, 0, 100, P | W | U | A);
	entry(600, 1, 101, P | W | U); /* nor A */
	entry(601, 0, 512, P | W | U | A | PS);
	assert_int_equal(memslot_create(&vm, 2, GFN(ROM), 4, ram, 600, MEMSLOT_READONLY), 0);
	entry(3, 1, ROM, MARKED);
	entry(2, 1, ROM + 1, MARKED);
	load();
	for (u32 cpl = 0; cpl < 4; cpl += 3) {
		paging.cpl = cpl;
		assert_int_equal(shadow_access(BIT(21), MMU_READ, &at), 0);
		assert_int_equal(shadow_access(BIT(21), MMU_WRITE, &at), 0);
		assert_int_equal(at, frame_at(100));
		assert_int_equal(shadow_access(BIT(21) + PAGE_SIZE, MMU_WRITE, &at), 0);
		assert_int_equal(at, frame_at(101));
		assert_int_equal(shadow_access(BIT(30) + PAGE_SIZE, MMU_READ, &at), 0);
		assert_int_equal(shadow_access(BIT(30) + PAGE_SIZE, MMU_WRITE, &at), 0);
		assert_int_equal(at, frame_at(513));
	}
	/* What may not be written may not be for that. */
	assert_int_equal(memslot_delete(&vm, 2), 0);
	entry(600, 0, 100, P | U | A);
	assert_int_equal(memslot_create(&vm, 2, GFN(ROM), 4, ram, 600, MEMSLOT_READONLY), 0);
	assert_int_equal(shadow_access(BIT(21), MMU_WRITE, &at), ERR_FAULT);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	(void)state;
}

/*
 * A that cannot be set in a table above is not D in the last one. Of two pages of 2 MiB that show
 * the same the one has D, and is written; by the other, which is below a table in ROM, the CPU is
 * still to set it.
 */
static void a_table_in_rom_above_one_in_ram(void **state)
{
	u64 at;

	entry(3, 2, 512, MARKED | PS);
	entry(602, 0, 6, P | W | U); /* no A */
	entry(6, 0, 512, P | W | U | A | PS);
	assert_int_equal(memslot_create(&vm, 2, GFN(ROM), 4, ram, 600, MEMSLOT_READONLY), 0);
	entry(1, 1, ROM + 2, MARKED);
	load();
	assert_int_equal(shadow_access(BIT(22) + PAGE_SIZE, MMU_WRITE, &at), 0);
	assert_int_equal(shadow_access(BIT(39) + PAGE_SIZE, MMU_READ, &at), 0);
	assert_int_equal(guest_entry(6, 0) & D, 0);
	assert_int_equal(shadow_access(BIT(39) + PAGE_SIZE, MMU_WRITE, &at), 0);
	assert_int_equal(at, frame_at(513));
	assert_int_equal(guest_entry(6, 0) & D, D);
	assert_int_equal(guest_entry(602, 0) & A, 0);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	(void)state;
}

/*
 * Two pages of 2 MiB that show the same and may not be written, CR0.WP is clear, and the one is in a
 * table in ROM: that the supervisor writes by it gives nothing to the other, whose D is still to be
 * set.
 */
static void a_large_page_in_rom_and_one_in_ram(void **state)
{
	u64 at;

	entry(601, 0, 512, P | U | A | PS);
	entry(3, 2, 512, P | U | A | PS);
	assert_int_equal(memslot_create(&vm, 2, GFN(ROM), 4, ram, 600, MEMSLOT_READONLY), 0);
	entry(2, 1, ROM + 1, MARKED);
	paging.cr0 &= ~CR0_WP;
	paging.cpl = 0;
	load();
	assert_int_equal(shadow_access(BIT(22) + PAGE_SIZE, MMU_READ, &at), 0);
	assert_int_equal(shadow_access(BIT(30) + PAGE_SIZE, MMU_WRITE, &at), 0);
	assert_int_equal(at, frame_at(513));
	assert_int_equal(guest_entry(3, 2) & D, 0);
	assert_int_equal(shadow_access(BIT(22) + PAGE_SIZE, MMU_WRITE, &at), 0);
	assert_int_equal(at, frame_at(513));
	assert_int_equal(guest_entry(3, 2) & D, D);
	assert_int_equal(memslot_delete(&vm, 2), 0);
	(void)state;
}

/* With SMAP the CPU reads no descriptor in a user's page, whatever AC says. */
static void implicit_access_with_ac(void **state)
{
	struct shadow_answer answer = {0};
	int err = 0;
	u32 n;

	entry(4, 0, 100, MARKED);
	paging.cr4 |= CR4_SMAP;
	paging.rflags |= EFLAGS_AC;
	load();
	for (n = 0; !err && n < 100; n++)
		err = mmu_shadow_fault(&vcpu, &paging, GVA(0x18), MMU_READ, &answer);
	assert_int_equal(err, ERR_FAULT);
	assert_int_equal(answer.error_code, PAGE_FAULT_P);
	assert_in_range(n, 3, 20);
	/* One of the program's own, later, is none. */
	assert_int_equal(mmu_shadow_fault(&vcpu, &paging, GVA(0x18), MMU_READ, &answer), 0);
	(void)state;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, shadow_guest_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_page_at_many_addresses),
		TEST(one_table_at_many_addresses),
		TEST(room_goes_step_by_step),
		TEST(what_is_used_stays),
		TEST(what_is_used_by_one_way_stays),
		TEST(what_faults_come_through_stays),
		TEST(all_go_step_by_step),
		TEST(looked_at_step_by_step),
		TEST(looked_at_while_they_go),
		TEST(no_bucket_is_the_guests_choice),
		TEST(one_table_in_many_ways),
		TEST(many_vcpus_have_room),
		TEST(pae_has_pages_of_its_own),
		TEST(low_byte_is_an_entrys),
		TEST(marks_of_other_entries),
		TEST(a_table_that_maps_itself),
		TEST(two_tables_that_map_each_other),
		TEST(an_event_that_is_delivered_each_time),
		TEST(implicit_access_with_ac),
		TEST(each_register_is_in_the_digest),
		TEST(its_own_root_again),
		TEST(writes_through_a_table_in_rom),
		TEST(a_table_in_rom_above_one_in_ram),
		TEST(a_large_page_in_rom_and_one_in_ram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
