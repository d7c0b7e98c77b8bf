/* SPDX-License-Identifier: MIT */
/*
 * Runs one guest instruction in software because it touched what is no RAM: fetches and decodes
 * it, and answers the emulator's steps from RAM or from devices. No MMU lock is held here.
 */
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/msr.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/dev/platform.h"
#include "mmu/emulate.h"
#include "mmu/shadow.h"

#define RFLAGS_VM      BIT(17)
#define RFLAGS_IOPL(f) ((u32)((f) >> 12) & 3)
#define SEGMENT_AR_L   BIT(13)
#define SEGMENT_AR_DB  BIT(14)
#define LINEAR_BITS    48
#define PIECES_MAX     2

/* What one emulation looks at; the paging state is a snapshot. */
struct emulation {
	struct vcpu *v;
	struct guest_paging paging;
	struct emulate_cpu cpu;
	struct insn insn;
	struct emulate e;
	u8 bytes[INSN_MAX_LENGTH];
	u32 fetched;
	u64 linear_rip;
	bool device_answered; /* a register was read: reading it again may give another value */
};

/* One page's part of an access. */
struct piece {
	u64 gva;
	gpa_t gpa;
	u32 size;
};

static void end_vm(struct emulation *em, const char *why, u64 gpa)
{
	char text[3 * INSN_MAX_LENGTH + 1] = "none";
	u32 n = 0;

	for (u32 i = 0; i < em->fetched; i++)
		n += (u32)snprintf(text + n, sizeof(text) - n, "%02x ", em->bytes[i]);
	log_error("vm %s: the instruction at 0x%llx (bytes %s) %s, gpa 0x%llx: the VM ends",
		  em->v->vm->name, (unsigned long long)vmx_regs(em->v->vmx)->rip, text, why,
		  (unsigned long long)gpa);
	vcpu_crash(em->v);
}

/* The guest's kernel must not meet this; a program of its, with a device mapped, gets #UD. */
static void unhandled(struct emulation *em)
{
	/* What wrote to a table of the guest's can as well write to a page that is none. */
	if (em->v->vm->mmu.shadow && mmu_shadow_forget(&em->v->vm->mmu, em->v->mmio_gfn))
		return;
	if (em->paging.cpl)
		vmx_inject_exception(em->v->vmx, EXCEPTION_UD, false, 0);
	else
		end_vm(em, "touches a device and is not one that Weir runs in software", 0);
}

static void inject_page_fault(struct emulation *em, u64 gva, u32 code)
{
	vmx_inject_page_fault(em->v->vmx, GVA(gva), code);
}

static enum decode_mode mode_of(const struct emulation *em)
{
	u32 access = em->cpu.segment[SEGMENT_CS].access;

	if ((em->paging.efer & EFER_LMA) && (access & SEGMENT_AR_L))
		return DECODE_64;
	return em->cpu.protected_mode && (access & SEGMENT_AR_DB) ? DECODE_32 : DECODE_16;
}

static void take_snapshot(struct emulation *em)
{
	static const enum vmx_segment_id order[SEGMENT_COUNT] = {SEG_ES, SEG_CS, SEG_SS,
								 SEG_DS, SEG_FS, SEG_GS};
	struct vmx_vcpu *vmx = em->v->vmx;
	const struct guest_regs *regs = vmx_regs(vmx);
	struct vmx_segment s;

	vmx_get_paging(vmx, &em->paging);
	for (u32 i = 0; i < SEGMENT_COUNT; i++) {
		vmx_get_segment(vmx, order[i], &s);
		em->cpu.segment[i] = (struct emulate_segment){s.base, s.limit, s.access};
	}
	em->cpu.protected_mode = (em->paging.cr0 & CR0_PE) && !(regs->rflags & RFLAGS_VM);
	em->cpu.linear_bits = LINEAR_BITS;
	em->linear_rip = regs->rip + em->cpu.segment[SEGMENT_CS].base;
	if (mode_of(em) == DECODE_64)
		em->linear_rip = regs->rip;
	else
		em->linear_rip &= 0xffffffffull;
}

/*
 * Reading or translating a linear address failed. Of these the guest knows nothing: no memory was
 * to be had, or its tables change too fast. The instruction runs again.
 */
static int access_failed(struct emulation *em, int err, u64 gva, u32 code, const char *why)
{
	if (err == ERR_FAULT)
		inject_page_fault(em, gva, code);
	else if (err == ERR_RANGE)
		vmx_inject_gp(em->v->vmx);
	else if (err != ERR_NOMEM && err != ERR_AGAIN)
		end_vm(em, why, gva);
	return err;
}

