/* SPDX-License-Identifier: MIT */
#include "kernel/guest/loader.h"
#include "kernel/guest/load.h"

#include "kernel/base/error.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

#define LOAD_PIECE KIB(64)
#define LOAD_TRIES 1000u /* for a piece; each is a wait of 10 ms at most, or takes pages */

int load_fail(struct load *l, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->message, l->message_size, fmt, ap);
	va_end(ap);
	return err;
}

/* Of the load under way: the manager's thread alone loads. */
static int image_error; /* why a module could not be read; 0: it could */

bool image_copy(const struct image *i, u64 offset, void *out, u64 size)
{
	int err = image_read(i, offset, out, size);

	if (err && err != ERR_RANGE)
		image_error = err;
	return !err;
}

const struct config_module *load_find_module(const struct load *l, enum config_module_kind kind,
					     u32 n)
{
	for (u32 i = 0; i < l->config->module_count; i++) {
		if (l->config->modules[i].kind == kind && n-- == 0)
			return &l->config->modules[i];
	}
	return NULL;
}

/*
 * In pieces, so that what had to wait for memory does not begin again from the start. Others may
 * take what is freed each time, so that it gives up.
 */
static int write_patiently(struct load *l, u64 gpa, const u8 *data, u64 size)
{
	int err = 0;

	while (size && !err) {
		u64 n = min(size, (u64)LOAD_PIECE);
		u32 tries = 0;

		do {
			err = gpa_write(l->mmu, GPA(gpa), data, n);
		} while (err == ERR_NOMEM && ++tries < LOAD_TRIES &&
			 reclaim_help(l->reclaim, l->config->page_order));
		gpa += n;
		data += n;
		size -= n;
	}
	return err;
}

int load_write(struct load *l, u64 gpa, const void *data, u64 size)
{
	int err = write_patiently(l, gpa, data, size);

	if (err == ERR_NOMEM)
		return load_fail(l, err,
				 "no memory for what is loaded at 0x%llx: end other VMs, or give "
				 "the machine more",
				 (unsigned long long)gpa);
	if (err)
		return load_fail(l, err,
				 "0x%llx to 0x%llx is not guest RAM: raise mem=, or link the "
				 "kernel elsewhere",
				 (unsigned long long)gpa, (unsigned long long)(gpa + size));
	return 0;
}

static int fail_image(struct load *l, int err)
{
	if (err != ERR_NOMEM)
		return load_fail(l, err,
				 "a page of its modules cannot be read back from the swap disk "
				 "(%s): start the machine again",
				 error_name(err));
	return load_fail(l, ERR_NOMEM,
			 "no memory to bring its modules back to: end other VMs, or give the "
			 "machine more");
}

int load_write_image(struct load *l, u64 gpa, const struct image *i, u64 offset, u64 size)
{
	int err = 0;

	while (size && !err) {
		struct image_piece p;

		err = image_piece_get(i, offset, size, &p);
		if (err)
			return fail_image(l, err);
		err = load_write(l, gpa, p.data, p.size);
		image_piece_put(i, &p);
		gpa += p.size;
		offset += p.size;
		size -= p.size;
	}
	return err;
}

int load_initrd(struct load *l, u64 limit, u64 *gpa, u64 *size)
{
	const struct config_module *m = load_find_module(l, CONFIG_INITRD, 0);
	struct image i;

	*gpa = 0;
	*size = 0;
	if (!m)
		return 0;
	i = image_of_module(m);
	if (layout_alloc_high(&l->layout, i.size, PAGE_SIZE, limit, gpa)) {
		/* More memory would be above the limit. */
		if (limit <= l->layout.low_top)
			return load_fail(l, ERR_RANGE,
					 "an initrd of %llu KiB does not fit below 0x%llx, where "
					 "the kernel wants it: make it smaller",
					 (unsigned long long)(i.size >> 10),
					 (unsigned long long)limit);
		return load_fail(l, ERR_NOMEM,
				 "an initrd of %llu KiB does not fit beside the kernel: raise mem=",
				 (unsigned long long)(i.size >> 10));
	}
	*size = i.size;
	return load_write_image(l, *gpa, &i, 0, i.size);
}

int load_gdt(struct load *l, bool long_mode)
{
	/* SDM 3A 3.4.5: flat, present, accessed; L for 64-bit code, D for the rest. */
	const u64 code = long_mode ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull;
	const u64 gdt[] = {0, 0, code, 0x00cf93000000ffffull};

	l->start->gdt_base = GUEST_GDT;
	l->start->gdt_limit = sizeof(gdt) - 1;
	l->start->cs = 0x10;
	l->start->ds = 0x18;
	return load_write(l, GUEST_GDT, gdt, sizeof(gdt));
}

static int load_kernel(struct load *l)
{
	if (bzimage_probe(&l->kernel))
		return bzimage_load(l);
	if (pvh_probe(&l->kernel))
		return pvh_load(l);
	if (multiboot1_probe(&l->kernel))
		return multiboot1_load(l);
	return load_unknown(l);
}

int loader_load(struct vm *vm, struct vmx_start *start, char *message, size_t size)
{
	struct load l = {
		.config = &vm->config,
		.mmu = &vm->mmu,
		.reclaim = &vm->reclaim,
		.vcpus = vm->vcpu_count,
		.start = start,
		.message = message,
		.message_size = size,
	};
	const struct config_module *kernel = load_find_module(&l, CONFIG_KERNEL, 0);
	int err;

	if (!kernel)
		return load_fail(&l, ERR_NOENT, "it has no kernel");
	l.kernel = image_of_module(kernel);
	image_error = 0;
	l.cmdline = kernel->cmdline;
	layout_init(&l.layout, vm->config.mem);
	err = load_acpi(&l);
	if (err)
		return err;
	err = load_kernel(&l);
	return err && image_error ? fail_image(&l, image_error) : err;
}
