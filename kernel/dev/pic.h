/* SPDX-License-Identifier: MIT */
/*
 * The pair of 8259A interrupt controllers (Intel 8259A data sheet, order 231468) with the ELCR of
 * later chipsets. Every function wants the platform's lock; any context.
 */
#ifndef KERNEL_DEV_PIC_H
#define KERNEL_DEV_PIC_H

#include "kernel/dev/device.h"

struct platform;

struct pic_chip {
	u8 irr, isr, imr;
	u8 lines; /* inputs as they stand */
	u8 elcr, elcr_mask;
	u8 vector_base;
	u8 lowest;   /* the input of lowest priority; the next one up is the highest */
	u8 icw_next; /* which ICW the next write to the odd port is; 0: OCW1 */
	bool icw4_follows, single;
	bool auto_eoi, rotate_on_auto_eoi;
	bool special_mask, special_nested;
	bool poll, read_isr;
};

struct pic {
	struct device dev;
	struct platform *p;
	/* platform's lock; output may be read without */
	struct pic_chip chip[2]; /* master, slave on the master's input 2 */
	bool output;		 /* INTR */
};

int pic_init(struct pic *pic, struct platform *p);

/* Input 0-15; 2 is the cascade and ignored. */
void pic_set_line(struct pic *pic, u32 irq, bool level);

/* The CPU's INTA cycles: a vector, that of input 7 where no request stands any more. */
u8 pic_ack(struct pic *pic);

/* Would a rising edge on irq be of any use now: unmasked and not yet latched? */
bool pic_wants_edge(const struct pic *pic, u32 irq);

#endif
