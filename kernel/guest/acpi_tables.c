/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables a guest finds: RSDP, RSDT, XSDT, FADT, FACS, MADT, and the DSDT that iasl compiled
 * from dsdt.asl (ACPI 6.4 chapter 5). They stand in the BIOS area, which the memory map reserves.
 */
#include "kernel/dev/platform.h"
#include "kernel/guest/load.h"
#include "kernel/guest/memory.h"
#include "kernel/vm.h"

#include "kernel/base/error.h"
#include "kernel/base/string.h"

extern const u8 dsdt_aml[];
extern const u32 dsdt_aml_size;

struct acpi_header {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char oem_id[6], oem_table_id[8];
	u32 oem_revision, creator_id, creator_revision;
};
static_assert(sizeof(struct acpi_header) == 36, "ACPI");
#define CREATOR_WEIR 0x52494557u /* "WEIR" */

struct acpi_rsdp {
	char signature[8];
	u8 checksum;
	char oem_id[6];
	u8 revision;
	u32 rsdt, length;
	u64 xsdt;
	u8 extended_checksum, reserved[3];
} __attribute__((packed));
static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI");
#define RSDP_SIZE_V1 20

struct acpi_gas {
	u8 space, width, offset, access;
	u64 address;
} __attribute__((packed));
#define GAS_IO 1

struct acpi_fadt {
	struct acpi_header h;
	u32 facs, dsdt;
	u8 reserved0, profile;
	u16 sci_int;
	u32 smi_cmd;
	u8 acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	u32 pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	u8 pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base;
	u8 cst_cnt;
	u16 p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	u8 duty_offset, duty_width, day_alarm, mon_alarm, century;
	u16 boot_arch;
	u8 reserved1;
	u32 flags;
	struct acpi_gas reset_reg;
	u8 reset_value;
	u16 arm_boot_arch;
	u8 minor;
	u64 x_facs, x_dsdt;
	struct acpi_gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr;
	struct acpi_gas x_gpe0, x_gpe1, sleep_control, sleep_status;
	u64 hypervisor_id;
} __attribute__((packed));
static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 6.4 table 5.9");

#define BOOT_ARCH_LEGACY   BIT(0)
#define BOOT_ARCH_NO_VGA   BIT(2)
#define BOOT_ARCH_NO_MSI   BIT(3)
#define FADT_WBINVD	   BIT(0)
#define FADT_PROC_C1	   BIT(2)
#define FADT_NO_PWR_BUTTON BIT(4)
#define FADT_NO_SLP_BUTTON BIT(5)
#define FADT_TMR_32	   BIT(8)
#define FADT_RESET_REG	   BIT(10)
#define RTC_CENTURY	   0x32
#define RESET_VALUE	   6
#define C2_NOT_THERE	   101	/* above 100 us: not supported */
#define C3_NOT_THERE	   1001 /* above 1000 us */

struct acpi_facs {
	char signature[4];
	u32 length, hardware_signature, waking_vector, global_lock, flags;
	u64 x_waking_vector;
	u8 version, reserved[31];
};
static_assert(sizeof(struct acpi_facs) == 64, "ACPI");

struct madt_lapic {
	u8 type, length, processor, apic_id;
	u32 flags;
};
struct madt_ioapic {
	u8 type, length, id, reserved;
	u32 address, gsi_base;
};
struct madt_override {
	u8 type, length, bus, source;
	u32 gsi;
	u16 flags;
} __attribute__((packed));
struct madt_lapic_nmi {
	u8 type, length, processor;
	u16 flags;
	u8 lint;
} __attribute__((packed));
#define MADT_LAPIC	 0
#define MADT_IOAPIC	 1
#define MADT_OVERRIDE	 2
#define MADT_LAPIC_NMI	 4
#define MADT_PCAT_COMPAT BIT(0)
#define MADT_ENABLED	 BIT(0)
#define MADT_ACTIVE_HIGH 1
#define MADT_LEVEL	 (3 << 2)
#define MADT_ALL_CPUS	 0xff

/* Where the next table goes. */
struct writer {
	struct load *load;
	u64 at;
};

static u8 checksum(const void *data, size_t size)
{
	const u8 *p = data;
	u8 sum = 0;

	while (size--)
		sum += *p++;
	return (u8)-sum;
}

/* table starts with the header, and may be packed. */
static void seal(void *table, const char signature[4], u8 revision, u32 length)
{
	struct acpi_header *h = table;

	memcpy(h->signature, signature, 4);
	memcpy(h->oem_id, "WEIR  ", 6);
	memcpy(h->oem_table_id, "WEIR    ", 8);
	h->length = length;
	h->revision = revision;
	h->oem_revision = 1;
	h->creator_id = CREATOR_WEIR;
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, length);
}

/* 64-byte steps: the FACS needs them, the rest do not mind. */
static int put(struct writer *w, const void *data, u64 size, u64 *gpa)
{
	if (w->at + size > GUEST_ACPI_BASE + GUEST_ACPI_SIZE)
		return load_fail(w->load, ERR_NOSPC, "its ACPI tables do not fit: fewer vcpus=");
	*gpa = w->at;
	w->at = align_up(w->at + size, 64ull);
	return load_write(w->load, *gpa, data, size);
}

static struct acpi_gas io_register(u32 port, u8 bytes)
{
	return (struct acpi_gas){GAS_IO, (u8)(bytes * 8), 0, 0, port};
}

