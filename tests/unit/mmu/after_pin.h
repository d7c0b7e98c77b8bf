/* SPDX-License-Identifier: MIT */
/*
 * What others do right after a page was pinned and before it is mapped, or known to be pinned: the
 * linker puts this there, and gmem_pin goes through it. The test needs -Wl,--wrap=gmem_pin.
 */
#ifndef TESTS_UNIT_MMU_AFTER_PIN_H
#define TESTS_UNIT_MMU_AFTER_PIN_H

/* Done once, after the next pin, whatever came of that; NULL when it was. */
extern void (*after_pin)(void);

#endif
