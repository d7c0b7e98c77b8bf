/* SPDX-License-Identifier: MIT */
/*
 * Guest memory by guest physical address. For each page: find the slot in an SRCU reader, hold the
 * page, copy, release. Holds rather than mem_sem, because device emulation copies under LOCK_DEVICE,
 * which comes after it, and because reclaim then waits for one page and not for every copy.
 */
#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "mmu/shadow_private.h"

enum operation {
	OP_READ,
	OP_WRITE,
	OP_ZERO,
	OP_FILL,
	OP_CMPXCHG
};

/* What is done to the bytes of one page. */
struct piece {
	enum operation op;
	u8 *to;		/* OP_READ */
	const u8 *from; /* OP_WRITE */
	u64 size;
	u64 *old; /* OP_CMPXCHG: in and out */
	u64 new_value, new_high;
	u64 word;   /* OP_FILL */
	bool marks; /* A and D in a page-table entry are set, nothing else */
};

/*
 * A guest's vCPU may be at the same bytes. Words are single accesses, as page-table entries and
 * descriptor rings ask for; what else is copied has no order, as with a device's DMA.
 */
static bool is_word(const void *p, u64 size)
{
	return (size == 2 || size == 4 || size == 8) && is_aligned((u64)p, size);
}

static u64 load_word(const void *p, u64 size)
{
	switch (size) {
	case 2:
		return __atomic_load_n((const u16 *)p, __ATOMIC_ACQUIRE);
	case 4:
		return __atomic_load_n((const u32 *)p, __ATOMIC_ACQUIRE);
	default:
		return __atomic_load_n((const u64 *)p, __ATOMIC_ACQUIRE);
	}
}

static void store_word(void *p, u64 size, u64 value)
{
	switch (size) {
	case 2:
		__atomic_store_n((u16 *)p, (u16)value, __ATOMIC_RELEASE);
		break;
	case 4:
		__atomic_store_n((u32 *)p, (u32)value, __ATOMIC_RELEASE);
		break;
	default:
		__atomic_store_n((u64 *)p, value, __ATOMIC_RELEASE);
	}
}

static void copy_out(u8 *to, const u8 *guest, u64 size)
{
	if (is_word(guest, size)) {
		u64 value = load_word(guest, size);

		memcpy(to, &value, size);
	} else {
		memcpy(to, guest, size);
	}
}

static void copy_in(u8 *guest, const u8 *from, u64 size)
{
	if (is_word(guest, size)) {
		u64 value = 0;

		memcpy(&value, from, size);
		store_word(guest, size, value);
	} else {
		memcpy(guest, from, size);
	}
}

/*
 * Also of a word that lies across two cache lines: the CPU locks the bus for it, as it does for the
 * guest's own (vmx/vmxon.c sees to it that it raises no #AC here).
 */
#define CMPXCHG_ANYWHERE(type, p, old, new_value)                          \
	({                                                                 \
		type seen_ = (type) * (old);                               \
		bool done_;                                                \
		__asm__ volatile("lock cmpxchg %3, %1"                     \
				 : "=@ccz"(done_), "+m"(*(p)), "+a"(seen_) \
				 : "q"((type)(new_value))                  \
				 : "memory");                              \
		*(old) = seen_;                                            \
		done_ ? 0 : ERR_AGAIN;                                     \
	})

#define CMPXCHG(type, p, old, new_value)                                                         \
	({                                                                                       \
		type seen_ = (type) * (old);                                                     \
		bool done_ = __atomic_compare_exchange_n((type *)(p), &seen_, (type)(new_value), \
							 false, __ATOMIC_SEQ_CST,                \
							 __ATOMIC_SEQ_CST);                      \
		*(old) = seen_;                                                                  \
		done_ ? 0 : ERR_AGAIN;                                                           \
	})

static int compare_exchange_16(u8 *guest, const struct piece *p)
{
	bool done;

	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(done), "+m"(*(unsigned __int128 *)(void *)guest),
			   "+a"(p->old[0]), "+d"(p->old[1])
			 : "b"(p->new_value), "c"(p->new_high)
			 : "memory");
	return done ? 0 : ERR_AGAIN;
}

