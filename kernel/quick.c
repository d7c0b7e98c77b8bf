/* SPDX-License-Identifier: MIT */
/*
 * Exits that need neither the thread nor the loop in kernel/vcpu.c: answered in exit context, with
 * interrupts off, and the guest runs on. What is not here, or turns out to need more, goes the long
 * way, which handles everything; so nothing is decided here that is not decided there alike.
 *
 * A write may let an interrupt in that waited: then the loop has a look. What interrupts raise from
 * elsewhere, a request to the vCPU makes known (vcpu_request).
 */
#include "kernel/hypercall.h"
#include "kernel/vcpu.h"

#include "kernel/base/error.h"
#include "kernel/dev/lapic.h"
#include "kernel/dev/platform.h"

static int done_or_look(struct vcpu *v)
{
	return unlikely(platform_interrupt_pending(v)) ? VMX_LOOK : 0;
}

/* These are apart from vcpu_quick so that it has nothing to save and restore. */
static int __noinline quick_wrmsr(struct vcpu *v, const struct vmx_exit *e)
{
	int err = lapic_wrmsr(v->lapic, e->msr.index, e->msr.value);

	return err ? err : done_or_look(v);
}

/* No single device: the long way cuts the access to pieces, unless nobody is there at all. */
static int quick_io_nobody(const struct vcpu *v, struct vmx_exit *e)
{
	for (u32 i = 1; i < e->io.size; i++) {
		if (bus_find_port(&v->vm->bus, (u16)(e->io.port + i)))
			return ERR_TOO_HARD;
	}
	e->io.value = ~0u;
	return 0;
}

static int __noinline quick_io(struct vcpu *v, struct vmx_exit *e)
{
	const struct bus_range *r = bus_find_port(&v->vm->bus, e->io.port);
	const struct device_ops *ops;
	u64 offset;

	if (unlikely(e->io.string))
		return ERR_TOO_HARD;
	if (!r)
		return quick_io_nobody(v, e);
	ops = r->dev->ops;
	offset = e->io.port - r->start + r->offset_base;
	if (unlikely(!bus_is_whole(r, e->io.port, e->io.size)))
		return ERR_TOO_HARD;
	if (e->io.in) {
		if (!(ops->quick & DEVICE_QUICK_READ))
			return ERR_TOO_HARD;
		e->io.value = (u32)ops->read(r->dev, v, offset, e->io.size);
		return 0;
	}
	if (!(ops->quick & DEVICE_QUICK_WRITE))
		return ERR_TOO_HARD;
	ops->write(r->dev, v, offset, e->io.size, e->io.value);
	return done_or_look(v);
}

int vcpu_quick(void *owner, struct vmx_exit *e)
{
	struct vcpu *v = owner;

	if (e->kind == VMX_EXIT_RDMSR || e->kind == VMX_EXIT_WRMSR) {
		if (!lapic_owns_msr(e->msr.index))
			return ERR_TOO_HARD;
		if (e->kind == VMX_EXIT_RDMSR)
			return lapic_rdmsr(v->lapic, e->msr.index, &e->msr.value);
		return quick_wrmsr(v, e);
	}
	if (e->kind == VMX_EXIT_IO)
		return quick_io(v, e);
	return hypercall_quick(v, &e->hypercall);
}
