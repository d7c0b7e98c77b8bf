/* SPDX-License-Identifier: MIT */
#include "kernel/main.h"
#include "kernel/config.h"
#include "kernel/console.h"
#include "kernel/disk/swap_disk.h"
#include "kernel/memory_nodes.h"
#include "kernel/monitor/monitor.h"
#include "kernel/rma.h"
#include "kernel/selftest.h"
#include "kernel/smp_glue.h"
#include "kernel/stats.h"
#include "kernel/vcpu.h"
#include "kernel/version.h"

#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/panic.h"
#include "kernel/base/pstate.h"
#include "kernel/base/x86.h"
#include "mem/frame.h"
#include "mem/reclaim.h"

static struct weir_config config;

static bool refused; /* the machine runs no guests, and halts though it was told otherwise */

static void __noreturn finish(void)
{
	enum config_when_done how = config.when_done;

	monitor_stay(config.monitor);
	vm_run_asked(&config, monitor_lets_end);
	if (how == WHEN_DONE_HALT && !monitor_has_decided()) {
		if (refused)
			log_error("halted: Weir cannot run guests here, whatever when_done= says");
		else
			log_info("halted: nothing is left to run");
		vm_run_asked(&config, monitor_has_decided);
	}
	if (monitor_has_decided())
		how = monitor_decision();
	if (how == WHEN_DONE_POWEROFF) {
		log_info("powering off");
		machine_poweroff();
	}
	log_info("rebooting");
	vmx_stop(); /* INIT does not reach a CPU in VMX operation */
	machine_reboot();
}

static void log_configuration(void)
{
	struct frame_stats stats;
	u32 shown = min(config.message_count, (u32)ARRAY_SIZE(config.messages));

	frame_get_stats(&stats);
	log_info("Weir %s, %u CPUs, %llu MiB free, loaded by %s", WEIR_VERSION, cpu_count(),
		 (unsigned long long)(stats.free >> (20 - PAGE_SHIFT)), boot_info.loader);
	for (u32 i = 0; i < shown; i++)
		log_error("%s", config.messages[i]);
	if (config.message_count > shown)
		log_error("command line: %u more faults like these", config.message_count - shown);
}

static int start_reclaim(void)
{
	struct reclaim_options options = {
		.min = config.watermarks[0] >> PAGE_SHIFT,
		.low = config.watermarks[1] >> PAGE_SHIFT,
		.high = config.watermarks[2] >> PAGE_SHIFT,
		.tax = config.tax,
	};

	return reclaim_start(&options);
}

void __noreturn kernel_main(void)
{
	config_parse(&boot_info, &config);
	log_set_level(config.loglevel);
	panic_set_reboot(config.panic_reboots);
	pstate_keep_firmware(config.pstate_firmware);
	smp_bring_up(config.max_cpus);
	log_configuration();
	memory_nodes_find(config.numa_off);
	stats_init(config.stats);
	rma_start(config.rma_pool);
	if (start_reclaim())
		log_error(
			"memory: none is left for the page-aging daemon: pages that guests do not "
			"use are taken late, or not at all: give the machine more");
	swap_start(config.swap);
	vm_list_init(&config); /* the monitor's commands are about them from here on */
	console_init(&config);
	vmx_set_apicv(config.apicv);
	vmx_use_unrestricted_guest(!config.unrestricted_off);
	vmx_set_mitigations(!config.mitigations_off);
	if (config.selftest)
		selftest_run(config.selftest_names);
	if (vmx_probe() || vmx_start()) {
		vm_refuse_all();
		/* Whoever is there is to read why, and a reboot would only come here again. */
		if (!config.selftest) {
			refused = config.when_done != WHEN_DONE_HALT;
			config.when_done = WHEN_DONE_HALT;
		}
		finish();
	}
	paravirt_init();
	if (config.vm_count)
		vm_run_all(&config, monitor_has_decided);
	else if (!config.selftest)
		log_error("no VM is configured: add module2 lines with vm=NAME to GRUB's menu "
			  "entry (docs/configuration.md)");
	finish();
}
