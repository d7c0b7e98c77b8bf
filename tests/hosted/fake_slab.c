/* SPDX-License-Identifier: MIT */
/* mem/slab.h over the host's allocator, for tests that are not about mem/: leaks show in ASan. */
#include <stdlib.h>
#include "mem/slab.h"
#include "tests/hosted/hosted.h"

void *kmalloc(size_t size)
{
	return hosted_should_fail() ? NULL : calloc(1, size);
}

void kfree(void *p)
{
	free(p);
}
