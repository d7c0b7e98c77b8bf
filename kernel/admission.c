/* SPDX-License-Identifier: MIT */
#include "kernel/admission.h"

#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "mmu/shadow.h"

/* In pages: devices, tables that every VM has; a vCPU's stack, VMCS and what belongs to it. */
#define VM_PAGES   64u
#define VCPU_PAGES 24u

/* Entries of slot_phys[], reverse maps and second-level tables: a word for each page in each. */
#define TABLE_WORDS 3u

#define SHADOW_PAGE_PAGES 2u

/*
 * However little memory there is it may have so many; above that its pages take none that is
 * promised.
 */
static u64 shadow_pages(const struct vm_config *config)
{
	bool has_some = config->mmu == CONFIG_MMU_SHADOW || !mmu_has_ept();

	return has_some ? mmu_shadow_least(config->vcpus) * SHADOW_PAGE_PAGES : 0;
}

static u64 overhead(const struct vm_config *config, u64 min)
{
	return VM_PAGES + VCPU_PAGES * config->vcpus + shadow_pages(config) +
	       min * TABLE_WORDS / (PAGE_SIZE / sizeof(u64));
}

struct reclaim_terms vm_terms(const struct vm_config *config)
{
	/* Pages of 2 MiB stay; what comes from the pool of real-mode areas is not of these frames. */
	u64 bytes = config->page_order ? config->mem : config->min;
	struct reclaim_terms t = {
		.min = bytes >> PAGE_SHIFT,
		.max = config->max ? config->max >> PAGE_SHIFT : ~0ull,
		.shares = config->shares,
	};

	t.costs = (bytes - min(bytes, config->rma)) >> PAGE_SHIFT;
	t.costs += overhead(config, t.costs);
	return t;
}

int vm_admit(const struct vm_config *config, char *message, size_t size)
{
	struct reclaim_terms t = vm_terms(config);
	struct reclaim_room room;

	reclaim_get_room(&room);
	if (t.costs <= room.total - min(room.promised, room.total))
		return 0;
	snprintf(message, size,
		 "%s=%s and what the VM costs besides are %lluK, others were promised %lluK of the "
		 "%lluK that there are: give less min=, start fewer VMs, or give the machine more",
		 config->page_order ? "psize=2M mem" : "min",
		 size_text(config->page_order ? config->mem : config->min).text,
		 (unsigned long long)t.costs * (PAGE_SIZE / 1024),
		 (unsigned long long)room.promised * (PAGE_SIZE / 1024),
		 (unsigned long long)room.total * (PAGE_SIZE / 1024));
	return ERR_NOSPC;
}
