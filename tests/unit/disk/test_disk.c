/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/disk/disk.c */
/* unit-sanitizer: thread */
/*
 * The thread of a channel, on a thread of the host: which requests it carries out when, and what it counts
 * for meanwhile. A transfer ends when the test says so.
 */
#include "kernel/base/error.h"
#include "kernel/base/pci_config.h"
#include "kernel/disk/disk.h"
#include "mem/frame.h"
#include "smp/irq.h"
#include "smp/thread.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#define GET(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)

/* --- What it counts for --- */

static s32 lifted; /* atomic */
static u32 lifts;  /* atomic: times */

void thread_lift(struct thread *t, u32 by)
{
	assert_string_equal(t->name, "ata0");
	__atomic_fetch_add(&lifts, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&lifted, (s32)by, __ATOMIC_SEQ_CST);
}

void thread_lower(struct thread *t, u32 by)
{
	assert_string_equal(t->name, "ata0");
	__atomic_fetch_sub(&lifted, (s32)by, __ATOMIC_SEQ_CST);
}

/* --- The disk --- */

struct transfer {
	u64 sector;
	u32 count;
	bool write;
	s32 lifted;
};

static struct transfer transfers[32];
static u32 begun, may_end; /* atomic */

int ata_transfer(struct ata_disk *d, u64 sector, void *const *pages, u32 count, bool write,
		 struct ata_failure *why)
{
	u32 n = begun;

	transfers[n] = (struct transfer){sector, count, write, GET(lifted)};
	__atomic_store_n(&begun, n + 1, __ATOMIC_SEQ_CST);
	hosted_wait_until(GET(may_end) > n);
	return 0;
}

bool pci_ide_next(u32 *cursor, struct pci_ide *out)
{
	*out = (struct pci_ide){.channel[0] = {.command = 0x1f0, .control = 0x3f6}};
	return (*cursor)++ == 0;
}

int ata_identify(struct ata_channel *ch, u32 drive, struct ata_disk *out)
{
	*out = (struct ata_disk){.channel = ch, .drive = drive, .sectors = 1000};
	return drive ? ERR_NOENT : 0;
}

NOTHING(ata_channel_init, struct ata_channel *ch, u16 command, u16 control, u16 bus_master)
NOTHING(ata_interrupt, struct ata_channel *ch)
ANSWER(int, ata_channel_use_dma, 0, struct ata_channel *ch, bool high)
ANSWER(bool, ata_is_empty, false, struct ata_channel *ch)
ANSWER(int, irq_register_isa, 0, u32 isa_irq, irq_handler_t fn, void *arg)
ANSWER(const struct mem_range *, frame_ram, NULL, u32 *count)

/* --- Requests --- */

static struct disk_area area;
static struct swap_request requests[16];
static u32 requested, first; /* of the transfers of this test */
static u32 done;	     /* atomic */
static s32 lifted_at_done;   /* atomic */

static void is_done(struct swap_request *r)
{
	assert_int_equal(r->err, 0);
	__atomic_store_n(&lifted_at_done, GET(lifted), __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

static void add(struct list *batch, u64 block, bool write)
{
	struct swap_request *r = &requests[requested++];

	*r = (struct swap_request){.block = block, .write = write, .done = is_done};
	list_add_tail(&r->link, batch);
}

static void submit(u64 block, bool write)
{
	struct list batch = LIST_INIT(batch);

	add(&batch, block, write);
	area.device.submit(&area.device, &batch);
}

static void wait_begun(u32 n)
{
	hosted_wait_until(GET(begun) >= first + n);
}

static void let_end(u32 n)
{
	__atomic_store_n(&may_end, first + n, __ATOMIC_SEQ_CST);
}

static void expect(u32 n, u64 block, u32 count, bool write, bool is_lifted)
{
	struct transfer *t;

	wait_begun(n + 1);
	t = &transfers[first + n];
	assert_int_equal(t->sector, block * ATA_PAGE_SECTORS);
	assert_int_equal(t->count, count);
	assert_int_equal(t->write, write);
	assert_int_equal(t->lifted, is_lifted ? WEIGHT_LIFT : 0);
}

static int setup(void **state)
{
	(void)state;
	if (!area.disk) {
		disk_probe();
		area.disk = disk_at(0);
		assert_int_equal(disk_start(&area), 0);
	}
	first = GET(begun);
	requested = 0;
	done = lifts = 0;
	return 0;
}

/* All is done, and nobody waits any more. */
static int teardown(void **state)
{
	(void)state;
	let_end(ARRAY_SIZE(requests));
	hosted_wait_until(GET(done) == requested && GET(lifted) == 0);
	__atomic_store_n(&may_end, GET(begun), __ATOMIC_SEQ_CST);
	return 0;
}

/* --- Tests --- */

/* Until what was read has been handed over. */
static void lifted_for_a_read(void **state)
{
	submit(7, false);
	expect(0, 7, 1, false, true);
	let_end(1);
	hosted_wait_until(GET(done) == 1);
	assert_int_equal(GET(lifted_at_done), WEIGHT_LIFT);
}

static void not_for_a_write(void **state)
{
	submit(7, true);
	submit(9, true);
	expect(0, 7, 1, true, false);
	let_end(2);
	expect(1, 9, 1, true, false);
	assert_int_equal(GET(lifts), 0);
}

/* Who reads waits for that, too. */
static void a_read_comes_amid_a_write(void **state)
{
	submit(7, true);
	expect(0, 7, 1, true, false);
	submit(20, true);
	submit(9, false);
	assert_int_equal(GET(lifted), WEIGHT_LIFT);
	let_end(1);
	expect(1, 9, 1, false, true);
	let_end(2);
	/* Nobody is left that reads. */
	expect(2, 20, 1, true, false);
	assert_int_equal(GET(lifts), 1);
}

/* Reads that come one after the other, and a write that is not to wait for ever. */
static void lifted_once_for_many(void **state)
{
	static const struct {
		u64 block;
		u32 count;
		bool write;
	} order[] = {{0, 1, false}, {2, 2, false},  {6, 1, false}, {8, 1, false},
		     {5, 1, true},  {10, 1, false}, {12, 1, true}};
	struct list batch = LIST_INIT(batch);

	submit(0, false);
	wait_begun(1);
	add(&batch, 5, true);
	add(&batch, 12, true);
	for (u64 block = 2; block <= 10; block += 2)
		add(&batch, block == 4 ? 3 : block, false);
	area.device.submit(&area.device, &batch);
	for (u32 i = 0; i < ARRAY_SIZE(order); i++) {
		expect(i, order[i].block, order[i].count, order[i].write, order[i].block != 12);
		let_end(i + 1);
	}
	assert_int_equal(GET(lifts), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lifted_for_a_read),
		TEST(not_for_a_write),
		TEST(a_read_comes_amid_a_write),
		TEST(lifted_once_for_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
