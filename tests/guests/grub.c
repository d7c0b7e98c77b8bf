/* SPDX-License-Identifier: MIT */
/*
 * A guest that is a PC with a BIOS (grub_bios.S) and starts its disk's boot sector in real mode:
 * GRUB, as Debian packages it (tests/lab/grub.py). For each service that it asks of the BIOS GRUB
 * goes from protected mode to real mode and back. A module is the disk, and the guest's words end
 * in what is typed: keys=...
 */
#include "guest.h"

#define BIOS	     0x9e000u
#define BIOS_SEGMENT (BIOS >> 4)
#define BOOT_SECTOR  0x7c00u
#define SECTOR	     512u
#define HIGH	     0x100000u
#define KEYS_MAX     63u

#define PIT	 0x40
#define PIT_MODE 0x43
#define TICKS	 8192 /* of 1.19 MHz */
#define COM1	 0x3f8
#define LINE_8N1 3

/* What a BIOS leaves behind in its data area. */
#define BDA_COM1      0x400u
#define BDA_EBDA      0x40eu
#define BDA_EQUIPMENT 0x410u
#define BDA_LOW_KIB   0x413u
#define BDA_MODE      0x449u
#define BDA_COLUMNS   0x44au
#define BDA_CRTC      0x463u
#define BDA_DISKS     0x475u
#define BDA_ROWS      0x484u
#define BDA_END	      0x500u

struct vector {
	u16 number, offset;
};

struct module {
	u32 start, end;
};

struct info {
	u32 flags, mem_lower, mem_upper, boot_device;
	const char *words;
	u32 modules;
	const struct module *module;
};
#define INFO_WORDS   (1u << 2)
#define INFO_MODULES (1u << 3)

extern const u8 bios[], bios_end[], bios_disk[], bios_sectors[], bios_ram[], bios_keys[];
extern const struct vector bios_vectors[];
void __attribute__((noreturn)) grub_boot(void);

static void copy(u32 to, const u8 *from, u32 n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
}

static void put8(u32 at, u8 v)
{
	__asm__ volatile("movb %1, (%0)" ::"r"(at), "q"(v) : "memory");
}

static void put16(u32 at, u16 v)
{
	__asm__ volatile("movw %1, (%0)" ::"r"(at), "r"(v) : "memory");
}

/* A variable of the BIOS, where it runs. */
static void put32(const u8 *variable, u32 v)
{
	u32 at = BIOS + (u32)(variable - bios);

	__asm__ volatile("movl %1, (%0)" ::"r"(at), "r"(v) : "memory");
}

/* The disk goes to the top of memory, and the BIOS does not tell of that. */
static u32 make_disk(const struct info *info)
{
	u32 from = info->module->start, size = info->module->end - from;
	u32 disk = (HIGH + (info->mem_upper << 10) - size) & ~0xffffu;

	if (info->module->end > disk) {
		check("there is room for the disk", false);
		guest_end();
	}
	put32(bios_disk, disk);
	put32(bios_sectors, size / SECTOR);
	put32(bios_ram, disk - HIGH);
	copy(disk, (const u8 *)from, size);
	return disk;
}

static void make_vectors(void)
{
	u16 nothing = 0;

	for (const struct vector *v = bios_vectors; v->offset; v++) {
		if (v->number == 0x1c)
			nothing = v->offset;
	}
	for (u32 i = 0; i < 256; i++) {
		put16(4 * i, nothing);
		put16(4 * i + 2, BIOS_SEGMENT);
	}
	for (const struct vector *v = bios_vectors; v->offset; v++)
		put16(4u * v->number, v->offset);
}

static void make_data_area(void)
{
	for (u32 at = BDA_COM1; at < BDA_END; at++)
		put8(at, 0);
	put16(BDA_COM1, COM1);
	put16(BDA_EBDA, BIOS_SEGMENT);
	put16(BDA_EQUIPMENT,
	      0x0221); /* a disk drive's controller, text of 80 columns, a serial line */
	put16(BDA_LOW_KIB, BIOS >> 10);
	put8(BDA_MODE, 3);
	put16(BDA_COLUMNS, 80);
	put16(BDA_CRTC, 0x3d4);
	put8(BDA_DISKS, 1);
	put8(BDA_ROWS, 24);
}

/*
 * Vectors as IBM chose them, the timer alone unmasked: it comes oft enough to meet GRUB between two
 * modes.
 */
static void make_interrupts(void)
{
	pics_init(0x08, 0x70, 0xfe);
	outb(PIT_MODE, 0x36);
	outb(PIT, TICKS & 0xff);
	outb(PIT, TICKS >> 8);
}

/* What follows the equals sign; `~` is the enter key. */
static void type(const char *words)
{
	u32 to = BIOS + (u32)(bios_keys - bios);

	while (*words && *words++ != '=')
		;
	for (u32 i = 0; i < KEYS_MAX && words[i]; i++)
		put8(to + i, words[i] == '~' ? '\r' : (u8)words[i]);
}

void main(u32 magic, const struct info *info)
{
	u32 disk;

	(void)magic;
	outb(COM1 + 3, LINE_8N1); /* on a bare CPU nobody else has set it */
	if (!(info->flags & INFO_MODULES) || !info->modules) {
		check("a module is the disk", false);
		guest_end();
	}
	copy(BIOS, bios, (u32)(bios_end - bios));
	if (info->flags & INFO_WORDS)
		type(info->words);
	disk = make_disk(info);
	make_vectors();
	make_data_area();
	make_interrupts();
	copy(BOOT_SECTOR, (const u8 *)disk, SECTOR);
	grub_boot();
}
