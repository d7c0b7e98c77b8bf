/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/console.c kernel/console_input.c kernel/console_text.c */
/* Who gets what is typed, and when: the console's own thread at work, for two guests. */
#include "kernel/console.h"
#include "kernel/console_input.h"
#include "kernel/vm.h"

#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/serial.h"
#include "kernel/base/string.h"
#include "kernel/dev/platform.h"
#include "kernel/monitor/keyboard.h"
#include "kernel/monitor/keys.h"
#include "kernel/monitor/monitor.h"
#include "kernel/serial_irq.h"
#include "mem/frame.h"
#include "tests/hosted/fakes.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define GUESTS	    2
#define WAIT_MS	    60000
#define INPUT_BATCH 64 /* as in kernel/console_input.c */

/* Stands for a platform: what its UART took, and how much it has room for. */
struct guest {
	struct vm vm;
	char got[4096];
	u32 count, room, offers;
};
static struct guest guests[GUESTS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* what is in them, and: */
static u32 monitor_runs;

u32 platform_console_input(struct platform *p, const u8 *bytes, u32 count)
{
	struct guest *g = (struct guest *)p;
	u32 taken;

	pthread_mutex_lock(&mutex);
	taken = min(count, g->room);
	memcpy(g->got + g->count, bytes, taken);
	g->count += taken;
	g->room -= taken;
	g->offers++;
	pthread_mutex_unlock(&mutex);
	return taken;
}

static void (*put)(u8 byte);

int keyboard_start(void (*fn)(u8 byte))
{
	put = fn;
	return 0;
}

/* It has nothing to do, and gives the console back. */
void monitor_run(void)
{
	console_show_shared();
	pthread_mutex_lock(&mutex);
	monitor_runs++;
	pthread_mutex_unlock(&mutex);
}

ANSWER(bool, serial_is_there, false, void)
ANSWER(bool, serial_irq_start, false, irq_handler_t fn)
ANSWER(bool, serial_irq_comes, true, void)
ANSWER(int, console_getc_poll, -1, void)
ANSWER(int, frame_alloc, ERR_NOMEM, u32 order, u32 flags, pfn_t *out)
NOTHING(console_write, const void *bytes, size_t n)
NOTHING(thread_lift, struct thread *t, u32 by)
NOTHING(thread_lower, struct thread *t, u32 by)

static char line[256]; /* the last that went out as one */

void console_write_line(const void *bytes, size_t n)
{
	assert_true(n < sizeof(line));
	memcpy(line, bytes, n);
	line[n] = 0;
}

/* --- what is typed, and seen --- */

static void type(const char *text)
{
	for (; *text; text++)
		put((u8)*text);
}

static u32 read_locked(const u32 *what)
{
	u32 value;

	pthread_mutex_lock(&mutex);
	value = *what;
	pthread_mutex_unlock(&mutex);
	return value;
}

/* Enough for anything. */
static void wait_until_more(const u32 *what, u32 than)
{
	for (u32 ms = 0; read_locked(what) <= than; ms++) {
		assert_true(ms < WAIT_MS);
		usleep(1000);
	}
}

static void make_room(struct guest *g, u32 room)
{
	pthread_mutex_lock(&mutex);
	g->room = room;
	g->offers = 0;
	pthread_mutex_unlock(&mutex);
}

/* It has taken just that since it was asked last. */
static void assert_got(struct guest *g, const char *text)
{
	wait_until_more(&g->count, (u32)strlen(text) - 1);
	pthread_mutex_lock(&mutex);
	g->got[g->count] = 0;
	assert_string_equal(g->got, text);
	g->count = 0;
	pthread_mutex_unlock(&mutex);
}

/* Typed until it comes to the guest: nobody is owed anything else then, and the guest got no more. */
static void assert_gets_nothing_else(struct guest *g)
{
	for (u32 ms = 0; read_locked(&g->count) == 0; ms++) {
		assert_true(ms < WAIT_MS);
		type(".");
		usleep(1000);
	}
	usleep(30000);
	pthread_mutex_lock(&mutex);
	for (u32 i = 0; i < g->count; i++)
		assert_int_equal(g->got[i], '.');
	g->count = 0;
	pthread_mutex_unlock(&mutex);
}

static int setup(void **state)
{
	for (u32 i = 0; i < GUESTS; i++) {
		struct guest *g = &guests[i];

		make_room(g, sizeof(g->got) - 1);
		g->count = 0;
		assert_int_equal(console_vm_add(&g->vm), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	for (u32 i = 0; i < GUESTS; i++)
		console_vm_remove(&guests[i].vm, NULL);
	return 0;
}

static int start(void **state)
{
	static struct weir_config config = {.vm_count = GUESTS};

	for (u32 i = 0; i < GUESTS; i++) {
		struct guest *g = &guests[i];

		snprintf(config.vms[i].name, sizeof(config.vms[i].name), "guest%u", i);
		strlcpy(g->vm.name, config.vms[i].name, sizeof(g->vm.name));
		g->vm.platform = (struct platform *)g;
	}
	console_init(&config);
	assert_non_null(put);
	return 0;
}

/* --- tests --- */

static void what_has_no_room_is_offered_again(void **state)
{
	make_room(&guests[0], 2);
	type("first");
	wait_until_more(&guests[0].offers, 1);
	make_room(&guests[0], 100);
	assert_got(&guests[0], "first");
	assert_int_equal(read_locked(&guests[1].offers), 0);
	console_vm_remove(&guests[0].vm, NULL);
	type("second"); /* nothing of it was another's */
	assert_got(&guests[1], "second");
}

/* What was typed for one guest is no other's to read, when that one ends before it takes it. */
static void what_is_not_taken_goes_with_its_vm(void **state)
{
	make_room(&guests[0], 2);
	type("root\nsecret\n");
	wait_until_more(&guests[0].offers, 1);
	console_vm_remove(&guests[0].vm, NULL);
	assert_gets_nothing_else(&guests[1]);
	type("hello");
	assert_got(&guests[1], "hello");
	assert_int_equal(read_locked(&guests[0].count), 2);
}

static void type_much(void)
{
	for (u32 i = 0; i < 5 * INPUT_BATCH; i++)
		type("s");
}

/* Nor what waits behind it. */
static void nor_what_waits_behind(void **state)
{
	make_room(&guests[0], 0);
	type_much();
	wait_until_more(&guests[0].offers, 1);
	console_vm_remove(&guests[0].vm, NULL);
	assert_gets_nothing_else(&guests[1]);
}

/* But Ctrl-] there is heard, and what comes after it is typed for whoever has the console then. */
static void up_to_leave(void **state)
{
	u32 runs = read_locked(&monitor_runs);

	make_room(&guests[0], 0);
	type_much();
	put(KEY_LEAVE_BYTE);
	type("....");
	wait_until_more(&guests[0].offers, 1);
	console_vm_remove(&guests[0].vm, NULL);
	wait_until_more(&monitor_runs, runs);
	assert_got(&guests[1], "....");
}

/* One that nobody follows takes it along, and comes back without. */
static void nobody_follows(void **state)
{
	console_vm_remove(&guests[1].vm, NULL);
	make_room(&guests[0], 0);
	type("secret");
	wait_until_more(&guests[0].offers, 1);
	console_vm_remove(&guests[0].vm, NULL);
	usleep(100000);
	make_room(&guests[0], 1000);
	assert_int_equal(console_vm_add(&guests[0].vm), 0);
	assert_gets_nothing_else(&guests[0]);
}

/* Of several, a VM's line goes out as one when it is whole, and what is begun waits. */
static void lines_go_out_whole(void **state)
{
	vm_console_write(&guests[0].vm, (const u8 *)"no end", 6);
	assert_string_equal(line, "");
	vm_console_write(&guests[1].vm, (const u8 *)"one\nt", 5);
	assert_string_equal(line, "guest1| one\r\n");
	vm_console_write(&guests[0].vm, (const u8 *)" yet\n", 5);
	assert_string_equal(line, "guest0| no end yet\r\n");
}

/* Who looks at one of several VMs is told how to go on when that one ends, and when no other does. */
static void whose_vm_ends_is_told(void **state)
{
	hosted_log_reset();
	console_vm_remove(&guests[0].vm, NULL);
	console_vm_is_off("guest0"); /* all are shown */
	assert_int_equal(console_vm_add(&guests[0].vm), 0);
	assert_int_equal(console_show_vm("guest0"), 0);
	console_vm_remove(&guests[1].vm, NULL);
	console_vm_is_off("guest1");
	assert_int_equal(hosted_log_count(LOG_INFO), 0);
	console_vm_remove(&guests[0].vm, NULL);
	console_vm_is_off("guest0"); /* the last: others say it */
	assert_int_equal(hosted_log_count(LOG_INFO), 0);
	assert_int_equal(console_vm_add(&guests[1].vm), 0);
	console_vm_is_off("guest0");
	assert_non_null(
		strstr(hosted_log_last(), "monitor: vm guest0 is off, and others run: Ctrl-] "));
	console_show_shared();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_has_no_room_is_offered_again, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_taken_goes_with_its_vm, setup,
						teardown),
		cmocka_unit_test_setup_teardown(nor_what_waits_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(up_to_leave, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_follows, setup, teardown),
		cmocka_unit_test_setup_teardown(lines_go_out_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(whose_vm_ends_is_told, setup, teardown),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
