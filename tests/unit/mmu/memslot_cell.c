/* SPDX-License-Identifier: MIT */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "mem/gmem_private.h"
#include "mem/pool.h"
#include "mem/share.h"
#include "mem/swap.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/fake_disk.h"
#include "tests/hosted/hosted.h"
#include "tests/hosted/random.h"
#include "tests/hosted/schedule.h"
#include "tests/unit/mmu/fixture.h"
#include "tests/unit/mmu/memslot_cell.h"

#define BASE  0x140u /* gfn of the slot */
#define PAGES 4u
#define WORDS (PAGE_SIZE / sizeof(u64))

#define BLOCKS 2048u /* one that cannot be read is not used again */

#define DELETE_STEP 7u /* from one of its points to the next that is tried: it has up to 1,750 */

enum {
	CHANGES, /* the page */
	DELETES, /* its slot */
	DISK,	 /* does what it is asked for; of cells that have it hold reads */
	JOBS
};

static struct gmem *ram;
static const struct cell *cell;
static u32 stopped; /* which of the two */
static bool begun;  /* atomic; what that does */
static u32 ended;   /* atomic: of the two */
static u32 told;    /* atomic: the object's owner, of the page that is lost */
static u64 frames;

static void is_told(void *arg, u64 index, u64 block, int err)
{
	assert_int_equal(index, 0);
	assert_int_equal(err, ERR_IO);
	__atomic_fetch_add(&told, 1, __ATOMIC_RELAXED);
}

int setup(void **state)
{
	machine_start(MIB(16));
	assert_int_equal(share_init(), 0); /* its table stays */
	frames = frames_free();
	assert_int_equal(mmu_vm_create(&vm, MMU_AUTO), 0);
	vm.fault_around = 1;
	mmu_vcpu_init(&vcpu, &vm);
	assert_int_equal(mmu_vcpu_topup(&vcpu), 0);
	ram = object_new(PAGES);
	gmem_set_share_group(ram, 1);
	gmem_on_lost(ram, is_told, NULL);
	return 0;
}

int teardown(void **state)
{
	struct pool_stats pool;
	struct share_stats shared;

	gmem_unref(ram);
	pool_get_stats(&pool);
	share_get_stats(&shared);
	assert_int_equal(pool.objects, 0);
	assert_int_equal(shared.frames, 0);
	mmu_vcpu_destroy(&vcpu);
	mmu_vm_destroy(&vm);
	assert_int_equal(hosted_locks_held(), 0);
	assert_int_equal(frames_free(), frames);
	return 0;
}

u64 zero(u32 i)
{
	return 0;
}

u64 one_word(u32 i)
{
	return 0x77;
}

u64 packs(u32 i)
{
	return i % 7 + 1;
}

u64 does_not_pack(u32 i)
{
	static u64 random;

	if (i == 0)
		random = 4711;
	return random_next(&random);
}

static enum gmem_state state_of(u64 index)
{
	return gmem_entry_state(gmem_entry(ram, index));
}

static void take(u64 pages)
{
	struct gmem_taken t = {0};
	u64 marked = BIT(pages) - 1;

	gmem_take(ram, 0, pages, &marked, &t);
}

static void check_contents(u64 index)
{
	const u64 *words;
	pfn_t pfn;

	if (gmem_entry(ram, index) & GMEM_LOST && state_of(index) == GMEM_SWAPPED) {
		assert_int_equal(gmem_get_page(ram, index, false, &pfn), ERR_IO);
		return;
	}
	assert_int_equal(gmem_get_page(ram, index, false, &pfn), 0);
	words = pfn_to_virt(pfn);
	for (u32 i = 0; i < WORDS; i++)
		assert_int_equal(words[i], cell->word(i));
}

/* What the disk was asked for. */
void do_requests(void)
{
	while (fake_disk_do(NULL))
		;
}

/* Pages that were put away, and a slot that shows them. */
static void prepare(void)
{
	pfn_t pfn;

	for (u64 page = 0; page < cell->alike; page++) {
		assert_int_equal(gmem_get_page(ram, page, true, &pfn), 0);
		for (u32 i = 0; i < WORDS; i++)
			((u64 *)pfn_to_virt(pfn))[i] = cell->word(i);
	}
	take(cell->alike);
	do_requests();
	assert_int_equal(memslot_create(&vm, 1, GFN(BASE), PAGES, ram, 0, 0), 0);
	cell->prepare();
	for (u64 page = 0; page < cell->alike; page++)
		assert_int_equal(state_of(page), cell->from);
}

void nothing(void)
{
}

void show_all(void)
{
	for (u64 page = 0; page < cell->alike; page++)
		assert_int_equal(touch(&vcpu, GPA((BASE + page) << 12), MMU_READ), 0);
}

void write_all(void)
{
	for (u64 page = 0; page < cell->alike; page++)
		assert_int_equal(touch(&vcpu, GPA((BASE + page) << 12), MMU_WRITE), 0);
}

/* They came from the disk, to be read, and are on it, too. */
void keep_all(void)
{
	show_all();
	for (u64 page = 0; page < cell->alike; page++)
		assert_true(gmem_entry_clean(gmem_entry(ram, page)));
}

