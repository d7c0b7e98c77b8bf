/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/base/screen.c kernel/base/screen_sequence.c */
/*
 * The text screen on VGA cells and on framebuffers of every depth, in memory of exactly their
 * size. The font is made here: glyph c shows the bits of c in each of its lines.
 */
#include "kernel/base/error.h"
#include "kernel/base/screen.h"
#include "kernel/base/string.h"

#include "tests/hosted/random.h"

#include <cmocka.h>
#include <stdlib.h>

extern const u8 font_8x16[256][16];

#define LINES_OF(c)                                                     \
	{                                                               \
		c, c, c, c, c, c, c, c, c, c, c, c, c, c, c, (c) ^ 0xff \
	}
#define ROW4(c)	 LINES_OF(c), LINES_OF(c + 1), LINES_OF(c + 2), LINES_OF(c + 3)
#define ROW16(c) ROW4(c), ROW4(c + 4), ROW4(c + 8), ROW4(c + 12)
#define ROW64(c) ROW16(c), ROW16(c + 16), ROW16(c + 32), ROW16(c + 48)
const u8 font_8x16[256][16] = {ROW64(0), ROW64(64), ROW64(128), ROW64(192)};

static struct screen screen;

static void write_text(const char *text)
{
	screen_write(&screen, (const u8 *)text, strlen(text));
	screen_flush(&screen);
}

static void assert_row(u32 row, const char *text)
{
	for (u32 i = 0; i < screen.columns; i++)
		assert_int_equal(screen.cells[row][i], i < strlen(text) ? text[i] : ' ');
}

static void init_vga(u16 *cells)
{
	memset(&screen, 0, sizeof(screen));
	screen_init_vga(&screen, cells);
}

static void test_vga(void **state)
{
	u16 *cells = malloc(VGA_TEXT_SIZE);

	memset(cells, 0xff, VGA_TEXT_SIZE);
	init_vga(cells);
	write_text("Hello\nWeir");
	assert_int_equal(cells[0], 0x0700 | 'H');
	assert_int_equal(cells[4], 0x0700 | 'o');
	assert_int_equal(cells[80], 0x0700 | 'W');
	assert_int_equal(cells[5], 0x0700 | ' ');
	assert_int_equal(cells[80 * 25 - 1], 0x0700 | ' ');
	assert_int_equal(screen_bytes(&screen), VGA_TEXT_SIZE);
	free(cells);
}

static void test_control(void **state)
{
	init_vga(NULL);
	write_text("abc\rX\n\bY\b\bZ\n1\t2\t\x07\x01!\n");
	assert_row(0, "Xbc");
	assert_row(1, "Z");
	assert_row(2, "1       2       !");
	/* Tabs stop at the edge, and the next character goes to a new line. */
	init_vga(NULL);
	write_text("\t\t\t\t\t\t\t\t\t\t\t\tx");
	assert_row(1, "x");
}

/* What a shell sends to colour its prompt is not shown, in one piece or in two. */
static void test_escapes(void **state)
{
	init_vga(NULL);
	write_text("a\x1b[1;31mb\x1b[0mc\x1b");
	write_text("[?25");
	write_text("hd\x1b(e\x1b[1;2;3;4;5me");
	assert_row(0, "abcdee");
	/* Nor does a private one do what it would do without its mark, whatever is behind that. */
	write_text("f\x1b[>4;1fg\x1b[>4;fh\x1b[?;Hi\x1b[=1;;;Hj\x1b[<2;Dk");
	assert_row(0, "abcdeefghijk");
	write_text("\x1b[1;7H\x1b[K");
	assert_row(0, "abcdee");
	/* Broken ones end at a control character, which counts. */
	write_text("\x1b[12\nX\x1b\nY\x1b[\x1b[1;1HZ");
	assert_row(0, "Zbcdee");
	assert_row(1, "X");
	assert_row(2, "Y");
}

static void test_cursor_sequences(void **state)
{
	init_vga(NULL);
	write_text("\x1b[3;5Ha\x1b[Ab\x1b[2Bc\x1b[3Dd\x1b[2Ce\x1b[10Gf\x1b[7dg\x1b[Hh\x1b[2;fi");
	assert_row(0, "h");
	assert_row(1, "i    b");
	assert_row(2, "    a");
	assert_row(3, "    d ce f");
	screen_write(&screen, (const u8 *)"\x1b[3;5H\x1b[;3Hj", 12);
	assert_int_equal(screen.row, 0);
	assert_row(6, "          g");
	/* None leads off the screen, however far it goes. */
	write_text("\x1b[99999999999;99999999999H\x1b[9999C\x1b[9999B");
	assert_int_equal(screen.row, 24);
	assert_int_equal(screen.column, 79);
	write_text("\x1b[0A\x1b[0D\x1b[9999D\x1b[9999A");
	assert_int_equal(screen.row, 0);
	assert_int_equal(screen.column, 0);
}

