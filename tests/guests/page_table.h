/* SPDX-License-Identifier: MIT */
/* What guests with page tables of their own share: entries, control registers, what the CPU can. */
#ifndef TESTS_GUESTS_PAGE_TABLE_H
#define TESTS_GUESTS_PAGE_TABLE_H

#include "guest.h"

#define P  1u
#define W  2u
#define U  4u
#define A  0x20u
#define D  0x40u
#define PS 0x80u
#define XD (1ull << 63)

#define CR0_WP	 0x10000u
#define CR0_PG	 0x80000000u
#define CR4_PSE	 0x10u
#define CR4_PAE	 0x20u
#define CR4_SMEP 0x100000u
#define CR4_SMAP 0x200000u
#define MSR_EFER 0xc0000080u
#define EFER_NXE 0x800u

#define PAGE __attribute__((aligned(4096)))

static u32 cpu_nx, cpu_smep, cpu_smap;
static bool no_writes_without_wp; /* the word "=" */

#define READ_CR(n)                                                 \
	({                                                         \
		u32 v_;                                            \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v_)); \
		v_;                                                \
	})
#define WRITE_CR(n, v) __asm__ volatile("mov %0, %%cr" #n ::"r"((u32)(v)) : "memory")

static inline void invlpg(u32 va)
{
	__asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}

static inline void flush(void)
{
	WRITE_CR(3, READ_CR(3));
}

/* info: what main is given. */
static inline void read_words(const u32 *info)
{
	const char *words = info[0] & 4 ? (const char *)info[4] : "";

	for (; *words; words++)
		no_writes_without_wp = no_writes_without_wp || *words == '=';
}

static inline void identify_cpu(void)
{
	u32 r[4];

	cpuid(0x80000001, 0, r);
	cpu_nx = r[3] & 1u << 20;
	cpuid(0, 0, r);
	if (r[0] < 7)
		return;
	cpuid(7, 0, r);
	cpu_smep = r[1] & 1u << 7;
	cpu_smap = r[1] & 1u << 20;
}

#endif
