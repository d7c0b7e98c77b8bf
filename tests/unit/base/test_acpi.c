/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables made by hand, then damaged. Each mapping is a copy of its own of exactly the size
 * asked for, so that a read beyond it is caught by the address sanitizer.
 */
/* unit-sources: kernel/base/acpi.c kernel/base/acpi_madt.c kernel/base/acpi_fadt.c */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/base/acpi.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "tests/hosted/hosted.h"

#define MEMORY	 0x8000
#define RSDT_AT	 0x1000
#define XSDT_AT	 0x1800
#define MADT_AT	 0x2000
#define FADT_AT	 0x3000
#define HPET_AT	 0x3800
#define DSDT_AT	 0x4000
#define OTHER_AT 0x5000
#define HEADER	 36
#define COPIES	 8192

static u8 memory[MEMORY];
static u8 rsdp[36];
static void *copies[COPIES];
static u32 copy_count;
static struct acpi_info info;

static const void *map(hpa_t hpa, u64 size)
{
	void *copy;

	if (hpa.v >= MEMORY || size > MEMORY - hpa.v || copy_count == COPIES)
		return NULL;
	copy = malloc(size ? size : 1);
	memcpy(copy, memory + hpa.v, size);
	copies[copy_count++] = copy;
	return copy;
}

static void drop_copies(void)
{
	while (copy_count)
		free(copies[--copy_count]);
}

static void put(u32 at, u64 value, u32 bytes)
{
	memcpy(memory + at, &value, bytes);
}

static u32 size_of(u32 at)
{
	u32 size;

	memcpy(&size, memory + at + 4, 4);
	return size;
}

static void seal(u8 *p, u32 size, u32 checksum_at)
{
	u8 sum = 0;

	p[checksum_at] = 0;
	for (u32 i = 0; i < size; i++)
		sum += p[i];
	p[checksum_at] = (u8)-sum;
}

static void seal_table(u32 at)
{
	seal(memory + at, size_of(at), 9);
}

static void table(u32 at, const char *signature, u32 size)
{
	memset(memory + at, 0, size);
	memcpy(memory + at, signature, 4);
	put(at + 4, size, 4);
}

static u32 madt_end;

static void madt_bytes(const u8 *bytes, u32 n)
{
	memcpy(memory + madt_end, bytes, n);
	madt_end += n;
	put(MADT_AT + 4, madt_end - MADT_AT, 4);
}

#define MADT_ADD(...) madt_bytes((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

static void build_madt(void)
{
	table(MADT_AT, "APIC", 44);
	put(MADT_AT + 36, 0xfee00000, 4);
	put(MADT_AT + 40, 1, 4);
	madt_end = MADT_AT + 44;
	MADT_ADD(0, 8, 1, 0, 1, 0, 0, 0);			   /* CPU 0 */
	MADT_ADD(0, 8, 2, 2, 1, 0, 0, 0);			   /* CPU 2 */
	MADT_ADD(0, 8, 3, 4, 0, 0, 0, 0);			   /* disabled */
	MADT_ADD(0, 8, 4, 255, 1, 0, 0, 0);			   /* nobody */
	MADT_ADD(1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0);	   /* IOAPIC */
	MADT_ADD(2, 10, 0, 0, 2, 0, 0, 0, 0, 0);		   /* IRQ 0 to GSI 2 */
	MADT_ADD(2, 10, 0, 9, 9, 0, 0, 0, 0xf, 0);		   /* low, level */
	MADT_ADD(2, 10, 1, 3, 9, 0, 0, 0, 0, 0);		   /* not ISA */
	MADT_ADD(4, 6, 255, 5, 0, 1);				   /* LINT1 is NMI */
	MADT_ADD(9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0); /* x2APIC id 256 */
	MADT_ADD(9, 16, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0); /* CPU 2 again */
	MADT_ADD(10, 12, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0);		   /* x2APIC NMI */
	MADT_ADD(77, 4, 1, 2);					   /* unknown type */
	MADT_ADD(5, 12, 0, 0, 0, 0, 0xe0, 0xfd, 0, 0, 0, 0);	   /* LAPIC elsewhere */
	seal_table(MADT_AT);
}

