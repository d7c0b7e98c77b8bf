/* SPDX-License-Identifier: MIT */
/*
 * From GRUB's hand-over to boot_main(): the multiboot2 header, then 32-bit code that works at
 * whatever address GRUB put it, early page tables, and the step to long mode at the link address.
 *
 * At entry (multiboot2 specification 3.3): protected mode, paging off, interrupts off, flat
 * segments, EAX the magic number, EBX the address of the boot information. No stack is promised.
 *
 * Early address space, replaced by vmap_init_cpu():
 *   0                   identity of the low 4 GiB, for the step itself
 *   DIRECT_MAP_BASE     the low 4 GiB
 *   IMAGE_BASE + 2 MiB  the image
 */

#define IMAGE_BASE 0xffffffff80000000
#define PHYS(symbol) ((symbol) - IMAGE_BASE)

#define MB2_MAGIC	    0xe85250d6
#define MB2_ARCH_I386	    0
#define MB2_OPTIONAL	    1
#define MB2_TAG_REQUEST	    1
#define MB2_TAG_FRAMEBUFFER 5
#define MB2_TAG_ALIGN	    6
#define MB2_TAG_RELOCATABLE 10
#define MB2_PREFER_LOWEST   1

#define CR0_VALUE   0x80010033 /* PG WP NE ET MP PE */
#define CR4_PAE	    0x20
#define MSR_EFER    0xc0000080
#define EFER_LME    0x100
#define EFLAGS_ID   0x200000
#define CPUID_LM    (1 << 29) /* 80000001h EDX */

#define PTE_TABLE   0x003 /* present, writable */
#define PTE_LARGE   0x083 /* the same, a 2 MiB page */
#define LARGE_SHIFT 21
#define LARGE_SIZE  (1 << LARGE_SHIFT)

#define BOOT_CODE64 0x08
#define STACK_SIZE  16384

	.section .multiboot, "a"
	.balign 8
header:
	.long MB2_MAGIC
	.long MB2_ARCH_I386
	.long header_end - header
	.long 0x100000000 - (MB2_MAGIC + MB2_ARCH_I386 + (header_end - header))

	/* Command line, loader, modules, memory map, framebuffer, EFI tables, RSDP old and new. */
	.balign 8
1:	.short MB2_TAG_REQUEST, MB2_OPTIONAL
	.long 2f - 1b
	.long 1, 2, 3, 6, 8, 11, 12, 14, 15
2:
	.balign 8
	.short MB2_TAG_FRAMEBUFFER, MB2_OPTIONAL
	.long 20
	.long 0, 0, 0 /* any width, height and depth */

	.balign 8
	.short MB2_TAG_ALIGN, 0
	.long 8

	.balign 8
	.short MB2_TAG_RELOCATABLE, MB2_OPTIONAL
	.long 24
	.long LARGE_SIZE, 0xffffffff, LARGE_SIZE, MB2_PREFER_LOWEST

	.balign 8
	.short 0, 0
	.long 8
header_end:

	.section .text.boot, "ax"
	.code32
	.globl boot_entry32
	.type boot_entry32, @function
boot_entry32:
	cli
	cld
	/*
	 * Where are we? CALL needs a stack: the two words that the boot information starts with
	 * serve, and get their contents back.
	 */
	movl 4(%ebx), %ecx
	leal 8(%ebx), %esp
	call 1f
1:	popl %ebp
	subl $PHYS(1b), %ebp /* from here on: what is at IMAGE_BASE, physically */
	movl %ecx, 4(%ebx)
	leal PHYS(boot_stack_top)(%ebp), %esp
	movl %eax, %esi
	movl %ebx, %edi

	call require_long_mode
	call build_tables

	leal PHYS(early_pml4)(%ebp), %eax
	movl %eax, %cr3
	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl $CR0_VALUE, %eax
	movl %eax, %cr0

	/* A far return to 64-bit code; the descriptor table's address is known only now. */
	leal PHYS(boot_gdt)(%ebp), %eax
	movl %eax, PHYS(boot_gdt_pointer) + 2(%ebp)
	lgdt PHYS(boot_gdt_pointer)(%ebp)
	leal PHYS(entry64_low)(%ebp), %eax
	pushl $BOOT_CODE64
	pushl %eax
	lret
	.size boot_entry32, . - boot_entry32

/* A 486 has no CPUID, and a 32-bit CPU no long mode: a sentence, and the end. */
	.type require_long_mode, @function
require_long_mode:
	pushfl
	popl %eax
	movl %eax, %ecx
	xorl $EFLAGS_ID, %eax
	pushl %eax
	popfl
	pushfl
	popl %eax
	pushl %ecx
	popfl
	xorl %ecx, %eax
	testl $EFLAGS_ID, %eax
	jz refuse
	movl $0x80000000, %eax
	cpuid
	cmpl $0x80000001, %eax
	jb refuse
	movl $0x80000001, %eax
	cpuid
	testl $CPUID_LM, %edx
	jz refuse
	ret
	.size require_long_mode, . - require_long_mode

/* .bss is zero: only the low halves of entries are written, and only those in use. */
	.type build_tables, @function
