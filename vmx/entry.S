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
	.set	REGS_END, 128
	/* then struct entry_state */
	.set	ENTRY_STACK, 152
	.set	ENTRY_GUEST_SPEC_CTRL, 160
	.set	ENTRY_HOST_SPEC_CTRL, 164
	.set	ENTRY_FLAGS, 168
	.set	FLAG_RESUME, 0		/* a bit number; the others are known by shifts */
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
	movq	%rsp, ENTRY_STACK(%rdi)
	movl	ENTRY_FLAGS(%rdi), %ebx
	shll	$2, %ebx		/* CF: ENTRY_SPEC_CTRL, SF: ENTRY_CLEAR_BUFFERS */
	jnc	2f
	movl	ENTRY_GUEST_SPEC_CTRL(%rdi), %eax
	movl	$0, %edx		/* XOR would change SF */
	movl	$MSR_SPEC_CTRL, %ecx
	wrmsr
2:
	/* From here on only the guest's own registers are read from memory. */
	jns	3f
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
	movl	$VMCS_HOST_RSP, %eax
	vmread	%rax, %rdi
	jbe	vmcs_access_failed
	subq	$REGS_END, %rdi
	call	.Lours
	stc
	ret

/*
 * HOST_RIP. HOST_RSP is the end of the vCPU's registers: they are pushed to where they belong. What
 * comes in between, an NMI or a machine check, has a stack of its own.
 */
	.globl	vmx_exit_point
	.type	vmx_exit_point, @function
	.balign	16
vmx_exit_point:
	pushq	%r15
	pushq	%r14
	pushq	%r13
	pushq	%r12
	pushq	%r11
	pushq	%r10
	pushq	%r9
	pushq	%r8
	pushq	%rdi
	pushq	%rsi
	pushq	%rbp
	pushq	%rax			/* RSP's place: it is in the VMCS */
	pushq	%rbx
	pushq	%rdx
	pushq	%rcx
	pushq	%rax
	movq	%rsp, %rdi		/* the vCPU */
	movq	ENTRY_STACK(%rdi), %rsp

/* Nothing of the guest's may steer what Weir does next, not even speculatively. RBP is the caller's. */
.Lours:
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
	shll	$1, %ebx		/* CF: ENTRY_KEEP_RSB, SF: ENTRY_SPEC_CTRL */
	jc	.Lkeep_rsb
	/* Calls that nobody returns from: every return address the CPU may guess is one of these. */
	.rept	RSB_ENTRIES
	call	5f
	int3
5:
	.endr
	leaq	8 * RSB_ENTRIES(%rsp), %rsp /* ADD would change the flags */
	lfence
6:
	jns	7f
	movl	ENTRY_HOST_SPEC_CTRL(%rdi), %eax
	movl	$MSR_SPEC_CTRL, %ecx
	wrmsr				/* EDX is 0 */
	ret
7:
	xorl	%eax, %eax
	xorl	%ecx, %ecx
	ret

.Lkeep_rsb:
	clc
	jmp	6b
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
