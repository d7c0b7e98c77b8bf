/* SPDX-License-Identifier: MIT */
/* The MADT: CPUs, IOAPICs, and which interrupt of old goes where (ACPI 5.2.12). */
#include "kernel/base/acpi_private.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"

#define MADT_LAPIC_ADDRESS 36
#define MADT_FLAGS	   40
#define MADT_ENTRIES	   44
#define MADT_PCAT_COMPAT   BIT(0)

enum madt_type {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_LAPIC_ADDRESS_OVERRIDE = 5,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10,
};

#define CPU_ENABLED BIT(0)

/* Of each type that is read, the length it must have at least. */
static u32 least_size(u8 type)
{
	switch (type) {
	case MADT_LAPIC:
		return 8;
	case MADT_IOAPIC:
		return 12;
	case MADT_OVERRIDE:
		return 10;
	case MADT_LAPIC_NMI:
		return 6;
	case MADT_LAPIC_ADDRESS_OVERRIDE:
		return 12;
	case MADT_X2APIC:
		return 16;
	case MADT_X2APIC_NMI:
		return 12;
	}
	return 2;
}

/* A CPU that stands there both as xAPIC and as x2APIC entry is one CPU. */
static void add_cpu(struct acpi_info *out, u32 apic_id, u32 uid, u32 flags, bool x2apic)
{
	/* May be plugged in later, or not be there at all; servers list hundreds of them. */
	if (!(flags & CPU_ENABLED))
		return;
	for (u32 i = 0; i < out->cpu_count; i++) {
		if (out->cpus[i].apic_id == apic_id)
			return;
	}
	if (acpi_room("MADT", out->cpu_count, ACPI_CPUS_MAX, &out->madt_full.cpus, "CPUs"))
		out->cpus[out->cpu_count++] = (struct acpi_cpu){apic_id, uid, x2apic};
}

/* MPS INTI flags: 3 is low or level; 0 conforms to ISA, whose lines are high and edge. */
static bool flags_active_low(u16 flags)
{
	return (flags & 3) == 3;
}

static bool flags_level(u16 flags)
{
	return ((flags >> 2) & 3) == 3;
}

static void add_nmi(struct acpi_info *out, u32 uid, u16 flags, u8 lint)
{
	if (lint > 1 ||
	    !acpi_room("MADT", out->nmi_count, ACPI_NMIS_MAX, &out->madt_full.nmis, "NMI lines"))
		return;
	out->nmis[out->nmi_count++] = (struct acpi_nmi){uid, lint, flags_active_low(flags),
							flags_level(flags)};
}

static void add_override(const struct acpi_table *t, u32 at, struct acpi_info *out)
{
	u16 flags = acpi_read16(t, at + 8);

	if (acpi_read8(t, at + 2) != 0)
		return; /* a bus other than ISA */
	if (!acpi_room("MADT", out->override_count, ACPI_OVERRIDES_MAX, &out->madt_full.overrides,
		       "interrupt overrides"))
		return;
	out->overrides[out->override_count++] = (struct acpi_override){
		.isa_irq = acpi_read8(t, at + 3),
		.gsi = acpi_read32(t, at + 4),
		.active_low = flags_active_low(flags),
		.level = flags_level(flags),
	};
}

static void add_ioapic(const struct acpi_table *t, u32 at, struct acpi_info *out)
{
	if (!acpi_room("MADT", out->ioapic_count, ACPI_IOAPICS_MAX, &out->madt_full.ioapics,
		       "IOAPICs"))
		return;
	out->ioapics[out->ioapic_count++] = (struct acpi_ioapic){
		.id = acpi_read8(t, at + 2),
		.address = acpi_read32(t, at + 4),
		.gsi_base = acpi_read32(t, at + 8),
	};
}

static void parse_entry(const struct acpi_table *t, u32 at, struct acpi_info *out)
{
	u32 uid;

	switch (acpi_read8(t, at)) {
	case MADT_LAPIC:
		/* 255 as id stands for all CPUs and so for none. */
		if (acpi_read8(t, at + 3) != 0xff)
			add_cpu(out, acpi_read8(t, at + 3), acpi_read8(t, at + 2),
				acpi_read32(t, at + 4), false);
		break;
	case MADT_X2APIC:
		if (acpi_read32(t, at + 4) != ~0u)
			add_cpu(out, acpi_read32(t, at + 4), acpi_read32(t, at + 12),
				acpi_read32(t, at + 8), true);
		break;
	case MADT_IOAPIC:
		add_ioapic(t, at, out);
		break;
	case MADT_OVERRIDE:
		add_override(t, at, out);
		break;
	case MADT_LAPIC_NMI:
		uid = acpi_read8(t, at + 2);
		add_nmi(out, uid == 0xff ? ACPI_UID_ALL : uid, acpi_read16(t, at + 3),
			acpi_read8(t, at + 5));
		break;
	case MADT_X2APIC_NMI:
		add_nmi(out, acpi_read32(t, at + 4), acpi_read16(t, at + 2), acpi_read8(t, at + 8));
		break;
	case MADT_LAPIC_ADDRESS_OVERRIDE:
		out->lapic_address = acpi_read64(t, at + 4);
		break;
	default:
		break;
	}
}

int acpi_parse_madt(const struct acpi_table *t, struct acpi_info *out)
{
	u32 at = MADT_ENTRIES, size;

	if (t->size < MADT_ENTRIES) {
		log_warn("ACPI: MADT is only %u bytes long; it is passed over", t->size);
		return ERR_CORRUPT;
	}
	out->lapic_address = acpi_read32(t, MADT_LAPIC_ADDRESS);
	out->has_8259 = acpi_read32(t, MADT_FLAGS) & MADT_PCAT_COMPAT;
	while ((size = acpi_entry_size(t, "MADT", at, least_size(acpi_read8(t, at))))) {
		parse_entry(t, at, out);
		at += size;
	}
	return 0;
}
