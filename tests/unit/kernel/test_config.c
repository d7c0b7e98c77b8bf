/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: kernel/config.c kernel/config_cpus.c kernel/config_kernel.c kernel/config_line.c
 * kernel/config_memory.c kernel/config_weir.c
 * kernel/disk/swap_name.c
 */
/*
 * The command line and GRUB's module lines: every malformed line gets its own message, and what is
 * sound beside it still stands.
 */
#include "kernel/base/log.h"
#include "kernel/base/string.h"
#include "kernel/config.h"
#include "kernel/config_cpus.h"

#include <cmocka.h>
#include <stdio.h>

static struct boot_info boot;
static struct weir_config config;

static void reset(const char *cmdline)
{
	memset(&boot, 0, sizeof(boot));
	strlcpy(boot.cmdline, cmdline, sizeof(boot.cmdline));
}

static void add(const char *line)
{
	struct boot_module *m = &boot.modules[boot.module_count++];

	m->start = HPA(MIB(16) * boot.module_count);
	m->size = KIB(64);
	strlcpy(m->cmdline, line, sizeof(m->cmdline));
}

static void test_full_example(void **state)
{
	reset("console=com2,57600 loglevel=debug when_done=poweroff panic=reboot max_cpus=4 "
	      "mitigations=off "
	      "pstate=firmware numa=off "
	      "rma_pool=96M apicv=off stats watermarks=2M,4M,8M tax=50 swap=ata1p12");
	add("vm=alpha kernel mem=1G vcpus=32 mmu=ept rma=64M psize=2M weight=300 cap=150 "
	    "cpus=0,2-3,63 -- console=ttyS0 quiet "
	    "mem=64M");
	add("vm=beta kernel min=64M max=0x6001000 shares=1000 modules=release");
	add("vm=alpha initrd");
	add("vm=beta module -- one  two");
	config_parse(&boot, &config);

	assert_int_equal(config.message_count, 0);
	assert_int_equal(config.console_port, 0x2f8);
	assert_int_equal(config.console_baud, 57600);
	assert_int_equal(config.loglevel, LOG_DEBUG);
	assert_int_equal(config.when_done, WHEN_DONE_POWEROFF);
	assert_true(config.panic_reboots);
	assert_int_equal(config.max_cpus, 4);
	assert_true(config.mitigations_off);
	assert_true(config.pstate_firmware);
	assert_true(config.numa_off);
	assert_int_equal(config.apicv, VMX_APICV_OFF);
	assert_true(config.stats);
	assert_int_equal(config.rma_pool, MIB(96));
	assert_int_equal(config.watermarks[0], MIB(2));
	assert_int_equal(config.watermarks[1], MIB(4));
	assert_int_equal(config.watermarks[2], MIB(8));
	assert_int_equal(config.tax, 50);
	assert_string_equal(config.swap, "ata1p12");
	assert_int_equal(config.vm_count, 2);

	struct vm_config *a = &config.vms[0], *b = &config.vms[1];

	assert_false(a->refused);
	assert_false(a->release_modules);
	assert_true(b->release_modules);
	assert_string_equal(a->name, "alpha");
	assert_int_equal(a->mem, GIB(1));
	assert_int_equal(a->rma, MIB(64));
	assert_int_equal(a->page_order, 9);
	assert_int_equal(a->min, 0);
	assert_int_equal(a->max, 0);
	assert_int_equal(a->shares, 1024);
	assert_int_equal(a->weight, 300);
	assert_int_equal(a->cap, 150);
	assert_int_equal(a->cpus, BIT(0) | BIT(2) | BIT(3) | BIT(63));
	assert_int_equal(a->module_count, 2);
	assert_int_equal(a->modules[0].kind, CONFIG_KERNEL);
	assert_string_equal(a->modules[0].cmdline, "console=ttyS0 quiet mem=64M");
	assert_int_equal(a->modules[1].kind, CONFIG_INITRD);
	assert_int_equal(a->modules[1].start.v, MIB(48));
	assert_false(b->refused);
	assert_int_equal(b->mem, MIB(256));
	assert_int_equal(b->rma, 0);
	assert_int_equal(b->min, MIB(64));
	assert_int_equal(b->max, MIB(96) + KIB(4));
	assert_int_equal(b->shares, 1000);
	assert_int_equal(b->weight, 100);
	assert_int_equal(b->cap, 0);
	assert_int_equal(b->cpus, 0);
	assert_int_equal(b->page_order, 0);
	assert_string_equal(b->modules[1].cmdline, "one  two");
}

