/* SPDX-License-Identifier: MIT */
/* From the RSDP through the root table to each table that Weir reads. */
#include "kernel/base/acpi_private.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"

#define RSDP_SIZE_V1   20
#define RSDP_SIZE_V2   36
#define RSDP_REVISION  15
#define RSDP_RSDT      16
#define RSDP_LENGTH    20
#define RSDP_XSDT      24
#define RSDP_ALIGN     16
#define TABLE_LENGTH   4     /* offset of a table's own length */
#define BDA_EBDA       0x40e /* real-mode segment of the extended BIOS data area */
#define EBDA_LOOK      1024
#define BIOS_ROM_START 0xe0000
#define BIOS_ROM_END   0x100000

struct acpi_info acpi_info;

static bool sum_is_zero(const u8 *p, u64 n)
{
	u8 sum = 0;

	while (n--)
		sum += *p++;
	return sum == 0;
}

bool acpi_room(const char *table, u32 count, u32 limit, bool *full, const char *what)
{
	if (count < limit)
		return true;
	if (!*full)
		log_warn("ACPI: %s lists more than %u %s; the rest is left out", table, limit,
			 what);
	*full = true;
	return false;
}

u32 acpi_entry_size(const struct acpi_table *t, const char *table, u32 at, u32 least)
{
	u32 size = acpi_read8(t, at + 1);

	if (t->size - at < 2)
		return 0;
	if (size >= least && size <= t->size - at)
		return size;
	log_warn("ACPI: %s entry of type %u at byte %u has length %u; this and what follows is "
		 "passed over",
		 table, acpi_read8(t, at), at, size);
	return 0;
}

/* Maps a table whole after a look at its header. 0, or an error after one line that names it. */
static int open_table(acpi_map_fn map, u64 address, const char *as, struct acpi_table *t,
		      struct acpi_info *out)
{
	const u8 *header = address ? map(HPA(address), ACPI_HEADER_SIZE) : NULL;
	const char *fault = NULL;

	*t = (struct acpi_table){header, ACPI_HEADER_SIZE};
	if (!header) {
		fault = "cannot be mapped";
	} else {
		t->size = acpi_read32(t, TABLE_LENGTH);
		if (t->size < ACPI_HEADER_SIZE || t->size > ACPI_TABLE_SIZE_MAX)
			fault = "has an impossible length";
		else if (!(t->bytes = map(HPA(address), t->size)))
			fault = "cannot be mapped whole";
		else if (!sum_is_zero(t->bytes, t->size))
			fault = "has a wrong checksum";
	}
	if (!fault) {
		out->tables_ok++;
		return 0;
	}
	out->tables_broken++;
	log_warn("ACPI: table %s at %#lx %s; it is passed over: update the firmware if something "
		 "is missing",
		 as, address, fault);
	return ERR_CORRUPT;
}

/* Four letters for a log line, whatever bytes the firmware has there. */
static void signature_text(const u8 *sig, char text[5])
{
	for (u32 i = 0; i < 4; i++)
		text[i] = sig[i] >= 0x20 && sig[i] < 0x7f ? (char)sig[i] : '?';
	text[4] = 0;
}

static void parse_dsdt(acpi_map_fn map, u64 address, struct acpi_info *out)
{
	struct acpi_table t;

	if (!address || open_table(map, address, "DSDT", &t, out))
		return;
	out->s5_present = acpi_find_s5(t.bytes + ACPI_HEADER_SIZE, t.size - ACPI_HEADER_SIZE,
				       &out->s5_type_a, &out->s5_type_b);
}

/* The first good table of each kind counts; a second MADT or FADT is not read. */
static void parse_one(acpi_map_fn map, u64 address, struct acpi_info *out)
{
	const u8 *sig = address ? map(HPA(address), ACPI_HEADER_SIZE) : NULL;
	bool madt, fadt, hpet, dmar, srat, slit;
	struct acpi_table t;
	char name[5] = "?";
	u64 dsdt = 0;

	if (sig)
		signature_text(sig, name);
	madt = !strcmp(name, "APIC") && !out->madt_present;
	fadt = !strcmp(name, "FACP") && !out->fadt_present;
	hpet = !strcmp(name, "HPET") && !out->hpet_present;
	dmar = !strcmp(name, "DMAR") && !out->dmar_present;
	srat = !strcmp(name, "SRAT") && !out->srat_present;
	slit = !strcmp(name, "SLIT") && !out->slit_present;
	if (sig && !madt && !fadt && !hpet && !dmar && !srat && !slit)
		return;
	if (open_table(map, address, name, &t, out))
		return;
	if (madt)
		out->madt_present = acpi_parse_madt(&t, out) == 0;
	if (dmar)
		acpi_parse_dmar(&t, out);
	if (srat)
		out->srat_present = acpi_parse_srat(&t, out) == 0;
	if (slit)
		out->slit_present = acpi_parse_slit(&t, out) == 0;
	if (hpet)
		out->hpet_present = acpi_parse_hpet(&t, out) == 0;
	if (fadt) {
		out->fadt_present = acpi_parse_fadt(&t, out, &dsdt) == 0;
		parse_dsdt(map, dsdt, out);
	}
}

