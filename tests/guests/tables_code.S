/* SPDX-License-Identifier: MIT */
/*
 * How the guest `tables` makes one access: at CPL 0 or 3, in 32-bit or 64-bit code, and what came of it.
 * Each access ends in INT 0x80 or in a fault; whichever handler it is notes that in `probe` and goes
 * back to who asked, so nothing is returned from. In IA-32e mode the C code runs on in a 32-bit segment.
 */
	.set CODE32, 0x08
	.set DATA, 0x10
	.set CODE64, 0x18
	.set USER_CODE32, 0x23
	.set USER_DATA, 0x2b
	.set USER_CODE64, 0x33

	.text
	.code32

/* The kind's code in EBX, the address (its lower half) in EAX, value in ECX, user in ESI. */
	.macro begin kinds, value, user
	push %ebp
	push %ebx
	push %esi
	push %edi
	mov 20(%esp), %ebx
	mov 24(%esp), %eax
	mov \value(%esp), %ecx
	mov \user(%esp), %esi
	mov %esp, kernel_stack
	mov \kinds(,%ebx,4), %ebx
	.endm

/* void probe_32(u32 kind, u32 address, u32 value, u32 user) */
	.globl probe_32
probe_32:
	begin kinds_32, 28, 32
	test %esi, %esi
	jnz 1f
	jmp *%ebx
1:	sub $access_begin, %ebx
	add user_code, %ebx
	mov $USER_DATA, %edx
	mov %edx, %ds
	mov %edx, %es
	push %edx
	push $0
	pushf
	push $USER_CODE32
	push %ebx
	iret

/* void probe_64(u32 kind, u32 low, u32 high, u32 value, u32 user); the value's upper half is 0. */
	.globl probe_64
probe_64:
	begin kinds_64, 32, 36
	mov 28(%esp), %edx
	ljmp $CODE64, $1f
	.code64
1:	mov %eax, %eax
	mov %ebx, %ebx
	mov %ecx, %ecx
	mov %esp, %esp
	shl $32, %rdx
	or %rdx, %rax
	test %esi, %esi
	jnz 2f
	jmp *%rbx
2:	sub $access_begin, %ebx
	mov $user_code, %edx
	add (%rdx), %rbx
	pushq $USER_DATA
	pushq $0
	pushfq
	pushq $USER_CODE64
	push %rbx
	iretq

/* --- The accesses: copied to the user's page as well --- */

	.balign 16
	.globl access_begin, access_end
access_begin:
	.code32
read_32:
	mov (%eax), %ecx
	int $0x80
write_32:
	mov %ecx, (%eax)
	int $0x80
run_32:
	jmp *%eax
load_fs_32:
	mov %eax, %fs
	int $0x80
	.code64
read_64:
	mov (%rax), %rcx
	int $0x80
write_64:
	mov %rcx, (%rax)
	int $0x80
run_64:
	jmp *%rax
load_fs_64:
	mov %eax, %fs
	int $0x80
access_end:
	.code32
load_cr3:
	mov %eax, %cr3
	int $0x80

	.section .rodata
	.balign 4
kinds_32:
	.long read_32, write_32, run_32, load_fs_32, load_cr3
kinds_64:
	.long read_64, write_64, run_64, load_fs_64

/* --- What ends them --- */

	.text
	.macro handler vector, has_error
	.code32
	.balign 16
	.globl handler_32_\vector
handler_32_\vector:
	.if \has_error
	popl probe + 4
	.else
	movl $0, probe + 4
	.endif
	movl $\vector, probe
	jmp probed_32
	.code64
	.balign 16
	.globl handler_64_\vector
handler_64_\vector:
	.if \has_error
	pop %r8
	.else
	xor %r8d, %r8d
	.endif
	mov $\vector, %r9d
	jmp probed_64
	.endm

	handler 6, 0
	handler 8, 1
	handler 10, 1
	handler 11, 1
	handler 12, 1
	handler 13, 1
	handler 14, 1
	handler 128, 0

	.code64
probed_64:
	mov %cr2, %r10
	mov $probe, %ebx
	mov %r9d, (%rbx)
	mov %r8d, 4(%rbx)
	mov %r10, 8(%rbx)
	mov %rcx, 16(%rbx)
	mov $kernel_stack, %ebx
	mov (%rbx), %esp
	mov $to_back, %ebx
	ljmp *(%rbx)

	.code32
probed_32:
	mov %cr2, %eax
	mov %eax, probe + 8
	movl $0, probe + 12
	mov %ecx, probe + 16
	movl $0, probe + 20
	mov kernel_stack, %esp
back:
	mov $DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	test %esp, %esp
	jz 1f
	movl $0, kernel_stack
	pop %edi
	pop %esi
	pop %ebx
	pop %ebp
	ret
1:	mov $fault_stack_top, %esp
	call probe_unexpected

	.data
	.balign 8
	.globl probe, user_code
probe:
	.quad 0, 0, 0
user_code:
	.quad 0
kernel_stack:
	.long 0
to_back:
	.long back
	.word CODE32

	.bss
	.balign 16
	.skip 4096
	.globl fault_stack_top
fault_stack_top:

	.section .note.GNU-stack, "", @progbits
