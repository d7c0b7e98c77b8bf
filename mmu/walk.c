/* SPDX-License-Identifier: MIT */
/*
 * The guest page walker. One loop over the levels serves all modes: what differs is how wide an
 * entry is, how many address bits a level takes, and which bits are reserved, and that stands in
 * one small table for each mode.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/string.h"
#include "mmu/fetch.h"
#include "mmu/walk.h"

#define ENTRY_P	       BIT(0)
#define ENTRY_RW       BIT(1)
#define ENTRY_US       BIT(2)
#define ENTRY_ACCESSED BIT(5)
#define ENTRY_DIRTY    BIT(6)
#define ENTRY_PS       BIT(7)
#define ENTRY_XD       BIT(63)

#define PHYS_BITS_MAX  52 /* SDM 3A 4.1.4 */
#define CANONICAL_BITS 48
#define RFLAGS_AC      BIT(18)

/*
 * How often a walk starts again because an entry changed under it. The guest's own CPUs may keep
 * changing it for ever; Weir does not wait for them.
 */
#define RESTARTS_MAX 64

/* Bits from..to, both included. */
#define BITS(from, to) ((to) < (from) ? 0 : ((~0ull >> (63 - (to) + (from))) << (from)))

enum walk_mode {
	WALK_32,   /* CR4.PAE clear (SDM 3A 4.3) */
	WALK_PAE,  /* SDM 3A 4.4 */
	WALK_LONG, /* 4-level (SDM 3A 4.5); LA57 is hidden from guests */
};

struct walk_level {
	u8 shift;  /* an entry covers 2^shift bytes */
	u8 bits;   /* of the address select the entry */
	bool page; /* PS may make it map a page */
};

struct walk_format {
	u8 entry_size; /* bytes */
	u8 levels;
	struct walk_level level[WALK_LEVELS_MAX]; /* the top first */
};

static const struct walk_format formats[] = {
	[WALK_32] = {4, 2, {{22, 10, true}, {12, 10, false}}},
	/* From the PDPTE registers on. */
	[WALK_PAE] = {8, 2, {{21, 9, true}, {12, 9, false}}},
	[WALK_LONG] = {8, 4, {{39, 9, false}, {30, 9, true}, {21, 9, true}, {12, 9, false}}},
};

struct walk {
	struct mmu_vm *vm;
	const struct guest_paging *p;
	enum walk_mode mode;
	u64 gva;
	u32 access;
	bool user; /* the access is a user-mode access (SDM 3A 4.6) */
	/* what the walk has met */
	u32 used;
	gpa_t where[WALK_LEVELS_MAX];
	u64 entry[WALK_LEVELS_MAX];
	bool rw, us, xd; /* of all entries together */
	bool rom_dirty;	 /* D of the last is to be set, and nothing can be written there */
	u32 error_code;
};

static bool nx_on(const struct guest_paging *p)
{
	return (p->cr4 & CR4_PAE) && (p->efer & EFER_NXE);
}

static u32 phys_bits(const struct guest_paging *p)
{
	return min(p->maxphyaddr, (u32)PHYS_BITS_MAX);
}

/* SDM 3A 4.7. present: the cause is not an entry whose P is clear. */
static int fault(struct walk *w, bool present, bool reserved)
{
	const struct guest_paging *p = w->p;
	u32 code = 0;

	if (present)
		code |= PAGE_FAULT_P;
	if (w->access & MMU_WRITE)
		code |= PAGE_FAULT_WR;
	if (w->user)
		code |= PAGE_FAULT_US;
	if (reserved)
		code |= PAGE_FAULT_RSVD;
	if ((w->access & MMU_EXEC) && ((p->cr4 & CR4_SMEP) || nx_on(p)))
		code |= PAGE_FAULT_ID;
	w->error_code = code;
	return ERR_FAULT;
}

static bool maps_page(const struct walk *w, u32 level, u64 e)
{
	const struct walk_format *f = &formats[w->mode];

	if (level + 1 == f->levels)
		return true;
	if (!f->level[level].page || !(e & ENTRY_PS))
		return false;
	return w->mode != WALK_32 || (w->p->cr4 & CR4_PSE);
}

