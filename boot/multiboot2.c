/* SPDX-License-Identifier: MIT */
#include "boot/multiboot2.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"

/* Boot information format, multiboot2 specification 3.6. */
enum tag_type {
	TAG_END = 0,
	TAG_CMDLINE = 1,
	TAG_LOADER = 2,
	TAG_MODULE = 3,
	TAG_MMAP = 6,
	TAG_FRAMEBUFFER = 8,
	TAG_EFI32_TABLE = 11,
	TAG_EFI64_TABLE = 12,
	TAG_ACPI_OLD = 14,
	TAG_ACPI_NEW = 15,
	TAG_EFI_MMAP = 17,
	TAG_EFI_NOT_TERMINATED = 18,
	TAG_EFI32_HANDLE = 19,
	TAG_EFI64_HANDLE = 20,
};

#define TAG_ALIGN	    8
#define MODULE_TEXT_OFFSET  16
#define RSDP_OLD_SIZE	    20
#define FRAMEBUFFER_INDEXED 0
#define FRAMEBUFFER_DIRECT  1
#define FRAMEBUFFER_COMMON  32	     /* bytes that the tags of all types have */
#define FRAMEBUFFER_MAX	    MIB(512) /* 8192x8192, 64 bits a pixel */
#define WARNINGS_MAX	    16 /* a list that is all wrong must not push the rest out of the log */

struct info_header {
	u32 total_size, reserved;
};
static_assert(sizeof(struct info_header) == 8, "specification 3.6.1");

struct tag_header {
	u32 type, size;
};
static_assert(sizeof(struct tag_header) == 8, "specification 3.6.2");

struct tag_module {
	struct tag_header header;
	u32 start, end;
};
static_assert(sizeof(struct tag_module) == MODULE_TEXT_OFFSET, "specification 3.6.6");

struct tag_mmap {
	struct tag_header header;
	u32 entry_size, entry_version;
};
static_assert(sizeof(struct tag_mmap) == 16, "specification 3.6.8");

struct mmap_entry {
	u64 base, length;
	u32 type, reserved;
};
static_assert(sizeof(struct mmap_entry) == 24, "specification 3.6.8");

struct tag_framebuffer {
	struct tag_header header;
	u64 addr;
	u32 pitch, width, height;
	u8 bpp, type;
	u16 reserved;
	u8 red_pos, red_size, green_pos, green_size, blue_pos, blue_size;
} __packed;
static_assert(sizeof(struct tag_framebuffer) == 38, "specification 3.6.12, direct colour");
static_assert(offsetof(struct tag_framebuffer, red_pos) == FRAMEBUFFER_COMMON,
	      "specification 3.6.12");

/* One walk over the tags. */
struct parser {
	struct boot_info *out;
	u32 warnings;
	bool seen_cmdline, seen_loader, seen_mmap, rsdp_is_new;
	u32 mmap_left_out; /* pieces */
	u64 ram_left_out;  /* bytes in them; twice where they overlap */
};

#define warn(p, ...)                                                       \
	do {                                                               \
		if ((p)->warnings++ < WARNINGS_MAX)                        \
			log_warn("GRUB's boot information: " __VA_ARGS__); \
	} while (0)

/* Text that ends with its tag where it has no end of its own. True: it was longer than size. */
static bool copy_text(char *dst, size_t size, const u8 *text, u32 len)
{
	size_t n = strnlen((const char *)text, len);
	bool cut = n >= size;

	if (cut)
		n = size - 1;
	memcpy(dst, text, n);
	dst[n] = '\0';
	return cut;
}

static void parse_cmdline(struct parser *p, const u8 *tag, u32 size)
{
	if (p->seen_cmdline) {
		warn(p, "a second command line is ignored");
		return;
	}
	p->seen_cmdline = true;
	if (copy_text(p->out->cmdline, sizeof(p->out->cmdline), tag + sizeof(struct tag_header),
		      size - sizeof(struct tag_header)))
		warn(p, "the command line is cut at %d bytes: shorten it", BOOT_CMDLINE_MAX - 1);
}

