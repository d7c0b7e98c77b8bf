/* SPDX-License-Identifier: MIT */
#include "kernel/disk/ata_registers.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "mem/frame.h"
#include "smp/thread.h"
#include "smp/timer.h"

#define TIMEOUT_NS	 10000000000ull /* a drive that sleeps has to turn up first */
#define RESET_NS	 31000000000ull /* ATA/ATAPI-6 9.2: as long as the first may wait for the second */
#define IDENTIFY_NS	 1000000000ull
#define SELECT_NS	 100000000ull
#define LOOK_NS		 20000000ull /* although no interrupt came, */
#define LOOK_OFTEN_NS	 1000000ull  /* and where none will */
#define AT_ONCE_LOOKS	 20	     /* a microsecond apart, before anybody sleeps */
#define GONE_LOOKS	 3	     /* that show no drive at all */
#define RESET_PULSE_US	 5
#define SELECTED_NOTHING 0xff

#define BELOW_4G BIT(32 - PAGE_SHIFT) /* frames */

void ata_channel_init(struct ata_channel *ch, u16 command, u16 control, u16 bus_master)
{
	memset(ch, 0, sizeof(*ch));
	ch->command = command;
	ch->control = control;
	ch->bus_master = bus_master;
	ch->timeout_ns = TIMEOUT_NS;
	ch->reset_ns = RESET_NS;
	ch->selected = SELECTED_NOTHING;
	wait_queue_init(&ch->wait);
}

/* Contiguous is more than is needed: but so they come from the lowest memory that is free. */
static void *low_pages(u64 count)
{
	pfn_t pfn;

	if (frame_reserve(count, 1, &pfn))
		return NULL;
	if (pfn.v + count <= BELOW_4G)
		return pfn_to_virt(pfn);
	frame_release_range(pfn.v << PAGE_SHIFT, (pfn.v + count) << PAGE_SHIFT);
	return NULL;
}

int ata_channel_use_dma(struct ata_channel *ch, bool high)
{
	ch->prds = low_pages(1);
	if (ch->prds && high)
		ch->bounce = low_pages(ATA_PAGES_MAX);
	if (ch->prds && (!high || ch->bounce))
		return 0;
	ch->bus_master = 0;
	return ERR_NOMEM;
}

/* --- Waiting -------------------------------------------------------------------------------- */

void ata_interrupt(struct ata_channel *ch)
{
	(void)inb(ch->command + ATA_STATUS); /* the drive takes its line back */
	__atomic_fetch_add(&ch->interrupts, 1, __ATOMIC_RELEASE);
	wait_wake_all(&ch->wait);
}

static bool is_nothing(u8 status)
{
	return status == ATA_NOTHING || status == (ATA_NOTHING | ATA_BSY);
}

/* Four looks at the status take the 400 ns after which it counts. */
static u8 settled_status(struct ata_channel *ch)
{
	for (u32 i = 0; i < 3; i++)
		(void)inb(ch->control);
	return inb(ch->control);
}

static bool is_there(const struct ata_channel *ch, u8 status, bool dma)
{
	if (status & ATA_BSY)
		return false;
	if (!dma || (status & (ATA_ERR | ATA_DF)))
		return true;
	/* All has reached memory, and the drive is done: the bit may be an older interrupt's. */
	return !(status & ATA_DRQ) && (inb(ch->bus_master + BM_STATUS) & BM_INTERRUPT);
}

bool ata_is_empty(struct ata_channel *ch)
{
	return is_nothing(settled_status(ch));
}

static void sleep_a_while(struct ata_channel *ch, u32 seen, u64 until_ns)
{
	u64 at_most = clock_ns() + (ch->has_interrupt ? LOOK_NS : LOOK_OFTEN_NS);

	(void)wait_event_until(&ch->wait,
			       __atomic_load_n(&ch->interrupts, __ATOMIC_ACQUIRE) != seen,
			       min(until_ns, at_most));
}

