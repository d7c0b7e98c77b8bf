/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/monitor/command_vm.c kernel/monitor/cut_name.c */
/* What the vm commands say in every case, those too that no boot meets, and that they keep no reference. */
#include "kernel/base/error.h"
#include "kernel/base/string.h"
#include "kernel/console.h"
#include "kernel/monitor/command.h"
#include "kernel/monitor/pager.h"
#include "kernel/vm_life.h"
#include "smp/thread.h"
#include "tests/hosted/hosted.h"
#include "vmx/vmx.h"
#include "tests/unit/monitor/said.h"

#include <cmocka.h>
#include <string.h>

/* --- two configured VMs, of which alpha runs --- */

static char asked[64];
static struct gmem ram;
static struct vm alpha = {.name = "alpha", .ram = &ram};
static u32 references, paused, configured;
static bool runs, may_start, begins, ends, refused, spent;
static int result, start_result;

bool monitor_stopped(void)
{
	return false;
}

bool command_number(const char *what, const char *text, u64 *out)
{
	return parse_u64(text, text + strlen(text), out) == 0;
}

const char *console_vm_name(u32 i)
{
	static const char *const names[] = {"alpha", "beta", "a-name-of-as-many-letters-as-31"};

	return i < configured ? names[i] : NULL;
}

struct cut_name pager_name(const char *name, u32 columns)
{
	return cut_name(name, columns);
}

struct vm *vm_find(const char *name)
{
	if (begins)
		may_start = false; /* it is on the list from now on */
	if (ends)
		may_start = true; /* it has ended just now, and starts again */
	if (!runs || strcmp(name, "alpha"))
		return NULL;
	references++;
	return &alpha;
}

void vm_put(struct vm *vm)
{
	assert_ptr_equal(vm, &alpha);
	references--;
}

