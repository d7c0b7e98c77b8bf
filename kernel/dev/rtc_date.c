/* SPDX-License-Identifier: MIT */
#include "kernel/dev/rtc.h"

#define SECONDS_MINUTE 60
#define SECONDS_HOUR   3600
#define SECONDS_DAY    86400
#define DAYS_400_YEARS 146097 /* the Gregorian calendar repeats */
#define EPOCH_DAYS     719468 /* from 0000-03-01 to 1970-01-01 */
#define EPOCH_WEEKDAY  4      /* a Thursday */

#define HOUR_PM	  0x80
#define ANY_VALUE 0xc0
#define RUBBISH	  (~0u)

static s64 floor_div(s64 a, s64 b)
{
	s64 q = a / b;

	return a % b < 0 ? q - 1 : q;
}

/*
 * A year is taken to begin in March, so that the leap day is its last; March to January then have
 * 153 days in each five months.
 */
static s64 days_from_date(s64 year, u32 month, u32 day)
{
	s64 y = month <= 2 ? year - 1 : year;
	s64 era = floor_div(y, 400);
	s64 of_era = y - era * 400;
	s64 of_year = (153 * (s64)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * DAYS_400_YEARS + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
	       EPOCH_DAYS;
}

void rtc_date_from_seconds(s64 seconds, struct rtc_date *d)
{
	s64 days = floor_div(seconds, SECONDS_DAY);
	u32 rest = (u32)(seconds - days * SECONDS_DAY);
	s64 shifted = days + EPOCH_DAYS;
	s64 era = floor_div(shifted, DAYS_400_YEARS);
	u32 of_era = (u32)(shifted - era * DAYS_400_YEARS);
	u32 year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	u32 of_year = of_era - (365 * year + year / 4 - year / 100);
	u32 month = (5 * of_year + 2) / 153;

	d->day = of_year - (153 * month + 2) / 5 + 1;
	d->month = month < 10 ? month + 3 : month - 9;
	d->year = era * 400 + year + (d->month <= 2);
	d->hour = rest / SECONDS_HOUR;
	d->minute = rest / SECONDS_MINUTE % 60;
	d->second = rest % 60;
	d->weekday = (u32)(days + EPOCH_WEEKDAY - floor_div(days + EPOCH_WEEKDAY, 7) * 7);
}

static u32 clamp(u32 value, u32 low, u32 high)
{
	return min(max(value, low), high);
}

s64 rtc_date_to_seconds(const struct rtc_date *d)
{
	s64 days = days_from_date(d->year, clamp(d->month, 1, 12), clamp(d->day, 1, 31));

	return days * SECONDS_DAY + clamp(d->hour, 0, 23) * SECONDS_HOUR +
	       clamp(d->minute, 0, 59) * SECONDS_MINUTE + clamp(d->second, 0, 59);
}

u8 rtc_encode(u32 value, u8 reg_b)
{
	value %= 100;
	return (u8)(reg_b & RTC_B_BINARY ? value : (value / 10 << 4) | value % 10);
}

u32 rtc_decode(u8 byte, u8 reg_b)
{
	if (reg_b & RTC_B_BINARY)
		return byte;
	if ((byte & 0xf) > 9 || byte >> 4 > 9)
		return RUBBISH;
	return (byte >> 4) * 10u + (byte & 0xf);
}

u8 rtc_encode_hour(u32 hour, u8 reg_b)
{
	u32 of_half = hour % 12 ? hour % 12 : 12;

	if (reg_b & RTC_B_24H)
		return rtc_encode(hour, reg_b);
	return rtc_encode(of_half, reg_b) | (hour >= 12 ? HOUR_PM : 0);
}

u32 rtc_decode_hour(u8 byte, u8 reg_b)
{
	u32 hour;

	if (reg_b & RTC_B_24H)
		return rtc_decode(byte, reg_b);
	hour = rtc_decode(byte & ~HOUR_PM, reg_b);
	if (hour < 1 || hour > 12)
		return RUBBISH;
	return hour % 12 + (byte & HOUR_PM ? 12 : 0);
}

static bool any(u8 byte)
{
	return byte >= ANY_VALUE;
}

/* Skips whole hours and minutes that cannot match: under two hundred steps to the answer. */
s64 rtc_next_alarm(const struct rtc_alarm *a, u8 reg_b, s64 after)
{
	u32 hour = rtc_decode_hour(a->hour, reg_b), minute = rtc_decode(a->minute, reg_b);
	u32 second = rtc_decode(a->second, reg_b);
	s64 t = after + 1;

	if ((!any(a->hour) && hour > 23) || (!any(a->minute) && minute > 59) ||
	    (!any(a->second) && second > 59))
		return RTC_NEVER;
	for (;;) {
		s64 of_day = t - floor_div(t, SECONDS_DAY) * SECONDS_DAY;

		if (!any(a->hour) && of_day / SECONDS_HOUR != hour)
			t += SECONDS_HOUR - of_day % SECONDS_HOUR;
		else if (!any(a->minute) && of_day / SECONDS_MINUTE % 60 != minute)
			t += SECONDS_MINUTE - of_day % SECONDS_MINUTE;
		else if (!any(a->second) && of_day % 60 != second)
			t++;
		else
			return t;
	}
}
