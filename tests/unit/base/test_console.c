/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/base/console.c kernel/base/screen.c kernel/base/screen_sequence.c
 *               kernel/base/serial.c
 * unit-cflags: -DCONSOLE_BREAK_SPINS=2000
 */
/* The console's lock, and what goes to the sinks under it. A "CPU" here is a thread. */
#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/screen.h"
#include "kernel/base/string.h"
#include "kernel/base/x86.h"
#include "tests/hosted/schedule.h"

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PORT	0x3f8
#define WRITERS 4
#define WRITES	200
#define LENGTH	50
#define LINE	200 /* bytes of a line, more than the lock is held for */

const u8 font_8x16[256][16];
static _Thread_local u32 cpu;
static u8 uart_reg[8];
static char sent[WRITERS * WRITES * LENGTH + 4096];
static u32 sent_count;
static int received = -1;

/* What is to come in between, before the lock is taken for the n-th time from now. */
static _Thread_local void (*between)(void);
static _Thread_local u32 between_at;

u32 log_cpu_id(void);
u32 log_cpu_id(void)
{
	if (between && !between_at--) {
		void (*fn)(void) = between;

		between = NULL;
		fn();
	}
	return cpu;
}

static u32 uart_in(u16 port, u32 size)
{
	(void)size;
	if (port == PORT + 5)
		return received < 0 ? 0x60 : 0x61;
	if (port == PORT)
		return (u32)received;
	return uart_reg[port - PORT];
}

static void uart_out(u16 port, u32 size, u32 value)
{
	(void)size;
	if (port == PORT && !(uart_reg[3] & 0x80))
		sent[sent_count++] = (char)value;
	else
		uart_reg[port - PORT] = (u8)value;
}

static void test_sinks(void **state)
{
	static u16 cells[80 * 25];

	(void)state;
	hosted_machine.in = uart_in;
	hosted_machine.out = uart_out;
	assert_false(console_emit_line("nobody", 6));
	assert_int_equal(console_getc_poll(), -1);
	assert_int_equal(console_add_serial(PORT, 115200), 0);
	sent_count = 0;
	assert_true(console_emit_line("line", 4));
	assert_memory_equal(sent, "line\r\n", 6);
	assert_int_equal(sent_count, 6);

	console_add_vga(cells);
	sent_count = 0;
	console_write("raw\r\nbytes", 10);
	assert_int_equal(sent_count, 10);
	assert_memory_equal(sent, "raw\r\nbytes", 10);
	assert_int_equal(cells[0], 0x0700 | 'r');
	assert_int_equal(cells[80], 0x0700 | 'b');

	/* While the screen is not mapped, nothing of it is touched, and nothing of it is lost. */
	console_detach_screen();
	console_write("X", 1);
	assert_int_equal(cells[85], 0x0700 | ' ');
	console_attach_screen(cells);
	assert_int_equal(cells[85], 0x0700 | 'X');

	received = 'k';
	assert_int_equal(console_getc_poll(), 'k');
	received = -1;
	assert_int_equal(console_getc_poll(), -1);
}

/* A fault inside the console may print: it passes, and leaves the lock to who holds it. */
static void test_nested(void **state)
{
	struct console_hold outer = console_lock(), inner;

	(void)state;
	assert_true(outer.irqs_on);
	assert_false(outer.nested);
	assert_false(irq_enabled());
	inner = console_lock();
	assert_true(inner.nested);
	assert_false(inner.irqs_on);
	console_unlock(inner);
	assert_false(irq_enabled());
	assert_true(console_lock().nested);
	console_unlock(outer);
	assert_true(irq_enabled());
	outer = console_lock();
	assert_false(outer.nested);
	console_unlock(outer);
}

static void *writer(void *arg)
{
	char text[LENGTH];

	cpu = (u32)(uintptr_t)arg;
	memset(text, 'a' + (int)cpu, sizeof(text));
	for (u32 i = 0; i < WRITES; i++)
		console_write(text, sizeof(text));
	return NULL;
}

/* What one CPU writes in one piece stays in one piece. */
static void test_writers(void **state)
{
	pthread_t threads[WRITERS];
	u32 of[WRITERS] = {0};

	(void)state;
	sent_count = 0;
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, (void *)(i + 1)), 0);
	for (u32 i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(sent_count, WRITERS * WRITES * LENGTH);
	for (u32 i = 0; i < sent_count; i += LENGTH) {
		of[sent[i] - 'b']++;
		for (u32 j = 1; j < LENGTH; j++)
			assert_int_equal(sent[i + j], sent[i]);
	}
	for (u32 i = 0; i < WRITERS; i++)
		assert_int_equal(of[i], WRITES);
}

static void log_line(void)
{
	struct console_hold hold = console_lock();

	console_emit_line("log", 3);
	console_flush();
	console_unlock(hold);
}

static void write_line(void)
{
	char text[LINE];

	memset(text, 'a', sizeof(text));
	console_write_line(text, sizeof(text));
}

/* Where the first byte of a whole line is found, which there is once. */
static u32 find_line(void)
{
	u32 first = 0;

	while (sent[first] != 'a')
		first++;
	for (u32 i = 0; i < LINE; i++)
		assert_int_equal(sent[first + i], 'a');
	return first;
}

