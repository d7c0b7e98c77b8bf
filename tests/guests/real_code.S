/* SPDX-License-Identifier: MIT */
/*
 * What the guest `real` runs in real mode. Everything from `blob` on is copied to linear 0x10000 and
 * runs with CS = 0x1000; each piece of code between `try` and `done` begins in the state that in_real
 * makes, and what it leaves is in `outcome`, which real.c prints.
 */
	.set CODE, 0x1000
	.set DATA, 0x2000
	.set EXTRA, 0x2100
	.set STACK, 0x3000
	.set STACK_POINTER, 0x800
	.set SCRATCH_PORT, 0x3ff	/* COM1's, which nothing else has to do with */
	.set VECTORS, 0x8000		/* linear */
	.set SEL_CODE32, 0x08
	.set SEL_DATA32, 0x10
	.set SEL_CODE16, 0x18
	.set SEL_DATA16, 0x20
	.set SEL_FLAT16, 0x28
	.set SEL_DATA, 0x30
	.set SEL_TASK, 0x38
	.set SEL_GATE, 0x40
	.set ONLY_REAL, 1		/* not with limits of 4 GiB */
	.set RPL_IN_CS, 2

/* --- From protected mode and back --- */

	.text
	.code32
	.globl real_run
/* void real_run(u32 offset, bool unreal) */
real_run:
	pusha
	mov 36(%esp), %eax
	mov %ax, 0x10000 + target - blob
	mov 40(%esp), %eax
	mov $SEL_DATA16, %edx
	test %eax, %eax
	jz 1f
	mov $SEL_FLAT16, %edx
1:	mov %esp, saved_esp
	sidt saved_idt
	lgdt real_gdt_pointer
	ljmp $SEL_CODE16, $to_real - blob

back_in_protected:
	mov $SEL_DATA32, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov %eax, %ss
	mov saved_esp, %esp
	lidt saved_idt
	popa
	ret

	.bss
	.balign 4
saved_esp:
	.skip 4
saved_idt:
	.skip 8

	.section .rodata
	.balign 8
real_gdt:
	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
	.quad 0x00009b010000ffff	/* 16 bits at 0x10000 */
	.quad 0x000093000000ffff
	.quad 0x008f93000000ffff	/* 16 bits, 4 GiB */
	.quad 0x000093020000ffff	/* as real mode has DATA */
	.quad 0x0000893456780067	/* a TSS */
	.quad 0x00008c0000181234	/* a call gate */
real_gdt_pointer:
	.word real_gdt_pointer - real_gdt - 1
	.long real_gdt

/* --- The pieces' names --- */

	.macro try name, undefined=0, how=0
	.pushsection .rodata.pieces, "a"
	.long name_\@, piece_\@ - blob, \undefined, \how
	.popsection
	.pushsection .rodata.names, "a"
name_\@: .asciz "\name"
	.popsection
	.balign 2
piece_\@:
	.endm

	.macro done
	ljmpw $CODE, $real_exit - blob
	.endm

/* Into FLAGS, by the stack. */
	.macro flags value
	pushw $\value
	popfw
	.endm

/*
 * Until the first tick: its handler ends with timer_off. How many ticks come while it runs, or behind
 * it, is a matter of the CPU's speed, which is not compared. AL is lost.
 */
	.macro timer_on
	movb $0xfe, %al
	outb %al, $0x21
	.endm
	.macro timer_off
	movb $0xff, %al
	outb %al, $0x21
	.endm

/* andl or orl of a control register; EAX is what was written. */
	.macro changes register, how, bits
	movl %\register, %eax
	\how $\bits, %eax
	movl %eax, %\register
	.endm

/* AX and ES are lost. */
	.macro set_vector vector, handler
	movw $VECTORS >> 4, %ax
	movw %ax, %es
	movw $\handler - blob, %es:(4 * \vector)
	movw $CODE, %es:(4 * \vector + 2)
	.endm

	.pushsection .rodata.pieces, "a"
	.globl real_pieces
real_pieces:
	.popsection

/* --- Real mode --- */

	.section .rodata
	.balign 16
	.globl blob, blob_end, outcome, stubs16
	.code16
