/* SPDX-License-Identifier: MIT */
/* Between the files that read ACPI tables: bounded reads, and one function for each table. */
#ifndef KERNEL_BASE_ACPI_PRIVATE_H
#define KERNEL_BASE_ACPI_PRIVATE_H

#include "kernel/base/acpi.h"

#define ACPI_HEADER_SIZE 36 /* of every table but the RSDP (ACPI 5.2.6) */

/* A table's bytes, checksum good, at least the header long. */
struct acpi_table {
	const u8 *bytes;
	u32 size;
};

/* Little-endian reads at any alignment; 0 beyond the end, so that a short table reads as empty. */
static inline u64 acpi_read(const struct acpi_table *t, u32 offset, u32 bytes)
{
	u64 v = 0;

	if (offset > t->size || bytes > t->size - offset)
		return 0;
	for (u32 i = 0; i < bytes; i++)
		v |= (u64)t->bytes[offset + i] << (8 * i);
	return v;
}

static inline u8 acpi_read8(const struct acpi_table *t, u32 offset)
{
	return (u8)acpi_read(t, offset, 1);
}

static inline u16 acpi_read16(const struct acpi_table *t, u32 offset)
{
	return (u16)acpi_read(t, offset, 2);
}

static inline u32 acpi_read32(const struct acpi_table *t, u32 offset)
{
	return (u32)acpi_read(t, offset, 4);
}

static inline u64 acpi_read64(const struct acpi_table *t, u32 offset)
{
	return acpi_read(t, offset, 8);
}

/*
 * Is there room for one more? *full: it was said already that there is none. A table of megabytes
 * may hold a million entries that do not fit.
 */
bool acpi_room(const char *table, u32 count, u32 limit, bool *full, const char *what);

/*
 * The length of the entry at byte `at`, which begins with a byte of its type and one of its length, of
 * `least` at least. 0: there is none any more, or one that makes no sense, and was named.
 */
u32 acpi_entry_size(const struct acpi_table *t, const char *table, u32 at, u32 least);

/* Each: 0, or ERR_CORRUPT when what is there makes no sense (already named in the log). */
int acpi_parse_madt(const struct acpi_table *t, struct acpi_info *out);
void acpi_parse_dmar(const struct acpi_table *t, struct acpi_info *out);
int acpi_parse_srat(const struct acpi_table *t, struct acpi_info *out);
int acpi_parse_slit(const struct acpi_table *t, struct acpi_info *out);
int acpi_parse_hpet(const struct acpi_table *t, struct acpi_info *out);
/* dsdt: its address, 0 for none. */
int acpi_parse_fadt(const struct acpi_table *t, struct acpi_info *out, u64 *dsdt);

#endif
