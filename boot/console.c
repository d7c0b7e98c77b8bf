/* SPDX-License-Identifier: MIT */
/* The first sinks: which there are, and where they are mapped before and after vmap_init_cpu. */
#include "boot/boot.h"
#include "kernel/base/boot_info.h"
#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/screen.h"
#include "kernel/base/serial.h"
#include "kernel/base/string.h"
#include "kernel/config.h"
#include "mem/vmap.h"

#define COM1_PORT     0x3f8
#define VGA_TEXT_ADDR 0xb8000
#define EARLY_MAP_END GIB(4)
#define CONSOLE_WORD  "console="
#define DEBUG_WORD    "loglevel=debug"

/* What the screen is drawn on; size 0: there is none. */
static hpa_t screen_addr;
static u64 screen_size;
static bool screen_is_vga;

/*
 * The command line's last console=, and whether what follows here is to be shown as well. Which
 * words are malformed is for config_parse to say.
 */
static void early_words(u16 *port, u32 *baud)
{
	const char *at = boot_info.cmdline;

	while (*at) {
		const char *end = at;

		while (*end && *end != ' ')
			end++;
		if (strncmp(at, CONSOLE_WORD, strlen(CONSOLE_WORD)) == 0)
			(void)config_parse_console(at + strlen(CONSOLE_WORD), end, port, baud);
		else if ((size_t)(end - at) == strlen(DEBUG_WORD) &&
			 strncmp(at, DEBUG_WORD, strlen(DEBUG_WORD)) == 0)
			log_set_level(LOG_DEBUG);
		at = *end ? end + 1 : end;
	}
}

static void add_screen(void)
{
	const struct boot_framebuffer *fb = &boot_info.fb;
	void *early = NULL;

	if (!fb->present) {
		if (boot_info.efi || fb->palette)
			return; /* nobody left behind what a VGA text screen needs */
		screen_is_vga = true;
		screen_addr = HPA(VGA_TEXT_ADDR);
		screen_size = VGA_TEXT_SIZE;
		console_add_vga(phys_to_virt(screen_addr));
		return;
	}
	screen_addr = fb->addr;
	screen_size = (u64)fb->pitch * fb->height;
	if (fb->addr.v < EARLY_MAP_END && screen_size <= EARLY_MAP_END - fb->addr.v)
		early = phys_to_virt(fb->addr);
	if (console_add_framebuffer(fb, early)) {
		log_warn("the screen of %ux%u, %u bits a pixel, %u bytes a line, is not used: Weir "
			 "draws on 16, 24 and 32 bits",
			 fb->width, fb->height, fb->bpp, fb->pitch);
		screen_size = 0;
	}
}

void boot_console_init(void)
{
	u16 port = COM1_PORT;
	u32 baud = SERIAL_BAUD_BASE;
	int err;

	early_words(&port, &baud);
	err = port ? console_add_serial(port, baud) : 0;
	if (err)
		log_warn("no serial console: UART at port %#x: %s; console= names another", port,
			 error_name(err));
	add_screen();
	log_replay();
}

void boot_console_unmap(void)
{
	console_detach_screen();
}

bool boot_console_map(void)
{
	void *at;

	if (!screen_size)
		return true;
	at = vmap_device(screen_addr, screen_size, screen_is_vga ? VMAP_UC : VMAP_WC);
	console_attach_screen(at);
	return at != NULL;
}