blob:
target:
	.word 0, CODE
vectors_pointer:
	.word 0x3ff
	.long VECTORS
gdt_pointer16:
	.word real_gdt_pointer - real_gdt - 1
	.long real_gdt
pointer_far:
	.word far_target - blob, CODE
pointer_far_32:
	.long far_target - blob
	.word CODE
ticks:
	.word 0
steps:
	.word 0

	.balign 4
outcome:
	.skip 32	/* EAX, EBX, ECX, EDX, ESI, EDI, EBP, ESP */
	.skip 4		/* EFLAGS */
	.skip 10	/* DS, ES, FS, GS, SS */
	.word 0		/* the vector; 0xff: none */
	.set out, outcome - blob

to_real:
	mov %dx, %ds
	mov %dx, %es
	mov %dx, %fs
	mov %dx, %gs
	mov $SEL_DATA16, %ax
	mov %ax, %ss
	lidtl %cs:(vectors_pointer - blob)
	mov %cr0, %eax
	and $~1, %al
	mov %eax, %cr0
	ljmpw $CODE, $in_real - blob
in_real:
	movw $STACK, %ax
	movw %ax, %ss
	movl $STACK_POINTER, %esp
	movw $DATA, %ax
	movw %ax, %ds
	movw $EXTRA, %ax
	movw %ax, %es
	movw $0x4000, %ax
	movw %ax, %fs
	movw $0x5000, %ax
	movw %ax, %gs
	movw $0, %cs:(ticks - blob)
	movw $0, %cs:(steps - blob)
	pushl $2
	popfl
	movl $0x11223344, %eax
	movl $0x00000200, %ebx
	movl $0x00000005, %ecx
	movl $SCRATCH_PORT, %edx
	movl $0x00000204, %esi
	movl $0x00000210, %edi
	movl $0x000007f0, %ebp
	ljmpw *%cs:(target - blob)

	.balign 16
stubs16:
	.set n, 0
	.rept 128
	.balign 16
	movb $n, %cs:(out + 46)
	jmp leave
	.set n, n + 1
	.endr

real_exit:
	movb $0xff, %cs:(out + 46)
leave:
	movl %eax, %cs:(out)
	movl %ebx, %cs:(out + 4)
	movl %ecx, %cs:(out + 8)
	movl %edx, %cs:(out + 12)
	movl %esi, %cs:(out + 16)
	movl %edi, %cs:(out + 20)
	movl %ebp, %cs:(out + 24)
	movl %esp, %cs:(out + 28)
	movw %ds, %cs:(out + 36)
	movw %es, %cs:(out + 38)
	movw %fs, %cs:(out + 40)
	movw %gs, %cs:(out + 42)
	movw %ss, %cs:(out + 44)
	movw $STACK, %ax
	movw %ax, %ss
	movl $0xf000, %esp
	pushfl
	popl %cs:(out + 32)
	cli
	cld
	lgdtl %cs:(gdt_pointer16 - blob)
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $SEL_CODE32, $back_in_protected

/* --- What handlers the pieces set --- */

counts_steps:
	incw %cs:(steps - blob)
	iretw
ticks_and_ends:
	incw %cs:(ticks - blob)
	pushw %ax
	timer_off
	movb $0x20, %al
	outb %al, $0x20
	popw %ax
	iretw
looks_at_flags:
	pushfw
	popw %si
	iretw
returns_wide:	/* IRETD, from a frame of words */
	popw %ax
	popw %bx
	popw %cx
	pushl $0x00240ed7	/* ID, AC, VM not */
	pushw $0
	pushw %bx
	pushw $0
	pushw %ax
	iretl
far_target:
	movw $0x4321, %cx
	lretw
far_target_32:
	movw $0x8765, %cx
	lretl
far_target_drops:
	lretw $4

/* --- The pieces --- */

#include "tests/guests/real_pieces.S"
#include "tests/guests/real_machine.S"
#include "tests/guests/real_between.S"

	.balign 16
blob_end:
	.pushsection .rodata.pieces, "a"
	.long 0
	.popsection

	.section .note.GNU-stack, "", @progbits
