/* SPDX-License-Identifier: MIT */
/*
 * bzImage by Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst in Linux): the setup
 * header is checked field by field, a zero page is filled, and the guest starts in long mode at
 * the protected-mode code plus 0x200, on identity page tables of the first 4 GiB.
 */
#include "kernel/guest/load.h"
#include "kernel/guest/memory.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"

#define SETUP_HEADER	     0x1f1
#define SETUP_MAGIC	     0x53726448u /* "HdrS" */
#define SETUP_BOOT_FLAG	     0xaa55
#define SETUP_VERSION_MIN    0x020c /* xloadflags */
#define SETUP_SECTS_DEFAULT  4
#define SECTOR		     512
#define PARAGRAPH	     16	  /* what syssize counts */
#define SHORT_JUMP	     0xeb /* at 0x200; the byte behind it is the distance from 0x202 */
#define SHORT_JUMP_MAX	     0x7f
#define LOADED_HIGH	     BIT(0)
#define XLF_KERNEL_64	     BIT(0)
#define LOADER_UNDEFINED     0xff
#define ENTRY_64	     0x200
#define SUBARCH_PC	     0
#define ZERO_PAGE_HEADER_MAX (0x290 - SETUP_HEADER)

struct setup_header {
	u8 setup_sects;
	u16 root_flags;
	u32 syssize;
	u16 ram_size, vid_mode, root_dev, boot_flag, jump;
	u32 header;
	u16 version;
	u32 realmode_swtch;
	u16 start_sys_seg, kernel_version;
	u8 type_of_loader, loadflags;
	u16 setup_move_size;
	u32 code32_start, ramdisk_image, ramdisk_size, bootsect_kludge;
	u16 heap_end_ptr;
	u8 ext_loader_ver, ext_loader_type;
	u32 cmd_line_ptr, initrd_addr_max, kernel_alignment;
	u8 relocatable_kernel, min_alignment;
	u16 xloadflags;
	u32 cmdline_size, hardware_subarch;
	u64 hardware_subarch_data;
	u32 payload_offset, payload_length;
	u64 setup_data, pref_address;
	u32 init_size, handover_offset;
} __attribute__((packed));
static_assert(offsetof(struct setup_header, header) == 0x202 - SETUP_HEADER, "boot protocol");
static_assert(offsetof(struct setup_header, init_size) == 0x260 - SETUP_HEADER, "boot protocol");
static_assert(sizeof(struct setup_header) == 0x268 - SETUP_HEADER, "boot protocol");
static_assert(0x202 + SHORT_JUMP_MAX - SETUP_HEADER <= ZERO_PAGE_HEADER_MAX, "boot protocol");

/* Linux's struct boot_params, the zero page, as far as it is filled here. */
struct zero_page {
	u8 screen_and_apm[0x70];
	u64 acpi_rsdp_addr;
	u8 other[0x1e8 - 0x78];
	u8 e820_entries;
	u8 unused[SETUP_HEADER - 0x1e9];
	u8 header[ZERO_PAGE_HEADER_MAX];
	u8 mbr_signatures[0x2d0 - 0x290];
	struct e820_entry e820[128];
	u8 rest[0x1000 - 0x2d0 - 128 * 20];
} __attribute__((packed));
static_assert(sizeof(struct zero_page) == 4096, "boot protocol");
static_assert(offsetof(struct zero_page, e820) == 0x2d0, "boot protocol");

bool bzimage_probe(const struct image *i)
{
	struct setup_header h;

	return image_copy(i, SETUP_HEADER, &h, sizeof(h)) && h.boot_flag == SETUP_BOOT_FLAG &&
	       h.header == SETUP_MAGIC;
}

/* Where the protected-mode code begins in the file. */
static u64 kernel_offset(const struct setup_header *h)
{
	return ((u64)(h->setup_sects ? h->setup_sects : SETUP_SECTS_DEFAULT) + 1) * SECTOR;
}

/* How long the header is: up to where its jump goes. */
static u64 header_size(const struct setup_header *h)
{
	return 0x202 + (h->jump >> 8) - SETUP_HEADER;
}

static int damaged(struct load *l, const char *field, u64 value)
{
	return load_fail(l, ERR_INVAL,
			 "its bzImage is damaged, %s cannot be 0x%llx: copy the file anew", field,
			 (unsigned long long)value);
}

