/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/memory_nodes.c kernel/config_cpus.c */
/*
 * Nodes of machines made up; then of random ones, against an oracle that asks the firmware's table
 * anew for each page and each CPU.
 */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/log.h"
#include "kernel/memory_nodes.h"
#include "mem/frame.h"
#include "tests/hosted/hosted.h"

#define PAGES	  2048 /* of a random machine */
#define RAM_MAX	  32
#define NO_DOMAIN (~0u)

struct acpi_info acpi_info; /* this machine's, which the pure function does not look at */
static struct acpi_info acpi;
static struct frame_nodes nodes;
static struct mem_range ram[RAM_MAX];
static u32 apic_ids[CPU_MAX];
static struct memory_nodes_input in = {.acpi = &acpi, .ram = ram, .apic_ids = apic_ids};

const struct mem_range *frame_ram(u32 *count)
{
	*count = in.ram_count;
	return ram;
}

struct cpu *cpu_get(u32 id)
{
	static struct cpu cpus[CPU_MAX];

	cpus[id].apic_id = apic_ids[id];
	return &cpus[id];
}

static void memory(u64 start, u64 end, u32 domain)
{
	assert_true(acpi.memory_count < ACPI_MEMORIES_MAX);
	acpi.memories[acpi.memory_count++] = (struct acpi_memory){start, end, domain};
}

static void cpu(u32 apic_id, u32 domain)
{
	acpi.cpu_domains[acpi.cpu_domain_count++] = (struct acpi_cpu_domain){apic_id, domain};
}

static void has_ram(u64 start, u64 end)
{
	assert_true(in.ram_count < RAM_MAX);
	ram[in.ram_count++] = (struct mem_range){start, end};
}

/* Distances of so many domains, 20 each, for a test to change. */
static void slit(u32 count)
{
	acpi.locality_count = count;
	memset(acpi.distances, 20, sizeof(acpi.distances));
	for (u32 i = 0; i < ACPI_LOCALITIES_MAX; i++)
		acpi.distances[i][i] = 10;
}

static int reset(void **state)
{
	(void)state;
	memset(&acpi, 0, sizeof(acpi));
	memset(&nodes, 0x5a, sizeof(nodes));
	in.ram_count = 0;
	in.cpu_count = 4;
	for (u32 i = 0; i < CPU_MAX; i++)
		apic_ids[i] = 2 * i;
	hosted_log_reset();
	return 0;
}

static void check_range(u32 i, u64 start, u64 end, u32 node)
{
	assert_true(i < nodes.range_count);
	assert_int_equal(nodes.ranges[i].start, start);
	assert_int_equal(nodes.ranges[i].end, end);
	assert_int_equal(nodes.ranges[i].node, node);
}

static void check_one_node(void)
{
	assert_int_equal(nodes.count, 1);
	assert_int_equal(nodes.range_count, 0);
	assert_int_equal(nodes.distance[0][0], 10);
	for (u32 i = 0; i < CPU_MAX; i++)
		assert_int_equal(nodes.of_cpu[i], 0);
}

/* A PC of two nodes, the second domain's memory lowest. */
static void two_nodes(void)
{
	has_ram(0, KIB(640));
	has_ram(MIB(1), GIB(3));
	has_ram(GIB(4), GIB(6));
	memory(GIB(5), GIB(6), 0);
	memory(0, KIB(640), 7);
	memory(MIB(1), GIB(3), 7);
	memory(GIB(4), GIB(5), 7);
	cpu(0, 7);
	cpu(2, 7);
	cpu(4, 0);
	cpu(6, 0);
}