/* With 4 MiB pages bits 20:13 of the entry are bits 39:32 of the address (SDM 3A table 4-4). */
#define PSE36_SHIFT 13
#define PSE36_WIDTH 8

static u64 reserved_bits(const struct walk *w, u32 level, u64 e)
{
	u32 shift = formats[w->mode].level[level].shift;
	u32 m = phys_bits(w->p);
	u64 bits;

	if (w->mode == WALK_32) {
		if (level == 1 || !maps_page(w, level, e))
			return 0;
		m = min(max(m, 32u), 32u + PSE36_WIDTH);
		return BITS(m - 32 + PSE36_SHIFT, 21);
	}
	/* In PAE bits 62:52 are reserved, in 4-level paging they are the guest's to use. */
	bits = BITS(m, w->mode == WALK_PAE ? 62 : 51);
	if (!nx_on(w->p))
		bits |= ENTRY_XD;
	if (shift == PAGE_SHIFT)
		return bits;
	if (shift == 39 || (shift == 30 && w->p->no_1g))
		return bits | ENTRY_PS;
	if (e & ENTRY_PS) /* bit 12 is the PAT's */
		bits |= BITS(13, shift - 1);
	return bits;
}

/* The base that an entry leads to: of a table or of a page. */
static u64 entry_base(const struct walk *w, u32 level, u64 e)
{
	u32 shift = formats[w->mode].level[level].shift;
	u64 base;

	if (w->mode != WALK_32)
		return e & BITS(maps_page(w, level, e) ? shift : PAGE_SHIFT, PHYS_BITS_MAX - 1);
	if (level == 1 || !maps_page(w, level, e))
		return e & BITS(PAGE_SHIFT, 31);
	base = e & BITS(22, 31);
	return base | (((e >> PSE36_SHIFT) & BITS(0, PSE36_WIDTH - 1)) << 32);
}

static int top_table(struct walk *w, u64 *table)
{
	const struct guest_paging *p = w->p;
	u64 pdpte;

	switch (w->mode) {
	case WALK_32:
		*table = p->cr3 & BITS(PAGE_SHIFT, 31);
		return 0;
	case WALK_PAE:
		/* Their reserved bits were checked when they were loaded. */
		pdpte = p->pdpte[(w->gva >> 30) & 3];
		if (!(pdpte & ENTRY_P))
			return fault(w, false, false);
		*table = pdpte & BITS(PAGE_SHIFT, PHYS_BITS_MAX - 1);
		return 0;
	default:
		*table = p->cr3 & BITS(PAGE_SHIFT, PHYS_BITS_MAX - 1);
		return 0;
	}
}

/* The entry, where that takes no sleep and no hold of its page. */
static bool read_quickly(struct walk *w, gpa_t gpa, u32 size, u64 *e)
{
	bool found;
	u32 reader;

	if (!w->p->v)
		return false;
	reader = srcu_read_lock(&w->vm->srcu);
	found = fetch_word(w->p->v, GPA(align_down(gpa.v, sizeof(u64))), e);
	srcu_read_unlock(&w->vm->srcu, reader);
	if (size == sizeof(u32))
		*e = (u32)(*e >> (gpa.v & sizeof(u32)) * 8);
	return found;
}

/* One level: reads the entry and takes account of it. */
static int step(struct walk *w, u32 level, u64 table)
{
	const struct walk_format *f = &formats[w->mode];
	const struct walk_level *l = &f->level[level];
	u64 index = (w->gva >> l->shift) & (BIT(l->bits) - 1);
	u64 e = 0;
	int err;

	w->where[level] = GPA(table + index * f->entry_size);
	if (!read_quickly(w, w->where[level], f->entry_size, &e)) {
		e = 0;
		err = gpa_read(w->vm, w->where[level], &e, f->entry_size);
		if (err)
			return err;
	}
	w->entry[level] = e;
	w->used = level + 1;
	if (!(e & ENTRY_P))
		return fault(w, false, false);
	if (e & reserved_bits(w, level, e))
		return fault(w, true, true);
	w->rw &= !!(e & ENTRY_RW);
	w->us &= !!(e & ENTRY_US);
	w->xd |= nx_on(w->p) && (e & ENTRY_XD);
	return 0;
}

