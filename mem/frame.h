/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator: a buddy over all free RAM, orders 0 (4 KiB) to 18 (1 GiB), with a small
 * per-CPU cache of order-0 frames. Debug builds fill frames with FRAME_JUNK_FREE when freed and
 * FRAME_JUNK_ALLOC when handed out (unless zeroed), notice when the first of the two was written
 * over, and catch double frees.
 * Exit and thread context (not interrupt). Takes LOCK_ZONE. Never sleeps.
 */
#ifndef MEM_FRAME_H
#define MEM_FRAME_H

#include "kernel/base/addr.h"
#include "kernel/base/list.h"
#include "kernel/base/stat.h"
#include "mem/frame_node.h"
#include "mem/memmap.h"
#include "smp/rcu.h"

#define FRAME_ORDER_MAX	  18
#define FRAME_LARGE_ORDER 9 /* 2 MiB */

/* In what an allocation asks for beside FRAME_FOR. */
enum frame_flags {
	FRAME_ZERO = 1, /* contents zeroed */
};

/* What frames are used for: counted when one is handed out and when it comes back. */
#define FRAME_USES(X)                                                                         \
	X(OTHER, other, "Frames in use for what has no counter of its own.")                  \
	X(GUEST, guest, "Frames of guests' pages and of modules.")                            \
	X(ENTRIES, entries, "Frames of words that say where guests' pages are.")              \
	X(TABLES, tables, "Frames of EPT and shadow tables, in use or at hand for a vCPU.")   \
	X(RMAPS, rmaps, "Frames of reverse maps, from guests' pages to their table entries.") \
	X(POOL, pool, "Frames of the pool, which packed pages are in.")                       \
	X(SHARE, share, "Frames of the table by which equal pages are found.")                \
	X(SLAB, slab, "Frames that small objects are cut from.")                              \
	X(BLOCKS, blocks, "Frames of objects too large to be cut from one.")                  \
	X(VCPU, vcpu, "Frames that the CPU wants for a vCPU: VMCS, registers, APIC page.")    \
	X(STACKS, stacks, "Frames of threads' stacks.")                                       \
	X(OWN_TABLES, own_tables, "Frames of Weir's own page tables.")                        \
	X(SWAP, swap,                                                                         \
	  "Frames of checksums of the swap disk, and for what is unpacked to go there.")      \
	X(SCRATCH, scratch, "Frames that pages are packed and unpacked in.")                  \
	X(CONSOLE, console,                                                                   \
	  "Frames that keep what VMs wrote to their consoles, and what the pager has to show.")

#define FRAME_USE_ENUM(id, name, sentence) FRAME_USE_##id,
enum frame_use {
	FRAME_USES(FRAME_USE_ENUM) FRAME_USE_COUNT
};
#define FRAME_USE_SHIFT 8
#define FRAME_FOR(id)	((u32)FRAME_USE_##id << FRAME_USE_SHIFT)

/* Of each frame the first 64 bytes are filled, or all with WEIR_DEBUG >= 2. */
#define FRAME_JUNK_FREE	 0xf5
#define FRAME_JUNK_ALLOC 0xa6

/* One for each 4 KiB of RAM. */
struct frame {
	union {
		struct list link;    /* free lists; the owner's use while allocated */
		struct rcu_head rcu; /* while the owner waits for readers to leave */
		struct {
			u64 origin, owners;
		} share;  /* mem/share.c's, while it is FRAME_SHARED */
		u64 kept; /* mem/swap.c's, of a page that is GMEM_KEPT: its entry as it was there */
	};
	u32 refs;    /* atomic; users of an allocated frame; 1 when handed out */
	u16 pins;    /* atomic; > 0: never reclaimed */
	u8 order;    /* of the block it is the first frame of */
	u8 state;    /* the allocator's */
	u16 section; /* index of the GiB it is in */
	/* slab.c's, while it owns the frame; 0 when handed out */
	u8 slab_class; /* class + 1; or FRAME_SHARED: mem/share.c's */
	u8 use;	       /* enum frame_use, while it is allocated */
	u16 slab_free; /* first free object */
	u16 slab_used; /* objects handed out */
};

#define FRAME_SHARED 0xff

static_assert(sizeof(struct frame) <= 32, "the frame array costs at most 1/128 of RAM");

