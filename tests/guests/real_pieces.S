/* SPDX-License-Identifier: MIT */
/* The pieces of real_code.S, by subject. The number behind a name: flags that the manual leaves undefined. */

/* --- Interrupts --- */

	try "int n"
	int $0x21
	done

	try "int n and iret"
	set_vector 0x40, looks_at_flags
	movw $STACK, %bp
	flags 0x3202
	int $0x40
	pushfw
	popw %di
	done

	try "int n, handler sees TF clear"
	set_vector 0x01, counts_steps
	set_vector 0x40, looks_at_flags
	flags 0x0302
	int $0x40
	flags 2
	movw %cs:(steps - blob), %cx
	done

	try "iretd"
	set_vector 0x40, returns_wide
	int $0x40
	pushfl
	popl %edi
	pushl $2
	popfl
	done

	try "int3"
	int3
	done

	try "into, with overflow"
	movb $0x7f, %al
	incb %al
	into
	done

	try "into, without"
	xorw %ax, %ax
	into
	done

	try "bound"
	movw $-1, %ax
	movw $0, 0x200
	movw $7, 0x202
	boundw %ax, 0x200
	done

	try "bound of 32 bits, within"
	movl $-5, %eax
	movl $-6, 0x200
	movl $-5, 0x204
	boundl %eax, 0x200
	done

	try "bound of 32 bits, above"
	movl $-4, %eax
	movl $-6, 0x200
	movl $-5, 0x204
	boundl %eax, 0x200
	done

	try "bound, the second word beyond the limit"
	movw $0xfffe, %bx
	boundw %ax, (%bx)
	done

	try "an interrupt beyond the table's limit"
	movw $0x80, 0x200
	movl $VECTORS, 0x202
	lidtl 0x200
	int $0x30
	done

	try "a table at 0"
	movw $0x3ff, 0x200
	movl $0, 0x202
	lidtl 0x200
	int $0x22
	done

	try "divide by 0", 0x8d5
	xorw %bx, %bx
	divw %bx
	done

	try "quotient too large", 0x8d5
	movw $2, %bx
	movw $2, %dx
	divw %bx
	done

	try "smallest by -1", 0x8d5
	movw $0, %ax
	movw $0x8000, %dx
	movw $-1, %bx
	idivw %bx
	done

	try "ud2"
	ud2
	done

	try "lock on a register"
	.byte 0xf0, 0x01, 0xd8
	done

	try "mov to cs"
	.byte 0x8e, 0xc8
	done

	try "sldt"
	sldtw %ax
	done

	try "lldt"
	lldt %ax
	done

	try "lar"
	larw %ax, %bx
	done

	try "lsl"
	lslw %ax, %bx
	done

	try "verr"
	verr %ax
	done

	try "verw"
	verw %ax
	done

	try "str"
	strw %ax
	done

	try "sysenter"
	movl $0x174, %ecx
	movl $8, %eax
	xorl %edx, %edx
	wrmsr
	.byte 0x0f, 0x34
	done

	try "sysexit"
	.byte 0x0f, 0x35
	done

	try "sysenter's MSR back"
	movl $0x174, %ecx
	rdmsr
	movl %eax, %esi
	movl %edx, %edi
	xorl %eax, %eax
	xorl %edx, %edx
	wrmsr
	rdmsr
	done

	try "arpl"
	arpl %ax, %bx
	done

	try "sixteen bytes"
	.rept 15
	.byte 0x66
	.endr
	nop
	done

/* --- Limits and wraps --- */

	try "word at 0xffff"
	movw $0xffff, %bx
	movw (%bx), %ax
	done

	try "byte at 0xffff"
	movw $0xffff, %bx
	movb $0x5a, (%bx)
	movb (%bx), %ah
	done

	try "word of the stack at 0xffff"
	movw $0xffff, %bp
	movw 0(%bp), %ax
	done

	try "dword at 0xfffd, for writing"
	movw $0xfffd, %bx
	movl %eax, (%bx)
	done

	try "32-bit address above 64 KiB"
	movl $0x12340, %ebx
	movl (%ebx), %eax
	done

	try "32-bit address that wraps"
	movl $0xffffff00, %ebx
	movl 0x310(%ebx), %eax
	done

	try "16-bit address that wraps"
	movw $0xff00, %bx
	movw 0x310(%bx), %ax
	done

	try "push at 0"
	movw $0, %sp
	pushw %ax
	done

	try "push of a dword at 2"
	movw $2, %sp
	pushl %eax
	done

	try "pop at 0xffff"
	movw $0xffff, %sp
	popw %ax
	done

	try "pusha at 6"
	movw $6, %sp
	pushaw
	done

	try "code that runs on beyond 0xffff"
	movw $0x9090, %cs:0xfffe
	movw $0xfffe, %ax
	jmpw *%ax
	done

	try "near jump that wraps"
	movw $0x9090, %cs:0xfff8
	movb $0xe9, %cs:0xfffa
	movw $1f - blob - 0xfffd, %cs:0xfffb
	movw $0xfff8, %ax
	jmpw *%ax
