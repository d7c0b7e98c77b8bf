/* SPDX-License-Identifier: MIT */
/*
 * Guest memory objects: contents without addresses. slot_phys[] has one 64-bit entry for each
 * page of the object; entries change by compare-and-exchange, or under the object's lock
 * (LOCK_SLOT_PHYS) where more than one word changes. A memslot (mmu/memslot.h) is a window of gfns
 * onto an object. What mem/ has to tell those who map an object's pages goes through notifiers.
 *
 * An object is made of pages of 4 KiB (order 0) or of 2 MiB (order 9). An index counts 4 KiB pages
 * in both, and an entry that a function gives out names the 4 KiB page of its index.
 *
 * slot_phys[] is kept in chunks of one page of entries each (2 MiB of guest memory at order 0),
 * which come when their first page does and stay as long as the object: an untouched guest costs
 * 16 bytes a chunk, and readers follow the pointers without a lock.
 *
 * Who takes a page away, and who links one:
 *
 *   gmem_invalidate_begin(g, first, pages)     seq = gmem_seq_sample(g, index)
 *   gmem_claim(g, index, &entry)   (BUSY)      gmem_lookup(g, index, write, &pfn)
 *   gmem_unmap(g, first, pages)                lock what guards the link
 *   ... change what the page holds ...           if (gmem_seq_unchanged(g, index, seq)) link pfn
 *   gmem_settle(g, index, entry)               unlock
 *   gmem_invalidate_end(g, first, pages)
 *
 * A link that is made before begin is found by gmem_unmap, whose notifiers take the same guard;
 * one that would come after it is refused. Who changes pages one after the other may end the
 * invalidation once they are unmapped (gmem_take.c): until it is settled BUSY keeps each from being
 * looked up.
 */
#ifndef MEM_GMEM_H
#define MEM_GMEM_H

#include "kernel/base/addr.h"
#include "smp/mutex.h"
#include "smp/wait.h"

/* The state is in the low bits of an entry; the rest is a pfn, handle or block number. */
enum gmem_state {
	GMEM_ABSENT = 0, /* never touched, or known to be all zero */
	GMEM_GOT_PAGE,	 /* resident; pfn */
	GMEM_SHARED,	 /* resident, read-only; pfn; a write copies */
	GMEM_PACKED,	 /* compressed pool; handle */
	GMEM_SWAPPED,	 /* swap disk; block */
	GMEM_BUSY,	 /* one thread is changing it; wait on the object */
	GMEM_FILLED,	 /* one word all over, which the entry tells */
	GMEM_STATES
};
#define GMEM_STATE_BITS 3
#define GMEM_STATE_MASK (BIT(GMEM_STATE_BITS) - 1)
#define GMEM_DIRTY	BIT(3) /* was writable since it was last clean */
#define GMEM_GIVEN	BIT(3) /* of ABSENT: the guest gave it back, and has not touched it since */
#define GMEM_FOREIGN	BIT(4) /* someone else's frame: never freed with the object, never claimed */
#define GMEM_HARD	BIT(5) /* does not pack, unless it was written since: DIRTY says so */
#define GMEM_WANTED	BIT(6) /* of BUSY: somebody waits for the page */
#define GMEM_LOST	BIT(5) /* of SWAPPED: the block cannot be read, */
#define GMEM_DAMAGED	BIT(6) /* or is not what was written: LOST, too */
#define GMEM_PACKS	BIT(3) /* of SWAPPED: it went there although it packs */
#define GMEM_GEN_SHIFT	7      /* the generation it was used in last, modulo 8 */
#define GMEM_GEN_MASK	(7ull << GMEM_GEN_SHIFT)
#define GMEM_COLD	BIT(10) /* of a resident page: it has come, and not proved to be used again */
#define GMEM_KEPT	BIT(11) /* of GOT_PAGE: the swap disk has it, as it is unless it is DIRTY */
/* When the page was taken, in so many steps; of what is put away elsewhere than in a frame */
#define GMEM_STAMP_SHIFT 7
#define GMEM_STAMPS	 32u
#define GMEM_STAMP_MASK	 ((GMEM_STAMPS - 1ull) << GMEM_STAMP_SHIFT)
#define GMEM_PFN_SHIFT	 12

