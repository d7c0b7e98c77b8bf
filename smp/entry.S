/* SPDX-License-Identifier: MIT */
/*
 * The way in for all 256 vectors, and the two instructions that may fault. GS base always points
 * at struct cpu, so no stub looks at where it came from and none uses SWAPGS.
 */
#include "kernel/base/push_registers.inc"

	.text

/*
 * One stub each 16 bytes: tables.c counts on it. #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC and
 * #SX push an error code (SDM 3A 6.13); for the others a zero stands in.
 */
	.globl	interrupt_stubs
	.type	interrupt_stubs, @function
	.balign	16
interrupt_stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	.if	(vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || \
		(vector == 21) || (vector == 29) || (vector == 30)
	.else
	pushq	$0
	.endif
	pushq	$vector
	jmp	interrupt_common
	.set	vector, vector + 1
	.endr
	.size	interrupt_stubs, . - interrupt_stubs

/* Builds struct interrupt_frame: 22 quadwords, so the stack is aligned for the call. */
	.globl	interrupt_common
	.type	interrupt_common, @function
	.balign	16
interrupt_common:
	push_registers %rbp
	cld
	movq	%rsp, %rdi
	call	interrupt_dispatch
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rbp
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$16, %rsp		/* vector and error code */
	iretq
	.size	interrupt_common, . - interrupt_common

/* int rdmsr_safe(u32 index, u64 *value) */
	.globl	rdmsr_safe
	.type	rdmsr_safe, @function
	.balign	16
rdmsr_safe:
	movl	%edi, %ecx
.Lrdmsr:
	rdmsr
	shlq	$32, %rdx
	movl	%eax, %eax
	orq	%rdx, %rax
	movq	%rax, (%rsi)
	xorl	%eax, %eax
	ret
	.size	rdmsr_safe, . - rdmsr_safe

/* int wrmsr_safe(u32 index, u64 value) */
	.globl	wrmsr_safe
	.type	wrmsr_safe, @function
	.balign	16
wrmsr_safe:
	movl	%edi, %ecx
	movl	%esi, %eax
	movq	%rsi, %rdx
	shrq	$32, %rdx
.Lwrmsr:
	wrmsr
	xorl	%eax, %eax
	ret
	.size	wrmsr_safe, . - wrmsr_safe

	.balign	16
.Lmsr_faulted:
	movl	$-10, %eax		/* ERR_FAULT: interrupt.c asserts it */
	ret

/* Pairs: the instruction that may fault, where to go on when it did. Ends with a zero. */
	.section .rodata, "a"
	.globl	fixup_table
	.type	fixup_table, @object
	.balign	8
fixup_table:
	.quad	.Lrdmsr, .Lmsr_faulted
	.quad	.Lwrmsr, .Lmsr_faulted
	.quad	0
	.size	fixup_table, . - fixup_table

	.section .note.GNU-stack, "", @progbits
