/* SPDX-License-Identifier: MIT */
/* ELF as far as a boot loader needs it: header, program headers, notes. Every offset is checked. */
#include "kernel/guest/load.h"

#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

#define ELF_MAGIC	"\177ELF"
#define ELF_CLASS	4
#define ELF_CLASS32	1
#define ELF_CLASS64	2
#define ELF_DATA	5
#define ELF_DATA_LITTLE 1
#define ELF_DATA_BIG	2
#define ET_REL		1
#define ET_EXEC		2
#define ET_DYN		3
#define EM_386		3
#define EM_X86_64	62
#define ELF_PHDRS_MAX	64
#define PT_LOAD		1
#define PT_NOTE		4
#define NOTES_MAX	256

#define XEN_NOTE_NAME	      "Xen"
#define XEN_NOTE_PHYS32_ENTRY 18

struct elf32_header {
	u8 ident[16];
	u16 type, machine;
	u32 version, entry, phoff, shoff, flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
static_assert(sizeof(struct elf32_header) == 52, "ELF");

struct elf64_header {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
static_assert(sizeof(struct elf64_header) == 64, "ELF");

struct elf32_phdr {
	u32 type, offset, vaddr, paddr, filesz, memsz, flags, align;
};
static_assert(sizeof(struct elf32_phdr) == 32, "ELF");

struct elf64_phdr {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};
static_assert(sizeof(struct elf64_phdr) == 56, "ELF");

struct elf_note {
	u32 namesz, descsz, type;
};

/* Both classes in the wider one's terms. */
struct elf {
	const struct image *image;
	bool is64;
	u64 entry, phoff;
	u32 phnum, phentsize;
};

static bool elf_open(const struct image *i, struct elf *e)
{
	struct elf64_header h64;
	struct elf32_header h32;
	u8 ident[16];

	if (!image_copy(i, 0, ident, sizeof(ident)) || memcmp(ident, ELF_MAGIC, 4) ||
	    ident[ELF_DATA] != ELF_DATA_LITTLE)
		return false;
	if (ident[ELF_CLASS] == ELF_CLASS64 && image_copy(i, 0, &h64, sizeof(h64))) {
		*e = (struct elf){i, true, h64.entry, h64.phoff, h64.phnum, h64.phentsize};
		return h64.phentsize >= sizeof(struct elf64_phdr);
	}
	if (ident[ELF_CLASS] == ELF_CLASS32 && image_copy(i, 0, &h32, sizeof(h32))) {
		*e = (struct elf){i, false, h32.entry, h32.phoff, h32.phnum, h32.phentsize};
		return h32.phentsize >= sizeof(struct elf32_phdr);
	}
	return false;
}

static bool elf_phdr(const struct elf *e, u32 n, struct elf64_phdr *out)
{
	struct elf32_phdr p;
	u64 at = e->phoff + (u64)n * e->phentsize;

	if (e->phoff > e->image->size)
		return false;
	if (e->is64)
		return image_copy(e->image, at, out, sizeof(*out));
	if (!image_copy(e->image, at, &p, sizeof(p)))
		return false;
	*out = (struct elf64_phdr){p.type,  p.flags,  p.offset, p.vaddr,
				   p.paddr, p.filesz, p.memsz,	p.align};
	return true;
}

bool elf_probe(const struct image *i)
{
	u8 ident[4];

	return image_copy(i, 0, ident, sizeof(ident)) && memcmp(ident, ELF_MAGIC, 4) == 0;
}

static void say_machine(u32 machine, char *what, size_t size)
{
	static const struct {
		u32 machine;
		const char *name;
	} names[] = {{8, "MIPS"}, {20, "PowerPC"},  {21, "PowerPC"}, {22, "S/390"},
		     {40, "ARM"}, {183, "AArch64"}, {243, "RISC-V"}, {258, "LoongArch"}};

	for (u32 n = 0; n < ARRAY_SIZE(names); n++) {
		if (names[n].machine == machine) {
			snprintf(what, size, "an ELF file for %s: take one for x86", names[n].name);
			return;
		}
	}
	snprintf(what, size, "an ELF file for machine %u: take one for x86", machine);
}

bool elf_flaw(const struct image *i, char *what, size_t size)
{
	struct elf32_header h; /* up to its version of the same form in both classes */
	struct elf e;

	if (!image_copy(i, 0, &h, sizeof(h)))
		strlcpy(what, "an ELF file that ends in its header: copy it anew", size);
	else if (h.ident[ELF_DATA] == ELF_DATA_BIG)
		strlcpy(what, "a big-endian ELF file: take one for x86", size);
	else if (h.machine != EM_386 && h.machine != EM_X86_64)
		say_machine(h.machine, what, size);
	else if (h.type == ET_REL)
		strlcpy(what, "an ELF object or a module of a kernel's: link it", size);
	else if (h.type != ET_EXEC && h.type != ET_DYN)
		snprintf(what, size, "an ELF file of type %u: it is no program", h.type);
	else if (!elf_open(i, &e))
		strlcpy(what, "an ELF file whose header is damaged: copy it anew", size);
	else
		return false;
	return true;
}

/*
 * The object is fresh, so what memsz has beyond filesz is zero already. A segment must not overlap
 * another or what Weir keeps for itself.
 */
static int load_segment(struct load *l, const struct elf64_phdr *p, struct elf_summary *out)
{
	int err;

	if (p->filesz > p->memsz || !image_has(&l->kernel, p->offset, p->filesz))
		return load_fail(l, ERR_INVAL,
				 "its ELF segment at file offset 0x%llx is not inside the file: "
				 "the file is cut or damaged",
				 (unsigned long long)p->offset);
	err = layout_reserve(&l->layout, p->paddr, p->memsz);
	if (err == ERR_RANGE)
		return load_fail(
			l, err,
			"its ELF segment at 0x%llx, %llu KiB, is not inside the VM's RAM: %s",
			(unsigned long long)p->paddr, (unsigned long long)(p->memsz >> 10),
			layout_never_holds(p->paddr, p->memsz)
				? "link it, by physical addresses, below 3 GiB"
				: "raise mem=");
	if (err)
		return load_fail(
			l, err,
			"its ELF segment at 0x%llx, %llu KiB, overlaps another or page 0 or "
			"0x9f000-0xfffff: link it elsewhere",
			(unsigned long long)p->paddr, (unsigned long long)(p->memsz >> 10));
	if (out->header_entry - p->vaddr < p->memsz)
		out->entry = out->header_entry - p->vaddr + p->paddr;
	out->load_start = min(out->load_start, p->paddr);
	out->load_end = max(out->load_end, p->paddr + p->memsz);
	return load_write_image(l, p->paddr, &l->kernel, p->offset, p->filesz);
}

int elf_load(struct load *l, struct elf_summary *out)
{
	struct elf64_phdr p;
	struct elf e;
	char what[96];
	u32 loaded = 0;
	int err;

	if (!elf_probe(&l->kernel))
		return load_fail(l, ERR_INVAL,
				 "its multiboot header gives no addresses, and it is no ELF file: "
				 "set bit 16 of its flags, or link it as ELF");
	if (elf_flaw(&l->kernel, what, sizeof(what)))
		return load_unknown(l);
	if (!elf_open(&l->kernel, &e) || e.phnum > ELF_PHDRS_MAX)
		return load_fail(l, ERR_INVAL,
				 "its ELF file has more than %u program headers: strip it",
				 ELF_PHDRS_MAX);
	*out = (struct elf_summary){e.is64, e.entry, e.entry, ~0ull, 0};
	for (u32 n = 0; n < e.phnum; n++) {
		if (!elf_phdr(&e, n, &p))
			return load_fail(
				l, ERR_INVAL,
				"its ELF program headers are not inside the file: the file "
				"is cut or damaged");
		if (p.type != PT_LOAD || !p.memsz)
			continue;
		err = load_segment(l, &p, out);
		if (err)
			return err;
		loaded++;
	}
	if (!loaded)
		return load_fail(l, ERR_INVAL, "its ELF file has nothing to load: is it a kernel?");
	return 0;
}

/* Name and descriptor are each padded to 4 bytes (System V gABI, note section). */
static bool find_note(const struct image *i, u64 at, u64 end, u32 *entry)
{
	struct elf_note n;
	char name[4];

	for (u32 count = 0; count < NOTES_MAX; count++) {
		u64 desc;

		if (at >= end || !image_copy(i, at, &n, sizeof(n)))
			return false;
		desc = at + sizeof(n) + align_up((u64)n.namesz, 4ull);
		if (n.type == XEN_NOTE_PHYS32_ENTRY && n.namesz == sizeof(name) &&
		    image_copy(i, at + sizeof(n), name, sizeof(name)) &&
		    memcmp(name, XEN_NOTE_NAME, sizeof(name)) == 0 && n.descsz >= 4)
			return image_copy(i, desc, entry, sizeof(*entry));
		at = desc + align_up((u64)n.descsz, 4ull);
	}
	return false;
}

bool elf_pvh_entry(const struct image *i, u32 *entry)
{
	struct elf64_phdr p;
	struct elf e;

	if (!elf_open(i, &e))
		return false;
	for (u32 n = 0; n < e.phnum && n < ELF_PHDRS_MAX; n++) {
		if (!elf_phdr(&e, n, &p))
			return false;
		if (p.type == PT_NOTE && image_has(i, p.offset, p.filesz) &&
		    find_note(i, p.offset, p.offset + p.filesz, entry))
			return true;
	}
	return false;
}
