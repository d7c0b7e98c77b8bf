/* SPDX-License-Identifier: MIT */
#include "kernel/hypercall.h"
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "kernel/base/msr.h"

#define SEGMENT_LONG BIT(13)

/* H_ENTER looks after so many pages whether something else wants the vCPU. */
#define ENTER_STEP 16

/* A call's registers, as its mode has them. */
struct call {
	struct vcpu *v;
	bool long_mode; /* 64-bit code */
	u64 address, pages, flags;
	u64 rbx, rcx; /* in and out */
};

/* --- Ranges --- */

/* Why a range stopped where it did. Never for ERR_NOMEM. */
static int result_of(int err)
{
	switch (err) {
	case 0:
		return H_SUCCESS;
	case ERR_AGAIN:
		return H_BUSY;
	case ERR_NOSLOT:
		return H_NOT_FOUND;
	case ERR_PERM:
		return H_PERMISSION;
	case ERR_NOSPC:
	case ERR_BUSY:
		return H_RESOURCE;
	case ERR_RANGE:
	case ERR_ALIGN:
		return H_PARAMETER;
	default:
		return H_HARDWARE;
	}
}

static int check_range(const struct call *c, u64 known_flags)
{
	if (!is_aligned(c->address, PAGE_SIZE))
		return H_PARAMETER;
	if (c->pages == 0 || c->pages > MMU_RANGE_MAX)
		return H_P2;
	return c->flags & ~known_flags ? H_P3 : 0;
}

static gfn_t first_gfn(const struct call *c)
{
	return gpa_to_gfn(GPA(c->address));
}

/* Zeroing many pages takes long: a guest's interrupt does not wait for all of them. */
static int enter_range(struct call *c, u64 *done)
{
	bool write = c->flags & H_ENTER_WRITE, pin = c->flags & H_ENTER_PIN;
	int err = 0;

	while (!err && *done < c->pages) {
		u64 step = min(c->pages - *done, (u64)ENTER_STEP), got;

		if (*done && vcpu_is_wanted(c->v))
			return ERR_AGAIN;
		err = mmu_range_get(&c->v->mmu, GFN(first_gfn(c).v + *done), step, write, pin,
				    &got);
		*done += got;
	}
	return err;
}

static int remove_range(struct call *c, u64 *done)
{
	struct mmu_vm *mmu = &c->v->vm->mmu;

	if (c->flags & H_REMOVE_PINS)
		return mmu_range_unpin(mmu, first_gfn(c), c->pages, done);
	return mmu_range_drop(mmu, first_gfn(c), c->pages, done);
}

static int protect_range(struct call *c, u64 *done)
{
	return mmu_range_protect(&c->v->vm->mmu, first_gfn(c), c->pages, c->flags & H_PROTECT_ON,
				 done);
}

/*
 * RCX becomes the number of pages that are done, whatever the result. What passes by itself is
 * no error where something is done: the guest goes on behind it. ERR_NOMEM: nothing is.
 */
static int do_range(struct call *c, u64 known_flags, int (*fn)(struct call *c, u64 *done),
		    int *result)
{
	u64 done = 0;
	int err;

	*result = check_range(c, known_flags);
	c->rcx = 0;
	if (*result)
		return 0;
	/* Of the whole range before its first page is touched. */
	if (!mmu_range_valid(first_gfn(c), c->pages)) {
		*result = H_PARAMETER;
		return 0;
	}
	err = fn(c, &done);
	c->rcx = done;
	if (done && (err == ERR_NOMEM || err == ERR_AGAIN))
		*result = H_PARTIAL;
	else if (err == ERR_NOMEM)
		return err;
	else
		*result = result_of(err);
	return 0;
}

/* --- One page --- */

static u64 contents_of(enum gmem_state state)
{
	switch (state) {
	case GMEM_ABSENT:
		return H_CONTENTS_NONE;
	case GMEM_GOT_PAGE:
		return H_CONTENTS_MEMORY;
	case GMEM_SHARED:
		return H_CONTENTS_SHARED;
	case GMEM_PACKED:
	case GMEM_FILLED:
		return H_CONTENTS_PACKED;
	case GMEM_SWAPPED:
		return H_CONTENTS_SWAPPED;
	case GMEM_BUSY:
	case GMEM_STATES:
		break;
	}
	return H_CONTENTS_CHANGING;
}

static u64 bits_of(const struct mmu_page_state *s)
{
	return (s->mapped ? H_PAGE_MAPPED : 0) | (s->writable ? H_PAGE_WRITABLE : 0) |
	       (s->large ? H_PAGE_LARGE : 0) | (s->accessed ? H_PAGE_ACCESSED : 0) |
	       (s->dirty ? H_PAGE_DIRTY : 0) | (s->pinned ? H_PAGE_PINNED : 0) |
	       (s->protected ? H_PAGE_PROTECTED : 0) | (s->readonly ? H_PAGE_READONLY : 0) |
	       (s->stays ? H_PAGE_STAYS : 0) | (s->order ? H_PAGE_WHOLE : 0);
}

