/* SPDX-License-Identifier: MIT */
/*
 * What a kernel is that no loader knows, in words, and what to do: by the bytes that its format
 * begins with.
 */
#include "kernel/guest/load.h"

#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

#define MB2_MAGIC      0xe85250d6u
#define MB2_SEARCH     KIB(32)
#define MB2_ALIGN      8
#define SETUP_MAGIC    "HdrS"
#define SETUP_AT       0x202
#define TEXT_LOOKED_AT 64
#define SHOWN_BYTES    8

/* First comes what stands where, last what is no format of a kernel's. */
static const struct format {
	u32 offset;
	u32 size;
	const char *magic;
	const char *what;
} formats[] = {
	{SETUP_AT, 4, SETUP_MAGIC,
	 "a bzImage that is cut or damaged in its setup header: copy the file anew"},
	{0, 2, "\x1f\x8b", "packed by gzip: unpack it, or say initrd if it is one"},
	{0, 6,
	 "\xfd"
	 "7zXZ\0",
	 "packed by xz: unpack it, or say initrd if it is one"},
	{0, 4, "\x28\xb5\x2f\xfd", "packed by zstd: unpack it, or say initrd if it is one"},
	{0, 3, "BZh", "packed by bzip2: unpack it, or say initrd if it is one"},
	{0, 4, "\x04\x22\x4d\x18", "packed by lz4: unpack it, or say initrd if it is one"},
	{0, 4, "\x02\x21\x4c\x18", "packed by lz4: unpack it, or say initrd if it is one"},
	{0, 3, "\x5d\0\0", "packed by lzma: unpack it, or say initrd if it is one"},
	{0, 5, "07070", "a cpio archive: say initrd if it is one"},
	{0, 2, "\xc7\x71", "a cpio archive: say initrd if it is one"},
	{257, 5, "ustar", "a tar archive: unpack it"},
	{0, 8, "!<arch>\n", "an archive or a Debian package: take the kernel out of it"},
	{0x38, 4, "ARM\x64", "Linux for AArch64: take one for x86-64"},
	{0x38, 4, "RSC\x05", "Linux for RISC-V: take one for x86-64"},
	{0, 2, "MZ", "a program for UEFI or DOS (PE): take a bzImage or a vmlinux"},
	{0x8001, 5, "CD001", "an image of a CD: take the kernel out of it"},
	{510, 2, "\x55\xaa", "a boot sector or the image of a disk: take the kernel out of it"},
};

static bool starts_at(const struct image *i, const struct format *f)
{
	char bytes[8];

	return image_copy(i, f->offset, bytes, f->size) && memcmp(bytes, f->magic, f->size) == 0;
}

/* In the file's first 32 KiB, on an 8-byte boundary (multiboot2 3.1.1). */
static bool is_multiboot2(const struct image *i)
{
	u32 h[4]; /* magic, architecture, length, checksum */

	for (u64 at = 0; at + sizeof(h) <= min(i->size, (u64)MB2_SEARCH); at += MB2_ALIGN) {
		if (!image_copy(i, at, h, sizeof(h)))
			return false;
		if (h[0] == MB2_MAGIC && h[0] + h[1] + h[2] + h[3] == 0)
			return true;
	}
	return false;
}

static bool is_text(const struct image *i)
{
	u8 bytes[TEXT_LOOKED_AT];
	u64 size = min(i->size, (u64)sizeof(bytes));

	if (!size || !image_copy(i, 0, bytes, size))
		return false;
	for (u64 n = 0; n < size; n++) {
		bool blank = bytes[n] == '\t' || bytes[n] == '\n' || bytes[n] == '\r';

		if (!blank && (bytes[n] < ' ' || bytes[n] > '~'))
			return false;
	}
	return true;
}

static void describe_bytes(const struct image *i, char *out, size_t size)
{
	u64 n = min(i->size, (u64)SHOWN_BYTES);
	u8 bytes[SHOWN_BYTES];
	int used = snprintf(out, size, "of no format that Weir knows: its first bytes are");

	if (!image_copy(i, 0, bytes, n))
		return;
	for (u64 b = 0; b < n; b++)
		used += snprintf(out + used, size - (size_t)used, " %02x", bytes[b]);
}

/* What it is and, where there is one, the remedy. */
static void describe(const struct image *i, char *out, size_t size)
{
	strlcpy(out, "an empty file", size);
	if (!i->size)
		return;
	if (elf_probe(i) && elf_flaw(i, out, size))
		return;
	strlcpy(out, "for multiboot 2 only: take one for multiboot 1", size);
	if (is_multiboot2(i))
		return;
	strlcpy(out, "an ELF file without a PVH note: Linux has it with CONFIG_PVH", size);
	if (elf_probe(i))
		return;
	for (u32 f = 0; f < ARRAY_SIZE(formats); f++) {
		strlcpy(out, formats[f].what, size);
		if (starts_at(i, &formats[f]))
			return;
	}
	strlcpy(out, "a text file: give the kernel itself", size);
	if (!is_text(i))
		describe_bytes(i, out, size);
}

int load_unknown(struct load *l)
{
	char what[128];

	describe(&l->kernel, what, sizeof(what));
	return load_fail(l, ERR_INVAL,
			 "its kernel is %s. Accepted are bzImage (Linux 64-bit boot protocol "
			 "2.12), ELF with a PVH note, and multiboot 1",
			 what);
}
