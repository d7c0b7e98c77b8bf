/* SPDX-License-Identifier: MIT */
#include "kernel/console_text.h"

#define ESCAPE	   0x1b
#define BELL	   0x07
#define CANCEL	   0x18
#define DELETE	   0x7f
#define STRING_MAX 512

static bool passes(u8 c)
{
	return c == '\b' || c == '\t' || c == '\n' || c == '\r';
}

/* True: the byte belongs to a sequence, and nothing comes out. */
static bool in_sequence(struct console_text *t, u8 byte)
{
	if (byte == ESCAPE) {
		t->state = TEXT_ESCAPE;
		return true;
	}
	if (byte < ' ' && t->state != TEXT_PLAIN) {
		t->state = TEXT_PLAIN;
		return byte == BELL || byte == CANCEL;
	}
	switch (t->state) {
	case TEXT_PLAIN:
		return false;
	case TEXT_ESCAPE:
		t->swallowed = 0;
		if (byte == '[')
			t->state = TEXT_SEQUENCE;
		else if (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_')
			t->state = TEXT_STRING;
		else if (byte >= '0')
			t->state = TEXT_PLAIN;
		return true;
	case TEXT_SEQUENCE:
		if (byte >= '@')
			t->state = TEXT_PLAIN;
		return true;
	case TEXT_STRING:
		if (++t->swallowed == STRING_MAX)
			t->state = TEXT_PLAIN;
		return true;
	}
	return false;
}

/* Unicode 15, table 3-7: the second byte tells overlong forms, surrogates and what is too large;
 * and here C1's control characters. */
static bool second_fits(u8 first, u8 second)
{
	switch (first) {
	case 0xc2:
	case 0xe0:
		return second >= 0xa0;
	case 0xed:
		return second < 0xa0;
	case 0xf0:
		return second >= 0x90;
	case 0xf4:
		return second < 0x90;
	default:
		return true;
	}
}

static u32 let_go(struct console_text *t, u8 *out)
{
	u32 n = t->held_count;

	for (u32 i = 0; i < n; i++)
		out[i] = t->held[i];
	t->held_count = 0;
	return n;
}

/* A character that is broken off becomes one mark, and the byte after it stands for itself. */
static u32 give_up(struct console_text *t, u8 *out)
{
	if (!t->held_count)
		return 0;
	t->held_count = 0;
	*out = '?';
	return 1;
}

static u32 plain(struct console_text *t, u8 byte, u8 *out)
{
	if (byte >= 0xc2 && byte <= 0xf4) {
		t->held[0] = byte;
		t->held_count = 1;
		t->wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
		return 0;
	}
	*out = (byte >= ' ' && byte < DELETE) || passes(byte) ? byte : '?';
	return 1;
}

u32 console_text(struct console_text *t, u8 byte, u8 out[CONSOLE_TEXT_MAX])
{
	u32 n;

	if (t->held_count && (byte & 0xc0) == 0x80 &&
	    (t->held_count > 1 || second_fits(t->held[0], byte))) {
		t->held[t->held_count++] = byte;
		return t->held_count == t->wanted ? let_go(t, out) : 0;
	}
	n = give_up(t, out);
	if (in_sequence(t, byte))
		return n;
	return n + plain(t, byte, out + n);
}