#define GMEM_PAGES_MAX	   BIT(36)
#define GMEM_CHUNK_ENTRIES (PAGE_SIZE / sizeof(u64))
#define GMEM_PINS_MAX	   1024 /* pins of an object without an account, at a time */

#define GMEM_LARGE_ORDER 9
#define GMEM_LARGE_PAGES BIT(GMEM_LARGE_ORDER)

/*
 * Invalidations are counted for each 2 MiB of the object, hashed to this many words, so that one
 * does not disturb faults elsewhere. The low bits of a word count those under way, the rest those
 * that ended. They change together in one locked add (R09).
 */
#define GMEM_SEQ_BUCKETS    16
#define GMEM_SEQ_COUNT_BITS 16
#define GMEM_SEQ_COUNT_MASK (BIT(GMEM_SEQ_COUNT_BITS) - 1)

/* How many pins the objects of a VM have in all, and may have. pins is atomic. */
struct gmem_account {
	u32 pins;
	u32 pins_max;
};

struct gmem_chunk {
	u64 *entries; /* atomic; NULL: all of them ABSENT */
	u16 resident; /* atomic; entries in GOT_PAGE or SHARED; exact when nobody changes any */
	u8 scattered; /* atomic; when all were resident they were no large page; none has left since */
	u32 place;    /* atomic; which 2 MiB of memory its pages are best put in; GMEM_PLACE_* */
};
#define GMEM_PLACE_OPEN 0   /* to be chosen at the first touch */
#define GMEM_PLACE_NONE ~0u /* anywhere: none was free, or a page is elsewhere already */

struct gmem {
	/* set once */
	u64 pages;
	u32 order;
	struct gmem_chunk *slot_phys; /* gmem_entry() reads one entry */
	struct gmem_account *account;
	u32 share_group; /* with whose pages its own may have contents in common; 0: none */
	void (*on_free)(void *arg); /* NULL: nobody wants to know */
	void *on_free_arg;
	void (*on_lost)(void *arg, u64 index, u64 block, int err); /* likewise */
	void *on_lost_arg;
	/* atomic */
	u64 seq[GMEM_SEQ_BUCKETS] __aligned(64);
	u64 resident __aligned(64); /* 4 KiB pages in GOT_PAGE or SHARED */
	u64 peak;		    /* the most that resident was before it last went down */
	u64 generation;		    /* of pages that are used now (mem/reclaim.h) */
	u64 resident_min;	    /* pages that it was promised, */
	u64 resident_max;	    /* and that it may have: above it none is got */
	u64 owed;     /* of watermarks.owed, for pages that it has not, or that went since */
	u64 fetched;  /* pages whose contents came back from where they were put; */
	u64 refaults; /* pages put away that are there again, but had stayed in twice the memory */
	u64 taken;    /* pages that were put away */
	u64 removed;  /* pages that held something when they were dropped */
	u64 in_state[GMEM_STATES]; /* entries; but for GOT_PAGE and ABSENT */
	u64 alone;	  /* SHARED ones whose contents no other page has, nor anybody holds */
	u64 packed_bytes; /* what its packed pages have been packed to, each for itself */
	u32 refs;	  /* memslots and the VM */
	u32 swapping;	  /* pages on their way to or from the swap disk */
	u32 waiting;	  /* threads that wait for BUSY pages, or are about to */
	struct gmem_account own; /* where account points until one is set */
	/* lock */
	struct spinlock lock; /* slot_phys_lock */
	u32 pins;	      /* sum of the pins of its pages */
	/* notify_sem */
	struct rwsem notify_sem;
	struct list notifiers;
	/* their own locks */
	struct wait_queue busy; /* waiters on BUSY entries */
	struct wait_queue idle; /* waiters on invalidations that are under way */
};

/* --- Life ----------------------------------------------------------------------------------- */

