/* SPDX-License-Identifier: MIT */
/*
 * The 64-bit code of the guest `apic`, and how it is called: with paging, by tables and an IDT that
 * apic_64.h has made, for as long as the call takes.
 */
	.text
	.code32

/* u32 call_64(u32 function, u32 argument) */
	.globl call_64
call_64:
	push %ebx
	push %esi
	push %edi
	push %ebp
	mov 20(%esp), %ebx
	mov 24(%esp), %edi
	sidt idt32_pointer
	mov %cr4, %eax
	or $0x20, %eax
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax
	wrmsr
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	lgdt gdt64_pointer
	ljmp $24, $1f
	.code64
1:	mov $idt64_pointer, %ecx
	lidt (%rcx)
	call *%rbx
	mov $idt32_pointer, %ecx
	lidt (%rcx)
	mov $far_32, %ecx
	ljmp *(%rcx)
	.code32
2:	mov %eax, %ebx
	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0
	mov $0xc0000080, %ecx
	rdmsr
	and $0xfffffeff, %eax
	wrmsr
	mov $16, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
	mov %ebx, %eax
	pop %ebp
	pop %edi
	pop %esi
	pop %ebx
	ret

/* --- What it calls: the argument is in EDI, the answer in EAX --- */

	.globl get_cr8, set_cr8, let_in_cr8, cr8_too_large
	.globl put_xmm13, get_xmm12, on_interrupt_64, on_fault_64
	.code64
get_cr8:
	mov %cr8, %rax
	ret
set_cr8:
	mov %rdi, %cr8
	ret
/* What CR8 lets in comes before the next instruction. */
let_in_cr8:
	mov $interrupts_64, %ecx
	sti
	nop
	mov %rdi, %cr8
	mov (%rcx), %eax
	mov $after_cr8, %ecx
	mov %eax, (%rcx)
	cli
	ret
cr8_too_large:
	mov $16, %eax
	mov %rax, %cr8
cr8_faulted:
	ret
/* To the IOAPIC's index, and from its data. */
put_xmm13:
	mov %cr4, %rax
	or $0x200, %eax
	mov %rax, %cr4
	movd %edi, %xmm13
	mov $0xfec00000, %ecx
	movd %xmm13, (%rcx)
	ret
get_xmm12:
	mov $0xfec00010, %ecx
	movd (%rcx), %xmm12
	movd %xmm12, %eax
	ret
on_interrupt_64:
	push %rax
	mov $interrupts_64, %eax
	incl (%rax)
	mov $0xfee000b0, %eax
	movl $0, (%rax)
	pop %rax
	iretq
on_fault_64:
	mov $faults_64, %ecx
	incl (%rcx)
	add $8, %rsp
	mov $cr8_faulted, %ecx
	mov %rcx, (%rsp)
	iretq

	.data
far_32:
	.long 2b
	.word 8
	.balign 8
gdt64:
	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdt64_pointer:
	.word 31
	.long gdt64, 0

	.section .note.GNU-stack, "", @progbits
