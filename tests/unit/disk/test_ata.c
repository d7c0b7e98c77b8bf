/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/disk/ata.c kernel/disk/ata_transfer.c @mem tests/unit/mem/fixture.c tests/unit/disk/fake_ata.c */
/* The ATA driver against a channel of this process. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "kernel/disk/ata_registers.h"
#include "smp/timer.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/disk/fake_ata.h"
#include "tests/unit/mem/fixture.h"

static struct ata_channel ch;
static struct ata_disk disk;
static struct ata_failure why;

/* --- Fixture -------------------------------------------------------------------------------- */

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

/* --- IDENTIFY ------------------------------------------------------------------------------- */

static void identity(void **state)
{
	assert_string_equal(disk.model, "FAKE DISK");
	assert_int_equal(disk.sectors, FAKE_ATA_SECTORS);
	assert_true(disk.lba48 && disk.dma);
}

static void large_disk(void **state)
{
	m.sectors = BIT(33) + 5;
	switch_on(false);
	assert_int_equal(disk.sectors, BIT(33) + 5);
	assert_false(disk.dma); /* the channel has none */
	m.wide = false;
	switch_on(true);
	assert_int_equal(disk.sectors, 0xfffffff);
}

static void what_is_no_disk(void **state)
{
	struct ata_disk other;

	assert_int_equal(ata_identify(&ch, 1, &other), ERR_NOENT); /* nothing is there */
	m.slave_is_cdrom = true;
	assert_int_equal(ata_identify(&ch, 1, &other), ERR_NOENT);
	m.lba = false;
	assert_int_equal(ata_identify(&ch, 0, &other), ERR_NOTSUP);
	m.lba = true;
	m.hang = 1;
	assert_int_equal(ata_identify(&ch, 0, &other), ERR_TIMEOUT);
	m.gone = true;
	assert_int_equal(ata_identify(&ch, 0, &other), ERR_NOENT);
	assert_true(ata_is_empty(&ch));
	m.gone = false;
	assert_false(ata_is_empty(&ch));
	m.unplugged = true; /* a resistor pulls down BSY */
	assert_int_equal(ata_identify(&ch, 0, &other), ERR_NOENT);
	assert_true(ata_is_empty(&ch));
}

/* A sector of 4 KiB is not what the driver counts in: it would be given eight times too much. */
static void sectors_of_4k(void **state)
{
	struct ata_disk other;

	m.large_sectors = true;
	assert_int_equal(ata_identify(&ch, 0, &other), ERR_NOTSUP);
}

/* What 28 bits cannot name nobody believes of a drive without the commands for more. */
static void too_large_for_28_bits(void **state)
{
	struct ata_disk other;

	m.wide = false;
	m.lie = true;
	assert_int_equal(ata_identify(&ch, 0, &other), 0);
	assert_int_equal(other.sectors, BIT(28) - 1);
}

/* --- Reading and writing -------------------------------------------------------------------- */

static void by_dma(void **state)
{
	there_and_back(8, 1);
	there_and_back(1000, ATA_PAGES_MAX);
	assert_int_equal(m.transferred, 2 + 2 * ATA_PAGES_MAX);
	assert_int_equal(m.ext_commands, 0);
}

static void by_pio(void **state)
{
	switch_on(false);
	there_and_back(8, 1);
	there_and_back(1000, ATA_PAGES_MAX);
	assert_int_equal(m.dma_commands, 0);
}

/* The last sector that 28 bits could say is beyond them, for most drives. */
static void beyond_28_bits(void **state)
{
	m.sectors = BIT(40);
	for (u32 dma = 0; dma < 2; dma++) {
		switch_on(dma);
		m.ext_commands = 0;
		there_and_back(BIT(28) - 16, 1);
		there_and_back(BIT(28) - 9, 1);
		assert_int_equal(m.ext_commands, 0);
		there_and_back(BIT(28) - 8, 1);
		there_and_back(BIT(28) - 8, 2);
		there_and_back(0x123456789a, 3);
		assert_int_equal(m.ext_commands, 6);
	}
}

