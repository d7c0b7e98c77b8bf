/* SPDX-License-Identifier: MIT */
/* What the files of kernel/config*.c know of each other. Pure. */
#ifndef KERNEL_CONFIG_PRIVATE_H
#define KERNEL_CONFIG_PRIVATE_H

#include "kernel/config.h"

/* A word of a command line: [at, end). */
struct word {
	const char *at, *end;
};

/* %.*s of a word, cut so that a hostile line cannot push the remedy out of the message. */
#define WORD_SHOWN_MAX 40
#define WORD_ARGS(w)   (int)min((w)->end - (w)->at, (ptrdiff_t)WORD_SHOWN_MAX), (w)->at

/* The first fault of a VM is the one that is told; later ones often follow from it. */
void config_refuse(struct vm_config *vm, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The values of a kernel's words about memory; .at NULL: not there. */
struct memory_words {
	struct word mem, rma, psize, min, max, shares;
};

/* Each by itself; and, when all is known, what they ask of each other. */
void config_take_memory(struct vm_config *vm, const struct memory_words *w);
void config_check_memory(struct vm_config *vm);

#endif
