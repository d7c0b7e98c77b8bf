/* SPDX-License-Identifier: MIT */
#include "kernel/config_memory.h"
#include "kernel/config_private.h"

#include "kernel/base/error.h"
#include "kernel/base/size_text.h"
#include "kernel/base/string.h"
#include "mem/reclaim_policy.h"

#define MEM_DEFAULT   MIB(256)
#define MEM_MIN	      MIB(1)
#define MEM_MAX	      GIB(1024)
#define RMA_MIN	      KIB(64)
#define PAGE_2M	      MIB(2)
#define ORDER_2M      9
#define WATERMARK_MIN MIB(1)
#define WATERMARK_MAX GIB(1024)

int config_parse_watermarks(const char *at, const char *end, u64 out[3])
{
	u64 size[3], before = WATERMARK_MIN;

	for (u32 i = 0; i < ARRAY_SIZE(size); i++) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;

		if ((i < ARRAY_SIZE(size) - 1) != (comma != NULL) ||
		    parse_size(at, stop, &size[i]) || !is_aligned(size[i], PAGE_SIZE) ||
		    size[i] < before || size[i] > WATERMARK_MAX)
			return ERR_INVAL;
		before = size[i];
		at = stop + (comma ? 1 : 0);
	}
	memcpy(out, size, sizeof(size));
	return 0;
}

static void take_mem(struct vm_config *vm, const struct word *w)
{
	u64 bytes;

	if (parse_size(w->at, w->end, &bytes))
		config_refuse(vm, "mem=%.*s is not a size: write for example mem=256M",
			      WORD_ARGS(w));
	else if (bytes < MEM_MIN || bytes > MEM_MAX)
		config_refuse(vm, "mem=%.*s is out of range: give 1M to 1024G", WORD_ARGS(w));
	else if (!is_aligned(bytes, PAGE_SIZE))
		config_refuse(vm, "mem=%.*s is not a multiple of 4K: round it", WORD_ARGS(w));
	else
		vm->mem = bytes;
}

static void take_rma(struct vm_config *vm, const struct word *w)
{
	u64 bytes;

	if (parse_size(w->at, w->end, &bytes))
		config_refuse(vm, "rma=%.*s is not a size: write for example rma=16M",
			      WORD_ARGS(w));
	else if (bytes < RMA_MIN || bytes > MEM_MAX)
		config_refuse(
			vm, "rma=%.*s is out of range: give 64K up to the VM's mem=", WORD_ARGS(w));
	else if (!is_aligned(bytes, PAGE_SIZE))
		config_refuse(vm, "rma=%.*s is not a multiple of 4K: round it", WORD_ARGS(w));
	else
		vm->rma = bytes;
}

/* min= and max=: how they go with the rest is looked at when that is known. */
static void take_bound(struct vm_config *vm, const char *key, const struct word *w, u64 least,
		       u64 *out)
{
	u64 bytes;

	if (!w->at)
		return;
	if (parse_size(w->at, w->end, &bytes))
		config_refuse(vm, "%s=%.*s is not a size: write for example %s=64M", key,
			      WORD_ARGS(w), key);
	else if (bytes < least || bytes > MEM_MAX)
		config_refuse(vm, "%s=%.*s is out of range: give %s up to the VM's mem=", key,
			      WORD_ARGS(w), size_text(least).text);
	else if (!is_aligned(bytes, PAGE_SIZE))
		config_refuse(vm, "%s=%.*s is not a multiple of 4K: round it", key, WORD_ARGS(w));
	else
		*out = bytes;
}

static void take_shares(struct vm_config *vm, const struct word *w)
{
	u64 n;

	if (!w->at)
		return;
	if (parse_u64(w->at, w->end, &n) || n < 1 || n > RECLAIM_SHARES_MAX)
		config_refuse(vm,
			      "shares=%.*s is no number of shares: give 1 to %u, one for each MiB "
			      "of mem= "
			      "being usual",
			      WORD_ARGS(w), RECLAIM_SHARES_MAX);
	else
		vm->shares = (u32)n;
}

static void take_psize(struct vm_config *vm, const struct word *w)
{
	u64 bytes;

	if (!parse_size(w->at, w->end, &bytes) && bytes == PAGE_2M)
		vm->page_order = ORDER_2M;
	else if (parse_size(w->at, w->end, &bytes) || bytes != PAGE_SIZE)
		config_refuse(vm, "psize=%.*s is no page size: accepted are 4K, 2M", WORD_ARGS(w));
}

void config_take_memory(struct vm_config *vm, const struct config_line *l)
{
	if (l->word[LINE_MEM].at)
		take_mem(vm, &l->word[LINE_MEM]);
	if (l->word[LINE_RMA].at)
		take_rma(vm, &l->word[LINE_RMA]);
	if (l->word[LINE_PSIZE].at)
		take_psize(vm, &l->word[LINE_PSIZE]);
	take_bound(vm, "min", &l->word[LINE_MIN], 0, &vm->min);
	take_bound(vm, "max", &l->word[LINE_MAX], MEM_MIN, &vm->max);
	take_shares(vm, &l->word[LINE_SHARES]);
}

/* What mem=, rma= and psize= ask of each other. */
static void check_sizes(struct vm_config *vm)
{
	u64 page = PAGE_SIZE << vm->page_order;

	if (!is_aligned(vm->mem, page))
		config_refuse(vm, "mem=%s is not a multiple of psize=%s: give mem=%s",
			      size_text(vm->mem).text, size_text(page).text,
			      size_text(align_up(vm->mem, page)).text);
	if (!is_aligned(vm->rma, page))
		config_refuse(vm, "rma=%s is not a multiple of psize=%s: give rma=%s",
			      size_text(vm->rma).text, size_text(page).text,
			      size_text(align_up(vm->rma, page)).text);
	if (vm->rma > vm->mem)
		config_refuse(vm, "rma=%s is more than mem=%s: give less rma= or more mem=",
			      size_text(vm->rma).text, size_text(vm->mem).text);
}

/* What min= and max= ask of the others. */
static void check_bounds(struct vm_config *vm)
{
	u64 least = max(vm->min, vm->rma + MEM_MIN);

	if (vm->min > vm->mem)
		config_refuse(vm, "min=%s is more than mem=%s: give less min= or more mem=",
			      size_text(vm->min).text, size_text(vm->mem).text);
	if (vm->max && vm->page_order)
		config_refuse(vm,
			      "max=%s with psize=2M: such pages are never taken: give psize=4K or "
			      "less mem=",
			      size_text(vm->max).text);
	if (vm->max && vm->max < vm->mem && vm->max < least)
		config_refuse(vm,
			      "max=%s is less than min=%s, or than rma=%s and a MiB: give max=%s "
			      "at least",
			      size_text(vm->max).text, size_text(vm->min).text,
			      size_text(vm->rma).text, size_text(least).text);
	if (vm->max >= vm->mem)
		vm->max = 0;
	if (!vm->shares)
		vm->shares = (u32)min(vm->mem / MIB(1), (u64)RECLAIM_SHARES_MAX);
}

void config_check_memory(struct vm_config *vm)
{
	if (!vm->mem)
		vm->mem = MEM_DEFAULT;
	check_sizes(vm);
	check_bounds(vm);
}
