/* SPDX-License-Identifier: MIT */
#include "mem/gmem.h"
#include "tests/unit/mmu/after_pin.h"

void (*after_pin)(void);

int __real_gmem_pin(struct gmem *g, u64 index, bool write, pfn_t *out);
int __wrap_gmem_pin(struct gmem *g, u64 index, bool write, pfn_t *out);

int __wrap_gmem_pin(struct gmem *g, u64 index, bool write, pfn_t *out)
{
	int err = __real_gmem_pin(g, index, write, out);
	void (*fn)(void) = after_pin;

	after_pin = NULL;
	if (fn)
		fn();
	return err;
}
