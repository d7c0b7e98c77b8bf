/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/acpi.c kernel/base/acpi_madt.c kernel/base/acpi_fadt.c
   kernel/base/acpi_srat.c tests/unit/base/acpi_fixture.c */
/* The way to the tables, their checksums and lengths; and all of them damaged at random. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/base/acpi_fixture.h"

static void check_madt(void)
{
	assert_true(info.madt_present);
	assert_int_equal(info.cpu_count, 3);
	assert_int_equal(info.cpus[1].apic_id, 2);
	assert_int_equal(info.cpus[2].apic_id, 256);
	assert_true(info.cpus[2].x2apic && !info.cpus[1].x2apic);
	assert_int_equal(info.ioapic_count, 1);
	assert_int_equal(info.ioapics[0].address, 0xfec00000);
	assert_int_equal(info.override_count, 2);
	assert_int_equal(info.overrides[0].gsi, 2);
	assert_false(info.overrides[0].level || info.overrides[0].active_low);
	assert_true(info.overrides[1].level && info.overrides[1].active_low);
	assert_int_equal(info.nmi_count, 2);
	assert_int_equal(info.nmis[0].uid, ACPI_UID_ALL);
	assert_int_equal(info.nmis[0].lint, 1);
	assert_int_equal(info.nmis[1].uid, 9);
	assert_int_equal(info.lapic_address, 0xfde00000);
	assert_true(info.has_8259);
}

static void check_rest(void)
{
	assert_true(info.hpet_present);
	assert_int_equal(info.hpet_address, 0xfed00000);
	assert_true(info.fadt_present);
	assert_int_equal(info.pm_timer.address, 0x608);
	assert_true(info.pm_timer_32bit);
	assert_int_equal(info.pm1a_control.address, 0x604);
	assert_int_equal(info.pm1b_control.address, 0);
	assert_int_equal(info.smi_command, 0xb2);
	assert_int_equal(info.acpi_enable, 0xf1);
	assert_int_equal(info.pm1a_event.address, 0x600);
	assert_int_equal(info.pm1a_event.bytes, 4);
	assert_int_equal(info.pm1b_event.address, 0);
	assert_int_equal(info.gpe0.address, 0x620);
	assert_int_equal(info.gpe0.bytes, 16);
	assert_int_equal(info.gpe1.address, 0);
	assert_false(info.bochs_tables);
	assert_true(info.reset_supported);
	assert_int_equal(info.reset.address, 0xcf9);
	assert_int_equal(info.reset_value, 6);
	assert_int_equal(info.century_index, 0x32);
	assert_true(info.s5_present);
	assert_int_equal(info.s5_type_a, 5);
	assert_int_equal(info.s5_type_b, 6);
	assert_true(info.srat_present && info.memory_count == 3 && info.cpu_domain_count == 3);
	assert_true(info.slit_present && info.locality_count == 3);
}

static void test_good(void **state)
{
	assert_int_equal(parse(), 0);
	check_madt();
	check_rest();
	assert_int_equal(info.tables_broken, 0);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
}

/* What is behind its 20 bytes is others', whatever it looks like; so is what was not handed over. */
static void test_acpi1_uses_rsdt(void **state)
{
	put(XSDT_AT, 0, 4);
	assert_int_equal(acpi_parse(rsdp, 20, map, &info), 0);
	check_madt();
	check_rest();
	assert_int_equal(info.tables_broken, 0);
	rsdp[15] = 0;
	seal_rsdp();
	assert_int_equal(parse(), 0);
	check_madt();
	check_rest();
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
}

static void test_rsdp_broken(void **state)
{
	rsdp[3] ^= 1;
	assert_int_equal(parse(), ERR_CORRUPT);
	assert_int_equal(acpi_parse(rsdp, 7, map, &info), ERR_CORRUPT);
	assert_int_equal(info.cpu_count, 0);
	assert_true(hosted_log_count(LOG_WARN) > 0);
}

/* Only the part that ACPI 1 knew is sound: its RSDT counts. */
static void test_rsdp_extension_broken(void **state)
{
	rsdp[33] ^= 1;
	put(XSDT_AT, 0, 4);
	assert_int_equal(parse(), 0);
	check_madt();
	assert_int_equal(info.tables_broken, 0);
}