static int put_fadt(struct writer *w, u64 facs, u64 dsdt, u64 *gpa)
{
	struct acpi_fadt f = {
		.facs = (u32)facs,
		.dsdt = (u32)dsdt,
		.sci_int = PLATFORM_SCI_IRQ,
		.pm1a_evt = PLATFORM_PM_BASE,
		.pm1a_cnt = PLATFORM_PM_CONTROL,
		.pm_tmr = PLATFORM_PM_TIMER,
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.p_lvl2_lat = C2_NOT_THERE,
		.p_lvl3_lat = C3_NOT_THERE,
		.century = RTC_CENTURY,
		.boot_arch = BOOT_ARCH_LEGACY | BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_MSI,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_PWR_BUTTON | FADT_NO_SLP_BUTTON |
			 FADT_TMR_32 | FADT_RESET_REG,
		.reset_reg = io_register(PLATFORM_RESET_PORT, 1),
		.reset_value = RESET_VALUE,
		.minor = 4,
		.x_facs = facs,
		.x_dsdt = dsdt,
		.x_pm1a_evt = io_register(PLATFORM_PM_BASE, 4),
		.x_pm1a_cnt = io_register(PLATFORM_PM_CONTROL, 2),
		.x_pm_tmr = io_register(PLATFORM_PM_TIMER, 4),
	};

	memcpy(&f.hypervisor_id, "WeirWeir", 8);
	seal(&f, "FACP", 6, sizeof(f));
	return put(w, &f, sizeof(f), gpa);
}

static int put_madt(struct writer *w, u64 *gpa)
{
	static struct {
		struct acpi_header h;
		u32 lapic_address, flags;
		u8 entries[sizeof(struct madt_lapic) * VM_VCPUS_MAX + 64];
	} m; /* boot thread only */
	u8 *p = m.entries;
	const struct madt_ioapic ioapic = {MADT_IOAPIC, sizeof(ioapic),	      0,
					   0,		PLATFORM_IOAPIC_BASE, 0};
	const struct madt_override pit = {MADT_OVERRIDE, sizeof(pit), 0, 0, 2, 0};
	const struct madt_override sci = {
		MADT_OVERRIDE,	  sizeof(sci),	    0,
		PLATFORM_SCI_IRQ, PLATFORM_SCI_IRQ, MADT_ACTIVE_HIGH | MADT_LEVEL};
	const struct madt_lapic_nmi nmi = {MADT_LAPIC_NMI, sizeof(nmi), MADT_ALL_CPUS, 0, 1};

	memset(&m, 0, sizeof(m));
	m.lapic_address = PLATFORM_LAPIC_BASE;
	m.flags = MADT_PCAT_COMPAT;
	for (u32 i = 0; i < w->load->vcpus; i++) {
		struct madt_lapic lapic = {MADT_LAPIC, sizeof(lapic), (u8)i, (u8)i, MADT_ENABLED};

		memcpy(p, &lapic, sizeof(lapic));
		p += sizeof(lapic);
	}
	memcpy(p, &ioapic, sizeof(ioapic));
	p += sizeof(ioapic);
	memcpy(p, &pit, sizeof(pit));
	p += sizeof(pit);
	memcpy(p, &sci, sizeof(sci));
	p += sizeof(sci);
	memcpy(p, &nmi, sizeof(nmi));
	p += sizeof(nmi);
	seal(&m, "APIC", 5, (u32)(p - (u8 *)&m));
	return put(w, &m, m.h.length, gpa);
}

/* For kernels that read no XSDT: seL4 and MINIX 3 do not boot without it. */
static int put_rsdt(struct writer *w, u64 fadt, u64 madt, u64 *gpa)
{
	struct {
		struct acpi_header h;
		u32 entries[2];
	} r = {.entries = {(u32)fadt, (u32)madt}};

	seal(&r, "RSDT", 1, sizeof(r));
	return put(w, &r, sizeof(r), gpa);
}

static int put_xsdt(struct writer *w, u64 fadt, u64 madt, u64 *gpa)
{
	struct {
		struct acpi_header h;
		u64 entries[2];
	} __attribute__((packed)) x = {.entries = {fadt, madt}};

	seal(&x, "XSDT", 1, sizeof(x));
	return put(w, &x, sizeof(x), gpa);
}

static int put_rsdp(struct writer *w, u64 rsdt, u64 xsdt)
{
	struct acpi_rsdp r = {
		.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
		.oem_id = {'W', 'E', 'I', 'R', ' ', ' '},
		.revision = 2,
		.rsdt = (u32)rsdt,
		.length = sizeof(r),
		.xsdt = xsdt,
	};

	r.checksum = checksum(&r, RSDP_SIZE_V1);
	r.extended_checksum = checksum(&r, sizeof(r));
	w->load->rsdp = GUEST_ACPI_BASE;
	return load_write(w->load, GUEST_ACPI_BASE, &r, sizeof(r));
}

int load_acpi(struct load *l)
{
	struct writer w = {l, GUEST_ACPI_BASE + 64}; /* the RSDP stands first */
	struct acpi_facs facs = {.signature = {'F', 'A', 'C', 'S'}, .length = 64, .version = 2};
	u64 facs_at = 0, dsdt_at = 0, fadt_at = 0, madt_at = 0, rsdt_at = 0, xsdt_at = 0;
	int err;

	err = put(&w, &facs, sizeof(facs), &facs_at);
	if (!err)
		err = put(&w, dsdt_aml, dsdt_aml_size, &dsdt_at);
	if (!err)
		err = put_fadt(&w, facs_at, dsdt_at, &fadt_at);
	if (!err)
		err = put_madt(&w, &madt_at);
	if (!err)
		err = put_rsdt(&w, fadt_at, madt_at, &rsdt_at);
	if (!err)
		err = put_xsdt(&w, fadt_at, madt_at, &xsdt_at);
	return err ? err : put_rsdp(&w, rsdt_at, xsdt_at);
}
