/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's root: the top of the tables that the CPU walks. In 4-level paging it is one shadow page;
 * in the other modes the CPU walks in PAE, and the four entries that its CR3 leads to (SDM 3A 4.4.1)
 * lead to a shadow page each. Without paging those are direct.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mem/slab.h"
#include "mem/frame.h"
#include "mmu/shadow_private.h"

#define PDPTE_P	      BIT(0)
#define PDPTE_ADDRESS (BIT(52) - BIT(12))
#define PDPTES	      4u

/*
 * CR3 has 32 bits outside long mode, and a frame may lie higher. As many as there can be vCPUs: those
 * of 16 VMs with 32 each.
 */
#define PDPTS 512u
static u64 pdpts[PDPTS][PDPTES] __aligned(32);
static u64 pdpts_taken[PDPTS / 64]; /* atomic */

static u64 *take_pdpt(void)
{
	for (u32 i = 0; i < PDPTS; i++) {
		u64 bit = BIT(i % 64);

		if (!(__atomic_fetch_or(&pdpts_taken[i / 64], bit, __ATOMIC_ACQUIRE) & bit))
			return pdpts[i];
	}
	return NULL;
}

static void give_pdpt(u64 *pdpt)
{
	u32 i = (u32)(pdpt - pdpts[0]) / PDPTES;

	__atomic_fetch_and(&pdpts_taken[i / 64], ~BIT(i % 64), __ATOMIC_RELEASE);
}

/* What one root page of this mode is made for. */
struct wanted {
	gfn_t gfn;
	union shadow_role role;
	bool there;
};

static union shadow_role role_of(const struct guest_paging *p)
{
	union shadow_role role = {.access = SHADOW_ALL};

	if (!(p->cr0 & CR0_PG)) {
		role.direct = 1;
		return role;
	}
	role.entry_4 = !(p->cr4 & CR4_PAE);
	role.wp = !!(p->cr0 & CR0_WP);
	role.nx = !role.entry_4 && (p->efer & EFER_NXE);
	role.smep = !!(p->cr4 & CR4_SMEP);
	role.smap = !!(p->cr4 & CR4_SMAP);
	role.pse = role.entry_4 && (p->cr4 & CR4_PSE);
	return role;
}

static u32 wanted_of(const struct guest_paging *p, struct wanted out[PDPTES])
{
	union shadow_role role = role_of(p);

	if ((p->cr0 & CR0_PG) && (p->efer & EFER_LMA)) {
		role.level = 4;
		role.long_mode = 1;
		out[0] = (struct wanted){GFN((p->cr3 & PDPTE_ADDRESS) >> PAGE_SHIFT), role, true};
		return 1;
	}
	role.level = 2;
	for (u32 i = 0; i < PDPTES; i++) {
		out[i] = (struct wanted){.role = role, .there = true};
		if (role.direct) {
			out[i].gfn = GFN(i * (GIB(1) >> PAGE_SHIFT));
		} else if (role.entry_4) {
			out[i].gfn = GFN((u32)p->cr3 >> PAGE_SHIFT);
			out[i].role.quadrant = i & 3;
		} else {
			out[i].gfn = GFN((p->pdpte[i] & PDPTE_ADDRESS) >> PAGE_SHIFT);
			out[i].there = p->pdpte[i] & PDPTE_P;
		}
	}
	return PDPTES;
}

static void put_roots(struct mmu_vcpu *v, struct shadow_gone *gone)
{
	for (u32 i = 0; i < v->shadow.root_count; i++) {
		if (v->shadow.root[i])
			shadow_put_root(v->vm, v->shadow.root[i], gone);
		v->shadow.root[i] = NULL;
	}
	v->shadow.root_count = 0;
}

static void take_roots(struct mmu_vcpu *v, struct shadow_page *const page[PDPTES], u32 count)
{
	struct shadow_vcpu *s = &v->shadow;

	s->root_count = count;
	for (u32 i = 0; i < count; i++) {
		s->root[i] = page[i];
		if (count == PDPTES)
			__atomic_store_n(&s->pdpt[i],
					 page[i] ? virt_to_phys(page[i]->table).v | PDPTE_P : 0,
					 __ATOMIC_RELAXED);
		if (!page[i] || page[i]->invalid)
			continue;
		/* What is used goes last. */
		list_del(&page[i]->link);
		list_add(&page[i]->link, &v->vm->shadow->active);
	}
}

/* The pages have a root more, or nothing has changed. mmu_lock; in a reader. */
static int get_pages(struct mmu_vcpu *v, const struct wanted *w, u32 count,
		     struct shadow_page *page[PDPTES], struct shadow_gone *gone)
{
	int err = 0;
	u32 i;

