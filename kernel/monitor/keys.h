/* SPDX-License-Identifier: MIT */
/*
 * From the bytes of a terminal to keys: control characters and escape sequences of a VT100 and its
 * kin (ECMA-48 5.4, 5.6). Pure; one decoder belongs to one line.
 *
 * What a terminal sends was not always typed: it answers questions, and what it was asked may have
 * come from a guest. Sequences that are no key, however long or broken, give no character: only
 * where a control character comes in between does the line go on with that.
 */
#ifndef KERNEL_MONITOR_KEYS_H
#define KERNEL_MONITOR_KEYS_H

#include "kernel/base/types.h"

enum key {
	KEY_NONE,    /* the byte began or continued something */
	KEY_REFUSED, /* a whole character or sequence that means nothing here */
	KEY_CHAR,    /* decoder.character: printable ASCII */
	KEY_ENTER,
	KEY_TAB,
	KEY_BACKSPACE,
	KEY_DELETE,
	KEY_LEFT,
	KEY_RIGHT,
	KEY_UP,
	KEY_DOWN,
	KEY_HOME,
	KEY_END,
	KEY_WORD_LEFT,
	KEY_WORD_RIGHT,
	KEY_KILL_END,	/* Ctrl-K */
	KEY_KILL_START, /* Ctrl-U */
	KEY_KILL_WORD,	/* Ctrl-W */
	KEY_KILL_WORD_RIGHT,
	KEY_YANK,
	KEY_REDRAW,
	KEY_EOF,       /* Ctrl-D: deletes, or leaves where there is nothing */
	KEY_INTERRUPT, /* Ctrl-C */
	KEY_LEAVE,     /* Ctrl-] */
};

#define KEY_LEAVE_BYTE	   0x1d
#define KEY_INTERRUPT_BYTE 0x03

struct key_decoder {
	enum {
		KEYS_PLAIN,
		KEYS_ESCAPE,	/* after ESC */
		KEYS_SEQUENCE,	/* after ESC [ */
		KEYS_SINGLE,	/* after ESC O */
		KEYS_FUNCTION,	/* after ESC [ [: the Linux console's F1 to F5 */
		KEYS_STRING,	/* after ESC ] P X ^ _: until BEL or ESC \ */
		KEYS_CHARACTER, /* within a UTF-8 character */
	} state;
	u8 more;	/* bytes that the UTF-8 character still lacks */
	u8 after_enter; /* CR or LF: the other one right after it is part of it */
	u32 parameter;	/* of a sequence: its first number */
	u32 modifier;	/* its second */
	u32 parameter_index;
	bool answer; /* it has what no key's sequence has */
	char character;
};

enum key key_decode(struct key_decoder *d, u8 byte);

#endif