static void parse_loader(struct parser *p, const u8 *tag, u32 size)
{
	if (!p->seen_loader)
		copy_text(p->out->loader, sizeof(p->out->loader), tag + sizeof(struct tag_header),
			  size - sizeof(struct tag_header));
	p->seen_loader = true;
}

static bool is_blank(u8 c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The word vm= among Weir's on a module's line, perhaps cut, or "". */
static void copy_vm_word(char *dst, size_t size, const u8 *text, u32 len)
{
	u32 n = (u32)strnlen((const char *)text, len), end;

	dst[0] = '\0';
	for (u32 at = 0; at < n; at = end + 1) {
		for (end = at; end < n && !is_blank(text[end]);)
			end++;
		if (end - at == 2 && memcmp(text + at, "--", 2) == 0)
			return; /* the guest's own follow */
		if (end - at >= 3 && memcmp(text + at, "vm=", 3) == 0) {
			copy_text(dst, size, text + at, end - at);
			return;
		}
	}
}

/* There is no room for it: what is kept is whose it is. */
static void drop_module(struct parser *p, const u8 *text, u32 len)
{
	struct boot_info *b = p->out;
	struct boot_dropped d = {.number = BOOT_MODULES_MAX + ++b->modules_dropped};

	copy_vm_word(d.vm, sizeof(d.vm), text, len);
	for (u32 i = 0; i < b->dropped_count; i++) {
		if (strcmp(b->dropped[i].vm, d.vm) == 0)
			return;
	}
	if (b->dropped_count < BOOT_DROPPED_MAX)
		b->dropped[b->dropped_count++] = d;
	else
		b->dropped_more = true;
}

static void parse_module(struct parser *p, const u8 *tag, u32 size)
{
	struct boot_info *b = p->out;
	struct boot_module *m;
	struct tag_module t;

	if (b->module_count == BOOT_MODULES_MAX) {
		drop_module(p, tag + MODULE_TEXT_OFFSET, size - MODULE_TEXT_OFFSET);
		return;
	}
	memcpy(&t, tag, sizeof(t));
	m = &b->modules[b->module_count++];
	m->start = HPA(t.start);
	m->size = t.end < t.start ? 0 : t.end - t.start;
	if (t.end < t.start)
		warn(p, "module %u ends at %#x before it starts at %#x: it counts as empty",
		     b->module_count, t.end, t.start);
	m->cmdline_cut = copy_text(m->cmdline, sizeof(m->cmdline), tag + MODULE_TEXT_OFFSET,
				   size - MODULE_TEXT_OFFSET);
	if (m->cmdline_cut)
		warn(p, "module %u's line is cut at %d bytes: shorten it", b->module_count,
		     BOOT_MODULE_CMDLINE - 1);
}

/* Firmware may describe memory in many pieces; those that go on where the last ended are one. */
static bool mmap_merge(struct boot_info *b, const struct mmap_entry *e)
{
	struct boot_mmap_entry *last;

	if (!b->mmap_count)
		return false;
	last = &b->mmap[b->mmap_count - 1];
	if (last->type != e->type || last->base >= e->base ||
	    last->base + last->length != e->base || e->length > ~e->base)
		return false;
	last->length += e->length;
	return true;
}

/* Bytes of RAM in it that can be used: a piece that wraps is passed over. */
static u64 mmap_ram(const struct boot_mmap_entry *e)
{
	return e->type == BOOT_MEM_AVAILABLE && e->length - 1 <= ~e->base ? e->length : 0;
}

/* RAM that is missed less. Other CPUs start in what is below 1 MiB. */
static bool mmap_is_less(const struct boot_mmap_entry *a, const struct boot_mmap_entry *b)
{
	bool a_low = a->base < MIB(1), b_low = b->base < MIB(1);

	return a_low != b_low ? b_low : mmap_ram(a) < mmap_ram(b);
}

static void leave_out(struct parser *p, const struct boot_mmap_entry *e)
{
	p->mmap_left_out++;
	p->ram_left_out += mmap_ram(e);
}

/*
 * There is no room for e. What is no RAM may lie in any RAM, before it or after it: it takes the place
 * of RAM, so that none of it is left out while there is RAM at all. RAM takes that of less RAM.
 */
static void mmap_squeeze(struct parser *p, const struct boot_mmap_entry *e)
{
	struct boot_info *b = p->out;
	u32 least = BOOT_MMAP_MAX;

	for (u32 i = 0; i < BOOT_MMAP_MAX; i++) {
		if (b->mmap[i].type == BOOT_MEM_AVAILABLE &&
		    (least == BOOT_MMAP_MAX || mmap_is_less(&b->mmap[i], &b->mmap[least])))
			least = i;
	}
	if (least == BOOT_MMAP_MAX || !e->length ||
	    (e->type == BOOT_MEM_AVAILABLE && !mmap_is_less(&b->mmap[least], e))) {
		leave_out(p, e);
		return;
	}
	leave_out(p, &b->mmap[least]);
	/* It comes last, where what touches it finds it. */
	for (u32 i = least; i + 1 < BOOT_MMAP_MAX; i++)
		b->mmap[i] = b->mmap[i + 1];
	b->mmap[BOOT_MMAP_MAX - 1] = *e;
}

static void parse_mmap(struct parser *p, const u8 *tag, u32 size)
{
	struct boot_info *b = p->out;
	struct mmap_entry e;
	struct tag_mmap t;

	memcpy(&t, tag, sizeof(t));
	if (t.entry_size < sizeof(e) || t.entry_size % TAG_ALIGN) {
		warn(p, "the memory map's entries are %u bytes long: it is ignored", t.entry_size);
		return;
	}
	if (p->seen_mmap)
		warn(p, "a second memory map is added to the first");
	p->seen_mmap = true;
	if ((size - sizeof(t)) % t.entry_size)
		warn(p, "the memory map ends inside an entry: that one is ignored");
	for (u64 at = sizeof(t); at + t.entry_size <= size; at += t.entry_size) {
		struct boot_mmap_entry piece;

		memcpy(&e, tag + at, sizeof(e));
		if (mmap_merge(b, &e))
			continue;
		piece = (struct boot_mmap_entry){e.base, e.length, e.type};
		if (b->mmap_count < BOOT_MMAP_MAX)
			b->mmap[b->mmap_count++] = piece;
		else
			mmap_squeeze(p, &piece);
	}
}

static void parse_framebuffer(struct parser *p, const u8 *tag, u32 size)
{
	struct boot_framebuffer *fb = &p->out->fb;
	struct tag_framebuffer t;
	u64 bytes;

	memcpy(&t, tag, FRAMEBUFFER_COMMON);
	if (t.type == FRAMEBUFFER_INDEXED) {
		fb->palette = true;
		warn(p,
		     "a screen of %ux%u with a palette is not used: add 'set gfxpayload=text' as "
		     "the menu entry's last line",
		     t.width, t.height);
	}
	/* EGA text has a shorter tag, and is no framebuffer to draw on. */
	if (t.type != FRAMEBUFFER_DIRECT || size < sizeof(t))
		return;
	memcpy(&t, tag, sizeof(t));
	bytes = (u64)t.pitch * t.height;
	if (t.addr == 0 || bytes > FRAMEBUFFER_MAX || t.addr + bytes < t.addr) {
		warn(p, "a framebuffer of %#llx bytes at %#llx makes no sense: it is not used",
		     (unsigned long long)bytes, (unsigned long long)t.addr);
		return;
	}
	*fb = (struct boot_framebuffer){
		.present = true,
		.addr = HPA(t.addr),
		.pitch = t.pitch,
		.width = t.width,
		.height = t.height,
		.bpp = t.bpp,
		.red_pos = t.red_pos,
		.red_size = t.red_size,
		.green_pos = t.green_pos,
		.green_size = t.green_size,
		.blue_pos = t.blue_pos,
		.blue_size = t.blue_size,
	};
}

/* The signature and checksums are ACPI's to judge. */
static void parse_rsdp(struct parser *p, const u8 *tag, u32 size, bool is_new)
{
	struct boot_info *b = p->out;
	u32 len = size - (u32)sizeof(struct tag_header);

	if (p->rsdp_is_new)
		return;
	memset(b->rsdp, 0, sizeof(b->rsdp));
	memcpy(b->rsdp, tag + sizeof(struct tag_header), min(len, (u32)sizeof(b->rsdp)));
	b->rsdp_present = true;
	p->rsdp_is_new = is_new;
}

/* The least a tag of each type must hold; what is not listed is not looked into. */
static u32 least_size(u32 type)
{
	switch (type) {
	case TAG_MODULE:
		return sizeof(struct tag_module);
	case TAG_MMAP:
		return sizeof(struct tag_mmap);
	case TAG_ACPI_OLD:
		return sizeof(struct tag_header) + RSDP_OLD_SIZE;
	case TAG_ACPI_NEW:
		return sizeof(struct tag_header) + sizeof(((struct boot_info *)0)->rsdp);
	default:
		return sizeof(struct tag_header);
	}
}

static void parse_tag(struct parser *p, u32 type, const u8 *tag, u32 size)
{
	switch (type) {
	case TAG_CMDLINE:
		parse_cmdline(p, tag, size);
		break;
	case TAG_LOADER:
		parse_loader(p, tag, size);
		break;
	case TAG_MODULE:
		parse_module(p, tag, size);
		break;
	case TAG_MMAP:
		parse_mmap(p, tag, size);
		break;
	case TAG_FRAMEBUFFER:
		if (size >= FRAMEBUFFER_COMMON)
			parse_framebuffer(p, tag, size);
		break;
	case TAG_ACPI_OLD:
	case TAG_ACPI_NEW:
		parse_rsdp(p, tag, size, type == TAG_ACPI_NEW);
		break;
	case TAG_EFI32_TABLE:
	case TAG_EFI64_TABLE:
	case TAG_EFI_MMAP:
	case TAG_EFI_NOT_TERMINATED:
	case TAG_EFI32_HANDLE:
	case TAG_EFI64_HANDLE:
		p->out->efi = true;
		break;
	default:
		break;
	}
}

static void check_whole(struct parser *p, bool ended)
{
	struct boot_info *b = p->out;

	if (!ended)
		warn(p, "it has no end tag; what came before counts");
	if (p->mmap_left_out)
		warn(p, "the memory map has %u pieces over %d: up to %llu KiB of RAM are not used",
		     p->mmap_left_out, BOOT_MMAP_MAX, (unsigned long long)(p->ram_left_out >> 10));
	if (b->modules_dropped)
		warn(p, "%u modules over %d are left out: load fewer", b->modules_dropped,
		     BOOT_MODULES_MAX);
	if (p->warnings > WARNINGS_MAX)
		log_warn("GRUB's boot information: %u further complaints",
			 p->warnings - WARNINGS_MAX);
}

int multiboot2_parse(const void *info, u64 limit, struct boot_info *out)
{
	struct parser p = {.out = out};
	struct info_header header;
	struct tag_header tag;
	u64 at = sizeof(header), end;
	bool ended = false;

	memset(out, 0, sizeof(*out));
	if (limit < sizeof(header))
		return ERR_CORRUPT;
	memcpy(&header, info, sizeof(header));
	if (header.total_size < sizeof(header) || header.total_size > limit ||
	    header.total_size > MULTIBOOT2_SIZE_MAX)
		return ERR_CORRUPT;
	end = header.total_size;

	/* at stays 8-aligned and moves on by 8 at least, so this ends. */
	while (at + sizeof(tag) <= end) {
		const u8 *bytes = (const u8 *)info + at;

		memcpy(&tag, bytes, sizeof(tag));
		if (tag.size < sizeof(tag) || tag.size > end - at) {
			warn(&p, "tag %u claims %u bytes where %llu are left: the rest is ignored",
			     tag.type, tag.size, (unsigned long long)(end - at));
			break;
		}
		ended = tag.type == TAG_END;
		if (ended)
			break;
		if (tag.size < least_size(tag.type))
			warn(&p, "tag %u is too short (%u bytes) and is ignored", tag.type,
			     tag.size);
		else
			parse_tag(&p, tag.type, bytes, tag.size);
		at += align_up((u64)tag.size, TAG_ALIGN);
	}
	check_whole(&p, ended);
	return 0;
}