/* The next page's bytes are fetched only when the instruction goes on there. Not 0: over. */
static int fetch(struct emulation *em)
{
	u64 left_in_page = PAGE_SIZE - (em->linear_rip & (PAGE_SIZE - 1));
	u32 want = (u32)min(left_in_page, (u64)INSN_MAX_LENGTH);
	struct walk_fault fault = {0};
	int err;

	for (;;) {
		err = gva_read(&em->v->vm->mmu, &em->paging, GVA(em->linear_rip + em->fetched),
			       em->bytes + em->fetched, want - em->fetched, MMU_EXEC, &fault);
		if (err)
			return access_failed(em, err,
					     err == ERR_FAULT ? fault.gva.v : em->linear_rip,
					     fault.error_code, "is fetched from what is no RAM");
		em->fetched = want;
		err = decode_insn(&em->insn, em->bytes, em->fetched, mode_of(em));
		if (err != ERR_AGAIN || want == INSN_MAX_LENGTH)
			break;
		want = INSN_MAX_LENGTH;
	}
	if (err == ERR_INVAL)
		vmx_inject_exception(em->v->vmx, EXCEPTION_UD, false, 0);
	else if (err == ERR_RANGE)
		vmx_inject_gp(em->v->vmx);
	else if (err)
		unhandled(em);
	return err;
}

/*
 * The bytes are read after the exit, and another vCPU may have changed them since: the CPU has
 * checked the right to one port of one size, or to none. False: the instruction runs again, and
 * the CPU checks it.
 */
static bool may_use_port(const struct emulation *em, u32 port_size)
{
	u64 rflags = em->paging.rflags;

	if (em->insn.kind < INSN_INS || em->insn.kind > INSN_OUT)
		return true;
	if (!(rflags & RFLAGS_VM) && em->paging.cpl <= RFLAGS_IOPL(rflags))
		return true;
	return em->insn.kind <= INSN_OUTS && em->insn.op_size == port_size;
}

/* The guest physical pieces of the step's access, all translated before any is touched. */
static int translate(struct emulation *em, bool write, struct piece pieces[PIECES_MAX], u32 *count)
{
	u64 gva = em->e.gva;
	u32 left = em->e.size;
	struct walk_result w = {0};
	int err;

	*count = 0;
	while (left) {
		u32 n = min(left, (u32)(PAGE_SIZE - (gva & (PAGE_SIZE - 1))));

		err = guest_walk(&em->v->vm->mmu, &em->paging, GVA(gva),
				 write ? MMU_WRITE : MMU_READ, &w);
		if (err)
			return access_failed(em, err, gva, w.error_code,
					     "goes through a page table that is not in RAM");
		pieces[(*count)++] = (struct piece){gva, w.gpa, n};
		gva += n;
		if (mode_of(em) != DECODE_64)
			gva = (u32)gva;
		left -= n;
	}
	return 0;
}

/* The guest's own protection of the page refuses the write (H_PROTECT): as vmx/ept.c answers it. */
static int refuse_write(struct emulation *em, const struct piece *p)
{
	u32 code = PAGE_FAULT_P | PAGE_FAULT_WR | (em->paging.cpl == 3 ? PAGE_FAULT_US : 0);

	inject_page_fault(em, p->gva, code);
	return ERR_FAULT;
}

/* All pieces may be written: asked before what cannot be undone. */
static int check_protection(struct emulation *em, const struct piece *pieces, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		if (mmu_is_protected(&em->v->vm->mmu, pieces[i].gpa))
			return refuse_write(em, &pieces[i]);
	}
	return 0;
}

static u64 device_read(struct vcpu *v, gpa_t gpa, u32 size)
{
	u64 value = ~0ull;

	if (!platform_lapic_mmio(v, gpa, size, false, &value))
		bus_read(&v->vm->bus, v, SPACE_MMIO, gpa.v, size, &value);
	return value;
}

static void device_write(struct vcpu *v, gpa_t gpa, u32 size, u64 value)
{
	if (!platform_lapic_mmio(v, gpa, size, true, &value))
		bus_write(&v->vm->bus, v, SPACE_MMIO, gpa.v, size, value);
}

/* A device takes 1, 2, 4 or 8 bytes at a time; a piece of another size goes byte by byte. */
static u32 device_step(u32 size)
{
	return size & (size - 1) ? 1 : size;
}

