/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "tests/unit/mmu/walk_oracle.h"

struct rights {
	bool writable, user, no_execute;
};

struct request {
	const struct guest_paging *p;
	bool read, write, fetch, user, implicit;
	bool wp, smep, smap, pse, pae, nxe, ac;
};

static struct request request_of(const struct guest_paging *p, u32 access)
{
	struct request r = {.p = p};

	r.write = access & MMU_WRITE;
	r.fetch = access & MMU_EXEC;
	r.read = !r.write && !r.fetch;
	r.implicit = access & WALK_IMPLICIT_SUPERVISOR;
	r.user = p->cpl == 3 && !r.implicit;
	r.wp = p->cr0 >> 16 & 1;
	r.pse = p->cr4 >> 4 & 1;
	r.pae = p->cr4 >> 5 & 1;
	r.smep = p->cr4 >> 20 & 1;
	r.smap = p->cr4 >> 21 & 1;
	r.nxe = p->efer >> 11 & 1;
	r.ac = p->rflags >> 18 & 1;
	return r;
}

static u32 code_of(const struct request *r, bool p, bool rsvd)
{
	bool id = r->fetch && (r->smep || (r->pae && r->nxe));

	return p | r->write << 1 | r->user << 2 | rsvd << 3 | id << 4;
}

static struct oracle_answer refuse(struct oracle_answer a, const struct request *r, bool p,
				   bool rsvd)
{
	a.err = ERR_FAULT;
	a.code = code_of(r, p, rsvd);
	return a;
}

/* SDM 3A 4.6.1, in its order: who accesses, which kind of address, what for. */
static bool permitted(const struct request *r, struct rights g)
{
	if (!r->user && !g.user) {
		if (r->fetch)
			return !g.no_execute;
		if (r->write && r->wp)
			return g.writable;
		return true;
	}
	if (!r->user && g.user) {
		bool data = !r->smap || (r->ac && !r->implicit);

		if (r->fetch)
			return !r->smep && !g.no_execute;
		if (r->read)
			return data;
		return r->wp ? data && g.writable : data;
	}
	if (!g.user)
		return false;
	if (r->fetch)
		return !g.no_execute;
	return r->read || g.writable;
}

static struct oracle_answer finish(struct oracle_answer a, const struct request *r, struct rights g,
				   u64 base, u64 size, u64 gva)
{
	if (!permitted(r, g))
		return refuse(a, r, true, false);
	a.gpa = base + (gva & (size - 1));
	a.page_size = size;
	a.dirty_last = r->write;
	return a;
}

static struct oracle_answer legacy(struct request *r, u64 gva)
{
	struct oracle_answer a = {.width = 4};
	u64 pde, pte, m = r->p->maxphyaddr;
	struct rights g;

	a.where[0] = (r->p->cr3 & 0xfffff000) + 4 * (gva >> 22 & 0x3ff);
	a.used = 1;
	if (!oracle_load(a.where[0], 4, &pde)) {
		a.err = ERR_NOSLOT;
		return a;
	}
	if (!(pde & 1))
		return refuse(a, r, false, false);
	g = (struct rights){pde >> 1 & 1, pde >> 2 & 1, false};
	if (r->pse && (pde & 0x80)) {
		u64 high = (pde >> 13) & 0xff;

		m = m > 40 ? 40 : m < 32 ? 32 : m;
		/* Table 4-4: bits (M-20):13 are address bits (M-1):32, bits 21:(M-19) reserved. */
		for (u64 bit = m - 19; bit <= 21; bit++) {
			if (pde >> bit & 1)
				return refuse(a, r, true, true);
		}
		return finish(a, r, g, (pde & 0xffc00000) | high << 32, 1 << 22, gva);
	}
	a.where[1] = (pde & 0xfffff000) + 4 * (gva >> 12 & 0x3ff);
	a.used = 2;
	if (!oracle_load(a.where[1], 4, &pte)) {
		a.err = ERR_NOSLOT;
		return a;
	}
	if (!(pte & 1))
		return refuse(a, r, false, false);
	g.writable = g.writable && (pte & 2);
	g.user = g.user && (pte & 4);
	return finish(a, r, g, pte & 0xfffff000, 4096, gva);
}

static bool high_reserved(const struct request *r, u64 e, bool pae)
{
	u64 top = pae ? 62 : 51;

	for (u64 bit = r->p->maxphyaddr; bit <= top; bit++) {
		if (e >> bit & 1)
			return true;
	}
	return !r->nxe && e >> 63;
}

/* The entries of PAE and 4-level paging from `shift` down. */
static struct oracle_answer wide(struct request *r, u64 gva, u64 table, u32 shift, bool pae)
{
	struct oracle_answer a = {.width = 8};
	struct rights g = {true, true, false};

	for (;; shift -= 9) {
		bool large = false;
		u64 e;

		a.where[a.used] = table + 8 * (gva >> shift & 0x1ff);
		if (!oracle_load(a.where[a.used], 8, &e)) {
			a.used++;
			a.err = ERR_NOSLOT;
			return a;
		}
		a.used++;
		if (!(e & 1))
			return refuse(a, r, false, false);
		if (high_reserved(r, e, pae))
			return refuse(a, r, true, true);
		if (e & 0x80) {
			if (shift == 39 || (shift == 30 && r->p->no_1g))
				return refuse(a, r, true, true);
			large = shift == 30 || shift == 21;
		}
		if (large && (e & ((1ull << shift) - 1) & ~0x1fffull))
			return refuse(a, r, true, true);
		g.writable = g.writable && (e & 2);
		g.user = g.user && (e & 4);
		g.no_execute = g.no_execute || (r->nxe && e >> 63);
		if (large || shift == 12) {
			u64 address = e & 0x000fffffffffffff & ~((1ull << shift) - 1);

			return finish(a, r, g, address, 1ull << shift, gva);
		}
		table = e & 0x000ffffffffff000;
	}
}

struct oracle_answer oracle_walk(const struct guest_paging *p, u64 gva, u32 access)
{
	struct request r = request_of(p, access);
	struct oracle_answer none = {0};
	u64 pdpte;

	if (p->efer >> 10 & 1) {
		u64 upper = gva >> 47;

		if (upper != 0 && upper != 0x1ffff) {
			none.err = ERR_RANGE;
			return none;
		}
		return wide(&r, gva, p->cr3 & 0x000ffffffffff000, 39, false);
	}
	gva &= 0xffffffff;
	if (!(p->cr0 >> 31)) {
		none.gpa = gva;
		none.page_size = 4096;
		return none;
	}
	if (!r.pae) {
		r.nxe = false;
		return legacy(&r, gva);
	}
	pdpte = p->pdpte[gva >> 30];
	if (!(pdpte & 1))
		return refuse((struct oracle_answer){.width = 8}, &r, false, false);
	return wide(&r, gva, pdpte & 0x000ffffffffff000, 21, true);
}