static int parse_root(acpi_map_fn map, u64 address, bool xsdt, struct acpi_info *out)
{
	u32 width = xsdt ? 8 : 4, entries;
	struct acpi_table t;

	if (open_table(map, address, xsdt ? "XSDT" : "RSDT", &t, out))
		return ERR_FAULT;
	if (memcmp(t.bytes, xsdt ? "XSDT" : "RSDT", 4)) {
		log_warn("ACPI: what the RSDP calls %s at %#lx is something else",
			 xsdt ? "XSDT" : "RSDT", address);
		return ERR_FAULT;
	}
	entries = (t.size - ACPI_HEADER_SIZE) / width;
	if (entries > ACPI_TABLES_MAX) {
		log_warn("ACPI: %u tables, of which the first %u are read", entries,
			 ACPI_TABLES_MAX);
		entries = ACPI_TABLES_MAX;
	}
	for (u32 i = 0; i < entries; i++)
		parse_one(map, acpi_read(&t, ACPI_HEADER_SIZE + i * width, width), out);
	return 0;
}

/* The length that counts, or 0 when it is not a sound RSDP (ACPI 5.2.5.3). */
static u32 rsdp_size(const u8 *rsdp, u32 size)
{
	struct acpi_table t = {rsdp, size};

	if (size < RSDP_SIZE_V1 || memcmp(rsdp, "RSD PTR ", 8) || !sum_is_zero(rsdp, RSDP_SIZE_V1))
		return 0;
	if (rsdp[RSDP_REVISION] < 2 || size < RSDP_SIZE_V2)
		return RSDP_SIZE_V1;
	/* Longer ones may come; the checksum of what we do not have cannot be taken. */
	if (acpi_read32(&t, RSDP_LENGTH) == RSDP_SIZE_V2 && !sum_is_zero(rsdp, RSDP_SIZE_V2))
		return RSDP_SIZE_V1;
	return RSDP_SIZE_V2;
}

int acpi_parse(const u8 *rsdp, u32 size, acpi_map_fn map, struct acpi_info *out)
{
	struct acpi_table t = {rsdp, size};
	u32 good = rsdp_size(rsdp, size);
	u64 xsdt, rsdt;

	memset(out, 0, sizeof(*out));
	if (!good) {
		log_warn("ACPI: the RSDP is broken; no table is read: one CPU, no IOAPIC");
		return ERR_CORRUPT;
	}
	xsdt = good == RSDP_SIZE_V2 ? acpi_read64(&t, RSDP_XSDT) : 0;
	rsdt = acpi_read32(&t, RSDP_RSDT);
	if (xsdt && parse_root(map, xsdt, true, out) == 0)
		return 0;
	return rsdt ? parse_root(map, rsdt, false, out) : ERR_FAULT;
}

static u32 scan_rsdp(acpi_map_fn map, u64 start, u64 size, u8 out[36])
{
	const u8 *p = map(HPA(start), size);

	if (!p)
		return 0;
	for (u64 at = 0; at + RSDP_SIZE_V1 <= size; at += RSDP_ALIGN) {
		u64 left = size - at;
		u32 good = rsdp_size(p + at, left < RSDP_SIZE_V2 ? (u32)left : RSDP_SIZE_V2);

		if (good) {
			memcpy(out, p + at, good);
			return good;
		}
	}
	return 0;
}

u32 acpi_find_rsdp(acpi_map_fn map, u8 out[36])
{
	const u8 *bda = map(HPA(BDA_EBDA), 2);
	u64 ebda = bda ? ((u64)bda[0] | (u64)bda[1] << 8) << 4 : 0;
	u32 size = 0;

	if (ebda && ebda < BIOS_ROM_START)
		size = scan_rsdp(map, ebda, EBDA_LOOK, out);
	return size ? size : scan_rsdp(map, BIOS_ROM_START, BIOS_ROM_END - BIOS_ROM_START, out);
}
