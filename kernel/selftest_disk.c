/* SPDX-License-Identifier: MIT */
/*
 * Self-test of the swap disk, before any page is on it: blocks are written and read by requests as
 * mem/swap.c makes them, many at a time, with DMA and without; and what the disk refuses is an error
 * that it survives.
 */
#include "kernel/base/machine.h"
#include "kernel/base/string.h"
#include "kernel/disk/swap_disk.h"
#include "kernel/selftest_private.h"
#include "mem/frame.h"
#include "smp/timer.h"

#define BLOCKS	    48u
#define LATE_MAX    (BLOCKS / 4) /* of some 800 interrupts */
#define FIRST	    1u
#define DEADLINE_NS 20000000000ull
#define NS_PER_US   1000ull

static struct swap_request requests[BLOCKS];
static u32 missing; /* wait.lock */
static struct wait_queue wait = WAIT_QUEUE_INIT(wait);

static void done(struct swap_request *r)
{
	bool on = wait_lock(&wait);

	(void)r;
	missing--;
	wait_wake_all_locked(&wait);
	wait_unlock(&wait, on);
}

/* Every other block first, so that not all of them go in one command. */
static bool all_of(struct disk_area *a, u8 *const *pages, bool write)
{
	struct list batch = LIST_INIT(batch);

	missing = BLOCKS;
	for (u32 half = 0; half < 2; half++) {
		for (u32 i = half; i < BLOCKS; i += 2) {
			requests[i] = (struct swap_request){
				.block = FIRST + i, .page = pages[i], .write = write, .done = done};
			list_add_tail(&requests[i].link, &batch);
		}
	}
	a->device.submit(&a->device, &batch);
	return wait_event_until(&wait, missing == 0, clock_ns() + DEADLINE_NS);
}

static void pattern(u8 *page, u32 block, u32 salt)
{
	u64 x = block * 0x9e3779b97f4a7c15ull + salt;

	for (u32 i = 0; i < PAGE_SIZE / sizeof(x); i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(page + i * sizeof(x), &x, sizeof(x));
	}
}

static void write_and_read(struct selftest *t, struct disk_area *a, u8 *const *pages, u32 salt)
{
	static u8 wanted[PAGE_SIZE];

	for (u32 i = 0; i < BLOCKS; i++)
		pattern(pages[i], i, salt);
	if (!EXPECT(t, all_of(a, pages, true)))
		return;
	for (u32 i = 0; i < BLOCKS; i++) {
		EXPECT(t, requests[i].err == 0);
		memset(pages[i], 0, PAGE_SIZE);
	}
	if (!EXPECT(t, all_of(a, pages, false)))
		return;
	for (u32 i = 0; i < BLOCKS; i++) {
		pattern(wanted, i, salt);
		EXPECT(t, requests[i].err == 0 && !memcmp(pages[i], wanted, PAGE_SIZE));
	}
}

/*
 * The channel's thread has nothing to do, and its drive is used from here: sectors that are not there
 * are refused, and the next command works.
 */
static void refusal(struct selftest *t, struct disk_area *a, u8 *page)
{
	struct ata_disk *d = a->disk;
	u64 sectors = d->sectors;
	void *pages[] = {page};
	struct ata_failure why;

	EXPECT(t, ata_transfer(d, sectors - 1, pages, 1, false, &why) != 0);
	d->sectors = sectors + ATA_PAGE_SECTORS; /* now it is the disk that refuses */
	EXPECT(t, ata_transfer(d, sectors, pages, 1, false, &why) != 0);
	EXPECT(t, why.text[0] != 0);
	d->sectors = sectors;
	EXPECT(t, !d->dead);
	EXPECT(t, ata_transfer(d, a->first, pages, 1, false, &why) == 0);
	EXPECT(t, ata_flush(d, &why) == 0);
}

static void run(struct selftest *t, struct disk_area *a, u8 *const *pages)
{
	struct ata_disk *d = a->disk;
	bool dma = d->dma;
	u64 start = clock_ns(), with, without;

	write_and_read(t, a, pages, 1);
	with = clock_ns() - start;
	EXPECT(t, d->dma == dma);
	d->dma = false;
	start = clock_ns();
	write_and_read(t, a, pages, 2);
	without = clock_ns() - start;
	EXPECT(t, d->retries == 0);
	/* CPU 0 may be a thread of a busy host that stands still as the interrupt comes for it. */
	EXPECT(t, d->channel->lost_interrupts <= (machine_has_hypervisor() ? LATE_MAX : 0));
	refusal(t, a, pages[0]);
	d->dma = dma;
	d->dma_failures = 0;
	selftest_note(t, "%s, %u blocks there and back: %s %llu us, PIO %llu us", d->name, BLOCKS,
		      dma ? "DMA" : "PIO", with / NS_PER_US, without / NS_PER_US);
}

static void test_disk(struct selftest *t)
{
	u8 *pages[BLOCKS];
	struct disk_area *a;
	u64 blocks;
	u32 n = 0;

	a = swap_area(&blocks);
	if (!a || blocks < FIRST + BLOCKS) {
		selftest_skip(t, "there is no swap disk");
		return;
	}
	while (n < BLOCKS && (pages[n] = frame_alloc_page(0)))
		n++;
	if (EXPECT(t, n == BLOCKS))
		run(t, a, pages);
	while (n)
		frame_free_page(pages[--n]);
}

const struct selftest_case selftest_disk[] = {
	{"disk", test_disk, false},
	{NULL, NULL, false},
};