static int read_page(struct call *c)
{
	struct mmu_page_state s;
	int err;

	if (!is_aligned(c->address, PAGE_SIZE) || !mmu_range_valid(first_gfn(c), 1))
		return H_PARAMETER;
	err = mmu_page_state(&c->v->vm->mmu, first_gfn(c), &s);
	if (err)
		return result_of(err);
	c->rbx = contents_of(s.state);
	c->rcx = bits_of(&s);
	return H_SUCCESS;
}

/* --- vCPUs --- */

/*
 * The flag comes before the request here; the sleeper takes requests first and looks at the flag
 * then, so it sees the one or the other.
 */
void hypercall_prod(struct vcpu *v)
{
	__atomic_store_n(&v->prodded, true, __ATOMIC_SEQ_CST);
	vcpu_request(v, VCPU_REQ_KICK);
}

bool hypercall_take_prod(struct vcpu *v)
{
	return __atomic_exchange_n(&v->prodded, false, __ATOMIC_SEQ_CST);
}

static int prod(struct call *c)
{
	struct vcpu *other = vm_vcpu(c->v->vm, c->rbx);

	if (!other)
		return H_PARAMETER;
	hypercall_prod(other);
	return H_SUCCESS;
}

/* --- All of them --- */

static int dispatch(struct call *c, enum hypercall_token token, int *result)
{
	switch (token) {
	case H_ENTER:
		return do_range(c, H_ENTER_WRITE | H_ENTER_PIN, enter_range, result);
	case H_REMOVE:
		return do_range(c, H_REMOVE_PINS, remove_range, result);
	case H_PROTECT:
		return do_range(c, H_PROTECT_ON, protect_range, result);
	case H_READ:
		*result = read_page(c);
		return 0;
	case H_PROD:
		*result = prod(c);
		return 0;
	case H_CEDE:
		*result = H_SUCCESS;
		return 0;
	}
	*result = H_FUNCTION;
	return 0;
}

/* Outside 64-bit code registers have 32 bits, and ESI the upper half of an address. */
static void take_registers(struct call *c, const struct guest_regs *r)
{
	c->rbx = r->gpr[RBX];
	c->rcx = r->gpr[RCX];
	c->address = c->rbx;
	c->flags = r->gpr[RDX];
	if (!c->long_mode) {
		c->rbx = (u32)c->rbx;
		c->rcx = (u32)c->rcx;
		c->address = c->rbx | r->gpr[RSI] << 32;
		c->flags = (u32)c->flags;
	}
	c->pages = c->rcx;
}

static void complete(const struct call *c, int result)
{
	struct guest_regs *r = vmx_regs(c->v->vmx);
	u64 rax = (u64)(s64)result;

	r->gpr[RBX] = c->rbx;
	r->gpr[RCX] = c->rcx;
	vmx_complete_hypercall(c->v->vmx, c->long_mode ? rax : (u32)rax);
}

/* Interrupts come in from here on, whatever the guest had: who waits for one would wait for ever. */
static enum hypercall_next cede(struct vcpu *v)
{
	vmx_regs(v->vmx)->rflags |= RFLAGS_IF;
	return hypercall_take_prod(v) || vmx_event_waits(v->vmx) ? HYPERCALL_GO_ON : HYPERCALL_HALT;
}

static enum hypercall_next weirs_own(struct vcpu *v, u32 token, bool long_mode, u32 cpl)
{
	struct call c = {.v = v, .long_mode = long_mode};
	int result = H_PRIVILEGE;

	take_registers(&c, vmx_regs(v->vmx));
	if (cpl == 0 && dispatch(&c, token, &result))
		return HYPERCALL_WAIT_MEMORY;
	complete(&c, result);
	return cpl == 0 && token == H_CEDE ? cede(v) : HYPERCALL_GO_ON;
}

static bool in_long_mode(struct vcpu *v)
{
	struct guest_paging paging;
	struct vmx_segment cs;

	vmx_get_paging(v->vmx, &paging);
	vmx_get_segment(v->vmx, SEG_CS, &cs);
	return (paging.efer & EFER_LMA) && (cs.access & SEGMENT_LONG);
}

/* Where the upper half of RAX counts, that is still to be looked at. */
static bool may_be_weirs(u64 rax)
{
	return (u32)rax - HYPERCALL_BASE <= HYPERCALL_MASK;
}

/* --- Any --- */

static int __noinline refuse_quickly(u64 *rax)
{
	*rax = KVM_EPERM;
	return 0;
}

int hypercall_quick(u64 *rax, u32 ss_access)
{
	if (may_be_weirs(*rax) || kvm_hypercall_may_be(*rax))
		return ERR_TOO_HARD;
	if (unlikely(ss_access & VMX_ACCESS_RING))
		return refuse_quickly(rax);
	*rax = KVM_ENOSYS;
	return 0;
}

enum hypercall_next hypercall(struct vcpu *v, u64 rax)
{
	bool long_mode = in_long_mode(v);
	u32 cpl = vmx_cpl(v->vmx);

	if (may_be_weirs(rax) && (!long_mode || rax == (u32)rax))
		return weirs_own(v, (u32)rax & HYPERCALL_MASK, long_mode, cpl);
	vmx_complete_hypercall(v->vmx, kvm_hypercall(v, rax, long_mode, cpl));
	return HYPERCALL_GO_ON;
}