static void build_fadt(void)
{
	table(FADT_AT, "FACP", 244);
	put(FADT_AT + 40, DSDT_AT, 4);
	put(FADT_AT + 48, 0xb2, 4);
	put(FADT_AT + 52, 0xf1, 1);
	put(FADT_AT + 53, 0xf0, 1);
	put(FADT_AT + 56, 0x600, 4);
	put(FADT_AT + 64, 0x604, 4);
	put(FADT_AT + 76, 0x608, 4);
	put(FADT_AT + 80, 0x620, 4);
	put(FADT_AT + 88, 4, 1);
	put(FADT_AT + 89, 2, 1);
	put(FADT_AT + 92, 16, 1);
	put(FADT_AT + 91, 4, 1);
	put(FADT_AT + 108, 0x32, 1);
	put(FADT_AT + 112, BIT(10) | BIT(8), 4);
	put(FADT_AT + 116, 1 | 8 << 8, 4); /* I/O, 8 bits */
	put(FADT_AT + 120, 0xcf9, 8);
	put(FADT_AT + 128, 6, 1);
	seal_table(FADT_AT);
}

static void build_dsdt(const u8 *aml, u32 n)
{
	table(DSDT_AT, "DSDT", HEADER + n);
	memcpy(memory + DSDT_AT + HEADER, aml, n);
	seal_table(DSDT_AT);
}

static void build_roots(void)
{
	static const u32 tables[] = {OTHER_AT, MADT_AT, FADT_AT, HPET_AT};

	table(RSDT_AT, "RSDT", HEADER + 16);
	table(XSDT_AT, "XSDT", HEADER + 32);
	for (u32 i = 0; i < 4; i++) {
		put(RSDT_AT + HEADER + 4 * i, tables[i], 4);
		put(XSDT_AT + HEADER + 8 * i, tables[i], 8);
	}
	seal_table(RSDT_AT);
	seal_table(XSDT_AT);
}

static void seal_rsdp(void)
{
	seal(rsdp, 20, 8);
	seal(rsdp, 36, 32);
}

static int build(void **state)
{
	static const u8 aml[] = {0x08, '_',  'S', '5',	'_', 0x12, 0x07,
				 0x04, 0x0a, 5,	  0x0a, 6,   0,	   0};
	u32 rsdt = RSDT_AT;
	u64 xsdt = XSDT_AT;

	(void)state;
	hosted_log_reset();
	memset(memory, 0, sizeof(memory));
	build_madt();
	build_fadt();
	build_dsdt(aml, sizeof(aml));
	table(HPET_AT, "HPET", 56);
	put(HPET_AT + 44, 0xfed00000, 8);
	seal_table(HPET_AT);
	table(OTHER_AT, "SSDT", 40);
	seal_table(OTHER_AT);
	build_roots();
	memset(rsdp, 0, sizeof(rsdp));
	memcpy(rsdp, "RSD PTR ", 8);
	rsdp[15] = 2;
	rsdp[20] = 36;
	memcpy(rsdp + 16, &rsdt, 4);
	memcpy(rsdp + 24, &xsdt, 8);
	seal_rsdp();
	return 0;
}

static int cleanup(void **state)
{
	(void)state;
	drop_copies();
	return 0;
}

static int parse(void)
{
	int err = acpi_parse(rsdp, sizeof(rsdp), map, &info);

	drop_copies();
	return err;
}

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
}

static void test_good(void **state)
{
	assert_int_equal(parse(), 0);
	check_madt();
	check_rest();
	assert_int_equal(info.tables_broken, 0);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
}

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

static void test_acpi1_uses_rsdt(void **state)
{
	rsdp[15] = 0;
	seal_rsdp();
	assert_int_equal(acpi_parse(rsdp, 20, map, &info), 0);
	check_madt();
	check_rest();
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
					0,    0,    0,	0,  8, 0, 1, 0, 0, 0, /* too short for one */
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
	static const u32 tables[] = {RSDT_AT, XSDT_AT, MADT_AT, FADT_AT, HPET_AT, DSDT_AT};
	u64 random = 0x2545f4914f6cdd1dull, parsed = 0, refused = 0;

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
	}
	assert_true(parsed > 1000);
	assert_true(refused > 0 || parsed == 20000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, build, cleanup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_good),
		TEST(test_events),
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
		TEST(test_madt_entries),
		TEST(test_madt_entry_cut),
		TEST(test_madt_full),
		TEST(test_dmar),
		TEST(test_madt_disabled),
		TEST(test_many_tables),
		TEST(test_registers),
		TEST(test_s5),
		TEST(test_scan),
		TEST(test_mutation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
