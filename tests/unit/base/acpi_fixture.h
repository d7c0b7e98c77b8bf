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

/* Entries at the MADT's end. */
extern u32 madt_end;
void madt_bytes(const u8 *bytes, u32 n);
#define MADT_ADD(...) madt_bytes((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

#endif
