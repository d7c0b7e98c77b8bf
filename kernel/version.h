/* SPDX-License-Identifier: MIT */
/* Weir's version: major.minor.patch, as text and as the number CPUID 0x40000101 shows. */
#ifndef KERNEL_VERSION_H
#define KERNEL_VERSION_H

#define WEIR_VERSION	    "0.1.0"
#define WEIR_VERSION_NUMBER 0x000100u

#endif
