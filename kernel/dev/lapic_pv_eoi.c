/* SPDX-License-Identifier: MIT */
/*
 * KVM's paravirtual EOI: where nothing else comes of the end of the interrupt in service, a bit in the
 * guest's memory lets the guest end it by clearing the bit, without an exit. Nothing comes of it as
 * long as no other interrupt waits, and no IOAPIC is to be told. One that comes later makes the vCPU
 * leave the guest, and what the guest did with the bit is seen first.
 */
#include "kernel/dev/lapic_page.h"

#include "kernel/dev/chipset.h"

#define MAY_END 1 /* KVM's ABI: bit 0, and the rest is 0 */

void lapic_pv_eoi_set(struct lapic *l, u8 *word)
{
	lapic_pv_eoi_settle(l);
	l->pv_eoi = word;
}

void lapic_pv_eoi_offer_now(struct lapic *l)
{
	int vector = lapic_in_service(l);

	if (vector < 0 || lapic_waits(l) || lapic_is_level(l, (u8)vector))
		return;
	__atomic_store_n(l->pv_eoi, MAY_END, __ATOMIC_RELAXED);
	l->pv_eoi_offered = true;
}

/* The offer ends: nobody knows how long nothing waits from here on. */
void lapic_pv_eoi_take_back(struct lapic *l)
{
	l->pv_eoi_offered = false;
	if (__atomic_exchange_n(l->pv_eoi, 0, __ATOMIC_RELAXED) & MAY_END)
		return;
	l->v->paravirt.eois++;
	lapic_eoi(l);
}
