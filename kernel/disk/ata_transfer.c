/* SPDX-License-Identifier: MIT */
/* Reading and writing, and what is done about errors. */
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/disk/ata_registers.h"
#include "smp/timer.h"

#define TRIES		 3
#define DMA_FAILURES_MAX 2 /* in a row, after which the drive goes without */
#define TIMEOUTS_MAX	 6 /* tries in a row, after which nobody waits for it any more */

/* One command to be carried out. */
struct transfer {
	u64 sector;
	void *const *pages;
	u32 count; /* of pages */
	bool write;
};

/* How a try ended: what the registers said then. */
struct outcome {
	int err;
	bool dma;
	u8 status, error, bus_master;
};

static bool has_failed(u8 status)
{
	return status & (ATA_ERR | ATA_DF);
}

static int judge(struct ata_channel *ch, struct outcome *o)
{
	/* Descriptors that are left: it moved less than it was told to. */
	if (!has_failed(o->status) && !(o->bus_master & (BM_ERROR | BM_ACTIVE)))
		return 0;
	o->error = inb(ch->command + ATA_ERROR);
	return ERR_IO;
}

/* --- PIO ------------------------------------------------------------------------------------ */

static void move_sector(struct ata_channel *ch, u8 *bytes, bool write)
{
	for (u32 i = 0; i < ATA_SECTOR; i += sizeof(u16)) {
		u16 word;

		if (write) {
			memcpy(&word, bytes + i, sizeof(word));
			outw(ch->command + ATA_DATA, word);
		} else {
			word = inw(ch->command + ATA_DATA);
			memcpy(bytes + i, &word, sizeof(word));
		}
	}
}

/* Until the deadline, which is one for all sectors of a command. */
static int wait_until(struct ata_channel *ch, u64 deadline, struct outcome *o)
{
	u64 now = clock_ns();
	int err = ata_wait(ch, false, deadline > now ? deadline - now : 0, &o->status);

	return err ? err : judge(ch, o);
}

static int pio(struct ata_disk *d, const struct transfer *t, struct outcome *o)
{
	u32 sectors = t->count * ATA_PAGE_SECTORS;
	bool wide = ata_needs_lba48(t->sector, sectors);
	struct ata_channel *ch = d->channel;
	u64 deadline = clock_ns() + ch->timeout_ns;
	int err;

	err = ata_command(
		d, t->write ? (wide ? ATA_WRITE_EXT : ATA_WRITE) : (wide ? ATA_READ_EXT : ATA_READ),
		t->sector, sectors);
	for (u32 i = 0; !err && i < sectors; i++) {
		u8 *page = t->pages[i / ATA_PAGE_SECTORS];

		err = wait_until(ch, deadline, o);
		if (!err && !(o->status & ATA_DRQ))
			err = ERR_IO;
		if (!err)
			move_sector(ch, page + i % ATA_PAGE_SECTORS * ATA_SECTOR, t->write);
	}
	if (!err)
		err = wait_until(ch, deadline, o);
	ata_acknowledge(ch);
	return err;
}

/* --- DMA ------------------------------------------------------------------------------------ */

static u64 physical(const void *page)
{
	return virt_to_pfn(page).v << PAGE_SHIFT;
}

/* Where the bus master finds the page. */
static u8 *dma_page(const struct ata_channel *ch, const struct transfer *t, u32 i)
{
	u64 at = physical(t->pages[i]);

	return at < BIT(32) ? t->pages[i] : ch->bounce + i * PAGE_SIZE;
}

static void write_prds(struct ata_channel *ch, const struct transfer *t)
{
	for (u32 i = 0; i < t->count; i++) {
		u8 *page = dma_page(ch, t, i);

		if (t->write && page != t->pages[i])
			memcpy(page, t->pages[i], PAGE_SIZE);
		ch->prds[i] = physical(page) | PAGE_SIZE << 32 | (i + 1 == t->count ? PRD_LAST : 0);
	}
}

static void copy_back(const struct ata_channel *ch, const struct transfer *t)
{
	for (u32 i = 0; !t->write && i < t->count; i++) {
		u8 *page = dma_page(ch, t, i);

		if (page != t->pages[i])
			memcpy(t->pages[i], page, PAGE_SIZE);
	}
}

static int dma(struct ata_disk *d, const struct transfer *t, struct outcome *o)
{
	u32 sectors = t->count * ATA_PAGE_SECTORS;
	bool wide = ata_needs_lba48(t->sector, sectors);
	struct ata_channel *ch = d->channel;
	u8 way = t->write ? 0 : BM_TO_MEMORY;
	int err;

	o->dma = true;
	write_prds(ch, t);
	ata_stop_dma(ch);
	outl(ch->bus_master + BM_PRDS, (u32)physical(ch->prds));
	outb(ch->bus_master + BM_COMMAND, way);
	err = ata_command(d,
			  t->write ? (wide ? ATA_WRITE_DMA_EXT : ATA_WRITE_DMA)
				   : (wide ? ATA_READ_DMA_EXT : ATA_READ_DMA),
			  t->sector, sectors);
	if (!err) {
		outb(ch->bus_master + BM_COMMAND, way | BM_START);
		err = ata_wait(ch, true, ch->timeout_ns, &o->status);
	}
	o->bus_master = inb(ch->bus_master + BM_STATUS);
	/* Nothing reaches memory after this, whatever the drive does. */
	ata_stop_dma(ch);
	if (!err)
		err = judge(ch, o);
	if (!err)
		copy_back(ch, t);
	return err;
}

