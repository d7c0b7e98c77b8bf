/* SPDX-License-Identifier: MIT */
/*
 * Multiboot 1 (the GNU specification, version 0.6.96): an ELF image or one with the a.out-kludge
 * addresses, started in flat protected mode with EAX a magic and EBX at an information block. The
 * block stands outside page 0, since some guests take a pointer below 4 KiB for none.
 */
#include "kernel/guest/load.h"
#include "kernel/guest/memory.h"

#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

#define HEADER_MAGIC	     0x1badb002u
#define HEADER_SEARCH	     8192
#define LOADER_MAGIC	     0x2badb002u
#define HEADER_ALIGN_MODULES BIT(0)
#define HEADER_MEMORY	     BIT(1)
#define HEADER_VIDEO	     BIT(2) /* a wish: without a screen it stays unfulfilled */
#define HEADER_MUST_KNOW     0xffffu
#define HEADER_ADDRESSES     BIT(16)

#define INFO_MEMORY  BIT(0)
#define INFO_CMDLINE BIT(2)
#define INFO_MODULES BIT(3)
#define INFO_MMAP    BIT(6)
#define INFO_LOADER  BIT(9)

struct mb1_header {
	u32 magic, flags, checksum;
	u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};
static_assert(sizeof(struct mb1_header) == 32, "multiboot");
#define HEADER_SIZE_MIN 12

struct mb1_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	u32 syms[4];
	u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};
static_assert(sizeof(struct mb1_info) == 68, "multiboot");

struct mb1_module {
	u32 start, end, string, reserved;
};

struct mb1_mmap {
	u32 size; /* of what follows */
	u64 addr, length;
	u32 type;
} __attribute__((packed));
static_assert(sizeof(struct mb1_mmap) == 24, "multiboot");

#define STRING_MAX (CONFIG_NAME_MAX + CONFIG_CMDLINE_MAX)

/* The information and all it points to. */
struct mb1_block {
	struct mb1_info info;
	struct mb1_module modules[CONFIG_MODULES_MAX];
	struct mb1_mmap mmap[E820_MAP_MAX];
	char loader[8];
	char cmdline[STRING_MAX];
	char strings[CONFIG_MODULES_MAX][STRING_MAX];
};

#define SEARCH_AT_ONCE 512

/*
 * On a 4-byte boundary in the file's first 8 KiB, the three words adding up to zero. It is looked for
 * in copies of some of the file that overlap, so that it is whole in one of them.
 */
static bool find_header(const struct image *i, struct mb1_header *h, u64 *offset)
{
	u64 end = min(i->size, (u64)HEADER_SEARCH);
	u8 bytes[SEARCH_AT_ONCE];

	memset(h, 0, sizeof(*h));
	for (u64 at = 0; at + HEADER_SIZE_MIN <= end; at += sizeof(bytes) - HEADER_SIZE_MIN + 4) {
		u64 size = min(end - at, (u64)sizeof(bytes));

		if (!image_copy(i, at, bytes, size))
			return false;
		for (u64 in = 0; in + HEADER_SIZE_MIN <= size; in += 4) {
			memcpy(h, bytes + in, HEADER_SIZE_MIN);
			if (h->magic != HEADER_MAGIC || h->magic + h->flags + h->checksum != 0)
				continue;
			*offset = at + in;
			return !(h->flags & HEADER_ADDRESSES) ||
			       image_copy(i, *offset, h, sizeof(*h));
		}
	}
	return false;
}

bool multiboot1_probe(const struct image *i)
{
	struct mb1_header h;
	u64 offset;

	return find_header(i, &h, &offset);
}

/* The a.out kludge (3.1.3): the header says where the file's bytes go. */
static int load_by_addresses(struct load *l, const struct mb1_header *h, u64 offset, u64 *entry)
{
	u64 into = (u64)h->header_addr - h->load_addr;
	u64 file_start, size, memory;

	if (h->load_addr > h->header_addr || into > offset)
		return load_fail(l, ERR_INVAL,
				 "its multiboot load address 0x%x lies before the file's start: "
				 "the header is damaged",
				 h->load_addr);
	file_start = offset - into;
	size = l->kernel.size - file_start;
	if (h->load_end_addr) {
		if (h->load_end_addr < h->load_addr || h->load_end_addr - (u64)h->load_addr > size)
			return load_fail(l, ERR_INVAL,
					 "its multiboot load end 0x%x is not inside the file: the "
					 "header is damaged, or the file is cut",
					 h->load_end_addr);
		size = h->load_end_addr - h->load_addr;
	}
	memory = size;
	if (h->bss_end_addr > h->load_addr)
		memory = max(memory, (u64)h->bss_end_addr - h->load_addr);
	if (h->entry_addr < h->load_addr || h->entry_addr >= h->load_addr + memory)
		return load_fail(l, ERR_INVAL,
				 "its multiboot entry point 0x%x is outside what is loaded: the "
				 "header is damaged",
				 h->entry_addr);
	if (layout_reserve(&l->layout, h->load_addr, memory))
		return load_fail(l, ERR_RANGE,
				 "its multiboot image at 0x%x, %llu KiB, is not in free guest RAM: "
				 "raise mem=, or link it from 1 MiB",
				 h->load_addr, (unsigned long long)(memory >> 10));
	*entry = h->entry_addr;
	return load_write_image(l, h->load_addr, &l->kernel, file_start, size);
}

