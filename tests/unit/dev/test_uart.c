/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: tests/unit/dev/machine.c kernel/dev/device.c kernel/dev/platform.c
 *	kernel/dev/lapic.c kernel/dev/lapic_registers.c kernel/dev/lapic_deliver.c
 *	kernel/dev/lapic_gather.c kernel/dev/lapic_timer.c kernel/dev/lapic_pv_eoi.c
 *	kernel/dev/ioapic.c kernel/dev/pic.c kernel/dev/pit.c kernel/dev/pit_channel.c
 *	kernel/dev/rtc.c kernel/dev/rtc_date.c kernel/dev/uart.c kernel/dev/pm.c
 *	kernel/dev/i8042.c kernel/dev/pci.c kernel/dev/reset.c kernel/dev/fw_cfg.c
 */
/* The 16550A: FIFOs, interrupts and their priorities, loopback, output in batches, input. */
#include <cmocka.h>
#include <string.h>
#include "tests/hosted/schedule.h"
#include "tests/unit/dev/machine.h"

#define DATA 0x3f8
#define IER  0x3f9
#define IIR  0x3fa
#define FCR  0x3fa
#define LCR  0x3fb
#define MCR  0x3fc
#define LSR  0x3fd
#define MSR  0x3fe
#define SCR  0x3ff

static bool irq4(struct machine *m)
{
	return m->p->ioapic.lines & BIT(4);
}

static u32 type(struct machine *m, const char *text)
{
	return platform_console_input(m->p, (const u8 *)text, (u32)strlen(text));
}

static void print(struct machine *m, const char *text)
{
	while (*text)
		out8(m, DATA, (u8)*text++);
}

static void at_reset(void **state)
{
	static const u8 expected[] = {0, 0, 0x01, 0, 0, 0x60, 0xb0, 0};
	struct machine m;

	machine_create(&m, 1);
	for (u16 i = 0; i < 8; i++)
		assert_int_equal(in8(&m, DATA + i), expected[i]);
	out8(&m, SCR, 0x5a);
	assert_int_equal(in8(&m, SCR), 0x5a);
	out8(&m, IER, 0xff);
	assert_int_equal(in8(&m, IER), 0x0f);
	out8(&m, LCR, 0x83);
	out8(&m, DATA, 0x01);
	out8(&m, IER, 0x02);
	assert_int_equal(in8(&m, DATA), 0x01);
	assert_int_equal(in8(&m, IER), 0x02);
	out8(&m, LCR, 0x03);
	assert_int_equal(in8(&m, IER), 0x0f);
	platform_reset(m.p);
	for (u16 i = 0; i < 8; i++)
		assert_int_equal(in8(&m, DATA + i), expected[i]);
	machine_destroy(&m);
}

/* How a driver tells a 16550A from the rest. */
static void detected_as_16550a(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	out8(&m, FCR, 0x01);
	assert_int_equal(in8(&m, IIR) >> 6, 3);
	out8(&m, FCR, 0xe1);
	assert_int_equal(in8(&m, IIR) & 0x20, 0); /* no 64-byte FIFO */
	out8(&m, FCR, 0x00);
	assert_int_equal(in8(&m, IIR) >> 6, 0);
	machine_destroy(&m);
}

static void thre_interrupt(void **state)
{
	struct machine m;
	u32 pieces;

	machine_create(&m, 1);
	out8(&m, MCR, 0x08);
	assert_false(irq4(&m));
	/* Enabling it reports the empty register; reading IIR answers. */
	out8(&m, IER, 0x02);
	assert_true(irq4(&m));
	assert_int_equal(in8(&m, IIR), 0x02);
	assert_false(irq4(&m));
	assert_int_equal(in8(&m, IIR), 0x01);
	/* A byte written is a byte sent: again, with an edge. */
	pic_setup(&m, 0xffef);
	print(&m, "a");
	assert_true(irq4(&m));
	assert_int_equal(platform_interrupt_ack(m.v), 0x34);
	out8(&m, 0x20, 0x20);
	print(&m, "b");
	assert_int_equal(platform_interrupt_ack(m.v), 0x34);
	/* Reading IIR for another cause does not answer it. */
	out8(&m, IER, 0x03);
	type(&m, "x");
	assert_int_equal(in8(&m, IIR), 0x04);
	assert_int_equal(in8(&m, DATA), 'x');
	assert_int_equal(in8(&m, IIR), 0x02);
	/* Written again to the same value it stays answered; off and on it asks again. */
	out8(&m, IER, 0x03);
	assert_int_equal(in8(&m, IIR), 0x01);
	out8(&m, IER, 0x00);
	out8(&m, IER, 0x02);
	assert_int_equal(in8(&m, IIR), 0x02);
	platform_console_flush(m.p);
	assert_string_equal(hosted_vm_output(&pieces), "ab");
	machine_destroy(&m);
}

