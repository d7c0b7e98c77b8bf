/* SPDX-License-Identifier: MIT */
#include "mem/vector.h"

#include "kernel/base/error.h"
#include "mem/frame.h"
#include "smp/cpu.h"

#define SCRATCH_ORDER 3
static_assert(VECTOR_SCRATCH_SIZE == PAGE_SIZE << SCRATCH_ORDER, "SCRATCH_ORDER");

static void *scratch[CPU_MAX]; /* set once */

int vector_init(void)
{
	pfn_t pfn;

	for (u32 i = 0; i < cpu_count(); i++) {
		if (frame_alloc(SCRATCH_ORDER, FRAME_FOR(SCRATCH), &pfn))
			break;
		scratch[i] = pfn_to_virt(pfn);
	}
	if (scratch[cpu_count() - 1])
		return 0;
	/* All or none: what one CPU packs another unpacks. */
	for (u32 i = 0; i < cpu_count() && scratch[i]; i++) {
		frame_free(virt_to_pfn(scratch[i]), SCRATCH_ORDER);
		scratch[i] = NULL;
	}
	return ERR_NOMEM;
}

void *vector_scratch(void)
{
	return scratch[cpu_id()];
}