static int compare_exchange_unaligned(u8 *guest, const struct piece *p)
{
	struct {
		u8 bytes[8];
	} *word = (void *)guest;

	switch (p->size) {
	case 2:
		return CMPXCHG_ANYWHERE(u16, word, p->old, p->new_value);
	case 4:
		return CMPXCHG_ANYWHERE(u32, word, p->old, p->new_value);
	default:
		return CMPXCHG_ANYWHERE(u64, word, p->old, p->new_value);
	}
}

static int compare_exchange(u8 *guest, const struct piece *p)
{
	if (unlikely(!is_aligned((u64)guest, p->size)))
		return compare_exchange_unaligned(guest, p);
	switch (p->size) {
	case 1:
		return CMPXCHG(u8, guest, p->old, p->new_value);
	case 2:
		return CMPXCHG(u16, guest, p->old, p->new_value);
	case 4:
		return CMPXCHG(u32, guest, p->old, p->new_value);
	case 8:
		return CMPXCHG(u64, guest, p->old, p->new_value);
	default:
		return compare_exchange_16(guest, p);
	}
}

static int apply(u8 *guest, const struct piece *p)
{
	switch (p->op) {
	case OP_READ:
		copy_out(p->to, guest, p->size);
		return 0;
	case OP_WRITE:
		copy_in(guest, p->from, p->size);
		return 0;
	case OP_ZERO:
		memset(guest, 0, p->size);
		return 0;
	default:
		return compare_exchange(guest, p);
	}
}

bool mmu_is_protected(struct mmu_vm *vm, gpa_t gpa)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s;
	u64 generation;
	bool is = memslot_look_up(vm, gpa_to_gfn(gpa), true, &s, &generation) == 0 &&
		  rmap_has_flag(s, gpa_to_gfn(gpa), RMAP_PROTECTED);

	srcu_read_unlock(&vm->srcu, reader);
	return is;
}

/* After the write: a log that is read in between has it in the next round (R21). */
static void note_written(struct mmu_vm *vm, const struct memslot *s, gpa_t gpa,
			 const struct piece *p)
{
	mmu_dirty_note(vm, s, gpa_to_gfn(gpa));
	if (likely(!vm->shadow))
		return;
	if (!p->marks)
		shadow_written(vm, s, gpa, p->size);
	else if (p->size == 4)
		shadow_marked(vm, s, gpa);
}

/* What is overwritten whole need not be brought back first. False: it has to be written where it is. */
static bool replace_stored(struct gmem *g, u64 index, const struct piece *p)
{
	switch (p->op) {
	case OP_ZERO:
		return gmem_drop_stored(g, index);
	case OP_WRITE:
		return gmem_write_stored(g, index, p->from);
	case OP_FILL:
		return gmem_fill_stored(g, index, p->word);
	default:
		return false;
	}
}

static int on_page(struct mmu_vm *vm, const struct memslot *s, gpa_t gpa, const struct piece *p)
{
	u64 index = memslot_index(s, gpa_to_gfn(gpa));
	bool write = p->op != OP_READ;
	pfn_t pfn;
	int err;

	if (write && rmap_has_flag(s, gpa_to_gfn(gpa), RMAP_PROTECTED))
		return ERR_PERM;
	if (p->op == OP_ZERO && gmem_entry_state(gmem_entry(s->object, index)) == GMEM_ABSENT)
		return 0;
	if (p->size == PAGE_SIZE && replace_stored(s->object, index, p)) {
		note_written(vm, s, gpa, p);
		return 0;
	}
	if (p->op == OP_FILL)
		return ERR_STORED;
	err = gmem_hold(s->object, index, write, &pfn);
	if (err)
		return err;
	err = apply((u8 *)pfn_to_virt(pfn) + (gpa.v & (PAGE_SIZE - 1)), p);
	gmem_release(s->object, index, pfn, write && err == 0);
	if (write && err == 0)
		note_written(vm, s, gpa, p);
	return err;
}