/* Who names the same word is of one group, and of one of his own who names none. */
static void test_share_groups(void **state)
{
	static const char *const words[] = {"",		  "share=us", "",
					    "share=them", "share=us", "share=vm"};
	static const u32 groups[] = {1, 2, 3, 4, 2, 6};
	char line[64];

	reset("");
	for (u32 i = 0; i < ARRAY_SIZE(words); i++) {
		strlcpy(line, "vm=a kernel ", sizeof(line));
		line[3] = (char)('a' + i);
		strlcpy(line + 12, words[i], sizeof(line) - 12);
		add(line);
	}
	config_parse(&boot, &config);
	assert_int_equal(config.vm_count, ARRAY_SIZE(words));
	for (u32 i = 0; i < ARRAY_SIZE(words); i++) {
		assert_false(config.vms[i].refused);
		assert_int_equal(config.vms[i].share_group, groups[i]);
	}
}

static void test_cpus_text(void **state)
{
	static const struct {
		const char *list, *text;
	} cases[] = {
		{"0", "0"},
		{"3,1,2", "1-3"},
		{"0,2-3,3,63", "0,2-3,63"},
		{"0-63", "0-63"},
	};
	char text[64];
	u64 cpus;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *list = cases[i].list;

		assert_int_equal(config_parse_cpus(list, list + strlen(list), &cpus), 0);
		config_cpus_text(cpus, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
	}
	config_cpus_text(0x5555555555555555ull, text, 8);
	assert_string_equal(text, "0,2,4,6");
}

static void test_defaults(void **state)
{
	reset("");
	config_parse(&boot, &config);
	assert_int_equal(config.message_count, 0);
	assert_int_equal(config.vm_count, 0);
	assert_int_equal(config.console_port, 0x3f8);
	assert_int_equal(config.console_baud, 115200);
	assert_int_equal(config.loglevel, LOG_INFO);
	assert_int_equal(config.when_done, WHEN_DONE_HALT);
	assert_false(config.panic_reboots);
	assert_int_equal(config.rma_pool, 0);
	assert_int_equal(config.watermarks[0], 0);
	assert_int_equal(config.tax, 75);
	assert_string_equal(config.swap, "");
	assert_false(config.selftest);
	assert_false(config.stats);
	assert_false(config.monitor);
}

#define WATERMARKS(word)                                                                        \
	"command line: '" word "' is ignored: accepted is watermarks=MIN,LOW,HIGH, sizes from " \
	"1M to 1024G, none less than the one before it"