static int read_step(struct emulation *em)
{
	struct piece pieces[PIECES_MAX];
	u8 *to = (u8 *)&em->e.value;
	u32 count;
	int err = translate(em, em->e.for_write, pieces, &count);

	if (!err && em->e.for_write)
		err = check_protection(em, pieces, count);
	em->e.value = 0;
	for (u32 i = 0; i < count && !err; i++) {
		err = gpa_read(&em->v->vm->mmu, pieces[i].gpa, to, pieces[i].size);
		if (err == ERR_NOSLOT) {
			u32 step = device_step(pieces[i].size);

			em->device_answered = true;
			for (u32 at = 0; at < pieces[i].size; at += step) {
				u64 value = device_read(em->v, GPA(pieces[i].gpa.v + at), step);

				memcpy(to + at, &value, step);
			}
			err = 0;
		}
		to += pieces[i].size;
	}
	return err;
}

static int write_piece(struct emulation *em, const struct piece *p, const u8 *from)
{
	u64 value = 0, expected = em->e.expected;
	u32 step = device_step(p->size);
	int err;

	if (em->e.atomic && p->size == em->e.size && is_aligned(p->gpa.v, (u64)p->size))
		err = gpa_cmpxchg(&em->v->vm->mmu, p->gpa, p->size, &expected, em->e.value);
	else
		err = gpa_write(&em->v->vm->mmu, p->gpa, from, p->size);
	if (err == ERR_PERM)
		return refuse_write(em, p);
	if (err != ERR_NOSLOT)
		return err;
	for (u32 at = 0; at < p->size; at += step) {
		memcpy(&value, from + at, step);
		device_write(em->v, GPA(p->gpa.v + at), step, value);
	}
	return 0;
}

static int write_step(struct emulation *em)
{
	struct piece pieces[PIECES_MAX];
	const u8 *from = (const u8 *)&em->e.value;
	u32 count;
	int err = translate(em, true, pieces, &count);

	/* One piece says so itself when it is written. */
	if (!err && count > 1)
		err = check_protection(em, pieces, count);
	for (u32 i = 0; i < count && !err; i++) {
		err = write_piece(em, &pieces[i], from);
		from += pieces[i].size;
	}
	return err;
}

/*
 * INS: its destination must be writable, and there, before the port is read: what a device gave
 * cannot be given back.
 */
static int port_in(struct emulation *em)
{
	struct piece pieces[PIECES_MAX];
	u32 count;
	int err = 0;

	if (em->insn.kind == INSN_INS) {
		err = translate(em, true, pieces, &count);
		if (!err)
			err = check_protection(em, pieces, count);
		for (u32 i = 0; i < count && !err; i++) {
			u64 unused;

			err = gpa_read(&em->v->vm->mmu, pieces[i].gpa, &unused, pieces[i].size);
			if (err == ERR_NOSLOT) /* a device's register: it is there */
				err = 0;
		}
	}
	if (err)
		return err;
	bus_read(&em->v->vm->bus, em->v, SPACE_PIO, em->e.port, em->e.size, &em->e.value);
	return 0;
}

static int port_out(struct emulation *em)
{
	bus_write(&em->v->vm->bus, em->v, SPACE_PIO, em->e.port, em->e.size, em->e.value);
	return 0;
}

/*
 * What a device gave cannot be given back: where there is no frame for its destination, the
 * instruction does not begin again but waits.
 */
static int write_answer(struct emulation *em)
{
	int err;

	for (;;) {
		err = write_step(em);
		if (err != ERR_NOMEM || !em->device_answered)
			return err;
		if (__atomic_load_n(&em->v->vm->end, __ATOMIC_ACQUIRE) != VM_END_NONE)
			return err;
		vcpu_wait_for_memory(em->v);
	}
}

int vcpu_emulate(struct vcpu *v, u32 port_size)
{
	struct emulation em = {.v = v};
	int err;

	take_snapshot(&em);
	err = fetch(&em);
	if (err || !may_use_port(&em, port_size))
		return err == ERR_NOMEM ? err : 0;
	emulate_start(&em.e, &em.insn, vmx_regs(v->vmx), &em.cpu);
	/* An error leaves the registers as they were: a fault is queued, or the guest retries. */
	while (!err) {
		switch (emulate_next(&em.e)) {
		case EMULATE_READ:
			err = read_step(&em);
			break;
		case EMULATE_WRITE:
			err = write_answer(&em);
			break;
		case EMULATE_IN:
			err = port_in(&em);
			break;
		case EMULATE_OUT:
			err = port_out(&em);
			break;
		case EMULATE_DONE:
			vmx_complete_emulation(v->vmx);
			return 0;
		case EMULATE_FAULT:
			vmx_inject_exception(v->vmx, em.e.vector, true, 0);
			return 0;
		case EMULATE_UNHANDLED:
			unhandled(&em);
			return 0;
		}
	}
	return err == ERR_NOMEM ? err : 0;
}