static void out2_gates_the_line(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	out8(&m, IER, 0x02);
	assert_false(irq4(&m));
	out8(&m, MCR, 0x08);
	assert_true(irq4(&m));
	out8(&m, MCR, 0x00);
	assert_false(irq4(&m));
	assert_int_equal(in8(&m, IIR), 0x02);
	machine_destroy(&m);
}

static void receiver_fifo(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	out8(&m, MCR, 0x08);
	out8(&m, FCR, 0x81); /* trigger at 8 */
	out8(&m, IER, 0x01);
	type(&m, "1234567");
	assert_int_equal(in8(&m, IIR), 0xcc); /* below it: by time-out */
	assert_true(irq4(&m));
	type(&m, "8");
	assert_int_equal(in8(&m, IIR), 0xc4);
	assert_int_equal(in8(&m, DATA), '1');
	assert_int_equal(in8(&m, IIR), 0xcc);
	for (char c = '2'; c <= '8'; c++) {
		assert_int_equal(in8(&m, LSR), 0x61);
		assert_int_equal(in8(&m, DATA), c);
	}
	assert_int_equal(in8(&m, LSR), 0x60);
	assert_int_equal(in8(&m, IIR), 0xc1);
	assert_false(irq4(&m));
	assert_int_equal(in8(&m, DATA), '8'); /* nothing new */
	machine_destroy(&m);
}