1:	done

	try "32-bit jump beyond the limit"
	movl $0x00012345, %eax
	jmpl *%eax

	try "32-bit return beyond the limit"
	pushl $0x00012345
	retl

	try "linear 1 MiB and more"
	movw $0xffff, %ax
	movw %ax, %fs
	movl %fs:0x10, %eax
	done

/* --- The stack --- */

	try "pushf and popf"
	flags 0x7ed7
	pushfw
	popw %ax
	flags 0x0002
	done

	try "pushfd and popfd"
	pushl $0x00247ed7
	popfl
	pushfl
	popl %eax
	pushl $0x00000002
	popfl
	done

	try "popf leaves the upper half"
	pushl $0x00240002
	popfl
	flags 0x0002
	pushfl
	popl %eax
	pushl $0x00000002
	popfl
	done

	try "cli and sti"
	sti
	pushfw
	popw %ax
	cli
	pushfw
	popw %bx
	done

	try "pusha and popa"
	pushaw
	xorw %ax, %ax
	xorw %bx, %bx
	movw %ax, %cx
	popaw
	done

	try "pushad and popad"
	pushal
	xorl %eax, %eax
	movl %eax, %ebp
	popal
	done

	try "push sp"
	pushw %sp
	popw %ax
	done

	try "pop sp"
	pushw $0x07c0
	popw %sp
	done

	try "push and pop memory"
	pushw 0x200
	popw 0x210
	pushl 0x204
	popl 0x214
	done

	try "push segments"
	pushw %es
	popw %fs
	pushl %ss
	popw %ax
	popw %bx
	done

	try "enter and leave"
	enterw $16, $0
	movw %sp, %ax
	leavew
	done

	try "enter with levels"
	enterw $4, $3
	movw %sp, %ax
	movw %bp, %bx
	leavew
	done

	try "enter with dwords"
	enterl $8, $2
	movl %esp, %eax
	leavel
	done

	try "near call and return"
	call 2f
	jmp 3f
2:	movw $0x9999, %bx
	retw
3:	done

	try "near call through memory, and ret n"
	movw $2f - blob, 0x200
	pushw $1
	pushw $2
	callw *0x200
	jmp 3f
2:	retw $4
3:	done

	try "far call and return"
	lcallw $CODE, $far_target - blob
	done

	try "far call through memory"
	movw $far_target - blob, 0x200
	movw $CODE, 0x202
	lcallw *0x200
	done

	try "far call with 32 bits"
	lcalll $CODE, $far_target_32 - blob
	done

	try "far return that drops"
	pushw $1
	pushw $2
	lcallw $CODE, $far_target_drops - blob
	done

	try "far jump to another paragraph"
	ljmpw $CODE + 3, $1f - blob - 0x30
1:	movw %cs, %ax
	done

	try "les, lds, lfs, lgs"
	movl $0x45671234, 0x200
	movl $0x20005678, 0x204
	lesw 0x200, %ax
	lfsw 0x204, %bx
	lgsl 0x202, %ecx
	ldsw 0x204, %dx
	done

	try "lss"
	movl $0x30000700, 0x200
	lssw 0x200, %sp
	pushw %ax
	done

