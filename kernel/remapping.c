/* SPDX-License-Identifier: MIT */
#include "kernel/remapping.h"
#include "kernel/base/log.h"

/* Intel VT-d specification 10.4.5 and 10.4.16. */
#define GLOBAL_STATUS	   0x1c
#define PROTECTED_MEMORY   0x64
#define PROTECTED_STATUS   BIT(0)
#define STATUS_TRANSLATION BIT(31)
#define STATUS_INTERRUPTS  BIT(25)
#define NOBODY		   0xffffffffu

void remapping_warn(const struct acpi_info *acpi, u8 *(*map)(hpa_t hpa, u64 size))
{
	u32 all = 0;
	bool remaps, protected = false;

	for (u32 i = 0; i < acpi->dmar_count; i++) {
		const volatile u32 *unit;
		u32 status;

		if (!acpi->dmars[i] || acpi->dmars[i] % PAGE_SIZE)
			continue;
		unit = (const volatile u32 *)(void *)map(HPA(acpi->dmars[i]), PAGE_SIZE);
		status = unit ? unit[GLOBAL_STATUS / 4] : NOBODY;
		if (status == NOBODY)
			continue;
		all |= status;
		protected |= unit[PROTECTED_MEMORY / 4] & PROTECTED_STATUS;
	}
	remaps = all & (STATUS_TRANSLATION | STATUS_INTERRUPTS);
	if (remaps || protected)
		log_warn("the firmware left %s%s%s%s%s%s on (VT-d): %s may not arrive; turn VT-d "
			 "or DMA protection off in the firmware setup",
			 all & STATUS_TRANSLATION ? "DMA" : "",
			 (all & STATUS_TRANSLATION) && (all & STATUS_INTERRUPTS) ? " and " : "",
			 all & STATUS_INTERRUPTS ? "interrupt" : "", remaps ? " remapping" : "",
			 remaps && protected ? " and " : "",
			 protected ? "protected memory regions" : "",
			 all & STATUS_INTERRUPTS ? "interrupts" : "a swap disk's data");
}
