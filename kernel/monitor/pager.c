/* SPDX-License-Identifier: MIT */
#include "kernel/monitor/pager.h"
#include "kernel/base/console.h"
#include "kernel/base/printf.h"
#include "kernel/base/string.h"
#include "kernel/console_input.h"
#include "kernel/monitor/output.h"
#include "mem/watermark.h"

#define PAGE_ROWS     (PAGER_ROWS - 1)	  /* the prompt has the last */
#define BREAK_COLUMNS (PAGER_COLUMNS - 1) /* a terminal may wrap after the last column */
#define INDENT	      4			  /* of what a line goes on with, beyond its own */
#define INDENT_MOST   24
#define PAGES_MAX     512 /* that are kept: 2 MiB */
#define NEVER	      (~0ull)

/* Pieces of lines, each with its length in a byte before it. */
struct kept {
	struct kept *next;
	u32 used;
	u8 bytes[PAGE_SIZE - sizeof(void *) - sizeof(u32) - 4];
};
static_assert(sizeof(struct kept) <= PAGE_SIZE, "one frame");
static_assert(BREAK_COLUMNS <= 255, "a length is a byte");

/* The console's thread has it all. */
static bool on = true;
static enum {
	PASSING, /* as it is, at once */
	FILLING, /* the first screen */
	KEEPING,
	DROPPING,
} state = PASSING;
static u32 rows;		   /* on this screen */
static struct kept *first, *last;  /* what is kept */
static u32 first_at, pages, lines; /* where the next to show is; how many there are */

void pager_switch(bool is_on)
{
	on = is_on;
}

void pager_begin(void)
{
	state = on ? FILLING : PASSING;
	rows = 0;
}

/* --- what is kept --- */

static void free_first(void)
{
	struct kept *next = first->next;

	frame_free_page(first);
	first = next;
	if (!first)
		last = NULL;
	first_at = 0;
	pages--;
}

static void free_all(void)
{
	while (first)
		free_first();
	lines = 0;
}

/* Memory that a guest would not get is not for this either. */
static bool make_room(size_t n)
{
	struct kept *more;

	if (last && last->used + 1 + n <= sizeof(last->bytes))
		return true;
	more = pages < PAGES_MAX && watermark_admits(1) ? frame_alloc_page(FRAME_FOR(CONSOLE))
							: NULL;
	if (!more)
		return false;
	more->next = NULL;
	more->used = 0;
	if (last)
		last->next = more;
	else
		first = more;
	last = more;
	pages++;
	return true;
}

static void show_first(void)
{
	u32 n = first->bytes[first_at];

	monitor_emit((const char *)first->bytes + first_at + 1, n);
	lines--;
	first_at += 1 + n;
	if (first_at == first->used)
		free_first();
}

/* Until Ctrl-C is typed, which drops the rest. */
static void show_all(void)
{
	while (lines && !monitor_stopped())
		show_first();
}

static void keep(const char *piece, size_t n)
{
	if (!make_room(n)) {
		/* In order, and no longer by the screen. */
		show_all();
		if (state == DROPPING)
			return;
		state = PASSING;
		monitor_emit(piece, n);
		return;
	}
	last->bytes[last->used] = (u8)n;
	memcpy(last->bytes + last->used + 1, piece, n);
	last->used += 1 + (u32)n;
	lines++;
}

/* --- lines --- */

static void put_piece(const char *piece, size_t n)
{
	if (state == FILLING && rows < PAGE_ROWS) {
		monitor_emit(piece, n);
		rows++;
		return;
	}
	if (state == FILLING)
		state = KEEPING;
	if (state == KEEPING)
		keep(piece, n);
	else if (state == PASSING)
		monitor_emit(piece, n);
}

/* How many of these characters are before the blank to break at; all of the room where there is none. */
static size_t break_at(const char *text, size_t room)
{
	size_t at = room;

	while (at && text[at] != ' ')
		at--;
	while (at && text[at - 1] == ' ')
		at--;
	return at ? at : room;
}

static void put_broken(const char *line, size_t n)
{
	char piece[BREAK_COLUMNS];
	size_t indent = 0, own = 0;

	while (own < n && line[own] == ' ')
		own++;
	while (indent + n > BREAK_COLUMNS) {
		size_t k = break_at(line, BREAK_COLUMNS - indent);

		memset(piece, ' ', indent);
		memcpy(piece + indent, line, k);
		put_piece(piece, indent + k);
		line += k;
		n -= k;
		while (n && *line == ' ') {
			line++;
			n--;
		}
		indent = min(own + INDENT, (size_t)INDENT_MOST);
		if (!n)
			return;
	}
	memset(piece, ' ', indent);
	memcpy(piece + indent, line, n);
	put_piece(piece, indent + n);
}

void pager_put(const char *line, size_t n)
{
	if (state == DROPPING)
		return;
	if (state == PASSING)
		monitor_emit(line, n);
	else
		put_broken(line, n);
}

struct cut_name pager_name(const char *name, u32 columns)
{
	return cut_name(name, on ? columns : CONFIG_NAME_MAX);
}

void pager_pass(void)
{
	state = PASSING;
}

void pager_drop(void)
{
	free_all();
	state = DROPPING;
}

/* --- keys --- */

static enum key ask(char *c)
{
	char text[PAGER_COLUMNS];
	enum key key;
	int n = snprintf(text, sizeof(text),
			 "\r--more-- %u line%s; space: a page, Enter: a line, q: end\x1b[K", lines,
			 lines == 1 ? "" : "s");

	console_set_footer(text, (size_t)n);
	key = monitor_key(NEVER, c);
	console_set_footer(NULL, 0);
	monitor_draw("\r\x1b[K", 4);
	return key;
}

/* How many more lines may come before it asks again. */
static u32 wanted(enum key key, char c)
{
	if (key == KEY_ENTER || key == KEY_DOWN)
		return 1;
	return key == KEY_CHAR && c == ' ' ? PAGE_ROWS : 0;
}

static bool is_end(enum key key, char c)
{
	return key == KEY_INTERRUPT || key == KEY_EOF || key == KEY_LEAVE ||
	       (key == KEY_CHAR && (c == 'q' || c == 'Q'));
}

bool pager_end(void)
{
	bool leaves = false;

	/* Who has typed the next command already does not wait for this one's pages. */
	if (lines && !monitor_stopped() && console_input_waits())
		show_all();
	while (lines) {
		char c = 0;
		enum key key = ask(&c);

		for (u32 more = wanted(key, c); more && lines; more--)
			show_first();
		leaves = key == KEY_LEAVE;
		if (is_end(key, c))
			free_all();
	}
	state = PASSING;
	return leaves;
}
