/* SPDX-License-Identifier: MIT */
/* Weir's image as linker.ld laid it out. */
#include "mem/vmap_internal.h"

extern char image_text_start[], image_text_end[], image_rodata_start[], image_rodata_end[];
extern char image_data_start[], image_data_end[], image_bss_start[], image_bss_end[];

static struct vmap_section section(const char *start, const char *end, u64 flags)
{
	return (struct vmap_section){
		.va = (u64)start,
		.size = (u64)(end - start),
		.hpa = virt_to_phys(start),
		.flags = flags,
	};
}

void vmap_image_sections(struct vmap_section out[VMAP_SECTIONS])
{
	out[0] = section(image_text_start, image_text_end, 0);
	out[1] = section(image_rodata_start, image_rodata_end, PTE_NX);
	out[2] = section(image_data_start, image_data_end, PTE_NX | PTE_WRITE);
	out[3] = section(image_bss_start, image_bss_end, PTE_NX | PTE_WRITE);
}