int ata_wait(struct ata_channel *ch, bool dma, u64 timeout_ns, u8 *status)
{
	u64 deadline = clock_ns() + timeout_ns;
	u32 gone = 0, seen = 0;

	for (u32 looks = 0;; looks++) {
		u32 before = seen;

		seen = __atomic_load_n(&ch->interrupts, __ATOMIC_ACQUIRE);
		*status = settled_status(ch);
		gone = is_nothing(*status) ? gone + 1 : 0;
		if (gone == GONE_LOOKS)
			return ERR_NOENT;
		if (!gone && is_there(ch, *status, dma)) {
			if (looks > AT_ONCE_LOOKS && ch->has_interrupt && seen == before)
				ch->lost_interrupts++;
			return 0;
		}
		if (clock_ns() >= deadline)
			return ERR_TIMEOUT;
		if (looks < AT_ONCE_LOOKS)
			clock_udelay(1);
		else
			sleep_a_while(ch, seen, deadline);
	}
}

/* --- Commands ------------------------------------------------------------------------------- */

void ata_acknowledge(struct ata_channel *ch)
{
	(void)inb(ch->command + ATA_STATUS);
}

/* While the drive's interrupt stands the bus master's bit may come back at once. */
void ata_stop_dma(struct ata_channel *ch)
{
	if (!ch->bus_master)
		return;
	outb(ch->bus_master + BM_COMMAND, 0);
	ata_acknowledge(ch);
	outb(ch->bus_master + BM_STATUS, inb(ch->bus_master + BM_STATUS) | BM_INTERRUPT | BM_ERROR);
}

/* It takes commands: another that answers in its place, or nobody, does not say so. */
static int wait_ready(struct ata_channel *ch, u64 timeout_ns, u8 *status)
{
	u64 deadline = clock_ns() + timeout_ns;

	for (;;) {
		int err = ata_wait(ch, false, timeout_ns, status);

		if (err || (*status & ATA_DRDY))
			return err;
		if (clock_ns() >= deadline)
			return ERR_NOENT;
		thread_sleep_until(clock_ns() + LOOK_OFTEN_NS);
	}
}

/* Neither drive is busy, and this one has the registers. identify: it may be no disk. */
static int select_drive(struct ata_channel *ch, u8 head, bool identify)
{
	u8 status;
	int err = ata_wait(ch, false, SELECT_NS, &status);

	if (err && ch->selected != SELECTED_NOTHING)
		return err;
	outb(ch->command + ATA_HEAD, head);
	ch->selected = head & ATA_DRIVE_1;
	err = identify ? ata_wait(ch, false, SELECT_NS, &status)
		       : wait_ready(ch, SELECT_NS, &status);
	if (!err && (status & ATA_DRQ))
		err = ERR_BUSY;
	return err;
}

static void write_address(struct ata_channel *ch, u64 sector, u32 count)
{
	outb(ch->command + ATA_COUNT, (u8)count);
	outb(ch->command + ATA_LBA_LOW, (u8)sector);
	outb(ch->command + ATA_LBA_MID, (u8)(sector >> 8));
	outb(ch->command + ATA_LBA_HIGH, (u8)(sector >> 16));
}

/* What 28 bits reach is named so: any drive knows that, and it is fewer ports. */
bool ata_needs_lba48(u64 sector, u32 count)
{
	return sector + count > IDENTIFY_28_MAX;
}

int ata_command(struct ata_disk *d, u8 command, u64 sector, u32 count)
{
	struct ata_channel *ch = d->channel;
	bool wide = ata_needs_lba48(sector, count);
	u8 head = ATA_HEAD_LBA | (d->drive ? ATA_DRIVE_1 : 0);
	int err = select_drive(ch, wide ? head : head | ((sector >> 24) & 0xf),
			       command == ATA_IDENTIFY);

	if (err)
		return err;
	if (wide)
		write_address(ch, sector >> 24, count >> 8);
	write_address(ch, sector, count);
	outb(ch->command + ATA_COMMAND, command);
	return 0;
}