/* SDM 3A 4.6.1: may this access use a translation with these rights? */
static bool allowed(const struct walk *w)
{
	const struct guest_paging *p = w->p;
	bool implicit = w->access & WALK_IMPLICIT_SUPERVISOR;

	if (w->user) {
		if (!w->us)
			return false;
		if (w->access & MMU_EXEC)
			return !w->xd;
		return w->rw || !(w->access & MMU_WRITE);
	}
	if (w->access & MMU_EXEC)
		return !w->xd && !(w->us && (p->cr4 & CR4_SMEP));
	if (w->us && (p->cr4 & CR4_SMAP) && (implicit || !(p->rflags & RFLAGS_AC)))
		return false;
	return w->rw || !(w->access & MMU_WRITE) || !(p->cr0 & CR0_WP);
}

/* A write that the guest's own protection of the page refuses (H_PROTECT), whatever the access. */
static u32 refused_code(bool user)
{
	return (u32)(PAGE_FAULT_P | PAGE_FAULT_WR | (user ? PAGE_FAULT_US : 0));
}

/* ERR_AGAIN: an entry is not what the walk read. */
static int set_accessed_dirty(struct walk *w)
{
	for (u32 i = 0; i < w->used; i++) {
		bool last = i + 1 == w->used;
		u64 want = w->entry[i] | ENTRY_ACCESSED, old = w->entry[i];
		int err;

		if (last && (w->access & MMU_WRITE))
			want |= ENTRY_DIRTY;
		if (want == old)
			continue;
		err = gpa_set_marks(w->vm, w->where[i], formats[w->mode].entry_size, &old, want);
		if (!err)
			w->entry[i] = want;
		/* As an EPT violation of the CPU's own walk is answered (vmx/ept.c). */
		if (err == ERR_PERM) {
			w->error_code = refused_code(w->user);
			return ERR_FAULT;
		}
		/* Tables in ROM: as on bare metal the write goes nowhere, and the access goes on. */
		if (err && err != ERR_NOSLOT)
			return err;
		w->rom_dirty |= err && (want & ~old & ENTRY_DIRTY);
	}
	return 0;
}

static int walk_once(struct walk *w, struct walk_result *out)
{
	const struct walk_format *f = &formats[w->mode];
	u64 table = 0, size;
	u32 level;
	int err;

	w->used = 0;
	w->rw = w->us = true;
	w->xd = w->rom_dirty = false;
	err = top_table(w, &table);
	if (err)
		return err;
	for (level = 0;; level++) {
		err = step(w, level, table);
		if (err)
			return err;
		table = entry_base(w, level, w->entry[level]);
		if (maps_page(w, level, w->entry[level]))
			break;
	}
	if (!allowed(w))
		return fault(w, true, false);
	if (!(w->access & WALK_NO_AD)) {
		err = set_accessed_dirty(w);
		if (err)
			return err;
	}
	size = BIT(f->level[level].shift);
	out->gpa = GPA(table | (w->gva & (size - 1)));
	out->page_size = size;
	return 0;
}

static bool canonical(u64 gva)
{
	s64 sign = (s64)gva >> (CANONICAL_BITS - 1);

	return sign == 0 || sign == -1;
}

static void tell_trace(const struct walk *w, struct walk_trace *t)
{
	t->count = w->used;
	t->entry_size = formats[w->mode].entry_size;
	t->rom_dirty = w->rom_dirty;
	for (u32 i = 0; i < w->used; i++) {
		t->where[i] = w->where[i];
		t->entry[i] = w->entry[i];
	}
}

int guest_walk_trace(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, u32 access,
		     struct walk_result *out, struct walk_trace *trace)
{
	struct walk w = {.vm = vm, .p = p, .gva = gva.v, .access = access};
	int err = ERR_AGAIN;

