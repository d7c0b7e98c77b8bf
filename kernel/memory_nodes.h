/* SPDX-License-Identifier: MIT */
/*
 * Memory nodes (NUMA): what the firmware says of proximity domains (ACPI 6.4 5.2.16 and 5.2.17) as
 * mem/ wants it, nodes numbered from 0 that all have RAM.
 */
#ifndef KERNEL_MEMORY_NODES_H
#define KERNEL_MEMORY_NODES_H

#include "kernel/base/acpi.h"
#include "mem/frame_node.h"
#include "mem/memmap.h"

/* What the nodes are made of. */
struct memory_nodes_input {
	const struct acpi_info *acpi;
	const struct mem_range *ram; /* sorted and disjoint */
	u32 ram_count;
	const u32 *apic_ids; /* of the CPUs, by number */
	u32 cpu_count;
};

/*
 * Pure, but for lines in the log about what the firmware has wrong. Nodes are numbered by their
 * lowest RAM. Where ranges overlap the table's first counts. A domain without RAM is no node: its
 * CPUs, and the memory of domains beyond FRAME_NODES_MAX, go to the nearest node.
 */
void memory_nodes_make(const struct memory_nodes_input *in, struct frame_nodes *out);

/* Bytes of RAM that a node has. Pure. */
u64 memory_nodes_bytes(const struct memory_nodes_input *in, const struct frame_nodes *nodes,
		       u32 node);

/*
 * Once, boot CPU, after smp_bring_up: makes this machine's nodes and logs a line for each where
 * there are several. off: all memory is to be one node.
 */
void memory_nodes_find(bool off);

#endif