/* Words of Weir's own line: each is passed over with a message and the rest still counts. */
static void test_malformed_own_words(void **state)
{
	static const struct {
		const char *line, *message;
	} cases[] = {
		{"frobnicate",
		 "command line: unknown word 'frobnicate' is ignored: known are "
		 "console= loglevel= when_done= panic= max_cpus= rma_pool= watermarks= tax= numa= "
		 "swap= mitigations= pstate= apicv= unrestricted= selftest= stats monitor"},
		{"stats=1",
		 "command line: unknown word 'stats=1' is ignored: known are "
		 "console= loglevel= when_done= panic= max_cpus= rma_pool= watermarks= tax= numa= "
		 "swap= mitigations= pstate= apicv= unrestricted= selftest= stats monitor"},
		{"tax=100", "command line: 'tax=100' is ignored: accepted is tax=PERCENT with "
			    "PERCENT from 0 to 99"},
		{"tax=", "command line: 'tax=' is ignored: accepted is tax=PERCENT with PERCENT "
			 "from 0 to 99"},
		{"watermarks=4M,2M,8M", WATERMARKS("watermarks=4M,2M,8M")},
		{"watermarks=2M,4M", WATERMARKS("watermarks=2M,4M")},
		{"watermarks=2M,4M,8M,16M", WATERMARKS("watermarks=2M,4M,8M,16M")},
		{"watermarks=2M,,8M", WATERMARKS("watermarks=2M,,8M")},
		{"watermarks=0,4M,8M", WATERMARKS("watermarks=0,4M,8M")},
		{"watermarks=2M,4M,2048G", WATERMARKS("watermarks=2M,4M,2048G")},
		{"watermarks=2M,4M,8388609", WATERMARKS("watermarks=2M,4M,8388609")},
		{"console=com9", "command line: 'console=com9' is ignored: accepted is "
				 "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200"},
		{"console=", "command line: 'console=' is ignored: accepted is "
			     "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200"},
		{"console=com1,0", "command line: 'console=com1,0' is ignored: accepted is "
				   "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200"},
		{"console=com1,7", "command line: 'console=com1,7' is ignored: accepted is "
				   "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200"},
		{"console=com2,7", "command line: 'console=com2,7' is ignored: accepted is "
				   "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200"},
		{"console=none,7", "command line: 'console=none,7' is ignored: accepted is "
				   "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200"},
		{"console=com2,", "command line: 'console=com2,' is ignored: accepted is "
				  "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200"},
		{"console=0x10000", "command line: 'console=0x10000' is ignored: accepted is "
				    "console=com1..com4|0xPORT|none[,BAUD], BAUD dividing 115200"},
		{"loglevel=loud", "command line: 'loglevel=loud' is ignored: accepted is "
				  "loglevel=error|warn|info|debug"},
		{"panic=poweroff",
		 "command line: 'panic=poweroff' is ignored: accepted is panic=halt|reboot"},
		{"when_done=sleep", "command line: 'when_done=sleep' is ignored: accepted is "
				    "when_done=halt|poweroff|reboot"},
		{"max_cpus=0", "command line: 'max_cpus=0' is ignored: accepted is max_cpus=N "
			       "with N from 1"},
		{"max_cpus=99999999999999999999",
		 "command line: 'max_cpus=99999999999999999999' "
		 "is ignored: accepted is max_cpus=N with N from 1"},
		{"rma_pool=", "command line: 'rma_pool=' is ignored: accepted is rma_pool=SIZE, a "
			      "multiple of 2M up to 1024G"},
		{"rma_pool=0", "command line: 'rma_pool=0' is ignored: accepted is rma_pool=SIZE, "
			       "a multiple of 2M up to 1024G"},
		{"rma_pool=lots", "command line: 'rma_pool=lots' is ignored: accepted is "
				  "rma_pool=SIZE, a multiple of 2M up to 1024G"},
		{"swap=", "command line: 'swap=' is ignored: accepted is swap=auto or swap=ataN or "
			  "swap=ataNpM, N from 0 to 7, M from 1"},
		{"swap=sda", "command line: 'swap=sda' is ignored: accepted is swap=auto or "
			     "swap=ataN or swap=ataNpM, N from 0 to 7, M from 1"},
		{"swap=ata8", "command line: 'swap=ata8' is ignored: accepted is swap=auto or "
			      "swap=ataN or swap=ataNpM, N from 0 to 7, M from 1"},
		{"swap=ata0p0", "command line: 'swap=ata0p0' is ignored: accepted is swap=auto or "
				"swap=ataN or swap=ataNpM, N from 0 to 7, M from 1"},
		{"swap=ata1p129", "command line: 'swap=ata1p129' is ignored: accepted is swap=auto "
				  "or swap=ataN or swap=ataNpM, N from 0 to 7, M from 1"},
		{"swap=ata1p2x",
		 "command line: 'swap=ata1p2x' is ignored: accepted is swap=auto or "
		 "swap=ataN or swap=ataNpM, N from 0 to 7, M from 1"},
		{"swap=ata99999999999999", "command line: 'swap=ata99999999999999' is ignored: "
					   "accepted is swap=auto or swap=ataN or swap=ataNpM, N "
					   "from 0 to 7, M from 1"},
		{"rma_pool=3M", "command line: 'rma_pool=3M' is ignored: accepted is "
				"rma_pool=SIZE, a multiple of 2M up to 1024G"},
		{"rma_pool=2000G", "command line: 'rma_pool=2000G' is ignored: accepted is "
				   "rma_pool=SIZE, a multiple of 2M up to 1024G"},
		{"mitigations=maybe", "command line: 'mitigations=maybe' is ignored: accepted is "
				      "mitigations=on|off"},
		{"numa=maybe", "command line: 'numa=maybe' is ignored: accepted is "
			       "numa=on|off"},
		{"pstate=lowest", "command line: 'pstate=lowest' is ignored: accepted is "
				  "pstate=highest|firmware"},
		{"apicv=maybe", "command line: 'apicv=maybe' is ignored: accepted is "
				"apicv=on|posted|full|registers|access|tpr|off"},
		{"selftest=", "command line: 'selftest=' is ignored: accepted is selftest=all or "
			      "a list of names with commas"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char line[256];

		snprintf(line, sizeof(line), "%s when_done=reboot", cases[i].line);
		reset(line);
		config_parse(&boot, &config);
		assert_int_equal(config.message_count, 1);
		assert_string_equal(config.messages[0], cases[i].message);
		assert_int_equal(config.when_done, WHEN_DONE_REBOOT);
		/* What is said to be ignored moves no console to another port. */
		assert_int_equal(config.console_port, 0x3f8);
		assert_int_equal(config.console_baud, 115200);
	}
}

/* Module lines that belong to no VM: a message, and the good VM beside them is untouched. */
static void test_orphan_lines(void **state)
{
	static const struct {
		const char *line, *message;
	} cases[] = {
		{"", "module 2 is ignored: it has no vm= word: say whose it is, as in 'vm=alpha "
		     "kernel'"},
		{"kernel mem=1G", "module 2 is ignored: it has no vm= word: say whose it is, as in "
				  "'vm=alpha kernel'"},
		{"vm= kernel", "module 2 is ignored: 'vm=' has no value: give it one"},
		{"vm=a/b kernel", "module 2 is ignored: vm=a/b is no name: use 1 to 31 of a-z A-Z "
				  "0-9 - _ ."},
		{"vm=abcdefghijklmnopqrstuvwxyzabcdefghij kernel",
		 "module 2 is ignored: vm=abcdefghijklmnopqrstuvwxyzabcdefghij is no name: use 1 "
		 "to 31 of a-z A-Z 0-9 - _ ."},
		{"-- vm=alpha kernel", "module 2 is ignored: it has no vm= word: say whose it is, "
				       "as in 'vm=alpha kernel'"},
		{"surprise",
		 "module 2 is ignored: unknown word 'surprise': known are vm= kernel "
		 "initrd module mem= vcpus= mmu= rma= psize= on_crash= "
		 "weight= cap= cpus= min= max= shares= share= modules=; the guest's own words go "
		 "after --"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		reset("");
		add("vm=good kernel");
		add(cases[i].line);
		config_parse(&boot, &config);
		assert_int_equal(config.message_count, 1);
		assert_string_equal(config.messages[0], cases[i].message);
		assert_int_equal(config.vm_count, 1);
		assert_false(config.vms[0].refused);
	}
}

/* Lines that spoil their own VM and no other. */
static void test_refused_vms(void **state)
{
	static const struct {
		const char *first, *second, *message;
	} cases[] = {
		{"vm=bad initrd", NULL,
		 "it has no kernel: add a module line 'vm=bad kernel mem=256M'"},
		{"vm=bad", NULL, "module 2 has no kind: add one of kernel, initrd, module"},
		{"vm=bad kernel initrd", NULL,
		 "module 2: 'initrd' is a second kind: a module is "
		 "one of kernel, initrd, module"},
		{"vm=bad vm=worse kernel", NULL,
		 "module 2: 'vm=worse' comes a second time: keep one"},
		{"vm=bad kernel quiet", NULL,
		 "module 2: unknown word 'quiet': known are vm= kernel initrd module mem= vcpus= "
		 "mmu= rma= psize= on_crash= weight= cap= cpus= min= max= shares= share= "
		 "modules=; the guest's own words go after --"},
		{"vm=bad kernel mem=", NULL, "module 2: 'mem=' has no value: give it one"},
		{"vm=bad kernel mem=lots", NULL,
		 "module 2: mem=lots is not a size: write for example mem=256M"},
		{"vm=bad kernel mem=-1", NULL,
		 "module 2: mem=-1 is not a size: write for example mem=256M"},
		{"vm=bad kernel mem=12Q", NULL,
		 "module 2: mem=12Q is not a size: write for example mem=256M"},
		{"vm=bad kernel mem=99999999999G", NULL,
		 "module 2: mem=99999999999G is not a size: write for example mem=256M"},
		{"vm=bad kernel mem=0", NULL, "module 2: mem=0 is out of range: give 1M to 1024G"},
		{"vm=bad kernel mem=2048G", NULL,
		 "module 2: mem=2048G is out of range: give 1M to 1024G"},
		{"vm=bad kernel mem=0x100001", NULL,
		 "module 2: mem=0x100001 is not a multiple of 4K: round it"},
		{"vm=bad kernel mem=1G mem=2G", NULL,
		 "module 2: 'mem=2G' comes a second time: keep one"},
		{"vm=bad kernel vcpus=0", NULL,
		 "module 2: vcpus=0 is not a number from 1 to 32: write vcpus=1"},
		{"vm=bad kernel vcpus=x", NULL,
		 "module 2: vcpus=x is not a number from 1 to 32: write vcpus=1"},
		{"vm=bad kernel vcpus=33", NULL,
		 "module 2: vcpus=33 is not a number from 1 to 32: write vcpus=1"},
		{"vm=bad kernel mmu=fast", NULL,
		 "module 2: mmu=fast is unknown: accepted are auto, ept, shadow"},
		{"vm=bad kernel", "vm=bad kernel",
		 "module 3 is a second kernel: keep one (others "
		 "are of kind 'module')"},
		{"vm=bad kernel", "vm=bad initrd mem=1G",
		 "module 3: mem= belongs on the kernel's line: move it"},
		{"vm=bad kernel", "vm=bad initrd psize=2M",
		 "module 3: psize= belongs on the kernel's line: move it"},
		{"vm=bad kernel", "vm=bad module rma=1M",
		 "module 3: rma= belongs on the kernel's line: move it"},
		{"vm=bad kernel", "vm=bad initrd on_crash=stop",
		 "module 3: on_crash= belongs on the kernel's line: move it"},
		{"vm=bad kernel on_crash=often", NULL,
		 "module 2: on_crash=often is unknown: accepted are restart, stop"},
		{"vm=bad kernel", "vm=bad initrd modules=keep",
		 "module 3: modules= belongs on the kernel's line: move it"},
		{"vm=bad kernel modules=drop", NULL,
		 "module 2: modules=drop is unknown: accepted are keep, release"},
		{"vm=bad kernel modules=release on_crash=restart", NULL,
		 "module 2: on_crash=restart needs the modules that modules=release gives back: "
		 "leave one of the two out"},
		{"vm=bad kernel rma=much", NULL,
		 "module 2: rma=much is not a size: write for example rma=16M"},
		{"vm=bad kernel rma=0", NULL,
		 "module 2: rma=0 is out of range: give 64K up to the VM's mem="},
		{"vm=bad kernel rma=60K", NULL,
		 "module 2: rma=60K is out of range: give 64K up to the VM's mem="},
		{"vm=bad kernel rma=2000G", NULL,
		 "module 2: rma=2000G is out of range: give 64K up to the VM's mem="},
		{"vm=bad kernel rma=0x10001", NULL,
		 "module 2: rma=0x10001 is not a multiple of 4K: round it"},
		{"vm=bad kernel rma=64K rma=64K", NULL,
		 "module 2: 'rma=64K' comes a second time: keep one"},
		{"vm=bad kernel rma=64M mem=32M", NULL,
		 "module 2: rma=64M is more than mem=32M: give less rma= or more mem="},
		{"vm=bad kernel rma=1G", NULL,
		 "module 2: rma=1G is more than mem=256M: give less rma= or more mem="},
		{"vm=bad kernel weight=", NULL, "module 2: 'weight=' has no value: give it one"},
		{"vm=bad kernel weight=0", NULL,
		 "module 2: weight=0 is no weight: give 1 to 10000, 100 being usual"},
		{"vm=bad kernel weight=10001", NULL,
		 "module 2: weight=10001 is no weight: give 1 to 10000, 100 being usual"},
		{"vm=bad kernel weight=heavy", NULL,
		 "module 2: weight=heavy is no weight: give 1 to 10000, 100 being usual"},
		{"vm=bad kernel weight=-5", NULL,
		 "module 2: weight=-5 is no weight: give 1 to 10000, 100 being usual"},
		{"vm=bad kernel weight=1 weight=1", NULL,
		 "module 2: 'weight=1' comes a second time: keep one"},
		{"vm=bad kernel share=", NULL, "module 2: 'share=' has no value: give it one"},
		{"vm=bad kernel share=a/b", NULL,
		 "module 2: share=a/b is no name: use 1 to 31 of a-z A-Z 0-9 - _ ."},
		{"vm=bad kernel", "vm=bad initrd share=us",
		 "module 3: share= belongs on the kernel's line: move it"},
		{"vm=bad kernel cap=", NULL, "module 2: 'cap=' has no value: give it one"},
		{"vm=bad kernel cap=50%", NULL,
		 "module 2: cap=50% is no cap: give percent of a CPU, 1 to 6400, or 0 for none"},
		{"vm=bad kernel cap=6401", NULL,
		 "module 2: cap=6401 is no cap: give percent of a CPU, 1 to 6400, or 0 for none"},
		{"vm=bad kernel cap=4294967297", NULL,
		 "module 2: cap=4294967297 is no cap: give percent of a CPU, 1 to 6400, or 0 for "
		 "none"},
		{"vm=bad kernel cpus=", NULL, "module 2: 'cpus=' has no value: give it one"},
		{"vm=bad kernel cpus=all", NULL,
		 "module 2: cpus=all is no list of CPUs from 0 to 63: write for example "
		 "cpus=0,2-3"},
		{"vm=bad kernel cpus=1,", NULL,
		 "module 2: cpus=1, is no list of CPUs from 0 to 63: write for example cpus=0,2-3"},
		{"vm=bad kernel cpus=,1", NULL,
		 "module 2: cpus=,1 is no list of CPUs from 0 to 63: write for example cpus=0,2-3"},
		{"vm=bad kernel cpus=3-1", NULL,
		 "module 2: cpus=3-1 is no list of CPUs from 0 to 63: write for example "
		 "cpus=0,2-3"},
		{"vm=bad kernel cpus=0-", NULL,
		 "module 2: cpus=0- is no list of CPUs from 0 to 63: write for example cpus=0,2-3"},
		{"vm=bad kernel cpus=1-2-3", NULL,
		 "module 2: cpus=1-2-3 is no list of CPUs from 0 to 63: write for example "
		 "cpus=0,2-3"},
		{"vm=bad kernel cpus=64", NULL,
		 "module 2: cpus=64 is no list of CPUs from 0 to 63: write for example cpus=0,2-3"},
		{"vm=bad kernel cpus=0-18446744073709551616", NULL,
		 "module 2: cpus=0-18446744073709551616 is no list of CPUs from 0 to 63: write for "
		 "example "
		 "cpus=0,2-3"},
		{"vm=bad kernel", "vm=bad initrd cap=5",
		 "module 3: cap= belongs on the kernel's line: move it"},
		{"vm=bad kernel min=some", NULL,
		 "module 2: min=some is not a size: write for example min=64M"},
		{"vm=bad kernel min=5000", NULL,
		 "module 2: min=5000 is not a multiple of 4K: round it"},
		{"vm=bad kernel min=2048G", NULL,
		 "module 2: min=2048G is out of range: give 0 up to the VM's mem="},
		{"vm=bad kernel min=65M mem=64M", NULL,
		 "module 2: min=65M is more than mem=64M: give less min= or more mem="},
		{"vm=bad kernel max=512K", NULL,
		 "module 2: max=512K is out of range: give 1M up to the VM's mem="},
		{"vm=bad kernel max=lots", NULL,
		 "module 2: max=lots is not a size: write for example max=64M"},
		{"vm=bad kernel min=32M max=16M", NULL,
		 "module 2: max=16M is less than min=32M, or than rma=0 and a MiB: give max=32M at "
		 "least"},
		{"vm=bad kernel rma=16M max=16M", NULL,
		 "module 2: max=16M is less than min=0, or than rma=16M and a MiB: give max=17M at "
		 "least"},
		{"vm=bad kernel psize=2M max=16M", NULL,
		 "module 2: max=16M with psize=2M: such pages are never taken: give psize=4K or "
		 "less mem="},
		{"vm=bad kernel shares=0", NULL,
		 "module 2: shares=0 is no number of shares: give 1 to 1048576, one for each MiB "
		 "of mem= "
		 "being usual"},
		{"vm=bad kernel shares=1048577", NULL,
		 "module 2: shares=1048577 is no number of shares: give 1 to 1048576, one for each "
		 "MiB of "
		 "mem= being usual"},
		{"vm=bad kernel shares=", NULL, "module 2: 'shares=' has no value: give it one"},
		{"vm=bad kernel min=1M min=2M", NULL,
		 "module 2: 'min=2M' comes a second time: keep one"},
		{"vm=bad kernel", "vm=bad initrd min=5M",
		 "module 3: min= belongs on the kernel's line: move it"},
		{"vm=bad kernel psize=", NULL, "module 2: 'psize=' has no value: give it one"},
		{"vm=bad kernel psize=1G", NULL,
		 "module 2: psize=1G is no page size: accepted are 4K, 2M"},
		{"vm=bad kernel psize=2M mem=33M", NULL,
		 "module 2: mem=33M is not a multiple of psize=2M: give mem=34M"},
		{"vm=bad kernel psize=2M mem=0x211000", NULL,
		 "module 2: mem=2116K is not a multiple of psize=2M: give mem=4M"},
		{"vm=bad kernel psize=2M rma=64K", NULL,
		 "module 2: rma=64K is not a multiple of psize=2M: give rma=2M"},
		{"vm=bad initrd", "vm=bad kernel vcpus=x",
		 "module 3: vcpus=x is not a number from 1 to 32: write vcpus=1"},
		{"vm=bad initrd", "vm=bad kernel rma=64M mem=32M",
		 "module 3: rma=64M is more than mem=32M: give less rma= or more mem="},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		reset("");
		add("vm=good kernel -- ro");
		add(cases[i].first);
		if (cases[i].second)
			add(cases[i].second);
		config_parse(&boot, &config);
		assert_int_equal(config.message_count, 0);
		assert_int_equal(config.vm_count, 2);
		assert_false(config.vms[0].refused);
		assert_true(config.vms[1].refused);
		assert_string_equal(config.vms[1].message, cases[i].message);
	}
}

/* What is just within its bounds, or all that another word leaves. */
static void test_least_and_most(void **state)
{
	static const char *const lines[] = {
		"vm=Az-09_. kernel mem=1M weight=1 shares=1 vcpus=1 cap=1 cpus=63",
		"vm=aZ kernel mem=1024G min=1024G weight=10000 shares=1048576 vcpus=32 cap=6400",
		"vm=rma kernel mem=2M rma=2M psize=2M",
		"vm=least kernel mem=1M rma=64K",
		"vm=max kernel mem=64M rma=16M max=17M",
		"vm=min kernel mem=64M min=32M max=32M",
		"vm=a-name-of-just-thirty-1-letters kernel max=1M",
	};

	reset("watermarks=1M,1M,1024G tax=99 rma_pool=1024G max_cpus=1");
	for (u32 i = 0; i < ARRAY_SIZE(lines); i++)
		add(lines[i]);
	config_parse(&boot, &config);
	assert_int_equal(config.message_count, 0);
	assert_int_equal(config.vm_count, ARRAY_SIZE(lines));
	for (u32 i = 0; i < ARRAY_SIZE(lines); i++)
		assert_string_equal(config.vms[i].message, "");
	assert_int_equal(config.vms[0].mem, MIB(1));
	assert_int_equal(config.vms[0].cpus, BIT(63));
	assert_int_equal(config.vms[1].min, GIB(1024));
	assert_int_equal(config.vms[2].rma, MIB(2));
	assert_int_equal(config.vms[3].rma, KIB(64));
	assert_int_equal(config.vms[4].max, MIB(17));
	assert_int_equal(config.vms[5].max, MIB(32));
	assert_int_equal(config.vms[6].max, MIB(1));
}

static void test_faults_of_size(void **state)
{
	reset("");
	add("vm=a kernel");
	add("vm=b kernel");
	add("vm=c kernel");
	boot.modules[0].size = 0;
	boot.modules[1].cmdline_cut = true;
	config_parse(&boot, &config);
	assert_string_equal(config.vms[0].message,
			    "module 1 is empty: check the file that GRUB loaded");
	assert_string_equal(config.vms[1].message,
			    "module 2: its line is longer than 1023 bytes: shorten it");
	assert_false(config.vms[2].refused);
}

static void drop(u32 number, const char *vm)
{
	struct boot_dropped *d = &boot.dropped[boot.dropped_count++];

	d->number = number;
	strlcpy(d->vm, vm, sizeof(d->vm));
}

/* A VM that has lost a module is not started, also where it has lost all of them. */
static void test_modules_over_the_bound(void **state)
{
	reset("");
	add("vm=whole kernel");
	add("vm=part kernel");
	boot.modules_dropped = 6;
	drop(65, "vm=part");
	drop(66, "vm=gone");
	drop(67, "");
	drop(68, "vm=n:ne");
	drop(69, "vm=");
	config_parse(&boot, &config);
	assert_int_equal(config.vm_count, 3);
	assert_false(config.vms[0].refused);
	assert_string_equal(config.vms[1].message,
			    "module 65 is one too many: Weir takes at most 64");
	assert_string_equal(config.vms[2].name, "gone");
	assert_true(config.vms[2].refused);
	assert_string_equal(config.vms[2].message,
			    "module 66 is one too many: Weir takes at most 64");
	assert_int_equal(config.message_count, 4);
	assert_string_equal(config.messages[0],
			    "module 67 is ignored: it has no vm= word: say whose it is, as in "
			    "'vm=alpha kernel'");
	assert_string_equal(
		config.messages[1],
		"module 68 is ignored: vm=n:ne is no name: use 1 to 31 of a-z A-Z 0-9 - _ .");
	assert_string_equal(config.messages[2],
			    "module 69 is ignored: 'vm=' has no value: give it one");
	assert_string_equal(config.messages[3], "6 modules are ignored: Weir takes at most 64");

	for (u32 i = 2; i < CONFIG_VMS_MAX; i++) {
		char line[] = "vm=a kernel";

		line[3] = (char)('a' + i);
		add(line);
	}
	config_parse(&boot, &config);
	assert_int_equal(config.vm_count, CONFIG_VMS_MAX);
	assert_true(config.vms[1].refused);
	assert_string_equal(config.messages[0],
			    "module 66 is ignored: vm=gone is one VM too many: at most 16");
}

/* Whose modules were left out is not known of all: no VM is started that may be one of them. */
static void test_modules_over_the_bound_of_too_many(void **state)
{
	reset("");
	add("vm=alpha kernel");
	add("vm=part kernel");
	boot.modules_dropped = 2;
	boot.dropped_more = true;
	drop(65, "vm=part");
	config_parse(&boot, &config);
	assert_int_equal(config.vm_count, 2);
	assert_true(config.vms[0].refused);
	assert_string_equal(config.vms[0].message,
			    "it may have lost a module: Weir takes at most 64");
	assert_string_equal(config.vms[1].message,
			    "module 65 is one too many: Weir takes at most 64");
}

static void test_too_many(void **state)
{
	char line[64];

	reset("");
	for (u32 i = 0; i < CONFIG_VMS_MAX + 1; i++) {
		snprintf(line, sizeof(line), "vm=v%u kernel", i);
		add(line);
	}
	config_parse(&boot, &config);
	assert_int_equal(config.vm_count, CONFIG_VMS_MAX);
	assert_string_equal(config.messages[0],
			    "module 17 is ignored: vm=v16 is one VM too many: at most 16");

	reset("");
	add("vm=many kernel");
	for (u32 i = 0; i < CONFIG_MODULES_MAX; i++)
		add("vm=many module");
	add("vm=other kernel");
	config_parse(&boot, &config);
	assert_true(config.vms[0].refused);
	assert_string_equal(config.vms[0].message,
			    "module 17 is one too many: a VM has at most 16");
	assert_false(config.vms[1].refused);
}

/* More unknown words than there is room for messages: counted, not written past the end. */
static void test_message_flood(void **state)
{
	char line[BOOT_CMDLINE_MAX];
	size_t n = 0;

	for (u32 i = 0; i < 100; i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "w%u ", i);
	reset(line);
	config_parse(&boot, &config);
	assert_int_equal(config.message_count, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_example),
		cmocka_unit_test(test_share_groups),
		cmocka_unit_test(test_cpus_text),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_malformed_own_words),
		cmocka_unit_test(test_orphan_lines),
		cmocka_unit_test(test_refused_vms),
		cmocka_unit_test(test_least_and_most),
		cmocka_unit_test(test_faults_of_size),
		cmocka_unit_test(test_modules_over_the_bound),
		cmocka_unit_test(test_modules_over_the_bound_of_too_many),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_message_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
