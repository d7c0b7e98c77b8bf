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
