/* SPDX-License-Identifier: MIT */
/*
 * PVH: an ELF image whose Xen note 18 gives a 32-bit entry point, started in flat protected mode
 * with EBX at a start_info structure (Xen's public header arch-x86/hvm/start_info.h).
 */
#include "kernel/guest/load.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"

#define START_MAGIC   0x336ec578u
#define START_VERSION 1
#define INITRD_LIMIT  0x80000000ull

struct pvh_start {
	u32 magic, version, flags, module_count;
	u64 modules, cmdline, rsdp, memmap;
	u32 memmap_entries, reserved;
};
static_assert(sizeof(struct pvh_start) == 56, "PVH");

struct pvh_module {
	u64 start, size, cmdline, reserved;
};
static_assert(sizeof(struct pvh_module) == 32, "PVH");

struct pvh_memmap {
	u64 addr, size;
	u32 type, reserved;
};
static_assert(sizeof(struct pvh_memmap) == 24, "PVH");

/* Everything that start_info points to stands behind it in one block. */
struct pvh_block {
	struct pvh_start start;
	struct pvh_module module;
	struct pvh_memmap memmap[E820_MAP_MAX];
	char cmdline[CONFIG_CMDLINE_MAX];
};

bool pvh_probe(const struct image *i)
{
	u32 entry;

	return elf_pvh_entry(i, &entry);
}

static int write_block(struct load *l, u64 initrd, u64 initrd_size, u64 *gpa)
{
	static struct pvh_block b; /* boot thread only */
	struct e820_entry map[E820_MAP_MAX];
	u64 at;

	if (layout_alloc_low(&l->layout, sizeof(b), PAGE_SIZE, PAGE_SIZE, &at))
		return load_fail(l, ERR_NOMEM, "no room for its start information: raise mem=");
	memset(&b, 0, sizeof(b));
	b.start = (struct pvh_start){
		.magic = START_MAGIC,
		.version = START_VERSION,
		.module_count = initrd_size ? 1 : 0,
		.modules = initrd_size ? at + offsetof(struct pvh_block, module) : 0,
		.cmdline = at + offsetof(struct pvh_block, cmdline),
		.rsdp = l->rsdp,
		.memmap = at + offsetof(struct pvh_block, memmap),
		.memmap_entries = layout_e820(&l->layout, map),
	};
	b.module = (struct pvh_module){.start = initrd, .size = initrd_size};
	for (u32 i = 0; i < b.start.memmap_entries; i++)
		b.memmap[i] = (struct pvh_memmap){map[i].addr, map[i].size, map[i].type, 0};
	strlcpy(b.cmdline, l->cmdline, sizeof(b.cmdline));
	*gpa = at;
	return load_write(l, at, &b, sizeof(b));
}

int pvh_load(struct load *l)
{
	struct elf_summary elf;
	u64 initrd, initrd_size, block = 0;
	u32 entry;
	int err;

	if (!elf_pvh_entry(&l->kernel, &entry))
		return load_fail(l, ERR_INVAL, "its ELF file has no PVH note");
	err = elf_load(l, &elf);
	if (err)
		return err;
	if (entry < elf.load_start || entry >= elf.load_end)
		return load_fail(l, ERR_INVAL,
				 "its PVH entry point 0x%x is outside what the file loads: the "
				 "file is damaged",
				 entry);
	err = load_initrd(l, INITRD_LIMIT, &initrd, &initrd_size);
	if (!err)
		err = write_block(l, initrd, initrd_size, &block);
	if (!err)
		err = load_gdt(l, false);
	if (err)
		return err;
	l->start->mode = VMX_START_PROTECTED;
	l->start->rip = entry;
	l->start->rbx = block;
	return 0;
}