/* One try, in a reader. *invalid: the slot is on its way out, in an array of this generation. */
static int try_piece(struct mmu_vm *vm, gpa_t gpa, const struct piece *p, bool *invalid,
		     u64 *generation)
{
	u32 reader = srcu_read_lock(&vm->srcu);
	const struct memslot *s;
	int err = memslot_look_up(vm, gpa_to_gfn(gpa), p->op != OP_READ, &s, generation);

	*invalid = err == ERR_AGAIN;
	if (!err && (s->flags & MEMSLOT_PRIVATE))
		err = ERR_NOSLOT; /* what Weir shows there is a device's to answer for */
	if (!err)
		err = on_page(vm, s, gpa, p);
	srcu_read_unlock(&vm->srcu, reader);
	return err;
}

/* All within one page. */
static int do_piece(struct mmu_vm *vm, gpa_t gpa, const struct piece *p)
{
	u64 generation;
	bool invalid;
	int err;

	for (;;) {
		err = try_piece(vm, gpa, p, &invalid, &generation);
		if (!invalid)
			return err;
		memslots_wait_change(vm, generation);
	}
}

static int do_range(struct mmu_vm *vm, gpa_t gpa, struct piece p, u64 size)
{
	if (size && gpa.v + (size - 1) < gpa.v)
		return ERR_RANGE;
	while (size) {
		int err;

		p.size = min(size, PAGE_SIZE - (gpa.v & (PAGE_SIZE - 1)));
		err = do_piece(vm, gpa, &p);
		if (err)
			return err;
		if (p.to)
			p.to += p.size;
		if (p.from)
			p.from += p.size;
		gpa.v += p.size;
		size -= p.size;
	}
	return 0;
}

int gpa_read(struct mmu_vm *vm, gpa_t gpa, void *buf, u64 size)
{
	return do_range(vm, gpa, (struct piece){.op = OP_READ, .to = buf}, size);
}

int gpa_write(struct mmu_vm *vm, gpa_t gpa, const void *buf, u64 size)
{
	return do_range(vm, gpa, (struct piece){.op = OP_WRITE, .from = buf}, size);
}

int gpa_zero(struct mmu_vm *vm, gpa_t gpa, u64 size)
{
	return do_range(vm, gpa, (struct piece){.op = OP_ZERO}, size);
}

int gpa_fill_stored(struct mmu_vm *vm, gpa_t gpa, u64 word)
{
	struct piece p = {.op = OP_FILL, .size = PAGE_SIZE, .word = word};

	return is_aligned(gpa.v, PAGE_SIZE) ? do_piece(vm, gpa, &p) : ERR_ALIGN;
}

static int cmpxchg(struct mmu_vm *vm, gpa_t gpa, u32 size, u64 *old, u64 new_value, bool marks)
{
	struct piece p = {
		.op = OP_CMPXCHG,
		.size = size,
		.old = old,
		.new_value = new_value,
		.marks = marks,
	};

	if (size != 1 && size != 2 && size != 4 && size != 8)
		return ERR_INVAL;
	if ((gpa.v & (PAGE_SIZE - 1)) + size > PAGE_SIZE)
		return ERR_ALIGN;
	return do_piece(vm, gpa, &p);
}

int gpa_cmpxchg(struct mmu_vm *vm, gpa_t gpa, u32 size, u64 *old, u64 new_value)
{
	return cmpxchg(vm, gpa, size, old, new_value, false);
}

int gpa_cmpxchg16(struct mmu_vm *vm, gpa_t gpa, u64 old[2], const u64 new_value[2])
{
	struct piece p = {
		.op = OP_CMPXCHG,
		.size = 16,
		.old = old,
		.new_value = new_value[0],
		.new_high = new_value[1],
	};

	return is_aligned(gpa.v, 16ull) ? do_piece(vm, gpa, &p) : ERR_ALIGN;
}

int gpa_set_marks(struct mmu_vm *vm, gpa_t gpa, u32 size, u64 *old, u64 new_value)
{
	return cmpxchg(vm, gpa, size, old, new_value, true);
}
