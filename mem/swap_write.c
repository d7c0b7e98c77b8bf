/* SPDX-License-Identifier: MIT */
/* Pages that go to the swap disk. */
#include "kernel/base/panic.h"
#include "mem/frame.h"
#include "mem/swap_private.h"
#include "mem/tier.h"
#include "smp/timer.h"

static bool may_write(void)
{
	return __atomic_load_n(&swap.device, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&swap.given_up, __ATOMIC_RELAXED) && swap_blocks_free();
}

/* Where it has none writes are under way, for reads leave it some. */
static bool has_room(void)
{
	return __atomic_load_n(&swap.spare_writes, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&swap.spare, __ATOMIC_RELAXED);
}

bool swap_takes(void)
{
	return may_write() && has_room();
}

bool swap_is_busy(void)
{
	return may_write() && !has_room();
}

static void write_ended(int err, bool packed, u64 took)
{
	spin_lock(&swap.lock);
	swap.stats.writes += !err;
	swap.stats.packed += !err && packed;
	swap.stats.write += took;
	swap.stats.write_errors += err != 0;
	spin_unlock(&swap.lock);
	swap_count_error(&swap.write_errors, err);
}

/* Whether the entry is still the op's to settle. */
static bool take_settling(struct swap_op *op)
{
	bool mine;

	spin_lock(&swap.lock);
	mine = op->state == OP_WRITING;
	if (mine)
		op->state = OP_SETTLING;
	spin_unlock(&swap.lock);
	return mine;
}

static bool was_packed(u64 entry)
{
	return gmem_entry_state(entry) == GMEM_PACKED;
}

/* The page is there, and no more where it was. What its entry becomes. */
static u64 entry_of_written(const struct swap_op *op)
{
	u64 entry = op->request.block << GMEM_PFN_SHIFT | GMEM_SWAPPED;
	struct gmem *g = op->g;

	if (was_packed(op->entry)) {
		tier_free(g, op->entry);
		return entry | GMEM_PACKS | (op->entry & GMEM_STAMP_MASK);
	}
	frame_free(gmem_entry_pfn(op->entry), 0);
	entry |= gmem_stamp_bits(g) | (gmem_entry_hard(op->entry) ? 0 : GMEM_PACKS);
	__atomic_fetch_add(&g->taken, 1, __ATOMIC_RELAXED);
	return entry;
}

static void finish_write(struct swap_op *op, int err)
{
	bool packed = was_packed(op->entry);
	struct gmem *g = op->g;

	if (!take_settling(op)) {
		swap_drop_block(op->request.block, err);
	} else if (err) {
		swap_drop_block(op->request.block, err);
		gmem_settle(g, op->index, op->entry);
		swap_release_object(g);
	} else {
		gmem_settle(g, op->index, entry_of_written(op));
		swap_release_object(g);
	}
	/* It was made for the writing alone. */
	if (packed)
		frame_free(virt_to_pfn(op->request.page), 0);
	__atomic_fetch_add(&swap.written, 1, __ATOMIC_RELEASE);
	swap_op_end(op);
}

static void write_done(struct swap_request *r)
{
	struct swap_op *op = container_of(r, struct swap_op, request);

	write_ended(r->err, was_packed(op->entry), clock_ns() - op->begun_ns);
	finish_write(op, r->err);
}

static bool begin_write(struct gmem *g, u64 index, u64 *e, u64 entry, void *page,
			struct list *batch)
{
	struct swap_op *op;
	u64 block;

	if (!swap_takes() || !swap_op_reserve(true, 0))
		return false;
	block = swap_block_get();
	if (!block) {
		swap_op_unreserve(true);
		return false;
	}
	/* Before anybody can take the page back and write to it. */
	swap_block_sum(block, page);
	op = swap_op_begin(g, index, e, entry, OP_WRITING);
	op->request = (struct swap_request){
		.block = block, .page = page, .write = true, .done = write_done};
	list_add_tail(&op->request.link, batch);
	/* Who marked it before the op was to be found has looked for it in vain. */
	if (gmem_entry_load(e) & GMEM_WANTED)
		swap_give_back(g, index);
	return true;
}

bool swap_write(struct gmem *g, u64 index, u64 *e, u64 entry, struct list *batch)
{
	return begin_write(g, index, e, entry, pfn_to_virt(gmem_entry_pfn(entry)), batch);
}

bool swap_write_packed(struct gmem *g, u64 index, u64 *e, u64 entry, pfn_t pfn, struct list *batch)
{
	return begin_write(g, index, e, entry, pfn_to_virt(pfn), batch);
}

/* What was given back by now need not be written. */
static void drop_given_back(struct list *batch)
{
	struct swap_request *r, *next;

	list_for_each_entry_safe (r, next, batch, link) {
		struct swap_op *op = container_of(r, struct swap_op, request);
		bool given_back;

		spin_lock(&swap.lock);
		given_back = op->state == OP_GIVEN_BACK;
		spin_unlock(&swap.lock);
		if (!given_back)
			continue;
		list_del(&r->link);
		finish_write(op, 0);
	}
}

void swap_submit(struct list *batch)
{
	struct swap_device *d = __atomic_load_n(&swap.device, __ATOMIC_ACQUIRE);

	drop_given_back(batch);
	if (!list_empty(batch))
		d->submit(d, batch);
}

void swap_give_back(struct gmem *g, u64 index)
{
	struct swap_op *op, *found = NULL;
	u64 entry = 0;

	if (!__atomic_load_n(&swap.device, __ATOMIC_ACQUIRE))
		return;
	spin_lock(&swap.lock);
	list_for_each_entry (op, &swap.busy_ops, link) {
		if (op->state == OP_WRITING && op->g == g && op->index == index)
			found = op;
	}
	if (found) {
		found->state = OP_GIVEN_BACK;
		entry = found->entry;
		swap.stats.given_back++;
	}
	spin_unlock(&swap.lock);
	if (!found)
		return;
	if (!was_packed(entry))
		entry = (entry & ~GMEM_GEN_MASK) | gmem_generation_bits(g);
	gmem_settle(g, index, entry);
	swap_release_object(g);
}

u64 swap_written(void)
{
	return __atomic_load_n(&swap.written, __ATOMIC_ACQUIRE);
}

static bool is_writing(void)
{
	return __atomic_load_n(&swap.spare_writes, __ATOMIC_ACQUIRE) < SWAP_WRITES_MAX;
}

bool swap_wait_written(u64 deadline_ns)
{
	u64 written = swap_written();

	if (!__atomic_load_n(&swap.device, __ATOMIC_ACQUIRE) || !is_writing())
		return false;
	(void)wait_event_until(&swap.progress, swap_written() != written || !is_writing(),
			       deadline_ns);
	return true;
}