	for (i = 0; i < count && !err; i++) {
		page[i] = NULL;
		if (!w[i].there)
			continue;
		err = shadow_get(v, w[i].gfn, w[i].role, &page[i]);
		/* An address without memory is no error before something is looked up there. */
		if (err == ERR_NOSLOT)
			err = shadow_make_invalid(v, w[i].role, &page[i]);
		if (!err)
			page[i]->roots++;
	}
	if (!err)
		return 0;
	for (i--; i-- > 0;) {
		if (page[i])
			shadow_put_root(v->vm, page[i], gone);
	}
	return err;
}

/* Chunks of rmap words that the tables need. In a reader. */
static int prepare(struct mmu_vcpu *v, const struct wanted *w, u32 count, u64 *generation)
{
	const struct memslot *s;
	int err = 0;

	for (u32 i = 0; i < count && !err; i++) {
		if (!w[i].there || w[i].role.direct)
			continue;
		err = memslot_look_up_cached(v->vm, w[i].gfn, false, &v->last_slot, &s, generation);
		if (!err)
			err = rmap_prepare(s, w[i].gfn);
		else if (err == ERR_NOSLOT)
			err = 0;
	}
	return err;
}

static int load(struct mmu_vcpu *v, const struct wanted *w, u32 count, u64 *generation)
{
	struct shadow_gone gone = SHADOW_GONE(gone);
	u32 reader = srcu_read_lock(&v->vm->srcu);
	int err = prepare(v, w, count, generation);
	struct shadow_page *page[PDPTES];

	if (!err) {
		spin_lock(&v->vm->mmu_lock);
		err = get_pages(v, w, count, page, &gone);
		if (!err) {
			put_roots(v, &gone);
			take_roots(v, page, count);
		}
		shadow_finish(v->vm, &gone);
		spin_unlock(&v->vm->mmu_lock);
	}
	srcu_read_unlock(&v->vm->srcu, reader);
	return err;
}

/*
 * The vCPU has them already. Its own roots keep their keys; one that becomes invalid meanwhile is met by
 * its next fault (R25).
 */
static bool has_roots(const struct mmu_vcpu *v, const struct wanted *w, u32 count)
{
	const struct shadow_vcpu *s = &v->shadow;

	if (s->root_count != count)
		return false;
	for (u32 i = 0; i < count; i++) {
		const struct shadow_page *sp = s->root[i];

		if (!sp != !w[i].there)
			return false;
		if (sp && (__atomic_load_n(&sp->invalid, __ATOMIC_RELAXED) ||
			   sp->gfn.v != w[i].gfn.v || sp->role.word != w[i].role.word))
			return false;
	}
	return true;
}

int mmu_shadow_load(struct mmu_vcpu *v, const struct guest_paging *p)
{
	struct wanted w[PDPTES];
	u32 count = wanted_of(p, w);
	u64 generation = 0;
	int err;

	if (!v->shadow.pdpt) {
		v->shadow.pdpt = take_pdpt();
		if (!v->shadow.pdpt)
			return ERR_NOMEM;
		__atomic_fetch_add(&v->vm->shadow->vcpus, 1, __ATOMIC_RELAXED);
	}
	if (has_roots(v, w, count)) {
		shadow_sync_roots(v);
		return 0;
	}
	__atomic_store_n(&v->vm->shadow->maxphyaddr, min(p->maxphyaddr, 52u), __ATOMIC_RELAXED);
	do {
		err = shadow_topup(v);
		if (!err)
			err = load(v, w, count, &generation);
		if (err == ERR_AGAIN)
			memslots_wait_change(v->vm, generation);
	} while (err == ERR_AGAIN || err == ERR_TOO_HARD);
	/* No CPU has come by them for this vCPU yet. */
	if (!err)
		shadow_sync_roots(v);
	return err;
}

u64 mmu_shadow_cr3(const struct mmu_vcpu *v)
{
	const struct shadow_vcpu *s = &v->shadow;

	return virt_to_phys(s->root_count == 1 ? (void *)s->root[0]->table : (void *)s->pdpt).v;
}

void shadow_vcpu_destroy(struct mmu_vcpu *v)
{
	struct shadow_gone gone = SHADOW_GONE(gone);

	spin_lock(&v->vm->mmu_lock);
	put_roots(v, &gone);
	shadow_finish(v->vm, &gone);
	spin_unlock(&v->vm->mmu_lock);
	if (v->shadow.pdpt) {
		give_pdpt(v->shadow.pdpt);
		__atomic_fetch_sub(&v->vm->shadow->vcpus, 1, __ATOMIC_RELAXED);
	}
	while (v->shadow.spare_count)
		kfree(v->shadow.spare[--v->shadow.spare_count]);
}
