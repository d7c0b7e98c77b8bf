/* SPDX-License-Identifier: MIT */
#include "mem/mtrr.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/x86.h"

#define FEATURES_EDX_MTRR	BIT(12)
#define FEATURES_ECX_HYPERVISOR BIT(31)

#define MSR_IA32_MTRR_PHYSBASE(i) (0x200 + 2 * (i))
#define MSR_IA32_MTRR_PHYSMASK(i) (0x201 + 2 * (i))

#define CAP_VARIABLES(v) ((u32)(v)&0xffu)
#define DEF_TYPE_ENABLE	 BIT(11)
#define MASK_VALID	 BIT(11)
#define TYPE(v)		 ((v)&0xff)
#define TYPE_WRITE_BACK	 6
#define ADDRESS		 ((MEMMAP_PHYS_END - 1) & PAGE_MASK)
#define BOUNDS_MAX	 (2 * MTRR_VARIABLE_MAX + 2)

int mtrr_read(struct mtrr_state *out, int (*rdmsr_safe)(u32, u64 *))
{
	struct cpuid_regs features = cpuid(1, 0);
	bool any = false;
	u64 cap;

	*out = (struct mtrr_state){0};
	if (!(features.edx & FEATURES_EDX_MTRR) || (features.ecx & FEATURES_ECX_HYPERVISOR))
		return ERR_NOTSUP;
	if (rdmsr_safe(MSR_IA32_MTRRCAP, &cap) ||
	    rdmsr_safe(MSR_IA32_MTRR_DEF_TYPE, &out->default_type))
		return ERR_NOTSUP;
	for (u32 i = 0; i < CAP_VARIABLES(cap) && i < MTRR_VARIABLE_MAX; i++) {
		if (rdmsr_safe(MSR_IA32_MTRR_PHYSBASE(i), &out->variable[i].base) ||
		    rdmsr_safe(MSR_IA32_MTRR_PHYSMASK(i), &out->variable[i].mask))
			return ERR_NOTSUP;
		any |= out->variable[i].mask & MASK_VALID;
		out->count++;
	}
	/* SDM 3A 11.11.2.1: without the bit all memory is uncached, whatever else they say. */
	if (!(out->default_type & DEF_TYPE_ENABLE))
		return ERR_RANGE;
	return any || TYPE(out->default_type) == TYPE_WRITE_BACK ? 0 : ERR_RANGE;
}

/* A register pair that is off says nothing, whatever else stands in it. */
static bool same_variable(const struct mtrr_state *a, const struct mtrr_state *b, u32 i)
{
	if (!((a->variable[i].mask | b->variable[i].mask) & MASK_VALID))
		return true;
	return a->variable[i].base == b->variable[i].base &&
	       a->variable[i].mask == b->variable[i].mask;
}

static bool same(const struct mtrr_state *a, const struct mtrr_state *b)
{
	if (a->default_type != b->default_type || a->count != b->count)
		return false;
	for (u32 i = 0; i < a->count; i++) {
		if (!same_variable(a, b, i))
			return false;
	}
	return true;
}

void mtrr_check_cpu(u32 cpu, int (*rdmsr_safe)(u32, u64 *))
{
	static struct mtrr_state boot;
	static int boot_err;
	struct mtrr_state mine;
	int err = mtrr_read(&mine, rdmsr_safe);

	if (cpu == 0) {
		boot = mine;
		boot_err = err;
	} else if (err != boot_err || (err != ERR_NOTSUP && !same(&mine, &boot))) {
		log_warn("MTRRs: the firmware set CPU %u's memory types unlike the boot CPU's: it "
			 "may be slow, and what it writes may be lost; update the firmware, or "
			 "leave it out with max_cpus=%u",
			 cpu, cpu);
	}
}

/*
 * The bytes of a variable range; empty where it is off. Its size is the mask's lowest bit: firmware
 * is known to leave out the highest ones. A mask with holes is no range, and none was ever seen.
 */
static struct mem_range range_of(const struct mtrr_state *s, u32 i)
{
	u64 mask = s->variable[i].mask & ADDRESS, size = mask & -mask, start;

	if (!(s->variable[i].mask & MASK_VALID) || !mask)
		return (struct mem_range){0, 0};
	start = s->variable[i].base & ADDRESS & ~(size - 1);
	return (struct mem_range){start, start + size};
}

/* Where several overlap, all of them must be write-back (SDM 3A 11.11.4.1). */
static bool is_write_back(const struct mtrr_state *s, u64 at)
{
	bool covered = false;

	for (u32 i = 0; i < s->count; i++) {
		struct mem_range r = range_of(s, i);

		if (at < r.start || at >= r.end)
			continue;
		if (TYPE(s->variable[i].base) != TYPE_WRITE_BACK)
			return false;
		covered = true;
	}
	return covered || TYPE(s->default_type) == TYPE_WRITE_BACK;
}

static u32 add_bound(u64 *bounds, u32 n, u64 at)
{
	u32 i = n;

	if (at < MEMMAP_LOW_END || at > MEMMAP_PHYS_END)
		return n;
	for (; i > 0 && bounds[i - 1] > at; i--)
		bounds[i] = bounds[i - 1];
	bounds[i] = at;
	return n + 1;
}

u32 mtrr_not_write_back(const struct mtrr_state *s, struct mem_range *out)
{
	u64 bounds[BOUNDS_MAX];
	u32 n = 0, found = 0;

	n = add_bound(bounds, n, MEMMAP_LOW_END);
	n = add_bound(bounds, n, MEMMAP_PHYS_END);
	for (u32 i = 0; i < s->count; i++) {
		struct mem_range r = range_of(s, i);

		n = add_bound(bounds, n, r.start);
		n = add_bound(bounds, n, r.end);
	}
	/* Between two bounds nothing changes. */
	for (u32 i = 0; i + 1 < n; i++) {
		if (bounds[i] == bounds[i + 1] || is_write_back(s, bounds[i]))
			continue;
		if (found && out[found - 1].end == bounds[i])
			out[found - 1].end = bounds[i + 1];
		else
			out[found++] = (struct mem_range){bounds[i], bounds[i + 1]};
	}
	return found;
}

int mtrr_withhold(const struct mtrr_state *s, struct memmap *m, u64 *bytes)
{
	struct mem_range ranges[MTRR_RANGES_MAX];
	u64 all = memmap_free_within(m, (struct mem_range){0, MEMMAP_PHYS_END});
	u32 n = mtrr_not_write_back(s, ranges);
	int err = 0;

	*bytes = 0;
	for (u32 i = 0; i < n; i++)
		*bytes += memmap_free_within(m, ranges[i]);
	if (*bytes > all / 2)
		return ERR_RANGE;
	for (u32 i = 0; i < n; i++) {
		if (memmap_withhold(m, ranges[i]))
			err = ERR_NOSPC;
	}
	return err;
}
