/* SPDX-License-Identifier: MIT */
/*
 * A PC's keyboard: scan codes of set 1, as the i8042 translates them, to what a terminal with a US
 * layout sends. The decoder is pure; the driver is the interrupt's.
 */
#ifndef KERNEL_MONITOR_KEYBOARD_H
#define KERNEL_MONITOR_KEYBOARD_H

#include "kernel/base/types.h"

#define KEYBOARD_BYTES_MAX 8 /* of one key */

struct keyboard {
	bool extended;	 /* after E0 */
	u32 pause_bytes; /* of E1's sequence, still to come */
	u32 held;	 /* modifiers, a bit for each key */
	bool caps;
};

/* Returns how many bytes the scan code gave. */
u32 keyboard_decode(struct keyboard *k, u8 code, char out[KEYBOARD_BYTES_MAX]);

/*
 * Finds the i8042, has it translate and interrupt; put gets each byte, in interrupt context. Thread
 * context, boot CPU, once. ERR_NOENT: there is no controller, or no keyboard answers; ERR_NOTSUP:
 * its interrupt leads nowhere.
 */
int keyboard_start(void (*put)(u8 byte));

#endif
