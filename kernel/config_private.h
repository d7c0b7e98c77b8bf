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

/* The next word between blanks; the cursor goes behind it. False: there is none. */
bool word_next(const char **cursor, struct word *w);
const char *word_skip_blanks(const char *at);
bool word_is(const struct word *w, const char *text);
/* "key=value": the value, or false. */
bool word_value(const struct word *w, const char *key, struct word *value);
/* Which of the names it is, or -1. */
int word_index(const struct word *w, const char *const *names, u32 count);
/* What VMs and groups may be called: 1 to CONFIG_NAME_MAX - 1 of a-z A-Z 0-9 - _ . */
bool word_is_name(const struct word *w);

/* A line of the log about what belongs to no VM. */
void config_message(struct weir_config *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/*
 * The first fault of a VM is the one that is told; later ones often follow from it. Names vm->line.
 */
void config_refuse(struct vm_config *vm, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* --- config_weir.c --- */

/* A word of Weir's own command line. */
void config_take_own(struct weir_config *c, const struct word *w);

/* --- config_line.c --- */

/* The words of a module's line that have values; LINE_VM on every one, the others on a kernel's. */
enum line_word {
	LINE_VM,
	LINE_MEM,
	LINE_VCPUS,
	LINE_MMU,
	LINE_RMA,
	LINE_PSIZE,
	LINE_ON_CRASH,
	LINE_WEIGHT,
	LINE_CAP,
	LINE_CPUS,
	LINE_MIN,
	LINE_MAX,
	LINE_SHARES,
	LINE_SHARE,
	LINE_MODULES,
	LINE_WORDS
};

/* A module's line on its way into a VM. */
struct config_line {
	struct word word[LINE_WORDS]; /* .at NULL: not there */
	bool kind_set;
	enum config_module_kind kind;
	const char *guest_cmdline;
	char fault[CONFIG_MESSAGE_MAX]; /* empty: none */
};

void config_line_parse(struct config_line *l, const char *text);
/* A word that only a kernel's line may have, as "mem="; NULL: it has none. */
const char *config_line_kernels_word(const struct config_line *l);

/* --- config_kernel.c, config_memory.c --- */

/* The words of a kernel's line; of those about memory each by itself. */
void config_take_kernel(struct vm_config *vm, const struct config_line *l);
void config_take_memory(struct vm_config *vm, const struct config_line *l);
/* When all is known: what sizes ask of each other. */
void config_check_memory(struct vm_config *vm);

#endif
