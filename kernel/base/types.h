/* SPDX-License-Identifier: MIT */
/*
 * Integer types, compiler helpers and alignment arithmetic. Used by every floor, uses none.
 * Pure: any context, no locks.
 */
#ifndef KERNEL_BASE_TYPES_H
#define KERNEL_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#include <assert.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define __packed     __attribute__((packed))
#define __aligned(n) __attribute__((aligned(n)))
#define __noreturn   __attribute__((noreturn))
#define __noinline   __attribute__((noinline))
#undef __always_inline /* the hosted build's C library has it, too */
#define __always_inline	    inline __attribute__((always_inline))
#define __must_check	    __attribute__((warn_unused_result))
#define __unused	    __attribute__((unused))
#define __section(s)	    __attribute__((section(s)))
#define __printf_like(f, a) __attribute__((format(printf, f, a)))
#define likely(x)	    __builtin_expect(!!(x), 1)
#define unlikely(x)	    __builtin_expect(!!(x), 0)
#define barrier()	    __asm__ volatile("" ::: "memory")

#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define BIT(n) (1ull << (n))
#define KIB(n) ((u64)(n) << 10)
#define MIB(n) ((u64)(n) << 20)
#define GIB(n) ((u64)(n) << 30)

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define PAGE_MASK  (~(PAGE_SIZE - 1))

/* n must be a power of two. align_up wraps to 0 at the top of the type: callers check. */
#define align_down(x, n) ((x) & ~((__typeof__(x))(n)-1))
#define align_up(x, n)	 (((x) + ((__typeof__(x))(n)-1)) & ~((__typeof__(x))(n)-1))
#define is_aligned(x, n) (((x) & ((__typeof__(x))(n)-1)) == 0)

#define min(a, b)                                  \
	({                                         \
		__typeof__(a) min_a_ = (a);        \
		__typeof__(b) min_b_ = (b);        \
		min_a_ < min_b_ ? min_a_ : min_b_; \
	})
#define max(a, b)                                  \
	({                                         \
		__typeof__(a) max_a_ = (a);        \
		__typeof__(b) max_b_ = (b);        \
		max_a_ > max_b_ ? max_a_ : max_b_; \
	})

/* One load or store, never torn, repeated or invented by the compiler. */
#define READ_ONCE(x)	 (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

#endif