/* --- Strings --- */

	try "movsb"
	movsb
	done

	try "rep movsw"
	rep movsw
	done

	try "rep movsd, down"
	std
	movw $2, %cx
	movw $0x238, %si
	movw $0x23c, %di
	rep movsl
	cld
	done

	try "rep movsb with 32-bit addresses"
	addr32 rep movsb
	done

	try "rep stosd"
	movw $3, %cx
	rep stosl
	done

	try "repe cmpsb"
	movw $DATA, %ax
	movw %ax, %es
	movw $0x200, %si
	movw $0x200, %di
	repe cmpsb
	done

	try "repne scasb"
	movw $0x20, %cx
	movb 0x205, %al
	movw $0x200, %di
	pushw %ds
	popw %es
	repne scasb
	done

	try "lodsw of another segment"
	lodsw %es:(%si)
	done

	try "rep with 0"
	xorw %cx, %cx
	rep movsb
	done

	try "a string that wraps"
	movw $0xfffe, %si
	movw $3, %cx
	rep lodsb
	done

	try "a string over the limit"
	movw $0xffff, %si
	movw $3, %cx
	rep movsw
	done

	try "rep outsb and insb"
	movw $4, %cx
	rep outsb
	movw $2, %cx
	rep insb
	done

	try "in and out"
	movb $0x5a, %al
	outb %al, %dx
	movb $0, %al
	inb %dx, %al
	done

	try "xlat"
	movb $5, %al
	xlatb
	done

/* --- Decimal --- */

	try "daa", 0x800
	movb $0x79, %al
	addb $0x35, %al
	daa
	done

	try "das", 0x800
	movb $0x23, %al
	subb $0x47, %al
	das
	done

	try "aaa", 0x8c4
	movw $0x0106, %ax
	addb $8, %al
	aaa
	done

	try "aas", 0x8c4
	movw $0x0203, %ax
	subb $9, %al
	aas
	done

	try "aam", 0x811
	movb $123, %al
	aam
	done

	try "aam with 0", 0x8d5
	aam $0
	done

	try "aad", 0x811
	movw $0x0709, %ax
	aad
	done

/* --- Operand sizes and what else there is --- */

	try "adc with 32 bits"
	stc
	adcl $0x80000000, %eax
	done

	try "16 bits leave the upper half"
	movl $0xffffffff, %eax
	addw $1, %ax
	done

	try "movzx and movsx"
	movb $0x85, %al
	movzbl %al, %ebx
	movsbl %al, %ecx
	movswl %ax, %edi
	done

	try "lea"
	leaw 0x1234(%bx,%si), %ax
	leal 0x12345678(%ebx,%ecx,4), %edi
	done

	try "mul", 0xd4
	mulw %bx
	done

	try "imul with 32 bits", 0xd4
	imull $-3, %eax, %ecx
	done

	try "div with 32 bits", 0x8d5
	xorl %edx, %edx
	divl %ebx
	done

	try "shifts", 0x810
	shll $3, %eax
	sarw $2, %bx
	rclw $5, %cx
	rorl $7, %esi
	done

	try "shld", 0x810
	shldl $9, %ebx, %eax
	done

	try "bt and bts", 0x894
	btsw $5, 0x200
	btl $3, %eax
	done

	try "bsf", 0x895
	bsfl %eax, %ecx
	done

	try "cmpxchg"
	movw 0x200, %ax
	lock cmpxchgw %cx, 0x200
	done

	try "xadd"
	lock xaddl %eax, 0x200
	done

	try "xchg and bswap"
	xchgw %ax, 0x200
	bswapl %ecx
	done

	try "setcc and jumps"
	cmpw $3, %cx
	seta %al
	setb %ah
	jcxz 1f
	loop 1f
	movw $0, %bx
1:	done

	try "cbw, cwd"
	movb $0x80, %al
	cbtw
	cwtd
	cwtl
	done

	try "lahf and sahf"
	movb $0xd5, %ah
	sahf
	lahf
	done

	try "fences and clflush"
	lfence
	mfence
	sfence
	clflush 0x200
	done

	try "clflush beyond the limit"
	movl $0x10000, %ebx
	clflush (%ebx)
	done

	/* What the CPU has not is #UD, or a scan. */
	try "popcnt"
	popcntw %cx, %ax
	popcntl 0x200, %edx
	done

	try "tzcnt and lzcnt", 0x895
	movl $0x4100, %ecx
	tzcntw %cx, %ax
	lzcntw %cx, %bx
	lzcntl %ecx, %edx
	done

	try "stac and clac"
	stac
	pushfl
	popl %edi
	clac
	pushfl
	popl %esi
	done

	try "xgetbv without CR4.OSXSAVE"
	xorl %ecx, %ecx
	xgetbv
	done

	try "rdrand"
	rdrand %eax
	movl $0, %eax
	done

	try "x87", 0, ONLY_REAL
	fninit
	fld1
	fldpi
	fmulp
	fistpl 0x200
	fnstcw 0x204
	fnstenv 0x208
	done