/*
 * pages counts 4 KiB pages; order is 0 or GMEM_LARGE_ORDER. The caller has one reference. Thread
 * context. ERR_NOMEM; ERR_RANGE: 0 pages or more than 2^36; ERR_INVAL: another order; ERR_ALIGN:
 * not a whole number of the object's own pages.
 */
int gmem_create_order(u64 pages, u32 order, struct gmem **out);
int gmem_create(u64 pages, struct gmem **out); /* order 0 */
/* Before the first pin. a outlives the object. NULL: the object's own bound of GMEM_PINS_MAX. */
void gmem_set_account(struct gmem *g, struct gmem_account *a);
/*
 * Before pages of it are taken: equal pages of one group, 1 to 65535, are kept once (mem/share.h).
 */
void gmem_set_share_group(struct gmem *g, u32 group);
void gmem_ref(struct gmem *g); /* any context */
/*
 * Thread context. The last one frees every frame but the foreign ones; none may be pinned or BUSY
 * then, no notifier registered and no invalidation under way. It waits for what is on its way to or
 * from the swap disk, and may sleep then.
 */
void gmem_unref(struct gmem *g);

/*
 * Whether a frame may go into a table or words for its pages now, not for a page: above the min
 * watermark, or out of what is kept for it where it has less than it was promised. Any context.
 */
bool gmem_admits_table(const struct gmem *g);

/* The most that resident has been. Any context. */
u64 gmem_resident_peak(const struct gmem *g);

/*
 * 4 KiB pages by state, without a look at the entries: exact while nobody changes any. Any context.
 */
void gmem_count_states(const struct gmem *g, u64 pages[GMEM_STATES]);

/*
 * 4 KiB pages that were dropped and not touched since. A touch counts nothing, so that it costs
 * nothing: this looks at the entries, 8 bytes for each page of 2 MiB that are not all resident, if
 * anything was ever dropped. Any context; approximate while pages change.
 */
u64 gmem_given_back(const struct gmem *g);

/* --- Entries -------------------------------------------------------------------------------- */

static inline enum gmem_state gmem_entry_state(u64 e)
{
	return e & GMEM_STATE_MASK;
}

static inline pfn_t gmem_entry_pfn(u64 e)
{
	return PFN(e >> GMEM_PFN_SHIFT);
}

/* The entry as it is now (GMEM_ABSENT beyond the end). Any context. */
u64 gmem_entry(const struct gmem *g, u64 index);

/*
 * The page if it is resident and fit for the access, without sleeping, allocating or locking: 0,
 * ERR_TOO_HARD. For writing it becomes dirty. Exit context. The page is the caller's only while
 * gmem_seq_unchanged, under the lock that guards its link (R08).
 */
int gmem_lookup(struct gmem *g, u64 index, bool write, pfn_t *out);
/*
 * The same for who maps the page: if may_write for writing as well, whatever is wanted of it now,
 * unless it is only read and does not pack, for reclaim would try that in vain again. 1: the mapping
 * may allow writes, and the page is dirty; 0: it may not; ERR_TOO_HARD.
 */
int gmem_lookup_to_map(struct gmem *g, u64 index, bool write, bool may_write, pfn_t *out);

/* Never touched, or dropped, or known to be all zero. Any context. */
static inline bool gmem_is_absent(const struct gmem *g, u64 index)
{
	u64 at = index >> g->order;
	const u64 *entries;

	if (index >= g->pages)
		return true;
	entries = __atomic_load_n(&g->slot_phys[at / GMEM_CHUNK_ENTRIES].entries, __ATOMIC_ACQUIRE);
	return !entries || gmem_entry_state(__atomic_load_n(&entries[at % GMEM_CHUNK_ENTRIES],
							    __ATOMIC_ACQUIRE)) == GMEM_ABSENT;
}

/* false: gmem_large would say no. index < pages. Any context. */
static inline bool gmem_looks_large(const struct gmem *g, u64 index)
{
	const struct gmem_chunk *chunk = &g->slot_phys[(index >> g->order) / GMEM_CHUNK_ENTRIES];

	return g->order ||
	       (__atomic_load_n(&chunk->resident, __ATOMIC_ACQUIRE) == GMEM_CHUNK_ENTRIES &&
		!__atomic_load_n(&chunk->scattered, __ATOMIC_RELAXED));
}

