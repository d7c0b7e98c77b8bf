/* SPDX-License-Identifier: MIT */
/*
 * What the firmware's ACPI tables say about the machine: CPUs, IOAPICs, clocks, power, which memory
 * is near which CPUs (ACPI 6.4 chapter 5). Tables are the firmware's: every length is checked, a
 * broken table is named and passed over, and the rest stands. acpi_parse is pure over a mapping
 * function and runs once on the boot CPU; its result is read-only after.
 */
#ifndef KERNEL_BASE_ACPI_H
#define KERNEL_BASE_ACPI_H

#include "kernel/base/addr.h"

#define ACPI_CPUS_MAX	    256
#define ACPI_IOAPICS_MAX    16
#define ACPI_OVERRIDES_MAX  16
#define ACPI_NMIS_MAX	    ACPI_CPUS_MAX /* firmware likes to list one for each */
#define ACPI_DMARS_MAX	    16
#define ACPI_MEMORIES_MAX   128 /* ranges of memory that have a proximity domain */
#define ACPI_LOCALITIES_MAX 64	/* proximity domains whose distances are kept */
#define ACPI_TABLES_MAX	    128 /* entries of the RSDT or XSDT that are looked at */
#define ACPI_TABLE_SIZE_MAX MIB(16)

/* That can be started. */
struct acpi_cpu {
	u32 apic_id;
	u32 uid;     /* ACPI processor UID */
	bool x2apic; /* from an x2APIC entry */
};

struct acpi_ioapic {
	u32 id;
	u32 address;
	u32 gsi_base; /* of its pin 0 */
};

/* Polarity and trigger as MPS INTI flags say (ACPI 5.2.12.5); bus default is ISA's. */
struct acpi_override {
	u8 isa_irq;
	u32 gsi;
	bool active_low;
	bool level;
};

struct acpi_nmi {
	u32 uid; /* ~0: all CPUs */
	u8 lint;
	bool active_low;
	bool level;
};

#define ACPI_UID_ALL (~0u)

enum acpi_space {
	ACPI_SPACE_MEMORY = 0,
	ACPI_SPACE_IO = 1
};

/* A register; address 0: not there. */
struct acpi_register {
	enum acpi_space space;
	u8 bits;
	u64 address;
};

/* Registers in a row; address 0: not there. */
struct acpi_block {
	enum acpi_space space;
	u8 bytes; /* 2 or more */
	u64 address;
};

/* Memory of a proximity domain, whether there is RAM in all of it or not. */
struct acpi_memory {
	u64 start, end; /* bytes, end exclusive, in the table's order; they may overlap */
	u32 domain;
};

struct acpi_cpu_domain {
	u32 apic_id;
	u32 domain;
};

struct acpi_info {
	bool madt_present;
	u64 lapic_address;
	bool has_8259; /* PCAT_COMPAT */
	u32 cpu_count;
	struct acpi_cpu cpus[ACPI_CPUS_MAX];
	u32 ioapic_count;
	struct acpi_ioapic ioapics[ACPI_IOAPICS_MAX];
	u32 override_count;
	struct acpi_override overrides[ACPI_OVERRIDES_MAX];
	u32 nmi_count;
	struct acpi_nmi nmis[ACPI_NMIS_MAX];
	/* Of which there are more in the table than here. */
	struct {
		bool cpus, ioapics, overrides, nmis;
	} madt_full;

	bool srat_present;
	u32 memory_count;
	struct acpi_memory memories[ACPI_MEMORIES_MAX];
	u32 cpu_domain_count;
	struct acpi_cpu_domain cpu_domains[ACPI_CPUS_MAX];
	struct {
		bool cpus, memories;
	} srat_full; /* as madt_full */

	bool slit_present;
	u32 locality_count; /* domains from 0 on that distances are known of */
	/* From, to: 10 is to itself, twice as far 20; 255: no way there. */
	u8 distances[ACPI_LOCALITIES_MAX][ACPI_LOCALITIES_MAX];

	bool dmar_present;
	u32 dmar_count;
	u64 dmars[ACPI_DMARS_MAX]; /* registers of DMA-remapping units (VT-d 8.3) */

	bool hpet_present;
	u64 hpet_address;

	bool fadt_present;
	struct acpi_register pm_timer;
	bool pm_timer_32bit;
	u32 smi_command; /* port; 0: ACPI mode is on for good */
	u8 acpi_enable;	 /* what to write there */
	struct acpi_register pm1a_control, pm1b_control;
	struct acpi_block pm1a_event, pm1b_event, gpe0, gpe1; /* PM1: 4 bytes or more */
	bool bochs_tables; /* OEM id of Bochs's BIOS, which QEMU has taken over */
	bool reset_supported;
	struct acpi_register reset;
	u8 reset_value;
	u8 century_index; /* CMOS register of the century; 0: none */

	bool s5_present;
	u8 s5_type_a, s5_type_b; /* SLP_TYP for soft off */

	u32 tables_ok;
	u32 tables_broken; /* named in the log and passed over */
};

/* Filled by smp_bring_up; all zero before. */
extern struct acpi_info acpi_info;

/* A pointer to size bytes at hpa that stays good, or NULL. */
typedef const void *(*acpi_map_fn)(hpa_t hpa, u64 size);

/*
 * rsdp: 20 bytes (ACPI 1) or 36. 0; ERR_CORRUPT: the RSDP itself is broken; ERR_FAULT: the root
 * table is, or cannot be mapped. out is filled with what was found in any case.
 */
int acpi_parse(const u8 *rsdp, u32 size, acpi_map_fn map, struct acpi_info *out);

/*
 * Looks for the RSDP where a BIOS puts it: the first KiB of the EBDA and 0xe0000 to 0xfffff, on
 * 16-byte boundaries (ACPI 5.2.5.1). Copies it to out, its length returned; 0: none.
 */
u32 acpi_find_rsdp(acpi_map_fn map, u8 out[36]);

/*
 * The SLP_TYP values of \_S5 in DSDT bytes: Name (_S5_, Package () {a, b, ...}). false: not there
 * or not in that form.
 */
bool acpi_find_s5(const u8 *aml, u64 size, u8 *type_a, u8 *type_b);

#endif
