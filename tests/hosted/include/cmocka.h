/* SPDX-License-Identifier: MIT */
/* cmocka's own header wants these before it, in whatever order a test includes its headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include_next <cmocka.h>