/*
 * Whether the 2 MiB of the object that index is in are one piece of memory that is aligned to its
 * size and may be written: *out is its first frame, and all its pages are dirty then. As
 * gmem_lookup otherwise. Looks at all of them where it looks so (gmem_looks_large).
 */
bool gmem_large(struct gmem *g, u64 index, pfn_t *out);

/*
 * Makes the page resident (a zeroed frame at first touch); for writing in a frame of its own. Two
 * that come at once: one wins, the other's frame goes back (R34), or at order 9 the other waits.
 * Takes no reference (R12). Thread context, may sleep; LOCK_NOTIFY, for writing; LOCK_SLOT_PHYS,
 * LOCK_SHARE, LOCK_POOL, LOCK_SWAP, LOCK_SLAB, LOCK_ZONE, LOCK_WAIT. Where the swap disk has it, it
 * takes as long as that. 0, ERR_NOMEM, ERR_RANGE; ERR_IO, ERR_CORRUPT: what it held is lost there;
 * ERR_NOTSUP: in a state that nothing here leads out of.
 */
int gmem_get_page(struct gmem *g, u64 index, bool write, pfn_t *out);

/*
 * As gmem_get_page, and the frame, which is the page's own, stays until gmem_unpin. At order 9 the pin is on the whole
 * 2 MiB. LOCK_SLOT_PHYS. ERR_NOSPC: over the account's bound, or 65535 pins of one frame.
 */
int gmem_pin(struct gmem *g, u64 index, bool write, pfn_t *out);
/*
 * dirty: the page was written to by other means than a guest's mapping. Thread context, may be
 * under any lock below LOCK_SLOT_PHYS.
 */
void gmem_unpin(struct gmem *g, u64 index, pfn_t pfn, bool dirty);

/*
 * The same for as long as one access of Weir's own takes, which for reading may be in a frame that
 * others show too, and that the page leaves when it is written meanwhile: not charged to the account, so that a
 * guest that has pinned all it may can still be served. ERR_NOSPC: 65535 pins of one frame.
 */
int gmem_hold(struct gmem *g, u64 index, bool write, pfn_t *out);
void gmem_release(struct gmem *g, u64 index, pfn_t pfn, bool dirty);

/* --- Changing what an entry holds ----------------------------------------------------------- */

/*
 * For whoever changes what an entry holds and needs time for it: claim makes a page that was
 * touched BUSY and tells what it was; settle stores what it has become and wakes those who wait.
 * Neither allocates (R38). Between them the claimer unmaps the page everywhere, as drawn above.
 * Thread context; LOCK_SLOT_PHYS, LOCK_WAIT. ERR_BUSY: pinned, foreign, or BUSY already.
 * ERR_NOENT: ABSENT. ERR_RANGE. ERR_NOTSUP: the object's pages are of 2 MiB, which stay whole.
 */
int gmem_claim(struct gmem *g, u64 index, u64 *entry);
bool gmem_stays(const struct gmem *g, u64 index); /* pinned or foreign now. Any context */
void gmem_settle(struct gmem *g, u64 index, u64 entry);

/*
 * Drops contents, which a guest gives back: the pages' next touch is a first touch, and until then
 * they are GIVEN; what held something counts in `removed`. Begins and ends an invalidation of its
 * own where there is something to drop, and waits, holding nothing, for pages that are BUSY.
 * Pages that are ABSENT already are dropped. Thread context, may sleep, never allocates;
 * LOCK_NOTIFY, LOCK_SLOT_PHYS, LOCK_SHARE, LOCK_POOL, LOCK_SWAP, LOCK_SLAB, LOCK_ZONE, LOCK_WAIT.
 * What was not dropped is as it was; *done, which may be NULL, counts the pages from first that are
 * ABSENT now. ERR_BUSY: a page is pinned or foreign. ERR_RANGE. ERR_ALIGN: not whole pages of the
 * object. ERR_NOTSUP as gmem_get_page.
 */
