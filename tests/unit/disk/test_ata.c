/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/disk/ata.c kernel/disk/ata_transfer.c @mem tests/unit/mem/fixture.c */
/*
 * The ATA driver against a channel of this process: its registers, one disk on it, and all that
 * disks do wrong. What the driver writes to a register at the wrong time fails the test.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "kernel/disk/ata_registers.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mem/fixture.h"

#define COMMAND 0x1f0
#define CONTROL 0x3f6
#define MASTER	0xc000
#define SECTORS 4096u /* that have contents: others show those modulo this */

static struct ata_channel ch;
static struct ata_disk disk;
static struct ata_failure why;

/* --- The channel ---------------------------------------------------------------------------- */

static struct {
	/* what it is */
	u64 sectors;
	bool wide, dma, lba, slave_is_cdrom, no_drive;
	u8 bytes[SECTORS * ATA_SECTOR];
	/* what goes wrong */
	u64 bad_sector; /* cannot be read or written; ~0: none */
	u8 bad_error;	/* says so */
	bool device_fault, master_fails, no_interrupts, gone, forever_busy;
	u32 hang;	  /* so many commands never end, unless by a reset */
	u32 busy_looks;	  /* looks at the status for which a command takes */
	u32 dma_failures; /* so many DMA commands fail */
	/* registers, those with two halves with the older below */
	u8 count[2], low[2], mid[2], high[2], head, status, error;
	u8 control, master_command, master_status;
	u32 prds;
	/* the command under way */
	u8 command;
	u64 at;
	u32 left; /* sectors */
	u32 looks;
	u32 byte;
	u16 identity[256];
	u8 *data;
	/* what happened */
	u32 resets, commands, ext_commands, dma_commands, transferred, flushes;
} m;

static u8 *contents(u64 sector)
{
	return m.bytes + sector % SECTORS * ATA_SECTOR;
}

static void interrupt(void)
{
	if (!m.no_interrupts && !(m.control & 2))
		ata_interrupt(&ch);
}

static void end(u8 status, u8 error)
{
	m.status = 0x50 | status;
	m.error = error;
	m.data = NULL;
	m.command = 0;
	if (m.dma_commands)
		m.master_status |= BM_INTERRUPT;
	interrupt();
}

static bool is_wide(u8 command)
{
	return command == ATA_READ_EXT || command == ATA_WRITE_EXT || command == ATA_READ_DMA_EXT ||
	       command == ATA_WRITE_DMA_EXT;
}

static void take_address(bool wide)
{
	m.at = m.low[1] | (u64)m.mid[1] << 8 | (u64)m.high[1] << 16;
	m.left = m.count[1] ? m.count[1] : 256;
	if (!wide) {
		m.at |= (u64)(m.head & 0xf) << 24;
		return;
	}
	m.ext_commands++;
	m.at |= (u64)m.low[0] << 24 | (u64)m.mid[0] << 32 | (u64)m.high[0] << 40;
	m.left = m.count[1] | m.count[0] << 8;
}

static bool fails_here(void)
{
	if (m.at >= m.sectors)
		end(ATA_ERR, 0x10);
	else if (m.at == m.bad_sector && m.device_fault)
		end(ATA_DF, 0);
	else if (m.at == m.bad_sector)
		end(ATA_ERR, m.bad_error);
	else
		return false;
	return true;
}

/* The next sector's data, or the end. */
static void next_sector(bool first)
{
	if (m.left == 0) {
		end(0, 0);
		return;
	}
	if (fails_here())
		return;
	m.data = contents(m.at);
	m.byte = 0;
	m.status = 0x50 | ATA_DRQ;
	if (!first || m.command == ATA_READ || m.command == ATA_READ_EXT)
		interrupt();
}

static void identify(void)
{
	if (m.no_drive || ((m.head & ATA_DRIVE_1) && m.slave_is_cdrom)) {
		end(ATA_ERR, 0x04);
		return;
	}
	memset(m.identity, 0, sizeof(m.identity));
	m.identity[49] = (m.lba ? 1 << 9 : 0) | (m.dma ? 1 << 8 : 0);
	m.identity[60] = (u16)m.sectors;
	m.identity[61] = m.sectors > 0xfffffff ? 0x0fff : (u16)(m.sectors >> 16);
	if (m.sectors > 0xfffffff)
		m.identity[60] = 0xffff;
	m.identity[83] = m.wide ? 1 << 10 : 0;
	for (u32 i = 0; i < 4; i++)
		m.identity[100 + i] = (u16)(m.sectors >> 16 * i);
	for (u32 i = 0; i < 20; i++)
		m.identity[27 + i] =
			(u16)("FAKE DISK \x01                              "[2 * i] << 8 |
			      "FAKE DISK \x01                              "[2 * i + 1]);
	m.left = 1;
	m.data = (u8 *)m.identity;
	m.byte = 0;
	m.status = 0x50 | ATA_DRQ;
	interrupt();
}

