/* SPDX-License-Identifier: MIT */
/*
 * Pieces of real_code.S: interrupts and exceptions in protected mode while SS or CS is still real
 * mode's, with an RPL that a VM entry refuses. What the handlers find goes to DS:DI, one word after
 * the other; DS and ES are real mode's too.
 */
	.set GATE_INTERRUPT16, 0x8600
	.set GATE_TRAP16, 0x8700
	.set GATE_INTERRUPT32, 0x8e00
	.set GATE_TRAP32, 0x8f00
	.set GATE_ABSENT, 0x0e00

	.macro gate16 type, handler
	.word \handler - blob, SEL_CODE16, \type, 0
	.endm
	.macro gate32 type, handler
	.word \handler - blob, SEL_CODE32, \type, CODE >> 12
	.endm
	.macro gate type, selector
	.word 0, \selector, \type, 0
	.endm

	.balign 8
between_gates:
	gate GATE_ABSENT, SEL_CODE16			/* #DE becomes #DF */
	gate16 GATE_INTERRUPT16, between_counts
	gate GATE_ABSENT, 0
	gate16 GATE_TRAP16, between_looks16
	gate GATE_TRAP16, 0				/* #OF: a null selector */
	gate GATE_ABSENT, 0
	gate GATE_ABSENT, 0				/* #UD becomes #NP, with EXT */
	gate GATE_ABSENT, 0
	gate16 GATE_INTERRUPT16, between_error16	/* 8 */
	gate GATE_ABSENT, 0
	gate GATE_ABSENT, 0
	gate16 GATE_INTERRUPT16, between_error16	/* 11 */
	gate GATE_ABSENT, 0
	gate32 GATE_TRAP32, between_error32		/* 13 */
	.rept 0x20 - 14
	gate GATE_ABSENT, 0
	.endr
	gate16 GATE_INTERRUPT16, between_ticks		/* 0x20 */
	gate16 GATE_INTERRUPT16, between_looks16
	gate16 GATE_TRAP16, between_looks16
	gate32 GATE_INTERRUPT32, between_looks32
	gate32 GATE_TRAP32, between_looks32
	gate16 GATE_TRAP32, between_looks_wide
	gate 0x8200, SEL_CODE16				/* no gate */
	gate GATE_TRAP16, SEL_DATA
	gate GATE_TRAP16, 0x1000
	gate GATE_ABSENT, SEL_CODE16
	gate16 GATE_INTERRUPT16, between_mends_cs	/* 0x2a */
between_gates_end:
between_pointer:
	.word between_gates_end - between_gates - 1
	.long 0x10000 + between_gates - blob

	.macro note value
	movw \value, (%di)
	addw $2, %di
	.endm

between_counts:
	incw 0x202
	iretw
/* A checksum of EAX and ZF so far. */
between_notes:
	pushfw
	popw %bp
	andw $0x40, %bp
	movzwl %bp, %ebp
	addl %ebp, %eax
	roll $3, %esi
	addl %eax, %esi
	movl %esi, (%di)
	addw $2, %di
	cmpw $0x238, %di
	jb 1f
	movw $0x210, %di
1:	ret
between_ticks:
	incw 0x204
	pushw %ax
	timer_off
	movb $0x20, %al
	outb %al, $0x20
	popw %ax
	iretw
between_looks16:
	pushfw
	popw %ax
	note %ax
	movw %sp, %bp
	movw (%bp), %ax
	note %ax
	movw 2(%bp), %ax
	note %ax
	movw 4(%bp), %ax
	note %ax
	iretw
between_looks_wide:
	movw %sp, %bp
	movl (%bp), %eax
	note %ax
	movl 8(%bp), %eax
	note %ax
	note %cs
	iretl
between_mends_cs:
	popw %ax
	popw %cx
	note %cx
	pushw $SEL_CODE16
	pushw %ax
	iretw
/* Behind the instruction of two bytes that faulted. */
between_error16:
	popw %ax
	note %ax
	movw %sp, %bp
	addw $2, (%bp)
	iretw

	.code32
