/* SPDX-License-Identifier: MIT */
/* Scan codes of set 1 (IBM PS/2 Hardware Interface Technical Reference, keyboards, "scan code set
 * 1"). The number pad is one of arrows: as with Num Lock off. */
#include "kernel/monitor/keyboard.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

#define BREAK	    0x80
#define EXTENDED    0xe0
#define PAUSE	    0xe1
#define PAUSE_BYTES 5
#define ESCAPE	    0x1b

enum {
	CODE_BACKSPACE = 0x0e,
	CODE_ENTER = 0x1c,
	CODE_CONTROL = 0x1d,
	CODE_LEFT_SHIFT = 0x2a,
	CODE_SLASH = 0x35,
	CODE_RIGHT_SHIFT = 0x36,
	CODE_ALT = 0x38,
	CODE_CAPS = 0x3a,
	CODE_PAD_FIRST = 0x47,
	CODE_PAD_LAST = 0x53,
};

enum {
	HELD_SHIFT = BIT(0) | BIT(1),
	HELD_CONTROL = BIT(2) | BIT(3),
	HELD_ALT = BIT(4) | BIT(5),
};

/* By scan code, from 0. A blank that is none: no character. */
static const char plain[] =
	"\0\0331234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] =
	"\0\033!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
static_assert(sizeof(plain) == 0x39 + 2 && sizeof(shifted) == sizeof(plain), "up to the blank");

/* The pad's, and the keys between: final bytes of sequences, or the number of one with '~'. */
static const char pad[] = {'H', 'A', '5', '-', 'D', 0, 'C', '+', 'F', 'B', '6', '2', '3'};
static_assert(sizeof(pad) == CODE_PAD_LAST - CODE_PAD_FIRST + 1, "one for each");

static u32 modifier_bit(const struct keyboard *k, u8 code)
{
	switch (code) {
	case CODE_LEFT_SHIFT:
		return k->extended ? 0 : (u32)BIT(0); /* E0 2A is not a key */
	case CODE_RIGHT_SHIFT:
		return k->extended ? 0 : (u32)BIT(1);
	case CODE_CONTROL:
		return (u32)BIT(k->extended ? 3 : 2);
	case CODE_ALT:
		return (u32)BIT(k->extended ? 5 : 4);
	default:
		return 0;
	}
}

static u32 pad_key(const struct keyboard *k, u8 code, char *out)
{
	char c = pad[code - CODE_PAD_FIRST];
	const char *control = k->held & HELD_CONTROL ? "1;5" : "";

	if (!c)
		return 0;
	if (c == '-' || c == '+') {
		out[0] = c;
		return k->extended ? 0 : 1;
	}
	if (c >= '0' && c <= '9')
		return (u32)snprintf(out, KEYBOARD_BYTES_MAX, "\033[%c~", c);
	return (u32)snprintf(out, KEYBOARD_BYTES_MAX, "\033[%s%c", control, c);
}

static bool is_letter(char c)
{
	return c >= 'a' && c <= 'z';
}

static u32 character(const struct keyboard *k, char c, char *out)
{
	u32 n = 0;

	if (k->held & HELD_CONTROL) {
		if (c == ' ')
			c = '@';
		if (c != '@' && !is_letter(c | 0x20) && (c < '[' || c > '_'))
			return 0;
		c &= 0x1f;
	}
	if (k->held & HELD_ALT)
		out[n++] = ESCAPE;
	out[n++] = c;
	return n;
}

static u32 make(struct keyboard *k, u8 code, char *out)
{
	bool shift = k->held & HELD_SHIFT;
	char c;

	if (code >= CODE_PAD_FIRST && code <= CODE_PAD_LAST)
		return pad_key(k, code, out);
	if (code >= sizeof(plain) - 1 || (k->extended && code != CODE_ENTER && code != CODE_SLASH))
		return 0;
	c = plain[code];
	if (is_letter(c) ? shift != k->caps : shift && !k->extended)
		c = shifted[code];
	if (c == '\r' || c == '\t' || c == ESCAPE || code == CODE_BACKSPACE) {
		out[0] = c;
		return 1;
	}
	return c ? character(k, c, out) : 0;
}

u32 keyboard_decode(struct keyboard *k, u8 code, char out[KEYBOARD_BYTES_MAX])
{
	u32 bit, n = 0;

	if (k->pause_bytes) {
		k->pause_bytes--;
		return 0;
	}
	if (code == PAUSE) {
		k->pause_bytes = PAUSE_BYTES;
		return 0;
	}
	if (code == EXTENDED) {
		k->extended = true;
		return 0;
	}
	bit = modifier_bit(k, code & (u8)~BREAK);
	if (code & BREAK)
		k->held &= ~bit;
	else if (bit)
		k->held |= bit;
	else if (code == CODE_CAPS && !k->extended)
		k->caps = !k->caps;
	else
		n = make(k, code, out);
	k->extended = false;
	return n;
}
