/* SPDX-License-Identifier: MIT */
#include "kernel/dev/platform.h"

#include "kernel/base/error.h"
#include "kernel/dev/chipset.h"
#include "kernel/dev/lapic.h"
#include "mem/slab.h"

#define ISA_IRQS    16
#define TIMER_IRQ   0
#define CASCADE_IRQ 2
#define INTR_PIN    0 /* where the IOAPIC has the PIC's INTR */

void chipset_add(struct platform *p, struct device *d, const struct device_ops *ops)
{
	d->ops = ops;
	d->vm = p->vm;
	p->devices[p->device_count++] = d;
}

void chipset_irq(struct platform *p, u32 gsi, bool level)
{
	if (gsi >= PLATFORM_IOAPIC_PINS || gsi == CASCADE_IRQ)
		return;
	if (gsi < ISA_IRQS)
		pic_set_line(&p->pic, gsi, level);
	ioapic_set_line(&p->ioapic, gsi == TIMER_IRQ ? CHIPSET_TIMER_PIN : gsi, level);
}

void platform_irq(struct platform *p, u32 gsi, bool level)
{
	bool on = spin_lock_irqsave(&p->lock);

	chipset_irq(p, gsi, level);
	spin_unlock_irqrestore(&p->lock, on);
}

void chipset_intr(struct platform *p, bool level)
{
	for (u32 i = 0; i < p->vm->vcpu_count; i++) {
		struct vcpu *v = p->vm->vcpus[i];

		if (v && v->lapic)
			lapic_set_lint0(v->lapic, level);
	}
	ioapic_set_line(&p->ioapic, INTR_PIN, level);
}

void chipset_sync_edges(struct platform *p)
{
	bool on = spin_lock_irqsave(&p->lock);

	pit_sync(&p->pit);
	spin_unlock_irqrestore(&p->lock, on);
}

void chipset_resume_edges(struct platform *p)
{
	bool on = spin_lock_irqsave(&p->lock);

	pit_sync(&p->pit);
	pit_rearm(&p->pit);
	spin_unlock_irqrestore(&p->lock, on);
}

void chipset_end(struct platform *p, enum vm_end cause, u32 code)
{
	uart_flush(&p->uart);
	vm_request_end(p->vm, cause, code);
}

static void reset_devices(struct platform *p)
{
	for (u32 i = 0; i < p->device_count; i++) {
		struct device *d = p->devices[i];

		if (d->ops->reset)
			d->ops->reset(d);
	}
}

static void destroy_devices(struct platform *p)
{
	for (u32 i = 0; i < p->device_count; i++) {
		struct device *d = p->devices[i];

		if (d->ops->destroy)
			d->ops->destroy(d);
	}
}

static int init_devices(struct platform *p)
{
	int err = pic_init(&p->pic, p);

	if (!err)
		err = ioapic_init(&p->ioapic, p);
	if (!err)
		err = pit_init(&p->pit, p);
	if (!err)
		err = rtc_init(&p->rtc, p);
	if (!err)
		err = uart_init(&p->uart, p);
	if (!err)
		err = pm_init(&p->pm, p);
	if (!err)
		err = i8042_init(&p->i8042, p);
	if (!err)
		err = pci_init(&p->pci, p);
	if (!err)
		err = reset_init(&p->reset, p);
	if (!err)
		err = fw_cfg_init(&p->fw_cfg, p);
	return err;
}

int platform_create(struct vm *vm, struct platform **out)
{
	struct platform *p = kmalloc(sizeof(*p));
	int err;

	if (!p)
		return ERR_NOMEM;
	p->vm = vm;
	spin_init(&p->lock, "platform", LOCK_IRQCHIP);
	err = init_devices(p);
	if (err) {
		destroy_devices(p);
		kfree(p);
		return err;
	}
	reset_devices(p);
	*out = p;
	return 0;
}

void platform_destroy(struct platform *p)
{
	uart_flush(&p->uart);
	/* A timer that is running elsewhere finds nothing to arm itself again for. */
	reset_devices(p);
	destroy_devices(p);
	kfree(p);
}

void platform_reset(struct platform *p)
{
	uart_flush(&p->uart);
	for (u32 i = 0; i < p->vm->vcpu_count; i++) {
		struct vcpu *v = p->vm->vcpus[i];

		if (v && v->lapic)
			lapic_power_on(v->lapic);
	}
	reset_devices(p);
}

void platform_resume(struct platform *p)
{
	bool on = spin_lock_irqsave(&p->lock);

	pit_sync(&p->pit);
	pit_rearm(&p->pit);
	rtc_resume(&p->rtc);
	spin_unlock_irqrestore(&p->lock, on);
	for (u32 i = 0; i < p->vm->vcpu_count; i++)
		lapic_timer_resume(p->vm->vcpus[i]->lapic);
}

void platform_nmi(struct platform *p)
{
	for (u32 i = 0; i < p->vm->vcpu_count; i++)
		lapic_nmi_button(p->vm->vcpus[i]->lapic);
}

