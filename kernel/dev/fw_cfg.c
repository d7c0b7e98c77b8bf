/* SPDX-License-Identifier: MIT */
#include "kernel/dev/fw_cfg.h"

#include "kernel/dev/chipset.h"

#define FW_CFG_PORT 0x510
#define OFFSET_DATA 1
#define ITEM_MAX    8

enum {
	KEY_SIGNATURE = 0x00,
	KEY_ID = 0x01,
	KEY_RAM_SIZE = 0x03,
	KEY_CPUS = 0x05,
	KEY_MAX_CPUS = 0x0f,
	KEY_FILES = 0x19, /* a big-endian count, which is 0 */
};

#define SIGNATURE 0x554d4551u /* "QEMU" */
#define ID_PLAIN  1u	      /* the two ports and nothing more */

/* Every item is a little-endian number; bytes past its end read as zero. */
static u64 item(const struct fw_cfg *f)
{
	const struct vm_config *config = &f->p->vm->config;

	switch (f->key) {
	case KEY_SIGNATURE:
		return SIGNATURE;
	case KEY_ID:
		return ID_PLAIN;
	case KEY_RAM_SIZE:
		return config->mem;
	case KEY_CPUS:
	case KEY_MAX_CPUS:
		return config->vcpus;
	}
	return 0;
}

static u8 next_byte(struct fw_cfg *f)
{
	if (f->at >= ITEM_MAX)
		return 0;
	return (u8)(item(f) >> (8 * f->at++));
}

static u64 fw_cfg_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct fw_cfg *f = container_of(d, struct fw_cfg, dev);
	u64 value = ~0ull;
	bool on;

	(void)v;
	if (offset != OFFSET_DATA || size != 1)
		return value;
	on = spin_lock_irqsave(&f->p->lock);
	value = next_byte(f);
	spin_unlock_irqrestore(&f->p->lock, on);
	return value;
}

static void fw_cfg_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct fw_cfg *f = container_of(d, struct fw_cfg, dev);
	bool on;

	(void)v;
	if (offset == OFFSET_DATA || size != 2)
		return;
	on = spin_lock_irqsave(&f->p->lock);
	f->key = (u16)value;
	f->at = 0;
	spin_unlock_irqrestore(&f->p->lock, on);
}

static void fw_cfg_reset(struct device *d)
{
	struct fw_cfg *f = container_of(d, struct fw_cfg, dev);

	f->key = 0;
	f->at = 0;
}

static const struct device_ops fw_cfg_ops = {
	.name = "fw_cfg",
	.width = 2,
	.read = fw_cfg_read,
	.write = fw_cfg_write,
	.quick = DEVICE_QUICK_READ | DEVICE_QUICK_WRITE,
	.reset = fw_cfg_reset,
};

int fw_cfg_init(struct fw_cfg *f, struct platform *p)
{
	f->p = p;
	chipset_add(p, &f->dev, &fw_cfg_ops);
	return bus_register(&p->vm->bus, SPACE_PIO, FW_CFG_PORT, 2, &f->dev, 0);
}
