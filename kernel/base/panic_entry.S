/* SPDX-License-Identifier: MIT */
/*
 * The way into a panic keeps what the caller had in its registers: C code would have changed them
 * before it could look. Arguments and stack are those of a variadic function (System V ABI for
 * x86-64, 3.2.3 and 3.5.7); Weir's code uses no vector registers, so none are saved for it.
 */
#include "kernel/base/push_registers.inc"

	.text

	.set	GP_OFFSET, 8		/* va_list: the first argument, fmt, is taken */
	.set	FP_OFFSET, 48		/* behind the last of the general registers */

/* void panic(const char *fmt, ...) */
	.globl	panic
	.type	panic, @function
	.balign	16
panic:
	pushq	%rbp			/* a frame as any function's: the backtrace begins in it */
	movq	%rsp, %rbp
	pushq	$0			/* struct interrupt_frame: SS */
	pushq	$0			/* RSP, in a moment */
	pushfq
	pushq	$0			/* CS */
	pushq	8(%rbp)			/* RIP: where panic was to return to */
	pushq	$0			/* no error code */
	pushq	$0			/* no vector */
	push_registers (%rbp)		/* RBP is the caller's, not this frame's */
	leaq	16(%rbp), %rax
	movq	%rax, -16(%rbp)
	movw	%ss, -8(%rbp)
	movw	%cs, -32(%rbp)
	movq	%rsp, %rax
	pushq	$0			/* the stack is to be aligned at the call */
	pushq	%r9			/* the register save area */
	pushq	%r8
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	movq	%rsp, %rdx
	pushq	%rdx			/* va_list: the save area, the arguments in memory, */
	leaq	16(%rbp), %rcx
	pushq	%rcx
	subq	$8, %rsp
	movl	$GP_OFFSET, (%rsp)	/* and how many registers are read */
	movl	$FP_OFFSET, 4(%rsp)
	movq	%rsp, %rdx
	movq	%rdi, %rsi
	movq	%rax, %rdi
	movq	%rbp, %rcx
	call	panic_called
	.size	panic, . - panic

	.section .note.GNU-stack, "", @progbits