	*out = (struct walk_result){.page_size = PAGE_SIZE};
	if (p->efer & EFER_LMA) {
		if (!canonical(w.gva))
			return ERR_RANGE;
		w.mode = WALK_LONG;
	} else {
		w.gva &= BITS(0, 31);
		w.mode = p->cr4 & CR4_PAE ? WALK_PAE : WALK_32;
	}
	if (trace) {
		trace->count = 0;
		trace->rom_dirty = false;
	}
	if (!(p->cr0 & CR0_PG)) {
		out->gpa = GPA(w.gva);
		return 0;
	}
	w.user = p->cpl == 3 && !(w.access & WALK_IMPLICIT_SUPERVISOR);
	for (u32 i = 0; i < RESTARTS_MAX && err == ERR_AGAIN; i++)
		err = walk_once(&w, out);
	if (err == ERR_FAULT)
		out->error_code = w.error_code;
	if ((!err || err == ERR_FAULT) && trace)
		tell_trace(&w, trace);
	return err;
}

int guest_walk(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, u32 access,
	       struct walk_result *out)
{
	return guest_walk_trace(vm, p, gva, access, out, NULL);
}

/* --- copies --- */

static u64 left_in_page(u64 gva, u64 size)
{
	return min(size, PAGE_SIZE - (gva & (PAGE_SIZE - 1)));
}

static int walk_for_copy(struct mmu_vm *vm, const struct guest_paging *p, u64 gva, u32 access,
			 struct walk_result *w, struct walk_fault *f)
{
	int err = guest_walk(vm, p, GVA(gva), access, w);

	if (err == ERR_FAULT)
		*f = (struct walk_fault){GVA(gva), w->error_code};
	return err;
}

/* As an instruction is: without a hold of its page, where the vCPU reads for itself. */
static int read_piece(struct mmu_vm *vm, const struct guest_paging *p, gpa_t gpa, void *to,
		      u64 size)
{
	if (p->v && size <= FETCH_COPY_MAX && fetch_copy(p->v, gpa, to, size))
		return 0;
	return gpa_read(vm, gpa, to, size);
}

int gva_read(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, void *buf, u64 size,
	     u32 access, struct walk_fault *fault)
{
	struct walk_result w;
	u8 *to = buf;

	while (size) {
		u64 n = left_in_page(gva.v, size);
		int err = walk_for_copy(vm, p, gva.v, access, &w, fault);

		if (!err)
			err = read_piece(vm, p, w.gpa, to, n);
		if (err)
			return err;
		to += n;
		gva.v += n;
		size -= n;
	}
	return 0;
}

static int refuse(const struct guest_paging *p, u64 gva, struct walk_fault *f)
{
	*f = (struct walk_fault){GVA(gva), refused_code(p->cpl == 3)};
	return ERR_FAULT;
}

int gva_write(struct mmu_vm *vm, const struct guest_paging *p, gva_t gva, const void *buf, u64 size,
	      struct walk_fault *fault)
{
	const u8 *from = buf;
	struct walk_result w;
	int err;

	/* All pages are looked at before the first byte changes; one page needs no second look. */
	for (u64 at = gva.v, left = size; size > left_in_page(gva.v, size) && left;) {
		u64 n = left_in_page(at, left);

		err = walk_for_copy(vm, p, at, MMU_WRITE | WALK_NO_AD, &w, fault);
		if (!err && mmu_is_protected(vm, w.gpa))
			err = refuse(p, at, fault);
		if (err)
			return err;
		at += n;
		left -= n;
	}
	while (size) {
		u64 n = left_in_page(gva.v, size);

		err = walk_for_copy(vm, p, gva.v, MMU_WRITE, &w, fault);
		if (!err)
			err = gpa_write(vm, w.gpa, from, n);
		if (err == ERR_PERM)
			err = refuse(p, gva.v, fault);
		if (err)
			return err;
		from += n;
		gva.v += n;
		size -= n;
	}
	return 0;
}