static void run_dma(void)
{
	const u64 *prd = pfn_to_virt(PFN(m.prds >> PAGE_SHIFT));
	bool to_memory = m.command == ATA_READ_DMA || m.command == ATA_READ_DMA_EXT;

	assert_int_equal(to_memory, (m.master_command & BM_TO_MEMORY) != 0);
	m.dma_commands++;
	if (m.dma_failures || m.master_fails) {
		m.dma_failures -= m.dma_failures != 0;
		m.master_status |= m.master_fails ? BM_ERROR : 0;
		end(m.master_fails ? 0 : ATA_ERR, 0x80);
		return;
	}
	for (;; prd++) {
		u8 *page = (u8 *)pfn_to_virt(PFN((u32)*prd >> PAGE_SHIFT));

		assert_int_equal((*prd >> 32) & 0xffff, PAGE_SIZE);
		for (u32 i = 0; i < ATA_PAGE_SECTORS; i++, m.at++, m.left--) {
			if (fails_here())
				return;
			if (to_memory)
				memcpy(page + i * ATA_SECTOR, contents(m.at), ATA_SECTOR);
			else
				memcpy(contents(m.at), page + i * ATA_SECTOR, ATA_SECTOR);
		}
		m.transferred++;
		if (*prd >> 63)
			break;
	}
	assert_int_equal(m.left, 0);
	end(0, 0);
}

static void start_command(u8 command)
{
	assert_false(m.status & (ATA_BSY | ATA_DRQ));
	m.command = command;
	m.commands++;
	m.error = 0;
	if (m.hang || m.forever_busy) {
		m.hang -= m.hang != 0;
		m.status = ATA_BSY;
		return;
	}
	m.looks = m.busy_looks;
	m.status = ATA_BSY;
}

/* As the drive gets to it. */
static void go_on(void)
{
	u8 command = m.command;

	if (command == 0 || !(m.status & ATA_BSY) || m.hang == ~0u || m.forever_busy)
		return;
	if (m.looks) {
		m.looks--;
		return;
	}
	switch (command) {
	case ATA_IDENTIFY:
		identify();
		break;
	case ATA_READ:
	case ATA_WRITE:
	case ATA_READ_EXT:
	case ATA_WRITE_EXT:
		take_address(is_wide(command));
		next_sector(true);
		break;
	case ATA_READ_DMA:
	case ATA_WRITE_DMA:
	case ATA_READ_DMA_EXT:
	case ATA_WRITE_DMA_EXT:
		if (!(m.master_command & BM_START))
			break;
		take_address(is_wide(command));
		run_dma();
		break;
	case ATA_FLUSH:
	case ATA_FLUSH_EXT:
		m.flushes++;
		m.at = 0;
		if (m.bad_sector == 0)
			end(ATA_ERR, m.bad_error);
		else
			end(0, 0);
		break;
	default:
		end(ATA_ERR, 0x04);
	}
}

static bool hanging; /* the command under way is one of those */

static u32 data_in(void)
{
	u16 word;

	assert_true(m.status & ATA_DRQ);
	memcpy(&word, m.data + m.byte, sizeof(word));
	m.byte += 2;
	if (m.byte == ATA_SECTOR) {
		m.at++;
		m.left--;
		if (m.left)
			next_sector(false);
		else
			m.status = 0x50, m.command = 0;
	}
	return word;
}

static void data_out(u16 word)
{
	assert_true(m.status & ATA_DRQ);
	memcpy(m.data + m.byte, &word, sizeof(word));
	m.byte += 2;
	if (m.byte == ATA_SECTOR) {
		m.at++;
		m.left--;
		next_sector(false);
	}
}

static u8 status_now(void)
{
	if (!hanging)
		go_on();
	if ((m.head & ATA_DRIVE_1) && !m.slave_is_cdrom)
		return 0;
	return m.no_drive ? 0 : m.status;
}

static u32 port_in(u16 port, u32 size)
{
	if (m.gone)
		return ~0u;
	switch (port) {
	case COMMAND + ATA_DATA:
		assert_int_equal(size, 2);
		return data_in();
	case COMMAND + ATA_ERROR:
		return m.error;
	case COMMAND + ATA_STATUS:
		return m.status;
	case CONTROL:
		return status_now();
	case MASTER + BM_STATUS:
		return m.master_status;
	case MASTER + BM_COMMAND:
		return m.master_command;
	default:
		fail_msg("in from port %#x", port);
		return 0;
	}
}

static void latch(u8 *half, u32 value)
{
	assert_false(m.status & (ATA_BSY | ATA_DRQ));
	half[0] = half[1];
	half[1] = (u8)value;
}

static void reset(void)
{
	m.resets++;
	hanging = false;
	m.command = 0;
	m.status = m.forever_busy ? ATA_BSY : 0x50;
	m.head = 0;
}

