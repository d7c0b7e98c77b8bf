/* SPDX-License-Identifier: MIT */
/* The date from the MC146818's registers, as the firmware keeps them. */
#include "kernel/base/acpi.h"
#include "kernel/base/log.h"
#include "kernel/base/x86.h"
#include "smp/clock.h"

#define CMOS_INDEX	0x70
#define CMOS_DATA	0x71
#define CMOS_STATUS_A	0x0a
#define CMOS_STATUS_B	0x0b
#define CMOS_UPDATING	0x80
#define CMOS_24_HOURS	0x02
#define CMOS_BINARY	0x04
#define CMOS_PM		0x80   /* in the hour register in 12-hour mode */
#define UPDATE_READS	100000 /* an update takes 2 ms at most, a port read about a microsecond */
#define ATTEMPTS	4
#define SECONDS_PER_DAY 86400ull

struct cmos_time {
	u8 second, minute, hour, day, month, year, century;
};

static u8 cmos_read(u8 index)
{
	outb(CMOS_INDEX, index);
	return inb(CMOS_DATA);
}

static void read_registers(struct cmos_time *t)
{
	for (u32 i = 0; i < UPDATE_READS && (cmos_read(CMOS_STATUS_A) & CMOS_UPDATING); i++)
		cpu_relax();
	t->second = cmos_read(0);
	t->minute = cmos_read(2);
	t->hour = cmos_read(4);
	t->day = cmos_read(7);
	t->month = cmos_read(8);
	t->year = cmos_read(9);
	t->century = acpi_info.century_index ? cmos_read(acpi_info.century_index & 0x7f) : 0;
}

static bool same(const struct cmos_time *a, const struct cmos_time *b)
{
	return a->second == b->second && a->minute == b->minute && a->hour == b->hour &&
	       a->day == b->day && a->month == b->month && a->year == b->year;
}

static u32 decode(u8 v, bool binary)
{
	return binary ? v : (v >> 4) * 10u + (v & 0xf);
}

u64 cmos_days(u32 year, u32 month, u32 day)
{
	/* Years from March on: then the leap day is the last of its year. */
	u32 y = month > 2 ? year : year - 1, m = month > 2 ? month - 3 : month + 9;
	u32 era = y / 400, of_era = y % 400;
	u64 day_of_year = (153 * m + 2) / 5 + day - 1;
	u64 day_of_era = of_era * 365ull + of_era / 4 - of_era / 100 + day_of_year;

	return era * 146097ull + day_of_era - 719468; /* 0000-03-01 to 1970-01-01 */
}

static u64 to_unix(const struct cmos_time *t, u8 status_b)
{
	bool binary = status_b & CMOS_BINARY, pm = t->hour & CMOS_PM;
	u32 hour = decode(t->hour & (u8)~CMOS_PM, binary), century = decode(t->century, binary);
	u32 year = decode(t->year, binary), month = decode(t->month, binary);
	u32 day = decode(t->day, binary);

	if (!(status_b & CMOS_24_HOURS))
		hour = hour % 12 + (pm ? 12 : 0);
	year += (century >= 19 && century <= 22 ? century : 20) * 100;
	if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || year < 1970)
		return 0;
	return cmos_days(year, month, day) * SECONDS_PER_DAY + hour * 3600ull +
	       decode(t->minute, binary) * 60ull + decode(t->second, binary);
}

u64 cmos_read_time(void)
{
	struct cmos_time first, second;
	u64 time;

	read_registers(&second);
	/* Twice the same is a reading that no update cut in two. */
	for (u32 i = 0; i < ATTEMPTS; i++) {
		first = second;
		read_registers(&second);
		if (same(&first, &second))
			break;
	}
	time = to_unix(&second, cmos_read(CMOS_STATUS_B));
	if (!time)
		log_warn("clock: the CMOS clock shows no date; guests start at 1970");
	return time;
}
