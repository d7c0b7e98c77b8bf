/* SPDX-License-Identifier: MIT */
/*
 * Takes from a guest's output what could steer a terminal, and leaves the text. Escape sequences
 * (ECMA-48 5.4 and 5.6) vanish; what is neither printable nor well-formed UTF-8, C1's control
 * characters among it, becomes '?'. BS, HT, LF and CR pass: the caller decides about those. Pure.
 */
#ifndef KERNEL_CONSOLE_TEXT_H
#define KERNEL_CONSOLE_TEXT_H

#include "kernel/base/types.h"

#define CONSOLE_TEXT_MAX 5 /* bytes that one may let out: those held back, and itself */

struct console_text {
	enum {
		TEXT_PLAIN,
		TEXT_ESCAPE,
		TEXT_SEQUENCE,
		TEXT_STRING,
	} state;
	u32 swallowed; /* of a string: one without an end is not waited for for ever */
	u8 held[4];    /* the beginning of a UTF-8 character */
	u32 held_count, wanted;
};

/* Returns how many bytes it put to out. */
u32 console_text(struct console_text *t, u8 byte, u8 out[CONSOLE_TEXT_MAX]);

#endif
