/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/top.c kernel/monitor/cut_name.c kernel/monitor/top_sample.c vmx/exit_stats.c
 * kernel/base/screen.c kernel/base/screen_sequence.c */
/* What top shows in 80 columns and 24 rows: in which order, with which rates, and what is left out. */
#include "kernel/base/printf.h"
#include "kernel/base/screen.h"
#include "kernel/base/stat.h"
#include "kernel/base/string.h"
#include "kernel/config.h"
#include "kernel/monitor/command.h"
#include "tests/hosted/hosted.h"
#include "vmx/vmx.h"

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS 80
#define ROWS	24
#define MS	1000000ull

const u8 font_8x16[256][GLYPH_HEIGHT];

/* --- what is counted --- */

struct cpu_counts {
	u64 run, vcpus, paused;
};
static const struct stat_desc cpu_descs[] = {
	{"run", "ns", "Run.", false},
	{"vcpus", "count", "There.", true},
	{"paused", "count", "Why.", true},
};
static const struct stat_desc mmu_descs[] = {{"faults", "count", "Faults.", false}};
static const struct stat_desc memory_descs[] = {{"got_page", "pages", "Resident.", true}};
static const struct stat_desc reclaim_descs[] = {{"packed_bytes", "bytes", "Packed to.", true}};
/* Named as what top looks for, in a group that it does not. */
static const struct stat_desc pond_descs[] = {
	{"run", "count", "Frogs.", false},
	{"faults", "count", "Falls.", false},
	{"got_page", "pages", "Leaves.", true},
};
static const struct stat_desc frame_descs[] = {
	{"total", "frames", "All.", true},
	{"free", "frames", "Free.", true},
};

struct fake_vm {
	char scope[40];
	struct cpu_counts cpu;
	u64 faults, resident, packed_bytes, exits[VMX_EXIT_REASONS], pond[3];
	struct stat_group groups[6];
};
static struct fake_vm vms[CONFIG_VMS_MAX];
static u64 frames[] = {131072, 65536};
static struct stat_group frame_group = {.scope = "", .name = "frames"};
static u64 now_ns;

static void add_group(struct stat_group *g, const char *scope, const char *name,
		      const struct stat_desc *descs, u32 count, const u64 *values)
{
	*g = (struct stat_group){.scope = scope,
				 .name = name,
				 .descs = descs,
				 .count = count,
				 .read = stat_read_field,
				 .owner = values};
	stat_register(g);
}

static struct fake_vm *add_vm(u32 i, const char *name)
{
	struct fake_vm *vm = &vms[i];

	memset(vm, 0, sizeof(*vm));
	snprintf(vm->scope, sizeof(vm->scope), "vm.%s", name);
	vm->cpu.vcpus = 1;
	vm->resident = 256;
	add_group(&vm->groups[0], vm->scope, "cpu", cpu_descs, 3, (const u64 *)&vm->cpu);
	add_group(&vm->groups[1], vm->scope, "mmu", mmu_descs, 1, &vm->faults);
	add_group(&vm->groups[2], vm->scope, "memory", memory_descs, 1, &vm->resident);
	add_group(&vm->groups[3], vm->scope, "exits", vmx_exit_stat_descs, VMX_EXIT_REASONS,
		  vm->exits);
	add_group(&vm->groups[4], vm->scope, "pond", pond_descs, 3, vm->pond);
	add_group(&vm->groups[5], vm->scope, "reclaim", reclaim_descs, 1, &vm->packed_bytes);
	return vm;
}

/* --- what it needs beside --- */

u64 clock_ns(void)
{
	return now_ns;
}

u32 cpu_count(void)
{
	return 2;
}

static struct screen screen, seen; /* seen: while it waited for a key */

void monitor_draw(const char *bytes, size_t n)
{
	screen_write(&screen, (const u8 *)bytes, n);
}

/* Each letter is typed; a dot is two seconds in which nobody types. */
static const char *typed;
static void (*each_refresh)(void);

enum key monitor_key(u64 deadline_ns, char *c)
{
	assert_true(deadline_ns <= now_ns + 2000 * MS);
	seen = screen;
	*c = *typed++;
	if (*c == '.') {
		now_ns = deadline_ns;
		if (each_refresh)
			each_refresh();
		return KEY_NONE;
	}
	return *c ? KEY_CHAR : KEY_INTERRUPT;
}