static void test_two(void **state)
{
	two_nodes();
	memory_nodes_make(&in, &nodes);
	assert_int_equal(nodes.count, 2);
	assert_int_equal(nodes.range_count, 4);
	check_range(0, 0, KIB(640), 0);
	check_range(1, MIB(1), GIB(3), 0);
	check_range(2, GIB(4), GIB(5), 0);
	check_range(3, GIB(5), GIB(6), 1);
	assert_memory_equal(nodes.of_cpu, ((u8[]){0, 0, 1, 1}), 4);
	assert_int_equal(nodes.distance[0][0], 10);
	assert_int_equal(nodes.distance[0][1], 20);
	assert_int_equal(nodes.distance[1][0], 20);
	assert_int_equal(nodes.distance[1][1], 10);
	assert_int_equal(memory_nodes_bytes(&in, &nodes, 0), KIB(640) + GIB(4) - MIB(1));
	assert_int_equal(memory_nodes_bytes(&in, &nodes, 1), GIB(1));
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
}

static void test_one(void **state)
{
	has_ram(MIB(1), GIB(1));
	memory_nodes_make(&in, &nodes); /* no SRAT */
	check_one_node();
	assert_int_equal(memory_nodes_bytes(&in, &nodes, 0), GIB(1) - MIB(1));
	memory(0, GIB(1), 3);
	memory(GIB(1), GIB(2), 0); /* without RAM */
	cpu(0, 0);
	cpu(2, 3);
	memory_nodes_make(&in, &nodes);
	check_one_node();
}

/* What is where no processor has addresses; and a table that knows nothing of the RAM there is. */
static void test_elsewhere(void **state)
{
	has_ram(MIB(1), GIB(1));
	memory(MEMMAP_PHYS_END, ~0ull, 1);
	memory(MEMMAP_PHYS_END - 1, ~0ull, 2);
	memory(~0ull - 1, ~0ull, 3);
	memory_nodes_make(&in, &nodes);
	check_one_node();
	memory(MIB(512), ~0ull, 4);
	memory(MIB(16), MIB(32), 5);
	memory_nodes_make(&in, &nodes);
	assert_int_equal(nodes.count, 2);
	assert_int_equal(nodes.range_count, 2);
	check_range(0, MIB(16), MIB(32), 0);
	check_range(1, MIB(512), MEMMAP_PHYS_END, 1);
}

/* What is in no range is node 0's, and ranges that touch are one. */
static void test_holes_and_merging(void **state)
{
	has_ram(0, MIB(64));
	memory(MIB(32), MIB(40), 1);
	memory(MIB(48), MIB(56), 1);
	memory(MIB(40), MIB(48), 1);
	memory(MIB(8), MIB(16), 0);
	memory(MIB(16), MIB(24), 0);
	memory_nodes_make(&in, &nodes);
	assert_int_equal(nodes.count, 2);
	assert_int_equal(nodes.range_count, 2);
	check_range(0, MIB(8), MIB(24), 0);
	check_range(1, MIB(32), MIB(56), 1);
	assert_int_equal(memory_nodes_bytes(&in, &nodes, 0), MIB(40));
	assert_int_equal(memory_nodes_bytes(&in, &nodes, 1), MIB(24));
}

static void test_overlap(void **state)
{
	has_ram(0, MIB(64));
	memory(MIB(16), MIB(32), 1);
	memory(MIB(20), MIB(30), 1); /* of the same domain: no harm */
	memory(MIB(8), MIB(48), 2);
	memory(MIB(60), MIB(61), 3);
	memory(MIB(60), MIB(61), 4);
	memory_nodes_make(&in, &nodes);
	assert_int_equal(nodes.count, 3);
	assert_int_equal(nodes.range_count, 4);
	check_range(0, MIB(8), MIB(16), 0);
	check_range(1, MIB(16), MIB(32), 1);
	check_range(2, MIB(32), MIB(48), 0);
	check_range(3, MIB(60), MIB(61), 2);
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	assert_non_null(strstr(hosted_log_last(),
			       "memory 0x1000000 to 0x2000000 in domain 1 and 0x800000 to "
			       "0x3000000 in domain 2, and 2 more pairs that overlap: what stands "
			       "first counts; update the firmware, or say numa=off"));
}

