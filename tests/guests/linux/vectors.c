/* SPDX-License-Identifier: MIT */
/*
 * Runs in the Linux guest: do its programs keep their vector registers?
 *
 *	vectors ROUNDS
 *
 * Two processes on one CPU fill the widest vector registers that there are, each with values of its
 * own, yield to each other and compare. What Linux saves and loads at each switch goes wrong where
 * CPUID and the CPU's XSAVE instructions do not agree. Ends with 0 if nothing was lost and they did
 * change places.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define REGISTERS 32
#define LARGEST	  64 /* bytes */

static uint8_t filled[REGISTERS * LARGEST], found[REGISTERS * LARGEST];

static struct shared {
	unsigned int last;     /* atomic: who went on */
	unsigned int switches; /* atomic */
	unsigned int lost;     /* atomic: registers */
} * shared;

#define FIRST_16 "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"
#define ALL_32	 FIRST_16 ",16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31"

/* Between loading and storing the CPU is yielded, with nothing of the compiler's in between. */
#define YIELDS(name, registers, move, kind, size)                                                  \
	static void __attribute__((noinline)) name(void)                                           \
	{                                                                                          \
		long result = SYS_sched_yield;                                                     \
                                                                                                   \
		__asm__ volatile(".irp r," registers "\n\t" move " \\r*" size "(%[from]), %%" kind \
				 "\\r\n\t.endr\n\t"                                                \
				 "syscall\n\t"                                                     \
				 ".irp r," registers "\n\t" move " %%" kind "\\r, \\r*" size       \
				 "(%[to])\n\t.endr"                                                \
				 : "+a"(result)                                                    \
				 : [from] "r"(filled), [to] "r"(found)                             \
				 : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", \
				   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",       \
				   "xmm12", "xmm13", "xmm14", "xmm15");                            \
	}
YIELDS(yield_xmm, FIRST_16, "movdqu", "xmm", "16")
YIELDS(yield_ymm, FIRST_16, "vmovdqu", "ymm", "32")
YIELDS(yield_zmm, ALL_32, "vmovdqu64", "zmm", "64")

static struct width {
	const char *name;
	unsigned int registers, size;
	void (*yield)(void);
} widths[] = {
	{"xmm", 16, 16, yield_xmm},
	{"ymm", 16, 32, yield_ymm},
	{"zmm", 32, 64, yield_zmm},
};

static const struct width *widest(void)
{
	if (__builtin_cpu_supports("avx512f"))
		return &widths[2];
	return &widths[__builtin_cpu_supports("avx") ? 1 : 0];
}

static void run(const struct width *w, unsigned int who, unsigned long rounds)
{
	for (unsigned long round = 0; round < rounds; round++) {
		for (unsigned int i = 0; i < w->registers * w->size; i++)
			filled[i] = (uint8_t)(i / 16 + 101 * who + round * 7 + 1);
		w->yield();
		for (unsigned int i = 0; i < w->registers; i++) {
			if (memcmp(filled + i * w->size, found + i * w->size, w->size))
				__atomic_fetch_add(&shared->lost, 1, __ATOMIC_RELAXED);
		}
		if (__atomic_exchange_n(&shared->last, who, __ATOMIC_RELAXED) != who)
			__atomic_fetch_add(&shared->switches, 1, __ATOMIC_RELAXED);
	}
}

static bool ended_well(pid_t child)
{
	int status;

	return waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	const struct width *w = widest();
	cpu_set_t set;
	pid_t child;
	bool well;

	if (!rounds) {
		fprintf(stderr, "usage: vectors ROUNDS\n");
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (shared == MAP_FAILED || sched_setaffinity(0, sizeof(set), &set)) {
		perror("vectors");
		return 2;
	}
	child = fork();
	if (child < 0) {
		perror("fork");
		return 2;
	}
	run(w, child ? 1 : 2, rounds);
	if (!child)
		return 0;
	well = ended_well(child);
	printf("vectors: %s, %u switches, %u lost%s\n", w->name, shared->switches, shared->lost,
	       well ? "" : ", and one died");
	return !well || shared->lost || shared->switches < rounds / 2;
}
