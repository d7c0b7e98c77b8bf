/* SPDX-License-Identifier: MIT */
#include "kernel/monitor/edit.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

void edit_init(struct editor *e)
{
	e->line[0] = 0;
	e->length = e->cursor = e->first = e->back = 0;
	e->killing = e->tabbed = false;
}

/* --- the text --- */

static bool insert(struct editor *e, const char *text, u32 n)
{
	if (e->length + n >= EDIT_LINE_MAX)
		return false;
	memmove(e->line + e->cursor + n, e->line + e->cursor, e->length - e->cursor + 1);
	memcpy(e->line + e->cursor, text, n);
	e->cursor += n;
	e->length += n;
	return true;
}

static bool erase(struct editor *e, u32 from, u32 to)
{
	if (from >= to)
		return false;
	memmove(e->line + from, e->line + to, e->length - to + 1);
	e->length -= to - from;
	e->cursor = from;
	return true;
}

static bool is_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static u32 word_left(const struct editor *e)
{
	u32 at = e->cursor;

	while (at && !is_word(e->line[at - 1]))
		at--;
	while (at && is_word(e->line[at - 1]))
		at--;
	return at;
}

static u32 word_right(const struct editor *e)
{
	u32 at = e->cursor;

	while (at < e->length && !is_word(e->line[at]))
		at++;
	while (at < e->length && is_word(e->line[at]))
		at++;
	return at;
}

/* Where the word that ends at the cursor begins, as the shell's words go: between blanks. */
static u32 blank_left(const struct editor *e)
{
	u32 at = e->cursor;

	while (at && e->line[at - 1] == ' ')
		at--;
	while (at && e->line[at - 1] != ' ')
		at--;
	return at;
}

/* Kills that follow each other come back as one, each on the side where it was. */
static bool kill(struct editor *e, u32 from, u32 to)
{
	u32 n = to - from;

	if (from >= to)
		return false;
	if (!e->killing || e->killed_length + n >= EDIT_LINE_MAX)
		e->killed_length = 0;
	if (from < e->cursor) {
		memmove(e->killed + n, e->killed, e->killed_length);
		memcpy(e->killed, e->line + from, n);
	} else {
		memcpy(e->killed + e->killed_length, e->line + from, n);
	}
	e->killed_length += n;
	e->killing = true;
	return erase(e, from, to);
}

static bool move(struct editor *e, u32 to)
{
	bool moved = to != e->cursor;

	e->cursor = to;
	return moved;
}

/* --- history --- */

static u32 history_count(const struct editor *e)
{
	return min(e->entered, (u32)EDIT_HISTORY_MAX);
}

static char *history_line(struct editor *e, u32 back)
{
	return e->history[(e->entered - back) % EDIT_HISTORY_MAX];
}

static void set_line(struct editor *e, const char *text)
{
	strlcpy(e->line, text, sizeof(e->line));
	e->length = e->cursor = (u32)strlen(e->line);
	e->first = 0;
}

static bool browse(struct editor *e, u32 back)
{
	if (back > history_count(e) || back == e->back)
		return false;
	if (e->back == 0)
		strlcpy(e->fresh, e->line, sizeof(e->fresh));
	set_line(e, back ? history_line(e, back) : e->fresh);
	e->back = back;
	return true;
}

static void remember(struct editor *e)
{
	const char *at = e->line;

	while (*at == ' ')
		at++;
	if (!*at || (e->entered && strcmp(history_line(e, 1), e->line) == 0))
		return;
	strlcpy(e->history[e->entered % EDIT_HISTORY_MAX], e->line, EDIT_LINE_MAX);
	e->entered++;
}

/* --- completion --- */

void edit_offer(struct edit_completion *c, const char *candidate)
{
	if (strncmp(candidate, c->word, c->length))
		return;
	if (c->show)
		c->show(c->show_arg, candidate);
	if (c->count++ == 0) {
		strlcpy(c->text, candidate, sizeof(c->text));
		c->common = (u32)strlen(c->text);
		return;
	}
	for (u32 i = 0; i < c->common; i++) {
		if (c->text[i] != candidate[i])
			c->common = i;
	}
}

static void look_up(struct editor *e, struct edit_completion *c)
{
	u32 at = e->cursor;

	while (at && e->line[at - 1] != ' ')
		at--;
	c->word = e->line + at;
	c->length = e->cursor - at;
	if (e->complete)
		e->complete(e->complete_arg, e->line, e->cursor, c);
}

static enum edit_result complete(struct editor *e)
{
	struct edit_completion c = {.show = NULL};
	bool again = e->tabbed, done;

