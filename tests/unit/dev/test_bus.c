/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/dev/device.c */
/* The bus: who is asked for what, and what comes back when nobody is there. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/dev/device.h"

/* Remembers what it was asked; answers with offset and size in each byte. */
struct probe {
	struct device dev;
	u32 reads, writes;
	u64 offset[8], value[8];
	u32 size[8];
};

static u64 probe_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct probe *p = container_of(d, struct probe, dev);

	p->offset[p->reads] = offset;
	p->size[p->reads++] = size;
	return 0xffffff00ull | (offset << 4) | size;
}

static void probe_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct probe *p = container_of(d, struct probe, dev);

	p->offset[p->writes] = offset;
	p->size[p->writes] = size;
	p->value[p->writes++] = value;
}

static const struct device_ops any_ops = {.name = "any", .read = probe_read, .write = probe_write};
static const struct device_ops byte_ops = {
	.name = "byte", .width = 1, .read = probe_read, .write = probe_write};

static void ranges_exclude_each_other(void **state)
{
	struct probe p = {.dev.ops = &any_ops};
	struct bus b = {0};

	assert_int_equal(bus_register(&b, SPACE_PIO, 0x40, 4, &p.dev, 0), 0);
	assert_int_equal(bus_register(&b, SPACE_PIO, 0x43, 1, &p.dev, 0), ERR_EXIST);
	assert_int_equal(bus_register(&b, SPACE_PIO, 0x3f, 2, &p.dev, 0), ERR_EXIST);
	assert_int_equal(bus_register(&b, SPACE_PIO, 0x30, 0x40, &p.dev, 0), ERR_EXIST);
	assert_int_equal(bus_register(&b, SPACE_PIO, 0x41, 1, &p.dev, 0), ERR_EXIST);
	assert_int_equal(bus_register(&b, SPACE_PIO, 0x44, 1, &p.dev, 0), 0);
	assert_int_equal(bus_register(&b, SPACE_PIO, 0x3f, 1, &p.dev, 0), 0);
	assert_int_equal(bus_register(&b, SPACE_MMIO, 0x40, 4, &p.dev, 0), 0);
	for (u32 i = 1; i < b.count[SPACE_PIO]; i++)
		assert_true(b.range[SPACE_PIO][i - 1].end <= b.range[SPACE_PIO][i].start);
}

static void malformed_ranges_are_refused(void **state)
{
	struct probe p = {.dev.ops = &any_ops};
	struct bus b = {0};

	assert_int_equal(bus_register(&b, SPACE_PIO, 0x40, 0, &p.dev, 0), ERR_RANGE);
	assert_int_equal(bus_register(&b, SPACE_PIO, 0xffff, 2, &p.dev, 0), ERR_RANGE);
	assert_int_equal(bus_register(&b, SPACE_MMIO, ~0ull, 2, &p.dev, 0), ERR_RANGE);
	assert_int_equal(bus_register(&b, SPACE_PIO, 0xffff, 1, &p.dev, 0), 0);
	for (u32 i = 0; b.count[SPACE_MMIO] < BUS_RANGES_MAX; i++)
		assert_int_equal(bus_register(&b, SPACE_MMIO, 16 * (1000 - i), 8, &p.dev, 0), 0);
	assert_int_equal(bus_register(&b, SPACE_MMIO, 8, 8, &p.dev, 0), ERR_NOSPC);
}

/* To its last byte and not beyond it, and no wider than the device decodes; one byte always is. */
static void whole_is_what_one_device_takes_at_once(void **state)
{
	static const struct device_ops word_ops = {
		.name = "word", .width = 2, .read = probe_read, .write = probe_write};
	const struct device_ops *ops[] = {&any_ops, &byte_ops, &word_ops};
	struct device dev;
	struct bus_range r = {.start = 0x40, .end = 0x46, .dev = &dev};

	for (u32 i = 0; i < ARRAY_SIZE(ops); i++) {
		u32 widest = ops[i]->width ? ops[i]->width : 8;

		dev.ops = ops[i];
		for (u64 at = r.start; at < r.end; at++) {
			for (u32 size = 1; size <= 8; size *= 2)
				assert_int_equal(bus_is_whole(&r, at, size),
						 size <= widest && at + size <= r.end);
		}
	}
}

