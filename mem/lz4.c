/* SPDX-License-Identifier: MIT */
#include "mem/lz4.h"

#include <lz4.h>

#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/vector.h"

struct work {
	u8 state[LZ4_STREAM_MINSIZE] __aligned(64);
	u8 bytes[PAGE_SIZE];
	u8 page[PAGE_SIZE] __aligned(8);
};

static_assert(sizeof(struct work) <= VECTOR_SCRATCH_SIZE, "VECTOR_SCRATCH_SIZE");

int __vector_caller lz4_pack(const void *page, u32 most,
			     int (*use)(void *arg, const void *bytes, u32 size), void *arg)
{
	struct vector_state vectors;
	struct work *w;
	int size = 0, err = ERR_NOMEM;

	ASSERT(most <= PAGE_SIZE);
	vector_begin(&vectors);
	w = vector_scratch();
	if (w) {
		size = LZ4_compress_fast_extState(w->state, page, (char *)w->bytes, PAGE_SIZE,
						  (int)most, 1);
		err = size > 0 ? use(arg, w->bytes, (u32)size) : ERR_NOSPC;
	}
	vector_end(&vectors);
	return err;
}

/* Between vector_begin and vector_end. */
static bool unpack(lz4_get_fn get, void *arg, void *page)
{
	struct work *w = vector_scratch();
	u32 size = get(arg, w->bytes);

	return size <= PAGE_SIZE &&
	       LZ4_decompress_safe((const char *)w->bytes, page, (int)size, PAGE_SIZE) == PAGE_SIZE;
}

bool __vector_caller lz4_unpack(lz4_get_fn get, void *arg, void *page)
{
	struct vector_state vectors;
	bool done;

	vector_begin(&vectors);
	done = unpack(get, arg, page);
	vector_end(&vectors);
	return done;
}

bool __vector_caller lz4_holds(lz4_get_fn get, void *arg, const void *page,
			       bool (*equal)(const u64 *a, const u64 *b))
{
	struct vector_state vectors;
	bool same;
	u8 *mine;

	vector_begin(&vectors);
	mine = ((struct work *)vector_scratch())->page;
	BUG_ON(!unpack(get, arg, mine));
	same = equal((const u64 *)(const void *)mine, page);
	vector_end(&vectors);
	return same;
}
