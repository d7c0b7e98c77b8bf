/* SPDX-License-Identifier: MIT */
#include "kernel/monitor/keys.h"

#define ESCAPE	       0x1b
#define DELETE	       0x7f
#define BELL	       0x07
#define PARAMETER_MAX  9999
#define MODIFIED_SHIFT 2 /* xterm: 1 + bits; 3 is Alt, 5 is Control */

static const u8 control_keys[32] = {
	[1] = KEY_HOME,	  [2] = KEY_LEFT,      [3] = KEY_INTERRUPT,   [4] = KEY_EOF,
	[5] = KEY_END,	  [6] = KEY_RIGHT,     [8] = KEY_BACKSPACE,   [9] = KEY_TAB,
	[10] = KEY_ENTER, [11] = KEY_KILL_END, [12] = KEY_REDRAW,     [13] = KEY_ENTER,
	[14] = KEY_DOWN,  [16] = KEY_UP,       [21] = KEY_KILL_START, [23] = KEY_KILL_WORD,
	[25] = KEY_YANK,  [29] = KEY_LEAVE,
};

/* ESC [ n ~ (VT220 and rxvt). */
static enum key numbered_key(u32 n)
{
	switch (n) {
	case 1:
	case 7:
		return KEY_HOME;
	case 3:
		return KEY_DELETE;
	case 4:
	case 8:
		return KEY_END;
	default:
		return KEY_REFUSED;
	}
}

static enum key final_key(const struct key_decoder *d, u8 byte)
{
	bool by_word = d->modifier > MODIFIED_SHIFT;

	switch (byte) {
	case 'A':
		return KEY_UP;
	case 'B':
		return KEY_DOWN;
	case 'C':
		return by_word ? KEY_WORD_RIGHT : KEY_RIGHT;
	case 'D':
		return by_word ? KEY_WORD_LEFT : KEY_LEFT;
	case 'F':
		return KEY_END;
	case 'H':
		return KEY_HOME;
	case '~':
		return numbered_key(d->parameter);
	default:
		return KEY_REFUSED;
	}
}

/* Meta and a key: ESC, then the character. */
static enum key meta_key(struct key_decoder *d, u8 byte)
{
	d->state = KEYS_PLAIN;
	switch (byte) {
	case '[':
		d->state = KEYS_SEQUENCE;
		d->parameter = d->modifier = d->parameter_index = 0;
		d->answer = false;
		return KEY_NONE;
	case 'O':
		d->state = KEYS_SINGLE;
		d->modifier = 0;
		return KEY_NONE;
	case ']':
	case 'P':
	case 'X':
	case '^':
	case '_':
		d->state = KEYS_STRING;
		return KEY_NONE;
	case 'b':
		return KEY_WORD_LEFT;
	case 'f':
		return KEY_WORD_RIGHT;
	case 'd':
		return KEY_KILL_WORD_RIGHT;
	case DELETE:
		return KEY_KILL_WORD;
	default:
		return KEY_REFUSED;
	}
}

static enum key sequence_key(struct key_decoder *d, u8 byte)
{
	u32 *number = d->parameter_index ? &d->modifier : &d->parameter;

	if (byte == '[' && !d->parameter_index && !d->parameter && !d->answer) {
		d->state = KEYS_FUNCTION;
		return KEY_NONE;
	}
	if (byte >= '0' && byte <= '9') {
		if (d->parameter_index < 2 && *number < PARAMETER_MAX)
			*number = *number * 10 + (byte - '0');
		return KEY_NONE;
	}
	if (byte == ';')
		d->parameter_index += d->parameter_index < 2;
	else if (byte < '@')
		d->answer = true;
	if (byte < '@')
		return KEY_NONE;
	d->state = KEYS_PLAIN;
	return byte <= '~' && !d->answer ? final_key(d, byte) : KEY_REFUSED;
}

static enum key control_key(struct key_decoder *d, u8 byte)
{
	u8 after = d->after_enter;

	d->after_enter = 0;
	if (byte != '\r' && byte != '\n')
		return control_keys[byte] ? control_keys[byte] : KEY_REFUSED;
	if (after && after != byte)
		return KEY_NONE;
	d->after_enter = byte;
	return KEY_ENTER;
}

/* The first byte of a UTF-8 character. All of it is one key, and none that a command could use. */
static enum key begin_character(struct key_decoder *d, u8 byte)
{
	d->more = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
	if (byte < 0xc2 || byte > 0xf4)
		return KEY_REFUSED;
	d->state = KEYS_CHARACTER;
	return KEY_NONE;
}

static enum key plain_key(struct key_decoder *d, u8 byte)
{
	d->after_enter = 0;
	if (byte == DELETE)
		return KEY_BACKSPACE;
	if (byte >= 0x80)
		return begin_character(d, byte);
	d->character = (char)byte;
	return KEY_CHAR;
}

enum key key_decode(struct key_decoder *d, u8 byte)
{
	if (byte == ESCAPE) {
		d->state = KEYS_ESCAPE;
		return KEY_NONE;
	}
	if (byte < ' ') {
		bool ends_string = d->state == KEYS_STRING && byte == BELL;

		d->state = KEYS_PLAIN;
		return ends_string ? KEY_REFUSED : control_key(d, byte);
	}
	switch (d->state) {
	case KEYS_PLAIN:
		break;
	case KEYS_ESCAPE:
		return meta_key(d, byte);
	case KEYS_SEQUENCE:
		return sequence_key(d, byte);
	case KEYS_SINGLE:
		d->state = KEYS_PLAIN;
		if (byte == 'c' || byte == 'd') /* rxvt: with Control */
			return byte == 'c' ? KEY_WORD_RIGHT : KEY_WORD_LEFT;
		return final_key(d, byte);
	case KEYS_FUNCTION:
		d->state = KEYS_PLAIN;
		return KEY_REFUSED;
	case KEYS_STRING:
		return KEY_NONE;
	case KEYS_CHARACTER:
		if ((byte & 0xc0) == 0x80) {
			if (--d->more)
				return KEY_NONE;
			d->state = KEYS_PLAIN;
			return KEY_REFUSED;
		}
		d->state = KEYS_PLAIN; /* broken off: the byte stands for itself */
		break;
	}
	return plain_key(d, byte);
}
