/* SPDX-License-Identifier: MIT */
/*
 * The causes a function may return, always negative; 0 is success. One name for each cause.
 * error_name() gives the word a log line prints. Pure: any context.
 */
#ifndef KERNEL_BASE_ERROR_H
#define KERNEL_BASE_ERROR_H

enum error {
	ERR_OK = 0,
	ERR_NOMEM = -1,	    /* no frame or object to be had */
	ERR_INVAL = -2,	    /* an argument is malformed */
	ERR_RANGE = -3,	    /* out of range, or a sum that wraps */
	ERR_ALIGN = -4,	    /* not aligned as asked */
	ERR_EXIST = -5,	    /* is there already, or overlaps */
	ERR_NOENT = -6,	    /* is not there */
	ERR_BUSY = -7,	    /* in use by someone else */
	ERR_AGAIN = -8,	    /* lost a race: do it again */
	ERR_NOTSUP = -9,    /* this CPU or build cannot do it */
	ERR_FAULT = -10,    /* a guest address does not translate */
	ERR_TIMEOUT = -11,  /* a deadline passed */
	ERR_IO = -12,	    /* the hardware reported a failure */
	ERR_NOSPC = -13,    /* a fixed table or buffer is full */
	ERR_CORRUPT = -14,  /* checksum or magic is wrong */
	ERR_PERM = -15,	    /* not allowed */
	ERR_TOO_HARD = -16, /* needs thread context: do it again there */
	ERR_NOSLOT = -17,   /* no memslot covers the address: device emulation */
	ERR_STORED = -18,   /* what it holds is elsewhere than in a frame: needs thread context */
};

const char *error_name(int err);

#endif
