/* SPDX-License-Identifier: MIT */
#include "kernel/base/error.h"
#include "kernel/base/screen.h"
#include "kernel/base/string.h"

#define VGA_GREY_ON_BLACK 0x07
#define VGA_BLACK_ON_GREY 0x70
#define GREY		  0xc0 /* of each colour, of 0xff */
#define TAB_WIDTH	  8
#define MIN_COLUMNS	  20
#define MIN_ROWS	  4
#define ESCAPE		  0x1b

extern const u8 font_8x16[256][GLYPH_HEIGHT];

static void screen_clear(struct screen *s)
{
	memset(s->cells, ' ', sizeof(s->cells));
	s->column = s->row = 0;
	s->escape = ESCAPE_NONE;
	s->stale = true;
}

void screen_init_vga(struct screen *s, void *cells)
{
	s->columns = VGA_TEXT_COLUMNS;
	s->rows = VGA_TEXT_ROWS;
	s->scroll = 1;
	s->vga = true;
	s->pixels = cells;
	screen_clear(s);
}

static u32 colour(u8 position, u8 size, u32 value)
{
	if (size == 0 || size > 8 || position + size > 32)
		return 0;
	return (value >> (8 - size)) << position;
}

int screen_init_framebuffer(struct screen *s, const struct boot_framebuffer *fb, void *pixels)
{
	u64 line = (u64)fb->width * (fb->bpp / 8);

	if (fb->bpp != 16 && fb->bpp != 24 && fb->bpp != 32)
		return ERR_NOTSUP;
	if (fb->pitch < line || fb->width < MIN_COLUMNS * GLYPH_WIDTH ||
	    fb->height < MIN_ROWS * GLYPH_HEIGHT)
		return ERR_NOTSUP;
	s->columns = min(fb->width / GLYPH_WIDTH, (u32)SCREEN_COLUMNS_MAX);
	s->rows = min(fb->height / GLYPH_HEIGHT, (u32)SCREEN_ROWS_MAX);
	s->scroll = s->rows / 8 + 1;
	s->vga = false;
	s->fb = *fb;
	s->ink = colour(fb->red_pos, fb->red_size, GREY) |
		 colour(fb->green_pos, fb->green_size, GREY) |
		 colour(fb->blue_pos, fb->blue_size, GREY);
	if (s->ink == 0)
		s->ink = ~0u >> (32 - fb->bpp); /* channels that make no sense: white still shows */
	s->paper = 0;
	s->pixels = pixels;
	screen_clear(s);
	return 0;
}

void screen_attach(struct screen *s, void *pixels)
{
	s->pixels = pixels;
	s->stale = true;
}

u64 screen_bytes(const struct screen *s)
{
	return s->vga ? VGA_TEXT_SIZE : (u64)s->fb.pitch * s->fb.height;
}

static void new_line(struct screen *s)
{
	u32 keep;

	s->column = 0;
	if (++s->row < s->rows)
		return;
	keep = s->rows - s->scroll;
	memmove(s->cells[0], s->cells[s->scroll], keep * sizeof(s->cells[0]));
	memset(s->cells[keep], ' ', s->scroll * sizeof(s->cells[0]));
	s->row = keep;
}

/*
 * A sequence is ESC, '[', parameters and one of '@' to '~' (ECMA-48 5.4). A control character in
 * between ends it and counts itself.
 */
static bool take_escape(struct screen *s, u8 c)
{
	if (c == ESCAPE) {
		s->escape = ESCAPE_BEGUN;
		return true;
	}
	if (c < ' ')
		s->escape = ESCAPE_NONE;
	switch (s->escape) {
	case ESCAPE_NONE:
		return false;
	case ESCAPE_BEGUN:
		s->escape = c == '[' ? ESCAPE_SEQUENCE : ESCAPE_NONE;
		memset(s->parameter, 0, sizeof(s->parameter));
		s->parameter_index = 0;
		return true;
	default:
		if (c >= '@' && c <= '~') {
			s->escape = ESCAPE_NONE;
			screen_sequence(s, c);
		} else {
			screen_parameter(s, c);
		}
		return true;
	}
}