/* On their way to the disk, which has done nothing yet. */
void send_all(void)
{
	write_all();
	take(cell->alike);
	assert_int_equal(fake_disk_waiting(), cell->alike);
}

/* Packed, and on its way. */
void send_packed(void)
{
	assert_int_equal(gmem_write_packed(ram, 0, 1, 0, 1), 1);
	assert_int_equal(fake_disk_waiting(), 1);
}

void hold_reads(void)
{
	fake_disk_hold(true);
}

/* The disk gives them once more, or it would be given up before long. */
void fail_reads(void)
{
	show_all();
	take(cell->alike);
	fake_disk_fail(1, 0);
	told = 0;
}

void lose_it(void)
{
	fail_reads();
	assert_int_equal(touch(&vcpu, GPA((u64)BASE << 12), MMU_READ), ERR_IO);
	assert_int_equal(told, 1);
}

static bool loses(void)
{
	return cell->prepare == fail_reads || cell->prepare == lose_it;
}

/* As the guest's access: again where it is not there yet, until there is no slot. */
static void access(u32 how)
{
	int err;

	do {
		err = touch(&vcpu, GPA((u64)BASE << 12), how);
	} while (err == ERR_AGAIN || (loses() && !err));
	assert_true(err == (loses() ? ERR_IO : 0) || err == ERR_NOSLOT);
}

void read_it(void)
{
	access(MMU_READ);
}

void write_it(void)
{
	access(MMU_WRITE);
}

/* Its frame is not the page's any more: nobody may have it mapped, whether the slot is there or not. */
void take_it(void)
{
	take(1);
	assert_int_equal(ept_walk(&vm, GPA((u64)BASE << 12)), 0);
}

void take_it_to_the_disk(void)
{
	take_it();
	assert_int_equal(fake_disk_waiting(), 1);
	do_requests();
}

/* The disk has the request, and then has done it. */
void send_it_to_the_disk(void)
{
	send_packed();
	do_requests();
}

static bool is_a_guests(void (*change)(void))
{
	return change == read_it || change == write_it;
}

static void delete_it(void)
{
	assert_int_equal(memslot_delete(&vm, 1), 0);
}

static void counted(void (*what)(void))
{
	__atomic_store_n(&begun, true, __ATOMIC_RELEASE);
	hosted_count_points();
	what();
	hosted_count_no_more();
	__atomic_fetch_add(&ended, 1, __ATOMIC_RELEASE);
}

/* Who is to be stopped is first. */
static void changes(void *arg)
{
	while (stopped != CHANGES && !__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
		hosted_stand(1);
	counted(cell->change);
}

static void deletes(void *arg)
{
	while (stopped != DELETES && !__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
		hosted_stand(1);
	counted(delete_it);
}

static void disk(void *arg)
{
	while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < DISK) {
		if (!fake_disk_do(NULL))
			hosted_stand(1);
	}
}

/* The owner knows of it, and of none that is not. */
static bool check_lost(void)
{
	bool lost = gmem_entry(ram, 0) & GMEM_LOST;

	fake_disk_fail(0, 0);
	assert_int_equal(lost, told > 0);
	return lost;
}

/* True: the change came about. */
static bool check(void)
{
	enum gmem_state now = state_of(0);
	bool came = now == cell->to;

	assert_int_equal(ept_walk(&vm, GPA((u64)BASE << 12)), 0);
	assert_true(now == cell->from || now == cell->to);
	if (loses())
		came = check_lost();
	fake_disk_hold_writes();
	for (u64 page = 0; page < cell->alike; page++)
		check_contents(page);
	assert_int_equal(gmem_drop_range(ram, 0, PAGES, NULL), 0);
	do_requests();
	grace();
	return came;
}

static void stop_at_points(u32 who, u32 step)
{
	const struct hosted_job jobs[JOBS] = {
		[CHANGES] = {"change", changes, NULL},
		[DELETES] = {"delete", deletes, NULL},
		[DISK] = {"disk", disk, NULL},
	};
	u32 came[2] = {0};

	stopped = who;
	for (u32 point = 1;; point += step) {
		struct hosted_way way = {.directed = true, .period = 1, .stop = {{who, point}}};

		prepare();
		begun = false;
		ended = 0;
		hosted_run(jobs, cell->prepare == hold_reads ? JOBS : DISK, &way);
		came[check()]++;
		if (hosted_points_counted(who) < point)
			break;
	}
	assert_true(came[true]);
	/* A guest's change does not come about where the slot goes first. */
	if (is_a_guests(cell->change) && cell->from != cell->to)
		assert_true(came[false]);
}

void at_each_point(const struct cell *c)
{
	cell = c;
	stop_at_points(CHANGES, 1);
	stop_at_points(DELETES, DELETE_STEP);
}

/* --- With a disk --- */

int setup_disk(void **state)
{
	int err = setup(state);

	fake_disk_init(BLOCKS);
	assert_int_equal(swap_attach(&fake_disk, BLOCKS, 4711), 0);
	fake_disk_hold_writes();
	return err;
}

int teardown_disk(void **state)
{
	struct swap_stats s;

	assert_int_equal(gmem_drop_range(ram, 0, PAGES, NULL), 0);
	swap_get_stats(&s);
	assert_int_equal(s.used + s.kept + s.writing, 0);
	swap_detach();
	return teardown(state);
}
