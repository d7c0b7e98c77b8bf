/* SPDX-License-Identifier: MIT */
#include "kernel/dev/device.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"

#define PIO_END	   0x10000ull
#define ACCESS_MAX 8

/* The range that holds addr, or NULL. */
static const struct bus_range *find(const struct bus *b, enum device_space space, u64 addr)
{
	u32 low = 0, high = b->count[space];

	if (space == SPACE_PIO && addr < BUS_LOW_PORTS)
		return bus_find_port(b, (u16)addr);
	while (low < high) {
		u32 mid = (low + high) / 2;
		const struct bus_range *r = &b->range[space][mid];

		if (addr < r->start)
			high = mid;
		else if (addr >= r->end)
			low = mid + 1;
		else
			return r;
	}
	return NULL;
}

/* The numbers of ranges have changed. */
static void index_low_ports(struct bus *b)
{
	memset(b->low_port, 0, sizeof(b->low_port));
	for (u32 i = 0; i < b->count[SPACE_PIO]; i++) {
		const struct bus_range *r = &b->range[SPACE_PIO][i];

		for (u64 port = r->start; port < r->end && port < BUS_LOW_PORTS; port++)
			b->low_port[port] = (u8)(i + 1);
		b->high_ports |= r->end > BUS_LOW_PORTS;
	}
}

const struct bus_range *bus_find_high_port(const struct bus *b, u16 port)
{
	return find(b, SPACE_PIO, port);
}

int bus_register(struct bus *b, enum device_space space, u64 start, u64 size, struct device *dev,
		 u64 offset_base)
{
	struct bus_range *ranges = b->range[space];
	u32 count = b->count[space], at = 0;
	u64 end = start + size;

	if (size == 0 || end < start || (space == SPACE_PIO && end > PIO_END))
		return ERR_RANGE;
	while (at < count && ranges[at].end <= start)
		at++;
	if (at < count && ranges[at].start < end)
		return ERR_EXIST;
	if (count == BUS_RANGES_MAX)
		return ERR_NOSPC;
	for (u32 i = count; i > at; i--)
		ranges[i] = ranges[i - 1];
	ranges[at] = (struct bus_range){start, end, dev, offset_base};
	b->count[space] = count + 1;
	if (space == SPACE_PIO)
		index_low_ports(b);
	return 0;
}

/* How much of an access at addr goes to r in one piece: a power of two. Nobody: byte by byte. */
static u32 piece_size(const struct bus_range *r, u64 addr, u32 left)
{
	u64 limit = left;
	u32 n = 1;

	if (!r)
		return 1;
	limit = min(limit, r->end - addr);
	if (r->dev->ops->width)
		limit = min(limit, (u64)r->dev->ops->width);
	while (n * 2 <= limit)
		n *= 2;
	return n;
}

static u64 size_mask(u32 size)
{
	return size >= ACCESS_MAX ? ~0ull : BIT(size * 8) - 1;
}

bool bus_read(struct bus *b, struct vcpu *v, enum device_space space, u64 addr, u32 size,
	      u64 *value)
{
	u64 result = 0;
	bool found = false;
	u32 n;

	size = min(size, (u32)ACCESS_MAX);
	for (u32 done = 0; done < size; done += n) {
		u64 at = addr + done, piece = ~0ull;
		const struct bus_range *r = find(b, space, at);

		n = piece_size(r, at, size - done);
		if (r) {
			found = true;
			piece = r->dev->ops->read(r->dev, v, at - r->start + r->offset_base, n);
		}
		result |= (piece & size_mask(n)) << (done * 8);
	}
	*value = result;
	return found;
}

bool bus_write(struct bus *b, struct vcpu *v, enum device_space space, u64 addr, u32 size,
	       u64 value)
{
	bool found = false;
	u32 n;

	size = min(size, (u32)ACCESS_MAX);
	for (u32 done = 0; done < size; done += n) {
		u64 at = addr + done;
		const struct bus_range *r = find(b, space, at);

		n = piece_size(r, at, size - done);
		if (!r)
			continue;
		found = true;
		r->dev->ops->write(r->dev, v, at - r->start + r->offset_base, n,
				   (value >> (done * 8)) & size_mask(n));
	}
	return found;
}
