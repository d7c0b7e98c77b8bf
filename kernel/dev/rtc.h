/* SPDX-License-Identifier: MIT */
/*
 * The MC146818 real-time clock with its 128 bytes of CMOS memory, at 0x70/0x71 and IRQ 8
 * (Motorola MC146818A data sheet). Time follows from clock_ns; a host timer is armed only for
 * interrupts that the guest enabled and has answered. Platform's lock; any context.
 */
#ifndef KERNEL_DEV_RTC_H
#define KERNEL_DEV_RTC_H

#include "kernel/dev/device.h"
#include "smp/timer.h"

#define RTC_BYTES 128

struct platform;

struct rtc {
	struct device dev;
	struct platform *p;
	/* platform's lock */
	u8 index;
	u8 ram[RTC_BYTES]; /* time bytes in it count only while the clock is held */
	u8 flags;	   /* register C without IRQF */
	s64 base_seconds;  /* Unix time of the guest's clock at clock_ns() == -phase_ns */
	u64 phase_ns;
	u32 weekday_shift; /* the guest may call any day any day of the week */
	s64 seen_second;   /* up to which alarm and update flags are right */
	u64 seen_period;
	bool line;
	struct timer timer;
};

int rtc_init(struct rtc *r, struct platform *p);

/* What came due, and the next timer. Under the platform's lock. */
void rtc_resume(struct rtc *r);

/* --- rtc_date.c: dates and encodings, pure --- */

struct rtc_date {
	s64 year; /* any; months and days from 1, weekday 0 is Sunday */
	u32 month, day, hour, minute, second, weekday;
};

void rtc_date_from_seconds(s64 seconds, struct rtc_date *d);
s64 rtc_date_to_seconds(const struct rtc_date *d); /* fields out of range are clamped */

#define RTC_B_24H    0x02
#define RTC_B_BINARY 0x04

/* A register's byte for a value and back, as register B says; decoding rubbish gives ~0u. */
u8 rtc_encode(u32 value, u8 reg_b);
u32 rtc_decode(u8 byte, u8 reg_b);
u8 rtc_encode_hour(u32 hour, u8 reg_b);
u32 rtc_decode_hour(u8 byte, u8 reg_b);

struct rtc_alarm {
	u8 second, minute, hour; /* register bytes; 0xc0 and above match all */
};
#define RTC_NEVER INT64_MAX
/* The first second after `after` that the alarm matches. */
s64 rtc_next_alarm(const struct rtc_alarm *a, u8 reg_b, s64 after);

#endif
