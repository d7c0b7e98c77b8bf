/* SPDX-License-Identifier: MIT */
#include "kernel/memory_nodes.h"

#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "kernel/config_cpus.h"
#include "mem/frame.h"

#define DISTANCE_ITSELF	 10
#define DISTANCE_UNKNOWN 20

/* Each range of the table has two ends, between which there are so many pieces at most. */
static_assert(2 * ACPI_MEMORIES_MAX <= FRAME_NODE_RANGES_MAX, "there is room for all pieces");

/* Domains that have RAM, by their lowest. */
struct domains {
	u32 count;
	u32 of[ACPI_MEMORIES_MAX];
};

/* Until nodes have numbers a range's node is its domain. */
static void insert(struct frame_nodes *out, u32 at, struct frame_node_range r)
{
	for (u32 i = out->range_count++; i > at; i--)
		out->ranges[i] = out->ranges[i - 1];
	out->ranges[at] = r;
}

/* What of m no range before it has. A page is of the range that its first byte is in. */
static void lay(struct frame_nodes *out, const struct acpi_memory *m)
{
	u64 at = align_up(min(m->start, MEMMAP_PHYS_END), PAGE_SIZE);
	u64 end = align_up(min(m->end, MEMMAP_PHYS_END), PAGE_SIZE);
	u32 i;

	for (i = 0; i < out->range_count && out->ranges[i].start < end; i++) {
		u64 next = out->ranges[i].start;

		if (at < next)
			insert(out, i, (struct frame_node_range){at, next, m->domain});
		at = max(at, out->ranges[i].end);
	}
	if (at < end)
		insert(out, i, (struct frame_node_range){at, end, m->domain});
}

static u64 ram_within(const struct memory_nodes_input *in, u64 start, u64 end)
{
	u64 bytes = 0;

	for (u32 i = 0; i < in->ram_count; i++) {
		u64 from = max(in->ram[i].start, start), to = min(in->ram[i].end, end);

		if (from < to)
			bytes += to - from;
	}
	return bytes;
}

static void drop_ranges_without_ram(const struct memory_nodes_input *in, struct frame_nodes *out)
{
	u32 kept = 0;

	for (u32 i = 0; i < out->range_count; i++) {
		if (ram_within(in, out->ranges[i].start, out->ranges[i].end))
			out->ranges[kept++] = out->ranges[i];
	}
	out->range_count = kept;
}

/* The domain's place in d, or d's count. */
static u32 find_domain(const struct domains *d, u32 domain)
{
	u32 i = 0;

	while (i < d->count && d->of[i] != domain)
		i++;
	return i;
}

static void list_domains(const struct frame_nodes *nodes, struct domains *d)
{
	d->count = 0;
	for (u32 i = 0; i < nodes->range_count; i++) {
		if (find_domain(d, nodes->ranges[i].node) == d->count)
			d->of[d->count++] = nodes->ranges[i].node;
	}
}

static u8 distance(const struct acpi_info *acpi, u32 from, u32 to)
{
	if (from == to)
		return DISTANCE_ITSELF;
	if (from >= acpi->locality_count || to >= acpi->locality_count)
		return DISTANCE_UNKNOWN;
	return acpi->distances[from][to];
}

/* The node that a domain is, or the nearest of all, the first of them. */
static u32 node_of(const struct acpi_info *acpi, const struct domains *d, u32 domain)
{
	u32 count = min(d->count, (u32)FRAME_NODES_MAX), nearest = 0;
	u32 own = find_domain(d, domain);

	if (own < count)
		return own;
	for (u32 i = 1; i < count; i++) {
		if (distance(acpi, domain, d->of[i]) < distance(acpi, domain, d->of[nearest]))
			nearest = i;
	}
	return nearest;
}

/* Numbers for domains; ranges of one node that touch become one. */
static void number_ranges(const struct acpi_info *acpi, const struct domains *d,
			  struct frame_nodes *out)
{
	u32 kept = 0;

	for (u32 i = 0; i < out->range_count; i++) {
		struct frame_node_range r = out->ranges[i];
		struct frame_node_range *last = kept ? &out->ranges[kept - 1] : NULL;

		r.node = node_of(acpi, d, r.node);
		if (last && last->node == r.node && last->end == r.start)
			last->end = r.end;
		else
			out->ranges[kept++] = r;
	}
	out->range_count = kept;
}

