/* SPDX-License-Identifier: MIT */
/* FADT, HPET, DMAR, and the one object of the DSDT that Weir reads: how to turn the machine off. */
#include "kernel/base/acpi_private.h"
#include "kernel/base/error.h"
#include "kernel/base/log.h"
#include "kernel/base/string.h"

/* FADT offsets (ACPI table 5.9). */
#define FADT_DSDT	   40
#define FADT_SMI_COMMAND   48
#define FADT_ACPI_ENABLE   52
#define FADT_ACPI_DISABLE  53
#define FADT_PM1A_EVENT	   56
#define FADT_PM1B_EVENT	   60
#define FADT_PM1A_CONTROL  64
#define FADT_PM1B_CONTROL  68
#define FADT_PM_TIMER	   76
#define FADT_GPE0	   80
#define FADT_GPE1	   84
#define FADT_PM1_EVENT_LEN 88
#define FADT_PM1_CTRL_LEN  89
#define FADT_PM_TIMER_LEN  91
#define FADT_GPE0_LEN	   92
#define FADT_GPE1_LEN	   93
#define FADT_CENTURY	   108
#define FADT_FLAGS	   112
#define FADT_RESET_REG	   116
#define FADT_RESET_VALUE   128
#define FADT_X_DSDT	   140
#define FADT_X_PM1A_EVENT  148
#define FADT_X_PM1B_EVENT  160
#define FADT_X_PM1A	   172
#define FADT_X_PM1B	   184
#define FADT_X_PM_TIMER	   208
#define FADT_X_GPE0	   220
#define FADT_X_GPE1	   232
#define FADT_SIZE_V1	   116
#define FADT_RESET_SUPPORT BIT(10)
#define FADT_TMR_VAL_EXT   BIT(8)
#define TABLE_OEM_ID	   10 /* six bytes, of any table */

/* HPET offsets (IA-PC HPET 1.0a 3.2.4): a generic address at 40. */
#define HPET_ADDRESS 40
#define HPET_SIZE    56

/* Generic Address Structure (ACPI 5.2.3.2): 12 bytes. */
static struct acpi_register read_gas(const struct acpi_table *t, u32 at)
{
	u8 space = acpi_read8(t, at);
	struct acpi_register r = {
		.space = space,
		.bits = acpi_read8(t, at + 1),
		.address = acpi_read64(t, at + 4),
	};

	if (space != ACPI_SPACE_MEMORY && space != ACPI_SPACE_IO)
		r.address = 0;
	if (space == ACPI_SPACE_IO && r.address > 0xffff)
		r.address = 0;
	return r;
}

/* The extended form where it is filled in, else the old port. */
static struct acpi_register read_register(const struct acpi_table *t, u32 extended, u32 port,
					  u8 bits)
{
	struct acpi_register r = read_gas(t, extended);

	if (!r.address) {
		r = (struct acpi_register){ACPI_SPACE_IO, bits, acpi_read32(t, port)};
		if (r.address > 0xffff)
			r.address = 0;
	}
	return r;
}

/* A block whose length stands apart: the width of its extended form is too small for long ones. */
static struct acpi_block read_block(const struct acpi_table *t, u32 extended, u32 port, u32 length)
{
	struct acpi_register r = read_register(t, extended, port, 0);
	struct acpi_block block = {r.space, acpi_read8(t, length), r.address};

	if (block.bytes < 2 || (r.space == ACPI_SPACE_IO && r.address + block.bytes > 0x10000))
		block.address = 0;
	return block;
}

static void parse_events(const struct acpi_table *t, struct acpi_info *out)
{
	out->pm1a_event = read_block(t, FADT_X_PM1A_EVENT, FADT_PM1A_EVENT, FADT_PM1_EVENT_LEN);
	out->pm1b_event = read_block(t, FADT_X_PM1B_EVENT, FADT_PM1B_EVENT, FADT_PM1_EVENT_LEN);
	out->gpe0 = read_block(t, FADT_X_GPE0, FADT_GPE0, FADT_GPE0_LEN);
	out->gpe1 = read_block(t, FADT_X_GPE1, FADT_GPE1, FADT_GPE1_LEN);
	/* Two registers of 16 bits are the least. */
	if (out->pm1a_event.bytes < 4)
		out->pm1a_event.address = out->pm1b_event.address = 0;
}

