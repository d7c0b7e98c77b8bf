/* SPDX-License-Identifier: MIT */
/*
 * The guest of the MMU's self-test: one page of 32-bit code, paging off, that runs at whatever
 * address it is shown. It goes over the pages of a steady region for ever and checks each word of
 * them, counts in a word of its own on each page and in a private page beside. Then it reads each
 * word of a page that comes and goes, writes one of its own there and reads that. What does not
 * agree makes it halt. Accesses to what comes and goes have two bytes each: nobody there means that
 * the host steps over them, and a read gives all ones.
 *
 *	%ebp  its private page: a count for each steady page, then the words named below
 *	%edi  its number
 */
#include "kernel/selftest_mmu.h"

	.section .rodata, "a"
	.code32
	.balign	4096
	.globl	mmu_guest_page
mmu_guest_page:
again:
	xorl	%ebx, %ebx			/* which steady page */
page:
	movl	%ebx, %esi
	shll	$12, %esi
	addl	$HAMMER_STEADY, %esi
	movl	%ebx, %eax			/* every word of it */
	orl	$HAMMER_STEADY_STAMP, %eax
	movl	$HAMMER_COUNTS, %ecx
word:
	cmpl	%eax, (%esi,%ecx,4)
	jne	wrong
	incl	%ecx
	cmpl	$1024, %ecx
	jb	word
	movl	(%esi,%edi,4), %eax		/* what it wrote there before */
	cmpl	(%ebp,%ebx,4), %eax
	jne	wrong
	incl	%eax
	movl	%eax, (%esi,%edi,4)
	movl	%eax, (%ebp,%ebx,4)

	movl	HAMMER_RANDOM(%ebp), %eax	/* one of the pages that come and go */
	imull	$1103515245, %eax
	addl	$12345, %eax
	movl	%eax, HAMMER_RANDOM(%ebp)
	shrl	$10, %eax
	andl	$(HAMMER_PLACES * HAMMER_PLACE_PAGES - 1), %eax
	movl	%eax, %edx
	andl	$(HAMMER_PLACE_PAGES - 1), %edx	/* its place in the object */
	shll	$12, %eax
	leal	HAMMER_FLEETING(%eax), %esi
	movl	%esi, %ecx
	orl	$HAMMER_FLEETING_STAMP, %edx
fleeting:
	movl	(%esi), %eax
	cmpl	$-1, %eax
	je	nobody
	andl	$0xff0000ff, %eax		/* the object's number is between */
	cmpl	%edx, %eax
	je	stamped
	movl	%esi, %eax			/* the vCPUs' words are not looked at here */
	shrl	$2, %eax
	andl	$1023 - HAMMER_MARKS_COUNT + 1, %eax
	cmpl	$HAMMER_MARKS, %eax
	jne	wrong
stamped:
	addl	$4, %esi
	testl	$0xfff, %esi
	jnz	fleeting
	incl	HAMMER_HITS(%ebp)
	leal	HAMMER_MARKS*4(%ecx,%edi,4), %esi
	movl	%ecx, (%esi)
	movl	(%esi), %eax
	cmpl	$-1, %eax
	je	nobody
	cmpl	%ecx, %eax
	je	nobody
	andl	$0xff0000ff, %eax		/* another object since */
	cmpl	%edx, %eax
	jne	wrong
nobody:
	incl	%ebx
	cmpl	$HAMMER_PAGES, %ebx
	jb	page
	incl	HAMMER_ROUNDS(%ebp)
	jmp	again
wrong:
	hlt
	jmp	wrong

	.org	mmu_guest_page + 0x1000

	.section .note.GNU-stack, "", @progbits