#define LIFE(name)                                    \
	int name(struct vm *vm)                       \
	{                                             \
		assert_int_equal(references, 1);      \
		strlcpy(asked, #name, sizeof(asked)); \
		return result;                        \
	}
LIFE(vm_pause)
LIFE(vm_resume)
LIFE(vm_reset)
LIFE(vm_power_off)
LIFE(vm_kill)
LIFE(vm_nmi)
LIFE(vm_dump)

int vm_dump_memory(struct vm *vm, u64 gpa, u64 size)
{
	assert_int_equal(references, 1);
	snprintf(asked, sizeof(asked), "%#llx+%llu", (unsigned long long)gpa,
		 (unsigned long long)size);
	return result;
}

bool vm_is_paused(const struct vm *vm)
{
	return paused;
}

u32 vm_paused_why(const struct vm *vm)
{
	return paused;
}

bool vm_may_start(const char *name)
{
	return may_start;
}

bool vm_is_refused(const char *name)
{
	return refused && !strcmp(name, "beta");
}

bool vm_is_spent(const char *name)
{
	return spent && !strcmp(name, "beta");
}

int vm_start(const char *name)
{
	return start_result;
}

/* What happens beside the command: it ends, and goes unless it is held; or it starts. */
static bool ends_beside, starts_beside;

int vm_stay_off(const char *name)
{
	if (ends_beside) {
		runs = references != 0;
		return ERR_EXIST;
	}
	if (starts_beside) {
		starts_beside = false;
		runs = true;
	}
	return may_start ? 0 : runs && !strcmp(name, "alpha") ? ERR_EXIST : ERR_NOENT;
}

u64 clock_ns(void)
{
	return 5000000000ull;
}

u64 thread_run_ns(const struct thread *t)
{
	return 0;
}

void mmu_stats_get(struct mmu_vm *vm, struct mmu_stats *out)
{
	memset(out, 0, sizeof(*out));
}

void gmem_count_states(const struct gmem *g, u64 pages[GMEM_STATES])
{
	memset(pages, 0, GMEM_STATES * sizeof(u64));
}

u64 gmem_given_back(const struct gmem *g)
{
	assert_ptr_equal(g, &ram);
	return 256;
}

u64 vmx_exit_count(const struct vmx_vcpu *v, u32 reason)
{
	return 1;
}

static int begin(void **state)
{
	references = paused = 0;
	runs = true;
	may_start = refused = spent = ends_beside = starts_beside = false;
	configured = 2;
	result = start_result = 0;
	alpha.end = VM_END_NONE;
	alpha.start_ns = 1000000000ull;
	alpha.config.mem = 32 << 20;
	return 0;
}

static const char *say(void (*command)(u32 argc, char **argv), u32 argc, const char *name,
		       const char *second, const char *third)
{
	char words[3][32];
	char *argv[] = {words[0], words[1], words[2]};

	strlcpy(words[0], name, sizeof(words[0]));
	strlcpy(words[1], second, sizeof(words[1]));
	strlcpy(words[2], third, sizeof(words[2]));
	said[0] = asked[0] = 0;
	command(argc, argv);
	assert_int_equal(references, 0);
	return said;
}

static const char *say_of(void (*command)(u32 argc, char **argv), const char *name)
{
	return say(command, 1, name, "", "");
}

/* --- tests --- */

static const struct {
	void (*run)(u32 argc, char **argv);
	const char *asks, *done;
} verbs[] = {
	{command_vm_pause, "vm_pause", "vm alpha is paused\n"},
	{command_vm_reset, "vm_reset", "vm alpha is reset\n"},
	{command_vm_off, "vm_power_off", "vm alpha is switched off\n"},
	{command_vm_kill, "vm_kill", "vm alpha is killed\n"},
	{command_vm_nmi, "vm_nmi", "vm alpha got an NMI\n"},
	{command_vm_dump, "vm_dump", "vm alpha is in the log\n"},
};

#define STARTS_NO_MORE                                                                \
	"vm beta does not run, nor does it start again, for it has modules=release: " \
	"boot the machine anew, with modules=keep for more than one start\n"

static void test_each_verb(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(verbs); i++) {
		begin(NULL);
		assert_string_equal(say_of(verbs[i].run, "alpha"), verbs[i].done);
		assert_string_equal(asked, verbs[i].asks);
		result = ERR_NOENT;
		assert_string_equal(say_of(verbs[i].run, "alpha"),
				    "vm alpha has ended meanwhile\n");
		result = ERR_NOMEM;
		say_of(verbs[i].run, "alpha");
		assert_non_null(strstr(said, error_name(ERR_NOMEM)));
		assert_string_equal(say_of(verbs[i].run, "beta"),
				    "vm beta does not run: vm start beta\n");
		assert_string_equal(say_of(verbs[i].run, "gamma"),
				    "no VM is called 'gamma': vm list lists them\n");
		refused = true;
		assert_string_equal(say_of(verbs[i].run, "beta"),
				    "vm beta was refused when Weir booted: log tells why\n");
		refused = false;
		spent = true;
		assert_string_equal(say_of(verbs[i].run, "beta"), STARTS_NO_MORE);
		assert_string_equal(asked, "");
	}
}

static void test_pauses(void **state)
{
	paused = VM_PAUSED_BY_OPERATOR;
	assert_string_equal(say_of(command_vm_pause, "alpha"), "vm alpha was paused already\n");
	paused = VM_PAUSED_FOR_MEMORY;
	assert_string_equal(say_of(command_vm_pause, "alpha"), "vm alpha is paused\n");
	assert_string_equal(say_of(command_vm_resume, "alpha"),
			    "vm alpha is paused for memory, and goes on by itself when there is "
			    "some\n");
	assert_string_equal(asked, "");
	paused = VM_PAUSED_FOR_MEMORY | VM_PAUSED_BY_OPERATOR;
	assert_string_equal(say_of(command_vm_resume, "alpha"),
			    "vm alpha goes on when there is memory\n");
	assert_string_equal(asked, "vm_resume");
	paused = VM_PAUSED_BY_OPERATOR;
	assert_string_equal(say_of(command_vm_resume, "alpha"), "vm alpha goes on\n");
	result = ERR_NOENT;
	assert_string_equal(say_of(command_vm_resume, "alpha"), "vm alpha has ended meanwhile\n");
	paused = 0;
	assert_string_equal(say_of(command_vm_resume, "alpha"), "vm alpha is not paused\n");
}