int gmem_drop_range(struct gmem *g, u64 first, u64 pages, u64 *done);
/* The one page of the object at index. */
int gmem_drop(struct gmem *g, u64 index);
/*
 * What the page holds elsewhere than in a frame is dropped, without being brought back first. False:
 * it holds nothing there, or is BUSY. Never sleeps; LOCK_SHARE, LOCK_POOL, LOCK_SWAP, LOCK_SLAB,
 * LOCK_ZONE, LOCK_WAIT.
 */
bool gmem_drop_stored(struct gmem *g, u64 index);
/*
 * The same, and the page holds these 4 KiB from now on, in a frame: nobody finds it without either.
 * False: as above, or there is no frame for it, and it is as it was. Thread context; locks as above.
 */
bool gmem_write_stored(struct gmem *g, u64 index, const void *page);
/*
 * The same of a page that is this word all over, which needs no frame where an entry can tell the word:
 * it stays where it is then, as if it had been taken so, and with 0 it is ABSENT, but where memory is
 * too short for a first touch.
 */
bool gmem_fill_stored(struct gmem *g, u64 index, u64 word);

/*
 * Fills entries with contiguous frames from pfn up, which stay the caller's (GMEM_FOREIGN). All or
 * nothing. Thread context. ERR_EXIST: one of the entries is not ABSENT. ERR_ALIGN: not whole pages
 * of the object, or pfn is not aligned to them. ERR_RANGE; ERR_NOMEM; ERR_INVAL: a frame that is
 * no RAM.
 */
int gmem_fill(struct gmem *g, u64 first, pfn_t pfn, u64 pages);
/* The same of reserved frames of RAM, order 0: they are the object's own from now on. */
int gmem_adopt(struct gmem *g, u64 first, pfn_t pfn, u64 pages);
/*
 * fn is called once, in thread context, when the object is gone and with it every use of the frames
 * that it was filled with. Before anyone else has the object. ERR_EXIST: it has such a one.
 */
int gmem_on_free(struct gmem *g, void (*fn)(void *arg), void *arg);

/*
 * fn is called in thread context by whoever touches a page that is lost, each time, under whatever
 * that holds; err is ERR_IO or ERR_CORRUPT. Before anyone else has the object.
 */
void gmem_on_lost(struct gmem *g, void (*fn)(void *arg, u64 index, u64 block, int err), void *arg);

/* What became of pages that gmem_take was to take. */
struct gmem_taken {
	u64 freed;  /* frames that came free: */
	u64 zero;   /* the pages were all zero, */
	u64 filled; /* were one word all over, */
	u64 packed; /* were packed, */
	u64 shared; /* or were those of others */
	u64 writing; /* are on their way to the swap disk: their frames come free when they are there */
	u64 hard;   /* do not pack, and stayed; others may come to share them */
	u64 wanted; /* were touched meanwhile, and stayed */
	u64 kept;   /* were not there, pinned or busy */
	bool full;  /* there was no memory to put one away: nothing after it was tried */
};

/*
 * Takes the frames of pages away and puts their contents where mem/tier.h says; the pages of
 * [first, first + pages), which is in one 2 MiB, that have a bit in `marked` (bit 0 is first). Who
 * touches one that is being taken gets it back at once. What is lacked more by that of what was promised
 * is kept (gmem_keep_promised, watermark_keep_copy). Begins and ends invalidations of its own.
 * Thread context, may sleep; the locks of gmem_drop_range. Adds to *t. Does nothing to an object of
 * 2 MiB pages.
 */
void gmem_take(struct gmem *g, u64 first, u64 pages, const u64 *marked, struct gmem_taken *t);

/*
 * Begins to write packed pages of [first, first + pages), which is in one 2 MiB, to the swap disk: at
 * most so many, that were put away so many steps ago at least (gmem_private.h), and whose contents
 * no other page has. Each takes a frame until it is written. Returns how many are under way. Thread
 * context, may sleep; LOCK_POOL, LOCK_SWAP, LOCK_ZONE.
 */
