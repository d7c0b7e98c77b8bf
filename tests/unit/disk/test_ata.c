/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/disk/ata.c kernel/disk/ata_transfer.c @mem tests/unit/mem/fixture.c tests/unit/disk/fake_ata.c */
/* The ATA driver against a channel of this process: what is there, and what is moved. */
#include <pthread.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "kernel/disk/ata_registers.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/disk/ata_fixture.h"

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
		CASE(no_memory_for_dma),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
