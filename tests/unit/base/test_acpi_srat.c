/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/acpi.c kernel/base/acpi_madt.c kernel/base/acpi_fadt.c
   kernel/base/acpi_srat.c tests/unit/base/acpi_fixture.c */
/* The SRAT's entries, and the SLIT's distances. */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/base/acpi_fixture.h"

#define DISTANCE(from, to, count) (SLIT_AT + 44 + (from) * (count) + (to))

static void check_memory(u32 i, u64 start, u64 end, u32 domain)
{
	assert_true(i < info.memory_count);
	assert_int_equal(info.memories[i].start, start);
	assert_int_equal(info.memories[i].end, end);
	assert_int_equal(info.memories[i].domain, domain);
}

static void check_cpu(u32 i, u32 apic_id, u32 domain)
{
	assert_true(i < info.cpu_domain_count);
	assert_int_equal(info.cpu_domains[i].apic_id, apic_id);
	assert_int_equal(info.cpu_domains[i].domain, domain);
}

static void empty_srat(void)
{
	table(SRAT_AT, "SRAT", 48);
	put(SRAT_AT + 8, 3, 1);
}

static void parse_srat(void)
{
	seal_table(SRAT_AT);
	hosted_log_reset();
	assert_int_equal(parse(), 0);
}

static void parse_slit(void)
{
	seal_table(SLIT_AT);
	hosted_log_reset();
	assert_int_equal(parse(), 0);
}

static void test_good(void **state)
{
	assert_int_equal(parse(), 0);
	assert_true(info.srat_present && info.slit_present);
	assert_int_equal(info.memory_count, 3);
	check_memory(0, 0, 0xa0000, 0);
	check_memory(1, MIB(1), MIB(128), 0);
	check_memory(2, GIB(4), GIB(5), 0x12345601);
	assert_int_equal(info.cpu_domain_count, 3);
	check_cpu(0, 0, 0);
	check_cpu(1, 2, 0x12345601);
	check_cpu(2, 256, 0x12345601);
	assert_int_equal(info.locality_count, 3);
	assert_int_equal(info.distances[0][0], 10);
	assert_int_equal(info.distances[0][1], 21);
	assert_int_equal(info.distances[1][0], 255);
	assert_int_equal(info.distances[2][1], 20);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
}

/* Bytes that the first revision reserved are no part of a domain; an x2APIC's always are. */
static void test_first_revision(void **state)
{
	put(SRAT_AT + 8, 1, 1);
	parse_srat();
	check_memory(2, GIB(4), GIB(5), 1);
	check_cpu(1, 2, 1);
	check_cpu(2, 256, 0x12345601);
	put(SRAT_AT + 8, 2, 1);
	parse_srat();
	check_memory(2, GIB(4), GIB(5), 0x12345601);
	check_cpu(1, 2, 0x12345601);
}

static void test_ranges_that_are_none(void **state)
{
	empty_srat();
	srat_memory(MIB(1), 0, 0, SRAT_ENABLED);
	srat_memory(~0ull, 1, 1, SRAT_ENABLED);
	srat_memory(GIB(1), ~0ull - GIB(1) + 1, 2, SRAT_ENABLED);
	srat_memory(GIB(1), ~0ull, 3, SRAT_ENABLED);
	srat_memory(GIB(1), ~0ull - GIB(1), 4, SRAT_ENABLED);
	parse_srat();
	assert_int_equal(info.memory_count, 1);
	check_memory(0, GIB(1), ~0ull, 4);
}

static void bad_entry(u8 type, u8 length)
{
	empty_srat();
	srat_x2apic(1, 0, SRAT_ENABLED);
	srat_memory(0, MIB(1), 0, SRAT_ENABLED);
	table_bytes(SRAT_AT, (const u8[40]){type, length}, max(length, (u8)2));
	srat_memory(MIB(1), MIB(1), 0, SRAT_ENABLED);
	parse_srat();
	assert_true(info.srat_present);
	assert_int_equal(info.memory_count, 1);
	assert_int_equal(info.cpu_domain_count, 1);
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	assert_non_null(strstr(hosted_log_last(), "SRAT entry of type"));
}

static void test_bad_entries(void **state)
{
	bad_entry(0, 0);
	bad_entry(0, 15);
	bad_entry(1, 39);
	bad_entry(2, 23);
	bad_entry(99, 0);
	bad_entry(99, 1);
}

/* The last entry says that it goes on where the table has ended. */
static void test_cut_entry(void **state)
{
	empty_srat();
	srat_memory(0, MIB(1), 0, SRAT_ENABLED);
	srat_memory(MIB(1), MIB(1), 0, SRAT_ENABLED);
	put(SRAT_AT + 4, size_of(SRAT_AT) - 1, 4);
	parse_srat();
	assert_int_equal(info.memory_count, 1);
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	put(SRAT_AT + 4, 47, 4);
	parse_srat();
	assert_false(info.srat_present);
	assert_non_null(strstr(hosted_log_last(), "SRAT is only 47 bytes long"));
}

