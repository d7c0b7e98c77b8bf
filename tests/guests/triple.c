/* SPDX-License-Identifier: MIT */
/* Ends in a triple fault: an exception with no IDT to deliver it by. */
#include "guest.h"

void main(void)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) none = {0, 0};

	print("guest: triple fault follows\n");
	__asm__ volatile("lidt %0; ud2" ::"m"(none));
}