int ata_reset(struct ata_disk *d)
{
	struct ata_channel *ch = d->channel;
	u8 status;
	int err;

	ata_stop_dma(ch);
	outb(ch->control, ATA_SRST);
	clock_udelay(RESET_PULSE_US);
	outb(ch->control, 0);
	thread_sleep_until(clock_ns() + 2 * LOOK_OFTEN_NS);
	ch->selected = 0;
	err = ata_wait(ch, false, ch->reset_ns, &status);
	/* The second drive may be alone: nobody drives the bus until it is selected. */
	if (err && (err != ERR_NOENT || d->drive == 0))
		return err;
	ch->selected = d->drive ? ATA_DRIVE_1 : 0;
	outb(ch->command + ATA_HEAD, ATA_HEAD_LBA | ch->selected);
	return wait_ready(ch, ch->reset_ns, &status);
}

/* --- IDENTIFY DEVICE ------------------------------------------------------------------------ */

/* Its strings have the first of two characters in the upper byte, and blanks at the end. */
static void copy_model(char *to, const u16 *words)
{
	u32 n = 0;

	for (u32 i = 0; i < IDENTIFY_MODEL_WORDS; i++) {
		to[2 * i] = (char)(words[i] >> 8);
		to[2 * i + 1] = (char)words[i];
	}
	for (u32 i = 0; i < 2 * IDENTIFY_MODEL_WORDS; i++) {
		if (to[i] < ' ' || to[i] > '~')
			to[i] = ' ';
		if (to[i] != ' ')
			n = i + 1;
	}
	to[n] = 0;
}

static int take_identity(struct ata_disk *d, const u16 *w)
{
	u64 wide = w[IDENTIFY_SECTORS_48] | (u64)w[IDENTIFY_SECTORS_48 + 1] << 16 |
		   (u64)w[IDENTIFY_SECTORS_48 + 2] << 32 | (u64)w[IDENTIFY_SECTORS_48 + 3] << 48;

	if (w[IDENTIFY_GENERAL] & IDENTIFY_IS_ATAPI)
		return ERR_NOENT;
	if (!(w[IDENTIFY_CAPABILITIES] & IDENTIFY_HAS_LBA) ||
	    (w[IDENTIFY_SECTOR_SIZE] & IDENTIFY_SIZE_MASK) == IDENTIFY_SIZE_OTHER)
		return ERR_NOTSUP;
	d->sectors = w[IDENTIFY_SECTORS_28] | (u64)w[IDENTIFY_SECTORS_28 + 1] << 16;
	d->sectors = min(d->sectors, (u64)IDENTIFY_28_MAX);
	d->lba48 = w[IDENTIFY_FEATURES] & IDENTIFY_HAS_LBA48;
	if (d->lba48 && wide > d->sectors && wide < BIT(48))
		d->sectors = wide;
	d->dma = d->channel->bus_master && (w[IDENTIFY_CAPABILITIES] & IDENTIFY_HAS_DMA);
	copy_model(d->model, &w[IDENTIFY_MODEL]);
	return d->sectors ? 0 : ERR_NOTSUP;
}

int ata_identify(struct ata_channel *ch, u32 drive, struct ata_disk *out)
{
	u16 words[ATA_SECTOR / 2];
	u8 status;
	int err;

	memset(out, 0, sizeof(*out));
	out->channel = ch;
	out->drive = drive;
	outb(ch->control, 0);
	outb(ch->command + ATA_HEAD, ATA_HEAD_LBA | (drive ? ATA_DRIVE_1 : 0));
	ch->selected = drive ? ATA_DRIVE_1 : 0;
	status = settled_status(ch);
	if (status == 0 || is_nothing(status))
		return ERR_NOENT;
	err = ata_command(out, ATA_IDENTIFY, 0, 0);
	if (!err)
		err = ata_wait(ch, false, IDENTIFY_NS, &status);
	if (err)
		return err == ERR_BUSY ? ERR_IO : err;
	/* A CD-ROM drive refuses the command, an empty place has no status. */
	if (status == 0 || (status & (ATA_ERR | ATA_DF)))
		return ERR_NOENT;
	if (!(status & ATA_DRQ))
		return ERR_IO;
	for (u32 i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = inw(ch->command + ATA_DATA);
	ata_acknowledge(ch);
	return take_identity(out, words);
}
