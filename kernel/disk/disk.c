/* SPDX-License-Identifier: MIT */
#include "kernel/disk/disk.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/pci_config.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "smp/irq.h"
#include "smp/lift.h"
#include "smp/thread.h"

#define IRQ_PRIMARY   14 /* ISA's; the secondary's is the next */
#define READS_IN_ROW  4	 /* that writes wait for */
#define FAILURES_TOLD 32 /* lines, then no more */

struct channel {
	struct ata_channel ata;
	struct ata_disk disks[2];
	bool there[2];
	/* its thread */
	struct disk_area *area;
	u32 reads_in_row;
	u32 told;
	/* work's lock */
	struct wait_queue work;
	struct list reads, writes;
	struct lift lift; /* while reads are queued, or under way */
};

static struct channel channels[DISK_CHANNELS_MAX];
static u32 channel_count;

struct ata_disk *disk_at(u32 place)
{
	struct channel *c = &channels[place / 2];

	return place / 2 < channel_count && c->there[place % 2] ? &c->disks[place % 2] : NULL;
}

/* --- Finding them --------------------------------------------------------------------------- */

static void interrupt(void *arg)
{
	ata_interrupt(arg);
}

static bool has_high_ram(void)
{
	const struct mem_range *ram;
	u32 count;

	ram = frame_ram(&count);
	for (u32 i = 0; i < count; i++) {
		if (ram[i].end > BIT(32))
			return true;
	}
	return false;
}

static void log_disk(const struct ata_disk *d)
{
	log_info("%s: %s, %s%s, %s", d->name, d->model, size_text(d->sectors * ATA_SECTOR).text,
		 d->channel->has_interrupt ? "" : ", without interrupts", d->dma ? "DMA" : "PIO");
}

static void probe_drive(struct channel *c, u32 drive)
{
	struct ata_disk *d = &c->disks[drive];
	int err = ata_identify(&c->ata, drive, d);

	snprintf(d->name, sizeof(d->name), "ata%u", (u32)(2 * (c - channels)) + drive);
	if (err == ERR_NOENT)
		return;
	if (err) {
		log_warn("%s: left out: IDENTIFY: %s", d->name, error_name(err));
		return;
	}
	c->there[drive] = true;
	log_disk(d);
}

/* irq 0: its interrupt is PCI's, of which nobody says where it arrives. */
static void add_channel(u16 command, u16 control, u16 bus_master, u32 irq)
{
	struct channel *c = &channels[channel_count];

	if (channel_count == DISK_CHANNELS_MAX || !command || !control)
		return;
	channel_count++;
	ata_channel_init(&c->ata, command, control, bus_master);
	wait_queue_init(&c->work);
	list_init(&c->reads);
	list_init(&c->writes);
	/* No drive at all: nobody pulls the lines, and there is nothing to set up. */
	if (ata_is_empty(&c->ata))
		return;
	if (bus_master && ata_channel_use_dma(&c->ata, has_high_ram()))
		log_warn("IDE channel at port 0x%x: no memory for DMA below 4 GiB: PIO", command);
	c->ata.has_interrupt = irq && irq_register_isa(irq, interrupt, &c->ata) == 0;
	for (u32 drive = 0; drive < 2; drive++)
		probe_drive(c, drive);
}

void disk_probe(void)
{
	struct pci_ide ide;
	bool legacy_used = false;
	u32 cursor = 0;

	while (pci_ide_next(&cursor, &ide)) {
		for (u32 i = 0; i < 2; i++) {
			bool legacy = !ide.channel[i].native;

			if (legacy && legacy_used)
				continue;
			add_channel(ide.channel[i].command, ide.channel[i].control,
				    ide.channel[i].bus_master, legacy ? IRQ_PRIMARY + i : 0);
		}
		legacy_used |= !ide.channel[0].native || !ide.channel[1].native;
	}
	if (channel_count)
		return;
	/* A controller from before PCI. */
	add_channel(0x1f0, 0x3f6, 0, IRQ_PRIMARY);
	add_channel(0x170, 0x376, 0, IRQ_PRIMARY + 1);
}

/* --- The channel's thread -------------------------------------------------------------------- */

