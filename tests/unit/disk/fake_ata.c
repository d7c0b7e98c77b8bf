/* SPDX-License-Identifier: MIT */
#include "tests/unit/disk/fake_ata.h"

#include <cmocka.h>
#include <string.h>
#include "kernel/disk/ata_registers.h"
#include "mem/frame.h"
#include "smp/timer.h"
#include "tests/hosted/hosted.h"

struct fake_ata m;
static struct ata_channel *channel;

u8 *fake_ata_contents(u64 sector)
{
	return m.bytes + sector % FAKE_ATA_SECTORS * ATA_SECTOR;
}

static void interrupt(void)
{
	m.intrq = true;
	if (!m.no_interrupts && !(m.control & 2))
		ata_interrupt(channel);
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

/* False: it refuses the command. Words 61:60 are at most 0fffffffh, which no sector is called. */
static bool take_address(bool wide)
{
	m.at = m.low[1] | (u64)m.mid[1] << 8 | (u64)m.high[1] << 16;
	m.left = m.count[1] ? m.count[1] : 256;
	if (!wide) {
		m.at |= (u64)(m.head & 0xf) << 24;
		if (m.at + m.left > 0xfffffff)
			end(ATA_ERR, 0x04);
		return m.at + m.left <= 0xfffffff;
	}
	m.ext_commands++;
	m.at |= (u64)m.low[0] << 24 | (u64)m.mid[0] << 32 | (u64)m.high[0] << 40;
	m.left = m.count[1] | m.count[0] << 8;
	return true;
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
	m.data = fake_ata_contents(m.at);
	m.byte = 0;
	m.ready_ns = clock_ns() + m.sector_ns;
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
	if (m.lie)
		m.identity[60] = m.identity[61] = 0xffff;
	m.identity[83] = m.wide ? 1 << 10 : 0;
	m.identity[106] = m.large_sectors ? 1 << 14 | 1 << 12 : 0;
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
	if (m.slow_data && !(m.status & ATA_DRQ)) {
		m.status = 0x50 | ATA_DRQ;
		m.looks = m.busy_looks;
		m.master_status |= m.early ? BM_INTERRUPT : 0;
		return;
	}
	m.dma_commands++;
	if (m.moves_half) {
		m.master_status |= BM_ACTIVE;
		end(0, 0);
		return;
	}
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
				memcpy(page + i * ATA_SECTOR, fake_ata_contents(m.at), ATA_SECTOR);
			else
				memcpy(fake_ata_contents(m.at), page + i * ATA_SECTOR, ATA_SECTOR);
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
	m.intrq = false;
	m.data = NULL;
	m.command = command;
	m.commands++;
	m.error = 0;
	if (m.hang || m.forever_busy || m.ends_none) {
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

	bool moving = (m.status & ATA_DRQ) && !m.data;

	if (command == 0 || (!(m.status & ATA_BSY) && !moving) || m.hang == ~0u || m.forever_busy)
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
		if (take_address(is_wide(command)))
			next_sector(true);
		break;
	case ATA_READ_DMA:
	case ATA_WRITE_DMA:
	case ATA_READ_DMA_EXT:
	case ATA_WRITE_DMA_EXT:
		if (!(m.master_command & BM_START))
			break;
		if (take_address(is_wide(command)))
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
	if (!m.hanging)
		go_on();
	if (m.other_only || ((m.head & ATA_DRIVE_1) && !m.slave_is_cdrom && !m.second_alone))
		return 0;
	if (m.sector_ns && m.data && clock_ns() < m.ready_ns)
		return ATA_BSY;
	return m.no_drive ? 0 : m.status;
}

static u32 port_in(u16 port, u32 size)
{
	if (m.gone)
		return ~0u;
	if (m.unplugged || (m.second_alone && port < FAKE_ATA_MASTER && !(m.head & ATA_DRIVE_1)))
		return 0x7f;
	switch (port) {
	case FAKE_ATA_COMMAND + ATA_DATA:
		assert_int_equal(size, 2);
		return data_in();
	case FAKE_ATA_COMMAND + ATA_ERROR:
		return m.error;
	case FAKE_ATA_COMMAND + ATA_STATUS:
		m.intrq = false;
		return m.status;
	case FAKE_ATA_CONTROL:
		return status_now();
	case FAKE_ATA_MASTER + BM_STATUS:
		/* Of a controller that looks at the line, not at its edge. */
		return m.master_status | (m.intrq && m.dma_commands ? BM_INTERRUPT : 0);
	case FAKE_ATA_MASTER + BM_COMMAND:
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
	m.hanging = false;
	m.command = 0;
	m.status = m.forever_busy ? ATA_BSY : 0x50;
	m.head = 0;
}

static void port_out(u16 port, u32 size, u32 value)
{
	switch (port) {
	case FAKE_ATA_COMMAND + ATA_DATA:
		assert_int_equal(size, 2);
		data_out((u16)value);
		break;
	case FAKE_ATA_COMMAND + ATA_COUNT:
		latch(m.count, value);
		break;
	case FAKE_ATA_COMMAND + ATA_LBA_LOW:
		latch(m.low, value);
		break;
	case FAKE_ATA_COMMAND + ATA_LBA_MID:
		latch(m.mid, value);
		break;
	case FAKE_ATA_COMMAND + ATA_LBA_HIGH:
		latch(m.high, value);
		break;
	case FAKE_ATA_COMMAND + ATA_HEAD:
		m.head = (u8)value;
		break;
	case FAKE_ATA_COMMAND + ATA_COMMAND:
		m.hanging = m.hang || m.forever_busy || m.ends_none;
		start_command((u8)value);
		break;
	case FAKE_ATA_CONTROL:
		if ((value & ATA_SRST) && !(m.control & ATA_SRST))
			reset();
		m.control = (u8)value;
		break;
	case FAKE_ATA_MASTER + BM_COMMAND:
		m.master_command = (u8)value;
		if (!(value & BM_START))
			m.master_status &= (u8)~BM_ACTIVE;
		break;
	case FAKE_ATA_MASTER + BM_STATUS:
		m.master_status &= (u8) ~(value & (BM_INTERRUPT | BM_ERROR));
		break;
	case FAKE_ATA_MASTER + BM_PRDS:
		assert_int_equal(size, 4);
		m.prds = value;
		break;
	default:
		fail_msg("out to port %#x", port);
	}
}

/* --- On and off ------------------------------------------------------------------------------ */

static const u8 *first_contents(void)
{
	static u8 bytes[sizeof(m.bytes)];

	for (u32 i = 0; !bytes[1] && i < sizeof(bytes); i++)
		bytes[i] = (u8)(i * 7 + i / ATA_SECTOR);
	return bytes;
}

void fake_ata_start(struct ata_channel *ch)
{
	channel = ch;
	memset(&m, 0, sizeof(m));
	m.sectors = FAKE_ATA_SECTORS;
	m.wide = m.dma = m.lba = true;
	m.bad_sector = ~0ull;
	m.bad_error = 0x40;
	m.status = 0x50;
	memcpy(m.bytes, first_contents(), sizeof(m.bytes));
	hosted_machine.in = port_in;
	hosted_machine.out = port_out;
}

void fake_ata_end(void)
{
	hosted_machine.in = NULL;
	hosted_machine.out = NULL;
}