/*
 * Once, boot CPU: builds the array of frames inside free RAM. boot/'s page tables show only the
 * first FRAME_EARLY_END bytes: what lies above is taken by frame_init_high. ERR_NOMEM.
 */
#define FRAME_EARLY_END GIB(4)
int frame_init(const struct memmap *map);

/*
 * Once, boot CPU, when the direct map shows all RAM (after vmap_init_cpu). A GiB whose array of
 * frames finds no room is left out and logged.
 */
void frame_init_high(void);

/* All RAM, in use or not, as given to frame_init. Any context. */
const struct mem_range *frame_ram(u32 *count);

/*
 * So many frames, but for what CPUs have at hand, are left to threads that make memory: who is not
 * between frame_reclaim_begin and _end, which nest, finds none when no more are free. 0: until it is set.
 * Any context; begin and end: thread context.
 */
void frame_leave_to_reclaim(u64 frames);
void frame_reclaim_begin(void);
void frame_reclaim_end(void);

/*
 * 2^order contiguous frames, aligned to their size. flags: FRAME_ZERO | FRAME_FOR(use), FRAME_FOR(OTHER)
 * where none is given. ERR_NOMEM; ERR_INVAL: order too large.
 */
int frame_alloc(u32 order, u32 flags, pfn_t *out);
/*
 * One frame: that with this number in some 2 MiB that are free as a whole. What is left of them is
 * handed out by frame_alloc when there is nothing else; until then frame_alloc_at finds it.
 * ERR_BUSY: no such 2 MiB, or less than half of what is free would be left in such; ERR_INVAL:
 * number. ERR_NOMEM: what is free is left to reclaim, or a test makes it fail.
 */
int frame_alloc_apart(u32 number, u32 flags, pfn_t *out);
/* This frame and no other. ERR_BUSY: not free, or in another CPU's cache. ERR_NOMEM as above. */
int frame_alloc_at(pfn_t pfn, u32 flags);
/* The order it was allocated with. Panics when the block is not allocated or is pinned. */
void frame_free(pfn_t pfn, u32 order);

/*
 * Takes so many contiguous frames out of the allocator's hands, wherever free memory has them, from
 * a multiple of align (a power of two): they are reserved and no longer counted until
 * frame_release_range brings them back. What they hold is undefined. Looks at every frame: for what
 * is set aside at boot. Thread context. ERR_NOMEM; ERR_RANGE: no pages.
 */
int frame_reserve(u64 pages, u64 align, pfn_t *out);

/*
 * Reserved frames of RAM, from init or frame_reserve, become single ones that were allocated, with
 * what they hold, as guests' pages are. Boot CPU, thread context. may_adopt: it is such a one.
 */
bool frame_may_adopt(pfn_t pfn);
void frame_adopt(pfn_t pfn, u64 pages);

/* order-0 convenience: a direct-map pointer, or NULL. */
void *frame_alloc_page(u32 flags);
void frame_free_page(void *page);

struct frame *frame_of(pfn_t pfn); /* NULL where there is no RAM of ours */
pfn_t frame_pfn(const struct frame *f);

#define FRAME_STATS(X)                                                                \
	X(total, "frames", "Frames of 4 KiB that the allocator manages.", STAT_LEVEL) \
	X(free, "frames", "Frames that are free, those in CPUs' caches too.", STAT_LEVEL)

/* All that are not free have a use: total is the sum of free and of what frame_use_stat_group says. */
struct frame_stats {
	FRAME_STATS(STAT_FIELD)
};
/* Exact while nobody allocates or frees. */
void frame_get_stats(struct frame_stats *out);
extern struct stat_group frame_stat_group;
extern struct stat_group frame_use_stat_group;
u64 frame_used_for(enum frame_use use); /* exact as above */

/* Frames that are free, but for those in CPUs' caches. Any context, no lock. */
static inline u64 frame_free_estimate(void)
{
	u64 free = frame_node_free(0);

	for (u32 node = 1; unlikely(node < frame_node_count); node++)
		free += frame_node_free(node);
	return free;
}
/* What CPUs have in their caches comes to be free for all; returns how many that were. LOCK_ZONE. */
u32 frame_drain(void);

/*
 * Gives a range (page-aligned, reserved at init or by frame_reserve) to the allocator. Boot CPU,
 * thread context. Frames of it that are not RAM are passed over with a warning; a frame that is not
 * reserved is a double free, and panics.
 */
void frame_release_range(u64 start, u64 end);

#endif