static void up_to_its_end(void **state)
{
	there_and_back(FAKE_ATA_SECTORS - 8, 1);
	m.commands = 0;
	assert_int_equal(move(FAKE_ATA_SECTORS - 7, 1, false), ERR_RANGE);
	assert_int_equal(move(~0ull - 3, 1, false), ERR_RANGE);
	assert_int_equal(move(0, ATA_PAGES_MAX, true), 0);
	assert_int_equal(m.commands, 1);
}

/* Pages that the bus master does not reach go through others. */
static void above_4g(void **state)
{
	hosted_arena_init(GIB(5));
	ch.prds = pfn_to_virt(PFN(10));
	ch.bounce = pfn_to_virt(PFN(100));
	for (u32 i = 0; i < ATA_PAGES_MAX; i++)
		pages[i] = pfn_to_virt(PFN((i % 3 ? 1000 : (GIB(4) >> PAGE_SHIFT)) + i));
	there_and_back(64, ATA_PAGES_MAX);
	assert_true(m.dma_commands);
}

static void takes_a_while(void **state)
{
	ch.timeout_ns = 1000000000;
	m.busy_looks = 100;
	there_and_back(8, 2);
	assert_int_equal(disk.retries, 0);
}

static void interrupts_do_not_come(void **state)
{
	m.no_interrupts = true;
	ch.timeout_ns = 1000000000;
	m.busy_looks = 100;
	there_and_back(8, 2);
	assert_true(ch.lost_interrupts > 0);
	ch.has_interrupt = false;
	there_and_back(8, 2);
}

/* Nobody takes them who reads the status for that: the driver does, and believes no older one. */
static void interrupts_stand(void **state)
{
	ch.has_interrupt = false;
	m.no_interrupts = true;
	ch.timeout_ns = 1000000000;
	m.busy_looks = 5;
	m.slow_data = true;
	for (u32 i = 0; i < 3; i++) {
		there_and_back(8, 2);
		assert_false(m.intrq);
	}
	m.slow_data = false;
	switch_on(false);
	ch.has_interrupt = false;
	assert_false(m.intrq);
	there_and_back(8, 2);
	assert_false(m.intrq);
	assert_int_equal(ata_flush(&disk, &why), 0);
	assert_false(m.intrq);
}

/* An interrupt stands although the drive still moves data. */
static void an_interrupt_too_early(void **state)
{
	ch.timeout_ns = 1000000000;
	m.busy_looks = 5;
	m.slow_data = true;
	for (u32 i = 0; i < 3; i++) {
		m.early = true;
		there_and_back(8, 2);
	}
}

static void *late_interrupt(void *arg)
{
	hosted_cpu_set(5);
	usleep(3000);
	m.no_interrupts = false;
	m.looks = 0;
	ata_interrupt(&ch);
	return NULL;
}

/* It sleeps, and the interrupt wakes it long before it would look by itself. */
static void an_interrupt_wakes(void **state)
{
	pthread_t thread;

	ch.timeout_ns = 1000000000;
	m.busy_looks = 100;
	pthread_create(&thread, NULL, late_interrupt, NULL);
	assert_int_equal(move(8, 1, false), 0);
	pthread_join(thread, NULL);
}

static void flush(void **state)
{
	assert_int_equal(ata_flush(&disk, &why), 0);
	assert_int_equal(m.flushes, 1);
	m.bad_sector = 0;
	assert_int_equal(ata_flush(&disk, &why), ERR_IO);
	assert_non_null(strstr(why.text, "data unreadable"));
}

/* --- Errors --------------------------------------------------------------------------------- */

static void bad_sector(void **state)
{
	static const struct {
		u8 error;
		const char *text;
	} errors[] = {{0x40, "data unreadable"},
		      {0x10, "no such sector"},
		      {0x04, "command refused"},
		      {0x80, "data damaged on the cable"},
		      {0x00, "no reason given"}};

	for (u32 i = 0; i < ARRAY_SIZE(errors); i++) {
		disk.dma = true;
		disk.dma_failures = 0;
		m.bad_sector = 21;
		m.bad_error = errors[i].error;
		m.commands = 0;
		hosted_log_reset();
		assert_int_equal(move(16, 2, false), ERR_IO);
		assert_non_null(strstr(why.text, errors[i].text));
		assert_non_null(strstr(why.text, "PIO: ")); /* the last try went without DMA */
		assert_int_equal(m.commands, 3);
		/* The sector is bad, not DMA: others are moved by that. */
		m.dma_commands = 0;
		assert_int_equal(move(24, 2, true), 0);
		assert_int_equal(m.dma_commands, 1);
		assert_int_equal(hosted_log_count(LOG_WARN), 0);
		assert_false(disk.dead);
	}
}

