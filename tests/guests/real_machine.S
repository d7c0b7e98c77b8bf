/* SPDX-License-Identifier: MIT */
/* Pieces of real_code.S about what is the machine's: tables, control and debug registers, the timer, modes. */

/* --- The machine --- */

	try "sgdt and lgdt with 16 bits"
	movw $0x1234, 0x200
	movl $0x89abcdef, 0x202
	lgdtw 0x200
	sgdtl 0x208
	done

	try "sidt and lidt with 32 bits"
	movw $0x2345, 0x200
	movl $0x89abcdef, 0x202
	lidtl 0x200
	sidtl 0x208
	done

	try "smsw and lmsw"
	smsww %ax
	andw $1, %ax
	movw $0xfff0, %bx
	lmsw %bx
	smsww %cx
	andw $1, %cx
	done

	try "cr0"
	movl %cr0, %eax
	andl $1, %eax
	movl %cr0, %ecx
	movl %ecx, %cr0
	xorl %ecx, %ecx
	done

	try "cr0 with PG and not PE"
	movl $0x80000010, %eax
	movl %eax, %cr0
	done

	try "cr2, cr3"
	movl $0x12345678, %eax
	movl %eax, %cr2
	movl $0x00077000, %ecx
	movl %ecx, %cr3
	movl %cr2, %ebx
	movl %cr3, %esi
	done

	try "cr1"
	.byte 0x0f, 0x20, 0xc8
	done

/* An MSR is left as it was. */
	.macro msr name, index, low, high
	try "wrmsr of \name"
	movl $\index, %ecx
	rdmsr
	movl %eax, %esi
	movl %edx, %edi
	movl $\low, %eax
	movl $\high, %edx
	wrmsr
	rdmsr
	movl %eax, %ebx
	movl %edx, %ebp
	movl %esi, %eax
	movl %edi, %edx
	wrmsr
	xorl %eax, %eax
	xorl %edx, %edx
	xorl %esi, %esi
	xorl %edi, %edi
	done
	.endm

	msr "SYSENTER's ESP", 0x175, 0x12345678, 0x00001234
	msr "SYSENTER's EIP, not canonical", 0x176, 0x12345678, 0x12345678
	msr "the PAT", 0x277, 0x01040506, 0x00070406
	msr "the PAT, a type that is none", 0x277, 0x02040506, 0x00070406
	msr "STAR", 0xc0000081, 0x89abcdef, 0x01234567
	msr "LSTAR", 0xc0000082, 0x89abcdef, 0xffff8123
	msr "LSTAR, not canonical", 0xc0000082, 0x89abcdef, 0x00008123
	msr "SFMASK", 0xc0000084, 0x00047700, 0
	msr "the kernel's GS base", 0xc0000102, 0x89abcdef, 0xffffffff
	msr "the kernel's GS base, not canonical", 0xc0000102, 0x89abcdef, 0x7fffffff

	try "wrmsr of FS's base"
	movl $0xc0000100, %ecx
	movl $(DATA << 4), %eax
	xorl %edx, %edx
	wrmsr
	movl $0x13572468, %fs:0x200
	rdmsr
	movw $0x4000, %cx
	movw %cx, %fs
	xorl %ecx, %ecx
	done

	try "debug registers"
	movl $0x00012345, %eax
	movl %eax, %dr0
	movl %dr0, %ebx
	movl %dr7, %ecx
	done

	try "dr5 with CR4.DE"
	changes cr4, orl, 8
	.byte 0x0f, 0x21, 0xe8
	done

	try "cr4 back"
	changes cr4, andl, ~8
	xorl %eax, %eax
	done

	try "general detect"
	movl $0x2400, %eax
	movl %eax, %dr7
	movl %dr0, %ebx
	done

	try "x87 is looked for"
	fninit
	fnstcw 0x200
	movw $0x5a5a, %ax
	fnstsw %ax
	movw %ax, 0x204
	movw $0x0372, 0x206
	fldcw 0x206
	fnstcw 0x208
	fnstsw 0x20a
	fninit
	done

	try "x87 with CR0.EM"
	changes cr0, orl, 4
	xorl %eax, %eax
	fnstsw %ax
	done

	try "x87 with CR0.TS"
	movl %cr0, %eax
	andl $~4, %eax
	orl $8, %eax
	movl %eax, %cr0
	xorl %eax, %eax
	fninit
	done

	try "cr0 without EM and TS"
	changes cr0, andl, ~0xc
	xorl %eax, %eax
	done

	try "locked accesses that are not aligned"
	movl $0x01020304, %eax
	lock addl %eax, 0x1c1
	lock xaddl %eax, 0x1fe		/* over a cache line's end */
	lock incw 0x23f
	movw $0x1fd, %bx
	xchgl %eax, (%bx)
	done

	try "sse without CR4.OSFXSR"
	changes cr4, andl, ~0x200
	movups 0x1c0, %xmm0
	done

	try "sse moves"
	changes cr4, orl, 0x200
	movups 0x1c1, %xmm1
	movups %xmm1, 0x200
	movaps 0x1c0, %xmm2
	movaps %xmm2, 0x210
	movdqu 0x1c3, %xmm3
	movd %xmm3, 0x220
	movq %xmm1, 0x228
	movss 0x1c8, %xmm1
	movdqa %xmm1, 0x230
	movq 0x1c9, %xmm7
	movntdq %xmm7, 0x1e0
	movl $0x1d5, %eax
	movntil %eax, 0x1f0
	done

	try "sse moves, misaligned"
	changes cr4, orl, 0x200
	movaps 0x1c8, %xmm2
	done

	try "sse moves, beyond the limit"
	changes cr4, orl, 0x200
	movw $0xfff8, %bx
	movups %xmm2, (%bx)
	done

	try "cr4 without OSFXSR"
	changes cr4, andl, ~0x200
	xorl %eax, %eax
	done

	try "clts, invd, wbinvd, nop"
	clts
	wbinvd
	.byte 0x0f, 0x1f, 0xc0
	done

	try "single steps"
	set_vector 0x01, counts_steps
	flags 0x0102
	nop
	movw $3, %cx
	rep stosb
	incw %bx
	flags 0x0002
	movw %cs:(steps - blob), %si
	done

	try "a single step behind mov to ss"
	set_vector 0x01, counts_steps
	movw %ss, %bx
	flags 0x0102
	movw %bx, %ss
	nop
	movw %bx, %ss
	nop
	flags 0x0002
	movw %cs:(steps - blob), %si
	done

	try "a breakpoint on data", 0, ONLY_REAL
	set_vector 0x01, counts_steps
	movl $(DATA << 4) + 0x200, %eax
	movl %eax, %dr0
	movl $0x000d0402, %eax
	movl %eax, %dr7
	movw %bx, 0x200
	movw %bx, 0x210
	movl $0x400, %eax
	movl %eax, %dr7
	movw %cs:(steps - blob), %si
	done