/* A CPU that the table leaves out is of node 0, as memory is. */
static u32 node_of_cpu(const struct acpi_info *acpi, const struct domains *d, u32 apic_id)
{
	for (u32 i = 0; i < acpi->cpu_domain_count; i++) {
		if (acpi->cpu_domains[i].apic_id == apic_id)
			return node_of(acpi, d, acpi->cpu_domains[i].domain);
	}
	return 0;
}

/* Of a table that says two things of one piece of memory one line, however many it has of it. */
static void tell_overlaps(const struct acpi_info *acpi)
{
	const struct acpi_memory *first = NULL, *second = NULL;
	u32 more = 0;

	for (u32 i = 0; i < acpi->memory_count; i++) {
		for (u32 j = 0; j < i; j++) {
			const struct acpi_memory *a = &acpi->memories[j], *b = &acpi->memories[i];

			if (a->domain == b->domain || a->start >= b->end || b->start >= a->end)
				continue;
			more += first != NULL;
			second = first ? second : b;
			first = first ? first : a;
		}
	}
	if (first)
		log_warn("ACPI: SRAT has memory %#lx to %#lx in domain %u and %#lx to %#lx in "
			 "domain %u, and %u more pairs that overlap: what stands first counts; "
			 "update the firmware, or say numa=off",
			 first->start, first->end, first->domain, second->start, second->end,
			 second->domain, more);
}

static void make_one(struct frame_nodes *out)
{
	memset(out, 0, sizeof(*out));
	out->count = 1;
	out->distance[0][0] = DISTANCE_ITSELF;
}

void memory_nodes_make(const struct memory_nodes_input *in, struct frame_nodes *out)
{
	const struct acpi_info *acpi = in->acpi;
	struct domains d;

	make_one(out);
	tell_overlaps(acpi);
	for (u32 i = 0; i < acpi->memory_count; i++)
		lay(out, &acpi->memories[i]);
	drop_ranges_without_ram(in, out);
	list_domains(out, &d);
	if (d.count <= 1) {
		out->range_count = 0;
		return;
	}
	out->count = min(d.count, (u32)FRAME_NODES_MAX);
	if (d.count > FRAME_NODES_MAX)
		log_warn("ACPI: SRAT has memory in %u domains, of which %u are nodes here: that of "
			 "the others counts as the nearest node's",
			 d.count, FRAME_NODES_MAX);
	number_ranges(acpi, &d, out);
	for (u32 i = 0; i < in->cpu_count; i++)
		out->of_cpu[i] = (u8)node_of_cpu(acpi, &d, in->apic_ids[i]);
	for (u32 from = 0; from < out->count; from++) {
		for (u32 to = 0; to < out->count; to++)
			out->distance[from][to] = distance(acpi, d.of[from], d.of[to]);
	}
}

/* Of node 0, which also has what is in no range, it is all but the others'. */
u64 memory_nodes_bytes(const struct memory_nodes_input *in, const struct frame_nodes *nodes,
		       u32 node)
{
	u64 bytes = 0;

	for (u32 i = 0; i < nodes->range_count; i++) {
		const struct frame_node_range *r = &nodes->ranges[i];

		if (node ? r->node == node : r->node != 0)
			bytes += ram_within(in, r->start, r->end);
	}
	return node ? bytes : ram_within(in, 0, ~0ull) - bytes;
}

static void log_node(const struct memory_nodes_input *in, const struct frame_nodes *nodes, u32 node)
{
	char list[256];
	u64 cpus = 0;

	static_assert(CPU_MAX <= 64, "a bit for each CPU");
	for (u32 i = 0; i < in->cpu_count; i++)
		cpus |= nodes->of_cpu[i] == node ? BIT(i) : 0;
	config_cpus_text(cpus, list, sizeof(list));
	log_info("memory: node %u: %lu MiB, %s%s", node, memory_nodes_bytes(in, nodes, node) >> 20,
		 !cpus		       ? "no CPU"
		 : (cpus & (cpus - 1)) ? "CPUs "
				       : "CPU ",
		 list);
}

void memory_nodes_find(bool off)
{
	static struct frame_nodes nodes;
	u32 apic_ids[CPU_MAX];
	struct memory_nodes_input in = {
		.acpi = &acpi_info, .apic_ids = apic_ids, .cpu_count = cpu_count()};

	in.ram = frame_ram(&in.ram_count);
	for (u32 i = 0; i < in.cpu_count; i++)
		apic_ids[i] = cpu_get(i)->apic_id;
	if (off)
		make_one(&nodes);
	else
		memory_nodes_make(&in, &nodes);
	for (u32 i = 0; nodes.count > 1 && i < nodes.count; i++)
		log_node(&in, &nodes, i);
	frame_set_nodes(&nodes);
}
