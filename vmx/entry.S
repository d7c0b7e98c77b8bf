/* SPDX-License-Identifier: MIT */
/*
 * Into the guest and back (SDM 3C 27, 28). The CPU switches RSP, RIP, RFLAGS, segments and control
 * registers; the other integer registers are switched here. CR2 and the vector registers hold the
 * guest's values all the time that its thread runs.
 */
	.set	VMCS_HOST_RSP, 0x6c14

	/* struct vmx_vcpu: sixteen registers as instructions number them, rip, rflags, cr2; */
	.set	REG_CX, 8
	.set	REG_DX, 16
	.set	REG_BX, 24
	.set	REG_BP, 40
	.set	REG_SI, 48
	.set	REG_DI, 56
	/* then struct entry_state */
	.set	ENTRY_HOST_RSP, 152
	.set	ENTRY_GUEST_SPEC_CTRL, 160
	.set	ENTRY_HOST_SPEC_CTRL, 164
	.set	ENTRY_FLAGS, 168
	.set	FLAG_RESUME, 0		/* bit numbers */
	.set	FLAG_SPEC_CTRL, 1
	.set	FLAG_CLEAR_BUFFERS, 2
	.set	FLAG_STUFF_RSB, 3
	.set	MSR_SPEC_CTRL, 0x48
	.set	RSB_ENTRIES, 32

	.text

/*
 * Called by run.c, with the vCPU in RDI, which comes back in it. No other register but RSP is kept:
 * that is cheaper than to save what the caller does not need. CF: VM entry failed before the
 * guest's state was looked at. Interrupts off, the VMCS current.
 */
	.globl	vmx_enter
	.type	vmx_enter, @function
	.balign	16
vmx_enter:
	pushq	%rdi
	/* The stack's depth rarely changes: tell the VMCS only then. */
	cmpq	%rsp, ENTRY_HOST_RSP(%rdi)
	jne	.Lhost_rsp
1:
	movl	ENTRY_FLAGS(%rdi), %ebx
	btl	$FLAG_SPEC_CTRL, %ebx
	jnc	2f
	movl	ENTRY_GUEST_SPEC_CTRL(%rdi), %eax
	xorl	%edx, %edx
	movl	$MSR_SPEC_CTRL, %ecx
	wrmsr
2:
	/* From here on only the guest's own registers are read from memory. */
	btl	$FLAG_CLEAR_BUFFERS, %ebx
	jnc	3f
	verw	verw_selector(%rip)
3:
	btsl	$FLAG_RESUME, ENTRY_FLAGS(%rdi)	/* the moves below leave CF alone */
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
	jnc	4f
	vmresume
	jmp	.Lrefused
4:
	vmlaunch

.Lrefused:
	/* Still here: the registers are the guest's, the stack is ours. */
	movl	$1, %ebp
	jmp	.Lreturn

.Lhost_rsp:
	movq	%rsp, ENTRY_HOST_RSP(%rdi)
	movl	$VMCS_HOST_RSP, %eax
	vmwrite	%rsp, %rax
	jbe	vmcs_access_failed
	jmp	1b

/* HOST_RIP. */
	.globl	vmx_exit_point
	.type	vmx_exit_point, @function
	.balign	16
vmx_exit_point:
	pushq	%rdi
	movq	8(%rsp), %rdi		/* the vCPU */
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
	xorl	%ebp, %ebp

	/* Nothing of the guest's may steer what Weir does next, not even speculatively. */
.Lreturn:
	popq	%rdi
	xorl	%eax, %eax
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	movl	ENTRY_FLAGS(%rdi), %ebx
	btl	$FLAG_STUFF_RSB, %ebx
	jnc	6f
	/* Calls that nobody returns from: every return address the CPU may guess is one of these. */
	.rept	RSB_ENTRIES
	call	5f
	int3
5:
	.endr
	addq	$8 * RSB_ENTRIES, %rsp
	lfence
6:
	btl	$FLAG_SPEC_CTRL, %ebx
	jnc	7f
	movl	ENTRY_HOST_SPEC_CTRL(%rdi), %eax
	movl	$MSR_SPEC_CTRL, %ecx
	wrmsr				/* EDX is 0 */
7:
	btl	$0, %ebp
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
