/* SPDX-License-Identifier: MIT */
/* From the first C statement to kernel_main: a console, memory, the final page tables. */
#include "boot/boot.h"
#include "boot/multiboot2.h"
#include "kernel/base/boot_info.h"
#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/harden.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/mca.h"
#include "kernel/base/panic.h"
#include "kernel/base/pci_config.h"
#include "kernel/base/x86.h"
#include "kernel/main.h"
#include "kernel/version.h"
#include "mem/frame.h"
#include "mem/memmap.h"
#include "mem/mtrr.h"
#include "mem/slab.h"
#include "mem/vmap.h"
#include "smp/cpu.h"
#include "smp/ipi.h"
#include "smp/irq.h"

#define EARLY_MAP_END GIB(4)
#define RESERVED_MAX  (BOOT_MODULES_MAX + 2)

struct boot_info boot_info;

static struct memmap memmap;
static struct mem_range not_write_back[MTRR_RANGES_MAX];
static struct vmap_uncached uncached = {.ranges = not_write_back};

extern u8 image_text_start[], image_end[];

/* --- The end --- */

static const struct interrupt_frame *fault_of_this_cpu(void)
{
	return this_cpu()->fault;
}

static const struct panic_hooks panic_hooks = {
	.stop_others = ipi_stop_others,
	.fault = fault_of_this_cpu,
};

/* One of them may have been writing, or have held the log back. */
static void stop_before_poweroff(void)
{
	struct panic_others others;

	ipi_stop_others(&others);
	console_break_locks();
	log_release();
}

static void __noreturn refuse(const char *sentence)
{
	log_error("%s", sentence);
	halt_forever();
}

/* --- Memory --- */

static const char *memory_type(u32 type)
{
	static const char *const names[] = {
		[BOOT_MEM_AVAILABLE] = "RAM",
		[BOOT_MEM_RESERVED] = "reserved",
		[BOOT_MEM_ACPI_RECLAIM] = "ACPI tables",
		[BOOT_MEM_ACPI_NVS] = "ACPI NVS",
		[BOOT_MEM_BAD] = "defective",
	};

	return type < ARRAY_SIZE(names) && names[type] ? names[type] : "other";
}

static void show_boot_info(void)
{
	const struct boot_info *b = &boot_info;

	log_info("loaded by %s, %s, at %#llx-%#llx", b->loader[0] ? b->loader : "a nameless loader",
		 b->efi ? "UEFI" : "BIOS", (unsigned long long)b->image_start.v,
		 (unsigned long long)b->image_end.v);
	log_debug("command line: %s", b->cmdline);
	for (u32 i = 0; i < b->mmap_count; i++)
		log_debug("memory map: 0x%012llx + %#llx %s", (unsigned long long)b->mmap[i].base,
			  (unsigned long long)b->mmap[i].length, memory_type(b->mmap[i].type));
	for (u32 i = 0; i < b->module_count; i++)
		log_debug("module %u: %#llx + %#llx '%s'", i + 1,
			  (unsigned long long)b->modules[i].start.v,
			  (unsigned long long)b->modules[i].size, b->modules[i].cmdline);
	if (b->fb.present)
		log_debug("framebuffer: %ux%u, %u bits, at %#llx", b->fb.width, b->fb.height,
			  b->fb.bpp, (unsigned long long)b->fb.addr.v);
}

/* A module's contents are read through the direct map: where that has nothing there is none. */
static void check_modules(void)
{
	for (u32 i = 0; i < boot_info.module_count; i++) {
		struct boot_module *m = &boot_info.modules[i];

		if (memmap_shows(&memmap, m->start.v, m->size))
			continue;
		log_error("module %u at %#llx is not in the memory map's RAM: it counts as empty; "
			  "look for a 'cutmem' or 'badram' in GRUB's configuration",
			  i + 1, (unsigned long long)m->start.v);
		m->size = 0;
	}
}

static void warn_of_ranges(int err)
{
	log_warn("memory map: %s: more than %d free ranges, the rest is not used", error_name(err),
		 MEMMAP_RANGES_MAX);
}

/* What the firmware's memory type ranges leave uncached is some hundred times as slow. */
static void withhold_uncached(void)
{
	static struct mtrr_state mtrr;
	u64 bytes;
	int err;

	err = mtrr_read(&mtrr, rdmsr_safe);
	if (err == ERR_RANGE)
		log_warn("memory map: the firmware leaves all RAM uncached (MTRRs are off or "
			 "blank), so Weir will be slow: update the firmware");
	if (err)
		return;
	err = mtrr_withhold(&mtrr, &memmap, &bytes);
	uncached.count = mtrr_not_write_back(&mtrr, not_write_back);
	uncached.in_use = err == ERR_RANGE;
	if (bytes)
		log_warn("memory map: the firmware leaves %llu KiB of RAM uncached (MTRRs): %s; "
			 "update the firmware",
			 (unsigned long long)(bytes >> 10),
			 err == ERR_RANGE ? "too much to do without, so Weir will be slow"
					  : "not used");
	if (err == ERR_NOSPC)
		warn_of_ranges(err);
}

