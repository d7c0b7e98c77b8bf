/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables made by hand, for tests to damage. Each mapping is a copy of its own of exactly the
 * size asked for, so that a read beyond it is caught by the address sanitizer.
 */
#ifndef TESTS_UNIT_BASE_ACPI_FIXTURE_H
#define TESTS_UNIT_BASE_ACPI_FIXTURE_H

#include "kernel/base/acpi.h"

#define MEMORY	 0x8000
#define RSDT_AT	 0x1000
#define XSDT_AT	 0x1800
#define MADT_AT	 0x2000
#define FADT_AT	 0x3000
#define HPET_AT	 0x3800
#define DSDT_AT	 0x4000
#define OTHER_AT 0x5000
#define SRAT_AT	 0x6000
#define SLIT_AT	 0x7c00
#define HEADER	 36

extern u8 memory[MEMORY]; /* where the tables are */
extern u8 rsdp[36];
extern struct acpi_info info; /* what parse found */

/* A test's setup: good tables of each kind; and its teardown. */
int build(void **state);
int cleanup(void **state);
/* As acpi_parse does it, into info. */
int parse(void);
const void *map(hpa_t hpa, u64 size);

void put(u32 at, u64 value, u32 bytes);
u32 size_of(u32 at);
/* Zeros with a header; and its checksum, once it is filled. */
void table(u32 at, const char *signature, u32 size);
void seal_table(u32 at);
void seal_rsdp(void);

/* Entries at a table's end. */
void table_bytes(u32 at, const u8 *bytes, u32 n);
extern u32 madt_end;
void madt_bytes(const u8 *bytes, u32 n);
#define MADT_ADD(...) madt_bytes((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* Entries at the SRAT's end: of memory, of CPUs with ids of 8 and of 32 bits; domains of 32. */
#define SRAT_ENABLED	  1
#define SRAT_HOT_PLUG	  2
#define SRAT_NON_VOLATILE 4
void srat_memory(u64 start, u64 size, u32 domain, u32 flags);
void srat_lapic(u8 id, u32 domain, u32 flags);
void srat_x2apic(u32 id, u32 domain, u32 flags);
/* A SLIT of so many localities, 10 and 20 in it; its distances are bytes from SLIT_AT + 44 on. */
void build_slit(u32 count);

#endif
