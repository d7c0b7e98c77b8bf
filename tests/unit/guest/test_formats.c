/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/guest/bzimage.c kernel/guest/pvh.c kernel/guest/multiboot1.c
 *	kernel/guest/elf.c kernel/guest/layout.c kernel/guest/loader.c
 *	kernel/guest/acpi_tables.c kernel/guest/image.c @mem tests/unit/guest/guest_memory.c
 *	tests/unit/guest/images.c kernel/guest/unknown.c
 */
/*
 * Which loader takes a kernel, and what is said of one that none takes: what was found, what to do,
 * and what is accepted.
 */
#include "images.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/guest/loader.h"

#include <cmocka.h>
#include <stdio.h>

#define ACCEPTED                                                                              \
	". Accepted are bzImage (Linux 64-bit boot protocol 2.12), ELF with a PVH note, and " \
	"multiboot 1"

/* As a VM is loaded: the kernel is a module, of which the first bytes are the image's. */
static int load(u64 size)
{
	static struct vm vm;

	memset(&vm, 0, sizeof(vm));
	config.module_count = 0;
	test_load(&config, image, 0, "", &start);
	test_add_module(&config, CONFIG_KERNEL, size, 0, "");
	if (size)
		memcpy(phys_to_virt(config.modules[0].start), image, size);
	vm.config = config;
	vm.vcpu_count = 1;
	return loader_load(&vm, &start, test_message, sizeof(test_message));
}

static void check(u64 size, const char *says)
{
	char expected[300];

	snprintf(expected, sizeof(expected), "its kernel is %s" ACCEPTED, says);
	assert_int_equal(load(size), ERR_INVAL);
	assert_string_equal(test_message, expected);
}

static void test_each_loader(void **state)
{
	make_bzimage();
	assert_int_equal(load(sizeof(image)), 0);
	assert_int_equal(start.mode, VMX_START_LONG);
	make_pvh();
	assert_int_equal(load(sizeof(image)), 0);
	assert_int_equal(start.rip, MIB(16) + 0x10);
	make_multiboot();
	assert_int_equal(load(sizeof(image)), 0);
	assert_int_equal(start.rax, 0x2badb002);
	/* Who is both is started by its note. */
	make_pvh();
	put32(0x800, 0x1badb002);
	put32(0x808, -0x1badb002u);
	put32(NOTE_AT + 36, MIB(16) + 0x40);
	assert_int_equal(load(sizeof(image)), 0);
	assert_int_equal(start.rip, MIB(16) + 0x40);
	assert_int_equal(start.rax, 0);
}

static void test_no_kernel(void **state)
{
	static struct vm vm;

	fresh(MIB(16));
	test_load(&config, image, 0, "", &start);
	vm.config = config;
	assert_int_equal(loader_load(&vm, &start, test_message, sizeof(test_message)), ERR_NOENT);
	assert_string_equal(test_message, "it has no kernel");
}

static void test_by_first_bytes(void **state)
{
	const char *pack = "packed by %s: unpack it, or say initrd if it is one";
	const char *take = "Linux for %s: take one for x86-64";
	const struct {
		u64 at, size;
		const char *bytes, *says, *of;
	} rows[] = {
		{0, 3, "\x1f\x8b\x08", pack, "gzip"},
		{0, 6,
		 "\xfd"
		 "7zXZ\0",
		 pack, "xz"},
		{0, 4, "\x28\xb5\x2f\xfd", pack, "zstd"},
		{0, 4, "BZh9", pack, "bzip2"},
		{0, 4, "\x04\x22\x4d\x18", pack, "lz4"},
		{0, 4, "\x02\x21\x4c\x18", pack, "lz4"},
		{0, 5, "\x5d\0\0\x80\0", pack, "lzma"},
		{0, 6, "070701", "a cpio archive: say initrd if it is one", ""},
		{0, 6, "070707", "a cpio archive: say initrd if it is one", ""},
		{0, 2, "\xc7\x71", "a cpio archive: say initrd if it is one", ""},
		{257, 6, "ustar", "a tar archive: unpack it", ""},
		{0, 21, "!<arch>\ndebian-binary",
		 "an archive or a Debian package: take the kernel out of it", ""},
		{0x38, 4, "ARM\x64", take, "AArch64"},
		{0x38, 4, "RSC\x05", take, "RISC-V"},
		{0, 2, "MZ", "a program for UEFI or DOS (PE): take a bzImage or a vmlinux", ""},
		{0x8001, 5, "CD001", "an image of a CD: take the kernel out of it", ""},
		{510, 2, "\x55\xaa",
		 "a boot sector or the image of a disk: take the kernel out of it", ""},
		{0, 9, "\x01\x23\xab\xff\0\x80\x7f\x10\x99",
		 "of no format that Weir knows: its first bytes are 01 23 ab ff 00 80 7f 10", ""},
	};
	char says[200];

	for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
		fresh(MIB(16));
		memcpy(image + rows[i].at, rows[i].bytes, rows[i].size);
		snprintf(says, sizeof(says), rows[i].says, rows[i].of);
		check(sizeof(image), says);
	}
}