/* --- Interrupts of the timer --- */

	try "the timer wakes"
	set_vector 0x20, ticks_and_ends
1:	timer_on
	sti
	hlt
	cli
	cmpw $3, %cs:(ticks - blob)
	jb 1b
	xorw %ax, %ax
	done

	try "an interrupt waits behind sti"
	set_vector 0x20, ticks_and_ends
	timer_on
	movb $0x0a, %al
	outb %al, $0x20
1:	inb $0x20, %al
	testb $1, %al
	jz 1b
	sti
	cli
	movw %cs:(ticks - blob), %bx
	sti
	nop
	cli
	movw %cs:(ticks - blob), %cx
	xorw %ax, %ax
	done

/* --- Protected mode and back --- */

	.macro load_gdt
	lgdtl %cs:(gdt_pointer16 - blob)
	.endm

	.macro protect
	load_gdt
	set_pe
	.endm

	.macro set_pe
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	.endm

	.macro unprotect
	movl %cr0, %eax
	andb $0xfe, %al
	movl %eax, %cr0
	.endm

	try "into protected mode and back"
	protect
	ljmpw $SEL_CODE16, $1f - blob
1:	movw $SEL_DATA, %cx
	movw %cx, %ds
	movl $0x77777777, 0x200
	unprotect
	ljmpw $CODE, $1f - blob
1:	movw $DATA, %cx
	movw %cx, %ds
	xorl %eax, %eax
	done

	try "protected mode with real mode's segments"
	protect
	movw %bx, 0x200
	pushl %ebx
	popw %si
	popw %di
	jmp 1f
1:	addw $5, %bx
	unprotect
	xorl %eax, %eax
	done

	try "protected mode with an RPL in CS", 0, RPL_IN_CS
	load_gdt
	ljmpw $CODE + 3, $1f - blob - 0x30
1:	set_pe
	movw %bx, 0x202
	addw $7, %bx
	pushw %bx
	popw %si
	ljmpw $SEL_CODE16, $1f - blob
1:	addw $9, %bx
	unprotect
	addw $11, %bx
	ljmpw $CODE, $1f - blob
1:	xorl %eax, %eax
	done

	try "protected mode with an RPL in SS"
	movw $STACK + 1, %cx
	movw %cx, %ss
	protect
	pushw %bx
	ljmpw $SEL_CODE16, $1f - blob
1:	pushw %si
	movw $SEL_DATA16, %cx
	movw %cx, %ss
	unprotect
	ljmpw $CODE, $1f - blob
1:	movw $STACK, %cx
	movw %cx, %ss
	xorl %eax, %eax
	done

	try "32-bit code and back"
	protect
	ljmpl $SEL_CODE32, $0x10000 + 1f - blob
	.code32
1:	movl $SEL_DATA32, %ecx
	movl %ecx, %es
	movl $0x66666666, %es:(DATA << 4) + 0x204
	ljmp $SEL_CODE16, $1f - blob
	.code16
1:	unprotect
	ljmpw $CODE, $1f - blob
1:	xorl %eax, %eax
	movw $EXTRA, %cx
	movw %cx, %es
	done

	.macro unreal segment
	protect
	movw $SEL_FLAT16, %cx
	movw %cx, %\segment
	unprotect
	.endm

	try "unreal mode"
	unreal ds
	addr32 movl 0x100000, %edi
	addr32 movl %edi, 0x200000
	addr32 movl 0x200000, %ebp
	movw $DATA, %cx
	movw %cx, %ds
	movl $0x100000, %ebx
	movl 0x1e0000(%ebx), %esi
	movl $0x11111111, 0x1e0004(%ebx)
	lock xaddl %ecx, 0x1e0004(%ebx)
	xorl %eax, %eax
	done

	try "strings in unreal mode"
	unreal ds
	unreal es
	movl $0x100000, %esi
	movl $0x200000, %edi
	movl $0x40, %ecx
	addr32 rep movsl
	movl $0x100000, %esi
	movl $0x200000, %edi
	movl $0x100, %ecx
	addr32 repe cmpsb
	movw $DATA, %bx
	movw %bx, %ds
	movw %bx, %es
	xorl %eax, %eax
	done

	try "interrupts in unreal mode"
	set_vector 0x40, looks_at_flags
	unreal fs
	addr32 movl %fs:0x100000, %edi
	int $0x40
	sti
	cli
	xorl %eax, %eax
	done
