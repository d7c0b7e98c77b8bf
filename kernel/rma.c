/* SPDX-License-Identifier: MIT */
#include "kernel/rma.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "kernel/guest/memory.h"
#include "mem/frame.h"
#include "vmx/vmx.h"

static struct size_text pages_text(u64 pages)
{
	return size_text(pages << PAGE_SHIFT);
}

void rma_start(u64 bytes)
{
	struct frame_stats stats;

	if (!bytes)
		return;
	if (rma_pool_init(bytes)) {
		frame_get_stats(&stats);
		log_error("rma_pool=%s: nothing is set aside: of %s that are free no %s are in one "
			  "piece: give less",
			  size_text(bytes).text, pages_text(stats.free).text,
			  size_text(bytes).text);
		return;
	}
	stat_register(&rma_stat_group);
	log_info("rma_pool: %s are set aside for VMs with rma=", size_text(bytes).text);
}

static void explain_exhausted(u64 pages, char *message, size_t size)
{
	u64 enough, longest;
	struct rma_stats s;

	rma_pool_stats(&s);
	longest = min(s.longest_free, pages);
	enough = align_up(s.pages + pages - longest, (u64)RMA_ALIGN_PAGES);
	if (!s.pages)
		snprintf(message, size,
			 "rma=%s: there is no pool to take it from: add rma_pool=%s to Weir's own "
			 "command line",
			 pages_text(pages).text, pages_text(enough).text);
	else
		snprintf(message, size,
			 "rma=%s: the pool of %s has %s free, of that %s in one piece: give "
			 "rma_pool=%s, or end a VM that has rma=",
			 pages_text(pages).text, pages_text(s.pages).text,
			 pages_text(s.pages - s.used).text, pages_text(s.longest_free).text,
			 pages_text(enough).text);
}

int vm_rma_create(struct vm *vm, char *message, size_t size)
{
	u64 pages = vm->config.rma >> PAGE_SHIFT;
	int err;

	if (!pages)
		return 0;
	err = rma_alloc(pages, &vm->rma_piece);
	if (err == ERR_NOSPC)
		explain_exhausted(pages, message, size);
	return err ? err : rma_fill(vm->rma_piece, vm->ram, 0);
}

void vm_rma_destroy(struct vm *vm)
{
	if (vm->rma_piece)
		rma_put(vm->rma_piece);
	vm->rma_piece = NULL;
}

void vm_rma_watch(struct vm *vm)
{
	const struct rma_tables tables = {
		.tss = GFN(GUEST_REAL_MODE_TSS >> PAGE_SHIFT),
		.identity_map = GFN(GUEST_IDENTITY_MAP >> PAGE_SHIFT),
	};
	bool unrestricted = vmx_unrestricted_guest() && vm->mmu.kind != MMU_SHADOW;

	rma_area_init(&vm->rma, &vm->mmu, &vm->lock, unrestricted ? NULL : &tables);
}

void vm_rma_unwatch(struct vm *vm)
{
	rma_area_destroy(&vm->rma);
}

static const char *why(int err)
{
	switch (err) {
	case ERR_NOSLOT:
		return "no memslot: give the VM one there";
	case ERR_PERM:
		return "a read-only memslot: make it writable";
	case ERR_NOSPC:
		return "memory that cannot be pinned: the VM has as many pins as it may";
	default:
		return error_name(err);
	}
}

int vcpu_rma_set_up(struct vcpu *v)
{
	gpa_t where = GPA(0);
	int err = rma_set_up(&v->vm->rma, &v->mmu, &where);

	if (err && err != ERR_AGAIN && err != ERR_NOMEM)
		log_error("vm %s: vCPU %u does not run: its real-mode area meets at guest address "
			  "0x%llx %s",
			  v->vm->name, v->id, (unsigned long long)where.v, why(err));
	return err;
}
