/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/pci_config.c */
/*
 * PCI configuration space behind its two ports: which functions are found, and what is switched
 * off.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/x86.h"
#include "kernel/base/pci_config.h"

#define ADDRESS(bus, device, function) ((bus) << 16 | (device) << 11 | (function) << 8)
#define MULTI			       0x800000
#define STATUS			       0x02100000 /* ones that a write of them would clear */

struct function {
	u32 address, class, header, command;
};

static struct function functions[] = {
	{ADDRESS(0, 0, 0), 0x06000000, 0, 0x0006},     /* host bridge */
	{ADDRESS(0, 1, 0), 0x06010000, MULTI, 0x0007}, /* ISA bridge */
	{ADDRESS(0, 1, 1), 0x01018000, 0, 0x0000},     /* IDE */
	{ADDRESS(0, 25, 0), 0x02000000, 0, 0x0407},    /* Ethernet, on */
	{ADDRESS(3, 0, 0), 0x02800000, MULTI, 0x0006}, /* wireless, on */
	{ADDRESS(3, 0, 3), 0x02000000, 0, 0x0003},     /* Ethernet, off */
	{ADDRESS(255, 31, 7), 0x02000000, 0, 0x0004},  /* nobody is before it: not there */
};

static struct function start[ARRAY_SIZE(functions)];
static u32 selected, writes;
static bool no_pci;

static struct function *chosen(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(functions); i++) {
		if (functions[i].address == (selected & 0xffff00))
			return &functions[i];
	}
	return NULL;
}

static u32 fake_in(u16 port, u32 size)
{
	struct function *f = chosen();

	if (no_pci)
		return ~0u;
	if (port == 0xcf8)
		return selected;
	assert_int_equal(port, 0xcfc);
	assert_true(selected & 0x80000000);
	if (!f)
		return ~0u;
	switch (selected & 0xfc) {
	case 0x00:
		return 0x12348086;
	case 0x04:
		return STATUS | f->command;
	case 0x08:
		return f->class;
	case 0x0c:
		return f->header;
	}
	return 0;
}

static void fake_out(u16 port, u32 size, u32 value)
{
	if (port == 0xcf8) {
		selected = value;
		return;
	}
	assert_int_equal(port, 0xcfc);
	assert_int_equal(selected & 0xfc, 4);
	assert_int_equal(value >> 16, 0);
	chosen()->command = value;
	writes++;
}

static int setup(void **state)
{
	static bool kept;

	if (!kept)
		memcpy(start, functions, sizeof(start));
	kept = true;
	memcpy(functions, start, sizeof(functions));
	hosted_machine = (struct hosted_machine){.in = fake_in, .out = fake_out};
	writes = 0;
	no_pci = false;
	return 0;
}

static void network_stops(void **state)
{
	assert_int_equal(pci_stop_network(), 2);
	assert_int_equal(writes, 2);
	assert_int_equal(functions[3].command, 0x0403);
	assert_int_equal(functions[4].command, 0x0002);
	for (u32 i = 0; i < ARRAY_SIZE(functions); i++) {
		if (i != 3 && i != 4)
			assert_int_equal(functions[i].command, start[i].command);
	}
	assert_int_equal(pci_stop_network(), 0);
}

static void ide_is_found(void **state)
{
	struct pci_ide ide;
	u32 cursor = 0;

	assert_true(pci_ide_next(&cursor, &ide));
	assert_int_equal(ide.address, ADDRESS(0, 1, 1));
	assert_int_equal(ide.channel[0].command, 0x1f0);
	assert_int_equal(functions[2].command, 1);
	assert_false(pci_ide_next(&cursor, &ide));
}

static void no_bus(void **state)
{
	struct pci_ide ide;
	u32 cursor = 0;

	no_pci = true;
	assert_int_equal(pci_stop_network(), 0);
	assert_false(pci_ide_next(&cursor, &ide));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(network_stops, setup),
		cmocka_unit_test_setup(ide_is_found, setup),
		cmocka_unit_test_setup(no_bus, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