static void port_out(u16 port, u32 size, u32 value)
{
	switch (port) {
	case COMMAND + ATA_DATA:
		assert_int_equal(size, 2);
		data_out((u16)value);
		break;
	case COMMAND + ATA_COUNT:
		latch(m.count, value);
		break;
	case COMMAND + ATA_LBA_LOW:
		latch(m.low, value);
		break;
	case COMMAND + ATA_LBA_MID:
		latch(m.mid, value);
		break;
	case COMMAND + ATA_LBA_HIGH:
		latch(m.high, value);
		break;
	case COMMAND + ATA_HEAD:
		m.head = (u8)value;
		break;
	case COMMAND + ATA_COMMAND:
		hanging = m.hang || m.forever_busy;
		start_command((u8)value);
		break;
	case CONTROL:
		if ((value & ATA_SRST) && !(m.control & ATA_SRST))
			reset();
		m.control = (u8)value;
		break;
	case MASTER + BM_COMMAND:
		m.master_command = (u8)value;
		break;
	case MASTER + BM_STATUS:
		m.master_status &= (u8) ~(value & (BM_INTERRUPT | BM_ERROR));
		break;
	case MASTER + BM_PRDS:
		assert_int_equal(size, 4);
		m.prds = value;
		break;
	default:
		fail_msg("out to port %#x", port);
	}
}

/* --- Fixture -------------------------------------------------------------------------------- */

static u8 *pages[ATA_PAGES_MAX];

static void switch_on(bool dma)
{
	ata_channel_init(&ch, COMMAND, CONTROL, dma ? MASTER : 0);
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
	memset(&m, 0, sizeof(m));
	m.sectors = SECTORS;
	m.wide = m.dma = m.lba = true;
	m.bad_sector = ~0ull;
	m.bad_error = 0x40;
	m.status = 0x50;
	for (u32 i = 0; i < sizeof(m.bytes); i++)
		m.bytes[i] = (u8)(i * 7 + i / ATA_SECTOR);
	hosted_machine.in = port_in;
	hosted_machine.out = port_out;
	for (u32 i = 0; i < ATA_PAGES_MAX; i++)
		pages[i] = frame_alloc_page(FRAME_ZERO);
	switch_on(true);
	return 0;
}

static int teardown(void **state)
{
	hosted_machine.in = NULL;
	hosted_machine.out = NULL;
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
			assert_int_equal(contents(sector + i * ATA_PAGE_SECTORS + k)[k], 0x30 + i);
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
	assert_int_equal(disk.sectors, SECTORS);
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

static void beyond_28_bits(void **state)
{
	m.sectors = BIT(40);
	switch_on(true);
	there_and_back(BIT(28) - 8, 1);
	assert_int_equal(m.ext_commands, 0);
	there_and_back(BIT(28) - 8, 2);
	there_and_back(0x123456789a, 3);
	assert_int_equal(m.ext_commands, 4);
	switch_on(false);
	there_and_back(0x123456789a, 3);
}

static void up_to_its_end(void **state)
{
	there_and_back(SECTORS - 8, 1);
	m.commands = 0;
	assert_int_equal(move(SECTORS - 7, 1, false), ERR_RANGE);
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
		assert_int_equal(move(16, 2, false), ERR_IO);
		assert_non_null(strstr(why.text, errors[i].text));
		assert_int_equal(m.commands, 3);
		assert_false(disk.dma); /* the last try went without */
		assert_int_equal(move(24, 2, true), 0);
		assert_false(disk.dead);
	}
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
	m.bad_sector = ~0ull;
	assert_int_equal(move(8, 1, false), 0);
}

static void dma_fails_pio_works(void **state)
{
	m.dma_failures = 1;
	assert_int_equal(move(8, 1, false), 0);
	assert_true(disk.dma); /* once is no reason */
	m.dma_failures = 2;
	assert_int_equal(move(8, 1, false), 0);
	assert_false(disk.dma);
	assert_int_equal(disk.retries, 3);
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
		ata_channel_init(&ch, COMMAND, CONTROL, MASTER);
		hosted_fail_after(n);
		assert_int_equal(ata_channel_use_dma(&ch, true), ERR_NOMEM);
		assert_int_equal(ch.bus_master, 0);
	}
	hosted_fail_after(0);
	ata_channel_init(&ch, COMMAND, CONTROL, MASTER);
	assert_int_equal(ata_channel_use_dma(&ch, true), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(identity),
		CASE(large_disk),
		CASE(what_is_no_disk),
		CASE(by_dma),
		CASE(by_pio),
		CASE(beyond_28_bits),
		CASE(up_to_its_end),
		CASE(above_4g),
		CASE(takes_a_while),
		CASE(interrupts_do_not_come),
		CASE(an_interrupt_wakes),
		CASE(flush),
		CASE(bad_sector),
		CASE(bad_sector_by_pio),
		CASE(faults),
		CASE(dma_fails_pio_works),
		CASE(hangs_once),
		CASE(hangs_for_ever),
		CASE(disappears),
		CASE(no_memory_for_dma),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
