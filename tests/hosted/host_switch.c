/* SPDX-License-Identifier: MIT */
/* A host thread goes on as another. See host_switch.h. */
#include <asm/prctl.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include "tests/hosted/host_switch.h"
#include "tests/hosted/points_off.h"

#define HWCAP2_WRFSBASE BIT(1) /* the host's kernel lets its processes execute it */

/*
 * Both save what a function of the ABI preserves on the caller's stack, and the stack's pointer in
 * *save. The first goes on at `rsp`; the second calls fn(arg) on the stack that ends at `top`, and goes on
 * at what it returns.
 */
void host_switch_stack(void **save, void *rsp, void *fs_base, bool wrfsbase);
void host_leave_stack(void **save, void *top, void *(*fn)(struct host_context *c),
		      struct host_context *arg);

/* clang-format off */
#define PUSH_ALL  "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
#define POP_ALL	  "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
#define TEXT(x)	  #x
#define NUMBER(x) TEXT(x)
#define FUNCTION(name, ...)            \
	".type " name ", @function\n" \
	name ":\n"                    \
	__VA_ARGS__                    \
	".size " name ", . - " name "\n"

__asm__(".pushsection .text\n"
	FUNCTION("host_switch_stack",
		PUSH_ALL
		"mov %rsp, (%rdi)\n"
		"mov %rsi, %rsp\n"
		"test %cl, %cl\n"
		"jz 1f\n"
		"wrfsbase %rdx\n"
		"jmp 2f\n"
		"1: mov $" NUMBER(ARCH_SET_FS) ", %edi\n"
		"mov %rdx, %rsi\n"
		"mov $" NUMBER(SYS_arch_prctl) ", %eax\n"
		"syscall\n"
		"2:\n"
		POP_ALL
		"ret\n")
	FUNCTION("host_leave_stack",
		PUSH_ALL
		"mov %rsp, (%rdi)\n"
		"mov %rsi, %rsp\n"
		"mov %rcx, %rdi\n"
		"call *%rdx\n"
		"mov %rax, %rsp\n"
		POP_ALL
		"ret\n")
	".popsection\n");
/* clang-format on */

/* Not the C library's, which would write errno: another may be running as this thread. */
static inline void futex(u32 *word, int operation, u32 value)
{
	register void *timeout __asm__("r10") = NULL;
	long result = SYS_futex;

	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(word), "S"(operation), "d"(value), "r"(timeout)
			 : "rcx", "r11", "memory");
}

#define UNWATCHED __attribute__((no_sanitize("address", "thread", "undefined"), noinline))

static inline void raise_flag(u32 *word)
{
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
	futex(word, FUTEX_WAKE_PRIVATE, 1);
}

static inline void await_flag(u32 *word)
{
	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE))
		futex(word, FUTEX_WAIT_PRIVATE, 0);
}

/* On the parking stack, beside the thread itself: nothing here may look at thread-local storage. */
UNWATCHED static void *stay_parked(struct host_context *c)
{
	raise_flag(&c->parked);
	await_flag(&c->released);
	return c->rsp;
}

static void *own_fs_base(void)
{
	void *base;

	__asm__("mov %%fs:0, %0" : "=r"(base)); /* the ABI keeps it there */
	return base;
}

/* For ThreadSanitizer, which cannot see that one goes on as another: its memory is as they left it. */
static void enters(struct host_context *to)
{
	__atomic_store_n(&to->entered, 1, __ATOMIC_RELEASE);
}

static void entered(struct host_context *c)
{
	__atomic_load_n(&c->entered, __ATOMIC_ACQUIRE);
}

void host_park(struct host_context *c)
{
	c->fs_base = own_fs_base();
	host_leave_stack(&c->rsp, c->parking + HOST_PARKING_SIZE, stay_parked, c);
	entered(c);
}

void host_await_parked(struct host_context *c)
{
	await_flag(&c->parked);
}

void host_release(struct host_context *c)
{
	raise_flag(&c->released);
}

void host_switch(struct host_context *from, struct host_context *to)
{
	static int wrfsbase = -1;
	void *rsp, *fs_base;

	if (wrfsbase < 0)
		wrfsbase = !!(getauxval(AT_HWCAP2) & HWCAP2_WRFSBASE);
	from->fs_base = own_fs_base();
	rsp = to->rsp;
	fs_base = to->fs_base;
	enters(to);
	host_switch_stack(&from->rsp, rsp, fs_base, wrfsbase);
	entered(from);
}
