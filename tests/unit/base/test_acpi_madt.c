/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/acpi.c kernel/base/acpi_madt.c kernel/base/acpi_fadt.c
   kernel/base/acpi_srat.c tests/unit/base/acpi_fixture.c */
/* The MADT's entries. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/base/acpi_fixture.h"

static void bad_entry(u8 type, u8 length)
{
	build(NULL);
	memory[MADT_AT + 44 + 16] = type; /* the third entry */
	memory[MADT_AT + 44 + 17] = length;
	seal_table(MADT_AT);
	assert_int_equal(parse(), 0);
	assert_true(info.madt_present);
	assert_int_equal(info.cpu_count, 2);
	assert_int_equal(info.ioapic_count, 0);
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
}

static void test_madt_entries(void **state)
{
	bad_entry(0, 0);
	bad_entry(0, 1);
	bad_entry(0, 7);
	bad_entry(1, 8);
	bad_entry(9, 15);
	bad_entry(2, 9);
	bad_entry(99, 0);
	bad_entry(99, 255);
}

/* The last entry says that it goes on where the table has ended. */
static void test_madt_entry_cut(void **state)
{
	put(MADT_AT + 4, madt_end - MADT_AT - 5, 4);
	seal_table(MADT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.lapic_address, 0xfee00000);
	put(MADT_AT + 4, madt_end - MADT_AT - 11, 4);
	seal_table(MADT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.cpu_count, 3);
}

/* CPUs that are not there take no places, nor hide those that are. */
static void test_madt_disabled(void **state)
{
	u8 cpu[16] = {9, 16};

	table(MADT_AT, "APIC", 44);
	memmove(memory + FADT_AT + 0x2000, memory + FADT_AT, 244);
	madt_end = MADT_AT + 44;
	for (u32 i = 0; i < 300; i++) {
		cpu[4] = (u8)i;
		cpu[5] = (u8)(i >> 8);
		cpu[8] = i >= 290;
		madt_bytes(cpu, sizeof(cpu));
	}
	seal_table(MADT_AT);
	put(XSDT_AT + HEADER + 16, FADT_AT + 0x2000, 8);
	seal_table(XSDT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.cpu_count, 10);
	assert_int_equal(info.cpus[0].apic_id, 290);
	assert_false(info.madt_full.cpus);
}

static void test_madt_full(void **state)
{
	u8 cpu[16] = {9, 16, 0, 0, 0, 0, 0, 0, 1};

	table(MADT_AT, "APIC", 44);
	memmove(memory + FADT_AT + 0x2000, memory + FADT_AT, 244);
	madt_end = MADT_AT + 44;
	for (u32 i = 0; i < 200; i++) {
		cpu[4] = (u8)i;
		madt_bytes(cpu, sizeof(cpu));
	}
	seal_table(MADT_AT);
	put(XSDT_AT + HEADER + 16, FADT_AT + 0x2000, 8);
	seal_table(XSDT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.cpu_count, 200);
	for (u32 i = 0; i < 18; i++)
		MADT_ADD(1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0);
	for (u32 i = 0; i < 18; i++)
		MADT_ADD(2, 10, 0, 0, 2, 0, 0, 0, 0, 0);
	/* One for each CPU, as many a firmware has it, and then some. */
	for (u32 i = 0; i < 200; i++)
		MADT_ADD(4, 6, (u8)i, 5, 0, 1);
	seal_table(MADT_AT);
	hosted_log_reset();
	assert_int_equal(parse(), 0);
	assert_int_equal(info.ioapic_count, ACPI_IOAPICS_MAX);
	assert_int_equal(info.override_count, ACPI_OVERRIDES_MAX);
	assert_int_equal(info.nmi_count, 200);
	assert_int_equal(info.nmis[199].uid, 199);
	/* Each kind that does not fit is told once, not once for each that is left out. */
	assert_int_equal(hosted_log_count(LOG_WARN), 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, build, cleanup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_madt_entries),
		TEST(test_madt_entry_cut),
		TEST(test_madt_disabled),
		TEST(test_madt_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
