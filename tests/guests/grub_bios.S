/* SPDX-License-Identifier: MIT */
/*
 * The BIOS of the guest `grub`: the services that GRUB asks for, in the kilobytes below 640 KiB that a PC's
 * BIOS has its extended data in. The screen is COM1, the disk lies in memory, keys are the guest's words. Who
 * asks for anything else is told that it is not there, as by a BIOS, and the line names it.
 */
	.set BIOS, 0x9e000		/* linear; grub.c copies everything from `bios` on there */
	.set BIOS_SEGMENT, BIOS >> 4
	.set LOW_KIB, BIOS >> 10
	.set HIGH, 0x100000
	.set DRIVE, 0x80
	.set HEADS, 16
	.set SECTORS, 63
	.set BOOT_SECTOR, 0x7c00
	.set COM1, 0x3f8
	.set DEBUG_EXIT, 0xf4
	.set PIC, 0x20
	.set EOI, 0x20
	.set BDA_CURSOR, 0x450
	.set BDA_TICKS, 0x46c
	.set SEL_CODE16, 0x08
	.set SEL_DATA16, 0x10
	.set SEL_FLAT, 0x18
	.set SCAN_ENTER, 0x1c
	.set CF, 0x01
	.set ZF, 0x40
	.set SMAP, 0x534d4150

/* What a service finds of its caller, from BP; ES is the caller's. */
	.set CALLER_DS, 2
	.set CALLER_EDI, 4
	.set CALLER_ESI, 8
	.set CALLER_EBX, 20
	.set CALLER_EDX, 24
	.set CALLER_ECX, 28
	.set CALLER_EAX, 32
	.set CALLER_IP, 36
	.set CALLER_CS, 38
	.set CALLER_FLAGS, 40

/* --- To the boot sector --- */

	.text
	.code32
	.globl grub_boot
/* void grub_boot(void), with the BIOS in place */
grub_boot:
	cli
	lgdt BIOS + gdt_pointer - bios
	ljmp $SEL_CODE16, $to_real - bios

	.section .rodata
	.balign 16
	.code16
	.globl bios, bios_end, bios_vectors, bios_disk, bios_sectors, bios_ram, bios_keys
bios:
	.byte (0xa0000 - BIOS) >> 10	/* the kilobytes of it, as an EBDA begins */
	.balign 4
bios_disk:				/* where RAM ends for who asks (tests/guests/loaded.c knows the offset) */
	.long 0
bios_keys:				/* what is still to be typed, and a 0 */
	.skip 64
	.balign 8
gdt:
	.quad 0
	.quad 0x00009b000000ffff | (BIOS & 0xffffff) << 16
	.quad 0x000093000000ffff
	.quad 0x00cf93000000ffff
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long BIOS + gdt - bios
vectors_pointer:
	.word 0x3ff
	.long 0

to_real:
	movw $SEL_DATA16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %fs
	movw %ax, %gs
	movw %ax, %ss
	lidtl %cs:(vectors_pointer - bios)
	movl %cr0, %eax
	andb $~1, %al
	movl %eax, %cr0
	ljmpw $BIOS_SEGMENT, $1f - bios
1:	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %fs
	movw %ax, %gs
	movw %ax, %ss
	movl $BOOT_SECTOR, %esp
	movw $DRIVE, %dx
	sti
	ljmpw $0, $BOOT_SECTOR

/* --- Services --- */

	.macro service vector
	.pushsection .rodata.vectors, "a"
	.word \vector, service_\vector - bios
	.popsection
service_\vector:
	pushal
	pushw %ds
	pushw %es
	movw %sp, %bp
	pushw %cs
	popw %ds
	cld
	pushw $\vector
	call handle_\vector
	addw $2, %sp
	popw %es
	popw %ds
	popal
	iretw
handle_\vector:
	.endm

	.macro on_ah function, handler
	cmpb $\function, %ah
	je \handler
	.endm

	.pushsection .rodata.vectors, "a"
	.balign 4