/* What does not fit is told once for each kind, and what is off takes no place. */
static void test_full_of_memory(void **state)
{
	empty_srat();
	for (u32 i = 0; i < 20; i++)
		srat_memory(MIB(i), MIB(1), i, SRAT_HOT_PLUG);
	for (u32 i = 0; i < ACPI_MEMORIES_MAX; i++)
		srat_memory(MIB(i), MIB(1), i, SRAT_ENABLED);
	parse_srat();
	assert_int_equal(info.memory_count, ACPI_MEMORIES_MAX);
	assert_false(info.srat_full.memories);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
	for (u32 i = 0; i < 3; i++)
		srat_memory(GIB(1 + i), MIB(1), i, SRAT_ENABLED);
	srat_x2apic(1, 1, SRAT_ENABLED);
	parse_srat();
	assert_int_equal(info.memory_count, ACPI_MEMORIES_MAX);
	check_memory(ACPI_MEMORIES_MAX - 1, MIB(127), MIB(128), 127);
	assert_true(info.srat_full.memories && !info.srat_full.cpus);
	assert_int_equal(info.cpu_domain_count, 1);
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	assert_non_null(strstr(hosted_log_last(), "SRAT lists more than 128 ranges of memory"));
}

static void test_full_of_cpus(void **state)
{
	empty_srat();
	for (u32 i = 0; i < 10; i++)
		srat_x2apic(1000 + i, i, 0);
	for (u32 i = 0; i < ACPI_CPUS_MAX + 3; i++)
		srat_x2apic(i, i, SRAT_ENABLED);
	parse_srat();
	assert_int_equal(info.cpu_domain_count, ACPI_CPUS_MAX);
	check_cpu(255, 255, 255);
	assert_true(info.srat_full.cpus && !info.srat_full.memories);
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	assert_non_null(strstr(hosted_log_last(), "SRAT lists more than 256 CPUs"));
}

static void refused_slit(const char *why)
{
	parse_slit();
	assert_false(info.slit_present);
	assert_int_equal(info.locality_count, 0);
	assert_int_equal(info.distances[0][0], 0);
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	assert_non_null(strstr(hosted_log_last(), why));
}

static void test_slit_nonsense(void **state)
{
	static const u64 counts[] = {4, 1ull << 32, 3 + (1ull << 32), ~0ull, 0xffffffff};

	put(DISTANCE(1, 1, 3), 11, 1);
	refused_slit("it is 11 from locality 1 to 1, where 10 is to itself");
	build_slit(3);
	put(DISTANCE(2, 1, 3), 9, 1);
	refused_slit("it is 9 from locality 2 to 1, where nothing is nearer than 10");
	for (u32 i = 0; i < ARRAY_SIZE(counts); i++) {
		build_slit(3);
		put(SLIT_AT + 36, counts[i], 8);
		refused_slit("has no room");
	}
	build_slit(3);
	put(SLIT_AT + 4, 44 + 8, 4);
	refused_slit("has no room");
	put(SLIT_AT + 4, 43, 4);
	refused_slit("SLIT of 43 bytes");
	build_slit(0);
	parse_slit();
	assert_true(info.slit_present && info.locality_count == 0);
}

/* More localities than are kept: those that are keep their rows, and all are looked at. */
static void test_slit_large(void **state)
{
	u32 n = ACPI_LOCALITIES_MAX + 6, at = SRAT_AT; /* there is room, and no SRAT */

	table(at, "SLIT", 44 + n * n);
	put(at + 36, n, 8);
	memset(memory + at + 44, 30, n * n);
	for (u32 i = 0; i < n; i++)
		memory[at + 44 + i * n + i] = 10;
	memory[at + 44 + 63 * n + 62] = 40;
	seal_table(at);
	assert_int_equal(parse(), 0);
	assert_int_equal(info.locality_count, ACPI_LOCALITIES_MAX);
	assert_int_equal(info.distances[63][63], 10);
	assert_int_equal(info.distances[63][62], 40);
	assert_int_equal(info.distances[62][63], 30);
	assert_non_null(strstr(hosted_log_last(), "70 localities, of which the first 64"));
	memory[at + 44 + 69 * n + 68] = 9;
	memset(memory + SLIT_AT, 0, 4); /* the next of its kind would be read */
	seal_table(at);
	assert_int_equal(parse(), 0);
	assert_false(info.slit_present);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, build, cleanup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_good),	 TEST(test_first_revision), TEST(test_ranges_that_are_none),
		TEST(test_bad_entries),	 TEST(test_cut_entry),	    TEST(test_full_of_memory),
		TEST(test_full_of_cpus), TEST(test_slit_nonsense),  TEST(test_slit_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