static void test_xsdt_broken_falls_back(void **state)
{
	memory[XSDT_AT + 9] ^= 1;
	assert_int_equal(parse(), 0);
	check_madt();
	check_rest();
	assert_int_equal(info.tables_broken, 1);
	assert_non_null(strstr(hosted_log_last(), "XSDT"));
}

static void test_both_roots_broken(void **state)
{
	memory[XSDT_AT + 9] ^= 1;
	memory[RSDT_AT + 9] ^= 1;
	assert_int_equal(parse(), ERR_FAULT);
	assert_int_equal(info.tables_ok, 0);
}

static void test_root_is_something_else(void **state)
{
	memcpy(memory + XSDT_AT, "RSDT", 4);
	seal_table(XSDT_AT);
	assert_int_equal(parse(), 0); /* by the RSDT */
	check_madt();
}

static void broken_table(u32 at, const char *name)
{
	memory[at + 9] ^= 0x40;
	assert_int_equal(parse(), 0);
	assert_int_equal(info.tables_broken, 1);
	assert_non_null(strstr(hosted_log_last(), name));
	assert_non_null(strstr(hosted_log_last(), "checksum"));
	memory[at + 9] ^= 0x40;
}

static void test_each_checksum(void **state)
{
	broken_table(MADT_AT, "APIC");
	assert_false(info.madt_present);
	check_rest();
	broken_table(FADT_AT, "FACP");
	assert_false(info.fadt_present || info.s5_present);
	check_madt();
	broken_table(HPET_AT, "HPET");
	assert_false(info.hpet_present);
	check_madt();
	broken_table(SRAT_AT, "SRAT");
	assert_false(info.srat_present || info.memory_count || info.cpu_domain_count);
	broken_table(SLIT_AT, "SLIT");
	assert_false(info.slit_present || info.locality_count);
	assert_true(info.srat_present);
	broken_table(DSDT_AT, "DSDT");
	assert_true(info.fadt_present && !info.s5_present);
}

static void test_lengths(void **state)
{
	static const u32 lengths[] = {0, 4, 35, 0x7fffffff, 0xffffffff, MEMORY};

	for (u32 i = 0; i < ARRAY_SIZE(lengths); i++) {
		build(NULL);
		put(MADT_AT + 4, lengths[i], 4);
		assert_int_equal(parse(), 0);
		assert_false(info.madt_present);
		assert_int_equal(info.tables_broken, 1);
		check_rest();
	}
}

static void test_addresses(void **state)
{
	put(XSDT_AT + HEADER, 0, 8);
	put(XSDT_AT + HEADER + 8, ~0ull, 8);
	put(XSDT_AT + HEADER + 16, MEMORY - 8, 8);
	seal_table(XSDT_AT);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.tables_broken, 3);
	assert_true(info.hpet_present);
}

static void test_second_of_a_kind(void **state)
{
	put(XSDT_AT + HEADER, MADT_AT, 8);
	seal_table(XSDT_AT);
	assert_int_equal(parse(), 0);
	check_madt();
}

static void test_short_tables(void **state)
{
	table(MADT_AT, "APIC", 40);
	seal_table(MADT_AT);
	table(FADT_AT, "FACP", 90);
	seal_table(FADT_AT);
	table(HPET_AT, "HPET", 44);
	seal_table(HPET_AT);
	assert_int_equal(parse(), 0);
	assert_false(info.madt_present || info.fadt_present || info.hpet_present);
	assert_int_equal(hosted_log_count(LOG_WARN), 3);
}

static void test_many_tables(void **state)
{
	u32 n = ACPI_TABLES_MAX + 50;

	table(XSDT_AT, "XSDT", HEADER + 8 * n);
	memset(memory + MADT_AT, 0, 16); /* the root has grown over it */
	for (u32 i = 0; i < n; i++)
		put(XSDT_AT + HEADER + 8 * i, OTHER_AT, 8);
	put(XSDT_AT + HEADER + 8 * (ACPI_TABLES_MAX - 1), HPET_AT, 8);
	put(XSDT_AT + HEADER + 8 * ACPI_TABLES_MAX, FADT_AT, 8);
	seal_table(XSDT_AT);
	assert_int_equal(parse(), 0);
	assert_true(info.hpet_present && !info.fadt_present);
}