/* --- what is seen --- */

static const char *row(u32 y)
{
	static char text[COLUMNS + 1];
	u32 n = COLUMNS;

	for (u32 x = 0; x < COLUMNS; x++)
		text[x] = (char)seen.cells[y][x];
	while (n && text[n - 1] == ' ')
		n--;
	text[n] = 0;
	return text;
}

static void show(const char *keys)
{
	typed = keys;
	command_top(0, NULL);
}

static bool begins(u32 y, const char *text)
{
	return strncmp(row(y), text, strlen(text)) == 0;
}

static int begin(void **state)
{
	now_ns = 5000 * MS;
	each_refresh = NULL;
	memset(&screen, 0, sizeof(screen));
	screen_init_vga(&screen, NULL);
	screen.rows = ROWS;
	add_group(&frame_group, "", "frames", frame_descs, 2, frames);
	return 0;
}

static int end(void **state)
{
	stat_unregister(&frame_group);
	for (u32 i = 0; i < CONFIG_VMS_MAX; i++) {
		for (u32 k = 0; k < ARRAY_SIZE(vms[i].groups); k++) {
			stat_unregister(&vms[i].groups[k]);
			vms[i].groups[k].link.next = NULL;
		}
	}
	return 0;
}

/* --- tests --- */

static void work(void)
{
	vms[0].cpu.run += 100 * MS;
	vms[1].cpu.run += 1900 * MS;
	vms[2].cpu.run += 1000 * MS;
	vms[0].faults += 4000;
	vms[1].faults += 20;
	vms[0].exits[12] += 30;
	vms[0].exits[30] += 90;
	vms[2].exits[10] += 500;
	vms[1].exits[10] += 2;
}

static void test_most_cpu_first(void **state)
{
	add_vm(0, "gamma");
	add_vm(1, "beta")->packed_bytes = 1025;
	add_vm(2, "alpha");
	each_refresh = work;
	show(".");
	assert_true(begins(0, "Weir "));
	assert_non_null(strstr(row(0), ", 2 CPUs 75.0% in VMs, 3 VMs, 256M of 512M free"));
	assert_string_equal(row(1),
			    "VM                        STATE  VCPUS  CPU %  EXITS/s FAULTS/s "
			    "RESIDENT     OF");
	assert_string_equal(row(2),
			    "beta                      runs       1   95.0        1       10 "
			    "      1M     1M");
	assert_string_equal(row(3), "   exits: cpuid 100%");
	assert_string_equal(row(4), "   memory: working set 0, packed 0 to 2K, swapped 0, "
				    "0 refaults/s");
	assert_true(begins(5, "alpha                     runs       1   50.0      250        0 "));
	assert_true(begins(8, "gamma                     runs       1    5.0       60     2000 "));
	assert_string_equal(row(9), "   exits: io 75% hlt 25%");
	assert_string_equal(row(11),
			    "by CPU %; c CPU, e exits, f faults, m memory, n name; q ends");
	/* The end of the command begins a line below. */
	assert_int_equal(screen.row, 12);
	assert_int_equal(screen.column, 0);
}

static void test_sorted_by_what_is_typed(void **state)
{
	static const struct {
		const char *keys, *by, *first, *second, *third;
	} cases[] = {
		{".", "by CPU %; ", "beta ", "alpha ", "gamma "},
		{".e", "by exits; ", "alpha ", "gamma ", "beta "},
		{".f", "by faults; ", "gamma ", "beta ", "alpha "},
		{".m", "by memory; ", "alpha ", "gamma ", "beta "},
		{".N", "by name; ", "alpha ", "beta ", "gamma "},
		{".nc", "by CPU %; ", "beta ", "alpha ", "gamma "},
		/* It lasts, and what is alike stays in the order of registration. */
		{".f..", "by faults; ", "gamma ", "beta ", "alpha "},
		{"", "by CPU %; ", "gamma ", "beta ", "alpha "},
	};

	add_vm(0, "gamma");
	add_vm(1, "beta");
	add_vm(2, "alpha")->resident = 512;
	each_refresh = work;
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		show(cases[i].keys);
		assert_true(begins(11, cases[i].by));
		assert_true(begins(2, cases[i].first));
		assert_true(begins(5, cases[i].second));
		assert_true(begins(8, cases[i].third));
	}
}

