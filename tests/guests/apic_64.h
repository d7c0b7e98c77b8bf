/* SPDX-License-Identifier: MIT */
/* Calls of 64-bit code from the guest `apic`, which has none else: for CR8 and XMM registers. */
#ifndef TESTS_GUESTS_APIC_64_H
#define TESTS_GUESTS_APIC_64_H

#include "guest.h"

/* All below 4 GiB, where it is, by 2 MiB. */
u64 pml4[512] __attribute__((aligned(4096)));
static u64 pdpt[512] __attribute__((aligned(4096)));
static u64 pd[4][512] __attribute__((aligned(4096)));
static u64 idt64[256][2] __attribute__((aligned(16)));

/* apic_code.S. Calls a function of 64-bit code, with EDI its argument; the answer is in EAX. */
u32 call_64(u32 function, u32 argument);
void on_interrupt_64(void), on_fault_64(void);
void get_cr8(void), set_cr8(void), let_in_cr8(void), cr8_too_large(void);
void put_xmm13(void), get_xmm12(void);
u32 interrupts_64, faults_64, after_cr8;

struct pointer {
	u16 limit;
	u32 base, high;
} __attribute__((packed));
struct pointer idt64_pointer = {sizeof(idt64) - 1, 0, 0}, idt32_pointer;

static void gate_64(u32 vector, u32 handler)
{
	idt64[vector][0] = (handler & 0xffff) | 24u << 16 | 0x8e00ull << 32 |
			   (u64)(handler >> 16) << 48;
}

static void long_mode_init(void)
{
	pml4[0] = (u32)pdpt | 3;
	for (u32 i = 0; i < 4; i++) {
		pdpt[i] = (u32)pd[i] | 3;
		for (u32 j = 0; j < 512; j++)
			pd[i][j] = (u64)i << 30 | j << 21 | 0x83;
	}
	idt64_pointer.base = (u32)idt64;
	for (u32 i = 0; i < 256; i++)
		gate_64(i, (u32)on_interrupt_64);
	gate_64(13, (u32)on_fault_64);
}

#endif
