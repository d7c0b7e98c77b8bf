/* SPDX-License-Identifier: MIT */
/*
 * Where a CPU begins after SIPI: real mode, at the start of a page below 1 MiB that bring-up
 * copied these bytes to (SDM 3A 9.4.4). Through protected mode into long mode, then to bringup.c's
 * ap_entry. Nothing here knows its address but by EBX, which holds the page's.
 */
#include "smp/trampoline.h"

#define AT(symbol) (symbol - trampoline_start)

	.section .rodata, "a"
	.balign	16
	.globl	trampoline_start
	.code16
trampoline_start:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	xorl	%ebx, %ebx
	movw	%ax, %bx
	shll	$4, %ebx
	lgdtl	AT(trampoline_gdtr)
	movl	$TRAMPOLINE_CR0_PE, %eax
	movl	%eax, %cr0
	/* A far jump with the address and selector that bring-up filled in. */
	ljmpl	*AT(trampoline_jump32)

	.code32
	.globl	trampoline_code32
trampoline_code32:
	movw	$TRAMPOLINE_DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$TRAMPOLINE_CR4, %eax
	movl	%eax, %cr4
	movl	AT(trampoline_cr3)(%ebx), %eax
	movl	%eax, %cr3
	/* As the boot CPU did for itself, or the next WRMSR faults. */
	cmpl	$0, AT(trampoline_show_nx)(%ebx)
	je	1f
	movl	$TRAMPOLINE_MSR_MISC_ENABLE, %ecx
	rdmsr
	andl	$~TRAMPOLINE_XD_DISABLE_HIGH, %edx
	wrmsr
1:	movl	$TRAMPOLINE_MSR_EFER, %ecx
	xorl	%edx, %edx
	movl	$TRAMPOLINE_EFER, %eax
	wrmsr
	movl	$TRAMPOLINE_CR0, %eax
	movl	%eax, %cr0
	ljmpl	*AT(trampoline_jump64)(%ebx)

	.code64
	.globl	trampoline_code64
trampoline_code64:
	movl	%ebx, %ebx
	movq	AT(trampoline_stack)(%rbx), %rsp
	movq	AT(trampoline_argument)(%rbx), %rdi
	movq	AT(trampoline_entry)(%rbx), %rax
	movq	AT(trampoline_final_cr3)(%rbx), %rdx
	xorl	%ebp, %ebp
	jmp	*%rax

	.balign	8
	.globl	trampoline_gdt
trampoline_gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* TRAMPOLINE_CODE32 */
	.quad	0x00cf93000000ffff	/* TRAMPOLINE_DATA */
	.quad	0x00af9b000000ffff	/* TRAMPOLINE_CODE64 */
	.globl	trampoline_gdtr
trampoline_gdtr:
	.word	. - trampoline_gdt - 1
	.globl	trampoline_gdt_base
trampoline_gdt_base:
	.long	0
	.balign	8
	.globl	trampoline_jump32
trampoline_jump32:
	.long	0
	.word	TRAMPOLINE_CODE32
	.balign	8
	.globl	trampoline_jump64
trampoline_jump64:
	.long	0
	.word	TRAMPOLINE_CODE64
	.balign	8
	.globl	trampoline_cr3, trampoline_stack, trampoline_argument, trampoline_entry
	.globl	trampoline_final_cr3
trampoline_cr3:
	.quad	0
trampoline_stack:
	.quad	0
trampoline_argument:
	.quad	0
trampoline_entry:
	.quad	0
trampoline_final_cr3:
	.quad	0
	.globl	trampoline_show_nx
trampoline_show_nx:
	.long	0
	.globl	trampoline_end
trampoline_end:

/*
 * In the image, on the trampoline's page tables, the CPU's stack loaded: RDI is its argument, RDX
 * the tables it is to live on, which do not show the trampoline's page.
 */
	.text
	.globl	ap_entry
	.type	ap_entry, @function
	.balign	16
ap_entry:
	movq	%rdx, %cr3
	call	ap_main
	ud2
	.size	ap_entry, . - ap_entry

	.section .note.GNU-stack, "", @progbits