/* --- Errors --------------------------------------------------------------------------------- */

static const char *error_text(u8 error)
{
	static const char *const texts[] = {
		"no address mark", "no track 0",     "command refused", "medium change asked for",
		"no such sector",  "medium changed", "data unreadable", "data damaged on the cable",
	};

	/* The one that says most first. */
	static const u8 order[] = {7, 6, 4, 0, 1, 5, 3, 2};

	for (u32 i = 0; i < ARRAY_SIZE(order); i++) {
		if (error & BIT(order[i]))
			return texts[order[i]];
	}
	return "no reason given";
}

static void describe(struct ata_failure *why, const struct outcome *o)
{
	const char *how = o->dma ? "DMA" : "PIO";

	switch (o->err) {
	case ERR_TIMEOUT:
		snprintf(why->text, sizeof(why->text), "%s: no end, status 0x%02x", how, o->status);
		break;
	case ERR_NOENT:
		snprintf(why->text, sizeof(why->text), "%s: no drive answers any more", how);
		break;
	case ERR_BUSY:
		snprintf(why->text, sizeof(why->text), "%s: it wants data that nobody asked for",
			 how);
		break;
	default:
		snprintf(why->text, sizeof(why->text), "%s: %s, status 0x%02x, error 0x%02x%s", how,
			 has_failed(o->status) && (o->status & ATA_ERR) ? error_text(o->error)
			 : o->status & ATA_DF				? "device fault"
									: "no data",
			 o->status, o->error,
			 o->bus_master & BM_ERROR    ? ", bus master error"
			 : o->bus_master & BM_ACTIVE ? ", it moved too little"
						     : "");
	}
}

/* After a try that failed. False: the drive is dead. */
static bool recover(struct ata_disk *d, const struct outcome *o)
{
	d->retries++;
	if (o->dma && ++d->dma_failures >= DMA_FAILURES_MAX)
		d->dma = false;
	d->timeouts = o->err == ERR_TIMEOUT ? d->timeouts + 1 : 0;
	if (d->timeouts >= TIMEOUTS_MAX) {
		d->dead = true;
		log_error("%s: ends no command any more: it is not used any more", d->name);
		return false;
	}
	/* What it refused in good order needs no reset. */
	if (o->err == ERR_IO && (o->status & ATA_ERR) && !(o->status & (ATA_DF | ATA_DRQ)))
		return true;
	if (ata_reset(d) == 0)
		return true;
	d->dead = true;
	log_error("%s: does not come back from a reset: it is not used any more", d->name);
	return false;
}

/*
 * A command took DMA from the drive, and its last try ended so. Where that one failed as well, by
 * PIO, DMA was not at fault: a sector is bad.
 */
static void after_dma(struct ata_disk *d, const struct outcome *last)
{
	if (!last->dma && last->err) {
		d->dma = true;
		d->dma_failures = 0;
	} else if (!d->dead) {
		log_warn("%s: DMA failed %u times in a row: by PIO from now on, which is slow",
			 d->name, DMA_FAILURES_MAX);
	}
}

static int check(const struct ata_disk *d, const struct transfer *t, struct ata_failure *why)
{
	u64 sectors = (u64)t->count * ATA_PAGE_SECTORS;

	why->text[0] = 0;
	if (sectors > d->sectors || t->sector > d->sectors - sectors) {
		snprintf(why->text, sizeof(why->text), "beyond its end");
		return ERR_RANGE;
	}
	if (d->dead) {
		snprintf(why->text, sizeof(why->text), "it is not used any more");
		return ERR_IO;
	}
	return 0;
}

int ata_transfer(struct ata_disk *d, u64 sector, void *const *pages, u32 count, bool write,
		 struct ata_failure *why)
{
	const struct transfer t = {sector, pages, count, write};
	bool had_dma = d->dma;
	struct outcome o;
	int err = check(d, &t, why);

	if (err)
		return err;
	for (u32 try = 0; try < TRIES; try++) {
		o = (struct outcome){.err = 0};
		o.err = d->dma ? dma(d, &t, &o) : pio(d, &t, &o);
		if (!o.err) {
			d->dma_failures = o.dma ? 0 : d->dma_failures;
			d->timeouts = 0;
			err = 0;
			break;
		}
		describe(why, &o);
		err = o.err == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_IO;
		if (!recover(d, &o))
			break;
	}
	if (had_dma && !d->dma)
		after_dma(d, &o);
	return err;
}

int ata_flush(struct ata_disk *d, struct ata_failure *why)
{
	struct ata_channel *ch = d->channel;
	struct outcome o = {.err = 0};

	why->text[0] = 0;
	if (d->dead)
		return ERR_IO;
	o.err = ata_command(d, d->lba48 ? ATA_FLUSH_EXT : ATA_FLUSH, 0, 0);
	if (!o.err)
		o.err = wait_until(ch, clock_ns() + ch->timeout_ns, &o);
	ata_acknowledge(ch);
	if (!o.err)
		return 0;
	describe(why, &o);
	recover(d, &o);
	return o.err == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_IO;
}
