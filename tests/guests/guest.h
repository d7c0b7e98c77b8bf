/* SPDX-License-Identifier: MIT */
/*
 * What the small guests share: 32-bit, no paging, flat. Each check prints a line; guest_end prints
 * the count and leaves by isa-debug-exit with 0 only if nothing failed.
 */
#ifndef TESTS_GUESTS_GUEST_H
#define TESTS_GUESTS_GUEST_H

#include <stdint.h>
#include <stdbool.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

static inline void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline void outw(u16 port, u16 v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static inline u16 inw(u16 port)
{
	u16 v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void outl(u16 port, u32 v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static inline u8 inb(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u32 inl(u16 port)
{
	u32 v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u64 rdmsr(u32 index)
{
	u64 v;

	__asm__ volatile("rdmsr" : "=A"(v) : "c"(index));
	return v;
}
static inline void wrmsr(u32 index, u64 v)
{
	__asm__ volatile("wrmsr" ::"c"(index), "A"(v));
}
static inline u64 rdtsc(void)
{
	u64 v;

	__asm__ volatile("rdtsc" : "=A"(v));
	return v;
}
static inline void cpuid(u32 leaf, u32 subleaf, u32 r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(subleaf));
}

/* What an interrupt stub leaves on the stack. */
struct frame {
	u32 edi, esi, ebp, esp, ebx, edx, ecx, eax, vector, error, eip, cs, eflags;
};

/* How often each vector came, and what to do beyond counting; set by a test. */
extern volatile u32 interrupt_count[256];
extern void (*volatile interrupt_hook)(struct frame *f);

void print(const char *text);
void print_hex(u32 v);
void print_decimal(u32 v);
void check(const char *name, bool ok);
void __attribute__((noreturn)) guest_end(void);

/* Loads the IDT; after it exceptions count too, and one skips to exception_resume when that is set. */
void interrupts_init(void);
/* Both PICs anew, from these vectors on; mask is the first one's, of the second all are masked. */
void pics_init(u8 first, u8 second, u8 mask);
extern volatile u32 exception_resume;

/* Runs code that may fault; the label's address is where an exception goes on. */
#define TRY(code)                                                                          \
	({                                                                                 \
		u32 try_before_ = exceptions();                                            \
		__asm__ volatile("movl $1f, %0\n\t" code "\n1:\n\tmovl $0, %0"             \
				 : "+m"(exception_resume)::"eax", "ecx", "edx", "memory"); \
		exceptions() != try_before_;                                               \
	})
u32 exceptions(void);
extern volatile u32 exception_vector, exception_error;
/* Traps, as those of a debugger: go on where they came. */
extern volatile bool exception_keep_eip;

#endif
