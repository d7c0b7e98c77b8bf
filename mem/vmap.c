/* SPDX-License-Identifier: MIT */
/* The final tables: what stands where, loading them, TLB shootdown. */
#include "mem/frame.h"
#include "mem/vmap_internal.h"
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "smp/ipi.h"

struct vmap vmap = {.lock = SPINLOCK_INIT("vmap", LOCK_VMAP)};

/*
 * Eight memory types chosen by the bits PAT, PCD, PWT of an entry (SDM 3A 11.12). As after reset,
 * but the second (PWT alone) is WC in place of WT, which nobody uses: so no entry needs the PAT
 * bit, which stands elsewhere in large pages.
 */
#define PAT_WB	    6ull
#define PAT_WC	    1ull
#define PAT_UCMINUS 7ull
#define PAT_UC	    0ull
#define PAT_HALF    (PAT_WB | PAT_WC << 8 | PAT_UCMINUS << 16 | PAT_UC << 24)
#define PAT_VALUE   (PAT_HALF | PAT_HALF << 32)

#define CPUID_EXTENDED	    0x80000000u
#define CPUID_FEATURES	    0x80000001u
#define CPUID_ADDRESS_SIZES 0x80000008u
#define CPUID_EDX_PAGE1GB   BIT(26)

u64 vmap_phys_end(void)
{
	u32 bits = 36;

	if (cpuid(CPUID_EXTENDED, 0).eax >= CPUID_ADDRESS_SIZES)
		bits = cpuid(CPUID_ADDRESS_SIZES, 0).eax & 0xff;
	return BIT(min(bits, 52u));
}

static u32 largest_leaf(void)
{
	if (cpuid(CPUID_EXTENDED, 0).eax < CPUID_FEATURES)
		return 2;
	return cpuid(CPUID_FEATURES, 0).edx & CPUID_EDX_PAGE1GB ? 3 : 2;
}

static int map_image(void)
{
	struct vmap_section s[VMAP_SECTIONS];

	vmap_image_sections(s);
	for (u32 i = 0; i < VMAP_SECTIONS; i++) {
		int err = pagetable_map(&vmap.pt, s[i].va, s[i].hpa, s[i].size, s[i].flags);

		if (err)
			return err;
	}
	vmap.read_only = (struct mem_range){s[0].hpa.v, s[1].hpa.v + s[1].size};
	return 0;
}

/* Whether r has start; next becomes where that changes, if it does before. */
static bool within(const struct mem_range *r, u64 start, u64 *next)
{
	bool after = start >= r->start, inside = after && start < r->end;

	if (!after)
		*next = min(*next, r->start);
	else if (inside)
		*next = min(*next, r->end);
	return inside;
}

/*
 * RW, but for Weir's text and rodata: those are cut out and mapped R. So is what is not write-back:
 * no leaf may show memory of two types (SDM 3A 11.11.9), and UC is one whatever the MTRRs say.
 */
static int map_direct_range(u64 start, u64 end, const struct vmap_uncached *uncached)
{
	while (start < end) {
		u64 next = end, flags = PTE_NX;
		int err;

		if (!within(&vmap.read_only, start, &next))
			flags |= PTE_WRITE;
		for (u32 i = 0; i < uncached->count; i++) {
			if (within(&uncached->ranges[i], start, &next) && !uncached->in_use)
				flags |= PTE_PCD | PTE_PWT;
		}
		err = pagetable_map(&vmap.pt, DIRECT_MAP_BASE + start, HPA(start), next - start,
				    flags);
		if (err)
			return err;
		start = next;
	}
	return 0;
}

/*
 * RAM only: what lies between may be devices, whose memory type is not ours to contradict. The
 * first MiB is shown whole, by 4 KiB pages since its fixed MTRRs differ (SDM 3A 11.11.9).
 */
static int map_direct(u64 top, const struct vmap_uncached *uncached)
{
	u32 count;
	const struct mem_range *ram = frame_ram(&count);

	for (u64 a = 0; a < MEMMAP_LOW_END; a += PAGE_SIZE) {
		int err = map_direct_range(a, a + PAGE_SIZE, uncached);

		if (err)
			return err;
	}
	for (u32 i = 0; i < count; i++) {
		u64 end = min(ram[i].end, align_down(top, PAGE_SIZE));
		int err = map_direct_range(max(ram[i].start, MEMMAP_LOW_END), end, uncached);

		if (err)
			return err;
	}
	return 0;
}

int vmap_init(u64 top_of_ram, const struct vmap_uncached *uncached)
{
	int err;

	vmap.phys_end = vmap_phys_end();
	vmap_area_init();
	err = pagetable_init(&vmap.pt, largest_leaf());
	if (!err)
		err = map_image();
	if (!err)
		err = map_direct(min(top_of_ram, vmap.phys_end), uncached);
	return err;
}

u64 vmap_cr3(void)
{
	return vmap.pt.root.v;
}

/*
 * A change of the PAT asks for empty caches and TLBs (SDM 3A 11.12.4). Only the entry for WT
 * changes, which no mapping had until now; loading CR3 empties the TLB.
 */
void vmap_init_cpu(void)
{
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	wrmsr(MSR_IA32_PAT, PAT_VALUE);
	write_cr3(vmap.pt.root.v);
}

/* --- Shootdown ----------------------------------------------------------------------------- */

/* From so many pages on, reloading CR3 is cheaper (no mapping is global). */
#define FLUSH_PAGES_MAX 32

static void flush_here(void *arg)
{
	const struct mem_range *r = arg;

	if (r->end - r->start > FLUSH_PAGES_MAX * PAGE_SIZE) {
		write_cr3(read_cr3());
		return;
	}
	/* Each also forgets what is cached of the tables above (SDM 3A 4.10.4.1). */
	for (u64 va = r->start; va < r->end; va += PAGE_SIZE)
		invlpg((const void *)va);
}

bool vmap_can_flush(void)
{
	return cpu_count() == 1 || irq_enabled();
}

void vmap_flush(u64 va, u64 size)
{
	struct mem_range r = {va, va + size};

	BUG_ON(!vmap_can_flush());
	if (cpu_count() == 1)
		flush_here(&r);
	else
		ipi_call_all(flush_here, &r);
}

void vmap_free_frames(struct list *frames)
{
	while (!list_empty(frames)) {
		struct frame *f = list_first(frames, struct frame, link);

		list_del(&f->link);
		frame_free(frame_pfn(f), 0);
	}
}
