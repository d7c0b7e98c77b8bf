/* SPDX-License-Identifier: MIT */
/* What a terminal's control sequences do to the text (ECMA-48 8.3). */
#include "kernel/base/screen.h"
#include "kernel/base/string.h"

#define PARAMETER_MAX 9999

void screen_parameter(struct screen *s, u8 c)
{
	u16 *p = &s->parameter[min(s->parameter_index, (u32)SCREEN_PARAMETERS - 1)];

	if (c >= '0' && c <= '9' && s->parameter_index < SCREEN_PARAMETERS) {
		if (*p < PARAMETER_MAX / 10)
			*p = (u16)(*p * 10 + (c - '0'));
	} else if (c == ';') {
		/* Those beyond are not looked at, and a private sequence stays one. */
		s->parameter_index += s->parameter_index < SCREEN_PARAMETERS;
	} else {
		s->parameter_index = SCREEN_PARAMETERS + 1; /* a private one: nothing is meant */
	}
}

/* [from, to) of all cells, row after row. */
static void erase(struct screen *s, u32 from, u32 to)
{
	for (u32 i = from; i < to; i++)
		s->cells[i / s->columns][i % s->columns] = ' ';
}

/* how: 0 from the cursor on, 1 up to it, 2 all; within [from, to). */
static void erase_part(struct screen *s, u32 how, u32 from, u32 to)
{
	u32 at = s->row * s->columns + min(s->column, s->columns - 1);

	if (how == 0)
		erase(s, at, to);
	else if (how == 1)
		erase(s, from, at + 1);
	else if (how == 2)
		erase(s, from, to);
}

static u32 moved(u32 at, s32 by, u32 end)
{
	s32 to = (s32)at + by;

	return to < 0 ? 0 : min((u32)to, end - 1);
}

void screen_sequence(struct screen *s, u8 final)
{
	s32 count = max((s32)s->parameter[0], 1);
	u32 line = s->row * s->columns;

	if (s->parameter_index > SCREEN_PARAMETERS)
		return;
	switch (final) {
	case 'A':
		s->row = moved(s->row, -count, s->rows);
		break;
	case 'B':
		s->row = moved(s->row, count, s->rows);
		break;
	case 'C':
		s->column = moved(s->column, count, s->columns);
		break;
	case 'D':
		s->column = moved(s->column, -count, s->columns);
		break;
	case 'G':
		s->column = moved(0, count - 1, s->columns);
		break;
	case 'd':
		s->row = moved(0, count - 1, s->rows);
		break;
	case 'H':
	case 'f':
		s->row = moved(0, count - 1, s->rows);
		s->column = moved(0, max((s32)s->parameter[1], 1) - 1, s->columns);
		break;
	case 'J':
		erase_part(s, s->parameter[0], 0, s->rows * s->columns);
		break;
	case 'K':
		erase_part(s, s->parameter[0], line, line + s->columns);
		break;
	default:
		break;
	}
}