bios_vectors:
	.popsection

succeed:
	movb $0, CALLER_EAX + 1(%bp)
succeed_ah:
	andb $~CF, CALLER_FLAGS(%bp)
	ret

/* Function AX of the service whose vector is on the stack. */
not_there:
	movw $text_not_there - bios, %si
	call put_text
	movb -2(%bp), %al
	call put_byte
	movw $text_ax - bios, %si
	call put_text
	movb CALLER_EAX + 1(%bp), %al
	call put_byte
	movb CALLER_EAX(%bp), %al
	call put_byte
	call put_line_end
	movb $0x86, %ah
/* With AH for the caller. */
fail:
	movb %ah, CALLER_EAX + 1(%bp)
	orb $CF, CALLER_FLAGS(%bp)
	ret

/* --- The screen: COM1 --- */

	service 0x10
	on_ah 0x0e, teletype
	on_ah 0x09, put			/* one of them, whatever CX says */
	on_ah 0x03, 2f
	on_ah 0x02, 3f
	on_ah 0x0f, 4f
	on_ah 0x00, 1f
	on_ah 0x01, 1f
	jmp not_there
1:	ret
2:	movw $0x0607, CALLER_ECX(%bp)
	pushw $0
	popw %es
	movw %es:BDA_CURSOR, %ax
	movw %ax, CALLER_EDX(%bp)
	ret
3:	pushw $0
	popw %es
	movw %dx, %es:BDA_CURSOR
	ret
4:	movw $80 << 8 | 3, CALLER_EAX(%bp)
	movb $0, CALLER_EBX + 1(%bp)
	ret

/* A character and the cursor behind it; the line is at the bottom as far as anybody can see. */
teletype:
	pushw $0
	popw %es
	incb %es:BDA_CURSOR
	cmpb $' ', %al
	jae put
	decb %es:BDA_CURSOR
	cmpb $'\b', %al
	jne 1f
	decb %es:BDA_CURSOR
1:	cmpb $'\r', %al
	jne put
	movb $0, %es:BDA_CURSOR
/* Writes AL. */
put:
	pushw %dx
	pushw %ax
	movw $COM1 + 5, %dx
1:	inb %dx, %al
	testb $0x20, %al
	jz 1b
	popw %ax
	movw $COM1, %dx
	outb %al, %dx
	popw %dx
	ret

/* The text at SI, which ends in a 0. */
put_text:
	lodsb
	testb %al, %al
	jz 1f
	call put
	jmp put_text
1:	ret

put_line_end:
	movb $'\r', %al
	call put
	movb $'\n', %al
	jmp put

/* AL in hexadecimal. */
put_byte:
	pushw %ax
	shrb $4, %al
	call put_digit
	popw %ax
	andb $15, %al
put_digit:
	cmpb $10, %al
	jb 1f
	addb $'a' - '0' - 10, %al
1:	addb $'0', %al
	jmp put

text_not_there:
	.asciz "bios: no int "
text_ax:
	.asciz " ax "

/* --- Equipment and low memory --- */

	service 0x11
	movw $0x0221, CALLER_EAX(%bp)
	ret

	service 0x12
	movw $LOW_KIB, CALLER_EAX(%bp)
	ret

/* --- The disk --- */

	service 0x13
	cmpb $DRIVE, %dl
	movb $1, %ah
	jne fail
	movb CALLER_EAX + 1(%bp), %ah
	on_ah 0x00, succeed
	on_ah 0x02, read_chs
	on_ah 0x08, geometry
	on_ah 0x41, extensions
	on_ah 0x42, read_packet
	on_ah 0x48, parameters
	jmp not_there