static void put_glyph(struct screen *s, u8 c)
{
	if (s->column >= s->columns)
		new_line(s);
	s->cells[s->row][s->column++] = c;
}

void screen_write(struct screen *s, const u8 *bytes, size_t n)
{
	if (!s->columns)
		return;
	for (size_t i = 0; i < n; i++) {
		u8 c = bytes[i];

		if (take_escape(s, c))
			continue;
		if (c == '\n')
			new_line(s);
		else if (c == '\r')
			s->column = 0;
		else if (c == '\b')
			s->column -= s->column > 0;
		else if (c == '\t')
			s->column = min(align_up(s->column + 1, TAB_WIDTH), s->columns);
		else if (c >= ' ')
			put_glyph(s, c);
	}
}

/* Eight bytes of device memory at any address; volatile, so that each is one store. */
struct pixel_word {
	u64 v;
} __packed;

/*
 * One line of a glyph: 8 pixels are 16, 24 or 32 bytes, so whole words. Device memory combines
 * such writes, and is never read.
 */
static void draw_row(const struct screen *s, u8 *to, u8 bits)
{
	u32 pixel_size = s->fb.bpp / 8;
	u8 line[GLYPH_WIDTH * 4 + 4];
	u64 word;

	for (u32 x = 0; x < GLYPH_WIDTH; x++, bits = (u8)(bits << 1)) {
		u32 pixel = bits & 0x80 ? s->ink : s->paper;

		/* The bytes too many are the next pixel's, or beyond the last word. */
		__builtin_memcpy(line + x * pixel_size, &pixel, sizeof(pixel));
	}
	for (u32 i = 0; i < pixel_size; i++) {
		__builtin_memcpy(&word, line + i * sizeof(word), sizeof(word));
		((volatile struct pixel_word *)to)[i].v = word;
	}
}

static void draw_cell(struct screen *s, u32 row, u32 column, u8 c, bool inverse)
{
	if (s->vga) {
		u16 attribute = inverse ? VGA_BLACK_ON_GREY : VGA_GREY_ON_BLACK;

		((volatile u16 *)s->pixels)[row * VGA_TEXT_COLUMNS + column] = (u16)(attribute
											     << 8 |
										     c);
		return;
	}
	for (u32 y = 0; y < GLYPH_HEIGHT; y++) {
		u64 at = ((u64)row * GLYPH_HEIGHT + y) * s->fb.pitch +
			 (u64)column * GLYPH_WIDTH * (s->fb.bpp / 8);

		draw_row(s, (u8 *)s->pixels + at, font_8x16[c][y] ^ (inverse ? 0xff : 0));
	}
}

/* Where it was drawn last the cell is drawn anew. */
static void take_cursor(struct screen *s)
{
	if (!s->cursor_drawn)
		return;
	s->drawn[s->cursor_row][s->cursor_column] = (u8)~s->cells[s->cursor_row][s->cursor_column];
	s->cursor_drawn = false;
}

static void draw_cursor(struct screen *s)
{
	s->cursor_row = s->row;
	s->cursor_column = min(s->column, s->columns - 1);
	s->cursor_drawn = true;
	draw_cell(s, s->cursor_row, s->cursor_column, s->cells[s->cursor_row][s->cursor_column],
		  true);
}

void screen_flush(struct screen *s)
{
	if (!s->columns || !s->pixels)
		return;
	take_cursor(s);
	for (u32 row = 0; row < s->rows; row++) {
		if (!s->stale && memcmp(s->cells[row], s->drawn[row], s->columns) == 0)
			continue;
		for (u32 column = 0; column < s->columns; column++) {
			u8 c = s->cells[row][column];

			if (!s->stale && c == s->drawn[row][column])
				continue;
			draw_cell(s, row, column, c, false);
			s->drawn[row][column] = c;
		}
	}
	s->stale = false;
	if (s->cursor)
		draw_cursor(s);
	/*
	 * Its memory may be write-combining: the last of it must not wait for more, after a panic.
	 */
	__asm__ volatile("sfence" ::: "memory");
}
