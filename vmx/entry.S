/* SPDX-License-Identifier: MIT */
/*
 * Into the guest and back (SDM 3C 27, 28). The CPU switches RSP, RIP, RFLAGS, segments and control
 * registers; the other integer registers and CR2 are switched here. Vector registers hold the
 * guest's state all the time that its thread runs.
 */
	.set	VMCS_HOST_RSP, 0x6c14

	/* struct guest_regs: sixteen registers as instructions number them, rip, rflags, cr2 */
	.set	REG_CX, 8
	.set	REG_DX, 16
	.set	REG_BX, 24
	.set	REG_BP, 40
	.set	REG_SI, 48
	.set	REG_DI, 56
	.set	REG_CR2, 144

	/* struct entry_options */
	.set	OPT_GUEST_SPEC_CTRL, 0
	.set	OPT_HOST_SPEC_CTRL, 8
	.set	OPT_FLAGS, 16
	.set	FLAG_RESUME, 0		/* bit numbers */
	.set	FLAG_SPEC_CTRL, 1
	.set	FLAG_CLEAR_BUFFERS, 2
	.set	FLAG_STUFF_RSB, 3
	.set	MSR_SPEC_CTRL, 0x48
	.set	RSB_ENTRIES, 32

	.text

/*
 * int vmx_enter(struct guest_regs *regs, u64 *host_rsp, const struct entry_options *options)
 * Interrupts off, the VMCS current.
 */
	.globl	vmx_enter
	.type	vmx_enter, @function
	.balign	16
vmx_enter:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushq	%rdx
	pushq	%rdi

	/* The stack's depth rarely changes: tell the VMCS only then. */
	cmpq	%rsp, (%rsi)
	je	1f
	movq	%rsp, (%rsi)
	movl	$VMCS_HOST_RSP, %eax
	vmwrite	%rsp, %rax
	jbe	vmcs_access_failed
1:
	movl	OPT_FLAGS(%rdx), %ebx
	btl	$FLAG_SPEC_CTRL, %ebx
	jnc	2f
	movq	%rdx, %r8
	movl	OPT_GUEST_SPEC_CTRL(%r8), %eax
	movl	OPT_GUEST_SPEC_CTRL + 4(%r8), %edx
	movl	$MSR_SPEC_CTRL, %ecx
	wrmsr
2:
	movq	REG_CR2(%rdi), %rax
	movq	%cr2, %rcx
	cmpq	%rax, %rcx
	je	3f
	movq	%rax, %cr2
3:
	/* From here on only the guest's own registers are read from memory. */
	btl	$FLAG_CLEAR_BUFFERS, %ebx
	jnc	4f
	verw	verw_selector(%rip)
4:
	btl	$FLAG_RESUME, %ebx	/* the moves below leave CF alone */
	movq	(%rdi), %rax
	movq	REG_CX(%rdi), %rcx
	movq	REG_DX(%rdi), %rdx
	movq	REG_BX(%rdi), %rbx
	movq	REG_BP(%rdi), %rbp
	movq	REG_SI(%rdi), %rsi
	movq	64(%rdi), %r8
	movq	72(%rdi), %r9
	movq	80(%rdi), %r10
	movq	88(%rdi), %r11
	movq	96(%rdi), %r12
	movq	104(%rdi), %r13
	movq	112(%rdi), %r14
	movq	120(%rdi), %r15
	movq	REG_DI(%rdi), %rdi
	jc	5f
	vmlaunch
	jmp	.Lrefused
5:
	vmresume

.Lrefused:
	/* Still here: the registers are the guest's, the stack is ours. */
	popq	%rdi
	popq	%r8
	movl	$1, %eax
	jmp	.Lreturn

/* HOST_RIP. */
	.globl	vmx_exit_point
	.type	vmx_exit_point, @function
	.balign	16
vmx_exit_point:
	pushq	%rdi
	movq	8(%rsp), %rdi		/* regs */
	movq	%rax, (%rdi)
	movq	%rcx, REG_CX(%rdi)
	movq	%rdx, REG_DX(%rdi)
	movq	%rbx, REG_BX(%rdi)
	movq	%rbp, REG_BP(%rdi)
	movq	%rsi, REG_SI(%rdi)
	popq	REG_DI(%rdi)
	movq	%r8, 64(%rdi)
	movq	%r9, 72(%rdi)
	movq	%r10, 80(%rdi)
	movq	%r11, 88(%rdi)
	movq	%r12, 96(%rdi)
	movq	%r13, 104(%rdi)
	movq	%r14, 112(%rdi)
	movq	%r15, 120(%rdi)
	movq	%cr2, %rax
	movq	%rax, REG_CR2(%rdi)
	addq	$8, %rsp
	popq	%r8			/* options */
	xorl	%eax, %eax

	/* Nothing of the guest's may steer what Weir does next, not even speculatively. */
.Lreturn:
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%edi, %edi
	xorl	%ebp, %ebp
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	movl	OPT_FLAGS(%r8), %ebx
	btl	$FLAG_STUFF_RSB, %ebx
	jnc	7f
	/* Calls that nobody returns from: every return address the CPU may guess is one of these. */
	.rept	RSB_ENTRIES
	call	6f
	int3
6:
	.endr
	addq	$8 * RSB_ENTRIES, %rsp
	lfence
7:
	btl	$FLAG_SPEC_CTRL, %ebx
	jnc	8f
	movl	%eax, %esi
	movl	OPT_HOST_SPEC_CTRL(%r8), %eax
	movl	OPT_HOST_SPEC_CTRL + 4(%r8), %edx
	movl	$MSR_SPEC_CTRL, %ecx
	wrmsr
	movl	%esi, %eax
8:
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.size	vmx_enter, . - vmx_enter
	.size	vmx_exit_point, . - vmx_exit_point

/* VMREAD and VMWRITE that fail jump here, from any depth of stack. */
	.globl	vmcs_access_failed
	.type	vmcs_access_failed, @function
	.balign	16
vmcs_access_failed:
	andq	$-16, %rsp
	call	vmcs_access_panic
	ud2
	.size	vmcs_access_failed, . - vmcs_access_failed

	.section .rodata, "a"
	.balign	2
verw_selector:
	.word	0x10			/* SELECTOR_DS */

	.section .note.GNU-stack, "", @progbits