/* A bad sector is none of the two failures in a row that take DMA from the drive, nor hides them. */
static void bad_sector_then_bad_dma(void **state)
{
	m.bad_sector = 21;
	assert_int_equal(move(16, 2, false), ERR_IO);
	m.dma_failures = 1;
	assert_int_equal(move(24, 2, false), 0);
	assert_true(disk.dma);
	m.dma_failures = 100;
	assert_int_equal(move(16, 2, false), ERR_IO);
	assert_true(disk.dma);
	assert_int_equal(move(24, 2, false), 0);
	assert_false(disk.dma);
}

static void bad_sector_by_pio(void **state)
{
	switch_on(false);
	m.bad_sector = 30;
	assert_int_equal(move(24, 2, true), ERR_IO);
	assert_int_equal(move(24, 2, false), ERR_IO);
	assert_non_null(strstr(why.text, "PIO: data unreadable, status 0x51, error 0x40"));
	m.bad_sector = ~0ull;
	disk.retries = 0;
	there_and_back(24, 2);
}

static void faults(void **state)
{
	m.bad_sector = 8;
	m.device_fault = true;
	assert_int_equal(move(8, 1, false), ERR_IO);
	assert_non_null(strstr(why.text, "device fault"));
	assert_int_equal(m.resets, 3);
	assert_true(disk.dma);
	m.bad_sector = ~0ull;
	assert_int_equal(move(8, 1, false), 0);
}

static void dma_fails_pio_works(void **state)
{
	m.dma_failures = 1;
	assert_int_equal(move(8, 1, false), 0);
	assert_true(disk.dma); /* once is no reason */
	hosted_log_reset();
	m.dma_failures = 2;
	assert_int_equal(move(8, 1, false), 0);
	assert_false(disk.dma);
	assert_string_equal(hosted_log_last(), "ata0: DMA failed 2 times in a row: by PIO from now "
					       "on, which is slow");
	assert_int_equal(disk.retries, 3);
	assert_int_equal(move(8, 1, false), 0);
	assert_int_equal(hosted_log_count(LOG_WARN), 1); /* said once */
	disk.dma = true;
	disk.dma_failures = 0;
	m.master_fails = true;
	assert_int_equal(move(8, 1, true), 0);
	assert_false(disk.dma);
}

static void hangs_once(void **state)
{
	m.hang = 1;
	assert_int_equal(move(8, 1, false), 0);
	assert_int_equal(m.resets, 1);
	assert_int_equal(disk.retries, 1);
}

/* A reset selects the first drive, where nobody is. */
static void hangs_alone_as_the_second(void **state)
{
	m.second_alone = true;
	assert_int_equal(ata_identify(&ch, 0, &disk), ERR_NOENT);
	assert_int_equal(ata_identify(&ch, 1, &disk), 0);
	there_and_back(8, 1);
	m.hang = 1;
	assert_int_equal(move(8, 1, false), 0);
	assert_int_equal(m.resets, 1);
	assert_false(disk.dead);
	disk.retries = m.resets = 0;
	there_and_back(8, 1);
	/* One that does not come back is dead as any other. */
	m.hang = 1;
	m.unplugged = true;
	assert_int_equal(move(8, 1, false), ERR_IO);
	assert_true(disk.dead);
}

static void hangs_for_ever(void **state)
{
	m.forever_busy = true;
	hosted_log_reset();
	assert_int_equal(move(8, 1, false), ERR_TIMEOUT);
	assert_non_null(strstr(why.text, "no end, status 0x80"));
	assert_true(disk.dead);
	assert_non_null(strstr(hosted_log_last(), "ata0: does not come back"));
	m.commands = 0;
	assert_int_equal(move(8, 1, true), ERR_IO); /* at once */
	assert_int_equal(m.commands, 0);
	assert_int_equal(ata_flush(&disk, &why), ERR_IO);
	assert_int_equal(hosted_log_count(LOG_ERROR), 1);
}

