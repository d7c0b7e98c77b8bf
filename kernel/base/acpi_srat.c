/* SPDX-License-Identifier: MIT */
/*
 * The SRAT: which memory and which CPUs are of one proximity domain (ACPI 5.2.16); and the SLIT:
 * how far domains are from one another (ACPI 5.2.17).
 */
#include "kernel/base/acpi_private.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"

#define TABLE_REVISION 8
#define SRAT_ENTRIES   48
#define SLIT_COUNT     36
#define SLIT_MATRIX    44

#define DISTANCE_ITSELF 10 /* what is less means nothing */

enum srat_type {
	SRAT_LAPIC = 0,
	SRAT_MEMORY = 1,
	SRAT_X2APIC = 2,
};

#define AFFINITY_ENABLED    BIT(0)
#define MEMORY_NON_VOLATILE BIT(2)

/* Of each type that is read, the length it must have at least. */
static u32 least_size(u8 type)
{
	switch (type) {
	case SRAT_LAPIC:
		return 16;
	case SRAT_MEMORY:
		return 40;
	case SRAT_X2APIC:
		return 24;
	}
	return 2;
}

/* In the first revision a domain was one byte; what follows it was reserved: anything. */
static bool has_wide_domains(const struct acpi_table *t)
{
	return acpi_read8(t, TABLE_REVISION) >= 2;
}

/* A CPU that stands there twice is of the domain that is named first. */
static void add_cpu(struct acpi_info *out, u32 apic_id, u32 domain)
{
	for (u32 i = 0; i < out->cpu_domain_count; i++) {
		if (out->cpu_domains[i].apic_id == apic_id)
			return;
	}
	if (acpi_room("SRAT", out->cpu_domain_count, ACPI_CPUS_MAX, &out->srat_full.cpus, "CPUs"))
		out->cpu_domains[out->cpu_domain_count++] = (struct acpi_cpu_domain){apic_id,
										     domain};
}

static void add_lapic(const struct acpi_table *t, u32 at, struct acpi_info *out)
{
	u32 domain = acpi_read8(t, at + 2);

	if (!(acpi_read32(t, at + 4) & AFFINITY_ENABLED))
		return;
	if (has_wide_domains(t))
		domain |= (u32)acpi_read(t, at + 9, 3) << 8;
	add_cpu(out, acpi_read8(t, at + 3), domain);
}

static void add_x2apic(const struct acpi_table *t, u32 at, struct acpi_info *out)
{
	if (acpi_read32(t, at + 12) & AFFINITY_ENABLED)
		add_cpu(out, acpi_read32(t, at + 8), acpi_read32(t, at + 4));
}

/* Memory that can be plugged in may be there already: the memory map says what of it is RAM. */
static void add_memory(const struct acpi_table *t, u32 at, struct acpi_info *out)
{
	u64 start = acpi_read64(t, at + 8), size = acpi_read64(t, at + 16);
	u32 domain = acpi_read32(t, at + 2), flags = acpi_read32(t, at + 28);

	if (!(flags & AFFINITY_ENABLED) || flags & MEMORY_NON_VOLATILE)
		return;
	if (size == 0 || start + size < start)
		return; /* none, or none that can be */
	if (!acpi_room("SRAT", out->memory_count, ACPI_MEMORIES_MAX, &out->srat_full.memories,
		       "ranges of memory"))
		return;
	out->memories[out->memory_count++] = (struct acpi_memory){
		.start = start,
		.end = start + size,
		.domain = has_wide_domains(t) ? domain : domain & 0xff,
	};
}

static void parse_entry(const struct acpi_table *t, u32 at, struct acpi_info *out)
{
	switch (acpi_read8(t, at)) {
	case SRAT_LAPIC:
		add_lapic(t, at, out);
		break;
	case SRAT_MEMORY:
		add_memory(t, at, out);
		break;
	case SRAT_X2APIC:
		add_x2apic(t, at, out);
		break;
	default:
		break;
	}
}

int acpi_parse_srat(const struct acpi_table *t, struct acpi_info *out)
{
	u32 at = SRAT_ENTRIES, size;

	if (t->size < SRAT_ENTRIES) {
		log_warn("ACPI: SRAT is only %u bytes long; it is passed over", t->size);
		return ERR_CORRUPT;
	}
	while ((size = acpi_entry_size(t, "SRAT", at, least_size(acpi_read8(t, at))))) {
		parse_entry(t, at, out);
		at += size;
	}
	return 0;
}

static u8 distance(const struct acpi_table *t, u32 count, u32 from, u32 to)
{
	return acpi_read8(t, SLIT_MATRIX + from * count + to);
}

/* The first distance that makes no sense. */
static bool find_bad_distance(const struct acpi_table *t, u32 count, u32 *from, u32 *to)
{
	for (*from = 0; *from < count; ++*from) {
		for (*to = 0; *to < count; ++*to) {
			u8 d = distance(t, count, *from, *to);

			if (*from == *to ? d != DISTANCE_ITSELF : d < DISTANCE_ITSELF)
				return true;
		}
	}
	return false;
}

int acpi_parse_slit(const struct acpi_table *t, struct acpi_info *out)
{
	u64 localities = acpi_read64(t, SLIT_COUNT);
	u32 count = (u32)localities, from, to;

	/* A table's size bounds the count, and so its square. */
	if (t->size < SLIT_MATRIX || localities > t->size ||
	    localities * localities > t->size - SLIT_MATRIX) {
		log_warn("ACPI: SLIT of %u bytes has no room for the distances of %llu "
			 "localities; it is passed over",
			 t->size, (unsigned long long)localities);
		return ERR_CORRUPT;
	}
	if (find_bad_distance(t, count, &from, &to)) {
		log_warn("ACPI: SLIT says that it is %u from locality %u to %u, where %s; it is "
			 "passed over",
			 distance(t, count, from, to), from, to,
			 from == to ? "10 is to itself" : "nothing is nearer than 10");
		return ERR_CORRUPT;
	}
	if (count > ACPI_LOCALITIES_MAX)
		log_warn("ACPI: SLIT has %u localities, of which the first %u are read", count,
			 ACPI_LOCALITIES_MAX);
	out->locality_count = min(count, (u32)ACPI_LOCALITIES_MAX);
	for (from = 0; from < out->locality_count; from++) {
		for (to = 0; to < out->locality_count; to++)
			out->distances[from][to] = distance(t, count, from, to);
	}
	return 0;
}