/* As many pieces as there can be. */
static void test_most_pieces(void **state)
{
	u32 n = ACPI_MEMORIES_MAX - 1;

	has_ram(0, MIB(2 * ACPI_MEMORIES_MAX));
	for (u32 i = 0; i < n; i++)
		memory(MIB(2 * i + 1), MIB(2 * i + 2), 1);
	memory(0, MIB(2 * ACPI_MEMORIES_MAX), 2);
	memory_nodes_make(&in, &nodes);
	assert_int_equal(nodes.count, 2);
	assert_int_equal(nodes.range_count, 2 * n + 1);
	for (u32 i = 0; i < 2 * n; i++)
		check_range(i, MIB(i), MIB(i + 1), i & 1);
	check_range(2 * n, MIB(2 * n), MIB(2 * ACPI_MEMORIES_MAX), 0);
}

/* CPUs of a domain without RAM go to the nearest; those of which nothing is said to node 0. */
static void test_cpus_without_memory(void **state)
{
	has_ram(0, MIB(3));
	for (u32 i = 0; i < 3; i++)
		memory(MIB(i), MIB(i + 1), i);
	memory(GIB(1), GIB(2), 3);
	cpu(0, 3);
	cpu(2, 2);
	cpu(4, 99);
	memory_nodes_make(&in, &nodes);
	assert_int_equal(nodes.count, 3);
	assert_memory_equal(nodes.of_cpu, ((u8[]){0, 2, 0, 0}), 4);
	slit(4);
	acpi.distances[3][0] = 40;
	acpi.distances[3][1] = 15;
	acpi.distances[3][2] = 15;
	acpi.distances[0][3] = 11;
	acpi.distances[1][2] = 33;
	memory_nodes_make(&in, &nodes);
	assert_memory_equal(nodes.of_cpu, ((u8[]){1, 2, 0, 0}), 4);
	assert_int_equal(nodes.distance[1][2], 33);
	assert_int_equal(nodes.distance[2][1], 20);
	acpi.locality_count = 2; /* nothing is known of 3, nor of 2 */
	memory_nodes_make(&in, &nodes);
	assert_memory_equal(nodes.of_cpu, ((u8[]){0, 2, 0, 0}), 4);
	assert_int_equal(nodes.distance[1][2], 20);
}

static void test_more_than_fit(void **state)
{
	u32 n = FRAME_NODES_MAX + 2, last = FRAME_NODES_MAX - 1;

	has_ram(0, MIB(n));
	for (u32 i = 0; i < n; i++)
		memory(MIB(i), MIB(i + 1), i);
	cpu(0, n - 2);
	cpu(2, n - 1);
	cpu(4, last);
	slit(n);
	acpi.distances[n - 2][3] = 12;
	acpi.distances[n - 2][n - 1] = 11; /* which has no number either */
	acpi.distances[n - 1][last] = 12;
	memory_nodes_make(&in, &nodes);
	assert_int_equal(nodes.count, FRAME_NODES_MAX);
	assert_int_equal(nodes.range_count, n);
	check_range(last, MIB(last), MIB(last + 1), last);
	check_range(n - 2, MIB(n - 2), MIB(n - 1), 3);
	check_range(n - 1, MIB(n - 1), MIB(n), last);
	assert_memory_equal(nodes.of_cpu, ((u8[]){3, (u8)last, (u8)last, 0}), 4);
	assert_int_equal(hosted_log_count(LOG_WARN), 1);
	assert_non_null(strstr(hosted_log_last(), "memory in 10 domains, of which 8 are nodes"));
}

static u32 nodes_set;

void frame_set_nodes(const struct frame_nodes *n)
{
	nodes_set = n->count;
}

static void find(bool off, u32 lines, const char *last)
{
	hosted_log_reset();
	acpi_info = acpi;
	nodes_set = 0;
	memory_nodes_find(off);
	assert_int_equal(nodes_set, max(lines, 1u));
	assert_int_equal(hosted_log_count(LOG_INFO), lines);
	if (last)
		assert_string_equal(hosted_log_last(), last);
}

