/* SPDX-License-Identifier: MIT */
/*
 * All registers that FXSAVE knows, XMM8 to 15 too, while pages are read that may have to be unpacked for
 * it. Only 64-bit code has those, so it is entered for that long, with what is below 1 GiB where it is.
 */
#ifndef TESTS_GUESTS_VECTORS_H
#define TESTS_GUESTS_VECTORS_H

#include "guest.h"

/* SDM 1 10.5.1: FXSAVE's area in 64-bit mode. What is not named is reserved, or the x87's pointers. */
struct fx_area {
	u16 fcw, fsw, ftw, fop;
	u32 ip[2], dp[2];
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16]; /* of each ten bytes */
	u8 xmm[16][16];
	u8 rest[96];
} __attribute__((aligned(16)));
_Static_assert(sizeof(struct fx_area) == 512, "fxsave");

struct fx_area vectors_put, vectors_found;
u32 vectors_page, vectors_pages; /* whose first words are read: the first's address, how many */
u64 vectors_pml4[512] __attribute__((aligned(4096)));
static u64 vectors_pdpt[512] __attribute__((aligned(4096)));
static u64 vectors_pd[512] __attribute__((aligned(4096)));

/* Below. Interrupts, if they are on, have to be masked elsewhere: there is no IDT for them. */
void read_with_vectors(void);

__asm__(".text\n"
	"	.code32\n"
	"read_with_vectors:\n"
	"	push %ebx\n"
	"	push %esi\n"
	"	push %edi\n"
	"	push %ebp\n"
	"	mov %cr4, %eax\n"
	"	or $0x620, %eax\n" /* OSXMMEXCPT, OSFXSR, PAE */
	"	mov %eax, %cr4\n"
	"	mov $vectors_pml4, %eax\n"
	"	mov %eax, %cr3\n"
	"	mov $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	or $0x100, %eax\n" /* LME */
	"	wrmsr\n"
	"	mov %cr0, %eax\n"
	"	and $0xfffffff3, %eax\n" /* EM, TS */
	"	or $0x80000002, %eax\n"	 /* PG, MP */
	"	mov %eax, %cr0\n"
	"	lgdt vectors_gdt_pointer\n"
	"	ljmp $24, $1f\n"
	"	.code64\n"
	"1:	mov $vectors_put, %eax\n"
	"	fxrstor64 (%rax)\n"
	"	mov $vectors_page, %eax\n"
	"	mov (%rax), %ecx\n"
	"	mov $vectors_pages, %eax\n"
	"	mov (%rax), %edx\n"
	"2:	mov (%rcx), %eax\n"
	"	add $4096, %rcx\n"
	"	dec %edx\n"
	"	jnz 2b\n"
	"	mov $vectors_found, %eax\n"
	"	fxsave64 (%rax)\n"
	"	mov $vectors_far_32, %ecx\n"
	"	ljmp *(%rcx)\n"
	"	.code32\n"
	"3:	mov %cr0, %eax\n"
	"	and $0x7fffffff, %eax\n"
	"	mov %eax, %cr0\n"
	"	mov $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	and $0xfffffeff, %eax\n"
	"	wrmsr\n"
	"	mov $16, %eax\n"
	"	mov %eax, %ss\n"
	"	mov %eax, %ds\n"
	"	mov %eax, %es\n"
	"	pop %ebp\n"
	"	pop %edi\n"
	"	pop %esi\n"
	"	pop %ebx\n"
	"	ret\n"
	"	.data\n"
	"vectors_far_32:\n"
	"	.long 3b\n"
	"	.word 8\n"
	"	.balign 8\n"
	"vectors_gdt:\n"
	"	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff\n"
	"vectors_gdt_pointer:\n"
	"	.word 31\n"
	"	.long vectors_gdt\n"
	"	.text\n");

static void vectors_init(u32 from)
{
	u8 *byte = vectors_put.st[0];

	vectors_pml4[0] = (u32)vectors_pdpt | 3;
	vectors_pdpt[0] = (u32)vectors_pd | 3;
	for (u32 i = 0; i < 512; i++)
		vectors_pd[i] = (u64)i << 21 | 0x83;
	/* Rounding of their own, no exception let through, some flags set; TOP is 5; all ST in use. */
	vectors_put.fcw = 0x0b7f;
	vectors_put.fsw = 5 << 11;
	vectors_put.ftw = 0xff;
	vectors_put.mxcsr = 0x5fa1;
	for (u32 i = 0; i < sizeof(vectors_put.st) + sizeof(vectors_put.xmm); i++)
		byte[i] = (u8)((from = from * 1664525u + 1013904223u) >> 24);
}

static bool bytes_equal(const u8 *a, const u8 *b, u32 n)
{
	while (n && *a == *b) {
		a++;
		b++;
		n--;
	}
	return n == 0;
}

/* As they were put when so many pages from this address on have been read. */
static bool vectors_stay(u32 address, u32 count)
{
	const struct fx_area *p = &vectors_put, *f = &vectors_found;
	bool same;

	vectors_page = address;
	vectors_pages = count;
	read_with_vectors();
	same = f->fcw == p->fcw && f->fsw == p->fsw && f->ftw == p->ftw && f->mxcsr == p->mxcsr &&
	       bytes_equal(f->xmm[0], p->xmm[0], sizeof(p->xmm));
	for (u32 i = 0; i < 8; i++)
		same = same && bytes_equal(f->st[i], p->st[i], 10);
	return same;
}

#endif