/* A line of the log comes before a VM's or after it, whenever it wants to. */
static void test_line_between(void **state)
{
	u32 n = 0, before = 0, after = 0;

	(void)state;
	for (;; n++) {
		sent_count = 0;
		between = log_line;
		between_at = n;
		write_line();
		if (between)
			break;
		assert_int_equal(sent_count, LINE + 5);
		if (find_line())
			before++;
		else
			after++;
	}
	between = NULL;
	assert_int_equal(before, 1);
	assert_true(after > LINE / 64);
}

static void stop_here(void)
{
	pthread_exit(NULL);
}

static void *stopped_writer(void *arg)
{
	cpu = 6;
	between = stop_here;
	between_at = *(u32 *)arg;
	write_line();
	return NULL;
}

/* It waits for nobody: whose line is half out may not run for long. */
static void test_line_of_stopped(void **state)
{
	pthread_t thread;

	(void)state;
	for (u32 n = 1; n < 4; n++) {
		sent_count = 0;
		assert_int_equal(pthread_create(&thread, NULL, stopped_writer, &n), 0);
		pthread_join(thread, NULL);
		assert_true(sent_count < LINE);
		log_line();
		assert_int_equal(sent_count, LINE + 5);
		assert_int_equal(find_line(), 0);
		log_line();
		assert_int_equal(sent_count, LINE + 10);
	}
}

static void *line_writer(void *arg)
{
	cpu = (u32)(uintptr_t)arg;
	for (u32 i = 0; i < WRITES / 4; i++) {
		if (cpu & 1)
			write_line();
		else
			log_line();
	}
	return NULL;
}

/* So they do on several CPUs, and what writes raw bytes passes none of its pieces into a line. */
static void test_line_writers(void **state)
{
	pthread_t threads[WRITERS];
	u32 lines = 0, logged = 0;

	(void)state;
	sent_count = 0;
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, line_writer, (void *)(i + 1)),
				 0);
	for (u32 i = 0; i < WRITES; i++)
		console_write("raw", 3);
	for (u32 i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	for (u32 i = 0; i < sent_count;) {
		if (sent[i] == 'a') {
			for (u32 j = 0; j < LINE; j++)
				assert_int_equal(sent[i + j], 'a');
			i += LINE;
			lines++;
		} else if (sent[i] == 'l') {
			assert_memory_equal(sent + i, "log\r\n", 5);
			i += 5;
			logged++;
		} else {
			assert_memory_equal(sent + i, "raw", 3);
			i += 3;
		}
	}
	assert_int_equal(lines, 2 * (WRITES / 4));
	assert_int_equal(logged, 2 * (WRITES / 4));
}

static void *stopped_holder(void *arg)
{
	cpu = 7;
	*(struct console_hold *)arg = console_lock();
	return NULL;
}

static u32 spins; /* atomic: of who waits */

static void count_spin(void)
{
	__atomic_fetch_add(&spins, 1, __ATOMIC_SEQ_CST);
}

static u32 spins_now(void)
{
	return __atomic_load_n(&spins, __ATOMIC_SEQ_CST);
}

static void *waiter(void *arg)
{
	cpu = 8;
	console_write("panic", 5);
	__atomic_store_n((bool *)arg, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/*
 * A panic speaks although the CPU that holds the lock was stopped and never gives it back; who
 * does not panic waits.
 */
static void test_broken_lock(void **state)
{
	struct console_hold hold;
	pthread_t thread;
	bool done = false;
	u32 before;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, stopped_holder, &hold), 0);
	pthread_join(thread, NULL);
	sent_count = 0;
	hosted_on_relax = count_spin;
	assert_int_equal(pthread_create(&thread, NULL, waiter, &done), 0);
	while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST) && spins_now() < 3 * CONSOLE_BREAK_SPINS)
		sched_yield();
	assert_false(__atomic_load_n(&done, __ATOMIC_SEQ_CST));
	assert_int_equal(sent_count, 0);
	before = spins_now();
	console_break_locks();
	pthread_join(thread, NULL);
	hosted_on_relax = NULL;
	assert_true(done);
	assert_memory_equal(sent, "panic", 5);
	/* Nor at once: the holder may be about to give it back. */
	assert_true(spins_now() - before >= CONSOLE_BREAK_SPINS);
}

static sigjmp_buf before_fault;

static void leave_by_fault(int number)
{
	(void)number;
	siglongjmp(before_fault, 1);
}

/* A panic finds nothing of a line that was being taken over when its CPU was stopped. */
static void test_line_not_taken_over(void **state)
{
	char *pages = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	struct sigaction leave = {.sa_handler = leave_by_fault, .sa_flags = SA_NODEFER}, before;

	(void)state;
	assert_true(pages != MAP_FAILED);
	assert_int_equal(mprotect(pages + PAGE_SIZE, PAGE_SIZE, PROT_NONE), 0);
	write_line(); /* is still in the buffer */
	sent_count = 0;
	assert_int_equal(sigaction(SIGSEGV, &leave, &before), 0);
	cpu = 6;
	if (!sigsetjmp(before_fault, 1)) {
		console_write_line(pages + PAGE_SIZE - 70, LINE);
		fail_msg("it was taken over whole");
	}
	assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
	cpu = 7;
	console_break_locks();
	log_line();
	assert_int_equal(sent_count, 5);
	assert_memory_equal(sent, "log\r\n", 5);
	munmap(pages, 2 * PAGE_SIZE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sinks),		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_writers),		cmocka_unit_test(test_line_between),
		cmocka_unit_test(test_line_of_stopped), cmocka_unit_test(test_line_writers),
		cmocka_unit_test(test_broken_lock),	cmocka_unit_test(test_line_not_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
