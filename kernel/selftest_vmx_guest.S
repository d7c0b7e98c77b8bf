/* SPDX-License-Identifier: MIT */
/*
 * The guest of the VMX self-tests: one page that ends at 4 GiB, so that the reset vector is in it.
 * Real mode, CS base 0xffff0000. Each entry below is a small program that says in registers what
 * it saw and halts.
 */
	.section .rodata, "a"
	.code16
	.balign	4096
	.globl	vmx_guest_page
vmx_guest_page:

	.globl	vmx_guest_start
vmx_guest_start:			/* where the reset vector goes: CPUID, a port, a device */
	movl	%edx, %ebp		/* family and model, as reset leaves them */
	xorl	%eax, %eax
	cpuid
	hlt
	movw	$0x1234, %dx
	movl	$0xcafe5678, %eax
	outl	%eax, %dx
	movl	$0xffffffff, %eax
	inb	%dx, %al
	hlt
	movl	0x8000, %esi		/* no memory there */
	hlt
	vmcall
	hlt

	.globl	vmx_guest_write
vmx_guest_write:			/* leaves a mark (EDI) where another vCPU might find it */
	movl	%cr4, %eax
	orl	$0x200, %eax		/* OSFXSR */
	movl	%eax, %cr4
	movl	%edi, %eax
	movd	%eax, %xmm0
	movl	%eax, %dr0
	movl	%eax, %cr2
	movl	$0xc0000102, %ecx	/* IA32_KERNEL_GS_BASE */
	xorl	%edx, %edx
	wrmsr
	fninit
	fld1
	hlt

	.globl	vmx_guest_read
vmx_guest_read:				/* and looks for the mark */
	movl	%cr4, %eax
	orl	$0x200, %eax
	movl	%eax, %cr4
	movl	$0xc0000102, %ecx
	rdmsr
	movl	%eax, %ebp
	movd	%xmm0, %ebx
	movl	%dr0, %esi
	movl	%cr2, %ecx
	fnstsw	%ax
	hlt

	.globl	vmx_guest_loop
vmx_guest_loop:
	incl	%ebx
	jmp	vmx_guest_loop

	.globl	vmx_guest_triple
vmx_guest_triple:			/* no IDT at all */
	lidtl	%cs:(no_idt - vmx_guest_page + 0xf000)
	ud2
	.balign	2
no_idt:
	.word	0
	.long	0

	.globl	vmx_guest_call
vmx_guest_call:				/* the test's registers */
	vmcall
	hlt

/*
 * From here on 32-bit code, at its address below 4 GiB. Both walk into paging by tables that the
 * test made, look at what is mapped at 2 MiB, and out again.
 */
	.set	PAE_CR3, 0x1000
	.set	LONG_CR3, 0x4000
	.code32
	.globl	vmx_guest_pae
vmx_guest_pae:
	movl	$PAE_CR3, %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0		/* loads the PDPTEs */
	movl	0x200000, %ebx
	hlt
	movl	%cr0, %eax
	xorl	$0x40000000, %eax	/* CD: loads them again */
	movl	%eax, %cr0
	movl	0x200000, %esi
	movl	$PAE_CR3, %eax
	movl	%eax, %cr3		/* the CPU does this by itself */
	movl	0x200000, %edi
	hlt

	.globl	vmx_guest_long
vmx_guest_long:
	movl	$LONG_CR3, %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$0x20, %eax
	movl	%eax, %cr4
	movl	$0xc0000080, %ecx	/* EFER: LME */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0		/* and this is compatibility mode */
	movl	0x200000, %ebx
	rdmsr
	hlt
	movl	%cr0, %eax
	andl	$0x7fffffff, %eax
	movl	%eax, %cr0
	rdmsr
	hlt

/*
 * 32-bit code without paging, for the log of written pages. EBP is the first page; each gets one
 * added to its first word.
 */
	.globl	vmx_guest_sweep
vmx_guest_sweep:			/* ECX pages, one after the other */
	incl	(%ebp)
	addl	$0x1000, %ebp
	decl	%ecx
	jnz	vmx_guest_sweep
	hlt

	.globl	vmx_guest_storm
vmx_guest_storm:			/* for ever, in no order; EDX masks the offset of a page, */
	movl	$100, %ecx		/* and with rests, so that a CPU's log fills slowly */
	loop	.
	imull	$1664525, %eax, %eax
	addl	$1013904223, %eax
	movl	%eax, %edi
	shrl	$7, %edi
	andl	%edx, %edi
	incl	(%ebp,%edi)
	jmp	vmx_guest_storm

/* With the tables and the IDT that the test made: a write, its page fault, and the write again. */
	.globl	vmx_guest_protected
vmx_guest_protected:
	movl	$PAE_CR3, %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	lidtl	idt - vmx_guest_page + 0xfffff000
	movl	$0x1000, %esp
	movl	0x200010, %edi		/* it may be read */
	movl	$0x600dda7a, 0x200010
	movl	$1, %ebp
	hlt

	.globl	vmx_guest_fault
vmx_guest_fault:			/* #PF: says what it was, and does it again */
	popl	%ebx
	movl	%cr2, %esi
	hlt
	iretl

	.balign	2
idt:
	.word	15 * 8 - 1
	.long	0
	.code16

	.org	vmx_guest_page + 0xff0
	jmp	vmx_guest_start
	.org	vmx_guest_page + 0x1000

	.section .note.GNU-stack, "", @progbits