static void test_erase_sequences(void **state)
{
	init_vga(NULL);
	write_text("abcdef\nghijkl\nmnopqr\x1b[2;3H\x1b[K");
	assert_row(1, "gh");
	write_text("\x1b[1;3H\x1b[1K");
	assert_row(0, "   def");
	write_text("\x1b[3;2H\x1b[2K\x1b[7K");
	assert_row(2, "");
	write_text("xyz\x1b[2;2H\x1b[J");
	assert_row(0, "   def");
	assert_row(1, "g");
	assert_row(2, "");
	write_text("\x1b[2;1Hgh\x1b[1;5H\x1b[1J");
	assert_row(0, "     f");
	assert_row(1, "gh");
	write_text("\x1b[2J");
	for (u32 row = 0; row < 25; row++)
		assert_row(row, "");
}

/* Guests write what they like: the sanitizers watch. */
static void test_any_bytes(void **state)
{
	static const u8 favourites[] = "\33\33[[[0123456789;ABCDGHJKdfm\n\r\t\b?x";
	u64 r = 1;

	init_vga(NULL);
	for (u32 i = 0; i < 300000; i++) {
		u8 byte = random_below(&r, 8) ? favourites[random_below(&r, sizeof(favourites) - 1)]
					      : (u8)random_next(&r);

		screen_write(&screen, &byte, 1);
		assert_true(screen.row < screen.rows && screen.column <= screen.columns);
	}
}

static void test_wrap_and_scroll(void **state)
{
	char text[82];
	u16 *cells = calloc(1, VGA_TEXT_SIZE);

	init_vga(cells);
	memset(text, 'a', 80);
	strlcpy(text + 80, "b", 2);
	write_text(text);
	assert_int_equal(screen.cells[0][79], 'a');
	assert_row(1, "b");
	for (u32 i = 0; i < 100; i++) {
		char line[8] = {'\n', (char)('A' + i % 26), 0};

		write_text(line);
	}
	for (u32 row = 0; row < 25; row++) {
		char line[2] = {(char)('A' + (75 + row) % 26), 0};

		assert_row(row, line);
		assert_int_equal(cells[row * 80], 0x0700 | line[0]);
	}
	free(cells);
}

/* Only what changed is drawn. */
static void test_draws_little(void **state)
{
	u16 *cells = calloc(1, VGA_TEXT_SIZE);

	init_vga(cells);
	write_text("abc");
	memset(cells, 0, VGA_TEXT_SIZE);
	write_text("\rabX");
	assert_int_equal(cells[0] | cells[1], 0);
	assert_int_equal(cells[2], 0x0700 | 'X');
	for (u32 i = 3; i < 80 * 25; i++)
		assert_int_equal(cells[i], 0);
	/* And all of it where the memory behind is another one. */
	screen_attach(&screen, NULL);
	write_text("Y");
	assert_int_equal(cells[3], 0);
	screen_attach(&screen, cells);
	screen_flush(&screen);
	assert_int_equal(cells[0], 0x0700 | 'a');
	assert_int_equal(cells[3], 0x0700 | 'Y');
	free(cells);
}

/* Where text goes on, for an operator who types. */
static void test_shows_the_cursor(void **state)
{
	u16 *cells = calloc(1, VGA_TEXT_SIZE);

	init_vga(cells);
	screen.cursor = true;
	write_text("ab");
	assert_int_equal(cells[2], 0x7000 | ' ');
	write_text("\b");
	assert_int_equal(cells[1], 0x7000 | 'b');
	assert_int_equal(cells[2], 0x0700 | ' ');
	write_text("X");
	assert_int_equal(cells[1], 0x0700 | 'X');
	assert_int_equal(cells[2], 0x7000 | ' ');
	/* Beyond the last column it is on it. */
	write_text("\x1b[80G#");
	assert_int_equal(cells[79], 0x7000 | '#');
	for (u32 i = 0; i < 30; i++)
		write_text("\n");
	assert_int_equal(cells[24 * 80], 0x7000 | ' ');
	screen.cursor = false;
	write_text("");
	for (u32 i = 0; i < 80 * 25; i++)
		assert_int_equal(cells[i] >> 8, 0x07);
	free(cells);
}

