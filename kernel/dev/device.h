/* SPDX-License-Identifier: MIT */
/*
 * Devices as the guest sees them: a table of operations each, and the VM's bus that finds the
 * device for a port or a guest physical address. Ranges are registered before the first vCPU runs
 * and do not change after, so look-ups take no lock. Read and write run on the vCPU's thread, in
 * thread context or, where the device says that it can, in exit context; each device guards itself.
 */
#ifndef KERNEL_DEV_DEVICE_H
#define KERNEL_DEV_DEVICE_H

#include "kernel/base/addr.h"

struct vm;
struct vcpu;
struct device;

enum device_space {
	SPACE_PIO,
	SPACE_MMIO
};

#define DEVICE_QUICK_READ  BIT(0)
#define DEVICE_QUICK_WRITE BIT(1)

/* One of the three tables of function pointers that floors go by (docs/architecture.md). */
struct device_ops {
	const char *name;
	u32 width; /* widest access it decodes, bytes; the bus cuts wider ones. 0: any */
	/* offset from the range's start; size 1, 2, 4 or 8; v is who asks (NULL: Weir itself). */
	u64 (*read)(struct device *d, struct vcpu *v, u64 offset, u32 size);
	void (*write)(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value);
	/* DEVICE_QUICK_*: may be called in exit context too, for it neither sleeps nor allocates. */
	u8 quick;
	void (*reset)(struct device *d);   /* power-on state; NULL: nothing to do */
	void (*destroy)(struct device *d); /* timers cancelled, memory freed */
};

struct device {
	const struct device_ops *ops;
	struct vm *vm;
};

#define BUS_RANGES_MAX 48

struct bus_range {
	u64 start, end; /* end exclusive */
	struct device *dev;
	u64 offset_base; /* what the device sees as the offset of start */
};

/* Where all devices of a PC have their ports. A power of 2. */
#define BUS_LOW_PORTS 0x1000

struct bus {
	u32 count[2];
	struct bus_range range[2][BUS_RANGES_MAX]; /* by space, sorted by start */
	u8 low_port[BUS_LOW_PORTS]; /* of the port: its range's number + 1; 0: nobody */
	bool high_ports;	    /* somebody is above them */
};
static_assert(BUS_RANGES_MAX < 0xff, "struct bus: low_port");

/* ERR_EXIST on overlap, ERR_NOSPC, ERR_RANGE. Thread context, before the VM runs. */
int bus_register(struct bus *b, enum device_space space, u64 start, u64 size, struct device *dev,
		 u64 offset_base);
/* Who answers at a port; NULL: nobody. Any context. */
const struct bus_range *bus_find_high_port(const struct bus *b, u16 port);
/*
 * What is cut off is clear but where the CPU guesses that the guest's port is a low one (no_speculation,
 * which costs more). The compiler, which knows that it is, would leave that out.
 */
static inline const struct bus_range *bus_find_low_port(const struct bus *b, u16 port)
{
	u64 index = port;
	u32 n;

	__asm__("" : "+r"(index));
	n = b->low_port[index % BUS_LOW_PORTS];
	return n ? b->range[SPACE_PIO] - 1 + n : NULL;
}
static inline const struct bus_range *bus_find_port(const struct bus *b, u16 port)
{
	if (port >= BUS_LOW_PORTS)
		return unlikely(b->high_ports) ? bus_find_high_port(b, port) : NULL;
	return bus_find_low_port(b, port);
}

/* Who answers at a guest physical address; NULL: nobody. A PC has few. Any context. */
static inline const struct bus_range *bus_find_mmio(const struct bus *b, gpa_t gpa)
{
	const struct bus_range *end = b->range[SPACE_MMIO] + b->count[SPACE_MMIO];

	for (const struct bus_range *r = b->range[SPACE_MMIO]; r < end; r++) {
		if (gpa.v - r->start < r->end - r->start)
			return r;
	}
	return NULL;
}

/* An access of this size at an address of r's is one that the device takes whole. */
static inline bool bus_is_whole(const struct bus_range *r, u64 at, u32 size)
{
	return size == 1 ||
	       (at + size <= r->end && (!r->dev->ops->width || size <= r->dev->ops->width));
}

/*
 * An access that no single device decodes whole is cut, as an ISA bridge does: each piece goes to
 * whom it belongs. Nobody there at all: reads give all ones (size bytes), writes go nowhere; both
 * return false.
 */
bool bus_read(struct bus *b, struct vcpu *v, enum device_space space, u64 addr, u32 size,
	      u64 *value);
bool bus_write(struct bus *b, struct vcpu *v, enum device_space space, u64 addr, u32 size,
	       u64 value);

#endif