/* The same two samples, sorted otherwise: a key is no refresh, and does not put it off. */
static void test_a_key_takes_no_sample(void **state)
{
	u64 began = now_ns;

	add_vm(0, "a");
	add_vm(1, "b");
	each_refresh = work;
	show(".nenfm");
	assert_true(now_ns == began + 2000 * MS);
	assert_true(begins(2, "a                         runs       1    5.0       60     2000 "));
	typed = "qx";
	command_top(0, NULL);
	assert_string_equal(typed, "x");
	typed = "Q";
	command_top(0, NULL);
	assert_string_equal(typed, "");
}

static void busy_all(void)
{
	for (u32 i = 0; i < CONFIG_VMS_MAX; i++)
		vms[i].cpu.run += i * 10 * MS;
}

static void test_as_many_vms_as_there_can_be(void **state)
{
	for (u32 i = 0; i < CONFIG_VMS_MAX; i++) {
		char name[CONFIG_NAME_MAX];

		snprintf(name, sizeof(name), "a-name-of_as.many-letters-as-%02u", i);
		add_vm(i, name)->cpu.vcpus = 32;
		vms[i].resident = 1ull << 34 >> PAGE_SHIFT;
	}
	each_refresh = busy_all;
	show(".");
	/* Nothing scrolled away, and each has a row; the first of them have their details, too. */
	assert_true(begins(0, "Weir "));
	assert_true(begins(2, "a-name-of_as~etters-as-15 runs      32    7.5 "));
	assert_true(begins(3, "   exits:"));
	assert_true(begins(5, "a-name-of_as~etters-as-14 runs      32    7.0 "));
	assert_true(begins(8, "a-name-of_as~etters-as-13 runs      32    6.5 "));
	for (u32 y = 8; y < 22; y++)
		assert_true(begins(y, "a-name-of_as~etters-as-"));
	assert_string_equal(row(22), "28 rows left out; by CPU %; c CPU, e exits, f faults, "
				     "m memory, n name; q ends");
	for (u32 y = 0; y < 23; y++)
		assert_true(strlen(row(y)) < COLUMNS);
	assert_non_null(strstr(row(2), " 16G    16G"));
}

static void test_seven_fit_with_all_their_rows(void **state)
{
	for (u32 i = 0; i < 7; i++) {
		char name[CONFIG_NAME_MAX];

		snprintf(name, sizeof(name), "vm%u", i);
		add_vm(i, name);
	}
	show(".n");
	assert_true(begins(0, "Weir "));
	assert_true(begins(20, "vm6 "));
	assert_true(begins(22, "   memory:"));
}

static void work_and_leap(void)
{
	for (u32 i = 0; i < 5; i++) {
		vms[i].cpu.run += 100 * MS;
		vms[i].faults += 40;
		vms[i].exits[10] += 60;
		for (u32 k = 0; k < ARRAY_SIZE(vms[i].pond); k++)
			vms[i].pond[k] += 1000000 * MS;
	}
}

/* Of a VM whose name has a group's in it all counters fit the pattern for that group. */
static void test_names_with_dots(void **state)
{
	static const char *const names[] = {"a.exits", "a.memory", "b.cpu.x", "b.reclaim.mmu",
					    "exits.mmu.faults"};

	for (u32 i = 0; i < ARRAY_SIZE(names); i++)
		add_vm(i, names[i]);
	each_refresh = work_and_leap;
	show(".");
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		char text[COLUMNS];

		snprintf(text, sizeof(text),
			 "%-25s runs       1    5.0       30       20       1M     1M", names[i]);
		assert_string_equal(row(2 + 3 * i), text);
		assert_string_equal(row(3 + 3 * i), "   exits: cpuid 100%");
		assert_string_equal(row(4 + 3 * i), "   memory: working set 0, packed 0 to 0, "
						    "swapped 0, 0 refaults/s");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_most_cpu_first, begin, end),
		cmocka_unit_test_setup_teardown(test_sorted_by_what_is_typed, begin, end),
		cmocka_unit_test_setup_teardown(test_a_key_takes_no_sample, begin, end),
		cmocka_unit_test_setup_teardown(test_as_many_vms_as_there_can_be, begin, end),
		cmocka_unit_test_setup_teardown(test_names_with_dots, begin, end),
		cmocka_unit_test_setup_teardown(test_seven_fit_with_all_their_rows, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