static u32 pixel_at(const u8 *pixels, const struct boot_framebuffer *fb, u32 x, u32 y)
{
	u32 v = 0;

	memcpy(&v, pixels + (u64)y * fb->pitch + x * fb->bpp / 8, fb->bpp / 8);
	return v;
}

static void check_depth(struct boot_framebuffer fb, u32 ink)
{
	u8 *pixels;

	/* The last line may end with its last pixel. */
	pixels = malloc((u64)fb.pitch * (fb.height - 1) + fb.width * fb.bpp / 8);
	memset(&screen, 0, sizeof(screen));
	assert_int_equal(screen_init_framebuffer(&screen, &fb, pixels), 0);
	assert_int_equal(screen.ink, ink);
	for (u32 i = 0; i < screen.rows * 2; i++)
		write_text("\nWeir");
	for (u32 i = 0; i < screen.columns; i++)
		write_text("q");
	for (u32 row = 0; row < screen.rows; row++) {
		for (u32 column = 0; column < screen.columns; column++) {
			u8 c = screen.cells[row][column];

			for (u32 i = 0; i < 128; i++) {
				u32 lit = font_8x16[c][i / 8] & (0x80 >> i % 8);

				assert_int_equal(
					pixel_at(pixels, &fb, column * 8 + i % 8, row * 16 + i / 8),
					lit ? ink : 0);
			}
		}
	}
	free(pixels);
}

static void test_framebuffers(void **state)
{
	struct boot_framebuffer fb = {
		.present = true,
		.width = 168,
		.height = 16 * 9,
		.red_size = 8,
		.green_size = 8,
		.blue_size = 8,
		.red_pos = 16,
		.green_pos = 8,
	};

	fb.bpp = 32;
	fb.pitch = 168 * 4;
	check_depth(fb, 0xc0c0c0);
	fb.pitch += 64;
	fb.height += 7;
	check_depth(fb, 0xc0c0c0);
	fb.bpp = 24;
	fb.pitch = 168 * 3 + 1;
	check_depth(fb, 0xc0c0c0);
	fb.bpp = 16;
	fb.pitch = 168 * 2;
	fb.red_size = fb.blue_size = 5;
	fb.green_size = 6;
	fb.red_pos = 11;
	fb.green_pos = 5;
	check_depth(fb, 0xc618);
	/* Channels that make no sense still show text. */
	fb.red_size = 40;
	fb.green_size = fb.blue_size = 0;
	check_depth(fb, 0xffff);
}

/* Larger than the text in memory: the rest stays dark. */
static void test_huge(void **state)
{
	struct boot_framebuffer fb = {
		.width = 3840, .height = 2160, .bpp = 32, .pitch = 3840 * 4, .red_size = 8};

	memset(&screen, 0, sizeof(screen));
	assert_int_equal(screen_init_framebuffer(&screen, &fb, NULL), 0);
	assert_int_equal(screen.columns, SCREEN_COLUMNS_MAX);
	assert_int_equal(screen.rows, SCREEN_ROWS_MAX);
	for (u32 i = 0; i < 100000; i++)
		write_text(i % 97 ? "x" : "\n");
}

static void test_refused(void **state)
{
	static const struct boot_framebuffer bad[] = {
		{.width = 800, .height = 600, .bpp = 8, .pitch = 800},
		{.width = 800, .height = 600, .bpp = 15, .pitch = 1600},
		{.width = 800, .height = 600, .bpp = 32, .pitch = 3199},
		{.width = 0x40000001, .height = 600, .bpp = 32, .pitch = 4096},
		{.width = 100, .height = 600, .bpp = 32, .pitch = 3200},
		{.width = 800, .height = 20, .bpp = 32, .pitch = 3200},
		{.width = 0, .height = 0, .bpp = 32, .pitch = 0},
	};

	memset(&screen, 0, sizeof(screen));
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(screen_init_framebuffer(&screen, &bad[i], NULL), ERR_NOTSUP);
	write_text("there is no screen");
	assert_int_equal(screen.columns, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vga),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_cursor_sequences),
		cmocka_unit_test(test_erase_sequences),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_shows_the_cursor),
		cmocka_unit_test(test_wrap_and_scroll),
		cmocka_unit_test(test_draws_little),
		cmocka_unit_test(test_framebuffers),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