/* More than the FIFO holds waits outside, and what does not fit there is not taken. */
static void input_waits_outside(void **state)
{
	char text[400];
	struct machine m;

	machine_create(&m, 1);
	for (u32 i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('!' + i % 90);
	text[sizeof(text) - 1] = '\0';
	out8(&m, FCR, 0x01);
	assert_int_equal(type(&m, text), UART_INPUT_SIZE);
	assert_int_equal(type(&m, text + UART_INPUT_SIZE), UART_FIFO_SIZE);
	assert_int_equal(type(&m, "x"), 0);
	for (u32 i = 0; i < UART_INPUT_SIZE + UART_FIFO_SIZE; i++) {
		assert_int_equal(in8(&m, LSR), 0x61);
		assert_int_equal((char)in8(&m, DATA), text[i]);
	}
	assert_int_equal(in8(&m, LSR), 0x60);
	/* Without FIFO one at a time; clearing it drops that one only. */
	out8(&m, FCR, 0x00);
	assert_int_equal(type(&m, "abc"), 3);
	out8(&m, FCR, 0x01);
	assert_int_equal(in8(&m, DATA), 'b');
	out8(&m, FCR, 0x03);
	assert_int_equal(in8(&m, LSR), 0x60);
	machine_destroy(&m);
}

static void loopback(void **state)
{
	struct machine m;
	u32 pieces;

	machine_create(&m, 1);
	out8(&m, FCR, 0x01);
	out8(&m, MCR, 0x1f);
	assert_int_equal(in8(&m, MSR), 0xf0); /* all as before but RI, whose rise is not told */
	print(&m, "loop");
	type(&m, "not heard");
	for (const char *c = "loop"; *c; c++)
		assert_int_equal(in8(&m, DATA), *c);
	assert_int_equal(in8(&m, LSR), 0x60);
	/* Outputs to inputs: RTS-CTS, DTR-DSR, OUT1-RI, OUT2-DCD, with their deltas. */
	out8(&m, IER, 0x08);
	out8(&m, MCR, 0x18);
	assert_int_equal(in8(&m, IIR), 0xc0);
	assert_false(irq4(&m)); /* OUT2's pin is inactive in loopback */
	out8(&m, MCR, 0x10);
	assert_int_equal(in8(&m, MSR), 0x0f);
	assert_int_equal(in8(&m, IIR), 0xc1);
	out8(&m, MCR, 0x12);
	assert_int_equal(in8(&m, MSR), 0x11);
	out8(&m, MCR, 0x11);
	assert_int_equal(in8(&m, MSR), 0x23);
	out8(&m, MCR, 0x14);
	assert_int_equal(in8(&m, MSR), 0x42);
	/* The seventeenth byte overruns; the line error comes first. */
	out8(&m, IER, 0x05);
	for (u32 i = 0; i < 17; i++)
		out8(&m, DATA, (u8)i);
	assert_int_equal(in8(&m, IIR), 0xc6);
	assert_int_equal(in8(&m, LSR), 0x63);
	assert_int_equal(in8(&m, LSR), 0x61);
	assert_int_equal(in8(&m, IIR), 0xc4);
	for (u32 i = 0; i < 16; i++)
		assert_int_equal(in8(&m, DATA), i);
	out8(&m, MCR, 0x0b);
	assert_int_equal(in8(&m, DATA), 'n'); /* what was typed meanwhile */
	platform_console_flush(m.p);
	assert_string_equal(hosted_vm_output(&pieces), "");
	machine_destroy(&m);
}

static void output_in_batches(void **state)
{
	struct machine m;
	u32 pieces;

	machine_create(&m, 1);
	print(&m, "hello, world\n");
	assert_string_equal(hosted_vm_output(&pieces), "hello, world\n");
	assert_int_equal(pieces, 1);
	/* A prompt has no end of line: a moment later. */
	hosted_vm_requests(m.v);
	print(&m, "# ");
	assert_string_equal(hosted_vm_output(&pieces), "");
	machine_run(10000000);
	assert_int_equal(hosted_vm_requests(m.v) & VCPU_REQ_POLL, VCPU_REQ_POLL);
	platform_vcpu_poll(m.v);
	assert_string_equal(hosted_vm_output(&pieces), "# ");
	platform_vcpu_poll(m.v);
	hosted_vm_output(&pieces);
	assert_int_equal(pieces, 0);
	/* A long line goes when the buffer is full. */
	for (u32 i = 0; i < 1000; i++)
		out8(&m, DATA, 'x');
	assert_int_equal(strlen(hosted_vm_output(&pieces)), 768);
	assert_int_equal(pieces, 3 * UART_OUTPUT_SIZE / UART_PIECE);
	/* What is left goes before the VM ends. */
	print(&m, "bye");
	out8(&m, 0x64, 0xfe);
	assert_int_equal(strlen(hosted_vm_output(&pieces)), 1000 - 768 + 3);
	assert_int_equal(m.vm->end, VM_END_RESET);
	machine_destroy(&m);
}

static void a_piece_at_a_time(void **state)
{
	char text[3 * UART_PIECE + 5] = {0};
	struct machine m;
	u32 pieces;

	machine_create(&m, 1);
	for (u32 i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('A' + i % 50);
	print(&m, text);
	platform_console_flush(m.p);
	assert_string_equal(hosted_vm_output(&pieces), text);
	assert_int_equal(pieces, 4);
	machine_destroy(&m);
}

/* A vCPU of a VM that has ended writes no more: who takes it apart does. */
static void what_is_left_at_the_end(void **state)
{
	struct thread *me = thread_current();
	struct machine m;
	u32 pieces;

	machine_create(&m, 1);
	me->group = &m.vm->sched;
	print(&m, "last words");
	vm_request_end(m.vm, VM_END_KILLED, 0);
	platform_vcpu_poll(m.v);
	assert_string_equal(hosted_vm_output(&pieces), "");
	me->group = NULL;
	platform_console_flush(m.p);
	assert_string_equal(hosted_vm_output(&pieces), "last words");
	machine_destroy(&m);
}

/* One that is paused does as it goes on. */
static void what_is_left_at_a_pause(void **state)
{
	struct thread *me = thread_current();
	struct machine m;
	u32 pieces;

	machine_create(&m, 1);
	me->group = &m.vm->sched;
	m.vm->paused = VM_PAUSED_BY_OPERATOR;
	print(&m, "first\n");
	assert_string_equal(hosted_vm_output(&pieces), "");
	machine_run(10000000);
	m.vm->paused = 0;
	assert_int_equal(hosted_vm_requests(m.v) & VCPU_REQ_POLL, VCPU_REQ_POLL);
	platform_vcpu_poll(m.v);
	assert_string_equal(hosted_vm_output(&pieces), "first\n");
	me->group = NULL;
	machine_destroy(&m);
}

/* As a REP OUTSB that began before: all of it comes, only what there is room for later. */
static void more_than_there_is_room_for_at_a_pause(void **state)
{
	struct thread *me = thread_current();
	char text[601] = {0};
	struct machine m;
	u32 pieces;

	machine_create(&m, 1);
	for (u32 i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('A' + i % 50);
	me->group = &m.vm->sched;
	m.vm->paused = VM_PAUSED_BY_OPERATOR;
	print(&m, text);
	assert_in_range(m.p->uart.output_count, UART_OUTPUT_SIZE - UART_PIECE, UART_OUTPUT_SIZE);
	m.vm->paused = 0;
	platform_vcpu_poll(m.v);
	assert_string_equal(hosted_vm_output(&pieces), text);
	me->group = NULL;
	machine_destroy(&m);
}

#define PRINTERS 3
#define PRINTED	 1000

static struct machine printed;

static void printer(void *letter)
{
	for (u32 i = 0; i < PRINTED; i++)
		out8(&printed, DATA, *(const u8 *)letter);
}

/* While one vCPU is on its way to the console others fill the buffer, and write on. */
static void what_several_print_is_all_there(void **state)
{
	static const char letters[PRINTERS + 1] = "abc";
	struct hosted_job jobs[PRINTERS];
	u32 pieces;

	for (u32 i = 0; i < PRINTERS; i++)
		jobs[i] = (struct hosted_job){"printer", printer, (void *)&letters[i]};
	for (u64 seed = 0; seed < 20; seed++) {
		struct hosted_way way = {.serial = true, .seed = seed, .period = 1};
		u32 count[PRINTERS] = {0};
		const char *output;

		machine_create(&printed, 1);
		hosted_vm_on_write = hosted_point;
		hosted_run(jobs, PRINTERS, &way);
		hosted_vm_on_write = NULL;
		platform_console_flush(printed.p);
		output = hosted_vm_output(&pieces);
		assert_int_equal(strlen(output), PRINTERS * PRINTED);
		for (; *output; output++)
			count[*output - letters[0]]++;
		for (u32 i = 0; i < PRINTERS; i++)
			assert_int_equal(count[i], PRINTED);
		machine_destroy(&printed);
	}
}

/* What is there stays until the VM is taken apart, for which its vCPUs have to be done. */
static void nobody_waits_for_room_at_the_end(void **state)
{
	struct thread *me = thread_current();
	struct machine m;
	u32 pieces;

	machine_create(&m, 1);
	me->group = &m.vm->sched;
	vm_request_end(m.vm, VM_END_KILLED, 0);
	for (u32 i = 0; i < UART_OUTPUT_SIZE + 5; i++)
		out8(&m, DATA, 'x');
	me->group = NULL;
	platform_console_flush(m.p);
	assert_int_equal(strlen(hosted_vm_output(&pieces)), UART_OUTPUT_SIZE);
	machine_destroy(&m);
}

static struct uart *filled;

static void fill(void)
{
	memset(filled->output + filled->output_count, 'y', UART_PIECE);
	filled->output_count += UART_PIECE;
}

/* As another vCPU fills the buffer again and again: that has its time. */
static void one_flush_has_an_end(void **state)
{
	struct machine m;
	u32 pieces;

	machine_create(&m, 1);
	for (u32 i = 0; i < UART_OUTPUT_SIZE - 1; i++)
		out8(&m, DATA, 'x');
	machine_run(10000000);
	hosted_vm_requests(m.v);
	hosted_vm_output(&pieces);
	filled = &m.p->uart;
	hosted_vm_on_write = fill;
	platform_console_flush(m.p);
	hosted_vm_on_write = NULL;
	hosted_vm_output(&pieces);
	assert_int_equal(pieces, UART_OUTPUT_SIZE / UART_PIECE);
	machine_run(10000000);
	assert_int_equal(hosted_vm_requests(m.v) & VCPU_REQ_POLL, VCPU_REQ_POLL);
	platform_vcpu_poll(m.v);
	hosted_vm_output(&pieces);
	assert_int_equal(pieces, UART_OUTPUT_SIZE / UART_PIECE);
	machine_destroy(&m);
}

/* String output arrives a byte at a time, but a wide OUT is bytes for one register each. */
static void wide_access(void **state)
{
	struct machine m;

	machine_create(&m, 1);
	out16(&m, LCR, 0x0b03);
	assert_int_equal(in8(&m, LCR), 0x03);
	assert_int_equal(in8(&m, MCR), 0x0b);
	assert_int_equal(in32(&m, LSR), 0xff00b060);
	machine_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_reset),
		cmocka_unit_test(detected_as_16550a),
		cmocka_unit_test(thre_interrupt),
		cmocka_unit_test(out2_gates_the_line),
		cmocka_unit_test(receiver_fifo),
		cmocka_unit_test(input_waits_outside),
		cmocka_unit_test(loopback),
		cmocka_unit_test(output_in_batches),
		cmocka_unit_test(a_piece_at_a_time),
		cmocka_unit_test(what_is_left_at_the_end),
		cmocka_unit_test(what_is_left_at_a_pause),
		cmocka_unit_test(more_than_there_is_room_for_at_a_pause),
		cmocka_unit_test(what_several_print_is_all_there),
		cmocka_unit_test(nobody_waits_for_room_at_the_end),
		cmocka_unit_test(one_flush_has_an_end),
		cmocka_unit_test(wide_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
