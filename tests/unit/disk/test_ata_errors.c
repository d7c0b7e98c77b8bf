/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/disk/ata.c kernel/disk/ata_transfer.c @mem tests/unit/mem/fixture.c tests/unit/disk/fake_ata.c */
/* The ATA driver against a channel of this process that does wrong. */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/disk/ata_registers.h"
#include "smp/timer.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/disk/ata_fixture.h"

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

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
