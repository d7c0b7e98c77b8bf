/* SPDX-License-Identifier: MIT */
/* For test_ata*.c: the channel of fake_ata.h, switched on anew for each case, and pages to move. */
#ifndef TESTS_UNIT_DISK_ATA_FIXTURE_H
#define TESTS_UNIT_DISK_ATA_FIXTURE_H

#include <string.h>
#include "kernel/disk/ata.h"
#include "tests/unit/disk/fake_ata.h"
#include "tests/unit/mem/fixture.h"

static struct ata_channel ch;
static struct ata_disk disk;
static struct ata_failure why;

static u8 *pages[ATA_PAGES_MAX];

static void switch_on(bool dma)
{
	ata_channel_init(&ch, FAKE_ATA_COMMAND, FAKE_ATA_CONTROL, dma ? FAKE_ATA_MASTER : 0);
	ch.has_interrupt = true;
	ch.timeout_ns = 30000000;
	ch.reset_ns = 20000000;
	if (dma)
		assert_int_equal(ata_channel_use_dma(&ch, false), 0);
	assert_int_equal(ata_identify(&ch, 0, &disk), 0);
	strcpy(disk.name, "ata0");
	m.commands = 0;
}

static int setup(void **state)
{
	start(MIB(16));
	fake_ata_start(&ch);
	for (u32 i = 0; i < ATA_PAGES_MAX; i++)
		pages[i] = frame_alloc_page(FRAME_ZERO);
	switch_on(true);
	return 0;
}

static int teardown(void **state)
{
	fake_ata_end();
	return 0;
}

static int move(u64 sector, u32 count, bool write)
{
	return ata_transfer(&disk, sector, (void *const *)pages, count, write, &why);
}

static void there_and_back(u64 sector, u32 count)
{
	for (u32 i = 0; i < count; i++)
		memset(pages[i], (int)(0x30 + i), PAGE_SIZE);
	assert_int_equal(move(sector, count, true), 0);
	for (u32 i = 0; i < count; i++) {
		for (u32 k = 0; k < ATA_PAGE_SECTORS; k++)
			assert_int_equal(fake_ata_contents(sector + i * ATA_PAGE_SECTORS + k)[k],
					 0x30 + i);
		memset(pages[i], 0, PAGE_SIZE);
	}
	assert_int_equal(move(sector, count, false), 0);
	for (u32 i = 0; i < count; i++) {
		for (u32 k = 0; k < PAGE_SIZE; k++)
			assert_int_equal(pages[i][k], 0x30 + i);
	}
	assert_int_equal(disk.retries, 0);
	assert_int_equal(m.resets, 0);
}

#endif