static void nobody_reads_as_ones(void **state)
{
	struct bus b = {0};
	u64 value;

	assert_false(bus_read(&b, NULL, SPACE_PIO, 0x40, 1, &value));
	assert_int_equal(value, 0xff);
	assert_false(bus_read(&b, NULL, SPACE_PIO, 0x40, 2, &value));
	assert_int_equal(value, 0xffff);
	assert_false(bus_read(&b, NULL, SPACE_PIO, 0x40, 4, &value));
	assert_int_equal(value, 0xffffffff);
	assert_false(bus_read(&b, NULL, SPACE_MMIO, ~0ull - 3, 8, &value));
	assert_int_equal(value, ~0ull);
	assert_false(bus_write(&b, NULL, SPACE_PIO, 0xfffe, 4, 0));
}

static void offsets_count_from_the_range(void **state)
{
	struct probe p = {.dev.ops = &any_ops};
	struct bus b = {0};
	u64 value;

	bus_register(&b, SPACE_PIO, 0x100, 8, &p.dev, 0);
	bus_register(&b, SPACE_PIO, 0x200, 8, &p.dev, 8);
	assert_true(bus_read(&b, NULL, SPACE_PIO, 0x104, 4, &value));
	assert_int_equal(value, 0xffffff44);
	assert_true(bus_read(&b, NULL, SPACE_PIO, 0x202, 2, &value));
	assert_int_equal(value, 0xffa2);
	assert_true(bus_write(&b, NULL, SPACE_PIO, 0x207, 1, 0x1234));
	assert_int_equal(p.offset[0], 15);
	assert_int_equal(p.value[0], 0x34);
}

/* Accesses across borders, and wide ones to a device of bytes, arrive in pieces. */
static void accesses_are_cut(void **state)
{
	struct probe left = {.dev.ops = &any_ops}, right = {.dev.ops = &byte_ops};
	struct bus b = {0};
	u64 value;

	bus_register(&b, SPACE_PIO, 0x100, 2, &left.dev, 0);
	bus_register(&b, SPACE_PIO, 0x102, 2, &right.dev, 0);
	assert_true(bus_write(&b, NULL, SPACE_PIO, 0x100, 4, 0x44332211));
	assert_int_equal(left.writes, 1);
	assert_int_equal(left.value[0], 0x2211);
	assert_int_equal(right.writes, 2);
	assert_int_equal(right.value[0], 0x33);
	assert_int_equal(right.value[1], 0x44);
	assert_int_equal(right.offset[1], 1);
	assert_true(bus_read(&b, NULL, SPACE_PIO, 0x102, 4, &value));
	assert_int_equal(value, 0xffff1101); /* two bytes of the device, two of nobody */
	assert_true(bus_read(&b, NULL, SPACE_PIO, 0xff, 4, &value));
	assert_int_equal(left.size[0], 2);
	assert_int_equal(value, 0x01ff02ff);
}

/* The index of ports says what a search would. */
static void ports_are_found(void **state)
{
	static const struct {
		u64 start, size;
	} ranges[] = {{0, 1},	  {0x20, 2},	{0xcf8, 8}, {0xfff, 1},
		      {0xffe, 1}, {0x1000, 16}, {0xffff, 1}};
	struct probe p = {.dev.ops = &any_ops};
	struct bus b = {0};

	for (u32 made = 0; made <= ARRAY_SIZE(ranges); made++) {
		for (u32 port = 0; port < 0x10000; port++) {
			const struct bus_range *r = bus_find_port(&b, (u16)port), *found = NULL;

			for (u32 i = 0; i < b.count[SPACE_PIO]; i++) {
				if (port >= b.range[SPACE_PIO][i].start &&
				    port < b.range[SPACE_PIO][i].end)
					found = &b.range[SPACE_PIO][i];
			}
			assert_ptr_equal(r, found);
			/* Whatever the port, the index is not left. */
			assert_ptr_equal(bus_find_low_port(&b, (u16)port),
					 bus_find_port(&b, port % BUS_LOW_PORTS));
		}
		if (made < ARRAY_SIZE(ranges))
			assert_int_equal(bus_register(&b, SPACE_PIO, ranges[made].start,
						      ranges[made].size, &p.dev, 0),
					 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_exclude_each_other),
		cmocka_unit_test(malformed_ranges_are_refused),
		cmocka_unit_test(whole_is_what_one_device_takes_at_once),
		cmocka_unit_test(nobody_reads_as_ones),
		cmocka_unit_test(offsets_count_from_the_range),
		cmocka_unit_test(accesses_are_cut),
		cmocka_unit_test(ports_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