/* The files are not all longer than what is looked for in them. */
static void test_short_files(void **state)
{
	fresh(MIB(16));
	check(0, "an empty file");
	check(1, "of no format that Weir knows: its first bytes are 00");
	check(7, "of no format that Weir knows: its first bytes are 00 00 00 00 00 00 00");
	strcpy((char *)image, "#!/bin/sh\nexec true\n");
	check(20, "a text file: give the kernel itself");
	check(9, "a text file: give the kernel itself");
	memset(image, 'a', 64);
	image[64] = 1; /* behind what is looked at */
	check(65, "a text file: give the kernel itself");
	image[63] = 0x7f;
	check(65, "of no format that Weir knows: its first bytes are 61 61 61 61 61 61 61 61");
	make_bzimage();
	check(0x267, "a bzImage that is cut or damaged in its setup header: copy the file anew");
	make_bzimage();
	assert_int_equal(load(0x268), ERR_INVAL);
	assert_string_equal(test_message,
			    "its bzImage ends before the kernel begins: the file is cut");
}

static void test_multiboot2(void **state)
{
	const u32 magic = 0xe85250d6;

	for (u64 at = 0; at<KIB(32) + 8; at += at> 64 && at < KIB(32) - 64 ? 488 : 4) {
		fresh(MIB(16));
		memcpy(image, "\177\1\2\3\4\5\6\7", 8);
		put32(at, magic);
		put32(at + 4, 0);
		put32(at + 8, 24);
		put32(at + 12, -(magic + 24));
		if (at % 8 == 0 && at + 16 <= KIB(32)) {
			check(sizeof(image), "for multiboot 2 only: take one for multiboot 1");
			put32(at + 12, 1);
		}
		assert_int_equal(load(sizeof(image)), ERR_INVAL);
		assert_null(strstr(test_message, "multiboot 2"));
	}
	/* Also where it is an ELF file, as Weir itself is. */
	make_pvh();
	put32(NOTE_AT + 28, 17);
	put32(0x800, magic);
	put32(0x808, 16);
	put32(0x80c, -(magic + 16));
	check(sizeof(image), "for multiboot 2 only: take one for multiboot 1");
}

static void test_elf(void **state)
{
	const struct {
		u64 at;
		u16 value;
		const char *says;
	} rows[] = {
		{4, 0x0103, "an ELF file whose header is damaged: copy it anew"},
		{4, 0x0202, "a big-endian ELF file: take one for x86"},
		{4, 0x0302, "an ELF file whose header is damaged: copy it anew"},
		{16, 0, "an ELF file of type 0: it is no program"},
		{16, 1, "an ELF object or a module of a kernel's: link it"},
		{16, 3, NULL},
		{16, 4, "an ELF file of type 4: it is no program"},
		{18, 3, NULL},
		{18, 8, "an ELF file for MIPS: take one for x86"},
		{18, 40, "an ELF file for ARM: take one for x86"},
		{18, 183, "an ELF file for AArch64: take one for x86"},
		{18, 243, "an ELF file for RISC-V: take one for x86"},
		{18, 4711, "an ELF file for machine 4711: take one for x86"},
		{54, 55, "an ELF file whose header is damaged: copy it anew"},
		{NOTE_AT + 28, 17, "an ELF file without a PVH note: Linux has it with CONFIG_PVH"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
		make_pvh();
		put16(rows[i].at, rows[i].value);
		if (rows[i].says)
			check(sizeof(image), rows[i].says);
		else
			assert_int_equal(load(sizeof(image)), 0);
	}
	make_pvh();
	check(51, "an ELF file that ends in its header: copy it anew");
	check(63, "an ELF file whose header is damaged: copy it anew");
	make_pvh();
	put16(56, 65);
	assert_int_equal(load(sizeof(image)), ERR_INVAL);
	assert_string_equal(test_message,
			    "its ELF file has more than 64 program headers: strip it");
}

/* A multiboot header makes no program for another machine one for this. */
static void test_multiboot_elf_flaws(void **state)
{
	make_pvh();
	put32(NOTE_AT + 28, 17);
	put32(0x800, 0x1badb002);
	put32(0x808, -0x1badb002u);
	put64(24, MIB(16));
	assert_int_equal(load(sizeof(image)), 0);
	put16(18, 183);
	assert_int_equal(load(sizeof(image)), ERR_INVAL);
	assert_string_equal(test_message,
			    "its kernel is an ELF file for AArch64: take one for x86" ACCEPTED);
	image[0] = 0;
	assert_int_equal(load(sizeof(image)), ERR_INVAL);
	assert_string_equal(test_message,
			    "its multiboot header gives no addresses, and it is no ELF file: set "
			    "bit 16 of its flags, or link it as ELF");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_loader),	    cmocka_unit_test(test_no_kernel),
		cmocka_unit_test(test_by_first_bytes),	    cmocka_unit_test(test_short_files),
		cmocka_unit_test(test_multiboot2),	    cmocka_unit_test(test_elf),
		cmocka_unit_test(test_multiboot_elf_flaws),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
