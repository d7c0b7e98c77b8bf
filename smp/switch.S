/* SPDX-License-Identifier: MIT */
/* The moment one thread's stack is left for another's. */

	.text

/*
 * void thread_switch(u64 *save_rsp, u64 load_rsp): interrupts off. Callee-saved registers stay on
 * the stack that is left; a new thread's stack is laid out as if it had been left here.
 */
	.globl	thread_switch
	.type	thread_switch, @function
	.balign	16
thread_switch:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.size	thread_switch, . - thread_switch

/* Where a new thread's first switch returns to; a zero frame ends backtraces. */
	.globl	thread_entry
	.type	thread_entry, @function
	.balign	16
thread_entry:
	xorl	%ebp, %ebp
	call	thread_first_run
	ud2
	.size	thread_entry, . - thread_entry

	.section .note.GNU-stack, "", @progbits
