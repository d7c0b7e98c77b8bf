/* SPDX-License-Identifier: MIT */
/*
 * Exits that need neither the thread nor the loop in kernel/vcpu.c: answered in exit context, with
 * interrupts off, and the guest runs on. What is not here, or turns out to need more, goes the long
 * way, which handles everything; so nothing is decided here that is not decided there alike, but
 * for an EOI by another instruction than MOV (quick_eoi).
 *
 * A write may let an interrupt in that waited: then the loop has a look. What interrupts raise from
 * elsewhere, a request to the vCPU makes known (vcpu_request).
 */
#include "kernel/apic_page.h"
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "kernel/dev/lapic.h"
#include "kernel/dev/platform.h"

#define LAPIC_EOI (PLATFORM_LAPIC_BASE + 0xb0)

static int __noinline look_if_wanted(struct vcpu *v)
{
	return platform_wants_look(v) ? VMX_LOOK : 0;
}

/* Where nothing waits in the APIC there is none to take from it. */
static inline int done_or_look(struct vcpu *v)
{
	if (unlikely(lapic_waits(v->lapic)))
		return look_if_wanted(v);
	return unlikely(platform_extint_pending(v)) ? VMX_LOOK : 0;
}

/* What waits in the APIC waits perhaps for something else now: TPR's threshold may have changed. */
static inline int lapic_written(struct vcpu *v)
{
	return unlikely(lapic_waits(v->lapic) || platform_extint_pending(v)) ? VMX_LOOK : 0;
}

/* These are apart from vcpu_quick so that it has nothing to save and restore. */
static int __noinline quick_wrmsr(struct vcpu *v, const struct vmx_exit *e)
{
	int err;

	if (unlikely(e->msr.index == MSR_IA32_APIC_BASE) &&
	    apic_base_moves(v, e->msr.index, e->msr.value))
		return ERR_TOO_HARD;
	err = lapic_wrmsr(v->lapic, e->msr.index, e->msr.value);
	return err ? err : lapic_written(v);
}

static int quick_msr(struct vcpu *v, struct vmx_exit *e)
{
	bool read = e->kind == VMX_EXIT_RDMSR;

	/* The base is no more than a word; and what it holds already changes nothing. */
	if (e->msr.index == MSR_IA32_APIC_BASE) {
		if (read)
			e->msr.value = lapic_base(v->lapic);
		if (e->msr.value == lapic_base(v->lapic))
			return 0;
	} else if (!lapic_owns_msr(e->msr.index)) {
		return ERR_TOO_HARD;
	}
	if (read)
		return lapic_rdmsr(v->lapic, e->msr.index, &e->msr.value);
	return quick_wrmsr(v, e);
}

/* No single device: the long way cuts the access to pieces, unless nobody is there at all. */
static int __noinline quick_io_nobody(const struct vcpu *v, struct vmx_exit *e)
{
	for (u32 i = 1; i < e->io.size; i++) {
		if (bus_find_port(&v->vm->bus, (u16)(e->io.port + i)))
			return ERR_TOO_HARD;
	}
	e->io.value = ~0u;
	return 0;
}

/* Their arguments are in the order of the device's, which costs less. */
static int __noinline quick_in(struct device *d, struct vcpu *v, u64 offset, struct vmx_exit *e)
{
	if (unlikely(!(d->ops->quick & DEVICE_QUICK_READ)))
		return ERR_TOO_HARD;
	e->io.value = (u32)d->ops->read(d, v, offset, e->io.size);
	return 0;
}

static int __noinline quick_out(struct device *d, struct vcpu *v, u64 offset, struct vmx_exit *e)
{
	if (unlikely(!(d->ops->quick & DEVICE_QUICK_WRITE)))
		return ERR_TOO_HARD;
	d->ops->write(d, v, offset, e->io.size, e->io.value);
	return done_or_look(v);
}

static inline int quick_io_at(struct vcpu *v, struct vmx_exit *e, const struct bus_range *r)
{
	u32 size = e->io.size;
	u64 offset;

	if (!r && unlikely(size > 1))
		return quick_io_nobody(v, e);
	if (!r) {
		e->io.value = ~0u;
		return 0;
	}
	offset = e->io.port - r->start + r->offset_base;
	if (unlikely(!bus_is_whole(r, e->io.port, size)))
		return ERR_TOO_HARD;
	return e->io.in ? quick_in(r->dev, v, offset, e) : quick_out(r->dev, v, offset, e);
}

static int __noinline quick_io_high(struct vcpu *v, struct vmx_exit *e)
{
	return quick_io_at(v, e, bus_find_port(&v->vm->bus, e->io.port));
}

int vcpu_quick_io(void *owner, struct vmx_exit *e)
{
	struct vcpu *v = owner;

	if (unlikely(e->io.string))
		return ERR_TOO_HARD;
	if (unlikely(e->io.port >= BUS_LOW_PORTS))
		return quick_io_high(v, e);
	return quick_io_at(v, e, bus_find_low_port(&v->vm->bus, e->io.port));
}