static void build_memmap(void)
{
	static struct mem_range reserved[RESERVED_MAX];
	const struct boot_info *b = &boot_info;
	u32 n = 0;
	int err;

	/* GRUB's information itself was copied and may go. */
	reserved[n++] = (struct mem_range){b->image_start.v, b->image_end.v};
	for (u32 i = 0; i < b->module_count; i++) {
		const struct boot_module *m = &b->modules[i];

		if (m->size)
			reserved[n++] = (struct mem_range){m->start.v, m->start.v + m->size};
	}
	if (b->fb.present)
		reserved[n++] = (struct mem_range){b->fb.addr.v,
						   b->fb.addr.v + (u64)b->fb.pitch * b->fb.height};
	err = memmap_build(&memmap, b->mmap, b->mmap_count, reserved, n);
	if (err)
		warn_of_ranges(err);
	if (memmap.ignored)
		log_warn("memory map: %u malformed entries of the firmware's are passed over",
			 memmap.ignored);
	if (memmap_clip(&memmap, vmap_phys_end()))
		log_warn("memory map: memory from %#llx on is not used: this processor has no "
			 "such addresses",
			 (unsigned long long)vmap_phys_end());
	withhold_uncached();
	check_modules();
	if (memmap.count == 0)
		refuse("Weir cannot start: GRUB's memory map shows no usable memory; look for a "
		       "'cutmem' or 'badram' in its configuration, or update the firmware.");
}

/*
 * What the firmware or GRUB used may still be receiving, into memory that frames are made of soon.
 * Under a hypervisor each of the many looks leaves the guest, and nothing found there receives.
 */
static void stop_network(void)
{
	u32 stopped = machine_has_hypervisor() ? 0 : pci_stop_network();

	if (stopped)
		log_info("PCI: %u network functions could still write to memory: stopped", stopped);
}

static void init_memory(void)
{
	struct frame_stats stats;
	bool shown;

	build_memmap();
	if (frame_init(&memmap))
		refuse("Weir cannot start: no room below 4 GiB for its table of memory frames; "
		       "load fewer or smaller modules.");
	slab_init();
	if (vmap_init(memmap.highest_ram, &uncached))
		refuse("Weir cannot start: no memory below 4 GiB for its page tables; load fewer "
		       "or smaller modules.");
	/* No more than the load itself is to be in the dark: a refusal, or a panic, has to be seen. */
	boot_console_unmap();
	vmap_init_cpu();
	shown = boot_console_map();
	frame_init_high();
	if (!shown && !boot_console_map()) /* there may be more memory now */
		log_warn("no room to map the screen: it stays as it is");
	cpu_harden();
	mca_init_cpu(rdmsr_safe, wrmsr_safe);
	frame_get_stats(&stats);
	log_info("memory: %llu MiB, %llu MiB free",
		 (unsigned long long)(stats.total >> (20 - PAGE_SHIFT)),
		 (unsigned long long)(stats.free >> (20 - PAGE_SHIFT)));
}

/* --- The way up --- */

static void read_boot_info(u32 magic, u64 info_phys)
{
	int err = ERR_CORRUPT;

	if (magic == MULTIBOOT2_MAGIC)
		err = multiboot2_parse(phys_to_virt(HPA(info_phys)), EARLY_MAP_END - info_phys,
				       &boot_info);
	boot_info.image_start = virt_to_phys(image_text_start);
	boot_info.image_end = virt_to_phys(image_end);
	boot_console_init();
	log_info("Weir " WEIR_VERSION);
	if (magic != MULTIBOOT2_MAGIC)
		refuse("Weir cannot start: its loader does not speak multiboot2; use GRUB's "
		       "'multiboot2' command, not 'multiboot' or 'kernel'.");
	if (err)
		refuse("Weir cannot start: GRUB's boot information is malformed; load it with "
		       "GRUB 2.02 or later.");
}

void __noreturn boot_main(u32 magic, u64 info_phys)
{
	u8 *stack;

	cpu_init_boot();
	log_set_cpu_id(cpu_id);
	panic_set_hooks(&panic_hooks);
	machine_set_stop_others(stop_before_poweroff);
	read_boot_info(magic, info_phys);
	show_boot_info();
	harden_show_cpuid(rdmsr_safe, wrmsr_safe);
	if (harden_enable_nx(rdmsr_safe, wrmsr_safe))
		refuse("Weir cannot start: this processor has no no-execute pages (NX), or they "
		       "are switched off; look for 'Execute Disable Bit', 'XD' or 'NX' among the "
		       "processor settings of the firmware's setup.");
	stop_network(); /* before the first frame is used */
	init_memory();
	stack = vmap_stack_alloc(STACK_PAGES);
	if (!stack)
		refuse("Weir cannot start: no memory for its first stack; load fewer or smaller "
		       "modules.");
	boot_switch_stack(stack + STACK_PAGES * PAGE_SIZE, kernel_main);
}
