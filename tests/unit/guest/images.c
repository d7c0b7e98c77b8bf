/* SPDX-License-Identifier: MIT */
#include "images.h"

#include "kernel/base/string.h"

/* Two bytes of AML stand for the DSDT: its contents are iasl's affair. */
const u8 dsdt_aml[] = {'D', 'S', 'D', 'T'};
const u32 dsdt_aml_size = sizeof(dsdt_aml);

u8 image[IMAGE_SIZE];
struct vm_config config;
struct vmx_start start;

void put16(u64 at, u16 v)
{
	memcpy(image + at, &v, sizeof(v));
}

void put32(u64 at, u32 v)
{
	memcpy(image + at, &v, sizeof(v));
}

void put64(u64 at, u64 v)
{
	memcpy(image + at, &v, sizeof(v));
}

u32 ram32(u64 at)
{
	u32 v;

	memcpy(&v, test_ram + at, sizeof(v));
	return v;
}

u64 ram64(u64 at)
{
	u64 v;

	memcpy(&v, test_ram + at, sizeof(v));
	return v;
}

void fresh(u64 mem)
{
	memset(image, 0, sizeof(image));
	memset(&config, 0, sizeof(config));
	config.mem = mem;
}

void make_bzimage(void)
{
	fresh(MIB(64));
	image[0x1f1] = 2;
	put32(0x1f4, (sizeof(image) - BZ_OFFSET) / 16);
	put16(0x1fe, 0xaa55);
	put16(0x200, 0x66eb); /* jump over the header: it ends at 0x268 */
	put32(0x202, 0x53726448);
	put16(0x206, 0x020f);
	image[0x211] = 1;
	put32(0x22c, 0x7fffffff);
	put32(0x230, MIB(2));
	image[0x234] = 1;
	image[0x235] = 21;
	put16(0x236, 3);
	put32(0x238, 2047);
	put64(0x258, MIB(16));
	put32(0x260, MIB(8));
	memset(image + BZ_OFFSET, 0xc5, sizeof(image) - BZ_OFFSET);
}

void make_pvh(void)
{
	fresh(MIB(64));
	memcpy(image, "\177ELF\2\1\1", 7);
	put16(16, 2);  /* an executable file */
	put16(18, 62); /* for x86-64 */
	put64(24, 0xffffffff81000000ull);
	put64(32, 64);
	put16(54, 56);
	put16(56, 2);
	put32(64, 1); /* PT_LOAD */
	put64(64 + 8, CODE_AT);
	put64(64 + 24, MIB(16));
	put64(64 + 32, 0x2000);
	put64(64 + 40, 0x5000);
	put32(120, 4); /* PT_NOTE */
	put64(120 + 8, NOTE_AT);
	put64(120 + 32, 0x40);
	put32(NOTE_AT, 4);
	put32(NOTE_AT + 4, 4);
	put32(NOTE_AT + 8, 6); /* another note first */
	memcpy(image + NOTE_AT + 12, "Xen", 4);
	put32(NOTE_AT + 20, 4);
	put32(NOTE_AT + 24, 4);
	put32(NOTE_AT + 28, 18);
	memcpy(image + NOTE_AT + 32, "Xen", 4);
	put32(NOTE_AT + 36, MIB(16) + 0x10);
	memset(image + CODE_AT, 0x90, 0x2000);
}

void make_multiboot(void)
{
	const u32 flags = BIT(16) | 3;

	fresh(MIB(64));
	put32(MB_AT, 0x1badb002);
	put32(MB_AT + 4, flags);
	put32(MB_AT + 8, -(0x1badb002 + flags));
	put32(MB_AT + 12, MIB(1) + MB_AT);
	put32(MB_AT + 16, MIB(1));
	put32(MB_AT + 20, MIB(1) + 0x8000);
	put32(MB_AT + 24, MIB(1) + 0x20000);
	put32(MB_AT + 28, MIB(1) + 0x100);
	memset(image + 0x100, 0xf4, 0x7f00);
}
