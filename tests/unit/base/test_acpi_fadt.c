/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/acpi.c kernel/base/acpi_madt.c kernel/base/acpi_fadt.c
   kernel/base/acpi_srat.c tests/unit/base/acpi_fixture.c */
/* What is read of the FADT, of the DSDT and of the DMAR. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/base/acpi_fixture.h"

/* Of events and of the way into ACPI mode, whatever is odd is as good as not there. */
static void test_events(void **state)
{
	put(FADT_AT + 10, 0x2053484348434f42ull, 6); /* "BOCHS " but for letters */
	put(FADT_AT + 232, 1 | 128 << 8, 4);
	put(FADT_AT + 236, 0xfff0, 8);
	put(FADT_AT + 93, 16, 1);
	seal_table(FADT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.gpe1.address, 0xfff0);
	assert_int_equal(info.gpe1.bytes, 16);
	assert_int_equal(info.gpe1.space, ACPI_SPACE_IO);
	assert_false(info.bochs_tables);
	memcpy(memory + FADT_AT + 10, "BOCHS ", 6);
	put(FADT_AT + 93, 17, 1); /* beyond the last port */
	put(FADT_AT + 92, 1, 1);
	put(FADT_AT + 88, 3, 1);
	seal_table(FADT_AT);
	assert_int_equal(parse(), 0);
	assert_true(info.bochs_tables);
	assert_int_equal(info.gpe1.address, 0);
	assert_int_equal(info.gpe0.address, 0);
	assert_int_equal(info.pm1a_event.address, 0);
	put(FADT_AT + 52, 0, 1);
	seal_table(FADT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.smi_command, 0xb2);
	put(FADT_AT + 53, 0, 1);
	seal_table(FADT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.smi_command, 0);
}

/* The first version ends where the register for a reset is now; of what is not there nothing is read. */
static void test_first_version(void **state)
{
	put(FADT_AT + 4, 116, 4);
	seal_table(FADT_AT);
	assert_int_equal(parse(), 0);
	assert_true(info.fadt_present && info.s5_present);
	assert_int_equal(info.pm1a_control.address, 0x604);
	assert_int_equal(info.pm1a_event.bytes, 4);
	assert_int_equal(info.pm1a_event.address, 0x600);
	assert_false(info.reset_supported);
	put(FADT_AT + 4, 115, 4);
	seal_table(FADT_AT);
	assert_int_equal(parse(), 0);
	assert_false(info.fadt_present || info.s5_present);
	assert_non_null(strstr(hosted_log_last(), "only 115 bytes"));
}

/* Units up to the first entry that makes no sense; other entries are passed over. */
static void test_dmar(void **state)
{
	static const u8
		entries
			[] =
				{
					37,   1,    0,	0,  0, 0, 0, 0, 0, 0,	 0,
					0,    0,    0,	16, 0, 1, 0, 0, 0, 0,	 0,
					0xd9, 0xfe, 0,	0,  0, 0, /* a unit */
					1,    0,    24, 0,  0, 0, 0, 0, 0, 0x10, 0,
					0,    0,    0,	0,  0, 0, 0, 0, 0, 0,	 0,
					0,    0,    0,	0,  8, 0, 1, 0, 0, 0, /* too short */
					0,    0,    16, 0,  1, 0, 0, 0, 0, 0x10, 0xd9,
					0xfe, 0,    0,	0,  0, /* another */
					0,    0,    17, 0,  1, 0, 0, 0, 0, 0x20, 0xd9,
					0xfe, 0,    0,	0,  0, /* longer than the table */
				};

	table(OTHER_AT, "DMAR", HEADER + sizeof(entries));
	memcpy(memory + OTHER_AT + HEADER, entries, sizeof(entries));
	seal_table(OTHER_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.dmar_count, 2);
	assert_int_equal(info.dmars[0], 0xfed90000);
	assert_int_equal(info.dmars[1], 0xfed91000);
}

static void test_registers(void **state)
{
	/* An extended block wins; one in a space that is neither memory nor I/O does not. */
	put(FADT_AT + 208, 0 | 32 << 8, 4);
	put(FADT_AT + 212, 0xfed80000, 8);
	put(FADT_AT + 172, 2, 4);
	put(FADT_AT + 176, 0x1234, 8);
	put(FADT_AT + 116, 1, 4);
	put(FADT_AT + 120, 0x10cf9, 8);
	seal_table(FADT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.pm_timer.address, 0xfed80000);
	assert_int_equal(info.pm_timer.space, ACPI_SPACE_MEMORY);
	assert_int_equal(info.pm1a_control.address, 0x604);
	assert_false(info.reset_supported);
	put(FADT_AT + 91, 0, 1);
	seal_table(FADT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.pm_timer.address, 0);
}

#define S5(...) acpi_find_s5((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), &a, &b)

static void test_s5(void **state)
{
	u8 a = 0, b = 0;

	assert_true(S5(8, '_', 'S', '5', '_', 0x12, 6, 4, 1, 1, 0, 0));
	assert_true(a == 1 && b == 1);
	assert_true(S5(0x5b, 8, '\\', '_', 'S', '5', '_', 0x12, 0x40, 1, 4, 0x0a, 7, 0x0b, 3, 0));
	assert_true(a == 7 && b == 3);
	assert_true(S5(8, '_', 'S', '5', '_', 0x12, 4, 1, 0x0a, 5));
	assert_true(a == 5 && b == 5);
	/* A call, not the name's definition; then the definition. */
	assert_true(S5(0x70, '_', 'S', '5', '_', 8, '_', 'S', '5', '_', 0x12, 4, 2, 1, 0));
	assert_false(S5(0x70, '_', 'S', '5', '_', 0x12, 4, 2, 1, 0));
	assert_false(S5(8, '_', 'S', '5', '_'));
	assert_false(S5(8, '_', 'S', '5', '_', 0x12));
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 4, 2, 0x0a));
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 0xc0, 1, 1));
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 4, 0, 1, 1));
	assert_false(S5(8, '_', 'S', '5', '_', 0x11, 4, 2, 1, 1));
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 4, 2, 0x0a, 9, 0));
	assert_false(S5('_', 'S', '5'));
	assert_false(S5(0));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, build, cleanup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_events), TEST(test_first_version), TEST(test_dmar), TEST(test_registers),
		TEST(test_s5),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