static void test_find(void **state)
{
	hosted_cpu_set(3);
	assert_int_equal(cpu_count(), 4);
	two_nodes();
	find(false, 2, "memory: node 1: 1024 MiB, CPUs 2-3");
	acpi.cpu_domains[0].domain = 0;
	find(false, 2, "memory: node 1: 1024 MiB, CPUs 0,2-3");
	memory(GIB(3), GIB(4), 9); /* a hole */
	has_ram(GIB(6), GIB(7));
	memory(GIB(6), GIB(7), 10);
	find(false, 3, "memory: node 2: 1024 MiB, no CPU");
	acpi.cpu_domains[1].domain = 10;
	find(false, 3, "memory: node 2: 1024 MiB, CPU 1");
	memory(GIB(6), GIB(7), 11);
	find(true, 0, NULL);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
	acpi.memory_count = 0;
	find(false, 0, NULL);
}

static u64 next_random(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static u64 below(u64 *random, u64 n)
{
	return next_random(random) % n;
}

/* RAM of whole pages, and a table whose ranges need not be. */
static void make_random(u64 *random)
{
	u32 ranges = 1 + (u32)below(random, RAM_MAX), domains;
	u32 entries = (u32)below(random, ACPI_MEMORIES_MAX + 1);
	u64 at = 0, longest = PAGES * PAGE_SIZE >> (1 + below(random, 10));

	domains = below(random, 8) ? 1 + (u32)below(random, 60) : 1;
	for (u32 i = 0; i < ranges && at < PAGES; i++) {
		u64 start = at + below(random, 40), end = start + 1 + below(random, 100);

		if (end > PAGES)
			break;
		has_ram(start * PAGE_SIZE, end * PAGE_SIZE);
		at = end + 1;
	}
	for (u32 i = 0; i < entries; i++) {
		u64 start = below(random, PAGES * PAGE_SIZE), size = 1 + below(random, longest);

		if (below(random, 2)) {
			start = align_down(start, PAGE_SIZE);
			size = align_up(size, PAGE_SIZE);
		}
		memory(start, start + size, (u32)below(random, domains));
	}
	slit((u32)below(random, ACPI_LOCALITIES_MAX + 1));
	for (u32 i = 0; i < ACPI_LOCALITIES_MAX; i++) {
		for (u32 j = 0; j < ACPI_LOCALITIES_MAX; j++)
			acpi.distances[i][j] = i == j ? 10 : (u8)(10 + below(random, 30));
	}
	in.cpu_count = 1 + (u32)below(random, CPU_MAX);
	for (u32 i = 0; i < CPU_MAX; i++) {
		apic_ids[i] = (u32)below(random, 300);
		if (below(random, 4))
			cpu(apic_ids[i], (u32)below(random, domains + 2));
	}
}

static bool is_ram(u64 page)
{
	for (u32 i = 0; i < in.ram_count; i++) {
		if (page * PAGE_SIZE >= ram[i].start && page * PAGE_SIZE < ram[i].end)
			return true;
	}
	return false;
}

static u32 oracle_domain(u64 page)
{
	for (u32 i = 0; i < acpi.memory_count; i++) {
		if (page * PAGE_SIZE >= acpi.memories[i].start &&
		    page * PAGE_SIZE < acpi.memories[i].end)
			return acpi.memories[i].domain;
	}
	return NO_DOMAIN;
}

struct oracle {
	u32 count; /* of domains with RAM, by the first page */
	u32 domains[ACPI_MEMORIES_MAX];
	u32 nodes[64]; /* of each domain */
};

static u32 oracle_distance(u32 from, u32 to)
{
	bool known = from < acpi.locality_count && to < acpi.locality_count;

	return from == to ? 10 : known ? acpi.distances[from][to] : 20;
}

static void oracle_make(struct oracle *o)
{
	bool seen[64] = {false};

	memset(o, 0, sizeof(*o));
	for (u64 page = 0; page < PAGES; page++) {
		u32 domain = oracle_domain(page);

		if (domain == NO_DOMAIN || seen[domain] || !is_ram(page))
			continue;
		seen[domain] = true;
		o->domains[o->count++] = domain;
	}
	for (u32 domain = 0; domain < ARRAY_SIZE(o->nodes); domain++) {
		u32 least = ~0u;

		for (u32 i = 0; i < min(o->count, (u32)FRAME_NODES_MAX); i++) {
			u32 far = o->domains[i] == domain ? 0
							  : oracle_distance(domain, o->domains[i]);

			if (far < least) {
				least = far;
				o->nodes[domain] = i;
			}
		}
	}
}

static u32 node_of_page(u64 page)
{
	for (u32 i = 0; i < nodes.range_count; i++) {
		if (page * PAGE_SIZE >= nodes.ranges[i].start &&
		    page * PAGE_SIZE < nodes.ranges[i].end)
			return nodes.ranges[i].node;
	}
	return 0;
}

static void check_form(void)
{
	const struct frame_node_range *r = nodes.ranges;

	assert_true(nodes.count >= 1 && nodes.count <= FRAME_NODES_MAX);
	assert_true(nodes.range_count <= FRAME_NODE_RANGES_MAX);
	assert_true(nodes.count > 1 || nodes.range_count == 0);
	for (u32 i = 0; i < nodes.range_count; i++) {
		assert_true(r[i].start < r[i].end && r[i].node < nodes.count);
		assert_true(is_aligned(r[i].start | r[i].end, PAGE_SIZE));
		if (i == 0)
			continue;
		assert_true(r[i - 1].end <= r[i].start);
		assert_true(r[i - 1].end < r[i].start || r[i - 1].node != r[i].node);
	}
}

static void check_pages(const struct oracle *o)
{
	u64 bytes[FRAME_NODES_MAX] = {0};

	for (u64 page = 0; page < PAGES; page++) {
		u32 domain = oracle_domain(page), node = domain == NO_DOMAIN ? 0 : o->nodes[domain];

		if (!is_ram(page))
			continue;
		assert_int_equal(node_of_page(page), node);
		bytes[node] += PAGE_SIZE;
	}
	for (u32 i = 0; i < nodes.count; i++)
		assert_int_equal(memory_nodes_bytes(&in, &nodes, i), bytes[i]);
}

static void check_cpus(const struct oracle *o)
{
	for (u32 i = 0; i < in.cpu_count; i++) {
		u32 node = 0;

		for (u32 j = acpi.cpu_domain_count; j-- > 0;) {
			if (acpi.cpu_domains[j].apic_id == apic_ids[i])
				node = o->nodes[acpi.cpu_domains[j].domain];
		}
		assert_int_equal(nodes.of_cpu[i], node);
	}
}

static void test_random(void **state)
{
	u64 random = 0x9e3779b97f4a7c15ull, single = 0, many = 0, overfull = 0;

	for (u32 round = 0; round < 1000; round++) {
		struct oracle o;

		reset(NULL);
		make_random(&random);
		oracle_make(&o);
		memory_nodes_make(&in, &nodes);
		check_form();
		assert_int_equal(nodes.count, o.count ? min(o.count, (u32)FRAME_NODES_MAX) : 1);
		check_pages(&o);
		check_cpus(&o);
		for (u32 i = 0; i < nodes.count; i++) {
			for (u32 j = 0; j < nodes.count; j++)
				assert_int_equal(nodes.distance[i][j],
						 oracle_distance(o.domains[i], o.domains[j]));
		}
		single += o.count <= 1;
		many += o.count > 1 && o.count <= FRAME_NODES_MAX;
		overfull += o.count > FRAME_NODES_MAX;
	}
	assert_true(single > 10 && many > 50 && overfull > 10);
}

#define TEST(f) cmocka_unit_test_setup(f, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_two),
		TEST(test_one),
		TEST(test_elsewhere),
		TEST(test_holes_and_merging),
		TEST(test_overlap),
		TEST(test_most_pieces),
		TEST(test_cpus_without_memory),
		TEST(test_more_than_fit),
		TEST(test_find),
		TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