/* Every reset brings it back, and nothing else does: it is not waited for without an end. */
static void ends_nothing(void **state)
{
	hosted_log_reset();
	m.ends_none = true;
	assert_int_equal(move(8, 1, false), ERR_TIMEOUT);
	assert_false(disk.dead);
	assert_true(disk.dma);
	assert_int_equal(move(8, 1, true), ERR_TIMEOUT);
	assert_true(disk.dead);
	assert_non_null(strstr(hosted_log_last(), "ata0: ends no command any more"));
	assert_int_equal(m.commands, 6);
	assert_int_equal(move(8, 1, true), ERR_IO);
	assert_int_equal(m.commands, 6);
	/* But one that ends some is. */
	m.ends_none = false;
	m.hanging = false;
	m.status = 0x50;
	switch_on(true);
	for (u32 i = 0; i < 10; i++) {
		m.hang = 2;
		assert_int_equal(move(8, 1, false), 0);
		disk.dma = true;
	}
	assert_false(disk.dead);
}

/* The other drive of the channel answers for it: not busy, not ready. */
static void only_the_other_answers(void **state)
{
	m.other_only = true;
	assert_int_equal(move(8, 1, false), ERR_IO);
	assert_non_null(strstr(why.text, "no drive answers"));
	assert_true(disk.dead);
	assert_int_equal(m.commands, 0);
}

/* The bus master still has descriptors: not all was moved. */
static void moves_too_little(void **state)
{
	m.moves_half = true;
	assert_int_equal(move(8, 2, true), 0); /* by PIO in the end */
	assert_false(disk.dma);
	assert_int_equal(disk.retries, 2);
	disk.dma = true;
	disk.dma_failures = 0;
	m.bad_sector = 8;
	assert_int_equal(move(8, 2, true), ERR_IO);
}

/* One deadline for all sectors of a command by PIO, each of which comes just in time. */
static void slow_sectors(void **state)
{
	u64 began;

	switch_on(false);
	ch.timeout_ns = 40000000;
	m.sector_ns = 10000000;
	began = clock_ns();
	assert_int_equal(move(8, ATA_PAGES_MAX, false), ERR_TIMEOUT);
	assert_true(clock_ns() - began < 1500000000);
}

static void disappears(void **state)
{
	m.gone = true;
	assert_int_equal(move(8, 1, false), ERR_IO);
	assert_non_null(strstr(why.text, "no drive answers"));
	assert_true(disk.dead);
}

static void no_memory_for_dma(void **state)
{
	for (u32 n = 1; n <= 2; n++) {
		ata_channel_init(&ch, FAKE_ATA_COMMAND, FAKE_ATA_CONTROL, FAKE_ATA_MASTER);
		hosted_fail_after(n);
		assert_int_equal(ata_channel_use_dma(&ch, true), ERR_NOMEM);
		assert_int_equal(ch.bus_master, 0);
	}
	hosted_fail_after(0);
	ata_channel_init(&ch, FAKE_ATA_COMMAND, FAKE_ATA_CONTROL, FAKE_ATA_MASTER);
	assert_int_equal(ata_channel_use_dma(&ch, true), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(identity),
		CASE(large_disk),
		CASE(what_is_no_disk),
		CASE(sectors_of_4k),
		CASE(too_large_for_28_bits),
		CASE(by_dma),
		CASE(by_pio),
		CASE(beyond_28_bits),
		CASE(up_to_its_end),
		CASE(above_4g),
		CASE(takes_a_while),
		CASE(interrupts_do_not_come),
		CASE(interrupts_stand),
		CASE(an_interrupt_too_early),
		CASE(an_interrupt_wakes),
		CASE(flush),
		CASE(bad_sector),
		CASE(bad_sector_then_bad_dma),
		CASE(bad_sector_by_pio),
		CASE(faults),
		CASE(dma_fails_pio_works),
		CASE(hangs_once),
		CASE(hangs_alone_as_the_second),
		CASE(hangs_for_ever),
		CASE(ends_nothing),
		CASE(only_the_other_answers),
		CASE(moves_too_little),
		CASE(slow_sectors),
		CASE(disappears),
		CASE(no_memory_for_dma),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
