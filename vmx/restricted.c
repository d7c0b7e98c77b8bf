/* SPDX-License-Identifier: MIT */
/*
 * Guests on a CPU without unrestricted guest. There CR0.PE and CR0.PG are always set while a guest
 * runs (cr.c has what that means for paging). Real mode runs as virtual-8086 mode: the VMCS gets
 * that form right before an entry and the guest's own back right after the exit, so nobody else
 * knows of it. IOPL is 0 meanwhile, CR4.VME clear and every exception exits: what a program in real
 * mode may do and one in virtual-8086 mode may not raises #GP, and is run in software.
 *
 * States that an entry would refuse are run in software, too, and so are interrupts and exceptions
 * there and in real mode: the floor above has the emulator.
 */
#include "kernel/base/msr.h"
#include "mmu/emulate.h"
#include "mmu/real_mode.h"
#include "vmx/capability.h"
#include "vmx/regs.h"
#include "vmx/restricted_rules.h"

#define RFLAGS_VM	BIT(17)
#define RFLAGS_HIDDEN	(BIT(12) | BIT(13) | BIT(18)) /* IOPL, AC: a program in real mode has CPL 0 */
#define EVERY_EXCEPTION 0xffffffffu

static void set_segment(enum vmx_segment_id id, const struct vmx_segment *s)
{
	vmcs_write(VMCS_SEGMENT(GUEST_ES_SELECTOR, id), s->selector);
	vmcs_write(VMCS_SEGMENT(GUEST_ES_BASE, id), s->base);
	vmcs_write(VMCS_SEGMENT(GUEST_ES_LIMIT, id), s->limit);
	vmcs_write(VMCS_SEGMENT(GUEST_ES_ACCESS, id), s->access);
}

static void get_segments(struct vmx_vcpu *v, struct vmx_segment s[RESTRICTED_SEGMENTS])
{
	for (u32 i = 0; i < RESTRICTED_SEGMENTS; i++)
		vmx_get_segment(v, (enum vmx_segment_id)i, &s[i]);
}

bool vcpu_in_real_mode(struct vmx_vcpu *v)
{
	(void)v;
	return !(vmcs_read(CTRL_CR0_SHADOW) & CR0_PE);
}

/* --- virtual-8086 mode --- */

static void enter_vm86(struct vmx_vcpu *v, const struct vmx_segment s[RESTRICTED_SEGMENTS])
{
	const struct vmx_segment tss = {
		.limit = REAL_MODE_TSS_LIMIT,
		.access = ACCESS_TSS_BUSY,
		.base = v->config.real_mode_tss.v,
	};
	struct vm86_state *m = &v->vm86;

	for (u32 i = SEG_ES; i <= SEG_GS; i++) {
		m->access[i] = s[i].access;
		vmcs_write(VMCS_SEGMENT(GUEST_ES_ACCESS, i), VM86_ACCESS);
	}
	m->tr = s[SEG_TR];
	set_segment(SEG_TR, &tss);
	m->rflags = vmcs_read(GUEST_RFLAGS) & RFLAGS_HIDDEN;
	vmcs_write(GUEST_RFLAGS, (vmcs_read(GUEST_RFLAGS) & ~RFLAGS_HIDDEN) | RFLAGS_VM);
	/* SYSENTER, which real mode has not, raises #GP. */
	m->sysenter_cs = vmcs_read(GUEST_SYSENTER_CS);
	vmcs_write(GUEST_SYSENTER_CS, 0);
	m->cr4 = vmcs_read(GUEST_CR4) & CR4_VME;
	if (m->cr4)
		vmcs_write(GUEST_CR4, vmcs_read(GUEST_CR4) & ~CR4_VME);
	vmcs_write(CTRL_EXCEPTION_BITMAP, EVERY_EXCEPTION);
	v->in_vm86 = true;
}

/* Segments may have been loaded meanwhile; limits and rights stay, as in real mode. */
void restricted_leave(struct vmx_vcpu *v)
{
	struct vm86_state *m = &v->vm86;

	v->in_vm86 = false;
	v->was_vm86 = true;
	for (u32 i = SEG_ES; i <= SEG_GS; i++)
		vmcs_write(VMCS_SEGMENT(GUEST_ES_ACCESS, i), m->access[i]);
	set_segment(SEG_TR, &m->tr);
	vmcs_write(GUEST_RFLAGS, (vmcs_read(GUEST_RFLAGS) & ~RFLAGS_VM) | m->rflags);
	vmcs_write(GUEST_SYSENTER_CS, m->sysenter_cs);
	if (m->cr4)
		vmcs_write(GUEST_CR4, vmcs_read(GUEST_CR4) | m->cr4);
	vmcs_write(CTRL_EXCEPTION_BITMAP, vcpu_exceptions(v));
	v->unprepared = true;
}

