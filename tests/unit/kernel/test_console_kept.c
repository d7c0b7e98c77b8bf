/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/console.c kernel/console_text.c */
/* What a VM's console shows first, of what the VM wrote before: as text, and where one run ended. */
#include "kernel/console.h"
#include "kernel/console_input.h"
#include "kernel/vm.h"

#include "kernel/base/console.h"
#include "kernel/base/string.h"
#include "kernel/dev/platform.h"
#include "mem/frame.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>
#include <string.h>

static struct vm vm = {.name = "alpha"};
static char shown[2 * CONSOLE_KEPT];

NOTHING(console_input_start, void)
NOTHING(console_write_line, const void *bytes, size_t n)
ANSWER(u32, platform_console_input, 0, struct platform *p, const u8 *bytes, u32 count)

void console_write(const void *bytes, size_t n)
{
	strncat(shown, bytes, min(n, sizeof(shown) - 1 - strlen(shown)));
}

int frame_alloc(u32 order, u32 flags, pfn_t *out)
{
	*out = PFN(1u << order);
	return 0;
}

/* A run of alpha: it writes that, and ends so. */
static void run(const char *text, const char *how)
{
	assert_int_equal(console_vm_add(&vm), 0);
	console_show_monitor();
	vm_console_write(&vm, (const u8 *)text, (u32)strlen(text));
	console_vm_remove(&vm, how);
	console_vm_remove(&vm, how); /* harmless */
}

static const char *show(void)
{
	shown[0] = 0;
	assert_int_equal(console_show_vm("alpha"), 0);
	return shown;
}

/* Of each that has written something. */
static void each_end_is_a_line(void **state)
{
	run("one\r\n", "reset");
	run("", "reset");
	run("guest# ", "crashed");
	run("", NULL);
	run("three\r\n", NULL);
	assert_string_equal(show(), "one\r\n--- vm alpha: reset ---\r\n"
				    "guest# \r\n--- vm alpha: crashed ---\r\nthree\r\n");
	run("", "powered off");
	assert_non_null(strstr(show(), "three\r\n--- vm alpha: powered off ---\r\n"));
}

/* What a guest has begun swallows no such line, nor does what comes after it go on with that. */
static void amid_a_sequence(void **state)
{
	static const char *const begun[] = {"\x1b]2;a title", "\x1b[1;3", "\x1b", "\x1b\x1b",
					    "\x1bP\x1b"};

	for (u32 i = 0; i < ARRAY_SIZE(begun); i++) {
		run("before", "reset");
		run(begun[i], "killed");
		run("m after\r\n", NULL);
		show();
		assert_non_null(strstr(shown, "before\r\n--- vm alpha: reset ---\r\n"
					      "\r\n--- vm alpha: killed ---\r\nm after\r\n"));
	}
	run("\xe2\x82", "reset");
	assert_non_null(strstr(show(), "?\r\n--- vm alpha: reset ---\r\n"));
}

static void what_is_lost_has_none(void **state)
{
	for (u32 i = 0; i < CONSOLE_KEPT / 16; i++)
		run("123456789012345\n", NULL);
	assert_null(strstr(show(), "---"));
	assert_int_equal(strlen(shown), CONSOLE_KEPT);
}

static int start(void **state)
{
	static struct weir_config config = {.vm_count = 1};

	hosted_arena_init(MIB(2));
	strlcpy(config.vms[0].name, vm.name, sizeof(config.vms[0].name));
	console_init(&config);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_end_is_a_line),
		cmocka_unit_test(amid_a_sequence),
		cmocka_unit_test(what_is_lost_has_none),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