/* One module of the block, page-aligned: the kernel may ask for that (flag 0) or not mind. */
static int load_one_module(struct load *l, struct mb1_block *b, u64 at,
			   const struct config_module *m)
{
	u32 n = b->info.mods_count++;
	struct image i = image_of_module(m);
	u64 gpa;

	if (layout_alloc_low(&l->layout, i.size, PAGE_SIZE, MIB(1), &gpa))
		return load_fail(l, ERR_NOMEM, "a module of %llu KiB does not fit: raise mem=",
				 (unsigned long long)(i.size >> 10));
	snprintf(b->strings[n], STRING_MAX, "module%u%s%s", n, m->cmdline[0] ? " " : "",
		 m->cmdline);
	b->modules[n] = (struct mb1_module){
		.start = (u32)gpa,
		.end = (u32)(gpa + i.size),
		.string = (u32)(at + offsetof(struct mb1_block, strings) + n * STRING_MAX),
	};
	return load_write_image(l, gpa, &i, 0, i.size);
}

static int load_modules(struct load *l, struct mb1_block *b, u64 at)
{
	int err = 0;

	for (u32 i = 0; i < l->config->module_count && !err; i++) {
		if (l->config->modules[i].kind != CONFIG_KERNEL)
			err = load_one_module(l, b, at, &l->config->modules[i]);
	}
	return err;
}

static int write_info(struct load *l, u64 *gpa)
{
	static struct mb1_block b; /* boot thread only */
	struct e820_entry map[E820_MAP_MAX];
	u64 at;
	u32 n;
	int err;

	if (layout_alloc_low(&l->layout, sizeof(b), PAGE_SIZE, PAGE_SIZE, &at))
		return load_fail(l, ERR_NOMEM, "no room for its multiboot information: raise mem=");
	memset(&b, 0, sizeof(b));
	n = layout_e820(&l->layout, map);
	for (u32 i = 0; i < n; i++)
		b.mmap[i] = (struct mb1_mmap){sizeof(b.mmap[i]) - sizeof(b.mmap[i].size),
					      map[i].addr, map[i].size, map[i].type};
	/* By the specification the command line starts with the image's name. */
	snprintf(b.cmdline, sizeof(b.cmdline), "%s%s%s", l->config->name, l->cmdline[0] ? " " : "",
		 l->cmdline);
	strlcpy(b.loader, "Weir", sizeof(b.loader));
	b.info.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER;
	b.info.mem_lower = GUEST_LOW_USABLE_TOP >> 10;
	b.info.mem_upper = (u32)((l->layout.low_top - MIB(1)) >> 10);
	b.info.cmdline = (u32)(at + offsetof(struct mb1_block, cmdline));
	b.info.mods_addr = (u32)(at + offsetof(struct mb1_block, modules));
	b.info.mmap_addr = (u32)(at + offsetof(struct mb1_block, mmap));
	b.info.mmap_length = (u32)(n * sizeof(b.mmap[0]));
	b.info.boot_loader_name = (u32)(at + offsetof(struct mb1_block, loader));
	err = load_modules(l, &b, at);
	*gpa = at;
	return err ? err : load_write(l, at, &b, sizeof(b));
}

int multiboot1_load(struct load *l)
{
	const u32 known = HEADER_ALIGN_MODULES | HEADER_MEMORY | HEADER_VIDEO;
	struct elf_summary elf = {0};
	struct mb1_header h;
	u64 offset, entry = 0, info = 0;
	int err;

	if (!find_header(&l->kernel, &h, &offset))
		return load_fail(l, ERR_INVAL, "its multiboot header is damaged");
	if (h.flags & HEADER_MUST_KNOW & ~known)
		return load_fail(l, ERR_NOTSUP,
				 "its multiboot header demands flags 0x%x: known are 0x%x",
				 h.flags & HEADER_MUST_KNOW, known);
	if (h.flags & HEADER_ADDRESSES) {
		err = load_by_addresses(l, &h, offset, &entry);
	} else {
		err = elf_load(l, &elf);
		entry = elf.entry;
		if (!err && (entry < elf.load_start || entry >= elf.load_end))
			err = load_fail(l, ERR_INVAL,
					"its entry point 0x%llx is outside what the file loads: "
					"link it at its physical address",
					(unsigned long long)entry);
	}
	if (!err)
		err = write_info(l, &info);
	if (!err)
		err = load_gdt(l, false);
	if (err)
		return err;
	l->start->mode = VMX_START_PROTECTED;
	l->start->rip = entry;
	l->start->rax = LOADER_MAGIC;
	l->start->rbx = info;
	return 0;
}
