/* SPDX-License-Identifier: MIT */
/*
 * Who sent an NMI, that the source is armed again, and that one that stays up is not told for ever.
 */
/* unit-sources: smp/nmi.c */
#include <cmocka.h>
#include <string.h>
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "smp/apic.h"
#include "smp/irq.h"
#include "smp/nmi.h"
#include "tests/hosted/hosted.h"

static u8 port_61;
static u8 written[4];
static u32 writes, sent;
static bool ready;
static irq_handler_t look;

static u32 fake_in(u16 port, u32 size)
{
	assert_int_equal(port, 0x61);
	return port_61;
}

static void fake_out(u16 port, u32 size, u32 value)
{
	assert_int_equal(port, 0x61);
	written[writes++ % 4] = (u8)value;
}

void irq_set_handler(u8 vector, irq_handler_t fn, void *arg)
{
	assert_int_equal(vector, VECTOR_NMI_CAME);
	look = fn;
}

bool apic_ready(void)
{
	return ready;
}

void apic_send_self(u8 vector)
{
	assert_int_equal(vector, VECTOR_NMI_CAME);
	sent++;
}

static int setup(void **state)
{
	hosted_machine = (struct hosted_machine){.in = fake_in, .out = fake_out};
	writes = sent = 0;
	ready = true;
	hosted_log_reset();
	if (!look)
		nmi_init();
	return 0;
}

static void an_nmi_only_calls(void **state)
{
	nmi_came();
	assert_int_equal(sent, 1);
	assert_int_equal(writes, 0);
	assert_int_equal(hosted_log_count(LOG_WARN), 0);
	ready = false;
	nmi_came();
	assert_int_equal(sent, 1);
}

static void says(u8 port, const char *what)
{
	writes = 0;
	port_61 = port;
	look(NULL);
	assert_non_null(strstr(hosted_log_last(), what));
}

/* Speaker and timer gate stay as they are; the source is switched off and on. */
static void sources(void **state)
{
	says(0xb1, "SERR#");
	assert_int_equal(writes, 2);
	assert_int_equal(written[0], 0x05);
	assert_int_equal(written[1], 0x01);
	says(0x73, "IOCHK#");
	assert_int_equal(writes, 2);
	assert_int_equal(written[0], 0x0b);
	assert_int_equal(written[1], 0x03);
	says(0x21, "0x21");
	assert_int_equal(writes, 0);
	says(0xff, "0xff");
	assert_int_equal(writes, 0);
}

/* After the four above: eight in all. */
static void one_that_stays_up(void **state)
{
	port_61 = 0x80;
	for (u32 i = 0; i < 1000; i++)
		look(NULL);
	assert_int_equal(hosted_log_count(LOG_WARN), 4);
	assert_non_null(strstr(hosted_log_last(), "not told"));
	assert_int_equal(writes, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_nmi_only_calls, setup),
		cmocka_unit_test_setup(sources, setup),
		cmocka_unit_test_setup(one_that_stays_up, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
