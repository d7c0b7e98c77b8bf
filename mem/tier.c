/* SPDX-License-Identifier: MIT */
#include "mem/tier.h"

#include "kernel/base/error.h"
#include "kernel/base/panic.h"
#include "kernel/base/string.h"
#include "mem/lz4.h"
#include "mem/pool.h"

static_assert(POOL_HANDLE_BITS + GMEM_PFN_SHIFT <= 64, "a handle goes where a pfn goes");

static bool is_zero(const void *page)
{
	const u64 *p = page;

	for (u32 i = 0; i < PAGE_SIZE / sizeof(*p); i += 8) {
		if (p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] | p[i + 5] | p[i + 6] |
		    p[i + 7])
			return false;
	}
	return true;
}

static u64 packed_entry(u64 handle)
{
	return handle << GMEM_PFN_SHIFT | GMEM_PACKED;
}

static u64 handle_of(u64 entry)
{
	return entry >> GMEM_PFN_SHIFT;
}

struct store {
	struct pool_owner owner;
	u64 entry;
};

static int store(void *arg, const void *bytes, u32 size)
{
	struct store *s = arg;
	u64 handle;
	int err = pool_alloc(size, &s->owner, &handle);

	if (err)
		return err;
	pool_write(handle, bytes);
	s->entry = packed_entry(handle);
	return 0;
}

int tier_put(struct gmem *g, u64 index, const void *page, u64 *entry)
{
	struct store s = {.owner = {g, index}};
	int err;

	if (is_zero(page)) {
		*entry = GMEM_ABSENT;
		return 0;
	}
	err = lz4_pack(page, POOL_OBJECT_MAX, store, &s);
	*entry = s.entry;
	return err;
}

void tier_get(u64 entry, void *page)
{
	struct pool_bytes b;

	BUG_ON(!tier_has(entry));
	b = pool_read(handle_of(entry));
	BUG_ON(!lz4_unpack(b.first, b.first_size, b.second, b.second_size, page));
}

void tier_free(u64 entry)
{
	if (tier_has(entry))
		pool_free(handle_of(entry));
}

int tier_move(struct gmem *g, u64 index, u64 *entry)
{
	struct pool_bytes from = pool_read(handle_of(*entry));
	struct pool_owner owner = {g, index};
	u8 bytes[POOL_OBJECT_MAX];
	u64 handle;
	int err = pool_alloc(from.first_size + from.second_size, &owner, &handle);

	if (err)
		return err;
	memcpy(bytes, from.first, from.first_size);
	if (from.second_size)
		memcpy(bytes + from.first_size, from.second, from.second_size);
	pool_write(handle, bytes);
	pool_free(handle_of(*entry));
	*entry = packed_entry(handle);
	return 0;
}
