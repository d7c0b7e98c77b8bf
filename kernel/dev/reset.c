/* SPDX-License-Identifier: MIT */
#include "kernel/dev/reset.h"

#include "kernel/dev/chipset.h"

#define POST_PORT	    0x80
#define SYSTEM_CONTROL_PORT 0x92
#define DEBUG_EXIT_SIZE	    4

#define OFFSET_POST	      0
#define OFFSET_SYSTEM_CONTROL 1
#define OFFSET_DEBUG_EXIT     2

#define RESET_CONTROL_KEPT  0x0a /* full, system reset */
#define RESET_CONTROL_RESET 0x04 /* as it rises */

#define SYSTEM_FAST_RESET 0x01
#define SYSTEM_A20	  0x02

u8 reset_control_read(struct reset *r)
{
	return READ_ONCE(r->reset_control);
}

void reset_control_write(struct reset *r, u8 value)
{
	WRITE_ONCE(r->reset_control, value & RESET_CONTROL_KEPT);
	if (value & RESET_CONTROL_RESET)
		chipset_end(r->p, VM_END_RESET, 0);
}

static u64 reset_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct reset *r = container_of(d, struct reset, dev);

	(void)v;
	(void)size;
	switch (offset) {
	case OFFSET_POST:
		return READ_ONCE(r->post_code);
	case OFFSET_SYSTEM_CONTROL:
		return READ_ONCE(r->system_control);
	}
	return ~0ull;
}

static void reset_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct reset *r = container_of(d, struct reset, dev);

	(void)v;
	(void)size;
	switch (offset) {
	case OFFSET_POST:
		WRITE_ONCE(r->post_code, (u8)value);
		break;
	case OFFSET_SYSTEM_CONTROL:
		WRITE_ONCE(r->system_control, value & SYSTEM_A20);
		if (value & SYSTEM_FAST_RESET)
			chipset_end(r->p, VM_END_RESET, 0);
		break;
	default:
		chipset_end(r->p, VM_END_DEBUG_EXIT, (u32)value);
		break;
	}
}

static void reset_reset(struct device *d)
{
	struct reset *r = container_of(d, struct reset, dev);

	r->reset_control = 0;
	r->system_control = SYSTEM_A20;
	r->post_code = 0;
}

static const struct device_ops reset_ops = {
	.name = "reset",
	.width = 4,
	.read = reset_read,
	.write = reset_write,
	.quick = DEVICE_QUICK_READ,
	.reset = reset_reset,
};

int reset_init(struct reset *r, struct platform *p)
{
	struct bus *bus = &p->vm->bus;
	int err;

	r->p = p;
	chipset_add(p, &r->dev, &reset_ops);
	err = bus_register(bus, SPACE_PIO, POST_PORT, 1, &r->dev, OFFSET_POST);
	if (!err)
		err = bus_register(bus, SPACE_PIO, SYSTEM_CONTROL_PORT, 1, &r->dev,
				   OFFSET_SYSTEM_CONTROL);
	if (!err)
		err = bus_register(bus, SPACE_PIO, PLATFORM_DEBUG_EXIT, DEBUG_EXIT_SIZE, &r->dev,
				   OFFSET_DEBUG_EXIT);
	return err;
}
