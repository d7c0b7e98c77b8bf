/* SPDX-License-Identifier: MIT */
/*
 * Starts an uncompressed Linux kernel by its PVH entry: in an emulator that is a minute quicker than
 * to have a compressed one unpack itself. GRUB loads this as a multiboot2 kernel with two modules,
 * the kernel with its command line and the initramfs. Both are first moved out of the kernel's way.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef uint8_t u8;

#define COM1		0x3f8
#define COM_STATUS	(COM1 + 5)
#define COM_MAY_SEND	0x20
#define MULTIBOOT2	0x36d76289u
#define TAG_MODULE	3
#define TAG_MEMORY_MAP	6
#define PT_LOAD		1
#define PT_NOTE		4
#define NOTE_PVH_ENTRY	18
#define PVH_MAGIC	0x336ec578u
#define MAP_MAX		32
#define CMDLINE_SIZE	1024
#define PAGE_SIZE	4096u
#define align_up(v, to) (((v) + (to)-1) & ~((to)-1))

struct tag {
	u32 type, size;
};

struct module {
	struct tag tag;
	u32 start, end;
	char words[];
};

struct map_entry {
	u64 start, size;
	u32 type, zero;
};

struct memory_map {
	struct tag tag;
	u32 entry_size, version;
	u8 entries[];
};

struct elf_header {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum;
};

struct elf_segment {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};

struct elf_note {
	u32 name_size, size, type;
};

/* Xen's include/public/arch-x86/hvm/start_info.h, version 1. */
static struct {
	u32 magic, version, flags, modules;
	u64 module_list, cmdline, rsdp, map;
	u32 map_entries, zero;
} start_info;
static struct {
	u64 start, size, cmdline, zero;
} initramfs;
static struct map_entry map[MAP_MAX];
static char cmdline[CMDLINE_SIZE];

extern u8 image_end[];
void jump(u32 entry, u32 ebx) __attribute__((noreturn));

static void put(char c)
{
	u8 status;

	do
		__asm__ volatile("inb %1, %0" : "=a"(status) : "Nd"((u16)COM_STATUS));
	while (!(status & COM_MAY_SEND));
	__asm__ volatile("outb %0, %1" ::"a"(c), "Nd"((u16)COM1));
}

static void __attribute__((noreturn)) refuse(const char *why)
{
	for (const char *c = "pvh: "; *c; c++)
		put(*c);
	for (; *why; why++)
		put(*why);
	put('\n');
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Upwards, in words; the rest of the last word comes with it. */
static void copy(u32 to, u32 from, u32 size)
{
	u32 words = align_up(size, 4u) / 4;

	__asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(words)::"memory");
}

static void zero(u32 at, u32 size)
{
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(0) : "memory");
}

static void read_map(const struct memory_map *m)
{
	const u8 *end = (const u8 *)m + m->tag.size;

	for (const u8 *e = m->entries; e < end; e += m->entry_size) {
		if (start_info.map_entries == MAP_MAX)
			refuse("the memory map has too many entries");
		map[start_info.map_entries] = *(const struct map_entry *)e;
		map[start_info.map_entries++].zero = 0;
	}
}

static bool is_ram(u32 start, u32 end)
{
	for (u32 i = 0; i < start_info.map_entries; i++) {
		if (map[i].type == 1 && map[i].start <= start && map[i].start + map[i].size >= end)
			return true;
	}
	return false;
}

static u32 pvh_entry(u32 elf, const struct elf_segment *s)
{
	u32 at = elf + (u32)s->offset, end = at + (u32)s->filesz;

	while (at + sizeof(struct elf_note) <= end) {
		const struct elf_note *n = (const struct elf_note *)at;
		u32 contents = at + sizeof(*n) + align_up(n->name_size, 4u);

		if (n->type == NOTE_PVH_ENTRY)
			return *(const u32 *)contents;
		at = contents + align_up(n->size, 4u);
	}
	return 0;
}

static const struct elf_segment *segment(u32 elf, u32 i)
{
	const struct elf_header *h = (const struct elf_header *)elf;

	return (const struct elf_segment *)(elf + (u32)h->phoff + i * h->phentsize);
}

static u32 load(u32 elf)
{
	const struct elf_header *h = (const struct elf_header *)elf;
	u32 entry = 0;

	for (u32 i = 0; i < h->phnum; i++) {
		const struct elf_segment *s = segment(elf, i);

		if (s->type == PT_NOTE && !entry)
			entry = pvh_entry(elf, s);
		if (s->type != PT_LOAD)
			continue;
		copy((u32)s->paddr, elf + (u32)s->offset, (u32)s->filesz);
		zero((u32)(s->paddr + s->filesz), (u32)(s->memsz - s->filesz));
	}
	if (!entry)
		refuse("the kernel has no PVH entry");
	return entry;
}

static u32 end_of_kernel(u32 elf)
{
	const struct elf_header *h = (const struct elf_header *)elf;
	u32 end = 0;

	if (*(const u32 *)h->ident != 0x464c457f || h->ident[4] != 2)
		refuse("the first module is no 64-bit ELF image");
	for (u32 i = 0; i < h->phnum; i++) {
		const struct elf_segment *s = segment(elf, i);

		if (s->type == PT_LOAD && s->paddr + s->memsz > end)
			end = (u32)(s->paddr + s->memsz);
	}
	return end;
}

static void take_words(const char *from)
{
	u32 i = 0;

	do {
		if (i == CMDLINE_SIZE)
			refuse("the command line is too long");
		cmdline[i] = from[i];
	} while (from[i++]);
}

/* Above everything that is in use, and that the kernel's segments will use. */
static u32 free_place(const struct module *kernel, const struct module *initrd, u32 info_end)
{
	u32 place = end_of_kernel(kernel->start);

	if (place < (u32)image_end)
		place = (u32)image_end;
	if (place < kernel->end)
		place = kernel->end;
	if (place < initrd->end)
		place = initrd->end;
	if (place < info_end)
		place = info_end;
	return align_up(place, PAGE_SIZE);
}

static void start_kernel(const struct module *kernel, const struct module *initrd, u32 info_end)
{
	u32 kernel_size = kernel->end - kernel->start, initrd_size = initrd->end - initrd->start;
	u32 at = free_place(kernel, initrd, info_end);
	u32 elf = at + align_up(initrd_size, PAGE_SIZE);

	if (!is_ram(at, elf + kernel_size))
		refuse("there is too little memory");
	take_words(kernel->words);
	copy(at, initrd->start, initrd_size);
	copy(elf, kernel->start, kernel_size);
	initramfs.start = at;
	initramfs.size = initrd_size;
	start_info.magic = PVH_MAGIC;
	start_info.version = 1;
	start_info.modules = 1;
	start_info.module_list = (u32)&initramfs;
	start_info.cmdline = (u32)cmdline;
	start_info.map = (u32)map;
	jump(load(elf), (u32)&start_info);
}

void main(u32 magic, u32 info)
{
	const struct module *modules[2] = {NULL};
	u32 end = info + *(const u32 *)info, count = 0;

	if (magic != MULTIBOOT2)
		refuse("it was not loaded by multiboot2");
	for (u32 at = info + 8; at < end;) {
		const struct tag *t = (const struct tag *)at;

		if (t->type == TAG_MODULE && count < 2)
			modules[count++] = (const struct module *)t;
		if (t->type == TAG_MEMORY_MAP)
			read_map((const struct memory_map *)t);
		at += align_up(t->size, 8u);
	}
	if (count < 2)
		refuse("a kernel and an initramfs are wanted as modules");
	start_kernel(modules[0], modules[1], end);
}