geometry:
	movl bios_sectors - bios, %eax
	xorl %edx, %edx
	movl $HEADS * SECTORS, %ecx
	divl %ecx
	decw %ax
	movb %ah, %cl
	shlb $6, %cl
	orb $SECTORS, %cl
	movb %al, %ch
	movw %cx, CALLER_ECX(%bp)
	movw $(HEADS - 1) << 8 | 1, CALLER_EDX(%bp)
	jmp succeed

extensions:
	cmpw $0x55aa, %bx
	movb $1, %ah
	jne fail
	movw $0xaa55, CALLER_EBX(%bp)
	movw $1, CALLER_ECX(%bp)
	movb $0x21, CALLER_EAX + 1(%bp)
	jmp succeed_ah

/* Of all that the caller's buffer could hold, the 26 bytes of version 1. */
parameters:
	pushw CALLER_DS(%bp)
	popw %es
	movw CALLER_ESI(%bp), %di
	movw $parameters_end - parameters_start, %cx
	movw $parameters_start - bios, %si
	rep movsb
	jmp succeed
parameters_start:
	.word parameters_end - parameters_start
	.word 2				/* the geometry is valid */
	.long 0, HEADS, SECTORS
bios_sectors:
	.quad 0
	.word 512
parameters_end:

read_chs:
	movzbl %ch, %eax		/* cylinder */
	movb %cl, %ah
	shrb $6, %ah
	imull $HEADS, %eax
	movzbl %dh, %edx
	addl %edx, %eax
	imull $SECTORS, %eax
	andl $0x3f, %ecx
	leal -1(%eax, %ecx), %esi
	movzbl CALLER_EAX(%bp), %ecx
	movzwl CALLER_EBX(%bp), %ebx
	movzwl (%bp), %edi
	jmp read

read_packet:
	pushw CALLER_DS(%bp)
	popw %es
	movw CALLER_ESI(%bp), %bx
	movzwl %es:2(%bx), %ecx
	movzwl %es:6(%bx), %edi
	movl %es:8(%bx), %esi
	cmpl $0, %es:12(%bx)
	movzwl %es:4(%bx), %ebx
	movb $4, %ah
	jne fail

/* ECX sectors from ESI to EDI:EBX; as a PC's BIOS, in protected mode. */
read:
	movb $4, %ah
	movl bios_sectors - bios, %edx
	subl %ecx, %edx
	jb fail
	cmpl %edx, %esi
	ja fail
	shll $7, %ecx
	shll $9, %esi
	addl bios_disk - bios, %esi
	shll $4, %edi
	addl %ebx, %edi
	lgdtl gdt_pointer - bios
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpw $SEL_CODE16, $1f - bios
1:	movw $SEL_FLAT, %bx
	movw %bx, %ds
	movw %bx, %es
	addr32 rep movsl
	movw $SEL_DATA16, %bx
	movw %bx, %ds
	movw %bx, %es
	andb $~1, %al
	movl %eax, %cr0
	ljmpw $BIOS_SEGMENT, $1f - bios
1:	movw %cs, %ax
	movw %ax, %ds
	jmp succeed

/* --- Memory --- */

	service 0x15
	cmpw $0xe820, %ax
	je memory_map
	cmpw $0xe801, %ax
	je memory_sizes
	on_ah 0x88, memory_size
	cmpw $0x2400, %ax
	je succeed
	cmpw $0x2401, %ax
	je succeed
	jmp not_there

memory_map:
	cmpl $SMAP, %edx
	jne not_there
	cmpl $(memory_map_end - memory_map_start) / 20, %ebx
	jae not_there
	movl $SMAP, CALLER_EAX(%bp)
	movl $20, CALLER_ECX(%bp)
	incl CALLER_EBX(%bp)
	imulw $20, %bx, %si
	addw $memory_map_start - bios, %si
	movw $20, %cx
	rep movsb
	cmpw $memory_map_end - bios, %si
	jb succeed_ah
	movl $0, CALLER_EBX(%bp)
	jmp succeed_ah
