/* SPDX-License-Identifier: MIT */
/* Memory, devices and ports of an instruction that is run in software. */
#include "kernel/emulation_private.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/dev/platform.h"

#define PIECES_MAX 3
#define WORD	   8u /* the widest access of a device, and of an entry of a page table */

/* One page's part of an access, of 8 bytes at most but for CMPXCHG16B's. */
struct piece {
	u64 gva;
	gpa_t gpa;
	u32 size;
};

/*
 * These bytes, all that the access has of one page, have the one at which the CPU refused the write, and
 * are to be written by the instruction itself: where that was found is where they are.
 */
static bool is_known(const struct emulation *em, u64 gva, u32 size, u32 access, gpa_t *gpa)
{
	const struct vmx_table_write *w = em->translated;

	if (!w || access != MMU_WRITE || w->gva.v - gva >= size)
		return false;
	*gpa = GPA(w->gpa.v - (w->gva.v - gva));
	return true;
}

/*
 * There was no frame. The instruction begins again when there is one, unless it has read or written
 * what it may not twice: then this waits. True: look again.
 */
static bool wait_here(struct emulation *em, int err)
{
	if (err != ERR_NOMEM || !em->committed)
		return false;
	if (__atomic_load_n(&em->v->vm->end, __ATOMIC_ACQUIRE) != VM_END_NONE)
		return false;
	vcpu_wait_for_memory(em->v);
	return true;
}

static int look_up(struct emulation *em, u64 gva, u32 size, u32 access, struct walk_result *w)
{
	int err;

	if (is_known(em, gva, size, access, &w->gpa))
		return 0;
	do
		err = guest_walk(&em->v->vm->mmu, &em->paging, GVA(gva), access, w);
	while (wait_here(em, err));
	if (!err)
		return 0;
	return emulation_access_failed(em, err, gva, w->error_code,
				       "goes through a page table that is not in RAM");
}

/*
 * The guest physical pieces of the step's access, all translated before any is touched. A page is looked
 * up once, as by a CPU: no access finds it in two places.
 */
static int translate(struct emulation *em, bool write, struct piece pieces[PIECES_MAX], u32 *count)
{
	u32 access = write ? MMU_WRITE : MMU_READ;
	u64 gva = em->e.gva;
	u32 left = em->e.size;
	struct walk_result w = {0};
	/* A descriptor table may lie anywhere in IA-32e mode, compatibility mode included. */
	bool wraps = em->e.implicit ? !em->cpu.long_mode : emulation_mode(em) != DECODE_64;
	int err = 0;

	*count = 0;
	if (em->e.implicit)
		access |= (u32)WALK_IMPLICIT_SUPERVISOR;
	while (left) {
		u32 offset = (u32)(gva & (PAGE_SIZE - 1));
		u32 in_page = min(left, (u32)PAGE_SIZE - offset);
		u32 n = em->e.atomic ? in_page : min(in_page, WORD);

		if (!*count || !offset)
			err = look_up(em, gva, in_page, access, &w);
		if (err)
			return err;
		pieces[(*count)++] = (struct piece){gva, w.gpa, n};
		w.gpa.v += n;
		gva += n;
		if (wraps)
			gva = (u32)gva;
		left -= n;
	}
	return 0;
}

/* The guest's own protection of the page refuses the write (H_PROTECT): as vmx/ept.c answers it. */
static int refuse_write(struct emulation *em, const struct piece *p)
{
	u32 code = PAGE_FAULT_P | PAGE_FAULT_WR | (em->paging.cpl == 3 ? PAGE_FAULT_US : 0);

	emulation_page_fault(em, p->gva, code);
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
	return size & (size - 1) ? 1 : min(size, WORD);
}

static int read_piece(struct emulation *em, const struct piece *p, u8 *to)
{
	u32 step = device_step(p->size);
	int err;

	do
		err = gpa_read(&em->v->vm->mmu, p->gpa, to, p->size);
	while (wait_here(em, err));
	if (err != ERR_NOSLOT)
		return err;
	em->committed = em->device = true;
	for (u32 at = 0; at < p->size; at += step) {
		u64 value = device_read(em->v, GPA(p->gpa.v + at), step);

		memcpy(to + at, &value, step);
	}
	return 0;
}

int emulation_read(struct emulation *em)
{
	struct piece pieces[PIECES_MAX];
	u64 value[2] = {0};
	u8 *to = (u8 *)value;
	u32 count;
	int err = translate(em, em->e.for_write, pieces, &count);

	if (!err && em->e.for_write)
		err = check_protection(em, pieces, count);
	for (u32 i = 0; i < count && !err; i++) {
		err = read_piece(em, &pieces[i], to);
		to += pieces[i].size;
	}
	em->e.value = value[0];
	em->e.high = value[1];
	return err;
}

/* CLFLUSH: of a device nothing is asked. */
int emulation_touch(struct emulation *em)
{
	struct piece pieces[PIECES_MAX];
	u32 count;

	return translate(em, false, pieces, &count);
}

/* To memory; ERR_NOSLOT: it is a device's. */
static int write_memory(struct emulation *em, const struct piece *p, const u8 *from)
{
	u64 expected[2] = {em->e.expected, em->e.expected_high};
	u64 value[2] = {em->e.value, em->e.high};
	int err;

	do {
		if (em->e.atomic && p->size == 2 * WORD)
			err = gpa_cmpxchg16(&em->v->vm->mmu, p->gpa, expected, value);
		else if (em->e.atomic && p->size == em->e.size)
			err = gpa_cmpxchg(&em->v->vm->mmu, p->gpa, p->size, expected, em->e.value);
		else
			err = gpa_write(&em->v->vm->mmu, p->gpa, from, p->size);
	} while (wait_here(em, err));
	return err;
}

static int write_piece(struct emulation *em, const struct piece *p, const u8 *from)
{
	u32 step = device_step(p->size);
	int err = write_memory(em, p, from);
	u64 value = 0;

	if (err == ERR_PERM)
		return refuse_write(em, p);
	if (err && err != ERR_NOSLOT)
		return err;
	em->committed = true;
	em->device |= err != 0;
	for (u32 at = 0; err && at < p->size; at += step) {
		memcpy(&value, from + at, step);
		device_write(em->v, GPA(p->gpa.v + at), step, value);
	}
	return 0;
}

int emulation_write(struct emulation *em)
{
	struct piece pieces[PIECES_MAX];
	u64 value[2] = {em->e.value, em->e.high};
	const u8 *from = (const u8 *)value;
	u32 count;
	int err = translate(em, true, pieces, &count);

	/* One piece says so itself when it is written. */
	if (!err && count > 1)
		err = check_protection(em, pieces, count);
	for (u32 i = 0; i < count && !err; i++) {
		err = write_piece(em, &pieces[i], from);
		from += pieces[i].size;
	}
	em->translated = NULL;
	return err;
}

/*
 * INS: its destination must be writable, and there, before the port is read: what a device gave
 * cannot be given back.
 */
int emulation_in(struct emulation *em)
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
	em->committed = em->device = true;
	return 0;
}

int emulation_out(struct emulation *em)
{
	em->device = true;
	bus_write(&em->v->vm->bus, em->v, SPACE_PIO, em->e.port, em->e.size, em->e.value);
	return 0;
}
