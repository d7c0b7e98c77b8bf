/* SPDX-License-Identifier: MIT */
/*
 * One line under edit: insertion, motions, killing and yanking, history, completion, and what to
 * send to a terminal so that it shows it, scrolled sideways where it is longer than the terminal is
 * wide. Pure; its owner's thread only.
 */
#ifndef KERNEL_MONITOR_EDIT_H
#define KERNEL_MONITOR_EDIT_H

#include "kernel/monitor/keys.h"

#define EDIT_LINE_MAX	 256 /* with its end */
#define EDIT_HISTORY_MAX 32
#define EDIT_PROMPT_MAX	 16

/* Room for what edit_show writes: the terminal's width and a few sequences. */
#define EDIT_SHOW_MAX 320

/*
 * Candidates for the word before the cursor. The completer offers all that it knows; what does not
 * begin as the word does is passed over.
 */
struct edit_completion {
	const char *word; /* not terminated */
	u32 length;
	u32 count;
	u32 common;		  /* how much of `text` all candidates share */
	char text[EDIT_LINE_MAX]; /* the first candidate */
	bool open;		  /* the only one may go on: no blank after it */
	void (*show)(void *arg, const char *candidate); /* NULL: they are not listed */
	void *show_arg;
};
void edit_offer(struct edit_completion *c, const char *candidate);

struct editor {
	/* set by the owner before edit_init */
	const char *prompt;
	u32 columns; /* of the terminal */
	void (*complete)(void *arg, const char *line, u32 cursor, struct edit_completion *c);
	void *complete_arg;
	/* own */
	char line[EDIT_LINE_MAX];
	u32 length, cursor;
	u32 first; /* the first character that is shown */
	char killed[EDIT_LINE_MAX];
	u32 killed_length;
	bool killing; /* the last key killed: the next kill joins it */
	bool tabbed;  /* the last key was Tab and did nothing */
	char history[EDIT_HISTORY_MAX][EDIT_LINE_MAX];
	u32 entered; /* lines ever entered into it */
	u32 back;    /* how far back it is browsed; 0: the new line */
	char fresh[EDIT_LINE_MAX];
};

void edit_init(struct editor *e); /* an empty line; history and what was killed stay */

enum edit_result {
	EDIT_GO_ON,    /* show it again */
	EDIT_BELL,     /* nothing could be done */
	EDIT_ENTERED,  /* the line is whole, and is in the history unless it is blank */
	EDIT_LIST,     /* list the candidates with edit_list, then show it again */
	EDIT_CANCELED, /* Ctrl-C: the line is given up */
	EDIT_END,      /* Ctrl-D on an empty line */
	EDIT_LEAVE,    /* Ctrl-] */
	EDIT_REDRAW,   /* clear the screen, then show it again */
};

/* c: of KEY_CHAR. KEY_NONE changes nothing. */
enum edit_result edit_key(struct editor *e, enum key key, char c);

void edit_list(struct editor *e, void (*show)(void *arg, const char *candidate), void *arg);

/* Bytes that draw the line anew on the terminal's current line. Returns how many. */
u32 edit_show(struct editor *e, char out[EDIT_SHOW_MAX]);

#endif