u64 gmem_write_packed(struct gmem *g, u64 first, u64 pages, u32 steps, u64 most);

/* --- Invalidation --------------------------------------------------------------------------- */

static inline u32 gmem_seq_bucket(u64 index)
{
	return (index >> GMEM_LARGE_ORDER) % GMEM_SEQ_BUCKETS;
}

/* Before the page is looked up (R08). Any context. */
static inline u64 gmem_seq_sample(const struct gmem *g, u64 index)
{
	return __atomic_load_n(&g->seq[gmem_seq_bucket(index)], __ATOMIC_ACQUIRE);
}

/* No invalidation was under way when it was sampled. Any context. */
static inline bool gmem_seq_idle(u64 sample)
{
	return (sample & GMEM_SEQ_COUNT_MASK) == 0;
}

/*
 * No invalidation was under way at the sample, and none has begun since. Any context; the caller
 * holds what guards the link that depends on it.
 */
static inline bool gmem_seq_unchanged(const struct gmem *g, u64 index, u64 sample)
{
	return gmem_seq_idle(sample) &&
	       __atomic_load_n(&g->seq[gmem_seq_bucket(index)], __ATOMIC_SEQ_CST) == sample;
}

/*
 * Pages [first, first + pages) are about to change; have changed. Invalidations may overlap. They
 * never sleep or allocate: any context but NMI, under any lock below LOCK_WAIT. Every begin has
 * one end with the same range (R10): an end too many panics.
 */
void gmem_invalidate_begin(struct gmem *g, u64 first, u64 pages);
void gmem_invalidate_end(struct gmem *g, u64 first, u64 pages);

/*
 * Sleeps until no invalidation that concerns the page is under way. Thread context, and never
 * inside an invalidation of one's own.
 */
void gmem_wait_idle(struct gmem *g, u64 index);

/* --- Notifiers ------------------------------------------------------------------------------ */

enum gmem_event {
	GMEM_EVENT_UNMAP,      /* no CPU uses a mapping of the pages any more on return */
	GMEM_EVENT_AGE,	       /* as TEST_YOUNG, and they are old from now on */
	GMEM_EVENT_TEST_YOUNG, /* were they used since they were aged last? */
	GMEM_EVENT_SPLIT,      /* map them one by one, so that each is aged for itself */
	GMEM_EVENT_JOIN,       /* map them as one again where that can be */
};

/*
 * notify is called in thread context with notify_sem (LOCK_NOTIFY) held for reading, by several
 * threads at once, and may sleep. Returns the pages that it unmapped, or that were young. young is
 * NULL, or with AGE a bitmap of the caller's own: a bit is set for each page from first that was.
 */
struct gmem_notifier {
	struct list link;
	u64 (*notify)(struct gmem_notifier *n, struct gmem *g, enum gmem_event event, u64 first,
		      u64 pages, u64 *young);
};

/*
 * Thread context; wait for calls under way. After remove n is not called again. One that is added
 * while an invalidation is under way has nothing to unmap: gmem_seq_unchanged keeps it from
 * linking until the end.
 */
void gmem_notifier_add(struct gmem *g, struct gmem_notifier *n);
void gmem_notifier_remove(struct gmem *g, struct gmem_notifier *n);

/*
 * Ask every notifier; the sum of what they answered. Thread context, no lock from LOCK_NOTIFY up
 * held. gmem_unmap only between begin and end of the range.
 */
u64 gmem_unmap(struct gmem *g, u64 first, u64 pages);
u64 gmem_age(struct gmem *g, u64 first, u64 pages);
/* As gmem_age; *young has a bit set for each page that was, bit 0 is first. */
u64 gmem_age_marked(struct gmem *g, u64 first, u64 pages, u64 *young);
bool gmem_test_young(struct gmem *g, u64 first, u64 pages);
void gmem_split(struct gmem *g, u64 first, u64 pages);
void gmem_join(struct gmem *g, u64 first, u64 pages);

#endif
