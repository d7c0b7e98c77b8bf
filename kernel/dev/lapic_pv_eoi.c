/* SPDX-License-Identifier: MIT */
/*
 * KVM's paravirtual EOI: where nothing else comes of the end of the interrupt in service, a bit in the
 * guest's memory lets the guest end it by clearing the bit, without an exit. Nothing comes of it as
 * long as no other interrupt waits, and no IOAPIC is to be told. One that comes later makes the vCPU
 * leave the guest, and what the guest did with the bit is seen first. Where the memory has gone
 * nothing is offered.
 */
#include "kernel/dev/lapic_page.h"

#include "kernel/dev/chipset.h"
#include "mmu/gpa_pin.h"

#define MAY_END 1 /* KVM's ABI: bit 0, and the rest is 0 */

void lapic_pv_eoi_set(struct lapic *l, struct gpa_pin *word)
{
	lapic_pv_eoi_settle(l);
	l->pv_eoi = word;
}

void lapic_pv_eoi_offer_now(struct lapic *l)
{
	int vector = lapic_in_service(l);
	bool on;

	if (vector < 0 || lapic_waits(l) || lapic_is_level(l, (u8)vector))
		return;
	on = irq_save();
	l->pv_eoi_offered = gpa_pin_put(l->pv_eoi, MAY_END);
	irq_restore(on);
}

/* The offer ends: nobody knows how long nothing waits from here on. */
void lapic_pv_eoi_take_back(struct lapic *l)
{
	bool on = irq_save();
	u8 word = gpa_pin_take(l->pv_eoi);

	irq_restore(on);
	l->pv_eoi_offered = false;
	if (word & MAY_END)
		return;
	l->v->paravirt.eois++;
	lapic_eoi(l);
}