/* --- before an entry --- */

/* A trap that waits for the next entry is an event here. */
static void take_single_step(struct vmx_vcpu *v)
{
	struct event step = {.valid = true, .vector = EXCEPTION_DB, .type = EVENT_EXCEPTION};
	u64 pending = vmcs_read(GUEST_PENDING_DEBUG);

	if (!(pending & PENDING_DEBUG_BS) ||
	    (vmcs_read(GUEST_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
		return;
	vmcs_write(GUEST_PENDING_DEBUG, 0);
	debug_regs_raise(v, pending);
	event_queue(v, &step);
}

static bool protected_fits(struct vmx_vcpu *v)
{
	struct vmx_segment s[RESTRICTED_SEGMENTS];

	if (!v->segments_odd)
		return true;
	if (vcpu_rflags(v) & RFLAGS_VM) {
		v->segments_odd = false;
		return true;
	}
	get_segments(v, s);
	if (!restricted_fits_protected(s))
		return false;
	for (u32 i = SEG_ES; i <= SEG_GS; i++)
		vmcs_write(VMCS_SEGMENT(GUEST_ES_ACCESS, i), s[i].access);
	v->segments_odd = false;
	return true;
}

static bool real_fits(struct vmx_vcpu *v)
{
	struct vmx_segment s[RESTRICTED_SEGMENTS];

	get_segments(v, s);
	return !v->emulate_once && restricted_fits_vm86(s, vcpu_regs(v)->rip);
}

/* In real mode all events go by the vector table; in protected mode the CPU delivers what it can. */
static bool fits(struct vmx_vcpu *v)
{
	bool real = vcpu_in_real_mode(v), fit = real ? real_fits(v) : protected_fits(v);

	if (!real && fit)
		return true;
	take_single_step(v);
	event_choose(v);
	return fit && !v->event.valid;
}

bool vmx_must_emulate(struct vmx_vcpu *v)
{
	/* After a triple fault nothing is run. */
	return v->restricted && !v->shutdown && !fits(v);
}

bool restricted_prepare(struct vmx_vcpu *v, struct vmx_exit *e)
{
	e->kind = VMX_EXIT_EMULATE;
	/* In real mode no entry is prepared for good. */
	if (vcpu_in_real_mode(v))
		v->unprepared = true;
	return fits(v);
}

/* With nothing to deliver, and all registers in the VMCS. */
void restricted_enter(struct vmx_vcpu *v)
{
	struct vmx_segment s[RESTRICTED_SEGMENTS];

	v->was_vm86 = false;
	if (!vcpu_in_real_mode(v))
		return;
	get_segments(v, s);
	enter_vm86(v, s);
	v->unprepared = true;
}

/* --- exits from virtual-8086 mode --- */

/*
 * The others are the guest's own, and are delivered by way of its vector table. #UD is what CLAC and
 * STAC raise in virtual-8086 mode and not in real mode.
 */
bool restricted_is_privileged(struct vmx_vcpu *v, const struct event *e)
{
	if (!v->was_vm86 || e->type != EVENT_EXCEPTION)
		return false;
	if (e->vector != EXCEPTION_GP && e->vector != EXCEPTION_UD)
		return false;
	v->emulate_once = true;
	v->own_fault = e->vector;
	return true;
}

/* --- for the floor above --- */

bool vmx_own_fault(const struct vmx_vcpu *v, u8 *vector)
{
	*vector = v->own_fault;
	return v->emulate_once;
}

bool vmx_software_event(struct vmx_vcpu *v, struct emulate_event *out)
{
	const struct event *e = &v->event;

	if (!v->restricted || !e->valid || (!vcpu_in_real_mode(v) && protected_fits(v)))
		return false;
	*out = (struct emulate_event){
		.vector = e->vector,
		.length = e->length,
		.software = e->type == EVENT_SOFT_INTERRUPT || e->type == EVENT_SOFT_EXCEPTION,
		.has_error = e->has_error,
		.error_code = (u16)e->error_code,
	};
	return true;
}

void vmx_software_event_done(struct vmx_vcpu *v)
{
	if (v->event.type == EVENT_NMI)
		vmcs_write(GUEST_INTERRUPTIBILITY,
			   vmcs_read(GUEST_INTERRUPTIBILITY) | BLOCKED_BY_NMI);
	v->event.valid = false;
}