/* What one command does. */
struct batch {
	struct swap_request *requests[ATA_PAGES_MAX];
	void *pages[ATA_PAGES_MAX];
	u32 count;
};

/* work's lock. The oldest, and those that go on where it ends. */
static bool take_from(struct list *queue, struct batch *b)
{
	struct swap_request *r, *next;

	b->count = 0;
	list_for_each_entry_safe (r, next, queue, link) {
		if (b->count == ATA_PAGES_MAX)
			break;
		if (b->count && r->block != b->requests[b->count - 1]->block + 1)
			continue;
		list_del(&r->link);
		b->requests[b->count] = r;
		b->pages[b->count++] = r->page;
	}
	return b->count;
}

/* Somebody waits for what is read; but what is written makes room for it. */
static bool take_batch(struct channel *c, struct batch *b)
{
	if (c->reads_in_row < READS_IN_ROW || list_empty(&c->writes)) {
		if (take_from(&c->reads, b)) {
			c->reads_in_row++;
			return true;
		}
	}
	c->reads_in_row = 0;
	return take_from(&c->writes, b) || take_from(&c->reads, b);
}

/*
 * work's lock. The thread goes by its small weight again when the last that was read has been handed
 * over; for writes alone it does.
 */
static bool take_next(struct channel *c, struct batch *b)
{
	bool any = take_batch(c, b);

	if (list_empty(&c->reads) && (!any || b->requests[0]->write))
		lift_end(&c->lift);
	return any;
}

static int carry_out(struct channel *c, struct swap_request *const *requests, void *const *pages,
		     u32 count)
{
	const struct disk_area *a = c->area;
	const struct swap_request *r = requests[0];
	u64 sector = a->first + r->block * ATA_PAGE_SECTORS;
	struct ata_failure why;
	int err = ata_transfer(a->disk, sector, pages, count, r->write, &why);

	/* Of several it may be one: each is tried by itself then, and told of. */
	if (err && count == 1 && c->told < FAILURES_TOLD) {
		c->told++;
		log_error("%s: %s of block %llu at sector %llu failed: %s%s", a->disk->name,
			  r->write ? "write" : "read", (unsigned long long)r->block,
			  (unsigned long long)sector, why.text,
			  c->told == FAILURES_TOLD ? "; further ones are not told" : "");
	}
	return err;
}

static void do_batch(struct channel *c, const struct batch *b)
{
	int err = carry_out(c, b->requests, b->pages, b->count);

	for (u32 i = 0; i < b->count; i++) {
		struct swap_request *r = b->requests[i];
		void *page = b->pages[i];

		r->err = err && b->count > 1 ? carry_out(c, &r, &page, 1) : err;
		r->done(r);
	}
}

static void channel_thread(void *arg)
{
	struct channel *c = arg;
	struct batch b;

	for (;;) {
		wait_event(&c->work, take_next(c, &b));
		do_batch(c, &b);
	}
}

static void submit(struct swap_device *device, struct list *requests)
{
	struct disk_area *a = container_of(device, struct disk_area, device);
	struct channel *c = container_of(a->disk->channel, struct channel, ata);
	bool on = wait_lock(&c->work);

	while (!list_empty(requests)) {
		struct swap_request *r = list_first(requests, struct swap_request, link);

		list_del(&r->link);
		list_add_tail(&r->link, r->write ? &c->writes : &c->reads);
	}
	if (!list_empty(&c->reads))
		lift_begin(&c->lift);
	wait_wake_all_locked(&c->work);
	wait_unlock(&c->work, on);
}

int disk_start(struct disk_area *area)
{
	struct channel *c = container_of(area->disk->channel, struct channel, ata);
	struct thread_options options = {.weight = WEIGHT_DAEMON};
	struct thread *thread;
	int err;

	area->device.name = area->disk->name;
	area->device.submit = submit;
	c->area = area;
	cpu_set_fill(&options.allowed);
	err = thread_create_with(&thread, area->disk->name, channel_thread, c, &options);
	if (err)
		return err;
	lift_init(&c->lift, thread);
	thread_detach(thread);
	return 0;
}
