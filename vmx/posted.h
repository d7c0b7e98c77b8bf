/* SPDX-License-Identifier: MIT */
/*
 * Posted interrupts (SDM 3C 30.6): an interrupt reaches a vCPU in the guest without an exit. Who
 * has one, on whatever CPU, sets its bit in the vCPU's descriptor and sends the notification vector
 * to the CPU that the vCPU is on, which takes the bits into the virtual-APIC page by itself. A vCPU
 * that is not in the guest is asked to look, as for any request.
 *
 * The order, from which it follows that no bit is left lying:
 *
 *	who posts			the vCPU's thread
 *	1. the bit in `requests`	1. in_guest = true (stay.h), or about to sleep
 *	2. POSTED_ON			2. `kicked` (run.c), or a look at `control`
 *	3. a look at in_guest		3. control = 0, then `requests`
 *
 * Each step is a full barrier. Where 3 on the left finds in_guest set, POSTED_ON was there before
 * in_guest fell, so that the thread sees it at its next look; it looks before it sleeps, before
 * each run (inject_pending), and when it comes to a CPU (posted_look). Meanwhile the
 * notification has come to that CPU: in the guest; or with interrupts off, to be taken by the CPU
 * right after the entry; or as an ordinary interrupt in between, which makes the next entry turn
 * back for a look (posted_interrupt). Where 3 finds it clear, vmx_vcpu_kick's own order holds.
 * Who finds POSTED_ON set already leaves the rest to the one that set it.
 */
#ifndef VMX_POSTED_H
#define VMX_POSTED_H

#include "vmx/vcpu.h"

/* SDM 3C table 30-1. */
struct posted_descriptor {
	u32 requests[8]; /* PIR: a bit for each vector. Atomic: the CPU exchanges it with 0 */
	u32 control; /* POSTED_ON, which the CPU clears; the other bits are software's. Atomic */
	u32 unused[7];
};
static_assert(sizeof(struct posted_descriptor) == 64, "SDM 3C 25.6.8");
static_assert(offsetof(struct posted_descriptor, control) == 256 / 8, "SDM 3C table 30-1");

#define POSTED_ON 1u /* a notification is outstanding */

/* Boot CPU, once, before the first vCPU: the handler of the notification vector. */
void posted_init(void);
/* The VMCS is current, interrupts off; where the vCPU's interrupts are delivered by the CPU. */
void posted_setup(struct vmx_vcpu *v);

/* Something was posted that nobody has looked at yet. */
static inline bool posted_waits(const struct vmx_vcpu *v)
{
	const struct posted_descriptor *d = v->config.posted;

	return v->posts && __atomic_load_n(&d->control, __ATOMIC_SEQ_CST);
}
/*
 * Interrupts off. Its next entry turns back for what waits: as the vCPU comes to this CPU, for
 * notifications may have gone to the one before, and after interrupts of the host's.
 */
void posted_look(struct vmx_vcpu *v);

#endif
