/* SPDX-License-Identifier: MIT */
/* A multiboot 1 guest's entry: a stack, its own GDT, IDT stubs, then main(magic, info). */
	.set FLAGS, (1 << 16) | 3

	.section .multiboot, "a"
	.balign 4
header:
	.long 0x1badb002
	.long FLAGS
	.long -(0x1badb002 + FLAGS)
	.long header
	.long image_start
	.long image_data_end
	.long image_end
	.long start

	.text
	.code32
	.globl start
start:
	mov $stack_top, %esp
	lgdt gdt_pointer
	ljmp $8, $1f
1:	mov $16, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	mov %ecx, %ss
	push %ebx
	push %eax
	call main
2:	cli
	hlt
	jmp 2b

/* Every vector counts itself and returns; one with an error code drops it. */
	.altmacro
	.macro stub vector
	.balign 16
	.if (\vector == 8) || (\vector >= 10 && \vector <= 14) || (\vector == 17)
	.else
	push $0
	.endif
	push $\vector
	jmp common
	.endm

	.balign 16
	.globl stubs
stubs:
	.set n, 0
	.rept 256
	stub %n
	.set n, n + 1
	.endr

common:
	pusha
	cld
	push %esp
	call interrupt
	add $4, %esp
	popa
	add $8, %esp
	iret

	.section .rodata
	.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt

	.bss
	.balign 16
	.skip 16384
stack_top:

	.section .note.GNU-stack, "", @progbits