u32 platform_console_input(struct platform *p, const u8 *bytes, u32 count)
{
	return uart_input(&p->uart, bytes, count);
}

void platform_console_flush(struct platform *p)
{
	uart_flush(&p->uart);
}

void platform_vcpu_poll(struct vcpu *v)
{
	uart_flush(&v->vm->platform->uart);
}

int platform_vcpu_create(struct vcpu *v)
{
	struct platform *p = v->vm->platform;
	struct lapic *l;
	int err = lapic_create(v, &l);
	bool on;

	if (err)
		return err;
	on = spin_lock_irqsave(&p->lock);
	v->lapic = l;
	spin_unlock_irqrestore(&p->lock, on);
	return 0;
}

/* Timers of the devices may run until platform_destroy: they look for the LAPIC under the lock. */
void platform_vcpu_destroy(struct vcpu *v)
{
	struct platform *p = v->vm->platform;
	struct lapic *l;
	bool on = spin_lock_irqsave(&p->lock);

	l = v->lapic;
	v->lapic = NULL;
	spin_unlock_irqrestore(&p->lock, on);
	if (l)
		lapic_destroy(l);
}

/*
 * The PIC's INTR reaches a CPU by LINT0 (directly when the APIC is off), or through the IOAPIC's
 * pin 0 when that is programmed for ExtINT.
 */
static bool __noinline extint_comes_to(struct vcpu *v)
{
	return lapic_takes_lint0_extint(v->lapic) ||
	       ioapic_extint_to(&v->vm->platform->ioapic, INTR_PIN, v);
}

bool platform_extint_pending(struct vcpu *v)
{
	return unlikely(READ_ONCE(v->vm->platform->pic.output)) && extint_comes_to(v);
}

bool platform_interrupt_pending(struct vcpu *v)
{
	return platform_extint_pending(v) || lapic_pending_vector(v->lapic) >= 0;
}

bool platform_injection_pending(struct vcpu *v)
{
	return platform_extint_pending(v) ||
	       (!v->lapic->by_cpu && lapic_pending_vector(v->lapic) >= 0);
}

bool platform_wants_look(struct vcpu *v)
{
	if (v->lapic->by_cpu)
		return lapic_waits(v->lapic) || platform_extint_pending(v);
	return platform_interrupt_pending(v);
}

bool platform_apic_load(struct vcpu *v, struct platform_apic_state *out)
{
	return v->lapic->by_cpu &&
	       lapic_load(v->lapic, &out->requested, &out->in_service, out->level);
}

bool platform_is_x2apic(struct vcpu *v)
{
	return lapic_is_x2apic(v->lapic);
}

static int extint_ack(struct platform *p)
{
	bool on = spin_lock_irqsave(&p->lock);
	int vector = -1;

	if (p->pic.output) {
		/* Edges of the timer until now are part of this interrupt. */
		pit_sync(&p->pit);
		vector = pic_ack(&p->pic);
		pit_rearm(&p->pit);
	}
	spin_unlock_irqrestore(&p->lock, on);
	return vector;
}

int platform_interrupt_ack(struct vcpu *v)
{
	int vector = -1;

	if (platform_extint_pending(v))
		vector = extint_ack(v->vm->platform);
	return vector >= 0 ? vector : lapic_ack(v->lapic);
}

bool platform_nmi_take(struct vcpu *v)
{
	return lapic_nmi_take(v->lapic);
}

bool platform_start_up_pending(struct vcpu *v)
{
	return __atomic_load_n(&v->lapic->start_up, __ATOMIC_SEQ_CST) != 0;
}

struct platform_start_up platform_start_up_take(struct vcpu *v)
{
	u32 bits = lapic_start_up_take(v->lapic);

	return (struct platform_start_up){
		.init = bits & LAPIC_INIT_CAME,
		.sipi = bits & LAPIC_SIPI_CAME,
		.vector = (u8)(bits & LAPIC_SIPI_VECTOR),
	};
}

void platform_init(struct vcpu *v)
{
	lapic_init(v->lapic);
}

bool platform_owns_msr(u32 index)
{
	return lapic_owns_msr(index);
}

int platform_rdmsr(struct vcpu *v, u32 index, u64 *value)
{
	return lapic_rdmsr(v->lapic, index, value);
}

int platform_wrmsr(struct vcpu *v, u32 index, u64 value)
{
	return lapic_wrmsr(v->lapic, index, value);
}

u64 platform_apic_base(struct vcpu *v)
{
	return v->lapic->apic_base;
}

bool platform_lapic_mmio(struct vcpu *v, gpa_t gpa, u32 size, bool write, u64 *value)
{
	return lapic_mmio(v->lapic, gpa, size, write, value);
}

void platform_tsc_moved(struct vcpu *v)
{
	lapic_timer_resume(v->lapic);
}

void *platform_apic_page(struct vcpu *v)
{
	return v->lapic->page;
}

void *platform_posted(struct vcpu *v)
{
	return v->lapic->posts ? &v->lapic->posted : NULL;
}

u32 platform_tpr_threshold(struct vcpu *v)
{
	return lapic_tpr_threshold(v->lapic);
}
