/* SPDX-License-Identifier: MIT */
/*
 * A text screen kept in memory and drawn on what is there: VGA's cells or a framebuffer's pixels.
 * Writing changes only the text in memory; screen_flush draws the cells that differ from what was
 * drawn, so that device memory is never read and a scroll redraws little. It understands as much of a
 * VT100 as the monitor's line editor and `top` need. Pure but for the device memory; the console
 * lock guards the one that is in use.
 */
#ifndef KERNEL_BASE_SCREEN_H
#define KERNEL_BASE_SCREEN_H

#include "kernel/base/boot_info.h"

#define SCREEN_COLUMNS_MAX 240
#define SCREEN_ROWS_MAX	   100
#define SCREEN_PARAMETERS  2 /* of a control sequence that are looked at */
#define GLYPH_WIDTH	   8
#define GLYPH_HEIGHT	   16
#define VGA_TEXT_COLUMNS   80
#define VGA_TEXT_ROWS	   25
#define VGA_TEXT_SIZE	   (VGA_TEXT_COLUMNS * VGA_TEXT_ROWS * 2) /* bytes */

struct screen {
	u32 columns, rows; /* 0: there is no screen */
	u32 column, row;
	u32 scroll; /* lines that one scroll moves */
	enum {
		ESCAPE_NONE,
		ESCAPE_BEGUN,
		ESCAPE_SEQUENCE
	} escape;
	u16 parameter[SCREEN_PARAMETERS]; /* of the sequence under way */
	u32 parameter_index;
	bool cursor; /* the owner's wish: to show where it is */
	bool cursor_drawn;
	u32 cursor_row, cursor_column; /* where it was drawn */
	bool stale;		       /* drawn[] says nothing: draw all */
	void *pixels;		       /* NULL: not mapped now */
	bool vga;
	struct boot_framebuffer fb;
	u32 ink, paper; /* pixel values */
	u8 cells[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX];
	u8 drawn[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX];
};

/* pixels may be NULL, and attached later. */
void screen_init_vga(struct screen *s, void *cells);
/* ERR_NOTSUP: not 16, 24 or 32 bits a pixel, smaller than a few glyphs, or its pitch is too short. */
int screen_init_framebuffer(struct screen *s, const struct boot_framebuffer *fb, void *pixels);

void screen_attach(struct screen *s, void *pixels);
void screen_write(struct screen *s, const u8 *bytes, size_t n);
void screen_flush(struct screen *s);

/*
 * kernel/base/screen_sequence.c, for screen.c: one more byte of a sequence's parameters, and its
 * end. Of a VT100's those that move the cursor (A B C D G H d f) and erase (J K) are understood;
 * any other does nothing. No parameter leads off the screen.
 */
void screen_parameter(struct screen *s, u8 c);
void screen_sequence(struct screen *s, u8 final);

/* Bytes of device memory behind it. */
u64 screen_bytes(const struct screen *s);

#endif
