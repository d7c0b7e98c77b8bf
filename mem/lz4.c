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

bool __vector_caller lz4_unpack(const void *first, u32 first_size, const void *second,
				u32 second_size, void *page)
{
	struct vector_state vectors;
	const void *bytes = first;
	u32 size = first_size + second_size;
	int got;

	if (size > PAGE_SIZE)
		return false;
	vector_begin(&vectors);
	if (second_size) {
		u8 *joined = ((struct work *)vector_scratch())->bytes;

		memcpy(joined, first, first_size);
		memcpy(joined + first_size, second, second_size);
		bytes = joined;
	}
	got = LZ4_decompress_safe(bytes, page, (int)size, PAGE_SIZE);
	vector_end(&vectors);
	return got == PAGE_SIZE;
}