/*
 * An access that begins in the page before faults at this one's first byte: where the operand is
 * tells it from one that is all here.
 */
static inline bool begins_page(struct vcpu *v, const u8 *bytes, const struct fetch_code *code,
			       const u64 *gpr)
{
	u32 at;

	if (!decode_mov_offset(&at, bytes, (enum decode_mode)code->mode, gpr))
		return false;
	if (code->mode != DECODE_64)
		at += vmx_data_base(v->vmx);
	return is_aligned(at, (u32)PAGE_SIZE);
}

/* All of one. */
static inline bool is_register(struct vcpu *v, gpa_t gpa, const u8 *bytes,
			       const struct fetch_code *code, const u64 *gpr)
{
	return is_aligned(gpa.v, 4ull) &&
	       ((gpa.v & (PAGE_SIZE - 1)) || begins_page(v, bytes, code, gpr));
}

/* 32 bits, of the local APIC, wherever its base is, or of who is there on the bus. */
static bool access_register(struct vcpu *v, gpa_t gpa, bool write, u64 *value)
{
	const struct bus_range *r;
	const struct device_ops *ops;
	u64 offset;

	if (lapic_is_at(v->lapic, gpa) && lapic_mmio(v->lapic, gpa, 4, write, value))
		return true;
	r = bus_find_mmio(&v->vm->bus, gpa);
	if (!r || !bus_is_whole(r, gpa.v, 4))
		return false;
	ops = r->dev->ops;
	offset = gpa.v - r->start + r->offset_base;
	if (!(ops->quick & (write ? DEVICE_QUICK_WRITE : DEVICE_QUICK_READ)))
		return false;
	if (write)
		ops->write(r->dev, v, offset, 4, (u32)*value);
	else
		*value = ops->read(r->dev, v, offset, 4);
	return true;
}

/*
 * What a MOV writes to EOI is ignored, so its length is all there is to know of it. The SDM leaves
 * that undefined for such exits; CPUs tell it, and KVM relies on it. So does KVM on its being a
 * MOV, for to look would make each EOI slower: of XCHG, POP, STOS and others the rest is not done.
 */
static int quick_eoi(struct vcpu *v)
{
	u64 value = 0;

	if (!lapic_mmio(v->lapic, GPA(LAPIC_EOI), 4, true, &value))
		return ERR_TOO_HARD;
	mmu_count_mmio(&v->mmu);
	return lapic_written(v);
}

/*
 * A MOV of 32 bits to or from a register of a device. The CPU has checked the access and
 * worked out its address; what it is to do is read from the instruction. Another vCPU may have
 * changed that since: then this one does what it says now, as if it had come later.
 */
int vcpu_quick_mmio(void *owner, struct vmx_exit *e)
{
	struct vcpu *v = owner;
	bool write = e->mmio.access & MMU_WRITE;
	struct fetch_code code;
	struct insn_mov mov;
	u64 words[FETCH_WORDS], *gpr, value;
	const u8 *bytes;

	if (write && e->mmio.length && e->mmio.gpa.v == LAPIC_EOI)
		return quick_eoi(v);
	gpr = vmx_get_code(v->vmx, &code);
	if (!gpr)
		return ERR_TOO_HARD;
	bytes = fetch_instruction(&v->mmu, &code, words);
	if (!bytes || !decode_mov(&mov, bytes, code.mode) || mov.load == write || mov.reg == RSP)
		return ERR_TOO_HARD;
	value = mov.reg == INSN_REG_NONE ? mov.imm : (u32)gpr[mov.reg];
	if (!is_register(v, e->mmio.gpa, bytes, &code, gpr) ||
	    !access_register(v, e->mmio.gpa, write, &value))
		return ERR_TOO_HARD;
	e->mmio.length = mov.length;
	mmu_count_mmio(&v->mmu);
	if (write)
		return lapic_written(v);
	gpr[mov.reg] = (u32)value;
	return 0;
}

/* Traps of what the CPU has done on the page. */
static int __noinline quick_apic(struct vcpu *v, const struct vmx_exit *e)
{
	if (e->kind == VMX_EXIT_APIC_EOI)
		lapic_ended(v->lapic, (u8)e->apic);
	else
		lapic_page_written(v->lapic, e->apic);
	return lapic_written(v);
}

int vcpu_quick(void *owner, struct vmx_exit *e)
{
	struct vcpu *v = owner;

	/* First what has the least to do. */
	if (e->kind == VMX_EXIT_RDMSR || e->kind == VMX_EXIT_WRMSR)
		return quick_msr(v, e);
	switch (e->kind) {
	case VMX_EXIT_APIC_WRITE:
	case VMX_EXIT_APIC_EOI:
		return quick_apic(v, e);
	default:
		return ERR_TOO_HARD;
	}
}
