/* SPDX-License-Identifier: MIT */
#include "kernel/remapping.h"
#include "kernel/base/log.h"

/* Intel VT-d specification 10.4.5. */
#define GLOBAL_STATUS	   0x1c
#define STATUS_TRANSLATION BIT(31)
#define STATUS_INTERRUPTS  BIT(25)
#define NOBODY		   0xffffffffu

void remapping_warn(const struct acpi_info *acpi, u8 *(*map)(hpa_t hpa, u64 size))
{
	u32 all = 0;

	for (u32 i = 0; i < acpi->dmar_count; i++) {
		const volatile u32 *unit;
		u32 status;

		if (!acpi->dmars[i] || acpi->dmars[i] % PAGE_SIZE)
			continue;
		unit = (const volatile u32 *)(void *)map(HPA(acpi->dmars[i]), PAGE_SIZE);
		status = unit ? unit[GLOBAL_STATUS / 4] : NOBODY;
		all |= status == NOBODY ? 0 : status;
	}
	if (all & (STATUS_TRANSLATION | STATUS_INTERRUPTS))
		log_warn("the firmware left %s%s%s remapping on (VT-d): %s may not arrive; turn "
			 "VT-d "
			 "or DMA protection off in the firmware setup",
			 all & STATUS_TRANSLATION ? "DMA" : "",
			 (all & STATUS_TRANSLATION) && (all & STATUS_INTERRUPTS) ? " and " : "",
			 all & STATUS_INTERRUPTS ? "interrupt" : "",
			 all & STATUS_INTERRUPTS ? "interrupts" : "a swap disk's data");
}