memory_map_start:
	.quad 0, BIOS
	.long 1
	.quad BIOS, 0xa0000 - BIOS
	.long 2
	.quad 0xe0000, 0x20000
	.long 2
	.quad HIGH
bios_ram:
	.quad 0
	.long 1
memory_map_end:

memory_sizes:
	movw $15 << 10, %ax
	movw %ax, CALLER_EAX(%bp)
	movw %ax, CALLER_ECX(%bp)
	movl bios_disk - bios, %eax
	shrl $16, %eax
	subw $16 << 4, %ax
	movw %ax, CALLER_EBX(%bp)
	movw %ax, CALLER_EDX(%bp)
	jmp succeed_ah

memory_size:
	movl bios_ram - bios, %eax
	shrl $10, %eax
	cmpl $63 << 10, %eax
	jb 1f
	movw $63 << 10, %ax
1:	movw %ax, CALLER_EAX(%bp)
	jmp succeed_ah

/* --- Keys: what the guest was told to type --- */

	service 0x16
	orb $0x10, %ah			/* the calls for enhanced keyboards are the same */
	on_ah 0x11, look_for_key
	on_ah 0x10, wait_for_key
	movb $0, CALLER_EAX(%bp)	/* nothing is held */
	on_ah 0x12, succeed
	jmp not_there

/* The next key in AX, as a keyboard's, and ZF without one. */
next_key:
	movzbw bios_keys - bios, %ax
	cmpb $'\r', %al
	jne 1f
	movb $SCAN_ENTER, %ah
1:	testb %al, %al
	ret

look_for_key:
	orb $ZF, CALLER_FLAGS(%bp)
	call next_key
	jz 1f
	andb $~ZF, CALLER_FLAGS(%bp)
	movw %ax, CALLER_EAX(%bp)
1:	ret

wait_for_key:
	call next_key
	jnz 1f
	sti
	hlt
	cli
	jmp wait_for_key
1:	movw %ax, CALLER_EAX(%bp)
	movw $bios_keys - bios, %di
	leaw 1(%di), %si
	pushw %ds
	popw %es
	movw $63, %cx
	rep movsb
	ret

/* --- Time --- */

	service 0x1a
	on_ah 0x00, 1f
	jmp not_there
1:	pushw $0
	popw %es
	movl %es:BDA_TICKS, %eax
	movw %ax, CALLER_EDX(%bp)
	shrl $16, %eax
	movw %ax, CALLER_ECX(%bp)
	movb $0, CALLER_EAX(%bp)
	jmp succeed

	service 0x08
	pushw $0
	popw %es
	incl %es:BDA_TICKS
	int $0x1c
	movb $EOI, %al
	outb %al, $PIC
	ret

	service 0x1c
	ret

/* --- What nobody meant to raise --- */

	.macro exception vector
	service \vector
	movb $\vector, %al
	jmp die
	.endm

	exception 0x00
	exception 0x04
	exception 0x05
	exception 0x06
	exception 0x07
	exception 0x0b
	exception 0x0c
	exception 0x0d

die:
	pushw %ax
	movw $text_exception - bios, %si
	call put_text
	popw %ax
	call put_byte
	movw $text_at - bios, %si
	call put_text
	movb CALLER_CS + 1(%bp), %al
	call put_byte
	movb CALLER_CS(%bp), %al
	call put_byte
	movb $':', %al
	call put
	movb CALLER_IP + 1(%bp), %al
	call put_byte
	movb CALLER_IP(%bp), %al
	call put_byte
	call put_line_end
	movb $1, %al
	outb %al, $DEBUG_EXIT
1:	hlt
	jmp 1b

text_exception:
	.asciz "bios: FAIL: exception "
text_at:
	.asciz " at "
bios_end:

	.pushsection .rodata.vectors, "a"
	.long 0				/* vector 0 is among those above, and none has offset 0 */
	.popsection

	.section .note.GNU-stack, "", @progbits