	look_up(e, &c);
	if (!c.count)
		return EDIT_BELL;
	done = c.common > c.length && insert(e, c.text + c.length, c.common - c.length);
	if (c.count == 1 && !c.open && e->line[e->cursor] != ' ')
		done |= insert(e, " ", 1);
	e->tabbed = !done;
	if (done)
		return EDIT_GO_ON;
	return again && c.count > 1 ? EDIT_LIST : EDIT_BELL;
}

void edit_list(struct editor *e, void (*show)(void *arg, const char *candidate), void *arg)
{
	struct edit_completion c = {.show = show, .show_arg = arg};

	look_up(e, &c);
}

/* --- keys --- */

static bool edit_motion(struct editor *e, enum key key)
{
	switch (key) {
	case KEY_LEFT:
		return e->cursor && move(e, e->cursor - 1);
	case KEY_RIGHT:
		return e->cursor < e->length && move(e, e->cursor + 1);
	case KEY_HOME:
		return move(e, 0);
	case KEY_END:
		return move(e, e->length);
	case KEY_WORD_LEFT:
		return move(e, word_left(e));
	case KEY_WORD_RIGHT:
		return move(e, word_right(e));
	case KEY_UP:
		return browse(e, e->back + 1);
	case KEY_DOWN:
		return e->back && browse(e, e->back - 1);
	default:
		return false;
	}
}

static bool edit_text(struct editor *e, enum key key, char c)
{
	switch (key) {
	case KEY_CHAR:
		return insert(e, &c, 1);
	case KEY_BACKSPACE:
		return e->cursor && erase(e, e->cursor - 1, e->cursor);
	case KEY_DELETE:
	case KEY_EOF:
		return e->cursor < e->length && erase(e, e->cursor, e->cursor + 1);
	case KEY_YANK:
		return e->killed_length && insert(e, e->killed, e->killed_length);
	case KEY_KILL_END:
		return kill(e, e->cursor, e->length);
	case KEY_KILL_START:
		return kill(e, 0, e->cursor);
	case KEY_KILL_WORD:
		return kill(e, blank_left(e), e->cursor);
	case KEY_KILL_WORD_RIGHT:
		return kill(e, e->cursor, word_right(e));
	default:
		return edit_motion(e, key);
	}
}

static bool is_kill(enum key key)
{
	return key == KEY_KILL_END || key == KEY_KILL_START || key == KEY_KILL_WORD ||
	       key == KEY_KILL_WORD_RIGHT;
}

enum edit_result edit_key(struct editor *e, enum key key, char c)
{
	if (key == KEY_NONE)
		return EDIT_GO_ON;
	if (!is_kill(key))
		e->killing = false;
	if (key == KEY_TAB)
		return complete(e);
	e->tabbed = false;
	switch (key) {
	case KEY_ENTER:
		remember(e);
		return EDIT_ENTERED;
	case KEY_INTERRUPT:
		return EDIT_CANCELED;
	case KEY_LEAVE:
		return EDIT_LEAVE;
	case KEY_REDRAW:
		return EDIT_REDRAW;
	case KEY_EOF:
		if (!e->length)
			return EDIT_END;
		break;
	default:
		break;
	}
	return edit_text(e, key, c) ? EDIT_GO_ON : EDIT_BELL;
}

/* --- showing --- */

/*
 * The last column stays empty: a terminal that wraps there would be on another line. Where
 * something is left out at a side, its outermost character is a mark.
 */
u32 edit_show(struct editor *e, char out[EDIT_SHOW_MAX])
{
	u32 prompt = (u32)min(strlen(e->prompt), (size_t)EDIT_PROMPT_MAX);
	u32 room = max(min(e->columns, 240u), prompt + 9) - prompt - 1, n;
	char text[EDIT_LINE_MAX];

	/* The cursor is neither on a mark nor beyond the last column. */
	if (e->cursor <= e->first)
		e->first = e->cursor > room / 2 ? e->cursor - room / 2 : 0;
	if (e->cursor - e->first >= room - 1)
		e->first = e->cursor - (room - 1) + room / 4;
	if (e->first && e->length < room)
		e->first = 0;
	n = min(e->length - e->first, room);
	memcpy(text, e->line + e->first, n);
	if (e->first && n)
		text[0] = '<';
	if (e->first + n < e->length)
		text[n - 1] = '>';
	return (u32)snprintf(out, EDIT_SHOW_MAX, "\r%.*s%.*s\x1b[K\r\x1b[%uC", (int)prompt,
			     e->prompt, (int)n, text, prompt + e->cursor - e->first);
}