build_tables:
	leal PHYS(early_pd_low)(%ebp), %ebx
	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $LARGE_SHIFT, %eax
	orl $PTE_LARGE, %eax
	movl %eax, (%ebx, %ecx, 8)
	incl %ecx
	cmpl $2048, %ecx
	jb 1b

	leal PHYS(early_pdpt_low)(%ebp), %edx
	xorl %ecx, %ecx
	orl $PTE_TABLE, %ebx
2:	movl %ebx, (%edx, %ecx, 8)
	addl $4096, %ebx
	incl %ecx
	cmpl $4, %ecx
	jb 2b

	leal PHYS(early_pml4)(%ebp), %ebx
	orl $PTE_TABLE, %edx
	movl %edx, (%ebx)
	movl %edx, 256 * 8(%ebx) /* DIRECT_MAP_BASE */
	leal PHYS(early_pdpt_high)(%ebp), %edx
	orl $PTE_TABLE, %edx
	movl %edx, 511 * 8(%ebx)
	leal PHYS(early_pd_high)(%ebp), %ecx
	leal PTE_TABLE(%ecx), %eax
	andl $~PTE_TABLE, %edx
	movl %eax, 510 * 8(%edx)

	leal LARGE_SIZE + PTE_LARGE(%ebp), %eax
	leal 8(%ecx), %ebx
	movl $PHYS(image_end) - 1, %ecx
	shrl $LARGE_SHIFT, %ecx /* as many as are begun, the one at IMAGE_BASE left out */
3:	movl %eax, (%ebx)
	addl $8, %ebx
	addl $LARGE_SIZE, %eax
	loop 3b
	ret
	.size build_tables, . - build_tables

#define COM1	   0x3f8
#define COM_IER	   1
#define COM_FCR	   2
#define COM_LCR	   3
#define COM_MCR	   4
#define COM_LSR	   5
#define LSR_EMPTY  0x20
#define WAIT_LIMIT 100000
#define VGA_TEXT   0xb8000
#define VGA_WHITE  0x07
#define VGA_CELLS  (80 * 25)

/* COM1 at 115200 8N1 and the VGA text screen; neither need be there. */
	.type refuse, @function
refuse:
	leal PHYS(no_long_mode)(%ebp), %esi
	leal PHYS(com1_setup)(%ebp), %ebx
	movl $5, %ecx
1:	movzbl (%ebx), %edx
	addl $COM1, %edx
	movb 1(%ebx), %al
	outb %al, %dx
	addl $2, %ebx
	loop 1b

	movl $VGA_TEXT, %edi
	movl $VGA_CELLS, %ecx
	movw $(VGA_WHITE << 8 | ' '), %ax
	rep stosw
	movl $VGA_TEXT, %edi
2:	lodsb
	testb %al, %al
	jz 5f
	movb %al, %ah
	movl $WAIT_LIMIT, %ecx
	movl $(COM1 + COM_LSR), %edx
3:	inb %dx, %al
	testb $LSR_EMPTY, %al
	loopz 3b
	movl $COM1, %edx
	movb %ah, %al
	outb %al, %dx
	cmpb $' ', %al
	jb 2b
	movb $VGA_WHITE, %ah
	stosw
	jmp 2b
5:	cli
	hlt
	jmp 5b
	.size refuse, . - refuse

	.code64
	.type entry64_low, @function
entry64_low:
	movabsq $entry64_high, %rax
	jmp *%rax
entry64_high:
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl %eax, %ss
	movq $boot_stack_top, %rsp
	movl %ebp, %eax
	movq %rax, image_phys_offset
	movl %edi, %eax
	movl %esi, %edi
	movq %rax, %rsi
	xorl %ebp, %ebp
	call boot_main
	ud2
	.size entry64_low, . - entry64_low

/*
 * void __noreturn boot_switch_stack(void *top, void (*fn)(void)): goes on in fn on another stack,
 * where no frame lies above. fn does not return.
 */
	.globl boot_switch_stack
	.type boot_switch_stack, @function
boot_switch_stack:
	movq %rdi, %rsp
	xorl %ebp, %ebp
	call *%rsi
	ud2
	.size boot_switch_stack, . - boot_switch_stack

	.section .rodata.boot, "a"
no_long_mode:
	.ascii "Weir cannot run on this computer: its processor has no 64-bit mode. "
	.ascii "No setting can add it; Weir needs a 64-bit Intel processor with VT-x "
	.asciz "(in an emulator, choose such a CPU model).\r\n"
com1_setup: /* register, value */
	.byte COM_LCR, 0x80, 0, 1, COM_IER, 0, COM_LCR, 0x03, COM_MCR, 0x03

	.data
	.balign 8
boot_gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* code, 64-bit, ring 0 */
boot_gdt_end:
	.balign 8
boot_gdt_pointer:
	.short boot_gdt_end - boot_gdt - 1
	.long 0

	.globl image_phys_offset
	.balign 8
	.type image_phys_offset, @object
image_phys_offset:
	.quad 0
	.size image_phys_offset, 8

	.bss
	.balign 4096
early_pml4:	 .skip 4096
early_pdpt_low:	 .skip 4096
early_pd_low:	 .skip 4 * 4096
early_pdpt_high: .skip 4096
early_pd_high:	 .skip 4096
boot_stack:	 .skip STACK_SIZE
boot_stack_top:

	.section .note.GNU-stack, "", @progbits