static void test_start(void **state)
{
	static const struct {
		int err;
		const char *name, *said;
	} cases[] = {
		{0, "beta", "vm beta is about to start\n"},
		{ERR_EXIST, "alpha", "vm alpha runs already, or is about to\n"},
		{ERR_PERM, "beta", "vm beta was refused when Weir booted: log tells why\n"},
		{ERR_NOENT, "gamma", "no VM is called 'gamma': vm list lists them\n"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		start_result = cases[i].err;
		refused = start_result == ERR_PERM;
		assert_string_equal(say_of(command_vm_start, cases[i].name), cases[i].said);
	}
	start_result = ERR_PERM;
	refused = false;
	spent = true;
	assert_string_equal(say_of(command_vm_start, "beta"), STARTS_NO_MORE);
}

static void test_reset_without_modules(void **state)
{
	result = ERR_PERM;
	assert_string_equal(say_of(command_vm_reset, "alpha"),
			    "vm alpha is not reset, for it has modules=release, and it could "
			    "not start: vm off ends it; modules=keep is for VMs that are reset\n");
	assert_string_equal(asked, "vm_reset");
}

/* Who waits for its turn to start does not run, and is kept off all the same. */
static void test_off_before_a_start(void **state)
{
	runs = false;
	may_start = true;
	assert_string_equal(say_of(command_vm_off, "alpha"),
			    "vm alpha was about to start, and stays off\n");
	assert_string_equal(say_of(command_vm_kill, "beta"),
			    "vm beta was about to start, and stays off\n");
	assert_string_equal(asked, "");
	assert_string_equal(say_of(command_vm_reset, "alpha"),
			    "vm alpha does not run yet: it is about to start\n");
	begins = true;
	assert_string_equal(say_of(command_vm_reset, "alpha"),
			    "vm alpha does not run yet: it is about to start\n");
	begins = may_start = false;
	ends = true;
	assert_string_equal(say_of(command_vm_reset, "alpha"),
			    "vm alpha does not run yet: it is about to start\n");
	ends = false;
}

/* Whatever it does at that moment it is told so, and the answer is right. */
static void test_off_beside_its_end(void **state)
{
	ends_beside = true;
	assert_string_equal(say_of(command_vm_off, "alpha"), "vm alpha is switched off\n");
	result = ERR_NOENT;
	assert_string_equal(say_of(command_vm_off, "alpha"), "vm alpha has ended meanwhile\n");
	begin(NULL);
	runs = false;
	starts_beside = true;
	assert_string_equal(say_of(command_vm_kill, "alpha"), "vm alpha is killed\n");
	assert_string_equal(asked, "vm_kill");
}

static void test_dump_of_memory(void **state)
{
	static const struct {
		int err;
		const char *address, *bytes, *said;
	} cases[] = {
		{0, "0x1000", "16", ""},
		{ERR_RANGE, "0", "4097", "BYTES is 1 to 4096, and no address wraps\n"},
		{ERR_NOSLOT, "0", "16", "there is no RAM there\n"},
		{ERR_NOSLOT, "0", "17", "there is no RAM from there on\n"},
		{ERR_NOENT, "0", "16", "vm alpha has ended meanwhile\n"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		result = cases[i].err;
		say(command_vm_dump, 3, "alpha", cases[i].address, cases[i].bytes);
		assert_string_equal(said, cases[i].said);
		assert_true(asked[0] == '0');
	}
	assert_string_equal(say(command_vm_dump, 2, "alpha", "0", ""),
			    "ADDRESS needs BYTES after it\n");
	say(command_vm_dump, 3, "alpha", "x", "16");
	say(command_vm_dump, 3, "alpha", "0", "x");
	assert_string_equal(asked, "");
}

static void test_list(void **state)
{
	static const struct {
		u32 paused;
		enum vm_end end;
		const char *said;
	} cases[] = {
		{0, VM_END_NONE, "alpha                   runs        0         0 of 32M "},
		{VM_PAUSED_BY_OPERATOR, VM_END_NONE, "alpha                   paused "},
		{VM_PAUSED_FOR_MEMORY, VM_END_NONE, "alpha                   no-mem "},
		{VM_PAUSED_FOR_MEMORY | VM_PAUSED_BY_OPERATOR, VM_END_NONE,
		 "alpha                   paused "},
		{0, VM_END_POWEROFF, "alpha                   ending "},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		paused = cases[i].paused;
		alpha.end = cases[i].end;
		say(command_vm_list, 0, "", "", "");
		assert_non_null(strstr(said, cases[i].said));
		assert_non_null(strstr(said, "\nbeta                    off\n"));
	}
	may_start = true;
	say(command_vm_list, 0, "", "", "");
	assert_non_null(strstr(said, "\nbeta                    starts\n"));
	begins = true;
	configured = 1;
	runs = false;
	say(command_vm_list, 0, "", "", "");
	assert_non_null(strstr(said, "\nalpha                   starts\n"));
	begins = false;
	may_start = true;
	configured = 3;
	say(command_vm_list, 0, "", "", "");
	assert_non_null(strstr(said, "\na-name-of-a~tters-as-31 starts\n"));
	configured = 0;
	assert_string_equal(say(command_vm_list, 0, "", "", ""), "no VM is configured\n");
}

/* What each vCPU does at the moment, so that nobody takes one for stuck that was never started. */
static void test_show(void **state)
{
	static struct cpu on = {.id = 3};
	static struct thread thread = {.cpu = &on};
	static struct vcpu vcpus[] = {
		{.id = 0, .thread = &thread},
		{.id = 1, .thread = &thread, .halted = true, .parked = true},
		{.id = 2, .thread = &thread, .waits_for_sipi = true, .parked = true},
		{.id = 3, .thread = &thread, .parked = true},
	};

	alpha.vcpu_count = ARRAY_SIZE(vcpus);
	for (u32 i = 0; i < ARRAY_SIZE(vcpus); i++)
		alpha.vcpus[i] = &vcpus[i];
	ram.removed = 1024;
	ram.packed_bytes = 1025;
	say_of(command_vm_show, "alpha");
	alpha.vcpu_count = 0;
	assert_non_null(strstr(said, "\n  put away: 0 packed to 2K, "));
	assert_non_null(strstr(said, "\n  given back by the guest: 1M now, 4M in all\n"));
	assert_non_null(strstr(said, "\n  vCPU 0: not halted, on CPU 3, ran 0.000 s, 0 exits\n"
				     "  vCPU 1: halted, on CPU 3, ran 0.000 s, 0 exits\n"
				     "  vCPU 2: waits for its start-up IPI, on CPU 3, ran 0.000 s, "
				     "0 exits\n"
				     "  vCPU 3: paused, on CPU 3, ran 0.000 s, 0 exits\n"
				     "  modules=keep on_crash=stop\n"));
}

/* Whether it starts again is seen before it is asked to. */
static void test_show_modules(void **state)
{
	static struct config_module modules[] = {
		{.kind = CONFIG_KERNEL, .size = 4097, .cmdline = "quiet"},
		{.kind = CONFIG_INITRD, .size = 1},
	};

	alpha.config.modules = modules;
	alpha.config.module_count = ARRAY_SIZE(modules);
	alpha.config.release_modules = true;
	say_of(command_vm_show, "alpha");
	assert_non_null(strstr(said, "\n  modules=release on_crash=stop\n"
				     "  kernel: 4097 bytes, -- quiet\n  initrd: 1 bytes\n"));
	alpha.config.release_modules = false;
	alpha.config.restart_on_crash = true;
	say_of(command_vm_show, "alpha");
	assert_non_null(strstr(said, "\n  modules=keep on_crash=restart\n"));
	alpha.config.restart_on_crash = false;
	alpha.config.module_count = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_each_verb, begin),
		cmocka_unit_test_setup(test_pauses, begin),
		cmocka_unit_test_setup(test_start, begin),
		cmocka_unit_test_setup(test_reset_without_modules, begin),
		cmocka_unit_test_setup(test_off_before_a_start, begin),
		cmocka_unit_test_setup(test_off_beside_its_end, begin),
		cmocka_unit_test_setup(test_dump_of_memory, begin),
		cmocka_unit_test_setup(test_list, begin),
		cmocka_unit_test_setup(test_show, begin),
		cmocka_unit_test_setup(test_show_modules, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
