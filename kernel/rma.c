/* SPDX-License-Identifier: MIT */
#include "kernel/rma.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/printf.h"
#include "kernel/base/size_text.h"
#include "mem/frame.h"

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
