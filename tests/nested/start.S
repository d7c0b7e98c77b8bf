/* SPDX-License-Identifier: MIT */
/* A multiboot2 kernel of 32 bits (specification 3.1 and 3.3) that starts another: see pvh.c. */
	.set MAGIC, 0xe85250d6
	.set ARCH_I386, 0

	.section .multiboot, "a"
	.balign 8
header:
	.long MAGIC
	.long ARCH_I386
	.long header_end - header
	.long -(MAGIC + ARCH_I386 + (header_end - header))
	/* Modules on page boundaries. */
	.balign 8
	.short 6, 0
	.long 8
	/* The end of the tags. */
	.balign 8
	.short 0, 0
	.long 8
header_end:

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
	mov %ecx, %fs
	mov %ecx, %gs
	mov %ecx, %ss
	push %ebx
	push %eax
	call main
2:	cli
	hlt
	jmp 2b

/* jump(entry, ebx) */
	.globl jump
jump:
	mov 4(%esp), %eax
	mov 8(%esp), %ebx
	jmp *%eax

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
	.skip 4096
stack_top:

	.section .note.GNU-stack, "", @progbits
