/* SPDX-License-Identifier: MIT */
#include "guest_memory.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/guest/memory.h"
#include "mem/reclaim.h"
#include "tests/hosted/hosted.h"

struct boot_info boot_info;
u8 test_ram[TEST_RAM];
static bool written[TEST_RAM / PAGE_SIZE]; /* of its pages, since it was all zero */
char test_message[256];
static u64 ram_size;
static u64 arena_used;

u32 test_no_memory, test_helps;

/* Stands in for mem/: of those who want memory it helps so many. */
bool reclaim_help(struct reclaim_target *t, u32 order)
{
	(void)t;
	(void)order;
	if (!test_helps)
		return false;
	test_helps--;
	return true;
}

void reclaim_memory_is_known(void)
{
}

void reclaim_add(struct reclaim_target *t, struct gmem *object, const struct reclaim_terms *terms)
{
	t->object = object;
	t->terms = *terms;
}

void reclaim_remove(struct reclaim_target *t)
{
	t->object = NULL;
}

/* Stands in for mmu/: the same holes as the slots that kernel/vm_make.c makes. */
int gpa_write(struct mmu_vm *vm, gpa_t gpa, const void *buf, u64 size)
{
	u64 end = gpa.v + size;

	(void)vm;
	if (end < gpa.v || end > ram_size)
		return ERR_NOSLOT;
	if (gpa.v < GUEST_BIOS_AREA && end > GUEST_LEGACY_HOLE)
		return ERR_NOSLOT;
	if (test_no_memory) {
		test_no_memory--;
		return ERR_NOMEM;
	}
	for (u64 page = gpa.v / PAGE_SIZE; page * PAGE_SIZE < end; page++)
		written[page] = true;
	memcpy(test_ram + gpa.v, buf, size);
	return 0;
}

static void clear_ram(void)
{
	for (u64 page = 0; page < ARRAY_SIZE(written); page++) {
		if (written[page])
			memset(test_ram + page * PAGE_SIZE, 0, PAGE_SIZE);
		written[page] = false;
	}
}

struct load test_load(struct vm_config *config, const void *kernel, u64 size, const char *cmdline,
		      struct vmx_start *start)
{
	struct load l = {
		.config = config,
		.vcpus = 1,
		.kernel = {kernel, size},
		.cmdline = cmdline,
		.start = start,
		.message = test_message,
		.message_size = sizeof(test_message),
	};

	if (!config->name[0])
		strcpy(config->name, "alpha");
	ram_size = config->mem;
	assert(ram_size <= TEST_RAM);
	clear_ram();
	memset(start, 0, sizeof(*start));
	test_message[0] = 0;
	layout_init(&l.layout, config->mem);
	return l;
}

void test_add_module(struct vm_config *config, enum config_module_kind kind, u64 size, u8 fill,
		     const char *cmdline)
{
	static struct config_module modules[CONFIG_MODULES_MAX]; /* of the one that is made last */
	struct config_module *m;

	config->modules = modules;
	m = &modules[config->module_count++];
	memset(m, 0, sizeof(*m));
	if (!hosted_arena)
		hosted_arena_init(MIB(64));
	if (arena_used + size > MIB(64))
		arena_used = 0;
	m->kind = kind;
	m->start = HPA(arena_used);
	m->size = size;
	strlcpy(m->cmdline, cmdline, sizeof(m->cmdline));
	memset(phys_to_virt(m->start), fill, size);
	arena_used += align_up(size, 4096ull);
}
