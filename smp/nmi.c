/* SPDX-License-Identifier: MIT */
/*
 * An NMI comes in the middle of anything, so all it does is to send its CPU an interrupt, which
 * reads from port 0x61 who it was and arms the source again: without that no other would come.
 */
#include "smp/nmi.h"
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/cpu.h"
#include "smp/irq.h"

/* System control port B of the PC/AT, as every chipset still has it. */
#define PORT_61	     0x61
#define PORT_61_KEPT 0x0f /* the bits that can be written */
#define SERR_OFF     BIT(2)
#define IOCHK_OFF    BIT(3)
#define IOCHK	     BIT(6)
#define SERR	     BIT(7)
#define NOT_THERE    0xff
#define NMIS_TOLD    8 /* a source that stays up is not armed for ever */

static void arm_again(u8 port, u8 off)
{
	outb(PORT_61, (u8)((port & PORT_61_KEPT) | off));
	outb(PORT_61, (u8)(port & PORT_61_KEPT & ~off));
}

static void look(void *arg)
{
	static u32 seen; /* atomic */
	u32 before = __atomic_fetch_add(&seen, 1, __ATOMIC_RELAXED);
	const char *more = before == NMIS_TOLD - 1 ? "; further ones are not told" : "";
	u8 port;

	(void)arg;
	if (before >= NMIS_TOLD)
		return;
	port = inb(PORT_61);
	if (port != NOT_THERE && (port & SERR)) {
		log_warn("NMI on CPU %u: system error (SERR#): memory or a device reports a "
			 "fault%s",
			 cpu_id(), more);
		arm_again(port, SERR_OFF);
	} else if (port != NOT_THERE && (port & IOCHK)) {
		log_warn("NMI on CPU %u: I/O check (IOCHK#): a device reports a fault%s", cpu_id(),
			 more);
		arm_again(port, IOCHK_OFF);
	} else {
		log_warn("NMI on CPU %u: port 0x61 (%#x) does not say who sent it%s", cpu_id(),
			 port, more);
	}
}

void nmi_init(void)
{
	irq_set_handler(VECTOR_NMI_CAME, look, NULL);
}

void nmi_came(void)
{
	if (apic_ready())
		apic_send_self(VECTOR_NMI_CAME);
}