between_looks32:
	pushfl
	popl %eax
	movw %ax, (%edi)
	movl %esp, %ebp
	movl (%ebp), %eax
	movw %ax, 2(%edi)
	movl 4(%ebp), %eax
	movl %eax, 4(%edi)
	movl 8(%ebp), %eax
	movl %eax, 8(%edi)
	addl $12, %edi
	iretl
between_error32:
	popl %eax
	movl %eax, (%edi)
	addl $4, %edi
	movl %esp, %ebp
	addl $2, (%ebp)
	iretl
	.code16

	.macro between
	lidtl %cs:(between_pointer - blob)
	movw $STACK + 1, %cx
	movw %cx, %ss
	protect
	ljmpw $SEL_CODE16, $9f - blob
9:
	.endm

	.macro between_done
	movw $SEL_DATA16, %cx
	movw %cx, %ss
	unprotect
	ljmpw $CODE, $9f - blob
9:	movw $STACK, %cx
	movw %cx, %ss
	xorl %eax, %eax
	xorl %ebp, %ebp
	done
	.endm

	try "between modes: int n by gates of 16 bits"
	between
	flags 0x0001
	int $0x21
	int $0x22
	between_done

	try "between modes: int n by gates of 32 bits"
	between
	flags 0x4000
	int $0x23
	int $0x24
	flags 0x0002
	between_done

	try "between modes: int n by a gate of 32 bits to 16-bit code"
	between
	int $0x25
	between_done

	try "between modes: int3 and into"
	between
	int3
	movb $0x7f, %al
	incb %al
	into
	nop
	between_done

	try "between modes: gates that are none"
	between
	int $0x26
	int $0x27
	int $0x28
	int $0x29
	int $0x2b
	int $0xff
	between_done

	try "between modes: an exception whose gate is absent"
	between
	ud2
	between_done

	try "between modes: double fault", 0x8d5
	between
	xorw %bx, %bx
	divw %bx
	between_done

	try "between modes: general protection, with the selector"
	between
	movw $0x1234, %cx
	movw %cx, %ds
	movw $0x0040, %cx
	movw %cx, %es
	between_done

	try "between modes: single steps"
	between
	flags 0x0102
	nop
	incw %bx
	flags 0x0002
	between_done

	.macro looks_at selector
	movw \selector, %cx
	larw %cx, %ax
	call between_notes
	larl %ecx, %eax
	call between_notes
	lsll %ecx, %eax
	call between_notes
	verr %cx
	call between_notes
	verw %cx
	call between_notes
	.endm

	try "between modes: what selectors give"
	between
	xorl %eax, %eax
	lldt %ax
	looks_at $SEL_CODE32
	looks_at $SEL_DATA
	looks_at $SEL_FLAT16 + 3
	looks_at $0
	looks_at $0x1000
	looks_at $SEL_DATA + 4
	looks_at $SEL_TASK
	looks_at $SEL_TASK + 1
	looks_at $SEL_GATE
	movw %di, 0x200
	movw $0x210, %di
	between_done

	try "between modes: bound, arpl, sldt and str"
	between
	movw $4, 0x200
	movw $9, 0x202
	movw $9, %ax
	boundw %ax, 0x200
	movw $0x1231, 0x204
	movw $3, %ax
	arpl %ax, 0x204
	pushfw
	popw %cx
	note %cx
	movw $0x1236, %cx
	arpl %ax, %cx
	note %cx
	arpl %bx, %cx
	pushfw
	popw %cx
	note %cx
	xorw %cx, %cx
	lldt %cx
	notw %cx
	sldtw %cx
	note %cx
	movw $SEL_TASK, %cx
	ltr %cx
	strw %cx
	note %cx
	between_done

	try "between modes: the timer"
	between
	movw $0, 0x204
1:	timer_on
	sti
	hlt
	cli
	cmpw $2, 0x204
	jb 1b
	between_done

	try "between modes: an RPL in CS", 0, RPL_IN_CS
	lidtl %cs:(between_pointer - blob)
	load_gdt
	ljmpw $CODE + 3, $1f - blob - 0x30
1:	set_pe
	int $0x2a
	addw $9, %bx
	unprotect
	ljmpw $CODE, $1f - blob
1:	xorl %eax, %eax
	done