static const void *map_bios(hpa_t hpa, u64 size)
{
	static u8 low[1024], rom[0x20000], ebda[1024];

	memset(low, 0, sizeof(low));
	low[0] = 0xc0; /* 0x9fc0:0 */
	low[1] = 0x9f;
	memcpy(rom + 0x1230, rsdp, sizeof(rsdp));
	memcpy(rom + 0x1003, rsdp, sizeof(rsdp)); /* not on a 16-byte boundary */
	if (hpa.v == 0x40e && size == 2)
		return low;
	if (hpa.v == 0x9fc00 && size == sizeof(ebda))
		return ebda;
	if (hpa.v == 0xe0000 && size == sizeof(rom))
		return rom;
	return NULL;
}

/* The last 32 bytes that are looked at: its extension would end behind them. */
static const void *map_rom_end(hpa_t hpa, u64 size)
{
	static u8 rom[0x20000];

	memcpy(rom + sizeof(rom) - 32, rsdp, 32);
	return hpa.v == 0xe0000 && size == sizeof(rom) ? rom : NULL;
}

static const void *map_nothing(hpa_t hpa, u64 size)
{
	(void)hpa;
	(void)size;
	return NULL;
}

static void test_scan(void **state)
{
	u8 found[36] = {0};

	assert_int_equal(acpi_find_rsdp(map_bios, found), 36);
	assert_memory_equal(found, rsdp, 36);
	memset(found, 0, sizeof(found));
	assert_int_equal(acpi_find_rsdp(map_rom_end, found), 20);
	assert_memory_equal(found, rsdp, 20);
	assert_int_equal(found[20], 0);
	assert_int_equal(acpi_find_rsdp(map_nothing, found), 0);
	assert_int_equal(acpi_parse(rsdp, 36, map_nothing, &info), ERR_FAULT);
}

static u64 next_random(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* Random bytes in random tables, checksums made good again so that the damage is looked at. */
static void test_mutation(void **state)
{
	static const u32 tables[] = {RSDT_AT, XSDT_AT, MADT_AT, FADT_AT,
				     HPET_AT, DSDT_AT, SRAT_AT, SLIT_AT};
	u64 random = 0x2545f4914f6cdd1dull, parsed = 0, refused = 0;
	u64 srats = 0, slits = 0; /* damaged so that something else is read */

	for (u32 round = 0; round < 20000; round++) {
		u32 hits = 1 + next_random(&random) % 4;

		build(NULL);
		while (hits--) {
			u32 at = tables[next_random(&random) % ARRAY_SIZE(tables)];
			u32 size = size_of(at);

			if (size < HEADER || size > MEMORY - at)
				continue;
			memory[at + next_random(&random) % size] = (u8)next_random(&random);
			size = size_of(at);
			if (size >= HEADER && size <= MEMORY - at)
				seal_table(at);
		}
		if (parse() == 0)
			parsed++;
		else
			refused++;
		assert_true(info.cpu_count <= ACPI_CPUS_MAX);
		assert_true(info.s5_type_a <= 7 && info.s5_type_b <= 7);
		for (u32 i = 0; i < info.memory_count; i++)
			assert_true(info.memories[i].start < info.memories[i].end);
		for (u32 i = 0; i < info.locality_count; i++)
			assert_int_equal(info.distances[i][i], 10);
		srats += info.srat_present &&
			 (info.memory_count != 3 || info.cpu_domain_count != 3);
		slits += info.srat_present && info.tables_broken == 0 && !info.slit_present;
	}
	assert_true(parsed > 1000);
	assert_true(srats > 100 && slits > 100);
	assert_true(refused > 0 || parsed == 20000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, build, cleanup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_good),
		TEST(test_acpi1_uses_rsdt),
		TEST(test_rsdp_broken),
		TEST(test_rsdp_extension_broken),
		TEST(test_xsdt_broken_falls_back),
		TEST(test_both_roots_broken),
		TEST(test_root_is_something_else),
		TEST(test_each_checksum),
		TEST(test_lengths),
		TEST(test_addresses),
		TEST(test_second_of_a_kind),
		TEST(test_short_tables),
		TEST(test_many_tables),
		TEST(test_scan),
		TEST(test_mutation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