int acpi_parse_fadt(const struct acpi_table *t, struct acpi_info *out, u64 *dsdt)
{
	u32 flags = acpi_read32(t, FADT_FLAGS);
	u8 pm1_bits = (u8)(acpi_read8(t, FADT_PM1_CTRL_LEN) * 8);

	if (t->size < FADT_SIZE_V1) {
		log_warn("ACPI: FADT is only %u bytes long; it is passed over", t->size);
		return ERR_CORRUPT;
	}
	out->smi_command = acpi_read32(t, FADT_SMI_COMMAND) & 0xffff;
	out->acpi_enable = acpi_read8(t, FADT_ACPI_ENABLE);
	/* Neither word: there is no way between the modes (ACPI 5.2.9). */
	if (!out->acpi_enable && !acpi_read8(t, FADT_ACPI_DISABLE))
		out->smi_command = 0;
	parse_events(t, out);
	out->bochs_tables = !memcmp(t->bytes + TABLE_OEM_ID, "BOCHS ", 6);
	out->pm1a_control = read_register(t, FADT_X_PM1A, FADT_PM1A_CONTROL, pm1_bits);
	out->pm1b_control = read_register(t, FADT_X_PM1B, FADT_PM1B_CONTROL, pm1_bits);
	if (acpi_read8(t, FADT_PM_TIMER_LEN) == 4)
		out->pm_timer = read_register(t, FADT_X_PM_TIMER, FADT_PM_TIMER, 32);
	out->pm_timer_32bit = flags & FADT_TMR_VAL_EXT;
	out->century_index = acpi_read8(t, FADT_CENTURY);
	out->reset = read_gas(t, FADT_RESET_REG);
	out->reset_value = acpi_read8(t, FADT_RESET_VALUE);
	out->reset_supported = (flags & FADT_RESET_SUPPORT) && out->reset.address;
	*dsdt = acpi_read64(t, FADT_X_DSDT);
	if (!*dsdt)
		*dsdt = acpi_read32(t, FADT_DSDT);
	return 0;
}

int acpi_parse_hpet(const struct acpi_table *t, struct acpi_info *out)
{
	struct acpi_register r = read_gas(t, HPET_ADDRESS);

	if (t->size < HPET_SIZE || r.space != ACPI_SPACE_MEMORY || !r.address) {
		log_warn("ACPI: HPET table names no memory address; it is passed over");
		return ERR_CORRUPT;
	}
	out->hpet_address = r.address;
	return 0;
}

/* DMAR: entries of type and length, 16 bits each, behind the header and 12 bytes. */
#define DMAR_ENTRIES 48
#define DMAR_UNIT    0
#define UNIT_BASE    8
#define UNIT_SIZE    16

void acpi_parse_dmar(const struct acpi_table *t, struct acpi_info *out)
{
	u32 at = DMAR_ENTRIES, size;

	out->dmar_present = true;
	while (at < t->size && t->size - at >= 4) {
		size = acpi_read16(t, at + 2);
		if (size < 4 || size > t->size - at)
			return;
		if (acpi_read16(t, at) == DMAR_UNIT && size >= UNIT_SIZE &&
		    out->dmar_count < ACPI_DMARS_MAX)
			out->dmars[out->dmar_count++] = acpi_read64(t, at + UNIT_BASE);
		at += size;
	}
}

/* AML opcodes (ACPI 20.2). */
#define AML_ZERO	0x00
#define AML_ONE		0x01
#define AML_NAME	0x08
#define AML_BYTE_PREFIX 0x0a
#define AML_WORD_PREFIX 0x0b
#define AML_PACKAGE	0x12
#define SLP_TYP_MAX	7 /* three bits of the PM1 control register */
#define AML_ROOT_CHAR	'\\'

/* One small integer constant at *at; its low byte is what a SLP_TYP can hold. */
static bool aml_integer(const u8 *aml, u64 size, u64 *at, u8 *value)
{
	u64 bytes = 1;

	if (*at >= size)
		return false;
	switch (aml[*at]) {
	case AML_ZERO:
	case AML_ONE:
		*value = aml[*at];
		break;
	case AML_BYTE_PREFIX:
	case AML_WORD_PREFIX:
		bytes = aml[*at] == AML_BYTE_PREFIX ? 2 : 3;
		if (bytes > size - *at)
			return false;
		*value = aml[*at + 1];
		break;
	default:
		return false;
	}
	*at += bytes;
	return true;
}

/* at: just behind the name _S5_. PackageOp PkgLength NumElements element... */
static bool aml_s5_package(const u8 *aml, u64 size, u64 at, u8 *type_a, u8 *type_b)
{
	u64 length_bytes;
	u8 a, b;

	if (size - at < 3 || aml[at] != AML_PACKAGE)
		return false;
	length_bytes = 1 + (aml[at + 1] >> 6);
	at += 1 + length_bytes;
	if (at >= size || aml[at] < 1)
		return false;
	at++;
	if (!aml_integer(aml, size, &at, &a) || a > SLP_TYP_MAX)
		return false;
	/* A package of one element holds the value for both registers. */
	if (!aml_integer(aml, size, &at, &b) || b > SLP_TYP_MAX)
		b = a;
	*type_a = a;
	*type_b = b;
	return true;
}

bool acpi_find_s5(const u8 *aml, u64 size, u8 *type_a, u8 *type_b)
{
	for (u64 at = 1; size >= 4 && at <= size - 4; at++) {
		bool named;

		if (aml[at] != '_' || aml[at + 1] != 'S' || aml[at + 2] != '5' ||
		    aml[at + 3] != '_')
			continue;
		named = aml[at - 1] == AML_NAME ||
			(at >= 2 && aml[at - 1] == AML_ROOT_CHAR && aml[at - 2] == AML_NAME);
		if (named && aml_s5_package(aml, size, at + 4, type_a, type_b))
			return true;
	}
	return false;
}
