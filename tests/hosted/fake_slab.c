/* SPDX-License-Identifier: MIT */
/* mem/slab.h over the host's allocator, for tests that are not about mem/: leaks show in ASan. */
#include <stdlib.h>
#include <string.h>
#include "mem/slab.h"
#include "tests/hosted/hosted.h"

void *kmalloc(size_t size)
{
	void *p;

	if (hosted_should_fail())
		return NULL;
	if (size % PAGE_SIZE)
		return calloc(1, size);
	/* Frames, as the real one has it. */
	p = aligned_alloc(PAGE_SIZE, size);
	return p ? memset(p, 0, size) : NULL;
}

void kfree(void *p)
{
	free(p);
}