/* What the kernel is and asks for. */
static int check_protocol(struct load *l, const struct setup_header *h)
{
	u64 length = strlen(l->cmdline);

	if (h->version < SETUP_VERSION_MIN)
		return load_fail(l, ERR_NOTSUP,
				 "its bzImage speaks boot protocol %u.%02u: 2.12 or later is "
				 "accepted (Linux 3.8)",
				 h->version >> 8, h->version & 0xff);
	if (!(h->loadflags & LOADED_HIGH))
		return load_fail(l, ERR_NOTSUP,
				 "its kernel is a zImage that loads low: build a bzImage");
	if (!(h->xloadflags & XLF_KERNEL_64))
		return load_fail(l, ERR_NOTSUP,
				 "its bzImage has no 64-bit entry point: take a 64-bit kernel");
	if (length > h->cmdline_size)
		return load_fail(l, ERR_RANGE,
				 "its command line of %llu bytes is longer than the kernel's %u: "
				 "shorten it",
				 (unsigned long long)length, h->cmdline_size);
	return 0;
}

/*
 * Lengths and places against each other and against the file. The last 16 bytes of the kernel need
 * not be there in full: syssize counts what is begun, too, and there are files that end in between.
 * A signature may stand behind them.
 */
static int check_sizes(struct load *l, const struct setup_header *h)
{
	u64 offset = kernel_offset(h), size = (u64)h->syssize * PARAGRAPH;

	if ((h->jump & 0xff) != SHORT_JUMP || h->jump >> 8 > SHORT_JUMP_MAX ||
	    header_size(h) < sizeof(*h))
		return damaged(l, "the jump over its setup header", h->jump);
	if (offset >= l->kernel.size)
		return load_fail(l, ERR_INVAL,
				 "its bzImage ends before the kernel begins: the file is cut");
	if (size > align_up(l->kernel.size - offset, (u64)PARAGRAPH))
		return load_fail(l, ERR_INVAL,
				 "its bzImage has %llu bytes of its kernel's %llu: the file is cut",
				 (unsigned long long)(l->kernel.size - offset),
				 (unsigned long long)size);
	if (size <= ENTRY_64)
		return damaged(l, "syssize", h->syssize);
	if (h->init_size < min(size, l->kernel.size - offset))
		return damaged(l, "init_size", h->init_size);
	if ((u64)h->payload_offset + h->payload_length > size)
		return damaged(l, "the end of its payload",
			       (u64)h->payload_offset + h->payload_length);
	if (h->pref_address > GUEST_LOWMEM_TOP)
		return damaged(l, "pref_address", h->pref_address);
	if (layout_never_holds(h->pref_address, h->init_size))
		return damaged(l, "init_size", h->init_size);
	if (!h->relocatable_kernel)
		return 0;
	if (!h->kernel_alignment || (h->kernel_alignment & (h->kernel_alignment - 1)))
		return damaged(l, "kernel_alignment", h->kernel_alignment);
	if (h->min_alignment >= 32 || BIT(h->min_alignment) > h->kernel_alignment)
		return damaged(l, "min_alignment", h->min_alignment);
	return 0;
}

/*
 * The whole kernel, with the room that it unpacks itself into, at its preferred address. One that
 * is loaded lower moves itself up there all the same (init_size in the protocol), so nothing lower
 * will do.
 */
static int place_kernel(struct load *l, const struct setup_header *h, u64 *base)
{
	u64 offset = kernel_offset(h), room = max((u64)h->init_size, l->kernel.size - offset);
	int err;

	*base = h->pref_address;
	err = layout_reserve(&l->layout, *base, room);
	if (err == ERR_EXIST && !h->relocatable_kernel)
		return load_fail(l, err,
				 "its bzImage loads at 0x%llx only, %llu MiB, over page 0 or "
				 "0x9f000-0xfffff: build it relocatable",
				 (unsigned long long)*base, (unsigned long long)(room >> 20) + 1);
	if (err &&
	    (!h->relocatable_kernel ||
	     layout_alloc_low(&l->layout, room, max((u64)h->kernel_alignment, (u64)PAGE_SIZE),
			      max(h->pref_address, (u64)MIB(1)), base)))
		return load_fail(l, ERR_NOMEM, "its bzImage needs %llu MiB from 0x%llx: raise mem=",
				 (unsigned long long)(room >> 20) + 1,
				 (unsigned long long)h->pref_address);
	return load_write_image(l, *base, &l->kernel, offset, l->kernel.size - offset);
}

