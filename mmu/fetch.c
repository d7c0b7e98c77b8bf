/* SPDX-License-Identifier: MIT */
/*
 * What is read may be taken from the guest meanwhile: the page is looked up after a look at its
 * object's sequence, and what was read counts only if nothing was taken until it was read. Until
 * then it may have been another's; it is not used.
 *
 * A loop of a driver's asks for the same few pages again and again, so where they are is remembered
 * with what vouches for it: the array of slots, which holds the object, and the sequence.
 */
#include "mmu/fetch.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "mmu/mmu_private.h"

#define ENTRY_PRESENT BIT(0)
#define ENTRY_LARGE   BIT(7)
#define ENTRY_ADDRESS (BIT(52) - PAGE_SIZE)
#define ENTRY_SIZE_4  4u
#define PDE_PSE36     0x1fe000u /* bits 20:13: address bits above 32, or reserved */
#define TABLE_SHIFT   9
#define PAGE_WORDS    (PAGE_SIZE / sizeof(u64))

/* In a reader. Where the page is, remembered in *p; false: too hard, or it is on its way out. */
static bool __noinline look_up_page(struct mmu_vcpu *v, gfn_t gfn, struct fetch_page *p)
{
	const struct memslot *s;
	u64 generation, index, sample;
	pfn_t pfn;

	p->gfn = FETCH_NO_PAGE;
	if (memslot_look_up_cached(v->vm, gfn, false, &v->last_slot, &s, &generation) ||
	    (s->flags & MEMSLOT_PRIVATE))
		return false;
	index = memslot_index(s, gfn);
	sample = gmem_seq_sample(s->object, index);
	if (!gmem_seq_idle(sample) || gmem_lookup(s->object, index, false, &pfn))
		return false;
	/* Of an array that is about to go again nothing is remembered (R30). */
	*p = (struct fetch_page){
		.gfn = generation & 1 ? FETCH_NO_PAGE : gfn,
		.slots = generation,
		.sequence = &s->object->seq[gmem_seq_bucket(index)],
		.sample = sample,
		.words = pfn_to_virt(pfn),
	};
	return true;
}

static inline bool read_page(const struct fetch_page *p, u64 first, u64 *words, u32 count)
{
	const u64 *from = p->words + first;

#pragma GCC unroll 3
	for (u32 i = 0; i < count; i++)
		words[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
	return __atomic_load_n(p->sequence, __ATOMIC_SEQ_CST) == p->sample;
}

/*
 * In a reader, with its array's generation. The aligned word at gpa and those behind it, `count` in
 * all and in one page; the guest may be writing them. false: too hard.
 */
static inline bool read_words(struct mmu_vcpu *v, u64 slots, gpa_t gpa, u64 *words, u32 count)
{
	gfn_t gfn = gpa_to_gfn(gpa);
	u64 first = (gpa.v & (PAGE_SIZE - 1)) / sizeof(u64);
	struct fetch_page *p = &v->fetched[gfn.v % FETCH_PAGES];

	if (first + count > PAGE_WORDS)
		return false;
	if (likely(p->gfn.v == gfn.v && p->slots == slots) &&
	    likely(read_page(p, first, words, count)))
		return true;
	return look_up_page(v, gfn, p) && read_page(p, first, words, count);
}

bool fetch_word(struct mmu_vcpu *v, gpa_t gpa, u64 *word)
{
	return read_words(v, memslots_get(v->vm)->generation, gpa, word, 1);
}

bool fetch_copy(struct mmu_vcpu *v, gpa_t gpa, void *to, u64 size)
{
	u64 within = gpa.v & (sizeof(u64) - 1), words[FETCH_WORDS];
	u32 count = (u32)((within + size + sizeof(u64) - 1) / sizeof(u64));
	u32 reader = srcu_read_lock(&v->vm->srcu);
	bool found = read_words(v, memslots_get(v->vm)->generation, GPA(gpa.v - within), words,
				count);

	srcu_read_unlock(&v->vm->srcu, reader);
	if (found)
		memcpy(to, (const u8 *)words + within, size);
	return found;
}

/* Four levels of 512 entries (SDM 3A 4.5). */
static int walk_four(struct mmu_vcpu *v, u64 slots, const struct fetch_code *code, gpa_t *out)
{
	u64 table = code->cr3 & ENTRY_ADDRESS, entry;

	for (u32 shift = PAGE_SHIFT + 3 * TABLE_SHIFT; shift >= PAGE_SHIFT; shift -= TABLE_SHIFT) {
		u64 index = (code->linear >> shift) & (BIT(TABLE_SHIFT) - 1);
		u64 within = BIT(shift) - 1;

		if (!read_words(v, slots, GPA(table + index * sizeof(u64)), &entry, 1) ||
		    !(entry & ENTRY_PRESENT))
			return ERR_TOO_HARD;
		if (shift == PAGE_SHIFT || (entry & ENTRY_LARGE)) {
			*out = GPA((entry & ENTRY_ADDRESS & ~within) | (code->linear & within));
			return 0;
		}
		table = entry & ENTRY_ADDRESS;
	}
	return ERR_TOO_HARD;
}

static int read_entry_4(struct mmu_vcpu *v, u64 slots, u64 at, u32 *entry)
{
	u64 word;

	if (!read_words(v, slots, GPA(at), &word, 1))
		return ERR_TOO_HARD;
	*entry = (u32)(word >> (at & ENTRY_SIZE_4) * 8);
	return *entry & ENTRY_PRESENT ? 0 : ERR_TOO_HARD;
}

/* Two levels of 1024 entries (SDM 3A 4.3). */
static int walk_two(struct mmu_vcpu *v, u64 slots, const struct fetch_code *code, gpa_t *out)
{
	u32 linear = (u32)code->linear, entry;
	u64 table = (u32)code->cr3 & PAGE_MASK;

	if (read_entry_4(v, slots, table + (linear >> 22) * ENTRY_SIZE_4, &entry))
		return ERR_TOO_HARD;
	if (entry & ENTRY_LARGE) {
		*out = GPA((entry & ~(u32)(MIB(4) - 1)) | (linear & (MIB(4) - 1)));
		return entry & PDE_PSE36 ? ERR_TOO_HARD : 0;
	}
	table = entry & (u32)PAGE_MASK;
	if (read_entry_4(v, slots, table + ((linear >> PAGE_SHIFT) & 0x3ff) * ENTRY_SIZE_4, &entry))
		return ERR_TOO_HARD;
	*out = GPA((entry & (u32)PAGE_MASK) | (linear & (PAGE_SIZE - 1)));
	return 0;
}

static int walk(struct mmu_vcpu *v, u64 slots, const struct fetch_code *code, gpa_t *out)
{
	return code->four_levels ? walk_four(v, slots, code, out) : walk_two(v, slots, code, out);
}

const u8 *fetch_instruction(struct mmu_vcpu *v, const struct fetch_code *code,
			    u64 words[FETCH_WORDS])
{
	u32 reader = srcu_read_lock(&v->vm->srcu);
	u64 slots = memslots_get(v->vm)->generation;
	gpa_t gpa = GPA(code->linear);
	bool found = (!code->paging || walk(v, slots, code, &gpa) == 0) &&
		     read_words(v, slots, gpa, words, FETCH_WORDS);

	srcu_read_unlock(&v->vm->srcu, reader);
	return found ? (const u8 *)words + (gpa.v & (sizeof(u64) - 1)) : NULL;
}
