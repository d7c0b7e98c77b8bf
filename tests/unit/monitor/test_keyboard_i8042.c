/* SPDX-License-Identifier: MIT */
/*
 * The keyboard controller: a key that was hit while it is set up is not taken for an answer, nor does
 * it hold back those after it.
 */
/* unit-sources: kernel/monitor/keyboard_i8042.c kernel/monitor/keyboard.c */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/error.h"
#include "kernel/base/x86.h"
#include "kernel/monitor/keyboard.h"
#include "smp/irq.h"

#define OUTPUT_FULL  1
#define FROM_MOUSE   0x20
#define WRITE_CONFIG 0x60
#define READ_CONFIG  0x20
#define KEY_A	     0x1e
#define KEY_B	     0x30
#define KEY_CONTROL  0x1d

#define QUEUE 32

static u8 config, command, output;
static u8 queue[QUEUE]; /* what comes when the output has been read */
static u32 queued;
static bool full, line;
static u8 mouse; /* FROM_MOUSE while what comes is the mouse's */
static u32 keys_before_config, keys_before_ack;
static u32 key_after; /* WRITE_CONFIGs after which a key is hit */
static irq_handler_t handler;
static char got[16];
static u32 got_count;

/* The line is the buffer's state while the interrupt is on, and the controller sees it rise. */
static void changed(void)
{
	bool up = full && (config & 1);

	if (up && !line && handler && hosted_irq_on) {
		line = true;
		handler(NULL);
	}
	line = full && (config & 1);
}

static void put_in(u8 byte)
{
	if (full) {
		assert_in_range(queued, 0, QUEUE - 1);
		queue[queued++] = byte;
		return;
	}
	output = byte;
	full = true;
	changed();
}

static u32 fake_in(u16 port, u32 size)
{
	u8 byte;

	if (port == 0x64)
		return full ? OUTPUT_FULL | mouse : 0;
	byte = output;
	full = false;
	changed();
	if (queued) {
		u8 next = queue[0];

		memmove(queue, queue + 1, --queued);
		put_in(next);
	}
	return byte;
}

/* Keys, each another, that come before an answer. */
static void put_in_after(u32 keys, u8 answer)
{
	for (u32 i = 0; i < keys; i++)
		put_in((u8)(KEY_A + i));
	put_in(answer);
}

static void fake_out(u16 port, u32 size, u32 value)
{
	if (port == 0x64) {
		command = (u8)value;
		if (command == READ_CONFIG) {
			put_in_after(keys_before_config, config);
			keys_before_config = 0;
		}
	} else if (command == WRITE_CONFIG) {
		/* Hit before the interrupt is on, seen by nobody: the pin's edge is past. */
		if (key_after && !--key_after) {
			output = KEY_A;
			full = line = true;
		}
		config = (u8)value;
		command = 0;
	} else if (value == 0xf4) {
		put_in_after(keys_before_ack, 0xfa);
	}
}

int irq_register_isa(u32 isa_irq, irq_handler_t fn, void *arg)
{
	assert_int_equal(isa_irq, 1);
	handler = fn;
	return 0;
}

static void put(u8 byte)
{
	got[got_count++ % sizeof(got)] = (char)byte;
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){.in = fake_in, .out = fake_out};
	config = 0x47;
	full = line = false;
	key_after = got_count = queued = 0;
	keys_before_config = keys_before_ack = mouse = 0;
	handler = NULL;
	hosted_irq_on = true;
	return 0;
}

static void keys_come(void **state)
{
	assert_int_equal(keyboard_start(put), 0);
	assert_int_equal(config, 0x45);
	put_in(KEY_A);
	assert_int_equal(got_count, 1);
	assert_int_equal(got[0], 'a');
	assert_true(hosted_irq_on);
}

static void a_key_in_between(void **state)
{
	key_after = 2;
	assert_int_equal(keyboard_start(put), 0);
	put_in(KEY_B);
	assert_int_equal(got_count, 2);
	assert_memory_equal(got, "ab", 2);
}

static void keys_before_the_acknowledgement(void **state)
{
	keys_before_ack = 16;
	assert_int_equal(keyboard_start(put), 0);
	put_in(KEY_B);
	assert_int_equal(got_count, 1);
	assert_int_equal(got[0], 'b');
}

/* Where one sends though it was switched off, its bytes are neither keys nor held down. */
static void a_mouse_is_no_keyboard(void **state)
{
	assert_int_equal(keyboard_start(put), 0);
	mouse = FROM_MOUSE;
	put_in(KEY_A);
	put_in(KEY_CONTROL);
	mouse = 0;
	put_in(KEY_B);
	assert_int_equal(got_count, 1);
	assert_int_equal(got[0], 'b');
}

/* One that sends and never answers. */
static void keys_alone(void **state)
{
	keys_before_ack = 17;
	assert_int_equal(keyboard_start(put), ERR_NOENT);
}

static void a_key_before_the_configuration(void **state)
{
	keys_before_config = 1;
	assert_int_equal(keyboard_start(put), 0);
	assert_int_equal(config, 0x45);
	put_in(KEY_B);
	assert_int_equal(got_count, 1);
	assert_int_equal(got[0], 'b');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(keys_come, setup),
		cmocka_unit_test_setup(a_key_in_between, setup),
		cmocka_unit_test_setup(keys_before_the_acknowledgement, setup),
		cmocka_unit_test_setup(a_mouse_is_no_keyboard, setup),
		cmocka_unit_test_setup(keys_alone, setup),
		cmocka_unit_test_setup(a_key_before_the_configuration, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
