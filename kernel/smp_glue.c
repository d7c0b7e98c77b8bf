/* SPDX-License-Identifier: MIT */
/* Lends smp/ the memory that lies a floor above it, and takes the steps in their order. */
#include "kernel/smp_glue.h"
#include "kernel/base/acpi.h"
#include "kernel/base/boot_info.h"
#include "kernel/base/harden.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/mca.h"
#include "kernel/base/panic.h"
#include "kernel/base/pstate.h"
#include "kernel/base/x86.h"
#include "kernel/remapping.h"
#include "mem/mtrr.h"
#include "mem/slab.h"
#include "mem/vmap.h"
#include "smp/cpu.h"
#include "smp/irq.h"
#include "smp/rcu.h"
#include "smp/thread.h"
#include "smp/timer.h"

static u8 *map_device(hpa_t hpa, u64 size)
{
	return vmap_device(hpa, size, VMAP_UC);
}

/*
 * Of an emulated CPU neither the speed nor the memory types are Weir's matter: in Bochs and under a
 * hypervisor they have no effect.
 */
static void init_real_cpu(void)
{
	if (machine_is_emulated())
		return;
	pstate_init_cpu(rdmsr_safe, wrmsr_safe);
	mtrr_check_cpu(cpu_id(), rdmsr_safe);
}

static void init_this_cpu(void)
{
	vmap_init_cpu();
	harden_show_cpuid(rdmsr_safe, wrmsr_safe);
	cpu_harden();
	mca_init_cpu(rdmsr_safe, wrmsr_safe);
	init_real_cpu();
}

static const struct smp_hooks hooks = {
	.stack_alloc = vmap_stack_alloc,
	.stack_free = vmap_stack_free,
	.alloc = kmalloc,
	.free = kfree,
	.map_device = map_device,
	.cr3 = vmap_cr3,
	.cpu_init = init_this_cpu,
};

static void read_acpi(void)
{
	u8 found[sizeof(boot_info.rsdp)];
	u32 size;

	if (boot_info.rsdp_present) {
		acpi_parse(boot_info.rsdp, sizeof(boot_info.rsdp), vmap_firmware, &acpi_info);
	} else if (!boot_info.efi && (size = acpi_find_rsdp(vmap_firmware, found))) {
		acpi_parse(found, size, vmap_firmware, &acpi_info);
	} else {
		log_warn("ACPI: no RSDP, neither from GRUB nor in the BIOS area: one CPU, no "
			 "device interrupts, no soft power-off");
	}
	log_info("ACPI: %u tables read, %u broken: %u CPUs, %u IOAPICs%s", acpi_info.tables_ok,
		 acpi_info.tables_broken, acpi_info.cpu_count, acpi_info.ioapic_count,
		 acpi_info.hpet_present ? ", HPET" : "");
}

static struct machine_acpi_events ports(const struct acpi_block *b)
{
	if (b->space != ACPI_SPACE_IO)
		return (struct machine_acpi_events){0};
	return (struct machine_acpi_events){(u16)b->address, b->bytes};
}

static void tell_power_off(void)
{
	const struct acpi_info *a = &acpi_info;
	struct machine_acpi_poweroff off = {
		.pm1a_port = (u16)a->pm1a_control.address,
		.pm1b_port = (u16)a->pm1b_control.address,
		.sleep_type_a = a->s5_type_a,
		.sleep_type_b = a->s5_type_b,
		.smi_port = (u16)a->smi_command,
		.acpi_enable = a->acpi_enable,
		.pm1a_events = ports(&a->pm1a_event),
		.pm1b_events = ports(&a->pm1b_event),
		.gpe0 = ports(&a->gpe0),
		.gpe1 = ports(&a->gpe1),
	};

	if (!a->s5_present || a->pm1a_control.space != ACPI_SPACE_IO || !a->pm1a_control.address)
		return;
	if (a->pm1b_control.space != ACPI_SPACE_IO)
		off.pm1b_port = 0;
	machine_set_acpi_poweroff(&off);
}

void smp_bring_up(u32 max_cpus)
{
	smp_set_hooks(&hooks);
	cpu_guard_stacks();
	read_acpi();
	tell_power_off();
	init_real_cpu();
	clock_init();
	machine_set_tsc_khz(clock_tsc_khz());
	log_set_clock(clock_ns);
	apic_init_cpu();
	irq_init();
	remapping_warn(&acpi_info, map_device);
	timer_init_cpu();
	thread_init_cpu();
	irq_enable();
	if (rcu_start())
		panic("no memory for the thread that frees what readers have left");
	cpu_start_others(max_cpus);
}
