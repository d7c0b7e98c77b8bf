/* SPDX-License-Identifier: MIT */
#include "tests/unit/base/acpi_fixture.h"
#include <stdlib.h>
#include <string.h>
#include "tests/hosted/hosted.h"

#define COPIES 8192

u8 memory[MEMORY];
u8 rsdp[36];
static void *copies[COPIES];
static u32 copy_count;
struct acpi_info info;

const void *map(hpa_t hpa, u64 size)
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

void put(u32 at, u64 value, u32 bytes)
{
	memcpy(memory + at, &value, bytes);
}

u32 size_of(u32 at)
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

void seal_table(u32 at)
{
	seal(memory + at, size_of(at), 9);
}

void table(u32 at, const char *signature, u32 size)
{
	memset(memory + at, 0, size);
	memcpy(memory + at, signature, 4);
	put(at + 4, size, 4);
}

void table_bytes(u32 at, const u8 *bytes, u32 n)
{
	memcpy(memory + at + size_of(at), bytes, n);
	put(at + 4, size_of(at) + n, 4);
}

u32 madt_end;

void madt_bytes(const u8 *bytes, u32 n)
{
	memcpy(memory + madt_end, bytes, n);
	madt_end += n;
	put(MADT_AT + 4, madt_end - MADT_AT, 4);
}

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

void srat_memory(u64 start, u64 size, u32 domain, u32 flags)
{
	u8 entry[40] = {1, 40};

	memcpy(entry + 2, &domain, 4);
	memcpy(entry + 8, &start, 8);
	memcpy(entry + 16, &size, 8);
	memcpy(entry + 28, &flags, 4);
	table_bytes(SRAT_AT, entry, sizeof(entry));
}

void srat_lapic(u8 id, u32 domain, u32 flags)
{
	u8 entry[16] = {0, 16, (u8)domain, id};

	memcpy(entry + 4, &flags, 4);
	domain >>= 8;
	memcpy(entry + 9, &domain, 3);
	table_bytes(SRAT_AT, entry, sizeof(entry));
}

void srat_x2apic(u32 id, u32 domain, u32 flags)
{
	u8 entry[24] = {2, 24};

	memcpy(entry + 4, &domain, 4);
	memcpy(entry + 8, &id, 4);
	memcpy(entry + 12, &flags, 4);
	table_bytes(SRAT_AT, entry, sizeof(entry));
}

static void build_srat(void)
{
	table(SRAT_AT, "SRAT", 48);
	put(SRAT_AT + 8, 3, 1);
	put(SRAT_AT + 36, 1, 4);
	srat_lapic(0, 0, SRAT_ENABLED);
	srat_lapic(2, 0x12345601, SRAT_ENABLED);
	srat_lapic(4, 1, 0);
	srat_x2apic(256, 0x12345601, SRAT_ENABLED);
	srat_x2apic(2, 7, SRAT_ENABLED); /* CPU 2 again */
	srat_memory(0, 0xa0000, 0, SRAT_ENABLED);
	srat_memory(MIB(1), MIB(127), 0, SRAT_ENABLED);
	table_bytes(SRAT_AT, (const u8[]){5, 4, 1, 2}, 4); /* of a type that is not read */
	srat_memory(GIB(4), GIB(1), 0x12345601, SRAT_ENABLED | SRAT_HOT_PLUG);
	srat_memory(GIB(5), GIB(1), 0, SRAT_HOT_PLUG);
	srat_memory(GIB(6), GIB(1), 0, SRAT_ENABLED | SRAT_NON_VOLATILE);
	seal_table(SRAT_AT);
}

void build_slit(u32 count)
{
	table(SLIT_AT, "SLIT", 44 + count * count);
	put(SLIT_AT + 36, count, 8);
	memset(memory + SLIT_AT + 44, 20, count * count);
	for (u32 i = 0; i < count; i++)
		memory[SLIT_AT + 44 + i * count + i] = 10;
	seal_table(SLIT_AT);
}

static void build_roots(void)
{
	static const u32 tables[] = {OTHER_AT, MADT_AT, FADT_AT, HPET_AT, SRAT_AT, SLIT_AT};

	table(RSDT_AT, "RSDT", HEADER + 4 * ARRAY_SIZE(tables));
	table(XSDT_AT, "XSDT", HEADER + 8 * ARRAY_SIZE(tables));
	for (u32 i = 0; i < ARRAY_SIZE(tables); i++) {
		put(RSDT_AT + HEADER + 4 * i, tables[i], 4);
		put(XSDT_AT + HEADER + 8 * i, tables[i], 8);
	}
	seal_table(RSDT_AT);
	seal_table(XSDT_AT);
}

void seal_rsdp(void)
{
	seal(rsdp, 20, 8);
	seal(rsdp, 36, 32);
}

int build(void **state)
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
	build_srat();
	build_slit(3);
	memory[SLIT_AT + 44 + 1] = 21;
	memory[SLIT_AT + 44 + 3] = 255;
	seal_table(SLIT_AT);
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

int cleanup(void **state)
{
	(void)state;
	drop_copies();
	return 0;
}

int parse(void)
{
	int err = acpi_parse(rsdp, sizeof(rsdp), map, &info);

	drop_copies();
	return err;
}