#define PTE_PRESENT_WRITE 3ull
#define PTE_LARGE	  BIT(7)
#define IDENTITY_GIB	  4
#define TABLE_ENTRIES	  512

/* PML4, one PDPT, four page directories of 2 MiB pages. */
static int identity_tables(struct load *l, u64 *cr3)
{
	static u64 table[TABLE_ENTRIES]; /* boot thread only */
	u64 base;
	int err;

	if (layout_alloc_low(&l->layout, (2 + IDENTITY_GIB) * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE,
			     &base))
		return load_fail(l, ERR_NOMEM, "no room for its first page tables: raise mem=");
	*cr3 = base;
	memset(table, 0, sizeof(table));
	table[0] = (base + PAGE_SIZE) | PTE_PRESENT_WRITE;
	err = load_write(l, base, table, sizeof(table));
	for (u64 i = 0; i < IDENTITY_GIB; i++)
		table[i] = (base + (2 + i) * PAGE_SIZE) | PTE_PRESENT_WRITE;
	if (!err)
		err = load_write(l, base + PAGE_SIZE, table, sizeof(table));
	for (u64 g = 0; g < IDENTITY_GIB && !err; g++) {
		for (u64 i = 0; i < TABLE_ENTRIES; i++)
			table[i] = (GIB(g) + MIB(2) * i) | PTE_PRESENT_WRITE | PTE_LARGE;
		err = load_write(l, base + (2 + g) * PAGE_SIZE, table, sizeof(table));
	}
	return err;
}

/* The zero page: the file's setup header, then what the loader owes. */
static int fill_zero_page(struct load *l, struct setup_header *h, u64 base, u64 *gpa)
{
	static struct zero_page z; /* boot thread only */
	struct e820_entry map[E820_MAP_MAX];
	u64 initrd, initrd_size, cmdline, cmdline_size = strlen(l->cmdline) + 1;
	int err;

	memset(&z, 0, sizeof(z));
	if (!image_copy(&l->kernel, SETUP_HEADER, z.header, header_size(h)))
		return load_fail(l, ERR_INVAL, "its setup header is not inside the file");
	err = load_initrd(l, (u64)h->initrd_addr_max + 1, &initrd, &initrd_size);
	if (err)
		return err;
	if (layout_alloc_low(&l->layout, PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, gpa) ||
	    layout_alloc_low(&l->layout, cmdline_size, 16, PAGE_SIZE, &cmdline))
		return load_fail(l, ERR_NOMEM, "no room for its boot parameters: raise mem=");
	h->type_of_loader = LOADER_UNDEFINED;
	h->code32_start = (u32)base;
	h->cmd_line_ptr = (u32)cmdline;
	h->ramdisk_image = (u32)initrd;
	h->ramdisk_size = (u32)initrd_size;
	h->hardware_subarch = SUBARCH_PC;
	h->hardware_subarch_data = 0;
	h->setup_data = 0;
	memcpy(z.header, h, sizeof(*h));
	z.acpi_rsdp_addr = l->rsdp;
	z.e820_entries = (u8)layout_e820(&l->layout, map);
	memcpy(z.e820, map, z.e820_entries * sizeof(map[0]));
	err = load_write(l, cmdline, l->cmdline, cmdline_size);
	return err ? err : load_write(l, *gpa, &z, sizeof(z));
}

int bzimage_load(struct load *l)
{
	struct setup_header h;
	u64 base = 0, zero_page = 0, cr3 = 0;
	int err;

	if (!image_copy(&l->kernel, SETUP_HEADER, &h, sizeof(h)))
		return load_fail(l, ERR_INVAL, "its setup header is not inside the file");
	err = check_protocol(l, &h);
	if (!err)
		err = check_sizes(l, &h);
	if (!err)
		err = place_kernel(l, &h, &base);
	if (!err)
		err = identity_tables(l, &cr3);
	if (!err)
		err = fill_zero_page(l, &h, base, &zero_page);
	if (!err)
		err = load_gdt(l, true);
	if (err)
		return err;
	l->start->mode = VMX_START_LONG;
	l->start->rip = base + ENTRY_64;
	l->start->rsi = zero_page;
	l->start->cr3 = cr3;
	return 0;
}
